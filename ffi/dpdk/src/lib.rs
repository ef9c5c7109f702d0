//! DPDK behind safe types; implements [`dataplane_port::Ports`].
//!
//! [`Eal`] is DPDK itself, [`Mempool`] buffers, [`EthPort`] a started device. A [`switchboard`]
//! joins the workers: one [`DpdkPorts`] for each, and the [`PortControl`] with which the process
//! attaches and detaches devices while the workers run.
//!
//! Who owns what keeps the unsafe lines true: an mbuf has exactly one owner ([`DpdkPorts`], a ring,
//! a device, a [`HeldFrame`]); a queue belongs to the worker of its number; a device is closed only
//! when every worker has given it back; pools live until the EAL is shut down, and it is shut down
//! only by its last holder.

mod batch;
mod control;
mod counters;
mod eal;
mod error;
mod eth_port;
mod exits;
mod mbuf;
mod mempool;
mod ports;

pub use control::{PortControl, RING_FRAMES_MAX, switchboard};
pub use counters::PortTotals;
pub use eal::{Eal, Task, version};
pub use error::DpdkError;
pub use eth_port::{DeviceName, EthPort, EthStats, OpenError, PortSettings};
pub use mempool::{BufferNeeds, Mempool, PortBuffers};
pub use ports::{DpdkPorts, HeldFrame};
