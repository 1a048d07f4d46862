//! Taking turns: every program in every variant once a round, and what each printed.

use super::{
    options::{ModelChoice, Options},
    programs::Program,
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::Path,
    process::{ExitStatus, Stdio},
};

/// A test: prompt tokens, single tokens, depth.
pub(super) type Test = (u64, u64, u64);

/// What one program in one variant did with one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) program: &'static str,
    /// The variant's arguments; "" for the default.
    pub(super) variant: String,
    /// Tokens a second of every repetition of every round.
    pub(super) speeds: BTreeMap<Test, Vec<f64>>,
    /// Shares of the machine's ceiling, where the program knows them.
    pub(super) shares: BTreeMap<Test, Vec<f64>>,
    /// Version and build, as it says.
    pub(super) version: String,
    /// Why it stopped taking part.
    pub(super) failure: Option<String>,
}

/// All programs on one file.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    pub(super) label: String,
    pub(super) size_bytes: u64,
    pub(super) records: Vec<Record>,
}

/// Lets the programs take turns on `file`.
pub(super) fn compare(
    options: &Options,
    programs: &[Program],
    model: &ModelChoice,
    file: &Path,
) -> Result<Compared> {
    let size_bytes = file
        .metadata()
        .with_context(|| format!("cannot read `{}`", file.display()))?
        .len();
    let entrants: Vec<(&Program, &[String])> = programs
        .iter()
        .flat_map(|p| p.variants.iter().map(move |v| (p, v.as_slice())))
        .collect();
    let mut records: Vec<Record> = entrants
        .iter()
        .map(|(program, variant)| Record {
            program: program.name,
            variant: variant.join(" "),
            ..Record::default()
        })
        .collect();
    for round in 0..options.rounds {
        eprintln!(
            "{}: round {} of {}",
            model.label(),
            round + 1,
            options.rounds
        );
        // another one begins each round, so that none always runs on a machine that has just rested
        for turn in 0..entrants.len() {
            let index = (turn + round) % entrants.len();
            let (program, variant) = entrants[index];
            if records[index].failure.is_none()
                && let Err(why) = take_turn(options, program, variant, file, &mut records[index])
            {
                eprintln!("  {} {}: {why}", program.name, variant.join(" "));
                records[index].failure = Some(why);
            }
        }
    }
    Ok(Compared {
        label: model.label(),
        size_bytes,
        records,
    })
}

/// One run of one program; why it failed otherwise.
fn take_turn(
    options: &Options,
    program: &Program,
    variant: &[String],
    file: &Path,
    record: &mut Record,
) -> Result<(), String> {
    let mut command = program.command(variant);
    command.arg("-m").arg(file).args(["-o", "json"]);
    for (flag, value) in [
        ("-p", options.n_prompt),
        ("-n", options.n_gen),
        ("-t", options.threads),
        ("-r", options.repetitions),
    ] {
        command.arg(flag).arg(value.to_string());
    }
    if program.has_depth {
        let depths: Vec<String> = options.depths.iter().map(usize::to_string).collect();
        command.arg("-d").arg(depths.join(","));
    } else if !options.depths.contains(&0) {
        return Err("cannot fill the cache before a test".to_owned());
    }
    let out = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot be run: {error}"))?;
    if !out.status.success() {
        return Err(why(&String::from_utf8_lossy(&out.stderr), out.status));
    }
    read(&String::from_utf8_lossy(&out.stdout), record)
}

/// Adds what a program printed to its record.
fn read(printed: &str, record: &mut Record) -> Result<(), String> {
    let json = match (printed.find('['), printed.rfind(']')) {
        (Some(start), Some(end)) if start < end => &printed[start..=end],
        _ => return Err("printed no results".to_owned()),
    };
    let rows: Vec<Value> =
        serde_json::from_str(json).map_err(|error| format!("printed no JSON: {error}"))?;
    for row in &rows {
        let count = |key: &str| row[key].as_u64().unwrap_or(0);
        let test = (count("n_prompt"), count("n_gen"), count("n_depth"));
        let samples = row["samples_ts"].as_array().into_iter().flatten();
        let samples: Vec<f64> = samples.filter_map(Value::as_f64).collect();
        if samples.is_empty() {
            return Err("printed no speeds".to_owned());
        }
        record.speeds.entry(test).or_default().extend(samples);
        if let Some(share) = row["ceiling_share"].as_f64() {
            record.shares.entry(test).or_default().push(share);
        }
        record.version = version(row);
    }
    Ok(())
}

fn version(row: &Value) -> String {
    if let Some(version) = row["build_version"].as_str() {
        let tier = row["tier"].as_str().unwrap_or("?");
        return format!("{version}, tier {tier}");
    }
    let number = row["build_number"].as_u64().unwrap_or(0);
    let commit = row["build_commit"].as_str().unwrap_or("unknown");
    format!("build {number}, commit {commit}")
}

/// A failure in few words.
fn why(stderr: &str, status: ExitStatus) -> String {
    if stderr.contains("is not supported; supported are") {
        return "not supported".to_owned();
    }
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("crashed (signal {signal})");
    }
    let lines = || stderr.lines().map(str::trim).filter(|l| !l.is_empty());
    let says_error = |line: &&str| line.to_ascii_lowercase().contains("error");
    let line = lines().find(says_error).or_else(|| lines().next_back());
    let text = line.map_or_else(|| status.to_string(), str::to_owned);
    // places of this machine are nobody's business
    let words = text.split_whitespace().map(|word| {
        let name = word.trim_matches(['\'', '"', '`', ':']);
        if name.starts_with('/') { "…" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_rounds_are_kept_together() {
        let printed = r#"noise
            [{"build_commit":"abc","build_number":7,"n_prompt":8,"n_gen":0,"n_depth":0,"samples_ts":[1.0,3.0]},
             {"build_commit":"abc","build_number":7,"n_prompt":0,"n_gen":4,"samples_ts":[2.5]}]"#;
        let mut record = Record::default();
        read(printed, &mut record).unwrap();
        read(printed, &mut record).unwrap();
        assert_eq!(record.speeds[&(8, 0, 0)], [1.0, 3.0, 1.0, 3.0]);
        assert_eq!(record.speeds[&(0, 4, 0)], [2.5, 2.5]);
        assert_eq!(record.version, "build 7, commit abc");
        for bad in ["", "[", "[1]", "[{}]"] {
            assert!(read(bad, &mut Record::default()).is_err(), "{bad:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn failures_are_said_in_few_words() {
        use std::os::unix::process::ExitStatusExt;
        let failed = ExitStatus::from_raw(1 << 8);
        let ours = "error: architecture `x` is not supported; supported are: llama";
        assert_eq!(why(ours, failed), "not supported");
        assert_eq!(why("", ExitStatus::from_raw(11)), "crashed (signal 11)");
        assert_eq!(
            why("load\nerror: failed to load '/a/b.gguf'\nbye", failed),
            "error: failed to load …"
        );
    }
}
