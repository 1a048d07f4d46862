mod archive;
mod care;
mod crashes;

use super::*;
use crate::MediaType;
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// A store in a folder of its own, and small models to fill it.
struct Home {
    folder: tempfile::TempDir,
    store: Store,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("models")).unwrap();
        Self { folder, store }
    }
    fn blob(&self, bytes: &[u8]) -> Descriptor {
        let digest = self.store.ingest(&mut &bytes[..], None).unwrap();
        Descriptor {
            media_type: MediaType::Model,
            digest,
            size: bytes.len() as u64,
        }
    }
    /// Writes a model whose layers have those contents; gives its blobs.
    fn model(&self, name: &str, layers: &[&str]) -> Vec<Digest> {
        let config = json!({"model_family": name}).to_string();
        let config = Descriptor {
            media_type: MediaType::Config,
            ..self.blob(config.as_bytes())
        };
        let layers = layers
            .iter()
            .map(|layer| self.blob(layer.as_bytes()))
            .collect();
        let manifest = Manifest { config, layers };
        self.store
            .write_manifest(&parse(name), &manifest.to_json())
            .unwrap();
        manifest.blobs().map(|blob| blob.digest).collect()
    }
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .store
            .list()
            .unwrap()
            .iter()
            .map(|entry| entry.name.to_string())
            .collect();
        names.sort();
        names
    }
    fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.store.root().join(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
    fn outside(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Files below `folder`, however deep.
fn n_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| if path.is_dir() { n_files(&path) } else { 1 })
        .sum()
}

/// Everything that is not in use.
const AT_ONCE: GcLimits = GcLimits {
    blob_age: Duration::ZERO,
    partial_age: Duration::ZERO,
    version_age: Duration::ZERO,
};

#[track_caller]
fn parse(name: &str) -> ModelName {
    name.parse().unwrap()
}

#[test]
fn a_blob_is_complete_verified_and_read_only() {
    let home = Home::new();
    let digest = home
        .store
        .ingest(&mut &b"abc"[..], Some(&Digest::of(b"abc")))
        .unwrap();
    let path = home.store.blob_path(&digest);
    assert_eq!(
        path,
        home.store
            .root()
            .join("blobs")
            .join(format!("sha256-{}", digest.hex()))
    );
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o444
    );
    assert!(home.store.has_blob(&digest) && !home.store.has_blob(&Digest::of(b"x")));
    home.store.verify_blob(&digest).unwrap();
    assert_eq!(home.store.read_small_blob(&digest).unwrap(), b"abc");
    // Again is no error and no second file.
    home.store.ingest(&mut &b"abc"[..], None).unwrap();
    assert_eq!(home.files("blobs"), [digest.file_name()]);
}

#[test]
fn a_wrong_digest_or_a_broken_source_leaves_nothing() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let home = Home::new();
    let other = Digest::of(b"other");
    let error = home
        .store
        .ingest(&mut &b"abc"[..], Some(&other))
        .unwrap_err();
    let expected = format!(
        "digest mismatch, expected \"{other}\", got \"{}\"",
        Digest::of(b"abc")
    );
    assert_eq!(error.to_string(), expected);
    let path = home.outside("abc", b"abc");
    let error = home.store.ingest_file(&path, Some(&other)).unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert_ne!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o222,
        0,
        "the file stays as it was"
    );
    let error = home
        .store
        .ingest(&mut b"abc".chain(Broken), None)
        .unwrap_err();
    assert!(matches!(error, Error::Source { .. }), "{error}");
    assert_eq!(home.files("blobs"), [""; 0]);
}

#[test]
fn a_file_becomes_a_blob_without_a_copy_where_possible() {
    let home = Home::new();
    let path = home.outside("m.gguf", b"weights");
    let digest = home.store.ingest_file(&path, None).unwrap();
    assert_eq!(digest, Digest::of(b"weights"));
    let blob = home.store.blob_path(&digest);
    assert_eq!(fs::read(&blob).unwrap(), b"weights");
    assert_eq!(
        fs::metadata(&blob).unwrap().permissions().mode() & 0o777,
        0o444
    );
    home.store.ingest_file(&blob, Some(&digest)).unwrap();
    assert_eq!(home.files("blobs"), [digest.file_name()]);
    // Replacing the file does the blob no harm.
    let same_inode = fs::metadata(&blob).unwrap().ino() == fs::metadata(&path).unwrap().ino();
    fs::remove_file(&path).unwrap();
    home.outside("m.gguf", b"other");
    home.store.verify_blob(&digest).unwrap();
    // Changing it in place does, if it is the same file; that shows.
    let path = home.outside("n.gguf", b"more weights");
    let digest = home.store.ingest_file(&path, None).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&path, b"less weights").unwrap();
    let verified = home.store.verify_blob(&digest);
    assert_eq!(
        matches!(verified, Err(Error::DigestMismatch { .. })),
        same_inode,
        "{verified:?}"
    );
}

#[test]
fn a_linked_file_keeps_its_readers_and_one_of_another_kind_is_left_alone() {
    let home = Home::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let private = home.outside("private.gguf", b"GGUF of mine");
    fs::set_permissions(&private, PermissionsExt::from_mode(0o600)).unwrap();
    let other = Digest::of(b"other");
    home.store.ingest_file(&private, Some(&other)).unwrap_err();
    assert_eq!(mode(&private), 0o600);
    let key = home.outside("key", b"secret");
    let error = home.store.ingest_file_of_kind(&key, b"GGUF", None);
    assert!(matches!(error, Err(Error::Read { .. })), "{error:?}");
    assert_eq!(home.files("blobs"), [""; 0]);
    let digest = home
        .store
        .ingest_file_of_kind(&private, b"GGUF", None)
        .unwrap();
    assert_eq!(mode(&private) & 0o077, 0, "nobody else may read it");
    assert_eq!(
        fs::read(home.store.blob_path(&digest)).unwrap(),
        b"GGUF of mine"
    );
}

#[test]
fn only_regular_files_become_blobs() {
    let home = Home::new();
    for path in [
        home.folder.path(),
        &home.folder.path().join("missing"),
        Path::new("/dev/zero"),
    ] {
        let error = home.store.ingest_file(path, None).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error}");
        assert!(error.hint().is_some());
    }
    assert_eq!(home.files("blobs"), [""; 0]);
}

#[test]
fn a_manifest_is_stored_verbatim_where_ollama_looks() {
    let home = Home::new();
    let config = Descriptor {
        media_type: MediaType::Config,
        ..home.blob(b"{}")
    };
    let mut json = Manifest {
        config,
        layers: vec![],
    }
    .to_json();
    json.extend(b" \n\n");
    home.store
        .write_manifest(&parse("hf.co/U/r:Q4_K_M"), &json)
        .unwrap();
    let path = home.store.root().join("manifests/hf.co/U/r/Q4_K_M");
    assert_eq!(fs::read(&path).unwrap(), json);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );
    let entry = home.store.find(&parse("HF.co/u/R:q4_k_m")).unwrap();
    assert_eq!(entry.name.to_string(), "hf.co/U/r:Q4_K_M");
    assert_eq!(entry.digest, Digest::of(&json));
    assert_eq!((entry.size, entry.config), (2, json!({})));
    assert_eq!(home.files("manifests"), ["hf.co"]);
}

#[test]
fn a_manifest_needs_its_blobs() {
    let home = Home::new();
    let config = Descriptor {
        media_type: MediaType::Config,
        ..home.blob(b"{}")
    };
    let missing = Descriptor {
        media_type: MediaType::Model,
        digest: Digest::of(b"x"),
        size: 1,
    };
    let wrong_size = Descriptor {
        size: 3,
        ..home.blob(b"ab")
    };
    for layer in [missing, wrong_size] {
        let json = Manifest {
            config: config.clone(),
            layers: vec![layer],
        }
        .to_json();
        let error = home.store.write_manifest(&parse("m"), &json).unwrap_err();
        assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
    }
    assert!(home.store.write_manifest(&parse("m"), b"{}").is_err());
    assert_eq!(home.files("manifests"), [""; 0]);
}

#[test]
fn removing_and_replacing_prune_what_only_that_model_used() {
    let home = Home::new();
    let a = home.model("a", &["shared", "only a"]);
    let b = home.model("n/b:1", &["shared", "only b"]);
    home.store.copy(&parse("a"), &parse("c")).unwrap();
    assert_eq!(home.names(), ["a:latest", "c:latest", "n/b:1"]);
    home.store.remove(&parse("A")).unwrap();
    assert!(
        a.iter().all(|digest| home.store.has_blob(digest)),
        "the copy still has them"
    );
    home.model("C:LATEST", &["shared", "new"]);
    assert_eq!(
        home.names(),
        ["c:latest", "n/b:1"],
        "the stored spelling is kept"
    );
    assert!(
        a.iter().all(|digest| home.store.has_blob(digest)),
        "the earlier version has them"
    );
    home.model("c", &["shared", "newer"]);
    assert!(
        home.store.has_blob(&a[0]) && !home.store.has_blob(&a[1]) && !home.store.has_blob(&a[2])
    );
    home.store.remove(&parse("n/b:1")).unwrap();
    assert!(home.store.has_blob(&b[0]) && !home.store.has_blob(&b[1]));
    home.store.remove(&parse("c")).unwrap();
    assert_eq!(home.files("blobs"), [""; 0]);
    assert_eq!(home.files("manifests"), [""; 0], "empty folders go");
    let error = home.store.remove(&parse("c")).unwrap_err();
    assert_eq!(error.to_string(), "model 'c:latest' not found");
    assert!(matches!(
        home.store.copy(&parse("c"), &parse("d")),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn what_somebody_needs_is_not_pruned() {
    let home = Home::new();
    let blobs = home.model("a", &["one", "two", "three"]);
    let pin = home.store.pin(&blobs[..1]).unwrap();
    // Another process that needs the second, and a dead one that needed the third.
    let pins = home.store.root().join(".slm/pins");
    let living = File::create(pins.join("1-living")).unwrap();
    fs::write(pins.join("1-living"), format!("{}\n", blobs[1])).unwrap();
    living.lock().unwrap();
    fs::write(pins.join("2-dead"), format!("{}\n", blobs[2])).unwrap();
    // A blob that was just sent for a model to come.
    home.store.ingest(&mut &b"fresh"[..], None).unwrap();
    let fresh = home.model("b", &["other"]);
    let sent_again = home.store.ingest(&mut &b"other"[..], None).unwrap();
    assert_eq!(sent_again, fresh[0]);
    home.store.remove(&parse("a")).unwrap();
    home.store.remove(&parse("b")).unwrap();
    let here = |digest: &Digest| home.store.has_blob(digest);
    assert!(here(&blobs[0]) && here(&blobs[1]) && !here(&blobs[2]) && here(&sent_again));
    assert!(!pins.join("2-dead").exists() && pins.join("1-living").exists());
    drop((pin, living));
    // What only a pin has kept goes with the next removal.
    home.model("c", &["c"]);
    home.store.remove(&parse("c")).unwrap();
    assert!(!here(&blobs[0]) && !here(&blobs[1]) && here(&sent_again));
    assert!(here(&Digest::of(b"fresh")));
}

#[test]
fn a_linked_file_leaves_with_the_last_model_that_uses_it() {
    let home = Home::new();
    let path = home.store.root().join("weights.gguf");
    fs::write(&path, "linked").unwrap();
    let digest = home.store.ingest_file(&path, None).unwrap();
    let config = Descriptor {
        media_type: MediaType::Config,
        ..home.blob(b"{}")
    };
    let layers = vec![Descriptor {
        media_type: MediaType::Model,
        digest,
        size: 6,
    }];
    let manifest = Manifest { config, layers };
    home.store
        .write_manifest(&parse("a"), &manifest.to_json())
        .unwrap();
    home.store.remove(&parse("a")).unwrap();
    assert!(!home.store.has_blob(&digest));
    assert_eq!(fs::read(&path).unwrap(), b"linked");
}

#[test]
fn pruning_removes_orphans_of_that_age_only() {
    let home = Home::new();
    let used = home.model("a", &["one"]);
    let (old, young) = (Digest::of(b"old"), Digest::of(b"young"));
    for (digest, age) in [(old, 7200), (young, 10), (used[0], 7200)] {
        let path = home.store.blob_path(&digest);
        if digest != used[0] {
            fs::write(&path, b"orphan").unwrap();
        }
        File::open(&path)
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_secs(age))
            .unwrap();
    }
    let garbage = home
        .store
        .collect_garbage(&GcLimits::default(), false)
        .unwrap();
    assert_eq!(garbage.blobs, [(old, 6)]);
    assert!(
        !home.store.has_blob(&old) && home.store.has_blob(&young) && home.store.has_blob(&used[0])
    );
}

#[test]
fn nothing_is_pruned_while_a_manifest_cannot_be_read() {
    let home = Home::new();
    let blobs = home.model("a", &["one"]);
    let damaged = home.store.root().join("manifests/h/n/m");
    fs::create_dir_all(&damaged).unwrap();
    fs::write(damaged.join("t"), b"{").unwrap();
    home.store.remove(&parse("a")).unwrap();
    assert!(blobs.iter().all(|digest| home.store.has_blob(digest)));
    // The damaged one can be removed.
    home.store.remove(&parse("h/n/m:t")).unwrap();
    home.store.collect_garbage(&AT_ONCE, false).unwrap();
    assert_eq!(home.files("blobs"), [""; 0]);
}

#[test]
fn the_list_agrees_with_files_that_others_changed() {
    let home = Home::new();
    let blobs = home.model("a", &["one"]);
    home.model("b", &["one"]);
    assert_eq!(home.names(), ["a:latest", "b:latest"]);
    let library = home
        .store
        .root()
        .join("manifests/registry.ollama.ai/library");
    fs::create_dir_all(library.join("x")).unwrap();
    fs::copy(library.join("a/latest"), library.join("x/Tag")).unwrap();
    fs::remove_file(library.join("b/latest")).unwrap();
    fs::write(library.join("a/.hidden"), b"").unwrap();
    fs::write(library.join("a/not a tag"), b"").unwrap();
    fs::write(library.join("stray"), b"").unwrap();
    assert_eq!(home.names(), ["a:latest", "x:Tag"]);
    // The same bytes length, another content, the same time.
    let path = library.join("a/latest");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let old = home.store.find(&parse("a")).unwrap();
    let json = fs::read_to_string(&path)
        .unwrap()
        .replace("vnd.ollama.image.model", "vnd.ollama.image.madel");
    fs::write(&path, json).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_ne!(home.store.find(&parse("a")).unwrap().digest, old.digest);
    // A config that is gone.
    assert!(home.store.find(&parse("x:tag")).unwrap().config.is_object());
    fs::remove_file(home.store.blob_path(blobs.last().unwrap())).unwrap();
    assert!(home.store.find(&parse("x:tag")).unwrap().config.is_null());
    assert!(
        home.store
            .list()
            .unwrap()
            .iter()
            .all(|entry| entry.config.is_null())
    );
}

#[test]
fn the_newest_comes_first_and_use_is_remembered() {
    let home = Home::new();
    home.model("a", &["one"]);
    home.model("b", &["two"]);
    let library = home
        .store
        .root()
        .join("manifests/registry.ollama.ai/library");
    let file = File::options()
        .write(true)
        .open(library.join("a/latest"))
        .unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(100))
        .unwrap();
    let list = home.store.list().unwrap();
    assert_eq!(list[0].name.model(), "a");
    assert!(list.iter().all(|entry| entry.last_used.is_none()));
    home.store.touch(&parse("A"));
    home.store.touch(&parse("missing"));
    let root = home.store.root().to_owned();
    let Home { folder, store } = home;
    drop(store);
    let store = Store::open(&root).unwrap();
    assert!(store.find(&parse("a")).unwrap().last_used.is_some());
    assert!(store.find(&parse("b")).unwrap().last_used.is_none());
    drop(folder);
}

#[test]
fn one_process_keeps_the_index() {
    let home = Home::new();
    home.model("a", &["one"]);
    let error = Store::open(home.store.root()).unwrap_err();
    assert!(matches!(error, Error::IndexLocked { .. }), "{error}");
    let id = std::process::id();
    assert!(error.to_string().ends_with(&format!("with the id {id}")));
    let other = Store::open_without_index(home.store.root()).unwrap();
    assert_eq!(other.list().unwrap().len(), 1);
    other.remove(&parse("a")).unwrap();
    assert_eq!(home.names(), [""; 0]);
}

#[test]
fn unfinished_files_of_the_dead_go_and_of_the_living_stay() {
    let home = Home::new();
    let blobs = home.store.root().join("blobs");
    let partial = format!("{}-partial", Digest::of(b"x").file_name());
    fs::write(blobs.join(".slm-tmp-dead"), b"x").unwrap();
    fs::write(home.store.root().join("manifests/.slm-tmp-dead"), b"x").unwrap();
    fs::write(blobs.join(&partial), b"x").unwrap();
    let living = temporary::create(&blobs).unwrap();
    Store::open_without_index(home.store.root()).unwrap();
    let living_name = living
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(home.files("blobs"), [living_name, partial]);
    assert_eq!(home.files("manifests"), [""; 0]);
}

#[test]
fn a_large_blob_is_not_read_into_memory() {
    let home = Home::new();
    let digest = Digest::of(b"large");
    let file = File::create(home.store.blob_path(&digest)).unwrap();
    file.set_len(MAX_SMALL_BLOB_BYTES + 1).unwrap();
    assert!(matches!(
        home.store.read_small_blob(&digest),
        Err(Error::BlobTooLarge { .. })
    ));
    assert!(matches!(
        home.store.read_small_blob(&Digest::of(b"none")),
        Err(Error::Read { .. })
    ));
}

/// Many threads create, copy and remove models that share layers: each model that is there is whole.
#[test]
fn a_removal_cannot_race_a_creation() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let home = &home;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                for _ in 0..40 {
                    let name = format!("m{}", random.u8(..3));
                    let _ = match random.u8(..3) {
                        0 => home.store.remove(&parse(&name)),
                        1 => home.store.copy(&parse(&name), &parse("copy")),
                        _ => {
                            home.model(&name, &["a", "b"]);
                            Ok(())
                        }
                    };
                }
            });
        }
    });
    home.model("last", &["a"]);
    for entry in home.store.list().unwrap() {
        let manifest = home.store.manifest(&entry.name).unwrap();
        assert!(
            manifest
                .blobs()
                .all(|blob| home.store.verify_blob(&blob.digest).is_ok()),
            "{}",
            entry.name
        );
    }
}
