//! What the first try of a case says about the second, where something was lost under the first.

use std::mem::discriminant;

use crate::{
    base::text::without_random_ids,
    verdict::{Disruption, Failure, Verdict},
};

/// A try that a disruption ended.
pub(super) struct LostTry {
    pub(super) disruption: Disruption,
    /// What the case saw then.
    pub(super) failure: Failure,
    /// Whether a full disk may have spoilt what both tries used.
    pub(super) may_be_corrupted: bool,
}

/// The verdict of a case that may have been retried. The first try may have left something in the
/// way of the second, so a failure after a loss says nothing about the product, unless the second had
/// only fresh pods, or both saw the same: the first had nothing in its way.
pub(super) fn after_loss(earlier: Option<&LostTry>, failure: Failure, is_fresh: bool) -> Verdict {
    let Some(earlier) = earlier.filter(|_| !is_fresh) else { return failure.into() };
    let is_same = is_same(&failure, &earlier.failure) && !earlier.may_be_corrupted;
    match Verdict::from(failure) {
        Verdict::Fail { message, .. } if !is_same => Verdict::Error {
            message: format!(
                "{}: {}; it was retried, and failed, maybe because of leftovers of the first \
                 attempt: {message}",
                earlier.disruption, earlier.disruption.reason
            ),
        },
        verdict => verdict,
    }
}

/// Whether two tries failed in the same way, whatever ids and times their messages have. A command
/// that was late may still have been in the way of the second try's.
fn is_same(failure: &Failure, earlier: &Failure) -> bool {
    let is_late = matches!(failure, Failure::Timeout { .. });
    let [now, before] = [failure, earlier].map(|failure| without_random_ids(failure.message()));
    !is_late && discriminant(failure) == discriminant(earlier) && now == before
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lost(failure: Failure) -> LostTry {
        let disruption = Disruption { reason: "the stream broke".into(), ..Disruption::default() };
        LostTry { disruption, failure, may_be_corrupted: false }
    }

    #[test]
    fn what_both_tries_saw_in_corrupted_pods_is_not_the_products() {
        let fail = || Failure::product("the layer is not known");
        let earlier = LostTry { may_be_corrupted: true, ..lost(fail()) };
        let verdict = after_loss(Some(&earlier), fail(), false);
        assert!(matches!(verdict, Verdict::Error { .. }), "{verdict:?}");
        assert_eq!(after_loss(Some(&earlier), fail(), true), fail().into(), "in fresh pods");
    }

    #[test]
    fn a_failure_after_a_loss_is_not_the_products() {
        let fail = || Failure::product("the name is taken");
        assert_eq!(after_loss(None, fail(), false), fail().into());
        let broken = lost(Failure::lost("the stream broke"));
        let Verdict::Error { message } = after_loss(Some(&broken), fail(), false) else {
            panic!("it is an error")
        };
        assert!(message.contains("the stream broke; ") && message.ends_with("taken"), "{message}");
        let blocked = || Failure::blocked("no DNS", "repair it");
        assert_eq!(after_loss(Some(&broken), blocked(), false), blocked().into());
    }

    #[test]
    fn a_failure_in_fresh_pods_is_the_products() {
        let broken = lost(Failure::lost("the stream broke"));
        let fail = || Failure::product("uid 0");
        assert_eq!(after_loss(Some(&broken), fail(), true), fail().into());
    }

    #[test]
    fn what_both_tries_saw_is_the_products() {
        let fail = || Failure::product("uid 0");
        assert_eq!(after_loss(Some(&lost(fail())), fail(), false), fail().into());
        let [first, second] = ["c0ffee00c0ffee00", "deadbeefdeadbeef"]
            .map(|id| Failure::product(format!("crun: container `{id}` did not start")));
        let verdict = after_loss(Some(&lost(first)), second.clone(), false);
        assert_eq!(verdict, second.into(), "only an id differs");
        // The command of the first try may still have been in the way of the second's.
        let late = || Failure::timeout("`podman`", Duration::from_secs(60));
        let verdict = after_loss(Some(&lost(late())), late(), false);
        assert!(matches!(verdict, Verdict::Error { .. }), "{verdict:?}");
    }
}
