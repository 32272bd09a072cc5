//! Attacks from all places at once, and the judgement of what the kernel answered.
//!
//! A refusal shows something only where the same attack would work without the walls around the
//! workspace. So each is made in a control too, as root of the node; the probe makes them so that
//! nothing comes of those that are allowed.

use std::fmt;

use harness::{
    engine::{Context, PodHandle},
    verdict::{CaseResult, Failure},
    workload::Command,
};
use probe::{Attempt, AttemptName, AttemptOutcome, Capability, CapabilitySet, Reason};

use crate::{
    fixtures::{NESTED_POD, PRIVILEGED},
    steps::{known, podman_run, probe_command, scratch_image},
};

/// From where an attack is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By the user, in the pod.
    Pod,
    /// As root in a container.
    Root,
    /// As root in a container with all that it may ask for.
    AllPrivileges,
}

/// Every place.
pub(super) const EVERYWHERE: &[Place] = &[Place::Pod, Place::Root, Place::AllPrivileges];

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "in the pod",
            Self::Root => "as root in a container",
            Self::AllPrivileges => "as root with all privileges",
        })
    }
}

/// All that a container may ask for, the pod's own host name and process ids among it: those of its
/// own it may rule as it likes. Not `--privileged`, which insists on a fresh /sys that a pod can't
/// give.
const ALL_PRIVILEGES: [&str; 5] = [
    "--cap-add=all",
    "--security-opt=seccomp=unconfined",
    "--security-opt=unmask=all",
    "--pid=host",
    "--uts=host",
];

impl Place {
    /// The command that makes every attack from this place.
    fn command(self, image: &str) -> Command {
        let names = AttemptName::ALL.iter().map(|attempt| attempt.name);
        let arguments: Vec<&str> = ["attempt"].into_iter().chain(names).collect();
        let inside: Vec<&str> = ["/probe"].iter().chain(&arguments).copied().collect();
        match self {
            Self::Pod => probe_command(&arguments),
            Self::Root => podman_run(&[], image, &inside),
            Self::AllPrivileges => podman_run(&ALL_PRIVILEGES, image, &inside),
        }
    }

    /// What the kernel answered to every attack from this place; asked once in a run.
    async fn attempts(self, workspace: &PodHandle) -> Result<Vec<Attempt>, Failure> {
        let (name, image) = match self {
            Self::Pod => ("attempts in the pod", String::new()),
            Self::Root => ("attempts as root", scratch_image(workspace).await?),
            Self::AllPrivileges => {
                ("attempts with all privileges", scratch_image(workspace).await?)
            }
        };
        attempts(workspace, name, self.command(&image)).await
    }
}

async fn attempts(
    pod: &PodHandle,
    name: &'static str,
    command: Command,
) -> Result<Vec<Attempt>, Failure> {
    let answer = pod.once(name, || async { pod.output(&command).await }).await?;
    serde_json::from_str(&answer)
        .map_err(|error| Failure::harness(format!("failed to understand the probe: {error}")))
}

/// What the kernel answered in the control, or why there is no answer.
struct Control {
    answer: Result<(Vec<Attempt>, PodHandle), String>,
}

impl Control {
    async fn ask(cx: &Context) -> Self {
        let answer = async {
            let pod = cx.pod(&PRIVILEGED).await?;
            let attempts = attempts(&pod, "attempts", Place::Pod.command("")).await?;
            Ok::<_, Failure>((attempts, pod))
        };
        Self { answer: answer.await.map_err(|failure| failure.message().to_owned()) }
    }

    fn attempt(&self, name: AttemptName) -> Option<&AttemptOutcome> {
        self.answer
            .as_ref()
            .ok()
            .and_then(|(attempts, _)| find(attempts, name))
            .map(|it| &it.outcome)
    }

    fn allows(&self, name: AttemptName) -> bool {
        self.attempt(name) == Some(&AttemptOutcome::Allowed)
    }

    /// What the control's answer makes of a refusal elsewhere.
    fn describe(&self, name: AttemptName, elsewhere: &AttemptOutcome) -> String {
        const LITTLE: &str = "so the refusal in the workspace shows little";
        let (_, pod) = match &self.answer {
            Err(reason) => return format!("there is no such pod, {LITTLE}: {reason}"),
            Ok(answer) => answer,
        };
        match self.attempt(name) {
            None => format!("not attempted, {LITTLE}"),
            Some(AttemptOutcome::Refused { .. }) => {
                let outcome = self.attempt(name).map(show).unwrap_or_default();
                if let Some(reason) = reason_of_control(name) {
                    return format!("{outcome}: {reason}");
                }
                match lacking(name, pod) {
                    Some(lacking) => format!("{outcome}, as {lacking} here too, {LITTLE}"),
                    None if self.attempt(name) == Some(elsewhere) => {
                        format!("{outcome} too, {LITTLE}")
                    }
                    None => format!("{outcome}, and not as in the workspace"),
                }
            }
            Some(outcome) => show(outcome),
        }
    }
}

/// Why even the control is refused, where that is not for a lack of privilege.
fn reason_of_control(name: AttemptName) -> Option<&'static str> {
    match name {
        AttemptName::SignalOtherPods => Some("the control has process ids of its own as well"),
        AttemptName::WriteKernelSysfs => Some("/sys may be read-only for everybody"),
        _ => None,
    }
}

/// The capability without which an attack is refused, where the control lacks it.
fn lacking(name: AttemptName, control: &PodHandle) -> Option<String> {
    let needed = match name {
        AttemptName::MknodCharacter | AttemptName::MknodBlock => Capability::MKNOD,
        AttemptName::LoadModule => Capability::SYS_MODULE,
        AttemptName::Reboot => Capability::SYS_BOOT,
        AttemptName::SetClock => Capability::SYS_TIME,
        AttemptName::MeasureKernel => Capability::PERFMON,
        AttemptName::OpenKcore | AttemptName::OpenDevMem => Capability::SYS_RAWIO,
        _ => Capability::SYS_ADMIN,
    };
    let sets = known(&control.facts().capabilities).ok()?;
    let names = CapabilitySet::from(needed).names().join(",");
    (!sets.effective.contains(needed)).then(|| format!("{names} is missing"))
}

fn find(attempts: &[Attempt], name: AttemptName) -> Option<&Attempt> {
    attempts.iter().find(|attempt| attempt.name == name)
}

fn show(outcome: &AttemptOutcome) -> String {
    match outcome {
        AttemptOutcome::Refused { errno } => format!("refused with {errno}"),
        AttemptOutcome::Allowed => "allowed".to_owned(),
        AttemptOutcome::Unavailable { reason } => format!("not attempted: {reason}"),
    }
}

/// Expects that the kernel refuses these attacks from these places, and tells what it answers in
/// the control.
///
/// # Errors
///
/// It allows one, or one could not be made. Not applicable where there is nothing to attack: no
/// such call or file in this kernel.
pub(super) async fn refuses(cx: &Context, places: &[Place], names: &[AttemptName]) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let control = Control::ask(cx).await;
    for place in places {
        let attempts = place.attempts(&workspace).await?;
        for name in names {
            let attempt = expect(&attempts, *name)?;
            let holds = match &attempt.outcome {
                AttemptOutcome::Refused { errno } => denials(*name).contains(&errno.as_str()),
                AttemptOutcome::Allowed => false,
                AttemptOutcome::Unavailable { reason } => is_absent(reason),
            };
            let check = format!("{} ({}) {place}", name.as_str(), attempt.target);
            let expected = format!("refused with {}", denials(*name).join(" or "));
            cx.check(&check, &expected, show(&attempt.outcome), holds)?;
        }
    }
    let in_pod = Place::Pod.attempts(&workspace).await?;
    let mut lacking = Vec::new();
    for name in names {
        let outcome = &expect(&in_pod, *name)?.outcome;
        let check = format!("{} in a pod with the node's ids", name.as_str());
        let reported = control.describe(*name, outcome);
        cx.check(&check, "allowed, or refused for a reason of its own", reported, true)?;
        if let AttemptOutcome::Unavailable { reason } = outcome
            && !control.allows(*name)
        {
            lacking.push(reason.to_string());
        }
    }
    if lacking.len() < names.len() {
        return Ok(());
    }
    // A filter may refuse what the kernel doesn't have in any case.
    let lacking = lacking.join("; ");
    Err(Failure::not_applicable(format!("there is nothing to attack on this node: {lacking}")))
}

/// The errors by which the kernel and its security modules deny something for lack of a right. Any
/// other, such as EINVAL, EBUSY or EMFILE, is of an attempt that got past that or not so far.
fn denials(name: AttemptName) -> &'static [&'static str] {
    match name {
        // No process has such a number here (kill(2)).
        AttemptName::SignalOtherPods => &["ESRCH", "EPERM", "EACCES"],
        _ => &["EPERM", "EACCES", "EROFS"],
    }
}

fn expect(attempts: &[Attempt], name: AttemptName) -> Result<&Attempt, Failure> {
    find(attempts, name)
        .ok_or_else(|| Failure::harness(format!("the probe did not attempt {}", name.as_str())))
}

/// Whether the kernel has nothing to attack: no such file, call, or device.
fn is_absent(reason: &Reason) -> bool {
    reason.is_any_of(&["ENOENT", "ENOSYS", "ENXIO", "ENODEV", "EOPNOTSUPP"])
}

#[cfg(test)]
mod tests {
    use probe::ErrorName;

    use super::*;

    #[test]
    fn what_the_kernel_lacks_is_reported_from_what_the_probe_could_not_do() {
        let failed = |number| Reason::new(ErrorName::from_number(number), "/proc/kcore");
        let (no_such_file, no_such_call, refused) = (failed(2), failed(38), failed(1));
        assert!(is_absent(&no_such_file) && is_absent(&no_such_call) && !is_absent(&refused));
        assert!(!is_absent(&"process not started: ENOENT".into()));
        assert!(!is_absent(&"no answer within 10 s".into()));
    }

    #[test]
    fn only_errors_of_permissions_are_denials() {
        for attempt in AttemptName::ALL {
            let denials = denials(attempt.id);
            assert!(denials.contains(&"EPERM") && denials.contains(&"EACCES"), "{denials:?}");
            for errno in ["EINVAL", "EBUSY", "EMFILE", "EIO", "ENOSPC", "ENOENT"] {
                assert!(!denials.contains(&errno), "{}: {errno}", attempt.name);
            }
            let has_no_such = denials.contains(&"ESRCH");
            assert_eq!(has_no_such, attempt.id == AttemptName::SignalOtherPods);
        }
    }

    #[test]
    fn without_a_control_a_refusal_shows_little() {
        let control = Control { answer: Err("the pod `privileged` is refused".to_owned()) };
        let refused = AttemptOutcome::Refused { errno: ErrorName::from_number(1) };
        let reported = control.describe(AttemptName::Reboot, &refused);
        assert!(reported.contains("shows little") && reported.contains("is refused"), "{reported}");
        assert!(!control.allows(AttemptName::Reboot));
    }

    #[test]
    fn every_attempt_is_made_from_every_place() {
        for place in EVERYWHERE {
            let command = place.command("image");
            for attempt in AttemptName::ALL {
                assert!(command.arguments().iter().any(|argument| argument == attempt.name));
            }
        }
    }
}
