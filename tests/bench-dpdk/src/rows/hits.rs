//! P3: hits against testpmd, at three sizes; P17: what all windows have allocated.

use super::{Session, flows_text};
use crate::case::Case;
use crate::testpmd;
use tests_bench::{Limits, Row, median};

/// (flows, bounds)
const SIZES: [(u32, Limits); 3] = [
    (1 << 10, Limits::at_most(1.9, 1.4, "x")),
    (1 << 20, Limits::at_most(3.0, 2.2, "x")),
    (1 << 24, Limits::at_most(3.3, 2.5, "x")),
];

const ALLOCATIONS: Limits = Limits::at_most(0.0, 0.0, "");

pub(crate) fn rows(session: &mut Session) {
    if !session.wants("P3") {
        return;
    }
    for (flows, limits) in SIZES {
        let text = flows_text(flows);
        let row =
            Row::new("P3", format!("net_null, inbound hit, {text} flows"), "cycles/packet (TSC)", &limits);
        if session.quick && flows > 1 << 20 {
            session.tell(&row.not_measured("left out by --quick"));
            continue;
        }
        session.say(&format!("P3: {text} flows against testpmd"));
        let row = match session.beside(Case::Inbound, flows, session.short, Session::testpmd) {
            Err(error) => row.not_measured(format!("{error:#}")),
            Ok(windows) => {
                let (ours, (used, room)) = (windows.ours(), windows.fill);
                session.plot("flows", "hit", f64::from(flows), median(&ours));
                row.compared(&ours, &windows.peer, testpmd::NAME, &limits).note(format!(
                    "without the generator, {:.1}, which is what the same loop takes more when it stamps twice; flows \
                     uniformly; {used} entries of {room} places; 1 us from burst to burst",
                    windows.generator
                ))
            }
        };
        session.tell(&row);
    }
}

/// The last row: over everything that was measured before.
pub(crate) fn allocations(session: &mut Session) {
    let row = Row::new("P17", "calls of the allocator in all measured windows", "calls", &ALLOCATIONS);
    let row = if session.packets == 0 {
        row.not_measured("no window was measured")
    } else {
        let note = format!("{} million packets of all kinds", session.packets / 1_000_000);
        row.measured(session.allocations as f64, &ALLOCATIONS).note(note)
    };
    session.tell(&row);
}
