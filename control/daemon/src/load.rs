//! The configuration file for the data path that runs in a directory.

use control_config::{BootChange, Config, FileError, boot_changes};
use dataplane_message::Boot;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// What the data path was started with, in the runtime directory.
pub(crate) const BOOT: &str = "boot.json";

/// A good file.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Arc<Config>,
    pub(crate) text: String,
}

/// Why a file is not used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It is unreadable, or has mistakes.
    #[error(transparent)]
    File(#[from] FileError),
    /// The running data path cannot take it.
    #[error("{}: the change needs a restart of the data path (stop and start `flowswitchd run`)", path.display())]
    NeedsRestart {
        /// The file.
        path: PathBuf,
        /// What differs.
        changes: Vec<BootChange>,
    },
}

/// Reads and checks a file for the data path that runs in a directory.
pub(crate) fn load(path: &Path, runtime_dir: &Path) -> Result<Loaded, LoadError> {
    let control_config::Loaded { config, text } = control_config::load(path)?;
    let changes = boot(runtime_dir).map_or_else(Vec::new, |boot| boot_changes(&boot, &config.boot()));
    if changes.is_empty() {
        Ok(Loaded { config: Arc::new(config), text })
    } else {
        Err(LoadError::NeedsRestart { path: path.to_owned(), changes })
    }
}

/// What the data path of a directory was started with, if that is known.
pub(crate) fn boot(runtime_dir: &Path) -> Option<Boot> {
    serde_json::from_slice(&std::fs::read(runtime_dir.join(BOOT)).ok()?).ok()
}
