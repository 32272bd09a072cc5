//! The nodes of a case's pods, as far as they are known.

/// The nodes on which a case has pods: those that it shares with other cases, and those that it made for
/// itself.
#[derive(Debug)]
pub(super) struct NodesOfCase {
    known: Vec<String>,
    /// Whether there are no others.
    is_complete: bool,
}

impl NodesOfCase {
    /// Of the nodes of the pods that are ready. `has_shared` says that the case shares pods, ready or
    /// not; of its own pods, none stands for one whose node is not known.
    pub(super) fn new(
        shared: impl Iterator<Item = String>,
        has_shared: bool,
        own: Vec<Option<String>>,
    ) -> Self {
        let is_known = own.iter().all(Option::is_some);
        let known: Vec<_> = shared.chain(own.into_iter().flatten()).collect();
        let is_complete = is_known && (!known.is_empty() || !has_shared);
        Self { known, is_complete }
    }

    /// All of them; none if one of them, or that of all shared pods, is not known.
    pub(super) fn all(self) -> Option<Vec<String>> {
        self.is_complete.then_some(self.known)
    }

    /// Those on which the case can have done something: a pod that never got ready has done nothing. None
    /// if nothing is known of them.
    pub(super) fn used(self) -> Option<Vec<String>> {
        (self.is_complete || !self.known.is_empty()).then_some(self.known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_of_a_pod_that_the_case_made_for_itself_is_one_of_its_nodes() {
        let here = || vec!["here".to_owned()];
        let nodes = |shared: Vec<String>, has_shared, own: &[Option<&str>]| {
            let own = own.iter().map(|node| node.map(str::to_owned)).collect();
            NodesOfCase::new(shared.into_iter(), has_shared, own)
        };
        assert_eq!(nodes(Vec::new(), false, &[Some("here")]).all(), Some(here()));
        assert_eq!(nodes(Vec::new(), false, &[None]).all(), None, "the pod may be anywhere");
        assert_eq!(nodes(here(), true, &[]).all(), Some(here()));
        assert_eq!(nodes(Vec::new(), true, &[]).all(), None, "they are being made");
        assert_eq!(nodes(Vec::new(), false, &[]).all(), Some(Vec::new()), "none");
    }

    #[test]
    fn a_pod_that_never_got_ready_hides_no_node_that_is_known() {
        let here = || vec!["here".to_owned()];
        let nodes = |shared: Vec<String>| NodesOfCase::new(shared.into_iter(), true, vec![None]);
        assert_eq!((nodes(here()).all(), nodes(here()).used()), (None, Some(here())));
        assert_eq!(nodes(Vec::new()).used(), None);
    }
}
