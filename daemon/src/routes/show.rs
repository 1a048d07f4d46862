//! `POST /api/show`: everything about one model.

use super::{as_asked, model_name, named, timestamp};
use crate::{body::LenientJson, care, catalog::Record, details, error::ApiError, state::App};
use axum::{Json, extract::State};
use serde_json::{Map, Value};
use slm_api::ollama::{ShowAdapter, ShowRequest, ShowResponse};
use slm_registry::{MediaType, Modelfile};
use std::{collections::HashSet, fmt::Write as _, sync::Arc};

/// The longest licences of a model that are shown, all together.
const MAX_LICENSE_BYTES: usize = 16 << 20;

/// Answers.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    LenientJson(request): LenientJson<ShowRequest>,
) -> Result<Json<ShowResponse>, ApiError> {
    let raw = named(request.model, request.name);
    if raw.is_empty() {
        return Err(ApiError::bad_request("model is required"));
    }
    let name = model_name(&raw)?;
    let verbose = request.verbose.unwrap_or(false);
    let wants_provenance = request.provenance.unwrap_or(false);
    app.blocking(move |app| {
        let entry = app.store.find(&name);
        let entry = entry.map_err(|error| as_asked(error.into(), &raw))?;
        let record = app.catalog.record(&entry)?;
        let (model_info, tensors) = details::model_info(&record.weights_paths, verbose)?;
        let licenses = licenses(app, &record)?;
        Ok(Json(ShowResponse {
            license: licenses.shown(),
            modelfile: modelfile(app, &record, licenses)?,
            parameters: parameters(&record.params),
            template: record.template.source.clone(),
            system: record.system.clone().unwrap_or_default(),
            details: record.details(),
            messages: record.messages.clone(),
            model_info,
            tensors,
            adapters: adapters(&record),
            provenance: match wants_provenance {
                true => app.store.provenance(&entry.name)?.map(care::of_provenance),
                false => None,
            },
            capabilities: record.capability_names(),
            modified_at: timestamp(entry.modified),
        }))
    })
    .await
}

/// The licences of a model.
#[derive(Default)]
struct Licenses {
    texts: Vec<String>,
    /// A line for each that is longer than a person would ever read: how long, and where.
    left_out: Vec<String>,
}

impl Licenses {
    fn shown(&self) -> String {
        let all = self.texts.iter().chain(&self.left_out);
        all.map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Each licence once.
fn licenses(app: &App, record: &Record) -> Result<Licenses, ApiError> {
    let mut seen = HashSet::new();
    let layers = record.manifest.layers.iter();
    let layers =
        layers.filter(|layer| layer.media_type == MediaType::License && seen.insert(layer.digest));
    let mut n_left = MAX_LICENSE_BYTES;
    let mut licenses = Licenses::default();
    for layer in layers {
        let bytes = match app.store.read_small_blob(&layer.digest) {
            Ok(bytes) if bytes.len() <= n_left => bytes,
            Ok(_) | Err(slm_registry::Error::BlobTooLarge { .. }) => {
                let path = app.store.blob_path(&layer.digest);
                let line = format!("a licence of {} bytes: {}", layer.size, path.display());
                licenses.left_out.push(line);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        n_left -= bytes.len();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        licenses.texts.push(text);
    }
    Ok(licenses)
}

fn adapters(record: &Record) -> Vec<ShowAdapter> {
    let layers = record.adapters.iter().map(|layer| ShowAdapter {
        digest: layer.digest.to_string(),
        size: layer.size,
    });
    layers.collect()
}

/// A Modelfile that makes the same model.
fn modelfile(app: &App, record: &Record, licenses: Licenses) -> Result<String, ApiError> {
    let blobs = |kind: MediaType| {
        let layers = record.manifest.layers.iter();
        layers
            .filter(move |layer| layer.media_type == kind)
            .map(|layer| app.store.blob_path(&layer.digest).display().to_string())
    };
    let text = |key: &str| record.config[key].as_str().map(str::to_owned);
    let modelfile = Modelfile {
        from: blobs(MediaType::Model)
            .chain(blobs(MediaType::Projector))
            .collect(),
        parameters: flat(&record.params),
        template: app
            .catalog
            .text_layer(&record.manifest, &MediaType::Template)?,
        system: record.system.clone(),
        adapter: blobs(MediaType::Adapter).next(),
        licenses: licenses.texts,
        messages: record
            .messages
            .iter()
            .map(|message| (message.role.clone(), message.content.clone()))
            .collect(),
        renderer: text("renderer"),
        parser: text("parser"),
        requires: text("requires"),
        ..Modelfile::default()
    };
    let left_out = licenses
        .left_out
        .iter()
        .map(|line| format!("# left out: {line}\n"));
    Ok(format!(
        "# Modelfile generated by \"slm show\"\n# To build a new Modelfile based on this, replace FROM with:\n# FROM {}\n{}\n{modelfile}",
        record.name,
        left_out.collect::<String>()
    ))
}

/// One pair per value, sorted by name.
pub(crate) fn flat(params: &Map<String, Value>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in params {
        let values = match value {
            Value::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        for value in values {
            let text = value.as_str().map_or_else(|| plain(value), str::to_owned);
            pairs.push((name.clone(), text));
        }
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

/// JSON, with numbers as a person writes them: `1`, not `1.0`.
fn plain(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() => number.to_string(),
        _ => value.to_string(),
    }
}

/// One line per value, names padded; texts are quoted.
fn parameters(params: &Map<String, Value>) -> String {
    let mut lines = String::new();
    let mut names: Vec<&String> = params.keys().collect();
    names.sort();
    for name in names {
        let values = match &params[name] {
            Value::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        for value in values {
            let _infallible = writeln!(lines, "{name:<30} {}", plain(value));
        }
    }
    lines.truncate(lines.trim_end().len());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDaemon;
    use serde_json::json;

    #[tokio::test]
    async fn a_licence_that_nobody_could_read_is_named_and_left_out() {
        let daemon = TestDaemon::with_model().await;
        let long = "x".repeat(MAX_LICENSE_BYTES + 1);
        let body = json!({"model": "licensed", "from": "tiny", "license": ["free", long]});
        let made = daemon.post("/api/create", &body.to_string()).await;
        assert!(
            made.body.ends_with("{\"status\":\"success\"}\n"),
            "{made:?}"
        );
        let show = daemon.post("/api/show", r#"{"model": "licensed"}"#).await;
        assert_eq!(show.status, 200, "{show:?}");
        let license = show.json()["license"].as_str().unwrap().to_owned();
        let (first, second) = license.split_once('\n').unwrap();
        assert_eq!(first, "free");
        let n_bytes = MAX_LICENSE_BYTES + 1;
        assert!(
            second.starts_with(&format!("a licence of {n_bytes} bytes: ")),
            "{second}"
        );
        let modelfile = show.json()["modelfile"].as_str().unwrap().to_owned();
        assert!(
            modelfile.contains(&format!("\n# left out: {second}\n\nFROM ")),
            "{modelfile}"
        );
    }

    #[test]
    fn parameters_are_a_table_with_one_line_per_value() {
        let params = json!({"temperature": 0.0, "top_p": 0.5, "stop": ["<|a|>", "say \"x\""]});
        assert_eq!(
            parameters(params.as_object().unwrap()),
            "stop                           \"<|a|>\"\n\
             stop                           \"say \\\"x\\\"\"\n\
             temperature                    0\n\
             top_p                          0.5"
        );
    }
}
