//! Probes to servers and routers (FS-30, FS-13): whole frames in, whole frames out; no socket, no clock.
//!
//! [`Prober`] asks one server what its checks say, [`RouterProber`] one router; both are driven alike:
//! start, take out frames, hand in answers, wake at the deadline, take out outcomes. [`classify`] tells which
//! of them a frame is for. What a server answers is believed no more than any stranger's word (C18): every
//! parser here is bounded in time and memory, and there is an outcome by the time-out whatever comes.

mod check;
mod classify;
mod connection;
mod dns;
mod failure;
mod http;
mod packet;
mod peer;
mod prober;
mod question;
mod router;
mod search;
mod tls;

pub use check::{Check, Dns, Http, Kind, StatusRange};
pub use classify::{Answer, AnswerKind, classify};
pub use failure::{Failure, Outcome};
pub use peer::{Ignored, Local, NotUsable, Peer, Router};
pub use prober::{Prober, TIMEOUT_MAX_MS};
pub use router::{RouterAnswer, RouterKind, RouterProber};
