//! A client as kube makes it, but with a connection that sends small messages at once.
//!
//! kube's own connector leaves Nagle's algorithm on: the request that opens a command's stream is
//! held back until the server has acknowledged the end of the handshake, and the server
//! acknowledges it only after 40 ms (Linux, `TCP_DELACK_MIN`).

use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt},
};
use tower::ServiceBuilder;

/// Makes the client of a configuration.
///
/// # Errors
///
/// Certificates or keys that can't be used.
pub(super) fn client_of(config: Config) -> Result<Client, kube::Error> {
    // A proxy takes a connector of its own, so kube says what it makes of it.
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
