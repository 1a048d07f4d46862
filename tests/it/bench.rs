//! `slmd bench` runs what llama-bench runs and says it in the same words. What it measures is not judged here.

use serde_json::Value;
use slm_tests::{Daemon, Home, golden_model};

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
