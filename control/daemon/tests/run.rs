//! The programs as they are started, with this test's own program as the data path.
//!
//! Started with `--boot FILE --runtime-dir DIR` it is a data path that says yes to every plan; else it
//! runs the stories below.

#![allow(clippy::unwrap_used)] // free in tests

mod fake;

use dataplane_message::{Plan, ToControl, ToDataPath};
use fake::FakeDataPath;
use ffi_linux::LockFile;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const GOOD: &str = r#"
[ports.up1]
vdev = "net_null0"
[ports.s1]
vdev = "net_null1"
role = "server"
[servers.web-1]
port = "s1"
[clusters.web]
vip = "10.9.0.100"
servers = ["web-1"]
"#;

/// The stories, by name.
const STORIES: &[(&str, fn())] = &[
    ("both_processes_are_kept_running_and_stopped", both_processes_are_kept_running_and_stopped),
    ("ctrl_c_stops_everything", ctrl_c_stops_everything),
    ("a_signal_reloads", a_signal_reloads),
    ("twelve_mistakes_start_nothing", twelve_mistakes_start_nothing),
    ("a_second_instance_names_the_first", a_second_instance_names_the_first),
    ("without_the_data_paths_program", without_the_data_paths_program),
    ("without_a_runtime_directory", without_a_runtime_directory),
    ("without_dpdk", without_dpdk),
    ("without_an_interface", without_an_interface),
    ("a_data_path_that_gives_up_at_once", a_data_path_that_gives_up_at_once),
    ("a_supervisor_that_is_killed_leaves_the_data_path", a_supervisor_that_is_killed_leaves_the_data_path),
    ("a_data_path_with_other_settings_is_not_taken_over", a_data_path_with_other_settings_is_not_taken_over),
    ("check_tells_by_its_exit_code", check_tells_by_its_exit_code),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1));
    if words.iter().any(|word| word == "--version") {
        return ExitCode::SUCCESS;
    }
    if let (Some(boot), Some(runtime_dir)) = (after("--boot"), after("--runtime-dir")) {
        return data_path(Path::new(boot), Path::new(runtime_dir));
    }
    let filter = words.iter().find(|word| !word.starts_with('-'));
    let chosen =
        STORIES.iter().filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter.as_str())));
    for (name, story) in chosen {
        if words.iter().any(|word| word == "--list") {
            println!("{name}: test");
            continue;
        }
        let begin = Instant::now();
        // A story that fails panics, which ends this program with a code that says so.
        story();
        println!("test {name} ... ok ({:.1} s)", begin.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

/// A data path: takes every plan, keeps it while it lives.
fn data_path(boot: &Path, runtime_dir: &Path) -> ExitCode {
    assert!(boot.is_file());
    if runtime_dir.join("no").exists() {
        eprintln!("flowswitch-dp: does not want to");
        return ExitCode::FAILURE;
    }
    let Ok(Some(_lock)) = LockFile::take(&runtime_dir.join("dp.lock")) else {
        eprintln!("flowswitch-dp: another one runs");
        return ExitCode::FAILURE;
    };
    let data_path = FakeDataPath::listen(runtime_dir);
    let (mut epoch, mut plan) = (0, Plan::default());
    loop {
        let mut peer = data_path.accept_for(Duration::MAX);
        while let Some(message) = peer.receive_for(Duration::MAX) {
            match message {
                ToDataPath::Hello { .. } => {
                    peer.send(&fake::snapshot(dataplane_message::VERSION, epoch, &plan));
                }
                ToDataPath::Apply { epoch: new, steps } => {
                    steps.into_iter().for_each(|step| plan.apply(step));
                    epoch = new;
                    peer.send(&ToControl::Ack { epoch });
                }
                _ => {}
            }
        }
    }
}

/// A folder with a configuration.
struct Lab {
    folder: PathBuf,
}

impl Lab {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fs-run-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("run")).unwrap();
        let lab = Self { folder };
        lab.write(GOOD);
        lab
    }

    fn write(&self, text: &str) {
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.join("switch.toml")
    }

    fn runtime_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    fn command(&self, data_path: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowswitchd"));
        command.arg("run").arg("--config").arg(self.config());
        command.arg("--runtime-dir").arg(self.runtime_dir()).arg("--data-path").arg(data_path);
        command.env_remove("FLOWSWITCH_LOG").stdin(Stdio::null());
        command
    }

    fn start(&self) -> Running {
        let ours = std::env::current_exe().unwrap();
        let mut child =
            self.command(&ours).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is built");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Running { child, stdout, stderr, runtime_dir: self.runtime_dir() }
    }

    /// Starts it with that data path; what it says until it ends, which it should, and how.
    fn end(&self, data_path: &Path) -> (String, ExitStatus) {
        let output = self.command(data_path).output().expect("it is built");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        (String::from_utf8(output.stderr).unwrap(), output.status)
    }

    /// The one line that it says before it ends with 1.
    fn one_line(&self, data_path: &Path) -> String {
        let (text, status) = self.end(data_path);
        assert_eq!(status.code(), Some(1), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What a story left running ends here; nobody else has files in this folder.
        for role in ["run", "control", "dp"] {
            if let Some(pid) = pid(&self.runtime_dir(), role) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A running switch.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    runtime_dir: PathBuf,
}

impl Running {
    /// The next line of its output.
    fn said(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits for a line of its log.
    fn logged(&mut self, text: &str) {
        let mut log = String::new();
        loop {
            let before = log.len();
            assert!(self.stderr.read_line(&mut log).unwrap() > 0, "no line {text:?} in {log}");
            if log[before..].contains(text) {
                return;
            }
        }
    }

    fn pid(&self, role: &str) -> i32 {
        pid(&self.runtime_dir, role).expect("the file is there")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

fn pid(runtime_dir: &Path, role: &str) -> Option<i32> {
    fs::read_to_string(runtime_dir.join(format!("{role}.pid"))).ok()?.trim().parse().ok()
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

const READY: &str = "flowswitch: ready (plan 1, 2 ports, 1 worker)";

fn both_processes_are_kept_running_and_stopped() {
    let lab = Lab::new("both");
    let mut running = lab.start();
    assert_eq!(running.said(), READY);
    let (data_path, control) = (running.pid("dp"), running.pid("control"));
    assert_eq!(running.pid("run"), running.child.id() as i32);
    for child in [data_path, control] {
        let group = getpgid(Some(Pid::from_raw(child))).unwrap();
        assert_eq!(group.as_raw(), child, "a group of its own: ctrl-c does not reach it");
    }
    // The control core dies: the data path does not notice, the next one adopts.
    running.logged("plan 1, 2 ports, 1 worker");
    kill_9(control);
    running.logged("flowswitchd control was ended by signal 9");
    running.logged("plan 1, 2 ports, 1 worker, 0 steps");
    assert_eq!(running.pid("dp"), data_path);
    assert_ne!(running.pid("control"), control);
    // The data path dies: it is started again and gets the whole plan.
    kill_9(data_path);
    running.logged("flowswitch-dp was ended by signal 9");
    running.logged("plan 1, 2 ports, 1 worker, 4 steps");
    assert_ne!(running.pid("dp"), data_path);
    let (data_path, control) = (running.pid("dp"), running.pid("control"));
    let begin = Instant::now();
    running.signal(Signal::SIGTERM);
    assert!(running.wait().success());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(!is_alive(data_path) && !is_alive(control));
    for file in ["run.pid", "dp.pid", "control.pid", "boot.json", "flowctl.sock", "notify.sock"] {
        assert!(!lab.runtime_dir().join(file).exists(), "{file} is left");
    }
}

fn ctrl_c_stops_everything() {
    let lab = Lab::new("ctrl-c");
    let mut running = lab.start();
    assert_eq!(running.said(), READY);
    let (data_path, control) = (running.pid("dp"), running.pid("control"));
    running.signal(Signal::SIGINT);
    assert!(running.wait().success());
    assert!(!is_alive(data_path) && !is_alive(control));
}

fn a_signal_reloads() {
    let lab = Lab::new("hup");
    let mut running = lab.start();
    assert_eq!(running.said(), READY);
    lab.write(&format!("{GOOD}chooser = \"round-robin\"\n"));
    running.signal(Signal::SIGHUP);
    assert_eq!(running.said(), READY.replace("plan 1", "plan 2"));
    running.signal(Signal::SIGTERM);
    assert!(running.wait().success());
}

fn twelve_mistakes_start_nothing() {
    let lab = Lab::new("twelve");
    lab.write(include_str!("../../config/tests/files/twelve.toml"));
    let (text, status) = lab.end(&std::env::current_exe().unwrap());
    assert_eq!(status.code(), Some(2));
    let (last, mistakes) =
        text.lines().collect::<Vec<_>>().split_last().map(|(l, m)| (*l, m.to_vec())).unwrap();
    assert_eq!(mistakes.len(), 12, "{text}");
    let file = lab.config().display().to_string();
    assert!(mistakes.iter().all(|line| line.starts_with(&file) && line.contains("; ")), "{text}");
    assert_eq!(last, format!("flowswitchd: {file}: 12 mistakes; nothing was started"));
    assert_eq!(fs::read_dir(lab.runtime_dir()).unwrap().count(), 0, "nothing was started");
}

fn a_second_instance_names_the_first() {
    let lab = Lab::new("second");
    let mut running = lab.start();
    assert_eq!(running.said(), READY);
    let line = lab.one_line(&std::env::current_exe().unwrap());
    assert!(
        line.contains(&format!(
            "already running in {} (process {})",
            lab.runtime_dir().display(),
            running.child.id()
        )),
        "{line}"
    );
    running.signal(Signal::SIGTERM);
    assert!(running.wait().success());
}

fn without_the_data_paths_program() {
    let lab = Lab::new("none");
    let line = lab.one_line(&lab.folder.join("flowswitch-dp"));
    assert!(line.contains("there is no ") && line.contains("--data-path"), "{line}");
}

fn without_a_runtime_directory() {
    let lab = Lab::new("place");
    fs::remove_dir(lab.runtime_dir()).unwrap();
    File::create(lab.runtime_dir()).unwrap();
    let line = lab.one_line(&std::env::current_exe().unwrap());
    let expected = format!("the runtime directory {} cannot be used: ", lab.runtime_dir().display());
    assert!(line.contains(&expected) && line.contains("--runtime-dir"), "{line}");
}

fn without_dpdk() {
    let lab = Lab::new("dpdk");
    let program = lab.folder.join("flowswitch-dp");
    let mut file = File::create(&program).unwrap();
    file.write_all(
        b"#!/bin/sh\necho \"$0: error while loading shared libraries: librte_eal.so.23: cannot open shared object file: No such file or directory\" >&2\nexit 127\n",
    )
    .unwrap();
    drop(file);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let line = lab.one_line(&program);
    assert!(
        line.contains("needs DPDK: librte_eal.so.23: ") && line.contains("apt install libdpdk-dev"),
        "{line}"
    );
}

fn without_an_interface() {
    let lab = Lab::new("interface");
    lab.write(&GOOD.replace("vdev = \"net_null0\"", "interface = \"nosuch0\""));
    let line = lab.one_line(&std::env::current_exe().unwrap());
    // Who may not use interfaces at all is told that first.
    assert!(line.contains("there is no interface nosuch0") || line.contains("run as root"), "{line}");
}

fn a_data_path_that_gives_up_at_once() {
    let lab = Lab::new("gives-up");
    fs::write(lab.runtime_dir().join("no"), "").unwrap();
    let (text, status) = lab.end(&std::env::current_exe().unwrap());
    assert_eq!(status.code(), Some(1));
    assert!(
        text.starts_with("flowswitch-dp: does not want to\n")
            || text.contains("\nflowswitch-dp: does not want to\n"),
        "{text}"
    );
    assert!(
        text.ends_with(
            "flowswitchd: flowswitch-dp ended before the switch was ready; its own message is above\n"
        ),
        "{text}"
    );
}

fn a_supervisor_that_is_killed_leaves_the_data_path() {
    let lab = Lab::new("killed");
    let mut first = lab.start();
    assert_eq!(first.said(), READY);
    let (data_path, control) = (first.pid("dp"), first.pid("control"));
    first.signal(Signal::SIGKILL);
    assert_eq!(first.wait().signal(), Some(9));
    assert!(is_alive(data_path) && is_alive(control));
    let mut second = lab.start();
    assert_eq!(second.said(), READY);
    second.logged(&format!("taking over the data path that runs already (process {data_path})"));
    assert_eq!(second.pid("dp"), data_path);
    assert_ne!(second.pid("control"), control);
    // It is watched, though it is nobody's child.
    second.logged("plan 1, 2 ports, 1 worker, 0 steps");
    kill_9(data_path);
    second.logged("plan 1, 2 ports, 1 worker, 4 steps");
    assert_ne!(second.pid("dp"), data_path);
    second.signal(Signal::SIGTERM);
    assert!(second.wait().success());
}

fn a_data_path_with_other_settings_is_not_taken_over() {
    let lab = Lab::new("other");
    let mut first = lab.start();
    assert_eq!(first.said(), READY);
    let data_path = first.pid("dp");
    first.signal(Signal::SIGKILL);
    first.wait();
    lab.write(&format!("[switch]\nworkers = 2\n{GOOD}"));
    let (text, status) = lab.end(&std::env::current_exe().unwrap());
    assert_eq!(status.code(), Some(1), "{text}");
    let expected = format!(
        "flowswitch-dp (process {data_path}) still runs with other settings (switch.workers: 1 -> 2); stop it with `kill {data_path}`"
    );
    assert!(text.contains(&expected), "{text}");
    assert!(is_alive(data_path));
}

fn check_tells_by_its_exit_code() {
    let lab = Lab::new("check");
    let check = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowswitchd"));
        let output = command.arg("check").args(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let file = lab.config().display().to_string();
    let (code, text) = check(&["--config", &file]);
    assert_eq!(
        (code, text),
        (Some(0), format!("{file}: good: 2 ports, 0 routers, 1 server, 1 cluster, 1 worker\n"))
    );
    assert_eq!(check(&["--config", "/nonexistent"]).0, Some(1));
    assert_eq!(check(&["--colour"]).0, Some(2));
    lab.write(include_str!("../../config/tests/files/twelve.toml"));
    let (code, text) = check(&["--config", &file]);
    assert_eq!((code, text.lines().count()), (Some(2), 13));
    let (code, text) = check(&["--config", &file, "--output", "json"]);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, found["mistakes"].as_array().unwrap().len()), (Some(2), 12));
    assert!(found["mistakes"][1]["remedy"].as_str().unwrap().contains("workers"));
    let appended = OpenOptions::new().append(true).open(lab.config()).unwrap();
    appended.set_len(0).unwrap();
    assert_eq!(check(&["--config", &file]).0, Some(2), "an empty file has no ports");
}
