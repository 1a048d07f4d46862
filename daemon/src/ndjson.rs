//! Answers of one compact JSON object per line, flushed line by line, and of one object alone.

use crate::{ahead::ahead, error::ApiError};
use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;
use std::convert::Infallible;
use tokio::sync::mpsc;

/// Lines that a producer may be ahead of the client.
pub(crate) const LINES_AHEAD: usize = 64;

/// Answers with one line per item. An error is the last line; nothing follows it.
pub(crate) fn lines<T: Serialize + Send + 'static>(
    items: impl Stream<Item = Result<T, ApiError>> + Send + 'static,
) -> Response {
    let bytes = in_bytes(items).map(Ok::<Bytes, Infallible>);
    with_type(Body::from_stream(bytes), NDJSON)
}

/// The same, where the items do not wait for the client: those of a generation.
pub(crate) fn lines_ahead<T: Serialize + Send + 'static>(
    items: impl Stream<Item = Result<T, ApiError>> + Send + 'static,
) -> Response {
    let bytes = ahead(in_bytes(items)).map(Ok::<Bytes, Infallible>);
    with_type(Body::from_stream(bytes), NDJSON)
}

const NDJSON: &str = "application/x-ndjson";

fn in_bytes<T: Serialize + Send + 'static>(
    items: impl Stream<Item = Result<T, ApiError>> + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    // after an error the items are not even asked for: what would follow must not happen
    let ended = stream::unfold(Some(Box::pin(items)), |items| async {
        let mut items = items?;
        let item = items.next().await?;
        let rest = item.is_ok().then_some(items);
        Some((item, rest))
    });
    ended.map(|item| match item {
        Ok(item) => line(&item),
        Err(error) => {
            error.log();
            line(&error.body())
        }
    })
}

/// Answers with one object, in one line.
pub(crate) fn object<T: Serialize>(item: &T) -> Response {
    with_type(Body::from(line(item)), "application/json; charset=utf-8")
}

/// The items of a channel; dropping the stream closes it.
pub(crate) fn receiver<T: Send + 'static>(
    receiver: mpsc::Receiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

fn line<T: Serialize>(item: &T) -> Bytes {
    let mut line = serde_json::to_vec(item).unwrap_or_else(|error| {
        // wire types serialise; if one ever does not, the stream still says so
        format!(r#"{{"error":"cannot write the answer: {error}"}}"#).into_bytes()
    });
    line.push(b'\n');
    Bytes::from(line)
}

fn with_type(body: Body, content_type: &'static str) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
