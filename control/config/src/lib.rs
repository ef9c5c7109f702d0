//! The configuration: TOML → `Raw` → [`Config`] → [`Boot`](dataplane_message::Boot),
//! [`Plan`](dataplane_message::Plan) and [`Settings`](control_health::Settings).
//!
//! `Raw` mirrors the file: every field read on its own, so that one wrong field does not hide the next.
//! A [`Config`] can only be made from a file in which everything holds together; otherwise there are
//! [`ConfigErrors`], all of them, each with its path, its line, what is wrong and what to do about it.

mod check;
mod config;
mod file;
mod mistake;
mod nearest;
mod plan;
mod profile;
mod raw;
mod reader;
mod restart;
mod settings;

pub use config::{Config, FILE_MAX};
pub use file::{Checked, FileError, Loaded, counted, load};
pub use mistake::{Caution, ConfigError, ConfigErrors, ConfigWarning, Finding, Mistake};
pub use plan::protocol_name;
pub use profile::Profile;
pub use restart::{BootChange, boot_changes};
