//! `slm verify`: every blob of the store read again and compared with its digest.

use slm_api::Client;
use slm_api::care::{StoreProblem, VerifyLine, VerifyRequest, VerifySummary};

use crate::failure::Exit;
use crate::format::Format;
use crate::progress::FileBar;
use crate::text::size;
use crate::ui::Ui;

/// Arguments of `slm verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these models (default: the whole store)
    #[arg(value_name = "MODEL")]
    pub models: Vec<String>,
    /// Fetch what is damaged again, from where it came
    #[arg(long)]
    pub repair: bool,
    /// Allow a registry without TLS for that
    #[arg(long)]
    pub insecure: bool,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What was found, for programs.
#[derive(Debug, Default, serde::Serialize)]
struct Findings {
    problems: Vec<StoreProblem>,
    summary: VerifySummary,
}

/// Verifies; the exit code is 1 when damage remains.
///
/// # Errors
/// When the store cannot be read at all.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let request = VerifyRequest {
        models: args.models,
        repair: args.repair.then_some(true),
        insecure: args.insecure.then_some(true),
    };
    let mut lines = client.verify(&request).await?;
    let mut findings = Findings::default();
    let mut bar: Option<(String, FileBar)> = None;
    while let Some(line) = lines.next().await {
        let line = line?;
        match (&line.problem, line.total) {
            (None, Some(total)) => {
                if bar.as_ref().is_none_or(|(label, _)| *label != line.status) {
                    bar = Some((
                        line.status.clone(),
                        FileBar::new(line.status.clone(), total, ui),
                    ));
                }
                if let Some((_, bar)) = &bar {
                    bar.set(line.completed.unwrap_or(0));
                }
            }
            (Some(problem), _) => {
                if line.status != "problem" {
                    finish(bar.take());
                }
                take(&mut findings, &line.status, problem);
                if args.format == Format::Text {
                    ui.model_text(&sentence(&line))?;
                }
            }
            (None, None) => {}
        }
        if let Some(summary) = line.summary {
            findings.summary = summary;
        }
    }
    finish(bar);
    args.format.print(
        &findings,
        |findings| conclusion(&findings.summary, args.repair),
        ui,
    )?;
    let summary = &findings.summary;
    Ok(if summary.problems == summary.repaired {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn finish(bar: Option<(String, FileBar)>) {
    if let Some((_, bar)) = bar {
        bar.finish();
    }
}

/// The last that was said of a problem counts.
fn take(findings: &mut Findings, status: &str, problem: &StoreProblem) {
    findings
        .problems
        .retain(|known| (&known.digest, &known.models) != (&problem.digest, &problem.models));
    if status != "repaired" {
        findings.problems.push(problem.clone());
    }
}

/// A line about a problem.
fn sentence(line: &VerifyLine) -> String {
    let Some(problem) = &line.problem else {
        return String::new();
    };
    let what = match &problem.digest {
        Some(digest) => digest.clone(),
        None => "manifest".to_owned(),
    };
    let models = match problem.models.as_slice() {
        [] => "of no model".to_owned(),
        models => format!("of {}", models.join(", ")),
    };
    match (line.status.as_str(), &problem.error) {
        ("repaired", _) => format!("repaired {what} {models}\n"),
        (_, Some(error)) => format!("cannot repair {what} {models}: {error}\n"),
        _ => format!("{} {what} {models}: {}\n", problem.kind, problem.reason),
    }
}

fn conclusion(summary: &VerifySummary, repairs: bool) -> String {
    let looked = format!(
        "{} in {} models and {} blobs",
        size::bytes(summary.bytes),
        summary.models,
        summary.blobs
    );
    let left = summary.problems - summary.repaired.min(summary.problems);
    match (summary.problems, left) {
        (0, _) => format!("{looked}: all whole\n"),
        (_, 0) => format!("{looked}: {} repaired, all whole\n", summary.repaired),
        (_, left) if repairs => format!("{looked}: {left} not repaired\n"),
        (_, left) => format!(
            "{looked}: {left} damaged; `slm verify --repair` fetches what is damaged again\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: &str, error: Option<&str>) -> VerifyLine {
        VerifyLine {
            status: status.to_owned(),
            problem: Some(StoreProblem {
                kind: "damaged".to_owned(),
                digest: Some("sha256:01".to_owned()),
                models: vec!["a:latest".to_owned(), "b:1".to_owned()],
                reason: "its bytes hash to sha256:02".to_owned(),
                error: error.map(str::to_owned),
            }),
            ..VerifyLine::default()
        }
    }

    #[test]
    fn a_problem_is_named_with_its_models() {
        assert_eq!(
            sentence(&line("problem", None)),
            "damaged sha256:01 of a:latest, b:1: its bytes hash to sha256:02\n"
        );
        assert_eq!(
            sentence(&line("not repaired", Some("no luck"))),
            "cannot repair sha256:01 of a:latest, b:1: no luck\n"
        );
        let mut findings = Findings::default();
        for status in ["problem", "not repaired"] {
            take(
                &mut findings,
                status,
                line(status, None).problem.as_ref().unwrap(),
            );
            assert_eq!(findings.problems.len(), 1);
        }
        take(
            &mut findings,
            "repaired",
            line("", None).problem.as_ref().unwrap(),
        );
        assert_eq!(findings.problems.len(), 0);
    }

    #[test]
    fn the_last_line_says_what_remains() {
        let summary = |problems, repaired| VerifySummary {
            models: 2,
            blobs: 5,
            bytes: 1_500_000,
            problems,
            repaired,
        };
        let looked = "1.5 MB in 2 models and 5 blobs: ";
        let said = |problems, repaired, repairs| {
            let text = conclusion(&summary(problems, repaired), repairs);
            text.strip_prefix(looked).unwrap().to_owned()
        };
        assert_eq!(said(0, 0, false), "all whole\n");
        assert_eq!(said(2, 2, true), "2 repaired, all whole\n");
        assert_eq!(said(3, 1, true), "2 not repaired\n");
        assert!(said(1, 0, false).contains("--repair"));
    }
}
