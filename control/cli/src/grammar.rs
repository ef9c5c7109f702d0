//! What can be typed. The help texts are the doc comments.

use clap::{Args, Parser, Subcommand, ValueEnum};
use control_show::FLOWS_MAX;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Shows what the switch does, takes servers out of service and back, and tells what is set up wrong.
///
/// Words may be shortened as long as they are unambiguous: `flowctl sh serv`.
#[derive(Clone, Debug, Parser)]
#[command(name = "flowctl", version, infer_subcommands = true, after_help = EXAMPLES)]
pub struct Cli {
    /// The directory of the daemon's socket
    #[arg(long, value_name = "DIR", global = true, default_value = "/run/flowswitch")]
    pub runtime_dir: PathBuf,
    /// How to write the answer
    #[arg(long, value_enum, global = true, default_value_t = Output::Table)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  flowctl show servers
  flowctl show flows --cluster web --client 198.51.100.7
  flowctl show health web-1
  flowctl drain web-1 --deadline 10m --wait && ssh web-1 reboot
  flowctl switchover db --to db-2
  flowctl doctor
  flowctl show ports --output json | jq '.ports[] | select(.state != \"up\")'
  flowctl check new.toml && cp new.toml /etc/flowswitch/switch.toml && flowctl reload

Exit codes: 0 done, 1 refused, failed, or something found by `doctor`, 2 a mistake on the command line or in
the file that was checked.";

const DRAINS: &str = "Examples:
  flowctl drain web-1                        until all its flows have finished, however long that takes
  flowctl drain web-1 --deadline 10m --wait  and close what is left after ten minutes
  flowctl drain web-1 --gentle               clients that are bound to it keep it until they are idle

`flowctl enable web-1` ends a drain. --wait may be interrupted: the drain goes on.";

const WEIGHTS: &str = "Examples:
  flowctl weight web-1 3
  flowctl weight web-1 0 --service https     no new flows of this service
  flowctl weight web-1 default               what the configuration says

Flows that are open stay where they are. A weight holds until the configuration's weight is changed.";

const SWITCHOVERS: &str = "Examples:
  flowctl switchover db             the next operational server becomes primary
  flowctl switchover db --to db-2
  flowctl switchover db --reset     flows of the old primary are reset instead of finishing";

const DOCTORS: &str = "Examples:
  flowctl doctor
  flowctl doctor --output json | jq -r '.findings[].fix'

Exit codes: 0 nothing found, 1 something found, or no answer.";

/// How answers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Output {
    /// Columns for people
    #[default]
    Table,
    /// One object for programs; its schema is in control/cli/README.md
    Json,
}

/// A command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show something; never changes anything
    #[command(infer_subcommands = true)]
    Show {
        /// What.
        #[command(subcommand)]
        what: Show,
    },
    /// Give a server no new flows; those it has finish
    #[command(after_help = DRAINS)]
    Drain {
        /// The server's name
        server: String,
        /// Close what is left after this time: 60s, 10m, 2h
        #[arg(long, value_name = "TIME", value_parser = crate::order::time)]
        deadline: Option<Duration>,
        /// Clients that are bound to the server stay so until they are idle
        #[arg(long)]
        gentle: bool,
        /// Wait until its last flow is gone, and tell how far it is
        #[arg(long)]
        wait: bool,
    },
    /// Put a server into service again; ends a drain
    Enable {
        /// The server's name
        server: String,
    },
    /// Take a server out of service at once; its flows are closed or moved as its cluster says
    Disable {
        /// The server's name
        server: String,
    },
    /// Give a server another weight
    #[command(after_help = WEIGHTS)]
    Weight {
        /// The server's name
        server: String,
        /// 0 to 1000, or `default`
        weight: WeightWord,
        /// In this cluster [default: the server's, where it has one]
        #[arg(long, value_name = "NAME")]
        cluster: Option<String>,
        /// In this service [default: every one that has the server]
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
    },
    /// Make another server the primary of an availability cluster
    #[command(after_help = SWITCHOVERS)]
    Switchover {
        /// The cluster's name
        cluster: String,
        /// The new primary [default: the first one that is operational]
        #[arg(long, value_name = "SERVER")]
        to: Option<String>,
        /// Reset the old primary's flows instead of letting them finish
        #[arg(long)]
        reset: bool,
    },
    /// Tell what is set up wrong in servers, routers and network, and what mends it
    #[command(after_help = DOCTORS)]
    Doctor,
    /// Let a server with `mac = "learn"` have the MAC that now claims to be it
    ///
    /// A learned MAC is not replaced by itself: whoever is behind the server's port could take its
    /// place. `flowctl show servers` and `flowctl show alarms` tell of a claim.
    Accept {
        /// The server's name
        server: String,
    },
    /// Read the configuration again and apply what differs; with a mistake in it the old one stays
    Reload,
    /// Report every mistake in a configuration file; needs no daemon
    Check {
        /// The file
        file: PathBuf,
    },
}

/// A weight on the command line; `None`: the configuration's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WeightWord(pub Option<u16>);

impl core::str::FromStr for WeightWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "default" {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(weight @ 0..=1000) => Ok(Self(Some(weight))),
            _ => Err("write 0 to 1000, or `default`"),
        }
    }
}

/// What can be shown.
#[derive(Clone, Debug, Subcommand)]
pub enum Show {
    /// Clusters and their services
    Clusters,
    /// Servers: state, address, weights, flows, traffic both ways
    Servers,
    /// Flows
    Flows(FlowFilter),
    /// Ports, their devices and counters
    Ports,
    /// Workers and their flow tables
    Workers,
    /// Dropped frames by reason
    Drops,
    /// Routers: state, traffic, what was redirected
    Routers,
    /// Servers' health: state and reason, checks, signs in the traffic, drains, slow start
    Health {
        /// Of this server alone
        server: Option<String>,
    },
    /// Router pools: routers, their load, which server has which
    Pools,
    /// Load of each server in each service: new flows, connect and response times, traffic
    Load,
    /// Addresses that the bridge has learned
    Bridge,
    /// What somebody should look at
    Alarms,
    /// Versions, and what is in force
    Version,
}

/// Which flows to show.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args)]
pub struct FlowFilter {
    /// Of this cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Bound to this server
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// From this client
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<IpAddr>,
    /// In this state
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    pub state: Option<String>,
    /// At most this many [default: 100 in a table, all in JSON]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(FLOWS_MAX)))]
    pub limit: Option<u32>,
}

/// States of flows.
const STATES: [&str; 7] =
    ["handshake", "established", "half-closed", "closed", "one-way", "both-ways", "restored"];
