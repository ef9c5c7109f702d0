//! What control and data path say to each other, and what control does about it.

use super::{Event, SOCKET, WRITING, World};
use crate::checks::Happening;
use control_daemon::conversation::Event as Said;
use dataplane_message::ToDataPath;

impl World {
    pub(super) fn connected(&mut self, number: u64, link: u64) {
        let Some(control) = self.control.as_mut().filter(|c| c.number == number) else { return };
        let Some(data_path) = &mut self.data_path else {
            self.queue.push(self.now, Event::NotConnected(number));
            return;
        };
        data_path.link = Some(link);
        control.link = Some(link);
        control.inbox.clear();
        let now = control.instant(self.now);
        control.conversation.handle_connected(now);
        self.follow_control();
    }

    pub(super) fn disconnected(&mut self, number: u64, link: u64) {
        if number == 0 {
            // Control is gone, and the data path sees it.
            if let Some(data_path) = self.data_path.as_mut().filter(|d| d.link == Some(link)) {
                data_path.handle_disconnect(self.now);
            }
            return;
        }
        let Some(control) = self.control.as_mut().filter(|c| c.number == number) else { return };
        if control.link == Some(link) {
            control.link = None;
            control.inbox.clear();
            let now = control.instant(self.now);
            control.conversation.handle_disconnected(now);
            self.follow_control();
        }
    }

    pub(super) fn tell_data_path(&mut self, link: u64, mut message: ToDataPath) {
        let Some(data_path) = self.data_path.as_mut().filter(|d| d.link == Some(link)) else { return };
        if self.defect.is_some_and(|defect| defect.swallows(&mut message, self.now)) {
            return;
        }
        match &message {
            ToDataPath::Apply { epoch, steps } => {
                let words = format!("plan {epoch} applied, {} steps", steps.len());
                self.trace.note(self.now, words);
                let happening = Happening::Applied { epoch: *epoch, steps };
                self.checks.happens(self.now, &happening, &self.trace);
            }
            ToDataPath::Conditions(conditions) => {
                let words = match &conditions.orders[..] {
                    [] => format!("conditions {}", conditions.serial),
                    orders => format!("conditions {}, {orders:?}", conditions.serial),
                };
                self.trace.note(self.now, words);
                self.checks.happens(self.now, &Happening::Conditions(conditions), &self.trace);
            }
            _ => {}
        }
        data_path.handle_message(message, self.now);
        self.publisher();
        self.turn();
    }

    /// Control reads what has come, and does what is due, unless it stands still.
    pub(super) fn serve_control(&mut self) {
        let Some(mut control) = self.control.as_mut() else { return };
        if control.is_paused(self.now) {
            return;
        }
        let now = control.instant(self.now);
        while let Some(message) = control.inbox.pop_front() {
            control.conversation.handle_message(message, now);
            self.follow_control();
            let Some(still) = self.control.as_mut() else { return };
            control = still;
        }
        control.conversation.handle_deadline(now);
        if control.care.next_deadline().is_some_and(|deadline| deadline <= now) {
            control.care.handle_deadline(now);
        }
        self.follow_control();
        self.listen();
    }

    /// Does what the conversation wants, until it wants nothing.
    pub(super) fn follow_control(&mut self) {
        loop {
            let Some(control) = &mut self.control else { return };
            if control.is_paused(self.now) {
                return;
            }
            if let Some(said) = control.conversation.poll_event() {
                self.said(said);
                continue;
            }
            let (any, events) = control.follow_care();
            for event in &events {
                self.trace.note(self.now, control.care.describe(event));
            }
            if self.now >= self.saved.1 {
                let saved = control.care.saved();
                if saved != self.saved.0 {
                    self.saved = (saved, self.now + WRITING);
                }
            }
            self.log.extend(events.into_iter().map(|event| (self.now, event)));
            if any {
                continue;
            }
            let Some(message) = control.poll_transmit() else { break };
            if let Some(link) = control.link {
                self.queue.push(self.now + SOCKET, Event::ToDataPath(link, message));
            }
        }
        self.wake_control();
    }

    fn said(&mut self, said: Said) {
        let Some(control) = &mut self.control else { return };
        match said {
            Said::Connect => {
                let number = control.number;
                if self.data_path.is_some() {
                    self.connections += 1;
                    self.queue.push(self.now + SOCKET, Event::Connected(number, self.connections));
                } else {
                    self.queue.push(self.now + SOCKET, Event::NotConnected(number));
                }
            }
            Said::Close(reason) => {
                let link = control.link.take();
                self.trace.note(self.now, format!("control closes: {reason:?}"));
                if let Some(link) = link {
                    self.queue.push(self.now + SOCKET, Event::Disconnected(0, link));
                }
            }
            Said::Settled { epoch, .. } => {
                control.settled = Some(epoch);
                control.care_for_plan(self.now);
            }
            Said::Refused { reason, .. } => control.refused.push(reason),
            Said::Adopted { boot_id, running, conditions } => {
                let now = control.instant(self.now);
                control.care.handle_adopted(boot_id, running, *conditions, now);
                if !running {
                    control.care_for_coming_plan(self.now);
                }
            }
            Said::Report(report) => {
                let now = control.instant(self.now);
                control.care.handle_report(&report, now);
            }
            Said::Signs(signs) => {
                let now = control.instant(self.now);
                control.care.handle_signs(&signs, now);
            }
            Said::Punt { port, frame } => {
                let now = control.instant(self.now);
                control.care.handle_punt(port, &frame, now);
            }
            Said::Flows { .. } => {}
        }
    }

    pub(super) fn wake_control(&mut self) {
        let Some(control) = &mut self.control else { return };
        let Some(at) = control.next_deadline() else { return };
        let at = at.max(self.now).max(control.paused_until);
        if control.wake.is_none_or(|known| known > at || known <= self.now) {
            control.wake = Some(at);
            self.queue.push(at, Event::ControlDue(control.number));
        }
    }
}
