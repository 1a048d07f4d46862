//! `slm show`: what a model is made of, in sections or one part of it as it is.

use std::fmt::Write;

use serde_json::Value;
use slm_api::Client;
use slm_api::care::ShowProvenance;
use slm_api::ollama::{ShowRequest, ShowResponse};

use crate::failure::Exit;
use crate::format::Format;
use crate::models;
use crate::text::{size, table};
use crate::ui::Ui;

/// Lines of a long text in the overview.
const SHOWN_LINES: usize = 2;
/// Columns of an array in the overview.
const ARRAY_WIDTH: usize = 10;

/// Arguments of `slm show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a model
    pub model: String,
    #[command(flatten)]
    part: Part,
    /// All metadata and tensors too
    #[arg(short, long)]
    pub verbose: bool,
    /// How to print it; JSON is all that the daemon says of the model
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["license", "modelfile", "parameters", "system", "template"])]
    format: Format,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Part {
    /// Only the licence
    #[arg(long)]
    license: bool,
    /// Only the Modelfile
    #[arg(long)]
    modelfile: bool,
    /// Only the parameters
    #[arg(long)]
    parameters: bool,
    /// Only the system message
    #[arg(long)]
    system: bool,
    /// Only the template
    #[arg(long)]
    template: bool,
    /// Only where it came from
    #[arg(long)]
    provenance: bool,
}

/// Prints the overview or the part.
///
/// # Errors
/// When there is no such model.
pub(crate) async fn run(args: Args, client: &Client, ui: Ui) -> anyhow::Result<Exit> {
    let request = ShowRequest {
        model: args.model.clone(),
        verbose: args.verbose.then_some(true),
        provenance: args.part.provenance.then_some(true),
        ..ShowRequest::default()
    };
    let info = match client.show(&request).await {
        Ok(info) => info,
        Err(error) => return Err(models::explain(client, &args.model, error).await),
    };
    if args.format == Format::Json {
        args.format.print(&info, |_| String::new(), ui)?;
        return Ok(Exit::Done);
    }
    let part = &args.part;
    if part.provenance {
        let text = info.provenance.as_ref().map_or_else(
            || "nothing was noted of where it came from\n".to_owned(),
            provenance,
        );
        ui.model_text(&text)?;
        return Ok(Exit::Done);
    }
    let parts = [
        (part.license, &info.license),
        (part.modelfile, &info.modelfile),
        (part.parameters, &info.parameters),
        (part.system, &info.system),
        (part.template, &info.template),
    ];
    match parts.into_iter().find(|(is_wanted, _)| *is_wanted) {
        Some((_, text)) => ui.model_text(&with_newline(text))?,
        None => ui.model_text(&overview(&info, args.verbose))?,
    }
    Ok(Exit::Done)
}

/// Where a model came from, as a table.
fn provenance(noted: &ShowProvenance) -> String {
    let mut rows = vec![
        vec!["came by".to_owned(), noted.via.clone()],
        vec!["at".to_owned(), noted.at.clone()],
    ];
    let known = [
        ("source", &noted.source),
        ("revision", &noted.revision),
        ("parent", &noted.parent),
        ("licence", &noted.license),
    ];
    for (what, text) in known {
        rows.extend(text.iter().map(|text| vec![what.to_owned(), text.clone()]));
    }
    for original in &noted.originals {
        rows.push(vec![
            "original".to_owned(),
            original.digest.clone(),
            original.name.clone(),
        ]);
    }
    table::render(&rows, 0)
}

/// The text, ended by a newline unless it is empty.
pub(crate) fn with_newline(text: &str) -> String {
    match text {
        "" => String::new(),
        _ if text.ends_with('\n') => text.to_owned(),
        _ => format!("{text}\n"),
    }
}

/// All sections that have something to say.
pub(crate) fn overview(info: &ShowResponse, verbose: bool) -> String {
    let mut text = String::new();
    section(&mut text, "Model", &model_rows(info));
    let adapters = info.adapters.iter();
    let adapters = adapters.map(|adapter| vec![adapter.digest.clone(), size::bytes(adapter.size)]);
    section(&mut text, "Adapters", &adapters.collect::<Vec<_>>());
    let capabilities: Vec<_> = info
        .capabilities
        .iter()
        .map(|name| vec![name.clone()])
        .collect();
    section(&mut text, "Capabilities", &capabilities);
    section(&mut text, "Parameters", &parameter_rows(&info.parameters));
    if verbose {
        section(&mut text, "Metadata", &metadata_rows(info));
        let tensors = info.tensors.iter().map(|tensor| {
            let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
            vec![
                tensor.name.clone(),
                tensor.kind.clone(),
                format!("[{}]", shape.join(" ")),
            ]
        });
        section(&mut text, "Tensors", &tensors.collect::<Vec<_>>());
    }
    section(&mut text, "System", &first_lines(&info.system));
    section(&mut text, "License", &first_lines(&info.license));
    text
}

fn section(text: &mut String, title: &str, rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let rows = table::render(rows, 4);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  {title}\n{rows}");
}

fn model_rows(info: &ShowResponse) -> Vec<Vec<String>> {
    let text_of = |key: &str| info.model_info.get(key).map(display);
    let architecture =
        text_of("general.architecture").unwrap_or_else(|| info.details.family.clone());
    let parameters = match info
        .model_info
        .get("general.parameter_count")
        .and_then(Value::as_u64)
    {
        Some(n) => size::count(n),
        None => info.details.parameter_size.clone(),
    };
    let of_architecture = |key: &str| text_of(&format!("{architecture}.{key}")).unwrap_or_default();
    [
        ("architecture", architecture.clone()),
        ("parameters", parameters),
        ("context length", of_architecture("context_length")),
        ("embedding length", of_architecture("embedding_length")),
        ("quantization", info.details.quantization_level.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| vec![name.to_owned(), value])
    .collect()
}

fn parameter_rows(parameters: &str) -> Vec<Vec<String>> {
    let lines = parameters.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| match line.trim().split_once(char::is_whitespace) {
            Some((name, value)) => vec![name.to_owned(), value.trim().to_owned()],
            None => vec![line.trim().to_owned()],
        })
        .collect()
}

fn metadata_rows(info: &ShowResponse) -> Vec<Vec<String>> {
    let mut rows: Vec<_> = info
        .model_info
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| vec![key.clone(), display(value)])
        .collect();
    rows.sort();
    rows
}

/// A metadata value in one line; arrays are cut to about ten columns.
fn display(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('\n', "\\n"),
        Value::Array(items) => {
            let mut shown = String::new();
            for (n_shown, item) in items.iter().enumerate() {
                if shown.len() >= ARRAY_WIDTH {
                    return format!("[{shown} ...+{} more]", items.len() - n_shown);
                }
                if n_shown > 0 {
                    shown.push(' ');
                }
                shown.push_str(&display(item));
            }
            format!("[{shown}]")
        }
        other => other.to_string(),
    }
}

fn first_lines(text: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut rows: Vec<_> = lines
        .by_ref()
        .take(SHOWN_LINES)
        .map(|line| vec![line.to_owned()])
        .collect();
    if lines.next().is_some() {
        rows.push(vec!["...".to_owned()]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use slm_api::ollama::{Details, ShowAdapter, ShowTensor};

    use super::*;

    fn info() -> ShowResponse {
        let Value::Object(model_info) = json!({
            "general.architecture": "llama",
            "general.parameter_count": 134_515_008,
            "llama.context_length": 8192,
            "llama.embedding_length": 576,
            "tokenizer.ggml.tokens": null,
            "tokenizer.ggml.token_type": [1, 2, 3, 4, 5, 6, 7, 8, 9],
        }) else {
            unreachable!("an object")
        };
        ShowResponse {
            license: "Apache License\n\nVersion 2.0\nmore\n".into(),
            system: "Be kind.".into(),
            parameters: "stop                           \"<|im_end|>\"\nnum_ctx                        4096\n".into(),
            details: Details {
                quantization_level: "Q4_1".into(),
                ..Details::default()
            },
            model_info,
            tensors: vec![ShowTensor {
                name: "token_embd.weight".into(),
                kind: "Q4_1".into(),
                shape: vec![576, 49152],
            }],
            adapters: vec![ShowAdapter {
                digest: "sha256:9f8a".into(),
                size: 12_000_000,
            }],
            capabilities: vec!["completion".into()],
            ..ShowResponse::default()
        }
    }

    #[test]
    fn the_overview() {
        let expected = "  Model
    architecture        llama
    parameters          134.52M
    context length      8192
    embedding length    576
    quantization        Q4_1

  Adapters
    sha256:9f8a    12 MB

  Capabilities
    completion

  Parameters
    stop       \"<|im_end|>\"
    num_ctx    4096

  System
    Be kind.

  License
    Apache License
    Version 2.0
    ...

";
        assert_eq!(overview(&info(), false), expected);
    }

    #[test]
    fn the_long_overview_has_metadata_and_tensors() {
        let text = overview(&info(), true);
        let metadata = "  Metadata
    general.architecture         llama
    general.parameter_count      134515008
    llama.context_length         8192
    llama.embedding_length       576
    tokenizer.ggml.token_type    [1 2 3 4 5 6 ...+3 more]

  Tensors
    token_embd.weight    Q4_1    [576 49152]

";
        assert!(text.contains(metadata), "{text}");
    }

    #[test]
    fn a_model_that_says_nothing_shows_nothing() {
        assert_eq!(overview(&ShowResponse::default(), true), "");
    }

    #[test]
    fn a_part_ends_with_one_newline() {
        assert_eq!(with_newline("a"), "a\n");
        assert_eq!(with_newline("a\n"), "a\n");
        assert_eq!(with_newline(""), "");
    }
}
