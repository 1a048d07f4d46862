//! Whether a model's source has another version than the store.
use super::{PullOptions, client::Remote, files, files::Job, hugging_face, on_disk};
use crate::{
    Digest, Error, ModelName, Provenance, Reference, Store, Via,
    reference::Source,
    remote::{Cut, Patience},
};
use std::time::Duration;

/// How a model compares with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The source has the same.
    Current,
    /// The source has another version: its digest, commit or ETag.
    Outdated(Option<String>),
    /// It was asked for by its digest, and is never another.
    Pinned,
    /// The source has no such model any more.
    Gone,
    /// It was made here, or of a file of this machine.
    Local,
    /// Nothing was noted, or the source says nothing to compare with.
    Unknown,
}

/// For small questions: whoever wants to know can ask again.
const PATIENCE: Patience = Patience {
    stall: Duration::from_secs(15),
    first_pause: Duration::from_millis(200),
    max_failures: 3,
    slow_window: Duration::from_secs(8),
    min_rate: 256.0,
    max_refetches: 1,
    cut: Cut {
        part_bytes: 32 << 20,
        min_share_bytes: 1 << 20,
        min_share_time: Duration::from_millis(700),
    },
    max_connections: 1,
};

/// What `name` was pulled from, if it was.
///
/// # Errors
/// [`Error::NotFound`], or the disk.
pub fn source_of(store: &Store, name: &ModelName) -> Result<Option<Reference>, Error> {
    let provenance = store.provenance(name)?;
    let pulled = provenance.filter(|provenance| provenance.via == Via::Pull);
    let source = pulled.and_then(|provenance| provenance.source);
    Ok(source.and_then(|source| source.parse().ok()))
}

/// Asks the source of `name` which version it has. Fetches no model.
///
/// # Errors
/// [`Error::NotFound`] for `name`, or that the source cannot be asked.
pub async fn freshness(
    store: &Store,
    name: &ModelName,
    options: &PullOptions,
) -> Result<Freshness, Error> {
    let (provenance, local) = on_disk(store.shared(), {
        let (store, name) = (store.clone(), name.clone());
        move |_| {
            let local = Digest::of(&store.manifest_json(&name)?);
            Ok((store.provenance(&name)?, local))
        }
    })
    .await?;
    let Some(provenance) = provenance else {
        return Ok(Freshness::Unknown);
    };
    if provenance.via == Via::Create {
        return Ok(Freshness::Local);
    }
    let source = provenance.source.clone();
    let Some(reference) = source.and_then(|source| source.parse::<Reference>().ok()) else {
        return Ok(Freshness::Unknown);
    };
    if reference.pin().is_some() {
        return Ok(Freshness::Pinned);
    }
    let job = Job {
        store,
        name: reference.name(),
        source: reference.source_text(),
        options,
        patience: PATIENCE,
    };
    let asked = match reference.source() {
        Source::Registry {
            repository, tag, ..
        } => {
            job.of_registry(repository, tag, &[Some(local), revision(&provenance)])
                .await
        }
        Source::HuggingFace { repo, file } => {
            job.of_hugging_face(repo, file.as_deref(), &provenance)
                .await
        }
        Source::Neighbor { address, .. } => {
            let neighbor = Remote::neighbor(address, job.name, options, PATIENCE).await?;
            let known = [Some(local), revision(&provenance)];
            job.of_manifest(&neighbor, job.name.tag(), &known).await
        }
        Source::Url(url) => job.of_url(url, &provenance).await,
        Source::File(_) => Ok(Freshness::Local),
    };
    match asked {
        Err(Error::RemoteNotFound { .. } | Error::NoFile { .. }) => Ok(Freshness::Gone),
        Err(Error::RemoteStatus { status: 404, .. }) => Ok(Freshness::Gone),
        other => other,
    }
}

fn revision(provenance: &Provenance) -> Option<Digest> {
    provenance.revision.as_ref()?.parse().ok()
}

impl Job<'_> {
    async fn of_registry(
        &self,
        repository: &str,
        tag: &str,
        known: &[Option<Digest>],
    ) -> Result<Freshness, Error> {
        // Mirrors may lag behind: what the registry itself says counts.
        let registries = self.registries(repository).await?;
        let registry = registries
            .last()
            .expect("the registry itself is among them");
        self.of_manifest(registry, tag, known).await
    }

    /// What the manifest of `tag` there has to say.
    async fn of_manifest(
        &self,
        registry: &Remote,
        tag: &str,
        known: &[Option<Digest>],
    ) -> Result<Freshness, Error> {
        let digest = Digest::of(&registry.manifest(tag, None).await?);
        Ok(if known.contains(&Some(digest)) {
            Freshness::Current
        } else {
            Freshness::Outdated(Some(digest.to_string()))
        })
    }

    async fn of_hugging_face(
        &self,
        repo: &str,
        file: Option<&str>,
        provenance: &Provenance,
    ) -> Result<Freshness, Error> {
        let endpoint = self.options.network.hugging_face();
        let remote = self.remote(files::address(endpoint, "hf.co")?).await?;
        let list = hugging_face::list(&remote, endpoint, repo).await?;
        let files = hugging_face::choose(repo, list, file)?.files;
        let digests: Option<Vec<Digest>> = files.iter().map(|file| file.digest).collect();
        let Some(digests) = digests.filter(|digests| !digests.is_empty()) else {
            return Ok(Freshness::Unknown);
        };
        let is_known = |digest: &Digest| {
            let mut originals = provenance.originals.iter();
            originals.any(|original| original.digest == *digest)
        };
        if digests.iter().all(is_known) {
            return Ok(Freshness::Current);
        }
        let commit = hugging_face::commit(&remote, endpoint, repo).await;
        Ok(Freshness::Outdated(commit.or(Some(digests[0].to_string()))))
    }

    async fn of_url(&self, url: &str, provenance: &Provenance) -> Result<Freshness, Error> {
        let url = files::address(url, url)?;
        let remote = self.remote(url.clone()).await?;
        let origin = remote.origin(url, "ask whether the file changed".to_owned());
        let mut n_failures = 0;
        let probe = loop {
            match files::probe(&origin).await {
                Ok(probe) => break probe,
                Err(failure) => remote.wait_after(failure, &mut n_failures).await?,
            }
        };
        Ok(match (probe.validator, &provenance.revision) {
            (Some(now), Some(then)) if now == *then => Freshness::Current,
            (Some(now), Some(_)) => Freshness::Outdated(Some(now)),
            _ => Freshness::Unknown,
        })
    }
}
