//! What a run has left, and what it changed that was there before.

use std::{collections::BTreeSet, fmt};

use super::{
    home::{Home, is_name_of},
    is_of_run,
    ledger::Intent,
    teardown::{KINDS, OwnedObject},
    volumes::ReclaimStatus,
};

/// What was looked at after a run's end, for the cases that judge it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// How many objects the run was to create, by its ledger.
    pub created: usize,
    /// The kinds of these objects.
    pub kinds: BTreeSet<String>,
    /// The kinds outside of namespaces that were listed by the run's label.
    pub looked_for: Vec<&'static str>,
    /// What still carries the run's label, whether or not the ledger names it.
    pub left: Vec<Leftover>,
    /// What the ledger names where the run's teardown does not go.
    pub orphaned: Vec<String>,
    /// What became of the volumes of the run's PVCs; none where it made no claim.
    pub volumes: Option<ReclaimStatus>,
    /// Why there is no more to tell, where the teardown failed.
    pub failure: Option<Failed>,
    /// What is not as it was before the run; none where that was not looked at.
    pub comparison: Option<Comparison>,
}

/// An object that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its kind.
    pub kind: &'static str,
    /// Its name, after its namespace and a slash where it has one.
    pub name: String,
}

impl From<&OwnedObject> for Leftover {
    fn from(object: &OwnedObject) -> Self {
        let name = match &object.namespace {
            Some(namespace) => format!("{namespace}/{}", object.name),
            None => object.name.clone(),
        };
        Self { kind: object.kind, name }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)
    }
}

/// Why a teardown failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The reason.
    pub reason: String,
    /// Whether the API server was lost, so that nobody knows what is left.
    pub is_loss: bool,
}

/// What was there before a run and after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many objects were compared.
    pub compared: usize,
    /// The kinds of objects that the caller may not list, with the server's words.
    pub forbidden: Vec<String>,
    /// The kinds of objects that could not be listed for another reason.
    pub unread: Vec<String>,
    /// What is not as it was.
    pub changes: Vec<Change>,
}

/// An object of the cluster that is not as it was before the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Kind and name.
    pub object: String,
    /// What became of it.
    pub what: String,
    /// Whether the object says that this program has written to it.
    pub is_ours: bool,
    /// Who wrote it last, where the object says so.
    pub manager: Option<String>,
}

impl Audit {
    /// Compares what is left with what the ledger says.
    pub(super) fn of(
        run: &str,
        home: &Home,
        intended: Vec<Intent>,
        looked_for: Vec<&'static str>,
        left: &[OwnedObject],
    ) -> Self {
        let is_orphaned = |intent: &&Intent| match (&intent.namespace, intent.kind.as_str()) {
            (None, kind) => !KINDS.contains(&kind),
            // Its deletion was answered before the run was struck from the ledger.
            (Some(namespace), "Lease") => namespace != home.lease_namespace(),
            (Some(namespace), _) if home.given() == Some(namespace) => {
                !is_name_of(run, &intent.name)
            }
            (Some(namespace), _) => !is_of_run(namespace, run),
        };
        Self {
            created: intended.len(),
            looked_for,
            left: left.iter().map(Leftover::from).collect(),
            orphaned: intended.iter().filter(is_orphaned).map(ToString::to_string).collect(),
            kinds: intended.into_iter().map(|intent| intent.kind).collect(),
            ..Self::default()
        }
    }

    /// The audit of a run whose teardown failed.
    #[must_use]
    pub fn failed(reason: String, is_loss: bool) -> Self {
        Self { failure: Some(Failed { reason, is_loss }), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(kind: &str, namespace: Option<&str>, name: &str) -> Intent {
        Intent { kind: kind.into(), namespace: namespace.map(Into::into), name: name.into() }
    }

    #[test]
    fn what_ends_with_the_runs_namespaces_is_not_orphaned() {
        let audit = Audit::of(
            "abc",
            &Home::Own,
            vec![
                intent("Namespace", None, "nestcheck-abc"),
                intent("Pod", Some("nestcheck-abc"), "workspace"),
                intent("Pod", Some("nestcheck-abc-restricted"), "workspace"),
                intent("Lease", Some("default"), "nestcheck-abc"),
            ],
            KINDS.to_vec(),
            &[],
        );
        assert_eq!((audit.created, audit.orphaned.len(), audit.left.len()), (4, 0, 0));
        assert!(audit.kinds.contains("Lease"));
    }

    #[test]
    fn what_is_created_elsewhere_is_orphaned() {
        let intents = vec![
            intent("Pod", Some("nestcheck-abcd"), "workspace"),
            intent("ConfigMap", Some("default"), "files"),
            intent("PersistentVolume", None, "disk"),
        ];
        let audit = Audit::of("abc", &Home::Own, intents, KINDS.to_vec(), &[]);
        let reported = [
            "Pod `nestcheck-abcd/workspace`",
            "ConfigMap `default/files`",
            "PersistentVolume `disk`",
        ];
        assert_eq!(audit.orphaned, reported);
    }

    #[test]
    fn in_a_given_namespace_only_names_of_the_run_end_with_it() {
        let home = Home::Given { namespace: "team-a".to_owned(), scc: None };
        let intents = vec![
            intent("Pod", Some("team-a"), "nestcheck-abc-workspace"),
            intent("Lease", Some("team-a"), "nestcheck-abc"),
            intent("Pod", Some("team-a"), "workspace"),
            intent("Lease", Some("default"), "nestcheck-abc"),
        ];
        let audit = Audit::of("abc", &home, intents, Vec::new(), &[]);
        assert_eq!(audit.orphaned, ["Pod `team-a/workspace`", "Lease `default/nestcheck-abc`"]);
    }
}
