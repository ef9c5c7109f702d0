//! One instance at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A file that is locked for as long as this lives; the kernel lets go of it however the process ends.
#[derive(Debug)]
pub struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock; `None` when another process has it. The file stays afterwards: removing it
    /// would let two processes lock two files of one name.
    ///
    /// # Errors
    ///
    /// When the file cannot be made or opened.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_for_the_first() {
        let path = std::env::temp_dir().join(format!("fs-ffi-lock-{}", std::process::id()));
        let first = LockFile::take(&path).unwrap().expect("nobody has it");
        assert!(LockFile::take(&path).unwrap().is_none());
        drop(first);
        assert!(LockFile::take(&path).unwrap().is_some());
        std::fs::remove_file(path).unwrap();
    }
}
