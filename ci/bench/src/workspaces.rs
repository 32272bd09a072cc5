//! Makes the workspaces of a run again, and waits for the DevWorkspace Operator.

use std::{sync::Arc, time::Instant};

use harness::sandbox::WORKSPACE_ID_LABEL;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, PostParams},
    runtime::wait::await_condition,
};

use crate::{
    Result,
    calls::{Call, Who},
    objects,
    play::{Made, Scene},
};

impl Scene {
    /// Makes the namespace ready for workspaces, once.
    async fn prepare_workspaces(&self) -> Result<()> {
        let prepare = || async {
            for call in &self.for_workspaces {
                self.send("workspaces", call).await?;
            }
            let admin = self.grounds.client(Who::Administrator).await?.clone();
            let maps: Api<ConfigMap> = Api::namespaced(admin, &self.home);
            for map in objects::files_of_workspaces() {
                maps.create(&PostParams::default(), &map).await?;
            }
            Ok(())
        };
        self.prepared.get_or_try_init(|| Box::pin(prepare())).await.copied()
    }

    /// Creates a workspace and, where it is to run, waits until it does or has failed.
    pub(crate) async fn workspace(&self, call: &Call) -> Result<Option<Made>> {
        self.prepare_workspaces().await?;
        match self.send(&call.name, call).await? {
            Some(_) if call.starts_workspace() == Some(true) => self.workspace_is(call, true).await,
            _ => Ok(None),
        }
    }

    /// Waits until a workspace runs or is stopped, or has failed; returns its pod if it runs.
    pub(crate) async fn workspace_is(&self, call: &Call, runs: bool) -> Result<Option<Made>> {
        let began = Instant::now();
        let wanted = if runs { "Running" } else { "Stopped" };
        let is_settled = |workspace: Option<&DynamicObject>| {
            workspace.is_some_and(|workspace| {
                let phase = text(workspace, "/status/phase");
                phase == wanted || matches!(phase, "Failed" | "Error")
            })
        };
        let workspaces = self.grounds.workspaces(call.who).await?;
        let workspace = await_condition(workspaces, &call.name, is_settled).await?;
        let workspace = workspace.ok_or("the workspace is gone")?;
        self.waited(&call.name, began.elapsed().as_secs_f64());
        if !runs || text(&workspace, "/status/phase") != wanted {
            return Ok(None);
        }
        let id = text(&workspace, "/status/devworkspaceId");
        for (old, _) in self.workspaces.iter().filter(|(_, name)| **name == call.name) {
            self.known.put(old, id);
        }
        let client = self.grounds.client(call.who).await?.clone();
        let pods: Api<Pod> = Api::namespaced(client, &self.home);
        let of_it = ListParams::default().labels(&format!("{WORKSPACE_ID_LABEL}={id}"));
        let mut pods = pods.list(&of_it).await?.items.into_iter();
        let pod = pods.find(|pod| pod.metadata.deletion_timestamp.is_none());
        let pod =
            pod.ok_or_else(|| format!("the workspace `{}` has no pod", workspace.name_any()))?;
        self.learn_address(call, &pod);
        Ok(Some(Made { pod: Arc::new(pod), who: call.who }))
    }
}

fn text<'a>(workspace: &'a DynamicObject, pointer: &str) -> &'a str {
    let text = workspace.data.pointer(pointer).and_then(serde_json::Value::as_str);
    text.unwrap_or_default()
}
