//! The numbers of members: places among the workers' counters (FS-31).

use dataplane_engine::{Counters, MEMBERS_MAX, MemberCounters, NO_MEMBER};
use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::{HISTOGRAM_BUCKETS, Histogram, MemberReport, MemberSigns, Plan};
use std::collections::{HashMap, HashSet};

type Key = (ClusterId, u16, TargetId);

/// Members keep their places while they are in the plan. A place that was another's before counts from
/// what stood there.
#[derive(Debug, Default)]
pub(super) struct Members {
    places: HashMap<Key, (u16, Option<Box<MemberReport>>)>,
    free: Vec<u16>,
    used: u16,
}

fn keys(plan: &Plan) -> impl Iterator<Item = Key> + '_ {
    plan.clusters.iter().flat_map(|cluster| {
        (0_u16..).zip(&cluster.services).flat_map(move |(place, service)| {
            service.members.iter().map(move |member| (cluster.id, place, member.target))
        })
    })
}

impl Members {
    /// Gives new members their places and takes back those of members that have gone.
    pub(super) fn follow(&mut self, plan: &Plan, counters: &[Counters]) {
        let wanted: HashSet<Key> = keys(plan).collect();
        let free = &mut self.free;
        self.places.retain(|key, (place, _)| {
            let kept = wanted.contains(key);
            if !kept {
                free.push(*place);
            }
            kept
        });
        // The map has no order; what is given out is to have one.
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        for key in keys(plan) {
            if self.places.contains_key(&key) {
                continue;
            }
            let place = match self.free.pop() {
                Some(place) => (place, Some(Box::new(sum(key, place, counters)))),
                None if usize::from(self.used) < MEMBERS_MAX => {
                    self.used += 1;
                    (self.used - 1, None)
                }
                // It works and is not counted.
                None => break,
            };
            self.places.insert(key, place);
        }
    }

    pub(super) fn place(&self, cluster: ClusterId, service: u16, target: TargetId) -> u16 {
        self.places.get(&(cluster, service, target)).map_or(NO_MEMBER, |(place, _)| *place)
    }

    /// The signs of all members, in the order of the plan.
    pub(super) fn signs<'a>(
        &'a self,
        plan: &'a Plan,
        counters: &'a [Counters],
    ) -> impl Iterator<Item = MemberSigns> + 'a {
        keys(plan).filter_map(|key| {
            let (place, base) = self.places.get(&key)?;
            let signs = sum_signs(key, *place, counters);
            Some(base.as_ref().map_or(signs, |base| since(signs, &base.signs)))
        })
    }

    /// What is counted of all members, in the order of the plan.
    pub(super) fn reports(&self, plan: &Plan, counters: &[Counters]) -> Vec<MemberReport> {
        let report = |key| {
            let (place, base) = self.places.get(&key)?;
            let mut report = sum(key, *place, counters);
            if let Some(base) = base {
                report.signs = since(report.signs, &base.signs);
                subtract(&mut report.connect, &base.connect);
                subtract(&mut report.response, &base.response);
            }
            for histogram in [&mut report.connect, &mut report.response] {
                if histogram.buckets.iter().all(|count| *count == 0) {
                    histogram.buckets.clear();
                }
            }
            Some(report)
        };
        keys(plan).filter_map(report).collect()
    }
}

fn sum(key: Key, place: u16, counters: &[Counters]) -> MemberReport {
    let histogram = |of: &dyn Fn(&MemberCounters, usize) -> u64| Histogram {
        buckets: (0..HISTOGRAM_BUCKETS)
            .map(|i| counters.iter().filter_map(|c| c.member(place)).map(|m| of(m, i)).sum())
            .collect(),
    };
    MemberReport {
        signs: sum_signs(key, place, counters),
        connect: histogram(&|m, i| m.connect[i].read()),
        response: histogram(&|m, i| m.response[i].read()),
    }
}

fn sum_signs((cluster, service, target): Key, place: u16, counters: &[Counters]) -> MemberSigns {
    let mut signs = MemberSigns { cluster, service, target, ..MemberSigns::default() };
    // Each worker's time counts by what it was made of.
    let (mut connect, mut response) = ([0_u64; 2], [0_u64; 2]);
    for of in counters.iter().filter_map(|c| c.member(place)) {
        signs.opened += of.opened.read();
        signs.accepted += of.accepted.read();
        signs.completed += of.completed.read();
        signs.refused += of.refused.read();
        signs.repeated += of.repeated.read();
        signs.bypassed += of.bypassed.read();
        signs.requests += of.requests.read();
        signs.responses += of.responses.read();
        signs.resets += of.resets.read();
        for (mean, us, times) in [
            (&mut connect, of.connect_us.read(), of.accepted.read()),
            (&mut response, of.response_us.read(), of.responses.read()),
        ] {
            if us > 0 {
                mean[0] = mean[0].saturating_add(us.saturating_mul(times.max(1)));
                mean[1] += times.max(1);
            }
        }
    }
    let mean = |[sum, times]: [u64; 2]| sum.checked_div(times).unwrap_or(0).min(u32::MAX.into()) as u32;
    signs.connect_us = mean(connect);
    signs.response_us = mean(response);
    signs
}

fn since(signs: MemberSigns, base: &MemberSigns) -> MemberSigns {
    MemberSigns {
        opened: signs.opened.saturating_sub(base.opened),
        accepted: signs.accepted.saturating_sub(base.accepted),
        completed: signs.completed.saturating_sub(base.completed),
        refused: signs.refused.saturating_sub(base.refused),
        repeated: signs.repeated.saturating_sub(base.repeated),
        bypassed: signs.bypassed.saturating_sub(base.bypassed),
        requests: signs.requests.saturating_sub(base.requests),
        responses: signs.responses.saturating_sub(base.responses),
        resets: signs.resets.saturating_sub(base.resets),
        // A time that was another's is none of its own.
        connect_us: if signs.accepted > base.accepted { signs.connect_us } else { 0 },
        response_us: if signs.responses > base.responses { signs.response_us } else { 0 },
        ..signs
    }
}

fn subtract(histogram: &mut Histogram, base: &Histogram) {
    for (count, before) in histogram.buckets.iter_mut().zip(&base.buckets) {
        *count = count.saturating_sub(*before);
    }
}
