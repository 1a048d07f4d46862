//! Which crate of the workspace may use which other.
//!
//! The leaves know nothing of each other; arrows point one way; nothing that ships uses tests or xtask. A crate that
//! is missing here is a problem, so a new one is a decision and not an accident.

use serde_json::Value;

/// Package → packages of this workspace that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("slm-api", &[]),
    ("slm-benchmarks", &[]),
    ("slm-catalog", &[]),
    ("slm-chat", &[]),
    ("slm-gguf", &[]),
    ("slm-kernels", &[]),
    ("slm-machine", &[]),
    ("slm-modelfile", &[]),
    ("slm-registry", &["slm-modelfile"]),
    ("slm-engine", &["slm-kernels", "slm-gguf", "slm-machine"]),
    (
        "slm-daemon",
        &[
            "slm-api",
            "slm-benchmarks",
            "slm-catalog",
            "slm-chat",
            "slm-engine",
            "slm-gguf",
            "slm-kernels",
            "slm-machine",
            "slm-registry",
        ],
    ),
    (
        "slm-cli",
        &[
            "slm-api",
            "slm-benchmarks",
            "slm-catalog",
            "slm-machine",
            "slm-modelfile",
        ],
    ),
    (
        "slm-fuzz",
        &[
            "slm-chat",
            "slm-engine",
            "slm-gguf",
            "slm-modelfile",
            "slm-registry",
        ],
    ),
    ("slm-synth", &["slm-gguf", "slm-kernels"]),
    ("slm-tests", &["slm-api"]),
    ("xtask", &[]),
];

/// What the tests of a package may use besides.
const ALLOWED_IN_TESTS: &[(&str, &str)] = &[("slm-kernels", "slm-gguf")];

/// Problems with the dependencies of `packages` (from `cargo metadata`).
pub(super) fn check(packages: &[Value]) -> Vec<String> {
    let members: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            problems.push(format!(
                "{name}: a new crate; say in xtask/src/tidy/arrows.rs which others it may use"
            ));
            continue;
        };
        let used = package["dependencies"].as_array().into_iter().flatten();
        for dependency in used {
            let is_for_tests = dependency["kind"] == "dev";
            let dependency = dependency["name"].as_str().unwrap_or_default();
            let is_fine = !members.contains(&dependency)
                || allowed.contains(&dependency)
                || (is_for_tests && ALLOWED_IN_TESTS.contains(&(name, dependency)));
            if !is_fine {
                problems.push(format!(
                    "{name}: must not depend on {dependency}: arrows point one way (see ARCHITECTURE.md)"
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, uses: &[&str]) -> Value {
        let dependencies: Vec<Value> = uses.iter().map(|n| json!({ "name": n })).collect();
        json!({ "name": name, "dependencies": dependencies })
    }

    #[test]
    fn allowed_and_outside_crates_pass() {
        let packages = [
            package("slm-engine", &["slm-gguf", "serde"]),
            package("slm-gguf", &["thiserror"]),
        ];
        assert_eq!(check(&packages), Vec::<String>::new());
    }

    #[test]
    fn tests_may_use_what_the_second_table_says() {
        let mut kernels = package("slm-kernels", &["slm-gguf"]);
        let packages = [kernels.clone(), package("slm-gguf", &[])];
        assert_eq!(check(&packages).len(), 1);
        kernels["dependencies"][0]["kind"] = "dev".into();
        let packages = [kernels, package("slm-gguf", &[])];
        assert_eq!(check(&packages), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_arrow_and_an_unknown_crate_are_named() {
        let packages = [
            package("slm-gguf", &["slm-engine"]),
            package("slm-engine", &[]),
            package("slm-new", &[]),
        ];
        let problems = check(&packages);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("slm-gguf: must not depend on slm-engine"));
        assert!(problems[1].starts_with("slm-new: a new crate"));
    }

    #[test]
    fn the_table_has_no_cycle() {
        // repeatedly take away crates whose allowed dependencies are all gone; a cycle would never go
        let mut left: Vec<_> = ALLOWED.to_vec();
        while !left.is_empty() {
            let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
            let before = left.len();
            left.retain(|(_, uses)| uses.iter().any(|used| names.contains(used)));
            assert!(left.len() < before, "cycle among {names:?}");
        }
    }
}
