//! What a user does with local models: create, list, show, copy, remove; and an index that may be lost.

use serde_json::{Value, json};
use slm_tests::{Daemon, Home, Request, golden_model, sha256_hex, store_problems};
use std::{fs, path::PathBuf};

fn names(daemon: &Daemon) -> Vec<String> {
    let tags = daemon.http().get("/api/tags").expect(200).json();
    let mut names: Vec<String> = tags["models"]
        .as_array()
        .expect("a list, even when empty")
        .iter()
        .map(|model| model["name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

fn blobs(home: &Home) -> Vec<PathBuf> {
    let folder = fs::read_dir(home.models().join("blobs"));
    folder
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

#[test]
fn a_life_of_a_model() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let http = daemon.http();
    assert_eq!(
        http.get("/api/tags").expect(200).json(),
        json!({ "models": [] })
    );

    home.create("boats", &golden_model("llama"));
    assert_eq!(names(&daemon), ["boats:latest"]);
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());

    let tags = http.get("/api/tags").json();
    let model = &tags["models"][0];
    assert_eq!(model["model"], "boats:latest");
    assert_eq!(model["details"]["format"], "gguf");
    assert_eq!(model["details"]["family"], "llama");
    let manifest = home
        .models()
        .join("manifests/registry.ollama.ai/library/boats/latest");
    let manifest = fs::read(manifest).expect("Ollama's layout");
    assert_eq!(model["digest"], sha256_hex(&manifest));
    let gguf = fs::read(golden_model("llama")).unwrap();
    assert!(model["size"].as_u64().unwrap() >= gguf.len() as u64);
    let blob = home
        .models()
        .join(format!("blobs/sha256-{}", sha256_hex(&gguf)));
    assert_eq!(fs::read(blob).expect("Ollama's layout"), gguf);

    let shown = http
        .post("/api/show", &json!({ "model": "BOATS" }))
        .expect(200)
        .json();
    assert_eq!(shown["model_info"]["general.architecture"], "llama");
    assert_eq!(shown["model_info"]["llama.block_count"], 3);
    assert_eq!(
        shown["model_info"]["tokenizer.ggml.tokens"]
            .as_array()
            .map(Vec::len),
        Some(384)
    );
    assert!(
        shown["capabilities"]
            .as_array()
            .unwrap()
            .contains(&json!("completion"))
    );
    let modelfile = shown["modelfile"].as_str().unwrap();
    assert!(
        modelfile.lines().any(|line| line.starts_with("FROM ")),
        "{modelfile}"
    );
    assert!(home.slm(&["show", "boats"]).ok().stdout.contains("llama"));

    let copy = http.post(
        "/api/copy",
        &json!({ "source": "boats", "destination": "me/ships:v1" }),
    );
    assert_eq!(copy.expect(200).body, b"");
    assert_eq!(names(&daemon), ["boats:latest", "me/ships:v1"]);

    let delete = |name: &str| {
        http.send(&Request::new("DELETE", "/api/delete").json(&json!({ "model": name })))
    };
    assert_eq!(delete("boats").expect(200).body, b"");
    assert_eq!(names(&daemon), ["me/ships:v1"]);
    assert_eq!(
        store_problems(&home.models()),
        Vec::<String>::new(),
        "the copy keeps its blobs"
    );
    delete("me/ships:v1").expect(200);
    assert_eq!(names(&daemon), Vec::<String>::new());
    assert_eq!(
        blobs(&home),
        Vec::<PathBuf>::new(),
        "nothing is left of the last name"
    );
    assert!(delete("boats").expect(404).error().contains("not found"));
}

#[test]
fn a_modelfile_sets_system_parameters_and_messages() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let text = format!(
        "# a comment\nFROM {}\nPARAMETER temperature 0.25\nPARAMETER stop \"</end>\"\nparameter stop STOP\n\
         SYSTEM \"\"\"You count\nboats.\"\"\"\nMESSAGE user how many?\nMESSAGE assistant twelve\nLICENSE free\n",
        golden_model("llama").display()
    );
    let modelfile = home.write("Modelfile", text);
    home.slm(&["create", "counter", "-f", &modelfile.display().to_string()])
        .ok();
    let shown = daemon
        .http()
        .post("/api/show", &json!({ "model": "counter" }))
        .expect(200)
        .json();
    assert_eq!(shown["system"], "You count\nboats.");
    assert_eq!(shown["license"], "free");
    assert_eq!(
        shown["messages"],
        json!([{ "role": "user", "content": "how many?" }, { "role": "assistant", "content": "twelve" }])
    );
    let parameters = shown["parameters"].as_str().unwrap();
    let rows: Vec<Vec<&str>> = parameters
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    for row in [
        ["temperature", "0.25"],
        ["stop", "\"</end>\""],
        ["stop", "\"STOP\""],
    ] {
        assert!(rows.contains(&row.to_vec()), "no {row:?} in {parameters}");
    }

    // a model made from it inherits all and replaces one thing
    let modelfile = home.write("Modelfile", "FROM counter\nSYSTEM You count ships.\n");
    home.slm(&["create", "child", "-f", &modelfile.display().to_string()])
        .ok();
    let child = daemon
        .http()
        .post("/api/show", &json!({ "model": "child" }))
        .expect(200)
        .json();
    assert_eq!(child["system"], "You count ships.");
    assert_eq!(child["parameters"], shown["parameters"]);
    assert_eq!(child["license"], "free");
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());
}

/// A create from a file on the same filesystem must not cost the space twice.
#[cfg(target_os = "linux")]
#[test]
fn a_local_file_is_linked_where_that_is_possible() {
    use std::os::unix::fs::MetadataExt;
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let gguf = fs::read(golden_model("llama")).unwrap();
    let mine = home.write("mine.gguf", &gguf);
    let probe = home.path().join("probe");
    fs::hard_link(&mine, &probe).expect("the target directory allows hard links");
    fs::remove_file(probe).unwrap();
    home.create("mine", &mine);
    let blob = home
        .models()
        .join(format!("blobs/sha256-{}", sha256_hex(&gguf)));
    let (file, blob_file) = (fs::metadata(&mine).unwrap(), fs::metadata(&blob).unwrap());
    let is_shared = file.ino() == blob_file.ino() || shares_extents(&mine, &blob);
    assert!(is_shared, "the blob is a second copy");
    // the user's file may go away or be replaced: the blob stays
    fs::remove_file(&mine).unwrap();
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());
    assert_eq!(names(&daemon), ["mine:latest"]);
}

/// Whether the filesystem says that the files share their data (reflink); `filefrag` is not everywhere, so a
/// filesystem with reflinks counts.
#[cfg(target_os = "linux")]
fn shares_extents(file: &std::path::Path, blob: &std::path::Path) -> bool {
    let probe = blob.with_file_name("reflink-probe");
    let copied = std::process::Command::new("cp")
        .arg("--reflink=always")
        .args([file, &probe])
        .output()
        .is_ok_and(|out| out.status.success());
    let _ = fs::remove_file(probe);
    copied
}

#[test]
fn the_index_can_be_lost_or_garbled() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    home.create("one", &golden_model("llama"));
    home.create("two:v1", &golden_model("mistral"));
    let before = daemon.http().get("/api/tags").expect(200).json();
    daemon.kill();

    let index = index_files(&home);
    assert!(
        !index.is_empty(),
        "there is an index besides blobs and manifests"
    );
    for file in &index {
        let mut bytes = fs::read(file).unwrap();
        for byte in bytes.iter_mut().step_by(7) {
            *byte = byte.wrapping_mul(31).wrapping_add(17);
        }
        fs::write(file, bytes).unwrap();
    }
    let daemon = Daemon::start(&mut home);
    assert_eq!(
        listed(&daemon),
        comparable(&before),
        "after the index was garbled"
    );
    daemon.kill();

    for file in index_files(&home) {
        fs::write(file, b"").unwrap();
    }
    let daemon = Daemon::start(&mut home);
    assert_eq!(
        listed(&daemon),
        comparable(&before),
        "after the index was emptied"
    );
    daemon.kill();

    for file in index_files(&home) {
        fs::remove_file(file).unwrap();
    }
    let daemon = Daemon::start(&mut home);
    assert_eq!(
        listed(&daemon),
        comparable(&before),
        "after the index was deleted"
    );
    daemon.kill();

    // the files are the truth: a model that appears behind the daemon's back is there, one that goes is gone
    let library = home.models().join("manifests/registry.ollama.ai/library");
    fs::create_dir_all(library.join("three")).unwrap();
    fs::copy(library.join("one/latest"), library.join("three/latest")).unwrap();
    fs::remove_dir_all(library.join("two")).unwrap();
    let daemon = Daemon::start(&mut home);
    assert_eq!(names(&daemon), ["one:latest", "three:latest"]);
}

fn listed(daemon: &Daemon) -> Vec<Value> {
    comparable(&daemon.http().get("/api/tags").expect(200).json())
}

fn comparable(tags: &Value) -> Vec<Value> {
    let mut models = tags["models"].as_array().expect("a list").clone();
    models.sort_by_key(|model| model["name"].to_string());
    models
}

/// Every file of the home that is neither blob nor manifest nor written by the test.
fn index_files(home: &Home) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = ["models", "data", "cache", "state"]
        .map(|folder| home.path().join(folder))
        .to_vec();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_truth = path.ends_with("models/blobs") || path.ends_with("models/manifests");
            if path.is_dir() && !is_truth {
                open.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn what_is_wrong_with_a_create_is_said_and_leaves_nothing() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    let refused = |modelfile: &str, words: &[&str]| {
        let file = home.write("Modelfile", modelfile);
        home.slm(&["create", "bad", "-f", &file.display().to_string()])
            .refused()
            .complains(words);
        assert_eq!(names(&daemon), Vec::<String>::new(), "after {modelfile:?}");
    };
    refused("SYSTEM hello\n", &["from"]);
    refused("FROM x\nPARAMETER temperature warm\n", &["line 2", "warm"]);
    refused("FROM x\n\nNONSENSE y\n", &["line 3", "command"]);
    // another model's name is pulled when it is not here: from where nobody listens, that fails with the place
    let nobody = format!("127.0.0.1:{}", slm_tests::free_port());
    refused(&format!("FROM {nobody}/library/absent\n"), &[&nobody]);
    refused("FROM http://box/library/absent\n", &["insecure"]);
    refused("FROM ./missing.gguf\n", &["missing.gguf"]);
    home.write("text.gguf", "this is no model");
    refused("FROM ./text.gguf\n", &["gguf"]);
    home.slm(&["create", "bad", "-f", "absent-Modelfile"])
        .refused()
        .complains(&["absent-Modelfile"]);
    home.slm(&["create", "bad name!", "-f", "Modelfile"])
        .refused()
        .complains(&["name"]);

    // over HTTP too: a blob under a wrong digest is refused, a create from a blob that is not there as well
    let digest = format!("sha256:{}", sha256_hex(b"something else"));
    let upload = Request::new("POST", &format!("/api/blobs/{digest}")).body("this");
    assert!(
        daemon
            .http()
            .send(&upload)
            .expect(400)
            .error()
            .contains("digest mismatch")
    );
    let head = Request::new("HEAD", &format!("/api/blobs/{digest}"));
    daemon.http().send(&head).expect(404);
    daemon
        .http()
        .send(&Request::new("POST", "/api/blobs/sha256:zz").body("x"))
        .expect(400);
    let answer = daemon.http().post(
        "/api/create",
        &json!({ "model": "bad", "files": { "m.gguf": digest } }),
    );
    let lines = answer.lines();
    assert!(lines.last().unwrap()["error"].is_string(), "{lines:?}");
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());
    assert_eq!(names(&daemon), Vec::<String>::new());
}
