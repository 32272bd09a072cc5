//! What a run did in its pods, read from its event log.

use std::{collections::BTreeMap, path::Path};

use harness::event::{EventKind, read_log};
use jiff::Timestamp;

use crate::Result;

/// A command that a run ran in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) pod: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) exit: i32,
    pub(crate) milliseconds: u64,
}

impl Command {
    /// The image that it builds: `suites/src/toolbox.rs` calls its script `podman build FOLDER`
    /// and gives it the folder and the image.
    fn builds(&self) -> Option<&str> {
        self.arguments.get(3).filter(|name| name.starts_with("podman build "))?;
        self.arguments.get(5).map(String::as_str)
    }

    /// Whether it can't do without an image: it names it, or builds on it.
    fn needs(&self, image: &str) -> bool {
        let named = self.builds() != Some(image)
            && self.arguments.iter().any(|argument| {
                argument == image
                    || argument.strip_suffix(image).is_some_and(|head| head.ends_with('='))
            });
        let base = self.builds().is_some()
            && self
                .arguments
                .get(4)
                .is_some_and(|folder| base_of(folder).as_deref() == Some(image));
        named || base
    }
}

/// The image on which the Containerfile of a folder below /nestcheck builds.
fn base_of(folder: &str) -> Option<String> {
    let path = format!("{folder}/Containerfile");
    let files = fixtures::files();
    let file = files.iter().find(|file| path.ends_with(&format!("/{}", file.path)))?;
    let text = String::from_utf8_lossy(&file.content).into_owned();
    let from = text.lines().find_map(|line| line.strip_prefix("FROM "))?;
    Some(from.trim().to_owned())
}

/// What a case ran, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) steps: Vec<Step>,
}

/// A command, and the shared images that must be there before it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) command: Command,
    pub(crate) images: Vec<String>,
}

/// What a run did in its pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording {
    /// The run's id.
    pub(crate) run: String,
    /// How many cases its plan had.
    pub(crate) planned: usize,
    /// The longest first.
    pub(crate) cases: Vec<Case>,
    /// The builds that cases share, by image. nestcheck does each once, in the case that comes
    /// first.
    pub(crate) shared: BTreeMap<String, Command>,
    /// Seconds from the beginning to the first case with a ready pod, of the cases, and of the
    /// teardown.
    pub(crate) phases: [f64; 3],
}

impl Recording {
    /// Reads the log in a report folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(folder.join("events.jsonl"))?;
        let events = read_log(&text)?;
        let mut commands = Vec::new();
        let (mut begin, mut ready, mut end) = (None, None, None);
        let (mut teardown, mut run, mut planned) = (None, String::new(), 0);
        for event in &events {
            match &*event.event {
                EventKind::RunStarted(started) => {
                    begin = Some(event.at);
                    run.clone_from(&started.run);
                    planned = started.cases;
                }
                EventKind::StepFinished(step) if step.step.starts_with("pod ") => {
                    ready = ready.max(Some(event.at));
                }
                EventKind::StepFinished(step) if step.step == "teardown" => {
                    teardown = Some(step.duration_ms);
                }
                // The cases that judge the teardown come after it.
                EventKind::CaseFinished(_) if teardown.is_none() => end = Some(event.at),
                EventKind::CommandFinished(ended) => commands.push((
                    ended.id.clone(),
                    Command {
                        pod: ended.pod.clone(),
                        arguments: ended.command.clone(),
                        exit: ended.exit_code,
                        milliseconds: ended.duration_ms,
                    },
                )),
                _ => {}
            }
        }
        let phases = [
            seconds_between(begin, ready),
            seconds_between(ready, end),
            std::time::Duration::from_millis(teardown.unwrap_or_default()).as_secs_f64(),
        ];
        Ok(Self { run, planned, phases, ..Self::of(&commands) })
    }

    fn of(commands: &[(String, Command)]) -> Self {
        let mut shared = BTreeMap::new();
        for (id, command) in commands {
            if let Some(image) = command.builds()
                && commands.iter().any(|(other, user)| other != id && user.needs(image))
            {
                shared.insert(image.to_owned(), command.clone());
            }
        }
        let mut cases: Vec<Case> = Vec::new();
        for (id, command) in commands {
            if command.builds().is_some_and(|image| shared.contains_key(image)) {
                continue;
            }
            let images = shared.keys().filter(|image| command.needs(image)).cloned().collect();
            let step = Step { command: command.clone(), images };
            match cases.iter_mut().find(|case| case.id == *id) {
                Some(case) => case.steps.push(step),
                None => cases.push(Case { id: id.clone(), steps: vec![step] }),
            }
        }
        let length =
            |case: &Case| -> u64 { case.steps.iter().map(|step| step.command.milliseconds).sum() };
        cases.sort_by_key(|case| std::cmp::Reverse(length(case)));
        Self { cases, shared, ..Self::default() }
    }

    /// How many commands there are.
    pub(crate) fn commands(&self) -> usize {
        self.cases.iter().map(|case| case.steps.len()).sum::<usize>() + self.shared.len()
    }
}

fn seconds_between(from: Option<Timestamp>, to: Option<Timestamp>) -> f64 {
    match (from, to) {
        (Some(from), Some(to)) => to.duration_since(from).as_secs_f64(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(milliseconds: u64, arguments: &[&str]) -> Command {
        Command {
            pod: "workspace".into(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            exit: 0,
            milliseconds,
        }
    }

    fn build(folder: &str, image: &str) -> Command {
        let name = format!("podman build {folder}");
        let folder = format!("/nestcheck/images/{folder}");
        command(1, &["sh", "-euc", "script", &name, &folder, image])
    }

    #[test]
    fn a_shared_build_is_told_from_a_cases_own() {
        let (scratch, shell) = ("localhost/nestcheck/scratch", "localhost/nestcheck/shell");
        let own = "localhost/nestcheck/pod-06";
        let recording = Recording::of(&[
            ("CMP-02".into(), build("scratch", scratch)),
            ("CMP-02".into(), command(5, &["env", &format!("NESTCHECK_IMAGE={scratch}"), "up"])),
            ("POD-07".into(), build("shell", shell)),
            ("POD-07".into(), command(1, &["podman", "run", shell])),
            ("POD-07".into(), command(1, &["podman", "run", scratch])),
            ("POD-06".into(), build("layers", own)),
            ("POD-06".into(), command(9, &["podman", "run", own])),
        ]);
        assert_eq!(recording.shared.keys().collect::<Vec<_>>(), [scratch, shell]);
        let order: Vec<_> = recording.cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(order, ["POD-06", "CMP-02", "POD-07"]);
        assert_eq!(recording.cases[0].steps[0].images, [shell]);
        assert!(recording.cases[0].steps[1].images.is_empty());
        assert_eq!(recording.cases[1].steps[0].images, [scratch]);
        assert_eq!(recording.commands(), 7);
    }
}
