//! The texts of events. Every pattern names every field, so that a new one does not compile until it
//! is listed here.

use crate::{
    base::redact::{
        self, TextKind,
        TextKind::{Block, Line, Name, Stream},
        Texts,
    },
    facts::{FeatureSet, Platform},
    verdict::{
        Acceptance, Attribution, Cause, Disruption, ExpectationEntry, ExpectationReport,
        ExpectationResult, Step, Verdict,
        event::{
            CaseDisrupted, CaseFinished, CaseRetried, CommandFinished, DisruptionEnded, EventKind,
            EvidenceCollected, EvidenceFile, RunStarted, StepFinished, TruthCheck,
        },
    },
};

type Change<'a> = &'a mut dyn FnMut(TextKind, &mut String);

fn all<'a>(texts: impl IntoIterator<Item = &'a mut String>, kind: TextKind, change: Change<'_>) {
    for text in texts {
        change(kind, text);
    }
}

impl Texts for EventKind {
    fn each(&mut self, change: Change<'_>) {
        match self {
            Self::RunStarted(run) => run.each(change),
            Self::StepFinished(StepFinished { step, duration_ms: _, failure, image_id }) => {
                let mut name = step.to_string();
                change(Name, &mut name);
                *step = Step::from(name);
                all(failure, Block, change);
                all(image_id, Line, change);
            }
            Self::CaseStarted { id } => change(Name, id),
            Self::TruthChecked { id, check } => {
                let TruthCheck { name, expected, observed, holds: _ } = check;
                all([id, name], Name, change);
                all([expected, observed], Line, change);
            }
            Self::CaseRetried(CaseRetried { id, attempt: _, disruption })
            | Self::CaseDisrupted(CaseDisrupted { id, effect: _, disruption }) => {
                change(Name, id);
                disruption.each(change);
            }
            Self::DisruptionStarted(disruption)
            | Self::DisruptionEnded(DisruptionEnded { is_back: _, disruption }) => {
                disruption.each(change);
            }
            Self::CommandFinished(command) => command.each(change),
            Self::EvidenceCollected(evidence) => evidence.each(change),
            Self::CaseFinished(case) => case.each(change),
            Self::RunFinished { outcome: _, duration_ms: _, causes, namespace, expectations } => {
                let ExpectationReport { strict: _, entries } = expectations;
                for entry in entries {
                    entry.each(change);
                }
                for cause in causes {
                    cause.each(change);
                }
                each_fact(namespace, change);
            }
            Self::Interrupted { signal: _ } => {}
        }
    }
}

impl Texts for Disruption {
    fn each(&mut self, change: Change<'_>) {
        let Self { lost: _, node, since: _, until: _, reason } = self;
        all(node, Name, change);
        change(Line, reason);
    }
}

impl Texts for Attribution {
    fn each(&mut self, change: Change<'_>) {
        let Self { signature: _, wrong, place: _, fix, repairs: _ } = self;
        change(Line, wrong);
        all(fix, Block, change);
    }
}

impl Texts for Cause {
    fn each(&mut self, change: Change<'_>) {
        let Self { id, signature: _, wrong, place: _, evidence, fix, repairs: _, cases, core: _ } =
            self;
        change(Name, id);
        all([wrong, evidence], Line, change);
        all(fix, Block, change);
        all(cases, Name, change);
    }
}

impl Texts for ExpectationResult {
    fn each(&mut self, change: Change<'_>) {
        let Self { line: _, entry, state: _, cases, detail } = self;
        let ExpectationEntry { case, cause, verdict: _, message, reason, flavour, versions, until } =
            entry;
        for name in [case, cause, flavour, versions, until] {
            all(name, Name, change);
        }
        all(cases, Name, change);
        all(message, Line, change);
        change(Line, reason);
        all(detail, Line, change);
    }
}

impl Texts for RunStarted {
    fn each(&mut self, change: Change<'_>) {
        let Self {
            run,
            version,
            profile,
            image,
            cases: _,
            is_part: _,
            profile_cases: _,
            planned,
            proofs,
            cluster_id,
            repeat: _,
            platform,
            cluster,
        } = self;
        all([run, version, profile], Name, change);
        all(planned, Name, change);
        all(proofs, Name, change);
        all(cluster_id, Name, change);
        if let Some(Platform { feature_set, runtimes, pools, .. }) = platform {
            all(runtimes, Name, change);
            all(pools, Name, change);
            if let Some(FeatureSet::Other(name)) = feature_set {
                change(Name, name);
            }
        }
        change(Line, image);
        each_fact(cluster, change);
    }
}

fn each_fact(facts: &mut [(String, String)], change: Change<'_>) {
    for (name, value) in facts {
        change(Name, name);
        change(Line, value);
    }
}

impl Texts for CommandFinished {
    fn each(&mut self, change: Change<'_>) {
        let Self { id, pod, command, exit_code: _, duration_ms: _, stdout, stderr } = self;
        redact::each_argument(command, change);
        all([id, pod], Name, change);
        all([stdout, stderr], Stream, change);
    }
}

impl Texts for EvidenceCollected {
    fn each(&mut self, change: Change<'_>) {
        let Self { id, directory, files, missing, duration_ms: _ } = self;
        all([id, directory], Name, change);
        all(missing, Line, change);
        all(files.iter_mut().map(|EvidenceFile { name, bytes: _ }| name), Name, change);
    }
}

impl Texts for CaseFinished {
    fn each(&mut self, change: Change<'_>) {
        let Self { id, name, suite, title, level: _, verdict, duration_ms: _ } = self;
        all([id, name, suite], Name, change);
        change(Line, title);
        match verdict {
            Verdict::Pass | Verdict::Interrupted => {}
            Verdict::Fail { message, hint, cause } => {
                change(Block, message);
                all(hint, Block, change);
                if let Some(cause) = cause {
                    cause.each(change);
                }
            }
            Verdict::Blocked { reason, remedy, cause } => {
                change(Line, reason);
                change(Block, remedy);
                if let Some(cause) = cause {
                    cause.each(change);
                }
            }
            Verdict::KnownIssue { signature: _, message, cause, expectation } => {
                change(Block, message);
                if let Some(cause) = cause {
                    cause.each(change);
                }
                if let Some(expectation) = expectation {
                    let Acceptance { verdict: _, reason, line: _ } = &mut **expectation;
                    change(Line, reason);
                }
            }
            Verdict::Error { message } => change(Block, message),
            Verdict::NotApplicable { reason } => change(Line, reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        cluster::exec_error::Lost,
        verdict::{
            Effect, ExpectationState, ExpectedVerdict, Level, Outcome, Place, SignatureId,
            event::Event,
        },
    };

    /// One of each verdict, with this in every text.
    fn verdicts(text: &str) -> [Verdict; 7] {
        let text = || text.to_owned();
        let attributed = || {
            let signature = Some(SignatureId::F28);
            let fix = Some(text());
            let repairs = Vec::new();
            let place = Place::Image;
            Some(Box::new(Attribution { signature, wrong: text(), place, fix, repairs }))
        };
        [
            Verdict::Pass,
            Verdict::Fail { message: text(), hint: Some(text()), cause: attributed() },
            Verdict::Blocked { reason: text(), remedy: text(), cause: attributed() },
            Verdict::NotApplicable { reason: text() },
            Verdict::KnownIssue {
                signature: SignatureId::F28,
                message: text(),
                cause: attributed(),
                expectation: Some(Box::new(Acceptance {
                    verdict: ExpectedVerdict::Fail,
                    reason: text(),
                    line: 1,
                })),
            },
            Verdict::Error { message: text() },
            Verdict::Interrupted,
        ]
    }

    fn cause(text: &str) -> Cause {
        let text = || text.to_owned();
        Cause {
            id: text(),
            signature: None,
            wrong: text(),
            place: Place::Image,
            evidence: text(),
            fix: Some(text()),
            repairs: Vec::new(),
            cases: vec![text()],
            core: 0,
        }
    }

    fn expectation(text: impl Fn() -> String) -> ExpectationResult {
        let some = || Some(text());
        ExpectationResult {
            line: 1,
            entry: ExpectationEntry {
                case: some(),
                cause: some(),
                verdict: ExpectedVerdict::Blocked,
                message: some(),
                reason: text(),
                flavour: some(),
                versions: some(),
                until: some(),
            },
            state: ExpectationState::Used,
            cases: vec![text()],
            detail: some(),
        }
    }

    fn started(text: impl Fn() -> String) -> RunStarted {
        RunStarted {
            run: text(),
            version: text(),
            profile: text(),
            image: text(),
            cases: 1,
            is_part: false,
            profile_cases: Some(1),
            planned: vec![text()],
            proofs: vec![text()],
            cluster_id: Some(text()),
            repeat: None,
            platform: Some(Platform {
                feature_set: Some(FeatureSet::Other(text())),
                runtimes: vec![text()],
                pools: vec![text()],
                ..Platform::default()
            }),
            cluster: vec![(text(), text())],
        }
    }

    /// One of each kind, and of each verdict, with this in every text.
    fn all(text: &str) -> Vec<EventKind> {
        let text = || text.to_owned();
        let case = |verdict| CaseFinished {
            id: text(),
            name: text(),
            suite: text(),
            title: text(),
            level: Level::Core,
            verdict,
            duration_ms: 1,
        };
        let disruption = || Disruption {
            lost: Some(Lost::Node),
            node: Some(text()),
            reason: text(),
            ..Disruption::default()
        };
        let check = TruthCheck { name: text(), expected: text(), observed: text(), holds: true };
        let mut all = vec![
            EventKind::RunStarted(started(text)),
            EventKind::StepFinished(StepFinished {
                step: Step::from(text()),
                duration_ms: 1,
                failure: Some(text()),
                image_id: Some(text()),
            }),
            EventKind::CaseStarted { id: text() },
            EventKind::TruthChecked { id: text(), check },
            EventKind::CaseRetried(CaseRetried {
                id: text(),
                attempt: 1,
                disruption: disruption(),
            }),
            EventKind::CaseDisrupted(CaseDisrupted {
                id: text(),
                effect: Effect::Waited,
                disruption: disruption(),
            }),
            EventKind::DisruptionStarted(disruption()),
            EventKind::DisruptionEnded(DisruptionEnded { is_back: true, disruption: disruption() }),
            EventKind::CommandFinished(CommandFinished {
                id: text(),
                pod: text(),
                command: vec![text(), text()],
                exit_code: 0,
                duration_ms: 1,
                stdout: text(),
                stderr: text(),
            }),
            EventKind::EvidenceCollected(EvidenceCollected {
                id: text(),
                directory: text(),
                files: vec![EvidenceFile { name: text(), bytes: 1 }],
                missing: vec![text()],
                duration_ms: 1,
            }),
            EventKind::Interrupted { signal: 2 },
            EventKind::RunFinished {
                outcome: Outcome::Conformant,
                duration_ms: 1,
                causes: vec![cause(&text())],
                namespace: vec![(text(), text())],
                expectations: ExpectationReport { strict: true, entries: vec![expectation(text)] },
            },
        ];
        all.extend(verdicts(&text()).map(|verdict| EventKind::CaseFinished(case(verdict))));
        all
    }

    /// Which of the kinds it is. A new kind does not compile until it is counted here.
    fn number(kind: &EventKind) -> usize {
        match kind {
            EventKind::RunStarted(_) => 0,
            EventKind::StepFinished(_) => 1,
            EventKind::CaseStarted { .. } => 2,
            EventKind::TruthChecked { .. } => 3,
            EventKind::CommandFinished(_) => 4,
            EventKind::EvidenceCollected(_) => 5,
            EventKind::CaseFinished(_) => 6,
            EventKind::Interrupted { .. } => 7,
            EventKind::RunFinished { .. } => 8,
            EventKind::CaseRetried(_) => 9,
            EventKind::CaseDisrupted(_) => 10,
            EventKind::DisruptionStarted(_) => 11,
            EventKind::DisruptionEnded(_) => 12,
        }
    }

    /// The texts of a document, but for the names of kinds, levels, verdicts and known failures.
    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            Value::Object(fields) => {
                let ours = [
                    "kind",
                    "level",
                    "verdict",
                    "outcome",
                    "signature",
                    "place",
                    "lost",
                    "effect",
                    "state",
                ];
                let fields = fields
                    .iter()
                    .filter(|(name, value)| !(ours.contains(&name.as_str()) && value.is_string()));
                fields.for_each(|(_, value)| texts(value, found));
            }
            _ => {}
        }
    }

    #[test]
    fn no_text_of_any_event_is_passed_over() {
        let kinds: std::collections::BTreeSet<_> = all("x").iter().map(number).collect();
        assert_eq!(kinds.len(), 13, "one of each kind is here");
        for mut kind in all("before") {
            kind.each(&mut |_, text| text.replace_range(.., "after"));
            let mut found = Vec::new();
            texts(&serde_json::to_value(&kind).expect("it is JSON"), &mut found);
            assert!(found.iter().all(|text| text == "after"), "{kind:?}");
        }
    }

    #[test]
    fn no_event_has_a_secret_in_it_when_made_or_when_read_back() {
        let secret = "x\u{1b}[31m password=canary Authorization: Bearer canary";
        for kind in all(secret) {
            let raw = serde_json::to_string(&kind).expect("it is JSON");
            let event = Event::now(kind);
            let text = serde_json::to_string(&event).expect("it is JSON");
            assert!(!text.contains("canary") && !text.contains("u001b"), "{text}");
            let tampered = format!(r#"{{"schema":1,"at":"{}","event":{raw}}}"#, event.at);
            let read: Event = serde_json::from_str(&tampered).expect("it is an event");
            assert_eq!(read, event);
        }
    }

    #[test]
    fn a_secret_among_arguments_is_known_by_the_one_before_it() {
        let Some(EventKind::CommandFinished(command)) =
            all("x").into_iter().find(|kind| number(kind) == 4)
        else {
            panic!("there is one");
        };
        let words = ["login", "--password", "plain"].map(str::to_owned).to_vec();
        let event =
            Event::now(EventKind::CommandFinished(CommandFinished { command: words, ..command }));
        assert!(!format!("{event:?}").contains("plain"));
    }
}
