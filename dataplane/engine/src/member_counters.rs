//! What a worker counts of servers in services (FS-31).

use crate::Counter;
use dataplane_message::{HISTOGRAM_BUCKETS, Histogram};

/// Members that are counted: the counters are sized by it at start. Further ones work uncounted.
pub const MEMBERS_MAX: usize = 8192;

/// Counters of one server in one service: seven cache lines. Of TCP flows that clients opened; what they
/// mean is said at [`dataplane_message::MemberSigns`].
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct MemberCounters {
    /// Flows opened by a SYN.
    pub opened: Counter,
    /// ... that the server accepted.
    pub accepted: Counter,
    /// ... whose handshake was completed.
    pub completed: Counter,
    /// ... that the server refused.
    pub refused: Counter,
    /// SYNs repeated before the server answered.
    pub repeated: Counter,
    /// Handshakes completed without the server's part.
    pub bypassed: Counter,
    /// Flows with a request.
    pub requests: Counter,
    /// ... that was answered.
    pub responses: Counter,
    /// Established flows that the server reset.
    pub resets: Counter,
    /// Gauge: smoothed time from SYN to SYN+ACK in microseconds; 0: none yet.
    pub connect_us: Counter,
    /// Gauge: smoothed time from request to answer in microseconds; 0: none yet.
    pub response_us: Counter,
    /// Times from SYN to SYN+ACK.
    pub connect: [Counter; HISTOGRAM_BUCKETS],
    /// Times from request to answer.
    pub response: [Counter; HISTOGRAM_BUCKETS],
}

impl MemberCounters {
    /// Takes a time from SYN to SYN+ACK.
    pub(crate) fn connected_in(&self, us: u32) {
        smooth(&self.connect_us, us);
        self.connect[Histogram::bucket(us.into())].add(1);
    }

    /// Takes a time from request to answer.
    pub(crate) fn answered_in(&self, us: u32) {
        smooth(&self.response_us, us);
        self.response[Histogram::bucket(us.into())].add(1);
    }
}

/// An eighth of the difference, as TCP smooths its round-trip time (RFC 6298 §2); never 0 again.
fn smooth(gauge: &Counter, us: u32) {
    let (old, us) = (gauge.read(), u64::from(us));
    let new = match old {
        0 => us,
        _ if us > old => old + (us - old).div_ceil(8),
        _ => old - (old - us) / 8,
    };
    gauge.put(new.max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fs_31_times_are_smoothed_and_sorted_by_powers_of_two() {
        let counters = MemberCounters::default();
        counters.connected_in(0);
        assert_eq!(counters.connect_us.read(), 1, "0 means none yet");
        for _ in 0..100 {
            counters.answered_in(1000);
        }
        assert_eq!(counters.response_us.read(), 1000);
        counters.answered_in(9000);
        assert_eq!(counters.response_us.read(), 2000);
        for _ in 0..100 {
            counters.answered_in(100);
        }
        assert!((100..108).contains(&counters.response_us.read()));
        assert_eq!(counters.response[Histogram::bucket(1000)].read(), 100);
        assert_eq!(counters.response[Histogram::bucket(9000)].read(), 1);
    }
}
