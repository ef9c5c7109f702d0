//! Frames as they are on the wire: packet sockets on a host's interface.
//!
//! The kernel takes the outer VLAN tag off a received frame and hands it over beside it; it is put
//! back here, so that what is compared is what was on the wire.

use crate::fault::wall as now;
use crate::netns::Namespace;
use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvmsg,
    send, setsockopt, socket, sockopt,
};
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Deliver what the kernel took off the frame, beside it.
#[derive(Clone, Copy)]
struct PacketAuxdata;
nix::setsockopt_impl!(PacketAuxdata, libc::SOL_PACKET, libc::PACKET_AUXDATA, bool, sockopt::SetBool);

/// Frames that a tap remembers for the capture of a failed row.
const REMEMBERED: usize = 4096;

/// Room for what may wait in the kernel.
const RECEIVE_BUFFER: usize = 32 << 20;

/// What a tap has seen and sent of late: (time since 1970, frame).
pub(crate) type Memory = Arc<Mutex<VecDeque<(Duration, Vec<u8>)>>>;

/// An interface of a host, for whole frames.
pub struct Tap {
    socket: OwnedFd,
    memory: Memory,
    own: bool,
}

impl Tap {
    /// Opens `interface` in `namespace`. From then on no frame is missed.
    ///
    /// # Errors
    ///
    /// When there is no such interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        namespace.enter(|| {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )
            .context("open a packet socket")?;
            let address = nix::ifaddrs::getifaddrs()?
                .filter(|i| i.interface_name == interface)
                .find_map(|i| i.address?.as_link_addr().copied())
                .with_context(|| format!("no interface {interface} in {}", namespace.name()))?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            setsockopt(&socket, PacketAuxdata, &true)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            bind(socket.as_raw_fd(), &address)?;
            let tap = Self { socket, memory: Memory::default(), own: false };
            tap.drain();
            Ok(tap)
        })
    }

    /// The same, which also sees what the host itself sends.
    #[must_use]
    pub fn with_own(mut self) -> Self {
        self.own = true;
        self
    }

    /// Sends one frame, as it is.
    ///
    /// # Errors
    ///
    /// When the interface refuses it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.remember(now(), frame);
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(nix::Error::EAGAIN | nix::Error::ENOBUFS) => {
                    self.wait(PollFlags::POLLOUT, Duration::from_millis(10))
                }
                Err(error) => return Err(error).context("send a frame"),
            }
        }
    }

    /// The next frame that came in, if one comes before `end`.
    pub fn next(&self, end: Instant) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let rest = end.checked_duration_since(Instant::now())?;
            self.wait(PollFlags::POLLIN, rest);
        }
    }

    /// The first frame that `wanted` accepts; those before it are passed over.
    ///
    /// # Errors
    ///
    /// When none comes within `limit`.
    pub fn find(
        &self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let end = Instant::now() + limit;
        while let Some(frame) = self.next(end) {
            if wanted(&frame) {
                return Ok(frame);
            }
        }
        anyhow::bail!("no such frame within {:.1} s: {what}", limit.as_secs_f64())
    }

    /// Every frame that comes within `span` and that `wanted` accepts.
    pub fn gather(&self, span: Duration, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let end = Instant::now() + span;
        std::iter::from_fn(|| self.next(end)).filter(|f| wanted(f)).collect()
    }

    /// Every frame that has come so far and that `wanted` accepts.
    pub fn pending(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.take()).filter(|f| wanted(f)).collect()
    }

    /// Forgets what has come so far.
    pub fn drain(&self) {
        while self.take().is_some() {}
    }

    pub(crate) fn memory(&self) -> Memory {
        Arc::clone(&self.memory)
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.take_stamped().map(|(_, frame)| frame)
    }

    /// The next frame that has come, with the time since 1970 at which it did; `None` when there is none.
    pub fn take_stamped(&self) -> Option<(Duration, Vec<u8>)> {
        let mut frame = vec![0; 16 * 1024];
        loop {
            let mut control = cmsg_space!([u8; 64], nix::sys::time::TimeSpec);
            let mut slices = [IoSliceMut::new(&mut frame)];
            let message = recvmsg::<LinkAddr>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::empty(),
            )
            .ok()?;
            if !self.own && message.address.is_some_and(|a| a.pkttype() == libc::PACKET_OUTGOING) {
                continue;
            }
            let (mut tag, mut at) = (None, None);
            for part in message.cmsgs().ok()? {
                match part {
                    ControlMessageOwned::ScmTimestampns(time) => at = Some(Duration::from(time)),
                    other => tag = tag.or_else(|| stripped_tag(other)),
                }
            }
            let at = at.unwrap_or_else(now);
            let length = message.bytes;
            frame.truncate(length);
            if let Some(tag) = tag {
                frame.splice(12..12, tag);
            }
            self.remember(at, &frame);
            return Some((at, frame));
        }
    }

    fn remember(&self, at: Duration, frame: &[u8]) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() == REMEMBERED {
            memory.pop_front();
        }
        memory.push_back((at, frame.to_vec()));
    }

    fn wait(&self, what: PollFlags, limit: Duration) {
        let limit = PollTimeout::try_from(limit.min(Duration::from_secs(60))).unwrap_or(PollTimeout::ZERO);
        // Interrupted or late: the caller looks at its deadline anyway.
        let _ = poll(&mut [PollFd::new(self.socket.as_fd(), what)], limit);
    }
}

impl Drop for Tap {
    /// What nobody asked for belongs into the capture of a failed row too.
    fn drop(&mut self) {
        self.drain();
    }
}

/// The VLAN tag of a `struct tpacket_auxdata`: status, len, snaplen (32 bits each), mac, net, tci, tpid (16 each).
fn stripped_tag(message: ControlMessageOwned) -> Option<[u8; 4]> {
    let ControlMessageOwned::Unknown(aux) = message else { return None };
    if (aux.cmsg_header.cmsg_level, aux.cmsg_header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    let status = u32::from_ne_bytes(aux.data_bytes.get(..4)?.try_into().ok()?);
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let half = |at| Some(u16::from_ne_bytes(aux.data_bytes.get(at..at + 2)?.try_into().ok()?));
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 { 0x8100 } else { half(18)? };
    let [a, b] = tpid.to_be_bytes();
    let [c, d] = half(16)?.to_be_bytes();
    Some([a, b, c, d])
}

/// Writes what taps remember into one capture, in the order of time.
pub(crate) fn write_capture(path: &Path, memories: &[Memory]) -> Result<usize> {
    let mut frames: Vec<(Duration, Vec<u8>)> =
        memories.iter().flat_map(|m| m.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect();
    frames.sort();
    if frames.is_empty() {
        return Ok(0);
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut writer = pcap_file::pcap::PcapWriter::new(std::io::BufWriter::new(std::fs::File::create(path)?))?;
    for (time, frame) in &frames {
        let length = u32::try_from(frame.len())?;
        writer.write_packet(&pcap_file::pcap::PcapPacket::new(*time, length, frame))?;
    }
    Ok(frames.len())
}
