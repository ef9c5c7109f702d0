//! The habits of the house, checked: which crate may use which, leftovers, long files.

use crate::workspace::{self, Dependency, Package};
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// Lines from which a file is reported.
const LONG: usize = 800;

/// What each package of the data plane may use of our own.
const ARROWS: &[(&str, &[&str])] = &[
    ("dataplane-cpu", &[]),
    ("dataplane-port", &[]),
    ("dataplane-wire", &[]),
    ("dataplane-flow", &["dataplane-cpu", "dataplane-port", "dataplane-wire"]),
    ("dataplane-balance", &["dataplane-cpu", "dataplane-port", "dataplane-wire", "dataplane-flow"]),
    ("dataplane-message", &["dataplane-cpu", "dataplane-port", "dataplane-wire", "dataplane-flow"]),
    (
        "dataplane-engine",
        &[
            "dataplane-cpu",
            "dataplane-port",
            "dataplane-wire",
            "dataplane-flow",
            "dataplane-balance",
            "dataplane-message",
        ],
    ),
    (
        "dataplane-worker",
        &[
            "dataplane-cpu",
            "dataplane-port",
            "dataplane-wire",
            "dataplane-flow",
            "dataplane-balance",
            "dataplane-message",
            "dataplane-engine",
        ],
    ),
    ("ffi-dpdk", &["dpdk-sys", "dataplane-cpu", "dataplane-port"]),
    ("ffi-linux", &["dataplane-port"]),
    ("dpdk-sys", &[]),
];

/// The only packages that may reach DPDK, through others included.
const DPDK: [&str; 4] = ["dpdk-sys", "ffi-dpdk", "dataplane-process", "tests-bench-dpdk"];

/// Checks all of it.
pub(crate) fn run() -> Result<()> {
    let mut faults = arrows(&workspace::packages()?);
    let mut notes = Vec::new();
    for file in workspace::files()? {
        let Ok(text) = std::fs::read_to_string(workspace::root().join(&file)) else { continue };
        faults.extend(leftovers(&file, &text));
        let lines = text.lines().count();
        if file.ends_with(".rs") && lines > LONG {
            notes.push(format!("{file} has {lines} lines"));
        }
    }
    for note in &notes {
        println!("note: {note}");
    }
    for fault in &faults {
        eprintln!("fault: {fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults", faults.len());
    }
    println!("tidy: no fault, {} notes", notes.len());
    Ok(())
}

/// Dependencies run one way.
fn arrows(packages: &[Package]) -> Vec<String> {
    let ours: BTreeMap<&str, &Package> = packages.iter().map(|p| (p.name.as_str(), p)).collect();
    let mut faults = Vec::new();
    for package in packages {
        let uses = |d: &&Dependency| ours.contains_key(d.name.as_str());
        for dependency in package.dependencies.iter().filter(uses) {
            let target = ours[dependency.name.as_str()];
            let plane = |p: &Package| p.folder.split('/').next().unwrap_or_default().to_owned();
            if ["dataplane", "ffi"].contains(&plane(package).as_str()) && plane(target) == "control" {
                faults.push(format!(
                    "{} must not use {}: the data plane knows no control",
                    package.name, target.name
                ));
            }
            if let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name)
                && !allowed.contains(&dependency.name.as_str())
            {
                faults.push(format!("{} must not use {}", package.name, dependency.name));
            }
        }
        if package.dependencies.iter().any(|d| d.name == "dpdk-sys" && d.foreign) {
            faults.push(format!("{} uses a dpdk-sys that is not ours", package.name));
        }
        if !DPDK.contains(&package.name.as_str()) && reaches(package, "dpdk-sys", &ours, &mut BTreeSet::new())
        {
            faults.push(format!("{} reaches DPDK", package.name));
        }
        if package.default && DPDK.contains(&package.name.as_str()) {
            faults.push(format!("{} needs DPDK and must not be among the default members", package.name));
        }
    }
    faults
}

fn reaches<'a>(
    from: &'a Package,
    to: &str,
    ours: &BTreeMap<&str, &'a Package>,
    seen: &mut BTreeSet<&'a str>,
) -> bool {
    from.name == to
        || seen.insert(&from.name)
            && from
                .dependencies
                .iter()
                .filter_map(|d| ours.get(d.name.as_str()))
                .any(|p| reaches(p, to, ours, seen))
}

/// Words that mean that something was left for later.
fn leftovers(file: &str, text: &str) -> Vec<String> {
    // In halves, so that this file is clean.
    let words = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    let whole = |line: &str, word: &str| {
        line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| w == word)
    };
    (1..)
        .zip(text.lines())
        .filter_map(|(n, line)| {
            let word = words.iter().find(|w| whole(line, w))?;
            Some(format!("{file}:{n}: {word}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str, default: bool, uses: &[(&str, bool)]) -> Package {
        Package {
            name: name.into(),
            folder: folder.into(),
            default,
            dependencies: uses.iter().map(|(n, f)| Dependency { name: (*n).into(), foreign: *f }).collect(),
        }
    }

    #[test]
    fn the_workspace_is_tidy() {
        let faults = arrows(&workspace::packages().unwrap());
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn wrong_arrows_are_found() {
        let packages = [
            package("dpdk-sys", "ffi/dpdk-sys", false, &[]),
            package("control-x", "control/x", true, &[("ffi-dpdk", false)]),
            package("ffi-dpdk", "ffi/dpdk", false, &[("dpdk-sys", false)]),
            package("dataplane-flow", "dataplane/flow", true, &[("control-x", false)]),
            package("y", "tests/y", true, &[("dpdk-sys", true)]),
        ];
        let faults = arrows(&packages).join("\n");
        for part in [
            "control-x reaches DPDK",
            "dataplane-flow must not use control-x: ",
            "dataplane-flow reaches DPDK",
            "y uses a dpdk-sys that is not ours",
        ] {
            assert!(faults.contains(part), "{part:?} is not in {faults}");
        }
    }

    #[test]
    fn leftovers_are_whole_words() {
        assert_eq!(leftovers("f", concat!("// TO", "DO: later")).len(), 1);
        assert_eq!(leftovers("f", concat!("TO", "DOS and AUTO", "DO")).len(), 0);
    }
}
