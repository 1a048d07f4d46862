//! What Tab completes: commands, and names where one is expected: of models, parameters, chats and files.

use std::path::Path;

use super::command::COMPLETIONS;
use crate::files::path_of;

/// Files of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;
/// Parameters that people set.
pub(super) const PARAMETERS: &[&str] = &[
    "frequency_penalty",
    "min_p",
    "num_ctx",
    "num_keep",
    "num_predict",
    "presence_penalty",
    "repeat_last_n",
    "repeat_penalty",
    "seed",
    "stop",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];

/// Names that may be meant.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Models on this machine.
    pub models: Vec<String>,
    /// IDs of chats.
    pub chats: Vec<String>,
}

/// Where the word begins that is completed at the end of `start`, and what it may become.
pub(super) fn complete(start: &str, names: &Names, home: Option<&Path>) -> (usize, Vec<String>) {
    let argument = |command: &str| {
        let rest = start.strip_prefix(command)?;
        Some(start.len() - rest.trim_start().len())
    };
    for command in ["/model ", "/load ", "/save "] {
        if let Some(at) = argument(command) {
            return (at, matching(&names.models, &start[at..]));
        }
    }
    if let Some(at) = argument("/resume ") {
        return (at, matching(&names.chats, &start[at..]));
    }
    if let Some(at) = argument("/set parameter ") {
        return (at, matching(PARAMETERS, &start[at..]));
    }
    if let Some(at) = argument("/attach ") {
        let at = at.max(word_start(start, at));
        return (at, paths(&start[at..], home));
    }
    if start.starts_with('/') {
        return (0, matching(COMPLETIONS, start));
    }
    let at = word_start(start, 0);
    match start[at..].strip_prefix('@') {
        Some(path) => (at + 1, paths(path, home)),
        None => (start.len(), Vec::new()),
    }
}

/// Where the last word begins; a quotation that is open is one word.
fn word_start(text: &str, from: usize) -> usize {
    let mut in_quotes = false;
    let mut at = from;
    for (i, c) in text[from..].char_indices() {
        if c == '"' {
            in_quotes = !in_quotes;
        } else if c.is_whitespace() && !in_quotes {
            at = from + i + c.len_utf8();
        }
    }
    at
}

fn matching<T: AsRef<str>>(names: &[T], start: &str) -> Vec<String> {
    let names = names.iter().map(AsRef::as_ref);
    let matching = names.filter(|name| name.starts_with(start));
    matching.map(str::to_owned).collect()
}

/// The files that a path could become, in quotes where it has blanks.
fn paths(typed: &str, home: Option<&Path>) -> Vec<String> {
    let path = typed.strip_prefix('"').unwrap_or(typed);
    let (folder, start) = path.split_at(path.rfind('/').map_or(0, |at| at + 1));
    let place = if folder.is_empty() { "." } else { folder };
    let Ok(entries) = std::fs::read_dir(path_of(place, home)) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .take(MAX_ENTRIES)
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_hidden = name.starts_with('.') && !start.starts_with('.');
            if is_hidden || !name.starts_with(start) {
                return None;
            }
            let is_folder = entry.path().is_dir();
            let slash = if is_folder { "/" } else { "" };
            let path = format!("{folder}{name}{slash}");
            let has_blanks = path.contains(char::is_whitespace) || typed.starts_with('"');
            Some(match (has_blanks, is_folder) {
                (true, true) => format!("\"{path}"),
                (true, false) => format!("\"{path}\""),
                (false, _) => path,
            })
        })
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            models: vec![
                "qwen3:0.6b".into(),
                "qwen3:4b".into(),
                "smollm2:135m".into(),
            ],
            chats: vec!["20260101-000000-abcd".into()],
        }
    }

    #[track_caller]
    fn check(start: &str, at: usize, expected: &[&str]) {
        let found = complete(start, &names(), None);
        let found = (
            found.0,
            found.1.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        assert_eq!(found, (at, expected.to_vec()), "{start}");
    }

    #[test]
    fn commands_are_completed_and_messages_are_not() {
        check("/by", 0, &["/bye"]);
        check(
            "/set no",
            0,
            &[
                "/set nohistory",
                "/set noformat",
                "/set nomarkdown",
                "/set nothink",
                "/set nowordwrap",
            ],
        );
        check("/nonsense", 0, &[]);
        check("", 0, &[]);
        check("hello wor", 9, &[]);
    }

    #[test]
    fn names_are_completed_where_one_is_expected() {
        check("/model qw", 7, &["qwen3:0.6b", "qwen3:4b"]);
        check("/load s", 6, &["smollm2:135m"]);
        check("/load x", 6, &[]);
        check("/resume 2026", 8, &["20260101-000000-abcd"]);
        check("/set parameter temp", 15, &["temperature"]);
    }

    #[test]
    fn parameters_are_parameters() {
        for name in PARAMETERS {
            assert!(slm_modelfile::parameter_kind(name).is_some(), "{name}");
        }
    }

    #[test]
    fn files_are_completed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for name in ["main.rs", "mad dog.md", ".hidden", "other"] {
            std::fs::write(folder.path().join(name), "").expect("write");
        }
        std::fs::create_dir(folder.path().join("made")).expect("folder");
        let home = Some(folder.path());
        let find = |start: &str| complete(start, &Names::default(), home);
        let expected = ["\"~/mad dog.md\"", "~/made/", "~/main.rs"].map(str::to_owned);
        assert_eq!(find("look at @~/ma"), (9, expected.to_vec()));
        assert_eq!(find("/attach ~/mai"), (8, vec!["~/main.rs".into()]));
        assert_eq!(
            find("/attach x \"~/mad d"),
            (10, vec!["\"~/mad dog.md\"".into()])
        );
        assert_eq!(find("@~/.h"), (1, vec!["~/.hidden".into()]));
        assert_eq!(find("@~/none/"), (1, vec![]));
    }
}
