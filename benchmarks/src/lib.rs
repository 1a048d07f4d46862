//! Results of benchmarks, kept on the machine that measured: one JSON file for each run, in a folder of its own.
//!
//! A [`Run`] is written anew after each test, beside its place and then renamed, so that a reader sees it as it was after
//! some test, and one that was interrupted keeps what it measured. Files are readable by their owner alone. A new run
//! removes the oldest where there are more than wanted; whatever else lies in the folder is left alone.
//!
//! Not here: what the fields of a result mean (those who measure say it, those who draw read it), and who may see them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    ffi::OsStr,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Runs that are kept where nobody says how many.
pub const DEFAULT_KEPT: usize = 50;
/// Runs that can be kept at most.
pub const MAX_KEPT: usize = 1000;
/// The largest file that is written and read.
const MAX_FILE_BYTES: usize = 1 << 20;
/// Bytes of the files that one listing reads at most.
const MAX_LISTED_BYTES: usize = 16 << 20;
/// The form of the files.
const VERSION: u32 = 1;
const EXTENSION: &str = "json";
/// Where it stands for folders in what was measured.
const FILE_NAME_FIELDS: &[&str] = &["model_filename"];

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A model, in the fields of llama-bench.
    Model,
    /// A server under load, in the fields of vLLM's serving benchmark.
    Server,
}

/// One run of a benchmark, as its file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    version: u32,
    /// Its name: the time at which it began, and some digits.
    pub id: String,
    /// What was measured.
    pub kind: Kind,
    /// When it began, as RFC 3339.
    pub started_at: String,
    /// A result for each test.
    pub results: Vec<Map<String, Value>>,
}

/// The folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Benchmarks {
    folder: PathBuf,
    most: usize,
}

impl Benchmarks {
    /// The folder of this user for benchmarks: `benchmarks` in `data_dir`, of which the newest `most` are kept.
    pub fn new(data_dir: &Path, most: usize) -> Self {
        Self {
            folder: data_dir.join("benchmarks"),
            most: most.min(MAX_KEPT),
        }
    }

    /// A run that begins now. Nothing is written before it has a result.
    pub fn begin(&self, kind: Kind) -> Run {
        let now = Timestamp::now();
        // random digits keep runs apart that begin in the same second
        let random = RandomState::new().hash_one(now);
        Run {
            place: self.clone(),
            kept: Kept {
                version: VERSION,
                id: format!("{}-{:04x}", now.strftime("%Y%m%d-%H%M%S"), random & 0xffff),
                kind,
                started_at: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                results: Vec::new(),
            },
        }
    }

    /// What is kept, the newest first. Files that are none of these are passed over.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn list(&self) -> io::Result<Vec<Kept>> {
        let mut left = MAX_LISTED_BYTES;
        let mut found = Vec::new();
        for path in self.files()?.into_iter().take(self.most) {
            let Ok((kept, n_bytes)) = read(&path) else {
                continue;
            };
            let Some(rest) = left.checked_sub(n_bytes) else {
                break;
            };
            left = rest;
            found.push(kept);
        }
        Ok(found)
    }

    /// The files of runs, the newest first: their names begin with the time.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let paths = entries.flatten().map(|entry| entry.path());
        let mut paths: Vec<PathBuf> = paths.filter(|path| is_run(path)).collect();
        paths.sort_unstable_by(|a, b| b.cmp(a));
        Ok(paths)
    }

    /// Removes the oldest beyond what is wanted.
    fn prune(&self) -> io::Result<()> {
        for path in self.files()?.into_iter().skip(self.most) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a file is called as a run's is: `20260101-120000-ab12.json`.
fn is_run(path: &Path) -> bool {
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let shape = "dddddddd-dddddd-xxxx";
    let fits = |(c, wanted): (char, char)| match wanted {
        'd' => c.is_ascii_digit(),
        'x' => c.is_ascii_hexdigit(),
        dash => c == dash,
    };
    path.extension().is_some_and(|name| name == EXTENSION)
        && stem.len() == shape.len()
        && stem.chars().zip(shape.chars()).all(fits)
}

/// A run and the bytes of its file.
fn read(path: &Path) -> io::Result<(Kept, usize)> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    let kept: Kept = serde_json::from_slice(&bytes)?;
    if bytes.len() > MAX_FILE_BYTES || kept.version != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((kept, bytes.len()))
}

/// A run that goes on.
#[derive(Debug)]
pub struct Run {
    place: Benchmarks,
    kept: Kept,
}

impl Run {
    /// Keeps another result. A path in it is cut down to the name of the file: others may read results, and have no use
    /// for this machine's folders. Where nothing is to be kept, nothing happens.
    ///
    /// # Errors
    /// When the folder cannot be written, or a run has more results than a file is to hold.
    pub fn add(&mut self, mut result: Map<String, Value>) -> io::Result<()> {
        if self.place.most == 0 {
            return Ok(());
        }
        for field in FILE_NAME_FIELDS {
            if let Some(Value::String(path)) = result.get_mut(*field) {
                *path = without_folders(path);
            }
        }
        self.kept.results.push(result);
        let mut bytes = serde_json::to_vec(&self.kept)?;
        bytes.push(b'\n');
        if bytes.len() > MAX_FILE_BYTES {
            self.kept.results.pop();
            return Err(io::Error::other(format!(
                "a run keeps {MAX_FILE_BYTES} bytes of results at most"
            )));
        }
        let folder = &self.place.folder;
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(folder.join(&self.kept.id).with_extension(EXTENSION))?;
        if self.kept.results.len() == 1 {
            self.place.prune()?;
        }
        Ok(())
    }
}

/// The last part of a path to a GGUF file; the name of a stored model, which has slashes too, stays as it is.
fn without_folders(name: &str) -> String {
    let is_path = name.to_ascii_lowercase().ends_with(".gguf")
        || name.starts_with(['/', '.', '~', '\\'])
        || name.contains('\\');
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    if is_path { last } else { name }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn result(n: u64) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("median_ts".into(), json!(n));
        fields
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder.join("benchmarks")).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let names = entries.map(|entry| name(entry).into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_run_is_there_after_its_first_result_and_grows() {
        let data = tempfile::tempdir().unwrap();
        let all = Benchmarks::new(data.path(), 3);
        assert_eq!(all.list().unwrap(), []);
        let mut run = all.begin(Kind::Model);
        assert_eq!(all.list().unwrap(), []);
        run.add(result(1)).unwrap();
        assert_eq!(all.list().unwrap()[0].results, [result(1)]);
        run.add(result(2)).unwrap();
        let listed = all.list().unwrap();
        assert_eq!(listed, [run.kept.clone()]);
        assert_eq!(listed[0].results, [result(1), result(2)]);
        assert_eq!(listed[0].kind, Kind::Model);
        assert!(listed[0].started_at.parse::<Timestamp>().is_ok());
        assert_eq!(names(data.path()).len(), 1, "no file is left beside it");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = data.path().join("benchmarks").join(&names(data.path())[0]);
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "only the owner reads it");
        }
    }

    #[test]
    fn the_oldest_go_and_what_is_no_run_stays() {
        let data = tempfile::tempdir().unwrap();
        let all = Benchmarks::new(data.path(), 2);
        let mut old = all.begin(Kind::Model);
        for year in ["2001", "2002", "2003"] {
            old.kept.id = format!("{year}0101-000000-0000");
            old.kept.results.clear();
            old.add(result(1)).unwrap();
        }
        let folder = data.path().join("benchmarks");
        for name in ["notes.json", "99990101-000000-0000.txt"] {
            fs::write(folder.join(name), "mine").unwrap();
        }
        fs::write(folder.join("99980101-000000-0000.json"), "{}").unwrap();
        fs::create_dir(folder.join("99970101-000000-0000.json")).unwrap();
        assert_eq!(
            all.list().unwrap(),
            [],
            "two that cannot be read are newest"
        );
        let more = Benchmarks::new(data.path(), 10);
        let ids: Vec<String> = more.list().unwrap().into_iter().map(|k| k.id).collect();
        assert_eq!(ids, ["20030101-000000-0000", "20020101-000000-0000"]);
        let left = names(data.path());
        assert!(left.contains(&"notes.json".to_owned()), "{left:?}");
        assert!(
            !left.iter().any(|name| name.starts_with("2001")),
            "{left:?}"
        );
    }

    #[test]
    fn with_none_wanted_nothing_is_written_or_told() {
        let data = tempfile::tempdir().unwrap();
        Benchmarks::new(data.path(), 5)
            .begin(Kind::Server)
            .add(result(1))
            .unwrap();
        let none = Benchmarks::new(data.path(), 0);
        none.begin(Kind::Model).add(result(2)).unwrap();
        assert_eq!(none.list().unwrap(), []);
        assert_eq!(names(data.path()).len(), 1, "what was kept is not removed");
    }

    #[test]
    fn a_run_does_not_outgrow_its_file() {
        let data = tempfile::tempdir().unwrap();
        let all = Benchmarks::new(data.path(), 5);
        let mut run = all.begin(Kind::Model);
        run.add(result(1)).unwrap();
        let mut large = Map::new();
        large.insert("x".into(), json!("x".repeat(MAX_FILE_BYTES)));
        assert!(run.add(large).is_err());
        run.add(result(2)).unwrap();
        assert_eq!(all.list().unwrap()[0].results, [result(1), result(2)]);
    }

    #[test]
    fn folders_of_this_machine_are_not_kept() {
        for (name, kept) in [
            ("/srv/secret/a.gguf", "a.gguf"),
            ("models/a.GGUF", "a.GGUF"),
            ("C:\\models\\a.gguf", "a.gguf"),
            ("./weights", "weights"),
            ("hf.co/user/repo:Q8_0", "hf.co/user/repo:Q8_0"),
            ("qwen3:0.6b", "qwen3:0.6b"),
        ] {
            assert_eq!(without_folders(name), kept);
        }
        let data = tempfile::tempdir().unwrap();
        let all = Benchmarks::new(data.path(), 5);
        let mut one = result(1);
        one.insert("model_filename".into(), json!("/srv/a.gguf"));
        all.begin(Kind::Model).add(one).unwrap();
        let listed = all.list().unwrap();
        assert_eq!(listed[0].results[0]["model_filename"], "a.gguf");
    }
}
