//! The program against a real control core, which here has no data path.

#![allow(clippy::unwrap_used)] // free in tests

use clap::{CommandFactory, Parser};
use control_cli::{Cli, Command, FlowFilter, Output, Show, WeightWord};
use control_daemon::control::{ControlOptions, control};
use control_daemon::orders::{Commander, wired};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command as Program;
use std::thread::JoinHandle;

const GOOD: &str = "[ports.up1]\nvdev = \"net_null0\"\n[ports.s1]\nvdev = \"net_null1\"\nrole = \"server\"\n\
                    [servers.web-1]\nport = \"s1\"\n[clusters.web]\nvip = \"10.9.0.100\"\nservers = [\"web-1\"]\n";

/// A folder with a control core in it.
struct Lab {
    folder: PathBuf,
    running: Option<(Commander, JoinHandle<()>)>,
}

impl Lab {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fs-flowctl-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("switch.toml"), GOOD).unwrap();
        Self { folder, running: None }
    }

    fn started(name: &str) -> Self {
        let mut lab = Self::new(name);
        let options = ControlOptions {
            config: lab.folder.join("switch.toml"),
            runtime_dir: lab.folder.clone(),
            state_dir: lab.folder.clone(),
        };
        let (commander, mut orders) = wired().unwrap();
        let thread = std::thread::spawn(move || control(&options, &mut orders).unwrap());
        lab.running = Some((commander, thread));
        while UnixStream::connect(lab.folder.join("flowctl.sock")).is_err() {
            std::thread::yield_now();
        }
        lab
    }

    /// Exit code, output, errors.
    fn flowctl(&self, words: &[&str]) -> (i32, String, String) {
        let output = Program::new(env!("CARGO_BIN_EXE_flowctl"))
            .arg("--runtime-dir")
            .arg(&self.folder)
            .args(words)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some((commander, thread)) = self.running.take() {
            drop(commander);
            let _ = thread.join();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_grammar_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn words_may_be_shortened() {
    let cli = Cli::try_parse_from(["flowctl", "sh", "fl", "--cluster", "web", "--output", "json"]).unwrap();
    assert_eq!(cli.output, Output::Json);
    let Command::Show { what: Show::Flows(filter) } = cli.command else { panic!("show flows") };
    assert_eq!(filter, FlowFilter { cluster: Some("web".into()), ..FlowFilter::default() });
    assert!(Cli::try_parse_from(["flowctl", "show", "flows", "--limit", "0"]).is_err());
    assert!(Cli::try_parse_from(["flowctl", "show", "secrets"]).is_err());
}

#[test]
fn without_a_daemon_it_says_how_to_start_one() {
    let lab = Lab::new("none");
    let (code, out, err) = lab.flowctl(&["show", "servers"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("flowctl.sock") && err.contains("flowswitchd run --config"), "{err}");
    assert_eq!(lab.flowctl(&["show"]).0, 2);
    assert_eq!(lab.flowctl(&["--colour"]).0, 2);
}

#[test]
fn every_view_is_shown_as_a_table_and_as_an_object() {
    let lab = Lab::started("views");
    for what in [
        "clusters", "servers", "ports", "workers", "drops", "routers", "bridge", "alarms", "version",
        "health", "pools", "load",
    ] {
        let (code, out, err) = lab.flowctl(&["show", what]);
        assert_eq!(code, 0, "{err}");
        assert!(!out.is_empty());
        assert_eq!(err, "flowctl: the data path is not connected; there are no figures yet\n");
        let (code, out, err) = lab.flowctl(&["show", what, "--output", "json"]);
        assert_eq!((code, err.as_str()), (0, ""));
        let object: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(!object[what].is_null(), "{out}");
        assert_eq!(object["data_path"]["connected"], false);
    }
    let (code, out, err) = lab.flowctl(&["show", "flows"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("flowswitch-dp"), "{err}");
}

#[test]
fn an_order_without_a_data_path_is_refused_and_says_why() {
    let lab = Lab::started("order");
    for words in [
        &["drain", "web-1", "--deadline", "60s", "--wait"][..],
        &["enable", "web-1"],
        &["disable", "web-1"],
        &["weight", "web-1", "3", "--cluster", "web", "--service", "default"],
        &["switchover", "web", "--to", "web-1", "--reset"],
    ] {
        let (code, out, err) = lab.flowctl(words);
        assert_eq!((code, out.as_str()), (1, ""), "{words:?}");
        assert!(err.contains("is flowswitch-dp running?"), "{err}");
    }
    let (code, out, _) = lab.flowctl(&["doctor"]);
    assert_eq!((code, out.as_str()), (0, "nothing is set up wrong, as far as can be seen\n"));
    let (code, out, _) = lab.flowctl(&["doctor", "--output", "json"]);
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, object["findings"].as_array().map(Vec::len)), (0, Some(0)));
    let (code, _, err) = lab.flowctl(&["show", "health", "web-9"]);
    assert_eq!(code, 1);
    assert!(err.contains("there is no server web-9"), "{err}");
}

#[test]
fn orders_are_checked_before_anybody_is_asked() {
    let parse = |words: &[&str]| Cli::try_parse_from([&["flowctl"], words].concat());
    for words in [
        &["drain"][..],
        &["drain", "web-1", "--deadline", "soon"],
        &["weight", "web-1"],
        &["weight", "web-1", "1001"],
        &["weight", "web-1", "-1"],
        &["switchover"],
        &["show", "flows", "--state", "dead"],
    ] {
        assert!(parse(words).is_err(), "{words:?}");
    }
    let Command::Weight { weight, .. } = parse(&["weight", "web-1", "default"]).unwrap().command else {
        panic!("weight")
    };
    assert_eq!(weight, WeightWord(None));
    for command in ["drain", "weight", "switchover", "doctor"] {
        let mut help = Cli::command();
        let help = help.find_subcommand_mut(command).unwrap().render_help().to_string();
        assert!(help.contains("Examples:"), "{help}");
    }
}

#[test]
fn reload_tells_every_mistake() {
    let lab = Lab::started("reload");
    let (code, out, _) = lab.flowctl(&["reload"]);
    assert_eq!(code, 0);
    assert!(out.contains("as soon as it is"), "{out}");
    fs::write(lab.folder.join("switch.toml"), GOOD.replace("\"s1\"", "\"s9\"").replace("vip", "vpi"))
        .unwrap();
    let (code, out, err) = lab.flowctl(&["reload"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 3, "{err}");
    assert!(
        lines.contains(&"line 7: servers.web-1.port: there is no port s9; did you mean \"s1\"?"),
        "{err}"
    );
    assert!(lines.contains(&"line 9: clusters.web.vpi: unknown key `vpi`; did you mean `vip`?"), "{err}");
    assert!(lines[2].ends_with("the old configuration stays in force"), "{err}");
}

#[test]
fn check_needs_no_daemon() {
    let lab = Lab::new("check");
    let file = lab.folder.join("switch.toml").display().to_string();
    let (code, out, _) = lab.flowctl(&["check", &file]);
    assert_eq!(code, 0);
    assert!(out.contains("good: 2 ports"), "{out}");
    fs::write(&file, GOOD.replace("10.9.0.100", "10.9.0.256")).unwrap();
    let (code, out, _) = lab.flowctl(&["check", &file, "--output", "json"]);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, found["mistakes"][0]["path"].as_str()), (2, Some("clusters.web.vip")));
    assert_eq!(lab.flowctl(&["check", "/nonexistent"]).0, 1);
}
