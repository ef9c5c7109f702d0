//! A site of any size: its plan, and the frames of its flows.

use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::{Admin, ClusterPlan, MacPlan, Member, Plan, PortPlan, PortRole, Stp, TargetPlan};
use dataplane_port::{PortId, VlanId};
use dataplane_wire::{MacAddr, checksum};
use etherparse::PacketBuilder;
use std::net::Ipv4Addr;
use tests_bench::site::cluster_of;

/// The port that clients come in by.
pub(crate) const OUTSIDE: PortId = PortId(0);
pub(crate) const VLAN: VlanId = VlanId(1);
/// The station that all clients are behind.
pub(crate) const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa1]);

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 0x10;

/// A frame of 60 bytes.
pub(crate) type Frame = [u8; 64];
pub(crate) const FRAME_LEN: u32 = 60;

/// How large a site is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) servers: u16,
    pub(crate) clusters: u16,
    /// Ports with servers behind them.
    pub(crate) server_ports: u8,
}

impl Site {
    pub(crate) const SMALL: Self = Self { servers: 8, clusters: 1, server_ports: 8 };
    /// What the requirements name as the largest.
    pub(crate) const LARGE: Self = Self { servers: 1000, clusters: 256, server_ports: 31 };

    pub(crate) fn ports(&self) -> u8 {
        self.server_ports + 1
    }

    /// Server `n` is in cluster `n % clusters`; where there are fewer servers, in every cluster.
    fn members(&self, cluster: u16) -> Vec<Member> {
        let all = self.servers < self.clusters;
        (0..self.servers)
            .filter(|n| all || n % self.clusters == cluster)
            .map(|n| Member { target: TargetId(n), weight: 10, backup: false })
            .collect()
    }

    pub(crate) fn plan(&self) -> Plan {
        let port = |id: u8| PortPlan {
            id: PortId(id),
            name: format!("p{id}"),
            role: if id == 0 { PortRole::Outside } else { PortRole::Server },
            untagged: Some(VLAN),
            tagged: vec![],
            shared: true,
            stp: Stp::Forward,
            storm_pps: 0,
        };
        Plan {
            choice_key: [1, 2],
            ports: (0..self.ports()).map(port).collect(),
            targets: (0..self.servers).map(|n| self.target(n)).collect(),
            clusters: (0..self.clusters).map(|n| self.cluster(n)).collect(),
            ..Plan::default()
        }
    }

    fn target(&self, n: u16) -> TargetPlan {
        TargetPlan {
            id: TargetId(n),
            name: format!("web-{n}"),
            port: PortId(1 + (n % u16::from(self.server_ports)) as u8),
            mac: MacPlan::Fixed(server_mac(n)),
            admin: Admin::Enabled,
            connections_max: 0,
        }
    }

    fn cluster(&self, n: u16) -> ClusterPlan {
        let members = self.members(n);
        let probe = Ipv4Addr::new(192, 0, 0, 8).into();
        cluster_of(ClusterId(n), VLAN, vip(n).into(), vmac(n), probe, members)
    }
}

pub(crate) fn server_mac(n: u16) -> MacAddr {
    let [high, low] = n.to_be_bytes();
    MacAddr([2, 0, 0, 1, high, low])
}

fn vip(n: u16) -> Ipv4Addr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low)
}

fn vmac(n: u16) -> MacAddr {
    let [high, low] = n.to_be_bytes();
    MacAddr([2, 0, 0x5e, 1, high, low])
}

/// A frame that [`stamp_inbound`] and [`stamp_outbound`] make one of a flow's.
pub(crate) fn template(inbound: bool, flags: u8, data: bool) -> Frame {
    let (src, dst) = if inbound { (ROUTER, vmac(0)) } else { (server_mac(0), ROUTER) };
    let (src_port, dst_port) = if inbound { (1, 80) } else { (80, 1) };
    let mut builder = PacketBuilder::ethernet2(src.0, dst.0)
        .ipv4(vip(0).octets(), vip(0).octets(), 64)
        .tcp(src_port, dst_port, 5000, 1000);
    if flags & SYN != 0 {
        builder = builder.syn();
    }
    if flags & ACK != 0 {
        builder = builder.ack(5001);
    }
    let mut bytes = Vec::new();
    builder.write(&mut bytes, if data { &[7; 6] } else { &[] }).expect("a Vec takes all");
    let mut frame = [0; 64];
    frame[..bytes.len()].copy_from_slice(&bytes);
    frame
}

/// Of cluster `cluster`: its VMAC, and its VIP where it stands for a client's frames.
#[inline(always)]
pub(crate) fn stamp_inbound(frame: &mut Frame, flow: u32, cluster: u16) {
    let [high, low] = cluster.to_be_bytes();
    frame[..6].copy_from_slice(&[2, 0, 0x5e, 1, high, low]);
    frame[26..30].copy_from_slice(&client(flow).to_be_bytes());
    frame[30..34].copy_from_slice(&[10, 9, high, low]);
    frame[34..36].copy_from_slice(&client_port(flow).to_be_bytes());
    set_checksum(frame);
}

/// The same for a frame of the server with that MAC's last two bytes.
#[inline(always)]
pub(crate) fn stamp_outbound(frame: &mut Frame, flow: u32, cluster: u16, server: [u8; 2]) {
    let [high, low] = cluster.to_be_bytes();
    frame[10..12].copy_from_slice(&server);
    frame[26..30].copy_from_slice(&[10, 9, high, low]);
    frame[30..34].copy_from_slice(&client(flow).to_be_bytes());
    frame[36..38].copy_from_slice(&client_port(flow).to_be_bytes());
    set_checksum(frame);
}

/// A flow's client: its high bits. At most 2^30 flows.
#[inline(always)]
fn client(flow: u32) -> u32 {
    0xc633_0000 | flow >> 14
}

#[inline(always)]
fn client_port(flow: u32) -> u16 {
    1024 + (flow & 0x3fff) as u16
}

/// A right header checksum: a wrong one is nothing for the engine's straight way, whatever the device says of it.
#[inline(always)]
fn set_checksum(frame: &mut Frame) {
    frame[24..26].fill(0);
    let sum = checksum::of(0, &frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}
