//! The site that every figure is measured with: eight servers, a cluster each in IPv4, in IPv6 and in a tagged VLAN.

use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::{
    Chooser, ClusterMode, ClusterPlan, DeadFlows, Fail, Member, ServicePlan, Timeouts, UdpMode,
};
use dataplane_port::VlanId;
use dataplane_wire::MacAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The VLAN of frames without a tag.
pub const VLAN: VlanId = VlanId(1);
/// The VLAN of frames with one.
pub const TAGGED: VlanId = VlanId(2);
/// The VIP in IPv4.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
/// The VIP in the tagged VLAN.
pub const VIP_TAGGED: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 100);
/// The VIP in IPv6.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0x100);
/// The virtual MAC of the first.
pub const VMAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
/// The virtual MAC in the tagged VLAN.
pub const VMAC_TAGGED: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 2]);
/// The virtual MAC of the one in IPv6.
pub const VMAC6: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 3]);
/// The router that all traffic passes.
pub const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa1]);
/// How many servers.
pub const SERVERS: u16 = 8;

/// A server's MAC.
pub const fn server_mac(n: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, n as u8])
}

/// The three clusters.
pub fn clusters() -> Vec<ClusterPlan> {
    vec![
        cluster(0, VLAN, VIP.into(), VMAC, Ipv4Addr::new(192, 0, 0, 8).into()),
        cluster(1, TAGGED, VIP_TAGGED.into(), VMAC_TAGGED, Ipv4Addr::new(192, 0, 0, 9).into()),
        cluster(2, VLAN, VIP6.into(), VMAC6, Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 8).into()),
    ]
}

fn cluster(id: u16, vlan: VlanId, vip: IpAddr, vmac: MacAddr, probe: IpAddr) -> ClusterPlan {
    let members = (0..SERVERS).map(|n| Member { target: TargetId(n), weight: 1, backup: false }).collect();
    cluster_of(ClusterId(id), vlan, vip, vmac, probe, members)
}

/// A cluster with one service for everything, by Maglev.
pub fn cluster_of(
    id: ClusterId,
    vlan: VlanId,
    vip: IpAddr,
    vmac: MacAddr,
    probe: IpAddr,
    members: Vec<Member>,
) -> ClusterPlan {
    ClusterPlan {
        id,
        name: format!("web-{}", id.0),
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
        servers: members.iter().map(|member| member.target).collect(),
        services: vec![ServicePlan {
            name: "default".into(),
            protocol: None,
            ports: 0..=65_535,
            chooser: Chooser::Maglev,
            affinity: None,
            quic: false,
            members,
        }],
    }
}
