//! `flowswitchd run`: the shell around the supervisor.

use crate::children;
use crate::files::{Role, is_taken, pid, remove_pid, replace, take_role, wait_free, write_pid};
use crate::link::{Link, SOCKET};
use crate::load::{self, BOOT};
use crate::notify;
use crate::orders::{Order, Orders};
use crate::preflight::{self, Missing};
use crate::supervisor::{Action, Child, End, Outcome, Supervisor};
use control_config::{BootChange, FileError, boot_changes};
use dataplane_flow::Instant;
use dataplane_message::{Boot, ToControl, ToDataPath, VERSION};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// What a supervisor works with.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// The directory of sockets and locks.
    pub runtime_dir: PathBuf,
    /// The directory of what outlives a restart of the machine.
    pub state_dir: PathBuf,
    /// The data path's program, where it is not beside ours.
    pub data_path: Option<PathBuf>,
    /// Our own program, which also is the control core's.
    pub control: PathBuf,
}

/// Why nothing is started, or all has ended.
#[derive(Debug, Error)]
pub enum RunError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something is missing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Another one is there.
    #[error("flowswitchd run is already running in {} (process {}); stop it first, or use another --runtime-dir", runtime_dir.display(), number(*pid))]
    Running {
        /// The directory.
        runtime_dir: PathBuf,
        /// Its number.
        pid: Option<i32>,
    },
    /// A data path is left over and does something else than the file says.
    #[error("flowswitch-dp (process {}) still runs with other settings ({}); stop it with `kill {}` and start again", number(*pid), listed(changes), number(*pid))]
    OtherDataPath {
        /// Its number.
        pid: Option<i32>,
        /// What differs.
        changes: Vec<BootChange>,
    },
    /// A data path is left over and does not answer.
    #[error("flowswitch-dp (process {}) still runs and does not answer; stop it with `kill -9 {}` and start again", number(*pid), number(*pid))]
    SilentDataPath {
        /// Its number.
        pid: Option<i32>,
    },
    /// The control core of a supervisor before us does not end.
    #[error("flowswitchd control (process {}) of an earlier run does not end; stop it with `kill -9 {}`", number(*pid), number(*pid))]
    StubbornControl {
        /// Its number.
        pid: Option<i32>,
    },
    /// A child ended before the switch was ready.
    #[error("{child} ended before the switch was ready; its own message is above")]
    Failed {
        /// Which one.
        child: Child,
    },
    /// The runtime directory cannot be made, or nothing can be written in it.
    #[error("the runtime directory {} cannot be used: {source}; name another with --runtime-dir", path.display())]
    RuntimeDir {
        /// Which one.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file or a socket.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

fn number(pid: Option<i32>) -> String {
    pid.map_or_else(|| "?".into(), |pid| pid.to_string())
}

fn listed(changes: &[BootChange]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Runs both processes until an order says stop. Nothing is started before everything is known to be
/// there. `say` prints a line for the operator.
///
/// # Errors
///
/// [`RunError`], whose text says what to do.
pub fn run(options: &RunOptions, orders: &mut dyn Orders, say: &mut dyn FnMut(&str)) -> Result<(), RunError> {
    let loaded = control_config::load(&options.config)?;
    for warning in loaded.config.warnings() {
        tracing::warn!("{}:{}: {warning}", options.config.display(), warning.line);
    }
    let boot = loaded.config.boot();
    preflight::rights(&boot)?;
    let runtime_dir = &options.runtime_dir;
    let io = |path: &Path| {
        let path = path.to_owned();
        |source| RunError::Io { path, source }
    };
    let taken = fs::create_dir_all(runtime_dir).and_then(|()| take_role(runtime_dir, RUN));
    let role = taken.map_err(|source| RunError::RuntimeDir { path: runtime_dir.clone(), source })?;
    let role = role.map_err(|pid| RunError::Running { runtime_dir: runtime_dir.clone(), pid })?;
    let data_path = preflight::data_path(options.data_path.as_deref())?;
    end_control(runtime_dir)?;
    let adopted = adoptable(runtime_dir, &boot)?;
    if adopted.is_none() {
        preflight::interfaces(&boot)?;
        let path = runtime_dir.join(BOOT);
        let text = serde_json::to_vec_pretty(&boot).expect("settings hold nothing that JSON cannot");
        replace(&path, &text).map_err(io(&path))?;
    }
    let notify = runtime_dir.join(NOTIFY);
    let mailbox = mailbox(&notify).map_err(io(&notify))?;
    let clock = std::time::Instant::now();
    let mut run = Run {
        options,
        data_path,
        _role: role,
        clock,
        supervisor: Supervisor::new(adopted.is_some(), Instant::default()),
        pids: [adopted, None],
        watched: adopted.map(|_| watch(runtime_dir)).transpose().map_err(io(runtime_dir))?,
        mailbox,
        status: String::new(),
    };
    if let Some(pid) = adopted {
        tracing::info!("taking over the data path that runs already (process {pid})");
    }
    let outcome = run.serve(orders, say)?;
    run.tidy();
    match outcome {
        Outcome::Stopped => Ok(()),
        Outcome::Failed(child) => Err(RunError::Failed { child }),
    }
}

/// The roles of a directory: ours, the control core's, the data path's.
const RUN: &str = "run";
const CONTROL: &str = crate::control::ROLE;
const DATA_PATH: &str = "dp";

/// Where the control core tells how it is.
const NOTIFY: &str = "notify.sock";

/// How long what is left over from an earlier run may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(2);

struct Run<'a> {
    options: &'a RunOptions,
    data_path: PathBuf,
    _role: Role,
    clock: std::time::Instant,
    supervisor: Supervisor,
    /// The children's numbers, the data path's first.
    pids: [Option<i32>; 2],
    /// Readable when a data path that is not our child has ended.
    watched: Option<UnixStream>,
    mailbox: UnixDatagram,
    status: String,
}

impl Run<'_> {
    fn now(&self) -> Instant {
        Instant(self.clock.elapsed().as_nanos() as u64)
    }

    fn serve(&mut self, orders: &mut dyn Orders, say: &mut dyn FnMut(&str)) -> Result<Outcome, RunError> {
        loop {
            self.supervisor.handle_deadline(self.now());
            while let Some(action) = self.supervisor.poll_action() {
                match action {
                    Action::Start(child) => self.start(child),
                    Action::Terminate(child) => self.signal(child, Signal::SIGTERM),
                    Action::Kill(child) => self.signal(child, Signal::SIGKILL),
                    Action::Exit(outcome) => return Ok(outcome),
                }
            }
            self.wait(orders, say)?;
        }
    }

    fn wait(&mut self, orders: &mut dyn Orders, say: &mut dyn FnMut(&str)) -> Result<(), RunError> {
        let timeout = match self.supervisor.next_deadline() {
            Some(deadline) => {
                let ms = deadline.since(self.now()).div_ceil(1_000_000).min(60_000);
                PollTimeout::try_from(ms as u32).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let mut fds = vec![
            PollFd::new(orders.fd(), PollFlags::POLLIN),
            PollFd::new(self.mailbox.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(self.watched.as_ref().map(|watched| PollFd::new(watched.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(RunError::Io { path: self.options.runtime_dir.clone(), source: errno.into() });
            }
        }
        drop(fds);
        while let Some(order) = orders.next() {
            match order {
                Order::Stop => self.supervisor.handle_stop(self.now()),
                Order::Reload => self.signal(Child::Control, Signal::SIGHUP),
                Order::ChildEnded => self.reap(),
            }
        }
        if let Some(watched) = &mut self.watched
            && !matches!(watched.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        {
            self.watched = None;
            self.ended(Child::DataPath, End::Unknown);
        }
        let mut datagram = [0; 1024];
        while let Ok(length) = self.mailbox.recv(&mut datagram) {
            if let Some(status) = notify::parse(&datagram[..length]) {
                self.supervisor.handle_ready();
                if self.status != status {
                    say(&format!("flowswitch: ready ({status})"));
                    self.status = status;
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, child: Child) {
        let runtime_dir = &self.options.runtime_dir;
        let words = |words: &[&dyn AsRef<std::ffi::OsStr>]| -> Vec<OsString> {
            words.iter().map(|word| word.as_ref().to_owned()).collect()
        };
        let started = match child {
            Child::DataPath => {
                let boot = runtime_dir.join(BOOT);
                let arguments = words(&[&"--boot", &boot, &"--runtime-dir", runtime_dir]);
                children::start(&self.data_path, &arguments, &[])
            }
            Child::Control => {
                let arguments = words(&[
                    &"control",
                    &"--config",
                    &self.options.config,
                    &"--runtime-dir",
                    runtime_dir,
                    &"--state-dir",
                    &self.options.state_dir,
                ]);
                let notify = (notify::VARIABLE, runtime_dir.join(NOTIFY).into_os_string());
                children::start(&self.options.control, &arguments, &[notify])
            }
        };
        let now = self.now();
        match started {
            Ok(pid) => {
                self.pids[child as usize] = Some(pid);
                // The control core writes its own.
                if child == Child::DataPath {
                    write_pid(runtime_dir, DATA_PATH, pid as u32);
                }
                self.supervisor.handle_started(child, now);
            }
            Err(error) => {
                tracing::error!("{child} cannot be started: {error}");
                self.supervisor.handle_ended(child, End::Code(127), now);
            }
        }
    }

    fn signal(&self, child: Child, signal: Signal) {
        if let Some(pid) = self.pids[child as usize] {
            children::signal(pid, signal);
        }
    }

    /// Takes note of our children that have ended.
    fn reap(&mut self) {
        for child in Child::ALL {
            // One that is not our child tells by its lock.
            if child == Child::DataPath && self.watched.is_some() {
                continue;
            }
            if let Some(end) = self.pids[child as usize].and_then(children::ended) {
                self.ended(child, end);
            }
        }
    }

    fn ended(&mut self, child: Child, end: End) {
        self.pids[child as usize] = None;
        let text = match end {
            End::Code(code) => format!("{child} ended with code {code}"),
            End::Signal(signal) => format!("{child} was ended by signal {signal}"),
            End::Unknown => format!("{child} ended"),
        };
        tracing::info!("{text}");
        self.supervisor.handle_ended(child, end, self.now());
    }

    /// Leaves nothing behind that speaks of processes.
    fn tidy(&self) {
        let runtime_dir = &self.options.runtime_dir;
        for role in [CONTROL, DATA_PATH] {
            remove_pid(runtime_dir, role);
        }
        let _ = fs::remove_file(runtime_dir.join(NOTIFY));
        let _ = fs::remove_file(runtime_dir.join(BOOT));
    }
}

/// Ends the control core of a supervisor before us. Its successor adopts what it left.
fn end_control(runtime_dir: &Path) -> Result<(), RunError> {
    let io = |source| RunError::Io { path: runtime_dir.to_owned(), source };
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if !is_taken(runtime_dir, CONTROL).map_err(io)? {
            return Ok(());
        }
        if let Some(pid) = pid(runtime_dir, CONTROL) {
            tracing::info!("ending the control core of an earlier run (process {pid})");
            children::signal(pid, signal);
        }
        let mut freed = watch_role(runtime_dir, CONTROL).map_err(io)?;
        freed.set_nonblocking(false).map_err(io)?;
        freed.set_read_timeout(Some(PATIENCE)).map_err(io)?;
        let _ = freed.read(&mut [0]);
    }
    if is_taken(runtime_dir, CONTROL).map_err(io)? {
        return Err(RunError::StubbornControl { pid: pid(runtime_dir, CONTROL) });
    }
    Ok(())
}

/// The number of a data path that runs already and does what the file says.
fn adoptable(runtime_dir: &Path, boot: &Boot) -> Result<Option<i32>, RunError> {
    let io = |source| RunError::Io { path: runtime_dir.to_owned(), source };
    if !is_taken(runtime_dir, DATA_PATH).map_err(io)? {
        return Ok(None);
    }
    let pid = pid(runtime_dir, DATA_PATH);
    if !answers(&runtime_dir.join(SOCKET)) {
        return Err(RunError::SilentDataPath { pid });
    }
    let running = load::boot(runtime_dir);
    let changes = running.map_or_else(Vec::new, |running| boot_changes(&running, boot));
    match pid {
        Some(pid) if changes.is_empty() => Ok(Some(pid)),
        _ => Err(RunError::OtherDataPath { pid, changes }),
    }
}

/// Whether a data path tells what it works by.
fn answers(socket: &Path) -> bool {
    let ask = || -> Result<bool, crate::link::LinkError> {
        let mut link = Link::connect(socket)?;
        link.send(&ToDataPath::Hello { version: VERSION, sender: 0 })?;
        let begin = std::time::Instant::now();
        loop {
            match link.receive()? {
                Some(ToControl::Snapshot { .. }) => return Ok(true),
                Some(_) => {}
                None => {
                    let left = PATIENCE.saturating_sub(begin.elapsed());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    ffi_linux::wait_readable(&[link.as_fd()], left);
                }
            }
        }
    };
    ask().unwrap_or(false)
}

/// Readable when nobody is the data path any more.
fn watch(runtime_dir: &Path) -> io::Result<UnixStream> {
    watch_role(runtime_dir, DATA_PATH)
}

/// Readable when nobody has a role any more. A thread waits for the lock; it ends with the role, or
/// with us.
fn watch_role(runtime_dir: &Path, role: &'static str) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let runtime_dir = runtime_dir.to_owned();
    std::thread::Builder::new().name(format!("watch {role}")).spawn(move || {
        if let Err(error) = wait_free(&runtime_dir, role) {
            tracing::warn!("cannot watch {role}: {error}");
        }
        let _ = (&theirs).write_all(&[0]);
    })?;
    Ok(ours)
}

/// A socket that takes notifications.
fn mailbox(path: &Path) -> io::Result<UnixDatagram> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mailbox = UnixDatagram::bind(path)?;
    mailbox.set_nonblocking(true)?;
    Ok(mailbox)
}
