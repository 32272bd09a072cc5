//! The steps around the cases.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A step around the cases. The event log and the reports have its name as a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Step {
    /// Leftovers of the caller's own earlier runs are removed.
    Sweep,
    /// The namespaces, the identities and the SCC are created.
    Provision,
    /// A pod that several cases share is created.
    Pod {
        /// The name of its template.
        name: String,
    },
    /// A pod without which the cases can do was not created.
    MissingPod {
        /// The name of its template.
        name: String,
    },
    /// The privileged pods of a run whose objects are kept are deleted.
    EndPrivilegedPods,
    /// The objects of the run are kept.
    Keep {
        /// What `nestcheck sweep --run` takes: the run's id, and the namespace that it was given.
        run: String,
    },
    /// Everything that the run created is deleted.
    Teardown,
    /// A step of another version of nestcheck.
    Other(String),
}

const SWEEP: &str = "sweep";
const PROVISION: &str = "provision";
const POD: &str = "pod ";
const MISSING_POD: (&str, &str) = ("no pod ", ", and none is needed");
const END_PRIVILEGED_PODS: &str = "end the privileged pods";
const KEEP: (&str, &str) = ("keep (`nestcheck sweep --run ", "` removes it)");
const TEARDOWN: &str = "teardown";

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((before, after), name) = match self {
            Self::Sweep => return f.write_str(SWEEP),
            Self::Provision => return f.write_str(PROVISION),
            Self::EndPrivilegedPods => return f.write_str(END_PRIVILEGED_PODS),
            Self::Teardown => return f.write_str(TEARDOWN),
            Self::Other(name) => return f.write_str(name),
            Self::Pod { name } => ((POD, ""), name),
            Self::MissingPod { name } => (MISSING_POD, name),
            Self::Keep { run } => (KEEP, run),
        };
        write!(f, "{before}{name}{after}")
    }
}

impl From<Step> for String {
    fn from(step: Step) -> Self {
        step.to_string()
    }
}

impl From<String> for Step {
    fn from(text: String) -> Self {
        let between = |(before, after)| -> Option<String> {
            Some(text.strip_prefix(before)?.strip_suffix(after)?.to_owned())
        };
        if let Some(name) = between((POD, "")) {
            return Self::Pod { name };
        }
        if let Some(name) = between(MISSING_POD) {
            return Self::MissingPod { name };
        }
        if let Some(run) = between(KEEP) {
            return Self::Keep { run };
        }
        match text.as_str() {
            SWEEP => Self::Sweep,
            PROVISION => Self::Provision,
            END_PRIVILEGED_PODS => Self::EndPrivilegedPods,
            TEARDOWN => Self::Teardown,
            _ => Self::Other(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::event::{EventKind, StepFinished, read_log};

    #[test]
    fn a_step_is_read_from_the_name_that_is_written() {
        let name = || "x".to_owned();
        for (step, text) in [
            (Step::Sweep, "sweep"),
            (Step::Provision, "provision"),
            (Step::Pod { name: name() }, "pod x"),
            (Step::MissingPod { name: name() }, "no pod x, and none is needed"),
            (Step::EndPrivilegedPods, "end the privileged pods"),
            (Step::Keep { run: name() }, "keep (`nestcheck sweep --run x` removes it)"),
            (Step::Teardown, "teardown"),
            (Step::Other("preflight".to_owned()), "preflight"),
            (Step::Other("no pod x".to_owned()), "no pod x"),
        ] {
            assert_eq!(step.to_string(), text);
            assert_eq!(Step::from(text.to_owned()), step);
        }
    }

    #[test]
    fn a_log_of_an_earlier_version_is_read() {
        let line = r#"{"schema":1,"at":"2026-01-02T03:04:05Z","event":{"kind":"step-finished","step":"pod workspace","duration_ms":8120}}"#;

        let events = read_log(&format!("{line}\n")).expect("the log is valid");

        let step = Step::Pod { name: "workspace".to_owned() };
        let expected = StepFinished { step, duration_ms: 8120, failure: None, image_id: None };
        assert_eq!(*events[0].event, EventKind::StepFinished(expected));
        assert_eq!(serde_json::to_string(&events[0]).expect("events serialise"), line);
    }
}
