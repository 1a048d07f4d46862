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
use slm_chat::ChatTemplate;
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
    Thinking,
}

impl Capability {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Embedding => "embedding",
            Self::Tools => "tools",
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
    pub(crate) compiled: Result<Arc<ChatTemplate>, String>,
}

impl Template {
    /// Compiles a Jinja template.
    pub(crate) fn jinja(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            compiled: ChatTemplate::jinja(source)
                .map(Arc::new)
                .map_err(|error| error.to_string()),
        }
    }
    fn plain() -> Self {
        Self {
            source: String::new(),
            compiled: Ok(Arc::new(ChatTemplate::plain())),
        }
    }
    /// The template, ready to render.
    ///
    /// # Errors
    /// When it does not parse.
    pub(crate) fn ready(&self) -> Result<&Arc<ChatTemplate>, ApiError> {
        self.compiled
            .as_ref()
            .map_err(|reason| ApiError::bad_request(reason.clone()))
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
    pub(crate) weights: Descriptor,
    pub(crate) weights_path: PathBuf,
    pub(crate) gguf: GgufFacts,
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
        let Some(weights) = manifest.layer(&MediaType::Model).cloned() else {
            return Err(ApiError::bad_request(format!(
                "`{}` has no GGUF weights, which is the only kind that can be run",
                entry.name
            )));
        };
        let weights_path = self.store.blob_path(&weights.digest);
        let gguf = GgufFacts::read(&weights_path)?;
        let text = |kind: MediaType| self.text_layer(&manifest, &kind);
        let template = choose_template(text(MediaType::Template)?, gguf.chat_template.as_deref());
        let capabilities = capabilities(&gguf, &template);
        let mut config = match &entry.config {
            Value::Object(config) => config.clone(),
            _ => Map::new(),
        };
        gguf.complete_config(&mut config);
        Ok(Record {
            name: entry.name.clone(),
            digest: entry.digest,
            config: Value::Object(config),
            weights,
            weights_path,
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

/// A Jinja template layer, else the file's own template, else none. Layers in Go's template language, which models of
/// Ollama's registry carry beside the file's own template, cannot be rendered yet.
fn choose_template(layer: Option<String>, of_file: Option<&str>) -> Template {
    match (layer, of_file) {
        (Some(source), _) if !is_go_template(&source) => Template::jinja(&source),
        (_, Some(source)) => Template::jinja(source),
        (Some(source), None) => Template {
            source,
            compiled: Err(
                "the model's only chat template is written in Go's template language, which cannot be rendered yet; create the model again with a Jinja TEMPLATE"
                    .into(),
            ),
        },
        (None, None) => Template::plain(),
    }
}

/// Whether a template is written in Go's language rather than in Jinja: it names fields with a leading dot, or uses
/// statements inside of `{{ }}`.
pub(crate) fn is_go_template(source: &str) -> bool {
    const STATEMENTS: &[&str] = &[
        "if", "else", "end", "range", "with", "define", "template", "block", "break", "continue",
    ];
    source.split("{{").skip(1).any(|action| {
        let action = action.split("}}").next().unwrap_or_default();
        let action = action.trim_start_matches('-').trim_start();
        let word = action
            .split(|c: char| c.is_whitespace() || c == '-')
            .next()
            .unwrap_or_default();
        action.starts_with(['.', '$'])
            || action.starts_with("/*")
            || STATEMENTS.contains(&word)
            || action.contains(" .")
            || action.contains(" $")
    }) && !source.contains("{%")
}

fn capabilities(gguf: &GgufFacts, template: &Template) -> Vec<Capability> {
    if gguf.is_embedding {
        return vec![Capability::Embedding];
    }
    let mut capabilities = vec![Capability::Completion];
    if let Ok(template) = &template.compiled {
        if template.supports_tools() {
            capabilities.push(Capability::Tools);
        }
        if template.supports_thinking() {
            capabilities.push(Capability::Thinking);
        }
    }
    capabilities
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

    #[test]
    fn go_and_jinja_are_told_apart() {
        for go in [
            "{{ .Prompt }}",
            "{{- if .System }}{{ .System }}{{ end }}",
            "{{ range $i, $m := .Messages }}{{ end }}",
            "{{/* a comment */}}x",
            "<s>{{ if or .System .Tools }}",
        ] {
            assert!(is_go_template(go), "{go}");
        }
        for jinja in [
            "{{ messages[0].content }}",
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            "{{- bos_token }}",
            "{% if x %}{{ x ~ ' .5' }}{% endif %}",
            "plain text",
        ] {
            assert!(!is_go_template(jinja), "{jinja}");
        }
    }

    #[test]
    fn the_files_own_template_stands_in_for_one_in_go() {
        let jinja = "{% for m in messages %}{{ m.content }}{% endfor %}";
        let chosen = choose_template(Some("{{ .Prompt }}".into()), Some(jinja));
        assert_eq!(chosen.source, jinja);
        let chosen = choose_template(Some("{{ .Prompt }}".into()), None);
        assert!(
            chosen
                .ready()
                .unwrap_err()
                .message()
                .contains("Go's template language")
        );
        let chosen = choose_template(Some(jinja.into()), Some("other"));
        assert_eq!(chosen.source, jinja);
        assert_eq!(choose_template(None, None).source, "");
    }
}
