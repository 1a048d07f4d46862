//! Models without a network: exported and imported, adopted from other programs, moved to an archive, in several files.

use serde_json::{Value, json};
use slm_tests::{Daemon, Home, Running, golden_model, sha256_hex, split_gguf, store_problems};
use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

const MB: usize = 1 << 20;
/// Kills per kind of work.
const N_KILLS: u32 = 12;

fn names(daemon: &Daemon) -> Vec<String> {
    let tags = daemon.http().get("/api/tags").expect(200).json();
    let models = tags["models"].as_array().expect("a list").iter();
    let mut names: Vec<String> = models
        .map(|model| model["name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

#[track_caller]
fn is_whole(home: &Home, when: &str) {
    assert_eq!(
        store_problems(&home.models()),
        Vec::<String>::new(),
        "{when}"
    );
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// One of the tiny models with so many bytes of metadata more, so that what takes long takes a while.
fn padded_model(home: &Home, n_bytes: usize) -> PathBuf {
    let mut bytes = fs::read(golden_model("llama")).expect("a golden file");
    bytes.resize(bytes.len() + n_bytes, 0);
    home.write("padded.gguf", bytes)
}

/// What a model answers to a fixed prompt.
fn answer(daemon: &Daemon, model: &str) -> Value {
    let request = json!({
        "model": model, "prompt": "once upon", "raw": true, "stream": false,
        "options": {"temperature": 0, "num_predict": 8},
    });
    let answer = daemon.http().post("/api/generate", &request);
    answer.expect(200).json()["response"].clone()
}

fn with_argument(mut shell: Command, program: &Command) -> Command {
    shell.arg(program.get_program());
    shell
}

fn tar(arguments: &[&str]) -> String {
    let output = Command::new("tar").args(arguments).output();
    let output = output.expect("tar is on every system");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("names are text")
}

#[test]
fn a_model_travels_as_a_file() {
    let (mut here, mut there) = (Home::new(), Home::new());
    let daemon = Daemon::start(&mut here);
    here.create("boats", &golden_model("llama"));
    here.create("me/other:v1", &golden_model("qwen2"));
    let file = text(&here.path().join("models.tar"));
    here.slm(&["export", "boats", "me/other:v1", "-o", &file])
        .ok();
    // the same without a daemon, and in a pipe
    let same = text(&here.path().join("same.tar"));
    here.slmd(&["export", "me/other:v1", "boats", "-o", &same])
        .ok();
    assert_eq!(fs::read(&file).unwrap(), fs::read(&same).unwrap());
    let slm = here.slm_command::<&str>(&[]);
    let mut shell = here.command("sh");
    shell.args(["-c", "\"$0\" export boats -o - > piped.tar"]);
    Running::start(with_argument(shell, &slm), b"")
        .finish()
        .ok();
    here.slm(&["export", "boats", "-o", &same]).ok();
    let piped = fs::read(here.path().join("piped.tar")).unwrap();
    assert_eq!(piped, fs::read(&same).unwrap());

    // another program reads it
    let listed = tar(&["-tf", &file]);
    let index: Value = serde_json::from_str(&tar(&["-xOf", &file, "index.json"])).unwrap();
    let layout: Value = serde_json::from_str(&tar(&["-xOf", &file, "oci-layout"])).unwrap();
    assert_eq!(layout, json!({"imageLayoutVersion": "1.0.0"}));
    for descriptor in index["manifests"].as_array().unwrap() {
        let path = |digest: &Value| digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
        let path_of_manifest = path(&descriptor["digest"]);
        let manifest = tar(&["-xOf", &file, &path_of_manifest]);
        assert_eq!(
            path_of_manifest,
            format!("blobs/sha256/{}", sha256_hex(manifest.as_bytes()))
        );
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(descriptor["mediaType"], manifest["mediaType"]);
        for blob in manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .chain([&manifest["config"]])
        {
            let path = path(&blob["digest"]);
            assert!(
                listed.lines().any(|line| line == path),
                "{path} is not in\n{listed}"
            );
        }
    }
    let names_in = |index: &Value| {
        let manifests = index["manifests"].as_array().unwrap().iter();
        let name = "org.opencontainers.image.ref.name";
        let names = manifests.map(|m| m["annotations"][name].as_str().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    assert_eq!(names_in(&index), ["boats:latest", "me/other:v1"]);

    let other = Daemon::start(&mut there);
    there.slm(&["import", &file]).ok();
    assert_eq!(names(&other), ["boats:latest", "me/other:v1"]);
    is_whole(&there, "after the import");
    assert_eq!(answer(&daemon, "boats"), answer(&other, "boats"));
    for name in ["boats", "me/other:v1"] {
        let digest = |daemon: &Daemon| {
            let tags = daemon.http().get("/api/tags").json();
            let models = tags["models"].as_array().unwrap().clone();
            let model = models
                .into_iter()
                .find(|m| m["name"].as_str().unwrap().starts_with(name));
            model.unwrap()["digest"].clone()
        };
        assert_eq!(digest(&daemon), digest(&other), "{name}");
    }
    there.slm(&["import", &same, "--as", "ships:v2"]).ok();
    assert!(names(&other).contains(&"ships:v2".to_owned()));
    there
        .slm(&["import", &file, "--as", "x"])
        .refused()
        .complains(&["2 models"]);
    there
        .slm(&["export", "boatz", "-o", "x.tar"])
        .refused()
        .complains(&["not found", "boats"]);
    assert!(!there.path().join("x.tar").exists());
}

#[test]
fn a_delta_leaves_out_what_the_other_side_has() {
    let (mut here, mut there) = (Home::new(), Home::new());
    let _daemon = Daemon::start(&mut here);
    here.create("boats", &golden_model("llama"));
    let modelfile = here.write("Modelfile", "FROM boats\nSYSTEM be brief\n");
    here.slm(&["create", "brief", "-f", &text(&modelfile)]).ok();
    there.slmd(&["pull", &text(&golden_model("llama"))]).ok();
    let daemon = Daemon::start(&mut there);
    let digests = there.slm(&["list", "--digests"]).ok().stdout;
    let weights = sha256_hex(&fs::read(golden_model("llama")).unwrap());
    assert!(
        digests
            .lines()
            .any(|line| line == format!("sha256:{weights}")),
        "{digests}"
    );

    let list = text(&here.write("has", digests));
    here.slm(&["export", "brief", "--without", &list, "-o", "delta.tar"])
        .ok();
    let delta = here.path().join("delta.tar");
    let n_bytes = fs::metadata(&delta).unwrap().len();
    assert!(n_bytes < 20_000, "{n_bytes}");
    there.slm(&["import", &text(&delta)]).ok();
    is_whole(&there, "after the delta");
    let shown = daemon.http().post("/api/show", &json!({"model": "brief"}));
    assert_eq!(shown.expect(200).json()["system"], "be brief");

    let mut empty = Home::new();
    let refusal = empty.slmd(&["import", &text(&delta)]).refused();
    refusal.complains(&["leaves out", &weights, "--without"]);
    let daemon = Daemon::start(&mut empty);
    empty
        .slm(&["import", &text(&delta)])
        .refused()
        .complains(&["leaves out", &weights]);
    assert_eq!(names(&daemon), Vec::<String>::new());
    assert!(
        fs::read_dir(empty.models().join("blobs"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn a_damaged_bundle_is_refused_in_a_sentence() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let model = padded_model(&home, 8 * MB);
    home.create("boats", &model);
    home.slm(&["export", "boats", "-o", "whole.tar"]).ok();
    home.slm(&["rm", "boats"]).ok();
    let whole = fs::read(home.path().join("whole.tar")).unwrap();
    let check = |name: &str, bytes: Vec<u8>, words: &[&str]| {
        let path = text(&home.write(name, bytes));
        for finished in [home.slm(&["import", &path]), home.slmd(&["import", &path])] {
            finished.refused().complains(words);
        }
        assert_eq!(names(&daemon), Vec::<String>::new());
        is_whole(&home, name);
    };
    check("cut.tar", whole[..whole.len() / 2].to_vec(), &["cut off"]);
    let mut flipped = whole.clone();
    let at = whole.len() - 4 * MB;
    flipped[at] ^= 1;
    check("flipped.tar", flipped, &["digest mismatch"]);
    check("none.tar", vec![b'x'; 9 * MB], &["no tar archive"]);
    check("empty.tar", vec![0; 1024], &["index.json"]);
    // the first entry is wrong and much follows: the answer must come through all the same
    let mut first = whole.clone();
    first[..3].copy_from_slice(b"../");
    check(
        "first.tar",
        first,
        &["no tar archive, or a header in it is damaged"],
    );
    home.slm(&["import", "whole.tar"]).ok();
    assert_eq!(names(&daemon), ["boats:latest"]);
}

#[test]
fn kill_during_an_import() {
    let mut source = Home::new();
    let model = padded_model(&source, 48 * MB);
    let daemon = Daemon::start(&mut source);
    source.create("boats", &model);
    source.slm(&["export", "boats", "-o", "boats.tar"]).ok();
    drop(daemon);
    let file = text(&source.path().join("boats.tar"));

    let first = Home::new();
    let begin = Instant::now();
    first.slmd(&["import", &file]).ok();
    let whole = begin.elapsed();
    let mut home = Home::new();
    let mut n_interrupted = 0;
    for round in 0..N_KILLS {
        let delay = whole.mul_f64(f64::from(round + 1) / f64::from(N_KILLS));
        if round % 2 == 0 {
            let daemon = Daemon::start(&mut home);
            let import = Running::start(home.slm_of_the_daemon(&["import", &file]), b"");
            thread::sleep(delay);
            daemon.kill();
            drop(import);
        } else {
            let import = Running::start(home.slmd_command(&["import", &file]), b"");
            thread::sleep(delay);
            drop(import); // kills
        }
        is_whole(&home, &format!("round {round}"));
        let manifest = home
            .models()
            .join("manifests/registry.ollama.ai/library/boats/latest");
        if manifest.exists() {
            home = Home::new();
        } else {
            n_interrupted += 1;
        }
    }
    println!("{n_interrupted} of {N_KILLS} imports were interrupted");
    assert!(n_interrupted > 0, "no kill hit an import");
    let daemon = Daemon::start(&mut home);
    home.slm(&["import", &file]).ok();
    is_whole(&home, "at the end");
    assert_eq!(names(&daemon), ["boats:latest"]);
}

#[test]
fn imports_beside_a_daemon_and_each_other_are_safe() {
    let mut source = Home::new();
    let model = padded_model(&source, 24 * MB);
    let daemon = Daemon::start(&mut source);
    source.create("boats", &model);
    source.slm(&["export", "boats", "-o", "boats.tar"]).ok();
    drop(daemon);
    let file = text(&source.path().join("boats.tar"));
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let imports: Vec<Running> = (0..4)
        .map(|i| {
            let name = format!("boats:v{i}");
            let arguments = ["import", &file, "--as", &name];
            let command = if i % 2 == 0 {
                home.slm_command(&arguments)
            } else {
                home.slmd_command(&arguments)
            };
            Running::start(command, b"")
        })
        .collect();
    // removing one of them while others come must not take their blobs
    while !names(&daemon).iter().any(|name| name.starts_with("boats")) {
        thread::sleep(Duration::from_millis(5));
    }
    let first = names(&daemon)[0].clone();
    home.slm(&["rm", &first]).ok();
    for import in imports {
        import.finish().ok();
    }
    is_whole(&home, "after four imports and a removal");
    let mut expected: Vec<String> = (0..4).map(|i| format!("boats:v{i}")).collect();
    expected.retain(|name| *name != first);
    assert_eq!(names(&daemon), expected);
    // a second daemon on the same store is turned away
    let mut second = home.slmd_command(&["serve"]);
    second.env("SLM_HOST", format!("127.0.0.1:{}", slm_tests::free_port()));
    Running::start(second, b"")
        .finish()
        .refused()
        .complains(&["in use by another process"]);
}

#[test]
fn paths_are_those_of_plain_files() {
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);
    home.create("boats", &golden_model("llama"));
    let modelfile = format!(
        "FROM boats\nADAPTER {}\n",
        text(&golden_model("lora-llama-r8"))
    );
    let modelfile = text(&home.write("Modelfile", modelfile));
    home.slm(&["create", "tuned", "-f", &modelfile]).ok();
    let path = home.slm(&["path", "boats"]).ok().stdout;
    assert_eq!(
        fs::read(path.trim_end()).unwrap(),
        fs::read(golden_model("llama")).unwrap()
    );
    assert_eq!(home.slmd(&["path", "BOATS"]).ok().stdout, path);
    let adapter = home.slm(&["path", "tuned", "--adapter"]).ok().stdout;
    assert_eq!(
        fs::read(adapter.trim_end()).unwrap(),
        fs::read(golden_model("lora-llama-r8")).unwrap()
    );
    let all = home.slm(&["path", "tuned", "--format", "json"]).ok().stdout;
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all["files"][0]["path"], path.trim_end());
    assert_eq!(all["files"][1]["kind"], "adapter");
    home.slm(&["path", "boats", "--adapter"])
        .refused()
        .complains(&["no adapter"]);
    home.slm(&["path", "none"])
        .refused()
        .complains(&["not found"]);
}

/// A store of Ollama and a cache of Hugging Face in this home, as these programs keep them.
fn foreign_models(home: &Home, weights: &[u8]) -> Vec<PathBuf> {
    let ollama = home.path().join(".ollama/models");
    let theirs = Home::new();
    let source = theirs.write("m.gguf", weights);
    let mut command = theirs.slmd_command(&["pull", &text(&source)]);
    command.env("SLM_MODELS", &ollama);
    Running::start(command, b"").finish().ok();
    fs::remove_dir_all(ollama.join(".slm")).expect("a temporary home is writable");
    let manifests = ollama.join("manifests");
    fs::create_dir_all(manifests.join("registry.ollama.ai/library/theirs"))
        .expect("a temporary home is writable");
    fs::rename(
        manifests.join("localhost/files/m/latest"),
        manifests.join("registry.ollama.ai/library/theirs/1b"),
    )
    .expect("a temporary home is writable");
    fs::remove_dir_all(manifests.join("localhost")).expect("a temporary home is writable");
    let digest = sha256_hex(weights);
    let blob = ollama.join("blobs").join(format!("sha256-{digest}"));
    fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("a temporary home is writable");

    let repo = home.path().join(".cache/huggingface/hub/models--u--r-GGUF");
    fs::create_dir_all(repo.join("blobs")).expect("a temporary home is writable");
    fs::create_dir_all(repo.join("snapshots/rev")).expect("a temporary home is writable");
    let bytes = fs::read(golden_model("qwen2")).expect("a temporary home is writable");
    let cached = repo.join("blobs").join(sha256_hex(&bytes));
    fs::write(&cached, bytes).expect("a temporary home is writable");
    symlink(&cached, repo.join("snapshots/rev/r-Q4_0.gguf")).expect("a temporary home is writable");
    vec![blob, cached]
}

fn state(paths: &[PathBuf]) -> Vec<(u64, u64, u32, i64, String)> {
    let state = |path: &PathBuf| {
        let meta = fs::metadata(path).expect("it is still there");
        let digest = sha256_hex(&fs::read(path).expect("a temporary home is writable"));
        (
            meta.ino(),
            meta.nlink(),
            meta.mode(),
            meta.mtime_nsec(),
            digest,
        )
    };
    paths.iter().map(state).collect()
}

#[test]
fn models_of_other_programs_are_used_where_they_lie() {
    let mut home = Home::new();
    let weights = fs::read(padded_model(&home, 2 * MB)).unwrap();
    let theirs = foreign_models(&home, &weights);
    let before = state(&theirs);
    let daemon = Daemon::start(&mut home);
    let listed = home.slm(&["adopt"]).ok();
    for word in [
        "theirs:1b",
        "hf.co/u/r-GGUF:Q4_0",
        "ollama",
        "huggingface",
        "new",
    ] {
        assert!(listed.stdout.contains(word), "{word}: {listed:?}");
    }
    assert_eq!(
        names(&daemon),
        Vec::<String>::new(),
        "nothing is changed yet"
    );
    home.slm(&["adopt", "ollama", "none"])
        .refused()
        .complains(&["not among"]);
    home.slm(&["adopt", "ollama", "theirs:1b"]).ok();
    assert_eq!(names(&daemon), ["theirs:1b"]);
    home.slm(&["adopt", "--yes"]).ok();
    assert_eq!(names(&daemon), ["hf.co/u/r-GGUF:Q4_0", "theirs:1b"]);
    assert_eq!(
        state(&theirs),
        before,
        "the other programs' files are as they were"
    );
    home.create("boats", &golden_model("llama"));
    assert_eq!(answer(&daemon, "theirs:1b"), answer(&daemon, "boats"));
    answer(&daemon, "hf.co/u/r-GGUF:Q4_0");
    let folder = home.path().join("mine");
    fs::create_dir(&folder).unwrap();
    fs::copy(golden_model("mistral"), folder.join("plain.gguf")).unwrap();
    home.slm(&["adopt", &text(&folder), "--yes"]).ok();
    answer(&daemon, "plain");

    // a file that changes is refused by name, not computed with
    let path = home.slm(&["path", "plain"]).ok().stdout;
    if path.trim_end() == text(&folder.join("plain.gguf").canonicalize().unwrap()) {
        home.slm(&["stop", "plain"]).ok();
        fs::write(folder.join("plain.gguf"), b"GGUF of another day").unwrap();
        let answer = daemon
            .http()
            .post("/api/generate", &json!({"model": "plain", "prompt": "x"}));
        assert!(
            answer
                .error()
                .contains("which a model uses by reference, has changed"),
            "{answer:?}"
        );
        home.slm(&["path", "plain"])
            .refused()
            .complains(&["has changed"]);
    }
    home.slm(&["rm", "theirs:1b"]).ok();
    assert_eq!(
        state(&theirs),
        before,
        "a removal removes nothing of theirs"
    );
}

#[test]
fn kill_during_an_adoption() {
    let mut home = Home::new();
    let weights = fs::read(padded_model(&home, 48 * MB)).unwrap();
    let theirs = foreign_models(&home, &weights);
    let before = state(&theirs);
    let daemon = Daemon::start(&mut home);
    let begin = Instant::now();
    home.slm(&["adopt", "ollama", "--yes"]).ok();
    let whole = begin.elapsed();
    home.slm(&["rm", "theirs:1b"]).ok();
    daemon.kill();
    for round in 0..N_KILLS {
        let daemon = Daemon::start(&mut home);
        let adopt = Running::start(home.slm_of_the_daemon(&["adopt", "ollama", "--yes"]), b"");
        thread::sleep(whole.mul_f64(f64::from(round + 1) / f64::from(N_KILLS)));
        daemon.kill();
        drop(adopt);
        assert_eq!(state(&theirs), before, "round {round}");
        let daemon = Daemon::start(&mut home);
        if names(&daemon) == ["theirs:1b"] {
            answer(&daemon, "theirs:1b");
            home.slm(&["rm", "theirs:1b"]).ok();
        }
        daemon.kill();
    }
    let daemon = Daemon::start(&mut home);
    home.slm(&["adopt", "ollama", "--yes"]).ok();
    answer(&daemon, "theirs:1b");
    assert_eq!(state(&theirs), before);
}

#[test]
fn weights_move_to_a_slower_disk_and_models_run_from_a_shared_store() {
    let mut home = Home::new();
    let shared = Home::new();
    shared.slmd(&["pull", &text(&golden_model("qwen2"))]).ok();
    let archive = home.path().join("big");
    home.set("SLM_MODELS_SHARED", text(&shared.models()));
    home.set("SLM_MODELS_ARCHIVE", text(&archive));
    let daemon = Daemon::start(&mut home);
    home.create("boats", &golden_model("llama"));
    let expected = answer(&daemon, "boats");
    home.slm(&["archive", "boats"])
        .refused()
        .complains(&["cannot read", "big"]);
    fs::create_dir(&archive).unwrap();
    home.slm(&["archive", "boats"]).ok();
    let digest = sha256_hex(&fs::read(golden_model("llama")).unwrap());
    let blob = archive.join("blobs").join(format!("sha256-{digest}"));
    assert!(blob.exists());
    assert!(
        !home
            .models()
            .join("blobs")
            .join(format!("sha256-{digest}"))
            .exists()
    );
    home.slm(&["stop", "boats"]).ok();
    assert_eq!(answer(&daemon, "boats"), expected, "it runs from there");
    let listed = home.slm(&["list"]).ok().stdout;
    for word in ["LOCATION", "archive", "shared", "localhost/files/qwen2"] {
        assert!(listed.contains(word), "{word}: {listed}");
    }
    answer(&daemon, "localhost/files/qwen2");
    home.slm(&["rm", "localhost/files/qwen2"])
        .refused()
        .complains(&["only read"]);
    home.slm(&["unarchive", "boats"]).ok();
    is_whole(&home, "after the way back");
    home.slm(&["archive", "boats"]).ok();
    home.slm(&["rm", "boats"]).ok();
    assert!(!blob.exists());
}

#[test]
fn kill_during_a_move_to_the_archive() {
    let mut home = Home::new();
    let model = padded_model(&home, 48 * MB);
    let weights = fs::read(&model).unwrap();
    let name = format!("sha256-{}", sha256_hex(&weights));
    let archive = home.path().join("big");
    fs::create_dir(&archive).unwrap();
    home.set("SLM_MODELS_ARCHIVE", text(&archive));
    let daemon = Daemon::start(&mut home);
    home.create("boats", &model);
    let begin = Instant::now();
    home.slm(&["archive", "boats"]).ok();
    let whole = begin.elapsed();
    daemon.kill();
    for round in 0..N_KILLS {
        let daemon = Daemon::start(&mut home);
        let verb = if round % 2 == 0 {
            "unarchive"
        } else {
            "archive"
        };
        let moving = Running::start(home.slm_of_the_daemon(&[verb, "boats"]), b"");
        thread::sleep(whole.mul_f64(f64::from(round + 1) / f64::from(N_KILLS)));
        daemon.kill();
        drop(moving);
        let places = [home.models().join("blobs"), archive.join("blobs")];
        let copies = places.map(|folder| folder.join(&name));
        let there = copies.iter().filter(|copy| copy.exists());
        let there: Vec<Vec<u8>> = there.map(|copy| fs::read(copy).unwrap()).collect();
        assert!(!there.is_empty(), "round {round}: the weights are gone");
        assert!(there.iter().all(|bytes| *bytes == weights), "round {round}");
    }
    let daemon = Daemon::start(&mut home);
    home.slm(&["unarchive", "boats"]).ok();
    home.slm(&["archive", "boats"]).ok();
    answer(&daemon, "boats");
}

#[test]
fn a_model_in_several_files_is_one_model() {
    let (mut home, mut there) = (Home::new(), Home::new());
    let daemon = Daemon::start(&mut home);
    home.create("whole", &golden_model("llama"));
    let expected = answer(&daemon, "whole");
    let parts = split_gguf(&fs::read(golden_model("llama")).unwrap(), 3);
    let paths: Vec<PathBuf> = parts
        .iter()
        .enumerate()
        .map(|(i, bytes)| home.write(&format!("m-{:05}-of-00003.gguf", i + 1), bytes))
        .collect();
    home.create("parts", &paths[0]);
    assert_eq!(answer(&daemon, "parts"), expected);
    let listed = home.slm(&["path", "parts"]).ok().stdout;
    let stored: Vec<Vec<u8>> = listed.lines().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(stored, parts, "in their order");
    let show = |model: &str| {
        let shown = daemon.http().post("/api/show", &json!({"model": model}));
        shown.expect(200).json()
    };
    let (whole, shown) = (show("whole"), show("parts"));
    for key in ["parameter_size", "quantization_level", "family"] {
        assert_eq!(shown["details"][key], whole["details"][key]);
    }
    let count = "general.parameter_count";
    assert_eq!(shown["model_info"][count], whole["model_info"][count]);
    // its Modelfile makes it again, in whatever order the files come
    let mut lines: Vec<&str> = shown["modelfile"].as_str().unwrap().lines().collect();
    lines.reverse();
    let modelfile = text(&home.write("again", lines.join("\n")));
    home.slm(&["create", "again", "-f", &modelfile]).ok();
    assert_eq!(answer(&daemon, "again"), expected);
    home.slm(&["cp", "parts", "copy"]).ok();
    home.slm(&["rm", "parts"]).ok();
    home.slm(&["rm", "again"]).ok();
    home.slm(&["export", "copy", "-o", "copy.tar"]).ok();
    home.slm(&["rm", "copy"]).ok();
    is_whole(&home, "after the removals");
    let other = Daemon::start(&mut there);
    there
        .slm(&["import", &text(&home.path().join("copy.tar"))])
        .ok();
    assert_eq!(answer(&other, "copy"), expected);
    let mut third = Home::new();
    third.slmd(&["pull", &text(&paths[1])]).ok();
    let other = Daemon::start(&mut third);
    assert_eq!(answer(&other, "localhost/files/m"), expected);

    fs::remove_file(&paths[2]).unwrap();
    let modelfile = text(&home.write("half", format!("FROM {}\n", text(&paths[0]))));
    home.slm(&["create", "half", "-f", &modelfile])
        .refused()
        .complains(&["00003-of-00003.gguf` is missing"]);
}
