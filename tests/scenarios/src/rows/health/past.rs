//! A server that answers past the switch.

use crate::lab::Lab;
use anyhow::Result;

/// Gives a server a second interface, `eth9`, toward the first router, by which its packets to clients leave.
pub(super) fn second_way_out(lab: &Lab, place: usize) -> Result<()> {
    second_interface(lab, place)?;
    lab.servers[place].ns.ip(&format!("route replace default via 10.99.{}.1 dev eth9\n", place + 1))
}

/// The interface alone: server number `n` is 10.99.n.2 there, the router 10.99.n.1.
pub(super) fn second_interface(lab: &Lab, place: usize) -> Result<()> {
    let (server, router, n) = (&lab.servers[place], &lab.routers[0], place + 1);
    server.ns.ip(&format!(
        "link add eth9 type veth peer name side{n} netns {}\n\
         addr add 10.99.{n}.2/24 dev eth9\nlink set eth9 up\n",
        router.ns.name()
    ))?;
    router.ns.ip(&format!("addr add 10.99.{n}.1/24 dev side{n}\nlink set side{n} up\n"))?;
    router.ns.sysctl(&[(&format!("ipv4/conf/side{n}/rp_filter"), "0"), ("ipv4/conf/all/rp_filter", "0")])?;
    server.ns.sysctl(&[("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/eth0/rp_filter", "0")])
}
