//! `POST /api/adopt/find` and `POST /api/adopt`, which Ollama does not have: models of other programs on this machine,
//! used in place.
//!
//! Only for clients on this machine, since the daemon reads files for them. An adoption goes on to its end when the
//! client hangs up.

use super::blobs::is_direct_and_local;
use crate::{
    body::LenientJson,
    error::ApiError,
    ndjson,
    reports::{self, Reports},
    state::App,
};
use axum::{
    Json,
    extract::{ConnectInfo, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use slm_api::{
    ollama::Progress,
    store::{AdoptFound, AdoptRequest, ForeignModel},
};
use slm_registry::{AdoptBy, Candidate, ForeignSource, Found, ModelName};
use std::{net::SocketAddr, path::Path, sync::Arc};

/// Looks, and changes nothing.
pub(super) async fn find(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    LenientJson(request): LenientJson<AdoptRequest>,
) -> Result<Json<AdoptFound>, ApiError> {
    check_local(peer, &headers)?;
    app.blocking(move |app| {
        let Found { candidates, notes } = look(app, &request)?;
        let models = candidates.into_iter().map(|candidate| ForeignModel {
            name: candidate.name.to_string(),
            program: candidate.program.to_string(),
            size: candidate.size,
            path: candidate.path().display().to_string(),
            is_here: is_whole(app, &candidate.name),
        });
        Ok(Json(AdoptFound {
            models: models.collect(),
            notes,
        }))
    })
    .await
}

/// Makes what was found models of the store; those that it has, whole, are passed over.
pub(super) async fn adopt(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    LenientJson(request): LenientJson<AdoptRequest>,
) -> Result<Response, ApiError> {
    check_local(peer, &headers)?;
    let by = if request.hard_link {
        AdoptBy::HardLink
    } else {
        AdoptBy::Sharing
    };
    let lines = reports::run(&app, move |app, reports| {
        let candidates = look(app, &request)?.candidates;
        for candidate in chosen(candidates, &request.models)? {
            adopt_one(app, &candidate, by, reports)?;
        }
        Ok(())
    });
    Ok(ndjson::lines(ndjson::receiver(lines)))
}

fn check_local(peer: SocketAddr, headers: &HeaderMap) -> Result<(), ApiError> {
    if is_direct_and_local(peer, headers) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "only a client on the daemon's own machine can adopt files of it",
    ))
}

fn look(app: &App, request: &AdoptRequest) -> Result<Found, ApiError> {
    let sources: Vec<ForeignSource> = match request.source.as_str() {
        "" => app.config.foreign.clone(),
        path if Path::new(path).is_absolute() => vec![ForeignSource::at(Path::new(path))],
        program => {
            let of_program = app.config.foreign.iter();
            let of_program: Vec<_> = of_program
                .filter(|source| source.program.to_string() == program)
                .cloned()
                .collect();
            if of_program.is_empty() {
                return Err(ApiError::bad_request(format!(
                    "there is no store of `{program}` on this machine; name `ollama`, `huggingface`, `lmstudio`, or a path"
                )));
            }
            of_program
        }
    };
    Ok(app.store.find_foreign(&sources)?)
}

fn chosen(candidates: Vec<Candidate>, wanted: &[String]) -> Result<Vec<Candidate>, ApiError> {
    if wanted.is_empty() {
        return Ok(candidates);
    }
    let mut chosen = Vec::new();
    for raw in wanted {
        let name = super::model_name(raw)?;
        let found = candidates.iter().find(|c| c.name.is_same_model(&name));
        let found = found.ok_or_else(|| {
            ApiError::new(
                StatusCode::NOT_FOUND,
                format!("`{raw}` is not among what was found; `slm adopt` lists that"),
            )
        })?;
        chosen.push(found.clone());
    }
    Ok(chosen)
}

/// Whether the model is here with all of its blobs: one that lost a file it referred to is adopted again.
fn is_whole(app: &App, name: &ModelName) -> bool {
    let manifest = app.store.manifest(name);
    manifest.is_ok_and(|manifest| {
        manifest
            .blobs()
            .all(|blob| app.store.has_blob(&blob.digest))
    })
}

fn adopt_one(
    app: &App,
    candidate: &Candidate,
    by: AdoptBy,
    reports: &mut Reports,
) -> Result<(), ApiError> {
    let name = &candidate.name;
    let line = |status: String| Progress {
        status,
        ..Progress::default()
    };
    if is_whole(app, name) {
        reports.line(line(format!("{name} is here already")));
        return Ok(());
    }
    let make_config = app.config.network.make_config.as_deref();
    let mut progress = |path: &Path, done, total| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        reports.bytes(
            format!("hashing {file}"),
            path.display().to_string(),
            done,
            total,
        );
    };
    let adopted = candidate.adopt(&app.store, by, make_config, &mut progress);
    let adopted = adopted.map_err(|error| {
        let error = ApiError::from(error);
        ApiError::new(error.status(), format!("{name}: {}", error.message()))
    })?;
    reports.line(line(format!("adopted {name} {adopted}")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{TestDaemon, tiny_model};
    use axum::{body::Body, extract::ConnectInfo};
    use http::{Request, StatusCode};
    use serde_json::json;
    use std::net::SocketAddr;

    #[tokio::test]
    async fn files_of_this_machine_are_for_its_own_clients() {
        let daemon = TestDaemon::new();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.gguf"), tiny_model()).unwrap();
        let body = json!({"source": folder.path()}).to_string();
        for path in ["/api/adopt/find", "/api/adopt"] {
            let request = |peer: [u8; 4], header: (&str, &str)| {
                let peer: SocketAddr = (peer, 50_000).into();
                let request = Request::post(path).header("host", "localhost");
                let request = request
                    .header(header.0, header.1)
                    .extension(ConnectInfo(peer));
                request.body(Body::from(body.clone())).unwrap()
            };
            let far = daemon.send(request([10, 0, 0, 7], ("x", "y"))).await;
            assert_eq!(far.status, StatusCode::FORBIDDEN, "{far:?}");
            let proxied = request([127, 0, 0, 1], ("x-forwarded-for", "1.2.3.4"));
            let proxied = daemon.send(proxied).await;
            assert_eq!(proxied.status, StatusCode::FORBIDDEN, "{proxied:?}");
            let near = daemon.send(request([127, 0, 0, 1], ("x", "y"))).await;
            assert_eq!(near.status, StatusCode::OK, "{near:?}");
        }
        let shown = daemon.post("/api/show", r#"{"model":"m"}"#).await;
        assert_eq!(shown.status, StatusCode::OK, "{shown:?}");
    }

    #[tokio::test]
    async fn what_is_not_there_is_said() {
        let daemon = TestDaemon::new();
        let local = |source: &str| {
            let body = json!({"source": source}).to_string();
            let request = Request::post("/api/adopt/find").header("host", "localhost");
            request.body(Body::from(body)).unwrap()
        };
        let unknown = daemon.send(local("gpt4all")).await;
        assert!(
            unknown.error().contains("no store of `gpt4all`"),
            "{unknown:?}"
        );
        let missing = daemon.send(local("/none/at/all")).await;
        assert!(
            missing.error().contains("cannot read `/none/at/all`"),
            "{missing:?}"
        );
    }
}
