//! Models as one file, to be carried where no network is.
//!
//! A bundle is an [OCI image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md) in a tar
//! archive: `oci-layout`, `index.json` with a descriptor of each manifest under its name, and everything else as
//! `blobs/sha256/<hex>`. The same models give the same bytes. Blobs may be left out that the other side has; the layout
//! allows that.
//!
//! [`crate::Store::plan_export`] writes one and [`crate::Store::import`] reads one, both as a stream: nothing is copied
//! to the disk on the way.
mod export;
mod import;
#[cfg(test)]
mod tests;

pub use export::Export;
pub use import::Imported;

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Models of one bundle.
const MAX_MODELS: usize = 1000;
/// The file that says what this is.
const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
const LAYOUT_VERSION: &str = "1.0.0";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Under which annotation a manifest's descriptor has its name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<IndexEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexEntry {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Where a blob is in the archive.
fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
