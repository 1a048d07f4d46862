//! The page with the results: what was compared, on what, how, and the ratios of medians.

use super::{
    options::Options,
    runs::{Compared, Record, Test},
};
use std::collections::BTreeSet;

/// All that the page says.
pub(super) struct Page<'a> {
    pub(super) options: &'a Options,
    pub(super) commit: String,
    pub(super) machine: Vec<String>,
    pub(super) compared: &'a [Compared],
}

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask peers`; not to be edited. Tokens a second; higher is better. Programs take turns, round by
round, on the same file with the same number of threads. A peer's fastest variant counts; a ratio above 1 means that slm
is faster. `ppN` is a prompt of N tokens, `tgN` are N single tokens, `@ dN` is after N tokens that are not timed.

";

/// The page as Markdown.
pub(super) fn page(page: &Page<'_>) -> String {
    let Page { options, .. } = page;
    let mut text = HEAD.to_owned();
    text.push_str(&format!("    {}\n\n", options.command));
    for point in &page.machine {
        text.push_str(&format!("- {point}\n"));
    }
    text.push_str(&format!(
        "- {} threads, {} rounds of {} repetitions; medians of all\n- slm at commit {}\n",
        options.threads, options.rounds, options.repetitions, page.commit
    ));
    for (program, version) in versions(page.compared) {
        text.push_str(&format!("- {program}: {version}\n"));
    }
    for compared in page.compared {
        text.push('\n');
        text.push_str(&section(compared));
    }
    text
}

fn versions(compared: &[Compared]) -> BTreeSet<(&str, &str)> {
    let records = compared.iter().flat_map(|c| &c.records);
    records
        .filter(|r| !r.version.is_empty())
        .map(|r| (r.program, r.version.as_str()))
        .collect()
}

/// The table of one file, and what failed.
fn section(compared: &Compared) -> String {
    let mut programs: Vec<&str> = Vec::new();
    for record in &compared.records {
        if !programs.contains(&record.program) {
            programs.push(record.program);
        }
    }
    let (ours, peers) = programs
        .split_first()
        .map_or(("", &[][..]), |(o, p)| (*o, p));
    let mut text = format!(
        "## {} ({:.0} MB)\n\n| test | {ours}, median (min … max) | of ceiling |",
        compared.label,
        compared.size_bytes as f64 / 1e6
    );
    for peer in peers {
        text.push_str(&format!(" {peer} (variant) | ratio |"));
    }
    text.push_str("\n|---|---:|---:|");
    text.push_str(&"---:|---:|".repeat(peers.len()));
    text.push('\n');
    let tests: BTreeSet<Test> = compared
        .records
        .iter()
        .flat_map(|r| r.speeds.keys().copied())
        .collect();
    let mut tests: Vec<Test> = tests.into_iter().collect();
    // by depth, prompts first
    tests.sort_by_key(|&(n_prompt, n_gen, n_depth)| (n_depth, n_gen, n_prompt));
    for test in tests {
        text.push_str(&row(compared, ours, peers, test));
    }
    for record in &compared.records {
        if let Some(failure) = &record.failure {
            let name = format!("{} {}", record.program, record.variant);
            text.push_str(&format!("\n{}: {failure}\n", name.trim()));
        }
    }
    text
}

fn row(compared: &Compared, ours: &str, peers: &[&str], test: Test) -> String {
    let own = best(compared, ours, test);
    let mut text = format!("| {} |", name(test));
    match own {
        Some((record, median)) => {
            let speeds = &record.speeds[&test];
            let min = speeds.iter().copied().fold(f64::INFINITY, f64::min);
            let max = speeds.iter().copied().fold(0.0, f64::max);
            text.push_str(&format!(" {median:.1} ({min:.1} … {max:.1}) |"));
            let shares = record.shares.get(&test).filter(|shares| !shares.is_empty());
            let share = shares.map(|shares| format!(" {:.0} % |", median_of(shares) * 100.0));
            text.push_str(&share.unwrap_or_else(|| " – |".to_owned()));
        }
        None => text.push_str(" – | – |"),
    }
    for peer in peers {
        let Some((record, median)) = best(compared, peer, test) else {
            text.push_str(" – | – |");
            continue;
        };
        let variant = match record.variant.as_str() {
            "" => "default",
            variant => variant,
        };
        text.push_str(&format!(" {median:.1} (`{variant}`) |"));
        let ratio = own.map(|(_, own)| format!(" {:.2} |", own / median));
        text.push_str(&ratio.unwrap_or_else(|| " – |".to_owned()));
    }
    text.push('\n');
    text
}

/// The variant of `program` with the highest median in `test`, and that median.
fn best<'a>(compared: &'a Compared, program: &str, test: Test) -> Option<(&'a Record, f64)> {
    let records = compared.records.iter().filter(|r| r.program == program);
    records
        .filter_map(|record| Some((record, median_of(record.speeds.get(&test)?))))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Of at least one value.
fn median_of(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

fn name((n_prompt, n_gen, n_depth): Test) -> String {
    let what = match (n_prompt, n_gen) {
        (n_prompt, 0) => format!("pp{n_prompt}"),
        (0, n_gen) => format!("tg{n_gen}"),
        (n_prompt, n_gen) => format!("pp{n_prompt}+tg{n_gen}"),
    };
    match n_depth {
        0 => what,
        n_depth => format!("{what} @ d{n_depth}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(program: &'static str, variant: &str, speeds: &[f64]) -> Record {
        let mut record = Record {
            program,
            variant: variant.to_owned(),
            ..Record::default()
        };
        if !speeds.is_empty() {
            record.speeds.insert((512, 0, 0), speeds.to_vec());
        }
        record
    }

    #[test]
    fn a_peers_best_variant_counts_and_failures_are_said() {
        let mut broken = record("ik_llama.cpp", "-rtr 1", &[]);
        broken.failure = Some("crashed (signal 11)".to_owned());
        let mut own = record("slm", "", &[30.0, 10.0, 20.0]);
        own.shares.insert((512, 0, 0), vec![0.5]);
        let compared = Compared {
            label: "tiny".to_owned(),
            size_bytes: 2_000_000,
            records: vec![
                own,
                record("llama.cpp", "", &[8.0]),
                record("llama.cpp", "-fa on", &[10.0, 10.0]),
                broken,
            ],
        };
        let text = section(&compared);
        assert_eq!(
            text,
            "## tiny (2 MB)\n\n\
             | test | slm, median (min … max) | of ceiling | llama.cpp (variant) | ratio \
             | ik_llama.cpp (variant) | ratio |\n\
             |---|---:|---:|---:|---:|---:|---:|\n\
             | pp512 | 20.0 (10.0 … 30.0) | 50 % | 10.0 (`-fa on`) | 2.00 | – | – |\n\
             \nik_llama.cpp -rtr 1: crashed (signal 11)\n"
        );
    }
}
