//! The operator's orders: names become numbers.

use super::{cluster_id, target_id};
use control_health as health;
use control_show::{Order, Refusal, RefusalKind};
use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::{ClusterPlan, Plan};

/// An order with the numbers of `plan`, and what holds when it has been carried out, in words.
///
/// # Errors
///
/// A name that nothing has, or one that is needed and not given.
pub(crate) fn resolved(order: &Order, plan: &Plan) -> Result<(health::Order, String), Refusal> {
    Ok(match order {
        Order::Drain { server, deadline_ms, gentle } => {
            let target = target(plan, server)?;
            let deadline = match deadline_ms {
                Some(ms) => format!("; what is left in {} s is closed", ms.div_ceil(1000)),
                None => String::new(),
            };
            (
                health::Order::Drain { target, deadline_ms: *deadline_ms, gentle: *gentle },
                format!("server {server} takes no new flows; those it has finish{deadline}"),
            )
        }
        Order::Enable { server } => (
            health::Order::Enable { target: target(plan, server)? },
            format!("server {server} is in service"),
        ),
        Order::Disable { server } => (
            health::Order::Disable { target: target(plan, server)? },
            format!("server {server} is out of service"),
        ),
        Order::Weight { server, weight, cluster, service } => {
            let target = target(plan, server)?;
            let of = match cluster {
                Some(name) => cluster_of(plan, name)?,
                None => only_cluster(plan, server, target)?,
            };
            let place = service.as_ref().map(|name| service_of(of, name)).transpose()?;
            let to = weight.map_or_else(|| "the configuration's".to_owned(), |weight| weight.to_string());
            let within = match service {
                Some(service) => format!("service {service} of cluster {}", of.name),
                None => format!("cluster {}", of.name),
            };
            (
                health::Order::Weight { cluster: of.id, service: place, target, weight: *weight },
                format!("the weight of server {server} in {within} is {to}"),
            )
        }
        Order::Switchover { cluster, to, reset } => {
            let id = cluster_of(plan, cluster)?.id;
            let new = to.as_ref().map(|name| target(plan, name)).transpose()?;
            let flows = if *reset { "are reset" } else { "finish there" };
            let to = to
                .as_ref()
                .map_or_else(|| "the next operational server".to_owned(), |to| format!("server {to}"));
            (
                health::Order::Switchover { cluster: id, to: new, reset: *reset },
                format!("{to} is primary of cluster {cluster}; flows of the old one {flows}"),
            )
        }
    })
}

fn target(plan: &Plan, name: &str) -> Result<TargetId, Refusal> {
    target_id(plan, name).ok_or_else(|| unknown("server", name, "flowctl show servers"))
}

fn cluster_of<'a>(plan: &'a Plan, name: &str) -> Result<&'a ClusterPlan, Refusal> {
    let id: Option<ClusterId> = cluster_id(plan, name);
    plan.clusters
        .iter()
        .find(|cluster| Some(cluster.id) == id)
        .ok_or_else(|| unknown("cluster", name, "flowctl show clusters"))
}

fn service_of(cluster: &ClusterPlan, name: &str) -> Result<u16, Refusal> {
    let place = cluster.services.iter().position(|service| service.name == name);
    let place = place.and_then(|place| u16::try_from(place).ok());
    place.ok_or_else(|| {
        let what = format!("cluster {} has no service {name}; it has {}", cluster.name, services(cluster));
        Refusal::new(RefusalKind::UnknownName, what)
    })
}

fn services(cluster: &ClusterPlan) -> String {
    cluster.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The one cluster that has the server.
fn only_cluster<'a>(plan: &'a Plan, server: &str, target: TargetId) -> Result<&'a ClusterPlan, Refusal> {
    let clusters: Vec<&ClusterPlan> =
        plan.clusters.iter().filter(|cluster| cluster.servers.contains(&target)).collect();
    match clusters.as_slice() {
        [one] => Ok(one),
        [] => {
            let message = format!("no cluster has server {server}");
            Err(Refusal::new(RefusalKind::UnknownName, message))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|cluster| cluster.name.as_str()).collect();
            let message = format!(
                "server {server} is in several clusters; name one with --cluster: {}",
                names.join(", ")
            );
            Err(Refusal::new(RefusalKind::BadRequest, message))
        }
    }
}

fn unknown(kind: &str, name: &str, list: &str) -> Refusal {
    Refusal::new(RefusalKind::UnknownName, format!("there is no {kind} {name}; `{list}` lists them"))
}
