//! What a GGUF file says about its model, in the words of the API.
//!
//! [`GgufFacts`] is the small part that loading, listing and creating need; `/api/show` reads the rest anew. Reading
//! maps the file: call it on a blocking thread.

use crate::{error::ApiError, inference::fill};
use serde_json::{Map, Value, json};
use slm_api::ollama::{Details, ShowTensor};
use slm_engine::{MappedFile, ModelFiles};
use slm_gguf::{Gguf, Value as GgufValue};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Longer arrays are left out of `model_info` unless all is asked for.
const MAX_LISTED: usize = 1024;
/// No SPDX expression is longer.
const MAX_LICENSE_CHARS: usize = 200;
/// `pooling_type` of cross-encoders.
const RANK_POOLING: u32 = 4;
/// Context of a file that does not say.
const DEFAULT_CONTEXT: usize = 2048;

/// `general.file_type` to the label that people know; gaps are types that were withdrawn.
const FILE_TYPES: &[(u32, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4_MOE"),
    (39, "NVFP4"),
    (40, "Q1_0"),
];

/// What is needed of a model file without loading it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GgufFacts {
    pub(crate) architecture: String,
    pub(crate) n_parameters: u64,
    /// The quantisation's label.
    pub(crate) file_type: String,
    /// The context that the model was trained for.
    pub(crate) context_length: usize,
    pub(crate) embedding_length: Option<u64>,
    /// SPDX identifier of the licence.
    pub(crate) license: Option<String>,
    /// The Jinja template in the file.
    pub(crate) chat_template: Option<String>,
    /// Whether it makes vectors instead of text.
    pub(crate) is_embedding: bool,
    /// Whether it makes no vectors but reads two texts together and says how near they are.
    pub(crate) is_reranker: bool,
    /// Whether it has tokens for a gap in a text.
    pub(crate) fills_gaps: bool,
    /// Whether it is no model but what changes one.
    pub(crate) is_adapter: bool,
}

impl GgufFacts {
    /// Reads them from a file.
    ///
    /// # Errors
    /// A file that cannot be opened or is no GGUF.
    pub(crate) fn read(path: &Path) -> Result<Self, ApiError> {
        with_gguf(path, Self::of)
    }

    /// Reads them from the files of a model, which are its parts in order.
    ///
    /// # Errors
    /// Files that cannot be opened, are no GGUF or do not belong together.
    pub(crate) fn of_model(paths: &[PathBuf]) -> Result<Self, ApiError> {
        with_model(paths, Self::of)
    }

    fn of(gguf: &Gguf<'_>) -> Result<Self, slm_gguf::Error> {
        let metadata = gguf.metadata();
        let architecture = metadata.string("general.architecture")?.to_owned();
        let key = |name: &str| format!("{architecture}.{name}");
        let tensors = gguf.tensors();
        let is_encoder = slm_engine::model::is_encoder(&architecture);
        let says_pooling = metadata.get(&key("pooling_type")).is_some();
        Ok(Self {
            n_parameters: tensors.iter().map(|t| t.n_elements()).sum(),
            file_type: file_type(gguf)?,
            context_length: metadata
                .opt_u32(&key("context_length"))?
                .map_or(DEFAULT_CONTEXT, |n| n as usize)
                .max(1),
            embedding_length: metadata.opt_u32(&key("embedding_length"))?.map(u64::from),
            license: metadata
                .opt_string("general.license")?
                .filter(|license| !license.is_empty() && license.len() <= MAX_LICENSE_CHARS)
                .map(str::to_owned),
            chat_template: metadata
                .opt_string("tokenizer.chat_template")?
                .map(str::to_owned),
            is_embedding: is_encoder || says_pooling,
            is_reranker: metadata.opt_u32(&key("pooling_type")).ok().flatten()
                == Some(RANK_POOLING),
            fills_gaps: metadata
                .opt_array("tokenizer.ggml.tokens")?
                .and_then(|tokens| tokens.strings())
                .is_some_and(fill::has_marks),
            is_adapter: metadata.opt_string("general.type")? == Some("adapter"),
            architecture,
        })
    }

    /// Adds to a config blob what it does not say yet.
    pub(crate) fn complete_config(&self, config: &mut Map<String, Value>) {
        let mut fill = |key: &str, value: Value| {
            let slot = config.entry(key).or_insert(Value::Null);
            let is_empty = slot.is_null() || slot.as_str().is_some_and(str::is_empty);
            if is_empty {
                *slot = value;
            }
        };
        fill("model_format", json!("gguf"));
        fill("model_family", json!(self.architecture));
        fill("model_families", json!([self.architecture]));
        fill("model_type", json!(count_label(self.n_parameters)));
        fill("file_type", json!(self.file_type));
        fill("context_length", json!(self.context_length));
        if let Some(length) = self.embedding_length {
            fill("embedding_length", json!(length));
        }
    }
}

/// The details of a model, from a complete config blob.
pub(crate) fn of_config(config: &Value) -> Details {
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let families = config["model_families"].as_array().map(|families| {
        let texts = families.iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    });
    Details {
        parent_model: String::new(),
        format: text("model_format"),
        family: text("model_family"),
        families,
        parameter_size: text("model_type"),
        quantization_level: text("file_type"),
        context_length: config["context_length"].as_u64(),
        embedding_length: config["embedding_length"].as_u64(),
    }
}

/// The metadata of a file as `/api/show` gives it, and its tensors.
///
/// # Errors
/// A file that cannot be opened or is no GGUF.
pub(crate) fn model_info(
    paths: &[PathBuf],
    verbose: bool,
) -> Result<(Map<String, Value>, Vec<ShowTensor>), ApiError> {
    with_model(paths, |gguf| {
        let hidden = ["general.name", "tokenizer.chat_template"];
        let mut info: Map<String, Value> = gguf
            .metadata()
            .iter()
            .filter(|(key, _)| !hidden.contains(key))
            .map(|(key, value)| (key.to_owned(), to_json(value, verbose)))
            .collect();
        let n_parameters: u64 = gguf.tensors().iter().map(|t| t.n_elements()).sum();
        info.insert("general.parameter_count".to_owned(), json!(n_parameters));
        let tensors = gguf.tensors().iter().map(|tensor| ShowTensor {
            name: tensor.name.to_owned(),
            kind: tensor.tensor_type.name().to_owned(),
            shape: tensor.shape.clone(),
        });
        Ok((info, tensors.collect()))
    })
}

/// Which part of a model in several files the file at `path` is, from 0, and how many there are.
///
/// # Errors
/// A file that cannot be opened or is no GGUF.
pub(crate) fn part(path: &Path) -> Result<Option<(u32, u32)>, ApiError> {
    let shard = with_gguf(path, |gguf| gguf.shard())?;
    Ok(shard.map(|shard| (shard.index, shard.count)))
}

/// The files of a model in the order of its parts, whatever the order in `paths`; more files than one that are no parts
/// stay as they are.
///
/// # Errors
/// A file that cannot be opened or is no GGUF.
pub(crate) fn in_order(mut paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, ApiError> {
    if paths.len() < 2 {
        return Ok(paths);
    }
    let mut places = HashMap::new();
    for path in &paths {
        places.insert(path.clone(), part(path)?);
    }
    if places[&paths[0]].is_none() {
        paths.truncate(1);
    }
    paths.sort_by_key(|path| places[path]);
    Ok(paths)
}

fn with_model<T>(
    paths: &[PathBuf],
    read: impl FnOnce(&Gguf<'_>) -> Result<T, slm_gguf::Error>,
) -> Result<T, ApiError> {
    if let [path] = paths {
        return with_gguf(path, read);
    }
    let files = ModelFiles::open_parts(paths)?;
    let gguf = files.gguf()?;
    read(&gguf).map_err(|error| ApiError::from(slm_engine::LoadError::from(error)))
}

fn with_gguf<T>(
    path: &Path,
    read: impl FnOnce(&Gguf<'_>) -> Result<T, slm_gguf::Error>,
) -> Result<T, ApiError> {
    let file = MappedFile::open(path).map_err(|source| slm_engine::LoadError::Open {
        path: path.to_owned(),
        source,
    })?;
    let gguf = Gguf::parse(&file).and_then(|gguf| read(&gguf));
    gguf.map_err(|error| ApiError::from(slm_engine::LoadError::from(error)))
}

/// The label of the quantisation: what the file says, else the type of most of its weights.
fn file_type(gguf: &Gguf<'_>) -> Result<String, slm_gguf::Error> {
    if let Some(id) = gguf.metadata().opt_u32("general.file_type")? {
        let known = FILE_TYPES.iter().find(|(known, _)| *known == id);
        return Ok(known.map_or("unknown", |(_, label)| label).to_owned());
    }
    let mut bytes_of: HashMap<&str, usize> = HashMap::new();
    for tensor in gguf.tensors() {
        *bytes_of.entry(tensor.tensor_type.name()).or_default() += tensor.size_bytes;
    }
    let most = bytes_of.into_iter().max_by_key(|(_, bytes)| *bytes);
    Ok(most.map_or("unknown", |(name, _)| name).to_owned())
}

/// `134.52M`, `1.2B`, `7B`: how model sizes are written.
pub(crate) fn count_label(count: u64) -> String {
    match count {
        1_000_000_000.. if count.is_multiple_of(1_000_000_000) => {
            format!("{}B", count / 1_000_000_000)
        }
        1_000_000_000.. => format!("{:.1}B", count as f64 / 1e9),
        1_000_000.. if count.is_multiple_of(1_000_000) => format!("{}M", count / 1_000_000),
        1_000_000.. => format!("{:.2}M", count as f64 / 1e6),
        1_000.. => format!("{:.0}K", count as f64 / 1e3),
        _ => count.to_string(),
    }
}

fn to_json(value: &GgufValue<'_>, verbose: bool) -> Value {
    match value {
        GgufValue::U8(n) => json!(n),
        GgufValue::I8(n) => json!(n),
        GgufValue::U16(n) => json!(n),
        GgufValue::I16(n) => json!(n),
        GgufValue::U32(n) => json!(n),
        GgufValue::I32(n) => json!(n),
        GgufValue::U64(n) => json!(n),
        GgufValue::I64(n) => json!(n),
        // the shortest decimal that means this f32: 1e-05, not 9.999999747378752e-06
        GgufValue::F32(n) => n
            .to_string()
            .parse::<f64>()
            .map_or(Value::Null, |n| json!(n)),
        GgufValue::F64(n) => json!(n),
        GgufValue::Bool(b) => json!(b),
        GgufValue::String(bytes) => json!(String::from_utf8_lossy(bytes)),
        GgufValue::Array(array) if array.len() > MAX_LISTED && !verbose => Value::Null,
        GgufValue::Array(array) => array.iter().map(|item| to_json(&item, verbose)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_like_model_sizes() {
        #[track_caller]
        fn check(count: u64, expected: &str) {
            assert_eq!(count_label(count), expected);
        }
        check(999, "999");
        check(154_000, "154K");
        check(134_515_008, "134.52M");
        check(1_000_000, "1M");
        check(1_240_000_000, "1.2B");
        check(7_000_000_000, "7B");
        check(7_241_732_096, "7.2B");
        check(1_777_088_000, "1.8B");
        check(8_030_000_000, "8.0B");
    }

    #[test]
    fn a_config_keeps_what_it_says_and_gains_what_it_lacks() {
        let facts = GgufFacts {
            architecture: "llama".into(),
            n_parameters: 7_000_000_000,
            file_type: "Q4_1".into(),
            context_length: 2048,
            ..GgufFacts::default()
        };
        let mut config = Map::from_iter([("model_type".to_owned(), json!("8B"))]);
        facts.complete_config(&mut config);
        let details = of_config(&Value::Object(config));
        assert_eq!(details.parameter_size, "8B");
        assert_eq!(details.quantization_level, "Q4_1");
        assert_eq!(details.families, Some(vec!["llama".to_owned()]));
        assert_eq!(details.context_length, Some(2048));
    }
}
