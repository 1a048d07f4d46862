//! The distribution protocol with Ollama's media types: pull.
use crate::{Digest, Error, ModelName, Store};

/// How to pull.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// Allow plain HTTP (or a name with `http://`).
    pub insecure: bool,
}

/// What happens during a pull, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullEvent {
    /// The manifest is being fetched.
    Manifest,
    /// Bytes of one blob; repeated. A blob that was there already gives one event with `completed == total`.
    Blob {
        /// Which.
        digest: Digest,
        /// Bytes in all.
        total: u64,
        /// Bytes so far, those of an earlier attempt included; never shrinks.
        completed: u64,
    },
    /// All bytes are here and checked.
    Verifying,
    /// The manifest is being written.
    WritingManifest,
    /// Layers that only the replaced manifest used are being removed.
    RemovingUnused,
}

/// Pulls `name` into `store`. Cancel by dropping the future: finished bytes stay for the next attempt.
///
/// # Errors
/// Network, digest and disk errors; the store is whole after each.
pub async fn pull(
    _store: &Store,
    _name: &ModelName,
    _options: &PullOptions,
    _progress: impl FnMut(PullEvent) + Send,
) -> Result<(), Error> {
    todo!()
}

/// Downloads in progress in this process.
#[derive(Default)]
pub(crate) struct Downloads {}
