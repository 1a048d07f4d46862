//! How fast a large blob arrives from this machine, beside `curl` and `sha256sum`.
//!
//! `cargo test --release -p slm-registry speed -- --ignored --nocapture`, with nothing else running. `SLM_TEST_BYTES` is
//! the blob's size, `TMPDIR` the disk. The child is this binary again, so that its memory is its own.
use super::super::*;
use crate::{MediaType, ModelName};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

const DEFAULT_BYTES: u64 = 1 << 30;
/// The blob repeats after so many bytes, so that the server need not hold all of it.
const PATTERN_BYTES: usize = 4 << 20;

fn n_bytes() -> u64 {
    let bytes = std::env::var("SLM_TEST_BYTES").ok();
    bytes.map_or(DEFAULT_BYTES, |bytes| bytes.parse().unwrap())
}

/// Serves one model, each connection by a thread of its own.
fn serve(listener: &TcpListener, manifest: &[u8], config: &[u8], pattern: &[u8]) {
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            scope.spawn(move || {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while answer(&mut reader, &stream, manifest, config, pattern).is_some() {}
            });
        }
    });
}

fn answer(
    reader: &mut BufReader<TcpStream>,
    mut stream: &TcpStream,
    manifest: &[u8],
    config: &[u8],
    pattern: &[u8],
) -> Option<()> {
    let (mut path, mut range) = (String::new(), None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("get ") {
            path = rest.split(' ').next()?.to_owned();
        }
        if let Some(rest) = line.strip_prefix("range: bytes=") {
            let (first, last) = rest.split_once('-')?;
            range = Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()? + 1));
        }
    }
    let total = n_bytes();
    let small = if path.contains("manifests") {
        Some(manifest)
    } else {
        path.ends_with(&Digest::of(config).hex()).then_some(config)
    };
    if let Some(body) = small {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .ok()?;
        return stream.write_all(body).ok();
    }
    let (mut at, end) = range.unwrap_or((0, total));
    match range {
        Some(_) => write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {at}-{}/{total}\r\ncontent-length: {}\r\n\r\n",
            end - 1,
            end - at
        ),
        None => write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n\r\n"),
    }
    .ok()?;
    while at < end {
        let from = (at % PATTERN_BYTES as u64) as usize;
        let n_bytes = (PATTERN_BYTES - from).min((end - at) as usize);
        stream.write_all(&pattern[from..from + n_bytes]).ok()?;
        at += n_bytes as u64;
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the measurement below"]
async fn child_that_pulls_a_large_blob() {
    // Run without its parent, as all ignored tests of this file are, it has nothing to do.
    let Ok(root) = std::env::var("SLM_TEST_ROOT") else {
        return;
    };
    let variable = |name: &str| std::env::var(name).expect("the parent sets it");
    let store = Store::open_without_index(Path::new(&root)).unwrap();
    let name: ModelName = variable("SLM_TEST_MODEL").parse().unwrap();
    let options = PullOptions::default();
    let start = Instant::now();
    pull(&store, &name, &options, |_| {}).await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("took {seconds} peak {}", peak.unwrap_or("unknown").trim());
}

#[test]
#[ignore = "a measurement: needs curl, sha256sum, a quiet machine and three times the blob on the disk"]
fn speed_of_a_large_blob() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut pattern = vec![0; PATTERN_BYTES];
    random.fill(&mut pattern);
    let total = n_bytes();
    let mut hasher = crate::Hasher::default();
    let mut left = total as usize;
    while left > 0 {
        let n_bytes = left.min(PATTERN_BYTES);
        hasher.update(&pattern[..n_bytes]);
        left -= n_bytes;
    }
    let digest = hasher.digest();
    let config = b"{}".to_vec();
    let manifest = Manifest {
        config: Descriptor {
            media_type: MediaType::Config,
            digest: Digest::of(&config),
            size: config.len() as u64,
        },
        layers: vec![Descriptor {
            media_type: MediaType::Model,
            digest,
            size: total,
        }],
    };
    let manifest = manifest.to_json();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(&listener, &manifest, &config, &pattern));
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let url = format!("http://{address}/v2/library/m/blobs/{digest}");
    let curl = |to: &Path| {
        let mut command = Command::new("curl");
        command.args(["-s", "-o"]).arg(to).arg(&url);
        command.stdin(Stdio::null()).spawn().unwrap()
    };
    assert!(curl(&one).wait().unwrap().success());
    let mut ratios = Vec::new();
    for round in 0..5 {
        let start = Instant::now();
        let mut fetching = curl(&two);
        let hashed = Command::new("sha256sum")
            .arg("-b")
            .arg(&one)
            .output()
            .unwrap();
        assert!(fetching.wait().unwrap().success());
        let theirs = start.elapsed().as_secs_f64();
        assert!(String::from_utf8_lossy(&hashed.stdout).starts_with(&digest.hex()));
        fs::remove_file(&two).unwrap();
        let root = folder.path().join(format!("models{round}"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("remote::tests::speed::child_that_pulls_a_large_blob")
            .env("SLM_TEST_ROOT", &root)
            .env("SLM_TEST_MODEL", format!("{address}/library/m"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut output = child.stdout.take().unwrap();
        output.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success(), "{text}");
        let line = text
            .lines()
            .find_map(|line| line.split_once("took "))
            .unwrap()
            .1;
        let (ours, peak) = line.split_once(" peak ").unwrap();
        let ours: f64 = ours.parse().unwrap();
        println!(
            "curl and sha256sum {theirs:.2} s, pull {ours:.2} s, ratio {:.2}, peak {peak}",
            ours / theirs
        );
        ratios.push(ours / theirs);
        fs::remove_dir_all(&root).unwrap();
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "median ratio {:.2} for {total} bytes",
        ratios[ratios.len() / 2]
    );
}
