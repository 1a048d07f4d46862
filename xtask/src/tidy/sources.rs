//! Rules for single files: module heads, unfinished marks, places of one machine.

use super::TextFile;

/// Words that mark unfinished work, split so that this file does not contain them.
const MARKS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
];

/// Beginnings of absolute paths that exist on one machine only, split likewise.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

/// Endings of host names that only a private network resolves.
const PRIVATE_HOSTS: [&str; 4] = [".corp", ".lan", ".intranet", ".internal"];

/// Text made by tools, which may say what it likes.
const GENERATED: [&str; 2] = ["Cargo.lock", "LICENSE"];

/// Problems of one file.
pub(super) fn check(file: &TextFile) -> Vec<String> {
    let mut problems = Vec::new();
    if GENERATED.contains(&file.path.as_str()) || file.path.ends_with(".json") {
        return problems;
    }
    if needs_head(&file.path) && !file.text.starts_with("//!") {
        problems.push(format!(
            "{}:1: starts without a `//!` head that says what the file is for",
            file.path
        ));
    }
    for (index, line) in file.text.lines().enumerate() {
        let place = format!("{}:{}", file.path, index + 1);
        if let Some(mark) = MARKS.iter().find(|mark| has_word(line, mark)) {
            problems.push(format!("{place}: unfinished mark `{mark}`"));
        }
        if let Some(path) = MACHINE_PATHS.iter().find(|path| has_path(line, path)) {
            problems.push(format!("{place}: a path of one machine (`{path}…`)"));
        }
        if let Some(host) = private_host(line) {
            problems.push(format!("{place}: a private host name (`{host}`)"));
        }
    }
    problems
}

/// Whether the file says what it is for: every source but the tests of the module beside them, whose name says it.
fn needs_head(path: &str) -> bool {
    path.ends_with(".rs") && !path.ends_with("/tests.rs") && !path.ends_with("/tests/mod.rs")
}

/// Whether `word` stands in `line` with no letter, digit or underscore touching it.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(joins) && (word.ends_with('(') || !after.is_some_and(joins))
    })
}

/// Whether an absolute path that begins with `prefix` stands in `line`.
fn has_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}~>/$)*".contains(c))
    })
}

/// The host of a URL in `line` that only a private network resolves.
fn private_host(line: &str) -> Option<&str> {
    line.match_indices("://").find_map(|(start, scheme)| {
        let rest = &line[start + scheme.len()..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'))
            .unwrap_or(rest.len());
        let host = &rest[..end];
        let private = PRIVATE_HOSTS.iter().any(|ending| host.ends_with(ending));
        // the one private name that means the same everywhere
        (private && host != concat!("host.docker", ".internal")).then_some(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn finds(path: &str, text: &str, n_problems: usize) {
        let file = TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let problems = check(&file);
        assert_eq!(problems.len(), n_problems, "{text:?} gave {problems:?}");
    }

    #[test]
    fn heads() {
        finds("a.rs", "//! Head.\n", 0);
        finds("a.rs", "fn main() {}\n", 1);
        finds("src/tests.rs", "fn main() {}\n", 0);
        finds("a.py", "print()\n", 0);
    }

    #[test]
    fn marks_are_words() {
        for mark in MARKS {
            finds("a.md", &format!("x {mark} y"), 1);
        }
        finds("a.md", concat!("mas", "TO", "DOn"), 0);
    }

    #[test]
    fn machine_paths() {
        for path in MACHINE_PATHS {
            finds("a.md", &format!("see `{path}x`"), 1);
        }
        finds("a.md", concat!("net", "/wo", "rk/"), 0);
        finds("a.sh", concat!("$DIR", "/ho", "me/"), 0);
    }

    #[test]
    fn private_hosts() {
        for ending in PRIVATE_HOSTS {
            finds("a.md", &format!("http://box{ending}:80/"), 1);
            finds("a.md", &format!("the ending {ending} alone"), 0);
        }
        finds("a.md", concat!("http://host.docker", ".internal/"), 0);
        finds("a.md", "https://example.com/x.lan", 0);
    }
}
