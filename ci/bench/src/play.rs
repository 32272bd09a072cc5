//! Makes the requests of a run again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use harness::{cluster::status_code, pod_template::PodTemplate};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::Deployment, core::v1::Pod},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, PostParams},
    core::GroupVersionKind,
    runtime::wait::{await_condition, conditions},
};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    Result,
    calls::{Address, Call, Who, shared_template},
    grounds::{Grounds, granted, until},
    objects,
    raw::{is_ready, pod_until},
    substitution::Substitutions,
};

/// A pod that was made again, and by whom.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) pod: Arc<Pod>,
    pub(crate) who: Who,
}

/// Where requests are made again.
pub(crate) struct Scene {
    pub(crate) grounds: Grounds,
    pub(crate) home: String,
    pub(crate) known: Substitutions,
    /// The addresses of the run's pods.
    pub(crate) addresses: Vec<Address>,
    /// What makes the namespace ready for workspaces, and whether it was done.
    pub(crate) for_workspaces: Vec<Call>,
    pub(crate) prepared: OnceCell<()>,
    /// The names of the run's workspaces by their ids.
    pub(crate) workspaces: BTreeMap<String, String>,
    /// How long the operator took for each workspace, in seconds.
    pub(crate) waits: Mutex<BTreeMap<String, f64>>,
    /// The answers with another status than the run's.
    pub(crate) differing: Mutex<Vec<String>>,
}

impl Scene {
    /// A scene in a namespace that is there.
    pub(crate) fn new(grounds: Grounds, home: &str) -> Self {
        Self {
            grounds,
            home: home.to_owned(),
            known: Substitutions::default(),
            addresses: Vec::new(),
            for_workspaces: Vec::new(),
            prepared: OnceCell::new(),
            workspaces: BTreeMap::new(),
            waits: Mutex::default(),
            differing: Mutex::default(),
        }
    }

    /// Puts the scene's names in the place of a run's: its id, its own namespace, and its others.
    pub(crate) fn replace<'a>(
        &self,
        run: &str,
        home: &str,
        suffixes: impl Iterator<Item = &'a String>,
    ) {
        self.known.put(run, "bench");
        self.known.put(home, &self.home);
        for suffix in suffixes {
            self.known.put(&format!("{home}-{suffix}"), &format!("{}-{suffix}", self.home));
        }
    }

    /// Creates a pod, and what it needs beside it, and waits until it is ready; where nobody runs a
    /// command in it, until it is clear that it does not start.
    pub(crate) async fn pod(&self, call: &Call, is_used: bool) -> Result<Option<Made>> {
        if call.kind == "create devworkspaces" {
            return self.workspace(call).await;
        }
        if let Some(template) = shared_template(&call.name) {
            self.supporting_objects(template).await?;
        }
        let Some(answer) = self.send("", call).await? else { return Ok(None) };
        let created: Pod = serde_json::from_str(&answer)?;
        let is_done = |pod: &Pod| is_ready(pod) || (!is_used && is_stuck(pod));
        let pod = pod_until(self.grounds.client(call.who).await?, created, is_done).await?;
        self.learn_address(call, &pod);
        Ok(Some(Made { pod: Arc::new(pod), who: call.who }))
    }

    /// Puts a pod's address in the place of the one that it got in the run after `call`.
    pub(crate) fn learn_address(&self, call: &Call, pod: &Pod) {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let old = self.addresses.iter().find(|it| it.pod == call.name && it.at >= call.at);
        if let (Some(old), Some(new)) = (old, address) {
            self.known.put(&old.ip, new);
        }
    }

    /// Adds to what the operator took for a workspace.
    pub(crate) fn waited(&self, workspace: &str, seconds: f64) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        *waits.entry(workspace.to_owned()).or_default() += seconds;
    }

    async fn supporting_objects(&self, template: &PodTemplate) -> Result<()> {
        for supporting_object in objects::supporting_objects(template, &self.home)? {
            let kind = supporting_object.types.clone().unwrap_or_default();
            let kind = GroupVersionKind::try_from(&kind)?;
            let resource = ApiResource::from_gvk(&kind);
            let user = self.grounds.client(Who::User).await?;
            let api = Api::namespaced_with(user.clone(), &self.home, &resource);
            let params = PostParams::default();
            granted(&self.home, || api.create(&params, &supporting_object)).await?;
        }
        Ok(())
    }

    /// Makes any other request, and waits for what follows from it; returns the pod, if that is one.
    pub(crate) async fn call(&self, lane: &str, call: &Call) -> Result<Option<Made>> {
        let Some(answer) = self.send(lane, call).await? else { return Ok(None) };
        if let Some(runs) = call.starts_workspace() {
            return self.workspace_is(call, runs).await;
        }
        match call.kind.as_str() {
            "delete pods" => {
                let pods: Api<Pod> = self.api(call).await?;
                let deleted: Pod = serde_json::from_str(&answer)?;
                let uid = deleted.uid().unwrap_or_default();
                await_condition(pods, &call.name, conditions::is_deleted(&uid)).await?;
            }
            "create deployments" => {
                let deployments: Api<Deployment> = self.api(call).await?;
                await_condition(deployments, &call.name, is_available).await?;
            }
            _ => {}
        }
        Ok(None)
    }

    async fn api<K>(&self, call: &Call) -> Result<Api<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let namespace = self.grounds.namespace(&call.suffix).await?;
        Ok(Api::namespaced(self.grounds.client(call.who).await?.clone(), &namespace))
    }

    /// Sends a request as its user; returns the answer, or none where it is a refusal.
    pub(crate) async fn send(&self, lane: &str, call: &Call) -> Result<Option<String>> {
        self.grounds.namespace(&call.suffix).await?;
        let client = self.grounds.client(call.who).await?;
        let request = self.request(call)?;
        let send = || client.request_text(request.clone());
        let answer = if call.patient {
            until(send, kube::Result::is_err).await
        } else if call.is_accepted() {
            granted(&self.home, send).await
        } else {
            send().await
        };
        match answer {
            Ok(answer) => {
                self.compare(lane, call, if call.is_accepted() { call.code } else { 200 });
                Ok(Some(answer))
            }
            // A refusal is an answer too: what the case asks for may be forbidden or not served.
            Err(error) if call.is_question() || !call.is_accepted() => {
                let Some(code) = status_code(&error) else { return Err(error.into()) };
                self.compare(lane, call, code);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn request(&self, call: &Call) -> Result<http::Request<Vec<u8>>> {
        let (method, content) = match call.verb.as_str() {
            "create" => ("POST", "application/json"),
            "update" => ("PUT", "application/json"),
            "patch" if call.body.as_ref().is_some_and(Value::is_array) => {
                ("PATCH", "application/json-patch+json")
            }
            "patch" => ("PATCH", "application/merge-patch+json"),
            "delete" => ("DELETE", "application/json"),
            _ => ("GET", "application/json"),
        };
        let mut body = call.body.clone().unwrap_or_default();
        self.known.apply_to(&mut body);
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            // They are of the object in the run.
            metadata.retain(|name, _| !matches!(name.as_str(), "uid" | "resourceVersion"));
        }
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body)? };
        let request = http::Request::builder().method(method).uri(self.known.apply(&call.uri));
        Ok(request.header(http::header::CONTENT_TYPE, content).body(body)?)
    }

    /// The change of a pod, made to the replay's: what the server filled in is another one's in the
    /// run. What cases try to change is how the pod is kept apart.
    pub(crate) fn change_of(call: &Call, pod: &Pod) -> Result<Call> {
        let sent = call.body.clone().unwrap_or_default();
        let mut body = serde_json::to_value(pod)?;
        let containers = sent.pointer("/spec/containers").and_then(Value::as_array);
        let procs = (0..containers.map_or(0, Vec::len))
            .map(|index| format!("/spec/containers/{index}/securityContext/procMount"));
        for pointer in procs.chain(["/spec/hostUsers".to_owned()]) {
            let Some((parent, field)) = pointer.rsplit_once('/') else { continue };
            if let Some(Value::Object(parent)) = body.pointer_mut(parent) {
                match sent.pointer(&pointer) {
                    Some(value) => drop(parent.insert(field.to_owned(), value.clone())),
                    None => drop(parent.remove(field)),
                }
            }
        }
        Ok(Call { body: Some(body), ..call.clone() })
    }

    fn compare(&self, lane: &str, call: &Call, observed: u16) {
        if observed != call.code {
            let differing = format!("{lane}: {}: {}, {observed}", call.kind, call.code);
            self.differing.lock().unwrap_or_else(PoisonError::into_inner).push(differing);
        }
    }
}

fn is_available(deployment: Option<&Deployment>) -> bool {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| {
            condition.type_.as_deref() == Some("Available")
                && condition.status.as_deref() == Some("True")
        })
    })
}

/// Whether a container waits for anything but its turn, or has ended.
fn is_stuck(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let mut states = statuses.into_iter().flatten().filter_map(|status| status.state.as_ref());
    states.any(|state| {
        let reason = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        let waits = matches!(reason, None | Some("ContainerCreating" | "PodInitializing"));
        !waits || state.terminated.is_some()
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn pod(group: u32, host_users: bool, proc_mount: &str) -> Value {
        json!({"spec": {
            "hostUsers": host_users, "securityContext": {"fsGroup": group},
            "containers": [{"name": "tools", "securityContext": {"procMount": proc_mount}}],
        }})
    }

    #[test]
    fn a_change_of_a_pod_is_made_to_what_the_server_has_stored() {
        let call = Call {
            at: Timestamp::UNIX_EPOCH,
            who: Who::User,
            verb: "update".into(),
            kind: "update pods (dry run)".into(),
            uri: "/".into(),
            suffix: String::new(),
            name: "workspace".into(),
            body: Some(pod(1, false, "Default")),
            code: 422,
            patient: false,
        };
        let own: Pod = serde_json::from_value(pod(2, true, "Unmasked")).expect("it is a pod");
        let changed = Scene::change_of(&call, &own).expect("it is JSON").body.expect("a body");
        assert_eq!(changed["spec"], pod(2, false, "Default")["spec"]);
    }
}
