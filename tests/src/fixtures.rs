//! Where the tests' material is: golden files in the repository, fetched ones under `SLM_TEST_FIXTURES`, and the
//! programs beside the test executable.

use serde_json::Value;
use std::{env, fs, path::PathBuf};

/// A file of `tests/data`.
pub fn data(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(name);
    assert!(path.exists(), "`{}` is not there", path.display());
    path
}

/// A tiny model with known outputs.
pub fn golden_model(name: &str) -> PathBuf {
    data(&format!("golden/{name}.gguf"))
}

/// The known outputs.
pub fn golden_json(name: &str) -> Value {
    let path = data(&format!("golden/{name}.json"));
    let text = fs::read_to_string(&path).expect("golden files are readable");
    serde_json::from_str(&text).expect("golden files are JSON")
}

/// A fetched file.
///
/// # Panics
/// When it was not fetched: without it the test would prove nothing.
pub fn fixture(name: &str) -> PathBuf {
    let Some(folder) = env::var_os("SLM_TEST_FIXTURES") else {
        panic!("this test needs fetched fixtures: run it with `cargo xtask test`");
    };
    let path = PathBuf::from(folder).join(name);
    assert!(
        path.exists(),
        "the fixture `{}` is missing: run `cargo xtask test` (with `--full` for larger models)",
        path.display()
    );
    path
}

/// A fetched file that not every machine can have.
pub(crate) fn optional(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os("SLM_TEST_FIXTURES")?).join(name);
    path.exists().then_some(path)
}

/// The real starter model.
pub fn starter_model() -> PathBuf {
    fixture("smollm2-135m-instruct-q4_1.gguf")
}

/// A Python with the `ollama` client.
pub fn python() -> PathBuf {
    fixture("python/bin/python3")
}

/// A Python with LangChain and LiteLLM.
pub fn large_python() -> PathBuf {
    fixture("python-full/bin/python3")
}

/// The folder of the build outputs of the running test's profile.
pub(crate) fn build_dir() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    let deps = test.parent().expect("a program lies in a folder");
    deps.parent().expect("target/PROFILE/deps").to_owned()
}

/// A program of this workspace, built before the tests.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = build_dir().join(format!("{name}{}", env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "`{}` is not built: run the tests with `cargo xtask test`",
        path.display()
    );
    path
}
