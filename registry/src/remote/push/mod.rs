//! Push: a model of the store to a registry, as it is or as a package of another format.
//!
//! ```text
//! manifest → pin its blobs → package → each blob: there, mounted, or uploaded → manifest
//! ```
//!
//! The manifest goes last, so that a push that was cut off leaves nothing that could be pulled; the next one goes on after
//! the blobs that have arrived. Cancel by dropping the future.
mod pack;
mod payload;
mod upload;

use super::{
    Patience, PullOptions,
    client::{Failure, Remote},
    formats::Format,
    on_disk,
};
use crate::{Digest, Error, ModelName, Reference, Store, reference::Source};
use pack::Package;
use reqwest::{Method, header::CONTENT_TYPE};
use std::time::{Duration, Instant};
use upload::Upload;

/// Repositories that are asked for one blob.
const MAX_MOUNTS: usize = 3;
/// Time between two progress events of one blob.
const EVENT_INTERVAL: Duration = Duration::from_millis(60);

/// How to push.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// In which format.
    pub format: Format,
    /// How to reach the registry; bounds on bytes per second are for downloads.
    pub remote: PullOptions,
}

/// What happens during a push, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushEvent {
    /// The manifest is being read.
    Manifest,
    /// Something that a person wants to know, in one line.
    Note(String),
    /// Bytes of one blob; repeated. A blob that was there already gives one event with `completed == total`.
    Blob {
        /// Which.
        digest: Digest,
        /// Bytes in all.
        total: u64,
        /// Bytes so far; may shrink when an upload has to begin anew.
        completed: u64,
    },
    /// The manifest is being written.
    PushingManifest,
}

/// Pushes the model `name` of `store` to `destination`.
///
/// # Errors
/// No such model, no registry, and network and disk errors.
pub async fn push(
    store: &Store,
    name: &ModelName,
    destination: &Reference,
    options: &PushOptions,
    progress: impl FnMut(PushEvent) + Send,
) -> Result<(), Error> {
    push_patiently(
        store,
        name,
        destination,
        options,
        Patience::default(),
        progress,
    )
    .await
}

pub(super) async fn push_patiently(
    store: &Store,
    name: &ModelName,
    destination: &Reference,
    options: &PushOptions,
    patience: Patience,
    mut progress: impl FnMut(PushEvent) + Send,
) -> Result<(), Error> {
    let Source::Registry {
        repository,
        tag,
        pin: None,
    } = destination.source()
    else {
        return Err(Error::NotPushable {
            destination: destination.to_string(),
        });
    };
    progress(PushEvent::Manifest);
    let to = destination.name();
    let format = options.format;
    if format == Format::ModelCar {
        progress(PushEvent::Note(
            "computing the digests of the image's layers".to_owned(),
        ));
    }
    let (package, _pin, mounts) = on_disk(store.shared(), {
        let (store, name, to) = (store.clone(), name.clone(), to.clone());
        let repository = repository.clone();
        move |_| {
            let json = store.manifest_json(&name)?;
            let manifest = crate::Manifest::parse(&json)?;
            let digests: Vec<Digest> = manifest.blobs().map(|blob| blob.digest).collect();
            // A store that cannot be written loses no blob to us either.
            let pin = store.pin(&digests).ok();
            let package = pack::pack(&store, &json, format)?;
            let mut mounts = Vec::new();
            for payload in &package.payloads {
                let mut known = store.repositories_with(to.host(), &payload.digest)?;
                known.retain(|other| *other != repository);
                known.truncate(MAX_MOUNTS);
                mounts.push(known);
            }
            Ok((package, pin, mounts))
        }
    })
    .await?;
    let remote = Remote::registry(to, repository, &options.remote, patience).await?;
    for (idx, (payload, mounts)) in package.payloads.iter().zip(&mounts).enumerate() {
        let mut shown: Option<(u64, Instant)> = None;
        let mut show = |completed: u64| {
            let is_due = shown.is_none_or(|(shown, at)| {
                completed != shown && (completed == payload.size || at.elapsed() >= EVENT_INTERVAL)
            });
            if is_due {
                shown = Some((completed, Instant::now()));
                progress(PushEvent::Blob {
                    digest: payload.digest,
                    total: payload.size,
                    completed,
                });
            }
        };
        let mut upload = Upload {
            remote: &remote,
            patience: &patience,
            payload,
            mounts,
            is_first: idx == 0,
            // The last byte is there when the registry says so.
            show: |n_bytes: u64| show(n_bytes.min(payload.size.saturating_sub(1))),
        };
        upload.run().await.map_err(|error| as_push(error, to))?;
        show(payload.size);
    }
    progress(PushEvent::PushingManifest);
    put_manifest(&remote, &package, tag)
        .await
        .map_err(|error| as_push(error, to))
}

/// Names the package in the registry.
async fn put_manifest(remote: &Remote, package: &Package, tag: &str) -> Result<(), Error> {
    let url = remote.address(&format!("manifests/{tag}"))?;
    let make = || {
        let request = remote.change(Method::PUT, &url);
        let request = request.header(CONTENT_TYPE, &package.media_type);
        request.body(package.manifest.clone())
    };
    let mut n_failures = 0;
    loop {
        let send = |request| remote.send(request);
        match remote
            .exchange("push model manifest", &url, make, send)
            .await
        {
            Ok(_) => return Ok(()),
            Err(Failure::Passing(error @ Error::Unreachable { .. })) => {
                // It was there a moment ago.
                let error = Error::RetriesExhausted {
                    reason: error.to_string(),
                };
                remote
                    .wait_after(Failure::Passing(error), &mut n_failures)
                    .await?;
            }
            Err(failure) => remote.wait_after(failure, &mut n_failures).await?,
        }
    }
}

/// An error in the words of a push.
fn as_push(error: Error, name: &ModelName) -> Error {
    match error {
        Error::Unauthorized { .. } => Error::PushUnauthorized { name: name.clone() },
        other => other,
    }
}
