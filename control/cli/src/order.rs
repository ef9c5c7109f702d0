//! Orders: what is asked for, and the wait for the end of a drain.

use crate::grammar::{Command, Output};
use crate::units::duration;
use crate::views::progress;
use crate::{Status, json, no_answer, refuse};
use control_show::{Answer, AskError, HealthQuery, HealthRow, Order, Request, ServerState, View, What, ask};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a drain is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How often it is worth a line.
const LINE: Duration = Duration::from_secs(1);

/// How long a control core may be away meanwhile: a drain survives its restart.
const PATIENCE: Duration = Duration::from_secs(15);

/// The order that a command gives.
pub(crate) fn ordered(command: &Command) -> Option<Order> {
    Some(match command.clone() {
        Command::Drain { server, deadline, gentle, wait: _ } => {
            let deadline_ms =
                deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
            Order::Drain { server, deadline_ms, gentle }
        }
        Command::Enable { server } => Order::Enable { server },
        Command::Disable { server } => Order::Disable { server },
        Command::Weight { server, weight, cluster, service } => {
            Order::Weight { server, weight: weight.0, cluster, service }
        }
        Command::Switchover { cluster, to, reset } => Order::Switchover { cluster, to, reset },
        _ => return None,
    })
}

/// Waits until a server's last flow is gone, a line a second.
pub(crate) fn wait(
    runtime_dir: &Path,
    server: &str,
    output: Output,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Status> {
    let request = Request::Show(What::Health(HealthQuery { server: Some(server.to_owned()) }));
    let (mut last, mut told, mut heard) = (String::new(), None::<Instant>, Instant::now());
    loop {
        let shown = match ask(runtime_dir, &request) {
            Ok(Answer::Shown(shown)) => shown,
            Ok(Answer::Refused(refusal)) => {
                refuse(&refusal, output, out, err)?;
                return Ok(Status::Refused);
            }
            Ok(_) => return Ok(Status::Refused),
            Err(error @ (AskError::NotRunning { .. } | AskError::Broken { .. })) => {
                if heard.elapsed() >= PATIENCE {
                    no_answer(&error, err)?;
                    return Ok(Status::Refused);
                }
                std::thread::sleep(LOOK);
                continue;
            }
            Err(error) => {
                no_answer(&error, err)?;
                return Ok(Status::Refused);
            }
        };
        heard = Instant::now();
        let View::Health(rows) = &shown.view else { return Ok(Status::Refused) };
        let step = rows.first().map_or(Step::Ended, step);
        if let Step::Open(text) | Step::Done(text) = &step
            && output == Output::Table
            && *text != last
            && (matches!(step, Step::Done(_)) || told.is_none_or(|told| told.elapsed() >= LINE))
        {
            writeln!(out, "{server}: {text}")?;
            out.flush()?;
            last.clone_from(text);
            told = Some(Instant::now());
        }
        match step {
            Step::Open(_) => std::thread::sleep(LOOK),
            Step::Done(_) => {
                if output == Output::Json {
                    json(&*shown, out)?;
                }
                return Ok(Status::Done);
            }
            Step::Ended => {
                writeln!(err, "flowctl: server {server} is no longer drained; somebody gave another order")?;
                return Ok(Status::Refused);
            }
        }
    }
}

/// Where a drain is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// Flows are open.
    Open(String),
    /// None is.
    Done(String),
    /// It is no drain any more.
    Ended,
}

fn step(row: &HealthRow) -> Step {
    match (&row.drain, row.state) {
        (Some(drain), _) if drain.done => Step::Done(progress(drain)),
        (Some(drain), _) => Step::Open(progress(drain)),
        (None, ServerState::Drained) => Step::Done("drained; no flow is open".into()),
        (None, ServerState::Draining) => Step::Open(format!("drains: {} flows open", row.flows_open)),
        (None, _) => Step::Ended,
    }
}

/// `60s`, `5m`, `2h`, `1500ms`, or a number of seconds.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(ms)) {
        Some(ms) if (1..=MOST_MS).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err(format!("write a time as in 60s, 5m or 2h, at most {}", duration(MOST_MS / 1000))),
    }
}

/// A week, in milliseconds.
const MOST_MS: u64 = 7 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;
    use control_show::DrainRow;

    #[test]
    fn times_have_units() {
        let ms = |text| time(text).map(|time| time.as_millis());
        assert_eq!(
            [ms("60s"), ms("60"), ms("5m"), ms("2h"), ms("1500ms")],
            [Ok(60_000), Ok(60_000), Ok(300_000), Ok(7_200_000), Ok(1_500)]
        );
        for text in ["", "0s", "s", "-1s", "1d", "1.5s", "99999999999999999999s", "8000h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fs33_a_drain_is_open_done_or_ended() {
        let drain = |flows_open, done| DrainRow {
            since_s: 12,
            flows_first: 500,
            flows_open,
            deadline_s: Some(20),
            gentle: false,
            ends_in_s: Some(40),
            waits_for: None,
            done,
        };
        let row = |state, drain| HealthRow {
            server: "web-1".into(),
            state,
            since: None,
            since_s: None,
            reason: None,
            presumed: false,
            passive: true,
            hold_down_ms: 0,
            flows_open: 37,
            drain,
            services: Vec::new(),
        };
        let open = "drains: 37 of 500 flows open; done in about 40s; the rest is closed in 20s";
        assert_eq!(step(&row(ServerState::Draining, Some(drain(37, false)))), Step::Open(open.into()));
        assert_eq!(
            step(&row(ServerState::Drained, Some(drain(0, true)))),
            Step::Done("drained after 12s; no flow is open".into())
        );
        assert_eq!(step(&row(ServerState::Draining, None)), Step::Open("drains: 37 flows open".into()));
        assert_eq!(step(&row(ServerState::Up, None)), Step::Ended);
    }
}
