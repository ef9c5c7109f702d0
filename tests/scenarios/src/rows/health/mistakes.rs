//! Settings that contradict one another are found before anything runs.

use super::kit::{config, topology};
use crate::SwitchConfig;
use crate::lab::{Lab, Topology};
use crate::runner::Scenario;
use crate::switch::program;
use anyhow::{Context, Result, ensure};
use std::process::Command;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-x",
    name: "contradictory settings: flowswitchd check names the path and what to do",
    needs: &[],
    topology: || Topology { http: false, ..topology() },
    story: mistakes,
}];

/// What is written, and the path that must be named.
type Case = (fn(&Lab) -> SwitchConfig, &'static str);

const CASES: &[Case] = &[
    (
        |lab| config(lab).check("kind = \"tcp\"\nport = 443\ninterval_ms = 100\ntimeout_ms = 200\n"),
        "clusters.web.checks[2].timeout_ms",
    ),
    (|lab| config(lab).check("kind = \"smtp\"\n"), "clusters.web.checks[2].kind"),
    (|lab| config(lab).check("kind = \"dns\"\n"), "clusters.web.checks[2]"),
    (|lab| config(lab).check("kind = \"http\"\npath = \"nowhere\"\n"), "clusters.web.checks[2].path"),
    (|lab| config(lab).check("kind = \"tcp\"\nport = 443\nrise = 0\n"), "clusters.web.checks[2].rise"),
    (|lab| config(lab).in_clusters("mode = \"primary\""), "clusters.web.mode"),
    (|lab| config(lab).in_clusters("dead_after_ms = 10"), "clusters.web.dead_after_ms"),
    (|lab| config(lab).in_clusters("quorum = 9"), "clusters.web.quorum"),
    (|lab| config(lab).in_clusters("probe_address = \"10.80.0.100\""), "clusters.web.probe_address"),
    (|lab| config(lab).in_clusters("dead_tcp = \"forget\""), "clusters.web.dead_tcp"),
    (
        |lab| {
            let mut config = config(lab);
            config.pools[0].routers.push("r9".into());
            config
        },
        "pools.gw.routers",
    ),
    (
        |lab| {
            let mut config = config(lab);
            config.pools[0].routers.clear();
            config
        },
        "pools.gw.routers",
    ),
    (
        |lab| {
            let mut config = config(lab);
            config.pools[0].address = crate::lab::VIP.v4.into();
            config
        },
        "clusters.web.vip",
    ),
    (
        |lab| {
            let mut config = config(lab);
            config.routers[0].more.push("check = { interval_ms = 100, timeout_ms = 300 }".into());
            config
        },
        "routers.r1.check",
    ),
];

fn mistakes(lab: &Lab) -> Result<String> {
    let file = lab.folder.join("mistake.toml");
    let check = |config: &SwitchConfig| -> Result<(bool, serde_json::Value)> {
        std::fs::write(&file, config.text())?;
        let mut command = Command::new(program("flowswitchd")?);
        let output = command.args(["check", "--output", "json", "--config"]).arg(&file).output()?;
        ensure!(output.status.code().is_some_and(|code| code <= 2), "check ended with {}", output.status);
        let shown = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok((output.status.success(), shown))
    };
    let (good, shown) = check(&config(lab).routers_checked())?;
    ensure!(good, "the configuration that the others are made from is refused: {shown}");
    for (make, path) in CASES {
        let (good, shown) = check(&make(lab))?;
        ensure!(!good, "{path}: nothing is found");
        let mistakes = shown["mistakes"].as_array().context("mistakes")?;
        let text = |m: &serde_json::Value, key: &str| m[key].as_str().unwrap_or_default().to_owned();
        ensure!(
            mistakes.iter().any(|m| text(m, "path").starts_with(path) && !text(m, "remedy").is_empty()),
            "{path} is not named with a remedy: {shown}"
        );
        ensure!(mistakes.len() == 1, "{path}: one mistake is reported as {}: {shown}", mistakes.len());
    }
    Ok(format!("{} contradictions, each named once, by its path and with a remedy", CASES.len()))
}
