//! `count`: a fixed number of packets and nothing around them, for callgrind.

use crate::case::Case;
use crate::eal;
use crate::rig::{Ground, Rig};
use crate::traffic::FRAME_MAX;
use anyhow::Result;
use clap::{Args, ValueEnum};
use dataplane_port::BURST;

/// What the packets go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Way {
    /// The switch: generator, device, ports, worker, engine.
    Switch,
    /// The same without worker and engine: every frame is forwarded.
    Pass,
    /// From device to device, in C.
    Floor,
    /// The generator alone, over memory.
    Generator,
}

impl Way {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A fixed number of packets of one case: what callgrind counts. Needs neither root nor huge pages.
#[derive(Args, Clone, Debug)]
pub(crate) struct CountArguments {
    /// What the packets are.
    #[arg(long, value_enum, default_value = "inbound")]
    pub(crate) case: Case,
    /// What they go through.
    #[arg(long, value_enum, default_value = "switch")]
    pub(crate) way: Way,
    /// Established flows, visited uniformly; a power of two.
    #[arg(long, default_value_t = 1024)]
    pub(crate) flows: u32,
    /// Packets; whole bursts.
    #[arg(long, default_value_t = 65_536)]
    pub(crate) packets: u64,
}

/// Runs it.
pub(crate) fn run(arguments: &CountArguments) -> Result<()> {
    let CountArguments { case, way, flows, packets } = *arguments;
    let mut stream = case.stream(flows);
    if way == Way::Generator {
        let mut frames = [[0; FRAME_MAX]; BURST];
        let mut lent = frames.each_mut().map(|frame| Some(&mut frame[..]));
        for _ in 0..packets.div_ceil(BURST as u64) {
            stream.stamp_memory(&mut lent);
        }
        return Ok(());
    }
    let ground = Ground::new(&eal::small())?;
    let mut rig = Rig::new(&ground, case.size(flows))?;
    match way {
        Way::Switch => {
            rig.establish(&ground, case.kind(), flows)?;
            rig.play(0, stream);
            rig.run(&ground, packets)?;
        }
        Way::Pass => {
            rig.play(0, stream);
            rig.pass(&ground, packets)?;
        }
        Way::Floor | Way::Generator => {
            rig.floor(&ground, packets)?;
        }
    }
    Ok(())
}
