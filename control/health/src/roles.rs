//! Roles of servers in an availability cluster (FS-14, FS-15).

use crate::order::OrderError;
use dataplane_flow::TargetId;
use serde::{Deserialize, Serialize};

/// A server's role.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// All that clients open goes to it.
    Primary,
    /// It could take over.
    SecondaryOperational,
    /// It could not.
    SecondaryFailed,
}

/// The roles of one cluster's servers.
///
/// ```text
///                    fails                         recovers, and there is a primary
///   Primary ───────────────────▶ SecondaryFailed ─────────────────▶ SecondaryOperational
///     ▲ │                             │        ◀───────────────────       │    ▲
///     │ │                             │              fails                │    │
///     │ └── switchover ───────────────┼───────────────────────────────────┼────┘
///     ├─── recovers, and there is none ┘                                  │
///     └─── the primary fails, or switchover: the first in the order ──────┘
/// ```
///
/// There is one primary exactly while any server is operational. A server that recovers never takes the
/// primary's place: only a failure or the operator does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Roles {
    /// In the configured order.
    servers: Vec<(TargetId, Role)>,
}

impl Roles {
    /// Takes the configured servers: those that were there keep their roles, new ones begin as what
    /// `operational` says of them, secondaries.
    pub(crate) fn handle_servers(&mut self, servers: &[TargetId], operational: impl Fn(TargetId) -> bool) {
        let before = core::mem::take(&mut self.servers);
        self.servers = servers
            .iter()
            .map(|id| {
                let role = before.iter().find(|(known, _)| known == id).map(|(_, role)| *role);
                let fresh = || secondary(operational(*id));
                (*id, role.unwrap_or_else(fresh))
            })
            .collect();
        self.elect();
    }

    /// What was decided in an earlier life.
    pub(crate) fn adopt(&mut self, primary: Option<TargetId>, failed: impl Fn(TargetId) -> bool) {
        let known = primary.filter(|id| self.servers.iter().any(|(server, _)| server == id));
        for (id, role) in &mut self.servers {
            *role = if known == Some(*id) { Role::Primary } else { secondary(!failed(*id)) };
        }
        self.elect();
    }

    /// A server is up or not.
    pub(crate) fn handle_health(&mut self, target: TargetId, operational: bool) {
        if let Some((_, role)) = self.servers.iter_mut().find(|(id, _)| *id == target) {
            *role = match (*role, operational) {
                (Role::Primary, true) => Role::Primary,
                (_, operational) => secondary(operational),
            };
        }
        self.elect();
    }

    /// The operator wants another primary: `to`, or the next one in order. Gives the old one.
    pub(crate) fn switch_over(&mut self, to: Option<TargetId>) -> Result<Option<TargetId>, OrderError> {
        let old = self.primary();
        let to = match to {
            Some(to) => match self.role(to) {
                None => return Err(OrderError::NoMember),
                Some(Role::Primary) => return Err(OrderError::AlreadyPrimary),
                Some(Role::SecondaryFailed) => return Err(OrderError::NotOperational),
                Some(Role::SecondaryOperational) => to,
            },
            None => self.next_operational().ok_or(OrderError::NoneOperational)?,
        };
        for (id, role) in &mut self.servers {
            match *role {
                _ if *id == to => *role = Role::Primary,
                Role::Primary => *role = Role::SecondaryOperational,
                _ => {}
            }
        }
        Ok(old)
    }

    pub(crate) fn primary(&self) -> Option<TargetId> {
        self.servers.iter().find(|(_, role)| *role == Role::Primary).map(|(id, _)| *id)
    }

    pub(crate) fn role(&self, target: TargetId) -> Option<Role> {
        self.servers.iter().find(|(id, _)| *id == target).map(|(_, role)| *role)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TargetId, Role)> {
        self.servers.iter().copied()
    }

    /// The order that the data path is told: the primary first, then those that could take over as they would,
    /// then the others.
    pub(crate) fn order(&self) -> Vec<TargetId> {
        [Role::Primary, Role::SecondaryOperational, Role::SecondaryFailed]
            .into_iter()
            .flat_map(|role| self.iter().filter(move |(_, of)| *of == role).map(|(id, _)| id))
            .collect()
    }

    /// The next one after the primary, in a round.
    fn next_operational(&self) -> Option<TargetId> {
        let at = self.servers.iter().position(|(_, role)| *role == Role::Primary).map_or(0, |at| at + 1);
        let (before, behind) = self.servers.split_at(at.min(self.servers.len()));
        behind.iter().chain(before).find(|(_, role)| *role == Role::SecondaryOperational).map(|(id, _)| *id)
    }

    fn elect(&mut self) {
        if self.primary().is_none()
            && let Some((_, role)) =
                self.servers.iter_mut().find(|(_, role)| *role == Role::SecondaryOperational)
        {
            *role = Role::Primary;
        }
    }
}

fn secondary(operational: bool) -> Role {
    if operational { Role::SecondaryOperational } else { Role::SecondaryFailed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Primary as P, SecondaryFailed as F, SecondaryOperational as O};

    fn roles(of: &[Role]) -> Roles {
        Roles { servers: of.iter().enumerate().map(|(i, role)| (TargetId(i as u16), *role)).collect() }
    }

    fn list(roles: &Roles) -> Vec<Role> {
        roles.iter().map(|(_, role)| role).collect()
    }

    /// Every state that three servers can be in, and every change of one.
    #[test]
    fn fs15_whole_table_of_health() {
        let a = TargetId(0);
        let table = [
            // before, server 0 is operational or not, after
            ([P, O, O], false, [F, P, O]),
            ([P, F, O], false, [F, F, P]),
            ([P, O, F], false, [F, P, F]),
            ([P, F, F], false, [F, F, F]),
            ([O, P, O], false, [F, P, O]),
            ([O, O, P], false, [F, O, P]),
            ([O, P, F], false, [F, P, F]),
            ([O, F, P], false, [F, F, P]),
            ([F, P, O], false, [F, P, O]),
            ([F, O, P], false, [F, O, P]),
            ([F, F, F], false, [F, F, F]),
            ([P, O, O], true, [P, O, O]),
            ([P, F, O], true, [P, F, O]),
            ([P, F, F], true, [P, F, F]),
            ([O, P, O], true, [O, P, O]),
            ([F, P, O], true, [O, P, O]),
            ([F, O, P], true, [O, O, P]),
            ([F, F, P], true, [O, F, P]),
            ([F, F, F], true, [P, F, F]),
        ];
        for (before, operational, after) in table {
            let mut machine = roles(&before);
            machine.handle_health(a, operational);
            assert_eq!(list(&machine), after, "{before:?} {operational}");
        }
    }

    #[test]
    fn fs15_whole_table_of_switchover() {
        let table = [
            ([P, O, O], None, Ok([O, P, O])),
            ([O, P, O], None, Ok([O, O, P])),
            ([O, O, P], None, Ok([P, O, O])),
            ([P, F, O], None, Ok([O, F, P])),
            ([P, F, F], None, Err(OrderError::NoneOperational)),
            ([F, F, F], None, Err(OrderError::NoneOperational)),
            ([P, O, O], Some(2), Ok([O, O, P])),
            ([P, O, F], Some(2), Err(OrderError::NotOperational)),
            ([P, O, O], Some(0), Err(OrderError::AlreadyPrimary)),
            ([P, O, O], Some(7), Err(OrderError::NoMember)),
        ];
        for (before, to, after) in table {
            let mut machine = roles(&before);
            let old = machine.primary();
            let said = machine.switch_over(to.map(TargetId));
            match after {
                Ok(after) => assert_eq!((said, list(&machine)), (Ok(old), after.to_vec()), "{before:?}"),
                Err(error) => assert_eq!((said, list(&machine)), (Err(error), before.to_vec()), "{before:?}"),
            }
        }
    }

    #[test]
    fn fs14_the_first_primary_is_the_first_in_order_that_is_up() {
        let mut machine = Roles::default();
        let ids = [TargetId(5), TargetId(2), TargetId(9)];
        machine.handle_servers(&ids, |id| id != TargetId(5));
        assert_eq!(list(&machine), [F, P, O]);
        assert_eq!(machine.order(), [TargetId(2), TargetId(9), TargetId(5)]);
        machine.handle_servers(&[TargetId(1), TargetId(9), TargetId(2)], |_| true);
        assert_eq!(list(&machine), [O, O, P], "a new first one does not take the place");
        machine.handle_servers(&[TargetId(1), TargetId(9)], |_| true);
        assert_eq!(list(&machine), [P, O], "the primary was removed");
    }

    #[test]
    fn fs14_roles_survive_a_restart() {
        let mut machine = Roles::default();
        machine.handle_servers(&[TargetId(0), TargetId(1), TargetId(2)], |_| true);
        machine.adopt(Some(TargetId(1)), |id| id == TargetId(0));
        assert_eq!(list(&machine), [F, P, O]);
        machine.adopt(Some(TargetId(77)), |_| false);
        assert_eq!(list(&machine), [P, O, O]);
    }
}
