//! Files that a person names in a message (`@path`, `/attach path`): read, bounded, and made part of it.
//!
//! The text of a file goes before the message, between fences, under its name; an image goes along as such, to models
//! that take images. What is neither text nor image is refused, as is what is no file at all.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::failure::Advice;
use crate::ui::clean;

/// The longest text file.
const MAX_TEXT_BYTES: u64 = 1024 * 1024;
/// The longest image, as in Ollama.
const MAX_IMAGE_BYTES: u64 = 100 * 1000 * 1000;
/// How many files one message may name.
const MAX_FILES: usize = 64;
/// How much text they may have together.
const MAX_TOTAL_BYTES: usize = 8 * 1024 * 1024;
/// What a path may be followed by in a sentence.
const PUNCTUATION: [char; 8] = ['.', ',', ';', ':', '!', '?', ')', ']'];

/// What files add to a message, each once, however it was named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    /// Text files.
    texts: Vec<Named>,
    /// Images, in base64.
    images: Vec<Named>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    /// As it was named.
    name: String,
    /// Where it really is.
    place: PathBuf,
    content: String,
}

/// Adds a file, in place of what it was when it was added before.
fn put(files: &mut Vec<Named>, file: Named) {
    match files.iter_mut().find(|known| known.place == file.place) {
        Some(known) => *known = file,
        None => files.push(file),
    }
}

impl Attached {
    /// Adds a file; one that is there already is read again, and stays where it is.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is nothing that the model takes.
    pub(crate) fn add(&mut self, path: &Path, takes_images: bool) -> anyhow::Result<()> {
        let name = clean(&path.display().to_string());
        let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut known = self.texts.iter().chain(&self.images);
        let is_known = known.any(|file| file.place == place);
        if !is_known && self.texts.len() + self.images.len() >= MAX_FILES {
            return Err(Advice::new(
                format!("`{name}` is one file too many: a message has at most {MAX_FILES}"),
                "name fewer files",
            )
            .into());
        }
        let metadata = std::fs::metadata(path).with_context(|| format!("cannot read `{name}`"))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() {
                "is a folder"
            } else {
                "is no ordinary file"
            };
            return Err(Advice::new(format!("`{name}` {what}"), "name files in it").into());
        }
        let file = File::open(path).with_context(|| format!("cannot read `{name}`"))?;
        let bytes = read(file, &name, MAX_IMAGE_BYTES)?;
        if is_image(&bytes) {
            if !takes_images {
                return Err(Advice::new(
                    format!("`{name}` is an image, and this model takes none"),
                    "ask a model that `slm show` lists with the capability `vision`",
                )
                .into());
            }
            let content = BASE64_STANDARD.encode(bytes);
            self.texts.retain(|file| file.place != place);
            put(
                &mut self.images,
                Named {
                    name,
                    place,
                    content,
                },
            );
            return Ok(());
        }
        let others = self.texts.iter().filter(|file| file.place != place);
        let total: usize = others.map(|file| file.content.len()).sum();
        check_size(&name, bytes.len() as u64, MAX_TEXT_BYTES)?;
        if total + bytes.len() > MAX_TOTAL_BYTES {
            return Err(Advice::new(
                format!("with `{name}` the files have more than {MAX_TOTAL_BYTES} bytes"),
                "name fewer files",
            )
            .into());
        }
        let text = String::from_utf8(bytes)
            .ok()
            .filter(|text| !text.contains('\0'));
        let content = text.ok_or_else(|| {
            Advice::new(
                format!("`{name}` is neither text (UTF-8) nor an image"),
                "convert it to text first",
            )
        })?;
        self.images.retain(|file| file.place != place);
        put(
            &mut self.texts,
            Named {
                name,
                place,
                content,
            },
        );
        Ok(())
    }

    /// The names of the files.
    pub(crate) fn names(&self) -> Vec<&str> {
        let files = self.texts.iter().chain(&self.images);
        files.map(|file| file.name.as_str()).collect()
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.images.is_empty()
    }

    /// The message with its files before it.
    pub(crate) fn before(&self, message: &str) -> String {
        let mut text = String::new();
        for Named { name, content, .. } in &self.texts {
            let fence = "`".repeat(longest_run(content, '`').max(2) + 1);
            let newline = if content.ends_with('\n') || content.is_empty() {
                ""
            } else {
                "\n"
            };
            text.push_str(&format!(
                "File `{name}`:\n{fence}\n{content}{newline}{fence}\n\n"
            ));
        }
        text + message
    }

    /// The images, for the field `images` of a message.
    pub(crate) fn images(&self) -> Option<Vec<String>> {
        let images = self.images.iter().map(|file| file.content.clone());
        (!self.images.is_empty()).then(|| images.collect())
    }
}

/// A message in which `@path` names files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    /// The message, with `path` in place of `@path`.
    pub text: String,
    /// The files, each once.
    pub paths: Vec<PathBuf>,
    /// What looks like a file and is none.
    pub missing: Vec<String>,
}

/// Finds the files that a message names: `@path` or `@"path"` at the beginning of a word. A name of no file is text.
pub(crate) fn expand(message: &str, home: Option<&Path>) -> Expanded {
    let mut expanded = Expanded::default();
    let mut rest = message;
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        let starts = before.is_none_or(|c: char| c.is_whitespace() || matches!(c, '(' | '['));
        let word = (c == '@' && starts).then(|| word(&rest[1..])).flatten();
        if let Some((inner, n)) = word {
            match find(inner, home) {
                Some((name, path)) => {
                    expanded.text.push_str(name);
                    expanded.text.push_str(&inner[name.len()..]);
                    if !expanded.paths.contains(&path) {
                        expanded.paths.push(path);
                    }
                }
                None => {
                    expanded.text.push_str(&rest[..1 + n]);
                    if looks_like_a_file(inner, message) {
                        expanded.missing.push(inner.to_owned());
                    }
                }
            }
            before = rest[..1 + n].chars().next_back();
            rest = &rest[1 + n..];
            continue;
        }
        expanded.text.push(c);
        before = Some(c);
        rest = &rest[c.len_utf8()..];
    }
    expanded
}

/// Whether a word was probably meant to name a file. In text of several lines, which may be code, only a path is.
fn looks_like_a_file(word: &str, message: &str) -> bool {
    let is_path = ["/", "./", "../", "~/"]
        .iter()
        .any(|start| word.starts_with(start));
    let has_form = word.contains('/') || word.trim_end_matches(PUNCTUATION).contains('.');
    is_path || (has_form && !word.contains('(') && !message.contains('\n'))
}

/// A path as a person writes it: `~` is the home.
pub(crate) fn path_of(text: &str, home: Option<&Path>) -> PathBuf {
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

/// The word behind an `@`, without quotes, and its length with them.
fn word(text: &str) -> Option<(&str, usize)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let end = quoted.find(['"', '\n'])?;
        return (quoted[end..].starts_with('"') && end > 0).then(|| (&quoted[..end], end + 2));
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], end))
}

/// The file that a word names, without the punctuation that may follow it.
fn find<'a>(word: &'a str, home: Option<&Path>) -> Option<(&'a str, PathBuf)> {
    let mut name = word;
    loop {
        let path = path_of(name, home);
        if !name.is_empty() && path.exists() {
            return Some((name, path));
        }
        name = name.strip_suffix(PUNCTUATION)?;
    }
}

fn read(file: File, name: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read `{name}`"))?;
    check_size(name, bytes.len() as u64, limit)?;
    Ok(bytes)
}

fn check_size(name: &str, n_bytes: u64, limit: u64) -> anyhow::Result<()> {
    if n_bytes <= limit {
        return Ok(());
    }
    Err(Advice::new(
        format!("`{name}` is larger than {limit} bytes"),
        "give the part that matters",
    )
    .into())
}

/// Whether the bytes begin as an image does that models are given: PNG, JPEG, WebP, GIF.
fn is_image(bytes: &[u8]) -> bool {
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let starts: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"];
    is_webp || starts.iter().any(|start| bytes.starts_with(start))
}

fn longest_run(text: &str, mark: char) -> usize {
    let runs = text.split(|c| c != mark);
    runs.map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::write(folder.path().join("a.rs"), "fn a() {}").expect("write");
        std::fs::write(folder.path().join("b c.md"), "```\nb\n```\n").expect("write");
        folder
    }

    #[test]
    fn paths_are_found_in_sentences() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let message = format!(
            "(@{}), \"@\": @\"{}\" x@y.z @{}.",
            at("a.rs"),
            at("b c.md"),
            at("a.rs")
        );
        let expanded = expand(&message, None);
        let expected = format!(
            "({}), \"@\": {} x@y.z {}.",
            at("a.rs"),
            at("b c.md"),
            at("a.rs")
        );
        assert_eq!(expanded.text, expected);
        assert_eq!(
            expanded.paths,
            [folder.path().join("a.rs"), folder.path().join("b c.md")]
        );
        assert_eq!(expanded.missing, Vec::<String>::new());
    }

    #[test]
    fn what_names_no_file_stays_as_it_is() {
        let message = "@someone, look at @no/such.rs and @media. \u{e9}@ @";
        let expanded = expand(message, None);
        assert_eq!(expanded.text, message);
        assert_eq!(expanded.missing, ["no/such.rs"]);
        assert!(expanded.paths.is_empty());
        let code = "@app.route('/x')\n@a/b\ndef f(): @./c";
        assert_eq!(expand(code, None).missing, ["./c"]);
    }

    #[test]
    fn the_home_is_a_tilde() {
        let folder = folder();
        let expanded = expand("@~/a.rs", Some(folder.path()));
        assert_eq!(
            (expanded.text.as_str(), expanded.paths.len()),
            ("~/a.rs", 1)
        );
    }

    #[test]
    fn texts_go_before_the_message_between_fences() {
        let folder = folder();
        let mut attached = Attached::default();
        assert!(attached.is_empty());
        for name in ["a.rs", "b c.md"] {
            attached
                .add(&folder.path().join(name), false)
                .expect("a text");
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(
            attached.before("Why?"),
            format!(
                "File `{}`:\n```\nfn a() {{}}\n```\n\nFile `{}`:\n````\n```\nb\n```\n````\n\nWhy?",
                at("a.rs"),
                at("b c.md")
            )
        );
        assert_eq!(attached.images(), None);
        assert_eq!(attached.names().len(), 2);
    }

    #[test]
    fn a_file_goes_along_once_however_it_is_named() {
        let folder = folder();
        let [a, b] = ["a.rs", "b c.md"].map(|name| folder.path().join(name));
        let mut attached = Attached::default();
        for path in [&a, &b] {
            attached.add(path, false).expect("a text");
        }
        std::fs::write(&a, "fn b() {}").expect("write");
        let other_name = folder.path().join(".").join("a.rs");
        attached.add(&other_name, false).expect("the same text");
        assert_eq!(attached.names().len(), 2);
        let text = attached.before("Why?");
        assert!(
            text.contains("fn b() {}") && !text.contains("fn a() {}"),
            "{text}"
        );
        assert!(text.find("fn b()") < text.find("b c.md"), "{text}");
        // a file that is known is none too many
        for i in 2..MAX_FILES {
            let path = folder.path().join(format!("{i}"));
            std::fs::write(&path, "x").expect("write");
            attached.add(&path, false).expect("a text");
        }
        attached.add(&b, false).expect("the same text");
        assert_eq!(attached.names().len(), MAX_FILES);
    }

    #[track_caller]
    fn refused(path: &Path, takes_images: bool, expected: &str) {
        let mut attached = Attached::default();
        let error = attached.add(path, takes_images).expect_err("refused");
        let (message, _) = crate::failure::describe(&error);
        assert!(message.contains(expected), "{message}");
        assert!(attached.is_empty());
    }

    #[test]
    fn images_go_to_models_that_take_them() {
        let folder = folder();
        let image = folder.path().join("x.png");
        std::fs::write(&image, b"\x89PNG\r\n\x1a\n").expect("write");
        refused(&image, false, "is an image, and this model takes none");
        let mut attached = Attached::default();
        attached.add(&image, true).expect("an image");
        assert_eq!(attached.images(), Some(vec!["iVBORw0KGgo=".to_owned()]));
        assert_eq!(attached.before("x"), "x");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let folder = folder();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("write");
            path
        };
        refused(&write("nul", b"a\0b"), false, "neither text");
        refused(&write("latin", b"\xe4"), true, "neither text");
        refused(
            &write("long", &[b'a'; 1024 * 1024 + 1]),
            true,
            "larger than 1048576",
        );
        refused(folder.path(), true, "is a folder");
        refused(&folder.path().join("none"), true, "cannot read");
    }
}
