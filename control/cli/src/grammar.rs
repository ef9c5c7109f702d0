//! What can be typed. The help texts are the doc comments.

use clap::{Args, Parser, Subcommand, ValueEnum};
use control_show::FLOWS_MAX;
use std::net::IpAddr;
use std::path::PathBuf;

/// Shows what the switch does, and has it read its configuration again.
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
  flowctl show ports --output json | jq '.ports[] | select(.state != \"up\")'
  flowctl check new.toml && cp new.toml /etc/flowswitch/switch.toml && flowctl reload

Exit codes: 0 done, 1 refused or failed, 2 a mistake on the command line or in the file that was checked.";

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
    /// Routers
    Routers,
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
    /// At most this many [default: 100 in a table, all in JSON]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(FLOWS_MAX)))]
    pub limit: Option<u32>,
}
