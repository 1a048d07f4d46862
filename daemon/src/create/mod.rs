//! Building a model: layers from an existing model or an uploaded GGUF, changed as the request says, under a new name.
//!
//! Progress goes to a bounded channel; when its reader is gone the work stops before the next step. Nothing is visible
//! before the manifest is written.

mod quantize;
#[cfg(test)]
mod tests;

use crate::{
    catalog,
    details::{self, GgufFacts},
    error::ApiError,
    inference::RunOptions,
    pulls::Wish,
    routes::{flat, model_name, reference},
    state::App,
};
use serde_json::{Map, Value, json};
use slm_api::ollama::{CreateRequest, Message, Progress};
use slm_engine::quantize::Mix;
use slm_registry::{
    Descriptor, Digest, Manifest, MediaType, ModelName, Modelfile, Original, Parent, Provenance,
    Reference, Store, Via,
};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tokio::sync::mpsc;

/// Where progress goes.
pub(crate) type Reports = mpsc::Sender<Result<Progress, ApiError>>;

/// A checked request.
#[derive(Debug)]
pub(crate) struct Recipe {
    name: ModelName,
    base: Base,
    /// The types that the weights are to have.
    mix: Option<Mix>,
    /// An uploaded GGUF, in place of the base's.
    adapter: Option<Digest>,
    template: Option<String>,
    system: Option<String>,
    licenses: Vec<String>,
    parameters: Map<String, Value>,
    messages: Option<Vec<Message>>,
    /// What goes into the config as it is: `renderer`, `parser`, `requires`.
    config: Vec<(&'static str, String)>,
}

#[derive(Debug)]
enum Base {
    /// An existing model, pulled when it is missing: from wherever the text says, as `slm pull` reads it.
    Model(Reference),
    /// An uploaded GGUF, or the parts of one model.
    Gguf(Vec<Digest>),
}

/// What the new model starts from.
#[derive(Debug, Default)]
struct Draft {
    config: Map<String, Value>,
    layers: Vec<Descriptor>,
    params: Map<String, Value>,
    provenance: Provenance,
}

impl Recipe {
    /// Checks a request.
    ///
    /// # Errors
    /// What is missing, wrong, or cannot be done yet.
    pub(crate) fn check(request: CreateRequest) -> Result<Self, ApiError> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let name = given(request.name).filter(|_| request.model.is_empty());
        let name = model_name(&name.unwrap_or(request.model))?;
        let adapters = request.adapters.unwrap_or_default();
        let adapter = (!adapters.is_empty()).then(|| only_adapter(&adapters));
        let adapter = adapter.transpose()?;
        let quantize = given(request.quantize).or(given(request.quantization));
        let mix = quantize.map(|name| name.parse::<Mix>()).transpose();
        let mix = mix.map_err(|error| ApiError::bad_request(error.to_string()))?;
        let files = request.files.unwrap_or_default();
        let base = match given(request.from) {
            Some(from) => Base::Model(base(&from)?),
            None if files.is_empty() => {
                return Err(ApiError::bad_request(
                    "neither 'from' or 'files' was specified",
                ));
            }
            None => Base::Gguf(gguf_files(&files)?),
        };
        let template = given(request.template);
        if let Some(source) = &template {
            check_template(source)?;
        }
        let mut parameters = request.parameters.unwrap_or_default();
        parameters.retain(|_, value| !value.is_null());
        RunOptions::merge([&parameters])?;
        if let Some(stop) = parameters.get_mut("stop").filter(|stop| stop.is_string()) {
            *stop = json!([stop.take()]);
        }
        Ok(Self {
            name,
            base,
            mix,
            adapter,
            template,
            system: given(request.system),
            licenses: licenses(request.license)?,
            parameters,
            messages: request.messages.filter(|messages| !messages.is_empty()),
            config: [
                ("renderer", request.renderer),
                ("parser", request.parser),
                ("requires", request.requires),
            ]
            .into_iter()
            .filter_map(|(key, value)| Some((key, given(value)?)))
            .collect(),
        })
    }

    /// Builds the model and reports every step; the last report is `success` or an error.
    pub(crate) async fn build(self, app: Arc<App>, reports: Reports) {
        let report = match self.run(&app, &reports).await {
            Ok(()) => Ok(status("success")),
            Err(error) => Err(error),
        };
        let _reader_may_be_gone = reports.send(report).await;
    }

    async fn run(self, app: &Arc<App>, reports: &Reports) -> Result<(), ApiError> {
        let draft = match &self.base {
            Base::Model(name) => from_model(app, name, reports).await?,
            Base::Gguf(digests) => from_gguf(app, digests.clone(), reports).await?,
        };
        let reports = reports.clone();
        app.blocking(move |app| self.write(&app.store, draft, &reports))
            .await
    }

    /// Writes the layers that the request brings, and the manifest. Blocks on the disk.
    fn write(self, store: &Store, draft: Draft, reports: &Reports) -> Result<(), ApiError> {
        let mut layers = Layers {
            store,
            reports,
            layers: draft.layers,
        };
        if let Some(mix) = self.mix {
            quantize::weights(&mut layers, mix)?;
        }
        for layer in &layers.layers {
            tell(
                reports,
                status(format!("using existing layer {}", layer.digest)),
            )?;
        }
        if let Some(digest) = self.adapter {
            layers.set_adapter(digest)?;
        }
        if let Some(template) = &self.template {
            layers.replace(MediaType::Template, template.as_bytes())?;
        }
        if let Some(system) = &self.system {
            layers.replace(MediaType::System, system.as_bytes())?;
        }
        let params = in_words_of_modelfiles(draft.params, &self.parameters);
        layers
            .layers
            .retain(|layer| layer.media_type != MediaType::Params);
        if !params.is_empty() {
            layers.add(MediaType::Params, &to_bytes(&params)?)?;
        }
        let messages = match &self.messages {
            Some(messages) => Some(messages.clone()),
            None => plain_messages(&layers)?,
        };
        if let Some(messages) = messages.filter(|messages| !messages.is_empty()) {
            layers.replace(MediaType::Messages, &to_bytes(&messages)?)?;
        }
        for license in &self.licenses {
            layers.add(MediaType::License, license.as_bytes())?;
        }
        // Stable: licences and what else there are several of keep their order.
        layers
            .layers
            .sort_by_key(|layer| place_of(&layer.media_type));
        let mut provenance = draft.provenance;
        provenance
            .originals
            .extend(given(&layers.layers, &provenance));
        let mut config = layers.inherited(draft.config);
        let own = self.config.iter();
        config.extend(own.map(|(key, value)| ((*key).to_owned(), json!(value))));
        let diff_ids: Vec<String> = layers.layers.iter().map(|l| l.digest.to_string()).collect();
        config.insert("architecture".into(), json!("amd64"));
        config.insert("os".into(), json!("linux"));
        config.insert(
            "rootfs".into(),
            json!({"type": "layers", "diff_ids": diff_ids}),
        );
        let weights = details::in_order(catalog::weights_paths(store, &layers.layers)?)?;
        if !weights.is_empty() {
            let facts = GgufFacts::of_model(&weights)?;
            provenance.license.clone_from(&facts.license);
            let template = layers.text(&MediaType::Template)?;
            config = catalog::new_config(config, &facts, template.as_deref());
        }
        // By name, so that what was inherited and what was given make the same model.
        let config: BTreeMap<String, Value> = config.into_iter().collect();
        let config = layers.store_blob(MediaType::Config, &to_bytes(&config)?)?;
        let manifest = Manifest {
            config,
            layers: layers.layers,
        };
        tell(reports, status("writing manifest"))?;
        store.write_manifest_from(&self.name, &manifest.to_json(), Some(&provenance))?;
        Ok(())
    }
}

/// Options as the params layer has them, by name: those that a Modelfile can say, as it would say them. (Others have no
/// effect.) So what `slm show --modelfile` prints makes the same model.
fn in_words_of_modelfiles(
    inherited: Map<String, Value>,
    own: &Map<String, Value>,
) -> BTreeMap<String, Value> {
    let mut params = inherited;
    params.extend(own.clone());
    params.retain(|_, value| !value.is_null());
    let modelfile = Modelfile {
        parameters: flat(&params),
        ..Modelfile::default()
    };
    modelfile.params_json().into_iter().collect()
}

/// The messages that the layers have already, if a Modelfile can say them: texts in known roles.
fn plain_messages(layers: &Layers<'_>) -> Result<Option<Vec<Message>>, ApiError> {
    let Some(json) = layers.text(&MediaType::Messages)? else {
        return Ok(None);
    };
    let messages: Option<Vec<Message>> = serde_json::from_str(&json).ok();
    Ok(messages.filter(|messages| {
        messages.iter().all(|message| {
            let plain = Message {
                role: message.role.clone(),
                content: message.content.clone(),
                ..Message::default()
            };
            *message == plain && ["system", "user", "assistant"].contains(&&*message.role)
        })
    }))
}

/// In which order the layers of a model stand that is made here.
fn place_of(kind: &MediaType) -> u32 {
    match kind {
        MediaType::Model => 0,
        MediaType::Projector => 1,
        MediaType::Adapter => 2,
        MediaType::Template => 3,
        MediaType::System => 4,
        MediaType::Params => 5,
        MediaType::Messages => 6,
        MediaType::License => 7,
        MediaType::Config | MediaType::Other(_) => 8,
    }
}

/// The weights and adapters that were given as files, and not by the model that this one is made of.
fn given(layers: &[Descriptor], provenance: &Provenance) -> Vec<Original> {
    let is_given = |layer: &&Descriptor| match layer.media_type {
        MediaType::Adapter => true,
        MediaType::Model | MediaType::Projector => provenance.parent.is_none(),
        _ => false,
    };
    let originals = layers.iter().filter(is_given).map(|layer| Original {
        name: match layer.media_type {
            MediaType::Adapter => "adapter",
            _ => "model",
        }
        .to_owned(),
        digest: layer.digest,
    });
    originals.collect()
}

/// What a request's `from` means.
fn base(from: &str) -> Result<Reference, ApiError> {
    let reference = reference(from)?;
    if reference.file().is_some() {
        return Err(ApiError::bad_request(
            "the daemon takes no file by its path alone; upload it with POST /api/blobs and name it in `files`",
        ));
    }
    Ok(reference)
}

async fn from_model(
    app: &Arc<App>,
    reference: &Reference,
    reports: &Reports,
) -> Result<Draft, ApiError> {
    let name = reference.name();
    let wanted = name.clone();
    let pin = reference.pin();
    let there = app
        .blocking(move |app| match app.store.find(&wanted) {
            Ok(entry) => Ok(pin.is_none_or(|pin| pin == entry.digest)),
            Err(slm_registry::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        })
        .await?;
    if !there {
        pull(app, reference, reports).await?;
    }
    let name = name.clone();
    app.blocking(move |app| {
        let entry = app.store.find(&name)?;
        let manifest = app.catalog.manifest(&entry)?;
        let provenance = Provenance {
            source: app
                .store
                .provenance(&entry.name)?
                .and_then(|parent| parent.source),
            parent: Some(Parent {
                name: entry.name.to_string(),
                digest: entry.digest,
            }),
            ..Provenance::now(Via::Create)
        };
        let params = match manifest.layer(&MediaType::Params) {
            Some(layer) => serde_json::from_slice(&app.store.read_small_blob(&layer.digest)?)
                .unwrap_or_default(),
            None => Map::new(),
        };
        let config = match entry.config {
            Value::Object(config) => config,
            _ => Map::new(),
        };
        Ok(Draft {
            config,
            layers: manifest.layers,
            params,
            provenance,
        })
    })
    .await
}

async fn pull(app: &Arc<App>, reference: &Reference, reports: &Reports) -> Result<(), ApiError> {
    if reference.is_http() {
        return Err(ApiError::bad_request("insecure protocol http"));
    }
    let mut watcher = app.pulls.join(Wish {
        reference: reference.clone(),
        insecure: false,
        max_bandwidth: None,
    });
    while let Some(lines) = watcher.next().await {
        let lines = lines.map_err(|error| {
            let why = error.message();
            let text = format!("`{reference}` is not in the store and cannot be pulled: {why}");
            ApiError::new(error.status(), text)
        })?;
        for line in lines.into_iter().filter(|line| line.status != "success") {
            let sent = reports.send(Ok(line)).await;
            sent.map_err(|_| ApiError::canceled())?;
        }
    }
    Ok(())
}

async fn from_gguf(
    app: &Arc<App>,
    digests: Vec<Digest>,
    reports: &Reports,
) -> Result<Draft, ApiError> {
    let sent = reports.send(Ok(status("parsing GGUF"))).await;
    sent.map_err(|_| ApiError::canceled())?;
    app.blocking(move |app| {
        let parts = digests.iter().map(|digest| uploaded_part(&app.store, *digest));
        let layers = in_order(parts.collect::<Result<_, _>>()?)?;
        let facts = GgufFacts::of_model(&catalog::weights_paths(&app.store, &layers)?);
        if facts.map_err(unusable)?.is_adapter {
            return Err(ApiError::bad_request(
                "the file is an adapter and no model; give it in `adapters` (ADAPTER in a Modelfile), and the model that it changes in `from` or `files` (FROM)",
            ));
        }
        Ok(Draft {
            layers,
            provenance: Provenance::now(Via::Create),
            ..Draft::default()
        })
    })
    .await
}

/// Which part of a model a file is, and its layer.
type Part = (Option<(u32, u32)>, Descriptor);

/// The parts of one model in order; a file alone is a model.
fn in_order(mut parts: Vec<Part>) -> Result<Vec<Descriptor>, ApiError> {
    parts.sort_by_key(|(part, _)| *part);
    let n_files = parts.len() as u32;
    let is_one_model = match parts.as_slice() {
        [(None, _)] => true,
        [(Some((_, count)), _)] => {
            return Err(ApiError::bad_request(format!(
                "the file is one of {count} parts of a model; give all of them"
            )));
        }
        parts => {
            let expected = (0..n_files).map(|index| Some((index, n_files)));
            parts.iter().map(|(part, _)| *part).eq(expected)
        }
    };
    if !is_one_model {
        return Err(ApiError::bad_request(format!(
            "the {n_files} files are not the parts of one model; give all parts of one, each once, or merge them into one GGUF first"
        )));
    }
    Ok(parts.into_iter().map(|(_, layer)| layer).collect())
}

fn unusable(error: ApiError) -> ApiError {
    ApiError::bad_request(format!(
        "supplied file was not in GGUF format that can be used: {}",
        error.message()
    ))
}

/// An uploaded GGUF of weights: its part, if it says one, and its layer.
fn uploaded_part(store: &Store, digest: Digest) -> Result<Part, ApiError> {
    let (path, layer) = uploaded_file(store, MediaType::Model, digest)?;
    Ok((details::part(&path).map_err(unusable)?, layer))
}

/// An uploaded file as a layer, and where it is.
fn uploaded_file(
    store: &Store,
    media_type: MediaType,
    digest: Digest,
) -> Result<(PathBuf, Descriptor), ApiError> {
    let Some(blob) = store.locate(&digest)? else {
        return Err(ApiError::bad_request(format!(
            "blob {digest} is not in the store; upload it with POST /api/blobs/{digest}"
        )));
    };
    let layer = Descriptor {
        media_type,
        digest,
        size: blob.size,
    };
    Ok((blob.path, layer))
}

/// An uploaded adapter as a layer, and what it says about itself.
fn uploaded_adapter(store: &Store, digest: Digest) -> Result<(Descriptor, GgufFacts), ApiError> {
    let (path, layer) = uploaded_file(store, MediaType::Adapter, digest)?;
    let facts = GgufFacts::read(&path).map_err(|error| {
        ApiError::bad_request(format!(
            "the file in `adapters` (ADAPTER in a Modelfile) was not in GGUF format that can be used: {}",
            error.message()
        ))
    })?;
    Ok((layer, facts))
}

/// The layers of the new model, as they come about.
struct Layers<'a> {
    store: &'a Store,
    reports: &'a Reports,
    layers: Vec<Descriptor>,
}

impl Layers<'_> {
    fn replace(&mut self, kind: MediaType, bytes: &[u8]) -> Result<(), ApiError> {
        self.layers.retain(|layer| layer.media_type != kind);
        self.add(kind, bytes)
    }

    /// Puts an uploaded adapter in place of the base's, behind the weights that it is for.
    fn set_adapter(&mut self, digest: Digest) -> Result<(), ApiError> {
        let (layer, facts) = uploaded_adapter(self.store, digest)?;
        if !facts.is_adapter {
            return Err(ApiError::bad_request(
                "the file in `adapters` (ADAPTER in a Modelfile) is no adapter: its `general.type` is not `adapter`",
            ));
        }
        let is_weights = |layer: &Descriptor| layer.media_type == MediaType::Model;
        if let Some(weights) = self.layers.iter().find(|layer| is_weights(layer)) {
            let base = GgufFacts::read(&self.store.blob_path(&weights.digest))?;
            if base.architecture != facts.architecture {
                return Err(ApiError::bad_request(format!(
                    "the adapter is for models of architecture `{}`, and this one is `{}`",
                    facts.architecture, base.architecture
                )));
            }
        }
        tell(
            self.reports,
            status(format!("using existing layer {digest}")),
        )?;
        self.layers.retain(|l| l.media_type != MediaType::Adapter);
        let at = self.layers.iter().rposition(is_weights);
        self.layers.insert(at.map_or(0, |at| at + 1), layer);
        Ok(())
    }

    fn add(&mut self, kind: MediaType, bytes: &[u8]) -> Result<(), ApiError> {
        let layer = self.store_blob(kind, bytes)?;
        if !self.layers.contains(&layer) {
            self.layers.push(layer);
        }
        Ok(())
    }

    fn store_blob(&self, kind: MediaType, bytes: &[u8]) -> Result<Descriptor, ApiError> {
        let digest = Digest::of(bytes);
        let what = if self.store.has_blob(&digest) {
            "using existing layer"
        } else {
            "creating new layer"
        };
        tell(self.reports, status(format!("{what} {digest}")))?;
        self.store.ingest(&mut &*bytes, Some(&digest))?;
        Ok(Descriptor {
            media_type: kind,
            digest,
            size: bytes.len() as u64,
        })
    }

    /// What of a config belongs to a model that is made of its model. What the weights say is read from them anew, as it
    /// would be for the same weights in a file; of models with an image encoder nothing else is known.
    fn inherited(&self, mut config: Map<String, Value>) -> Map<String, Value> {
        config.remove("source");
        let is_projector = |layer: &Descriptor| layer.media_type == MediaType::Projector;
        if !self.layers.iter().any(is_projector) {
            config.retain(|key, _| ["renderer", "parser", "requires"].contains(&key.as_str()));
        }
        config
    }

    fn text(&self, kind: &MediaType) -> Result<Option<String>, ApiError> {
        let Some(layer) = self.layers.iter().find(|layer| layer.media_type == *kind) else {
            return Ok(None);
        };
        let bytes = self.store.read_small_blob(&layer.digest)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn status(text: impl Into<String>) -> Progress {
    Progress {
        status: text.into(),
        ..Progress::default()
    }
}

/// Reports from a blocking thread.
fn tell(reports: &Reports, line: Progress) -> Result<(), ApiError> {
    reports
        .blocking_send(Ok(line))
        .map_err(|_| ApiError::canceled())
}

fn to_bytes<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(value).map_err(|error| ApiError::internal(error.to_string()))
}

/// The digest of the one adapter.
fn only_adapter(files: &Map<String, Value>) -> Result<Digest, ApiError> {
    let is_of_peft = |path: &String| path.ends_with(".safetensors") || path.ends_with(".json");
    if files.keys().any(is_of_peft) {
        return Err(ApiError::bad_request(
            "safetensors adapters are not supported yet; convert the adapter to GGUF first, as convert_lora_to_gguf.py of llama.cpp does",
        ));
    }
    match digests(files)?.as_slice() {
        [(_, digest)] => Ok(*digest),
        _ => Err(ApiError::bad_request(
            "only one adapter is currently supported",
        )),
    }
}

/// The digests of the GGUF files: one, or the parts of one model.
fn gguf_files(files: &Map<String, Value>) -> Result<Vec<Digest>, ApiError> {
    let files = digests(files)?;
    let is_safetensors = files.iter().any(|(path, _)| path.ends_with(".safetensors"));
    if files.len() > 1 && is_safetensors {
        return Err(ApiError::bad_request(
            "safetensors models are not supported yet; convert the model to GGUF first",
        ));
    }
    Ok(files.into_iter().map(|(_, digest)| digest).collect())
}

/// Each file's name and digest.
fn digests(files: &Map<String, Value>) -> Result<Vec<(&String, Digest)>, ApiError> {
    let mut digests = Vec::new();
    for (path, digest) in files {
        let relative = std::path::Path::new(path);
        let escapes = relative.components().any(|part| {
            !matches!(
                part,
                std::path::Component::Normal(_) | std::path::Component::CurDir
            )
        });
        if path.is_empty() || escapes {
            return Err(ApiError::bad_request("file path must be relative"));
        }
        let digest: Digest = digest.as_str().unwrap_or_default().parse()?;
        digests.push((path, digest));
    }
    Ok(digests)
}

/// A template that somebody writes for us must be one that we can run.
///
/// # Errors
/// It does not parse.
pub(crate) fn check_template(source: &str) -> Result<(), ApiError> {
    slm_chat::ChatTemplate::parse(source)
        .map(drop)
        .map_err(|error| ApiError::bad_request(format!("template error: {error}")))
}

fn licenses(value: Option<Value>) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::bad_request("`license` must be a text or a list of texts");
    let texts = match value {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong()),
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}
