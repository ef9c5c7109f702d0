//! Compiles the peers in `csrc` with pkg-config's flags, as `ffi/dpdk-sys` compiles its shim.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=csrc");
    let output = Command::new("pkg-config").args(["--cflags", "libdpdk"]).output();
    let flags = match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => {
            eprintln!(
                "\n  tests-bench-dpdk: DPDK was not found by pkg-config.\n  On Debian: apt install libdpdk-dev pkg-config\n"
            );
            std::process::exit(1);
        }
    };
    let mut build = cc::Build::new();
    build.file("csrc/floor.c").file("csrc/hash.c").include("csrc").opt_level(3).warnings(false);
    for flag in flags.split_whitespace() {
        build.flag(flag);
    }
    build.compile("fs_bench");
}
