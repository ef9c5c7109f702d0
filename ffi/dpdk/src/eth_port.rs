//! A device, opened, started, closed.

use crate::batch::Batch;
use crate::{DpdkError, Eal, Mempool};
use core::ffi::CStr;
use core::fmt;
use core::mem::MaybeUninit;
use dataplane_port::BURST;
use dpdk_sys as sys;
use std::ffi::CString;
use std::sync::Arc;

/// Ethernet header and two tags.
const L2_MAX: u32 = 14 + 8;

/// Ethernet header and FCS.
const ETHERNET: u32 = 18;

/// Frames that are in a device's ring at most when it is opened.
const STRAY_MAX: usize = 4096;

/// The layer-3 size that every device carries without being told.
const MTU_DEFAULT: u16 = 1500;

/// What DPDK calls a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceName {
    /// A virtual device, made when it is opened and removed when it is closed.
    Virtual {
        /// Its name, beginning with the driver's: `net_af_xdp0`. Unique in the process.
        name: String,
        /// The driver's arguments: `iface=p0`.
        arguments: String,
    },
    /// A card that is bound to a DPDK driver and was allowed at start.
    Pci {
        /// Its address, `0000:01:00.0`.
        address: String,
    },
}

impl DeviceName {
    fn name(&self) -> &str {
        match self {
            Self::Virtual { name, .. } => name,
            Self::Pci { address } => address,
        }
    }
}

/// How a device is set up.
#[derive(Clone, Debug)]
pub struct PortSettings {
    /// Number of workers; the device gets a queue pair for each if it can, else one.
    pub workers: u8,
    /// Largest frame's layer-3 size in bytes.
    pub mtu: u16,
    /// Descriptors of a queue in each direction; the device adjusts them to what it can do.
    pub descriptors: u16,
    /// Where the random key of the device's hash comes from.
    pub seed: u64,
    /// Where its frames go.
    pub pool: Arc<Mempool>,
}

/// Why a device could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The driver did not take it: no such interface, no permission, or it cannot.
    Attach(DpdkError),
    /// There is no such device.
    Find(DpdkError),
    /// It was found but could not be started as asked.
    Start(DpdkError),
    /// The pool is another device's alone.
    PoolTaken,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach(error) => write!(f, "the driver does not take the device: {error}"),
            Self::Find(error) => write!(f, "no such device: {error}"),
            Self::Start(error) => write!(f, "the device does not start: {error}"),
            Self::PoolTaken => f.write_str("the pool belongs to another device"),
        }
    }
}

impl core::error::Error for OpenError {}

/// What a device says it lost, since it was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EthStats {
    /// Frames it had no room for.
    pub missed: u64,
    /// Frames that were bad.
    pub rx_errors: u64,
    /// Frames it had no buffer for.
    pub no_buffer: u64,
    /// Frames it could not send.
    pub tx_errors: u64,
}

impl EthStats {
    /// All of them.
    pub fn all(self) -> u64 {
        self.missed + self.rx_errors + self.no_buffer + self.tx_errors
    }
}

/// A started device. Dropping it stops and closes it, which takes a driver up to some 100 ms.
#[derive(Debug)]
pub struct EthPort {
    number: u16,
    name: DeviceName,
    driver: String,
    mac: [u8; 6],
    queues: u16,
    frame_max: u32,
    chains: bool,
    started: bool,
    pool: Arc<Mempool>,
}

impl EthPort {
    /// Opens a device and starts it, promiscuous.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; a virtual device is removed again.
    pub fn open(_: &Eal, name: DeviceName, settings: &PortSettings) -> Result<Self, OpenError> {
        if !settings.pool.claim() {
            return Err(OpenError::PoolTaken);
        }
        if let Err(error) = plug(&name) {
            settings.pool.release();
            return Err(OpenError::Attach(error));
        }
        let mut port = Self {
            number: u16::MAX,
            name,
            driver: String::new(),
            mac: [0; 6],
            queues: 0,
            frame_max: u32::from(settings.mtu) + L2_MAX,
            chains: false,
            started: false,
            pool: Arc::clone(&settings.pool),
        };
        port.number = find(port.name.name()).map_err(OpenError::Find)?;
        port.start(settings).map_err(OpenError::Start)?;
        Ok(port)
    }

    /// The driver's name, as in `net_af_xdp`.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// What it was opened with.
    pub fn name(&self) -> &DeviceName {
        &self.name
    }

    /// Its own address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Its queues in each direction: as many as workers, or 1.
    pub fn queues(&self) -> u16 {
        self.queues
    }

    /// What it lost. Some drivers cannot tell; that reads as nothing.
    pub fn stats(&self) -> EthStats {
        let mut stats = MaybeUninit::<sys::rte_eth_stats>::zeroed();
        // SAFETY: the device lives; DPDK fills the structure, which is valid as zeroes too.
        let stats = unsafe {
            sys::rte_eth_stats_get(self.number, stats.as_mut_ptr());
            stats.assume_init()
        };
        EthStats {
            missed: stats.imissed,
            rx_errors: stats.ierrors,
            no_buffer: stats.rx_nombuf,
            tx_errors: stats.oerrors,
        }
    }

    /// The driver's word on the link. For devices on kernel interfaces it is always up: ask the kernel.
    pub fn link_up(&self) -> bool {
        // SAFETY: the device lives.
        unsafe { sys::fs_eth_link_up(self.number) == 1 }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// The longest frame that may be sent, without FCS.
    pub(crate) fn frame_max(&self) -> u32 {
        self.frame_max
    }

    /// The driver sends frames of several segments.
    pub(crate) fn sends_chains(&self) -> bool {
        self.chains
    }

    fn start(&mut self, settings: &PortSettings) -> Result<(), DpdkError> {
        let info = self.info()?;
        // SAFETY: the driver's name is a constant string of the driver.
        self.driver = unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned();
        let workers = u16::from(settings.workers);
        let several = info.max_rx_queues >= workers && info.max_tx_queues >= workers;
        self.queues = if several { workers } else { 1 };
        // net_pcap gathers segments and does not say so.
        self.chains = info.tx_offload_capa & sys::FS_TX_OFFLOAD_MULTI_SEGS != 0 || self.driver == "net_pcap";
        self.configure(settings, &info)?;
        self.set_up_queues(settings)?;
        // SAFETY: the device is configured.
        DpdkError::check("rte_eth_dev_start", unsafe { sys::rte_eth_dev_start(self.number) })?;
        self.started = true;
        self.listen_to_all()?;
        if self.driver == "net_af_packet" {
            self.discard_strays();
        }
        self.read_mac()
    }

    fn info(&self) -> Result<sys::rte_eth_dev_info, DpdkError> {
        let mut info = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
        // SAFETY: the device lives; DPDK fills the structure.
        let code = unsafe { sys::rte_eth_dev_info_get(self.number, info.as_mut_ptr()) };
        DpdkError::check("rte_eth_dev_info_get", code)?;
        // SAFETY: filled, as the call succeeded.
        Ok(unsafe { info.assume_init() })
    }

    fn configure(&self, settings: &PortSettings, info: &sys::rte_eth_dev_info) -> Result<(), DpdkError> {
        // SAFETY: the structure is numbers and pointers that may be null; zeroes are DPDK's defaults.
        let mut conf: sys::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
        // Drivers of virtual devices that say 1,518 carry more, and refuse to be told so.
        let longest = u32::from(settings.mtu) + ETHERNET;
        if settings.mtu > MTU_DEFAULT && info.max_mtu >= settings.mtu && info.max_rx_pktlen >= longest {
            conf.rxmode.mtu = u32::from(settings.mtu);
        }
        if matches!(self.name, DeviceName::Pci { .. }) {
            // Virtual devices that offer this compute it on our core, and nobody needs it there.
            conf.rxmode.offloads |= info.rx_offload_capa & sys::FS_RX_OFFLOAD_IPV4_CKSUM;
        }
        if self.frame_max > settings.pool.frame_room() {
            conf.rxmode.offloads |= info.rx_offload_capa & sys::FS_RX_OFFLOAD_SCATTER;
        }
        conf.txmode.offloads |= info.tx_offload_capa & sys::FS_TX_OFFLOAD_MULTI_SEGS;
        let mut key = hash_key(settings.seed ^ u64::from(self.number) << 48);
        let fields = info.flow_type_rss_offloads & sys::FS_RSS_WANTED;
        let key_len = usize::from(info.hash_key_size);
        if self.queues > 1 && fields != 0 && (1..=key.len()).contains(&key_len) {
            conf.rxmode.mq_mode = sys::rte_eth_rx_mq_mode::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
            conf.rx_adv_conf.rss_conf.rss_key_len = info.hash_key_size;
            conf.rx_adv_conf.rss_conf.rss_hf = fields;
        }
        // SAFETY: the device lives and is stopped; what `conf` points at is read during the call.
        let code =
            unsafe { sys::rte_eth_dev_configure(self.number, self.queues, self.queues, &raw const conf) };
        DpdkError::check("rte_eth_dev_configure", code)?;
        Ok(())
    }

    fn set_up_queues(&self, settings: &PortSettings) -> Result<(), DpdkError> {
        let (mut rx, mut tx) = (settings.descriptors, settings.descriptors);
        // SAFETY: the device lives; the two numbers are ours.
        let code = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.number, &raw mut rx, &raw mut tx) };
        DpdkError::check("rte_eth_dev_adjust_nb_rx_tx_desc", code)?;
        // SAFETY: the device lives.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.number) }.cast_unsigned();
        for queue in 0..self.queues {
            // SAFETY: the device is configured with that many queues, the pool outlives it, and null
            // asks for the driver's defaults.
            let code = unsafe {
                let pool = self.pool.as_ptr();
                sys::rte_eth_rx_queue_setup(self.number, queue, rx, socket, core::ptr::null(), pool)
            };
            DpdkError::check("rte_eth_rx_queue_setup", code)?;
            // SAFETY: as above.
            let code =
                unsafe { sys::rte_eth_tx_queue_setup(self.number, queue, tx, socket, core::ptr::null()) };
            DpdkError::check("rte_eth_tx_queue_setup", code)?;
        }
        Ok(())
    }

    /// The driver's socket hears every interface of the machine until it is bound to its own: frames
    /// of other ports lie in its ring, and would be taken for this one's.
    fn discard_strays(&self) {
        let mut strays: Batch<BURST> = Batch::EMPTY;
        for _ in 0..STRAY_MAX / BURST {
            // SAFETY: the device is started and not yet anybody's; it has one queue.
            if unsafe { strays.receive(self.number, 0) } == 0 {
                break;
            }
            strays.free();
        }
    }

    /// A switch hears everything. Drivers without the notion hear it anyway.
    fn listen_to_all(&self) -> Result<(), DpdkError> {
        // SAFETY: the device lives.
        let promiscuous = unsafe { sys::rte_eth_promiscuous_enable(self.number) };
        // SAFETY: the device lives.
        let multicast = unsafe { sys::rte_eth_allmulticast_enable(self.number) };
        for (call, code) in
            [("rte_eth_promiscuous_enable", promiscuous), ("rte_eth_allmulticast_enable", multicast)]
        {
            match DpdkError::check(call, code) {
                Err(error) if !error.is_unsupported() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_mac(&mut self) -> Result<(), DpdkError> {
        let mut mac = MaybeUninit::<sys::rte_ether_addr>::zeroed();
        // SAFETY: the device lives; DPDK fills the six bytes.
        let (code, mac) = unsafe {
            let code = sys::rte_eth_macaddr_get(self.number, mac.as_mut_ptr());
            (code, mac.assume_init())
        };
        self.mac = mac.addr_bytes;
        DpdkError::check("rte_eth_macaddr_get", code).map(drop)
    }
}

impl Drop for EthPort {
    fn drop(&mut self) {
        if self.started {
            // SAFETY: nobody polls the device: its queues' users hold it alive, and it is being dropped.
            unsafe { sys::rte_eth_dev_stop(self.number) };
        }
        match &self.name {
            DeviceName::Virtual { name, .. } => {
                let name = CString::new(name.as_str()).expect("the name was one when it was plugged");
                // SAFETY: removes what `plug` added; the driver closes the device.
                unsafe { sys::rte_eal_hotplug_remove(c"vdev".as_ptr(), name.as_ptr()) };
            }
            DeviceName::Pci { .. } if self.number != u16::MAX => {
                // SAFETY: stopped above, or never started.
                unsafe { sys::rte_eth_dev_close(self.number) };
            }
            DeviceName::Pci { .. } => {}
        }
        self.pool.release();
    }
}

/// Makes a virtual device. Cards have been found at start.
fn plug(name: &DeviceName) -> Result<(), DpdkError> {
    const CALL: &str = "rte_eal_hotplug_add";
    let DeviceName::Virtual { name, arguments } = name else { return Ok(()) };
    let invalid = |_| DpdkError { call: CALL, errno: 22 };
    let name = CString::new(name.as_str()).map_err(invalid)?;
    let arguments = CString::new(arguments.as_str()).map_err(invalid)?;
    // SAFETY: the strings are copied; an `Eal` exists, so DPDK is started.
    let code = unsafe { sys::rte_eal_hotplug_add(c"vdev".as_ptr(), name.as_ptr(), arguments.as_ptr()) };
    DpdkError::check(CALL, code).map(drop)
}

fn find(name: &str) -> Result<u16, DpdkError> {
    const CALL: &str = "rte_eth_dev_get_port_by_name";
    let name = CString::new(name).map_err(|_| DpdkError { call: CALL, errno: 22 })?;
    let mut number = 0;
    // SAFETY: the name is only read; the number is ours.
    let code = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut number) };
    DpdkError::check(CALL, code)?;
    Ok(number)
}

/// A key of full length without a period: with a short period, tuples that an attacker chooses all
/// meet in one queue.
fn hash_key(seed: u64) -> [u8; 64] {
    let mut state = seed;
    let mut key = [0; 64];
    for chunk in key.chunks_exact_mut(8) {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(z ^ z >> 31).to_le_bytes());
    }
    key
}
