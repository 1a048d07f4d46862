//! What a line that starts with a slash means.

use slm_api::ollama::Think;

use crate::commands::run::read_think;
use crate::text::nearest::nearest;

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
    /// `/model [MODEL]`.
    Model(Option<String>),
    /// `/retry`.
    Retry,
    /// `/edit`.
    Edit,
    /// `/copy [code]`.
    Copy(Copied),
    /// `/stats`.
    Stats,
    /// `/attach [FILE]…`.
    Attach(Vec<String>),
    /// `/attach clear`.
    Detach,
    /// `/think [fold|show|hide]`.
    Think(Thoughts),
    /// `/chats`.
    Chats,
    /// `/resume [ID]`.
    Resume(Option<String>),
    /// `/save MODEL`.
    Save(String),
    /// `/set …`.
    Set(Setting),
    /// `/show …`.
    Show(Topic),
    /// No command: what to tell the person.
    Wrong(String),
}

/// What `/copy` copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// The last answer.
    Answer,
    /// The last block of code in it.
    Code,
}

/// What `/think` does with thoughts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thoughts {
    /// Prints those of the last answer.
    Print,
    /// From now on shows only how long they are.
    Fold,
    /// From now on shows them.
    Show,
    /// From now on shows nothing of them.
    Hide,
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
    /// Markdown rendered.
    Markdown(bool),
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
    "/attach ",
    "/attach clear",
    "/bye",
    "/chats",
    "/clear",
    "/copy",
    "/copy code",
    "/edit",
    "/exit",
    "/help",
    "/help set",
    "/help shortcuts",
    "/help show",
    "/list",
    "/load ",
    "/model ",
    "/resume ",
    "/retry",
    "/save ",
    "/set format json",
    "/set history",
    "/set markdown",
    "/set nohistory",
    "/set noformat",
    "/set nomarkdown",
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
    "/stats",
    "/think",
    "/think fold",
    "/think hide",
    "/think show",
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
        ("/model", model) => Command::Model(some(model)),
        ("/retry", "") => Command::Retry,
        ("/edit", "") => Command::Edit,
        ("/copy", "") => Command::Copy(Copied::Answer),
        ("/copy", "code") => Command::Copy(Copied::Code),
        ("/stats", "") => Command::Stats,
        ("/attach", "clear") => Command::Detach,
        ("/attach", files) => Command::Attach(split_quoted(files)),
        ("/think", "") => Command::Think(Thoughts::Print),
        ("/think", "fold") => Command::Think(Thoughts::Fold),
        ("/think", "show") => Command::Think(Thoughts::Show),
        ("/think", "hide") => Command::Think(Thoughts::Hide),
        ("/think", _) => Command::Wrong("Usage: /think [fold|show|hide]".to_owned()),
        ("/chats", "") => Command::Chats,
        ("/resume", id) => Command::Resume(some(id)),
        ("/set", rest) => parse_set(rest),
        ("/show", rest) => parse_show(rest),
        _ => unknown(line),
    }
}

fn unknown(line: &str) -> Command {
    let (word, rest) = split_word(line);
    // Of `/set` and `/show` the second word may be the misspelt one.
    let wanted = match (word, split_word(rest).0) {
        ("/set" | "/show", second) => format!("{word} {second}"),
        _ => word.to_owned(),
    };
    let known = COMPLETIONS.iter().map(|known| known.trim_end());
    let meant = nearest(&wanted, known).filter(|meant| *meant != wanted && wanted.len() > 2);
    let meant = meant.map_or_else(String::new, |meant| format!(" Did you mean {meant}?"));
    let line: String = line.trim().chars().take(60).collect();
    Command::Wrong(format!("Unknown command '{line}'.{meant} Type /? for help"))
}

/// Whether a line that starts with a slash is a command and no path: the first word has no second slash.
pub(crate) fn is_command(line: &str) -> bool {
    let (word, _) = split_word(line);
    word.strip_prefix('/')
        .is_some_and(|name| !name.contains('/'))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
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
        ("markdown", "") => Setting::Markdown(true),
        ("nomarkdown", "") => Setting::Markdown(false),
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
pub(crate) fn split_quoted(text: &str) -> Vec<String> {
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
    fn commands_on_what_was_said() {
        check("/model", Command::Model(None));
        check("/model qwen3", Command::Model(Some("qwen3".into())));
        check("/retry", Command::Retry);
        check("/edit", Command::Edit);
        check("/copy", Command::Copy(Copied::Answer));
        check("/copy code", Command::Copy(Copied::Code));
        check("/stats", Command::Stats);
        check("/chats", Command::Chats);
        check("/resume", Command::Resume(None));
        check("/resume 2026", Command::Resume(Some("2026".into())));
        check("/attach", Command::Attach(Vec::new()));
        check(
            "/attach a.rs \"b c.md\"",
            Command::Attach(vec!["a.rs".into(), "b c.md".into()]),
        );
        check("/attach clear", Command::Detach);
        check("/think", Command::Think(Thoughts::Print));
        check("/think fold", Command::Think(Thoughts::Fold));
        check(
            "/think loud",
            Command::Wrong("Usage: /think [fold|show|hide]".into()),
        );
    }

    #[test]
    fn misspelt_commands_are_suggested() {
        for (line, meant) in [
            ("/modle qwen3", "/model"),
            ("/hlep", "/help"),
            ("/set verbos", "/set verbose"),
            ("/show licence", "/show license"),
        ] {
            let expected =
                format!("Unknown command '{line}'. Did you mean {meant}? Type /? for help");
            check(line, Command::Wrong(expected));
        }
    }

    #[test]
    fn a_path_is_no_command() {
        assert!(is_command("/bye") && is_command("/set system a/b") && is_command("/"));
        assert!(!is_command("/etc/passwd has what form?"));
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
        check("/set markdown", set(Setting::Markdown(true)));
        check("/set nomarkdown", set(Setting::Markdown(false)));
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
