//! `run`: one case at full speed.

use crate::case::Case;
use crate::eal;
use crate::meter;
use crate::rig::{Ground, Rig};
use anyhow::Result;
use clap::Args;

/// One case at full speed, on huge pages.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArguments {
    /// What the packets are.
    #[arg(long, value_enum, default_value = "inbound")]
    case: Case,
    /// Established flows, visited uniformly; a power of two.
    #[arg(long, default_value_t = 1024)]
    flows: u32,
    /// Packets of a window.
    #[arg(long, default_value_t = 4_000_000)]
    packets: u64,
    /// Windows.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// The core to work on.
    #[arg(long, default_value_t = 1)]
    core: usize,
}

/// Runs it.
pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    let RunArguments { case, flows, packets, rounds, core } = *arguments;
    let ground = Ground::new(&eal::large(0, &[core]))?;
    let mut rig = Rig::new(&ground, case.size(flows))?;
    rig.establish(&ground, case.kind(), flows)?;
    let (used, room) = rig.fill();
    println!("{used} entries of {room}; {}", meter::unit());
    rig.play(0, case.stream(flows));
    rig.run(&ground, packets / 8)?;
    for _ in 0..rounds {
        let window = rig.run(&ground, packets)?;
        println!(
            "{:8.1} cycles, {:6.2} Mpps, {} allocations",
            window.each(),
            window.rate() / 1e6,
            window.allocations
        );
    }
    println!("{}", rig.drops());
    Ok(())
}
