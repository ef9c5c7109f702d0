//! The files of the runtime directory.

use ffi_linux::LockFile;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One role in a directory (`run`, `control`), held by one process: a lock, and a file with the
/// process's number beside it for people and scripts.
#[derive(Debug)]
pub(crate) struct Role {
    pid: PathBuf,
    _lock: LockFile,
}

impl Drop for Role {
    /// The number goes before the lock: the next process writes its own after it has the lock.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.pid);
    }
}

/// Takes a role; the number of the process that has it, if it is known, where there is one.
pub(crate) fn take_role(runtime_dir: &Path, role: &str) -> io::Result<Result<Role, Option<i32>>> {
    let Some(lock) = LockFile::take(&runtime_dir.join(format!("{role}.lock")))? else {
        return Ok(Err(pid(runtime_dir, role)));
    };
    write_pid(runtime_dir, role, std::process::id());
    Ok(Ok(Role { pid: runtime_dir.join(format!("{role}.pid")), _lock: lock }))
}

/// Whether some process has a role.
pub(crate) fn is_taken(runtime_dir: &Path, role: &str) -> io::Result<bool> {
    let path = runtime_dir.join(format!("{role}.lock"));
    Ok(path.exists() && LockFile::take(&path)?.is_none())
}

/// Waits until no process has a role.
pub(crate) fn wait_free(runtime_dir: &Path, role: &str) -> io::Result<()> {
    File::open(runtime_dir.join(format!("{role}.lock")))?.lock_shared()
}

/// The number of the process that has, or had, a role.
pub(crate) fn pid(runtime_dir: &Path, role: &str) -> Option<i32> {
    fs::read_to_string(runtime_dir.join(format!("{role}.pid"))).ok()?.trim().parse().ok()
}

/// Writes the number of the process that has a role. The lock is what counts, so a disk that is full
/// keeps nobody from its work; but a number that is no longer true does not stay.
pub(crate) fn write_pid(runtime_dir: &Path, role: &str, pid: u32) {
    let path = runtime_dir.join(format!("{role}.pid"));
    let content = format!("{pid}\n");
    let written = replace(&path, content.as_bytes()).or_else(|_| {
        remove_pid(runtime_dir, role);
        replace(&path, content.as_bytes())
    });
    if let Err(error) = written {
        tracing::warn!("{}: {error}", path.display());
    }
}

/// Nobody has the role any more.
pub(crate) fn remove_pid(runtime_dir: &Path, role: &str) {
    let _ = fs::remove_file(runtime_dir.join(format!("{role}.pid")));
}

/// Replaces a file, so that a reader sees the old one or the new one, and a power cut leaves one of them.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let put = || {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    put().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_one_process_and_names_it() {
        let folder = std::env::temp_dir().join(format!("flowswitch-role-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(!is_taken(&folder, "x").unwrap());
        let ours = take_role(&folder, "x").unwrap().expect("nobody has it");
        assert_eq!(take_role(&folder, "x").unwrap().err(), Some(Some(std::process::id() as i32)));
        assert!(is_taken(&folder, "x").unwrap());
        drop(ours);
        wait_free(&folder, "x").unwrap();
        assert_eq!(pid(&folder, "x"), None);
        assert!(take_role(&folder, "x").unwrap().is_ok());
        assert_eq!(pid(&folder, "x"), None);
        replace(&folder.join("y"), b"1").unwrap();
        replace(&folder.join("y"), b"2").unwrap();
        assert_eq!(fs::read(folder.join("y")).unwrap(), b"2");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_number_that_cannot_be_written_keeps_nobody_from_a_role() {
        let folder = std::env::temp_dir().join(format!("flowswitch-role-mute-{}", std::process::id()));
        // No file can take the place of a folder with something in it, whoever asks.
        fs::create_dir_all(folder.join("x.pid").join("y")).unwrap();
        let ours = take_role(&folder, "x").unwrap().expect("nobody has it");
        assert_eq!(take_role(&folder, "x").unwrap().err(), Some(None));
        drop(ours);
        let mut names: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["x.lock", "x.pid"], "nothing half written is left");
        fs::remove_dir_all(&folder).unwrap();
    }
}
