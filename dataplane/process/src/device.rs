//! A port's device in DPDK's words.

use dataplane_message::{Device, PortBoot};
use ffi_dpdk::{DeviceName, Mempool, PortBuffers};

/// Bytes in front of a layer-3 packet: Ethernet header and two tags.
const L2_MAX: u16 = 14 + 8;

/// What a buffer has in front of the frame (DPDK's headroom).
const HEADROOM: u16 = 128;

/// The largest layer-3 size on AF_XDP: a page, without headers, the kernel's headroom of 256 bytes
/// for XDP programs, and ours.
pub(crate) const AF_XDP_MTU_MAX: u16 = Mempool::PRIVATE_DATA_ROOM - 256 - HEADROOM - L2_MAX;

/// The frame that every buffer has room for.
const FRAME_MIN: u16 = 2048;

/// Descriptors of a queue in each direction.
pub(crate) const DESCRIPTORS: u16 = 1024;

/// What sets one kind of device apart.
#[derive(Debug)]
pub(crate) struct Traits {
    /// DPDK's driver, as `show ports` names it.
    pub(crate) driver: &'static str,
    /// It is a kernel interface that was there before, and that may go and come again.
    pub(crate) interface: bool,
    /// The driver forgets buffers when it closes: a pool of its own finds them again.
    pub(crate) private_pool: bool,
    /// Buffers that one queue holds at most, both directions together.
    pub(crate) descriptors: u32,
    /// What the operator should know.
    pub(crate) note: Option<&'static str>,
}

/// The traits of a device's kind.
pub(crate) fn traits(device: &Device) -> Traits {
    let ordinary = Traits {
        driver: "vdev",
        interface: false,
        private_pool: false,
        descriptors: 2 * u32::from(DESCRIPTORS),
        note: None,
    };
    match device {
        // 2,048 in the fill ring, as many in the transmit ring, and what came back unread.
        Device::AfXdp { .. } => Traits {
            driver: "af_xdp",
            interface: true,
            private_pool: true,
            descriptors: 3 * 2048,
            ..ordinary
        },
        Device::AfPacket { .. } => Traits {
            driver: "af_packet",
            interface: true,
            note: Some("IPv4 fragments are lost with this driver, and 802.1ad tags become 802.1Q tags"),
            ..ordinary
        },
        Device::Pcap { .. } => Traits { driver: "pcap", interface: true, ..ordinary },
        Device::Tap { .. } => Traits { driver: "tap", ..ordinary },
        Device::Pci { .. } => Traits { driver: "pci", ..ordinary },
        Device::Vdev { .. } => ordinary,
    }
}

/// What DPDK opens for a port. Virtual devices are named anew each time (`generation`), as a name may
/// still be in use while the device that had it is being removed.
pub(crate) fn name(port: &PortBoot, generation: u32) -> DeviceName {
    let number = u32::from(port.id.0) + 32 * generation;
    let with = |driver: &str, arguments: String| DeviceName::Virtual {
        name: format!("net_{driver}{number}"),
        arguments,
    };
    match &port.device {
        // The driver's busy polling makes every empty poll a system call, and a nap pointless.
        Device::AfXdp { interface } => with("af_xdp", format!("iface={interface},busy_budget=0")),
        Device::AfPacket { interface } => {
            with("af_packet", format!("iface={interface},qdisc_bypass=1,{}", af_packet_ring(port.mtu)))
        }
        Device::Pcap { interface } => with("pcap", format!("iface={interface}")),
        Device::Tap { interface } => with("tap", format!("iface={interface}")),
        Device::Pci { address } => DeviceName::Pci { address: address.clone() },
        Device::Vdev { arguments } => {
            let (name, arguments) = arguments.split_once(',').unwrap_or((arguments, ""));
            DeviceName::Virtual { name: name.to_owned(), arguments: arguments.to_owned() }
        }
    }
}

/// Bytes of a buffer that a port's frames fit into, headroom included.
pub(crate) fn data_room(port: &PortBoot) -> u16 {
    let frame = match &port.device {
        Device::AfPacket { .. } => af_packet_frame(port.mtu),
        // Cards chain buffers.
        Device::Pci { .. } => FRAME_MIN,
        _ => (port.mtu + L2_MAX).max(FRAME_MIN),
    };
    frame.next_multiple_of(64) + HEADROOM
}

/// Room for a frame in the ring that is shared with the kernel, its header of some 60 bytes included.
fn af_packet_frame(mtu: u16) -> u16 {
    (mtu + L2_MAX + 80).next_power_of_two().max(FRAME_MIN)
}

fn af_packet_ring(mtu: u16) -> String {
    match af_packet_frame(mtu) {
        FRAME_MIN => "framecnt=2048".to_owned(),
        frame => format!("framesz={frame},blocksz=65536,framecnt=512"),
    }
}

/// The queues that buffers are counted for: virtual devices on kernel interfaces have one.
pub(crate) fn buffers(device: &Device, workers: u8) -> PortBuffers {
    let traits = traits(device);
    let queues = if traits.interface { 1 } else { u16::from(workers) };
    PortBuffers { queues, descriptors: traits.descriptors }
}

/// What to do when a driver does not take an interface.
pub(crate) fn remedy(device: &Device) -> &'static str {
    match device {
        Device::AfXdp { .. } => "; try driver = \"af_packet\", or a smaller MTU on both ends",
        Device::AfPacket { .. } => "; try driver = \"pcap\"",
        Device::Tap { .. } => "; is there an interface of that name already?",
        Device::Pci { .. } if cfg!(feature = "static") => {
            "; is it bound to vfio-pci or uio_pci_generic? This program has drivers for e1000, igc, ixgbe, i40e, iavf, ice, \
             ena, vmxnet3 and virtio alone: for other cards build it with --no-default-features"
        }
        Device::Pci { .. } => "; is it bound to vfio-pci or uio_pci_generic?",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::{af_xdp, boot};

    #[test]
    fn names_are_new_each_time() {
        let boot = boot([af_xdp("p0"), Device::Vdev { arguments: "net_null0,size=64,copy=1".into() }]);
        let made = |name: &str, arguments: &str| DeviceName::Virtual {
            name: name.into(),
            arguments: arguments.into(),
        };
        assert_eq!(name(&boot.ports[0], 0), made("net_af_xdp0", "iface=p0,busy_budget=0"));
        assert_eq!(name(&boot.ports[0], 2), made("net_af_xdp64", "iface=p0,busy_budget=0"));
        assert_eq!(name(&boot.ports[1], 0), made("net_null0", "size=64,copy=1"));
    }

    #[test]
    fn buffers_have_room_for_the_mtu() {
        let mut boot = boot([Device::AfPacket { interface: "p0".into() }, af_xdp("p1")]);
        assert_eq!((data_room(&boot.ports[0]), data_room(&boot.ports[1])), (2176, 2176));
        for port in &mut boot.ports {
            port.mtu = 9000;
        }
        assert_eq!(data_room(&boot.ports[0]), 16_384 + 128);
        let DeviceName::Virtual { arguments, .. } = name(&boot.ports[0], 0) else { panic!() };
        assert_eq!(arguments, "iface=p0,qdisc_bypass=1,framesz=16384,blocksz=65536,framecnt=512");
    }
}
