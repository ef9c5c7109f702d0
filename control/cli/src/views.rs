//! How each view looks as a table.

mod health;

pub(crate) use health::progress;

use crate::table::Table;
use crate::units::{bytes, count, duration, rate};
use control_show::{
    AlarmRow, BridgeRow, ClusterRow, DropRow, FlowRow, Membership, PortRow, ServerRow, Shown, VersionRow,
    View, WorkerRow,
};
use std::net::{IpAddr, SocketAddr};

/// The text of a view.
pub(crate) fn text(shown: &Shown) -> String {
    match &shown.view {
        View::Clusters(rows) => clusters(rows),
        View::Servers(rows) => servers(rows),
        View::Flows(rows) => flows(rows),
        View::Ports(rows) => ports(rows),
        View::Workers(rows) => workers(rows),
        View::Drops(rows) => drops(rows),
        View::Routers(rows) => health::routers(rows),
        View::Health(rows) => health::health(rows),
        View::Pools(rows) => health::pools(rows),
        View::Load(rows) => health::load(rows),
        View::Findings(rows) => health::findings(rows),
        View::Bridge(rows) => bridge(rows),
        View::Alarms(rows) => alarms(rows),
        View::Version(row) => version(shown, row),
    }
}

fn clusters(rows: &[ClusterRow]) -> String {
    let mut table = Table::new(&[
        "CLUSTER", ">VLAN", "VIP", "VMAC", "MODE", ">UP", "SERVICE", "PROTOCOL", "PORTS", "CHOOSER",
        "AFFINITY", ">NEW", ">NEW/S", ">OPENED", ">HASHED",
    ]);
    let mut notes = String::new();
    for row in rows {
        if !row.roles.is_empty() {
            let roles: Vec<String> =
                row.roles.iter().map(|role| format!("{} {}", role.server, role.role)).collect();
            notes += &format!("{}: {}\n", row.name, roles.join(", "));
        }
        for service in row.services.iter().filter(|service| !service.backups.is_empty()) {
            let do_now = if service.backups_taken { "taken" } else { "standing by" };
            let backups = service.backups.join(", ");
            notes += &format!("{}/{}: backup {backups} {do_now}\n", row.name, service.name);
        }
        for (place, service) in row.services.iter().enumerate() {
            // What is the cluster's stands in its first line.
            let first = |cell: String| if place == 0 { cell } else { String::new() };
            let affinity = service.affinity.map_or_else(
                || "-".into(),
                |affinity| {
                    format!(
                        "/{} /{} {}",
                        affinity.prefix_v4,
                        affinity.prefix_v6,
                        duration(affinity.idle_s.into())
                    )
                },
            );
            table.row([
                first(row.name.clone()),
                first(row.vlan.to_string()),
                first(row.vip.to_string()),
                first(row.vmac.to_string()),
                first(row.mode.clone()),
                first(format!("{}/{}", row.servers_up, row.servers)),
                service.name.clone(),
                service.protocol.clone(),
                service.ports.clone(),
                service.chooser.clone(),
                affinity,
                count(service.flows_new),
                rate(service.flows_new_per_s),
                first(count(row.flows_server)),
                first(count(row.hashed)),
            ]);
        }
    }
    table.text("no clusters") + &notes
}

fn servers(rows: &[ServerRow]) -> String {
    let mut table = Table::new(&[
        "SERVER",
        "STATE",
        "MAC",
        "PORT",
        "WEIGHT",
        ">FLOWS",
        ">NEW/S",
        ">IN-FRAMES",
        ">IN-BYTES",
        ">IN/S",
        ">OUT-FRAMES",
        ">OUT-BYTES",
        ">OUT/S",
    ]);
    let mut notes = String::new();
    for row in rows {
        let learned = if row.mac_learned { " (learned)" } else { "" };
        table.row([
            row.name.clone(),
            row.state.name().into(),
            row.mac.map_or_else(|| "-".into(), |mac| format!("{mac}{learned}")),
            row.port.clone(),
            row.clusters.iter().map(weight).collect::<Vec<_>>().join(" "),
            count(row.flows_open),
            rate(row.flows_new_per_s),
            count(row.inbound.frames),
            bytes(row.inbound.bytes),
            rate(row.inbound.frames_per_s),
            count(row.outbound.frames),
            bytes(row.outbound.bytes),
            rate(row.outbound.frames_per_s),
        ]);
        if let Some(reason) = &row.reason {
            notes += &format!("{}: {reason}\n", row.name);
        }
        if let Some(contender) = row.contender {
            notes += &format!("{}: {contender} claims to be this server too\n", row.name);
        }
    }
    table.text("no servers") + &notes
}

/// `web:3`, and in brackets the services where the weight is another one.
fn weight(membership: &Membership) -> String {
    let others: Vec<String> = membership
        .services
        .iter()
        .filter(|service| service.weight != membership.weight)
        .map(|service| format!("{}:{}", service.service, service.weight))
        .collect();
    let others = if others.is_empty() { String::new() } else { format!("({})", others.join(",")) };
    format!("{}:{}{others}", membership.cluster, membership.weight)
}

fn flows(rows: &[FlowRow]) -> String {
    let mut table = Table::new(&[
        "CLUSTER",
        "PROTOCOL",
        "CLIENT",
        ">VIP-PORT",
        "SERVER",
        "STATE",
        "OPENED-BY",
        "KEY",
        ">IDLE",
        ">AGE",
        ">WORKER",
    ]);
    for row in rows {
        table.row([
            row.cluster.clone(),
            row.protocol.clone(),
            endpoint(row.client, row.client_port),
            if row.vip_port == 0 { "-".into() } else { row.vip_port.to_string() },
            row.server.clone(),
            row.state.clone(),
            if row.from_server { "server".into() } else { "client".into() },
            row.kind.clone(),
            duration(row.idle_s.into()),
            duration(row.age_s.into()),
            row.worker.to_string(),
        ]);
    }
    table.text("no flows")
}

/// `198.51.100.7:4000`, `[2001:db8::7]:4000`; an address alone where there is no port.
fn endpoint(address: IpAddr, port: u16) -> String {
    if port == 0 { address.to_string() } else { SocketAddr::new(address, port).to_string() }
}

fn ports(rows: &[PortRow]) -> String {
    let mut table = Table::new(&[
        ">NO",
        "PORT",
        "ROLE",
        "STATE",
        "VLANS",
        ">RX-FRAMES",
        ">RX-BYTES",
        ">RX/S",
        ">TX-FRAMES",
        ">TX-BYTES",
        ">TX/S",
        ">ERRORS",
        "NEIGHBOUR",
        "DEVICE",
    ]);
    let mut notes = String::new();
    for row in rows {
        table.row([
            row.number.to_string(),
            row.name.clone(),
            row.role.clone(),
            row.state.clone(),
            vlans(row.untagged, &row.tagged),
            count(row.rx.frames),
            bytes(row.rx.bytes),
            rate(row.rx.frames_per_s),
            count(row.tx.frames),
            bytes(row.tx.bytes),
            rate(row.tx.frames_per_s),
            count(row.errors),
            row.neighbour.clone().unwrap_or_else(|| "-".into()),
            row.device.clone(),
        ]);
        if let Some(note) = &row.note {
            notes += &format!("{}: {note}\n", row.name);
        }
    }
    table.text("no ports") + &notes
}

/// `1`, `1 +10,20`, `+10`: those with a tag behind the `+`.
fn vlans(untagged: Option<u16>, tagged: &[u16]) -> String {
    let untagged = untagged.map(|vlan| vlan.to_string());
    let tagged: Vec<String> = tagged.iter().map(u16::to_string).collect();
    let tagged = (!tagged.is_empty()).then(|| format!("+{}", tagged.join(",")));
    untagged.into_iter().chain(tagged).collect::<Vec<_>>().join(" ")
}

fn workers(rows: &[WorkerRow]) -> String {
    let mut table = Table::new(&[
        ">WORKER",
        ">FRAMES",
        ">FRAMES/S",
        ">PER-BURST",
        ">BUSY",
        ">HANDED",
        ">FLOWS",
        ">ROOM",
        ">EVICTED",
        ">HELD",
        ">PLAN",
    ]);
    for row in rows {
        table.row([
            row.number.to_string(),
            count(row.frames),
            rate(row.frames_per_s),
            rate(row.frames_per_burst),
            row.busy_percent.map_or_else(|| "-".into(), |percent| format!("{percent:.0}%")),
            count(row.handed),
            count(row.flows),
            count(row.flows_max),
            count(row.evicted),
            count(row.held),
            row.plan.to_string(),
        ]);
    }
    table.text("no workers have reported yet")
}

fn drops(rows: &[DropRow]) -> String {
    let mut table = Table::new(&["REASON", ">FRAMES", ">FRAMES/S"]);
    for row in rows {
        table.row([row.reason.clone(), count(row.frames), rate(row.frames_per_s)]);
    }
    table.text("nothing was dropped")
}

fn bridge(rows: &[BridgeRow]) -> String {
    let mut table = Table::new(&[">VLAN", "MAC", "PORT", "FROM"]);
    for row in rows {
        let from = if row.pinned { "configuration" } else { "traffic" };
        table.row([row.vlan.to_string(), row.mac.to_string(), row.port.clone(), from.into()]);
    }
    table.text("no addresses")
}

fn alarms(rows: &[AlarmRow]) -> String {
    let mut table = Table::new(&["TIME", ">TIMES", "ALARM", "PORT", ">VLAN", "MAC", "ADDRESS"]);
    for row in rows {
        table.row([
            row.at.clone(),
            row.count.to_string(),
            row.kind.clone(),
            row.port.clone(),
            if row.vlan == 0 { "-".into() } else { row.vlan.to_string() },
            row.mac.to_string(),
            row.address.map_or_else(|| "-".into(), |address| address.to_string()),
        ]);
    }
    table.text("no alarms")
}

fn version(shown: &Shown, row: &VersionRow) -> String {
    let data_path = match (shown.data_path.connected, shown.data_path.uptime_ms) {
        (true, Some(ms)) => format!("connected, up {}", duration(ms / 1000)),
        (true, None) => "connected".into(),
        (false, _) => "not connected".into(),
    };
    let lines = [
        ("switch", shown.switch.clone()),
        ("flowctl", env!("CARGO_PKG_VERSION").into()),
        ("flowswitchd", format!("{} (process {}, messages {})", row.flowswitchd, row.pid, row.messages)),
        ("data path", data_path),
        ("start of data path", row.boot_id.clone().unwrap_or_else(|| "-".into())),
        ("plan", shown.data_path.plan.to_string()),
        ("configuration", format!("{}, read {}", row.file, row.read_at)),
    ];
    lines.iter().map(|(what, is)| format!("{what:<20}{is}\n")).collect()
}

#[cfg(test)]
mod tests;
