//! Objects whose types this program does not know.

use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    api::{Api, DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::wait::conditions,
};
use serde_json::Value;
use tokio::time::sleep;

use super::{Admin, INTERVAL, bounded, until};
use crate::error::Error;

impl Admin {
    /// Makes an object. The caller bounds the wait.
    pub async fn create(&self, object: &Value) -> Result<(), Error> {
        let (api, object) = self.api_of(object)?;
        create(&api, &object).await.map(drop)
    }

    /// Makes an object, and then writes its status, which the API leaves out when an object is
    /// made, through its subresource. The caller bounds the wait.
    pub async fn create_with_status(&self, object: &Value) -> Result<(), Error> {
        let (api, object) = self.api_of(object)?;
        let mut created = create(&api, &object).await?;
        created.data["status"] = object.data["status"].clone();
        let name = created.metadata.name.clone().unwrap_or_default();
        // Not a patch, in which a null would not be a value.
        let parameters = PostParams::default();
        let request = api.replace_status(&name, &parameters, &created);
        bounded(&action("write the status of", &object), request).await.map(drop)
    }

    /// Makes a custom resource definition and waits, by a watch, until its kind is established. The
    /// caller bounds the wait.
    pub async fn define(&self, definition: &Value) -> Result<(), Error> {
        self.create(definition).await?;
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        until(api, name, conditions::is_crd_established()).await
    }

    /// Creates definitions, all at once, and waits until they are served. The caller bounds the
    /// wait.
    pub async fn define_all(&self, definitions: &[Value]) -> Result<(), Error> {
        try_join_all(definitions.iter().map(|definition| self.define(definition))).await.map(drop)
    }

    /// The API of an object's kind, where the object is or is to be, and the object.
    pub fn api_of(&self, object: &Value) -> Result<(Api<DynamicObject>, DynamicObject), Error> {
        let object: DynamicObject = serde_json::from_value(object.clone())
            .map_err(|error| Error::other(format!("a manifest is not an object: {error}")))?;
        let resource = resource_of(&object)?;
        let client = self.client.clone();
        let api = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        Ok((api, object))
    }
}

async fn create(api: &Api<DynamicObject>, object: &DynamicObject) -> Result<DynamicObject, Error> {
    let action = action("create", object);
    let parameters = PostParams::default();
    loop {
        let request = async { Ok(api.create(&parameters, object).await) };
        match bounded(&action, request).await? {
            // The handler of a new kind comes a moment after the condition of its definition, and
            // without an event.
            Err(kube::Error::Api(status)) if status.code == 404 => sleep(INTERVAL).await,
            answer => return answer.map_err(|error| Error::api(action, &error)),
        }
    }
}

fn resource_of(object: &DynamicObject) -> Result<ApiResource, Error> {
    let types = object.types.as_ref().ok_or_else(|| Error::other("a manifest has no kind"))?;
    let kind = GroupVersionKind::try_from(types)
        .map_err(|error| Error::other(format!("a manifest has an invalid kind: {error}")))?;
    // The one kind of these whose name is a plural already.
    if types.kind == "SecurityContextConstraints" {
        return Ok(ApiResource::from_gvk_with_plural(&kind, "securitycontextconstraints"));
    }
    Ok(ApiResource::from_gvk(&kind))
}

fn action(verb: &str, object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map(|types| types.kind.as_str()).unwrap_or_default();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    format!("{verb} {kind} `{name}`")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_has_its_plural() {
        let kinds = [
            (
                "security.openshift.io/v1",
                "SecurityContextConstraints",
                "securitycontextconstraints",
            ),
            ("config.openshift.io/v1", "Infrastructure", "infrastructures"),
            ("machineconfiguration.openshift.io/v1", "MachineConfigPool", "machineconfigpools"),
            ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings"),
            ("v1", "Namespace", "namespaces"),
        ];
        for (version, kind, plural) in kinds {
            let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            assert_eq!(resource_of(&object).unwrap().plural, plural);
        }
    }
}
