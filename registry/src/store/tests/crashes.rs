//! A random life of a store, looked at between any two changes of the disk: what a crash would leave there is whole.
use super::{archive::locations, *};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// Names with the digests of their manifests.
type Models = BTreeMap<String, Digest>;

fn models(store: &Store) -> Models {
    let entries = store.list().unwrap();
    entries
        .into_iter()
        .map(|entry| (entry.name.to_string(), entry.digest))
        .collect()
}

/// What each could be rolled back to.
fn earlier(store: &Store, models: &Models) -> Models {
    let mut found = Models::new();
    for (name, digest) in models {
        let versions = versions::earlier(&store.shared, &parse(name), digest).unwrap();
        found.extend(
            versions
                .first()
                .map(|version| (name.clone(), version.digest)),
        );
    }
    found
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => {
                fs::copy(entry.path(), &target).unwrap();
                // Which version is the last shows in when it was written.
                let modified = entry.metadata().unwrap().modified().unwrap();
                File::open(target).unwrap().set_modified(modified).unwrap();
            }
        }
    }
}

/// What the next process finds after a crash.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    models: Models,
    earlier: Models,
}

impl Found {
    fn in_store(store: &Store) -> Self {
        let models = models(store);
        let earlier = earlier(store, &models);
        Self { models, earlier }
    }
}

/// Opens a copy of what a crash left, and checks what ARCHITECTURE.md promises of it.
fn recover(folder: &Path) -> Found {
    let root = &folder.join("models");
    // The archive is the copy's.
    let owner = folder.join("big/slm-archive");
    if owner.exists() {
        let canonical = fs::canonicalize(root).unwrap();
        fs::write(owner, canonical.display().to_string()).unwrap();
    }
    let store = Store::open_without_index(locations(folder, "big")).unwrap();
    let mut problems = Vec::new();
    let take = |event| {
        if let VerifyEvent::Problem(problem) = event {
            problems.push(problem);
        }
    };
    let never = std::sync::atomic::AtomicBool::new(false);
    store.verify(&[], &never, take).unwrap();
    assert_eq!(problems, []);
    let found = Found::in_store(&store);
    let folders = ["blobs", "manifests", ".slm/versions", "../big/blobs"];
    let folders = folders.map(|folder| root.join(folder));
    let folders = || folders.iter().filter(|folder| folder.exists());
    for folder in folders() {
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name} was left behind");
        }
    }
    // What is kept of earlier versions can be gone back to, whatever is thrown away before.
    let limits = GcLimits {
        version_age: Duration::from_secs(3600),
        ..AT_ONCE
    };
    store.collect_garbage(&limits, false).unwrap();
    for (name, digest) in &found.earlier {
        assert_eq!(store.roll_back(&parse(name)).unwrap(), *digest);
    }
    let again = store.collect_garbage(&AT_ONCE, true).unwrap();
    assert_eq!(again.partials, []);
    for name in found.models.keys() {
        store.remove(&parse(name)).unwrap();
    }
    store.collect_garbage(&AT_ONCE, false).unwrap();
    for folder in folders() {
        // Folders that a file was about to come into may stay.
        assert_eq!(n_files(folder), 0, "{}", folder.display());
    }
    found
}

/// Does something to a random model.
fn act(home: &Home, random: &mut fastrand::Rng) -> String {
    let name = format!("m{}", random.u8(..3));
    let layers: Vec<String> = (0..random.usize(1..3))
        .map(|_| format!("layer {}", random.u8(..5)))
        .collect();
    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    let what = random.u8(..10);
    match what {
        0..=2 => drop(home.model(&name, &layers)),
        3 => drop(home.store.copy(&parse(&name), &parse("m1"))),
        4 => drop(home.store.remove(&parse(&name))),
        5 => drop(home.store.roll_back(&parse(&name))),
        6 => {
            let limits = match random.bool() {
                true => AT_ONCE,
                false => GcLimits::default(),
            };
            home.store.collect_garbage(&limits, false).unwrap();
        }
        8 => drop(home.store.archive(&parse(&name), &mut |_, _, _| {})),
        9 => drop(home.store.unarchive(&parse(&name), &mut |_, _, _| {})),
        _ => {
            // A new file each time: the blob may be a link to it.
            let file = format!("file-{:016x}", random.u64(..));
            let file = home.outside(&file, layers.concat().as_bytes());
            let digest = home.store.ingest_file(&file, None).unwrap();
            let config = home.blob(b"{}");
            let model = Descriptor {
                media_type: MediaType::Model,
                digest,
                size: layers.concat().len() as u64,
            };
            let manifest = Manifest {
                config,
                layers: vec![model],
            };
            let provenance = Provenance::now(crate::Via::Create);
            home.store
                .write_manifest_from(&parse(&name), &manifest.to_json(), Some(&provenance))
                .unwrap();
        }
    }
    format!("{what} with {name}")
}

/// A folder in memory where there is such a place: thousands of stores are opened here, and none is to outlive the machine.
fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn live(seed: u64, n_acts: usize) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = quick_folder();
    fs::create_dir(folder.path().join("big")).unwrap();
    let store = Store::open(locations(folder.path(), "big")).unwrap();
    let home = Home { folder, store };
    let root = home.folder.path().to_owned();
    let copies = quick_folder();
    let n_steps = Rc::new(RefCell::new(0));
    let mut n_looked = 0;
    for _ in 0..n_acts {
        let before = Found::in_store(&home.store);
        let first = *n_steps.borrow();
        let look = {
            let (root, copies) = (root.clone(), copies.path().to_owned());
            let n_steps = Rc::clone(&n_steps);
            move || {
                let mut n_steps = n_steps.borrow_mut();
                copy_folder(&root, &copies.join(n_steps.to_string()));
                *n_steps += 1;
            }
        };
        let act = steps::watch(look, || act(&home, &mut random));
        let after = Found::in_store(&home.store);
        for n_step in first..*n_steps.borrow() {
            let copy = copies.path().join(n_step.to_string());
            let found = std::panic::catch_unwind(|| recover(&copy));
            let found = found.unwrap_or_else(|_| panic!("seed {seed}, {act}, step {n_step}"));
            // Garbage goes model by model.
            let is_gc = act.starts_with('6');
            assert!(
                found == before || found == after || (is_gc && found.models == after.models),
                "seed {seed}, {act}, step {n_step}: {found:?} is neither {before:?} nor {after:?}"
            );
            fs::remove_dir_all(copy).unwrap();
            n_looked += 1;
        }
    }
    n_looked
}

#[test]
fn a_crash_between_any_two_steps_leaves_the_store_as_before_or_as_after() {
    let n_looked: usize = (0..5).map(|seed| live(seed, 20)).sum();
    println!("looked at {n_looked} moments");
    assert!(n_looked > 800, "{n_looked}");
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn a_crash_between_any_two_steps_of_long_lives() {
    let n_looked: usize = (100..120).map(|seed| live(seed, 50)).sum();
    println!("looked at {n_looked} moments");
}
