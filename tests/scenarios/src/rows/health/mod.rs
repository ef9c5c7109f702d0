//! Health, roles and routers: what happens when servers and routers fail under load.

use crate::runner::Scenario;

mod adopted;
mod blameless;
mod changes;
mod doctor;
mod downloads;
mod drain;
mod even;
mod failing;
mod flapping;
mod frozen;
mod hostile;
mod kit;
mod link;
mod mistakes;
mod past;
mod rates;
mod roles;
mod routers;
mod waiting;

pub(super) fn all() -> Vec<Scenario> {
    [
        failing::SCENARIOS,
        frozen::SCENARIOS,
        link::SCENARIOS,
        flapping::SCENARIOS,
        roles::SCENARIOS,
        routers::SCENARIOS,
        even::SCENARIOS,
        drain::SCENARIOS,
        changes::SCENARIOS,
        rates::SCENARIOS,
        adopted::SCENARIOS,
        doctor::SCENARIOS,
        blameless::SCENARIOS,
        waiting::SCENARIOS,
        hostile::SCENARIOS,
        mistakes::SCENARIOS,
    ]
    .concat()
}
