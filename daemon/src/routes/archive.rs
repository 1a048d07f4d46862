//! `POST /api/archive` and `POST /api/unarchive`, which Ollama does not have: a model's weights to the archive's disk and
//! back, with progress. A move goes on to its end when the client hangs up.

use super::{as_asked, model_name};
use crate::{
    body::LenientJson,
    error::ApiError,
    ndjson,
    reports::{self, Reports},
    state::App,
};
use axum::{extract::State, response::Response};
use slm_api::{ollama::Progress, store::ArchiveRequest};
use std::sync::Arc;

/// Moves a model to the archive.
pub(super) async fn archive(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<ArchiveRequest>,
) -> Result<Response, ApiError> {
    run(&app, request, false)
}

/// Moves a model back.
pub(super) async fn unarchive(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<ArchiveRequest>,
) -> Result<Response, ApiError> {
    run(&app, request, true)
}

fn run(app: &Arc<App>, request: ArchiveRequest, back: bool) -> Result<Response, ApiError> {
    let name = model_name(&request.model)?;
    let verb = if back { "restoring" } else { "archiving" };
    let lines = reports::run(app, move |app, reports: &mut Reports| {
        let mut progress = |digest: &slm_registry::Digest, done, total| {
            reports.bytes(format!("{verb} {digest}"), digest.to_string(), done, total);
        };
        let moved = if back {
            app.store.unarchive(&name, &mut progress)
        } else {
            app.store.archive(&name, &mut progress)
        };
        let moved = moved.map_err(|error| as_asked(error.into(), &request.model))?;
        if moved.n_blobs == 0 {
            let place = if back {
                "in the archive"
            } else {
                "in the models directory"
            };
            reports.line(Progress {
                status: format!("nothing of {name} is {place}"),
                ..Progress::default()
            });
        }
        Ok(())
    });
    Ok(ndjson::lines(ndjson::receiver(lines)))
}
