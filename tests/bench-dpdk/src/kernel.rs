//! The kernel doing the same: frames made by `BPF_PROG_TEST_RUN` enter a namespace's stack, where nft steers
//! them by writing a MAC.
//!
//! An XDP program of two instructions lets each frame pass (or drops it: the floor). The chain at the ingress
//! of a veth writes one of four MACs, by a hash of the client, and forwards to another veth, whose other
//! end drops.

use anyhow::{Context, Result, bail, ensure};
use core::mem::size_of;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

const PASS: i32 = 2;
const DROP: i32 = 1;

const RULES: &str = "\
table netdev d {
    chain c {
        type filter hook ingress device \"s1\" priority 0; policy accept;
        ip daddr 10.200.1.1 tcp dport 80 ether daddr set jhash ip saddr . tcp sport mod 4 map { \
0 : 02:00:00:00:00:09, 1 : 02:00:00:00:00:0a, 2 : 02:00:00:00:00:0b, 3 : 02:00:00:00:00:0c } fwd to \"r1\"
    }
    chain sink {
        type filter hook ingress device \"r0\" priority 0; policy drop;
    }
}
";

/// A namespace with that rule set, and programs that bring frames into it. The calling thread is in it
/// from then on: use a thread of its own.
#[derive(Debug)]
pub(crate) struct Kernel {
    name: String,
    interface: u32,
    pass: OwnedFd,
    drop: OwnedFd,
}

impl Kernel {
    pub(crate) fn new() -> Result<Self> {
        let name = format!("fs{}-nft", std::process::id());
        ip(&format!("netns add {name}"))?;
        let set_up = || -> Result<(u32, OwnedFd, OwnedFd)> {
            ip(&format!("-n {name} link add s0 type veth peer name s1"))?;
            ip(&format!("-n {name} link add r0 type veth peer name r1"))?;
            for interface in ["s0", "s1", "r0", "r1"] {
                ip(&format!("-n {name} link set {interface} up"))?;
            }
            let mut nft = Command::new("ip")
                .args(["netns", "exec", &name, "nft", "-f", "-"])
                .stdin(Stdio::piped())
                .spawn()
                .context("start ip")?;
            nft.stdin.take().context("no input")?.write_all(RULES.as_bytes())?;
            ensure!(nft.wait()?.success(), "nft does not take the rules");
            enter(&name)?;
            // SAFETY: a string that is only read.
            let interface = unsafe { libc::if_nametoindex(c"s1".as_ptr()) };
            ensure!(interface != 0, "there is no s1");
            Ok((interface, load(PASS)?, load(DROP)?))
        };
        match set_up() {
            Ok((interface, pass, drop)) => Ok(Self { name, interface, pass, drop }),
            Err(error) => {
                let _ = ip(&format!("netns del {name}"));
                Err(error)
            }
        }
    }

    /// Frames of this kind through the whole chain.
    pub(crate) fn steer(&self, frame: &[u8], frames: u32) -> Result<()> {
        self.bring(&self.pass, frame, frames)
    }

    /// Frames that are made and dropped at once: the floor.
    pub(crate) fn floor(&self, frame: &[u8], frames: u32) -> Result<()> {
        self.bring(&self.drop, frame, frames)
    }

    /// How many frames have left by the far side.
    pub(crate) fn left(&self) -> Result<u64> {
        let path = "/sys/class/net/r1/statistics/tx_packets";
        let output = Command::new("ip").args(["netns", "exec", &self.name, "cat", path]).output()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().context("no count")
    }

    fn bring(&self, program: &OwnedFd, frame: &[u8], frames: u32) -> Result<()> {
        const LIVE_FRAMES: u32 = 2;
        let context = [0, frame.len() as u32, 0, self.interface, 0, 0];
        let run = TestRun {
            program: program.as_raw_fd() as u32,
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat: frames,
            context_size_in: size_of_val(&context) as u32,
            context_in: context.as_ptr() as u64,
            flags: LIVE_FRAMES,
            batch_size: 64,
            ..TestRun::default()
        };
        bpf(10, &run).context("BPF_PROG_TEST_RUN with live frames")?;
        Ok(())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// `union bpf_attr` of BPF_PROG_LOAD, as far as it is needed.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
}

/// The same of BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// A program that only returns `verdict`.
fn load(verdict: i32) -> Result<OwnedFd> {
    const XDP: u32 = 6;
    // r0 = verdict; exit
    let instructions: [u64; 2] = [0xb7 | (verdict as u64) << 32, 0x95];
    let load = Load {
        kind: XDP,
        count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Load::default()
    };
    let fd = bpf(5, &load).context("BPF_PROG_LOAD")?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn bpf<T>(command: u32, attributes: &T) -> Result<i64> {
    // SAFETY: the structure begins as the kernel's union does for this command and is as long as said; what it
    // points at lives in the caller's frame.
    let code =
        unsafe { libc::syscall(libc::SYS_bpf, command, core::ptr::from_ref(attributes), size_of::<T>()) };
    if code < 0 {
        bail!("{} (needs root)", std::io::Error::last_os_error());
    }
    Ok(code)
}

fn enter(name: &str) -> Result<()> {
    let file = File::open(format!("/run/netns/{name}")).context("the namespace is gone")?;
    // SAFETY: moves the calling thread alone; the descriptor is a namespace's.
    let code = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    ensure!(code == 0, "setns: {}", std::io::Error::last_os_error());
    Ok(())
}

fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .context("ip is not installed (package iproute2)")?;
    ensure!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
