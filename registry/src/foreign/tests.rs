use super::*;
use crate::{Descriptor, Locations, Place};
use std::os::unix::fs::{MetadataExt, symlink};

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
    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
    fn write(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
    #[track_caller]
    fn find(&self, program: Program, path: &str) -> Found {
        let path = self.at(path);
        self.store
            .find_foreign(&[Source { program, path }])
            .unwrap()
    }
    #[track_caller]
    fn adopt(&self, candidate: &Candidate) -> Result<Adopted, Error> {
        candidate.adopt(&self.store, AdoptBy::Sharing, None, &mut |_, _, _| {})
    }
}

fn names(found: &Found) -> Vec<String> {
    let names = found.candidates.iter();
    names.map(|candidate| candidate.name.to_string()).collect()
}

/// More than what is copied.
fn weights(seed: u8) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.resize(COPIED_BYTES as usize + 100, seed);
    bytes
}

#[track_caller]
fn is_shared_or_referred_to(home: &Home, digest: &Digest, adopted: Adopted) {
    let place = home.store.locate(digest).unwrap().unwrap().place;
    match adopted {
        Adopted::Reflink => assert_eq!(place, Place::Hot),
        Adopted::Reference => assert_eq!(place, Place::Reference),
        other => panic!("{other}"),
    }
    home.store.verify_blob(digest).unwrap();
}

#[test]
fn ollamas_models_keep_their_names_manifests_and_files() {
    let home = Home::new();
    let theirs = Store::open(&home.at("ollama")).unwrap();
    let blob = |media_type, bytes: &[u8]| Descriptor {
        media_type,
        digest: theirs.ingest(&mut &bytes[..], None).unwrap(),
        size: bytes.len() as u64,
    };
    let manifest = Manifest {
        config: blob(MediaType::Config, b"{}"),
        layers: vec![
            blob(MediaType::Model, &weights(1)),
            blob(MediaType::Template, b"{{ .Prompt }}"),
        ],
    };
    let name: ModelName = "me/m:t".parse().unwrap();
    theirs.write_manifest(&name, &manifest.to_json()).unwrap();
    let digest = manifest.layers[0].digest;
    let state = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (
            metadata.ino(),
            metadata.mode(),
            metadata.mtime_nsec(),
            metadata.nlink(),
        )
    };
    let before = state(&theirs.blob_path(&digest));

    let found = home.find(Program::Ollama, "ollama");
    assert_eq!(names(&found), ["me/m:t"]);
    let adopted = home.adopt(&found.candidates[0]).unwrap();
    is_shared_or_referred_to(&home, &digest, adopted);
    assert_eq!(home.store.manifest_json(&name).unwrap(), manifest.to_json());
    assert_eq!(
        state(&theirs.blob_path(&digest)),
        before,
        "nothing is done to it"
    );
    assert_eq!(
        home.adopt(&found.candidates[0]).unwrap(),
        Adopted::AlreadyThere
    );

    // a blob that is not what its name says
    fs::set_permissions(
        theirs.blob_path(&digest),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    fs::write(theirs.blob_path(&digest), weights(2)).unwrap();
    let other = Home::new();
    let error = other.adopt(&found.candidates[0]).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(other.store.list().unwrap().is_empty());
}

#[test]
fn the_cache_of_hugging_face_is_read_through_its_links() {
    let home = Home::new();
    let bytes = weights(1);
    let hex = Digest::of(&bytes).hex();
    let repo = "hf/hub/models--u--r-GGUF";
    let blob = home.write(&format!("{repo}/blobs/{hex}"), &bytes);
    let small = home.write(&format!("{repo}/blobs/{}", "a".repeat(40)), &weights(2));
    home.write(&format!("{repo}/refs/main"), b"rev1\n");
    for (name, target) in [
        ("m-Q4_K_M.gguf", &blob),
        ("m-Q8_0.gguf", &small),
        ("mmproj-F16.gguf", &small),
    ] {
        let link = home.at(&format!("{repo}/snapshots/rev1/{name}"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
    }
    home.write(&format!("{repo}/snapshots/rev0/old.gguf"), &bytes);
    for root in ["hf", "hf/hub"] {
        assert_eq!(Source::at(&home.at(root)).program, Program::HuggingFace);
        let found = home.find(Program::HuggingFace, root);
        assert_eq!(
            names(&found),
            ["hf.co/u/r-GGUF:Q4_K_M", "hf.co/u/r-GGUF:Q8_0"]
        );
        assert_eq!(
            found.candidates[0].files[0].digest,
            Some(Digest::of(&bytes))
        );
        assert_eq!(found.candidates[1].files[0].digest, None);
    }
    let found = home.find(Program::HuggingFace, "hf");
    for candidate in &found.candidates {
        home.adopt(candidate).unwrap();
    }
    assert_eq!(home.store.list().unwrap().len(), 2);
}

#[test]
fn lm_studios_folders_are_repositories() {
    let home = Home::new();
    for path in [
        "p/r/m-Q4_0.gguf",
        "p/r/sub/other-Q4_0.gguf",
        "p/s/x.gguf",
        "stray.gguf",
    ] {
        home.write(&format!("lms/{path}"), &weights(0));
    }
    let found = home.find(Program::LmStudio, "lms");
    assert_eq!(
        names(&found),
        ["hf.co/p/r:Q4_0", "hf.co/p/r:other-Q4_0", "hf.co/p/s:x"]
    );
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
}

#[test]
fn a_folder_gives_its_files_and_parts_are_one_model() {
    let home = Home::new();
    home.write("d/My model.Q4_0.gguf", &weights(0));
    home.write("d/big-00001-of-00002.gguf", &weights(1));
    home.write("d/big-00002-of-00002.gguf", &weights(2));
    home.write("d/half-00001-of-00002.gguf", &weights(3));
    home.write("d/notes.txt", b"");
    let found = home.find(Program::Folder, "d");
    assert_eq!(names(&found), ["My-model.Q4_0:latest", "big:latest"]);
    assert!(found.notes[0].contains("half-00002-of-00002.gguf` is missing"));
    home.adopt(&found.candidates[1]).unwrap();
    let manifest = home.store.manifest(&found.candidates[1].name).unwrap();
    let digests: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest).collect();
    assert_eq!(digests, [Digest::of(&weights(1)), Digest::of(&weights(2))]);
    let file = home.find(Program::Folder, "d/big-00002-of-00002.gguf");
    assert_eq!(names(&file), ["big:latest"]);
    assert!(
        home.store
            .find_foreign(&[Source::at(&home.at("none"))])
            .is_err()
    );
}

#[test]
fn a_file_that_changed_or_vanished_is_refused_by_name() {
    let home = Home::new();
    let path = home.write("d/m.gguf", &weights(1));
    let digest = Digest::of(&weights(1));
    let candidate = home.find(Program::Folder, "d").candidates.remove(0);
    if home.adopt(&candidate).unwrap() != Adopted::Reference {
        return; // the filesystem has reflinks: the blob does not depend on the file
    }
    assert_eq!(
        home.store.blob_path(&digest),
        fs::canonicalize(&path).unwrap()
    );
    fs::write(&path, weights(2)).unwrap();
    let error = home.store.locate(&digest).unwrap_err().to_string();
    assert!(
        error.contains("m.gguf`, which a model uses by reference, has changed"),
        "{error}"
    );
    assert!(!home.store.has_blob(&digest));
    fs::remove_file(&path).unwrap();
    let error = home.store.verify_blob(&digest).unwrap_err().to_string();
    assert!(error.contains("is not there any more"), "{error}");
    // it can be adopted again as it is now
    fs::write(&path, weights(1)).unwrap();
    let candidate = home.find(Program::Folder, "d").candidates.remove(0);
    assert_eq!(home.adopt(&candidate).unwrap(), Adopted::Reference);
    home.store.verify_blob(&digest).unwrap();
    // or removed before that
    home.store.remove(&candidate.name).unwrap();
    assert!(home.store.locate(&digest).unwrap().is_none());
    assert_eq!(home.adopt(&candidate).unwrap(), Adopted::Reference);
    home.store.verify_blob(&digest).unwrap();
}

#[test]
fn a_hard_link_outlives_the_other_program() {
    let home = Home::new();
    let path = home.write("d/m.gguf", &weights(1));
    let mode = fs::metadata(&path).unwrap().mode();
    let candidate = home.find(Program::Folder, "d").candidates.remove(0);
    let adopted = candidate.adopt(&home.store, AdoptBy::HardLink, None, &mut |_, _, _| {});
    assert_eq!(adopted.unwrap(), Adopted::HardLink);
    assert_eq!(fs::metadata(&path).unwrap().mode(), mode);
    fs::remove_file(&path).unwrap();
    home.store.verify_blob(&Digest::of(&weights(1))).unwrap();
}

#[test]
fn a_shared_store_is_listed_and_run_and_never_written() {
    let home = Home::new();
    let shared = Store::open(&home.at("shared")).unwrap();
    let config = shared.ingest(&mut &b"{}"[..], None).unwrap();
    let layer = shared.ingest(&mut &b"GGUF"[..], None).unwrap();
    let manifest = Manifest {
        config: Descriptor {
            media_type: MediaType::Config,
            ..from_files::weights(config, 2)
        },
        layers: vec![from_files::weights(layer, 4)],
    };
    let name: ModelName = "m".parse().unwrap();
    shared.write_manifest(&name, &manifest.to_json()).unwrap();
    drop(shared);
    fs::remove_dir_all(home.at("shared/.slm")).unwrap();
    let files = |folder: &str| {
        let mut files = Vec::new();
        let mut open = vec![home.at(folder)];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                files.push(path.clone());
                if path.is_dir() {
                    open.push(path);
                }
            }
        }
        files.sort();
        files
    };
    let before = files("shared");
    let locations = Locations {
        hot: home.at("mine"),
        shared: vec![home.at("none"), home.at("shared")],
        archive: None,
    };
    let store = Store::open(locations).unwrap();
    let entries = store.list().unwrap();
    assert_eq!((entries.len(), entries[0].place), (1, Some(Place::Shared)));
    assert_eq!(
        store.blob_path(&layer),
        home.at("shared/blobs").join(layer.file_name())
    );
    store.verify_blob(&layer).unwrap();
    let error = store.remove(&name).unwrap_err();
    assert!(matches!(error, Error::SharedModel { .. }), "{error}");
    let mine: ModelName = "mine".parse().unwrap();
    store.copy(&name, &mine).unwrap();
    let all = crate::GcLimits {
        blob_age: std::time::Duration::ZERO,
        ..crate::GcLimits::default()
    };
    store.collect_garbage(&all, false).unwrap();
    store.remove(&mine).unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(files("shared"), before);
    assert!(
        fs::read_dir(home.at("mine/blobs"))
            .unwrap()
            .next()
            .is_none(),
        "nothing is copied"
    );
}

#[test]
fn weights_move_to_the_archive_and_back() {
    let home = Home::new();
    let locations = |archive: &str| Locations {
        archive: Some(home.at(archive)),
        ..Locations::from(&home.at("models2"))
    };
    let store = Store::open(locations("big")).unwrap();
    let name: ModelName = "m".parse().unwrap();
    let digest = store.ingest(&mut &weights(5)[..], None).unwrap();
    from_files::write(
        &store,
        &name,
        vec![from_files::weights(digest, weights(5).len() as u64)],
        None,
        (None, None),
    )
    .unwrap();
    let place = || store.locate(&digest).unwrap().unwrap().place;
    let archive = || store.archive(&name, &mut |_, _, _| {});
    assert!(
        archive().unwrap_err().to_string().contains("cannot read"),
        "the disk must be there"
    );
    fs::create_dir(home.at("big")).unwrap();
    assert_eq!(archive().unwrap().n_blobs, 1);
    assert_eq!(place(), Place::Archive);
    assert_eq!(store.list().unwrap()[0].place, Some(Place::Archive));
    store.verify_blob(&digest).unwrap();
    assert_eq!(archive().unwrap().n_blobs, 0, "again is no error");
    assert!(!home.at("models2/blobs").join(digest.file_name()).exists());
    // another store must not remove what is ours
    let other = Locations {
        archive: Some(home.at("big")),
        ..Locations::from(&home.at("other"))
    };
    let error = Store::open(other).unwrap_err();
    assert!(matches!(error, Error::ForeignArchive { .. }), "{error}");
    assert_eq!(
        store.unarchive(&name, &mut |_, _, _| {}).unwrap().n_blobs,
        1
    );
    assert_eq!(place(), Place::Hot);
    store.verify_blob(&digest).unwrap();
    archive().unwrap();
    store.remove(&name).unwrap();
    let left = fs::read_dir(home.at("big/blobs")).unwrap().count();
    assert_eq!(left, 0, "what is removed is removed there too");
}

#[test]
fn a_damaged_blob_is_not_archived() {
    let home = Home::new();
    let locations = Locations {
        archive: Some(home.at("big")),
        ..Locations::from(&home.at("models2"))
    };
    fs::create_dir(home.at("big")).unwrap();
    let store = Store::open(locations).unwrap();
    let name: ModelName = "m".parse().unwrap();
    let digest = store.ingest(&mut &weights(5)[..], None).unwrap();
    from_files::write(
        &store,
        &name,
        vec![from_files::weights(digest, weights(5).len() as u64)],
        None,
        (None, None),
    )
    .unwrap();
    let path = store.blob_path(&digest);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&path, weights(6)).unwrap();
    let error = store.archive(&name, &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(path.exists());
    assert_eq!(fs::read_dir(home.at("big/blobs")).unwrap().count(), 0);
}

#[test]
fn a_manifest_that_cannot_be_read_is_noted_and_the_others_are_found() {
    let home = Home::new();
    let other = Store::open(&home.at("ollama")).unwrap();
    let digest = other.ingest(&mut &weights(1)[..], None).unwrap();
    let layers = vec![from_files::weights(digest, weights(1).len() as u64)];
    let name: ModelName = "m".parse().unwrap();
    from_files::write(&other, &name, layers, None, (None, None)).unwrap();
    drop(other);
    // A link to itself is a folder that cannot be read.
    symlink("loop", home.at("ollama/manifests/loop")).unwrap();
    let damaged = home.write("ollama/manifests/h/n/m/t", b"{");
    let found = home.find(Program::Ollama, "ollama");
    assert_eq!(names(&found), ["m:latest"]);
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
    fs::set_permissions(
        &damaged,
        std::os::unix::fs::PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    let sources = ["none", "ollama"].map(|path| Source {
        program: Program::Ollama,
        path: home.at(path),
    });
    let folder = Source {
        program: Program::Folder,
        path: home.at("nowhere"),
    };
    let sources = [&sources[..], &[folder]].concat();
    let found = home.store.find_foreign(&sources).unwrap();
    assert_eq!(names(&found), ["m:latest"]);
    assert_eq!(found.notes.len(), 3, "{:?}", found.notes);
    let alone = home.store.find_foreign(&sources[2..]);
    assert!(matches!(alone, Err(Error::Read { .. })), "{alone:?}");
}
