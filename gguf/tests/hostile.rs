//! Files that lie: whatever the bytes, the reader answers, and takes no more memory than the file deserves.
//!
//! Every mutation is parsed and, if it is accepted, read to the last value and tensor. A counting allocator watches
//! each thread, so tests may run side by side.
#![expect(
    unsafe_code,
    reason = "an allocator that counts can only be written so; it passes everything on to the system's"
)]
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fastrand::Rng;
use slm_gguf::{Gguf, TensorType, Writer};

thread_local! {
    static LIVE_BYTES: Cell<usize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

impl Counting {
    fn grow(n_bytes: usize) {
        let live = LIVE_BYTES.get().saturating_add(n_bytes);
        LIVE_BYTES.set(live);
        PEAK_BYTES.set(PEAK_BYTES.get().max(live));
    }

    fn shrink(n_bytes: usize) {
        LIVE_BYTES.set(LIVE_BYTES.get().saturating_sub(n_bytes));
    }
}

// SAFETY: every call is the system allocator's own; the counters are thread-local numbers that need no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        Self::shrink(layout.size());
        // SAFETY: `ptr` came from `alloc` above, which is the system's.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // both exist for a moment
        Self::grow(new_size);
        Self::shrink(layout.size());
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// Most bytes that `work` holds at once on this thread.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    let result = work();
    (result, PEAK_BYTES.get() - before)
}

/// Parses and, if that succeeds, reads everything there is. Whether it succeeded, and the memory that it took.
#[track_caller]
fn try_file(bytes: &[u8]) -> (bool, usize) {
    let (is_accepted, peak) = peak_of(|| match Gguf::parse(bytes) {
        Ok(gguf) => {
            walk(&gguf, bytes.len());
            true
        }
        Err(error) => {
            let text = error.to_string();
            assert!(
                !text.is_empty() && text.len() < 1000,
                "{} bytes",
                text.len()
            );
            false
        }
    });
    // the tables, and one array at a time as `i64`
    let limit = 16 * 1024 + 12 * bytes.len();
    assert!(peak <= limit, "{peak} bytes for a file of {}", bytes.len());
    (is_accepted, peak)
}

fn walk(gguf: &Gguf<'_>, n_file_bytes: usize) {
    let metadata = gguf.metadata();
    for (key, value) in metadata.iter() {
        assert_eq!(
            metadata.get(key).map(|v| v.value_type()),
            Some(value.value_type())
        );
        assert!(value.to_string().len() < 1000);
        let _ = (
            metadata.opt_string(key),
            metadata.opt_u32(key),
            metadata.opt_u64(key),
        );
        let _ = (metadata.opt_f32(key), metadata.opt_bool(key));
        if let Ok(Some(array)) = metadata.opt_array(key) {
            assert_eq!(array.iter().count(), array.len());
            if let Some(strings) = array.strings() {
                assert_eq!(strings.count(), array.len());
            }
            assert!(array.integers().is_none_or(|n| n.len() == array.len()));
            assert!(array.floats().is_none_or(|x| x.len() == array.len()));
        }
    }
    let mut n_data_bytes = 0;
    for info in gguf.tensors() {
        let data = gguf.tensor_data(info);
        assert_eq!(data.len(), info.size_bytes);
        assert!((1..=4).contains(&info.shape.len()));
        assert!(info.n_elements() / info.tensor_type.block_len() <= info.size_bytes as u64);
        assert_eq!(
            gguf.tensor(info.name).map(|found| found.name),
            Some(info.name)
        );
        n_data_bytes += data.len();
    }
    assert!(n_data_bytes <= n_file_bytes, "tensors share bytes");
    let _ = gguf.shard();
}

/// A file of about a kilobyte with something of everything.
fn small_file() -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .put("general.architecture", "llama")
        .put("general.alignment", 32u32)
        .put("llama.block_count", 2u32)
        .put("llama.rope.freq_base", 10_000f32)
        .put("split.count", 2u16)
        .put("split.no", 0u16)
        .put("flag", true)
        .put_array("tokenizer.ggml.tokens", &["<s>", "a", "b", "", "Größe"])
        .put_array("tokenizer.ggml.scores", &[0.0f32, -1.0, -2.0])
        .put_array("tokenizer.ggml.token_type", &[1i32, 2, 3])
        .put_array("bytes", &[1u8, 2, 3])
        .tensor("a", TensorType::F32, &[4, 2], vec![1; 32])
        .tensor("b", TensorType::Q4_0, &[32, 1, 2], vec![2; 36])
        .tensor("c", TensorType::Q6_K, &[256], vec![3; 210])
        .tensor("d", TensorType::I2_S, &[128], vec![4; 64]);
    writer.finish().unwrap()
}

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/golden/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// The file up to its data.
fn n_table_bytes(file: &[u8]) -> usize {
    let gguf = Gguf::parse(file).unwrap();
    let n_data_bytes: usize = gguf.tensors().iter().map(|info| info.size_bytes).sum();
    file.len() - n_data_bytes
}

#[test]
fn cut_short_anywhere() {
    let file = small_file();
    assert!(try_file(&file).0);
    // the last tensor ends where the padding at the end starts
    let n_needed = file.len() - file.iter().rev().take_while(|&&b| b == 0).count();
    for len in 0..file.len() {
        let (is_accepted, _) = try_file(&file[..len]);
        assert_eq!(
            is_accepted,
            len >= n_needed,
            "cut to {len} of {}",
            file.len()
        );
    }
    let file = golden("llama.gguf");
    for len in (0..n_table_bytes(&file)).step_by(5) {
        assert!(!try_file(&file[..len]).0, "cut to {len} of {}", file.len());
    }
    assert!(!try_file(&file[..file.len() - 32]).0);
}

#[test]
fn every_number_made_a_lie() {
    let file = small_file();
    let lies = [
        0,
        1,
        2,
        7,
        9,
        31,
        36,
        64,
        0x7f,
        0xff,
        file.len() as u64,
        1 << 16,
        1 << 20,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        1 << 40,
        i64::MAX as u64,
        1 << 63,
        u64::MAX - 31,
        u64::MAX,
    ];
    let (mut n_accepted, mut n_refused) = (0, 0);
    for position in 0..file.len() {
        for lie in lies {
            for width in [1, 4, 8] {
                let mut mutant = file.clone();
                let end = (position + width).min(file.len());
                mutant[position..end].copy_from_slice(&lie.to_le_bytes()[..end - position]);
                match try_file(&mutant).0 {
                    true => n_accepted += 1,
                    false => n_refused += 1,
                }
            }
        }
    }
    // both kinds are exercised
    assert!(
        n_accepted > 1000 && n_refused > 1000,
        "{n_accepted} accepted, {n_refused} refused"
    );
}

#[test]
fn random_damage() {
    let files = [small_file(), golden("llama.gguf"), golden("mistral.gguf")];
    let mut n_accepted = 0;
    for seed in 0..6000 {
        let mut rng = Rng::with_seed(seed);
        let file = &files[match seed % 10 {
            0 => 1,
            1 => 2,
            _ => 0,
        }];
        let mutant = damaged(file, &mut rng);
        n_accepted += usize::from(try_file(&mutant).0);
    }
    assert!(
        (100..5900).contains(&n_accepted),
        "{n_accepted} of 6000 accepted"
    );
}

/// A copy with one to four changes, most of them in the tables.
fn damaged(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    let n_table_bytes = n_table_bytes(file);
    let mut mutant = file.to_vec();
    for _ in 0..rng.usize(1..=4) {
        let limit = match rng.u8(..8) {
            0 => mutant.len(),
            _ => n_table_bytes.min(mutant.len()),
        };
        if limit == 0 {
            break;
        }
        let at = rng.usize(..limit);
        let len = rng.usize(1..=64).min(mutant.len() - at);
        match rng.u8(..7) {
            0 => mutant[at] ^= 1 << rng.u8(..8),
            1 => mutant[at] = rng.u8(..),
            2 => rng.fill(&mut mutant[at..at + len]),
            3 => {
                mutant.drain(at..at + len);
            }
            4 => {
                let copy = mutant[at..at + len].to_vec();
                let to = rng.usize(..limit);
                mutant.splice(to..to, copy);
            }
            5 => {
                let copy = mutant[at..at + len].to_vec();
                let to = rng.usize(..=mutant.len() - len);
                mutant[to..to + len].copy_from_slice(&copy);
            }
            _ => mutant.truncate(at),
        }
    }
    mutant
}

#[test]
fn noise_behind_a_good_header() {
    for seed in 0..3000 {
        let mut rng = Rng::with_seed(seed);
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(rng.u64(..4).to_le_bytes());
        file.extend(rng.u64(..4).to_le_bytes());
        for _ in 0..rng.usize(..40) {
            // small numbers look like lengths and types
            match rng.u8(..4) {
                0 => file.extend(rng.u64(..).to_le_bytes()),
                1 => file.extend(rng.u32(..14).to_le_bytes()),
                _ => file.extend(rng.u64(..10).to_le_bytes()),
            }
        }
        try_file(&file);
    }
}

/// The densest tables that a file can have: as many rows as fit into its bytes.
#[test]
fn a_small_file_takes_little_memory() {
    const N_BYTES: usize = 100_000;
    let header = |n_tensors: u64, n_entries: u64| {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(n_tensors.to_le_bytes());
        file.extend(n_entries.to_le_bytes());
        file
    };
    // three letters make 46656 different names
    let letter = |n: u32| char::from_digit(n % 36, 36).unwrap();
    let names =
        || (0u32..).map(|n| String::from_iter([letter(n / 1296), letter(n / 36), letter(n)]));

    let n_tensors = N_BYTES / 28;
    let mut tensors = header(n_tensors as u64, 1);
    tensors.extend(17u64.to_le_bytes());
    tensors.extend(b"general.alignment");
    tensors.extend([4, 0, 0, 0, 1, 0, 0, 0]);
    for (offset, name) in names().take(n_tensors).enumerate() {
        tensors.extend(3u64.to_le_bytes());
        tensors.extend(name.as_bytes());
        tensors.extend(0u32.to_le_bytes()); // no dimensions: one value
        tensors.extend(24u32.to_le_bytes()); // I8
        tensors.extend((offset as u64).to_le_bytes());
    }
    tensors.resize(tensors.len() + n_tensors, 0);
    let n_entries = N_BYTES / 16;
    let mut entries = header(0, n_entries as u64);
    for name in names().take(n_entries) {
        entries.extend(3u64.to_le_bytes());
        entries.extend(name.as_bytes());
        entries.extend(0u32.to_le_bytes());
        entries.push(7);
    }
    let mut one_array = header(0, 1);
    one_array.extend(1u64.to_le_bytes());
    one_array.extend(b"k");
    one_array.extend(9u32.to_le_bytes());
    one_array.extend(0u32.to_le_bytes());
    one_array.extend((N_BYTES as u64).to_le_bytes());
    one_array.resize(one_array.len() + N_BYTES, 1);

    for (what, file) in [
        ("tensors", tensors),
        ("entries", entries),
        ("an array", one_array),
    ] {
        let (_, peak) = peak_of(|| Gguf::parse(&file).is_ok());
        println!("{what}: {peak} bytes for a file of {}", file.len());
        assert!(
            peak < 1_000_000,
            "{what}: {peak} bytes for a file of {}",
            file.len()
        );
        assert!(try_file(&file).0, "{what}");
    }
}

/// A large vocabulary is borrowed, not copied.
#[test]
fn a_vocabulary_takes_no_memory() {
    let tokens: Vec<String> = (0..262_144).map(|n| format!("token{n}")).collect();
    let mut writer = Writer::new();
    writer.put_array("tokenizer.ggml.tokens", &tokens);
    let file = writer.finish().unwrap();
    let start = std::time::Instant::now();
    let (n_tokens, peak) = peak_of(|| {
        let gguf = Gguf::parse(&file).unwrap();
        let tokens = gguf.metadata().array("tokenizer.ggml.tokens").unwrap();
        tokens.strings().unwrap().count()
    });
    println!(
        "{n_tokens} tokens parsed in {:?} with {peak} bytes",
        start.elapsed()
    );
    assert_eq!(n_tokens, tokens.len());
    assert!(peak < 2_000, "{peak} bytes");
}
