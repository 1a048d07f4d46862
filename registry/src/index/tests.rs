//! Whatever happens to the index on disk, the store shows the same models.
use crate::{Descriptor, Manifest, MediaType, ModelName, Store};
use std::{
    fs,
    path::{Path, PathBuf},
};

const N_MODELS: usize = 30;

fn fill(root: &Path) -> Vec<String> {
    let store = Store::open(root).unwrap();
    for n in 0..N_MODELS {
        let config = format!(r#"{{"model_family":"family {n}"}}"#);
        let digest = store.ingest(&mut config.as_bytes(), None).unwrap();
        let size = config.len() as u64;
        let config = Descriptor {
            media_type: MediaType::Config,
            digest,
            size,
        };
        let name: ModelName = format!("m{n}").parse().unwrap();
        store
            .write_manifest(
                &name,
                &Manifest {
                    config,
                    layers: vec![],
                }
                .to_json(),
            )
            .unwrap();
        store.touch(&name);
    }
    listing(&store)
}

fn listing(store: &Store) -> Vec<String> {
    let list = store.list().unwrap();
    list.iter()
        .map(|e| {
            format!(
                "{} {} {} {:?} {}",
                e.name, e.digest, e.size, e.modified, e.config
            )
        })
        .collect()
}

#[track_caller]
fn check(root: &Path, expected: &[String], what: &str) {
    for attempt in ["first", "second"] {
        let store = Store::open(root).unwrap();
        assert_eq!(listing(&store), expected, "{what}, {attempt} open");
    }
}

/// Every file of the index.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![root.join(".slm/index")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn any_damage_gives_the_same_list() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let expected = fill(root);
    assert_eq!(expected.len(), N_MODELS);
    check(root, &expected, "no damage");
    assert!(!files(root).is_empty());

    fs::remove_dir_all(root.join(".slm/index")).unwrap();
    check(root, &expected, "folder removed");
    fs::remove_dir_all(root.join(".slm/index")).unwrap();
    fs::write(root.join(".slm/index"), b"garbage").unwrap();
    check(root, &expected, "a file in its place");
    for n_file in 0..files(root).len() {
        let Some(path) = files(root).into_iter().nth(n_file) else {
            break;
        };
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        check(root, &expected, &format!("{} removed", path.display()));
        fs::write(&path, b"").unwrap();
        check(root, &expected, &format!("{} emptied", path.display()));
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        check(root, &expected, &format!("{} cut", path.display()));
        fs::write(&path, b"garbage ".repeat(bytes.len() / 8 + 1)).unwrap();
        check(root, &expected, &format!("{} replaced", path.display()));
    }
}

#[test]
fn flipped_bits_give_the_same_list() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let expected = fill(root);
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..30 {
        for path in files(root) {
            let mut bytes = fs::read(&path).unwrap();
            let used = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            for _ in 0..random.usize(1..64).min(used) {
                let at = random.usize(..used);
                bytes[at] ^= 1 << random.u8(..8);
            }
            fs::write(&path, bytes).unwrap();
        }
        check(root, &expected, &format!("round {round}"));
    }
}

/// An index that tells another story than the files is not believed.
#[test]
fn an_index_of_older_files_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let expected = fill(root);
    let manifests = root.join("manifests/registry.ollama.ai/library");
    fs::remove_dir_all(manifests.join("m0")).unwrap();
    fs::rename(manifests.join("m1"), manifests.join("n1")).unwrap();
    let store = Store::open(root).unwrap();
    let now = listing(&store);
    assert_eq!(now.len(), N_MODELS - 1);
    assert_ne!(now, expected[1..]);
    let row = now
        .iter()
        .find(|row| row.starts_with("n1:latest "))
        .unwrap();
    assert!(row.contains("family 1"), "{row}");
}
