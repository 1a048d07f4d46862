//! The registry and the proxy before it do what the pull tests rely on.

use slm_tests::{FlakyProxy, Http, Registry, Request, TestModel, sha256_hex};

#[test]
fn the_registry_keeps_what_is_pushed_and_the_proxy_cuts() {
    let registry = Registry::start();
    let model = TestModel::tiny(1 << 20);
    let manifest = registry.push("library/tiny", "latest", &model);
    let proxy = FlakyProxy::start(registry.address());
    let http = Http::new(proxy.address());
    let manifest_type = "application/vnd.docker.distribution.manifest.v2+json";
    let request = Request::new("GET", "/v2/library/tiny/manifests/latest");
    let got = http
        .send(&request.header("Accept", manifest_type))
        .expect(200);
    assert_eq!(got.body, manifest);

    let licence = &model.layers[0].1;
    let path = format!("/v2/library/tiny/blobs/sha256:{}", sha256_hex(licence));
    proxy.take_delivered();
    assert_eq!(http.get(&path).expect(200).body, *licence);
    assert!(proxy.take_delivered() > 1 << 20);

    proxy.cut_after(300_000);
    let cut = http.open(&Request::new("GET", &path)).unwrap();
    assert!(cut.read_all().is_err());
    proxy.heal();
    registry.damage_blob(licence);
    assert_ne!(http.get(&path).expect(200).body, *licence);
}
