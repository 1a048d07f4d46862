//! `slmd bench` runs what llama-bench runs and says it in the same words. What it measures is not judged here.

use serde_json::Value;
use slm_tests::{Daemon, Home, golden_model};
use std::fs;

#[track_caller]
fn rows(printed: &str) -> Vec<Value> {
    serde_json::from_str(printed).unwrap_or_else(|e| panic!("{e}: {printed:?}"))
}

fn file() -> String {
    golden_model("llama").display().to_string()
}

#[test]
fn a_plain_file_is_measured_without_a_daemon() {
    let home = Home::new();
    let file = file();
    let line = [
        "bench", "-m", &file, "-p", "8", "-n", "4", "-pg", "6,2", "-d", "0,16", "-t", "1", "-r",
        "2", "-o", "json",
    ];
    let rows = rows(&home.slmd(&line).ok().stdout);
    let tests: Vec<&str> = rows.iter().filter_map(|r| r["test"].as_str()).collect();
    assert_eq!(
        tests,
        [
            "pp8",
            "tg4",
            "pp6+tg2",
            "pp8 @ d16",
            "tg4 @ d16",
            "pp6+tg2 @ d16"
        ]
    );
    for row in &rows {
        assert_eq!(row["model_filename"], file.as_str());
        assert_eq!(row["n_threads"], 1);
        for name in ["samples_ns", "samples_ts"] {
            let samples = row[name].as_array().expect("an array");
            let is_positive = |sample: &Value| sample.as_f64().is_some_and(|x| x > 0.0);
            assert!(
                samples.len() == 2 && samples.iter().all(is_positive),
                "{row}"
            );
        }
        let number = |name: &str| {
            row[name]
                .as_f64()
                .unwrap_or_else(|| panic!("{name}: {row}"))
        };
        assert!(number("min_ts") <= number("median_ts"), "{row}");
        assert!(number("median_ts") <= number("max_ts"), "{row}");
        assert!(number("model_size") > 0.0 && number("model_n_params") > 0.0);
    }
    assert!(!home.models().exists(), "nothing is made for a plain file");
}

#[test]
fn a_stored_model_is_found_by_its_name() {
    let mut home = Home::new();
    let daemon = Daemon::start(&mut home);
    home.create("tiny", &golden_model("llama"));
    drop(daemon);
    let table = home
        .slmd(&["bench", "-m", "tiny", "-p", "4", "-n", "0", "-r", "1"])
        .ok()
        .stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("| model | size |"), "{table}");
    assert!(lines[2].contains("| pp4 |"), "{table}");
}

#[test]
fn what_cannot_be_measured_is_said_plainly() {
    let home = Home::new();
    let no_gguf = home.write("text.gguf", "no model");
    let no_gguf = no_gguf.display().to_string();
    let file = file();
    let refused = |arguments: &[&str], words: &[&str]| {
        let mut line = vec!["bench", "-m"];
        line.extend(arguments);
        home.slmd(&line).refused().complains(words);
    };
    refused(&["none.gguf"], &["no file", "none.gguf"]);
    refused(&["none"], &["neither a file nor a stored model"]);
    refused(&[&no_gguf], &["not a GGUF file"]);
    refused(&[&file, "-d", "100000000"], &["context"]);
    refused(&[&file, "-p", "0", "-n", "0"], &["nothing to test"]);
    refused(&[&file, "--cpu", "abacus"], &["no CPU tier"]);
}

/// The runs that are kept in a home, the newest first, as their files have them.
#[track_caller]
fn kept(home: &Home) -> Vec<Value> {
    let folder = home.path().join("data/slm/benchmarks");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    paths.reverse();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).expect("it is readable");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    };
    paths.iter().map(read).collect()
}

#[test]
fn what_is_measured_is_kept_and_told_by_the_daemon_of_that_machine() {
    let mut home = Home::new();
    let file = file();
    let quick = ["bench", "-m", &file, "-p", "4", "-n", "2", "-r", "1"];
    let run = home.slmd(&quick).ok();
    assert_eq!(run.stderr, "", "nothing but results where nobody looks");
    let runs = kept(&home);
    assert_eq!(runs.len(), 1);
    let tests: Vec<&Value> = (runs[0]["results"].as_array().expect("an array"))
        .iter()
        .map(|result| &result["test"])
        .collect();
    assert_eq!(tests, ["pp4", "tg2"]);

    let daemon = Daemon::start(&mut home);
    home.create("tiny", &golden_model("llama"));
    let line = [
        "bench",
        "serve",
        "-m",
        "tiny",
        "--num-prompts",
        "2",
        "--max-concurrency",
        "2",
        "--random-input-len",
        "4",
        "--random-output-len",
        "2",
    ];
    home.slm(&line).ok();
    let told = daemon.http().get("/api/bench").json()["runs"].clone();
    let told = told.as_array().expect("an array");
    assert_eq!(told.len(), 2);
    assert_eq!(
        (&told[0]["kind"], &told[1]["kind"]),
        (&"server".into(), &"model".into())
    );
    let server = &told[0]["results"][0];
    assert_eq!(
        (&server["max_concurrency"], &server["completed"]),
        (&2.into(), &2.into())
    );
    assert_eq!(told[1]["results"].as_array().map(Vec::len), Some(2));
    for row in told[1]["results"].as_array().expect("an array") {
        assert_eq!(row["model_filename"], "llama.gguf", "no folder is told");
    }
    for (told, kept) in told.iter().zip(kept(&home)) {
        assert_eq!(told["id"], kept["id"]);
    }
}

#[test]
fn as_many_runs_are_kept_as_the_person_wants() {
    let mut home = Home::new();
    let file = file();
    let quick = ["bench", "-m", &file, "-p", "2", "-n", "0", "-r", "1"];
    home.set("SLM_BENCHMARKS", "0");
    home.slmd(&quick).ok();
    assert_eq!(kept(&home).len(), 0);
    home.set("SLM_BENCHMARKS", "2");
    for _ in 0..3 {
        home.slmd(&quick).ok();
    }
    assert_eq!(kept(&home).len(), 2);
    home.set("SLM_BENCHMARKS", "0");
    let daemon = Daemon::start(&mut home);
    let runs = daemon.http().get("/api/bench").json()["runs"].clone();
    assert_eq!(runs, Value::Array(Vec::new()));
}

#[test]
fn a_folder_that_cannot_be_written_costs_no_measurement() {
    let home = Home::new();
    let file = file();
    fs::create_dir_all(home.path().join("data")).expect("a temporary home is writable");
    home.write("data/slm", "no folder");
    let run = home
        .slmd(&[
            "bench", "-m", &file, "-p", "2,3", "-n", "0", "-r", "1", "-o", "json",
        ])
        .ok();
    assert_eq!(rows(&run.stdout).len(), 2);
    assert_eq!(run.stderr.matches("not kept").count(), 1, "{}", run.stderr);
}
