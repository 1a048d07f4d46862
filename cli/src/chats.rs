//! The chats that were had, kept on this machine: one file each, JSON lines, the first about the chat and then one for
//! each message.
//!
//! A file is written whole beside its place and then renamed, so that a reader sees a chat as it was after some answer.
//! It is readable by its owner alone. Nothing is kept without a home or where the person wants none.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use slm_api::ollama::Message;

use crate::failure::Advice;
use crate::settings::Settings;

/// The form of the files.
const VERSION: u32 = 1;
/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;
/// The longest first line that is read.
const MAX_HEAD_BYTES: u64 = 1024 * 1024;
/// How many files are looked at in a listing; the newest come first.
const MAX_LISTED: usize = 10_000;
/// Characters of a title.
const MAX_TITLE: usize = 200;
const EXTENSION: &str = "jsonl";

/// What is known of a chat without its messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Form of the file.
    pub version: u32,
    /// Its name.
    pub id: String,
    /// The model that answered last.
    pub model: String,
    /// When it began.
    pub created_at: String,
    /// When the last answer came.
    pub updated_at: String,
    /// How the person began.
    pub title: String,
    /// How many messages there are.
    pub n_messages: usize,
    /// System message that was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Options that were set.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

/// A chat.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chat {
    /// What is known of it.
    pub head: Head,
    /// What was said.
    pub messages: Vec<Message>,
}

impl Chat {
    /// A chat that begins now, in which nothing was said.
    pub(crate) fn new() -> Self {
        let now = Timestamp::now();
        // Random digits keep chats apart that begin in the same second.
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), now);
        let id = format!("{}-{:04x}", now.strftime("%Y%m%d-%H%M%S"), random & 0xffff);
        Self {
            head: Head {
                version: VERSION,
                id,
                created_at: now.to_string(),
                ..Head::default()
            },
            messages: Vec::new(),
        }
    }
}

/// The folder of chats.
#[derive(Clone, Debug)]
pub(crate) struct Chats {
    folder: PathBuf,
}

impl Chats {
    /// The chats of this person.
    ///
    /// # Errors
    /// When there is no home to keep them in.
    pub(crate) fn of(settings: &Settings) -> anyhow::Result<Self> {
        let folder = settings.data_dir.as_ref().ok_or_else(|| {
            Advice::new(
                "there is no home directory to keep chats in",
                "set HOME, or use `--no-history`",
            )
        })?;
        Ok(Self {
            folder: folder.join("chats"),
        })
    }

    /// Writes a chat, in place of what was kept of it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn save(&self, chat: &Chat) -> anyhow::Result<()> {
        let path = self.path(&chat.head.id);
        self.write(chat, &path)
            .with_context(|| format!("cannot keep this chat in `{}`", path.display()))
    }

    fn write(&self, chat: &Chat, path: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        let head = Head {
            updated_at: Timestamp::now().to_string(),
            title: title(&chat.messages),
            n_messages: chat.messages.len(),
            ..chat.head.clone()
        };
        let mut writer = BufWriter::new(file.as_file_mut());
        writeln!(writer, "{}", serde_json::to_string(&head)?)?;
        for message in &chat.messages {
            writeln!(writer, "{}", serde_json::to_string(message)?)?;
        }
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    /// The chats, the one with the last answer first. Files that cannot be read are left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn list(&self) -> anyhow::Result<Vec<Head>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(anyhow::Error::new(error)
                    .context(format!("cannot read `{}`", self.folder.display())));
            }
        };
        let mut names: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|name| name == EXTENSION))
            .collect();
        // Names begin with the time.
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.truncate(MAX_LISTED);
        let mut heads: Vec<Head> = names
            .iter()
            .filter_map(|path| read_head(path).ok())
            .collect();
        heads.sort_by_key(|head| std::cmp::Reverse(head.updated_at.parse::<Timestamp>().ok()));
        Ok(heads)
    }

    /// The chat with this id, or one that begins so where that is clear; without one, the last chat with `model`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(crate) fn find(&self, id: Option<&str>, model: &str) -> anyhow::Result<Chat> {
        let heads = self.list()?;
        let Some(id) = id else {
            let last = heads.iter().find(|head| same_model(&head.model, model));
            let last = last.ok_or_else(|| {
                Advice::new(
                    format!("no chat with '{model}' was kept"),
                    "look at `slm chats`, and give the ID of one",
                )
            })?;
            return self.read(&last.id);
        };
        self.read(&self.full_id(id, &heads)?)
    }

    /// Removes a chat.
    ///
    /// # Errors
    /// When there is none, or it cannot be removed.
    pub(crate) fn remove(&self, id: &str) -> anyhow::Result<String> {
        let id = self.full_id(id, &self.list()?)?;
        let path = self.path(&id);
        std::fs::remove_file(&path)
            .with_context(|| format!("cannot remove `{}`", path.display()))?;
        Ok(id)
    }

    fn full_id(&self, start: &str, heads: &[Head]) -> anyhow::Result<String> {
        let mut found = heads.iter().filter(|head| head.id.starts_with(start));
        let exact = heads.iter().find(|head| head.id == start);
        match (exact, found.next(), found.next()) {
            (Some(head), _, _) | (None, Some(head), None) => Ok(head.id.clone()),
            (None, Some(_), Some(_)) => Err(Advice::new(
                format!("several chats begin with '{start}'"),
                "give more of the ID, as `slm chats` lists it",
            )
            .into()),
            (None, None, _) => Err(Advice::new(
                format!("there is no chat '{start}'"),
                "look at `slm chats`",
            )
            .into()),
        }
    }

    fn read(&self, id: &str) -> anyhow::Result<Chat> {
        let path = self.path(id);
        read_chat(&path).with_context(|| format!("cannot read the chat `{}`", path.display()))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.{EXTENSION}"))
    }
}

/// Whether two names mean the same model: `latest` may be left off.
fn same_model(a: &str, b: &str) -> bool {
    let bare = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_lowercase();
    bare(a) == bare(b)
}

/// How the person began, in one line.
fn title(messages: &[Message]) -> String {
    let first = messages.iter().find(|message| message.role == "user");
    let text = first.map_or("", |message| message.content.as_str());
    // Files stand before what was said.
    let said = text.rsplit("\n\n").next().unwrap_or(text);
    let said = if text.starts_with("File `") {
        said
    } else {
        text
    };
    let words: Vec<&str> = said.split_whitespace().take(MAX_TITLE).collect();
    words.join(" ").chars().take(MAX_TITLE).collect()
}

fn read_head(path: &Path) -> anyhow::Result<Head> {
    let mut line = String::new();
    let file = File::open(path)?.take(MAX_HEAD_BYTES);
    BufReader::new(file).read_line(&mut line)?;
    let head: Head = serde_json::from_str(&line)?;
    anyhow::ensure!(
        head.version == VERSION,
        "its form, {}, is not known here",
        head.version
    );
    // The file's name is what it is found by.
    let id = path.file_stem().and_then(|name| name.to_str());
    let id = id.context("its name is not UTF-8")?.to_owned();
    Ok(Head { id, ..head })
}

fn read_chat(path: &Path) -> anyhow::Result<Chat> {
    let head = read_head(path)?;
    let file = File::open(path)?.take(MAX_FILE_BYTES);
    let lines = BufReader::new(file).lines().enumerate().skip(1);
    let mut messages = Vec::new();
    for (n, line) in lines {
        let message = serde_json::from_str(&line?)
            .with_context(|| format!("line {} is no message", n + 1))?;
        messages.push(message);
    }
    Ok(Chat { head, messages })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message {
            role: role.into(),
            content: content.into(),
            ..Message::default()
        }
    }

    fn chats() -> (tempfile::TempDir, Chats) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let chats = Chats {
            folder: folder.path().join("chats"),
        };
        (folder, chats)
    }

    fn chat(id: &str, model: &str, said: &str) -> Chat {
        let mut chat = Chat::new();
        chat.head.id = id.into();
        chat.head.model = model.into();
        chat.messages = vec![message("user", said), message("assistant", "Yes.\n")];
        chat
    }

    #[test]
    fn a_chat_comes_back_as_it_was() {
        let (_folder, chats) = chats();
        assert_eq!(chats.list().expect("no folder is no chats"), []);
        let mut chat = chat("1", "m:latest", "Is it\n  so?");
        chat.head.system = Some("Be kind.".into());
        chat.head.options.insert("top_k".into(), 3.into());
        chats.save(&chat).expect("saved");
        chat.messages.push(message("user", "Really?"));
        chats.save(&chat).expect("saved again");
        let back = chats.find(None, "M").expect("the last one");
        assert_eq!(back.messages, chat.messages);
        assert_eq!(back.head.title, "Is it so?");
        assert_eq!(back.head.n_messages, 3);
        assert_eq!(back.head.system, chat.head.system);
        assert_eq!(back.head.options, chat.head.options);
        assert_eq!(chats.list().expect("one"), [back.head]);
    }

    #[test]
    fn chats_are_found_by_model_or_id() {
        let (_folder, chats) = chats();
        for (id, model) in [("20-a", "m"), ("20-b", "n"), ("21", "m:latest")] {
            chats.save(&chat(id, model, id)).expect("saved");
        }
        let find = |id, model| chats.find(id, model).map(|chat| chat.head.id);
        assert_eq!(find(None, "m").expect("last of m"), "21");
        assert_eq!(find(None, "n").expect("last of n"), "20-b");
        assert_eq!(find(Some("20-a"), "x").expect("whole id"), "20-a");
        assert_eq!(find(Some("21"), "x").expect("beginning"), "21");
        for (id, model, expected) in [
            (None, "x", "no chat with 'x'"),
            (Some("20"), "m", "several chats begin with '20'"),
            (Some("../x"), "m", "there is no chat '../x'"),
        ] {
            let error = find(id, model).expect_err("none").to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(chats.remove("20-b").expect("removed"), "20-b");
        assert!(chats.remove("20-b").is_err());
        assert_eq!(chats.list().expect("two").len(), 2);
    }

    #[test]
    fn damage_is_named_and_hides_no_other_chat() {
        let (_folder, chats) = chats();
        chats.save(&chat("1", "m", "hi")).expect("saved");
        let text = std::fs::read_to_string(chats.path("1")).expect("text");
        std::fs::write(chats.path("2"), format!("{text}{{oops\n")).expect("write");
        std::fs::write(chats.path("3"), "oops\n").expect("write");
        std::fs::write(
            chats.path("4"),
            text.replace("\"version\":1", "\"version\":9"),
        )
        .expect("write");
        let ids: Vec<String> = chats
            .list()
            .expect("list")
            .into_iter()
            .map(|head| head.id)
            .collect();
        assert_eq!(ids.len(), 2, "{ids:?}");
        let error = chats.find(Some("2"), "m").expect_err("damaged");
        assert!(
            format!("{error:#}").contains("line 4 is no message"),
            "{error:#}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, chats) = chats();
        chats.save(&chat("1", "m", "hi")).expect("saved");
        let mode = std::fs::metadata(chats.path("1"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0);
    }

    #[test]
    fn a_title_is_what_was_said_and_not_the_files() {
        let messages = [message("user", "File `a`:\n```\nx\n```\n\nWhy  so?")];
        assert_eq!(title(&messages), "Why so?");
        assert_eq!(title(&[]), "");
    }
}
