//! Bindings by allow-list, and the shim. Flags come from pkg-config, word by word: `-march` and
//! `-include rte_config.h` must reach both clang and cc, or structures differ in size.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// What Debian calls the things this build needs.
const PACKAGES: &str = "libdpdk-dev libclang-dev pkg-config";

/// Oldest release whose names the bindings use.
const OLDEST: &str = "22.11";

/// What a static program carries: drivers, buses and the pool's ring register themselves by
/// constructors that nothing refers to, so each archive is linked whole.
#[cfg(feature = "static")]
const STATIC: &[&str] = &[
    "rte_net_af_packet",
    "rte_net_af_xdp",
    "rte_net_pcap",
    "rte_net_tap",
    "rte_net_null",
    "rte_net_ring",
    "rte_net_virtio",
    "rte_net_e1000",
    "rte_net_igc",
    "rte_net_ixgbe",
    "rte_net_i40e",
    "rte_net_iavf",
    "rte_net_ice",
    "rte_net_vmxnet3",
    "rte_net_ena",
    "rte_common_iavf",
    "rte_bus_vdev",
    "rte_bus_pci",
    "rte_mempool_ring",
    "rte_vhost",
    "rte_cryptodev",
    "rte_dmadev",
    "rte_security",
    "rte_hash",
    "rte_gso",
    "rte_ip_frag",
    "rte_pci",
    "rte_ethdev",
    "rte_meter",
    "rte_net",
    "rte_mbuf",
    "rte_mempool",
    "rte_rcu",
    "rte_ring",
    "rte_eal",
    "rte_timer",
    "rte_telemetry",
    "rte_kvargs",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=csrc/shim.c");
    println!("cargo:rerun-if-changed=csrc/shim.h");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");

    let found = pkg_config(&["--atleast-version", OLDEST, "libdpdk"]);
    if found.is_none() {
        stop("DPDK 22.11 or newer was not found by pkg-config");
    }
    let cflags = pkg_config(&["--cflags", "libdpdk"]).unwrap_or_default();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    let bindings = bindgen::Builder::default()
        .header("csrc/shim.h")
        .clang_args(&cflags)
        .use_core()
        .ctypes_prefix("::core::ffi")
        .default_enum_style(bindgen::EnumVariation::ModuleConsts)
        .prepend_enum_name(false)
        .generate_comments(false)
        .derive_debug(false)
        .derive_default(false)
        .layout_tests(true)
        .merge_extern_blocks(true)
        .allowlist_function("fs_.*")
        .allowlist_function(
            "rte_eal_(init|cleanup|get_runtime_dir|hotplug_add|hotplug_remove|remote_launch|wait_lcore)",
        )
        .allowlist_function("rte_(strerror|version|lcore_is_enabled|get_main_lcore|socket_id)")
        .allowlist_function("rte_pktmbuf_(pool_create|copy|free_bulk)")
        .allowlist_function("rte_mempool_avail_count")
        .allowlist_function("rte_eth_dev_(info_get|configure|start|stop|close|get_port_by_name)")
        .allowlist_function("rte_eth_dev_(adjust_nb_rx_tx_desc|socket_id)")
        .allowlist_function("rte_eth_(rx|tx)_queue_setup")
        .allowlist_function("rte_eth_(macaddr_get|stats_get)")
        .allowlist_function("rte_eth_(promiscuous|allmulticast)_enable")
        .allowlist_type("rte_eth_(conf|dev_info|stats|rx_mq_mode)")
        .allowlist_type("fs_.*")
        .allowlist_var("FS_.*")
        .allowlist_var("RTE_(MAX_ETHPORTS|MAX_LCORE)")
        // Only ever held by pointer; the shim reads them.
        .opaque_type("rte_mbuf|rte_mempool|rte_mempool_.*|rte_device|rte_mbuf_ext_shared_info")
        .blocklist_type("rte_mbuf__.*|rte_mbuf_sched")
        .generate();
    let bindings = match bindings {
        Ok(bindings) => bindings,
        Err(error) => stop(&format!("clang could not read DPDK's headers ({error})")),
    };
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR is writable");

    let mut shim = cc::Build::new();
    shim.file("csrc/shim.c").include("csrc").opt_level(3).warnings(false);
    for flag in &cflags {
        shim.flag(flag);
    }
    shim.compile("fs_shim");
    link();
}

/// The system's shared libraries. The linker keeps those that are used; EAL loads the drivers.
#[cfg(not(feature = "static"))]
fn link() {
    for word in pkg_config(&["--libs", "libdpdk"]).unwrap_or_default() {
        if let Some(library) = word.strip_prefix("-l") {
            println!("cargo:rustc-link-lib=dylib={library}");
        } else if let Some(folder) = word.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
        }
    }
}

/// The archives named above, whole, and the few shared libraries that they need.
#[cfg(feature = "static")]
fn link() {
    let folder = pkg_config(&["--variable=libdir", "libdpdk"]).unwrap_or_default();
    let folder = folder.first().cloned().unwrap_or_default();
    println!("cargo:rustc-link-search=native={folder}");
    for library in STATIC {
        if PathBuf::from(&folder).join(format!("lib{library}.a")).exists() {
            println!("cargo:rustc-link-lib=static:+whole-archive,-bundle={library}");
        }
    }
    for library in ["pcap", "xdp", "bpf", "numa", "bsd", "atomic", "dl", "m", "pthread"] {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
}

/// The words that pkg-config prints, `None` when it fails or is not there.
fn pkg_config(arguments: &[&str]) -> Option<Vec<String>> {
    let output = Command::new("pkg-config").args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect())
}

/// Ends the build with what is missing and what to install.
fn stop(what: &str) -> ! {
    eprintln!("\n  dpdk-sys: {what}.\n  On Debian: apt install {PACKAGES}\n");
    std::process::exit(1);
}
