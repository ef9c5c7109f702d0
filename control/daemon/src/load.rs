//! Reads the configuration file, and knows what a running data path cannot take.

use control_config::{BootChange, Config, ConfigErrors, FILE_MAX, boot_changes};
use dataplane_message::Boot;
use std::fs::File;
use std::io::{self, Read};
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
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has mistakes.
    #[error("{}: {} mistake{}", path.display(), errors.errors.len(), if errors.errors.len() == 1 { "" } else { "s" })]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them.
        errors: ConfigErrors,
    },
    /// The running data path cannot take it.
    #[error("{}: the change needs a restart of the data path (stop and start `flowswitchd run`)", path.display())]
    NeedsRestart {
        /// The file.
        path: PathBuf,
        /// What differs.
        changes: Vec<BootChange>,
    },
}

/// Reads and checks a file.
pub(crate) fn load(path: &Path) -> Result<Loaded, LoadError> {
    let text = read(path).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?;
    match Config::parse(&text) {
        Ok(config) => Ok(Loaded { config: Arc::new(config), text }),
        Err(errors) => Err(LoadError::Mistakes { path: path.to_owned(), errors }),
    }
}

/// Reads and checks a file for the data path that runs in a directory.
pub(crate) fn load_for(path: &Path, runtime_dir: &Path) -> Result<Loaded, LoadError> {
    let loaded = load(path)?;
    let changes = boot(runtime_dir).map_or_else(Vec::new, |boot| boot_changes(&boot, &loaded.config.boot()));
    if changes.is_empty() {
        Ok(loaded)
    } else {
        Err(LoadError::NeedsRestart { path: path.to_owned(), changes })
    }
}

/// What the data path of a directory was started with, if that is known.
pub(crate) fn boot(runtime_dir: &Path) -> Option<Boot> {
    serde_json::from_slice(&std::fs::read(runtime_dir.join(BOOT)).ok()?).ok()
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX as u64 + 1).read_to_string(&mut text)?;
    if text.len() > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {FILE_MAX} bytes")));
    }
    Ok(text)
}
