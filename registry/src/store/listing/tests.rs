//! Whatever changes, and whoever changes it, the kept list is the one that the files give.

use crate::{Descriptor, Manifest, MediaType, ModelName, Store};
use serde_json::json;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

struct Home {
    _folder: tempfile::TempDir,
    root: PathBuf,
    store: Store,
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn blob(store: &Store, kind: MediaType, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: kind,
        digest: store.ingest(&mut &bytes[..], None).unwrap(),
        size: bytes.len() as u64,
    }
}

fn write(store: &Store, model: &str, weights: &str) {
    let config = json!({"model_family": weights}).to_string();
    let manifest = Manifest {
        config: blob(store, MediaType::Config, config.as_bytes()),
        layers: vec![blob(store, MediaType::Model, weights.as_bytes())],
    };
    store
        .write_manifest(&name(model), &manifest.to_json())
        .unwrap();
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        let store = Store::open(&root).unwrap();
        for (model, weights) in [("one", "a"), ("two", "b"), ("three:7b", "c")] {
            write(&store, model, weights);
        }
        let _folder = folder;
        Self {
            _folder,
            root,
            store,
        }
    }

    fn manifest(&self, model: &str) -> PathBuf {
        self.root
            .join("manifests")
            .join(name(model).relative_path())
    }

    fn is_kept(&self) -> bool {
        self.store.shared.listing.state().kept.is_some()
    }

    /// Asks, so that a list is kept; makes the change; compares with what the files say now.
    #[track_caller]
    fn check(&self, what: &str, change: impl FnOnce()) {
        let before = format!("{:?}", self.store.listing().unwrap());
        assert!(self.is_kept(), "before {what}");
        let again = self.store.listing().unwrap();
        assert_eq!(before, format!("{again:?}"), "before {what}");
        change();
        if let Some(kept) = self.store.kept_listing() {
            let files = self.store.list().unwrap();
            assert_eq!(format!("{kept:?}"), format!("{files:?}"), "{what}, at once");
        }
        let kept = format!("{:?}", self.store.listing().unwrap());
        let files = format!("{:?}", self.store.list().unwrap());
        assert_eq!(kept, files, "{what}");
        assert_ne!(kept, before, "{what} changes the list");
    }
}

fn edit(path: &Path, bytes: &[u8]) {
    // in place, and as if nothing had happened
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn a_kept_list_is_never_stale() {
    let home = Home::new();
    let store = &home.store;
    let other = Store::open_without_index(&home.root).unwrap();
    // all within less than a second, most within one tick of the filesystem's clock
    home.check("a model by this store", || write(store, "four", "d"));
    home.check("a model by another", || write(&other, "five", "e"));
    home.check("a copy by another", || {
        other.copy(&name("one"), &name("x/y:z")).unwrap();
    });
    home.check("a removal by another", || {
        other.remove(&name("five")).unwrap();
    });
    home.check("a replacement by another", || write(&other, "one", "f"));
    home.check("a rollback", || {
        store.roll_back(&name("one")).unwrap();
    });
    home.check("a use", || store.touch(&name("two")));
    let (one, two) = (home.manifest("one"), home.manifest("two"));
    let of_two = fs::read(&two).unwrap();
    assert_eq!(fs::read(&one).unwrap().len(), of_two.len());
    home.check("an edit of the same length in place", || {
        edit(&one, &of_two);
    });
    let aside = home.root.join("aside");
    home.check("a link's edit", || {
        fs::hard_link(home.manifest("four"), &aside).unwrap();
        let _ = store.listing();
        edit(&aside, &of_two);
    });
    home.check("a manifest moved away", || {
        fs::rename(&one, &aside).unwrap();
    });
    home.check("and over another", || {
        fs::rename(&aside, home.manifest("three:7b")).unwrap();
    });
    home.check("a folder renamed", || {
        let folder = home.manifest("two");
        let folder = folder.parent().unwrap();
        fs::rename(folder, folder.with_file_name("deux")).unwrap();
    });
    home.check("a folder made, and a manifest in it", || {
        let path = home.manifest("host.example/new/model:tag");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = store.listing();
        fs::write(&path, &of_two).unwrap();
    });
    home.check("a config edited", || {
        let entry = store.find(&name("four")).unwrap();
        let manifest = store.manifest(&entry.name).unwrap();
        edit(&store.blob_path(&manifest.config.digest), b"{\"a\": 1}");
    });
    home.check("weights lost", || {
        let manifest = store.manifest(&name("four")).unwrap();
        fs::remove_file(store.blob_path(&manifest.layers[0].digest)).unwrap();
    });
    // what has no weights is looked for each time
    let _ = store.listing().unwrap();
    assert!(!home.is_kept());
    write(store, "four", "g");
    fs::remove_dir_all(home.root.join("manifests")).unwrap();
    fs::create_dir(home.root.join("manifests")).unwrap();
    assert!(store.listing().unwrap().is_empty());
    write(store, "last", "h");
    home.check("another folder in place of the whole", || {
        let manifests = home.root.join("manifests");
        fs::rename(&manifests, home.root.join("old")).unwrap();
        fs::create_dir(&manifests).unwrap();
    });
}

#[test]
fn what_cannot_be_watched_is_not_kept() {
    let home = Home::new();
    let _ = home.store.listing().unwrap();
    assert!(home.is_kept());
    let (two, elsewhere) = (home.manifest("two"), home.root.join("elsewhere"));
    fs::rename(&two, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &two).unwrap();
    assert_eq!(home.store.listing().unwrap().len(), 3);
    assert!(!home.is_kept());
    fs::write(&elsewhere, fs::read(home.manifest("one")).unwrap()).unwrap();
    let entries = home.store.listing().unwrap();
    assert_eq!(
        entries
            .iter()
            .filter(|entry| entry.digest == entries[0].digest)
            .count(),
        2
    );
}

#[test]
fn readers_and_writers_at_once_end_with_the_same_list() {
    let home = Home::new();
    let other = Store::open_without_index(&home.root).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..40 {
                write(&other, &format!("m{}", i % 7), &format!("w{i}"));
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let _ = home.store.listing().unwrap();
                }
            });
        }
    });
    for _ in 0..2 {
        let kept = format!("{:?}", home.store.listing().unwrap());
        assert_eq!(kept, format!("{:?}", home.store.list().unwrap()));
    }
}
