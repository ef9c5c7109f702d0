//! What a change of the plan means, in words.

use control_health::Settings;
use dataplane_message::{Plan, Step};

/// A line for each step from the plan `before`.
pub(crate) fn described(before: &Plan, steps: &[Step]) -> Vec<String> {
    steps.iter().map(|step| line(before, step)).collect()
}

fn line(before: &Plan, step: &Step) -> String {
    let change = |known: bool| if known { "changed" } else { "added" };
    match step {
        Step::SetChoiceKey(_) => "switch.choice_key: changed; hashing chooses anew for new flows".into(),
        Step::SetBridge(_) => "bridge: changed".into(),
        Step::SetPorts(_) => "ports: changed".into(),
        Step::SetRouters(_) => "routers: changed".into(),
        Step::SetPools(_) => "pools: changed".into(),
        Step::SetTarget(target) => {
            let known = before.targets.iter().any(|old| old.id == target.id);
            format!("servers.{}: {}", target.name, change(known))
        }
        Step::RemoveTarget(id) => {
            let name = before.targets.iter().find(|old| old.id == *id).map_or("?", |old| old.name.as_str());
            format!("servers.{name}: removed")
        }
        Step::SetCluster(cluster) => {
            let known = before.clusters.iter().any(|old| old.id == cluster.id);
            format!("clusters.{}: {}", cluster.name, change(known))
        }
        Step::RemoveCluster(id) => {
            let name = before.clusters.iter().find(|old| old.id == *id).map_or("?", |old| old.name.as_str());
            format!("clusters.{name}: removed")
        }
    }
}

/// A line for everything that is watched otherwise than before. What is new has a line as a part of the plan.
pub(crate) fn watched(before: &Settings, now: &Settings, plan: &Plan) -> Vec<String> {
    let cluster = |id| plan.clusters.iter().find(|of| of.id == id).map(|of| of.name.as_str());
    let server = |id| plan.targets.iter().find(|of| of.id == id).map(|of| of.name.as_str());
    let router = |id| plan.routers.iter().find(|of| of.id == id).map(|of| of.name.as_str());
    let pool = |id| plan.pools.iter().find(|of| of.id == id).map(|of| of.name.as_str());
    let line = |kind: &str, name: Option<&str>, what: &str| {
        format!("{kind}.{}: {what} changed", name.unwrap_or("?"))
    };
    let clusters = changed(&before.clusters, &now.clusters, |care| care.id);
    let servers = changed(&before.servers, &now.servers, |care| care.id);
    let routers = changed(&before.routers, &now.routers, |care| care.id);
    let pools = changed(&before.pools, &now.pools, |care| care.id);
    clusters
        .map(|id| line("clusters", cluster(id), "checks, times or quorum"))
        .chain(servers.map(|id| line("servers", server(id), "default router")))
        .chain(routers.map(|id| line("routers", router(id), "check")))
        .chain(pools.map(|id| line("pools", pool(id), "balance")))
        .collect()
}

/// The numbers of those that are in both and differ.
fn changed<'a, T: PartialEq, Id: PartialEq + 'a>(
    before: &'a [T],
    now: &'a [T],
    id: fn(&T) -> Id,
) -> impl Iterator<Item = Id> + 'a {
    now.iter().filter(move |new| before.iter().any(|old| id(old) == id(new) && old != *new)).map(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_config::Config;

    #[test]
    fn what_is_watched_otherwise_has_a_line_though_the_plan_is_the_same() {
        let file = |check: &str, quorum: u16, balance: &str| {
            let text = format!(
                "[ports.up]\nvdev = \"net_null1\"\n[ports.s1]\nvdev = \"net_null0\"\nrole = \"server\"\n\
                 [servers.a]\nport = \"s1\"\n[routers.r]\nport = \"up\"\nmac = \"02:00:00:00:00:a1\"\naddress = \"10.9.0.1\"\ncheck = {check}\n\
                 [pools.p]\naddress = \"10.9.0.1\"\nrouters = [\"r\"]\nbalance = \"{balance}\"\n\
                 [clusters.web]\nvip = \"10.9.0.100\"\nservers = [\"a\"]\nquorum = {quorum}\n"
            );
            let config = Config::parse(&text).expect("the file is good");
            let plan = config.plan(None);
            (config.settings(&plan), plan)
        };
        let (before, plan) = file("{ fall = 3 }", 0, "load");
        let (after, same) = file("false", 1, "round-robin");
        assert_eq!(plan, same);
        assert_eq!(
            watched(&before, &after, &plan),
            [
                "clusters.web: checks, times or quorum changed",
                "routers.r: check changed",
                "pools.p: balance changed"
            ]
        );
        assert!(watched(&before, &before, &plan).is_empty());
        assert!(watched(&Settings::default(), &after, &plan).is_empty());
    }

    #[test]
    fn each_step_has_a_line() {
        let file = |server: &str, cluster: &str| {
            let text = format!(
                "[ports.s1]\nvdev = \"net_null0\"\nrole = \"server\"\n[servers.{server}]\nport = \"s1\"\n\
                 [clusters.{cluster}]\nvip = \"10.9.0.100\"\nservers = [\"{server}\"]\n"
            );
            Config::parse(&text).expect("the file is good")
        };
        let old = file("a", "web").plan(None);
        let new = file("b", "web").plan(Some(&old));
        assert_eq!(
            described(&old, &Plan::between(&old, &new)),
            ["servers.b: added", "clusters.web: changed", "servers.a: removed"]
        );
        let new = file("a", "dns").plan(Some(&old));
        assert_eq!(
            described(&old, &Plan::between(&old, &new)),
            ["clusters.web: removed", "clusters.dns: added"]
        );
    }
}
