//! Passes a request on.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional, split};
use tower::BoxError;

use super::{
    Shared,
    answer::{self, Body},
    frames::FalseSuccess,
};
use crate::fault::Cut;

/// How long the server may take to begin an answer: longer than nestcheck itself waits.
const ANSWER: Duration = Duration::from_secs(60);

/// How much of a stream is read at once.
const PIECE: usize = 8 * 1024;

/// Passes a request on and returns the answer. Where both sides agree on another protocol, the
/// connection is passed through from then on.
pub(super) async fn forward(
    mut request: Request<Incoming>,
    shared: &Arc<Shared>,
) -> Result<Response<Incoming>, BoxError> {
    let client = hyper::upgrade::on(&mut request);
    let mut answer = forward_without_upgrade(request, shared).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut answer);
        let open = shared.connection().unwrap_or_default();
        tokio::spawn(open.run_until_cancelled_owned(async move {
            let _ = pass_through(client, server).await;
        }));
    }
    Ok(answer)
}

/// As [`forward`], but the connection is cut in the middle of the answer.
pub(super) async fn forward_severed(
    mut request: Request<Incoming>,
    shared: &Arc<Shared>,
) -> Result<Response<Body>, BoxError> {
    let client = hyper::upgrade::on(&mut request);
    let mut answer = forward_without_upgrade(request, shared).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer::severed(answer));
    }
    let server = hyper::upgrade::on(&mut answer);
    let end = shared.end.clone();
    tokio::spawn(end.run_until_cancelled_owned(async move {
        let _ = sever(client, server).await;
    }));
    Ok(answer::whole(answer))
}

/// As [`forward`], but the stream of a command is cut, and the client hears that it succeeded.
pub(super) async fn forward_false_success(
    mut request: Request<Incoming>,
    shared: &Arc<Shared>,
    cut: Cut,
) -> Result<Response<Body>, BoxError> {
    let client = hyper::upgrade::on(&mut request);
    let mut answer = forward_without_upgrade(request, shared).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut answer);
        let end = shared.end.clone();
        tokio::spawn(end.run_until_cancelled_owned(async move {
            let _ = claim_success(client, server, cut).await;
        }));
    }
    Ok(answer::whole(answer))
}

/// Passes a request on and returns the answer alone.
///
/// The server is asked by a task of its own: what has left nestcheck reaches the server, whether or
/// not nestcheck lives to hear the answer.
pub(super) async fn forward_without_upgrade(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
) -> Result<Response<Incoming>, BoxError> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    shared.record.note_runs(&body);
    forget_connection(&mut parts.headers);
    let request = Request::from_parts(parts, Full::<Bytes>::from(body));
    let asking = Arc::clone(shared);
    let task = shared.under_way.spawn(async move {
        let what = format!("{} {}", request.method(), request.uri());
        let asked = tokio::time::timeout(ANSWER, asking.upstream.ask(request)).await;
        asked.map_err(BoxError::from).flatten().inspect_err(|error| {
            asking.record.note_trouble(format!("{what}: {error}"));
        })
    });
    task.await?
}

/// Takes away what concerned the connection to the proxy; an upgrade's headers are part of the
/// request.
fn forget_connection(headers: &mut HeaderMap) {
    headers.remove(header::HOST);
    headers.remove(header::TRANSFER_ENCODING);
    if !headers.contains_key(header::UPGRADE) {
        headers.remove(header::CONNECTION);
    }
}

async fn both(
    client: OnUpgrade,
    server: OnUpgrade,
) -> Result<(TokioIo<Upgraded>, TokioIo<Upgraded>), BoxError> {
    let (client, server) = tokio::try_join!(client, server)?;
    Ok((TokioIo::new(client), TokioIo::new(server)))
}

async fn pass_through(client: OnUpgrade, server: OnUpgrade) -> Result<(), BoxError> {
    let (mut client, mut server) = both(client, server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Passes on what the client says and the first half of the first piece of what the server says.
async fn sever(client: OnUpgrade, server: OnUpgrade) -> Result<(), BoxError> {
    let (client, server) = both(client, server).await?;
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let first = async {
        let mut piece = vec![0; PIECE];
        let count = from_server.read(&mut piece).await?;
        to_client.write_all(&piece[..count / 2]).await
    };
    let said = async {
        copy(&mut from_client, &mut to_server).await?;
        // The client says no more; what the server says still decides.
        std::future::pending::<std::io::Result<()>>().await
    };
    tokio::select! {
        done = first => done?,
        done = said => done?,
    }
    Ok(())
}

/// Passes on what both sides say until the stream is to be cut, then ends it with success.
async fn claim_success(client: OnUpgrade, server: OnUpgrade, cut: Cut) -> Result<(), BoxError> {
    let (client, server) = both(client, server).await?;
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let said = async {
        copy(&mut from_client, &mut to_server).await?;
        std::future::pending::<std::io::Result<()>>().await
    };
    let passed = async {
        let mut piece = vec![0; PIECE];
        let mut stream = FalseSuccess::new(cut);
        while !stream.has_ended() {
            let count = from_server.read(&mut piece).await?;
            if count == 0 {
                break;
            }
            to_client.write_all(&stream.pass(&piece[..count])).await?;
        }
        to_client.shutdown().await
    };
    tokio::select! {
        done = passed => done?,
        done = said => done?,
    }
    Ok(())
}
