//! What comes before a retry: everything that the case needs is back, and nothing of the first attempt
//! is in its way.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, future::join_all};
use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec,
};

use super::executor::Executor;
use crate::{
    engine::SharedWorkload,
    sandbox::pod_template::PodTemplate,
    workload::{self, Workload, disruption},
};

/// How long a pod for a retry may take: its image is on the node, but the node may be full.
const FRESH_POD_DEADLINE: Duration = Duration::from_secs(60);

/// How long a pod of the first attempt may take to end: its grace period, and its volumes are unmounted.
const END_DEADLINE: Duration = Duration::from_secs(60);

impl Executor {
    /// Waits for the return of the API server and of the case's nodes, and ends what still runs of
    /// the case in its pods. False if they do not return in time.
    pub(super) async fn is_back(&self) -> bool {
        let return_ = async {
            let admin = self.sandbox.admin();
            disruption::until_server_returns(admin).await.is_ok()
                && self.until_no_outage().await
                && self.end_commands().await
        };
        tokio::select! {
            is_back = return_ => is_back,
            () = self.stop.cancelled() => false,
        }
    }

    /// Waits for the end of every known outage of its nodes. False if one is final.
    async fn until_no_outage(&self) -> bool {
        let nodes = self.nodes();
        let mut changes = self.health.subscribe();
        while self.final_outage().is_none() && self.health.ongoing(nodes.as_deref()) {
            // The record lives as long as this.
            if changes.changed().await.is_err() {
                return false;
            }
        }
        self.final_outage().is_none()
    }

    /// Verifies that the case's pods answer, and ends its commands in them.
    async fn end_commands(&self) -> bool {
        let mut pods = self.commands.take();
        for (_, workload) in self.pods_of_templates() {
            if let Some(workload) = workload
                && !pods.iter().any(|(known, _)| Arc::ptr_eq(known, &workload))
            {
                pods.push((workload, Vec::new()));
            }
        }
        let verify = pods.iter().map(|(workload, nonces)| workload.verify(nonces));
        join_all(verify).await.iter().all(Result::is_ok)
    }

    /// Ends what the case made in its first attempt, whose names the retry uses again: pods, then the
    /// volumes that they keep files on. And makes fresh pods of its templates.
    pub(super) async fn prepare_retry(&mut self) -> Vec<Arc<Workload>> {
        let mut own = self.pods.names();
        for (_, shared) in self.pods_of_templates() {
            own.retain(|name| shared.as_ref().is_none_or(|shared| shared.name() != *name));
        }
        let sandbox = Arc::clone(&self.sandbox);
        let objects = self.objects.take();
        let end = async {
            let pods = own.iter().map(|name| workload::end_pod(&sandbox, name, END_DEADLINE));
            let pods = join_all(pods).await;
            let objects = objects.iter().map(|(resource, name)| {
                workload::end_object(&sandbox, resource, name, END_DEADLINE)
            });
            pods.into_iter().chain(join_all(objects).await).all(|is_gone| is_gone)
        };
        let (is_gone, fresh) = tokio::join!(end, self.make_fresh_pods());
        if !is_gone {
            tracing::debug!(case = self.case.id, "what the first attempt made is still there");
        }
        fresh
    }

    /// Makes pods for the retry alone. In those of the first attempt are names, processes and files
    /// that it left. One that can't be made is replaced by the shared one.
    async fn make_fresh_pods(&mut self) -> Vec<Arc<Workload>> {
        let templates =
            self.case.pods.iter().copied().filter(|template| self.is_replaceable(template));
        let pending =
            templates.map(|template| async { (template.name, self.fresh_pod(template).await) });
        let made: Vec<_> = join_all(pending).await;
        let mut workloads: BTreeMap<&'static str, SharedWorkload> = (*self.workloads).clone();
        let mut fresh = Vec::new();
        for (name, workload) in made {
            if let Some(workload) = workload {
                fresh.push(Arc::clone(&workload));
                let shared = async move { Ok(workload) }.boxed().shared();
                // It has its value only once somebody asked for it.
                let _ = shared.clone().now_or_never();
                workloads.insert(name, shared);
            }
        }
        self.workloads = Arc::new(workloads);
        fresh
    }

    /// Whether a second pod of this template can run at the same time: others share volumes, belong to
    /// an operator, or hold the node's power.
    fn is_replaceable(&self, template: &PodTemplate) -> bool {
        let workload = self.workloads.get(template.name).and_then(|workload| workload.peek());
        let has_objects =
            self.sandbox.supporting_objects(template).is_ok_and(|objects| objects.is_empty());
        matches!(workload, Some(Ok(_)))
            && has_objects
            && !template.is_workspace()
            && !template.is_optional()
    }

    /// Whether nothing of the first attempt can be in the way: each pod is a fresh one, and the case
    /// made none of its own.
    pub(super) fn is_fresh(&self) -> bool {
        !self.fresh.is_empty()
            && self.fresh.len() == self.case.pods.len()
            && self.pods.names().is_empty()
    }

    async fn fresh_pod(&self, template: &'static PodTemplate) -> Option<Arc<Workload>> {
        let mut pod = self.sandbox.pod(template).ok()?;
        let id = self.case.id.to_ascii_lowercase();
        let name = self.sandbox.name_of(&format!("{}-retry-of-{id}", template.name));
        pod.metadata.name = Some(name.clone());
        // On the node that was verified, and that the other pods of the case are on.
        let replaced = self.workloads.get(template.name).and_then(|workload| workload.peek());
        if let Some(Ok(replaced)) = replaced
            && let Some(node) = replaced.node()
        {
            require_node(pod.spec.get_or_insert_default(), node);
        }
        let make = Box::pin(workload::provision_pod(&self.sandbox, template, &pod));
        match tokio::time::timeout(FRESH_POD_DEADLINE, make).await {
            Ok(Ok(workload)) => Some(Arc::new(workload)),
            Ok(Err(failure)) => {
                tracing::debug!(pod = template.name, failure = failure.message(), "no fresh pod");
                workload::delete_pod(&self.sandbox, &name).await;
                None
            }
            Err(_elapsed) => {
                tracing::debug!(pod = template.name, "a fresh pod was not ready in time");
                workload::delete_pod(&self.sandbox, &name).await;
                None
            }
        }
    }
}

/// Lets a pod run on this node only. The scheduler still decides, so that a full node is respected.
fn require_node(spec: &mut PodSpec, node: &str) {
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), ..Default::default() };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}
