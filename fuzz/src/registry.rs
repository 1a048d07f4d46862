//! Names and manifests: a name is a safe path, and both survive printing and parsing.
use crate::input::Input;
use slm_registry::{Manifest, ModelName};

/// `n` and a name, or `m` and a manifest.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() {
        b'n' => name(&input.text()),
        _ => manifest(input.rest()),
    }
}

fn name(text: &str) {
    let Ok(name) = text.parse::<ModelName>() else {
        return;
    };
    let parts = [name.host(), name.namespace(), name.model(), name.tag()];
    for part in parts {
        assert!(!part.is_empty() && part.is_ascii() && part.len() <= 350);
        assert!(!part.starts_with('.') && !part.contains(['/', '\\', '\0', '%', '@', ' ']));
    }
    for printed in [name.to_string(), name.full()] {
        let again: ModelName = printed.parse().expect("a printed name parses");
        assert_eq!(again, name);
        assert!(again.is_same_model(&name));
    }
}

fn manifest(json: &[u8]) {
    let Ok(manifest) = Manifest::parse(json) else {
        return;
    };
    assert!(i64::try_from(manifest.size()).is_ok());
    assert_eq!(manifest.blobs().count(), manifest.layers.len() + 1);
    let again = Manifest::parse(&manifest.to_json()).expect("a printed manifest parses");
    assert_eq!(again, manifest);
}
