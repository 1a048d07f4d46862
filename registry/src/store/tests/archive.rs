//! The archive: what this store may remove of it, and that a move never takes the only whole copy.
use super::*;
use std::os::unix::fs::symlink;

/// A store with an archive that is there, and nothing in it.
struct Two {
    folder: tempfile::TempDir,
    store: Store,
}

impl Two {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("big")).unwrap();
        let store = Store::open(locations(folder.path(), "big")).unwrap();
        Self { folder, store }
    }
    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
    /// Writes a model with those weights; gives their digest.
    fn model(&self, name: &str, weights: &[u8]) -> Digest {
        write_model(&self.store, name, weights)
    }
    fn archive(&self, name: &str) -> Result<usize, Error> {
        let moved = self.store.archive(&parse(name), &mut |_, _, _| {})?;
        Ok(moved.n_blobs)
    }
    fn in_archive(&self, digest: &Digest) -> PathBuf {
        self.at("big/blobs").join(digest.file_name())
    }
    fn place(&self, digest: &Digest) -> Place {
        self.store.locate(digest).unwrap().unwrap().place
    }
}

/// Two folders of a store in `folder`.
pub(super) fn locations(folder: &Path, archive: &str) -> Locations {
    Locations {
        archive: Some(folder.join(archive)),
        ..Locations::from(&folder.join("models"))
    }
}

fn write_model(store: &Store, name: &str, weights: &[u8]) -> Digest {
    let blob = |media_type, bytes: &[u8]| Descriptor {
        media_type,
        digest: store.ingest(&mut &bytes[..], None).unwrap(),
        size: bytes.len() as u64,
    };
    let manifest = Manifest {
        config: blob(MediaType::Config, b"{}"),
        layers: vec![blob(MediaType::Model, weights)],
    };
    store
        .write_manifest(&parse(name), &manifest.to_json())
        .unwrap();
    manifest.layers[0].digest
}

#[test]
fn a_folder_that_this_store_never_claimed_loses_nothing() {
    for with_manifests in [true, false] {
        let home = Two::new();
        let other = Store::open(&home.at("ollama")).unwrap();
        let theirs = write_model(&other, "theirs", b"their weights");
        drop(other);
        if !with_manifests {
            fs::remove_dir_all(home.at("ollama/manifests")).unwrap();
        }
        let path = home.at("ollama/blobs").join(theirs.file_name());
        let at_ollama = Locations {
            archive: Some(home.at("ollama")),
            ..Locations::from(&home.at("mine"))
        };
        let store = Store::open(at_ollama).unwrap();
        let mine = write_model(&store, "mine", b"my weights");
        let found = store.collect_garbage(&AT_ONCE, true).unwrap();
        assert_eq!(found.blobs, []);
        store.collect_garbage(&AT_ONCE, false).unwrap();
        assert!(path.exists());
        for moved in [
            store.archive(&parse("mine"), &mut |_, _, _| {}),
            store.unarchive(&parse("mine"), &mut |_, _, _| {}),
        ] {
            let error = moved.unwrap_err();
            assert!(matches!(error, Error::ArchiveInUse { .. }), "{error}");
            assert!(error.hint().unwrap().contains("SLM_MODELS_SHARED"));
        }
        assert!(path.exists() && store.has_blob(&mine));
        assert!(!home.at("ollama/slm-archive").exists());
    }
}

#[test]
fn an_archive_that_stops_being_ours_loses_nothing() {
    let home = Two::new();
    let digest = home.model("m", b"weights");
    assert_eq!(home.archive("m").unwrap(), 1);
    let owner = home.at("big/slm-archive");
    fs::rename(&owner, home.at("kept")).unwrap();
    home.store.remove(&parse("m")).unwrap();
    home.store.collect_garbage(&AT_ONCE, false).unwrap();
    assert!(home.in_archive(&digest).exists());
    fs::write(&owner, "/somebody/else\n").unwrap();
    home.store.collect_garbage(&AT_ONCE, false).unwrap();
    assert!(home.in_archive(&digest).exists());
    fs::remove_file(&owner).unwrap();
    fs::rename(home.at("kept"), &owner).unwrap();
    home.store.collect_garbage(&AT_ONCE, false).unwrap();
    assert!(!home.in_archive(&digest).exists());
}

#[test]
fn the_models_directory_is_no_archive_of_itself() {
    let home = Two::new();
    let digest = home.model("m", b"weights");
    symlink(home.at("models"), home.at("link")).unwrap();
    for archive in ["models", "big/../models", "link"] {
        let opened = Store::open_without_index(locations(home.folder.path(), archive));
        let error = opened.unwrap_err();
        assert!(matches!(error, Error::ArchiveIsStore { .. }), "{error}");
    }
    // It becomes the same while the store is open.
    symlink(home.at("models/blobs"), home.at("big/blobs")).unwrap();
    let error = home.archive("m").unwrap_err();
    assert!(matches!(error, Error::ArchiveIsStore { .. }), "{error}");
    home.store.verify_blob(&digest).unwrap();
}

#[test]
fn an_archive_knows_its_store_by_any_spelling() {
    let home = Two::new();
    let digest = home.model("m", b"weights");
    symlink(home.at("models"), home.at("link")).unwrap();
    let linked = Locations {
        hot: home.at("big/../link"),
        ..locations(home.folder.path(), "big")
    };
    let store = Store::open_without_index(linked.clone()).unwrap();
    store.archive(&parse("m"), &mut |_, _, _| {}).unwrap();
    assert_eq!(home.place(&digest), Place::Archive);
    let said = fs::read_to_string(home.at("big/slm-archive")).unwrap();
    let canonical = fs::canonicalize(home.at("models")).unwrap();
    assert_eq!(said.trim_end(), canonical.to_str().unwrap());
    home.store.collect_garbage(&AT_ONCE, false).unwrap();
    home.store.verify_blob(&digest).unwrap();
    // As earlier versions wrote it.
    fs::write(
        home.at("big/slm-archive"),
        linked.hot.display().to_string() + "\n",
    )
    .unwrap();
    assert_eq!(home.archive("m").unwrap(), 0);
}

#[test]
fn a_damaged_copy_in_the_archive_is_replaced_and_not_taken_for_the_blob() {
    let home = Two::new();
    let digest = home.model("m", b"weights");
    assert_eq!(home.archive("m").unwrap(), 1);
    let path = home.in_archive(&digest);
    fs::rename(
        &path,
        home.store.root().join("blobs").join(digest.file_name()),
    )
    .unwrap();
    fs::write(&path, b"weighty").unwrap();
    assert_eq!(home.archive("m").unwrap(), 1);
    assert_eq!(home.place(&digest), Place::Archive);
    home.store.verify_blob(&digest).unwrap();
    // Nor what leads to the very file that is moved.
    assert_eq!(
        home.store
            .unarchive(&parse("m"), &mut |_, _, _| {})
            .unwrap()
            .n_blobs,
        1
    );
    symlink(home.store.blob_path(&digest), &path).unwrap();
    assert_eq!(home.archive("m").unwrap(), 1);
    home.store.verify_blob(&digest).unwrap();
}

#[test]
fn a_version_whose_blobs_are_away_is_kept_until_they_are_back() {
    let home = Two::new();
    home.model("m", b"first");
    let first = home.store.find(&parse("m")).unwrap().digest;
    assert_eq!(home.archive("m").unwrap(), 1);
    fs::rename(home.at("big"), home.at("unmounted")).unwrap();
    home.model("m", b"second");
    let error = home.store.roll_back(&parse("m")).unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
    fs::rename(home.at("unmounted"), home.at("big")).unwrap();
    home.store
        .collect_garbage(&GcLimits::default(), false)
        .unwrap();
    assert_eq!(home.store.roll_back(&parse("m")).unwrap(), first);
}

#[test]
fn what_is_mended_of_a_shared_model_is_no_garbage() {
    let home = Two::new();
    let shared = Store::open(&home.at("shared")).unwrap();
    let digest = write_model(&shared, "theirs", b"their weights");
    drop(shared);
    let path = home.at("shared/blobs").join(digest.file_name());
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"their weighty").unwrap();
    let damaged = home.at("shared/manifests/h/n/m");
    fs::create_dir_all(&damaged).unwrap();
    fs::write(damaged.join("t"), b"{").unwrap();
    // A link to itself is a folder that cannot be read.
    std::os::unix::fs::symlink("loop", home.at("shared/manifests/loop")).unwrap();
    let locations = Locations {
        shared: vec![home.at("none"), home.at("shared")],
        ..Locations::from(&home.at("mine"))
    };
    let store = Store::open(locations).unwrap();
    assert_eq!(store.list().unwrap().len(), 1, "what can be read is listed");
    // As a repair leaves it.
    store.ingest(&mut &b"unrelated"[..], None).unwrap();
    let mended = store.root().join("blobs").join(digest.file_name());
    fs::write(&mended, b"their weights").unwrap();
    let orphan = Digest::of(b"orphan");
    fs::write(store.blob_path(&orphan), b"orphan").unwrap();
    store.collect_garbage(&AT_ONCE, false).unwrap();
    store.verify_blob(&digest).unwrap();
    assert!(
        !store.has_blob(&orphan),
        "the damaged manifest blocks nothing"
    );
}

#[test]
fn a_reference_that_is_lost_is_found_by_verification() {
    let home = Two::new();
    let path = home.at("theirs.gguf");
    fs::write(&path, b"GGUF and weights").unwrap();
    let adopted = home
        .store
        .adopt_file(&path, b"GGUF", None, AdoptBy::Sharing, &mut |_, _| {});
    let (digest, how) = adopted.unwrap();
    if how != Adopted::Reference {
        return; // a filesystem with reflinks
    }
    let config = home.store.ingest(&mut &b"{}"[..], None).unwrap();
    let blob = |media_type, digest, size| Descriptor {
        media_type,
        digest,
        size,
    };
    let manifest = Manifest {
        config: blob(MediaType::Config, config, 2),
        layers: vec![blob(MediaType::Model, digest, 16)],
    };
    home.store
        .write_manifest(&parse("m"), &manifest.to_json())
        .unwrap();
    let problems = || {
        let mut problems = Vec::new();
        let never = std::sync::atomic::AtomicBool::new(false);
        let take = |event| {
            if let VerifyEvent::Problem(problem) = event {
                problems.push(problem);
            }
        };
        home.store.verify(&[], &never, take).unwrap();
        problems
    };
    assert_eq!(problems(), []);
    // The same bytes, of another time: whether they are the same nobody knows without reading them.
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(99))
        .unwrap();
    let found = problems();
    assert_eq!((found.len(), found[0].digest), (1, Some(digest)));
    let Trouble::Unreadable { reason } = &found[0].trouble else {
        panic!("{found:?}")
    };
    assert!(reason.contains("has changed"), "{reason}");
}
