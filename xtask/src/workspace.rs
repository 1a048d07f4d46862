//! Where the workspace, its target directory and its programs are, as cargo itself says.

use crate::process;
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// What `cargo metadata --no-deps` tells.
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Build outputs; `CARGO_TARGET_DIR` and cargo's configuration are honoured.
    pub(crate) target_dir: PathBuf,
    /// The packages as JSON.
    pub(crate) packages: Vec<Value>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let mut cargo = cargo();
        cargo
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(manifest_dir);
        let json = process::output(&mut cargo, "reading the workspace with `cargo metadata`")?;
        let metadata: Value = serde_json::from_str(&json).context("cargo metadata is not JSON")?;
        let path = |key: &str| {
            metadata[key]
                .as_str()
                .map(PathBuf::from)
                .with_context(|| format!("cargo metadata has no `{key}`"))
        };
        Ok(Self {
            root: path("workspace_root")?,
            target_dir: path("target_directory")?,
            packages: metadata["packages"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// Where `cargo xtask test` keeps what it fetches.
    pub(crate) fn fixtures_dir(&self) -> PathBuf {
        self.target_dir.join("fixtures")
    }

    /// A program of the release build.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let file = format!("{name}{}", env::consts::EXE_SUFFIX);
        self.target_dir.join("release").join(file)
    }

    /// A cargo command that runs at the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = cargo();
        cargo.current_dir(&self.root);
        cargo
    }
}

fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` sets these for this process; they would make a nested build look different from a plain one.
    for (key, _) in env::vars_os() {
        let text = key.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text == "CARGO_MANIFEST_DIR"
            || text == "CARGO_MANIFEST_PATH"
        {
            cargo.env_remove(&key);
        }
    }
    cargo
}

/// Whether `path` is a file.
pub(crate) fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file())
}
