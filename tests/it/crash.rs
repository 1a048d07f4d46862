//! The plug is pulled at random moments; the store is whole each time and the work goes on.

use serde_json::{Value, json};
use slm_tests::{
    CraneRegistry, Daemon, FlakyProxy, Home, Registry, Repository, Request, Running, TestModel,
    golden_model, pushed_blobs, sha256_hex, starter_model, store_problems,
};
use std::{
    fs,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

const N_CRASHES: u32 = 20;
const MB: usize = 1 << 20;

/// A random moment of something that takes about `whole`, a little after its end included.
fn moment(random: &mut fastrand::Rng, whole: Duration) -> Duration {
    whole.mul_f64(random.f64() * 1.15)
}

fn seeded() -> fastrand::Rng {
    let seed = fastrand::u64(..);
    println!("random moments from seed {seed}");
    fastrand::Rng::with_seed(seed)
}

#[track_caller]
fn is_whole(home: &Home, when: &str) {
    assert_eq!(
        store_problems(&home.models()),
        Vec::<String>::new(),
        "{when}"
    );
}

/// Kills during a pull: the daemon and the daemonless `slmd pull` in turn.
#[test]
fn kill_during_a_pull() {
    let registry = Registry::start();
    let model = TestModel::tiny(3 * MB);
    registry.push("library/tiny", "latest", &model);
    let proxy = FlakyProxy::start(registry.address());
    let name = format!("http://{}/library/tiny", proxy.address());
    let manifest = format!("manifests/{}/library/tiny/latest", proxy.address());
    let arguments = ["pull", "--insecure", &name];
    proxy.limit_rate(10 * MB as u64);

    let first = Home::new();
    let begin = Instant::now();
    first.slmd(&arguments).ok();
    let whole = begin.elapsed();

    let mut random = seeded();
    let mut home = Home::new();
    let mut n_interrupted = 0;
    for round in 0..N_CRASHES {
        let when = format!("round {round}");
        let delay = moment(&mut random, whole);
        if round % 2 == 0 {
            let daemon = Daemon::start(&mut home);
            let pull = Running::start(home.slm_of_the_daemon(&arguments), b"");
            thread::sleep(delay);
            daemon.kill();
            drop(pull);
        } else {
            let pull = Running::start(home.slmd_command(&arguments), b"");
            thread::sleep(delay);
            drop(pull); // kills
        }
        is_whole(&home, &when);
        if home.models().join(&manifest).exists() {
            home = Home::new(); // it was complete: begin anew
        } else {
            n_interrupted += 1;
        }
    }
    println!("{n_interrupted} of {N_CRASHES} pulls were interrupted");
    assert!(n_interrupted > 0, "no kill hit a pull");

    proxy.heal();
    let daemon = Daemon::start(&mut home);
    home.slm(&arguments).ok();
    is_whole(&home, "at the end");
    assert!(home.models().join(&manifest).exists());
    let listed = daemon.http().get("/api/tags").expect(200).json();
    assert_eq!(listed["models"].as_array().map(Vec::len), Some(1));
}

/// Kills during a create: uploads of a blob and creates from a file in turn.
#[test]
fn kill_during_a_create() {
    let mut random = seeded();
    let mut home = Home::new();
    // a copy: the store may link it and must not take the fixture with it
    let weights = fs::read(starter_model()).unwrap();
    let source = home.write("weights.gguf", &weights);
    let modelfile = home.write(
        "Modelfile",
        format!("FROM {}\nSYSTEM be brief\n", source.display()),
    );
    let modelfile = modelfile.display().to_string();
    let blob: Vec<u8> = (0..16 * MB).map(|_| random.u8(..)).collect();
    let digest = format!("sha256:{}", sha256_hex(&blob));

    let daemon = Daemon::start(&mut home);
    let begin = Instant::now();
    home.slm(&["create", "whole", "-f", &modelfile]).ok();
    let whole = begin.elapsed();
    home.slm(&["rm", "whole"]).ok();
    let upload = Request::new("POST", &format!("/api/blobs/{digest}")).body(blob);
    let begin = Instant::now();
    daemon.http().send(&upload).expect(201);
    let upload_time = begin.elapsed();
    daemon.kill();
    fs::remove_file(home.models().join("blobs").join(digest.replace(':', "-"))).unwrap();

    for round in 0..N_CRASHES {
        let when = format!("round {round}");
        let daemon = Daemon::start(&mut home);
        if round % 2 == 0 {
            let create = Running::start(
                home.slm_of_the_daemon(&["create", "new", "-f", &modelfile]),
                b"",
            );
            thread::sleep(moment(&mut random, whole));
            daemon.kill();
            drop(create);
        } else {
            let http = daemon.http().clone();
            let upload = upload.clone();
            let sender = thread::spawn(move || drop(http.open(&upload)));
            thread::sleep(moment(&mut random, upload_time));
            daemon.kill();
            sender.join().unwrap();
            let _ = fs::remove_file(home.models().join("blobs").join(digest.replace(':', "-")));
        }
        is_whole(&home, &when);
        assert_eq!(
            fs::metadata(&source).unwrap().len(),
            weights.len() as u64,
            "{when}"
        );
    }

    let daemon = Daemon::start(&mut home);
    home.slm(&["create", "new", "-f", &modelfile]).ok();
    is_whole(&home, "at the end");
    let shown = daemon
        .http()
        .post("/api/show", &json!({ "model": "new" }))
        .expect(200)
        .json();
    assert_eq!(shown["system"], "be brief");
    assert_eq!(
        fs::read(&source).unwrap(),
        weights,
        "the user's own file is untouched"
    );
}

/// What a client does to the store, at random, until the daemon is gone.
fn wear(http: &slm_tests::Http, pulled: &str, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let name = format!("m{}", random.u8(..3));
        let other = format!("m{}", random.u8(..3));
        let post = |path: &str, body| Request::new("POST", path).json(&body);
        let request = match random.u8(..8) {
            0 => post(
                "/api/copy",
                json!({ "source": pulled, "destination": name }),
            ),
            1 => post("/api/copy", json!({ "source": other, "destination": name })),
            2 => Request::new("DELETE", "/api/delete").json(&json!({ "model": name })),
            3 => post(
                "/api/create",
                json!({ "model": name, "from": pulled, "system": format!("{}", random.u8(..3)), "stream": false }),
            ),
            4 => post("/api/rollback", json!({ "model": name })),
            5 => post(
                "/api/gc",
                json!({ "remove": true, "older_than": 0, "history": random.bool() }),
            ),
            6 => post("/api/update", json!({ "model": pulled })),
            _ => post("/api/rollback", json!({ "model": pulled })),
        };
        // A refusal is an answer; the end of the daemon is none.
        let answer = http.open(&request);
        if answer.and_then(slm_tests::AnswerStream::read_all).is_err() {
            return;
        }
    }
}

/// Kills during copies, removals, creates, garbage collections, updates and rollbacks, all on one store.
fn kill_during_care(n_kills: u32) {
    let registry = Registry::start();
    let mut model = TestModel::tiny(MB / 4);
    registry.push("library/tiny", "latest", &model);
    let pulled = format!("{}/library/tiny", registry.address());
    let mut random = seeded();
    let mut home = Home::new();
    home.slmd(&["pull", &pulled]).ok();
    let mut n_models = 0;
    for round in 0..n_kills {
        let when = format!("round {round}");
        model.layers[1].1 = format!("You count to {}.", round % 3).into_bytes();
        registry.push("library/tiny", "latest", &model);
        let daemon = Daemon::start(&mut home);
        let (http, name, seed) = (daemon.http().clone(), pulled.clone(), random.u64(..));
        let client = thread::spawn(move || wear(&http, &name, seed));
        thread::sleep(Duration::from_millis(random.u64(1..250)));
        daemon.kill();
        client.join().expect("the client only asks");
        is_whole(&home, &when);
        home.slmd(&["verify"]).ok();
        n_models += fs::read_dir(home.models().join("manifests/registry.ollama.ai/library"))
            .map_or(0, Iterator::count);
    }
    println!("{n_kills} kills, {n_models} models seen");
    assert!(n_models > 0, "nothing was ever done");
    let _daemon = Daemon::start(&mut home);
    home.slm(&["update", &pulled]).ok();
    is_whole(&home, "at the end");
}

#[test]
fn kill_during_care_of_the_store() {
    kill_during_care(8);
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn kill_during_care_of_the_store_200_times() {
    kill_during_care(200);
}

/// Bytes that a push of what is there already may send for each blob, beside the manifest: heads of requests.
const HEADS_PER_BLOB: u64 = 4096;

/// Makes the model `m` of `base`, with texts that no model had before, and pushes it to a registry of its own; the
/// manifest that it has there.
fn new_package(home: &Home, daemon: &Daemon, format: &str, random: &mut fastrand::Rng) -> Value {
    let text = |random: &mut fastrand::Rng, n_bytes: usize| -> String {
        (0..n_bytes).map(|_| random.alphanumeric()).collect()
    };
    let licences: Vec<String> = (0..3)
        .map(|_| {
            let n_bytes = random.usize(1..2 * MB);
            text(random, n_bytes)
        })
        .collect();
    let create = json!({
        "model": "m", "from": "base", "license": licences, "system": text(random, 100), "stream": false
    });
    daemon.http().post("/api/create", &create).expect(200);
    let elsewhere = Registry::start();
    let name = format!("{}/library/m", elsewhere.address());
    home.slm(&["push", "m", &name, "--format", format]).ok();
    let there = Repository::new(elsewhere.address(), "library/m");
    there.manifest("latest").expect("it was just pushed")
}

/// Kills during pushes: after each the registry has nothing half, and the next push sends what is missing and no more.
fn kill_during_pushes(n_kills: u32) {
    let debian = Registry::start();
    let crane = CraneRegistry::start();
    let mut registries: Vec<SocketAddr> = vec![debian.address()];
    registries.extend(crane.as_ref().map(CraneRegistry::address));
    let mut random = seeded();
    let mut home = Home::new();
    let mut daemon = Daemon::start(&mut home);
    home.create("base", &golden_model("llama"));
    let formats = ["ollama", "modelpack", "docker", "modelcar"];
    let (mut n_partly, mut n_done, mut n_bytes_again) = (0, 0, 0);
    for round in 0..n_kills as usize {
        let registry = registries[round % registries.len()];
        let format = formats[round / registries.len() % formats.len()];
        let repository = format!("kills/m{round}");
        let when = format!("round {round}: {format} to {registry}");
        let package = new_package(&home, &daemon, format, &mut random);
        let blobs = pushed_blobs(&package);
        let there = Repository::new(registry, &repository);
        let push = |home: &Home, proxy: &FlakyProxy| {
            let name = format!("http://{}/{repository}", proxy.address());
            let arguments = ["push", "m", &name, "--insecure", "--format", format];
            Running::start(home.slm_of_the_daemon(&arguments), b"")
        };

        let proxy = FlakyProxy::start(registry);
        let rate = 8 * MB as u64;
        proxy.limit_uploads(rate);
        let size: u64 = blobs.iter().map(|(_, size)| size).sum();
        let whole = Duration::from_secs_f64(size as f64 / rate as f64 + 0.2);
        let pushing = push(&home, &proxy);
        thread::sleep(moment(&mut random, whole));
        daemon.kill();
        drop((pushing, proxy));
        is_whole(&home, &when);
        assert_eq!(there.problems("latest"), Vec::<String>::new(), "{when}");
        n_done += u32::from(there.manifest("latest").is_some());
        let missing = blobs.iter().filter(|(digest, _)| !there.has_blob(digest));
        let (n_missing, n_bytes) = missing.fold((0, 0), |sum, (_, size)| (sum.0 + 1, sum.1 + size));
        n_partly += u32::from((1..blobs.len()).contains(&n_missing));

        // the next daemon knows nothing of the push; what the registry has it need not get again
        daemon = Daemon::start(&mut home);
        let proxy = FlakyProxy::start(registry);
        push(&home, &proxy).finish().ok();
        let n_sent = proxy.take_uploaded();
        let allowed =
            n_bytes + package.to_string().len() as u64 + HEADS_PER_BLOB * blobs.len() as u64;
        assert!(
            n_sent <= allowed,
            "{when}: {n_sent} bytes were sent, and {n_bytes} in {n_missing} blobs were missing"
        );
        n_bytes_again += n_bytes;
        assert_eq!(there.manifest("latest"), Some(package), "{when}");
        assert_eq!(there.problems("latest"), Vec::<String>::new(), "{when}");
        is_whole(&home, &when);
    }
    println!(
        "{n_kills} kills: {n_partly} left some of the blobs, {n_done} came when all was there; {n_bytes_again} bytes were missing"
    );
    assert!(n_partly > 0, "no kill hit a push between two blobs");
    home.slmd(&["verify"]).ok();
}

#[test]
fn kill_during_a_push() {
    kill_during_pushes(8);
}

#[test]
#[ignore = "needs `cargo xtask test --full`"]
fn kill_during_a_push_200_times() {
    kill_during_pushes(200);
}
