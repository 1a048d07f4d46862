//! `slm run`: one prompt and its answer, or a chat.

use std::path::{Path, PathBuf};

use serde_json::Value;
use slm_api::Client;
use slm_api::ollama::{GenerateRequest, KeepAlive, Message, ShowResponse, Think};

use crate::answer::{Ended, Printer, Style};
use crate::chats::Chats;
use crate::failure::{Advice, Exit};
use crate::files::{Attached, expand};
use crate::fit;
use crate::keyboard::{self, Reader};
use crate::models;
use crate::repl;
use crate::settings::Settings;
use crate::ui::{self, Ui};

/// The longest JSON schema.
const MAX_SCHEMA_BYTES: u64 = 1024 * 1024;

/// Arguments of `slm run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a model; it is pulled when it is not here yet
    pub model: Option<String>,
    /// Prompt; what is piped in is put before it, `@path` names a file that goes along
    pub prompt: Vec<String>,
    /// Keep the model loaded for so long afterwards (5m, 1h30m, -1 for ever)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub keepalive: Option<String>,
    /// Print counts and times after each answer
    #[arg(long)]
    pub verbose: bool,
    /// Allow a registry without TLS when the model is pulled
    #[arg(long)]
    pub insecure: bool,
    /// Do not break lines between words
    #[arg(long)]
    pub nowordwrap: bool,
    /// Form of the answer: `json`, a JSON schema or a file that holds one
    #[arg(long)]
    pub format: Option<String>,
    /// Have the answer fit the JSON schema in this file
    #[arg(long, value_name = "FILE", conflicts_with = "format")]
    pub json_schema: Option<PathBuf>,
    /// System message in place of the model's own
    #[arg(long)]
    pub system: Option<String>,
    /// Have the model think before it answers, or not
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = ["true", "false", "low", "medium", "high", "max"]
    )]
    pub think: Option<String>,
    /// Do not show what the model thinks
    #[arg(long)]
    pub hidethinking: bool,
    /// Show of the model's thoughts only how long they are
    #[arg(long, conflicts_with = "hidethinking")]
    pub foldthinking: bool,
    /// Show answers as they are written, not as rendered Markdown
    #[arg(long)]
    pub plain: bool,
    /// Go on with a chat that was kept: the last one with this model, or the one with this ID
    #[arg(long, value_name = "ID", num_args = 0..=1, require_equals = true)]
    pub resume: Option<Option<String>>,
    /// Keep neither the chat nor the lines typed in it
    #[arg(long)]
    pub no_history: bool,
}

/// What all requests of a run share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    /// Model name.
    pub model: String,
    /// How long it stays loaded.
    pub keep_alive: Option<KeepAlive>,
    /// Form of the answer.
    pub format: Option<Value>,
    /// System message.
    pub system: Option<String>,
    /// Thinking.
    pub think: Option<Think>,
}

/// Answers the prompt, or opens a chat when there is none and a person is there.
///
/// # Errors
/// When the model is not to be had or the daemon gives up.
pub(crate) async fn run(
    args: Args,
    client: &Client,
    settings: &Settings,
    ui: Ui,
) -> anyhow::Result<Exit> {
    let args = args.with_id();
    let Some(model) = args.model else {
        return offer(client, settings, ui).await;
    };
    let is_chat = args.prompt.is_empty() && ui.is_interactive();
    keyboard::watch(if is_chat { Reader::Chat } else { Reader::Shell }, ui);
    let format = match (&args.json_schema, &args.format) {
        (Some(file), _) => Some(read_schema(file)?),
        (None, Some(text)) => Some(read_format(text)?),
        (None, None) => None,
    };
    let chat = match &args.resume {
        Some(id) => Some(Chats::of(settings)?.find(id.as_deref(), &model)?),
        None => None,
    };
    let found = tokio::select! {
        found = models::find_or_pull(client, &model, args.insecure, settings, ui) => found?,
        _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
    };
    let common = Common {
        think: choose_think(args.think.as_deref(), &model, &found, ui),
        keep_alive: args.keepalive.as_deref().map(read_keep_alive),
        model,
        format,
        system: args.system,
    };
    let style = Style {
        wrap: ui.stdout_is_terminal() && !args.nowordwrap,
        markdown: !args.plain && !args.nowordwrap,
        hide_thinking: args.hidethinking,
        fold_thinking: args.foldthinking,
        verbose: args.verbose,
    };
    let start = repl::Start {
        chat,
        keep: settings.history && !args.no_history,
    };
    if is_chat {
        return repl::run(common, found, style, start, client, settings, ui).await;
    }
    let piped = if ui.stdin_is_terminal() {
        String::new()
    } else {
        let reading = tokio::task::spawn_blocking(ui::read_stdin);
        tokio::select! {
            text = reading => text??,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        }
    };
    let typed = expand(&args.prompt.join(" "), settings.home_dir.as_deref());
    let mut attached = Attached::default();
    for path in &typed.paths {
        attached.add(path, repl::takes_images(&found))?;
    }
    for name in &typed.missing {
        ui.warn(&format!("`@{name}` names no file, and is sent as text"));
    }
    let prompt = attached.before(&join_prompt(&piped, &typed.text));
    let images = attached.images();
    if let Some(chat) = start.chat {
        if prompt.trim().is_empty() {
            return Err(Advice::new(
                "there is nothing to go on with",
                "give a prompt, or run `slm run MODEL --resume` at a terminal",
            )
            .into());
        }
        let said = Message {
            images,
            ..repl::message("user", &prompt)
        };
        let once = repl::Once {
            common,
            info: found,
            style,
            chat,
            said,
            chats: start.keep.then(|| Chats::of(settings)).transpose()?,
        };
        return repl::answer_once(once, client, ui).await;
    }
    let request = GenerateRequest {
        prompt,
        images,
        ..GenerateRequest::default()
    };
    answer_once(common, request, style, client, ui).await
}

impl Args {
    /// `--resume ID` with a blank between is meant as `--resume=ID`, where that is an ID and nothing else is said.
    fn with_id(mut self) -> Self {
        if self.resume == Some(None)
            && let [word] = self.prompt.as_slice()
            && is_id(word)
        {
            self.resume = Some(self.prompt.pop());
        }
        self
    }
}

/// Whether a word is the ID of a chat, or begins one: year, month and day at least.
fn is_id(word: &str) -> bool {
    let (day, rest) = word.split_at_checked(8).unwrap_or((word, ""));
    day.len() == 8
        && day.bytes().all(|byte| byte.is_ascii_digit())
        && (rest.is_empty() || rest.starts_with('-'))
        && rest
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Says what could be run: what is here, or else what fits this machine.
async fn offer(client: &Client, settings: &Settings, ui: Ui) -> anyhow::Result<Exit> {
    let here = client.tags().await?.models;
    let names: Vec<&str> = here.iter().map(|model| model.name.as_str()).collect();
    if names.is_empty() && settings.host.is_local() {
        ui.note(&fit::offer(&fit::machine(settings), ui.note_width())?);
    }
    let hint = match names.as_slice() {
        [] => "run `slm run MODEL`; one that is not here is pulled first".to_owned(),
        names => format!("run `slm run MODEL`; here are {}", names.join(", ")),
    };
    Err(Advice::new("which model?", hint).into())
}

async fn answer_once(
    common: Common,
    request: GenerateRequest,
    style: Style,
    client: &Client,
    ui: Ui,
) -> anyhow::Result<Exit> {
    let style = Style {
        markdown: style.markdown && common.format.is_none(),
        ..style
    };
    let request = GenerateRequest {
        model: common.model,
        system: common.system,
        format: common.format,
        keep_alive: common.keep_alive,
        think: common.think,
        ..request
    };
    let mut printer = Printer::new(style, ui);
    let ended = printer.follow(client, client.generate(&request)).await?;
    Ok(match ended {
        Ended::Complete => Exit::Done,
        Ended::Interrupted => Exit::Interrupted,
    })
}

/// Piped text, a space, the arguments; either may be missing.
fn join_prompt(piped: &str, typed: &str) -> String {
    match (piped.is_empty(), typed.is_empty()) {
        (false, false) => format!("{piped} {typed}"),
        (false, true) => piped.to_owned(),
        _ => typed.to_owned(),
    }
}

/// A bare number is seconds, anything else a duration for the daemon to judge.
pub(crate) fn read_keep_alive(text: &str) -> KeepAlive {
    match text.trim().parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => KeepAlive::Seconds(seconds),
        _ => KeepAlive::Text(text.trim().to_owned()),
    }
}

/// `json`, JSON itself, or the name of a file with JSON in it.
///
/// # Errors
/// When it is none of these.
pub(crate) fn read_format(text: &str) -> anyhow::Result<Value> {
    let text = text.trim();
    if text == "json" {
        return Ok(Value::from("json"));
    }
    if text.starts_with('{') {
        return serde_json::from_str(text)
            .map_err(|error| anyhow::Error::new(error).context("the format is no valid JSON"));
    }
    let schema = std::fs::read_to_string(text).map_err(|error| {
        Advice::new(
            format!(
                "the format `{text}` is neither `json`, nor a schema, nor a file that can be read"
            ),
            "give `--format json`, a JSON schema, or the name of a file that holds one",
        )
        .because(error)
    })?;
    serde_json::from_str(&schema).map_err(|error| {
        anyhow::Error::new(error).context(format!("the format in `{text}` is no valid JSON"))
    })
}

/// A JSON schema from a file: an object.
///
/// # Errors
/// When the file cannot be read or holds no schema.
fn read_schema(file: &Path) -> anyhow::Result<Value> {
    let name = file.display();
    let text = ui::read_text(file, MAX_SCHEMA_BYTES)?;
    let schema: Value = serde_json::from_str(&text).map_err(|error| {
        Advice::new(
            format!("`{name}` is no valid JSON"),
            "give a file that holds a JSON schema",
        )
        .because(error)
    })?;
    if schema.is_object() {
        return Ok(schema);
    }
    Err(Advice::new(
        format!("`{name}` holds no JSON schema: that is an object"),
        r#"write it as {"type": "object", "properties": …}"#,
    )
    .into())
}

fn choose_think(wanted: Option<&str>, model: &str, info: &ShowResponse, ui: Ui) -> Option<Think> {
    let can_think = info.capabilities.iter().any(|name| name == "thinking");
    match wanted {
        None => can_think.then_some(Think::Switch(true)),
        Some("false") => Some(Think::Switch(false)),
        Some(_) if !can_think => {
            ui.warn(&format!(
                "model \"{model}\" does not support thinking output"
            ));
            None
        }
        Some(level) => Some(read_think(level)),
    }
}

/// `true`, `false` or a level.
pub(crate) fn read_think(text: &str) -> Think {
    match text {
        "true" => Think::Switch(true),
        "false" => Think::Switch(false),
        level => Think::Level(level.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_text_comes_first() {
        assert_eq!(join_prompt("piped\n", "and typed"), "piped\n and typed");
        assert_eq!(join_prompt("piped", ""), "piped");
        assert_eq!(join_prompt("", "and typed"), "and typed");
        assert_eq!(join_prompt("", ""), "");
    }

    #[test]
    fn keep_alive_is_seconds_or_a_duration() {
        assert_eq!(read_keep_alive("300"), KeepAlive::Seconds(300.0));
        assert_eq!(read_keep_alive("-1"), KeepAlive::Seconds(-1.0));
        assert_eq!(read_keep_alive("1h30m"), KeepAlive::Text("1h30m".into()));
        assert_eq!(read_keep_alive("inf"), KeepAlive::Text("inf".into()));
    }

    #[test]
    fn a_format_is_a_word_a_schema_or_a_file() {
        assert_eq!(read_format("json").expect("word"), Value::from("json"));
        let schema = serde_json::json!({"type": "object"});
        assert_eq!(read_format(r#"{"type":"object"}"#).expect("schema"), schema);
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), schema.to_string()).expect("write");
        let path = file.path().to_str().expect("UTF-8");
        assert_eq!(read_format(path).expect("file"), schema);
        assert!(read_format("{oops").is_err());
        let error = read_format("yaml").expect_err("no such file");
        let (_, hint) = crate::failure::describe(&error);
        assert!(hint.is_some_and(|hint| hint.contains("--format json")));
    }

    #[test]
    fn a_schema_is_an_object_in_a_file() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let read = |text: &str| {
            std::fs::write(file.path(), text).expect("write");
            read_schema(file.path())
        };
        let schema = serde_json::json!({"type": "object"});
        assert_eq!(read(r#"{"type": "object"}"#).expect("a schema"), schema);
        for (text, expected) in [
            ("[1]", "holds no JSON schema"),
            ("{oops", "is no valid JSON"),
        ] {
            let error = read(text).expect_err("no schema").to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(read_schema(Path::new("no/such/file")).is_err());
    }

    #[test]
    fn an_id_is_no_word_of_a_prompt() {
        for id in ["20260821", "20260821-", "20260821-175500-0a0b"] {
            assert!(is_id(id), "{id}");
        }
        for word in [
            "more",
            "2026",
            "20260821x",
            "20260821 why?",
            "qwen3",
            "é0260821",
        ] {
            assert!(!is_id(word), "{word}");
        }
    }

    #[test]
    fn think_is_a_switch_or_a_level() {
        assert_eq!(read_think("true"), Think::Switch(true));
        assert_eq!(read_think("high"), Think::Level("high".into()));
    }
}
