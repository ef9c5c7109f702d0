//! `flowctl`: the grammar, and how answers look.
//!
//! One grammar serves the program and, later, the console: [`Cli`] can be parsed from any words, and
//! [`execute`] writes to any writer. Figures come from the daemon's one model (`control-show`); here is
//! only how they look.

mod grammar;
mod order;
mod table;
mod units;
mod views;

pub use grammar::{Cli, Command, FlowFilter, Output, Show, WeightWord};

use control_config::Checked;
use control_show::{
    Answer, AskError, DataPath, FlowQuery, HealthQuery, Refusal, Reloaded, Request, Shown, View, What, ask,
};
use std::io::{self, Write};
use std::path::Path;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Done = 0,
    /// Refused, failed, or something was found.
    Refused = 1,
    /// A mistake on the command line, or in the file that was to be checked.
    Usage = 2,
}

/// How many flows a table has where the command line does not say.
const FLOWS_TABLE: u32 = 100;

/// Carries out a command; what it shows goes to `out`, what went wrong to `err`.
///
/// # Errors
///
/// The writers'.
pub fn execute(cli: &Cli, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Status> {
    let request = match &cli.command {
        Command::Check { file } => return check(file, cli.output, out),
        Command::Accept { server } => Request::Accept { server: server.clone() },
        Command::Reload => Request::Reload,
        Command::Show { what } => Request::Show(asked(what, cli.output)),
        Command::Doctor => Request::Doctor,
        command => match order::ordered(command) {
            Some(order) => Request::Order(order),
            None => return Ok(Status::Usage),
        },
    };
    match ask(&cli.runtime_dir, &request) {
        Ok(Answer::Shown(shown)) => {
            show(&shown, &request, cli.output, out, err)?;
            match &shown.view {
                View::Findings(findings) if !findings.is_empty() => Ok(Status::Refused),
                _ => Ok(Status::Done),
            }
        }
        Ok(Answer::Reloaded(reloaded)) => {
            tell(&reloaded, cli.output, out, err)?;
            Ok(Status::Done)
        }
        Ok(Answer::Accepted(accepted)) => {
            match cli.output {
                Output::Table => {
                    writeln!(out, "server {} has {} from now on", accepted.server, accepted.mac)?
                }
                Output::Json => json(&accepted, out)?,
            }
            Ok(Status::Done)
        }
        Ok(Answer::Ordered(ordered)) => {
            let waited = match &cli.command {
                Command::Drain { server, wait: true, .. } => Some(server),
                _ => None,
            };
            match cli.output {
                Output::Table => writeln!(out, "{}", ordered.text)?,
                Output::Json if waited.is_none() => json(&ordered, out)?,
                // One object: the server's health when it is done.
                Output::Json => {}
            }
            match waited {
                Some(server) => order::wait(&cli.runtime_dir, server, cli.output, out, err),
                None => Ok(Status::Done),
            }
        }
        Ok(Answer::Refused(refusal)) => {
            refuse(&refusal, cli.output, out, err)?;
            Ok(Status::Refused)
        }
        Err(error) => {
            no_answer(&error, err)?;
            Ok(Status::Refused)
        }
    }
}

fn asked(what: &Show, output: Output) -> What {
    match what {
        Show::Clusters => What::Clusters,
        Show::Servers => What::Servers,
        Show::Flows(filter) => What::Flows(FlowQuery {
            cluster: filter.cluster.clone(),
            server: filter.server.clone(),
            client: filter.client,
            state: filter.state.clone(),
            limit: filter.limit.unwrap_or(if output == Output::Table { FLOWS_TABLE } else { 0 }),
        }),
        Show::Ports => What::Ports,
        Show::Workers => What::Workers,
        Show::Drops => What::Drops,
        Show::Routers => What::Routers,
        Show::Health { server } => What::Health(HealthQuery { server: server.clone() }),
        Show::Pools => What::Pools,
        Show::Load => What::Load,
        Show::Bridge => What::Bridge,
        Show::Alarms => What::Alarms,
        Show::Version => What::Version,
    }
}

fn check(file: &Path, output: Output, out: &mut dyn Write) -> io::Result<Status> {
    let checked = Checked::of(file);
    match output {
        Output::Table => write!(out, "{checked}")?,
        Output::Json => json(&checked, out)?,
    }
    Ok(match checked.exit_code() {
        0 => Status::Done,
        2 => Status::Usage,
        _ => Status::Refused,
    })
}

fn show(
    shown: &Shown,
    request: &Request,
    output: Output,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    if output == Output::Json {
        return json(shown, out);
    }
    write!(out, "{}", views::text(shown))?;
    if let (View::Flows(rows), Request::Show(What::Flows(query))) = (&shown.view, request)
        && rows.len() == query.limit as usize
    {
        writeln!(err, "flowctl: there may be more than {}; --limit shows more", rows.len())?;
    }
    note(&shown.data_path, err)
}

/// What the operator should know before believing the figures.
fn note(data_path: &DataPath, err: &mut dyn Write) -> io::Result<()> {
    if !data_path.connected {
        let figures = match data_path.report_age_ms {
            Some(ms) => format!("the figures are {} old", units::duration(ms / 1000)),
            None => "there are no figures yet".into(),
        };
        writeln!(err, "flowctl: the data path is not connected; {figures}")?;
    }
    data_path.note.iter().try_for_each(|note| writeln!(err, "flowctl: {note}"))
}

fn tell(reloaded: &Reloaded, output: Output, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    if output == Output::Json {
        return json(reloaded, out);
    }
    for warning in &reloaded.warnings {
        writeln!(err, "line {}: warning: {warning}", warning.line)?;
    }
    match (reloaded.plan, reloaded.changes.len()) {
        (0, _) => {}
        (plan, 0) => writeln!(out, "plan {plan} is in force; nothing has changed")?,
        (plan, _) => writeln!(out, "plan {plan} is in force")?,
    }
    reloaded.changes.iter().try_for_each(|change| writeln!(out, "  {change}"))
}

fn refuse(refusal: &Refusal, output: Output, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    if output == Output::Json {
        json(refusal, out)?;
    }
    for mistake in &refusal.mistakes {
        writeln!(err, "line {}: {mistake}", mistake.line)?;
    }
    for change in &refusal.changes {
        writeln!(err, "needs a restart: {change}")?;
    }
    writeln!(err, "flowctl: {}", refusal.message)
}

fn no_answer(error: &AskError, err: &mut dyn Write) -> io::Result<()> {
    writeln!(err, "flowctl: {error}")
}

fn json(value: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}
