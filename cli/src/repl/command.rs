//! What a line that starts with a slash means.

use slm_api::ollama::Think;

use crate::commands::run::read_think;

/// A command of the chat.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// `/bye`, `/exit`.
    Bye,
    /// `/clear`.
    Clear,
    /// `/list`.
    List,
    /// `/?`, `/help`.
    Help(Help),
    /// `/load MODEL`.
    Load(String),
    /// `/save MODEL`.
    Save(String),
    /// `/set …`.
    Set(Setting),
    /// `/show …`.
    Show(Topic),
    /// No command: what to tell the person.
    Wrong(String),
}

/// A page of help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Help {
    /// All commands.
    Commands,
    /// `/set`.
    Set,
    /// `/show`.
    Show,
    /// Keys.
    Shortcuts,
}

/// What `/set` changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Setting {
    /// An option of the model: name and values.
    Parameter(String, Vec<String>),
    /// The system message.
    System(String),
    /// Counts and times after answers.
    Verbose(bool),
    /// The history of lines.
    History(bool),
    /// Lines broken between words.
    WordWrap(bool),
    /// Form of answers: `json`, a schema, a file of one, or none.
    Format(Option<String>),
    /// Thinking.
    Think(Think),
}

/// What `/show` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// The overview.
    Info,
    /// The licence.
    License,
    /// The Modelfile.
    Modelfile,
    /// Options of the model and of this chat.
    Parameters,
    /// The system message.
    System,
    /// The template.
    Template,
}

/// Every command and its first arguments, for completion.
pub(crate) const COMPLETIONS: &[&str] = &[
    "/?",
    "/bye",
    "/clear",
    "/exit",
    "/help",
    "/help set",
    "/help shortcuts",
    "/help show",
    "/list",
    "/load ",
    "/save ",
    "/set format json",
    "/set history",
    "/set nohistory",
    "/set noformat",
    "/set nothink",
    "/set nowordwrap",
    "/set parameter ",
    "/set quiet",
    "/set system ",
    "/set think",
    "/set verbose",
    "/set wordwrap",
    "/show info",
    "/show license",
    "/show modelfile",
    "/show parameters",
    "/show system",
    "/show template",
];

/// Reads a line that starts with a slash.
pub(crate) fn parse(line: &str) -> Command {
    let (word, rest) = split_word(line);
    match (word, rest) {
        ("/bye" | "/exit", "") => Command::Bye,
        ("/clear", "") => Command::Clear,
        ("/list", "") => Command::List,
        ("/?" | "/help", topic) => Command::Help(help_topic(topic)),
        ("/load" | "/save", "") => Command::Wrong(format!("Usage: {word} MODEL")),
        ("/load", model) => Command::Load(model.to_owned()),
        ("/save", model) => Command::Save(model.to_owned()),
        ("/set", rest) => parse_set(rest),
        ("/show", rest) => parse_show(rest),
        _ => unknown(line),
    }
}

fn unknown(line: &str) -> Command {
    let line: String = line.trim().chars().take(60).collect();
    Command::Wrong(format!("Unknown command '{line}'. Type /? for help"))
}

fn help_topic(topic: &str) -> Help {
    match topic.trim_start_matches('/') {
        "set" => Help::Set,
        "show" => Help::Show,
        "shortcut" | "shortcuts" => Help::Shortcuts,
        _ => Help::Commands,
    }
}

fn parse_set(rest: &str) -> Command {
    let (word, value) = split_word(rest);
    let setting = match (word, value) {
        ("", _) => return Command::Help(Help::Set),
        ("parameter", value) => {
            let (name, values) = split_word(value);
            let values = split_quoted(values);
            if values.is_empty() {
                return Command::Wrong("Usage: /set parameter NAME VALUE".to_owned());
            }
            Setting::Parameter(name.to_owned(), values)
        }
        ("system", "") => return Command::Wrong("Usage: /set system MESSAGE".to_owned()),
        ("system", text) => Setting::System(unquote(text).to_owned()),
        ("verbose", "") => Setting::Verbose(true),
        ("quiet", "") => Setting::Verbose(false),
        ("history", "") => Setting::History(true),
        ("nohistory", "") => Setting::History(false),
        ("wordwrap", "") => Setting::WordWrap(true),
        ("nowordwrap", "") => Setting::WordWrap(false),
        ("format", "") => return Command::Wrong("Usage: /set format json".to_owned()),
        ("format", form) => Setting::Format(Some(form.to_owned())),
        ("noformat", "") => Setting::Format(None),
        ("think", "") => Setting::Think(Think::Switch(true)),
        ("think", level @ ("true" | "false" | "low" | "medium" | "high" | "max")) => {
            Setting::Think(read_think(level))
        }
        ("think", _) => {
            return Command::Wrong("Usage: /set think [low|medium|high|max]".to_owned());
        }
        ("nothink", "") => Setting::Think(Think::Switch(false)),
        _ => return unknown(&format!("/set {rest}")),
    };
    Command::Set(setting)
}

fn parse_show(rest: &str) -> Command {
    Command::Show(match rest {
        "" => return Command::Help(Help::Show),
        "info" => Topic::Info,
        "license" => Topic::License,
        "modelfile" => Topic::Modelfile,
        "parameters" => Topic::Parameters,
        "system" => Topic::System,
        "template" => Topic::Template,
        _ => return unknown(&format!("/show {rest}")),
    })
}

/// The first word and what follows it, both trimmed.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// Text without the pair of double quotes around it.
fn unquote(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text)
}

/// Words, where double quotes hold blanks together.
fn split_quoted(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    for c in text.chars() {
        match c {
            '"' => {
                in_quotes = !in_quotes;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !in_quotes => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Command) {
        assert_eq!(parse(line), expected, "{line}");
    }

    #[test]
    fn plain_commands() {
        check("/bye", Command::Bye);
        check("/exit  ", Command::Bye);
        check("/clear", Command::Clear);
        check("/list", Command::List);
        check("/?", Command::Help(Help::Commands));
        check("/help set", Command::Help(Help::Set));
        check("/? /show", Command::Help(Help::Show));
        check("/? shortcuts", Command::Help(Help::Shortcuts));
        check("/load  qwen3:0.6b ", Command::Load("qwen3:0.6b".into()));
        check("/save mine", Command::Save("mine".into()));
        check("/load", Command::Wrong("Usage: /load MODEL".into()));
    }

    #[test]
    fn settings() {
        let set = |setting| Command::Set(setting);
        check("/set", Command::Help(Help::Set));
        check("/set verbose", set(Setting::Verbose(true)));
        check("/set quiet", set(Setting::Verbose(false)));
        check("/set history", set(Setting::History(true)));
        check("/set nohistory", set(Setting::History(false)));
        check("/set wordwrap", set(Setting::WordWrap(true)));
        check("/set nowordwrap", set(Setting::WordWrap(false)));
        check(
            "/set format json",
            set(Setting::Format(Some("json".into()))),
        );
        check("/set noformat", set(Setting::Format(None)));
        check("/set think", set(Setting::Think(Think::Switch(true))));
        check(
            "/set think high",
            set(Setting::Think(Think::Level("high".into()))),
        );
        check("/set nothink", set(Setting::Think(Think::Switch(false))));
        check(
            "/set system  Be  kind. ",
            set(Setting::System("Be  kind.".into())),
        );
        check(
            "/set system \"Be kind.\"",
            set(Setting::System("Be kind.".into())),
        );
        check(
            "/set parameter temperature 0.5",
            set(Setting::Parameter("temperature".into(), vec!["0.5".into()])),
        );
        check(
            "/set parameter stop \"a b\" c \"\"",
            set(Setting::Parameter(
                "stop".into(),
                vec!["a b".into(), "c".into(), String::new()],
            )),
        );
        check(
            "/set parameter x",
            Command::Wrong("Usage: /set parameter NAME VALUE".into()),
        );
        check(
            "/set think loud",
            Command::Wrong("Usage: /set think [low|medium|high|max]".into()),
        );
    }

    #[test]
    fn topics() {
        for (word, topic) in [
            ("info", Topic::Info),
            ("license", Topic::License),
            ("modelfile", Topic::Modelfile),
            ("parameters", Topic::Parameters),
            ("system", Topic::System),
            ("template", Topic::Template),
        ] {
            check(&format!("/show {word}"), Command::Show(topic));
        }
        check("/show", Command::Help(Help::Show));
    }

    #[test]
    fn unknown_commands_say_so() {
        for line in ["/frob", "/bye now", "/set frob", "/show frob", "/"] {
            check(
                line,
                Command::Wrong(format!("Unknown command '{line}'. Type /? for help")),
            );
        }
    }

    #[test]
    fn completions_are_commands() {
        for line in COMPLETIONS {
            let line = format!("{line}{}", if line.ends_with(' ') { "stop x" } else { "" });
            assert!(!matches!(parse(&line), Command::Wrong(_)), "{line}");
        }
    }
}
