//! Care of the store: `POST /api/verify`, `POST /api/gc`, `GET /api/df`, `GET /api/outdated`, `POST /api/update`,
//! `POST /api/rollback`. A client that hangs up ends a verification, a repair or an update; what came of it stays.

use super::{as_asked, model_name, pull};
use crate::{
    body::LenientJson,
    care::{self, Verification},
    error::ApiError,
    ndjson,
    pulls::Wish,
    state::App,
};
use axum::{Json, extract::State, response::Response};
use futures_util::{StreamExt, stream};
use slm_api::{
    care::{
        DfResponse, GcRequest, GcResponse, OutdatedResponse, RollbackRequest, RollbackResponse,
        UpdateRequest, VerifyRequest,
    },
    ollama::Progress,
};
use slm_registry::{Digest, Error, ModelName, Reference, Via};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// One at a time: each reads the whole store, or asks every registry.
static VERIFICATIONS: Semaphore = Semaphore::const_new(1);
static COMPARISONS: Semaphore = Semaphore::const_new(1);

/// Reads every blob again.
pub(super) async fn verify(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<VerifyRequest>,
) -> Result<Response, ApiError> {
    let verification = Verification::check(&request, &app.pulls)?;
    let place = VERIFICATIONS.try_acquire();
    let place = place.map_err(|_| ApiError::busy_with("verifying the store"))?;
    let (lines, receiver) = mpsc::channel(ndjson::LINES_AHEAD);
    let store = app.store.clone();
    tokio::spawn(async move {
        verification.run(store, lines).await;
        drop(place);
    });
    Ok(ndjson::lines(ndjson::receiver(receiver)))
}

/// Removes what nobody needs, or shows it.
pub(super) async fn gc(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<GcRequest>,
) -> Result<Json<GcResponse>, ApiError> {
    app.blocking(move |app| care::gc(&app.store, &request).map(Json))
        .await
}

/// What takes how much of the disk.
pub(super) async fn df(State(app): State<Arc<App>>) -> Result<Json<DfResponse>, ApiError> {
    app.blocking(|app| care::df(&app.store).map(Json)).await
}

/// How the models compare with where they came from.
pub(super) async fn outdated(
    State(app): State<Arc<App>>,
) -> Result<Json<OutdatedResponse>, ApiError> {
    let place = COMPARISONS.try_acquire();
    let _place = place.map_err(|_| ApiError::busy_with("comparing models with their sources"))?;
    let options = app.pulls.options(false);
    care::outdated(&app.store, options).await.map(Json)
}

/// Pulls a model again from where it came.
pub(super) async fn update(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<UpdateRequest>,
) -> Result<Response, ApiError> {
    let name = model_name(&request.model)?;
    let insecure = request.insecure.unwrap_or(false);
    let (reference, before) = {
        let name = name.clone();
        app.blocking(move |app| source_of(app, &name, &request.model))
            .await?
    };
    if reference.is_http() && !insecure {
        return Err(ApiError::bad_request("insecure protocol http"));
    }
    let watcher = app.pulls.join(Wish {
        reference: reference.clone(),
        insecure,
        max_bandwidth: None,
    });
    // The last line comes when the name has what was pulled, which matters for copies. An error before it ends the lines,
    // and nothing is copied.
    let is_news =
        |line: &Result<Progress, ApiError>| !matches!(line, Ok(line) if line.status == "success");
    let ended = stream::once(async move {
        let digest = app
            .blocking(move |app| {
                if !reference.name().is_same_model(&name) {
                    app.store.copy(reference.name(), &name)?;
                }
                Ok(app.store.find(&name)?.digest)
            })
            .await;
        match digest {
            Ok(after) => vec![
                status(care::news(before, after)),
                status("success".to_owned()),
            ],
            Err(error) => vec![Err(error)],
        }
    });
    let pulled = pull::lines(watcher);
    let lines = pulled
        .filter(move |line| std::future::ready(is_news(line)))
        .chain(ended.flat_map(stream::iter));
    Ok(ndjson::lines(Box::pin(lines)))
}

fn status(text: String) -> Result<Progress, ApiError> {
    Ok(Progress {
        status: text,
        ..Progress::default()
    })
}

/// What to pull again, and the digest of what is there.
fn source_of(app: &App, name: &ModelName, raw: &str) -> Result<(Reference, Digest), ApiError> {
    let entry = app.store.find(name);
    let entry = entry.map_err(|error| as_asked(error.into(), raw))?;
    let reference: Reference = match app.store.provenance(&entry.name)? {
        // Pulled before that was noted, or by Ollama.
        None => entry.name.to_string().parse()?,
        Some(noted) if noted.via == Via::Create => {
            let parent = noted
                .parent
                .map_or_else(|| "files".to_owned(), |parent| format!("`{}`", parent.name));
            return Err(ApiError::bad_request(format!(
                "`{}` was made here of {parent}; update that, and create the model again",
                entry.name
            )));
        }
        Some(noted) => {
            let source = noted.source.and_then(|source| source.parse().ok());
            source.ok_or_else(|| {
                ApiError::bad_request(format!(
                    "what was noted of where `{}` came from is not understood; pull it by its name",
                    entry.name
                ))
            })?
        }
    };
    let source = reference.name();
    if !source.is_same_model(&entry.name)
        && let Ok(Some(noted)) = app.store.provenance(source)
        && noted.via == Via::Create
    {
        return Err(ApiError::bad_request(format!(
            "`{}` is a copy of `{source}`, which was made anew here since; pull it under its own name, `slm pull {source}`, once that may be replaced",
            entry.name
        )));
    }
    if reference.file().is_some() {
        return Err(ApiError::bad_request(format!(
            "`{}` came from a file of this machine; create it again from the file",
            entry.name
        )));
    }
    Ok((reference, entry.digest))
}

/// Swaps a model with its earlier version.
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<RollbackRequest>,
) -> Result<Json<RollbackResponse>, ApiError> {
    let name = model_name(&request.model)?;
    app.blocking(move |app| match app.store.roll_back(&name) {
        Err(Error::NotFound { .. }) => Err(ApiError::no_model(request.model)),
        other => Ok(Json(RollbackResponse {
            digest: other?.to_string(),
        })),
    })
    .await
}
