//! The boot file: read, and refused where it cannot work.

use crate::device;
use anyhow::{Context, Result, bail, ensure};
use dataplane_message::{Boot, Device, Mode};
use dataplane_port::{PORTS_MAX, WORKERS_MAX};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// The smallest and the largest layer-3 size that a port may have, in bytes.
const MTU: core::ops::RangeInclusive<u16> = 576..=9600;

/// Reads the boot file.
pub(crate) fn read(path: &Path) -> Result<Boot> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let boot = serde_json::from_str(&text).with_context(|| format!("malformed: {}", path.display()))?;
    check(&boot).with_context(|| format!("refused: {}", path.display()))?;
    Ok(boot)
}

/// What the control core promises, looked at again: this process may be started by hand.
fn check(boot: &Boot) -> Result<()> {
    let workers = usize::from(boot.workers);
    ensure!((1..=WORKERS_MAX).contains(&workers), "workers: 1 to {WORKERS_MAX}, not {workers}");
    let cores = boot.worker_cores.len();
    ensure!(cores == 0 || cores == workers, "worker_cores: {cores} cores for {workers} workers");
    let different: HashSet<_> = boot.worker_cores.iter().collect();
    ensure!(different.len() == cores, "worker_cores: a core is named twice");
    ensure!(
        boot.mode == Mode::Trial || cores > 0,
        "worker_cores: a worker that polls without rest needs a core of its own"
    );
    ensure!((1..=PORTS_MAX).contains(&boot.ports.len()), "ports: 1 to {PORTS_MAX}, not {}", boot.ports.len());
    check_ports(boot)
}

/// Looks whether the workers' cores are among those that the process may use.
pub(crate) fn check_cores(boot: &Boot, cores: &[usize]) -> Result<()> {
    for core in &boot.worker_cores {
        ensure!(
            cores.contains(&usize::from(*core)),
            "worker_cores: there is no core {core} for this process; it may use {cores:?}"
        );
    }
    Ok(())
}

fn check_ports(boot: &Boot) -> Result<()> {
    let mut places = HashSet::new();
    for (index, port) in boot.ports.iter().enumerate() {
        let name = &port.name;
        ensure!(port.id.index() == index, "ports[{index}] ({name}): has number {}", port.id.0);
        ensure!(MTU.contains(&port.mtu), "ports[{index}] ({name}): mtu {} is not in {MTU:?}", port.mtu);
        let limit = device::AF_XDP_MTU_MAX;
        ensure!(
            port.mtu <= limit || !matches!(port.device, Device::AfXdp { .. }),
            "ports[{index}] ({name}): AF_XDP carries an mtu of at most {limit}; use driver = \"af_packet\""
        );
        let place = match &port.device {
            Device::Pci { address } => {
                ensure!(boot.hugepages, "ports[{index}] ({name}): a PCI device needs hugepages = true");
                address
            }
            Device::Vdev { arguments } => arguments,
            device => device.interface().unwrap_or_default(),
        };
        let end = [',', ' ', '/', '\0'];
        if !matches!(port.device, Device::Vdev { .. }) && (place.is_empty() || place.contains(end)) {
            bail!("ports[{index}] ({name}): `{place}` is not the name of a device");
        }
        ensure!(places.insert(place), "ports[{index}] ({name}): {place} carries a port already");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use dataplane_message::PortBoot;
    use dataplane_port::PortId;

    /// A boot with `devices` as its ports.
    pub(crate) fn boot(devices: impl IntoIterator<Item = Device>) -> Boot {
        let port = |(index, device)| PortBoot {
            id: PortId(index as u8),
            name: format!("port{index}"),
            device,
            mtu: 1500,
        };
        Boot {
            name: "lab".into(),
            mode: Mode::Trial,
            workers: 2,
            worker_cores: Vec::new(),
            flows_max: 1000,
            memory_mib: 0,
            hugepages: false,
            ports: devices.into_iter().enumerate().map(port).collect(),
        }
    }

    pub(crate) fn af_xdp(interface: &str) -> Device {
        Device::AfXdp { interface: interface.into() }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refusal = |change: fn(&mut Boot)| {
            let mut boot = boot([af_xdp("p0"), af_xdp("p1")]);
            change(&mut boot);
            check(&boot).map_err(|error| error.to_string())
        };
        assert_eq!(refusal(|_| {}), Ok(()));
        assert!(refusal(|b| b.workers = 0).unwrap_err().starts_with("workers: 1 to 32"));
        assert!(refusal(|b| b.worker_cores = vec![1]).unwrap_err().contains("1 cores for 2"));
        assert!(refusal(|b| b.worker_cores = vec![1, 1]).unwrap_err().contains("twice"));
        let mut elsewhere = boot([af_xdp("p0")]);
        elsewhere.worker_cores = vec![0, 9];
        assert!(check_cores(&elsewhere, &[0, 1]).unwrap_err().to_string().contains("no core 9"));
        assert!(refusal(|b| b.mode = Mode::Appliance).unwrap_err().contains("core of its own"));
        assert!(refusal(|b| b.ports.clear()).unwrap_err().starts_with("ports"));
        assert!(refusal(|b| b.ports[1].id = PortId(7)).unwrap_err().contains("number 7"));
        assert!(refusal(|b| b.ports[1].mtu = 20_000).unwrap_err().contains("mtu"));
        assert!(refusal(|b| b.ports[1].device = af_xdp("p0")).unwrap_err().contains("already"));
        assert!(refusal(|b| b.ports[1].device = af_xdp("p0,x=1")).unwrap_err().contains("not the name"));
        let pci = |b: &mut Boot| b.ports[1].device = Device::Pci { address: "0000:01:00.0".into() };
        assert!(refusal(pci).unwrap_err().contains("hugepages"));
    }

    #[test]
    fn a_boot_file_is_json() {
        let path = std::env::temp_dir().join(format!("fs-ffi-boot-{}.json", std::process::id()));
        fs::write(&path, serde_json::to_string(&boot([af_xdp("p0")])).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), boot([af_xdp("p0")]));
        fs::write(&path, "{ \"name\": 5 }").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("malformed") && error.contains("line 1"), "{error}");
        fs::remove_file(path).unwrap();
    }
}
