//! `flowswitchd check`: what is wrong with a file.

use crate::load::{self, LoadError};
use control_config::{Config, Finding};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// How the result is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// Lines for people: `file:line: path: problem; remedy`.
    #[default]
    Lines,
    /// One JSON object.
    Json,
}

/// What was found in a file.
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
    #[serde(skip)]
    summary: String,
}

/// Reads and checks a file.
pub fn check(path: &Path) -> Checked {
    let file = path.display().to_string();
    let mut checked = Checked {
        file,
        unreadable: None,
        mistakes: Vec::new(),
        warnings: Vec::new(),
        summary: String::new(),
    };
    match load::load(path) {
        Ok(loaded) => {
            checked.warnings = loaded.config.warnings().iter().map(Finding::from).collect();
            checked.summary = summary(&loaded.config);
        }
        Err(LoadError::Unreadable { source, .. }) => checked.unreadable = Some(source.to_string()),
        Err(LoadError::Mistakes { errors, .. }) => {
            checked.mistakes = errors.errors.iter().map(Finding::from).collect();
            checked.warnings = errors.warnings.iter().map(Finding::from).collect();
        }
        Err(LoadError::NeedsRestart { .. }) => {}
    }
    checked
}

impl Checked {
    /// 0: good, 1: unreadable, 2: mistakes.
    pub fn exit_code(&self) -> u8 {
        match (&self.unreadable, self.mistakes.is_empty()) {
            (Some(_), _) => 1,
            (None, false) => 2,
            (None, true) => 0,
        }
    }

    /// Writes what was found.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write(&self, to: &mut dyn Write, form: Form) -> io::Result<()> {
        if form == Form::Json {
            serde_json::to_writer_pretty(&mut *to, self)?;
            return writeln!(to);
        }
        let file = &self.file;
        if let Some(reason) = &self.unreadable {
            return writeln!(to, "{file}: {reason}");
        }
        for mistake in &self.mistakes {
            writeln!(to, "{file}:{}: {mistake}", mistake.line)?;
        }
        for warning in &self.warnings {
            writeln!(to, "{file}:{}: warning: {warning}", warning.line)?;
        }
        match self.mistakes.len() {
            0 => writeln!(to, "{file}: good: {}", self.summary),
            1 => writeln!(to, "{file}: 1 mistake"),
            count => writeln!(to, "{file}: {count} mistakes"),
        }
    }
}

fn summary(config: &Config) -> String {
    let plan = config.plan(None);
    let count = |count: usize, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
    [
        count(plan.ports.len(), "port"),
        count(plan.routers.len(), "router"),
        count(plan.targets.len(), "server"),
        count(plan.clusters.len(), "cluster"),
        count(config.boot().workers.into(), "worker"),
    ]
    .join(", ")
}
