//! The one configuration that every row is measured with: a router pool, eight servers, a cluster
//! each in IPv4, in IPv6 and in a tagged VLAN; two ports, the routers' and the servers'.

use dataplane_flow::{ClusterId, PoolId, RouterId, TargetId};
use dataplane_message::{
    Admin, Boot, Chooser, ClusterMode, ClusterPlan, DeadFlows, Device, Fail, MacPlan, Member, Mode, Plan,
    PoolPlan, PortBoot, PortPlan, PortRole, Redirect, RouterPlan, ServicePlan, Spread, Stp, TargetPlan,
    Timeouts, UdpMode,
};
use dataplane_port::{PortId, VlanId};
use dataplane_wire::MacAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where routers and clients are.
pub(crate) const OUTSIDE: PortId = PortId(0);
/// Where all servers are.
pub(crate) const SERVERS: PortId = PortId(1);
/// How many.
pub(crate) const SERVER_COUNT: u16 = 8;
/// The VLAN of frames without a tag, and the one with.
pub(crate) const VLAN: VlanId = VlanId(1);
pub(crate) const TAGGED: VlanId = VlanId(2);
/// The addresses of the three clusters.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
pub(crate) const VIP_TAGGED: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 100);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0x100);
/// Their virtual MACs.
pub(crate) const VMAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
pub(crate) const VMAC_TAGGED: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 2]);
pub(crate) const VMAC6: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 3]);
/// The router that all traffic passes.
pub(crate) const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa1]);
/// Keys of the workers' tables, and what they come to in a worker.
pub(crate) const SEED: [u64; 4] = [0x5851_f42d, 0x4c95_7f2d, 0x1405_7b7e, 0xf767_814f];

/// A server's MAC.
pub(crate) const fn server_mac(n: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, n as u8])
}

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
        clusters: vec![
            cluster(0, VLAN, VIP.into(), VMAC, Ipv4Addr::new(192, 0, 0, 8).into()),
            cluster(1, TAGGED, VIP_TAGGED.into(), VMAC_TAGGED, Ipv4Addr::new(192, 0, 0, 9).into()),
            cluster(2, VLAN, VIP6.into(), VMAC6, Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 8).into()),
        ],
        ..Plan::default()
    }
}

fn cluster(id: u16, vlan: VlanId, vip: IpAddr, vmac: MacAddr, probe: IpAddr) -> ClusterPlan {
    let member = |n| Member { target: TargetId(n), weight: 1, backup: false };
    ClusterPlan {
        id: ClusterId(id),
        name: format!("web{id}"),
        vlan,
        vip,
        vmac,
        mode: ClusterMode::LoadSharing,
        dead_tcp: DeadFlows::Reset,
        dead_other: DeadFlows::Move,
        probe,
        fail: Fail::Closed,
        withdraw: false,
        timeouts: Timeouts::default(),
        udp: UdpMode::Flow,
        announce_interval_s: 60,
        servers: (0..SERVER_COUNT).map(TargetId).collect(),
        services: vec![ServicePlan {
            name: "default".into(),
            protocol: None,
            ports: 0..=65_535,
            chooser: Chooser::Maglev,
            affinity: None,
            quic: false,
            members: (0..SERVER_COUNT).map(member).collect(),
        }],
    }
}
