//! Every frame is accounted for: what came in went out, was taken in, taken to control, or was dropped
//! and counted.

use super::{Check, Known, Turn};

#[derive(Debug)]
pub(super) struct Accounting;

impl Check for Accounting {
    fn name(&self) -> &'static str {
        "accounting"
    }

    fn turn(&mut self, turn: &Turn<'_>, _known: &Known, wrong: &mut Vec<String>) {
        let (before, after) = turn.counts;
        let came = turn.ins.len() as u64;
        let left = turn.outs.len() as u64;
        let handed = after.handed - before.handed;
        let taken = after.frames - before.frames - handed;
        if taken != came {
            wrong.push(format!("{came} frames came in, {taken} were counted"));
        }
        let sent = after.sent - before.sent;
        let emitted = after.emitted - before.emitted;
        if sent + emitted != left {
            wrong.push(format!("{left} frames came out, {sent} and {emitted} were counted"));
        }
        let passed =
            (0..turn.ins.len()).filter(|at| turn.outs.iter().any(|out| out.of == Some(*at))).count() as u64;
        let strange = turn.outs.iter().filter(|out| out.of.is_none()).count() as u64;
        // ARP that is rewritten on its way (FS-2a) is as strange as what the switch makes itself.
        let rewritten = strange.saturating_sub(emitted);
        let gone = (after.consumed - before.consumed)
            + (after.punted - before.punted)
            + (after.dropped - before.dropped);
        let held = after.held as i64 - before.held as i64;
        let accounted = (passed + rewritten.min(came) + gone) as i64 + held;
        // Copies of one rewritten frame (a broadcast) leave by several ports: at least as many as came.
        if accounted < came as i64 {
            wrong.push(format!(
                "{came} came in; {passed} passed, {rewritten} were rewritten, {gone} ended here: some were lost"
            ));
        }
        if passed + gone > came {
            wrong.push(format!("{came} came in; {passed} passed and {gone} ended here: too many"));
        }
    }
}
