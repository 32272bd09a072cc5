//! A cluster under test, as its administrator sees it.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use harness::{
    base::manifest,
    sandbox::{LEASE_NAMESPACE, scc_resource},
};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    authentication::v1::{TokenRequest, TokenRequestSpec},
    coordination::v1::Lease,
    core::v1::{Namespace, Pod, ServiceAccount},
    node::v1::RuntimeClass,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams,
        PostParams,
    },
    config::KubeConfigOptions,
    core::GroupVersionKind,
    runtime::wait::await_condition,
};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    Kubeconfig,
    audit::{AuditLog, Request},
};

/// How long the audit log may lag behind an answer.
const AUDIT_LAG: Duration = Duration::from_secs(20);

/// A cluster, seen as its administrator.
pub struct Cluster {
    kubeconfig: PathBuf,
    audit: AuditLog,
    runtime: Runtime,
    client: Client,
}

impl Cluster {
    pub(crate) fn new(kubeconfig: PathBuf, audit_log: PathBuf) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let client = runtime.block_on(async {
            let read = kube::config::Kubeconfig::read_from(&kubeconfig);
            let read = read.unwrap_or_else(|error| panic!("{}: {error}", kubeconfig.display()));
            let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
            Client::try_from(config.expect("the kubeconfig is good")).expect("it can be used")
        });
        Self { kubeconfig, audit: AuditLog::new(audit_log), runtime, client }
    }

    /// The path of the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &str {
        self.kubeconfig.to_str().expect("the path is text")
    }

    /// The administrator's kubeconfig, to be changed.
    pub fn own_kubeconfig(&self) -> Kubeconfig {
        Kubeconfig::read(&self.kubeconfig)
    }

    /// The audit log's end, with all that happened until now before it.
    pub fn now(&self) -> u64 {
        self.settle();
        self.audit.end().expect("the audit log")
    }

    /// What nestcheck has asked the server since then.
    pub fn requests_since(&self, position: u64) -> Vec<Request> {
        self.settle();
        let mut requests = self.answered_since(position);
        requests.retain(|request| request.agent.starts_with("nestcheck/"));
        requests
    }

    fn answered_since(&self, position: u64) -> Vec<Request> {
        let mut requests = self.audit.since(position).expect("the audit log");
        requests.retain(Request::is_answered);
        requests
    }

    /// Waits until the audit log has all that happened before. The server logs an answer after it
    /// has given it, so a request of our own is looked for: what was answered earlier is logged
    /// earlier.
    fn settle(&self) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let query = format!("marker={}-{number}", std::process::id());
        let before = self.audit.end().expect("the audit log");
        let request = http::Request::get(format!("/version?{query}")).body(Vec::new());
        let answer = self.client.request_text(request.expect("the request is good"));
        self.runtime.block_on(answer).expect("the server answers");
        let started = Instant::now();
        while !self.answered_since(before).iter().any(|request| request.query() == query) {
            assert!(started.elapsed() < AUDIT_LAG, "the audit log does not grow");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The names of the namespaces and cluster-wide objects that any run has left.
    pub fn leftovers(&self) -> Vec<String> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let sccs: Api<DynamicObject> = Api::all_with(self.client.clone(), &scc_resource());
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let of_runs = ListParams::default().labels("nestcheck/run");
        self.runtime.block_on(async {
            let leases = leases.list(&of_runs).await.expect("they can be listed");
            let leases = leases.items.iter().map(|lease| format!("Lease {}", lease.name_any()));
            let namespaces = namespaces.list(&of_runs).await.expect("they can be listed");
            let roles = roles.list(&of_runs).await.expect("they can be listed");
            // Most clusters have no such API.
            let sccs = sccs.list(&of_runs).await.ok();
            let names = |objects: &[_]| objects.iter().map(DynamicObject::name_any).collect();
            let sccs: Vec<String> = sccs.map(|list| names(&list.items)).unwrap_or_default();
            let namespaces = namespaces.items.iter().map(ResourceExt::name_any);
            namespaces
                .chain(roles.items.iter().map(ResourceExt::name_any))
                .chain(sccs)
                .chain(leases)
                .collect()
        })
    }

    /// The API server's address.
    pub fn server_address(&self) -> IpAddr {
        let text = self.own_kubeconfig().text();
        let server = text.split("https://").nth(1).expect("the kubeconfig has a server");
        let end = server.find([':', '"']).expect("it has a port");
        server[..end].parse().expect("it is an address")
    }

    /// The address of this machine on the network that it shares with the API server and the node.
    pub fn own_address(&self) -> IpAddr {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a free socket");
        // Nothing is sent: the system only chooses its own end.
        socket.connect((self.server_address(), 9)).expect("there is a route");
        socket.local_addr().expect("it has an address").ip()
    }

    /// What a run must leave as it is: every SCC and ClusterRole, without the times and
    /// versions of their bookkeeping.
    pub fn shared_objects(&self) -> Vec<String> {
        let roles = ApiResource::erase::<ClusterRole>(&());
        let all = ListParams::default();
        let mut objects = Vec::new();
        for resource in [scc_resource(), roles] {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let list = self.runtime.block_on(api.list(&all)).expect("they can be listed");
            objects.extend(list.items.into_iter().map(|mut object| {
                object.metadata.managed_fields = None;
                serde_json::to_string(&object).expect("it is JSON")
            }));
        }
        objects
    }

    /// Creates a namespace, for as long as the guard lives.
    pub fn create_namespace(&self, object: &Value) -> Created<'_> {
        self.create(&ApiResource::erase::<Namespace>(&()), object)
    }

    /// Lets the record of a run say that the run is over.
    pub fn expire(&self, run: &str) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        // A second after its creation, which is over by the time that anybody asks.
        let past = serde_json::json!({"spec": {"leaseDurationSeconds": 1}});
        let (name, params) = (format!("nestcheck-{run}"), PatchParams::default());
        let patch = Patch::Merge(past);
        let patched = leases.patch(&name, &params, &patch);
        self.runtime.block_on(patched).expect("the run has a record");
    }

    /// Loses the record of a run.
    pub fn forget(&self, run: &str) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let (name, params) = (format!("nestcheck-{run}"), DeleteParams::default());
        self.runtime.block_on(leases.delete(&name, &params)).expect("the run has a record");
    }

    /// Creates an SCC, for as long as the guard lives.
    pub fn create_scc(&self, object: &Value) -> Created<'_> {
        self.create(&scc_resource(), object)
    }

    /// Creates a mutating webhook, for as long as the guard lives.
    pub fn create_webhook(&self, object: &Value) -> Created<'_> {
        self.create(&ApiResource::erase::<MutatingWebhookConfiguration>(&()), object)
    }

    /// Creates an admission policy and its binding of the same name, for as long as the guards live.
    /// The API server takes up a policy within a second or two, and without a word.
    pub fn create_policy(&self, kind: &str, name: &str, spec: &Value) -> [Created<'_>; 2] {
        self.create_bound(kind, name, spec, &serde_json::json!({"policyName": name}))
    }

    /// As [`Self::create_policy`], a validating policy that refuses.
    pub fn create_denying_policy(&self, name: &str, spec: &Value) -> [Created<'_>; 2] {
        let bound = serde_json::json!({"policyName": name, "validationActions": ["Deny"]});
        self.create_bound("ValidatingAdmissionPolicy", name, spec, &bound)
    }

    fn create_bound(
        &self,
        kind: &str,
        name: &str,
        spec: &Value,
        bound: &Value,
    ) -> [Created<'_>; 2] {
        let version = "admissionregistration.k8s.io/v1";
        let binding = format!("{kind}Binding");
        [(kind, spec), (binding.as_str(), bound)].map(|(kind, spec)| {
            let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
            self.create(
                &ApiResource::from_gvk(&gvk),
                &serde_json::json!({"apiVersion": version, "kind": kind,
                                    "metadata": {"name": name}, "spec": spec}),
            )
        })
    }

    /// Whether the API server changes or refuses this object as a dry run, as a policy does that is
    /// in force: what it would store.
    ///
    /// # Errors
    ///
    /// Its refusal.
    pub fn dry_run(&self, object: &Value) -> Result<Value, String> {
        let object: Pod = serde_json::from_value(object.clone()).expect("it is a pod");
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let stored = self.runtime.block_on(api.create(&params, &object));
        let stored = stored.map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(stored).expect("a pod is JSON"))
    }

    /// Creates a RuntimeClass of a handler, for as long as the guard lives.
    pub fn create_runtime_class(&self, name: &str, handler: &str) -> Created<'_> {
        let resource = ApiResource::erase::<RuntimeClass>(&());
        // What a test that was cut off has left would be in the way.
        self.delete(&format!("/apis/node.k8s.io/v1/runtimeclasses/{name}"), Duration::ZERO);
        let object = serde_json::json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
            "metadata": {"name": name}, "handler": handler,
        });
        self.create(&resource, &object)
    }

    /// As [`Self::create_scc`], an SCC of this text.
    pub fn create_scc_of(&self, name: &str, text: &str) -> Created<'_> {
        let mut object: Value = manifest::parse(name, text).expect("it is an SCC");
        object["metadata"] = serde_json::json!({"name": name});
        let resource = scc_resource();
        let path = format!("/apis/security.openshift.io/v1/{}/{name}", resource.plural);
        // What a test that was cut off has left would be in the way.
        self.delete(&path, Duration::ZERO);
        self.create_scc(&object)
    }

    fn create(&self, resource: &ApiResource, object: &Value) -> Created<'_> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let object: DynamicObject =
            serde_json::from_value(object.clone()).expect("it is an object");
        let created = Created { cluster: self, api: api.clone(), name: object.name_any() };
        let create = async { api.create(&PostParams::default(), &object).await };
        self.runtime.block_on(create).expect("it can be created");
        created
    }

    /// Expects that no run has left anything.
    #[track_caller]
    pub fn is_clean(&self) {
        assert_eq!(self.leftovers(), [""; 0], "runs have left namespaces");
    }

    /// A token of the service account `default` in namespace `default`, which has no rights.
    pub fn token_without_permissions(&self) -> String {
        self.token_of("default")
    }

    /// A token of a service account in namespace `default`.
    pub fn token_of(&self, account: &str) -> String {
        self.token_in("default", account)
    }

    /// A token of a service account in a namespace.
    pub fn token_in(&self, namespace: &str, account: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(600), ..Default::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let params = PostParams::default();
        let answer = accounts.create_token_request(account, &params, &request);
        let granted = self.runtime.block_on(answer).expect("a token");
        granted.status.and_then(|status| status.token).expect("the answer has one")
    }

    /// Whether the API has something at a path.
    pub fn has(&self, path: &str) -> bool {
        let answer = self.request(http::Method::GET, path, None);
        !matches!(answer, Err(kube::Error::Api(status)) if status.code == 404)
    }

    /// What the API has at a path.
    pub fn get(&self, path: &str) -> Value {
        self.request(http::Method::GET, path, None).expect("it can be read")
    }

    /// The text at a path of the API, such as the log of a pod.
    pub fn text(&self, path: &str) -> String {
        let request = http::Request::get(path).body(Vec::new());
        let answer = self.client.request_text(request.expect("the request is good"));
        self.runtime.block_on(answer).expect("it can be read")
    }

    /// Creates an object at a path of the API.
    pub fn post(&self, path: &str, object: &Value) {
        self.request(http::Method::POST, path, Some(object)).expect("it can be made");
    }

    /// Changes an object at a path of the API by a merge patch.
    pub fn merge(&self, path: &str, change: &Value) {
        let request = http::Request::patch(path)
            .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
            .body(change.to_string().into_bytes());
        let changed: Result<Value, _> =
            self.runtime.block_on(self.client.request(request.expect("the request is good")));
        changed.expect("it can be changed");
    }

    /// Deletes what is at a path of the API, if there is anything, and waits until it is gone or
    /// the time is over: a guard that panics would hide another panic.
    pub fn delete(&self, path: &str, limit: Duration) {
        let started = Instant::now();
        while self.request(http::Method::DELETE, path, None).is_ok() && started.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn request(
        &self,
        method: http::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, kube::Error> {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body);
        self.runtime.block_on(self.client.request(request.expect("the request is good")))
    }

    /// What the API server answers to somebody with a token: a body, or the status and message of a
    /// refusal.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub fn answer_to(
        &self,
        token: &str,
        (method, path): (&str, &str),
        body: &Value,
    ) -> Result<String, (u16, String)> {
        let kubeconfig = self.own_kubeconfig().with_token(token).text();
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .expect("the request is good");
        let answer = self.runtime.block_on(async {
            let read = kube::config::Kubeconfig::from_yaml(&kubeconfig).expect("a kubeconfig");
            let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
            let client = Client::try_from(config.expect("the kubeconfig is good"));
            client.expect("it can be used").request_text(request).await
        });
        answer.map_err(|error| match error {
            kube::Error::Api(status) => (status.code, status.message),
            other => panic!("{path}: {other}"),
        })
    }

    /// The rules of a ClusterRole of the cluster.
    pub fn rules_of(&self, role: &str) -> Vec<PolicyRule> {
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let role = self.runtime.block_on(roles.get(role)).expect("there is such a role");
        role.rules.unwrap_or_default()
    }

    /// Creates the role and the binding of a YAML text as they are, for as long
    /// as the guard lives.
    pub fn apply_grant(&self, yaml: &str) -> Grant<'_> {
        let (role, binding) = yaml.split_once("---\n").expect("there are two objects");
        let role: ClusterRole = manifest::parse("role", role).expect("it is a role");
        let binding: ClusterRoleBinding =
            manifest::parse("binding", binding).expect("it is a binding");
        assert_eq!(role.name_any(), binding.name_any());
        self.create_grant(&role, &binding)
    }

    fn create_grant(&self, role: &ClusterRole, binding: &ClusterRoleBinding) -> Grant<'_> {
        // The guard comes first: what was made half is removed too.
        let grant = Grant { cluster: self, name: role.name_any() };
        let params = PostParams::default();
        let (roles, bindings) = (Api::all(self.client.clone()), Api::all(self.client.clone()));
        self.runtime.block_on(roles.create(&params, role)).expect("the role can be made");
        self.runtime.block_on(bindings.create(&params, binding)).expect("it can be bound");
        grant
    }

    /// Gives that service account the rights of a role, for as long as the guard lives.
    pub fn grant(&self, role: &ClusterRole) -> Grant<'_> {
        let name = format!("{}-test", role.name_any());
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let role = ClusterRole { metadata: metadata.clone(), ..role.clone() };
        let binding = ClusterRoleBinding {
            metadata,
            role_ref: RoleRef {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "ClusterRole".to_owned(),
                name,
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: "default".to_owned(),
                namespace: Some("default".to_owned()),
                ..Subject::default()
            }]),
        };
        self.create_grant(&role, &binding)
    }
}

/// A cluster-wide object that ends with this.
pub struct Created<'a> {
    cluster: &'a Cluster,
    api: Api<DynamicObject>,
    name: String,
}

impl Drop for Created<'_> {
    fn drop(&mut self) {
        let params = DeleteParams::default();
        let _ = self.cluster.runtime.block_on(async {
            let answer = self.api.delete(&self.name, &params).await;
            // A namespace takes its time, and the next test looks for what is left.
            let gone = await_condition(self.api.clone(), &self.name, |object: Option<&_>| {
                object.is_none()
            });
            let _ = tokio::time::timeout(Duration::from_secs(30), gone).await;
            answer
        });
    }
}

/// Rights that end with this.
pub struct Grant<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        let (client, params) = (&self.cluster.client, DeleteParams::default());
        let roles: Api<ClusterRole> = Api::all(client.clone());
        let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
        let _ = self.cluster.runtime.block_on(bindings.delete(&self.name, &params));
        let _ = self.cluster.runtime.block_on(roles.delete(&self.name, &params));
    }
}
