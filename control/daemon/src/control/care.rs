//! The part of the shell that serves [`Care`]: what it decides goes to the data path, into the log, and
//! into the state file.

use super::Control;
use crate::state::StateFile;
use crate::steps;
use control_health::{Care, CareEvent, Settings};
use dataplane_flow::Instant;
use dataplane_message::Health;
use std::path::Path;

/// [`Care`] and where it is kept.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) care: Care,
    /// What it goes by, once there is a plan.
    pub(super) settings: Settings,
    file: StateFile,
}

impl Keeping {
    /// Begins with what the state file holds.
    pub(super) fn start(state_dir: &Path) -> Self {
        let (file, saved) = StateFile::open(state_dir);
        let mut care = Care::new(u64::from_le_bytes(ffi_linux::random()));
        care.restore(saved);
        Self { care, settings: Settings::default(), file }
    }

    /// Has the state file hold what is decided now.
    pub(super) fn keep(&mut self, now: Instant) {
        self.file.put(self.care.saved(), now);
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.care.next_deadline(), self.file.next_deadline()].into_iter().flatten().min()
    }
}

impl Control<'_> {
    /// The plan in force, or what it is to be watched by, has changed; the latter a line each.
    pub(super) fn care_for_plan(&mut self, now: Instant) -> Vec<String> {
        let Some(in_force) = self.conversation.in_force() else { return Vec::new() };
        let settings = self.conversation.wanted().settings(&in_force.plan);
        self.keeping.care.handle_plan(&in_force.plan, &settings, now);
        let changes = steps::watched(&self.keeping.settings, &settings, &in_force.plan);
        self.keeping.settings = settings;
        changes
    }

    /// A data path that has just started is about to be told a plan: what is decided about it, roles above all,
    /// has to be there first (FS-14).
    pub(super) fn care_for_coming_plan(&mut self, now: Instant) {
        if let Some(plan) = self.conversation.coming() {
            let settings = self.conversation.wanted().settings(plan);
            self.keeping.care.handle_plan(plan, &settings, now);
        }
    }

    /// Passes on what has been decided; whether there was anything.
    pub(super) fn follow_care(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some((port, frame)) = self.keeping.care.poll_inject() {
            any |= self.conversation.inject(port, frame);
        }
        let mut decided = false;
        while let Some(conditions) = self.keeping.care.poll_conditions() {
            // Without a data path they are lost; the next one is told anew when it is found.
            any |= self.conversation.send_conditions(conditions);
            decided = true;
        }
        while let Some(event) = self.keeping.care.poll_event() {
            let text = self.keeping.care.describe(&event);
            if is_trouble(&event) {
                tracing::warn!("{text}")
            } else {
                tracing::info!("{text}")
            }
            decided = true;
        }
        if decided {
            self.keeping.keep(now);
        }
        any
    }

    /// Does what is due.
    pub(super) fn care_deadline(&mut self, now: Instant) {
        if self.keeping.care.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.keeping.care.handle_deadline(now);
        }
        self.keeping.file.handle_deadline(now);
    }
}

/// Whether an event is worth a warning.
fn is_trouble(event: &CareEvent) -> bool {
    match event {
        CareEvent::Health { now, .. } => *now != Health::Up,
        CareEvent::Member { open, .. } => !open,
        CareEvent::Router { up, .. } => !up,
        CareEvent::Backups { open: on, .. }
        | CareEvent::PassiveOff { off: on, .. }
        | CareEvent::Suspended { suspended: on, .. } => *on,
        CareEvent::Role { .. } | CareEvent::Push { .. } | CareEvent::Drained { .. } => false,
    }
}
