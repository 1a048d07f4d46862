//! Packages of other formats become models: which of their layers is what, fetched, unpacked where they are archives.
//!
//! A raw layer is a blob like any other. Of an archive only the file inside is fetched, by range, into the place where
//! its blob will be: nothing is on the disk twice, and an interrupted download goes on. That it belongs to the layer is
//! then checked by the layer's digest over header, file and end. What was packed here is restored to the very manifest
//! that was packed; for what others packed a manifest is made, the same one each time.
use super::{
    PullEvent,
    client::{Failure, Origin, Remote},
    download,
    files::{Job, Provenance},
    formats::{
        self, CONFIG_ANNOTATION, DOCKER_CONFIG_PREFIX, DOCKER_IMAGE_CONFIG, DOCKER_LAYERS,
        IMAGE_CONFIG, IMAGE_LAYER, IMAGE_LAYER_PREFIXES, MANIFEST_ANNOTATION, MODELPACK_FILE_PATH,
        MODELPACK_PREFIXES, TITLE,
    },
    neighbors::Neighborhood,
    on_disk,
    partial::{self, Partial},
    tar,
};
use crate::{Descriptor, Digest, Error, Manifest, MediaType, Store, digest::Hasher};
use serde::Deserialize;
use std::{collections::HashMap, fs::File, sync::Arc};

/// So much of an archive is read for its headers, before and after the one large file in it.
const MAX_EDGE_BYTES: u64 = 64 << 10;
/// Archives up to this size are read into memory, and may hold many files.
const MAX_SMALL_ARCHIVE_BYTES: u64 = 4 << 20;
/// Entries of one archive.
const MAX_ENTRIES: usize = 1024;
/// Bytes read at once when a layer is checked.
const CHUNK_BYTES: u64 = 1 << 20;

/// A package, by its manifest.
#[derive(Debug)]
pub(super) struct Package {
    /// What people call the format.
    format: &'static str,
    layers: Vec<Layer>,
    /// Manifest and config of the model that was packed, when it says so; not yet checked.
    original: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Layer {
    digest: Digest,
    size: u64,
    content: Content,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// The file itself.
    Raw(MediaType),
    /// An archive of files.
    Tar,
    /// An archive that is compressed, or a file of no use here.
    Unused,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    config: Option<WireLayer>,
    #[serde(default)]
    layers: Vec<WireLayer>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLayer {
    media_type: String,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

impl WireLayer {
    fn has_prefix(&self, prefixes: &[&str]) -> bool {
        prefixes
            .iter()
            .any(|prefix| self.media_type.starts_with(prefix))
    }

    /// What a layer of ModelPack is.
    fn modelpack(&self) -> Content {
        let annotation = |key| self.annotations.get(key).map(String::as_str);
        let name = annotation(MODELPACK_FILE_PATH).or(annotation(TITLE));
        let is_weight = self.media_type.contains(".weight.v1.");
        if self.media_type.ends_with(".tar") {
            return Content::Tar;
        }
        if !self.media_type.ends_with(".raw") {
            return Content::Unused;
        }
        match name {
            Some(name) => formats::kind_of_file(name).map_or(Content::Unused, Content::Raw),
            None if is_weight => Content::Raw(MediaType::Model),
            None => Content::Unused,
        }
    }

    /// What a layer of a Docker model artifact is.
    fn docker(&self) -> Content {
        let known = DOCKER_LAYERS
            .iter()
            .find(|(known, _)| *known == self.media_type);
        let Ok(ours) = self.media_type.parse();
        match (known, ours) {
            (Some((_, kind)), _) => Content::Raw(kind.clone()),
            (None, MediaType::Other(_) | MediaType::Config) => Content::Unused,
            (None, kind) => Content::Raw(kind),
        }
    }

    /// What a layer of an image is.
    fn image(&self) -> Content {
        let is_plain = self.media_type == IMAGE_LAYER || self.media_type == IMAGE_LAYER_PREFIXES[1];
        if is_plain {
            Content::Tar
        } else {
            Content::Unused
        }
    }
}

impl Package {
    /// The package that the manifest `json` is of; `None` for a manifest of Ollama's dialect.
    ///
    /// # Errors
    /// JSON that is no manifest.
    pub(super) fn recognise(json: &[u8]) -> Result<Option<Self>, Error> {
        let manifest = Manifest::parse(json)?;
        let wire: Wire = serde_json::from_slice(json).map_err(|error| Error::Manifest {
            reason: crate::error::one_line(&error.to_string()),
        })?;
        let config = wire.config.as_ref();
        let has_config =
            |prefixes: &[&str]| config.is_some_and(|config| config.has_prefix(prefixes));
        let is_image = has_config(&[IMAGE_CONFIG, DOCKER_IMAGE_CONFIG])
            && !wire.layers.is_empty()
            && wire
                .layers
                .iter()
                .all(|layer| layer.has_prefix(&IMAGE_LAYER_PREFIXES));
        let (format, content): (_, fn(&WireLayer) -> Content) = if has_config(&MODELPACK_PREFIXES) {
            ("ModelPack", WireLayer::modelpack)
        } else if has_config(&[DOCKER_CONFIG_PREFIX]) {
            ("Docker model artifact", WireLayer::docker)
        } else if is_image {
            ("ModelCar", WireLayer::image)
        } else {
            return Ok(None);
        };
        let layers = manifest.layers.iter().zip(&wire.layers);
        let layers = layers.map(|(blob, said)| Layer {
            digest: blob.digest,
            size: blob.size,
            content: content(said),
        });
        let annotation = |key| {
            wire.annotations
                .get(key)
                .map(|text| text.clone().into_bytes())
        };
        Ok(Some(Self {
            format,
            layers: layers.collect(),
            original: annotation(MANIFEST_ANNOTATION).zip(annotation(CONFIG_ANNOTATION)),
        }))
    }

    /// Manifest, as bytes and parsed, and config that were packed, if they belong together.
    fn original(&self) -> Option<(&[u8], Manifest, &[u8])> {
        let (json, config) = self.original.as_ref()?;
        let manifest = Manifest::parse(json).ok()?;
        let is_it = manifest.config.digest == Digest::of(config);
        is_it.then_some((json, manifest, config))
    }
}

impl Job<'_> {
    /// Brings the model of `package`, whose manifest is `json`, into the store.
    pub(super) async fn package(
        &self,
        registries: &[Arc<Remote>],
        hood: &Neighborhood,
        package: &Package,
        json: &[u8],
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        progress(PullEvent::Note(format!(
            "a {} becomes a model",
            package.format
        )));
        let original = package.original();
        let packed = Digest::of(json);
        let source = Provenance {
            url: registries
                .last()
                .map(|registry| registry.base().to_string())
                .unwrap_or_default(),
            parts: Vec::new(),
            validator: Some(packed.to_string()),
        };
        if original.is_none() && self.is_current(&source).await? {
            progress(PullEvent::Verifying);
            progress(PullEvent::WritingManifest);
            return Ok(());
        }
        let restored = original
            .as_ref()
            .map(|(_, manifest, _)| manifest.layers.clone());
        let raw = package.layers.iter().map(|layer| layer.digest);
        let known = restored.iter().flatten().map(|layer| layer.digest);
        let digests: Vec<Digest> = raw.chain(known).collect();
        let pin = on_disk(self.shared(), {
            let store = self.store.clone();
            let used = package.layers.iter();
            let used = used.filter(|layer| layer.content != Content::Unused);
            let sizes: Vec<_> = used.map(|layer| (layer.digest, layer.size)).collect();
            move |shared| {
                let pin = store.pin(&digests)?;
                let is_missing = |blob: &&(Digest, u64)| shared.blob_size(&blob.0) != Some(blob.1);
                let missing: Vec<_> = sizes.iter().filter(is_missing).copied().collect();
                super::check_space(shared, &missing)?;
                Ok(pin)
            }
        })
        .await;
        // What is here already, as the package says itself, needs no unpacking.
        let is_here = |blob: &Descriptor| self.shared().blob_size(&blob.digest) == Some(blob.size);
        let has_all = restored
            .as_ref()
            .is_some_and(|layers| layers.iter().all(is_here));
        let pin = match pin {
            Err(Error::NoSpace { .. }) if has_all => None,
            pin => Some(pin?),
        };
        let (mut found, mut pins) = (Vec::new(), Vec::new());
        if has_all {
            found = restored.unwrap_or_default();
        } else {
            for layer in &package.layers {
                match &layer.content {
                    Content::Raw(kind) => {
                        let blob = Descriptor {
                            media_type: kind.clone(),
                            digest: layer.digest,
                            size: layer.size,
                        };
                        self.bring(hood, registries, &blob, progress).await?;
                        found.push(blob);
                    }
                    Content::Tar => {
                        let unpacked = self.unpack(registries, layer, progress).await?;
                        for (blob, pin) in unpacked {
                            found.push(blob);
                            pins.push(pin);
                        }
                    }
                    Content::Unused => {}
                }
            }
        }
        let has_everything = |manifest: &Manifest| {
            let has = |layer: &Descriptor| {
                found
                    .iter()
                    .any(|found| found.digest == layer.digest && found.size == layer.size)
            };
            manifest.layers.iter().all(has)
        };
        let kept = original.filter(|(_, manifest, _)| has_everything(manifest));
        if let Some((json, manifest, config)) = kept {
            let noted = self.provenance(Some(packed));
            self.restore((json.to_vec(), noted), manifest, config.to_vec(), progress)
                .await?;
        } else {
            let n_models = found
                .iter()
                .filter(|blob| blob.media_type == MediaType::Model)
                .count();
            if n_models != 1 {
                return Err(Error::NoFile {
                    reason: format!(
                        "the {} has {n_models} GGUF files in layers that are not compressed, and one is needed",
                        package.format
                    ),
                });
            }
            self.write(found, Some(source), None, progress).await?;
        }
        drop((pin, pins));
        Ok(())
    }

    /// Writes the manifest that was packed, with its config.
    async fn restore(
        &self,
        (json, noted): (Vec<u8>, crate::Provenance),
        manifest: Manifest,
        config: Vec<u8>,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        progress(PullEvent::Verifying);
        progress(PullEvent::WritingManifest);
        let (store, name) = (self.store.clone(), self.name.clone());
        on_disk(self.shared(), move |_| {
            store.ingest(&mut &config[..], Some(&manifest.config.digest))?;
            store.write_manifest_from(&name, &json, Some(&noted))
        })
        .await
    }

    /// The files of an archive that are part of a model, as blobs that stay while they are pinned.
    async fn unpack(
        &self,
        registries: &[Arc<Remote>],
        layer: &Layer,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<Vec<(Descriptor, crate::Pin)>, Error> {
        // The registry itself is the last one, after its mirrors.
        let registry = registries.last().ok_or_else(|| Error::RemoteNotFound {
            name: self.name.clone(),
        })?;
        if layer.size <= MAX_SMALL_ARCHIVE_BYTES {
            let bytes = read(registry, layer, 0, layer.size).await?;
            check(layer, Digest::of(&bytes))?;
            let (store, layer_digest) = (self.store.clone(), layer.digest);
            return on_disk(self.shared(), move |_| {
                let entries = tar::entries(&bytes, MAX_ENTRIES);
                let entries = entries.ok_or_else(|| no_archive(&layer_digest))?;
                store_files(&store, &entries)
            })
            .await;
        }
        let head = read(registry, layer, 0, layer.size.min(MAX_EDGE_BYTES)).await?;
        let Some((before, file)) = tar::first_large(&head, MAX_ENTRIES) else {
            return Err(no_archive(&layer.digest));
        };
        let end = file
            .start
            .checked_add(file.size)
            .filter(|end| *end <= layer.size);
        let end = end.ok_or_else(|| no_archive(&layer.digest))?;
        let (kind, rest) = (formats::kind_of_file(&file.path), layer.size - end);
        let Some(kind) = kind else {
            tracing::debug!(file.path, "passing over a layer that is no part of a model");
            return Ok(Vec::new());
        };
        if rest > MAX_EDGE_BYTES {
            return Err(Error::NoFile {
                reason: format!("layer {} has more than one large file in it", layer.digest),
            });
        }
        let tail = read(registry, layer, end, rest).await?;
        let (partial, digest) = self.fetch_inside(registry, layer, &file, progress).await?;
        // Small files before it lie within the head that was read.
        let before: Vec<(tar::Entry, Vec<u8>)> = before
            .into_iter()
            .map(|(entry, bytes)| (entry, bytes.to_vec()))
            .collect();
        let (store, head) = (self.store.clone(), head[..file.start as usize].to_vec());
        let layer = Layer {
            content: Content::Tar,
            ..*layer
        };
        on_disk(self.shared(), move |shared| {
            let mut hasher = Hasher::default();
            hasher.update(&head);
            hash_file(&partial.file, file.size, &mut hasher)
                .map_err(Error::read(partial.path()))?;
            hasher.update(&tail);
            if let Err(error) = check(&layer, hasher.digest()) {
                partial.discard()?;
                return Err(error);
            }
            let pin = store.pin(&[digest])?;
            if shared.blob_size(&digest) == Some(file.size) {
                partial.discard()?;
            } else {
                partial.reveal(shared, digest)?;
            }
            let before: Vec<_> = before
                .iter()
                .map(|(entry, bytes)| (entry.clone(), &bytes[..]))
                .collect();
            let mut found = store_files(&store, &before)?;
            let blob = Descriptor {
                media_type: kind,
                digest,
                size: file.size,
            };
            found.push((blob, pin));
            Ok(found)
        })
        .await
    }

    /// Fetches the file inside the archive `layer`.
    async fn fetch_inside(
        &self,
        registry: &Arc<Remote>,
        layer: &Layer,
        file: &tar::Entry,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(Partial, Digest), Error> {
        let mut origin = registry.blob(&layer.digest)?;
        origin.look_at(file.start..file.start + file.size, layer.size);
        let wanted = download::Unknown {
            key: layer.digest,
            size: file.size,
            tag: b"inside".to_vec(),
        };
        download::unknown(
            self.shared(),
            &origin,
            self.options,
            &self.patience,
            &wanted,
            progress,
        )
        .await
    }
}

/// The bytes `start..start + len` of a layer; few.
async fn read(
    registry: &Arc<Remote>,
    layer: &Layer,
    start: u64,
    len: u64,
) -> Result<Vec<u8>, Error> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let mut origin = registry.blob(&layer.digest)?;
    let is_whole = len == layer.size;
    if !is_whole {
        origin.look_at(start..start + len, layer.size);
    }
    let mut n_failures = 0;
    loop {
        match read_once(&origin, len).await {
            Ok(bytes) => return Ok(bytes),
            Err(failure) => registry.wait_after(failure, &mut n_failures).await?,
        }
    }
}

async fn read_once(origin: &Origin, len: u64) -> Result<Vec<u8>, Failure> {
    let mut response = origin.open(None).await?;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < len
        && let Some(chunk) = origin.chunk(&mut response).await?
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(len as usize);
    if bytes.len() as u64 != len {
        let reason = "the connection ended too early".to_owned();
        return Err(Failure::Passing(Error::RetriesExhausted { reason }));
    }
    Ok(bytes)
}

fn check(layer: &Layer, got: Digest) -> Result<(), Error> {
    if layer.digest == got {
        return Ok(());
    }
    let want = layer.digest;
    Err(Error::DownloadCorrupted { want, got })
}

fn no_archive(digest: &Digest) -> Error {
    Error::Manifest {
        reason: format!("its layer {digest} should be a tar archive and is none"),
    }
}

/// Stores those of the files that are part of a model.
fn store_files(
    store: &Store,
    entries: &[(tar::Entry, &[u8])],
) -> Result<Vec<(Descriptor, crate::Pin)>, Error> {
    let mut found = Vec::new();
    for (entry, bytes) in entries.iter().filter(|(entry, _)| entry.is_file) {
        let Some(media_type) = formats::kind_of_file(&entry.path) else {
            continue;
        };
        let digest = store.ingest(&mut &bytes[..], None)?;
        let pin = store.pin(&[digest])?;
        let size = bytes.len() as u64;
        found.push((
            Descriptor {
                media_type,
                digest,
                size,
            },
            pin,
        ));
    }
    Ok(found)
}

fn hash_file(file: &File, len: u64, hasher: &mut Hasher) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES as usize];
    let mut at = 0;
    while at < len {
        let piece = &mut buffer[..(len - at).min(CHUNK_BYTES) as usize];
        partial::read_exact_at(file, piece, at)?;
        hasher.update(piece);
        at += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn recognised(config: &str, layers: &[(&str, Value)]) -> Option<Package> {
        let blob = |media_type: &str| json!({"mediaType": media_type, "digest": Digest::of(b""), "size": 1});
        let layers = layers.iter().map(|(media_type, annotations)| {
            let mut layer = blob(media_type);
            layer["annotations"] = annotations.clone();
            layer
        });
        let manifest = json!({
            "schemaVersion": 2,
            "config": blob(config),
            "layers": layers.collect::<Vec<_>>(),
        });
        Package::recognise(manifest.to_string().as_bytes()).unwrap()
    }

    #[track_caller]
    fn check_contents(package: Option<Package>, contents: &[Content]) {
        let layers = package.expect("a package").layers;
        let found: Vec<Content> = layers.into_iter().map(|layer| layer.content).collect();
        assert_eq!(found, contents);
    }

    #[test]
    fn layers_of_each_format() {
        let none = || json!({});
        let path = |path: &str| json!({MODELPACK_FILE_PATH: path});
        check_contents(
            recognised(
                "application/vnd.cncf.model.config.v1+json",
                &[
                    ("application/vnd.cncf.model.weight.v1.raw", none()),
                    (
                        "application/vnd.cncf.model.weight.v1.raw",
                        path("x/mmproj-F16.gguf"),
                    ),
                    ("application/vnd.cncf.model.weight.v1.tar", none()),
                    ("application/vnd.cncf.model.weight.v1.tar+gzip", none()),
                    ("application/vnd.cncf.model.doc.v1.raw", path("README.md")),
                    ("application/vnd.cncf.model.doc.v1.raw", path("LICENSE")),
                ],
            ),
            &[
                Content::Raw(MediaType::Model),
                Content::Raw(MediaType::Projector),
                Content::Tar,
                Content::Unused,
                Content::Unused,
                Content::Raw(MediaType::License),
            ],
        );
        check_contents(
            recognised(
                "application/vnd.docker.ai.model.config.v0.1+json",
                &[
                    ("application/vnd.docker.ai.gguf.v3", none()),
                    ("application/vnd.docker.ai.license", none()),
                    ("application/vnd.docker.ai.safetensors", none()),
                    ("application/vnd.ollama.image.params", none()),
                ],
            ),
            &[
                Content::Raw(MediaType::Model),
                Content::Raw(MediaType::License),
                Content::Unused,
                Content::Raw(MediaType::Params),
            ],
        );
        for config in [IMAGE_CONFIG, DOCKER_IMAGE_CONFIG] {
            check_contents(
                recognised(
                    config,
                    &[
                        ("application/vnd.oci.image.layer.v1.tar+gzip", none()),
                        ("application/vnd.docker.image.rootfs.diff.tar.gzip", none()),
                        ("application/vnd.oci.image.layer.v1.tar", none()),
                    ],
                ),
                &[Content::Unused, Content::Unused, Content::Tar],
            );
        }
        let ollama = ("application/vnd.ollama.image.model", none());
        assert!(recognised(DOCKER_IMAGE_CONFIG, &[ollama]).is_none());
        assert!(recognised(DOCKER_IMAGE_CONFIG, &[]).is_none());
    }
}
