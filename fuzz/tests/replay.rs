//! Runs every target on its stored inputs: the seeds that fuzzing starts from, and what it once found. Prefixes of the
//! seeds come on top, since what ends early is the commonest surprise.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

/// Prefixes tried of each input.
const MAX_PREFIXES: usize = 64;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn inputs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// Runs one target on everything that is stored for it.
fn replay(name: &str) {
    let found = slm_fuzz::TARGETS.iter().find(|(known, _)| *known == name);
    let (_, run) = found.unwrap();
    let seeds = inputs(&folder("corpus").join(name));
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let regressions = inputs(&folder("regressions").join(name));
    for (path, bytes) in seeds.iter().chain(&regressions) {
        let step = (bytes.len() / MAX_PREFIXES).max(1);
        let prefixes = (0..bytes.len()).step_by(step);
        for len in prefixes.chain([bytes.len()]) {
            let outcome = catch_unwind(|| run(&bytes[..len]));
            assert!(
                outcome.is_ok(),
                "{name} fails on {len} bytes of {}",
                path.display()
            );
        }
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_has_its_test_and_its_program() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(slm_fuzz::TARGETS.map(|(name, _)| name), tested);
            for name in tested {
                assert!(folder("fuzz_targets").join(format!("{name}.rs")).is_file(), "{name}");
            }
        }
    };
}

replays!(answer gguf go_template jinja_template modelfile registry tar text_stream thinking tokenizer tool_calls);
