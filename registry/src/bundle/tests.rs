use super::*;
use crate::{Descriptor, Error, Manifest, MediaType, ModelName, Store, tar};
use std::{collections::HashSet, fs, io::Read};

struct Home {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("models")).unwrap();
        Self {
            _folder: folder,
            store,
        }
    }
    fn model(&self, name: &str, layers: &[&[u8]]) {
        let blob = |media_type, bytes: &[u8]| Descriptor {
            media_type,
            digest: self.store.ingest(&mut &bytes[..], None).unwrap(),
            size: bytes.len() as u64,
        };
        let manifest = Manifest {
            config: blob(MediaType::Config, name.as_bytes()),
            layers: layers.iter().map(|l| blob(MediaType::Model, l)).collect(),
        };
        let json = manifest.to_json();
        self.store.write_manifest(&parse(name), &json).unwrap();
    }
    fn export(&self, names: &[&str], without: &HashSet<Digest>) -> Vec<u8> {
        let names: Vec<ModelName> = names.iter().map(|name| parse(name)).collect();
        let export = self.store.plan_export(&names, without).unwrap();
        let mut bytes = Vec::new();
        export.write(&mut bytes).unwrap();
        assert_eq!(export.n_bytes(), bytes.len() as u64);
        bytes
    }
    fn import(&self, bytes: &[u8]) -> Result<Imported, Error> {
        self.store.import(&mut &bytes[..], None)
    }
    fn names(&self) -> Vec<String> {
        let entries = self.store.list().unwrap();
        let mut names: Vec<String> = entries.iter().map(|e| e.name.to_string()).collect();
        names.sort();
        names
    }
    fn n_files(&self) -> usize {
        fs::read_dir(self.store.root().join("blobs"))
            .unwrap()
            .count()
    }
}

#[track_caller]
fn parse(name: &str) -> ModelName {
    name.parse().unwrap()
}

/// Path and contents of each file of an archive.
type Files = Vec<(String, Vec<u8>)>;

/// The files of a bundle.
fn files(mut bytes: &[u8]) -> Files {
    let mut reader = tar::Reader::new(&mut bytes);
    let mut files = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        let mut contents = Vec::new();
        reader.read_to_end(&mut contents).unwrap();
        files.push((entry.path, contents));
    }
    files
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, contents) in files {
        bytes.extend(tar::header(path, contents.len() as u64));
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(tar::BLOCK_BYTES), 0);
    }
    bytes.extend(tar::END);
    bytes
}

#[test]
fn models_arrive_as_they_left_and_the_same_models_give_the_same_bytes() {
    let (here, there) = (Home::new(), Home::new());
    here.model("a", &[b"weights", b"shared"]);
    here.model("me/b:v1", &[b"other", b"shared"]);
    let bytes = here.export(&["a", "me/b:v1"], &HashSet::new());
    assert_eq!(bytes, here.export(&["ME/B:v1", "a", "a"], &HashSet::new()));

    let imported = there.import(&bytes).unwrap();
    assert_eq!(imported.models, [parse("a"), parse("me/b:v1")]);
    assert_eq!(imported.n_new_blobs, 5);
    for name in ["a", "me/b:v1"] {
        let json = |home: &Home| home.store.manifest_json(&parse(name)).unwrap();
        assert_eq!(json(&here), json(&there));
    }
    for blob in there.store.blobs().unwrap() {
        there.store.verify_blob(&blob.digest).unwrap();
    }
    let again = there.import(&bytes).unwrap();
    assert_eq!((again.n_new_blobs, again.n_new_bytes), (0, 0));
    // nothing keeps the blobs but the models
    for name in ["a", "me/b:v1"] {
        there.store.remove(&parse(name)).unwrap();
    }
    assert_eq!(there.n_files(), 0);
}

#[test]
fn a_bundle_is_an_oci_image_layout() {
    let home = Home::new();
    home.model("me/m:t", &[b"weights"]);
    let files = files(&home.export(&["me/m:t"], &HashSet::new()));
    assert_eq!(
        files[0],
        (
            "oci-layout".into(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()
        )
    );
    let json = home.store.manifest_json(&parse("me/m:t")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&files[1].1).unwrap();
    assert_eq!(
        index,
        serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "digest": Digest::of(&json).to_string(),
                "size": json.len(),
                "annotations": {"org.opencontainers.image.ref.name": "me/m:t"},
            }],
        })
    );
    for (path, contents) in &files[2..] {
        assert_eq!(
            *path,
            format!("blobs/sha256/{}", Digest::of(contents).hex())
        );
    }
    assert_eq!(files.len(), 5, "layout, index, manifest, config, weights");
}

#[test]
fn the_order_in_an_archive_does_not_matter() {
    let (here, there) = (Home::new(), Home::new());
    here.model("a", &[b"weights"]);
    let mut files = files(&here.export(&["a"], &HashSet::new()));
    files.reverse();
    files.push(("manifest.json".into(), b"of another program".to_vec()));
    let unused = b"nobody's".to_vec();
    files.insert(
        0,
        (
            format!("blobs/sha256/{}", Digest::of(&unused).hex()),
            unused,
        ),
    );
    there.import(&archive(&files)).unwrap();
    assert_eq!(there.names(), ["a:latest"]);
    assert_eq!(
        there.n_files(),
        2,
        "neither the manifest nor what nobody uses"
    );
}

#[test]
fn what_the_other_side_has_is_left_out() {
    let (here, there) = (Home::new(), Home::new());
    here.model("a", &[b"weights", b"adapter"]);
    there.model("base", &[b"weights"]);
    let has = there
        .store
        .blobs()
        .unwrap()
        .iter()
        .map(|b| b.digest)
        .collect();
    let whole = here.export(&["a"], &HashSet::new());
    let delta = here.export(&["a"], &has);
    assert_eq!(files(&delta).len() + 1, files(&whole).len());
    assert_eq!(there.import(&delta).unwrap().n_new_blobs, 2);
    assert_eq!(there.names(), ["a:latest", "base:latest"]);

    let empty = Home::new();
    let error = empty.import(&delta).unwrap_err();
    assert!(matches!(error, Error::BundleIncomplete { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&Digest::of(b"weights").to_string()),
        "{error}"
    );
    assert_eq!(
        (empty.names().len(), empty.n_files()),
        (0, 0),
        "nothing changed"
    );
}

#[test]
fn one_model_may_get_another_name() {
    let (here, there) = (Home::new(), Home::new());
    here.model("a", &[b"1"]);
    here.model("b", &[b"2"]);
    let bytes = here.export(&["a"], &HashSet::new());
    let name = parse("mine:v2");
    there.store.import(&mut &bytes[..], Some(&name)).unwrap();
    assert_eq!(there.names(), ["mine:v2"]);
    let both = here.export(&["a", "b"], &HashSet::new());
    let error = there.store.import(&mut &both[..], Some(&name)).unwrap_err();
    assert!(error.to_string().contains("2 models"), "{error}");
}

#[test]
fn what_is_hostile_or_damaged_changes_nothing() {
    let here = Home::new();
    here.model("a", &[b"weights"]);
    let whole = here.export(&["a"], &HashSet::new());
    let there = Home::new();
    let check = |bytes: &[u8], expected: &str| {
        let error = there.import(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains('\n') && error.len() < 800, "{error}");
        assert_eq!((there.names().len(), there.n_files()), (0, 0), "{expected}");
    };
    for n_bytes in (0..whole.len() - tar::END.len()).step_by(97) {
        check(&whole[..n_bytes], "cut off");
    }
    check(b"GGUF", "cut off");
    check(&[b'x'; 4096], "no tar archive");
    let with = |change: &dyn Fn(&mut Files)| {
        let mut files = files(&whole);
        change(&mut files);
        archive(&files)
    };
    check(&with(&|f| f[4].1[0] ^= 1), "digest mismatch");
    check(&with(&|f| f[3].1.push(0)), "bytes and should have");
    check(&with(&|f| f[2].1[0] ^= 1), "digest mismatch");
    check(&with(&|f| f.push(f[4].clone())), "twice");
    check(&with(&|f| f.push(f[1].clone())), "`index.json` twice");
    check(&with(&|f| drop(f.remove(0))), "no `oci-layout`");
    check(&with(&|f| drop(f.remove(1))), "no `index.json`");
    check(&with(&|f| drop(f.remove(2))), "no manifest");
    check(&with(&|f| drop(f.remove(4))), "leaves out");
    check(&with(&|f| f[0].1 = b"{}".to_vec()), "oci-layout");
    check(&with(&|f| f[1].1 = b"[".to_vec()), "index.json");
    check(
        &with(&|f| f[4].0 = "blobs/sha256/../x".into()),
        "leads elsewhere",
    );
    check(
        &with(&|f| f[4].0 = "blobs/sha256/abc".into()),
        "no name of a blob",
    );
    let renamed = |name: &str| {
        with(&|f| {
            let text = String::from_utf8(f[1].1.clone()).unwrap();
            f[1].1 = text.replace("a:latest", name).into_bytes();
        })
    };
    check(&renamed("../../x"), "no name of a model");
    let index = |f: &mut Vec<(String, Vec<u8>)>| {
        let mut index: serde_json::Value = serde_json::from_slice(&f[1].1).unwrap();
        index["manifests"][0]["size"] = (1_u64 << 40).into();
        f[1].1 = serde_json::to_vec(&index).unwrap();
    };
    check(&with(&index), "manifests have");
    there.import(&whole).unwrap();
    assert_eq!(there.names(), ["a:latest"]);
}

#[test]
fn whatever_happens_to_the_bytes_all_is_whole_or_nothing_changes() {
    let here = Home::new();
    here.model("a", &[b"weights", &[7; 3000]]);
    here.model("b", &[b"others"]);
    let whole = here.export(&["a", "b"], &HashSet::new());
    let mut random = fastrand::Rng::with_seed(11);
    let mut n_refused = 0;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = random.u8(..),
                2 => {
                    let block = at / tar::BLOCK_BYTES * tar::BLOCK_BYTES;
                    let end = (block + tar::BLOCK_BYTES).min(bytes.len());
                    bytes.copy_within(block..end, 0);
                }
                _ => bytes[at] ^= 1 << random.u8(..8),
            }
        }
        let there = Home::new();
        match there.import(&bytes) {
            Ok(_) => {
                // names are no part of what digests protect
                assert_eq!(there.names().len(), 2);
                for blob in there.store.blobs().unwrap() {
                    there.store.verify_blob(&blob.digest).unwrap();
                }
            }
            Err(error) => {
                n_refused += 1;
                assert_eq!((there.names().len(), there.n_files()), (0, 0), "{error}");
            }
        }
    }
    assert!(n_refused > 200, "{n_refused}");
}

#[test]
fn a_damaged_blob_is_not_carried_on() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.model("a", &[b"weights"]);
    let path = home.store.blob_path(&Digest::of(b"weights"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, b"weightz").unwrap();
    let export = home
        .store
        .plan_export(&[parse("a")], &HashSet::new())
        .unwrap();
    let error = export.write(&mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[test]
fn a_bundle_of_too_many_models_is_refused_before_they_are_read() {
    let there = Home::new();
    let entries: Vec<String> = (0..1001_u32)
        .map(|idx| {
            let digest = Digest::of(&idx.to_le_bytes());
            format!(r#"{{"mediaType":"x","digest":"{digest}","size":9}}"#)
        })
        .collect();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        entries.join(",")
    );
    let files = [
        (
            LAYOUT_FILE.to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        (INDEX_FILE.to_owned(), index.into_bytes()),
    ];
    let error = there.import(&archive(&files)).unwrap_err().to_string();
    assert!(error.contains("1001 models, and at most 1000"), "{error}");
}

#[test]
fn an_import_that_stops_says_which_models_are_here() {
    let (here, there) = (Home::new(), Home::new());
    here.model("a", &[b"1"]);
    here.model("b", &[b"2"]);
    there.model("a", &[b"before"]);
    let bytes = here.export(&["a", "b"], &HashSet::new());
    let in_the_way = there
        .store
        .root()
        .join("manifests/registry.ollama.ai/library/b");
    fs::write(in_the_way, b"").unwrap();
    let error = there.import(&bytes).unwrap_err();
    assert!(error.to_string().contains("after `a"), "{error}");
    assert!(matches!(error, Error::ImportStopped { .. }));
    assert_eq!(there.names(), ["a:latest"]);
    let json = |home: &Home| home.store.manifest_json(&parse("a")).unwrap();
    assert_eq!(json(&here), json(&there));
}

#[test]
fn more_models_than_can_be_imported_are_not_exported() {
    let home = Home::new();
    home.model("m", &[b"x"]);
    let library = home
        .store
        .root()
        .join("manifests/registry.ollama.ai/library");
    let names: Vec<ModelName> = (0..1001)
        .map(|idx| {
            let folder = library.join(format!("m{idx}"));
            fs::create_dir(&folder).unwrap();
            fs::copy(library.join("m/latest"), folder.join("latest")).unwrap();
            parse(&format!("m{idx}"))
        })
        .collect();
    let plan = |names| home.store.plan_export(names, &HashSet::new());
    plan(&names[1..]).unwrap();
    let error = plan(&names).unwrap_err();
    assert!(matches!(error, Error::TooManyModels { n_models: 1001, .. }));
}

/// `cargo test --release -p slm-registry time_of_an_import -- --ignored --nocapture`, on a quiet machine: with twice the
/// models an import should take twice as long.
#[test]
#[ignore = "a measurement"]
fn time_of_an_import() {
    for n_models in [75, 150, 300, 600] {
        let (here, there) = (Home::new(), Home::new());
        let names: Vec<String> = (0..n_models).map(|n| format!("m{n}")).collect();
        for name in &names {
            let layers = ["weights", "template", "params", "licence"]
                .map(|kind| format!("{kind} of {name}"));
            here.model(name, &layers.each_ref().map(String::as_bytes));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let bytes = here.export(&names, &HashSet::new());
        for what in ["an import", "the same again"] {
            let start = std::time::Instant::now();
            there.import(&bytes).unwrap();
            let seconds = start.elapsed().as_secs_f64();
            let each = seconds * 1000.0 / f64::from(n_models);
            println!("{what} of {n_models} models: {seconds:.2} s, {each:.2} ms each");
        }
    }
}
