//! Texts on their way to vectors: a step of the engine thread at a time, and none once nobody waits for them.

use super::request::{EmbedError, EmbedReply, EmbedRequest, EmbedStats, Embeddings, Place};
use crate::{
    Adapters, KvCache, TokenId,
    model::{Decoder, EncoderModel, EncoderScratch, Loaded, Model, Pooled, Scratch, prefill_chunk},
};
use std::time::Instant;
use tokio::sync::oneshot;

/// Tokens of short texts that an encoder computes together; a longer text is a step of its own.
const STEP_TOKENS: usize = 512;

/// Buffers of the steps, reused.
#[derive(Default)]
pub(super) struct Buffers {
    encoder: EncoderScratch,
    states: Vec<f32>,
}

/// One request in progress.
pub(super) struct Embedding {
    request: EmbedRequest,
    reply: oneshot::Sender<EmbedReply>,
    /// Those of the first texts.
    vectors: Vec<Vec<f32>>,
    /// Of the text that a decoder is at.
    begun: Option<(KvCache, Pooled)>,
    /// Tokens of the longest text.
    n_longest: usize,
    started_at: Instant,
    stats: EmbedStats,
    place: Place,
}

impl Embedding {
    /// Answers at once when there is nothing to compute.
    pub(super) fn admit(
        model: &Loaded,
        request: EmbedRequest,
        n_context: usize,
        reply: oneshot::Sender<EmbedReply>,
        queued_at: Instant,
        place: Place,
    ) -> Option<Self> {
        let vocab_size = model.tokenizer().vocab_size();
        let mut texts = request.texts.iter();
        let problem = texts.find_map(|text| problem(text, n_context, vocab_size));
        let problem = problem.or_else(|| misfit(model, &request.adapters));
        let result = match problem {
            None if !request.texts.is_empty() && !reply.is_closed() => {
                let started_at = Instant::now();
                return Some(Self {
                    stats: EmbedStats {
                        n_tokens: request.texts.iter().map(Vec::len).sum(),
                        queued: started_at - queued_at,
                        ..EmbedStats::default()
                    },
                    n_longest: request.n_longest(),
                    request,
                    reply,
                    vectors: Vec::new(),
                    begun: None,
                    started_at,
                    place,
                });
            }
            None => Ok(Embeddings::default()),
            Some(problem) => Err(EmbedError::Failed(problem)),
        };
        drop(place);
        let _receiver_may_be_gone = reply.send(result);
        None
    }

    /// Computes the next texts, or a part of one. `None` when it has ended.
    pub(super) fn step(
        mut self,
        model: &Loaded,
        scratch: &mut Scratch,
        buffers: &mut Buffers,
    ) -> Option<Self> {
        if self.reply.is_closed() {
            return None;
        }
        let before = self.vectors.len();
        match model {
            Loaded::Encoder(model) => self.step_encoder(model, buffers),
            Loaded::Decoder(model) => self.step_decoder(model, scratch, buffers),
        }
        for vector in &mut self.vectors[before..] {
            if let Some(n) = self.request.dimensions {
                vector.truncate(n.max(1));
            }
            if vector.iter().any(|x| !x.is_finite()) {
                self.fail(EmbedError::Unusable);
                return None;
            }
            if self.request.normalize {
                normalize(vector);
            }
        }
        if self.vectors.len() < self.request.texts.len() {
            return Some(self);
        }
        self.stats.computing = self.started_at.elapsed();
        // whoever has an answer takes up no place
        drop(self.place);
        let _receiver_may_be_gone = self.reply.send(Ok(Embeddings {
            vectors: self.vectors,
            stats: self.stats,
        }));
        None
    }

    /// Bytes of keys and values that a decoder may take for it, at most, besides those that it has.
    pub(super) fn growth_bytes(&self, decoder: &Decoder) -> u64 {
        match &self.begun {
            Some((cache, _)) => cache.growth_bytes(self.n_longest - cache.len()),
            None => decoder.new_cache().bytes_at(self.n_longest),
        }
    }

    pub(super) fn fail(self, error: EmbedError) {
        drop(self.place);
        let _receiver_may_be_gone = self.reply.send(Err(error));
    }

    fn step_encoder(&mut self, model: &EncoderModel, buffers: &mut Buffers) {
        let left = &self.request.texts[self.vectors.len()..];
        let mut n_tokens = 0;
        let fits = left.iter().take_while(|text| {
            n_tokens += text.len();
            n_tokens <= STEP_TOKENS
        });
        let n_texts = fits.count().max(1);
        let texts: Vec<&[TokenId]> = left[..n_texts].iter().map(Vec::as_slice).collect();
        self.vectors
            .extend(model.vectors(&texts, &mut buffers.encoder));
    }

    fn step_decoder(&mut self, model: &Model, scratch: &mut Scratch, buffers: &mut Buffers) {
        let text = &self.request.texts[self.vectors.len()];
        let spec = model.decoder().spec();
        let (mut cache, mut pooled) = self.begun.take().unwrap_or_else(|| {
            let mut cache = model.decoder().new_cache();
            cache.adapt(&self.request.adapters);
            (cache, Pooled::default())
        });
        let rest = &text[cache.len()..];
        let n_tokens = if spec.is_causal {
            rest.len().min(prefill_chunk(spec))
        } else {
            rest.len()
        };
        let chunk = &rest[..n_tokens];
        model.pool(&mut cache, &mut pooled, chunk, scratch, &mut buffers.states);
        if n_tokens < rest.len() {
            self.begun = Some((cache, pooled));
        } else {
            self.vectors.push(model.vector(&pooled));
        }
    }
}

impl EmbedRequest {
    /// Tokens of the longest text.
    pub(super) fn n_longest(&self) -> usize {
        self.texts.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// Why a text cannot be computed.
fn problem(text: &[TokenId], n_context: usize, vocab_size: usize) -> Option<String> {
    match text.len() {
        0 => Some("a text has no tokens".to_owned()),
        n if n > n_context => Some(format!(
            "a text of {n} tokens exceeds the available context size of {n_context} tokens"
        )),
        _ if text.iter().any(|&t| t as usize >= vocab_size) => {
            Some("a text has a token id outside the model's vocabulary".to_owned())
        }
        _ => None,
    }
}

/// Why the adapters cannot be applied to the model.
fn misfit(model: &Loaded, adapters: &Adapters) -> Option<String> {
    let fits = match model {
        Loaded::Decoder(model) => model.decoder().takes(adapters),
        Loaded::Encoder(_) => adapters.is_empty(),
    };
    (!fits).then(|| "the request has an adapter that was loaded for another model".to_owned())
}

/// Makes the length 1; zeroes stay.
fn normalize(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
    if squares > 0.0 {
        let factor = 1.0 / squares.sqrt();
        for x in vector {
            *x = (f64::from(*x) * factor) as f32;
        }
    }
}
