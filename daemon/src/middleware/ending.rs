//! What comes once the daemon has begun to end: refused with 503, and words for what happens.
//!
//! Only `/health` is still answered: the process lives.

use crate::{error::ApiError, state::App};
use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderValue, header};
use http_body_util::BodyExt;
use std::{sync::Arc, time::Duration};

/// Words an error as clients of a path read it.
pub(crate) type InDialect = fn(&str, ApiError) -> Response;

/// What is answered to the end.
const HEALTH: &str = "/health";
/// How much of a request that is refused is read: who still writes when the connection closes may not see the answer.
const MAX_READ_BYTES: usize = 64 << 20;
/// How long it is read.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Refuses the request where the end has begun.
pub(crate) async fn refuse(
    State((app, in_dialect)): State<(Arc<App>, InDialect)>,
    request: Request,
    next: Next,
) -> Response {
    if !app.shutdown.begun.is_cancelled() || request.uri().path() == HEALTH {
        return next.run(request).await;
    }
    let mut response = in_dialect(request.uri().path(), ApiError::ending());
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    let _read_or_late = tokio::time::timeout(READ_TIMEOUT, read(request.into_body())).await;
    response
}

async fn read(mut body: Body) {
    let mut n_read = 0;
    while n_read < MAX_READ_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        n_read += frame.data_ref().map_or(0, |data| data.len());
    }
}
