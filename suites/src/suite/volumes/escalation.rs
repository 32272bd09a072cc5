//! ROOT-11: a program that root in a container leaves on a volume gives nobody power elsewhere.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, PodHandle},
    verdict::CaseResult,
    workload::{Command, truth::show_reading},
};
use k8s_openapi::api::core::v1::{Pod, Volume, VolumeMount};
use probe::Reading;

use super::pvcs::WITH_STORAGE;
use crate::{
    fixtures::{HOST_USERS, KEEPER},
    steps::{keep_on, known, on_node_of, podman_run, pvc, shell_image},
};

/// The program, in a directory of the user's: root in a container has none of the user's groups, by
/// which the volume itself may be written.
const PROGRAM: &str = "/kept/left/become-root";

inventory::submit!(Case {
    id: "ROOT-11",
    suite: "root",
    name: "leaves_no_program_that_makes_root",
    title: "A setuid program that root in a container writes to a PVC makes nobody root in \
         another pod",
    why: "A volume outlives its pod, and another pod may mount it, even one in the node's own \
          user namespace. Files of root in a container must belong to nobody there: root's \
          setuid program would make anyone who runs it root of the node. The owner on the disk \
          is the proof. The case also runs the program in the other pod, but only if such a pod \
          may gain privileges. Where SCCs admit pods, as on OpenShift, an ordinary user's pod \
          may not, so the program's effect would prove nothing, and the report says that the \
          case did not run it.",
    fix: "The owner on the disk is 0 if containers run as the pod's own root. Run the pod as an \
          ordinary user, so that root in a container is that user. Don't share volumes between \
          pods that run as root and pods without a user namespace.",
    requires: WITH_STORAGE,
    pods: &[&KEEPER, &HOST_USERS],
    expected: Duration::from_secs(8),
    kind: CaseKind::Live(|cx| Box::pin(leaves_no_program_that_makes_root(cx))),
    ..Case::DEFAULT
});

async fn leaves_no_program_that_makes_root(cx: Context) -> CaseResult {
    pvc(&cx, "root-11", "ReadWriteOnce", None).await?;
    let mut pod = keep_on(cx.manifest(&KEEPER)?, "root-11");
    pod.metadata.name = Some("root-11".to_owned());
    let workspace = cx.provision_pod(&KEEPER, &pod).await?;
    let image = shell_image(&workspace).await?;
    workspace.output(&Command::new(["mkdir", "-p", "/kept/left"])).await?;
    let script = "cp /nestcheck/probe $1 && chmod 4755 $1 && stat -c %u:%a $1";
    let mounts = ["--volume=/kept/left:/kept/left", "--volume=/nestcheck:/nestcheck:ro"];
    let leave = podman_run(&mounts, &image, &["sh", "-euc", script, "sh", PROGRAM]);
    let left = workspace.output(&leave).await?;
    cx.check_equal("owner and mode of the program, inside the container", "0:4755", &left)?;

    // In the node's own user namespace the owner shows as the id that is on the disk.
    let victim = victim(&cx, &workspace).await?;
    let look = Command::new(["stat", "-c", "%u:%a", PROGRAM]);
    let seen = victim.output(&look).await?;
    let (owner, mode) = seen.split_once(':').unwrap_or_default();
    cx.check("owner on the disk", "not 0", owner, owner != "0" && !owner.is_empty())?;
    // Else there is nothing to be afraid of.
    let is_dangerous = makes_its_owner_of_anybody(mode);
    cx.check("mode on the disk", "setuid, and anybody may execute it", mode, is_dangerous)?;
    let find = Command::shell("find files of root's", "cd /kept/left && find . -uid 0", [""; 0]);
    cx.check_equal("files of root's on the disk", "", &victim.output(&find).await?)?;

    if victim.facts().no_new_privs != Reading::Known(false) {
        // The program could make nobody more than he is, so what it makes of him shows nothing.
        let reported =
            "not run: the cluster lets no such pod gain privileges, so only the owner counts";
        return cx.check("user that the program becomes", "not 0", reported, true);
    }
    let became: probe::Facts = harness::engine::parse_probe(
        &victim.run(&Command::new([PROGRAM, "facts"])).await?.exits(0)?,
    )?;
    let user = became.effective_uid;
    cx.check("user that the program becomes", "not 0", user.to_string(), user != 0)?;
    let gained = known(&became.capabilities)?.effective;
    cx.check("capabilities that it gains", "none", gained.names().join(","), gained.is_empty())
}

/// Whether a program of this mode, in octal, runs as its owner whoever starts it. Not one mode only:
/// where a volume gets a group, the kubelet lets that group read and write (kubernetes,
/// `pkg/volume/volume_linux.go`, `rwMask`).
fn makes_its_owner_of_anybody(mode: &str) -> bool {
    u32::from_str_radix(mode, 8).is_ok_and(|bits| bits & 0o4001 == 0o4001)
}

/// A pod in the node's own user namespace with the same claim, in which programs may gain
/// privileges where the cluster lets any pod do so.
async fn victim(
    cx: &Context,
    workspace: &PodHandle,
) -> Result<PodHandle, harness::verdict::Failure> {
    let mut pod = on_node_of(cx.manifest(&HOST_USERS)?, workspace);
    pod.metadata.name = Some("root-11-victim".to_owned());
    mount_pvc(&mut pod, workspace);
    let may_gain = cx.sandbox().scc().is_none();
    if may_gain {
        let spec = pod.spec.get_or_insert_default();
        for context in spec.containers.iter_mut().filter_map(|it| it.security_context.as_mut()) {
            context.allow_privilege_escalation = Some(true);
            // Somebody else than the owner.
            context.run_as_user = Some(2000);
        }
    }
    let victim = cx.provision_pod(&HOST_USERS, &pod).await?;
    if may_gain {
        let forbidden = show_reading(&victim.facts().no_new_privs, ToString::to_string);
        cx.check_equal("gaining privileges is forbidden to the other pod", "false", &forbidden)?;
    }
    Ok(victim)
}

/// Mounts the volume of another pod's.
fn mount_pvc(pod: &mut Pod, of: &PodHandle) {
    let volumes = of.object().spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let kept: Vec<Volume> = volumes.filter(|volume| volume.name == "kept").cloned().collect();
    let spec = pod.spec.get_or_insert_default();
    spec.volumes.get_or_insert_default().extend(kept);
    for container in &mut spec.containers {
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: "kept".to_owned(),
            mount_path: "/kept".to_owned(),
            ..VolumeMount::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_anybody_becomes_its_owner_by_is_reported_by_its_mode() {
        for mode in ["4755", "4775", "6755", "4711"] {
            assert!(makes_its_owner_of_anybody(mode), "{mode}");
        }
        for mode in ["755", "2755", "4754", "4644", "", "x"] {
            assert!(!makes_its_owner_of_anybody(mode), "{mode}");
        }
    }
}
