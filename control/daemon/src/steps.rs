//! What a change of the plan means, in words.

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

#[cfg(test)]
mod tests {
    use super::*;
    use control_config::Config;

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
