//! Registries behind TLS with an authority that no system knows, and behind a proxy.

use slm_tests::{Authority, ConnectProxy, Daemon, Home, Registry, golden_model, store_problems};
use std::{fs, net::SocketAddr};

/// A name that nothing but the proxy can resolve.
const NAME: &str = "registry.test";
/// Like a loopback address to the system, but not one that is reached without a proxy.
const ANY: &str = "0.0.0.0";
const USER: &str = "me";
const PASSWORD: &str = "s3cret";
const AUTHORIZATION: &str = "Basic bWU6czNjcmV0";

/// A registry of a private authority, for which it has a certificate under every name of these tests.
fn private_registry() -> (Authority, Registry) {
    let authority = Authority::new();
    let identity = authority.certify(&["127.0.0.1", ANY, NAME]);
    (authority, Registry::start_with_tls(&identity))
}

/// A home whose programs trust `authority`.
fn trusting(authority: &Authority) -> Home {
    let mut home = Home::new();
    let file = home.write("authority.pem", authority.pem());
    home.set("SLM_CA_FILE", file.display().to_string());
    home
}

fn stored(home: &Home, name: &str) -> Vec<u8> {
    fs::read(home.models().join("manifests").join(name)).expect("it is stored")
}

#[track_caller]
fn is_empty(home: &Home) {
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());
    let blobs = fs::read_dir(home.models().join("blobs"));
    assert_eq!(blobs.map_or(0, Iterator::count), 0);
}

/// Pushes `m` there and pulls it into another home, both of which trust the authority; what was pushed is what came.
fn goes_round(authority: &Authority, host: &str, variables: &[(&str, &str)]) {
    let name = format!("https://{host}/library/m");
    let mut home = trusting(authority);
    let daemon = Daemon::start_with(&mut home, variables);
    home.create("m", &golden_model("llama"));
    home.slm(&["push", "m", &name]).ok();
    drop(daemon);
    let mut other = trusting(authority);
    let _daemon = Daemon::start_with(&mut other, variables);
    other.slm(&["pull", &name]).ok();
    assert_eq!(
        stored(&other, &format!("{host}/library/m/latest")),
        stored(&home, "registry.ollama.ai/library/m/latest")
    );
    assert_eq!(store_problems(&other.models()), Vec::<String>::new());
}

#[test]
fn a_private_authority_is_trusted_where_it_is_named() {
    let (authority, registry) = private_registry();
    let host = registry.address().to_string();
    goes_round(&authority, &host, &[]);

    // nobody said that it is to be trusted, or another one was named
    let name = format!("https://{host}/library/m");
    let other = Authority::new();
    for mut home in [Home::new(), trusting(&other)] {
        let _daemon = Daemon::start(&mut home);
        home.create("m", &golden_model("llama"));
        for arguments in [["pull", &name].as_slice(), &["push", "m", &name]] {
            home.slm(arguments)
                .refused()
                .complains(&[&host, "certificate", "SLM_CA_FILE"]);
        }
        home.slm(&["rm", "m"]).ok();
        is_empty(&home);
        home.slmd(&["pull", &name])
            .refused()
            .complains(&[&host, "certificate", "SLM_CA_FILE"]);
    }
    // without a daemon
    let home = trusting(&authority);
    home.slmd(&["pull", &name]).ok();
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());
    // what should speak plain HTTP does not
    let plain = format!("http://{host}/library/m");
    trusting(&authority)
        .slmd(&["pull", "--insecure", &plain])
        .refused();
}

#[test]
fn a_certificate_for_another_name_and_a_file_without_one_are_said() {
    let authority = Authority::new();
    let registry = Registry::start_with_tls(&authority.certify(&["elsewhere.test"]));
    let name = format!("https://{}/library/m", registry.address());
    let home = trusting(&authority);
    home.slmd(&["pull", &name])
        .refused()
        .complains(&["certificate", "127.0.0.1"]);
    is_empty(&home);

    for (file, contents) in [
        ("nothing.pem", Some("no certificate")),
        ("absent.pem", None),
    ] {
        let mut home = Home::new();
        let path = home.path().join(file);
        if let Some(contents) = contents {
            fs::write(&path, contents).unwrap();
        }
        home.set("SLM_CA_FILE", path.display().to_string());
        home.slmd(&["pull", &name]).refused().complains(&[file]);
    }
}

fn address_of(registry: &Registry, host: &str) -> String {
    format!("{host}:{}", registry.address().port())
}

fn proxy_for(registry: &Registry) -> ConnectProxy {
    let at: SocketAddr = registry.address();
    ConnectProxy::start(&[(NAME, at), (ANY, at)], Some(AUTHORIZATION))
}

#[test]
fn a_proxy_with_a_password_is_gone_through() {
    let (authority, registry) = private_registry();
    let proxy = proxy_for(&registry);
    let host = address_of(&registry, NAME);
    let url = format!("http://{USER}:{PASSWORD}@{}", proxy.address());
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        goes_round(&authority, &host, &[(variable, &url)]);
        let asked = proxy.take_asked();
        let expected = format!("CONNECT {host} HTTP/1.1");
        assert!(!asked.is_empty(), "{variable}");
        assert!(asked.iter().all(|line| *line == expected), "{asked:?}");
    }

    let name = format!("https://{host}/library/m");
    let refusal = |url: String| {
        let mut home = trusting(&authority);
        home.set("HTTPS_PROXY", url);
        let refused = home.slmd(&["pull", &name]).refused();
        is_empty(&home);
        refused
    };
    let address = proxy.address();
    for wrong in [
        format!("http://{address}"),
        format!("http://{USER}:wr0ng@{address}"),
    ] {
        let refused = refusal(wrong).complains(&["proxy", "HTTPS_PROXY", "password"]);
        assert!(!refused.stderr.contains("wr0ng"), "{refused:?}");
    }
    // one that does not know the host
    let strangers = ConnectProxy::start(&[], None);
    refusal(format!("http://{}", strangers.address())).complains(&[NAME, "proxy"]);
    // one that is not there
    drop(proxy);
    refusal(format!("http://{USER}:{PASSWORD}@127.0.0.1:1")).complains(&[NAME, "HTTPS_PROXY"]);
}

#[test]
fn hosts_that_need_no_proxy_are_reached_without() {
    let (authority, registry) = private_registry();
    let proxy = proxy_for(&registry);
    let url = format!("http://{USER}:{PASSWORD}@{}", proxy.address());
    let host = address_of(&registry, ANY);
    goes_round(&authority, &host, &[("HTTPS_PROXY", &url)]);
    assert!(
        !proxy.take_asked().is_empty(),
        "it would go through the proxy"
    );
    goes_round(
        &authority,
        &host,
        &[("HTTPS_PROXY", &url), ("NO_PROXY", ANY)],
    );
    assert_eq!(proxy.take_asked(), Vec::<String>::new());
    // this machine needs none, whatever is set
    let here = registry.address().to_string();
    goes_round(&authority, &here, &[("HTTPS_PROXY", &url)]);
    assert_eq!(proxy.take_asked(), Vec::<String>::new());
    // a name that only the proxy knows
    let mut home = trusting(&authority);
    home.set("HTTPS_PROXY", url);
    home.set("NO_PROXY", NAME);
    let name = format!("https://{}/library/m", address_of(&registry, NAME));
    home.slmd(&["pull", &name]).refused().complains(&[NAME]);
    assert_eq!(proxy.take_asked(), Vec::<String>::new());
    is_empty(&home);
}
