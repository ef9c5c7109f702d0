//! That the simulator can be believed: a seed is a run, and every checker can fail.

use tests_sim::defect::Defect;
use tests_sim::scenarios::{self, Outcome, Run};

fn play(scenario: &str, seed: u64, defect: Option<Defect>) -> Outcome {
    let scenario = scenarios::named(scenario).expect("there is such a scenario");
    scenario.run(&Run { seed, long: false, defect, loud: false })
}

#[test]
fn a_seed_is_a_run_to_the_byte() {
    // One that takes ten times as long shows nothing here that the others do not.
    for scenario in scenarios::ALL.iter().filter(|scenario| scenario.cost < 3) {
        let [first, second] = [(); 2].map(|()| play(scenario.name, 3, None));
        assert_eq!((first.sum, first.events), (second.sum, second.events), "{}", scenario.name);
        assert!(first.violations.is_empty(), "{}: {:#?}", scenario.name, first.violations);
        let other = play(scenario.name, 4, None);
        assert_ne!(first.sum, other.sum, "{}: another seed is another run", scenario.name);
    }
}

/// Which check finds which defect, in which scenario.
const FOUND: &[(Defect, &str, &str)] = &[
    (Defect::TwoServers, "links", "S3 one server"),
    (Defect::BackOut, "links", "S7 ingress"),
    (Defect::InboundByte, "links", "FS-6 inbound"),
    (Defect::OutboundByte, "links", "S9 outbound"),
    (Defect::Announcement, "links", "FS-3 isolation"),
    (Defect::Lost, "links", "accounting"),
    (Defect::Moved, "links", "S4 binding"),
    (Defect::Datagrams, "udp", "FS-7 datagrams"),
    (Defect::Down, "links", "FS-10 down"),
    (Defect::Drained, "h", "FS-33 drain"),
    (Defect::Forgotten, "links", "liveness"),
    (Defect::Conditions, "a", "a"),
    (Defect::Alarm, "loss", "false alarm"),
    (Defect::Secondary, "d", "S5 roles"),
];

#[test]
fn every_seeded_defect_is_found_by_its_check() {
    assert!(Defect::ALL.iter().all(|defect| FOUND.iter().any(|(found, ..)| found == defect)));
    for (defect, scenario, check) in FOUND {
        let found = (1..=10).any(|seed| {
            let outcome = play(scenario, seed, Some(*defect));
            outcome.violations.iter().any(|violation| violation.check == *check)
        });
        assert!(found, "{defect:?} is not found by {check} in {scenario}");
    }
}
