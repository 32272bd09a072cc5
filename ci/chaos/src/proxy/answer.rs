//! What the proxy answers with.

use bytes::Bytes;
use futures::{StreamExt, future::ready, stream};
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use tower::BoxError;

use super::cut;
use crate::fault::status_answer;

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The server's answer as it is.
pub(super) fn whole(answer: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    forget_framing(&mut parts.headers, parts.status);
    Response::from_parts(parts, body.map_err(BoxError::from).boxed_unsync())
}

/// The first half of the first piece of the server's answer, and then no more.
pub(super) fn severed(answer: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    forget_framing(&mut parts.headers, parts.status);
    let first = BodyStream::new(body).take(1).map(|frame| {
        frame.map_err(BoxError::from).map(|frame| {
            let piece = frame.into_data().unwrap_or_default();
            Frame::data(piece.slice(..piece.len() / 2))
        })
    });
    let body = StreamBody::new(first.chain(stream::once(ready(Err(cut())))));
    Response::from_parts(parts, body.boxed_unsync())
}

/// An answer in the server's place.
pub(super) fn instead(code: StatusCode) -> Result<Response<Body>, BoxError> {
    let (headers, body) = status_answer(code);
    let mut answer = Response::builder().status(code);
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    Ok(answer.body(Full::from(body).map_err(|never| match never {}).boxed_unsync())?)
}

/// Takes away what concerned the server's connection; an upgrade's headers are part of its answer.
fn forget_framing(headers: &mut HeaderMap, status: StatusCode) {
    headers.remove(header::TRANSFER_ENCODING);
    if status != StatusCode::SWITCHING_PROTOCOLS {
        headers.remove(header::CONNECTION);
    }
}
