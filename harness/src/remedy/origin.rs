//! Whether a report is of the cluster that is asked: what failed on one cluster is not fixed with what fits
//! another one.

use crate::{
    Error, Result,
    facts::{Facts, Platform},
    verdict::event::RunStarted,
};

/// Makes sure that a report can be of the cluster that is asked. A cluster that nobody can identify is
/// known by its kind and its version; it may have been updated since only where it is identified.
///
/// # Errors
///
/// A report of another cluster.
pub fn check_origin(report: &str, run: &RunStarted, facts: &Facts) -> Result<()> {
    let differs = match (&run.cluster_id, facts.cluster_id.value()) {
        (Some(theirs), Some(asked)) => {
            (theirs != asked).then(|| ("cluster id", theirs.clone(), asked.clone()))
        }
        // The log of an older nestcheck says nothing of its cluster.
        _ => run.platform.as_ref().and_then(|theirs| difference(theirs, &Platform::of(facts))),
    };
    let Some((what, theirs, asked)) = differs else { return Ok(()) };
    Err(Error::usage(format!(
        "report `{report}` is of another cluster than the one that is asked: its {what} is `{theirs}`, \
         not `{asked}`"
    ))
    .with_hint("give the kubeconfig of the report's cluster, or ask none: leave out `--kubeconfig` and `--context`"))
}

/// How two kinds of cluster differ, as far as both are known.
fn difference(theirs: &Platform, asked: &Platform) -> Option<(&'static str, String, String)> {
    if let (Some(ours), Some(other)) = (theirs.flavour, asked.flavour)
        && ours != other
    {
        return Some(("flavour", ours.to_string(), other.to_string()));
    }
    if theirs.is_kind != asked.is_kind {
        let name = |is_kind: bool| if is_kind { "kind" } else { "not kind" }.to_owned();
        return Some(("distribution", name(theirs.is_kind), name(asked.is_kind)));
    }
    if let (Some(ours), Some(other)) = (theirs.release, asked.release)
        && ours != other
    {
        let text = |(major, minor): (u32, u32)| format!("{major}.{minor}");
        return Some(("release", text(ours), text(other)));
    }
    let (ours, other) = (theirs.kubernetes_minor, asked.kubernetes_minor);
    (ours != other && ours != 0 && other != 0)
        .then(|| ("version of Kubernetes", format!("1.{ours}"), format!("1.{other}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Fact, Flavour, requirement::tests::able};

    /// The start of a run on the cluster of these facts.
    fn run_on(facts: &Facts, change: impl FnOnce(&mut RunStarted)) -> RunStarted {
        let mut run = RunStarted {
            cluster_id: facts.cluster_id.value().cloned(),
            platform: Some(Platform::of(facts)),
            ..RunStarted::default()
        };
        change(&mut run);
        run
    }

    fn known(id: &str) -> Facts {
        Facts { cluster_id: Fact::known(id.to_owned(), "kube-system"), ..able() }
    }

    #[test]
    fn a_report_of_another_cluster_is_refused() {
        let facts = known("a");
        let run = run_on(&known("b"), |_| ());
        let error = check_origin("DIR", &run, &facts).expect_err("it is another one");
        assert_eq!(error.kind().exit_code(), 2);
        for words in ["`DIR`", "cluster id is `b`, not `a`"] {
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(check_origin("DIR", &run_on(&facts, |_| ()), &facts).is_ok());
    }

    #[test]
    fn an_identified_cluster_may_have_been_updated_since() {
        let facts = known("a");
        let older = run_on(&facts, |run| {
            run.platform.as_mut().expect("a platform").kubernetes_minor = 30;
        });
        assert!(check_origin("DIR", &older, &facts).is_ok());
    }

    #[test]
    fn without_an_id_the_kind_of_cluster_and_its_version_decide() {
        let facts = Facts { cluster_id: Fact::unknown("403"), ..able() };
        let refused = |change: fn(&mut Platform)| {
            let run = run_on(&known("a"), |run| {
                change(run.platform.as_mut().expect("a platform"));
            });
            check_origin("DIR", &run, &facts).err().map(|error| error.to_string())
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|it| it.flavour = None), None, "not known");
        for (change, words) in [
            ((|it| it.flavour = Some(Flavour::OpenShift)) as fn(&mut Platform), "flavour"),
            (|it| it.is_kind = true, "distribution"),
            (|it| it.kubernetes_minor = 30, "version of Kubernetes is `1.30`"),
        ] {
            let text = refused(change).expect("it differs");
            assert!(text.contains(words), "{text}");
        }
        let old = run_on(&facts, |run| run.platform = None);
        assert!(check_origin("DIR", &old, &facts).is_ok(), "a log that does not say it");
    }
}
