//! `slmd eval`: how well a model predicts a text (perplexity), and how far its predictions are from those of another
//! (Kullback–Leibler divergence).
//!
//! Chunks, formulas and the file of stored predictions are those of llama-perplexity, so that figures can be set beside
//! its own. Loads the model in this process, without a daemon.

mod base;

use super::{model_file, stdout};
use anyhow::{Context, ensure};
use base::{BaseReader, BaseWriter};
use serde_json::json;
use slm_engine::{
    KvType, LoadOptions, Model, Special, TokenId,
    eval::{Distribution, Eval, Mean, surprise},
};
use std::{fs, path::PathBuf};

/// Smallest chunk that predicts anything.
const MIN_CONTEXT: usize = 4;
/// Largest text.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// Arguments of `slmd eval`.
#[derive(Debug, clap::Args)]
pub(super) struct EvalArgs {
    /// GGUF file, or name of a stored model
    #[arg(short, long, value_name = "FILE|NAME")]
    model: String,
    /// File with the text to predict
    #[arg(
        short = 'f',
        long,
        value_name = "TEXT",
        required_unless_present = "kld"
    )]
    perplexity: Option<PathBuf>,
    /// Compare with the predictions stored in this file, whose text is taken when none is named
    #[arg(long, value_name = "BASE")]
    kld: Option<PathBuf>,
    /// Store the predictions in this file, for --kld (llama-perplexity's form)
    #[arg(long, value_name = "BASE", conflicts_with = "kld")]
    save_base: Option<PathBuf>,
    /// Tokens of a chunk
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    ctx_size: usize,
    /// Chunks to compute [default: all]
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
    /// Compute threads; 0 takes what the machine allows
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// How keys and values are stored
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    cache_type_k: KvType,
    /// CPU tier to force [default: the best that this machine has]
    #[arg(long, value_name = "TIER", env = "SLM_CPU")]
    cpu: Option<String>,
    /// Print one compact JSON object
    #[arg(long)]
    json: bool,
}

/// What the chunks so far amount to.
#[derive(Default)]
struct Figures {
    /// `-ln p` of each token.
    surprise: Mean,
    /// The same by the stored predictions.
    base_surprise: Mean,
    divergence: Mean,
    same_top: Mean,
}

impl Figures {
    /// Perplexity and its uncertainty.
    fn perplexity(surprise: &Mean) -> (f64, f64) {
        let perplexity = surprise.value().exp();
        (perplexity, perplexity * surprise.error())
    }

    fn compare(&mut self, logits: &[f32], token: TokenId, base: &Distribution) {
        let log_p = base.log_probability(token as usize);
        self.base_surprise.add(-f64::from(log_p));
        self.divergence.add(base.divergence(logits));
        let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let top = logits.iter().position(|logit| *logit == best);
        let is_same = top == Some(base.most_likely());
        self.same_top.add(f64::from(u8::from(is_same)));
    }
}

/// Computes the text, chunk by chunk.
///
/// # Errors
/// A model that is not there or cannot be run, a text that is too short, stored predictions of another vocabulary or
/// text, or an output that is closed.
pub(super) fn run(args: &EvalArgs) -> anyhow::Result<()> {
    let options = LoadOptions {
        n_threads: (args.threads > 0).then_some(args.threads),
        cpu: args.cpu.clone().filter(|tier| !tier.is_empty()),
        context_length: Some(args.ctx_size),
        kv_type: args.cache_type_k,
        ..LoadOptions::default()
    };
    let model = Model::load(&model_file::find(&args.model)?, &options)?;
    let n_vocab = model.decoder().spec().vocab_size;
    let mut base = match &args.kld {
        Some(path) => Some(BaseReader::open(path, n_vocab)?),
        None => None,
    };
    let n_ctx = base.as_ref().map_or(args.ctx_size, BaseReader::n_ctx);
    ensure!(
        (MIN_CONTEXT..=model.decoder().spec().context_length).contains(&n_ctx),
        "chunks of {n_ctx} tokens: this model takes from {MIN_CONTEXT} to {}",
        model.decoder().spec().context_length
    );
    let tokens = match (&args.perplexity, &base) {
        (Some(path), None) => tokens_of(&model, path)?,
        (Some(path), Some(base)) => {
            let tokens = tokens_of(&model, path)?;
            ensure!(
                tokens.starts_with(base.tokens()),
                "the stored predictions are of another text than `{}`, or by another tokenizer",
                path.display()
            );
            base.tokens().to_vec()
        }
        (None, Some(base)) => base.tokens().to_vec(),
        (None, None) => unreachable!("the command line asks for one of them"),
    };
    let n_chunks = (tokens.len() / n_ctx).min(args.chunks.unwrap_or(usize::MAX));
    ensure!(
        n_chunks > 0,
        "the text has {} tokens: no chunk of {n_ctx}; take a longer text, or smaller chunks with -c",
        tokens.len()
    );
    let tokens = &tokens[..n_chunks * n_ctx];
    let mut stored = match &args.save_base {
        Some(path) => Some(BaseWriter::create(path, n_ctx, n_vocab, tokens)?),
        None => None,
    };
    let mut eval = Eval::new(&model, n_ctx);
    let mut figures = Figures::default();
    for (index, chunk) in tokens.chunks_exact(n_ctx).enumerate() {
        let mut failed = None;
        eval.chunk(chunk, |logits, token| {
            figures.surprise.add(surprise(logits, token));
            if let Some(base) = &mut base {
                match base.next() {
                    Ok(distribution) => figures.compare(logits, token, &distribution),
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(stored) = &mut stored
                && let Err(error) = stored.write(&Distribution::of(logits))
            {
                failed = Some(error);
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if !args.json {
            progress(index + 1, n_chunks, &figures)?;
        }
    }
    if let Some(stored) = stored {
        stored.finish()?;
    }
    report(&figures, n_chunks, n_ctx, args)
}

/// The text's tokens, special texts in it as plain ones, with BOS where the model asks for it.
fn tokens_of(model: &Model, path: &PathBuf) -> anyhow::Result<Vec<TokenId>> {
    let context = || format!("cannot read the text `{}`", path.display());
    let size = fs::metadata(path).with_context(context)?.len();
    ensure!(
        size <= MAX_TEXT_BYTES,
        "the text `{}` has {size} bytes; at most {MAX_TEXT_BYTES} are read",
        path.display()
    );
    let bytes = fs::read(path).with_context(context)?;
    let tokenizer = model.tokenizer();
    let mut tokens = tokenizer.encode(&String::from_utf8_lossy(&bytes), Special::Ignore);
    if let Some(bos) = tokenizer.leading_bos() {
        tokens.insert(0, bos);
    }
    Ok(tokens)
}

fn progress(chunk: usize, n_chunks: usize, figures: &Figures) -> anyhow::Result<()> {
    let (perplexity, _) = Figures::perplexity(&figures.surprise);
    let divergence = match figures.divergence.count() {
        0 => String::new(),
        _ => format!("  KLD {:.5}", figures.divergence.value()),
    };
    stdout::line(&format!(
        "chunk {chunk} of {n_chunks}: PPL {perplexity:.4}{divergence}"
    ))
}

fn report(figures: &Figures, n_chunks: usize, n_ctx: usize, args: &EvalArgs) -> anyhow::Result<()> {
    let (ppl, ppl_error) = Figures::perplexity(&figures.surprise);
    let (base_ppl, base_error) = Figures::perplexity(&figures.base_surprise);
    let has_base = figures.divergence.count() > 0;
    if args.json {
        let mut object = json!({
            "model": args.model, "chunks": n_chunks, "n_ctx": n_ctx,
            "tokens": figures.surprise.count(), "ppl": ppl, "ppl_uncertainty": ppl_error,
        });
        if has_base {
            object["base_ppl"] = json!(base_ppl);
            object["base_ppl_uncertainty"] = json!(base_error);
            object["kld"] = json!(figures.divergence.value());
            object["kld_uncertainty"] = json!(figures.divergence.error());
            object["same_top"] = json!(figures.same_top.value());
        }
        stdout::line(&object.to_string())
    } else {
        let base = if has_base {
            format!(
                "\nBase: PPL = {base_ppl:.4} +/- {base_error:.5}\nMean KLD = {:.6} +/- {:.6}\n\
                 Same top token = {:.3} %",
                figures.divergence.value(),
                figures.divergence.error(),
                100.0 * figures.same_top.value()
            )
        } else {
            String::new()
        };
        stdout::line(&format!(
            "Final estimate: PPL = {ppl:.4} +/- {ppl_error:.5}{base}"
        ))
    }
}
