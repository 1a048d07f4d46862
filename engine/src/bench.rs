//! Timing of the forward pass alone: prompts and single tokens, on an empty cache or after so many others.
//!
//! [`Bench`] does what serving does, without sampling, text and channels; [`Work`] says how much a test asks of the
//! machine, from the file's tensors. Knows nothing of output formats and statistics.

use crate::{
    KvCache, TokenId, memory,
    model::{self, LogitsFor, Model, Scratch},
};
use slm_gguf::Gguf;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// The tokens are random, and the same each time.
const SEED: u64 = 0x510;

/// What is timed: a prompt, then single tokens, after `n_depth` tokens that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// Tokens that are processed together; logits of the last one.
    pub n_prompt: usize,
    /// Tokens that are processed one by one, with logits each.
    pub n_gen: usize,
    /// Tokens that are in the cache before.
    pub n_depth: usize,
}

impl Test {
    /// Tokens that are timed.
    pub fn n_tokens(&self) -> usize {
        self.n_prompt.saturating_add(self.n_gen)
    }

    fn n_positions(&self) -> usize {
        self.n_tokens().saturating_add(self.n_depth)
    }
}

/// As llama-bench names tests: `pp512`, `tg128`, `pp512+tg128`, with ` @ d4096` behind for a depth.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.n_prompt, self.n_gen) {
            (n_prompt, 0) => write!(f, "pp{n_prompt}")?,
            (0, n_gen) => write!(f, "tg{n_gen}")?,
            (n_prompt, n_gen) => write!(f, "pp{n_prompt}+tg{n_gen}")?,
        }
        if self.n_depth > 0 {
            write!(f, " @ d{}", self.n_depth)?;
        }
        Ok(())
    }
}

/// Why a test cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BenchError {
    /// Nothing to time.
    #[error("a test needs at least one token")]
    Empty,
    /// More positions than the model has.
    #[error("`{test}` needs {} positions, and the model's context has {context_length}", test.n_positions())]
    ContextTooSmall {
        /// What was asked for.
        test: Test,
        /// What the model was trained for.
        context_length: usize,
    },
    /// The cache would not fit.
    #[error(
        "`{test}` needs {needed_bytes} bytes for keys and values, and {available_bytes} are available"
    )]
    OutOfMemory {
        /// What was asked for.
        test: Test,
        /// Keys and values of all its positions.
        needed_bytes: u64,
        /// What the machine or the cgroup has left.
        available_bytes: u64,
    },
}

/// A model under test.
pub struct Bench<'a> {
    model: &'a Model,
    chunk: usize,
    bytes_per_position: usize,
    scratch: Scratch,
    logits: Vec<f32>,
}

impl<'a> Bench<'a> {
    /// Prepares to time `model`.
    pub fn new(model: &'a Model) -> Self {
        Self {
            model,
            chunk: model::prefill_chunk(model.decoder().spec()),
            bytes_per_position: model.decoder().new_cache().bytes_per_position(),
            scratch: Scratch::default(),
            logits: Vec::new(),
        }
    }

    /// Prompt tokens that are processed at once: as many as serving takes at most.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Bytes that one position adds to the cache.
    pub fn bytes_per_position(&self) -> usize {
        self.bytes_per_position
    }

    /// Whether `test` can be run.
    ///
    /// # Errors
    /// When it has no tokens, or more than the model's context or the memory takes.
    pub fn check(&self, test: Test) -> Result<(), BenchError> {
        if test.n_tokens() == 0 {
            return Err(BenchError::Empty);
        }
        let context_length = self.model.decoder().spec().context_length;
        if test.n_positions() > context_length {
            return Err(BenchError::ContextTooSmall {
                test,
                context_length,
            });
        }
        let cache = self.model.decoder().new_cache();
        let needed_bytes = cache.bytes_at(test.n_positions());
        match memory::available_bytes() {
            Some(available_bytes) if needed_bytes > available_bytes => {
                Err(BenchError::OutOfMemory {
                    test,
                    needed_bytes,
                    available_bytes,
                })
            }
            _ => Ok(()),
        }
    }

    /// Times `test` so many times, after a warm-up of its prompt and one token. The cache is brought to its depth
    /// outside of the timing.
    ///
    /// # Errors
    /// As [`Bench::check`].
    pub fn run(&mut self, test: Test, n_repetitions: usize) -> Result<Vec<Duration>, BenchError> {
        self.check(test)?;
        let tokens = random_tokens(self.model.decoder().spec().vocab_size, test.n_positions());
        let (depth, timed) = tokens.split_at(test.n_depth);
        let (prompt, generated) = timed.split_at(test.n_prompt);
        let mut cache = self.model.decoder().new_cache();
        self.bring_to(&mut cache, depth);
        self.pass(&mut cache, prompt, &generated[..generated.len().min(1)]);
        let mut times = Vec::with_capacity(n_repetitions);
        for _ in 0..n_repetitions {
            self.bring_to(&mut cache, depth);
            let start = Instant::now();
            self.pass(&mut cache, prompt, generated);
            times.push(start.elapsed());
        }
        Ok(times)
    }

    /// Leaves exactly `tokens` in the cache; computes what it cannot keep, and sees to it that it can the next time.
    fn bring_to(&mut self, cache: &mut KvCache, tokens: &[TokenId]) {
        let n_kept = cache.rewind(tokens.len());
        for chunk in tokens[n_kept..].chunks(self.chunk) {
            self.forward(cache, chunk, LogitsFor::Nothing);
        }
        cache.checkpoint();
    }

    /// What is timed.
    fn pass(&mut self, cache: &mut KvCache, prompt: &[TokenId], generated: &[TokenId]) {
        let mut chunks = prompt.chunks(self.chunk).peekable();
        while let Some(chunk) = chunks.next() {
            let wanted = match chunks.peek() {
                Some(_) => LogitsFor::Nothing,
                None => LogitsFor::Last,
            };
            self.forward(cache, chunk, wanted);
        }
        for &token in generated {
            self.forward(cache, &[token], LogitsFor::Last);
        }
    }

    fn forward(&mut self, cache: &mut KvCache, tokens: &[TokenId], wanted: LogitsFor) {
        let (scratch, logits) = (&mut self.scratch, &mut self.logits);
        self.model
            .decoder()
            .forward(cache, scratch, tokens, wanted, logits);
    }
}

fn random_tokens(vocab_size: usize, n: usize) -> Vec<TokenId> {
    let mut random = fastrand::Rng::with_seed(SEED);
    (0..n)
        .map(|_| random.u32(..vocab_size.max(1) as u32))
        .collect()
}

/// How much a model asks of the machine, by the tensors of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Weights of all tensors.
    pub n_params: u64,
    /// Bytes of all tensors.
    pub size_bytes: u64,
    /// Bytes of the weights that one token needs, as the file has them.
    pub bytes_per_token: f64,
    /// Multiply-adds of the matrices of the layers for one token.
    pub layer_macs: f64,
    /// Multiply-adds of the output matrix for one token.
    pub head_macs: f64,
}

impl Work {
    /// Reads the tensor table. Of experts it counts the share that a token uses; tables of which a token takes a row
    /// do not count.
    pub fn of(gguf: &Gguf<'_>) -> Self {
        const EMBEDDING: &str = "token_embd.weight";
        const HEAD: &str = "output.weight";
        let head = gguf.tensor(HEAD).map_or(EMBEDDING, |_| HEAD);
        let used_experts = used_experts(gguf).unwrap_or(1.0);
        let mut work = Self::default();
        for tensor in gguf.tensors() {
            work.n_params = work.n_params.saturating_add(tensor.n_elements());
            work.size_bytes = work.size_bytes.saturating_add(tensor.size_bytes as u64);
            let is_table = tensor.name.ends_with("token_embd.weight");
            if tensor.name != head && is_table {
                continue;
            }
            let is_matrix = tensor.shape.iter().filter(|&&dim| dim > 1).count() > 1;
            let share = if tensor.shape.len() > 2 {
                used_experts
            } else {
                1.0
            };
            work.bytes_per_token += share * tensor.size_bytes as f64;
            let macs = share * tensor.n_elements() as f64;
            if tensor.name == head {
                work.head_macs += macs;
            } else if is_matrix {
                work.layer_macs += macs;
            }
        }
        work
    }

    /// Multiply-adds of the prompt of `test`.
    pub fn prompt_macs(&self, test: Test) -> f64 {
        if test.n_prompt == 0 {
            return 0.0;
        }
        test.n_prompt as f64 * self.layer_macs + self.head_macs
    }

    /// Bytes that the single tokens of `test` read: the weights each, and the cache as it grows.
    pub fn generation_bytes(&self, test: Test, bytes_per_position: usize) -> f64 {
        let n_gen = test.n_gen as f64;
        let mean_len = (test.n_depth + test.n_prompt) as f64 + (n_gen + 1.0) / 2.0;
        n_gen * (self.bytes_per_token + mean_len * bytes_per_position as f64)
    }
}

/// The share of the experts that a token uses.
fn used_experts(gguf: &Gguf<'_>) -> Option<f64> {
    let metadata = gguf.metadata();
    let architecture = metadata.string("general.architecture").ok()?;
    let count = |name: &str| {
        let key = format!("{architecture}.{name}");
        metadata.opt_u32(&key).ok().flatten().filter(|&n| n > 0)
    };
    let used = f64::from(count("expert_used_count")?) / f64::from(count("expert_count")?);
    Some(used.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadOptions, MappedFile};
    use std::path::PathBuf;

    fn golden() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden/llama.gguf")
    }

    const fn test(n_prompt: usize, n_gen: usize, n_depth: usize) -> Test {
        Test {
            n_prompt,
            n_gen,
            n_depth,
        }
    }

    #[test]
    fn tests_are_called_as_llama_bench_calls_them() {
        #[track_caller]
        fn check(test: Test, name: &str) {
            assert_eq!(test.to_string(), name);
        }
        check(test(512, 0, 0), "pp512");
        check(test(0, 128, 0), "tg128");
        check(test(512, 128, 0), "pp512+tg128");
        check(test(0, 128, 4096), "tg128 @ d4096");
    }

    #[test]
    fn every_repetition_is_timed_and_what_cannot_be_is_refused() {
        let options = LoadOptions {
            n_threads: Some(1),
            ..LoadOptions::default()
        };
        let model = Model::load(&golden(), &options).unwrap();
        let mut bench = Bench::new(&model);
        for test in [test(8, 0, 0), test(0, 4, 3), test(5, 2, 9)] {
            assert_eq!(bench.run(test, 3).unwrap().len(), 3);
        }
        let context_length = model.decoder().spec().context_length;
        let long = test(1, 0, context_length);
        assert_eq!(
            bench.run(long, 1),
            Err(BenchError::ContextTooSmall {
                test: long,
                context_length
            })
        );
        let endless = test(usize::MAX, usize::MAX, usize::MAX);
        assert!(bench.check(endless).is_err());
        assert_eq!(bench.check(test(0, 0, 7)), Err(BenchError::Empty));
    }

    #[test]
    fn work_is_counted_from_the_tensors() {
        let file = MappedFile::open(&golden()).unwrap();
        let gguf = Gguf::parse(&file).unwrap();
        let work = Work::of(&gguf);
        let matrices: f64 = gguf
            .tensors()
            .iter()
            .filter(|t| t.name.starts_with("blk.") && t.shape.len() == 2)
            .map(|t| t.n_elements() as f64)
            .sum();
        assert_eq!(work.layer_macs, matrices);
        assert!(work.head_macs > 0.0 && work.bytes_per_token > 0.0);
        assert!(work.bytes_per_token <= work.size_bytes as f64);
        assert_eq!(
            work.prompt_macs(test(2, 0, 0)),
            2.0 * matrices + work.head_macs
        );
        assert_eq!(work.prompt_macs(test(0, 1, 0)), 0.0);
        let bytes = work.generation_bytes(test(0, 2, 10), 100);
        assert_eq!(bytes, 2.0 * (work.bytes_per_token + 11.5 * 100.0));
    }
}
