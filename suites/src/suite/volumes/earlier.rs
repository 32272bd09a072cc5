//! VOL-09: a PVC that a pod without a user namespace has filled.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, PodHandle},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaimVolumeSource, Pod, Volume, VolumeMount,
};

use super::pvcs::WITH_STORAGE;
use crate::{
    fixtures::{HOST_USERS, KEEPER},
    steps::{keep_on, on_node_of, pvc},
};

/// The name of the claim and, in part, of the pods.
const NAME: &str = "vol-09";

/// An id as OpenShift gives it to pods without a user namespace, which no pod with one has.
const HIGH_ID: i64 = 1_000_740_000;

/// As whom the kernel shows an owner that the mount does not map (`/proc/sys/kernel/overflowuid`).
const UNMAPPED: &str = "65534";

inventory::submit!(Case {
    id: "VOL-09",
    suite: "volumes",
    name: "takes_over_a_filled_pvc",
    title: "A pod with a user namespace takes over the files that a pod without one left on a PVC, \
            or shows that it cannot",
    why: "Workspaces get user namespaces while their PVCs are full. Files of a user that the pod \
          has too (0 to 65535) must stay as they are. OpenShift gave older pods users such as \
          1000740000, which no pod with a user namespace has. The kernel then shows the owner \
          65534 and forbids every write, whatever the mode, so such files need a `chown` once. A \
          pod that shows another owner would write with an id that is not its own.",
    fix: "If files of user 1000 are not usable, see VOL-04. Files of higher ids: run `chown -R \
          1000:1000` on the PVC once, in a pod with `hostUsers: true` as root. `fsGroup` alone \
          does not help.",
    level: Level::Extended,
    requires: WITH_STORAGE,
    pods: &[&KEEPER, &HOST_USERS],
    expected: Duration::from_secs(8),
    kind: CaseKind::Live(|cx| Box::pin(takes_over_a_filled_pvc(cx))),
    ..Case::DEFAULT
});

async fn takes_over_a_filled_pvc(cx: Context) -> CaseResult {
    pvc(&cx, NAME, "ReadWriteOnce", None).await?;
    let filler = cx.provision_pod(&HOST_USERS, &filler(&cx)?).await?;
    let users = fill(&filler).await?;
    let mut pod = keep_on(cx.manifest(&KEEPER)?, NAME);
    pod.metadata.name = Some(NAME.to_owned());
    let workspace = cx.provision_pod(&KEEPER, &on_node_of(pod, &filler)).await?;
    for user in users {
        let has_user = user.parse::<u32>().is_ok_and(|id| id < 65_536);
        if has_user {
            takes_over(&cx, &workspace, &user).await?;
        } else {
            cannot_write(&cx, &workspace, &user).await?;
        }
    }
    Ok(())
}

/// A pod without a user namespace on the claim. Where no SCC chooses its user, it has a second
/// container, of another user.
fn filler(cx: &Context) -> Result<Pod, Failure> {
    let mut pod = cx.manifest(&HOST_USERS)?;
    pod.metadata.name = Some(format!("{NAME}-filler"));
    let is_free = cx.sandbox().scc().is_none();
    let spec = pod.spec.get_or_insert_default();
    spec.volumes.get_or_insert_default().push(Volume {
        name: "kept".to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: NAME.to_owned(),
            ..PersistentVolumeClaimVolumeSource::default()
        }),
        ..Volume::default()
    });
    for container in &mut spec.containers {
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: "kept".to_owned(),
            mount_path: "/kept".to_owned(),
            ..VolumeMount::default()
        });
    }
    if is_free {
        spec.security_context.get_or_insert_default().fs_group = Some(2000);
        let others: Vec<Container> = spec.containers.iter().cloned().map(of_high_id).collect();
        spec.containers.extend(others);
    }
    Ok(pod)
}

fn of_high_id(mut container: Container) -> Container {
    container.name.push_str("-high");
    container.security_context.get_or_insert_default().run_as_user = Some(HIGH_ID);
    container
}

/// Lets each container write a file for everybody into a directory of its own, which has its user's
/// id as its name. Returns the ids.
async fn fill(filler: &PodHandle) -> Result<Vec<String>, Failure> {
    let script = "
        user=$(id -u)
        mkdir /kept/$user
        echo old > /kept/$user/file
        chmod 0777 /kept/$user
        chmod 0666 /kept/$user/file
        echo $user
    ";
    let mut users = Vec::new();
    for name in containers(filler.object()) {
        let fill = Command::shell("fill the PVC", script, [""; 0]).in_container(name);
        users.push(filler.output(&fill).await?);
    }
    Ok(users)
}

fn containers(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.map(|container| container.name.clone()).collect()
}

async fn takes_over(cx: &Context, workspace: &PodHandle, user: &str) -> CaseResult {
    let script = "
        cd /kept/$1
        stat -c %u file
        echo new >> file
        cat file
        echo new > another
    ";
    let write = Command::shell("write to an old file", script, [user]);
    let expected = format!("{user}\nold\nnew");
    let name = format!("owner and content of a file of user {user}");
    cx.check_equal(&name, &expected, &workspace.output(&write).await?)
}

/// Expects that a file of an id that the pod lacks is shown as such, can be read and cannot be written:
/// the kernel's `inode_permission` refuses to write where it could not store the owner again.
async fn cannot_write(cx: &Context, workspace: &PodHandle, user: &str) -> CaseResult {
    let read = Command::shell("read an old file", "cd /kept/$1; stat -c %u file; cat file", [user]);
    let expected = format!("{UNMAPPED}\nold");
    let name = format!("owner and content of a file of user {user}");
    cx.check_equal(&name, &expected, &workspace.output(&read).await?)?;
    let write = Command::shell("write to an old file", "echo new >> /kept/$1/file", [user]);
    let write = workspace.run(&write).await?;
    let written = String::from_utf8_lossy(&write.stderr);
    let is_refused = write.exit_code != 0 && written.contains("Permission denied");
    let name = format!("write to a file of user {user}, which everybody may write");
    let observed = format!("exit code {}: {}", write.exit_code, written.trim_end());
    cx.check(&name, "refused, because the pod does not have its owner", observed, is_refused)
}
