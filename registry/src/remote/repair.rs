//! Blobs that are missing or damaged are fetched again, from wherever a model that has them came from.
//!
//! A damaged blob stays where it is until the right one takes its place.
use super::{
    Patience, PullEvent, PullOptions,
    client::{Origin, Remote},
    download, files,
    files::Job,
    on_disk,
};
use crate::{
    Descriptor, Digest, Error, MediaType, ModelName, Provenance, Reference, Store,
    reference::Source, store::Problem,
};

/// Fetches the blob of `problem` again.
///
/// # Errors
/// [`Error::NoSource`] when nobody knows where it could be had, [`Error::NoSingleBlobs`] when it cannot be had alone, else
/// what the last of the sources said.
pub async fn repair(
    store: &Store,
    problem: &Problem,
    options: &PullOptions,
    mut progress: impl FnMut(PullEvent) + Send,
) -> Result<(), Error> {
    let no_source = || Error::NoSource {
        models: problem.models.clone(),
    };
    let (Some(digest), Some(size)) = (problem.digest, problem.size) else {
        return Err(no_source());
    };
    let blob = Descriptor {
        media_type: MediaType::Model,
        digest,
        size,
    };
    // Nobody may remove it as unused meanwhile, nor what has come of it.
    let pin = on_disk(store.shared(), {
        let store = store.clone();
        move |_| store.pin(&[digest])
    })
    .await?;
    let mut failed = no_source();
    for (reference, provenance) in sources(store, &problem.models).await? {
        let job = Job {
            store,
            name: reference.name(),
            source: reference.source_text(),
            options,
            patience: Patience::default(),
        };
        let origins = match job.origins(&reference, provenance.as_ref(), digest).await {
            Ok(origins) if origins.is_empty() => {
                failed = Error::NoSingleBlobs {
                    source_text: job.source,
                };
                continue;
            }
            Ok(origins) => origins,
            Err(error) => {
                failed = error;
                continue;
            }
        };
        let fetched = download::anew(
            store.shared(),
            &origins,
            options,
            &job.patience,
            &blob,
            &mut progress,
        );
        match fetched.await {
            Ok(()) => return on_disk(store.shared(), move |_| pin.release()).await,
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// What each of `names` came from, as it was noted or as its name says; each source once.
async fn sources(
    store: &Store,
    names: &[ModelName],
) -> Result<Vec<(Reference, Option<Provenance>)>, Error> {
    let (store_, names) = (store.clone(), names.to_vec());
    on_disk(store.shared(), move |_| {
        let mut sources: Vec<(Reference, Option<Provenance>)> = Vec::new();
        for name in names {
            let provenance = store_.provenance(&name).unwrap_or_default();
            let source = provenance
                .as_ref()
                .and_then(|provenance| provenance.source.as_ref());
            let reference = match (source, &provenance) {
                (Some(source), _) => source.parse().ok(),
                (None, Some(_)) => None,
                // Pulled by another program.
                (None, None) => name.to_string().parse().ok(),
            };
            if let Some(reference) = reference
                && sources.iter().all(|(other, _)| *other != reference)
            {
                sources.push((reference, provenance));
            }
        }
        Ok(sources)
    })
    .await
}

impl Job<'_> {
    /// Where `reference` has the blob `digest`; nowhere if that cannot be known.
    async fn origins(
        &self,
        reference: &Reference,
        provenance: Option<&Provenance>,
        digest: Digest,
    ) -> Result<Vec<Origin>, Error> {
        if let Source::Registry { repository, .. } = reference.source() {
            let registries = self.registries(repository).await?;
            return registries
                .iter()
                .map(|registry| registry.blob(&digest))
                .collect();
        }
        if let Source::Neighbor { address, .. } = reference.source() {
            let remote = Remote::neighbor(address, self.name, self.options, self.patience).await?;
            return Ok(vec![remote.blob(&digest)?]);
        }
        let originals = provenance.into_iter().flat_map(|it| &it.originals);
        let mut origins = Vec::new();
        for original in originals {
            let is_web =
                original.name.starts_with("http://") || original.name.starts_with("https://");
            if original.digest == digest && is_web {
                let url = files::address(&original.name, &original.name)?;
                let remote = self.remote(url.clone()).await?;
                origins.push(remote.origin(url, format!("pull blob {digest}")));
            }
        }
        Ok(origins)
    }
}
