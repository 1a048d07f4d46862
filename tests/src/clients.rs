//! Official clients in JavaScript, and the programs that drive them.

use crate::{browser::node, fixtures};
use std::path::PathBuf;

/// A program of `tests/clients`.
pub fn client_script(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients");
    let path = folder.join(name);
    assert!(path.exists(), "`{}` is not there", path.display());
    path
}

/// `node`, and the folder where npm installed the clients.
///
/// # Panics
/// When there is none: a client that is not tried proves nothing.
pub fn clients_node() -> (&'static str, PathBuf) {
    let Some(node) = node() else {
        panic!(
            "this test needs Node.js 20.19 or later with npm on the search path: install it and run `cargo xtask test`"
        );
    };
    let ready = fixtures::fixture("clients/ready");
    let folder = ready.parent().expect("a file lies in a folder");
    (node, folder.to_owned())
}
