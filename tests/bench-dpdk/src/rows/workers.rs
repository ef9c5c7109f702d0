//! P16: two workers of one process against two processes of one worker each, on the same two cores.

use super::Session;
use crate::meter;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tests_bench::{Limits, Row, median};

const LIMITS: Limits = Limits::at_most(1.10, 1.03, "x");
/// Established flows of each worker.
pub(crate) const FLOWS: u32 = 1 << 16;
/// Packets of a window and worker.
const PACKETS: u64 = 1 << 22;
/// Both cores are measured at once, so what disturbs either shows: so many times as many rounds as elsewhere,
/// with new processes each time, as where one's memory lies is decided when it starts.
const STARTS: u32 = 3;

pub(crate) fn rows(session: &mut Session) {
    if !session.wants("P16") {
        return;
    }
    session.say("P16: two workers");
    let row =
        Row::new("P16", "two workers against two processes of one, 64k flows each", meter::unit(), &LIMITS);
    let row = match session.ground().map(drop).and_then(|()| measure(session)) {
        Err(error) => row.not_measured(format!("{error:#}")),
        Ok(Rounds { two, single, mixed, neighbours, alone }) => {
            let hz = crate::native::tsc_hz() as f64 / 1e6;
            session.plot("workers", "sum", 1.0, hz / median(&alone));
            session.plot("workers", "sum", 2.0, 2.0 * hz / median(&two));
            row.compared(&two, &single, "two processes of one worker, same cores, same run", &LIMITS).note(format!(
                "frames come to the worker that owns their flow, as a card's RSS does it; with half of them at the \
                 wrong one {:.1}; on the device's first two queues, which share a line in its driver, {:.1}; one \
                 process that runs alone {:.1}; device and generator in all",
                median(&mixed),
                median(&neighbours),
                median(&alone)
            ))
        }
    };
    session.tell(&row);
}

#[derive(Default)]
struct Rounds {
    two: Vec<f64>,
    single: Vec<f64>,
    mixed: Vec<f64>,
    neighbours: Vec<f64>,
    alone: Vec<f64>,
}

fn measure(session: &Session) -> Result<Rounds> {
    let [main, worker] = session.cores;
    let mut rounds = Rounds::default();
    for _ in 0..STARTS {
        let mut first = Party::start(&[worker], &[])?;
        let mut second = Party::start(&[main], &[])?;
        let mut both = Party::start(&[worker, main], &[])?;
        // A process of its own: buffers that were handed over stay with those that they were handed to.
        let mut mixing = Party::start(&[worker, main], &[])?;
        let mut close = Party::start(&[worker, main], &["--neighbours"])?;
        for _ in 0..session.long.rounds {
            first.go("own")?;
            second.go("own")?;
            rounds.single.push((first.answer()? + second.answer()?) / 2.0);
            both.go("own")?;
            rounds.two.push(both.answer()?);
            mixing.go("mixed")?;
            rounds.mixed.push(mixing.answer()?);
            close.go("own")?;
            rounds.neighbours.push(close.answer()?);
            first.go("own")?;
            rounds.alone.push(first.answer()?);
        }
    }
    Ok(rounds)
}

/// This program once more, as `party`: it measures a window for each line on its input.
struct Party {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Party {
    fn start(cores: &[usize], more: &[&str]) -> Result<Self> {
        let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
        let packets = PACKETS.to_string();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["party", "--cores", &cores.join(","), "--packets", &packets])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        let mut party = Self { child, orders, answers };
        // It says when it is ready.
        party.answer().context("a process of its own does not start")?;
        Ok(party)
    }

    fn go(&mut self, order: &str) -> Result<()> {
        let orders = self.orders.as_mut().context("it has ended")?;
        writeln!(orders, "{order}")?;
        Ok(orders.flush()?)
    }

    fn answer(&mut self) -> Result<f64> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("it ended, or said {line:?}"))
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // It ends when its input does.
        self.orders = None;
        let _ = self.child.wait();
    }
}
