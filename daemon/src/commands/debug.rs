//! `slmd debug`: what the engine makes of a file, for comparing with other implementations and for bug reports.
//!
//! Reads one GGUF file directly, without store or daemon. With `--json` the answer is one compact object on stdout.

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use slm_engine::{
    Adapters, KvType, LoadOptions, MappedFile, Model, Special, TokenId, Tokenizer,
    model::{LogitsFor, Scratch},
};
use slm_gguf::{Gguf, TensorInfo};
use slm_kernels::format::{QuantType, dequantize};
use std::path::{Path, PathBuf};

/// Tokens per forward pass when every position's logits are looked at.
const CHUNK: usize = 64;
/// Values that are expanded at once when a tensor is hashed; a multiple of every block length.
const HASHED_AT_ONCE: usize = 1 << 16;

/// What to look at.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Print the logits and greedy continuation of token ids
    Logits(LogitsArgs),
    /// Print the token ids of a text
    Tokenize(TokenizeArgs),
    /// Print the tensors of a file
    Tensors(TensorsArgs),
}

/// Arguments of `debug logits`.
#[derive(Debug, Args)]
pub struct LogitsArgs {
    /// GGUF file
    #[arg(long)]
    model: PathBuf,
    /// Token ids, taken as they are (no BOS is added)
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<TokenId>,
    /// Positions whose logits to print [default: the last]
    #[arg(long, value_delimiter = ',', conflicts_with = "all")]
    at: Vec<usize>,
    /// Print the logits of every position
    #[arg(long)]
    all: bool,
    /// Also generate this many tokens, each the most likely one
    #[arg(long, value_name = "N")]
    greedy: Option<usize>,
    /// Element type of the KV cache
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    kv: KvType,
    /// LoRA adapter to apply, and the factor to apply it with; may be given several times
    #[arg(long, value_name = "FILE[:SCALE]")]
    lora: Vec<String>,
    /// Context to load the model for, in tokens [default: the model's own]
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// CPU tier to use [default: the best]
    #[arg(long, env = "SLM_CPU")]
    cpu: Option<String>,
    /// Compute threads [default: all]
    #[arg(long)]
    threads: Option<usize>,
    /// Print one compact JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `debug tokenize`.
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// GGUF file
    #[arg(long)]
    model: PathBuf,
    /// Text to split
    #[arg(long, required_unless_present = "file")]
    text: Option<String>,
    /// File with the text
    #[arg(long, conflicts_with = "text")]
    file: Option<PathBuf>,
    /// Recognise special tokens and add BOS and EOS where the model says so
    #[arg(long)]
    special: bool,
    /// Print one compact JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `debug tensors`.
#[derive(Debug, Args)]
pub struct TensorsArgs {
    /// GGUF file
    #[arg(long)]
    model: PathBuf,
    /// Also print the SHA-256 of each tensor's values as little-endian f32
    #[arg(long)]
    sha256: bool,
    /// Print one compact JSON object
    #[arg(long)]
    json: bool,
}

/// Runs one diagnostic.
///
/// # Errors
/// A file that cannot be read or used, or token ids and positions that it does not have.
pub fn run(command: &DebugCommand) -> anyhow::Result<()> {
    match command {
        DebugCommand::Logits(args) => logits(args),
        DebugCommand::Tokenize(args) => tokenize(args),
        DebugCommand::Tensors(args) => tensors(args),
    }
}

fn logits(args: &LogitsArgs) -> anyhow::Result<()> {
    let options = LoadOptions {
        n_threads: args.threads,
        cpu: args.cpu.clone(),
        context_length: args.context,
        kv_type: args.kv,
        ..LoadOptions::default()
    };
    let model = Model::load(&args.model, &options)?;
    let n_vocab = model.decoder().spec().vocab_size;
    let n_tokens = args.tokens.len();
    for &token in &args.tokens {
        ensure!(
            (token as usize) < n_vocab,
            "token id {token} is outside the vocabulary of {n_vocab}"
        );
    }
    let wanted: Vec<usize> = match (args.all, args.at.is_empty()) {
        (true, _) => (0..n_tokens).collect(),
        (false, true) => vec![n_tokens - 1],
        (false, false) => args.at.clone(),
    };
    for &at in &wanted {
        ensure!(
            at < n_tokens,
            "position {at} is past the last of {n_tokens} tokens"
        );
    }

    let adapters = adapters(&model, &args.lora)?;
    let mut pass = Pass::new(&model, &adapters, &args.tokens);
    let mut argmax = Vec::with_capacity(n_tokens);
    let mut rows = Map::new();
    for chunk in args.tokens.chunks(CHUNK) {
        pass.run(chunk);
        for row in pass.logits.chunks_exact(n_vocab) {
            if wanted.contains(&argmax.len()) {
                rows.insert(argmax.len().to_string(), json!(row));
            }
            argmax.push(most_likely(row));
        }
    }
    let mut report = json!({ "tokens": args.tokens, "argmax": argmax, "logits": rows });
    if let Some(n_greedy) = args.greedy {
        let mut greedy = Vec::with_capacity(n_greedy.min(n_vocab));
        let mut next = *argmax.last().context("at least one token id is required")?;
        while greedy.len() < n_greedy {
            greedy.push(next);
            if greedy.len() < n_greedy {
                pass.run(&[next]);
                next = most_likely(&pass.logits);
            }
        }
        report["greedy"] = json!(greedy);
    }
    print(&report, args.json)
}

/// The adapters of `FILE` or `FILE:SCALE` arguments, loaded for `model`.
fn adapters(model: &Model, arguments: &[String]) -> anyhow::Result<Adapters> {
    let load = |argument: &String| {
        let scaled = argument.rsplit_once(':');
        let scaled = scaled.and_then(|(file, scale)| Some((file, scale.parse::<f32>().ok()?)));
        let (file, scale) = scaled.unwrap_or((argument, 1.0));
        ensure!(
            scale.is_finite(),
            "the factor of `{file}` must be a finite number"
        );
        let adapter = model.load_adapter(Path::new(file));
        Ok((
            adapter.with_context(|| format!("cannot apply `{file}`"))?,
            scale,
        ))
    };
    let loaded: Vec<_> = arguments.iter().map(load).collect::<anyhow::Result<_>>()?;
    Ok(Adapters::new(loaded))
}

/// A model with the state of one sequence.
struct Pass<'a> {
    model: &'a Model,
    cache: slm_engine::KvCache,
    scratch: Scratch,
    logits: Vec<f32>,
}

impl<'a> Pass<'a> {
    fn new(model: &'a Model, adapters: &Adapters, prompt: &[TokenId]) -> Self {
        let mut cache = model.decoder().new_cache();
        cache.adapt(adapters);
        model.decoder().resume(&mut cache, prompt);
        Self {
            model,
            cache,
            scratch: Scratch::default(),
            logits: Vec::new(),
        }
    }

    fn run(&mut self, tokens: &[TokenId]) {
        self.model.decoder().forward(
            &mut self.cache,
            &mut self.scratch,
            tokens,
            LogitsFor::All,
            &mut self.logits,
        );
    }
}

/// Index of the largest logit; the first of equals.
fn most_likely(logits: &[f32]) -> TokenId {
    let best = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (i, &l)| {
            if l > best.1 { (i, l) } else { best }
        });
    best.0 as TokenId
}

fn tokenize(args: &TokenizeArgs) -> anyhow::Result<()> {
    let file = map(&args.model)?;
    let gguf = Gguf::parse(&file)?;
    let tokenizer = Tokenizer::from_metadata(gguf.metadata())?;
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}` as UTF-8 text", path.display()))?,
        (None, None) => unreachable!("clap requires --text or --file"),
    };
    let tokens = if args.special {
        tokenizer.encode_prompt(&text)
    } else {
        tokenizer.encode(&text, Special::Ignore)
    };
    let back = tokenizer.decode(&tokens, Special::Recognise);
    print(&json!({ "tokens": tokens, "text": back }), args.json)
}

fn tensors(args: &TensorsArgs) -> anyhow::Result<()> {
    let file = map(&args.model)?;
    let gguf = Gguf::parse(&file)?;
    let rows = gguf.tensors().iter().map(|info| {
        let mut row =
            json!({ "name": info.name, "type": info.tensor_type.name(), "shape": info.shape });
        if args.sha256 {
            row["sha256"] = match sha256_of_values(&gguf, info) {
                Some(hex) => Value::String(hex),
                None => Value::Null,
            };
        }
        row
    });
    let rows: Vec<Value> = rows.collect();
    print(&json!({ "tensors": rows }), args.json)
}

/// `None` for types that cannot be expanded yet.
fn sha256_of_values(gguf: &Gguf<'_>, info: &TensorInfo<'_>) -> Option<String> {
    let quant_type = QuantType::from_id(info.tensor_type.id())?;
    let mut hasher = Sha256::new();
    let mut values = vec![0.0; HASHED_AT_ONCE];
    let n_values = usize::try_from(info.n_elements()).ok()?;
    for first in (0..n_values).step_by(HASHED_AT_ONCE) {
        let n = HASHED_AT_ONCE.min(n_values - first);
        let bytes = quant_type.part(gguf.tensor_data(info), first..first + n)?;
        let values = &mut values[..n];
        dequantize(quant_type, &bytes, values);
        for value in values {
            hasher.update(value.to_le_bytes());
        }
    }
    Some(
        hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}

fn map(path: &Path) -> anyhow::Result<MappedFile> {
    MappedFile::open(path).with_context(|| format!("cannot open model file `{}`", path.display()))
}

fn print(report: &Value, is_compact: bool) -> anyhow::Result<()> {
    let text = if is_compact {
        serde_json::to_string(report)?
    } else {
        serde_json::to_string_pretty(report)?
    };
    super::stdout::line(&text)
}
