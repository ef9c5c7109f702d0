//! How health, load, pools and findings look.

use crate::table::Table;
use crate::units::{bar, bytes_rate, count, duration, micros, rate};
use control_show::{CheckRow, DrainRow, FindingRow, HealthRow, LoadRow, PoolRow, RouterRow, ServiceHealth};

pub(super) fn health(rows: &[HealthRow]) -> String {
    let mut table = Table::new(&[
        "SERVER",
        "STATE",
        ">FOR",
        ">FLOWS",
        "SIGNS",
        "SERVICE",
        "NEW-FLOWS",
        ">WEIGHT",
        "CHECK",
        "RESULT",
    ]);
    let mut notes = String::new();
    for row in rows {
        let state = if row.presumed { format!("{}?", row.state.name()) } else { row.state.name().into() };
        let mut first = [
            row.server.clone(),
            state,
            row.since_s.map_or_else(|| "-".into(), duration),
            count(row.flows_open),
            if row.passive { "on".into() } else { "off".into() },
        ];
        for service in &row.services {
            let mut second =
                [format!("{}/{}", service.cluster, service.service), takes(service), weight(service)];
            for check in lines(&service.checks) {
                let (name, result) = check
                    .map_or_else(|| ("-".into(), "-".into()), |check| (check.check.clone(), result(check)));
                let [a, b, c, d, e] = core::mem::take(&mut first);
                let [f, g, h] = core::mem::take(&mut second);
                table.row([a, b, c, d, e, f, g, h, name, result]);
            }
            if let Some(reason) = &service.reason {
                notes += &format!("{} in {}/{}: {reason}\n", row.server, service.cluster, service.service);
            }
        }
        if !first[0].is_empty() {
            let [a, b, c, d, e] = first;
            let none = || "-".to_owned();
            table.row([a, b, c, d, e, none(), none(), none(), none(), none()]);
        }
        if let Some(reason) = &row.reason {
            notes += &format!("{}: {reason}\n", row.server);
        }
        if row.hold_down_ms > 0 {
            let held = duration(row.hold_down_ms.div_ceil(1000));
            notes +=
                &format!("{}: fell several times; up again when it has been good for {held}\n", row.server);
        }
        if let Some(drain) = &row.drain {
            notes += &format!("{}: {}\n", row.server, progress(drain));
        }
    }
    table.text("no servers") + &notes
}

/// A line for each check, and one where there is none.
fn lines(checks: &[CheckRow]) -> impl Iterator<Item = Option<&CheckRow>> {
    checks.iter().map(Some).chain(checks.is_empty().then_some(None))
}

fn takes(service: &ServiceHealth) -> String {
    match (service.open, service.backup) {
        (true, false) => "yes",
        (false, false) => "no",
        (true, true) => "yes (backup)",
        (false, true) => "no (backup)",
    }
    .into()
}

/// `3`, `2 of 3`, `1 of 3 (slow start 33%)`.
fn weight(service: &ServiceHealth) -> String {
    let slow = match service.slow_start_percent {
        100.. => String::new(),
        percent => format!(" (slow start {percent}%)"),
    };
    if service.weight == service.full_weight {
        format!("{}{slow}", service.weight)
    } else {
        format!("{} of {}{slow}", service.weight, service.full_weight)
    }
}

fn result(check: &CheckRow) -> String {
    match (&check.failure, check.took_us) {
        (Some(failure), _) if check.good => format!("good, but {failure}"),
        (Some(failure), _) => format!("FAILS: {failure}"),
        (None, Some(us)) if check.good => format!("good, {}", micros(us.into())),
        (None, _) if check.good => "good".into(),
        (None, _) => "FAILS".into(),
    }
}

/// `37 of 500 flows open; done in about 40s; the rest is closed in 20s`.
pub(crate) fn progress(drain: &DrainRow) -> String {
    if drain.done || drain.flows_open == 0 {
        return format!("drained after {}; no flow is open", duration(drain.since_s));
    }
    let mut text = format!("drains: {} of {} flows open", count(drain.flows_open), count(drain.flows_first));
    match (drain.ends_in_s, &drain.waits_for) {
        (Some(seconds), _) => text += &format!("; done in about {}", duration(seconds)),
        (None, Some(timeout)) => text += &format!("; waits for the time-out {timeout}"),
        (None, None) => {}
    }
    if let Some(seconds) = drain.deadline_s {
        text += &format!("; the rest is closed in {}", duration(seconds));
    }
    text
}

pub(super) fn pools(rows: &[PoolRow]) -> String {
    let mut table = Table::new(&[
        "POOL",
        "ADDRESS",
        ">VLAN",
        "BALANCE",
        "SPREAD",
        "REDIRECT",
        "ROUTER",
        "STATE",
        ">SERVERS",
        ">OUT/S",
        ">SHARE",
        "",
        ">REDIRECTED",
    ]);
    let mut assignments = Table::new(&["POOL", "SERVER", "ROUTER", ">OUT/S"]);
    let mut notes = String::new();
    for pool in rows {
        for (place, router) in pool.routers.iter().enumerate() {
            // What is the pool's stands in its first line.
            let first = |cell: String| if place == 0 { cell } else { String::new() };
            table.row([
                first(pool.name.clone()),
                first(pool.address.to_string()),
                first(pool.vlan.to_string()),
                first(pool.balance.clone()),
                first(pool.spread.clone()),
                first(pool.redirect.clone()),
                router.router.clone(),
                router.state.clone(),
                router.servers.to_string(),
                bytes_rate(router.out_bytes_per_s),
                router.share_percent.map_or_else(|| "-".into(), |percent| format!("{percent:.0}%")),
                bar(router.share_percent.unwrap_or(0.0) / 100.0),
                count(router.redirected),
            ]);
            if let Some(reason) = &router.reason {
                notes += &format!("{}: {reason}\n", router.router);
            }
        }
        for row in &pool.assignments {
            assignments.row([
                pool.name.clone(),
                row.server.clone(),
                row.router.clone(),
                bytes_rate(Some(row.bytes_per_s as f64)),
            ]);
        }
    }
    let text = table.text("no pools") + &notes;
    if rows.iter().all(|pool| pool.assignments.is_empty()) {
        text
    } else {
        text + "\n" + &assignments.text("")
    }
}

pub(super) fn load(rows: &[LoadRow]) -> String {
    let mut table = Table::new(&[
        "CLUSTER",
        "SERVICE",
        "SERVER",
        ">WEIGHT",
        ">NEW/S",
        "",
        ">CONNECT-P50",
        ">P99",
        ">RESPONSE-P50",
        ">P99",
        ">IN/S",
        ">OUT/S",
    ]);
    for row in rows {
        let most = rows
            .iter()
            .filter(|other| (&other.cluster, &other.service) == (&row.cluster, &row.service))
            .filter_map(|other| other.flows_new_per_s)
            .fold(0.0, f64::max);
        let part = row.flows_new_per_s.map_or(0.0, |rate| if most > 0.0 { rate / most } else { 0.0 });
        let time = |us: Option<u64>| us.map_or_else(|| "-".into(), |us| format!("<{}", micros(us)));
        table.row([
            row.cluster.clone(),
            row.service.clone(),
            row.server.clone(),
            if row.open { row.weight.to_string() } else { format!("({})", row.weight) },
            rate(row.flows_new_per_s),
            bar(part),
            time(row.connect_p50_us),
            time(row.connect_p99_us),
            time(row.response_p50_us),
            time(row.response_p99_us),
            bytes_rate(row.in_bytes_per_s),
            bytes_rate(row.out_bytes_per_s),
        ]);
    }
    table.text("no servers in services")
}

pub(super) fn routers(rows: &[RouterRow]) -> String {
    let mut table = Table::new(&[
        "ROUTER",
        "STATE",
        "ADDRESS",
        "MAC",
        "PORT",
        "PORT-STATE",
        ">VLAN",
        ">IN/S",
        ">OUT/S",
        ">REDIRECTED",
    ]);
    let mut notes = String::new();
    for row in rows {
        table.row([
            row.name.clone(),
            row.state.clone(),
            row.address.to_string(),
            row.mac.map_or_else(|| "-".into(), |mac| mac.to_string()),
            row.port.clone(),
            row.port_state.clone(),
            row.vlan.to_string(),
            bytes_rate(row.inbound.bytes_per_s),
            bytes_rate(row.outbound.bytes_per_s),
            count(row.redirected),
        ]);
        if let Some(reason) = &row.reason {
            notes += &format!("{}: {reason}\n", row.name);
        }
    }
    table.text("no routers") + &notes
}

pub(super) fn findings(rows: &[FindingRow]) -> String {
    if rows.is_empty() {
        return "nothing is set up wrong, as far as can be seen\n".into();
    }
    let mut text = String::new();
    for (number, row) in (1..).zip(rows) {
        let about: Vec<String> = [
            ("cluster", &row.cluster),
            ("server", &row.server),
            ("router", &row.router),
            ("pool", &row.pool),
        ]
        .iter()
        .filter_map(|(kind, name)| Some(format!("{kind} {}", name.as_ref()?)))
        .collect();
        let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
        text += &format!("{number}. {}{about}\n   {}\n   fix: {}\n", row.kind, row.problem, row.fix);
    }
    text
}
