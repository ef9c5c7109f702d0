//! Every file of `configs/` is a good configuration.

use control_config::Config;
use dataplane_message::Plan;
use std::path::Path;

#[test]
fn every_example_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("configs/ is part of the sources") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let config = Config::parse(&text).unwrap_or_else(|errors| panic!("{}:\n{errors}", path.display()));
        let plan = config.plan(None);
        assert_eq!(plan.ports.len(), config.boot().ports.len());
        assert!(Plan::between(&plan, &config.plan(Some(&plan))).is_empty());
        assert_eq!(config.settings(&plan).clusters.len(), plan.clusters.len());
        let name = path.file_name().and_then(|name| name.to_str()).expect("plain names").to_owned();
        // The shared port of the services example is there to show the warning.
        let warnings = usize::from(name == "services.toml");
        assert_eq!(config.warnings().len(), warnings, "{name}: {:?}", config.warnings());
        names.push(name);
    }
    names.sort();
    let known = [
        "appliance.toml",
        "availability.toml",
        "health.toml",
        "ipv6.toml",
        "pools.toml",
        "services.toml",
        "smallest.toml",
        "two-routers.toml",
        "vlans.toml",
    ];
    for name in known {
        assert!(names.iter().any(|n| n == name), "{name} is gone");
    }
}
