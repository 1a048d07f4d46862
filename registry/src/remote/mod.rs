//! The distribution protocol with Ollama's media types: pull, and [`push`].
//!
//! ```text
//! manifest → pin its blobs → room on the disk? → each blob: there, or go on with `…-partial` → verify → rename
//!          → manifest written → blobs of the replaced manifest removed
//! ```
//!
//! A blob comes in parts over several connections ([`transfer`], [`plan`]) and goes to a file with holes ([`partial`]),
//! beside which a journal says which bytes are there ([`journal`]). The network side is async; disk and hashing run on
//! blocking threads, joined by a bounded channel ([`writer`]). Dropping the future at any point leaves a whole store and
//! the bytes received so far.
mod auth;
mod client;
mod credentials;
mod download;
mod files;
mod formats;
mod hugging_face;
mod journal;
mod neighbors;
mod network;
mod package;
mod partial;
mod plan;
mod push;
mod repair;
mod spans;
mod tar;
#[cfg(test)]
mod tests;
mod throttle;
mod transfer;
mod unpack;
mod updates;
mod writer;

use crate::{
    Descriptor, Digest, Error, Manifest, MediaType, Original, Provenance, Reference, Store, Via,
    reference::Source,
    store::{Pin, Shared},
};
use client::Remote;
pub use credentials::{Credentials, Keyring};
pub(crate) use download::Downloads;
use files::Job;
pub use formats::{Format, FormatError};
pub(crate) use hugging_face::{
    is_model as is_model_file, label_or_name as file_label, stem as file_stem,
};
use neighbors::Neighborhood;
pub use neighbors::parse_neighbors;
pub use network::{Clients, Discover, MakeConfig, Network, ReadLicense, parse_mirrors};
use package::Package;
pub(crate) use partial::{allocated, journal_path};
use plan::Cut;
pub use push::{PushEvent, PushOptions, push};
pub use repair::repair;
use std::{collections::HashSet, sync::Arc, time::Duration};
pub use throttle::Throttle;
pub(crate) use unpack::unpacked;
pub use updates::{Freshness, freshness, source_of};

/// How to pull.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// Allow plain HTTP (or a name with `http://`).
    pub insecure: bool,
    /// Bounds on the bytes per second; those of several pulls may share one.
    pub throttles: Vec<Arc<Throttle>>,
    /// How to reach others; shared by all pulls of a process.
    pub network: Arc<Network>,
}

/// What happens during a pull, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullEvent {
    /// The manifest is being fetched.
    Manifest,
    /// Something that a person wants to know, in one line: which of several files was chosen, and why.
    Note(String),
    /// What all blobs of the model take, once that is known and before the first of them.
    Size {
        /// Bytes in all.
        total: u64,
        /// Bytes of that which are here: whole blobs, and what an earlier attempt has left.
        here: u64,
    },
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

/// How patient a pull is, and how it goes about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a byte for so long, a request is given up.
    stall: Duration,
    /// Pause after the first failure; doubles with each more.
    first_pause: Duration,
    /// Failures in a row, with next to no byte gained between, until a download is given up.
    max_failures: u32,
    /// Over such a time a request is compared with others.
    slow_window: Duration,
    /// A request that gets fewer bytes per second has stalled.
    min_rate: f64,
    /// A blob that is complete and wrong is fetched so often again, from the beginning.
    max_refetches: u32,
    cut: Cut,
    max_connections: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            first_pause: Duration::from_millis(500),
            max_failures: 8,
            slow_window: Duration::from_secs(8),
            min_rate: 256.0,
            max_refetches: 1,
            cut: Cut {
                part_bytes: 32 << 20,
                min_share_bytes: 1 << 20,
                min_share_time: Duration::from_millis(700),
            },
            max_connections: 12,
        }
    }
}

/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(10);

impl Patience {
    /// Waits longer with each failure, and never exactly as long as others who failed at the same time.
    async fn pause(&self, n_failures: u32) {
        let doubled = 1_u32 << n_failures.saturating_sub(1).min(16);
        let pause = self.first_pause.saturating_mul(doubled).min(MAX_PAUSE);
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// Pulls what `reference` means into `store`. Cancel by dropping the future: finished bytes stay for the next attempt.
///
/// # Errors
/// Network, digest and disk errors; the store is whole after each.
pub async fn pull(
    store: &Store,
    reference: impl Into<Reference>,
    options: &PullOptions,
    progress: impl FnMut(PullEvent) + Send,
) -> Result<(), Error> {
    pull_patiently(store, reference, options, Patience::default(), progress).await
}

async fn pull_patiently(
    store: &Store,
    reference: impl Into<Reference>,
    options: &PullOptions,
    patience: Patience,
    mut progress: impl FnMut(PullEvent) + Send,
) -> Result<(), Error> {
    pull_from(store, &reference.into(), options, patience, &mut progress).await
}

/// [`pull`], compiled once whoever listens.
async fn pull_from(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    patience: Patience,
    progress: &mut (dyn FnMut(PullEvent) + Send),
) -> Result<(), Error> {
    progress(PullEvent::Manifest);
    let name = reference.name();
    let job = Job {
        store,
        name,
        source: reference.source_text(),
        options,
        patience,
    };
    match reference.source() {
        Source::Registry {
            repository,
            tag,
            pin,
        } => job.registry(repository, tag, *pin, progress).await,
        Source::HuggingFace { repo, file } => {
            job.hugging_face(repo, file.as_deref(), progress).await
        }
        Source::Neighbor { address, pin } => job.neighbor(address, *pin, progress).await,
        Source::Url(url) => job.url(url, progress).await,
        Source::File(path) => job.file(path, progress).await,
    }
}

impl Job<'_> {
    /// What is noted of a model that is pulled; `manifest` is the digest of the registry's manifest, if there is one.
    fn provenance(&self, manifest: Option<Digest>) -> Provenance {
        let manifests = manifest.iter().map(|digest| Original {
            name: "manifest".to_owned(),
            digest: *digest,
        });
        Provenance {
            source: Some(self.source.clone()),
            revision: manifest.map(|digest| digest.to_string()),
            originals: manifests.collect(),
            ..Provenance::now(Via::Pull)
        }
    }

    /// The registry of the name, behind its mirrors.
    async fn registries(&self, repository: &str) -> Result<Vec<Arc<Remote>>, Error> {
        let (name, options, patience) = (self.name, self.options, self.patience);
        let mut registries = Vec::new();
        let mirrors = options.network.mirrors.get(name.host());
        for address in mirrors.into_iter().flatten() {
            let mirror = Remote::registry_at(address, name, repository, options, patience);
            registries.push(mirror.await?);
        }
        let registry = Remote::registry(name, repository, options, patience);
        registries.push(registry.await?);
        Ok(registries)
    }

    /// The model `tag` of a registry.
    async fn registry(
        &self,
        repository: &str,
        tag: &str,
        pin: Option<Digest>,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        let registries = self.registries(repository).await?;
        let hood = self.neighborhood().await;
        // What is asked for by its digest may come from anybody.
        let known = match pin {
            Some(pin) => hood.manifest(self.name.tag(), Some(pin)).await,
            None => None,
        };
        let json = match known {
            Some((json, _)) => json,
            None => match self.manifest(&registries, tag, pin).await {
                Err(error) if neighbors::is_offline(&error) => {
                    return self.without_origin(error, pin, progress).await;
                }
                answered => answered?,
            },
        };
        // What the tag is has been said: neighbours may give that and nothing else.
        let said = Digest::of(&json);
        match self.model(&registries, &hood, json, progress).await {
            Err(error) if neighbors::is_offline(&error) => {
                self.without_origin(error, Some(said), progress).await
            }
            pulled => pulled,
        }
    }

    /// The manifest, from the first registry that has it.
    async fn manifest(
        &self,
        registries: &[Arc<Remote>],
        tag: &str,
        pin: Option<Digest>,
    ) -> Result<Vec<u8>, Error> {
        let mut fetched = Err(Error::RemoteNotFound {
            name: self.name.clone(),
        });
        for registry in registries {
            fetched = registry.manifest(tag, pin).await;
            match &fetched {
                Ok(_) => break,
                Err(error) => tracing::debug!(%error, "no manifest from there"),
            }
        }
        // What the registry itself says comes last, and is what counts.
        fetched
    }

    /// The model that the manifest `json` describes, from neighbours and `registries`.
    pub(super) async fn model(
        &self,
        registries: &[Arc<Remote>],
        hood: &Neighborhood,
        json: Vec<u8>,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        if let Some(package) = Package::recognise(&json)? {
            return self
                .package(registries, hood, &package, &json, progress)
                .await;
        }
        let (store, shared) = (self.store, self.store.shared());
        let blobs = distinct_blobs(&Manifest::parse(&json)?);

        let pin = on_disk(shared, {
            let (store, blobs) = (store.clone(), blobs.clone());
            move |shared| prepare(&store, shared, &blobs)
        })
        .await?;
        progress(size_of(shared, &blobs));
        for blob in &blobs {
            self.bring(hood, registries, blob, progress).await?;
        }
        progress(PullEvent::Verifying);

        progress(PullEvent::WritingManifest);
        let name = self.name.clone();
        let mut provenance = self.provenance(Some(Digest::of(&json)));
        let license_of = self.network().license_of.clone();
        let unused = on_disk(shared, move |shared| {
            let weights = Manifest::parse(&json)?;
            let weights = weights.layer(&MediaType::Model);
            provenance.license = license_of
                .zip(weights)
                .and_then(|(license_of, weights)| license_of(&shared.blob_path(&weights.digest)));
            let guard = shared.lock()?;
            shared.write_manifest(&guard, &name, &json, Some(&provenance))
        })
        .await?;
        if !unused.is_empty() {
            progress(PullEvent::RemovingUnused);
        }
        on_disk(shared, move |shared| {
            // The model is there: what fails now is no failure of the pull.
            if let Err(error) = pin.release() {
                tracing::warn!(%error, "cannot tell other processes that a pull is over");
            }
            if !unused.is_empty() {
                let guard = shared.lock()?;
                shared.remove_replaced(&guard, unused);
            }
            Ok(())
        })
        .await
    }
}

/// Layers, then the config, each once: models may use a blob twice.
fn distinct_blobs(manifest: &Manifest) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    let distinct = manifest.blobs().filter(|blob| seen.insert(blob.digest));
    distinct.cloned().collect()
}

/// How large the blobs are, and how much of them is here.
fn size_of(shared: &Shared, blobs: &[Descriptor]) -> PullEvent {
    let here = |blob: &Descriptor| match shared.blob_size(&blob.digest) {
        Some(size) if size == blob.size => size,
        _ => partial::len(shared, &blob.digest).min(blob.size),
    };
    let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0, u64::saturating_add);
    PullEvent::Size {
        total: sum(&mut blobs.iter().map(|blob| blob.size)),
        here: sum(&mut blobs.iter().map(here)),
    }
}

/// Keeps the blobs from being removed, and checks that the missing ones have room.
fn prepare(store: &Store, shared: &Shared, blobs: &[Descriptor]) -> Result<Pin, Error> {
    let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest).collect();
    let pin = store.pin(&digests)?;
    let missing = blobs
        .iter()
        .filter(|blob| shared.blob_size(&blob.digest) != Some(blob.size));
    let missing: Vec<(Digest, u64)> = missing.map(|blob| (blob.digest, blob.size)).collect();
    check_space(shared, &missing)?;
    Ok(pin)
}

/// Checks that the disk has room for downloads of those sizes. What is there of them needs none; holes do.
pub(crate) fn check_space(shared: &Shared, downloads: &[(Digest, u64)]) -> Result<(), Error> {
    let needed = downloads
        .iter()
        .map(|(digest, size)| size.saturating_sub(partial::len(shared, digest)))
        .fold(0, u64::saturating_add);
    let folder = shared.blobs();
    match crate::store::free_bytes(&folder) {
        Some(available) if needed > available => Err(Error::NoSpace {
            needed,
            available,
            path: folder,
        }),
        _ => Ok(()),
    }
}

/// Runs `work` on a thread that may block.
async fn on_disk<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Arc<Shared>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let shared = Arc::clone(shared);
    joined(tokio::task::spawn_blocking(move || work(&shared))).await
}

/// The result of a blocking task; a panic goes on here.
async fn joined<T>(task: tokio::task::JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::RetriesExhausted {
                reason: "the program is ending".to_owned(),
            }),
        },
    }
}
