//! Everything joined.

use crate::doctor::Finding;
use crate::event::CareEvent;
use crate::machine::Core;
use crate::order::{Order, OrderError};
use crate::probing::Probing;
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
    core: Core,
    probing: Probing,
}

impl Care {
    /// A machine that has no plan yet. `seed` moves its probes in time.
    pub fn new(seed: u64) -> Self {
        Self { core: Core::new(seed), probing: Probing::default() }
    }

    /// Takes what an earlier life left in the state file. Where a running data path knows better
    /// ([`Care::handle_adopted`]), that counts.
    pub fn restore(&mut self, saved: Saved) {
        self.core.restore(saved);
    }

    /// What the state file should hold. Cheap enough to compare after every event.
    pub fn saved(&self) -> Saved {
        self.core.saved()
    }

    /// A plan is in force. Servers, clusters, routers and pools keep their state by their numbers.
    pub fn handle_plan(&mut self, plan: &Plan, settings: &Settings, now: Instant) {
        self.core.handle_plan(plan, settings, now);
        self.probing.retain(|who| self.core.is_asked(who));
        self.follow(now);
    }

    /// A data path was found: `running`, it has a plan and `conditions` that were decided before. It is told
    /// what holds now, whatever it has.
    pub fn handle_adopted(&mut self, boot_id: u64, running: bool, conditions: Conditions, now: Instant) {
        self.core.handle_adopted(boot_id, running, conditions, now);
        self.follow(now);
    }

    /// The data path was lost: until it is found again, nobody is asked and silence says nothing.
    pub fn handle_lost(&mut self, now: Instant) {
        self.core.handle_lost(now);
        self.probing.clear();
    }

    /// The data path has sent signs.
    pub fn handle_signs(&mut self, signs: &Signs, now: Instant) {
        self.core.handle_signs(signs, now);
        self.follow(now);
    }

    /// The data path has sent a report.
    pub fn handle_report(&mut self, report: &Report, now: Instant) {
        self.core.handle_report(report, now);
        self.follow(now);
    }

    /// The data path has sent a frame that came in by `port`.
    pub fn handle_punt(&mut self, port: PortId, frame: &[u8], now: Instant) {
        if let Some(who) = self.probing.handle_frame(port, frame, now) {
            self.core.handle_answer(who, now);
        }
        self.follow(now);
    }

    /// The operator wants something.
    ///
    /// # Errors
    ///
    /// [`OrderError`]; nothing has changed then.
    pub fn handle_order(&mut self, order: Order, now: Instant) -> Result<(), OrderError> {
        self.core.handle_order(order, now)
    }

    /// Time has passed.
    pub fn handle_deadline(&mut self, now: Instant) {
        self.probing.handle_deadline(now);
        self.core.handle_deadline(now);
        self.follow(now);
    }

    /// When to call [`Care::handle_deadline`] at the latest; `None`: nothing is waited for.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.core.next_deadline(), self.probing.next_deadline()].into_iter().flatten().min()
    }

    /// A frame to send out of a port.
    pub fn poll_inject(&mut self) -> Option<(PortId, Vec<u8>)> {
        self.probing.poll_transmit().or_else(|| self.core.poll_frame())
    }

    /// Conditions, when they have changed since the last ones, whole; their serial has risen.
    pub fn poll_conditions(&mut self) -> Option<Conditions> {
        self.core.poll_conditions()
    }

    /// Something for the log.
    pub fn poll_event(&mut self) -> Option<CareEvent> {
        self.core.poll_event()
    }

    /// An event in words, with names: one line without an end.
    pub fn describe(&self, event: &CareEvent) -> String {
        self.core.describe(event)
    }

    /// What is set up wrong, in a stable order.
    pub fn findings(&self) -> Vec<Finding> {
        self.core.findings()
    }

    /// Servers, in the order of the plan.
    pub fn targets(&self) -> Vec<TargetView> {
        self.core.targets()
    }

    /// Servers in services, in the order of the plan.
    pub fn members(&self) -> Vec<MemberView> {
        self.core.members()
    }

    /// Roles in availability clusters, in the configured order.
    pub fn roles(&self) -> Vec<RoleView> {
        self.core.roles()
    }

    /// Routers, in the order of the plan.
    pub fn routers(&self) -> Vec<RouterView> {
        self.core.routers()
    }

    /// Which server has which router.
    pub fn assignments(&self) -> Vec<AssignmentView> {
        self.core.assignments()
    }

    /// What the core asks, the probers ask; what comes of it, the core hears.
    fn follow(&mut self, now: Instant) {
        loop {
            let mut any = false;
            while let Some((ask, seat)) = self.core.poll_ask() {
                self.probing.start(&ask, seat, now);
                any = true;
            }
            while let Some((watch, outcome, mac)) = self.probing.poll_outcome() {
                self.core.handle_outcome(watch, outcome, mac, now);
                any = true;
            }
            if !any {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::{plan, settings};
    use core::net::{IpAddr, Ipv4Addr};
    use dataplane_message::{ClusterMode, Health, Signs};
    use dataplane_wire::{MacAddr, arp, ethernet};

    /// With real probers: servers that answer ARP alone live, those that answer nothing die (FS-10, FS-30).
    #[test]
    fn fs10_frames_go_out_and_answers_come_back() {
        let plan = plan(3, ClusterMode::LoadSharing);
        let mut settings = settings(3, 0);
        settings.clusters[0].checks.clear();
        let mut care = Care::new(1);
        care.handle_adopted(1, false, Conditions::default(), Instant::default());
        care.handle_plan(&plan, &settings, Instant::default());
        let up = plan.ports.iter().map(|p| p.id).collect();
        let mut health = Vec::new();
        for step in 0..800 {
            let now = Instant::from_millis(step * 10);
            if step % 2 == 0 {
                care.handle_signs(&Signs { uptime_us: now.0 / 1000, up, ..Signs::default() }, now);
            }
            care.handle_deadline(now);
            while let Some((port, frame)) = care.poll_inject() {
                let link = ethernet::Frame::new_checked(&frame[..]).expect("whole");
                let Ok(packet) = arp::Packet::new_checked(link.payload()) else { continue };
                let question = arp::Repr::parse(&packet);
                assert_ne!(question.sender_ip, Ipv4Addr::UNSPECIFIED, "never from nobody");
                let is_server = IpAddr::from(question.target_ip) == plan.clusters[0].vip;
                // The third server stays silent.
                if is_server && port == PortId(3) {
                    continue;
                }
                if is_server {
                    assert_eq!(IpAddr::from(question.sender_ip), plan.clusters[0].probe);
                    assert_ne!(link.dst_addr(), MacAddr::BROADCAST, "to its MAC alone");
                }
                let reply = question.answer(link.dst_addr());
                let head = ethernet::Repr { src: link.dst_addr(), dst: link.src_addr(), tci: None };
                let mut answer = vec![0; head.frame_len(arp::PACKET_LEN)];
                reply.emit_frame(&head, &mut answer);
                care.handle_punt(port, &answer, now);
            }
            while let Some(event) = care.poll_event() {
                if let CareEvent::Health { target, now, .. } = event {
                    health.push((target.0, now));
                }
            }
        }
        assert_eq!(health, [(2, Health::Dead)]);
        assert!(care.routers().iter().all(|r| r.up));
        assert!(care.poll_conditions().is_some_and(|c| c.targets.len() == 1));
    }
}
