//! Models that come as a bare GGUF file: from Hugging Face, from an address on the web, from this machine.
//!
//! Such a file has no manifest; one is made, with a config that [`super::Network::make_config`] reads out of the file.
//! The config remembers where the file came from, so that what has not changed is not fetched again. Where nobody says
//! the digest in advance, it is whatever the bytes hash to; that the file did not change while it was fetched is known by
//! its ETag.
use super::{
    Network, Patience, PullEvent, PullOptions,
    client::{Failure, Origin, Remote},
    download, hugging_face, neighbors, on_disk, prepare, size_of, transfer,
};
use crate::{
    Descriptor, Digest, Error, MediaType, ModelName, Original, Store,
    from_files::{self, MAGIC},
    store::Shared,
};
use reqwest::{
    Response, StatusCode, Url,
    header::{ETAG, LAST_MODIFIED},
};
use serde_json::json;
use std::{path::Path, sync::Arc};

/// What the parts of a pull have in common.
pub(super) struct Job<'a> {
    pub(super) store: &'a Store,
    pub(super) name: &'a ModelName,
    /// What is pulled, as it is noted.
    pub(super) source: String,
    pub(super) options: &'a PullOptions,
    pub(super) patience: Patience,
}

/// Where a file came from, as the config says it.
pub(super) struct Provenance {
    pub(super) url: String,
    /// Addresses of the files of weights in their order, where there are several.
    pub(super) parts: Vec<String>,
    /// What changes when the file does.
    pub(super) validator: Option<String>,
}

impl Job<'_> {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.store.shared()
    }

    pub(super) fn network(&self) -> &Network {
        &self.options.network
    }

    /// The file of `repo` that `file` means.
    pub(super) async fn hugging_face(
        &self,
        repo: &str,
        file: Option<&str>,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        let endpoint = self.network().hugging_face();
        let base = address(endpoint, "hf.co")?;
        let remote = self.remote(base.clone()).await?;
        let files = match hugging_face::list(&remote, endpoint, repo).await {
            Err(error) if neighbors::is_offline(&error) => {
                return self.without_origin(error, None, progress).await;
            }
            listed => listed?,
        };
        let choice = hugging_face::choose(repo, files, file)?;
        let commit = hugging_face::commit(&remote, endpoint, repo).await;
        progress(PullEvent::Note(choice.why));
        let mut origins = Vec::new();
        for file in &choice.files {
            let mut url = base.clone();
            url.path_segments_mut()
                .map_err(|()| not_understood(endpoint, "it is no address of a host"))?
                .pop_if_empty()
                .extend(
                    repo.split('/')
                        .chain(["resolve", "main"])
                        .chain(file.path.split('/')),
                );
            origins.push((
                remote.origin(url.clone(), format!("pull {}", file.path)),
                url,
            ));
        }
        let known = choice.files.iter().map(|file| {
            let digest = file.digest?;
            Some(from_files::weights(digest, file.size))
        });
        let url = origins[0].1.clone();
        let Some(weights) = known.collect::<Option<Vec<Descriptor>>>() else {
            if origins.len() > 1 {
                return Err(not_understood(
                    "hf.co",
                    "it does not say the digests of the parts of a model",
                ));
            }
            let (origin, _) = origins.swap_remove(0);
            return self.fetch_unknown(&remote, origin, url, progress).await;
        };
        let pin = on_disk(self.shared(), {
            let (store, weights) = (self.store.clone(), weights.clone());
            move |shared| prepare(&store, shared, &weights)
        })
        .await?;
        let provenance = Provenance {
            url: url.to_string(),
            parts: origins.iter().map(|(_, url)| url.to_string()).collect(),
            validator: None,
        };
        progress(size_of(self.shared(), &weights));
        let hood = self.neighborhood().await;
        for (weights, (origin, _)) in weights.iter().zip(origins) {
            self.bring_from(&hood, &[origin], weights, progress).await?;
        }
        self.write(weights, Some(provenance), commit, progress)
            .await?;
        drop(pin);
        Ok(())
    }

    /// The file at `url`.
    pub(super) async fn url(
        &self,
        url: &str,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        let url = address(url, url)?;
        let remote = self.remote(url.clone()).await?;
        let origin = remote.origin(url.clone(), format!("pull {}", without_secrets(&url)));
        self.fetch_unknown(&remote, origin, url, progress).await
    }

    /// The file at `path` of this machine.
    pub(super) async fn file(
        &self,
        path: &Path,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        let mut weights = Vec::new();
        for source in from_files::all_parts(path) {
            let store = self.store.clone();
            let layer = on_disk(self.shared(), move |shared| {
                let digest = store.ingest_file_of_kind(&source, MAGIC, None)?;
                let size = shared.blob_size(&digest).unwrap_or_default();
                Ok(from_files::weights(digest, size))
            })
            .await?;
            progress(PullEvent::Blob {
                digest: layer.digest,
                total: layer.size,
                completed: layer.size,
            });
            weights.push(layer);
        }
        self.write(weights, None, None, progress).await
    }

    pub(super) async fn remote(&self, base: Url) -> Result<Arc<Remote>, Error> {
        let is_plain = base.scheme() == "http";
        let host = base.host_str().unwrap_or_default();
        if is_plain && !self.options.insecure && !super::client::is_loopback(host) {
            return Err(Error::Insecure {
                host: host.to_owned(),
            });
        }
        let endpoint = Url::parse(self.network().hugging_face());
        let is_hugging_face = endpoint.is_ok_and(|endpoint| endpoint.origin() == base.origin());
        let token = self.network().hugging_face_token.clone();
        let token = token.filter(|_| is_hugging_face);
        Remote::new(self.name, base, token, self.options, self.patience).await
    }

    /// Fetches a file whose digest nobody says.
    async fn fetch_unknown(
        &self,
        remote: &Remote,
        mut origin: Origin,
        url: Url,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        let mut n_failures = 0;
        let probe = loop {
            match probe(&origin).await {
                Ok(probe) => break probe,
                Err(failure) => remote.wait_after(failure, &mut n_failures).await?,
            }
        };
        let shown = without_secrets(&url);
        if probe.start != MAGIC[..] {
            return Err(Error::NotGguf {
                what: shown,
                reason: "it does not begin with `GGUF`".to_owned(),
            });
        }
        let provenance = Provenance {
            url: shown.clone(),
            parts: Vec::new(),
            validator: probe.validator.clone(),
        };
        if self.is_current(&provenance).await? {
            progress(PullEvent::Note(format!("{shown} has not changed")));
            progress(PullEvent::Verifying);
            progress(PullEvent::WritingManifest);
            return Ok(());
        }
        origin.expect(probe.validator.clone());
        // Without anything that would change with the file, an earlier attempt cannot be gone on with.
        let tag = probe
            .validator
            .unwrap_or_else(|| format!("{:016x}", fastrand::u64(..)));
        let wanted = download::Unknown {
            key: Digest::of(url.as_str().as_bytes()),
            size: probe.size,
            tag: tag.into_bytes(),
        };
        on_disk(self.shared(), move |shared| {
            super::check_space(shared, &[(wanted.key, wanted.size)])
        })
        .await?;
        let (partial, digest) = download::unknown(
            self.shared(),
            &origin,
            self.options,
            &self.patience,
            &wanted,
            progress,
        )
        .await?;
        let model = Descriptor {
            media_type: MediaType::Model,
            digest,
            size: wanted.size,
        };
        let store = self.store.clone();
        let pin = on_disk(self.shared(), move |shared| {
            let pin = store.pin(&[digest])?;
            if shared.blob_size(&digest) == Some(model.size) {
                partial.discard()?;
            } else {
                partial.reveal(shared, digest)?;
            }
            Ok(pin)
        })
        .await?;
        let model = Descriptor {
            media_type: MediaType::Model,
            digest,
            size: wanted.size,
        };
        self.write(vec![model], Some(provenance), None, progress)
            .await?;
        drop(pin);
        Ok(())
    }

    /// Whether the model is there and came from the same, unchanged file.
    pub(super) async fn is_current(&self, provenance: &Provenance) -> Result<bool, Error> {
        let Some(validator) = provenance.validator.clone() else {
            return Ok(false);
        };
        let (store, name, url) = (
            self.store.clone(),
            self.name.clone(),
            provenance.url.clone(),
        );
        on_disk(self.shared(), move |_| {
            let Ok(entry) = store.find(&name) else {
                return Ok(false);
            };
            let Ok(manifest) = store.manifest(&name) else {
                return Ok(false);
            };
            let source = entry.config.get("source").cloned().unwrap_or_default();
            let is_same = source == json!({"url": url, "validator": validator});
            Ok(is_same && manifest.blobs().all(|blob| store.has_blob(&blob.digest)))
        })
        .await
    }

    /// Makes the model `name` of `layers`, of which at least one is weights.
    pub(super) async fn write(
        &self,
        layers: Vec<Descriptor>,
        provenance: Option<Provenance>,
        revision: Option<String>,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        progress(PullEvent::Verifying);
        progress(PullEvent::Note(format!("storing as {}", self.name)));
        progress(PullEvent::WritingManifest);
        let (store, name) = (self.store.clone(), self.name.clone());
        let make_config = self.network().make_config.clone();
        let license_of = self.network().license_of.clone();
        let mut noted = self.provenance(None);
        let is_weights = |layer: &&Descriptor| layer.media_type == MediaType::Model;
        let of_all = provenance
            .as_ref()
            .map_or(&self.source, |provenance| &provenance.url);
        let parts = provenance
            .as_ref()
            .map_or(&[][..], |provenance| &provenance.parts);
        noted.originals = layers
            .iter()
            .filter(is_weights)
            .enumerate()
            .map(|(idx, layer)| Original {
                name: parts.get(idx).unwrap_or(of_all).clone(),
                digest: layer.digest,
            })
            .collect();
        noted.revision = revision.or_else(|| provenance.as_ref()?.validator.clone());
        let source = provenance.map(|from| json!({"url": from.url, "validator": from.validator}));
        on_disk(self.shared(), move |shared| {
            let first = layers.iter().find(is_weights);
            noted.license = license_of
                .zip(first)
                .and_then(|(license_of, first)| license_of(&shared.blob_path(&first.digest)));
            let facts = (source, Some(&noted));
            from_files::write(&store, &name, layers, make_config.as_deref(), facts)
        })
        .await
    }
}

/// What the first request for a file tells.
pub(super) struct Probe {
    start: Vec<u8>,
    size: u64,
    pub(super) validator: Option<String>,
}

pub(super) async fn probe(origin: &Origin) -> Result<Probe, Failure> {
    let n_bytes = MAGIC.len() as u64;
    let mut response = origin.open(Some(&(0..n_bytes))).await?;
    let size = if response.status() == StatusCode::PARTIAL_CONTENT {
        transfer::content_range(&response).and_then(|(_, total)| total)
    } else {
        response.content_length()
    };
    let size = size.ok_or_else(|| {
        Failure::Final(not_understood(
            &origin.host(),
            "it does not say how long the file is",
        ))
    })?;
    let validator = validator(&response);
    let mut start = Vec::new();
    while start.len() < MAGIC.len()
        && let Some(chunk) = origin.chunk(&mut response).await?
    {
        start.extend_from_slice(&chunk);
    }
    start.truncate(MAGIC.len());
    Ok(Probe {
        start,
        size,
        validator,
    })
}

/// What changes when the file does: its ETag, else when it was last modified.
pub(super) fn validator(response: &Response) -> Option<String> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    let found = header(ETAG).or(header(LAST_MODIFIED))?;
    Some(found.to_owned()).filter(|found| !found.is_empty())
}

pub(super) fn address(text: &str, host: &str) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|error| not_understood(host, &error.to_string()))?;
    if url.host_str().is_none() {
        return Err(not_understood(host, "it is no address of a host"));
    }
    Ok(url)
}

fn not_understood(host: &str, reason: &str) -> Error {
    Error::Protocol {
        host: host.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The address as it may be shown and stored: no user, no password, no signature.
fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}
