//! Runs the cases that need no API on the machine of nestcheck itself: in a workspace's own terminal,
//! or in a container that an image's CI has started. Nothing is created in a cluster, and what the
//! probe finds here decides which cases can run.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use futures::{FutureExt, Stream};
use jiff::Timestamp;
use probe::{DeviceState, Facts as Found};
use rustix::process::geteuid;

use super::{
    Case, Dispatcher, Inside, Profile, RunConfig, SharedWorkload,
    dispatch::{Pods, Stage},
    plan::{Entry, Plan},
};
use crate::{
    Error, Result,
    diagnosis::{Expectations, Situation},
    facts::{
        DEVICE_PATHS, Facts,
        requirement::{DeviceRequests, Devices},
    },
    sandbox::{Sandbox, SandboxConfig, pod_template::PodTemplate},
    verdict::{Outcome, Place, Step, Verdict, event::Event},
    workload::{
        Workload,
        machine::Machine,
        truth::{is_pod_map, proc_mounts, show_map, show_reading},
    },
};

/// The machine that nestcheck itself runs on, and what was found there.
#[derive(Debug)]
pub struct Here {
    machine: Machine,
    /// The template of the pod for which the machine stands in.
    template: &'static PodTemplate,
    /// Where that pod keeps podman's store.
    storage: &'static str,
    found: Found,
    podman: Option<String>,
    system: Option<String>,
    /// The image, where the container engine tells it.
    pub image: Option<String>,
}

impl Here {
    /// Looks around, and makes room for the files of the cases. The machine stands in for the pod of
    /// this template, which keeps podman's store at `storage`.
    ///
    /// # Errors
    ///
    /// The user is root, or the private directory cannot be made or used.
    pub async fn look_around(
        config: &SandboxConfig,
        template: &'static PodTemplate,
        storage: &'static str,
    ) -> Result<Self> {
        refuse_root(geteuid().is_root())?;
        let files: Vec<_> = config.own_files().cloned().collect();
        let machine = Machine::prepare(&config.run, &files, storage).await?;
        let found = match machine.facts().await {
            Ok(found) => found,
            Err(error) => {
                // Nothing has run yet that could have left more than the directory.
                let _ = machine.clean_up().await;
                return Err(error);
            }
        };
        let podman = machine.first_line(&["podman", "--version"]).await;
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let system = assigned(&read("/etc/os-release"), "PRETTY_NAME");
        let image = assigned(&read("/run/.containerenv"), "image");
        Ok(Self { machine, template, storage, found, podman, system, image })
    }

    /// Plans these cases. All of them are only a part of what a run against a cluster proves.
    #[must_use]
    pub fn plan(&self, cases: Vec<Case>) -> Plan {
        let entry = |case: Case| Entry { settled: settle(&case, &self.found), case };
        Plan {
            profile: Profile::Inside.name().to_owned(),
            is_part: true,
            profile_cases: None,
            proofs: Vec::new(),
            entries: cases.into_iter().map(entry).collect(),
        }
    }

    /// Removes the files that looking around needed; for whoever runs nothing.
    pub async fn leave(self) {
        if let Err(error) = self.machine.clean_up().await {
            tracing::warn!("{error}");
        }
    }

    /// What a reader wants at the top of a report: name and value.
    fn summary(&self) -> Vec<(String, String)> {
        let found = &self.found;
        let unnamed = || "without a name".to_owned();
        let name = show_reading(&found.user_name, |name| name.clone().unwrap_or_else(unnamed));
        let groups = show_reading(&found.groups, |groups| {
            let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
            groups.join(", ")
        });
        let unknown = || "unknown".to_owned();
        let (uid, gid) = (found.effective_uid, found.effective_gid);
        let rows = [
            ("host", found.hostname.clone()),
            ("user", format!("{name}, uid {uid}, gid {gid}")),
            ("groups", groups),
            ("system", self.system.clone().unwrap_or_else(unknown)),
            ("kernel", found.kernel_release.clone()),
            ("user ids", show_reading(&found.uid_map, |map| show_map(map))),
            ("group ids", show_reading(&found.gid_map, |map| show_map(map))),
            ("podman", self.podman.clone().unwrap_or_else(unknown)),
        ];
        rows.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }
}

/// Runs a plan here and tells `observe` every event, in order.
///
/// As [`super::run`], `signals` yields the signals that ask the run to end, and what the cases left is
/// removed at the end.
pub async fn run(
    here: Here,
    plan: Plan,
    config: RunConfig,
    signals: impl Stream<Item = u8> + Unpin,
    observe: impl FnMut(&Event),
) -> Outcome {
    let unread = Facts::default();
    let situation = Situation::new(&unread, Timestamp::now());
    let mut dispatcher = Dispatcher::new(observe, signals, Expectations::default(), situation);
    dispatcher.begin(&plan, &config, None, here.summary());
    dispatcher.evaluate(&plan, &unread);
    Box::pin(dispatcher.run_here(here, &plan, &config)).await;
    dispatcher.conclude(false)
}

/// A pod that is there.
fn ready(workload: &Arc<Workload>) -> SharedWorkload {
    let workload = Arc::clone(workload);
    let shared = async move { Ok(workload) }.boxed().shared();
    // It has its value only once somebody asked for it.
    let _ = shared.clone().now_or_never();
    shared
}

impl<O: FnMut(&Event), S: Stream<Item = u8> + Unpin> Dispatcher<O, S> {
    /// Runs the cases as often as they are to run, each time with files and a store of their own.
    async fn run_here(&mut self, here: Here, plan: &Plan, config: &RunConfig) {
        let (template, storage) = (here.template, here.storage);
        // What needs no run has its verdict already.
        let acts = plan.live().next().is_some();
        let count = if acts { config.repeat.max(1) } else { 1 };
        let mut first = Some(here);
        for number in 1..=count {
            if !self.begin_iteration(number, plan, config) {
                break;
            }
            let here = match first.take() {
                Some(here) => Some(here),
                None => self.look_around_again(template, storage, plan, config).await,
            };
            if let Some(here) = here {
                let diagnostics = config.diagnostics.of_iteration(self.iteration);
                let config = RunConfig { diagnostics, ..config.clone() };
                self.run_once(here, plan, &config).await;
            }
            self.end_iteration();
        }
        self.iteration = None;
        if let Some(here) = first {
            here.leave().await;
        }
    }

    /// Makes room for the next iteration; none where that fails, or a signal comes first.
    async fn look_around_again(
        &mut self,
        template: &'static PodTemplate,
        storage: &'static str,
        plan: &Plan,
        config: &RunConfig,
    ) -> Option<Here> {
        let started = Instant::now();
        let looking = Box::pin(Here::look_around(&config.sandbox, template, storage));
        let verdict = match self.unless_signalled(looking).await {
            Some(Ok(here)) => return Some(here),
            Some(Err(error)) => {
                let message = error.to_string();
                self.step(Step::Provision, started, Some(message.clone()));
                self.circumstances.broken = true;
                Verdict::Error { message }
            }
            None => Verdict::Interrupted,
        };
        for case in plan.live() {
            self.finish(case, verdict.clone(), 0);
        }
        None
    }

    /// Runs the cases once, and removes what they left.
    async fn run_once(&mut self, here: Here, plan: &Plan, config: &RunConfig) {
        let template = here.template;
        let workload = Arc::new(Workload::of_machine(here.machine, here.found, template));
        if plan.live().next().is_some() {
            let sandbox = Arc::new(Sandbox::nowhere(config.sandbox.clone()));
            let stage = Stage { sandbox, facts: Arc::new(Facts::default()) };
            let pods = Pods::Given(BTreeMap::from([(template.name, ready(&workload))]));
            Box::pin(self.run_cases(stage, pods, plan, config)).await;
        }
        self.clean_up(&workload).await;
    }

    /// Removes what the cases left here.
    async fn clean_up(&mut self, workload: &Workload) {
        let started = Instant::now();
        let failure = match self.until_cut_off(workload.clean_up()).await {
            Some(cleaned) => cleaned.err().map(|error| error.with_hint_line().replace('\n', "; ")),
            None => Some("it was cut off: processes and files may be left".to_owned()),
        };
        self.circumstances.leaked |= failure.is_some();
        self.step(Step::Teardown, started, failure);
    }
}

/// Refuses to run as root: the cases are about the image's ordinary user, whom podman maps to
/// subordinate ids.
fn refuse_root(is_root: bool) -> Result<()> {
    if !is_root {
        return Ok(());
    }
    Err(Error::usage(
        "`nestcheck inside` does not run as root: the cases are about an ordinary user",
    )
    .with_hint(
        "run it as the user of the image: in a workspace's terminal, or with `podman run --user \
             1000` in CI",
    ))
}

/// The verdict that a case has before it runs here, if any. A pure function.
fn settle(case: &Case, found: &Found) -> Option<Verdict> {
    let is_pod = [&found.uid_map, &found.gid_map]
        .iter()
        .all(|map| map.known().is_some_and(|map| is_pod_map(map)));
    match case.inside {
        Inside::Never => return Some(needs_api()),
        Inside::Pod if !is_pod => return Some(no_pod(found)),
        // In a pod, masked paths are what ISO-01 reports, and a failure of all that need more.
        Inside::Unmasked if !is_pod => {
            if let Some(masked) = masked(found) {
                return Some(masked);
            }
        }
        Inside::Pod | Inside::Unmasked | Inside::Anywhere => {}
    }
    let needs_devices = case.needs::<Devices>() || case.needs::<DeviceRequests>();
    needs_devices.then(|| absent_devices(found)).flatten()
}

fn needs_api() -> Verdict {
    let reason = "it needs the API of a cluster, and `nestcheck inside` asks none".to_owned();
    Verdict::NotApplicable { reason }
}

fn no_pod(found: &Found) -> Verdict {
    let map = show_reading(&found.uid_map, |map| show_map(map));
    let reason = format!("this is not a pod with a user namespace of its own (uid_map: {map})");
    let remedy = "run it in the terminal of a workspace whose pod has `hostUsers: false`, or run \
                  `nestcheck run` against a cluster";
    Verdict::blocked(reason, remedy).at(Place::Cluster)
}

/// Why containers cannot have a /proc of their own here; none where they can.
fn masked(found: &Found) -> Option<Verdict> {
    let mounts = proc_mounts(found.mounts.known()?);
    let paths: Vec<_> = mounts
        .iter()
        .map(|mount| mount.mount_point.as_str())
        // This one is at a place that is always empty, so that it hides nothing.
        .filter(|path| *path != "/proc" && *path != "/proc/sys/fs/binfmt_misc")
        .collect();
    let is_read_only = mounts.iter().any(|mount| mount.is_read_only());
    if paths.is_empty() && !is_read_only {
        return None;
    }
    let reason = format!("/proc is masked here ({}), so no container starts", paths.join(", "));
    let remedy = "start this container with `podman run --security-opt unmask=ALL`";
    Some(Verdict::blocked(reason, remedy).at(Place::Cluster))
}

fn absent_devices(found: &Found) -> Option<Verdict> {
    let is_absent = |path: &&str| {
        let device = found.device(path).and_then(|device| device.state.known());
        matches!(device, Some(DeviceState::Absent))
    };
    let absent: Vec<_> = DEVICE_PATHS.into_iter().filter(is_absent).collect();
    if absent.is_empty() {
        return None;
    }
    let reason = format!("there is no {} here", absent.join(" and no "));
    let remedy = "let the pod request the devices, as `nestcheck explain ISO-04` says; in CI, start the \
                  container with `podman run --device /dev/fuse --device /dev/net/tun`";
    Some(Verdict::blocked(reason, remedy).at(Place::Cluster))
}

/// The value of a name in a file of assignments, as os-release(5) has them.
fn assigned(text: &str, name: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.map(|value| value.trim().trim_matches(['"', '\''])).next()?;
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests;
