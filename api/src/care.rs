//! Care of the store: `/api/verify`, `/api/gc`, `/api/df`, `/api/outdated`, `/api/update`, `/api/rollback`. Ollama has none
//! of these. Sizes are bytes, digests are `sha256:…`, times are as in [`crate::ollama`].
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /api/verify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VerifyRequest {
    /// Only these models; without one, everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Fetch what is damaged again, from where it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<bool>,
    /// Allow plain HTTP for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

/// A line of `/api/verify`; the one with [`VerifyLine::summary`] is the last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VerifyLine {
    /// `verifying`, `problem`, `repairing`, `repaired`, `not repaired`; at the end `success` or `damaged`.
    pub status: String,
    /// Of all blobs while verifying, of one while repairing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<StoreProblem>,
    /// What was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<VerifySummary>,
}

/// Something wrong with the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoreProblem {
    /// `manifest`, `missing`, `size`, `damaged`, `unreadable`.
    pub kind: String,
    /// The blob; none for a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The models that it belongs to.
    pub models: Vec<String>,
    /// In words.
    pub reason: String,
    /// Why it could not be repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VerifySummary {
    /// Models.
    pub models: usize,
    /// Blobs.
    pub blobs: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// Problems found.
    pub problems: usize,
    /// Problems that were repaired.
    pub repaired: usize,
}

/// `POST /api/gc`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GcRequest {
    /// Remove it. Otherwise it is only shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<bool>,
    /// How old, in seconds, blobs that nothing refers to and unfinished downloads must be, in place of an hour and two
    /// weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<u64>,
    /// Earlier versions of models too, of any age, in place of a month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<bool>,
}

/// Answer of `POST /api/gc`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GcResponse {
    /// Whether it was removed.
    pub removed: bool,
    /// What the disk gets back.
    pub bytes: u64,
    /// Blobs that nothing refers to.
    pub blobs: Vec<GcFile>,
    /// Unfinished downloads.
    pub partials: Vec<GcFile>,
    /// Earlier versions of models.
    pub versions: Vec<GcVersion>,
    /// A model whose manifest cannot be read, so that all blobs stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
}

/// A file of the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GcFile {
    /// What it is or is to become.
    pub digest: String,
    /// On the disk.
    pub size: u64,
}

/// A version of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GcVersion {
    /// The model.
    pub name: String,
    /// Of its manifest then.
    pub digest: String,
}

/// Answer of `GET /api/df`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DfResponse {
    /// By name.
    pub models: Vec<DfModel>,
    /// Unfinished downloads.
    pub partials: Vec<GcFile>,
    /// All blobs, each once.
    pub blobs: u64,
    /// Blobs that only earlier versions of models refer to.
    pub earlier: u64,
    /// Blobs that nothing refers to.
    pub unreferenced: u64,
    /// Left on the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
}

/// One model's share of the disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DfModel {
    /// Its name.
    pub name: String,
    /// What its removal gives back, earlier versions aside.
    pub own: u64,
    /// What other models refer to as well.
    pub shared: u64,
    /// What only earlier versions refer to.
    pub earlier: u64,
}

/// `GET /api/outdated`, and its answer's rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OutdatedResponse {
    /// By name.
    pub models: Vec<OutdatedModel>,
}

/// How a model compares with where it came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OutdatedModel {
    /// Its name.
    pub name: String,
    /// Of its manifest here.
    pub digest: String,
    /// `current`, `outdated`, `pinned`, `gone`, `local`, `unknown`, `unreachable`.
    pub status: String,
    /// What it was pulled from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What the source has now: a digest, a commit or an ETag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Why the source cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `POST /api/update`; answers as `/api/pull` does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UpdateRequest {
    /// Model name.
    pub model: String,
    /// Allow plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

/// `POST /api/rollback`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RollbackRequest {
    /// Model name.
    pub model: String,
}

/// Answer of `POST /api/rollback`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RollbackResponse {
    /// Of the manifest that is current now.
    pub digest: String,
}

/// Where a model came from: in the answer of `/api/show` when the request asks for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ShowProvenance {
    /// `pull` or `create`.
    pub via: String,
    /// What was pulled, so that it can be pulled again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A digest, a commit or an ETag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The files as they were there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub originals: Vec<ShowOriginal>,
    /// SPDX identifier of the licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The model that it was made of, `name@sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// When.
    pub at: String,
}

/// A file as it was where it came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ShowOriginal {
    /// Address or name.
    pub name: String,
    /// Of all its bytes.
    pub digest: String,
}
