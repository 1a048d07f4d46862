//! What the daemon knows about the models in the store, beyond what the store itself says.
//!
//! A [`Record`] is everything that a request needs of a model before it is loaded: weights, parameters, system text,
//! stored messages, chat template, capabilities. All of it follows from the manifest's digest, so records are cached
//! under it and never stale. Reading one blocks on the disk.

use crate::{
    details::{self, GgufFacts},
    error::ApiError,
};
use serde_json::{Map, Value, json};
use slm_api::ollama::{Details, Message};
use slm_chat::{ChatTemplate, ThinkingTags};
use slm_registry::{Descriptor, Digest, Manifest, MediaType, ModelEntry, ModelName, Store};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// Records that are kept; the cache starts anew when it is full.
const MAX_RECORDS: usize = 256;

/// Something that a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    Completion,
    Embedding,
    Tools,
    Insert,
    Thinking,
}

impl Capability {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Embedding => "embedding",
            Self::Tools => "tools",
            Self::Insert => "insert",
            Self::Thinking => "thinking",
        }
    }
}

/// The chat template in force.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// Its text; "" when the model has none.
    pub(crate) source: String,
    /// Compiled, or why it cannot be used.
    compiled: Result<Arc<ChatTemplate>, String>,
    /// The template of the weights' file, where another one stands in front of it. It serves requests that need what the
    /// other one lacks.
    of_file: Option<Arc<ChatTemplate>>,
}

/// What a request needs of a template.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// Definitions of tools.
    pub(crate) tools: bool,
    /// Calls of tools earlier in the conversation.
    pub(crate) tool_calls: bool,
    /// Thinking on or off, as the request says.
    pub(crate) thinking: bool,
}

impl Needs {
    fn are_met_by(self, template: &ChatTemplate) -> bool {
        (!self.tools || template.supports_tools())
            && (!self.tool_calls || template.supports_tool_calls())
            && (!self.thinking || template.supports_thinking())
    }
}

impl Template {
    /// Compiles a template, in Jinja or in Go's language.
    pub(crate) fn parse(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            compiled: ChatTemplate::parse(source)
                .map(Arc::new)
                .map_err(|error| error.to_string()),
            of_file: None,
        }
    }

    fn plain() -> Self {
        Self {
            source: String::new(),
            compiled: Ok(Arc::new(ChatTemplate::plain())),
            of_file: None,
        }
    }

    /// The template for a request with these needs.
    ///
    /// # Errors
    /// When there is none that parses.
    pub(crate) fn choose(&self, needs: Needs) -> Result<&Arc<ChatTemplate>, ApiError> {
        match (&self.compiled, &self.of_file) {
            (Ok(own), Some(of_file)) if !needs.are_met_by(own) && needs.are_met_by(of_file) => {
                Ok(of_file)
            }
            (Ok(own), _) => Ok(own),
            (Err(_), Some(of_file)) => Ok(of_file),
            (Err(reason), None) => Err(ApiError::bad_request(reason.clone())),
        }
    }

    /// What stands around thoughts in the text of this model.
    pub(crate) fn thinking_tags(&self) -> Option<ThinkingTags> {
        self.all()
            .find_map(|template| template.thinking_tags().cloned())
    }

    /// Each that parses, the one in force first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ChatTemplate> {
        let own = self.compiled.as_ref().ok();
        own.into_iter().chain(&self.of_file).map(Arc::as_ref)
    }
}

/// A model, as far as it is known without loading it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) name: ModelName,
    /// Of the manifest.
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) config: Value,
    /// What tells its weights apart from others'.
    pub(crate) weights_key: Digest,
    /// The file of the weights, or the parts of the model in order.
    pub(crate) weights_paths: Vec<PathBuf>,
    pub(crate) gguf: GgufFacts,
    /// What it runs with where a request names no others.
    pub(crate) adapters: Vec<Descriptor>,
    pub(crate) params: Map<String, Value>,
    pub(crate) system: Option<String>,
    pub(crate) messages: Vec<Message>,
    pub(crate) template: Template,
    pub(crate) capabilities: Vec<Capability>,
}

impl Record {
    /// Whether it can do this.
    pub(crate) fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
    /// Family, size, quantisation.
    pub(crate) fn details(&self) -> Details {
        details::of_config(&self.config)
    }
    /// What it can do, as the API says it.
    pub(crate) fn capability_names(&self) -> Vec<String> {
        let names = self.capabilities.iter();
        names.map(|c| c.name().to_owned()).collect()
    }
}

/// The store's models and what is known about them.
#[derive(Debug)]
pub(crate) struct Catalog {
    store: Store,
    records: Mutex<HashMap<Digest, Arc<Record>>>,
}

impl Catalog {
    /// Nothing read yet.
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            records: Mutex::default(),
        }
    }

    /// The model called `name`. Blocks on the disk.
    ///
    /// # Errors
    /// No such model, or one that cannot be read.
    pub(crate) fn find(&self, name: &ModelName) -> Result<Arc<Record>, ApiError> {
        let entry = self.store.find(name)?;
        self.record(&entry)
    }

    /// The record of a store's entry. Blocks on the disk.
    ///
    /// # Errors
    /// A model that cannot be read.
    pub(crate) fn record(&self, entry: &ModelEntry) -> Result<Arc<Record>, ApiError> {
        let known = self.records().get(&entry.digest).cloned();
        let known = match known {
            Some(record) if self.has_moved(&record)? => None,
            known => known,
        };
        if let Some(record) = known {
            if record.name == entry.name {
                return Ok(record);
            }
            // another name for the same manifest
            return Ok(Arc::new(Record {
                name: entry.name.clone(),
                ..Record::clone(&record)
            }));
        }
        let record = Arc::new(self.read(entry)?);
        let mut records = self.records();
        if records.len() >= MAX_RECORDS {
            records.clear();
        }
        records.insert(entry.digest, Arc::clone(&record));
        Ok(record)
    }

    /// Whether files of its weights moved, to the archive or back; one of another program that changed is an error.
    fn has_moved(&self, record: &Record) -> Result<bool, ApiError> {
        let paths = weights_paths(&self.store, &record.manifest.layers)?;
        let known = &record.weights_paths;
        Ok(known.iter().any(|path| !paths.contains(path)))
    }

    fn records(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manifest that `entry` stands for, and no later one.
    pub(crate) fn manifest(&self, entry: &ModelEntry) -> Result<Manifest, ApiError> {
        let json = self.store.manifest_json(&entry.name)?;
        if Digest::of(&json) != entry.digest {
            return Err(ApiError::new(
                http::StatusCode::SERVICE_UNAVAILABLE,
                format!("`{}` was replaced just now; try again", entry.name),
            ));
        }
        Ok(Manifest::parse(&json)?)
    }

    fn read(&self, entry: &ModelEntry) -> Result<Record, ApiError> {
        let manifest = self.manifest(entry)?;
        if manifest.layer(&MediaType::Model).is_none() {
            return Err(ApiError::bad_request(format!(
                "`{}` has no GGUF weights, which is the only kind that can be run",
                entry.name
            )));
        }
        let weights_paths = details::in_order(weights_paths(&self.store, &manifest.layers)?)?;
        let gguf = GgufFacts::of_model(&weights_paths)?;
        let text = |kind: MediaType| self.text_layer(&manifest, &kind);
        let template = choose_template(text(MediaType::Template)?, gguf.chat_template.as_deref());
        let capabilities = capabilities(&gguf, &template);
        let mut config = match &entry.config {
            Value::Object(config) => config.clone(),
            _ => Map::new(),
        };
        gguf.complete_config(&mut config);
        let adapters = manifest.layers.iter();
        let adapters = adapters.filter(|layer| layer.media_type == MediaType::Adapter);
        Ok(Record {
            name: entry.name.clone(),
            digest: entry.digest,
            adapters: adapters.cloned().collect(),
            config: Value::Object(config),
            weights_key: weights_key(&manifest.layers),
            weights_paths,
            params: self.json_layer(&manifest, &MediaType::Params)?,
            system: text(MediaType::System)?.filter(|text| !text.is_empty()),
            messages: self.json_layer(&manifest, &MediaType::Messages)?,
            template,
            capabilities,
            gguf,
            manifest,
        })
    }

    /// The text of the first layer of a kind.
    pub(crate) fn text_layer(
        &self,
        manifest: &Manifest,
        kind: &MediaType,
    ) -> Result<Option<String>, ApiError> {
        let Some(layer) = manifest.layer(kind) else {
            return Ok(None);
        };
        let bytes = self.store.read_small_blob(&layer.digest)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn json_layer<T: serde::de::DeserializeOwned + Default>(
        &self,
        manifest: &Manifest,
        kind: &MediaType,
    ) -> Result<T, ApiError> {
        let Some(layer) = manifest.layer(kind) else {
            return Ok(T::default());
        };
        let bytes = self.store.read_small_blob(&layer.digest)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::internal(format!(
                "blob {} of the model is damaged: {error}; pull or create the model again",
                layer.digest
            ))
        })
    }
}

/// What tells weights apart: the digest of their file, or of the digests of all parts. Parts may be alike in two models.
fn weights_key(layers: &[Descriptor]) -> Digest {
    let weights = layers
        .iter()
        .filter(|layer| layer.media_type == MediaType::Model);
    let digests: Vec<Digest> = weights.map(|layer| layer.digest).collect();
    match digests.as_slice() {
        [digest] => *digest,
        parts => {
            let parts: Vec<String> = parts.iter().map(Digest::to_string).collect();
            Digest::of(parts.join("\n").as_bytes())
        }
    }
}

/// The files of the weights among `layers`, in their order.
///
/// # Errors
/// One that is a file of another program, which changed or vanished.
pub(crate) fn weights_paths(
    store: &Store,
    layers: &[Descriptor],
) -> Result<Vec<PathBuf>, ApiError> {
    let weights = layers
        .iter()
        .filter(|layer| layer.media_type == MediaType::Model);
    let paths = weights.map(|layer| match store.locate(&layer.digest)? {
        Some(blob) => Ok(blob.path),
        None => Ok(store.blob_path(&layer.digest)),
    });
    paths.collect()
}

/// The template layer, else the file's own template, else none. A layer in Jinja is somebody's decision for this very
/// file; one in Go's language may know less than the file's own, which then helps out.
fn choose_template(layer: Option<String>, of_file: Option<&str>) -> Template {
    match (layer, of_file) {
        (Some(source), of_file) => Template {
            of_file: of_file
                .filter(|of_file| *of_file != source)
                .and_then(|of_file| ChatTemplate::parse(of_file).ok())
                .map(Arc::new),
            ..Template::parse(&source)
        },
        (None, Some(of_file)) => Template::parse(of_file),
        (None, None) => Template::plain(),
    }
}

fn capabilities(gguf: &GgufFacts, template: &Template) -> Vec<Capability> {
    if gguf.is_embedding {
        return vec![Capability::Embedding];
    }
    let has = |can: fn(&ChatTemplate) -> bool| template.all().any(can);
    let others = [
        (Capability::Tools, has(ChatTemplate::supports_tools)),
        (
            Capability::Insert,
            gguf.fills_gaps || has(ChatTemplate::supports_insert),
        ),
        (Capability::Thinking, has(ChatTemplate::supports_thinking)),
    ];
    let others = others.into_iter().filter(|(_, can)| *can);
    std::iter::once(Capability::Completion)
        .chain(others.map(|(capability, _)| capability))
        .collect()
}

/// What a config blob says about capabilities, for lists that do not read the model.
pub(crate) fn config_capabilities(config: &Value) -> Option<Vec<String>> {
    let names = config["capabilities"].as_array()?;
    Some(
        names
            .iter()
            .filter_map(|n| n.as_str().map(str::to_owned))
            .collect(),
    )
}

/// A config blob for a new model: what the file says on top of what an older config said.
pub(crate) fn new_config(
    mut base: Map<String, Value>,
    gguf: &GgufFacts,
    template: Option<&str>,
) -> Map<String, Value> {
    gguf.complete_config(&mut base);
    let template = choose_template(template.map(str::to_owned), gguf.chat_template.as_deref());
    let names: Vec<&str> = capabilities(gguf, &template)
        .into_iter()
        .map(Capability::name)
        .collect();
    base.insert("capabilities".into(), json!(names));
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO: &str = "{{ range .Messages }}{{ .Content }}{{ end }}";
    const GO_TOOLS: &str =
        "{{ .Tools }}{{ range .Messages }}{{ .Content }}{{ .ToolCalls }}{{ end }}";
    const JINJA: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";
    const JINJA_TOOLS: &str = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{{ m.tool_calls }}{% endfor %}{{ tools }}";

    #[test]
    fn the_layer_is_in_force_and_the_files_own_template_helps_out() {
        let tools = Needs {
            tools: true,
            ..Needs::default()
        };
        let thinking = Needs {
            thinking: true,
            ..Needs::default()
        };
        let uses_file = |layer: &str, of_file: &str, needs: Needs| {
            let template = choose_template(Some(layer.into()), Some(of_file));
            let chosen = template.choose(needs).unwrap();
            template
                .of_file
                .as_ref()
                .is_some_and(|file| Arc::ptr_eq(file, chosen))
        };
        assert!(!uses_file(GO, JINJA_TOOLS, Needs::default()));
        assert!(uses_file(GO, JINJA_TOOLS, tools));
        assert!(uses_file(GO, JINJA_TOOLS, thinking));
        assert!(!uses_file(GO, JINJA, tools));
        assert!(!uses_file(GO_TOOLS, JINJA_TOOLS, tools));
        assert!(uses_file("{{ if .Messages }}", JINJA, Needs::default()));
        assert!(!uses_file(JINJA, JINJA, Needs::default()));
        let template = choose_template(Some(GO.into()), Some(JINJA_TOOLS));
        assert_eq!(template.source, GO);
        assert_eq!(template.thinking_tags().unwrap().open, "<think>");
        assert_eq!(choose_template(None, Some(JINJA)).source, JINJA);
        assert_eq!(choose_template(None, None).source, "");
    }

    #[test]
    fn a_model_with_tokens_for_gaps_can_insert_whatever_its_template() {
        let with = |fills_gaps| {
            let facts = GgufFacts {
                fills_gaps,
                ..GgufFacts::default()
            };
            capabilities(&facts, &Template::parse(JINJA)).contains(&Capability::Insert)
        };
        assert!(with(true) && !with(false));
    }

    #[test]
    fn a_layer_that_does_not_parse_says_so_where_nothing_helps_out() {
        let template = choose_template(Some("{{ if .Messages }}".into()), None);
        assert_eq!(
            template.choose(Needs::default()).unwrap_err().message(),
            "the chat template does not parse: `if` is not closed; add `{{ end }}` (line 1 of the template)"
        );
    }
}
