//! slm's own routes about the store, which Ollama does not have: where files are, bundles, adoption, the archive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /api/path`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PathRequest {
    /// Model name.
    pub model: String,
}

/// Answer of `POST /api/path`: the large files of a model, on the daemon's machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PathResponse {
    /// Model name in full.
    pub model: String,
    /// Weights in order, then the others.
    pub files: Vec<ModelFile>,
}

/// A file of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ModelFile {
    /// `model`, `projector` or `adapter`.
    pub kind: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Absolute path.
    pub path: String,
    /// `hot`, `shared`, `archive`, or `reference` for a file of another program.
    pub location: String,
}

/// `GET /api/blobs`: everything that the store has, in every location.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BlobsResponse {
    /// By digest.
    pub blobs: Vec<Blob>,
}

/// A blob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Blob {
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// `POST /api/export`, answered by a tar archive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExportRequest {
    /// Model names.
    pub models: Vec<String>,
    /// Digests of blobs that the other side has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

/// Answer of `POST /api/import`, whose body is a tar archive; the header `slm-as` is another name for a single
/// model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImportResponse {
    /// The models that are there now.
    pub models: Vec<String>,
    /// Blobs that were not there before.
    pub new_blobs: usize,
    /// Their bytes.
    pub new_bytes: u64,
}

/// `POST /api/adopt/find` and `POST /api/adopt`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdoptRequest {
    /// `ollama`, `huggingface`, `lmstudio` or an absolute path; all three where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The names to adopt, as they were found; all where it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// By hard link rather than by reflink or reference.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hard_link: bool,
}

/// Answer of `POST /api/adopt/find`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdoptFound {
    /// Models of other programs, by name.
    pub models: Vec<ForeignModel>,
    /// What was passed over and why, a line each.
    pub notes: Vec<String>,
}

/// A model of another program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ForeignModel {
    /// The name that it would get.
    pub name: String,
    /// `ollama`, `huggingface`, `lmstudio` or `folder`.
    pub program: String,
    /// Bytes of all of its files.
    pub size: u64,
    /// Its largest file.
    pub path: String,
    /// Whether the store has a model of that name.
    pub is_here: bool,
}

/// `POST /api/archive` and `POST /api/unarchive`, answered by lines of progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ArchiveRequest {
    /// Model name.
    pub model: String,
}
