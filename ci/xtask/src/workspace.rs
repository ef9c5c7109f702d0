//! What cargo says about the workspace.

use crate::shell;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package of this workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its folder, from the root: `dataplane/wire`.
    pub(crate) folder: String,
    /// A plain `cargo build` builds it.
    pub(crate) default: bool,
    /// What it is built from: our packages and others, without what only its tests use.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One dependency.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// It comes from outside this workspace.
    pub(crate) foreign: bool,
}

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("ci/xtask is two folders down")
}

/// The folder that builds go to.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(metadata()?["target_directory"].as_str().context("no target folder")?.into())
}

/// Every package of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let metadata = metadata()?;
    let defaults: BTreeSet<&str> =
        list(&metadata["workspace_default_members"]).filter_map(Value::as_str).collect();
    list(&metadata["packages"]).map(|p| package(p, &defaults)).collect()
}

fn package(value: &Value, defaults: &BTreeSet<&str>) -> Result<Package> {
    let text = |key: &str| {
        Ok::<_, anyhow::Error>(value[key].as_str().with_context(|| format!("no {key}"))?.to_owned())
    };
    let manifest = PathBuf::from(text("manifest_path")?);
    let folder = manifest.parent().and_then(|p| p.strip_prefix(root()).ok()).unwrap_or(&manifest);
    Ok(Package {
        name: text("name")?,
        folder: folder.to_string_lossy().into_owned(),
        default: defaults.contains(text("id")?.as_str()),
        dependencies: list(&value["dependencies"])
            .filter(|d| d["kind"] != "dev")
            .filter_map(|d| {
                Some(Dependency { name: d["name"].as_str()?.to_owned(), foreign: !d["source"].is_null() })
            })
            .collect(),
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn metadata() -> Result<Value> {
    let text = shell::read(&mut cargo("metadata --no-deps --format-version 1"))?;
    Ok(serde_json::from_str(&text)?)
}

/// The cargo that runs this program.
pub(crate) fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments.split_whitespace()).current_dir(root());
    command
}

/// Every file that belongs to the project, from the root.
pub(crate) fn files() -> Result<Vec<String>> {
    let tracked = shell::command("git ls-files --cached --others --exclude-standard").output();
    if let Ok(output) = tracked
        && output.status.success()
    {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(text.lines().filter(|f| root().join(f).is_file()).map(str::to_owned).collect());
    }
    let mut files = Vec::new();
    walk(root(), &mut files)?;
    Ok(files)
}

/// Without git: every file but what builds leave.
fn walk(folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned());
        } else if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            walk(&path, files)?;
        }
    }
    Ok(())
}
