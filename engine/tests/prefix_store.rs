//! States on disk: what an engine has computed another one goes on from, and nothing else.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[expect(dead_code, reason = "what other tests use of it")]
mod common;
mod generation;

use common::{Rewrite, golden, rewritten};
use generation::collect;
use slm_engine::{
    Adapters, Engine, GenerateRequest, KvType, LoadOptions, PrefixStoreOptions, SamplingParams,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
#[cfg(unix)]
use std::{
    fs::{File, OpenOptions},
    sync::mpsc::{Sender, channel},
    thread::JoinHandle,
    time::Duration,
};
use tempfile::TempDir;

/// A model of a family with a context of 8192 tokens, and a place for its states.
struct Place {
    folder: TempDir,
    model: PathBuf,
    max_bytes: u64,
}

impl Place {
    fn new(family: &str) -> Self {
        let key = format!("{family}.context_length");
        let how = Rewrite {
            without_keys: vec![&key],
            ..Rewrite::default()
        };
        let file = rewritten(family, &how, |writer| {
            writer.put(&key, 8192u32);
        });
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.gguf");
        fs::write(&model, file).unwrap();
        Self {
            folder,
            model,
            max_bytes: 1 << 30,
        }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("cache/prefixes")
    }

    fn options(&self) -> LoadOptions {
        LoadOptions {
            prefix_store: Some(PrefixStoreOptions {
                dir: self.store(),
                model_key: "sha256:0".into(),
                max_bytes: self.max_bytes,
            }),
            n_parallel: 4,
            ..LoadOptions::default()
        }
    }

    fn engine(&self) -> Engine {
        Engine::load(&self.model, &self.options()).unwrap()
    }

    /// The pages' files, the oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.store()).into_iter().flatten();
        let folders = folders.map(|folder| folder.unwrap().path());
        let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort_by_key(|file| file.metadata().unwrap().modified().unwrap());
        files
    }

    fn bytes(&self) -> u64 {
        let files = self.files().into_iter();
        files.map(|file| file.metadata().unwrap().len()).sum()
    }
}

fn prompt(seed: u32, n: u32) -> Vec<u32> {
    (0..n).map(|i| 20 + (i * 7 + i * i * seed) % 200).collect()
}

fn request(prompt: &[u32], salt: Option<&str>) -> GenerateRequest {
    GenerateRequest {
        prompt: prompt.to_vec(),
        sampling: SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        },
        max_tokens: Some(8),
        salt: salt.map(str::to_owned),
        ..GenerateRequest::default()
    }
}

/// The answer, and how many tokens of the prompt were known.
fn ask(engine: &Engine, prompt: &[u32], salt: Option<&str>) -> (Vec<u32>, usize) {
    let (tokens, finish) = collect(engine.generate(request(prompt, salt)).unwrap());
    (tokens, finish.stats.n_cached_tokens)
}

#[test]
fn a_beginning_outlives_the_engine() {
    for family in ["llama", "gemma3", "gemma4", "phi3"] {
        let place = Place::new(family);
        for kv_type in KvType::ALL {
            let load = || {
                let options = LoadOptions {
                    kv_type,
                    ..place.options()
                };
                Engine::load(&place.model, &options).unwrap()
            };
            let prompt = prompt(1, 700);
            let (answer, n_known) = ask(&load(), &prompt, None);
            assert_eq!(n_known, 0, "{family}, {kv_type}");
            let again = load();
            let known = ask(&again, &prompt, None);
            assert_eq!(known, (answer, 640), "{family}, {kv_type}");
            let longer = [&prompt[..], &[30, 40, 50]].concat();
            assert!(ask(&again, &longer, None).1 >= 690, "as in memory");
            drop(again);
            let shorter = [&prompt[..400], &[30, 40, 50]].concat();
            let (expected, n_known) = ask(&load(), &shorter, None);
            assert_eq!(n_known, 384, "{family}, {kv_type}");
            let without = Engine::load(
                &place.model,
                &LoadOptions {
                    kv_type,
                    ..LoadOptions::default()
                },
            );
            assert_eq!(ask(&without.unwrap(), &shorter, None), (expected, 0));
        }
    }
}

/// Windows that had passed a page before the state was written leave no bytes of it; prompts that would need them do not
/// find it, until one of them has been computed.
#[test]
fn what_windows_let_go_of_is_not_there() {
    let place = Place::new("gemma3");
    let long = prompt(1, 4000);
    let (answer, _) = ask(&place.engine(), &long, None);
    assert_eq!(ask(&place.engine(), &long, None), (answer, 3968));
    let short = [&long[..300], &[30, 40]].concat();
    let (answer, n_known) = ask(&place.engine(), &short, None);
    assert_eq!(n_known, 0);
    let without = Engine::load(&place.model, &LoadOptions::default());
    assert_eq!(ask(&without.unwrap(), &short, None).0, answer);
    assert_eq!(ask(&place.engine(), &short, None), (answer, 256));
    // a longer beginning, of which the first two pages are whole now
    let middle = [&long[..900], &[30, 40]].concat();
    let (answer, n_known) = ask(&place.engine(), &middle, None);
    assert_eq!(n_known, 256);
    assert_eq!(ask(&place.engine(), &middle, None), (answer, 896));
    assert_eq!(ask(&place.engine(), &long, None).1, 3968);
}

#[test]
fn nobody_else_finds_it() {
    let place = Place::new("llama");
    let prompt = prompt(1, 600);
    let (answer, _) = ask(&place.engine(), &prompt, Some("a"));
    let n_files = place.files().len();
    assert_eq!(n_files, 4);
    let engine = place.engine();
    for salt in [None, Some("b"), Some("")] {
        assert_eq!(ask(&engine, &prompt, salt), (answer.clone(), 0), "{salt:?}");
    }
    assert_eq!(ask(&engine, &prompt, Some("a")), (answer.clone(), 512));
    // in memory too
    assert_eq!(ask(&engine, &prompt, Some("c")).1, 0);
    assert_eq!(ask(&engine, &prompt, Some("c")).1, 599);
    drop(engine);
    let mut options = place.options();
    options.prefix_store.as_mut().unwrap().model_key = "sha256:1".into();
    let other_model = Engine::load(&place.model, &options).unwrap();
    assert_eq!(ask(&other_model, &prompt, Some("a")), (answer.clone(), 0));
    let options = LoadOptions {
        kv_type: KvType::Q8_0,
        ..place.options()
    };
    let other_type = Engine::load(&place.model, &options).unwrap();
    assert_eq!(ask(&other_type, &prompt, Some("a")).1, 0);
    let engine = place.engine();
    let adapter = engine.load_adapter(&golden("lora-llama-r4.gguf")).unwrap();
    let adapted = GenerateRequest {
        adapters: Adapters::new([(adapter, 1.0)]),
        ..request(&prompt, Some("a"))
    };
    let (_, finish) = collect(engine.generate(adapted).unwrap());
    assert_eq!(finish.stats.n_cached_tokens, 0);
}

#[test]
#[cfg(unix)]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("llama");
    ask(&place.engine(), &prompt(1, 300), None);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let files = place.files();
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
    }
    assert_eq!(mode(&place.store()), 0o700);
}

#[test]
fn a_damaged_file_is_removed_and_computed_anew() {
    let place = Place::new("llama");
    let prompt = prompt(1, 700);
    let (answer, _) = ask(&place.engine(), &prompt, None);
    let damages: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes.clear(),
        |bytes| bytes.push(0),
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes[50] ^= 1,
    ];
    for damage in damages {
        // ends are the oldest: this is the third page of five
        let third = place.files()[2].clone();
        let mut bytes = fs::read(&third).unwrap();
        damage(&mut bytes);
        let wrong = bytes.clone();
        fs::write(&third, bytes).unwrap();
        assert_eq!(ask(&place.engine(), &prompt, None), (answer.clone(), 256));
        // what was computed is there again
        assert_ne!(fs::read(&third).unwrap(), wrong);
        assert_eq!(place.files().len(), 5);
        assert_eq!(ask(&place.engine(), &prompt, None), (answer.clone(), 640));
    }
}

#[test]
fn a_common_beginning_is_there_once() {
    let place = Place::new("llama");
    let engine = place.engine();
    let system = prompt(1, 300);
    ask(&engine, &[&system[..], &prompt(2, 200)].concat(), None);
    ask(&engine, &[&system[..], &prompt(3, 200)].concat(), None);
    drop(engine);
    // two pages in common, one each
    assert_eq!(place.files().len(), 4);
}

#[test]
fn what_was_of_no_use_for_longest_goes_first() {
    let mut place = Place::new("llama");
    let (first, second) = (prompt(1, 500), prompt(2, 500));
    ask(&place.engine(), &first, None);
    let page = place.bytes() / 3;
    place.max_bytes = 7 * page;
    ask(&place.engine(), &second, None);
    ask(&place.engine(), &first, None);
    assert_eq!(place.bytes(), 6 * page);
    ask(&place.engine(), &prompt(3, 500), None);
    assert!(place.bytes() <= 7 * page);
    assert_eq!(ask(&place.engine(), &first, None).1, 384);
    // of the second prompt the end went
    assert_eq!(ask(&place.engine(), &second, None).1, 0);
    // more than there is room for: its beginning stays
    ask(&place.engine(), &prompt(4, 1500), None);
    assert_eq!(place.bytes(), 7 * page);
    assert_eq!(ask(&place.engine(), &prompt(4, 1500), None).1, 7 * 128);
    place.max_bytes = 0;
    assert_eq!(ask(&place.engine(), &prompt(4, 1500), None).1, 0);
}

#[test]
fn short_ones_and_states_that_cannot_be_cut_are_left_out() {
    let place = Place::new("llama");
    ask(&place.engine(), &prompt(1, 200), None);
    assert_eq!(place.files().len(), 0);
    for family in ["lfm2", "qwen35"] {
        let place = Place::new(family);
        ask(&place.engine(), &prompt(1, 600), None);
        assert_eq!(ask(&place.engine(), &prompt(1, 600), None).1, 0);
        assert_eq!(place.files().len(), 0, "{family}");
    }
}

/// A pipe in a file's place, where the disk waits for its other end.
#[cfg(unix)]
struct Stuck {
    let_go: Sender<()>,
    thread: JoinHandle<Option<File>>,
}

#[cfg(unix)]
impl Stuck {
    /// Until it is let go, or for 20 s; then `other_end` is opened and, where that can be, read.
    fn at(pipe: PathBuf, other_end: OpenOptions) -> Self {
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let (let_go, wait) = channel();
        let thread = std::thread::spawn(move || {
            let _in_time = wait.recv_timeout(Duration::from_secs(20));
            let mut file = other_end.open(pipe).unwrap();
            let is_read = std::io::copy(&mut file, &mut std::io::sink()).is_ok();
            is_read.then_some(file)
        });
        Self { let_go, thread }
    }

    /// Where the first page of `prompt` is to be written; none of its pages is there then.
    fn at_writing(place: &Place, prompt: &[u32]) -> Self {
        let others = place.files();
        ask(&place.engine(), prompt, None);
        let mut pages = place.files();
        pages.retain(|page| !others.contains(page));
        for page in &pages {
            fs::remove_file(page).unwrap();
        }
        let mut other_end = File::options();
        other_end.read(true);
        Self::at(pages.last().unwrap().with_extension("new"), other_end)
    }

    /// Where `page` is to be read.
    fn at_reading(page: PathBuf) -> Self {
        fs::remove_file(&page).unwrap();
        let mut other_end = File::options();
        other_end.write(true);
        Self::at(page, other_end)
    }

    fn is_stuck(&self) -> bool {
        !self.thread.is_finished()
    }

    /// The other end where writing waited: while it is there nobody waits for it anew.
    fn let_go(self) -> Option<File> {
        self.let_go.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// The answer of an engine that keeps nothing on disk.
fn answer_without(place: &Place, prompt: &[u32]) -> Vec<u32> {
    let engine = Engine::load(&place.model, &LoadOptions::default());
    ask(&engine.unwrap(), prompt, None).0
}

/// An engine with memory for one sequence of 700 tokens.
fn small_engine(place: &Place) -> Engine {
    let options = LoadOptions {
        context_length: Some(700),
        ..place.options()
    };
    let engine = Engine::load(&place.model, &options).unwrap();
    engine.set_kv_limit(engine.memory().kv_bytes);
    engine
}

/// States that wait for a slow disk hold memory: a generation waits for it too, and is not refused.
#[test]
#[cfg(unix)]
fn a_slow_disk_fails_no_answer() {
    let place = Place::new("llama");
    let (first, second) = (prompt(1, 600), prompt(2, 600));
    let answer = answer_without(&place, &second);
    let stuck = Stuck::at_writing(&place, &first);
    let engine = small_engine(&place);
    ask(&engine, &first, None);
    let second = engine.generate(request(&second, None)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(second.is_empty() && stuck.is_stuck());
    let other_end = stuck.let_go();
    assert_eq!(collect(second).0, answer);
    assert!(engine.memory().kv_bytes_in_use <= engine.memory().kv_bytes_limit);
    drop(engine);
    drop(other_end);
}

#[test]
#[cfg(unix)]
fn reading_waits_for_no_writing() {
    let place = Place::new("llama");
    let (first, second) = (prompt(1, 600), prompt(2, 600));
    let (answer, _) = ask(&place.engine(), &first, None);
    let stuck = Stuck::at_writing(&place, &second);
    let engine = place.engine();
    ask(&engine, &second, None);
    assert_eq!(ask(&engine, &first, None), (answer, 512));
    assert!(stuck.is_stuck());
    let other_end = stuck.let_go();
    drop(engine);
    drop(other_end);
}

/// Who waits for what is read is not waited for by others.
#[test]
#[cfg(unix)]
fn others_go_on_while_one_is_read() {
    let place = Place::new("llama");
    let (first, second) = (prompt(1, 600), prompt(2, 600));
    let expected = answer_without(&place, &second);
    let (answer, _) = ask(&place.engine(), &first, None);
    // the third page of four
    let stuck = Stuck::at_reading(place.files()[1].clone());
    let engine = place.engine();
    let of_client = |client: &str| {
        let request = request(&first, None);
        let client = client.to_owned();
        engine.generate(GenerateRequest { client, ..request })
    };
    let reading = [of_client("a").unwrap(), of_client("b").unwrap()];
    assert_eq!(ask(&engine, &second, None).0, expected);
    assert!(stuck.is_stuck() && reading.iter().all(|results| results.is_empty()));
    drop(stuck.let_go());
    for (results, n_known) in reading.into_iter().zip([256, 599]) {
        let (tokens, finish) = collect(results);
        assert_eq!(tokens, answer);
        assert_eq!(finish.stats.n_cached_tokens, n_known);
    }
}

#[test]
#[cfg(unix)]
fn closing_does_not_wait_for_a_slow_disk() {
    let place = Place::new("llama");
    let prompt = prompt(1, 600);
    let stuck = Stuck::at_writing(&place, &prompt);
    let engine = place.engine();
    ask(&engine, &prompt, None);
    let writing = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(4));
        stuck.let_go()
    });
    drop(engine);
    drop(writing.join().unwrap());
    // the page that was being written, of four
    assert_eq!(place.files().len(), 1);
}

/// What others left in memory makes room for what is read, as it would for what is computed.
#[test]
fn it_is_found_when_memory_is_full() {
    let place = Place::new("llama");
    let prompt_on_disk = prompt(1, 600);
    let (answer, _) = ask(&place.engine(), &prompt_on_disk, None);
    let engine = small_engine(&place);
    for seed in 2..6 {
        // too short for the disk
        ask(&engine, &prompt(seed, 200), None);
    }
    assert_eq!(ask(&engine, &prompt_on_disk, None), (answer, 512));
}

/// Many at once, of which all want what is on disk, and others run meanwhile.
#[test]
fn several_find_it_while_others_run() {
    let place = Place::new("llama");
    let prompt = prompt(1, 1000);
    let (answer, _) = ask(&place.engine(), &prompt, None);
    let engine = place.engine();
    let other = engine.generate(request(&prompt[500..], None)).unwrap();
    let running: Vec<_> = (0..4)
        .map(|_| engine.generate(request(&prompt, None)).unwrap())
        .collect();
    for results in running {
        let (tokens, finish) = collect(results);
        assert_eq!(tokens, answer);
        assert!(finish.stats.n_cached_tokens >= 896);
    }
    collect(other);
}
