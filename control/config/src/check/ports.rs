//! Ports and their devices.

use super::{Facts, PortFacts, VLAN, whole};
use crate::config::Port;
use crate::mistake::{Caution, Mistake};
use crate::profile::DRIVER;
use crate::raw::{Driver, RawPort};
use crate::reader::{Field, Findings};
use dataplane_message::{Device, PortBoot, PortPlan, PortRole, Stp};
use dataplane_port::{PORTS_MAX, PortId, VlanId};
use std::collections::HashMap;

/// Broadcast, multicast and unknown unicast frames a second that a port may bring (FS-5).
const STORM_PPS: u32 = 5_000;

const MTU: u16 = 1500;

/// The largest layer-3 size that fits a page with AF_XDP's headroom in front and the kernel's share behind.
const AF_XDP_MTU: u16 = 3_400;

pub(super) fn check(
    raw: Vec<(String, Option<RawPort>)>,
    hugepages: Option<bool>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<Vec<Port>> {
    if raw.is_empty() {
        findings.error("ports", Mistake::NoPorts);
        return None;
    }
    if raw.len() > PORTS_MAX {
        let mistake = Mistake::TooMany { things: "ports", count: raw.len(), most: PORTS_MAX };
        findings.error("ports", mistake);
    }
    let mut devices = HashMap::new();
    let mut ports = Vec::new();
    for (number, (name, raw)) in raw.into_iter().enumerate() {
        let id = PortId(number.min(PORTS_MAX - 1) as u8);
        let Some(raw) = raw else {
            facts.ports.push(&name, PortFacts { role: None, vlans: None, shared: None });
            ports.push(None);
            continue;
        };
        if hugepages == Some(false) && raw.pci.given().is_some() {
            findings.error(format!("ports.{name}.pci"), Mistake::PciWithoutHugepages);
        }
        ports.push(port(id, name, raw, &mut devices, facts, findings));
    }
    whole(ports)
}

fn port(
    id: PortId,
    name: String,
    raw: RawPort,
    devices: &mut HashMap<String, String>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<Port> {
    let path = format!("ports.{name}");
    let device = device(&path, &name, &raw, devices, findings);
    let (untagged, tagged) = vlans(&raw, findings);
    let vlans = tagged
        .as_ref()
        .zip(untagged)
        .map(|(tagged, untagged)| tagged.iter().copied().chain(untagged).collect::<Vec<VlanId>>());
    let role = raw.role.or(PortRole::default());
    let shared = raw.shared.or(false);
    let mtu = raw.mtu.or(MTU);
    match &device {
        Some(Device::AfPacket { .. }) => findings.warning(format!("{path}.driver"), Caution::Fragments),
        Some(Device::AfXdp { .. }) if mtu.is_some_and(|mtu| mtu > AF_XDP_MTU) => {
            findings.warning(format!("{path}.mtu"), Caution::Jumbo);
        }
        _ => {}
    }
    facts.ports.push(&name, PortFacts { role, vlans, shared });
    Some(Port {
        boot: PortBoot { id, name: name.clone(), device: device?, mtu: mtu? },
        plan: PortPlan {
            id,
            name,
            role: role?,
            untagged: untagged?,
            tagged: tagged?,
            shared: shared?,
            stp: raw.stp.or(Stp::default())?,
            storm_pps: raw.storm_pps.or(STORM_PPS)?,
        },
    })
}

/// What the port is made of; exactly one of three fields says so.
fn device(
    path: &str,
    name: &str,
    raw: &RawPort,
    devices: &mut HashMap<String, String>,
    findings: &mut Findings,
) -> Option<Device> {
    let fields = [("interface", &raw.interface), ("pci", &raw.pci), ("vdev", &raw.vdev)];
    let mut written = fields.iter().filter(|(_, field)| !field.is_missing());
    let Some((key, value)) = written.next() else {
        findings.error(path, Mistake::NoDevice);
        return None;
    };
    if written.next().is_some() {
        findings.error(path, Mistake::ManyDevices);
        return None;
    }
    if *key != "interface" && !raw.driver.is_missing() {
        findings.error(format!("{path}.driver"), Mistake::DriverWithoutInterface);
    }
    let value = value.given()?;
    // A device is one, whatever arguments follow its name and whichever driver is on it.
    let device = value.split(',').next().unwrap_or_default().to_owned();
    match devices.get(&device) {
        Some(other) => {
            let mistake = Mistake::DeviceTaken { device, other: other.clone() };
            findings.error(format!("{path}.{key}"), mistake);
            return None;
        }
        None => devices.insert(device, name.to_owned()),
    };
    let value = value.clone();
    Some(match *key {
        "pci" => Device::Pci { address: value },
        "vdev" => Device::Vdev { arguments: value },
        _ => match raw.driver.clone().or(DRIVER)? {
            Driver::AfXdp => Device::AfXdp { interface: value },
            Driver::AfPacket => Device::AfPacket { interface: value },
            Driver::Pcap => Device::Pcap { interface: value },
            Driver::Tap => Device::Tap { interface: value },
        },
    })
}

/// The VLAN without tag, and those with one; the outer `None` where the file is wrong.
fn vlans(raw: &RawPort, findings: &mut Findings) -> (Option<Option<VlanId>>, Option<Vec<VlanId>>) {
    let tagged = match &raw.tagged {
        Field::Missing => Some(Vec::new()),
        Field::Broken => None,
        Field::Given(tagged) => Some(tagged.clone()),
    };
    let untagged = match &raw.untagged {
        Field::Missing => match &tagged {
            Some(tagged) if tagged.is_empty() => Some(Some(VlanId(VLAN))),
            Some(_) => Some(None),
            None => None,
        },
        Field::Broken => None,
        Field::Given(vlan) => Some(Some(VlanId(*vlan))),
    };
    let mut all = Vec::new();
    for vlan in tagged.iter().flatten() {
        let id = VlanId(vlan.value);
        if untagged.flatten() == Some(id) {
            findings.error(vlan.path.as_str(), Mistake::TaggedAndUntagged { vlan: vlan.value });
        } else if all.contains(&id) {
            findings.error(vlan.path.as_str(), Mistake::Twice { value: format!("VLAN {}", vlan.value) });
        } else {
            all.push(id);
        }
    }
    (untagged, tagged.map(|_| all))
}
