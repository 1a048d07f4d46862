//! Pushing to real registries in every format and over bad networks, and what comes back.

use serde_json::json;
use slm_tests::{
    CraneRegistry, Daemon, FlakyProxy, Home, Registry, Request, golden_model, store_problems,
};
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

const MB: usize = 1 << 20;

/// Makes the model `m` in the running daemon's home, with `n_bytes` of licence, a system text and parameters.
fn create(home: &Home, n_bytes: usize) {
    let licence: String = (0..n_bytes)
        .map(|i| char::from(b'a' + ((i ^ (i >> 9)) % 26) as u8))
        .collect();
    let weights = fs::read(golden_model("llama")).expect("golden files are readable");
    let weights = home.write("weights.gguf", weights);
    let text = format!(
        "FROM {}\nSYSTEM You count boats.\nPARAMETER stop end\nTEMPLATE {{{{ .Prompt }}}}\nLICENSE \"\"\"{licence}\"\"\"\n",
        weights.display()
    );
    let modelfile = home.write("Modelfile", text).display().to_string();
    home.slm(&["create", "m", "-f", &modelfile]).ok();
}

fn stored(home: &Home, name: &str) -> Vec<u8> {
    let path: PathBuf = home.models().join("manifests").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

fn created(home: &Home) -> Vec<u8> {
    stored(home, "registry.ollama.ai/library/m/latest")
}

#[track_caller]
fn is_whole(home: &Home) {
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());
}

/// Pushes in `format` and pulls what it became into a store of its own: the same model, by digest.
fn goes_round(home: &Home, registry: SocketAddr, format: &str) {
    let destination = format!("http://{registry}/round/{format}:v1");
    let pushed = home
        .slm(&["push", "m", &destination, "--insecure", "--format", format])
        .ok();
    assert!(pushed.stderr.contains("success"), "{pushed:?}");
    let mut other = Home::new();
    let _daemon = Daemon::start(&mut other);
    other.slm(&["pull", "--insecure", &destination]).ok();
    let manifest = stored(&other, &format!("{registry}/round/{format}/v1"));
    assert_eq!(manifest, created(home), "{format}");
    is_whole(&other);
    // once more, from there: nothing is lost on the way
    let again = format!("http://{registry}/again/{format}:v1");
    let name = format!("{registry}/round/{format}:v1");
    other
        .slm(&["push", &name, &again, "--insecure", "--format", format])
        .ok();
    other.slm(&["pull", "--insecure", &again]).ok();
    assert_eq!(
        stored(&other, &format!("{registry}/again/{format}/v1")),
        created(home)
    );
}

#[test]
fn every_format_to_every_registry_and_back() {
    let mut home = Home::new();
    let _daemon = Daemon::start(&mut home);
    // more than is held in memory when it is unpacked
    create(&home, 5 * MB);
    let debian = Registry::start();
    let crane = CraneRegistry::start();
    let addresses = [
        Some(debian.address()),
        crane.as_ref().map(CraneRegistry::address),
    ];
    for registry in addresses.into_iter().flatten() {
        for format in ["ollama", "modelpack", "docker", "modelcar"] {
            goes_round(&home, registry, format);
        }
    }
    is_whole(&home);
}

#[test]
fn what_the_endpoint_says() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    create(&home, 100);
    let registry = Registry::start();
    let name = format!("http://{}/library/m", registry.address());
    let push = |body| daemon.http().post("/api/push", &body);
    let refused = push(json!({"model": "m", "destination": name}));
    assert_eq!(refused.expect(400).error(), "insecure protocol http");
    assert_eq!(push(json!({})).expect(400).error(), "model is required");
    push(json!({"model": "none", "insecure": true})).expect(404);
    push(json!({"model": "m", "destination": name, "insecure": true, "format": "zip"})).expect(400);
    let lines = push(json!({"model": "m", "destination": name, "insecure": true}))
        .expect(200)
        .lines();
    let statuses: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["status"].as_str())
        .collect();
    assert_eq!(statuses.first(), Some(&"retrieving manifest"));
    assert!(
        statuses.ends_with(&["pushing manifest", "success"]),
        "{statuses:?}"
    );
    let blobs: Vec<_> = lines
        .iter()
        .filter(|line| line["digest"].is_string())
        .collect();
    for line in &blobs {
        assert!(
            line["status"]
                .as_str()
                .is_some_and(|status| status.starts_with("pushing ")),
            "{line}"
        );
    }
    let complete = blobs
        .iter()
        .filter(|line| line["total"] == line["completed"]);
    assert_eq!(
        complete.count(),
        6,
        "weights, template, system, parameters, licence, config"
    );

    // as Ollama has it: the model's own name says where to
    let own = format!("{}/library/m", registry.address());
    home.slm(&["cp", "m", &own]).ok();
    let body = json!({"model": own, "insecure": true, "stream": false});
    assert_eq!(push(body).expect(200).json(), json!({"status": "success"}));
    // and nobody listens there
    let nowhere =
        json!({"model": "m", "destination": "127.0.0.1:1/a/b", "insecure": true, "stream": false});
    assert_eq!(push(nowhere).status, 502);
}

#[test]
fn a_client_that_leaves_ends_its_push_and_blobs_go_once() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    create(&home, 8 * MB);
    let registry = Registry::start();
    let proxy = FlakyProxy::start(registry.address());
    proxy.limit_uploads(2 * MB as u64);
    let name = format!("http://{}/library/m", proxy.address());
    let body = json!({"model": "m", "destination": name, "insecure": true});
    let request = Request::new("POST", "/api/push").json(&body);
    let mut answer = daemon.http().open(&request).unwrap();
    while answer
        .next_json()
        .unwrap()
        .is_some_and(|line| line["digest"].is_null())
    {}
    drop(answer);
    // what is on its way may arrive; then nothing more comes
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        proxy.take_uploaded();
        thread::sleep(Duration::from_millis(500));
        if proxy.take_uploaded() == 0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the push goes on without its client"
        );
    }
    proxy.heal();
    home.slm(&["push", "m", &name, "--insecure"]).ok();
    proxy.take_uploaded();
    home.slm(&["push", "m", &name, "--insecure"]).ok();
    assert!(
        proxy.take_uploaded() < 20_000,
        "blobs that are there are not sent"
    );

    // to another repository of that registry: it is mounted from where the store knows it to be
    home.slm(&["cp", "m", &format!("{}/library/m", proxy.address())])
        .ok();
    home.slm(&[
        "push",
        "m",
        &format!("http://{}/other/m", proxy.address()),
        "--insecure",
    ])
    .ok();
    assert!(
        proxy.take_uploaded() < 20_000,
        "what another repository has is not sent"
    );
}
