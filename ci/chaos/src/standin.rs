//! A sweep by label alone, for a nestcheck that has no `sweep` yet.

use std::time::Duration;

use k8s_openapi::api::{core::v1::Namespace, rbac::v1::ClusterRole};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams},
};

use crate::{Result, inventory::Inventory, nestcheck::Output};

/// How long a namespace may take to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Deletes the namespaces and cluster roles of a run and waits until nothing of it is left.
pub(crate) async fn sweep(client: &Client, inventory: &Inventory, run: &str) -> Result<Output> {
    let mine = ListParams::default().labels(&format!("nestcheck/run={run}"));
    let now = DeleteParams::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for namespace in namespaces.list_metadata(&mine).await?.items {
        let _ = namespaces.delete(&namespace.name_any(), &now).await;
    }
    let roles: Api<ClusterRole> = Api::all(client.clone());
    for role in roles.list_metadata(&mine).await?.items {
        let _ = roles.delete(&role.name_any(), &now).await;
    }
    let gone = async {
        while !inventory.of_run(run).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    let code = match tokio::time::timeout(PATIENCE, gone).await {
        Ok(done) => done.map(|()| 0)?,
        Err(_) => 5,
    };
    Ok(Output { code: Some(code), stdout: String::new(), stderr: String::new() })
}
