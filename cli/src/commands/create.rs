//! `slm create`: reads a Modelfile, gives its files to the daemon and has it make the model.
//!
//! A file is named by the digest of its bytes. A daemon that holds the blob already gets nothing; one on this machine
//! takes the file itself, by link where it can; any other gets the bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use slm_api::Client;
use slm_api::ollama::{CreateRequest, Message};
use slm_modelfile::{Modelfile, Parsed, Place, parts};

use crate::failure::{Advice, Exit};
use crate::progress::{self, FileBar};
use crate::settings::Settings;
use crate::ui::{self, Ui};

/// How much of a file is hashed at a time.
const HASH_CHUNK_BYTES: usize = 1024 * 1024;
/// A Modelfile larger than this is something else.
const MAX_MODELFILE_BYTES: u64 = 16 * 1024 * 1024;

/// Arguments of `slm create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the model to make
    pub model: String,
    /// Modelfile to read, `-` for stdin (default: `Modelfile` in this folder)
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// Quantise the weights to this type
    #[arg(short, long)]
    pub quantize: Option<String>,
}

/// Makes the model.
///
/// # Errors
/// When the Modelfile is wrong, a file of it cannot be read, or the daemon refuses.
pub(crate) async fn run(
    args: Args,
    client: &Client,
    settings: &Settings,
    ui: Ui,
) -> anyhow::Result<Exit> {
    let source = Source::open(args.file.as_deref(), settings)?;
    let parsed = Modelfile::parse_in_detail(&source.text)
        .with_context(|| format!("{} is wrong", source.name))?;
    for warning in &parsed.warnings {
        ui.warn(&warning.to_string());
    }
    let plan = Plan::of(&parsed, &source)?;
    let modelfile = parsed.modelfile;
    let mut request = CreateRequest {
        quantize: args.quantize,
        ..request_of(args.model, &modelfile)
    };
    let is_local = settings.host.is_local();
    request.files = send_all(&plan.files, client, is_local, ui).await?;
    request.adapters = send_all(&plan.adapters, client, is_local, ui).await?;
    request.from = plan.base;
    let lines = client.create(&request).await?;
    progress::follow(lines, ui).await?;
    Ok(Exit::Done)
}

/// A Modelfile and where it came from.
struct Source {
    /// As messages call it.
    name: String,
    text: Vec<u8>,
    /// Relative paths in it start here.
    folder: PathBuf,
    home: Option<PathBuf>,
}

impl Source {
    fn open(file: Option<&Path>, settings: &Settings) -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("cannot tell the current folder")?;
        let home = settings.home_dir.clone();
        if file == Some(Path::new("-")) {
            return Ok(Self {
                name: "the Modelfile on stdin".to_owned(),
                text: ui::read_stdin()?.into_bytes(),
                folder: here,
                home,
            });
        }
        let path = here.join(file.unwrap_or(Path::new("Modelfile")));
        let name = format!("`{}`", path.display());
        let text = read_bounded(&path).map_err(|error| {
            let hint =
                "name the Modelfile with `-f`; a minimal one is the line `FROM ./model.gguf`";
            Advice::new(format!("cannot read {name}"), hint).because(error)
        })?;
        let folder = path.parent().unwrap_or(&here).to_owned();
        Ok(Self {
            name,
            text,
            folder,
            home,
        })
    }

    /// The path that an instruction means.
    fn resolve(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.folder.join(text),
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_MODELFILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_MODELFILE_BYTES {
        return Err(std::io::Error::other("it is too large for a Modelfile"));
    }
    Ok(bytes)
}

/// What a Modelfile's `FROM` and `ADAPTER` lines mean.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// An existing model.
    base: Option<String>,
    files: Vec<PathBuf>,
    adapters: Vec<PathBuf>,
}

impl Plan {
    fn of(parsed: &Parsed, source: &Source) -> anyhow::Result<Self> {
        let mut plan = Self::default();
        if let Some(place) = parsed.draft_place {
            anyhow::bail!(
                "({place}): DRAFT is not supported; put `PARAMETER draft_model NAME` in its place, with the name of a stored model that has the same vocabulary"
            );
        }
        for (from, place) in parsed.modelfile.from.iter().zip(&parsed.from_places) {
            let path = source.resolve(from.strip_prefix("file://").unwrap_or(from));
            if path.is_dir() {
                plan.files.extend(ggufs_in(&path, *place)?);
            } else if path.exists() {
                plan.add_parts(&path, *place)?;
            } else if looks_like_path(from) {
                return Err(missing_file("FROM", &path, *place).into());
            } else if plan.base.replace(from.clone()).is_some() {
                anyhow::bail!("({place}): FROM names a second model, `{from}`; expected a file");
            }
        }
        if let (Some(adapter), Some(place)) = (&parsed.modelfile.adapter, parsed.adapter_place) {
            let path = source.resolve(adapter);
            if path.is_dir() || has_extension(&path, "safetensors") {
                let text = format!(
                    "({place}): ADAPTER names `{}`, which is no GGUF file",
                    path.display()
                );
                let hint = "convert the adapter to GGUF first, as convert_lora_to_gguf.py of llama.cpp does, and name that file";
                return Err(Advice::new(text, hint).into());
            }
            if !path.is_file() {
                return Err(missing_file("ADAPTER", &path, place).into());
            }
            plan.adapters.push(path);
        }
        Ok(plan)
    }
}

impl Plan {
    /// Adds a file, or all parts of the model that it is a part of.
    fn add_parts(&mut self, path: &Path, place: Place) -> anyhow::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(names) = name.and_then(parts::all_of) else {
            self.files.push(path.to_owned());
            return Ok(());
        };
        for name in names {
            let part = path.with_file_name(name);
            if !part.is_file() {
                let text = format!(
                    "({place}): FROM names a part of a model, and `{}` is missing",
                    part.display()
                );
                return Err(Advice::new(text, "put all parts into one folder").into());
            }
            // each part may have its own FROM
            if !self.files.contains(&part) {
                self.files.push(part);
            }
        }
        Ok(())
    }
}

fn missing_file(instruction: &str, path: &Path, place: Place) -> Advice {
    Advice::new(
        format!(
            "({place}): {instruction} names `{}`, which is no file",
            path.display()
        ),
        "check the path: it is relative to the folder of the Modelfile",
    )
}

/// Whether text that names no existing file was meant as one all the same.
fn looks_like_path(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    // Places to pull from may end as files do.
    let hosts = ["hf.co/", "huggingface.co/", "www.huggingface.co/"];
    let is_elsewhere = hosts.into_iter().any(|host| lower.starts_with(host))
        || (lower.contains("://") && !lower.starts_with("file://"));
    if is_elsewhere {
        return false;
    }
    let starts = ["./", "../", "/", "~/", ".\\", "..\\"];
    let ends = [".gguf", ".safetensors", ".bin"];
    matches!(text, "." | "..")
        || starts.into_iter().any(|start| text.starts_with(start))
        || ends.into_iter().any(|end| lower.ends_with(end))
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    let extension = path.extension().unwrap_or_default();
    extension.eq_ignore_ascii_case(wanted)
}

/// The GGUF files of a folder, by name.
fn ggufs_in(folder: &Path, place: Place) -> anyhow::Result<Vec<PathBuf>> {
    let fail = || format!("({place}): cannot read the folder `{}`", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(fail)? {
        let path = entry.with_context(fail)?.path();
        if has_extension(&path, "gguf") && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Advice::new(
            format!("({place}): there is no GGUF file in `{}`", folder.display()),
            "convert the model to GGUF first, or name the file",
        )
        .into());
    }
    files.sort();
    Ok(files)
}

/// Everything of the request but the files.
fn request_of(model: String, modelfile: &Modelfile) -> CreateRequest {
    let parameters = modelfile.params_json();
    let messages = modelfile.messages.iter().map(|(role, content)| Message {
        role: role.clone(),
        content: content.clone(),
        ..Message::default()
    });
    let messages: Vec<_> = messages.collect();
    CreateRequest {
        model,
        template: modelfile.template.clone(),
        system: modelfile.system.clone(),
        license: (!modelfile.licenses.is_empty()).then(|| Value::from(modelfile.licenses.clone())),
        parameters: (!parameters.is_empty()).then_some(parameters),
        messages: (!messages.is_empty()).then_some(messages),
        renderer: modelfile.renderer.clone(),
        parser: modelfile.parser.clone(),
        requires: modelfile.requires.clone(),
        ..CreateRequest::default()
    }
}

/// Makes the daemon hold each file, and returns file names and digests for the request.
async fn send_all(
    files: &[PathBuf],
    client: &Client,
    is_local: bool,
    ui: Ui,
) -> anyhow::Result<Option<Map<String, Value>>> {
    let mut digests = Map::new();
    for path in files {
        let digest = digest_of(path, ui).await?;
        if !client.has_blob(&digest).await? {
            send(path, &digest, client, is_local, ui).await?;
        }
        digests.insert(unused_name(path, &digests), Value::from(digest));
    }
    Ok((!digests.is_empty()).then_some(digests))
}

/// The file's name; two files of one name are told apart by a number.
fn unused_name(path: &Path, taken: &Map<String, Value>) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !taken.contains_key(&*name) {
        return name.into_owned();
    }
    format!("{}-{name}", taken.len())
}

/// `sha256:` and the hash of the file's bytes.
async fn digest_of(path: &Path, ui: Ui) -> anyhow::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        hash_file(&path, ui).with_context(|| format!("cannot read `{}`", path.display()))
    })
    .await?
}

fn hash_file(path: &Path, ui: Ui) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let n_bytes = file.metadata()?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bar = FileBar::new(format!("hashing {name}"), n_bytes, ui);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    let mut done = 0;
    loop {
        let n_read = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n_read) => n_read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&chunk[..n_read]);
        done += n_read as u64;
        bar.set(done);
    }
    bar.finish();
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("sha256:{hex}"))
}

async fn send(
    path: &Path,
    digest: &str,
    client: &Client,
    is_local: bool,
    ui: Ui,
) -> anyhow::Result<()> {
    if is_local {
        let absolute = std::path::absolute(path)
            .with_context(|| format!("cannot tell where `{}` is", path.display()))?;
        // A daemon in a container, of another user or of another make cannot take the file: it gets the bytes.
        if client.link_blob(digest, &absolute).await.is_ok() {
            return Ok(());
        }
    }
    let n_bytes = std::fs::metadata(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?
        .len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bar = FileBar::new(format!("sending {name}"), n_bytes, ui);
    let moving = bar.share();
    client
        .upload_blob(digest, path, move |sent| moving.set(sent))
        .await?;
    bar.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(folder: &Path, text: &str) -> Source {
        Source {
            name: "`Modelfile`".into(),
            text: text.into(),
            folder: folder.to_owned(),
            home: Some(folder.join("home")),
        }
    }

    fn plan(folder: &Path, text: &str) -> anyhow::Result<Plan> {
        let parsed = Modelfile::parse_in_detail(text.as_bytes()).expect("Modelfile");
        Plan::of(&parsed, &source(folder, text))
    }

    #[test]
    fn from_is_a_file_a_folder_or_a_model() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("home/weights")).expect("folder");
        for file in [
            "a.gguf",
            "home/weights/2.gguf",
            "home/weights/1.GGUF",
            "home/weights/x.txt",
            "lora.gguf",
        ] {
            std::fs::write(at(file), "").expect("write");
        }
        let file = plan(folder.path(), "FROM a.gguf\nADAPTER ./lora.gguf").expect("plan");
        assert_eq!(file.files, [at("a.gguf")]);
        assert_eq!(file.adapters, [at("./lora.gguf")]);
        let inside = plan(folder.path(), "FROM ~/weights").expect("plan");
        assert_eq!(
            inside.files,
            [at("home/weights/1.GGUF"), at("home/weights/2.gguf")]
        );
        let model = plan(folder.path(), "FROM smollm2:135m").expect("plan");
        assert_eq!(model.base.as_deref(), Some("smollm2:135m"));
        assert!(model.files.is_empty());
        let url = format!("FROM file://{}", at("a.gguf").display());
        let file = plan(folder.path(), &url).expect("plan");
        assert_eq!(file.files, [at("a.gguf")]);
    }

    #[test]
    fn one_part_of_a_model_means_all() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
        let both = names.map(|name| folder.path().join(name));
        std::fs::write(&both[0], "").expect("write");
        let error = plan(folder.path(), "FROM m-00001-of-00002.gguf").expect_err("half");
        let text = error.to_string();
        assert!(text.contains("00002-of-00002.gguf` is missing"), "{text}");
        std::fs::write(&both[1], "").expect("write");
        for text in [
            "FROM m-00001-of-00002.gguf",
            "FROM ./m-00001-of-00002.gguf\nFROM ./m-00002-of-00002.gguf",
        ] {
            let files = plan(folder.path(), text).expect("plan").files;
            let files = files.iter().map(|path| path.canonicalize().expect("there"));
            let files: Vec<PathBuf> = files.collect();
            assert_eq!(
                files,
                both.clone().map(|path| path.canonicalize().expect("there"))
            );
        }
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::create_dir(folder.path().join("empty")).expect("folder");
        let error = plan(folder.path(), text).expect_err("wrong");
        let folder = folder.path().display().to_string();
        assert_eq!(error.to_string().replace(&folder, "DIR"), expected);
    }

    #[test]
    fn errors_carry_the_place() {
        check_error(
            "# weights\nfrom ./missing.gguf",
            "(line 2, column 6): FROM names `DIR/./missing.gguf`, which is no file",
        );
        check_error(
            "FROM m\nADAPTER ./empty",
            "(line 2, column 9): ADAPTER names `DIR/./empty`, which is no GGUF file",
        );
        check_error(
            "FROM m\nADAPTER a.SafeTensors",
            "(line 2, column 9): ADAPTER names `DIR/a.SafeTensors`, which is no GGUF file",
        );
        check_error(
            "FROM m\n\nADAPTER lora.gguf",
            "(line 3, column 9): ADAPTER names `DIR/lora.gguf`, which is no file",
        );
        check_error(
            "FROM ./empty",
            "(line 1, column 6): there is no GGUF file in `DIR/./empty`",
        );
        check_error(
            "FROM a\nFROM b",
            "(line 2, column 6): FROM names a second model, `b`; expected a file",
        );
    }

    #[test]
    fn what_looks_like_a_path_is_no_model_name() {
        for path in ["./x", "../x", "/x", "~/x", "model.GGUF", "."] {
            assert!(looks_like_path(path), "{path}");
        }
        for name in [
            "smollm2",
            "user/model:tag",
            "hf.co/u/r:Q4_K_M",
            "HF.co/u/r:m.gguf",
            "https://host/m.gguf",
            "oci://host/m",
        ] {
            assert!(!looks_like_path(name), "{name}");
        }
    }

    #[test]
    fn everything_else_goes_into_the_request() {
        let text = "FROM m\nPARAMETER temperature 0.5\nPARAMETER stop a\nPARAMETER stop b\nSYSTEM Be kind.\n\
                    TEMPLATE {{ .Prompt }}\nLICENSE MIT\nMESSAGE user hi\nMESSAGE assistant hello\n";
        let modelfile = Modelfile::parse(text.as_bytes()).expect("Modelfile");
        let request = serde_json::to_value(request_of("new".into(), &modelfile)).expect("json");
        assert_eq!(
            request,
            json!({
                "model": "new",
                "template": "{{ .Prompt }}",
                "system": "Be kind.",
                "license": ["MIT"],
                "parameters": {"temperature": 0.5, "stop": ["a", "b"]},
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": "hello"}
                ],
            })
        );
    }

    #[test]
    fn files_are_named_by_their_bytes() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "abc").expect("write");
        let digest = hash_file(file.path(), Ui::of_process()).expect("hash");
        assert_eq!(
            digest,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn two_files_of_one_name_stay_two() {
        let mut taken = Map::new();
        for (path, expected) in [("/a/m.gguf", "m.gguf"), ("/b/m.gguf", "1-m.gguf")] {
            let name = unused_name(Path::new(path), &taken);
            assert_eq!(name, expected);
            taken.insert(name, Value::Null);
        }
    }
}
