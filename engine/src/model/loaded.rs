//! Any model, loaded: one that writes text, or an encoder, which makes vectors only.

use super::{
    Adapter, Decoder, Encoder, Model, ModelFiles, VectorHead, encoder::Scratch as EncoderScratch,
    pooling::Pooled,
};
use crate::{KvCache, LoadError, LoadOptions, TokenId, Tokenizer};
use slm_kernels::{Compute, GiveBack};
use std::path::Path;

/// Values of the widest buffer of a step of a model that takes whole texts at once: it bounds the text.
const WIDEST_BUFFER: usize = 64 << 20;

/// A model of any kind.
pub(crate) enum Loaded {
    /// Writes text; makes vectors too.
    Decoder(Box<Model>),
    /// Makes vectors.
    Encoder(Box<EncoderModel>),
}

/// An encoder with what its vectors need.
pub(crate) struct EncoderModel {
    pub(super) encoder: Encoder,
    pub(super) head: VectorHead,
    pub(super) tokenizer: Tokenizer,
    pub(super) _last: GiveBack,
}

impl Loaded {
    /// See [`Model::load`].
    pub(crate) fn load(files: &ModelFiles, options: &LoadOptions) -> Result<Self, LoadError> {
        super::load(files, options)
    }

    /// See [`Model::load_adapter`].
    pub(crate) fn load_adapter(&self, path: &Path) -> Result<Adapter, LoadError> {
        match self {
            Self::Decoder(model) => model.load_adapter(path),
            Self::Encoder(_) => Err(LoadError::Adapter(
                "models of this architecture take no adapters".to_owned(),
            )),
        }
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        match self {
            Self::Decoder(model) => model.tokenizer(),
            Self::Encoder(model) => &model.tokenizer,
        }
    }

    pub(crate) fn chat_template(&self) -> Option<&str> {
        match self {
            Self::Decoder(model) => model.chat_template(),
            Self::Encoder(_) => None,
        }
    }

    pub(crate) fn compute(&self) -> &Compute {
        match self {
            Self::Decoder(model) => model.decoder().compute(),
            Self::Encoder(model) => model.encoder.compute(),
        }
    }

    /// Whether it can write text.
    pub(crate) fn writes_text(&self) -> bool {
        matches!(self, Self::Decoder(model) if model.decoder().spec().is_causal)
    }

    /// Tokens of the longest text.
    pub(crate) fn context_length(&self) -> usize {
        let (trained, widest) = match self {
            Self::Decoder(model) => {
                let spec = model.decoder().spec();
                if spec.is_causal {
                    return spec.context_length;
                }
                (spec.context_length, spec.widest_row())
            }
            Self::Encoder(model) => {
                let spec = model.encoder.spec();
                (spec.context_length, spec.hidden_size.max(spec.ffn_size))
            }
        };
        longest_text(trained, widest)
    }
}

/// Tokens of the longest text of a model that takes whole texts at once.
pub(super) fn longest_text(trained: usize, widest: usize) -> usize {
    trained.min(WIDEST_BUFFER / widest).max(1)
}

impl Loaded {
    /// Bytes of the pages of all states.
    pub(crate) fn kv_bytes_in_use(&self) -> usize {
        match self {
            Self::Decoder(model) => model.decoder().kv_pool().bytes_in_use(),
            Self::Encoder(_) => 0,
        }
    }
}

impl Model {
    /// Adds the states of `tokens`, which follow those in `cache`, to `pooled`.
    pub(crate) fn pool(
        &self,
        cache: &mut KvCache,
        pooled: &mut Pooled,
        tokens: &[TokenId],
        scratch: &mut super::Scratch,
        states: &mut Vec<f32>,
    ) {
        let decoder: &Decoder = self.decoder();
        let nothing = super::LogitsFor::Nothing;
        decoder.forward(cache, scratch, tokens, nothing, states);
        decoder.states(scratch, tokens.len(), states);
        self.head.pool(pooled, states, decoder.spec().hidden_size);
    }

    /// The vector of a text whose tokens were all pooled.
    pub(crate) fn vector(&self, pooled: &Pooled) -> Vec<f32> {
        self.head.vector(self.decoder().compute(), pooled)
    }
}

impl EncoderModel {
    /// The vectors of `texts`, which are computed together. Panics as [`Encoder::forward`] does.
    pub(crate) fn vectors(
        &self,
        texts: &[&[TokenId]],
        scratch: &mut EncoderScratch,
    ) -> Vec<Vec<f32>> {
        let d = self.encoder.spec().hidden_size;
        let mut states = self.encoder.forward(scratch, texts);
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            let (of_text, rest) = states.split_at(text.len() * d);
            let mut pooled = Pooled::default();
            self.head.pool(&mut pooled, of_text, d);
            vectors.push(self.head.vector(self.encoder.compute(), &pooled));
            states = rest;
        }
        vectors
    }
}
