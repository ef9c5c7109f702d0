//! What the switch says when it cannot run, and how it ends.

use super::spread::fetch_by_curl;
use crate::config::SwitchConfig;
use crate::lab::{Lab, Topology, VIP};
use crate::process::Process;
use crate::runner::Scenario;
use crate::switch::{PROGRAMS, program};
use crate::{http::Connection, wait};
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "start",
        name: "started by an ordinary user: one clear line",
        needs: &["setpriv"],
        topology,
        story: ordinary_user,
    },
    Scenario {
        row: "start",
        name: "an interface that is not there: one clear line",
        needs: &[],
        topology,
        story: missing_interface,
    },
    Scenario {
        row: "start",
        name: "a second instance: one clear line, and the first goes on",
        needs: &[],
        topology: Topology::default,
        story: second_instance,
    },
    Scenario {
        row: "start",
        name: "a second switch on the same interfaces: one clear line, and the first goes on",
        needs: &[],
        topology: Topology::default,
        story: second_switch,
    },
    Scenario {
        row: "start",
        name: "without the data path's program: one clear line",
        needs: &[],
        topology,
        story: no_data_path,
    },
    Scenario {
        row: "start",
        name: "a server's interface vanishes and comes back: taken up within 2 s",
        needs: &[],
        topology: Topology::default,
        story: comes_back,
    },
    Scenario {
        row: "start",
        name: "ports by the drivers af_packet and pcap; the first one says what it loses",
        needs: &["curl"],
        topology: Topology::default,
        story: drivers,
    },
    Scenario { row: "start", name: "SIGTERM and SIGINT end all of it", needs: &[], topology, story: ends },
];

fn topology() -> Topology {
    Topology { http: false, ..Topology::default() }
}

/// What a program that ought to give up said, and that it did give up soon.
fn gives_up(mut command: Command, lab: &Lab) -> Result<String> {
    let log = lab.folder.join("gives-up.log");
    let file = std::fs::File::create(&log)?;
    let mut process = Process::start(command.stdout(file.try_clone()?).stderr(file).stdin(Stdio::null()))?;
    let status = process.wait(Duration::from_secs(15)).context("it goes on though it cannot")?;
    let text = std::fs::read_to_string(&log)?;
    ensure!(!status.success(), "it ended with success: {text}");
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    ensure!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "it panicked: {text}");
    ensure!((1..=4).contains(&lines.len()), "{} lines instead of one clear one:\n{text}", lines.len());
    Ok(text)
}

fn written(lab: &Lab, config: &SwitchConfig) -> Result<std::path::PathBuf> {
    let path = lab.folder.join("other.toml");
    std::fs::write(&path, config.text())?;
    Ok(path)
}

fn run_in(lab: &Lab, programs: &Path, before: &[&str], config: &Path, runtime: &Path) -> Command {
    let daemon = programs.join("flowswitchd");
    let mut words: Vec<&std::ffi::OsStr> = before.iter().map(AsRef::as_ref).collect();
    words.push(daemon.as_os_str());
    let mut command = lab.switch_ns.command(words[0]);
    command.args(&words[1..]).args(["run", "--config"]).arg(config).arg("--runtime-dir").arg(runtime);
    command
}

/// The folder of the product's programs.
fn built() -> Result<std::path::PathBuf> {
    Ok(program("flowswitchd")?.parent().context("in a folder")?.to_owned())
}

/// Copies programs to where every user may run them.
fn copied(lab: &Lab, names: &[&str]) -> Result<std::path::PathBuf> {
    let folder = lab.folder.join("bin");
    std::fs::create_dir_all(&folder)?;
    for name in names {
        std::fs::copy(program(name)?, folder.join(name))?;
    }
    Ok(folder)
}

fn ordinary_user(lab: &Lab) -> Result<String> {
    let config = written(lab, &lab.config())?;
    let runtime = lab.folder.join("run-user");
    std::fs::create_dir_all(&runtime)?;
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o777))?;
    std::fs::set_permissions(&lab.folder, std::fs::Permissions::from_mode(0o755))?;
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let text = gives_up(run_in(lab, &copied(lab, &PROGRAMS)?, &user, &config, &runtime), lab)?;
    ensure!(text.contains("root") || text.contains("CAP_NET"), "it does not say what it needs: {text}");
    Ok(text.trim().replace('\n', " / "))
}

fn missing_interface(lab: &Lab) -> Result<String> {
    let mut config = lab.config();
    config.ports[0].interface = "nosuch0".into();
    let config = written(lab, &config)?;
    let text = gives_up(run_in(lab, &built()?, &[], &config, &lab.folder.join("run-missing")), lab)?;
    ensure!(text.contains("nosuch0"), "it does not name the interface: {text}");
    Ok(text.trim().replace('\n', " / "))
}

fn second_instance(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let runtime = lab.switch().runtime.clone();
    let config = written(lab, &lab.config())?;
    let text = gives_up(run_in(lab, &built()?, &[], &config, &runtime), lab)?;
    ensure!(text.contains("running") || text.contains("already"), "it does not say why: {text}");
    let server = lab.client.enter(|| Connection::open(None, (VIP.v4, 80).into())?.get("/"))?.server;
    ensure!(!server.is_empty(), "the first one does not forward any more");
    lab.stop()?;
    Ok(text.trim().replace('\n', " / "))
}

fn second_switch(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let config = written(lab, &lab.config())?;
    let elsewhere = lab.folder.join("run-second");
    std::fs::create_dir_all(&elsewhere)?;
    let text = gives_up(run_in(lab, &built()?, &[], &config, &elsewhere), lab)?;
    ensure!(text.contains("another flowswitch-dp has interface"), "it does not say why: {text}");
    let counts = fetch_by_curl(lab, VIP.v4.into(), 30)?;
    ensure!(counts.values().sum::<u64>() == 30, "the first one was cut off: {counts:?}");
    lab.stop()?;
    let line = text.lines().find(|line| line.contains("another")).unwrap_or_default();
    Ok(line.trim().to_owned())
}

fn no_data_path(lab: &Lab) -> Result<String> {
    let config = written(lab, &lab.config())?;
    let programs = copied(lab, &["flowswitchd"])?;
    let mut command = run_in(lab, &programs, &[], &config, &lab.folder.join("run-none"));
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let text = gives_up(command, lab)?;
    ensure!(text.contains("flowswitch-dp"), "it does not name the program: {text}");
    Ok(text.trim().replace('\n', " / "))
}

fn comes_back(lab: &Lab) -> Result<String> {
    lab.start(&lab.config().admin("s1", "disabled").admin("s2", "disabled"))?;
    let ask = || lab.client.enter(|| Connection::open(None, (VIP.v4, 80).into())?.get("/"));
    ensure!(ask()?.server == "s3", "only s3 is in service");
    let mut slowest = Duration::ZERO;
    let server = &lab.servers[2];
    for round in 0..3 {
        lab.switch_ns.ip(&format!("link del {}\n", lab.switch_interface(server)))?;
        wait::until("the port is seen to be gone", Duration::from_secs(5), || {
            (!lab.switch().port_attached("s3").ok()?).then_some(())
        })
        .with_context(|| format!("round {round}"))?;
        let start = Instant::now();
        lab.plug(server)?;
        lab.address_server(server, false)?;
        let reply =
            wait::until("an answer through the port that came back", Duration::from_secs(5), || ask().ok())?;
        ensure!(reply.server == "s3", "answered by {}", reply.server);
        slowest = slowest.max(start.elapsed());
        wait::until("the port is shown as present", Duration::from_secs(2), || {
            lab.switch().port_attached("s3").ok()?.then_some(())
        })?;
    }
    ensure!(slowest <= Duration::from_secs(2), "taken up after {:.1} s", slowest.as_secs_f64());
    Ok(format!("3 times, answering again within {:.2} s", slowest.as_secs_f64()))
}

fn drivers(lab: &Lab) -> Result<String> {
    for driver in ["pcap", "af_packet"] {
        lab.start(&lab.config().driver(driver))?;
        for vip in VIP.both() {
            let counts = fetch_by_curl(lab, vip, 60)?;
            ensure!(counts.values().sum::<u64>() == 60, "{driver}: {counts:?}");
        }
        let ports = lab.switch().rows("ports")?;
        let noted =
            ports.iter().all(|row| row["note"].as_str().is_some_and(|note| note.contains("fragment")));
        ensure!(noted == (driver == "af_packet"), "{driver}: notes of the ports: {ports:?}");
        lab.stop()?;
    }
    Ok("120 requests by each".into())
}

fn ends(lab: &Lab) -> Result<String> {
    for signal in [nix::sys::signal::Signal::SIGTERM, nix::sys::signal::Signal::SIGINT] {
        lab.start(&lab.config())?;
        lab.stop_by(signal).with_context(|| signal.as_str())?;
        ensure!(lab.switch_ns.is_idle()?, "a process is left after {signal}");
    }
    Ok("no process left".into())
}
