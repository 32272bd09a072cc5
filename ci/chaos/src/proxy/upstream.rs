//! The connections to the API server.

use std::path::Path;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Config,
    client::ConfigExt,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

use crate::Result;

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;

/// The API server, as the administrator or with a client's token.
#[derive(Clone)]
pub(crate) struct Upstream {
    administrator: Service,
    bearer: Service,
}

impl Upstream {
    /// Reads the administrator's kubeconfig.
    pub(crate) async fn new(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let options = KubeConfigOptions::default();
        let administrator = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let mut bearer = administrator.clone();
        bearer.auth_info = AuthInfo::default();
        Ok(Self { administrator: service(&administrator)?, bearer: service(&bearer)? })
    }

    /// Asks the server. The administrator's credentials go with a request that has none of its own,
    /// and with no other.
    pub(super) async fn ask(
        &self,
        request: Request<Full<Bytes>>,
    ) -> std::result::Result<Response<Incoming>, BoxError> {
        let has_credentials = request.headers().contains_key(header::AUTHORIZATION);
        let service = if has_credentials { &self.bearer } else { &self.administrator };
        service.clone().oneshot(request).await
    }
}

fn service(config: &Config) -> Result<Service> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(BoxCloneSyncService::new(service))
}
