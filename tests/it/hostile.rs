//! Garbage in the place of models: every file gets an answer, and the daemon lives on.
//!
//! The container's own crate tries far more mutations in memory; here are fewer, through the whole programs.

use serde_json::json;
use slm_tests::{Daemon, Home, Request, Running, golden_model, sha256_hex, store_problems};
use std::{fs, os::unix::process::ExitStatusExt, path::Path, process::Command};

const N_UPLOADS: usize = 150;
const N_RUNS: usize = 40;
/// What the daemon may grow by over all of it, and what a single diagnosis may take beyond its start.
const MEMORY_BOUND: u64 = 100 << 20;

/// One damaged file: flipped bits, overwritten numbers or a cut, mostly in the header, where it hurts.
fn mutated(original: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    // metadata and tensor table of this file end well before here
    let header = bytes.len().min(20_000);
    match random.u8(..4) {
        0 => bytes.truncate(random.usize(..bytes.len())),
        1 => {
            for _ in 0..random.usize(1..20) {
                bytes[random.usize(..header)] ^= 1 << random.u8(..8);
            }
        }
        2 => {
            let extremes = [
                u64::MAX,
                u64::MAX / 2,
                1 << 40,
                1 << 31,
                u32::MAX.into(),
                0,
                1,
            ];
            let start = random.usize(..header - 8);
            let number = extremes[random.usize(..extremes.len())].to_le_bytes();
            bytes[start..start + 8].copy_from_slice(&number);
        }
        _ => {
            let (from, to) = (random.usize(..header - 64), random.usize(..header - 64));
            bytes.copy_within(from..from + 64, to);
        }
    }
    bytes
}

/// Files made to deceive.
fn adversarial() -> Vec<(&'static str, Vec<u8>)> {
    let header = |version: u32, n_tensors: u64, n_keys: u64| {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(n_tensors.to_le_bytes());
        bytes.extend(n_keys.to_le_bytes());
        bytes
    };
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    let key = |bytes: &mut Vec<u8>, name: &str, kind: u32| {
        text(bytes, name);
        bytes.extend(kind.to_le_bytes());
    };

    let mut long_text = header(3, 0, 1);
    key(&mut long_text, "general.name", 8);
    long_text.extend(u64::MAX.to_le_bytes());

    let mut long_array = header(3, 0, 1);
    key(&mut long_array, "tokenizer.ggml.tokens", 9);
    long_array.extend(8u32.to_le_bytes());
    long_array.extend((1u64 << 60).to_le_bytes());

    let mut empty_texts = header(3, 0, 1);
    key(&mut empty_texts, "tokenizer.ggml.tokens", 9);
    empty_texts.extend(8u32.to_le_bytes());
    empty_texts.extend(2_000_000u64.to_le_bytes());
    empty_texts.extend(vec![0; 64]);

    let mut deep = header(3, 0, 1);
    key(&mut deep, "deep", 9);
    for _ in 0..100_000 {
        deep.extend(9u32.to_le_bytes());
        deep.extend(1u64.to_le_bytes());
    }

    let mut zero_alignment = header(3, 0, 1);
    key(&mut zero_alignment, "general.alignment", 4);
    zero_alignment.extend(0u32.to_le_bytes());

    let tensor = |dimensions: &[u64], kind: u32, offset: u64| {
        let mut bytes = header(3, 1, 0);
        text(&mut bytes, "t");
        bytes.extend((dimensions.len() as u32).to_le_bytes());
        dimensions
            .iter()
            .for_each(|d| bytes.extend(d.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend(vec![0; 64]);
        bytes
    };

    let mut twice = header(3, 0, 2);
    for _ in 0..2 {
        key(&mut twice, "a", 4);
        twice.extend(1u32.to_le_bytes());
    }

    vec![
        ("nothing", Vec::new()),
        ("magic only", b"GGUF".to_vec()),
        ("other magic", b"PK\x03\x04 and so on".to_vec()),
        ("version 0", header(0, 0, 0)),
        ("version of the future", header(99, 0, 0)),
        ("big-endian version", header(3u32.swap_bytes(), 0, 0)),
        ("all the tensors", header(3, u64::MAX, 0)),
        ("all the keys", header(3, 0, u64::MAX)),
        ("endless text", long_text),
        ("endless array", long_array),
        ("array longer than the file", empty_texts),
        ("arrays in arrays", deep),
        ("alignment of zero", zero_alignment),
        (
            "dimensions that overflow",
            tensor(&[u64::MAX, u64::MAX], 0, 0),
        ),
        ("dimension of zero", tensor(&[0, 4], 0, 0)),
        ("nine dimensions", tensor(&[1; 9], 0, 0)),
        ("unknown type", tensor(&[4], 4_000_000, 0)),
        ("offset beyond the end", tensor(&[4], 0, u64::MAX - 3)),
        ("data cut off", tensor(&[1 << 20], 0, 0)),
        ("half a block", tensor(&[33], 2, 0)),
        ("the same key twice", twice),
    ]
}

/// Uploads `bytes` and creates a model from them; true when the daemon took them for a model.
#[track_caller]
fn create(daemon: &Daemon, bytes: Vec<u8>, what: &str) -> bool {
    let digest = format!("sha256:{}", sha256_hex(&bytes));
    let upload = Request::new("POST", &format!("/api/blobs/{digest}")).body(bytes);
    let status = daemon.http().send(&upload).status;
    assert!(status == 200 || status == 201, "{what}: upload {status}");
    let body = json!({ "model": "hostile", "files": { "model.gguf": digest } });
    let answer = daemon.http().post("/api/create", &body);
    let last = answer
        .lines()
        .pop()
        .unwrap_or_else(|| panic!("{what}: no answer"));
    if last["status"] == "success" {
        return true;
    }
    let error = last["error"]
        .as_str()
        .unwrap_or_else(|| panic!("{what}: {last}"));
    assert!(
        !error.is_empty() && !error.contains("panicked"),
        "{what}: {error}"
    );
    false
}

#[test]
fn the_daemon_survives_every_file() {
    let mut home = Home::new();
    let mut daemon = Daemon::start(&mut home);
    let original = fs::read(golden_model("llama")).unwrap();
    assert!(create(&daemon, original.clone(), "the unharmed file"));
    let before = daemon.resident_bytes();

    let seed = fastrand::u64(..);
    println!("mutations from seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..N_UPLOADS {
        let bytes = mutated(&original, &mut random);
        let accepted = create(&daemon, bytes, &format!("seed {seed}, mutation {round}"));
        if accepted && round % 10 == 0 {
            // what a create lets through must still not harm when it runs
            let body = json!({ "model": "hostile", "prompt": "x", "raw": true, "stream": false,
                "keep_alive": 0, "options": { "num_predict": 2, "num_ctx": 64 } });
            let answer = daemon.http().post("/api/generate", &body);
            assert!(answer.status == 200 || !answer.error().is_empty());
        }
        assert!(
            daemon.is_alive(),
            "seed {seed}, mutation {round} ended the daemon"
        );
    }
    for (what, bytes) in adversarial() {
        create(&daemon, bytes, what);
        assert!(daemon.is_alive(), "{what} ended the daemon");
    }

    assert!(daemon.http().is_up());
    let grown = daemon.resident_bytes().saturating_sub(before);
    println!("the daemon grew by {} KB", grown >> 10);
    assert!(grown < MEMORY_BOUND, "the daemon grew by {grown} bytes");
    assert!(
        !daemon.log().contains("panicked"),
        "a panic was caught on the way"
    );
    assert_eq!(store_problems(&home.models()), Vec::<String>::new());
}

/// Runs `slmd debug tensors` with its address space limited to what a sound file needs and the bound.
fn diagnose(home: &Home, file: &Path, limit_kb: u64) -> slm_tests::Finished {
    let model = file.display().to_string();
    let slmd = home.slmd_command(&["debug", "tensors", "--json", "--model", &model]);
    let mut limited: Command = home.command("sh");
    limited
        .arg("-c")
        .arg(format!("ulimit -v {limit_kb}; exec \"$0\" \"$@\""));
    limited.arg(slmd.get_program()).args(slmd.get_args());
    Running::start(limited, b"").finish()
}

#[test]
fn the_diagnosis_of_every_file_is_an_answer() {
    let home = Home::new();
    let original = fs::read(golden_model("llama")).unwrap();
    let limit_kb = smallest_limit(&home) + (MEMORY_BOUND >> 10);
    let check = |what: &str, bytes: &[u8]| {
        let file = home.write("hostile.gguf", bytes);
        let run = diagnose(&home, &file, limit_kb);
        assert_eq!(run.status.signal(), None, "{what}: {run:#?}");
        assert!(!run.stderr.contains("panicked"), "{what}: {run:#?}");
        if !run.status.success() {
            run.refused();
        }
    };
    let seed = fastrand::u64(..);
    println!("mutations from seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..N_RUNS {
        check(
            &format!("seed {seed}, mutation {round}"),
            &mutated(&original, &mut random),
        );
    }
    for (what, bytes) in adversarial() {
        check(what, &bytes);
    }
}

/// The address space in KB, to a few MB, with which the unharmed file just works.
fn smallest_limit(home: &Home) -> u64 {
    let works = |kb: u64| diagnose(home, &golden_model("llama"), kb).status.success();
    let (mut low, mut high) = (0, 4 << 20);
    assert!(
        works(high),
        "the unharmed file needs more than 4 GB of address space"
    );
    while high - low > 8 << 10 {
        let middle = (low + high) / 2;
        if works(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}
