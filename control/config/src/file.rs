//! A configuration file: read, checked, and what there is to say about it.

use crate::{Config, ConfigErrors, FILE_MAX, Finding};
use core::fmt;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A good file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// Its text.
    pub text: String,
}

/// Why a file is not used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has mistakes.
    #[error("{}: {}", path.display(), counted(errors.errors.len(), "mistake"))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them.
        errors: ConfigErrors,
    },
}

/// Reads and checks a file.
///
/// # Errors
///
/// [`FileError`], with every mistake.
pub fn load(path: &Path) -> Result<Loaded, FileError> {
    let text = read(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    match Config::parse(&text) {
        Ok(config) => Ok(Loaded { config, text }),
        Err(errors) => Err(FileError::Mistakes { path: path.to_owned(), errors }),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX as u64 + 1).read_to_string(&mut text)?;
    if text.len() > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {FILE_MAX} bytes")));
    }
    Ok(text)
}

/// What was found in a file. Its text is a line for each finding, `file:line: path: problem; remedy`,
/// and one that sums up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Checked {
    /// The file.
    pub file: String,
    /// Why it cannot be read; then nothing is known of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Every mistake.
    pub mistakes: Vec<Finding>,
    /// What works and should be known.
    pub warnings: Vec<Finding>,
    /// What a good file describes: `5 ports, 2 routers, ..`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

impl Checked {
    /// Reads and checks a file.
    pub fn of(path: &Path) -> Self {
        let empty = Self {
            file: path.display().to_string(),
            unreadable: None,
            mistakes: Vec::new(),
            warnings: Vec::new(),
            summary: None,
        };
        match load(path) {
            Ok(loaded) => Self {
                warnings: loaded.config.warnings().iter().map(Finding::from).collect(),
                summary: Some(summary(&loaded.config)),
                ..empty
            },
            Err(FileError::Unreadable { source, .. }) => {
                Self { unreadable: Some(source.to_string()), ..empty }
            }
            Err(FileError::Mistakes { errors, .. }) => Self {
                mistakes: errors.errors.iter().map(Finding::from).collect(),
                warnings: errors.warnings.iter().map(Finding::from).collect(),
                ..empty
            },
        }
    }

    /// 0: good, 1: unreadable, 2: mistakes.
    pub fn exit_code(&self) -> u8 {
        match (&self.unreadable, self.mistakes.is_empty()) {
            (Some(_), _) => 1,
            (None, false) => 2,
            (None, true) => 0,
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        if let Some(reason) = &self.unreadable {
            return writeln!(f, "{file}: {reason}");
        }
        for mistake in &self.mistakes {
            writeln!(f, "{file}:{}: {mistake}", mistake.line)?;
        }
        for warning in &self.warnings {
            writeln!(f, "{file}:{}: warning: {warning}", warning.line)?;
        }
        match &self.summary {
            Some(summary) => writeln!(f, "{file}: good: {summary}"),
            None => writeln!(f, "{file}: {}", counted(self.mistakes.len(), "mistake")),
        }
    }
}

fn summary(config: &Config) -> String {
    let plan = config.plan(None);
    [
        counted(plan.ports.len(), "port"),
        counted(plan.routers.len(), "router"),
        counted(plan.targets.len(), "server"),
        counted(plan.clusters.len(), "cluster"),
        counted(config.boot().workers.into(), "worker"),
    ]
    .join(", ")
}

/// `1 port`, `2 ports`.
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
