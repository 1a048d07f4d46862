//! What can go wrong with the store and the registry.
use crate::{Digest, ModelName};
use std::{io, path::PathBuf};

/// Any failure of this crate; the owner adds variants.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No manifest under that name.
    #[error("model '{name}' not found")]
    NotFound {
        /// Short form.
        name: ModelName,
    },
    /// Bytes and digest disagree.
    #[error("digest mismatch, expected \"{expected}\", got \"{actual}\"")]
    DigestMismatch {
        /// Asked for.
        expected: Digest,
        /// Got.
        actual: Digest,
    },
    /// A file of the store cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the store cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A manifest is not understood.
    #[error("the manifest is not valid: {reason}")]
    Manifest {
        /// What is wrong.
        reason: String,
    },
    /// The registry has no such model.
    #[error("pull model manifest: file does not exist")]
    RemoteNotFound {
        /// What was asked for.
        name: ModelName,
    },
    /// The registry cannot be reached.
    #[error("cannot reach the model registry `{host}`: {reason}")]
    Unreachable {
        /// Host.
        host: String,
        /// Innermost cause.
        reason: String,
    },
}

impl Error {
    /// What the user can do now, as one imperative sentence.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}
