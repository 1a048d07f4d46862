//! A model of the store as a package of one of the formats: a manifest, and what is to be uploaded before it.
use super::{
    super::formats::{
        self, CAR_FOLDER, CONFIG_ANNOTATION, DOCKER_CONFIG, DOCKER_JINJA, DOCKER_LAYERS, Format,
        IMAGE_CONFIG, IMAGE_LAYER, MANIFEST_ANNOTATION, MODELPACK_ARTIFACT, MODELPACK_CONFIG,
        MODELPACK_DOC, MODELPACK_FILE_PATH, MODELPACK_WEIGHT, MODELPACK_WEIGHT_CONFIG, TITLE,
    },
    super::tar,
    payload::{Payload, Segment},
};
use crate::{
    Descriptor, Error, Manifest, MediaType, Store,
    manifest::{DOCKER_MANIFEST, OCI_MANIFEST},
};
use serde_json::{Map, Value, json};

/// A config that is larger does not travel in an annotation.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;
/// Version of the GGUF format that Docker's media types name.
const GGUF_VERSION: &str = "3";

/// What is pushed.
pub(super) struct Package {
    pub(super) manifest: Vec<u8>,
    pub(super) media_type: String,
    /// Each once.
    pub(super) payloads: Vec<Payload>,
}

/// A layer of the store on its way into a package.
struct File<'a> {
    layer: &'a Descriptor,
    /// Without folder; `None` for kinds that are no file.
    name: Option<String>,
    is_jinja: bool,
}

/// Makes the package; reads all of the model for a ModelCar, whose layers nobody knows the digests of.
///
/// # Errors
/// A manifest that does not parse, or the disk.
pub(super) fn pack(store: &Store, json: &[u8], format: Format) -> Result<Package, Error> {
    let manifest = Manifest::parse(json)?;
    let stored = |blob: &Descriptor| Payload::of_blob(store, blob.digest, blob.size);
    if format == Format::Ollama {
        let said: Option<Value> = serde_json::from_slice(json).ok();
        let said = said
            .as_ref()
            .and_then(|json| json.get("mediaType")?.as_str());
        return Ok(Package {
            manifest: json.to_vec(),
            media_type: said.unwrap_or(DOCKER_MANIFEST).to_owned(),
            payloads: distinct(manifest.blobs().map(stored).collect()),
        });
    }
    let config = store.read_small_blob(&manifest.config.digest)?;
    let facts: Value = serde_json::from_slice(&config).unwrap_or_default();
    let files = files(store, &manifest)?;
    let mut payloads = Vec::new();
    let (config_type, made, layers) = match format {
        Format::ModelPack => {
            let described = files.iter().filter_map(|file| {
                let name = file.name.as_deref()?;
                payloads.push(stored(file.layer));
                Some(modelpack_layer(file.layer, name))
            });
            let layers: Vec<Value> = described.collect();
            (
                MODELPACK_CONFIG,
                modelpack_config(&facts, &payloads),
                layers,
            )
        }
        Format::Docker => {
            let described = files.iter().map(|file| {
                payloads.push(stored(file.layer));
                descriptor(&docker_type(file), &stored(file.layer))
            });
            let layers: Vec<Value> = described.collect();
            (
                DOCKER_CONFIG,
                docker_config(&facts, &layers, &manifest),
                layers,
            )
        }
        Format::ModelCar | Format::Ollama => {
            let mut layers = Vec::new();
            for file in &files {
                let Some(name) = &file.name else { continue };
                let frame = tar::frame(CAR_FOLDER, name, file.layer.size);
                let payload = Payload::of_segments(vec![
                    Segment::Bytes(frame.before.into()),
                    Segment::Blob {
                        store: store.clone(),
                        digest: file.layer.digest,
                        len: file.layer.size,
                    },
                    Segment::Bytes(frame.after.into()),
                ])?;
                let mut layer = descriptor(IMAGE_LAYER, &payload);
                layer["annotations"] = json!({TITLE: format!("{CAR_FOLDER}/{name}")});
                layers.push(layer);
                payloads.push(payload);
            }
            (IMAGE_CONFIG, image_config(&payloads), layers)
        }
    };
    let made = Payload::of_bytes(to_json(&made));
    let mut package = Map::new();
    package.insert("schemaVersion".into(), json!(2));
    package.insert("mediaType".into(), json!(OCI_MANIFEST));
    if format == Format::ModelPack {
        package.insert("artifactType".into(), json!(MODELPACK_ARTIFACT));
    }
    package.insert("config".into(), descriptor(config_type, &made));
    package.insert("layers".into(), Value::Array(layers));
    if let Some(annotations) = annotations(json, &config) {
        package.insert("annotations".into(), annotations);
    }
    payloads.push(made);
    Ok(Package {
        manifest: to_json(&Value::Object(package)),
        media_type: OCI_MANIFEST.to_owned(),
        payloads: distinct(payloads),
    })
}

fn to_json(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON values always serialise")
}

fn distinct(mut payloads: Vec<Payload>) -> Vec<Payload> {
    let mut seen = std::collections::HashSet::new();
    payloads.retain(|payload| seen.insert(payload.digest));
    payloads
}

/// The layers with the names of their files, each name once.
fn files<'a>(store: &Store, manifest: &'a Manifest) -> Result<Vec<File<'a>>, Error> {
    let mut files: Vec<File<'_>> = Vec::new();
    for layer in &manifest.layers {
        let is_jinja = layer.media_type == MediaType::Template
            && formats::is_jinja(&store.read_small_blob(&layer.digest)?);
        let same = files
            .iter()
            .filter(|file| file.layer.media_type == layer.media_type);
        let name = formats::file_name(&layer.media_type, is_jinja, same.count());
        files.push(File {
            layer,
            name,
            is_jinja,
        });
    }
    Ok(files)
}

fn descriptor(media_type: &str, payload: &Payload) -> Value {
    json!({"mediaType": media_type, "digest": payload.digest, "size": payload.size})
}

/// Manifest and config as the store has them, for who pulls the package with slm.
fn annotations(manifest: &[u8], config: &[u8]) -> Option<Value> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let is_small = manifest.len() + config.len() <= MAX_ANNOTATION_BYTES;
    let (manifest, config) = (text(manifest)?, text(config)?);
    is_small.then(|| json!({MANIFEST_ANNOTATION: manifest, CONFIG_ANNOTATION: config}))
}

fn modelpack_layer(layer: &Descriptor, name: &str) -> Value {
    let media_type = match layer.media_type {
        MediaType::Model | MediaType::Projector | MediaType::Adapter => MODELPACK_WEIGHT,
        MediaType::License => MODELPACK_DOC,
        _ => MODELPACK_WEIGHT_CONFIG,
    };
    json!({
        "mediaType": media_type,
        "digest": layer.digest,
        "size": layer.size,
        "annotations": {MODELPACK_FILE_PATH: name, TITLE: name},
    })
}

/// Copies facts of our config under the names of another.
fn renamed(facts: &Value, names: &[(&str, &str)]) -> Map<String, Value> {
    let named = names.iter().filter_map(|(ours, theirs)| {
        let value = facts.get(ours)?.as_str().filter(|text| !text.is_empty())?;
        Some(((*theirs).to_owned(), json!(value)))
    });
    named.collect()
}

fn modelpack_config(facts: &Value, payloads: &[Payload]) -> Value {
    let mut config = renamed(
        facts,
        &[("model_type", "paramSize"), ("file_type", "quantization")],
    );
    config.insert("architecture".into(), json!("transformer"));
    config.insert("format".into(), json!("gguf"));
    let diff_ids: Vec<Value> = payloads
        .iter()
        .map(|payload| json!(payload.digest))
        .collect();
    json!({
        "descriptor": renamed(facts, &[("model_family", "family")]),
        "config": config,
        "modelfs": {"type": "layers", "diffIds": diff_ids},
    })
}

/// Docker's media type for a file, or Ollama's where Docker has none: others pass over it.
fn docker_type(file: &File<'_>) -> String {
    let kind = &file.layer.media_type;
    let known = DOCKER_LAYERS.iter().find(|(_, known)| known == kind);
    match known {
        Some((DOCKER_JINJA, _)) if !file.is_jinja => kind.to_string(),
        Some((media_type, _)) => (*media_type).to_owned(),
        None => kind.to_string(),
    }
}

fn docker_config(facts: &Value, layers: &[Value], manifest: &Manifest) -> Value {
    let names = [
        ("model_family", "architecture"),
        ("model_type", "parameter_count"),
        ("file_type", "quantization"),
    ];
    let files: Vec<Value> = layers
        .iter()
        .map(|layer| json!({"diffID": layer["digest"], "type": layer["mediaType"]}))
        .collect();
    let size: u64 = manifest.layers.iter().map(|layer| layer.size).sum();
    json!({
        "descriptor": {},
        "config": {
            "format": "gguf",
            "format_version": GGUF_VERSION,
            "gguf": renamed(facts, &names),
            "size": size.to_string(),
        },
        "files": files,
    })
}

/// The config of an image that holds files only: the same for every platform, named after the most common.
fn image_config(payloads: &[Payload]) -> Value {
    let diff_ids: Vec<Value> = payloads
        .iter()
        .map(|payload| json!(payload.digest))
        .collect();
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}
