//! Packages of other formats become models: which of their layers is what, fetched, unpacked where they are archives.
//!
//! A raw layer is a blob like any other. Of an archive only the file inside is fetched, by range, into the place where
//! its blob will be: nothing is on the disk twice, and an interrupted download goes on. That it belongs to the layer is
//! then checked by the layer's digest over header, file and end. A layer that is compressed, or has more than one large
//! file, is fetched whole and then unpacked ([`unpack`]); in an image only when no other layer has the model, since most
//! of its layers are an operating system. What was packed here is restored to the very manifest that was packed; for what
//! others packed a manifest is made, the same one each time.
use super::{
    PullEvent,
    client::{Failure, Origin, Remote},
    download,
    files::{Job, Provenance},
    formats::{
        self, CAR_FOLDER, CONFIG_ANNOTATION, DOCKER_CONFIG_PREFIX, DOCKER_IMAGE_CONFIG,
        DOCKER_LAYERS, IMAGE_CONFIG, IMAGE_LAYER_PREFIXES, MANIFEST_ANNOTATION,
        MODELPACK_FILE_PATH, MODELPACK_PREFIXES, TITLE,
    },
    neighbors::Neighborhood,
    on_disk,
    partial::{self, Partial},
    tar,
    unpack::{self, Compression, Leave, Unpacked},
};
use crate::{Descriptor, Digest, Error, Manifest, MediaType, Store, digest::Hasher, tar::Entry};
use serde::Deserialize;
use slm_modelfile::parts;
use std::{collections::HashMap, fs::File, sync::Arc};

/// So much of an archive is read for its headers, before and after the one large file in it.
const MAX_EDGE_BYTES: u64 = 64 << 10;
/// Archives up to this size are read into memory, and may hold many files.
const MAX_SMALL_ARCHIVE_BYTES: u64 = 4 << 20;
/// Files of an archive that is read into memory.
const MAX_ENTRIES: usize = 1024;
/// Files that are named where there are too many of a kind.
const MAX_NAMED: usize = 5;
/// Bytes read at once when a layer is checked.
const CHUNK_BYTES: u64 = 1 << 20;

/// A package, by its manifest.
#[derive(Debug)]
pub(super) struct Package {
    /// What people call the format.
    format: &'static str,
    /// Whether most of it may be of no use: then what is costly to look into is looked into only when need be.
    is_image: bool,
    layers: Vec<Layer>,
    /// Manifest and config of the model that was packed, when it says so; not yet checked.
    original: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Layer {
    digest: Digest,
    size: u64,
    content: Content,
    /// What its file is called, where it is one and that is said.
    name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// The file itself.
    Raw(MediaType),
    /// An archive of files.
    Tar(Compression),
    /// A file of no use here, or of a kind that nobody knows.
    Unused,
}

/// What became of a layer that is an archive.
enum Opened {
    Files(Vec<Unpacked>),
    /// It has to be fetched whole; `true` where it is sure to have a part of the model.
    Whole(bool),
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

    /// What its file is called.
    fn name(&self) -> Option<&str> {
        let annotation = |key| self.annotations.get(key).map(String::as_str);
        annotation(MODELPACK_FILE_PATH).or(annotation(TITLE))
    }

    /// What a layer of ModelPack is.
    fn modelpack(&self) -> Content {
        let name = self.name();
        let is_weight = self.media_type.contains(".weight.v1.");
        if let Some(compression) = Compression::of(&self.media_type) {
            let is_of_use = [".weight.", ".weight.config.", ".doc."];
            let is_of_use = is_of_use.iter().any(|kind| self.media_type.contains(kind));
            let is_plain = compression == Compression::None;
            return match is_plain || is_of_use {
                true => Content::Tar(compression),
                false => Content::Unused,
            };
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
        Compression::of(&self.media_type).map_or(Content::Unused, Content::Tar)
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
            name: said.name().map(str::to_owned),
        });
        let annotation = |key| {
            wire.annotations
                .get(key)
                .map(|text| text.clone().into_bytes())
        };
        Ok(Some(Self {
            format,
            is_image: is_image && format == "ModelCar",
            layers: layers.collect(),
            original: annotation(MANIFEST_ANNOTATION).zip(annotation(CONFIG_ANNOTATION)),
        }))
    }

    /// Whether a pull of it needs all bytes of `layer`.
    fn is_needed(&self, layer: &Layer) -> bool {
        match layer.content {
            Content::Raw(_) | Content::Tar(Compression::None) => true,
            Content::Tar(_) => !self.is_image,
            Content::Unused => false,
        }
    }

    /// Manifest, as bytes and parsed, and config that were packed, if they belong together.
    fn original(&self) -> Option<(&[u8], Manifest, &[u8])> {
        let (json, config) = self.original.as_ref()?;
        let manifest = Manifest::parse(json).ok()?;
        let is_it = manifest.config.digest == Digest::of(config);
        is_it.then_some((json, manifest, config))
    }
}

/// What was found of a model, each file with the index of its layer.
#[derive(Default)]
struct Parts {
    files: Vec<(usize, Unpacked)>,
    /// Layers that were fetched whole, and are of no use once they are unpacked.
    whole: Vec<Digest>,
}

impl Parts {
    fn add(&mut self, layer: usize, files: Vec<Unpacked>) {
        self.files
            .extend(files.into_iter().map(|file| (layer, file)));
    }

    fn has_model(&self) -> bool {
        self.files.iter().any(|(_, file)| file.is_model())
    }

    /// The layers of the model, in the order of the package's; the weights are one file, or all parts of one.
    fn in_order(&mut self, format: &str) -> Result<Vec<Descriptor>, Error> {
        self.files.sort_by_key(|(layer, _)| *layer);
        let models = self.files.iter().filter(|(_, file)| file.is_model());
        let mut names: Vec<&str> = models.map(|(_, file)| file.name()).collect();
        let n_models = names.len();
        let first = names.first().copied().unwrap_or_default();
        let order: Vec<String> = match parts::all_of(first) {
            Some(all) if n_models > 1 => all.collect(),
            _ => Vec::new(),
        };
        names.sort_unstable();
        if n_models == 0 || (n_models > 1 && names != order) {
            let named: Vec<String> = names
                .iter()
                .take(MAX_NAMED)
                .map(|name| format!("`{}`", crate::error::one_line(name)))
                .collect();
            let reason = match n_models {
                0 => format!("the {format} has no GGUF file in it"),
                _ => format!(
                    "the {format} has {n_models} GGUF files in it, {}, and one is needed, or all parts of one",
                    named.join(", ")
                ),
            };
            return Err(Error::NoFile { reason });
        }
        // The parts of a model follow each other, whatever the order they came in.
        let mut weights: Vec<&Unpacked> = self.files.iter().map(|(_, file)| file).collect();
        weights.retain(|file| file.is_model());
        weights.sort_by_key(|file| file.name());
        let mut weights = weights.into_iter();
        let in_order = self.files.iter().map(|(_, file)| match file.is_model() {
            true => weights.next().unwrap_or(file),
            false => file,
        });
        Ok(in_order.map(|file| file.blob.clone()).collect())
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
            let used = used.filter(|layer| package.is_needed(layer));
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
        let mut parts = Parts::default();
        if has_all {
            let here = restored.unwrap_or_default().into_iter();
            let here = here.map(|blob| (0, Unpacked::raw(blob, None)));
            parts.files.extend(here);
        } else {
            let mut later = Vec::new();
            for (idx, layer) in package.layers.iter().enumerate() {
                match &layer.content {
                    Content::Raw(kind) => {
                        let blob = Descriptor {
                            media_type: kind.clone(),
                            digest: layer.digest,
                            size: layer.size,
                        };
                        self.bring(hood, registries, &blob, progress).await?;
                        let file = Unpacked::raw(blob, layer.name.clone());
                        parts.files.push((idx, file));
                    }
                    Content::Tar(Compression::None) => {
                        match self.open(registries, layer, progress).await? {
                            Opened::Files(files) => parts.add(idx, files),
                            Opened::Whole(true) => {
                                self.unpack(registries, hood, package, idx, &mut parts, progress)
                                    .await?;
                            }
                            Opened::Whole(false) => later.push(idx),
                        }
                    }
                    Content::Tar(_) => later.push(idx),
                    Content::Unused => {}
                }
            }
            // What was added last to an image is what it is about.
            for idx in later.into_iter().rev() {
                let is_small = package.layers[idx].size <= MAX_SMALL_ARCHIVE_BYTES;
                if !package.is_image || is_small || !parts.has_model() {
                    self.unpack(registries, hood, package, idx, &mut parts, progress)
                        .await?;
                }
            }
        }
        let has_everything = |manifest: &Manifest| {
            let has = |layer: &Descriptor| {
                let mut found = parts.files.iter().map(|(_, file)| &file.blob);
                found.any(|found| found.digest == layer.digest && found.size == layer.size)
            };
            manifest.layers.iter().all(has)
        };
        let kept = original.filter(|(_, manifest, _)| has_everything(manifest));
        if let Some((json, manifest, config)) = kept {
            let noted = self.provenance(Some(packed));
            self.restore((json.to_vec(), noted), manifest, config.to_vec(), progress)
                .await?;
        } else {
            let found = parts.in_order(package.format)?;
            self.write(found, Some(source), None, progress).await?;
        }
        drop((pin, parts.files));
        on_disk(self.shared(), move |shared| {
            let guard = shared.lock()?;
            shared.remove_replaced(&guard, parts.whole);
            Ok(())
        })
        .await
    }

    /// Fetches the whole layer `idx`, and takes out of it what is part of a model.
    async fn unpack(
        &self,
        registries: &[Arc<Remote>],
        hood: &Neighborhood,
        package: &Package,
        idx: usize,
        parts: &mut Parts,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<(), Error> {
        let layer = &package.layers[idx];
        let Content::Tar(compression) = layer.content else {
            return Ok(());
        };
        let (digest, size) = (layer.digest, layer.size);
        let is_here = on_disk(self.shared(), move |shared| {
            let is_here = shared.blob_size(&digest) == Some(size);
            if !is_here {
                super::check_space(shared, &[(digest, size)])?;
            }
            Ok(is_here)
        })
        .await?;
        if !is_here {
            let blob = Descriptor {
                media_type: MediaType::Other(String::new()),
                digest,
                size,
            };
            self.bring(hood, registries, &blob, progress).await?;
        }
        parts.whole.push(digest);
        let short = &digest.hex()[..12];
        progress(PullEvent::Note(format!("unpacking layer {short}")));
        let (store, is_image) = (self.store.clone(), package.is_image);
        let leave = Leave::default();
        let is_over = leave.flag();
        let files = on_disk(self.shared(), move |_| {
            let kind_of = |path: &str| {
                let kind = formats::kind_of_file(path)?;
                // The licences of an operating system are not the model's.
                let is_ours = !is_image
                    || matches!(kind, MediaType::Model | MediaType::Projector)
                    || path.split('/').any(|part| part == CAR_FOLDER);
                is_ours.then_some(kind)
            };
            unpack::unpack(&store, &digest, size, compression, kind_of, is_over)
        })
        .await?;
        drop(leave);
        parts.add(idx, files);
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

    /// The files of an archive that are part of a model, as blobs that stay while they are pinned, if they can be had
    /// without fetching all of it.
    async fn open(
        &self,
        registries: &[Arc<Remote>],
        layer: &Layer,
        progress: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<Opened, Error> {
        // The registry itself is the last one, after its mirrors.
        let registry = registries.last().ok_or_else(|| Error::RemoteNotFound {
            name: self.name.clone(),
        })?;
        let digest = layer.digest;
        let no_archive = move |reason: String| Error::Manifest {
            reason: format!("its layer {digest} should be a tar archive: {reason}"),
        };
        if layer.size <= MAX_SMALL_ARCHIVE_BYTES {
            let bytes = read(registry, layer, 0, layer.size).await?;
            check(layer, Digest::of(&bytes))?;
            let store = self.store.clone();
            let files = on_disk(self.shared(), move |_| {
                let files = tar::files(&bytes, MAX_ENTRIES).map_err(no_archive)?;
                store_files(&store, &files)
            });
            return Ok(Opened::Files(files.await?));
        }
        let head = read(registry, layer, 0, layer.size.min(MAX_EDGE_BYTES)).await?;
        let (before, next) = tar::walk(&head, MAX_ENTRIES).map_err(no_archive)?;
        let is_ours = |entry: &Entry| formats::kind_of_file(&entry.path).is_some();
        let (file, kind) = match next {
            tar::Next::Large(file) => match formats::kind_of_file(&file.path) {
                Some(kind) => (file, kind),
                None => {
                    return Ok(Opened::Whole(
                        before.iter().any(|(entry, _)| is_ours(entry)),
                    ));
                }
            },
            tar::Next::Beyond => return Ok(Opened::Whole(false)),
            tar::Next::End => {
                return Err(no_archive("it ends before its layer".to_owned()));
            }
        };
        let end = file
            .start
            .checked_add(file.size)
            .filter(|end| *end <= layer.size);
        let end = end.ok_or_else(|| no_archive("it is cut off".to_owned()))?;
        let rest = layer.size - end;
        if rest > MAX_EDGE_BYTES {
            return Ok(Opened::Whole(true));
        }
        let tail = read(registry, layer, end, rest).await?;
        let (partial, digest) = self.fetch_inside(registry, layer, &file, progress).await?;
        // Small files before it lie within the head that was read.
        let before: Vec<(Entry, Vec<u8>)> = before
            .into_iter()
            .map(|(entry, bytes)| (entry, bytes.to_vec()))
            .collect();
        let (store, head) = (self.store.clone(), head[..file.start as usize].to_vec());
        let layer = layer.clone();
        let files = on_disk(self.shared(), move |shared| {
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
            found.push(Unpacked {
                path: file.path,
                blob,
                _pin: Some(pin),
            });
            Ok(found)
        });
        Ok(Opened::Files(files.await?))
    }

    /// Fetches the file inside the archive `layer`.
    async fn fetch_inside(
        &self,
        registry: &Arc<Remote>,
        layer: &Layer,
        file: &Entry,
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

/// Stores those of the files that are part of a model.
fn store_files(store: &Store, files: &[(Entry, &[u8])]) -> Result<Vec<Unpacked>, Error> {
    let mut found = Vec::new();
    for (entry, bytes) in files {
        let Some(media_type) = formats::kind_of_file(&entry.path) else {
            continue;
        };
        let digest = store.ingest(&mut &bytes[..], None)?;
        let pin = store.pin(&[digest])?;
        found.push(Unpacked {
            path: entry.path.clone(),
            blob: Descriptor {
                media_type,
                digest,
                size: entry.size,
            },
            _pin: Some(pin),
        });
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
                    ("application/vnd.cncf.model.dataset.v1.tar+gzip", none()),
                    ("application/vnd.cncf.model.doc.v1.raw", path("README.md")),
                    ("application/vnd.cncf.model.doc.v1.raw", path("LICENSE")),
                ],
            ),
            &[
                Content::Raw(MediaType::Model),
                Content::Raw(MediaType::Projector),
                Content::Tar(Compression::None),
                Content::Tar(Compression::Gzip),
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
                &[
                    Content::Tar(Compression::Gzip),
                    Content::Tar(Compression::Gzip),
                    Content::Tar(Compression::None),
                ],
            );
        }
        let ollama = ("application/vnd.ollama.image.model", none());
        assert!(recognised(DOCKER_IMAGE_CONFIG, &[ollama]).is_none());
        assert!(recognised(DOCKER_IMAGE_CONFIG, &[]).is_none());
    }
}
