//! What kind and MicroShift need: the files of `ci/kind` and `ci/microshift` fit together. No kind
//! cluster and no MicroShift is started here; the local cluster runs the handler of `ci/kind`.

use harness::base::manifest;
use k8s_openapi::api::node::v1::RuntimeClass;
use serde_json::Value;

use super::systems::{path, text, yaml};

#[test]
fn the_runtime_class_of_kind_leads_to_the_handler_with_the_base_spec() {
    let class = text("ci/kind/runtime-class.yaml");
    let class: RuntimeClass = manifest::parse("class", &class).expect("it is a RuntimeClass");
    // nestcheck finds this name without an option.
    assert_eq!(class.metadata.name.as_deref(), Some("nested"));
    let cluster = yaml("ci/kind/cluster.yaml");
    let patch = cluster["containerdConfigPatches"][0].as_str().expect("a patch");
    assert_eq!(patch.matches(&format!(".runtimes.{}", class.handler)).count(), 2, "{patch}");
    let mount = &cluster["nodes"][0]["extraMounts"][0];
    let inside = mount["containerPath"].as_str().expect("a path");
    assert!(patch.contains(&format!("base_runtime_spec = \"{inside}\"\n")), "{patch}");
    // From the root directory of the repository, as the README says.
    let outside = mount["hostPath"].as_str().expect("a path");
    let spec: Value = serde_json::from_str(&text(outside)).expect("it is JSON");
    assert_eq!(spec["linux"]["devices"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_devices_of_microshift_are_those_of_the_documented_option() {
    let config = yaml("ci/microshift/devices.yaml");
    let plugin = &config["genericDevicePlugin"];
    assert_eq!(plugin["status"], "Enabled");
    let domain = plugin["domain"].as_str().expect("a domain");
    let devices = plugin["devices"].as_array().expect("a list").iter();
    let (names, paths): (Vec<_>, Vec<_>) = devices
        .map(|device| {
            let name = device["name"].as_str().expect("a name");
            (format!("{domain}/{name}"), device["groups"][0]["paths"][0]["path"].clone())
        })
        .unzip();
    assert_eq!(paths, ["/dev/fuse", "/dev/net/tun"]);
    let option = format!("--devices resource:{}\n", names.join(","));
    assert!(text("ci/microshift/README.md").contains(&option), "{option}");
}

#[test]
fn only_the_drop_in_for_new_versions_of_crio_has_the_new_annotation() {
    for (name, has_new) in [("99-nestcheck-4.20.conf", false), ("99-nestcheck-4.22.conf", true)] {
        let file = format!("ci/microshift/{name}");
        let drop_in = text(&file);
        let settings = drop_in.lines().filter(|line| !line.starts_with('#'));
        let settings: String = settings.collect();
        assert!(settings.contains("\"io.kubernetes.cri-o.Devices\""), "{settings}");
        assert_eq!(settings.contains("\"devices.crio.io\""), has_new, "{settings}");
        assert!(path(&file).is_file() && text("ci/microshift/README.md").contains(&file));
    }
}
