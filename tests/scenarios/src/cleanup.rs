//! Nothing of the lab outlives the test: a register of what was made, emptied by the ordinary way, by
//! ctrl-c, and for a run that was killed by the next one.

use crate::process::alive;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// The beginning of every name that this crate gives.
const PREFIX: &str = "fs";

/// What exists now.
#[derive(Default)]
struct Register {
    namespaces: BTreeSet<String>,
    folders: BTreeSet<PathBuf>,
    labs: u32,
}

static REGISTER: Mutex<Register> =
    Mutex::new(Register { namespaces: BTreeSet::new(), folders: BTreeSet::new(), labs: 0 });

fn with<T>(change: impl FnOnce(&mut Register) -> T) -> T {
    change(&mut REGISTER.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// A prefix for the names of one lab, unique on this machine while this process lives.
pub(crate) fn unique_prefix() -> String {
    let lab = with(|r| {
        r.labs += 1;
        r.labs
    });
    format!("{PREFIX}{}-{lab}", std::process::id())
}

pub(crate) fn add_namespace(name: &str) {
    with(|r| r.namespaces.insert(name.to_owned()));
}

pub(crate) fn add_folder(path: PathBuf) {
    with(|r| r.folders.insert(path));
}

/// Ends what runs in a namespace and removes it.
pub(crate) fn remove_namespace(name: &str) {
    with(|r| r.namespaces.remove(name));
    end_processes(name);
    let _ = Command::new("ip").args(["netns", "del", name]).output();
}

/// Removes a folder of the lab.
pub(crate) fn remove_folder(path: &PathBuf) {
    with(|r| r.folders.remove(path));
    let _ = std::fs::remove_dir_all(path);
}

/// Removes everything that this process has made. For the end of the program in a hurry.
pub fn remove_all() {
    let (namespaces, folders) = with(|r| (std::mem::take(&mut r.namespaces), std::mem::take(&mut r.folders)));
    for name in &namespaces {
        remove_namespace(name);
    }
    for folder in &folders {
        remove_folder(folder);
    }
}

/// Makes ctrl-c and SIGTERM remove everything before they end the program.
pub fn on_interrupt() {
    let _ = ctrlc::set_handler(|| {
        eprintln!("interrupted: taking the lab down");
        remove_all();
        std::process::exit(130);
    });
}

/// Removes what earlier runs left that were killed before they could do it themselves.
pub fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        if let Some(name) = entry.file_name().to_str()
            && owner_is_dead(name)
        {
            end_processes(name);
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
    let Ok(entries) = std::fs::read_dir(folder_base()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(owner_is_dead) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Where the labs' folders are.
pub(crate) fn folder_base() -> PathBuf {
    std::env::temp_dir()
}

/// The name is one of ours, and the process that made it is gone.
fn owner_is_dead(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .and_then(|(pid, _)| pid.parse::<i32>().ok())
        .is_some_and(|pid| !alive(pid))
}

/// Kills every process in a namespace of the lab: all of them were started by it.
fn end_processes(namespace: &str) {
    let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() else { return };
    for pid in String::from_utf8_lossy(&output.stdout).lines().filter_map(|l| l.trim().parse::<i32>().ok()) {
        if pid.unsigned_abs() != std::process::id() {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
