//! The site with each of its eight servers behind a port of its own.

use dataplane_flow::TargetId;
use dataplane_message::{Admin, MacPlan, Plan, PortPlan, PortRole, Stp, TargetPlan};
use dataplane_port::PortId;
use tests_bench::site::clusters;
pub(crate) use tests_bench::site::{
    ROUTER, SERVERS, TAGGED, VIP, VIP_TAGGED, VIP6, VLAN, VMAC, VMAC_TAGGED, VMAC6, server_mac,
};

/// Where the router is; server n is behind port n + 1.
pub(crate) const R1: PortId = PortId(0);

/// The plan.
pub(crate) fn plan() -> Plan {
    let port = |id: u8, role| PortPlan {
        id: PortId(id),
        name: format!("p{id}"),
        role,
        untagged: Some(VLAN),
        tagged: vec![TAGGED],
        shared: false,
        stp: Stp::Forward,
        storm_pps: 0,
    };
    Plan {
        choice_key: [1, 2],
        ports: (0..=SERVERS as u8)
            .map(|i| port(i, if i == 0 { PortRole::Outside } else { PortRole::Server }))
            .collect(),
        targets: (0..SERVERS)
            .map(|n| TargetPlan {
                id: TargetId(n),
                name: format!("web-{n}"),
                port: PortId(n as u8 + 1),
                mac: MacPlan::Fixed(server_mac(n)),
                admin: Admin::Enabled,
                connections_max: 0,
            })
            .collect(),
        clusters: clusters(),
        ..Plan::default()
    }
}
