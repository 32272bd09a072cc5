//! What the API server has of a run, asked without the proxy.

use std::{collections::BTreeSet, path::Path, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use harness::{
    cluster::{Cluster, ConnectOptions},
    sandbox::RUN_LABEL,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams},
    core::ApiResource,
    discovery::{Discovery, verbs},
};

use crate::Result;

/// How long one question may take: the cluster is busy with many runs at once.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How many kinds are listed at once.
const LISTS_AT_ONCE: usize = 8;

/// Kinds that carry no label of a run, and of which there are thousands.
const SKIPPED: [&str; 2] = ["events", "componentstatuses"];

/// The kinds of a cluster, and a client to list them with.
#[derive(Clone)]
pub(crate) struct Inventory {
    client: Client,
    kinds: Vec<ApiResource>,
}

impl Inventory {
    /// Finds out which kinds the server can list: all of them are looked through, as what nestcheck
    /// should not have made is found nowhere else.
    pub(crate) async fn new(kubeconfig: &Path) -> Result<Self> {
        let options =
            ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), ..ConnectOptions::default() };
        let client = Cluster::connect(&options).await?.admin().clone();
        let discovery =
            tokio::time::timeout(TIMEOUT, Discovery::new(client.clone()).run()).await??;
        let kinds = discovery
            .groups()
            .flat_map(kube::discovery::ApiGroup::recommended_resources)
            .filter(|(kind, can)| {
                can.supports_operation(verbs::LIST) && !SKIPPED.contains(&kind.plural.as_str())
            })
            .map(|(kind, _)| kind)
            .collect();
        Ok(Self { client, kinds })
    }

    /// The objects of a run.
    pub(crate) async fn of_run(&self, run: &str) -> Result<Vec<String>> {
        let found = self.labelled(&format!("{RUN_LABEL}={run}")).await?;
        Ok(found.into_iter().map(|(name, _)| name).collect())
    }

    /// The runs that have objects.
    pub(crate) async fn runs(&self) -> Result<BTreeSet<String>> {
        Ok(self.labelled(RUN_LABEL).await?.into_iter().map(|(_, run)| run).collect())
    }

    /// The objects that a selector matches, and the run that each belongs to.
    async fn labelled(&self, selector: &str) -> Result<Vec<(String, String)>> {
        let lists = stream::iter(&self.kinds).map(|kind| self.list(kind, selector));
        let found: Vec<_> = lists.buffer_unordered(LISTS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn list(&self, kind: &ApiResource, selector: &str) -> Result<Vec<(String, String)>> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), kind);
        let params = ListParams::default().labels(selector);
        let listed = tokio::time::timeout(TIMEOUT, api.list_metadata(&params)).await?;
        let objects = match listed {
            Ok(objects) => objects.items,
            // A kind can end while a cluster runs, and a kind that nobody can list holds nothing.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => Vec::new(),
            Err(error) => return Err(format!("failed to list {}: {error}", kind.plural).into()),
        };
        let named = objects.into_iter().map(|object| {
            let namespace = object.namespace().map(|name| name + "/").unwrap_or_default();
            let run = object.labels().get(RUN_LABEL).cloned().unwrap_or_default();
            (format!("{} {namespace}{}", kind.kind, object.name_any()), run)
        });
        Ok(named.collect())
    }
}
