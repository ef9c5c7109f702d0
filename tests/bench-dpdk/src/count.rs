//! `count`: a fixed number of packets and nothing around them, for callgrind.

use crate::case::Case;
use crate::eal;
use crate::handshake::Handshakes;
use crate::rig::{Ground, Rig, Size};
use crate::traffic::FRAME_MAX;
use anyhow::Result;
use clap::{Args, ValueEnum};
use dataplane_port::BURST;

/// What the packets go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Way {
    /// The switch: generator, device, ports, worker, engine.
    Switch,
    /// The same with whole handshakes (SYN, SYN+ACK, ACK) in place of the case's packets.
    Handshakes,
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
    let connections = (packets / 3).try_into()?;
    let size = if way == Way::Handshakes { Size::of(connections) } else { case.size(flows) };
    let mut rig = Rig::new(&ground, size)?;
    match way {
        Way::Handshakes => {
            rig.play(0, Handshakes::new(0).0);
            rig.run(&ground, packets)?;
        }
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
