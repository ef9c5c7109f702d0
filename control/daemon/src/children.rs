//! Child processes.

use crate::supervisor::End;
use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Starts a program in a process group of its own, so that the terminal's ctrl-c reaches only us, with
/// no signal blocked (we block some, and what is blocked is inherited), without input, and with its
/// output where our errors go.
pub(crate) fn start(
    program: &Path,
    arguments: &[OsString],
    variables: &[(&str, OsString)],
) -> io::Result<i32> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETPGROUP | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    let mut actions = PosixSpawnFileActions::init()?;
    let nothing = File::open("/dev/null")?;
    actions.add_dup2(nothing.as_raw_fd(), 0)?;
    actions.add_dup2(2, 1)?;
    let words = core::iter::once(program.as_os_str().to_owned()).chain(arguments.iter().cloned());
    let words: Vec<CString> = words.map(c_string).collect::<io::Result<_>>()?;
    let pid = posix_spawn(program, &actions, &attributes, &words, &environment(variables)?)?;
    Ok(pid.as_raw())
}

/// How a child has ended, if it has.
pub(crate) fn ended(pid: i32) -> Option<End> {
    match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Some(End::Code(code)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(End::Signal(signal as i32)),
        Ok(_) | Err(Errno::EINTR) => None,
        Err(_) => Some(End::Unknown),
    }
}

/// Sends a signal. One that has just ended does not hear it, and that is as well.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Err(errno) = kill(Pid::from_raw(pid), signal)
        && errno != Errno::ESRCH
    {
        tracing::warn!("cannot send {signal} to process {pid}: {errno}");
    }
}

/// Our environment with some variables set.
fn environment(variables: &[(&str, OsString)]) -> io::Result<Vec<CString>> {
    let inherited =
        std::env::vars_os().filter(|(name, _)| !variables.iter().any(|(ours, _)| name.as_os_str() == *ours));
    let set = variables.iter().map(|(name, value)| (OsString::from(name), value.clone()));
    inherited
        .chain(set)
        .map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            c_string(variable)
        })
        .collect()
}

fn c_string(text: OsString) -> io::Result<CString> {
    debug_assert!(!text.as_bytes().is_empty(), "no argument of ours is empty");
    CString::new(text.into_vec()).map_err(|_| io::ErrorKind::InvalidInput.into())
}
