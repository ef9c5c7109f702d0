//! The program as its supervisor sees it, on DPDK's in-memory devices: no root, no interfaces.
//!
//! What needs namespaces is in `tests/scenarios`.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use dataplane_message::{
    Assembler, Boot, Device, Mode, PART_MAX, Plan, PortBoot, PortPlan, PortRole, Report, Stp, ToControl,
    ToDataPath, VERSION, parts,
};
use dataplane_port::{PortId, VlanId};
use ffi_linux::{SeqPacketStream, wait_readable};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn starts_serves_and_stops() {
    let mut lab = Lab::new("serves", &boot(&["net_ring0", "net_ring1", "net_null2,size=64,no-rx=1"]));
    lab.start();
    let second = lab.command().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.starts_with("flowswitch-dp: another flowswitch-dp runs in ") && said.lines().count() == 1);

    let mut control = lab.connect();
    let (first_boot, epoch, plan) = control.greet();
    assert_eq!((epoch, &plan), (0, &Plan::default()));
    let wanted = bridge(3);
    control.send(&ToDataPath::Apply { epoch: 5, steps: Plan::between(&plan, &wanted) });
    control.wait(|message| matches!(message, ToControl::Ack { epoch: 5 }));

    // A loop brings back what is sent into it; the switch then floods it to the other ports.
    control.send(&ToDataPath::Inject { port: PortId(0), frame: broadcast() });
    let report = control.report(|report| report.ports[2].counts.tx_frames > 0);
    assert!(report.ports[0].counts.rx_frames > 0);
    assert!(report.ports.iter().all(|port| port.up && port.attached));
    assert_eq!(report.ports[2].device, "net_null2,size=64,no-rx=1");

    // Control comes again: the plan is still there, and so is the data path.
    drop(control);
    let mut control = lab.connect();
    let (boot_id, epoch, plan) = control.greet();
    assert_eq!((boot_id, epoch, plan), (first_boot, 5, wanted));

    assert_eq!(lab.stop().code(), Some(0));
    assert!(!lab.folder.join("run/dp.sock").exists());
    // It starts again after a death that left everything behind.
    lab.start();
    let child = lab.child.as_mut().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    lab.start();
    let (boot_id, epoch, _) = lab.connect().greet();
    assert!(boot_id != first_boot && epoch == 0);
    assert_eq!(lab.stop().code(), Some(0));
}

#[test]
fn says_in_one_line_what_is_wrong() {
    let refusal = |name: &str, change: fn(&mut Boot)| {
        let mut boot = boot(&["net_null0"]);
        change(&mut boot);
        let output = Lab::new(name, &boot).command().output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    assert!(refusal("workers", |boot| boot.workers = 40).contains("workers: 1 to 32"));
    assert!(refusal("memory", |boot| boot.memory_mib = 1).contains("memory_mib = 1 is too short"));
    let missing = refusal("missing", |boot| {
        boot.ports[0].device = Device::AfXdp { interface: "no-such-if".into() };
    });
    let no_rights =
        missing.contains("CAP_NET_ADMIN is missing") || missing.contains("CAP_NET_RAW is missing");
    assert!(no_rights || missing.contains("port port0: there is no interface no-such-if here"), "{missing}");
}

fn boot(devices: &[&str]) -> Boot {
    let port = |(index, device): (usize, &&str)| PortBoot {
        id: PortId(index as u8),
        name: format!("port{index}"),
        device: Device::Vdev { arguments: (*device).to_owned() },
        mtu: 1500,
    };
    Boot {
        name: "process test".into(),
        mode: Mode::Trial,
        workers: 2,
        worker_cores: Vec::new(),
        flows_max: 1000,
        memory_mib: 0,
        hugepages: false,
        ports: devices.iter().enumerate().map(port).collect(),
    }
}

/// A plan that bridges `ports` ports.
fn bridge(ports: u8) -> Plan {
    let port = |id| PortPlan {
        id: PortId(id),
        name: format!("port{id}"),
        role: PortRole::Outside,
        untagged: Some(VlanId(0)),
        tagged: Vec::new(),
        shared: false,
        stp: Stp::Forward,
        storm_pps: 0,
    };
    Plan { ports: (0..ports).map(port).collect(), ..Plan::default() }
}

fn broadcast() -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

struct Lab {
    folder: PathBuf,
    child: Option<Child>,
}

impl Lab {
    fn new(name: &str, boot: &Boot) -> Self {
        let folder = std::env::temp_dir().join(format!("fs-ffi-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("boot.json"), serde_json::to_string(boot).unwrap()).unwrap();
        Self { folder, child: None }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowswitch-dp"));
        command.arg("--boot").arg(self.folder.join("boot.json"));
        command.arg("--runtime-dir").arg(self.folder.join("run"));
        command
    }

    fn start(&mut self) {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let mut problem = String::new();
        if line.is_empty() {
            child.stderr.take().unwrap().read_to_string(&mut problem).unwrap();
        }
        assert_eq!(line, "flowswitch-dp: ready, 3 ports, 2 workers\n", "{problem}");
        self.child = Some(child);
    }

    fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn connect(&self) -> Control {
        let stream = SeqPacketStream::connect(&self.folder.join("run/dp.sock")).unwrap();
        Control { stream, assembler: Assembler::default(), bytes: vec![0; PART_MAX] }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

struct Control {
    stream: SeqPacketStream,
    assembler: Assembler,
    bytes: Vec<u8>,
}

impl Control {
    fn send(&self, message: &ToDataPath) {
        parts(message).iter().for_each(|part| self.stream.send(part).unwrap());
    }

    fn greet(&mut self) -> (u64, u64, Plan) {
        self.send(&ToDataPath::Hello { version: VERSION, sender: 1 });
        match self.wait(|message| matches!(message, ToControl::Snapshot { .. })) {
            ToControl::Snapshot { boot_id, epoch, plan, .. } => (boot_id, epoch, *plan),
            _ => unreachable!(),
        }
    }

    fn report(&mut self, wanted: impl Fn(&Report) -> bool) -> Report {
        match self.wait(|message| matches!(message, ToControl::Report(report) if wanted(report))) {
            ToControl::Report(report) => *report,
            _ => unreachable!(),
        }
    }

    fn wait(&mut self, wanted: impl Fn(&ToControl) -> bool) -> ToControl {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            wait_readable(&[self.stream.as_fd()], Duration::from_millis(100));
            while let Ok(len) = self.stream.recv(&mut self.bytes) {
                assert_ne!(len, 0, "the data path has hung up");
                if let Some(message) = self.assembler.push(&self.bytes[..len]).unwrap()
                    && wanted(&message)
                {
                    return message;
                }
            }
        }
        panic!("nothing came that was waited for");
    }
}
