//! A cluster for runs that have none: each request is answered with an error that says so.

use std::convert::Infallible;

use http::{Request, Response, StatusCode, Uri};
use kube::{Client, Config, client::Body};
use serde_json::json;

use super::Cluster;

/// The status of the answers: neither a refusal of something that was asked for, nor one after which to
/// ask again.
const CODE: StatusCode = StatusCode::METHOD_NOT_ALLOWED;

/// The message of the answers.
const MESSAGE: &str = "`nestcheck inside` asks no API server";

impl Cluster {
    /// A cluster that is not there. No request leaves this machine.
    #[must_use]
    pub(crate) fn nowhere() -> Self {
        let config = Config::new(Uri::from_static("http://nowhere.invalid"));
        let admin = Client::new(tower::service_fn(answer), "default");
        Self { config, proxy: None, admin, image: None }
    }
}

async fn answer(_request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": MESSAGE, "reason": "MethodNotAllowed", "code": CODE.as_u16(),
    });
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = CODE;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::{Api, api::ListParams};

    use super::*;
    use crate::{base::error::ErrorKind, cluster::call};

    #[tokio::test]
    async fn a_request_is_an_error_at_once_and_no_loss_after_which_to_ask_again() {
        let api: Api<Pod> = Api::namespaced(Cluster::nowhere().admin().clone(), "any");
        let params = ListParams::default();

        let answer = call("list pods", || api.list(&params)).await;

        let error = answer.expect_err("there is no server");
        assert!(error.to_string().contains(MESSAGE), "{error}");
        assert_eq!((error.kind(), error.is_loss()), (ErrorKind::Infrastructure, false));
    }
}
