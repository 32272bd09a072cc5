//! What a run asks of the API server beside its commands, read from its audit log: the objects and
//! pods that cases make, and the dry runs, reviews and changes that cases about admission consist of.

use std::collections::BTreeMap;

use harness::{
    pod_template::PodTemplate,
    sandbox::{GRANT, NESTED_CONFIG, UNGRANTED_USER, USER, WORKSPACE_ID_LABEL, namespace_of},
};
use jiff::Timestamp;
use serde_json::Value;

use crate::audit::Request;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Administrator,
    User,
    Ungranted,
}

impl Who {
    fn of(user: &str) -> Self {
        match user.rsplit(':').next() {
            Some(USER) => Self::User,
            Some(UNGRANTED_USER) => Self::Ungranted,
            _ => Self::Administrator,
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) at: Timestamp,
    pub(crate) who: Who,
    pub(crate) verb: String,
    /// Verb and resource, such as `create pods (dry run)`.
    pub(crate) kind: String,
    /// It has the name of the run's own namespace in it.
    pub(crate) uri: String,
    /// What follows the name of the run's own namespace in that of the request's.
    pub(crate) suffix: String,
    /// The object's name.
    pub(crate) name: String,
    pub(crate) body: Option<Value>,
    /// The status of the answer.
    pub(crate) code: u16,
    /// Whether it is repeated until it is refused: a grant was taken away just before it.
    pub(crate) patient: bool,
}

impl Call {
    pub(crate) fn is_accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether nothing is there after it that was not there before.
    pub(crate) fn is_question(&self) -> bool {
        self.kind.ends_with("(dry run)")
            || self.kind.ends_with("reviews")
            || matches!(self.verb.as_str(), "get" | "list")
    }

    /// Whether it makes a pod, by itself or by a workspace.
    pub(crate) fn makes_pod(&self) -> bool {
        matches!(self.kind.as_str(), "create pods" | "create devworkspaces")
    }

    /// Whether it starts a workspace, or leaves or makes it stopped; none where it does neither.
    pub(crate) fn starts_workspace(&self) -> Option<bool> {
        let is_meant = self.kind == "patch devworkspaces" || self.kind == "create devworkspaces";
        self.body.as_ref().filter(|_| is_meant)?.pointer("/spec/started")?.as_bool()
    }

    /// Whether it only asks what the other one asks too.
    fn repeats(&self, other: &Self) -> bool {
        self.is_question()
            && (&self.uri, &self.body) == (&other.uri, &other.body)
            && self.who == other.who
    }
}

/// All calls of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// The name of the run's own namespace.
    pub(crate) home: String,
    /// In order, but for those that make the shared pods.
    pub(crate) in_order: Vec<Call>,
    /// Those that make the pods that cases share.
    pub(crate) pods: Vec<Call>,
    /// The suffixes of the run's other namespaces, and whether the user may use the SCC there.
    pub(crate) namespaces: BTreeMap<String, bool>,
    /// The addresses of the run's pods, as they became known.
    pub(crate) addresses: Vec<Address>,
    /// Those that make the namespace ready for workspaces.
    pub(crate) for_workspaces: Vec<Call>,
    /// The names of the workspaces, by the ids with which the names of their pods begin.
    pub(crate) workspaces: BTreeMap<String, String>,
}

/// The RoleBinding that gives a run's users their rights in a namespace.
const EDIT: &str = "workspace-user-edit";

/// The label that the operator gives to everything of a workspace, with its name (devfile,
/// devworkspace-operator, `pkg/constants/metadata.go`).
pub(crate) const WORKSPACE_NAME_LABEL: &str = "controller.devfile.io/devworkspace_name";

/// The address of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) pod: String,
    pub(crate) at: Timestamp,
    pub(crate) ip: String,
}

/// The template of this name, if cases share its pod.
pub(crate) fn shared_template(name: &str) -> Option<&'static PodTemplate> {
    let more = [&fixtures::INSPECTOR, &fixtures::DEVWORKSPACE];
    let mut templates = fixtures::ALL_TEMPLATES.into_iter().chain(more);
    templates.find(|template| template.shared && template.name == name)
}

impl Calls {
    /// The calls in a run's requests, and in `all` that were made meanwhile.
    pub(crate) fn of(run: &str, requests: &[Request], all: &[Request]) -> Self {
        let mut calls = Self { home: namespace_of(run), ..Self::default() };
        let mut requests: Vec<_> = requests.iter().collect();
        requests.sort_by_key(|request| request.received());
        let of_home = |kind: &str| {
            let is_of_home =
                |request: &&Request| request.kind() == kind && request.object().name == calls.home;
            requests.iter().position(is_of_home).unwrap_or(requests.len())
        };
        // Before and after, nestcheck looks at the cluster.
        let (begin, end) = (of_home("create namespaces"), of_home("delete namespaces"));
        for request in requests.iter().take(end).skip(begin + 1) {
            calls.take(request);
        }
        calls.forget_early();
        let of_run = all.iter().filter(|request| request.object().namespace == calls.home);
        calls.workspaces = of_run.clone().filter_map(workspace).collect();
        calls.addresses = of_run.filter_map(address).collect();
        for address in &mut calls.addresses {
            address.pod = pod_of(&calls.workspaces, &address.pod);
        }
        calls
    }

    fn take(&mut self, request: &Request) {
        let object = request.object();
        let kind = request.kind();
        let here = self.suffix(&object.namespace);
        match kind.as_str() {
            "create namespaces" => {
                let suffix = self.suffix(&object.name);
                self.namespaces.entry(suffix).or_default();
            }
            "create rolebindings" if object.name == GRANT && !here.is_empty() => {
                self.namespaces.insert(here, true);
            }
            // Part of making a namespace.
            "create rolebindings" if matches!(object.name.as_str(), GRANT | EDIT) => {}
            "create rolebindings" => self.for_workspaces.extend(self.call(request)),
            "create devworkspaceoperatorconfigs" if object.name == NESTED_CONFIG => {
                self.for_workspaces.extend(self.call(request));
            }
            "create pods" | "create devworkspaces"
                if here.is_empty() && shared_template(&object.name).is_some() =>
            {
                self.pods.extend(self.call(request));
            }
            "delete pods" | "delete rolebindings" => self.add(request),
            _ if request.body().is_some() || self.is_read(request) => self.add(request),
            // Part of the end of a namespace, or of a watch.
            _ => {}
        }
    }

    fn is_read(&self, request: &Request) -> bool {
        let object = request.object();
        matches!(request.verb(), "get" | "list")
            && object.subresource.is_empty()
            // The run's own record is elsewhere.
            && (object.namespace.is_empty() || object.namespace.starts_with(&self.home))
            && !request.uri().contains("Selector=")
    }

    fn suffix(&self, namespace: &str) -> String {
        let rest = namespace.strip_prefix(&self.home).unwrap_or_default();
        rest.trim_start_matches('-').to_owned()
    }

    fn call(&self, request: &Request) -> Option<Call> {
        let object = request.object();
        Some(Call {
            at: request.received()?,
            who: Who::of(request.user()),
            verb: request.verb().to_owned(),
            kind: request.kind(),
            uri: request.uri().to_owned(),
            suffix: self.suffix(&object.namespace),
            name: object.name,
            body: request.body().cloned(),
            code: request.code(),
            patient: false,
        })
    }

    /// Adds a call. Of questions that are repeated until the answer fits, as one about a grant that
    /// is new or was just taken away, only the last counts.
    fn add(&mut self, request: &Request) {
        let Some(mut call) = self.call(request) else { return };
        let was_asked = self.in_order.iter().rposition(|known| call.repeats(known));
        let ungrants =
            |known: &Call| known.kind == "delete rolebindings" && known.suffix == call.suffix;
        let ungranted = self.in_order.iter().rposition(ungrants);
        call.patient = call.kind.ends_with("(dry run)") && ungranted.is_some();
        if let Some(asked) = was_asked
            && ungranted.is_none_or(|ungranted| ungranted < asked)
        {
            self.in_order.remove(asked);
        }
        self.in_order.push(call);
    }

    /// Forgets creations that were refused and repeated, as the grant for them was new.
    fn forget_early(&mut self) {
        for calls in [&mut self.in_order, &mut self.pods] {
            let accepted: Vec<_> =
                calls.iter().filter(|call| call.is_accepted()).cloned().collect();
            calls.retain(|call| {
                let is_same = |other: &Call| {
                    (&other.kind, &other.uri, &other.body) == (&call.kind, &call.uri, &call.body)
                        && other.who == call.who
                        && other.at > call.at
                };
                call.patient || call.code != 403 || !accepted.iter().any(is_same)
            });
        }
        // A run does without a pod that a cluster refuses.
        self.pods.retain(Call::is_accepted);
    }
}

/// The name by which the pod of a workspace is known: its workspace's. The operator gives it another
/// one in every run.
pub(crate) fn pod_of(workspaces: &BTreeMap<String, String>, pod: &str) -> String {
    let is_of = |(id, _): &(&String, &String)| {
        pod.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('-'))
    };
    workspaces.iter().find(is_of).map_or(pod, |(_, name)| name).to_owned()
}

/// What the operator tells when it makes the Deployment of a workspace: its id and its name.
fn workspace(request: &Request) -> Option<(String, String)> {
    let body = request.body().filter(|_| request.kind() == "create deployments")?;
    let labels = body.pointer("/metadata/labels")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some((text(labels.get(WORKSPACE_ID_LABEL)?)?, text(labels.get(WORKSPACE_NAME_LABEL)?)?))
}

/// What a request of the kubelet tells of a pod's address.
fn address(request: &Request) -> Option<Address> {
    let object = request.object();
    let ip = request.body()?.pointer("/status/podIP")?.as_str()?;
    let is_status = object.resource == "pods" && object.subresource == "status";
    let at = request.received().filter(|_| is_status)?;
    Some(Address { pod: object.name, at, ip: ip.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SERVICE_ACCOUNT: &str = "system:serviceaccount:nestcheck-x:workspace-user";

    struct Log(u32, Vec<Request>);

    impl Log {
        fn add(&mut self, [verb, uri]: [&str; 2], names: [&str; 3], user: &str, code: u16) {
            self.0 += 1;
            let [resource, namespace, name] = names;
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let mut request = json!({
                "auditID": "", "verb": verb, "requestURI": uri, "user": {"username": user},
                "objectRef": {
                    "resource": resource, "subresource": subresource,
                    "namespace": namespace, "name": name,
                },
                "responseStatus": {"code": code},
                "requestReceivedTimestamp": format!("2025-01-01T00:00:{:02}Z", self.0),
            });
            if resource == "pods" {
                request["requestObject"] = json!({"status": {"podIP": "10.0.0.7"}});
            }
            self.1.push(serde_json::from_value(request).expect("it is a request"));
        }

        fn dry_run(&mut self, namespace: &str, name: &str, code: u16) {
            let uri = format!("/pods/{namespace}/{name}?&dryRun=All");
            self.add(["create", &uri], ["pods", namespace, name], SERVICE_ACCOUNT, code);
        }
    }

    #[test]
    fn the_wait_for_a_grant_or_for_its_end_is_one_call_and_looks_at_the_cluster_are_none() {
        let (home, other) = ("nestcheck-x", "nestcheck-x-end-07");
        let mut log = Log(0, Vec::new());
        log.add(["list", "/api/v1/nodes"], ["nodes", "", ""], "admin", 200);
        log.add(["create", "/n"], ["namespaces", home, home], "admin", 201);
        log.add(["create", "/p"], ["pods", home, "workspace"], SERVICE_ACCOUNT, 403);
        log.add(["create", "/p"], ["pods", home, "workspace"], SERVICE_ACCOUNT, 201);
        log.add(["create", "/p"], ["pods", home, "vol-04"], SERVICE_ACCOUNT, 201);
        log.add(["create", "/n"], ["namespaces", other, other], "admin", 201);
        log.add(["create", "/r"], ["rolebindings", other, GRANT], "admin", 201);
        log.dry_run(other, "dry-run-end-07", 403);
        log.dry_run(other, "dry-run-end-07", 201);
        log.add(["delete", "/r"], ["rolebindings", other, GRANT], "admin", 200);
        log.dry_run(other, "dry-run-end-07", 201);
        log.dry_run(other, "dry-run-end-07", 403);
        log.dry_run(home, "dry-run-scc-05", 403);
        log.add(["delete", "/n"], ["namespaces", home, home], "admin", 200);
        log.add(["list", "/apis/c"], ["checlusters", "", ""], "admin", 404);
        let calls = Calls::of("x", &log.1, &[]);
        let told: Vec<_> = calls
            .in_order
            .iter()
            .map(|call| (call.kind.as_str(), call.name.as_str(), call.code, call.patient))
            .collect();
        assert_eq!(
            told,
            [
                ("create pods", "vol-04", 201, false),
                ("create pods (dry run)", "dry-run-end-07", 201, false),
                ("delete rolebindings", GRANT, 200, false),
                ("create pods (dry run)", "dry-run-end-07", 403, true),
                ("create pods (dry run)", "dry-run-scc-05", 403, false),
            ]
        );
        assert_eq!(calls.namespaces, BTreeMap::from([("end-07".to_owned(), true)]));
        let pods: Vec<_> = calls.pods.iter().map(|pod| (pod.name.as_str(), pod.code)).collect();
        assert_eq!(pods, [("workspace", 201)]);
    }

    #[test]
    fn the_kubelet_tells_the_addresses_of_pods() {
        let home = "nestcheck-x";
        let mut log = Log(0, Vec::new());
        log.add(["patch", "/s"], ["pods/status", home, "neighbour"], "system:node:node", 200);
        log.add(["patch", "/s"], ["pods/status", "other", "neighbour"], "system:node:node", 200);
        log.add(["patch", "/s"], ["pods", home, "neighbour"], "system:node:node", 200);
        let calls = Calls::of("x", &[], &log.1);
        let [address] = &calls.addresses[..] else { panic!("{:?}", calls.addresses) };
        assert_eq!((address.pod.as_str(), address.ip.as_str()), ("neighbour", "10.0.0.7"));
    }

    #[test]
    fn the_pod_of_a_workspace_is_known_by_the_workspace() {
        let mut log = Log(0, Vec::new());
        let home = "nestcheck-x";
        log.add(["create", "/n"], ["namespaces", home, home], "admin", 201);
        log.add(["create", "/w"], ["devworkspaces", home, "ws-12"], SERVICE_ACCOUNT, 201);
        log.add(["create", "/d"], ["deployments", home, ""], "operator", 201);
        let labels = json!({WORKSPACE_ID_LABEL: "workspacea1", WORKSPACE_NAME_LABEL: "ws-12"});
        log.1[2].set_body(json!({"metadata": {"labels": labels}}));
        log.1[1].set_body(json!({"spec": {"started": true}}));
        let calls = Calls::of("x", &log.1[..2], &log.1);
        assert_eq!(pod_of(&calls.workspaces, "workspacea1-7c5-x"), "ws-12");
        assert_eq!(pod_of(&calls.workspaces, "workspacea12-7c5-x"), "workspacea12-7c5-x");
        let [made] = &calls.in_order[..] else { panic!("{:?}", calls.in_order) };
        assert_eq!((made.makes_pod(), made.starts_workspace()), (true, Some(true)));
    }
}
