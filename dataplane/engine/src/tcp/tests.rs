use super::*;
use dataplane_flow::{ClusterId, TargetId};

const STATES: [State; 6] =
    [State::SynSent, State::SynAck, State::MidFlow, State::Established, State::HalfClosed, State::Closed];
const SEGMENTS: [(&str, u8); 6] = [
    ("SYN", SYN),
    ("SYN+ACK", SYN | ACK),
    ("ACK", ACK),
    ("FIN", FIN | ACK),
    ("RST", RST),
    ("RST+ACK", RST | ACK),
];

fn entry(state: State, flags: u8) -> Entry {
    Entry::new(TargetId(1), ClusterId(2), state, flags, 3)
}

fn word(change: Change) -> String {
    match change {
        Change::None => "-".into(),
        Change::Set(e) => format!("{:?}", e.state()),
        Change::Promote(e) => format!("promote {:?}", e.state()),
        Change::Await(e) => format!("await {:?}", e.state()),
        Change::Forget => "forget".into(),
        Change::Anew => "anew".into(),
    }
}

/// The whole table for a flow that a client opened, one FIN of its own seen in `HalfClosed`.
#[test]
fn fs_7_every_state_and_segment() {
    #[rustfmt::skip]
    let client = [
        // SYN     SYN+ACK  ACK                    FIN                   RST       RST+ACK
        ["-",      "-",     "MidFlow",             "MidFlow",            "-",      "-"],
        ["-",      "-",     "promote Established", "promote HalfClosed", "forget", "forget"],
        ["-",      "-",     "-",                   "-",                  "-",      "-"],
        ["-",      "-",     "-",                   "HalfClosed",         "Closed", "Closed"],
        ["-",      "-",     "-",                   "-",                  "Closed", "Closed"],
        ["anew",   "-",     "-",                   "-",                  "-",      "-"],
    ];
    #[rustfmt::skip]
    let server = [
        ["-",      "await SynAck",        "promote Established", "promote HalfClosed",  "forget", "forget"],
        ["-",      "await SynAck",        "-",                   "promote HalfClosed",  "forget", "forget"],
        ["anew",   "await SynAck",        "promote Established", "promote HalfClosed",  "-",      "-"],
        ["-",      "-",                   "-",                   "HalfClosed",          "Closed", "Closed"],
        ["-",      "-",                   "-",                   "Closed",              "Closed", "Closed"],
        ["anew",   "-",                   "Established",         "-",                   "-",      "-"],
    ];
    for (i, state) in STATES.into_iter().enumerate() {
        let flags = if state == State::HalfClosed { Entry::FIN_CLIENT } else { 0 };
        for (j, (name, segment)) in SEGMENTS.into_iter().enumerate() {
            let entry = entry(state, flags);
            assert_eq!(word(from_client(entry, segment, true)), client[i][j], "{state:?}, client's {name}");
            assert_eq!(word(from_server(entry, segment, false)), server[i][j], "{state:?}, server's {name}");
        }
    }
}

/// E1, E3: nothing but the exact acknowledgement makes a handshake a flow.
#[test]
fn e1_a_guessed_acknowledgement_establishes_nothing() {
    for (_, segment) in SEGMENTS {
        assert!(!matches!(from_client(entry(State::SynAck, 0), segment, false), Change::Promote(_)));
        assert!(!matches!(from_client(entry(State::SynSent, 0), segment, true), Change::Promote(_)));
        assert_eq!(from_client(entry(State::SynSent, Entry::FROM_SERVER), segment, false), Change::None);
    }
}

/// E1: a client that sends SYN and ACK at once, and gets answers to both, has proved nothing.
#[test]
fn e1_answers_to_a_forged_pair_establish_nothing() {
    let Change::Set(early) = from_client(entry(State::SynSent, 0), ACK, false) else { panic!() };
    let Change::Await(answered) = from_server(early, SYN | ACK, false) else { panic!("{early:?}") };
    assert_eq!(from_server(answered, ACK, false), Change::None, "out of its window");
    assert_eq!(word(from_server(answered, ACK, true)), "promote Established");
}

#[test]
fn fs_25_a_server_opened_flow_is_established_by_its_peers_answer() {
    let opened = entry(State::SynSent, Entry::FROM_SERVER);
    assert_eq!(word(from_client(opened, SYN | ACK, true)), "promote Established");
    assert_eq!(word(from_client(opened, RST | ACK, true)), "forget");
    assert_eq!(word(from_server(opened, SYN, false)), "await SynSent");
}
