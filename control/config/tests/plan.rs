//! Names become numbers and keep them; what differs is a list of steps.

use control_config::{Config, boot_changes};
use dataplane_flow::{ClusterId, TARGETS_MAX, TargetId};
use dataplane_message::{Chooser, Device, MacPlan, Member, Mode, Plan, PortRole, Step};
use dataplane_port::{PortId, VlanId};
use proptest::prelude::*;
use std::fmt::Write;

/// A file with `servers`, and clusters that use some of them (`(cluster, servers)`).
fn file(servers: &[u8], clusters: &[(u8, Vec<u8>)]) -> String {
    let mut text = String::from("[ports.up1]\ninterface = \"p0\"\n");
    for server in servers {
        let _ = write!(
            text,
            "[ports.s{server}]\ninterface = \"s{server}\"\nrole = \"server\"\n\
             [servers.web-{server}]\nport = \"s{server}\"\nmac = \"02:00:00:00:01:{server:02x}\"\n"
        );
    }
    for (cluster, members) in clusters {
        let members: Vec<String> =
            members.iter().map(|m| format!("{{ name = \"web-{m}\", weight = {} }}", m % 5)).collect();
        let _ = write!(
            text,
            "[clusters.c{cluster}]\nvip = \"10.9.1.{cluster}\"\nservers = [{}]\naffinity = {}\n",
            members.join(", "),
            cluster % 2 == 0,
        );
    }
    text
}

fn config(servers: &[u8], clusters: &[(u8, Vec<u8>)]) -> Config {
    Config::parse(&file(servers, clusters)).expect("the file is good")
}

fn target(plan: &Plan, name: &str) -> TargetId {
    plan.targets.iter().find(|target| target.name == name).expect("the server is in the plan").id
}

#[test]
fn the_first_plan_counts_from_zero_in_the_files_order() {
    let plan = config(&[7, 3], &[(9, vec![7, 3])]).plan(None);
    let targets: Vec<_> = plan.targets.iter().map(|t| (t.id.0, t.name.as_str())).collect();
    assert_eq!(targets, [(0, "web-7"), (1, "web-3")]);
    assert_eq!(plan.clusters[0].id, ClusterId(0));
    assert_eq!(
        plan.clusters[0].services[0].members[1],
        Member { target: TargetId(1), weight: 3, backup: false }
    );
}

#[test]
fn a_name_keeps_its_number_and_a_free_number_is_not_given_away_at_once() {
    let first = config(&[1, 2, 3], &[(1, vec![1, 2, 3])]).plan(None);
    let second = config(&[4, 3, 2], &[(1, vec![2, 3, 4])]).plan(Some(&first));
    assert_eq!(target(&second, "web-2"), target(&first, "web-2"));
    assert_eq!(target(&second, "web-3"), target(&first, "web-3"));
    assert_eq!(target(&second, "web-4"), TargetId(3), "0 has just become free");
    assert_eq!(second.targets.iter().map(|t| t.id.0).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn numbers_begin_again_when_they_run_out() {
    let mut first = config(&[1, 2], &[(1, vec![1, 2])]).plan(None);
    first.targets[1].id = TargetId(TARGETS_MAX as u16 - 1);
    let second = config(&[1, 2, 3], &[(1, vec![1, 2, 3])]).plan(Some(&first));
    assert_eq!(target(&second, "web-3"), TargetId(1));
    let mut full = first.clone();
    full.targets = (0..TARGETS_MAX as u16)
        .map(|id| {
            let name = if id == 9 { "web-1".into() } else { format!("old-{id}") };
            dataplane_message::TargetPlan { id: TargetId(id), name, ..first.targets[0].clone() }
        })
        .collect();
    let third = config(&[1, 3], &[(1, vec![1, 3])]).plan(Some(&full));
    assert_eq!(target(&third, "web-1"), TargetId(9));
    assert!(target(&third, "web-3").index() < TARGETS_MAX);
}

#[test]
fn the_file_is_in_the_plan() {
    let text = r#"
[switch]
hugepages = true
choice_key = "000102030405060708090a0b0c0d0e0f"
[ports.up]
pci = "01:00.0"
untagged = 5
tagged = [10]
stp = "drop"
storm_pps = 0
[ports.s1]
interface = "eth1"
driver = "pcap"
role = "server"
tagged = [10]
[servers.a]
port = "s1"
admin = "drain"
[routers.r1]
port = "up"
vlan = 10
address = "2001:db8::1"
mac = "02:00:00:00:00:aa"
[clusters.web]
vip = "2001:db8::100"
vlan = 10
chooser = "least-connections"
fail = "open"
withdraw = true
udp = "packet"
announce_interval_s = 30
servers = ["a"]
timeouts = { udp_s = 30 }
[clusters.web.affinity]
prefix_v6 = 64
group = "all"
[[clusters.web.services]]
name = "https"
protocol = "tcp"
ports = 443
chooser = "source-affinity"
[[clusters.web.services]]
name = "high"
protocol = 17
ports = "8000-8100"
affinity = false
"#;
    let config = Config::parse(text).expect("the file is good");
    let (boot, plan) = (config.boot(), config.plan(None));
    assert_eq!(boot.mode, Mode::Trial);
    assert_eq!(boot.ports[0].device, Device::Pci { address: "0000:01:00.0".into() });
    assert_eq!(boot.ports[1].device, Device::Pcap { interface: "eth1".into() });
    assert_eq!(plan.choice_key, [0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f]);
    assert_eq!((plan.ports[0].untagged, plan.ports[1].untagged), (Some(VlanId(5)), None));
    assert_eq!((plan.ports[0].role, plan.ports[1].role), (PortRole::Outside, PortRole::Server));
    assert_eq!(plan.targets[0].mac, MacPlan::Learn);
    assert_eq!(plan.routers[0].port, PortId(0));
    let cluster = &plan.clusters[0];
    assert_eq!(cluster.vmac, dataplane_message::vmac(VlanId(10), cluster.vip));
    assert_eq!((cluster.timeouts.udp_s, cluster.timeouts.icmp_s), (30, 60));
    let services: Vec<_> = cluster
        .services
        .iter()
        .map(|s| (s.name.as_str(), s.protocol, s.ports.clone(), s.chooser, s.affinity.is_some()))
        .collect();
    assert_eq!(
        services,
        [
            ("https", Some(6), 443..=443, Chooser::SourceAffinity, true),
            ("high", Some(17), 8000..=8100, Chooser::LeastConnections, false),
            ("default", None, 0..=65_535, Chooser::LeastConnections, true),
        ]
    );
    let groups: Vec<_> =
        cluster.services.iter().filter_map(|s| s.affinity).map(|a| (a.prefix_v6, a.group)).collect();
    assert_eq!(groups[0], groups[1], "one group, one number");
}

#[test]
fn affinity_without_a_group_is_a_services_own_and_outlives_reloads() {
    let text = |extra: &str| {
        file(&[1], &[(2, vec![1])])
            + extra
            + "[[clusters.c2.services]]\nname = \"b\"\nprotocol = \"tcp\"\nports = 2\n"
    };
    let groups = |text: &str| -> Vec<(String, u16)> {
        let plan = Config::parse(text).expect("the file is good").plan(None);
        let services = &plan.clusters[0].services;
        services.iter().map(|s| (s.name.clone(), s.affinity.expect("inherited").group)).collect()
    };
    let before = groups(&text(""));
    let after = groups(&text("[[clusters.c2.services]]\nname = \"a\"\nprotocol = \"tcp\"\nports = 1\n"));
    assert_ne!(before[0].1, before[1].1);
    assert!(before.iter().all(|group| after.contains(group)));
}

#[test]
fn a_new_weight_is_one_step() {
    let old = config(&[1, 2], &[(1, vec![1, 2])]).plan(None);
    let text = file(&[1, 2], &[(1, vec![1, 2])]).replace("weight = 2", "weight = 9");
    let new = Config::parse(&text).expect("the file is good").plan(Some(&old));
    let steps = Plan::between(&old, &new);
    assert!(matches!(steps.as_slice(), [Step::SetCluster(_)]), "{steps:?}");
}

#[test]
fn what_needs_a_restart_is_listed() {
    let old = config(&[1, 2], &[(1, vec![1, 2])]).boot();
    assert!(boot_changes(&old, &old).is_empty());
    let text = format!("[switch]\nworkers = 2\n{}", file(&[1, 3], &[(1, vec![1, 3])]))
        .replace("interface = \"p0\"", "interface = \"p0\"\nmtu = 9000\ndriver = \"pcap\"");
    let new = Config::parse(&text).expect("the file is good").boot();
    let changes: Vec<String> = boot_changes(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            "switch.workers: 1 -> 2",
            "ports.up1: number 0, af_xdp p0, mtu 1500 -> number 0, pcap p0, mtu 9000",
            "ports.s2: removed (number 2, af_xdp s2, mtu 1500)",
            "ports.s3: added (number 2, af_xdp s3, mtu 1500)",
        ]
    );
}

/// Servers, and clusters of some of them.
fn files() -> impl Strategy<Value = (Vec<u8>, Vec<(u8, Vec<u8>)>)> {
    proptest::sample::subsequence((1..=12).collect::<Vec<u8>>(), 1..=12).prop_shuffle().prop_flat_map(
        |servers| {
            let members = proptest::sample::subsequence(servers.clone(), 1..=servers.len()).prop_shuffle();
            let names = proptest::sample::subsequence((1..=6).collect::<Vec<u8>>(), 0..=6).prop_shuffle();
            let clusters = (names, proptest::collection::vec(members, 6))
                .prop_map(|(names, members)| names.into_iter().zip(members).collect());
            (Just(servers), clusters)
        },
    )
}

proptest! {
    #[test]
    fn the_steps_between_two_plans_lead_from_one_to_the_other(
        chain in proptest::collection::vec(files(), 2..5)
    ) {
        let mut plan = Plan::default();
        for (servers, clusters) in chain {
            let new = config(&servers, &clusters).plan(Some(&plan));
            let before = plan.clone();
            for step in Plan::between(&before, &new) {
                plan.apply(step);
                // No plan on the way names a server that is not there.
                for target in plan.clusters.iter().flat_map(|cluster| &cluster.servers) {
                    prop_assert!(plan.targets.iter().any(|t| t.id == *target));
                }
            }
            prop_assert_eq!(&plan, &new);
            prop_assert!(Plan::between(&plan, &new).is_empty());
            for old in &before.targets {
                for target in &new.targets {
                    prop_assert_eq!(old.id == target.id, old.name == target.name);
                }
            }
        }
    }

    #[test]
    fn no_file_is_a_panic(text in "(\\[\\[?(ports|servers|clusters|switch)(\\.[a-z]{1,2})?\\]?\\]\n|[a-z_]{1,8} ?= ?([0-9-]{1,20}|\"[a-z0-9:.]*\"|\\[[0-9, ]*\\]|\\{\\})\n|.){0,20}") {
        let _ = Config::parse(&text);
    }
}
