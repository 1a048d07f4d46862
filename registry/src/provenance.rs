//! Where a model came from: noted when it is pulled or made, kept beside the manifest and not in it.
use crate::Digest;
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// How a model came into the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Fetched from [`Provenance::source`].
    #[default]
    Pull,
    /// Made here, of files or of another model.
    Create,
}

/// What is known of one version of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// How it came.
    pub via: Via,
    /// What was pulled, so that it can be pulled again: a text that parses as a [`crate::Reference`]. No passwords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Which version of it: a digest of the manifest at the registry, a commit, or what a server gives as ETag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The files as they were there, or as they were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub originals: Vec<Original>,
    /// SPDX identifier of the licence, as the weights say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The model that it was made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Seconds since 1970 in UTC.
    pub time: u64,
}

/// A file as it was where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Address or name; without a password.
    pub name: String,
    /// Of all its bytes.
    pub digest: Digest,
}

/// A model that another was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its name then.
    pub name: String,
    /// Of its manifest then.
    pub digest: Digest,
}

impl Provenance {
    /// Something that happens now.
    pub fn now(via: Via) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            via,
            time: since.map_or(0, |since| since.as_secs()),
            ..Self::default()
        }
    }
}
