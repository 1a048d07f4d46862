//! `POST /api/path`, which Ollama does not have: where the large files of a model are, on this machine.
//!
//! Only for clients on this machine: nobody else has a use for its paths.

use super::{as_asked, blobs::is_direct_and_local, model_name};
use crate::{body::LenientJson, error::ApiError, paths, state::App};
use axum::{
    Json,
    extract::{ConnectInfo, State},
};
use http::{HeaderMap, StatusCode};
use slm_api::store::{PathRequest, PathResponse};
use std::{net::SocketAddr, sync::Arc};

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    LenientJson(request): LenientJson<PathRequest>,
) -> Result<Json<PathResponse>, ApiError> {
    if !is_direct_and_local(peer, &headers) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "only a client on the daemon's own machine is told where its files are; ask there, by a loopback address",
        ));
    }
    let name = model_name(&request.model)?;
    app.blocking(move |app| {
        let found = paths::of_model(&app.store, &name);
        found
            .map(Json)
            .map_err(|error| as_asked(error, &request.model))
    })
    .await
}
