//! The state file: roles and the operator's orders, which outlive a restart of both programs (FS-14, FS-33).

use crate::files::replace;
use control_health::Saved;
use dataplane_flow::Instant;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Its name in the state directory.
const NAME: &str = "state.json";

/// The shortest time between two writings: each waits for the disk.
const PAUSE_MS: u64 = 1_000;

/// The file, and what it should hold.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// What it holds, as far as is known.
    written: Saved,
    /// What it should hold, where that differs.
    wanted: Option<Saved>,
    /// Not written again before.
    free_at: Instant,
    /// The last writing failed, and that was said.
    failing: bool,
}

impl StateFile {
    /// The file and what it holds. One that cannot be understood is moved aside and begun anew: health is
    /// found out again, and nothing of it is lost for whoever wants to look.
    pub(crate) fn open(folder: &Path) -> (Self, Saved) {
        let path = folder.join(NAME);
        let saved = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let aside = folder.join(format!("{NAME}.broken"));
                let moved = std::fs::rename(&path, &aside);
                let place = if moved.is_ok() { aside.display() } else { path.display() };
                tracing::error!(
                    "the state file is broken ({error}); roles and orders begin anew; see {place}"
                );
                Saved::default()
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Saved::default(),
            Err(error) => {
                tracing::error!("{}: {error}; roles and orders begin anew", path.display());
                Saved::default()
            }
        };
        let file =
            Self { path, written: saved.clone(), wanted: None, free_at: Instant::default(), failing: false };
        (file, saved)
    }

    /// It should hold this; written at once, or as soon as the disk has had its pause.
    pub(crate) fn put(&mut self, saved: Saved, now: Instant) {
        self.wanted = (saved != self.written).then_some(saved);
        self.handle_deadline(now);
    }

    /// When [`Self::handle_deadline`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wanted.as_ref().map(|_| self.free_at)
    }

    /// Writes what is wanted, if the pause is over. A full disk is said once and tried again.
    pub(crate) fn handle_deadline(&mut self, now: Instant) {
        if self.free_at > now {
            return;
        }
        self.free_at = now.plus_millis(PAUSE_MS);
        self.write();
    }

    fn write(&mut self) {
        let Some(saved) = self.wanted.take() else { return };
        let text = serde_json::to_vec_pretty(&saved).expect("names and numbers are JSON");
        match replace(&self.path, &text) {
            Ok(()) => {
                self.written = saved;
                self.failing = false;
            }
            Err(error) => {
                if !self.failing {
                    tracing::error!(
                        "{}: {error}; roles and orders would not outlive a restart",
                        self.path.display()
                    );
                }
                self.failing = true;
                self.wanted = Some(saved);
            }
        }
    }
}

impl Drop for StateFile {
    /// What was decided in the last second before the end is not lost either.
    fn drop(&mut self) {
        self.write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_health::SavedRoles;

    fn roles(primary: &str) -> Saved {
        let roles = SavedRoles { cluster: "db".into(), primary: Some(primary.into()), failed: vec![] };
        Saved { roles: vec![roles], ..Saved::default() }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("flowswitch-state-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn fs14_what_is_put_is_there_after_a_restart() {
        let folder = folder("keep");
        let (mut file, saved) = StateFile::open(&folder);
        assert_eq!(saved, Saved::default());
        let now = Instant::from_secs(5);
        file.put(roles("a"), now);
        assert_eq!(StateFile::open(&folder).1, roles("a"));
        // The next one waits for its turn, and the newest counts.
        file.put(roles("b"), now.plus_millis(10));
        file.put(roles("c"), now.plus_millis(20));
        assert_eq!(StateFile::open(&folder).1, roles("a"));
        let due = file.next_deadline().expect("something is to be written");
        file.handle_deadline(due);
        assert_eq!(StateFile::open(&folder).1, roles("c"));
        assert_eq!(file.next_deadline(), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn fs14_what_waits_for_its_turn_is_written_at_the_end() {
        let folder = folder("end");
        let (mut file, _) = StateFile::open(&folder);
        file.put(roles("a"), Instant::from_secs(5));
        file.put(roles("b"), Instant::from_millis(5_300));
        drop(file);
        assert_eq!(StateFile::open(&folder).1, roles("b"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_broken_file_is_kept_aside() {
        let folder = folder("broken");
        std::fs::write(folder.join(NAME), b"{ not json").unwrap();
        assert_eq!(StateFile::open(&folder).1, Saved::default());
        assert_eq!(std::fs::read(folder.join("state.json.broken")).unwrap(), b"{ not json");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_disk_that_refuses_is_tried_again() {
        let folder = folder("full");
        let (mut file, _) = StateFile::open(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        file.put(roles("a"), Instant::from_secs(1));
        std::fs::create_dir_all(&folder).unwrap();
        let due = file.next_deadline().expect("it is still to be written");
        file.handle_deadline(due);
        assert_eq!(StateFile::open(&folder).1, roles("a"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
