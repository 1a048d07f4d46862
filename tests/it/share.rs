//! A daemon that shares its models, and those who fetch from it: `slm`, neighbours, and a client of images.

use serde_json::json;
use slm_tests::{
    Daemon, FlakyProxy, Home, Http, Registry, Request, TestModel, crane, free_port, golden_model,
    run_crane, sha256_hex, store_problems,
};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

const MB: usize = 1 << 20;

/// A daemon with the model `m` that shares it.
fn sharing() -> (Home, Daemon, SocketAddr) {
    let mut home = Home::new();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listen = address.to_string();
    let daemon = Daemon::start_with(
        &mut home,
        &[("SLM_SHARE", "1"), ("SLM_SHARE_LISTEN", &listen)],
    );
    home.create("m", &golden_model("llama"));
    (home, daemon, address)
}

fn manifest(home: &Home, name: &str) -> Option<Vec<u8>> {
    fs::read(home.models().join("manifests").join(name)).ok()
}

const SHARED: &str = "registry.ollama.ai/library/m/latest";

#[test]
fn a_model_is_pulled_from_another_daemon() {
    let (home, _daemon, address) = sharing();
    let mut other = Home::new();
    let _other = Daemon::start(&mut other);
    let source = format!("slm://{address}/m");
    let pulled = other.slm(&["pull", &source]).ok();
    assert!(
        pulled
            .stderr
            .contains(&format!("m:latest as {address} has it")),
        "{pulled:?}"
    );
    assert_eq!(manifest(&other, SHARED), manifest(&home, SHARED));
    assert!(manifest(&home, SHARED).is_some());
    assert_eq!(store_problems(&other.models()), Vec::<String>::new());
    let missing = other
        .slm(&["pull", &format!("slm://{address}/none")])
        .refused();
    missing.complains(&["file does not exist"]);
}

#[test]
fn the_shared_address_serves_models_and_nothing_else() {
    let (home, daemon, address) = sharing();
    let shared = Http::new(address);
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/api/tags"),
        ("POST", "/api/generate"),
        ("DELETE", "/api/delete"),
    ] {
        let request = Request::new(method, path).json(&json!({"model": "m"}));
        shared.send(&request).expect(404);
    }
    shared
        .send(&Request::new("PUT", "/v2/library/m/manifests/latest").body("x"))
        .expect(405);
    assert!(manifest(&home, SHARED).is_some(), "it is still there");
    // the API is where it was, and knows nothing of /v2/
    daemon.http().get("/v2/").expect(404);
    // a daemon that was not told to share listens nowhere else
    let mut quiet = Home::new();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let _quiet = Daemon::start_with(&mut quiet, &[("SLM_SHARE_LISTEN", &listen)]);
    assert!(
        Http::new(([127, 0, 0, 1], port).into())
            .open(&Request::new("GET", "/v2/"))
            .is_err()
    );
}

#[test]
fn a_neighbour_saves_the_way_to_the_registry() {
    let registry = Registry::start();
    let model = TestModel::tiny(3 * MB);
    registry.push("library/tiny", "latest", &model);
    let proxy = FlakyProxy::start(registry.address());
    let name = format!("http://{}/library/tiny", proxy.address());
    let mut first = Home::new();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listen = address.to_string();
    let daemon = Daemon::start_with(
        &mut first,
        &[("SLM_SHARE", "1"), ("SLM_SHARE_LISTEN", &listen)],
    );
    first.slm(&["pull", "--insecure", &name]).ok();
    assert!(proxy.take_delivered() > model.size());

    let mut second = Home::new();
    let neighbors = format!("127.0.0.1:1,{address}");
    let other = Daemon::start_with(&mut second, &[("SLM_NEIGHBORS", &neighbors)]);
    let pulled = second.slm(&["pull", "--insecure", &name]).ok();
    assert!(
        pulled.stderr.contains(&format!("comes from {address}")),
        "{pulled:?}"
    );
    let delivered = proxy.take_delivered();
    assert!(delivered < 20_000, "{delivered} bytes from the registry");
    assert_eq!(store_problems(&second.models()), Vec::<String>::new());
    drop(other);

    // the registry is gone: the neighbour says what the tag is
    drop(registry);
    let mut third = Home::new();
    let _third = Daemon::start_with(&mut third, &[("SLM_NEIGHBORS", &neighbors)]);
    let pulled = third.slm(&["pull", "--insecure", &name]).ok();
    assert!(
        pulled
            .stderr
            .contains(&format!("the neighbour {address} says")),
        "{pulled:?}"
    );
    let path = format!("{}/library/tiny/latest", proxy.address());
    assert_eq!(manifest(&third, &path), manifest(&first, &path));

    // one who lies: its blob is damaged behind its back
    let licence = &model.layers[0].1;
    let blob = first
        .models()
        .join("blobs")
        .join(format!("sha256-{}", sha256_hex(licence)));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[MB] ^= 1;
    let _ = fs::remove_file(&blob);
    fs::write(&blob, bytes).unwrap();
    let registry = Registry::start();
    registry.push("library/tiny", "latest", &model);
    drop(daemon);
    let daemon = Daemon::start_with(
        &mut first,
        &[("SLM_SHARE", "1"), ("SLM_SHARE_LISTEN", &listen)],
    );
    let mut fourth = Home::new();
    let _fourth = Daemon::start_with(&mut fourth, &[("SLM_NEIGHBORS", &neighbors)]);
    let name = format!("http://{}/library/tiny", registry.address());
    // known there under another registry's name, and by digest all the same
    let pulled = fourth.slm(&["pull", "--insecure", &name]).ok();
    assert!(
        pulled.stderr.contains("failed: digest mismatch"),
        "{pulled:?}"
    );
    assert_eq!(store_problems(&fourth.models()), Vec::<String>::new());
    drop(daemon);
}

#[test]
fn a_client_of_images_finds_its_way() {
    let Some(crane) = crane() else { return };
    let (home, _daemon, address) = sharing();
    let model = format!("{address}/library/m:latest");
    let listed = run_crane(&crane, &["catalog", "--insecure", &address.to_string()]);
    assert_eq!(listed.trim(), "library/m");
    let tags = run_crane(
        &crane,
        &["ls", "--insecure", &format!("{address}/library/m")],
    );
    assert_eq!(tags.trim(), "latest");
    let json = manifest(&home, SHARED).unwrap();
    let digest = run_crane(&crane, &["digest", "--insecure", &model]);
    assert_eq!(digest.trim(), format!("sha256:{}", sha256_hex(&json)));
    assert_eq!(
        run_crane(&crane, &["manifest", "--insecure", &model]).into_bytes(),
        json
    );
    let blob = format!(
        "{address}/library/m@sha256:{}",
        sha256_hex(&fs::read(golden_model("llama")).unwrap())
    );
    let file = home.path().join("blob");
    let out = std::process::Command::new(&crane)
        .args(["blob", "--insecure", &blob])
        .stdout(fs::File::create(&file).unwrap())
        .status()
        .unwrap();
    assert!(out.success());
    assert_eq!(
        fs::read(&file).unwrap(),
        fs::read(golden_model("llama")).unwrap()
    );
}

/// Whether what is sent to a group on this network comes back, without which nobody finds anybody.
fn has_multicast() -> bool {
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let sent = || -> std::io::Result<()> {
        let receiver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        receiver.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
        receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
        let sender = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        sender.send_to(b"x", (group, receiver.local_addr()?.port()))?;
        receiver.recv(&mut [0; 8]).map(drop)
    };
    sent().is_ok()
}

#[test]
fn neighbours_find_each_other() {
    if !has_multicast() {
        println!("passed over: no multicast on this machine's network");
        return;
    }
    let registry = Registry::start();
    let model = TestModel::tiny(MB);
    registry.push("library/tiny", "latest", &model);
    let name = format!("http://{}/library/tiny", registry.address());
    let mut first = Home::new();
    let listen = format!("0.0.0.0:{}", free_port());
    let variables = [
        ("SLM_SHARE", "1"),
        ("SLM_SHARE_LISTEN", &*listen),
        ("SLM_SHARE_MDNS", "1"),
    ];
    let _daemon = Daemon::start_with(&mut first, &variables);
    first.slm(&["pull", "--insecure", &name]).ok();

    let mut second = Home::new();
    let _other = Daemon::start_with(&mut second, &[("SLM_NEIGHBORS", "auto")]);
    let mut said = String::new();
    for _ in 0..5 {
        let pulled = second.slm(&["pull", "--insecure", &name]).ok();
        said = pulled.stderr;
        if said.contains("comes from") {
            break;
        }
        second
            .slm(&["rm", &format!("{}/library/tiny", registry.address())])
            .ok();
    }
    assert!(said.contains("comes from"), "{said}");
    assert_eq!(store_problems(&second.models()), Vec::<String>::new());
}
