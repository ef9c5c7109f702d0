//! The one configuration that every row is measured with: a router pool, eight servers, a cluster
//! each in IPv4, in IPv6 and in a tagged VLAN; two ports, the routers' and the servers'.

use dataplane_flow::{PoolId, RouterId, TargetId};
use dataplane_message::{
    Admin, Boot, Device, MacPlan, Mode, Plan, PoolPlan, PortBoot, PortPlan, PortRole, Redirect, RouterPlan,
    Spread, Stp, TargetPlan,
};
use dataplane_port::PortId;
use std::net::Ipv4Addr;
pub(crate) use tests_bench::site::{
    ROUTER, TAGGED, VIP, VIP_TAGGED, VIP6, VLAN, VMAC, VMAC_TAGGED, VMAC6, server_mac,
};
use tests_bench::site::{SERVERS as SERVERS_OF_SITE, clusters};

/// Where routers and clients are.
pub(crate) const OUTSIDE: PortId = PortId(0);
/// Where all servers are.
pub(crate) const SERVERS: PortId = PortId(1);
/// How many.
pub(crate) const SERVER_COUNT: u16 = SERVERS_OF_SITE;
/// Keys of the workers' tables, and what they come to in a worker.
pub(crate) const SEED: [u64; 4] = [0x5851_f42d, 0x4c95_7f2d, 0x1405_7b7e, 0xf767_814f];

/// What the workers' tables are keyed with.
pub(crate) const fn table_seed() -> [u64; 2] {
    [SEED[0] ^ SEED[2], SEED[1] ^ SEED[3]]
}

/// What the process is started with.
pub(crate) fn boot(workers: u8, flows_max: u32) -> Boot {
    let port = |id: PortId| PortBoot {
        id,
        name: format!("p{}", id.0),
        device: Device::Vdev { arguments: "net_null".into() },
        mtu: 1500,
    };
    Boot {
        name: "bench".into(),
        mode: Mode::Trial,
        workers,
        worker_cores: vec![],
        flows_max,
        memory_mib: 0,
        hugepages: true,
        ports: vec![port(OUTSIDE), port(SERVERS)],
    }
}

/// The plan.
pub(crate) fn plan() -> Plan {
    let port = |id: PortId, role, shared| PortPlan {
        id,
        name: format!("p{}", id.0),
        role,
        untagged: Some(VLAN),
        tagged: vec![TAGGED],
        shared,
        stp: Stp::Forward,
        storm_pps: 0,
    };
    let target = |n: u16| TargetPlan {
        id: TargetId(n),
        name: format!("web-{n}"),
        port: SERVERS,
        mac: MacPlan::Fixed(server_mac(n)),
        admin: Admin::Enabled,
        connections_max: 0,
    };
    Plan {
        choice_key: [1, 2],
        ports: vec![port(OUTSIDE, PortRole::Outside, false), port(SERVERS, PortRole::Server, true)],
        targets: (0..SERVER_COUNT).map(target).collect(),
        routers: vec![RouterPlan {
            id: RouterId(0),
            name: "r1".into(),
            port: OUTSIDE,
            vlan: VLAN,
            address: Ipv4Addr::new(10, 9, 0, 2).into(),
            mac: Some(ROUTER),
        }],
        pools: vec![PoolPlan {
            id: PoolId(0),
            name: "out".into(),
            vlan: VLAN,
            address: Ipv4Addr::new(10, 9, 0, 1).into(),
            routers: vec![RouterId(0)],
            spread: Spread::Server,
            redirect: Redirect::All,
        }],
        clusters: clusters(),
        ..Plan::default()
    }
}
