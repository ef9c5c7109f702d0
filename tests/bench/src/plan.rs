//! Eight servers, each behind a port of its own; a cluster each in IPv4, in IPv6 and in a tagged VLAN.

use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::{
    Admin, Chooser, ClusterMode, ClusterPlan, DeadFlows, Fail, MacPlan, Member, Plan, PortPlan, PortRole,
    ServicePlan, Stp, TargetPlan, Timeouts, UdpMode,
};
use dataplane_port::{PortId, VlanId};
use dataplane_wire::MacAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const VLAN: VlanId = VlanId(1);
pub(crate) const TAGGED: VlanId = VlanId(2);
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
pub(crate) const VIP_TAGGED: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 100);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0x100);
pub(crate) const VMAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
pub(crate) const VMAC_TAGGED: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 2]);
pub(crate) const VMAC6: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 3]);
pub(crate) const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa1]);
/// Where the router is; server n is behind port n + 1.
pub(crate) const R1: PortId = PortId(0);
pub(crate) const SERVERS: u16 = 8;

/// A server's MAC.
pub(crate) fn server_mac(n: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, n as u8])
}

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
        servers: (0..SERVERS).map(TargetId).collect(),
        services: vec![ServicePlan {
            name: "default".into(),
            protocol: None,
            ports: 0..=65_535,
            chooser: Chooser::Maglev,
            affinity: None,
            quic: false,
            members: (0..SERVERS).map(member).collect(),
        }],
    }
}
