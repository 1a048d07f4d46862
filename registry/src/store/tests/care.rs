//! Versions, provenance, garbage, use of the disk, verification.
use super::*;
use crate::{Original, Via};
use std::sync::atomic::AtomicBool;

fn provenance(source: &str) -> Provenance {
    Provenance {
        source: Some(source.to_owned()),
        revision: Some("1".to_owned()),
        originals: vec![Original {
            name: "manifest".to_owned(),
            digest: Digest::of(b"x"),
        }],
        license: Some("apache-2.0".to_owned()),
        ..Provenance::now(Via::Pull)
    }
}

impl Home {
    fn digest(&self, name: &str) -> Digest {
        self.store.find(&parse(name)).unwrap().digest
    }
    fn note(&self, name: &str, source: &str) {
        let json = self.store.manifest_json(&parse(name)).unwrap();
        self.store
            .write_manifest_from(&parse(name), &json, Some(&provenance(source)))
            .unwrap();
    }
    fn source(&self, name: &str) -> Option<String> {
        let provenance = self.store.provenance(&parse(name)).unwrap();
        provenance.and_then(|provenance| provenance.source)
    }
    fn problems(&self, names: &[&str]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let names: Vec<ModelName> = names.iter().map(|name| parse(name)).collect();
        let take = |event| {
            if let VerifyEvent::Problem(problem) = event {
                problems.push(problem);
            }
        };
        let verified = self
            .store
            .verify(&names, &AtomicBool::new(false), take)
            .unwrap();
        assert_eq!(verified.n_problems, problems.len());
        problems.sort_by_key(|problem| problem.digest);
        problems
    }
    fn damage(&self, digest: &Digest, bytes: &[u8]) {
        let path = self.store.blob_path(digest);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    fn versions(&self) -> usize {
        n_files(&self.store.root().join(".slm/versions"))
    }
}

#[test]
fn rolling_back_twice_is_as_before_and_no_blob_goes() {
    let home = Home::new();
    let one = home.model("m", &["shared", "one"]);
    home.note("m", "h/n/m:1");
    let first = home.digest("m");
    let error = home.store.roll_back(&parse("m")).unwrap_err();
    assert!(matches!(error, Error::NoEarlierVersion { .. }), "{error}");
    let two = home.model("M", &["shared", "two"]);
    home.note("m", "h/n/m:2");
    let second = home.digest("m");
    for (digest, source) in [(first, "h/n/m:1"), (second, "h/n/m:2"), (first, "h/n/m:1")] {
        assert_eq!(home.store.roll_back(&parse("m")).unwrap(), digest);
        assert_eq!(home.digest("m"), digest);
        assert_eq!(home.source("m").as_deref(), Some(source));
        assert!(one.iter().chain(&two).all(|blob| home.store.has_blob(blob)));
    }
    // A third version ends the life of the one before the last.
    let three = home.model("m", &["three"]);
    assert!(!home.store.has_blob(&two[1]) && home.store.has_blob(&one[1]));
    assert_eq!(home.store.roll_back(&parse("m")).unwrap(), first);
    assert!(home.store.has_blob(&three[0]));
    // Writing the same again replaces nothing.
    let json = home.store.manifest_json(&parse("m")).unwrap();
    home.store.write_manifest(&parse("m"), &json).unwrap();
    assert!(home.store.has_blob(&three[0]));
    home.store.remove(&parse("m")).unwrap();
    assert_eq!(home.files("blobs"), [""; 0]);
    assert_eq!(home.versions(), 0);
}

#[test]
fn a_kill_between_the_steps_of_a_replacement_loses_no_version() {
    let home = Home::new();
    home.model("m", &["one"]);
    let first = home.digest("m");
    let json = home.store.manifest_json(&parse("m")).unwrap();
    // Killed after the current version was kept and before the next was written.
    let guard = home.store.shared.lock().unwrap();
    versions::keep(&home.store.shared, &guard, &parse("m"), &json).unwrap();
    drop(guard);
    let error = home.store.roll_back(&parse("m")).unwrap_err();
    assert!(matches!(error, Error::NoEarlierVersion { .. }), "{error}");
    home.model("m", &["two"]);
    assert_eq!(home.store.roll_back(&parse("m")).unwrap(), first);
}

#[test]
fn a_clock_that_is_set_back_does_not_change_which_version_is_the_last() {
    let home = Home::new();
    home.model("m", &["one"]);
    home.model("m", &["two"]);
    let folder = versions::root(&home.store.shared).join("registry.ollama.ai/library/m/latest");
    for entry in fs::read_dir(folder).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(1000))
            .unwrap();
    }
    let second = home.digest("m");
    home.model("m", &["three"]);
    assert_eq!(home.store.roll_back(&parse("m")).unwrap(), second);
}

#[test]
fn an_earlier_version_that_lacks_a_blob_is_refused_and_a_damaged_one_is_none() {
    let home = Home::new();
    let one = home.model("m", &["one"]);
    let first = home.digest("m");
    home.model("m", &["two"]);
    let second = home.digest("m");
    fs::remove_file(home.store.blob_path(&one[0])).unwrap();
    let error = home.store.roll_back(&parse("m")).unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
    let kept = home
        .store
        .root()
        .join(".slm/versions/registry.ollama.ai/library/m/latest")
        .join(first.file_name());
    fs::write(kept, b"{}").unwrap();
    let error = home.store.roll_back(&parse("m")).unwrap_err();
    assert!(matches!(error, Error::Manifest { .. }), "{error}");
    assert_eq!(home.digest("m"), second);
    home.model("n", &["n"]);
    home.store.remove(&parse("n")).unwrap();
    assert_eq!(home.names(), ["m:latest"]);
}

#[test]
fn where_a_model_came_from_goes_with_copies_and_leaves_with_the_model() {
    let home = Home::new();
    home.model("m", &["one"]);
    assert_eq!(home.source("m"), None);
    let digest = home.digest("m");
    home.note("m", "h/n/m:1");
    assert_eq!(home.digest("m"), digest, "it is beside the manifest");
    home.store.copy(&parse("m"), &parse("c")).unwrap();
    let noted = home.store.provenance(&parse("C")).unwrap().unwrap();
    let expected = Provenance {
        time: noted.time,
        ..provenance("h/n/m:1")
    };
    assert_eq!(noted, expected);
    home.store.remove(&parse("m")).unwrap();
    assert_eq!(home.source("c").as_deref(), Some("h/n/m:1"));
    home.store.remove(&parse("c")).unwrap();
    assert_eq!(home.versions(), 0);
    home.model("m", &["one"]);
    assert_eq!(home.source("m"), None, "a new model of that name");
}

#[test]
fn garbage_is_shown_first_and_what_is_in_use_is_none() {
    let home = Home::new();
    let one = home.model("m", &["one"]);
    let first = home.digest("m");
    home.model("m", &["two"]);
    let blobs = home.store.root().join("blobs");
    let partial = |text: &[u8]| blobs.join(format!("{}-partial", Digest::of(text).file_name()));
    for text in [&b"idle"[..], b"locked", b"pinned"] {
        fs::write(partial(text), [1; 5000]).unwrap();
        fs::write(journal_of(&partial(text)), b"j").unwrap();
    }
    let locked = File::open(partial(b"locked")).unwrap();
    locked.lock().unwrap();
    let pin = home.store.pin(&[Digest::of(b"pinned")]).unwrap();
    let orphan = Digest::of(b"orphan");
    fs::write(home.store.blob_path(&orphan), b"orphan").unwrap();
    home.store
        .ingest(&mut &b"for a model to come"[..], None)
        .unwrap();

    let nothing = home
        .store
        .collect_garbage(&GcLimits::default(), true)
        .unwrap();
    assert_eq!(nothing, Garbage::default(), "all of it is young");
    let before = home.files("blobs");
    let limits = GcLimits {
        version_age: versions::LIFETIME,
        ..AT_ONCE
    };
    let found = home.store.collect_garbage(&limits, true).unwrap();
    assert_eq!(home.files("blobs"), before, "shown only");
    assert_eq!(found.blobs, [(orphan, 6)]);
    assert_eq!(found.partials.len(), 1);
    assert_eq!(found.partials[0].digest, Digest::of(b"idle"));
    assert!(found.n_bytes() >= 5006, "{found:?}");
    assert_eq!(home.store.collect_garbage(&limits, false).unwrap(), found);
    assert!(!home.store.has_blob(&orphan) && home.store.has_blob(&one[0]));
    assert!(!partial(b"idle").exists() && !journal_of(&partial(b"idle")).exists());
    assert!(partial(b"locked").exists() && partial(b"pinned").exists());
    assert!(home.store.has_blob(&Digest::of(b"for a model to come")));

    let found = home.store.collect_garbage(&AT_ONCE, true).unwrap();
    assert_eq!(found.versions, [(parse("m"), first)]);
    assert_eq!(found.blobs, [(one[0], 3)]);
    assert_eq!(home.store.collect_garbage(&AT_ONCE, false).unwrap(), found);
    assert!(!home.store.has_blob(&one[0]));
    let error = home.store.roll_back(&parse("m")).unwrap_err();
    assert!(matches!(error, Error::NoEarlierVersion { .. }), "{error}");
    assert!(home.problems(&[]).is_empty());
    drop((pin, locked));
    home.store.collect_garbage(&AT_ONCE, false).unwrap();
    assert!(!partial(b"locked").exists() && !partial(b"pinned").exists());
}

fn journal_of(path: &Path) -> PathBuf {
    crate::remote::journal_path(path)
}

#[test]
fn a_manifest_that_cannot_be_read_keeps_all_blobs_and_is_named() {
    let home = Home::new();
    let orphan = Digest::of(b"orphan");
    fs::write(home.store.blob_path(&orphan), b"orphan").unwrap();
    let damaged = home.store.root().join("manifests/h/n/m");
    fs::create_dir_all(&damaged).unwrap();
    fs::write(damaged.join("t"), b"{").unwrap();
    let found = home.store.collect_garbage(&AT_ONCE, false).unwrap();
    assert_eq!(found.blocked_by, Some(parse("h/n/m:t")));
    assert!(found.blobs.is_empty() && home.store.has_blob(&orphan));
    let problems = home.problems(&[]);
    assert_eq!(problems.len(), 1);
    assert!(matches!(problems[0].trouble, Trouble::Manifest { .. }));
    assert_eq!(problems[0].models, [parse("h/n/m:t")]);
}

#[test]
fn versions_of_a_model_that_another_program_removed_are_garbage() {
    let home = Home::new();
    home.model("m", &["one"]);
    home.model("m", &["two"]);
    fs::remove_file(
        home.store
            .root()
            .join("manifests/registry.ollama.ai/library/m/latest"),
    )
    .unwrap();
    let shown = home.store.collect_garbage(&AT_ONCE, true).unwrap();
    assert_eq!(shown.versions.len(), 1);
    assert_eq!(home.store.collect_garbage(&AT_ONCE, false).unwrap(), shown);
    assert_eq!((home.files("blobs").len(), home.versions()), (0, 0));
}

#[test]
fn every_byte_on_the_disk_has_its_place() {
    let home = Home::new();
    home.model("a", &["shared", "aa"]);
    home.model("b", &["shared", "b"]);
    home.model("b", &["shared", "bbbb"]);
    fs::write(home.store.blob_path(&Digest::of(b"orphan")), b"orphan").unwrap();
    let partial = format!("{}-partial", Digest::of(b"p").file_name());
    fs::write(home.store.root().join("blobs").join(partial), [1; 4096]).unwrap();
    let usage = home.store.usage().unwrap();
    let config = r#"{"model_family":"a"}"#.len() as u64;
    let model = |idx: usize| {
        let model = &usage.models[idx];
        let name = model.name.to_string();
        (name, model.own, model.shared, model.earlier)
    };
    assert_eq!(model(0), ("a:latest".into(), 2 + config, 6, 0));
    assert_eq!(model(1), ("b:latest".into(), 4 + config, 6, 1));
    assert_eq!((usage.unreferenced, usage.earlier), (6, 1));
    assert_eq!(usage.blobs, 6 + 2 + 1 + 4 + 6 + 2 * config);
    assert_eq!(usage.partials.len(), 1);
    assert!(usage.free.is_some_and(|free| free > 0));
}

#[test]
fn what_another_models_earlier_version_keeps_is_not_a_models_own() {
    let home = Home::new();
    home.model("a", &["both"]);
    home.model("b", &["both"]);
    home.model("b", &["newer"]);
    let usage = home.store.usage().unwrap();
    let config = r#"{"model_family":"a"}"#.len() as u64;
    assert_eq!((usage.models[0].own, usage.models[0].shared), (config, 4));
    assert_eq!(usage.models[1].own, 5 + config);
}

#[test]
fn damage_is_found_named_and_told_apart() {
    let home = Home::new();
    let a = home.model("a", &["shared", "changed", "longer", "gone"]);
    let b = home.model("b", &["shared"]);
    assert!(home.problems(&[]).is_empty());
    home.damage(&a[0], b"sharet");
    home.damage(&a[1], b"Changed");
    home.damage(&a[2], b"longer than it was");
    fs::remove_file(home.store.blob_path(&a[3])).unwrap();
    let orphan = Digest::of(b"orphan");
    fs::write(home.store.blob_path(&orphan), b"no orphan").unwrap();
    let both = vec![parse("a"), parse("b")];
    let only_a = vec![parse("a")];
    let mut expected = [
        (
            a[0],
            Trouble::Damaged {
                actual: Digest::of(b"sharet"),
            },
            Some(6),
            both,
        ),
        (
            a[1],
            Trouble::Damaged {
                actual: Digest::of(b"Changed"),
            },
            Some(7),
            only_a.clone(),
        ),
        (a[2], Trouble::Size { actual: 18 }, Some(6), only_a.clone()),
        (a[3], Trouble::Missing, Some(4), only_a),
        (
            orphan,
            Trouble::Damaged {
                actual: Digest::of(b"no orphan"),
            },
            Some(9),
            vec![],
        ),
    ]
    .map(|(digest, trouble, size, models)| Problem {
        trouble,
        digest: Some(digest),
        size,
        models,
    });
    expected.sort_by_key(|problem| problem.digest);
    let mut problems = home.problems(&[]);
    for problem in &mut problems {
        problem.models.sort();
    }
    assert_eq!(problems, expected);
    let of_b = home.problems(&["b"]);
    assert_eq!(of_b.len(), 1);
    assert_eq!(
        (of_b[0].digest, &of_b[0].models),
        (Some(b[0]), &vec![parse("b")])
    );
    let error = home
        .store
        .verify(&[parse("none")], &AtomicBool::new(false), |_| {})
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[test]
fn verification_tells_how_far_it_is_and_can_be_stopped() {
    let home = Home::new();
    let large: String = "0123456789".repeat(500_000);
    home.model("a", &[&large, "small"]);
    let mut last = 0;
    let watch = |event| {
        if let VerifyEvent::Bytes { completed, total } = event {
            assert!(
                completed > last && completed <= total,
                "{completed} of {total}"
            );
            last = completed;
        }
    };
    let verified = home
        .store
        .verify(&[], &AtomicBool::new(false), watch)
        .unwrap();
    assert_eq!((verified.n_models, verified.n_blobs), (1, 3));
    assert_eq!(last, verified.n_bytes);
    let is_cancelled = AtomicBool::new(false);
    let mut n_events = 0;
    let cancel = |_| {
        n_events += 1;
        is_cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    home.store.verify(&[], &is_cancelled, cancel).unwrap();
    assert!(n_events < 5, "{n_events}");
}
