//! A client as kube makes it, but with connections and bearer tokens of our own.
//!
//! kube's own connector leaves Nagle's algorithm on: the request that opens a command's stream is
//! held back until the server has acknowledged the end of the handshake, and the server
//! acknowledges it only after 40 ms (Linux, `TCP_DELACK_MIN`). And what kube does about proxies and
//! about plugins has no deadline and no words for the reader.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, StatusCode, header::AUTHORIZATION};
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt},
};
use tower::{BoxError, Service, ServiceBuilder};

use super::{proxy::Proxy, tokens::Tokens, tunnel::Connector};

/// Makes the client of a configuration, whose requests take this way and carry these tokens.
///
/// # Errors
///
/// Certificates or keys that can't be used.
pub(super) fn client_of(
    config: Config,
    proxy: Option<Arc<Proxy>>,
    tokens: Option<Arc<Tokens>>,
) -> Result<Client, kube::Error> {
    let connector = Connector::new(config.connect_timeout, proxy);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Authorized { http, tokens });
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// Puts the token of the moment into each request.
#[derive(Clone)]
struct Authorized<S> {
    http: S,
    tokens: Option<Arc<Tokens>>,
}

impl<S, B> Service<Request<Body>> for Authorized<S>
where
    S: Service<Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The one that was asked whether it is ready.
        let next = self.http.clone();
        let mut http = std::mem::replace(&mut self.http, next);
        let tokens = self.tokens.clone();
        Box::pin(async move {
            let Some(tokens) = tokens else {
                return http.call(request).await.map_err(Into::into);
            };
            let header = tokens.header().await?;
            request.headers_mut().insert(AUTHORIZATION, header.clone());
            let response = http.call(request).await.map_err(Into::into)?;
            if response.status() == StatusCode::UNAUTHORIZED {
                tokens.forget(&header).await;
            }
            Ok(response)
        })
    }
}
