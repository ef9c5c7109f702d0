//! Peers that do not run here: figures measured once, with their conditions.
//!
//! All on the same two-core AMD Zen 3 virtual machine with DPDK 22.11, one core, instructions a packet
//! by the machine's own counter, established flows.

/// A figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted {
    pub(crate) name: &'static str,
    pub(crate) instructions: f64,
}

/// Katran's XDP program, head of 2026-08, IPIP encapsulation, a VIP of 100 reals, LRU hit at 1,000 flows,
/// by `BPF_PROG_TEST_RUN`: 1,218 in all, net of the test's wrapper 970.
pub(crate) const KATRAN: Quoted =
    Quoted { name: "Katran, LRU hit, net of its test's wrapper (quoted)", instructions: 970.0 };

/// xvs v0.1.20, XDP, direct return by MAC rewrite, IPv4, same method: 1,226 in all, net of the wrapper 1,060.
pub(crate) const XVS: Quoted =
    Quoted { name: "xvs v0.1.20, net of its test's wrapper (quoted)", instructions: 1060.0 };

/// DPVS v1.10-2, DR mode, UDP, round robin, one worker, 1,024 flows from `net_pcap`: 1,600 to 1,670 in
/// all, net of the device 1,430.
pub(crate) const DPVS: Quoted =
    Quoted { name: "DPVS v1.10-2, DR mode, net of its device (quoted)", instructions: 1430.0 };

/// testpmd's macswap on two `net_null`, in all; used where it cannot be counted here.
pub(crate) const TESTPMD: Quoted = Quoted { name: "testpmd macswap (quoted)", instructions: 140.0 };
