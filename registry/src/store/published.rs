//! What of a store others may be shown: its models, and the blobs that those refer to. Nothing else, such as what a
//! create is still missing a manifest for.
use super::Store;
use crate::{Digest, Error, ModelName};

/// Host of the names that need none, in [`repository`].
const DEFAULT_HOST: &str = "registry.ollama.ai";

/// The path of the repository under which a daemon shares `name`: `library/qwen3` for what comes from the registry that
/// names mean when they say none, else with the host before it, `hf.co/user/repo`, the port's colon as `_`. In lower
/// case, as the distribution protocol wants it; whoever looks a path up disregards case.
pub fn repository(name: &ModelName) -> String {
    let [host, namespace, model, _] = name.parts();
    let path = if host == DEFAULT_HOST {
        format!("{namespace}/{model}")
    } else {
        format!("{}/{namespace}/{model}", host.replace(':', "_"))
    };
    path.to_ascii_lowercase()
}

impl Store {
    /// The length of the blob `digest`, if a model refers to it.
    ///
    /// # Errors
    /// When the manifests cannot be listed.
    pub fn published_blob(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let entries = self.list()?;
        let index = self.shared.index();
        let is_used = entries.iter().any(|entry| {
            let row = index.get(&entry.name);
            row.is_some_and(|row| row.blobs.contains(digest))
        });
        drop(index);
        Ok(is_used.then(|| self.shared.blob_size(digest)).flatten())
    }

    /// The repositories `namespace/model` of the registry `host` that have the blob `digest`, as far as the models that
    /// came from there tell.
    ///
    /// # Errors
    /// When the manifests cannot be listed.
    pub(crate) fn repositories_with(
        &self,
        host: &str,
        digest: &Digest,
    ) -> Result<Vec<String>, Error> {
        let entries = self.list()?;
        let index = self.shared.index();
        let with = entries.iter().filter(|entry| {
            let row = index.get(&entry.name);
            entry.name.host() == host && row.is_some_and(|row| row.blobs.contains(digest))
        });
        let mut found: Vec<String> = with
            .map(|entry| format!("{}/{}", entry.name.namespace(), entry.name.model()))
            .collect();
        found.sort();
        found.dedup();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Descriptor, Manifest, MediaType};

    #[test]
    fn paths_are_those_of_the_protocol() {
        for (name, path) in [
            ("qwen3:0.6b", "library/qwen3"),
            ("Me/Mine", "me/mine"),
            ("hf.co/User/Repo-GGUF:Q4_K_M", "hf.co/user/repo-gguf"),
            ("localhost:5000/n/m", "localhost_5000/n/m"),
        ] {
            assert_eq!(repository(&name.parse().unwrap()), path);
        }
    }

    #[test]
    fn only_what_a_model_refers_to_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_without_index(folder.path()).unwrap();
        let ingest = |bytes: &[u8]| store.ingest(&mut &*bytes, None).unwrap();
        let (used, config, other) = (ingest(b"used"), ingest(b"{}"), ingest(b"other"));
        let descriptor = |media_type, digest, size| Descriptor {
            media_type,
            digest,
            size,
        };
        let manifest = Manifest {
            config: descriptor(MediaType::Config, config, 2),
            layers: vec![descriptor(MediaType::Model, used, 4)],
        };
        let name = "m".parse().unwrap();
        store.write_manifest(&name, &manifest.to_json()).unwrap();
        assert_eq!(store.published_blob(&used).unwrap(), Some(4));
        assert_eq!(store.published_blob(&config).unwrap(), Some(2));
        assert_eq!(store.published_blob(&other).unwrap(), None);
        store.remove(&name).unwrap();
        assert_eq!(store.published_blob(&used).unwrap(), None);
    }
}
