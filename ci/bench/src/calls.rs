//! What a run asks of the API server beside its pods and their commands, read from its audit log:
//! the dry runs, reviews and changes that cases about admission consist of.
//!
//! The log has no bodies. A dry run is replayed with a pod that the server answers with the same
//! status: the workspace where it accepts, and else the workspace with one field changed.

use std::collections::BTreeMap;

use harness::sandbox::{GRANT, STRANGER, USER, namespace_of};

use crate::audit::Request;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Administrator,
    User,
    Stranger,
}

impl Who {
    fn of(user: &str) -> Self {
        match user.rsplit(':').next() {
            Some(USER) => Self::User,
            Some(STRANGER) => Self::Stranger,
            _ => Self::Administrator,
        }
    }
}

/// A request, or a few that belong together. A namespace is told by what follows the name of the
/// run's own in its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// The creation of a pod as a dry run.
    DryRun(DryRun),
    /// The change of a running pod as a dry run.
    Replace { pod: String },
    /// Whether the user may use the SCC.
    Review,
    /// The read of objects; the URI has the run's own namespace in it.
    Read { uri: String, who: Who },
    /// The end of a grant.
    Ungrant { suffix: String },
    /// A Deployment, until it is available.
    Deploy,
    /// A pod of a case's own, until it is ready or it is clear that it does not start.
    Pod { name: String },
}

/// The creation of a pod as a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DryRun {
    pub(crate) suffix: String,
    pub(crate) who: Who,
    /// The status of the answer.
    pub(crate) code: u16,
    /// Whether it is repeated until it is refused: a grant was taken away just before it.
    pub(crate) patient: bool,
}

/// Calls that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) calls: Vec<Call>,
}

/// All calls of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// The name of the run's own namespace.
    pub(crate) home: String,
    /// Those of a case, where the log tells the case, and else those of a kind.
    pub(crate) lanes: Vec<Lane>,
    /// The suffixes of the run's other namespaces, and whether the user may use the SCC there.
    pub(crate) namespaces: BTreeMap<String, bool>,
}

impl Calls {
    /// The calls in a run's requests.
    pub(crate) fn of(run: &str, requests: &[Request]) -> Self {
        let mut calls = Self { home: namespace_of(run), ..Self::default() };
        let of_home = |kind: &str| {
            let is_of_home =
                |request: &Request| request.kind() == kind && request.object().name == calls.home;
            requests.iter().position(is_of_home).unwrap_or(requests.len())
        };
        // Before and after, nestcheck looks at the cluster.
        let (begin, end) = (of_home("create namespaces"), of_home("delete namespaces"));
        for request in requests.iter().take(end).skip(begin + 1) {
            calls.take(request);
        }
        calls
    }

    fn take(&mut self, request: &Request) {
        let object = request.object();
        let who = Who::of(request.user());
        let kind = request.kind();
        let suffix = |name: &str| {
            let rest = name.strip_prefix(&self.home).unwrap_or_default();
            rest.trim_start_matches('-').to_owned()
        };
        let here = suffix(&object.namespace);
        match kind.as_str() {
            "create namespaces" => {
                let suffix = suffix(&object.name);
                self.namespaces.entry(suffix).or_default();
            }
            "create rolebindings" if object.name == GRANT && !here.is_empty() => {
                self.namespaces.insert(here, true);
            }
            "create pods (dry run)" => self.dry_run(&object.name, here, who, request.code()),
            "create pods" if fixtures::ALL_SHAPES.iter().all(|s| s.name != object.name) => {
                self.add(&object.name, Call::Pod { name: object.name.clone() });
            }
            "update pods (dry run)" => self.add(&kind, Call::Replace { pod: object.name }),
            "create selfsubjectaccessreviews" => self.add(&kind, Call::Review),
            "create deployments" => self.add(&kind, Call::Deploy),
            "delete rolebindings" => self.add(&here.clone(), Call::Ungrant { suffix: here }),
            _ if matches!(request.verb(), "get" | "list")
                && object.subresource.is_empty()
                // The run's own record is elsewhere.
                && (object.namespace.is_empty() || object.namespace.starts_with(&self.home))
                && !request.uri().contains("Selector=") =>
            {
                self.add(&kind, Call::Read { uri: request.uri().to_owned(), who });
            }
            // Part of making a namespace, a pod or a Deployment, or of the end.
            _ => {}
        }
    }

    fn dry_run(&mut self, name: &str, suffix: String, who: Who, code: u16) {
        let lane = name.trim_start_matches("dry-run-").to_owned();
        let ungranted = Call::Ungrant { suffix: suffix.clone() };
        let patient = self.lane(&lane).calls.contains(&ungranted);
        // nestcheck's own patience.
        if patient && code == 201 {
            return;
        }
        self.add(&lane, Call::DryRun(DryRun { suffix, who, code, patient }));
    }

    fn lane(&mut self, name: &str) -> &mut Lane {
        let known = self.lanes.iter().position(|lane| lane.name == name);
        let index = known.unwrap_or_else(|| {
            self.lanes.push(Lane { name: name.to_owned(), calls: Vec::new() });
            self.lanes.len() - 1
        });
        &mut self.lanes[index]
    }

    fn add(&mut self, lane: &str, call: Call) {
        self.lane(lane).calls.push(call);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(verb: &str, uri: &str, names: [&str; 3], user: &str, code: u16) -> Request {
        let [resource, namespace, name] = names;
        let request = json!({
            "auditID": "", "verb": verb, "requestURI": uri, "user": {"username": user},
            "objectRef": {"resource": resource, "namespace": namespace, "name": name},
            "responseStatus": {"code": code},
        });
        serde_json::from_value(request).expect("it is a request")
    }

    fn dry_run(namespace: &str, name: &str, code: u16) -> Request {
        let user = "system:serviceaccount:nestcheck-x:workspace-user";
        request("create", "/pods?&dryRun=All", ["pods", namespace, name], user, code)
    }

    #[test]
    fn the_wait_for_the_end_of_a_grant_is_one_call_and_looks_at_the_cluster_are_none() {
        let other = "nestcheck-x-end-07";
        let requests = [
            request("list", "/api/v1/nodes", ["nodes", "", ""], "admin", 200),
            request("create", "/n", ["namespaces", "nestcheck-x", "nestcheck-x"], "admin", 201),
            request("create", "/n", ["namespaces", other, other], "admin", 201),
            request("create", "/r", ["rolebindings", other, GRANT], "admin", 201),
            dry_run(other, "dry-run-end-07", 201),
            request("delete", "/r", ["rolebindings", other, GRANT], "admin", 200),
            dry_run(other, "dry-run-end-07", 201),
            dry_run(other, "dry-run-end-07", 403),
            dry_run("nestcheck-x", "dry-run-scc-05", 403),
            request("delete", "/n", ["namespaces", "nestcheck-x", "nestcheck-x"], "admin", 200),
            request("list", "/apis/c", ["checlusters", "", ""], "admin", 404),
        ];
        let calls = Calls::of("x", &requests);
        let dry_run = |suffix: &str, code, patient| {
            let suffix = suffix.to_owned();
            Call::DryRun(DryRun { suffix, who: Who::User, code, patient })
        };
        let ungrant = Call::Ungrant { suffix: "end-07".to_owned() };
        let end = vec![dry_run("end-07", 201, false), ungrant, dry_run("end-07", 403, true)];
        let scc = vec![dry_run("", 403, false)];
        let lane = |name: &str, calls| Lane { name: name.to_owned(), calls };
        assert_eq!(calls.lanes, [lane("end-07", end), lane("scc-05", scc)]);
        assert_eq!(calls.namespaces, BTreeMap::from([("end-07".to_owned(), true)]));
    }
}
