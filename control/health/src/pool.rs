//! Which router of a pool a server is told (FS-12).

use dataplane_flow::{Instant, RouterId, TargetId};
use std::collections::BTreeMap;

/// A server is told another router at most so often.
const PUSH_NS: u64 = 10_000_000_000;

/// A router that is down keeps its servers so long; what they send is redirected meanwhile.
const KEEP_NS: u64 = 30_000_000_000;

/// Routers that are nearer than this to even are left alone.
const HYSTERESIS: f64 = 0.1;

/// Most servers moved at once for load.
const MOVES_MAX: usize = 8;

/// Assigns servers to a pool's routers.
///
/// By count every router gets as many as every other, give or take one. By load, servers are moved from the
/// busiest to the idlest router while they are further apart than a tenth of the mean and the move makes the
/// difference smaller; of the candidates the one that makes it smallest. A server is moved at most once in 10 s, but
/// for the first assignment. Routers that went down keep theirs for 30 s.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    servers: BTreeMap<TargetId, Server>,
    down: BTreeMap<RouterId, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    router: RouterId,
    moved: Option<Instant>,
    load: f64,
}

/// A router as the pool sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: RouterId,
    pub(crate) up: bool,
}

impl Pool {
    /// What was decided in an earlier life.
    pub(crate) fn adopt(&mut self, target: TargetId, router: RouterId) {
        self.servers.insert(target, Server { router, moved: None, load: 0.0 });
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TargetId, RouterId)> {
        self.servers.iter().map(|(id, server)| (*id, server.router))
    }

    /// How much a server sends, in bytes a second, smoothed.
    pub(crate) fn handle_load(&mut self, target: TargetId, load: f64) {
        if let Some(server) = self.servers.get_mut(&target) {
            server.load = load;
        }
    }

    /// Looks at it all; who has another router now and must be told. `servers` are those of the pool, by rising number.
    pub(crate) fn handle(
        &mut self,
        servers: &[TargetId],
        routers: &[Candidate],
        by_load: bool,
        now: Instant,
    ) -> Vec<(TargetId, RouterId)> {
        for router in routers {
            if router.up {
                self.down.remove(&router.id);
            } else {
                self.down.entry(router.id).or_insert(now);
            }
        }
        self.down.retain(|id, _| routers.iter().any(|r| r.id == *id));
        self.servers.retain(|id, _| servers.binary_search(id).is_ok());
        let live: Vec<RouterId> = routers.iter().filter(|r| r.up).map(|r| r.id).collect();
        let mut told = Vec::new();
        if live.is_empty() {
            // Nobody to move to. Servers that have none yet are told the first ones in turn all the same.
            if let Some(first) = routers.first() {
                for (i, id) in servers.iter().enumerate() {
                    let router = routers.get(i % routers.len()).unwrap_or(first).id;
                    self.servers.entry(*id).or_insert(Server { router, moved: None, load: 0.0 });
                }
            }
            return told;
        }
        for id in servers {
            let stays = self.servers.get(id).is_some_and(|server| {
                live.contains(&server.router)
                    || self.down.get(&server.router).is_some_and(|since| now.since(*since) < KEEP_NS)
            });
            if stays {
                continue;
            }
            let router = self.least(&live, by_load, *id);
            let before = self.servers.get(id).copied();
            if before.and_then(|server| server.moved).is_some_and(|at| now.since(at) < PUSH_NS) {
                continue;
            }
            let load = before.map_or(0.0, |server| server.load);
            self.servers.insert(*id, Server { router, moved: before.map(|_| now), load });
            if before.is_some() {
                told.push((*id, router));
            }
        }
        self.even(&live, by_load, now, &mut told);
        told
    }

    /// The router that has the least.
    fn least(&self, live: &[RouterId], by_load: bool, target: TargetId) -> RouterId {
        let count = |router: RouterId| {
            self.servers.iter().filter(|(id, s)| s.router == router && **id != target).count()
        };
        let load = |router: RouterId| {
            self.servers.values().filter(|s| s.router == router).map(|s| s.load).sum::<f64>()
        };
        *live
            .iter()
            .min_by(|a, b| {
                let by_count = count(**a).cmp(&count(**b));
                if by_load { load(**a).total_cmp(&load(**b)).then(by_count) } else { by_count }
            })
            .expect("some router is up")
    }

    /// Moves servers from the router that has most to the one that has least.
    fn even(&mut self, live: &[RouterId], by_load: bool, now: Instant, told: &mut Vec<(TargetId, RouterId)>) {
        let weight = |server: &Server| if by_load { server.load } else { 1.0 };
        for _ in 0..MOVES_MAX {
            let mut sums: Vec<(RouterId, f64)> = live
                .iter()
                .map(|id| (*id, self.servers.values().filter(|s| s.router == *id).map(weight).sum()))
                .collect();
            sums.sort_by(|a, b| a.1.total_cmp(&b.1));
            let (Some((low, least)), Some((high, most))) = (sums.first().copied(), sums.last().copied())
            else {
                return;
            };
            let mean = sums.iter().map(|(_, sum)| sum).sum::<f64>() / sums.len() as f64;
            let gap = most - least;
            let enough = if by_load { gap > HYSTERESIS * mean && mean > 0.0 } else { gap > 1.0 };
            if !enough {
                return;
            }
            // The one that leaves the smallest difference behind.
            let best = self
                .servers
                .iter()
                .filter(|(_, s)| s.router == high && weight(s) > 0.0 && weight(s) < gap)
                .filter(|(_, s)| s.moved.is_none_or(|at| now.since(at) >= PUSH_NS))
                .min_by(|a, b| (gap - 2.0 * weight(a.1)).abs().total_cmp(&(gap - 2.0 * weight(b.1)).abs()))
                .map(|(id, s)| (*id, (gap - 2.0 * weight(s)).abs()));
            match best {
                // Less than a twentieth of the mean gained is not worth a move.
                Some((id, left)) if !by_load || gap - left > HYSTERESIS / 2.0 * mean => {
                    if let Some(server) = self.servers.get_mut(&id) {
                        server.router = low;
                        server.moved = Some(now);
                        told.push((id, low));
                    }
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    fn ids(count: u16) -> Vec<TargetId> {
        (0..count).map(TargetId).collect()
    }

    fn routers(up: &[bool]) -> Vec<Candidate> {
        up.iter().enumerate().map(|(i, up)| Candidate { id: RouterId(i as u16), up: *up }).collect()
    }

    fn counts(pool: &Pool, routers: usize) -> Vec<usize> {
        (0..routers).map(|r| pool.iter().filter(|(_, of)| usize::from(of.0) == r).count()).collect()
    }

    #[test]
    fn fs12_round_robin_is_even_with_fewest_moves() {
        let mut pool = Pool::default();
        assert!(
            pool.handle(&ids(10), &routers(&[true, true]), false, s(0)).is_empty(),
            "they ask themselves"
        );
        assert_eq!(counts(&pool, 2), [5, 5]);
        let moved = pool.handle(&ids(10), &routers(&[true, true, true]), false, s(20));
        assert_eq!(moved.len(), 3);
        assert_eq!(counts(&pool, 3), [4, 3, 3]);
        assert!(pool.handle(&ids(10), &routers(&[true; 3]), false, s(40)).is_empty());
        pool.handle(&ids(12), &routers(&[true; 3]), false, s(60));
        assert_eq!(counts(&pool, 3), [4, 4, 4]);
    }

    /// Every state of a server's router, and what becomes of the assignment.
    #[test]
    fn fs12_whole_table_of_a_routers_fall() {
        // own router down since (s), the other up, moved (s) ago -> moved now
        let table = [
            (None, true, None, false),
            (Some(29), true, None, false),
            (Some(30), true, None, true),
            (Some(30), true, Some(9), false),
            (Some(30), true, Some(10), true),
            (Some(30), false, None, false),
            (None, false, None, false),
        ];
        for (down, other, moved, moves) in table {
            let now = s(1000);
            let mut pool = Pool::default();
            pool.adopt(TargetId(0), RouterId(0));
            if let Some(down) = down {
                pool.down.insert(RouterId(0), s(1000 - down));
            }
            if let Some(server) = pool.servers.get_mut(&TargetId(0)) {
                server.moved = moved.map(|ago| s(1000 - ago));
            }
            let told = pool.handle(&ids(1), &routers(&[down.is_none(), other]), false, now);
            assert_eq!(told.len(), usize::from(moves), "{down:?} {other} {moved:?}");
        }
    }

    /// Row f: 20 servers, 2 routers, within a tenth of even; a shift followed within 30 s.
    #[test]
    fn fs12_by_load_is_even_and_follows_shifts() {
        let mut pool = Pool::default();
        let servers = ids(20);
        let both = routers(&[true, true]);
        let load = |i: u16, shifted: bool| {
            let i = if shifted { 19 - i } else { i };
            1e6 * f64::from(1 + i * i % 17 + if i < 5 { 20 } else { 0 })
        };
        let mut smooth = [0.0; 20];
        let mut last_push = [None; 20];
        let mut settled = None;
        for second in 0..200 {
            let shifted = second >= 100;
            for id in &servers {
                let now = load(id.0, shifted);
                smooth[id.index()] += (now - smooth[id.index()]) * 0.2;
                pool.handle_load(*id, smooth[id.index()]);
            }
            for (id, _) in pool.handle(&servers, &both, true, s(second)) {
                if let Some(before) = last_push[id.index()].replace(second) {
                    assert!(second - before >= 10, "{id:?} told twice in 10 s");
                }
            }
            let sums: Vec<f64> = (0..2)
                .map(|r| pool.iter().filter(|(_, of)| of.0 == r).map(|(id, _)| load(id.0, shifted)).sum())
                .collect();
            let off = (sums[0] - sums[1]).abs() / (sums[0] + sums[1]);
            if (30..100).contains(&second) || second >= 130 {
                assert!(off <= 0.1, "{second} s: {sums:?}");
            }
            if second >= 100 && off <= 0.1 && settled.is_none() {
                settled = Some(second - 100);
            }
        }
        assert!(settled.is_some_and(|after| after <= 30), "{settled:?}");
    }
}
