//! Everything joined.

use crate::doctor::Finding;
use crate::event::CareEvent;
use crate::order::{Order, OrderError};
use crate::saved::Saved;
use crate::settings::Settings;
use crate::view::{AssignmentView, MemberView, RoleView, RouterView, TargetView};
use dataplane_flow::Instant;
use dataplane_message::{Conditions, Plan, Report, Signs};
use dataplane_port::PortId;

/// What control decides beside the plan: one machine without sockets and clocks.
///
/// What arrives goes in by `handle_*`; then the caller takes what there is from `poll_inject` (frames for the
/// data path), `poll_conditions` (at most one, the newest) and `poll_event` (lines for the log), and calls
/// [`Care::handle_deadline`] no later than [`Care::next_deadline`]. [`Care::restore`] comes before everything
/// else; then a data path is found ([`Care::handle_adopted`]) and a plan is in force ([`Care::handle_plan`]), in
/// either order.
#[derive(Debug)]
pub struct Care {
    seed: u64,
}

impl Care {
    /// A machine that has no plan yet. `seed` moves its probes in time.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Takes what an earlier life left in the state file. Where a running data path knows better
    /// ([`Care::handle_adopted`]), that counts.
    pub fn restore(&mut self, saved: Saved) {
        let _ = (saved, self.seed);
    }

    /// What the state file should hold. Cheap enough to compare after every event.
    pub fn saved(&self) -> Saved {
        Saved::default()
    }

    /// A plan is in force. Servers, clusters, routers and pools keep their state by their numbers.
    pub fn handle_plan(&mut self, plan: &Plan, settings: &Settings, now: Instant) {
        let _ = (plan, settings, now);
    }

    /// A data path was found: `running`, it has a plan and `conditions` that were decided before.
    pub fn handle_adopted(&mut self, boot_id: u64, running: bool, conditions: Conditions, now: Instant) {
        let _ = (boot_id, running, conditions, now);
    }

    /// The data path has sent signs.
    pub fn handle_signs(&mut self, signs: &Signs, now: Instant) {
        let _ = (signs, now);
    }

    /// The data path has sent a report.
    pub fn handle_report(&mut self, report: &Report, now: Instant) {
        let _ = (report, now);
    }

    /// The data path has sent a frame that came in by `port`.
    pub fn handle_punt(&mut self, port: PortId, frame: &[u8], now: Instant) {
        let _ = (port, frame, now);
    }

    /// The operator wants something.
    ///
    /// # Errors
    ///
    /// [`OrderError`]; nothing has changed then.
    pub fn handle_order(&mut self, order: Order, now: Instant) -> Result<(), OrderError> {
        let _ = (order, now);
        Ok(())
    }

    /// Time has passed.
    pub fn handle_deadline(&mut self, now: Instant) {
        let _ = now;
    }

    /// When to call [`Care::handle_deadline`] at the latest; `None`: nothing is waited for.
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// A frame to send out of a port.
    pub fn poll_inject(&mut self) -> Option<(PortId, Vec<u8>)> {
        None
    }

    /// Conditions, when they have changed since the last ones, whole; their serial has risen.
    pub fn poll_conditions(&mut self) -> Option<Conditions> {
        None
    }

    /// Something for the log.
    pub fn poll_event(&mut self) -> Option<CareEvent> {
        None
    }

    /// An event in words, with names: one line without an end.
    pub fn describe(&self, event: &CareEvent) -> String {
        format!("{event:?}")
    }

    /// What is set up wrong, in a stable order.
    pub fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// Servers, in the order of the plan.
    pub fn targets(&self) -> Vec<TargetView> {
        Vec::new()
    }

    /// Servers in services, in the order of the plan.
    pub fn members(&self) -> Vec<MemberView> {
        Vec::new()
    }

    /// Roles in availability clusters, in the configured order.
    pub fn roles(&self) -> Vec<RoleView> {
        Vec::new()
    }

    /// Routers, in the order of the plan.
    pub fn routers(&self) -> Vec<RouterView> {
        Vec::new()
    }

    /// Which server has which router.
    pub fn assignments(&self) -> Vec<AssignmentView> {
        Vec::new()
    }
}
