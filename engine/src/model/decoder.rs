//! The forward pass that all decoder families share.
//!
//! `x = E[tokens]; per block: x += Wo·attention(rope(Wq·n), rope(Wk·n), Wv·n), n = norm(x); x += Wd·(silu(Wg·m) ⊙ Wu·m),
//! m = norm(x); logits = head·norm(x)` (Llama 2, arXiv 2307.09288). The spec says what a family does besides: norms at
//! more places, another gate, layers that see only the last positions. Tensors are row-major `[n_tokens, width]`.

use super::{
    Adapters, AttentionShape, DecoderSpec, Gate, Mixer,
    lora::Targets,
    mixture::MixtureScratch,
    projection::{Projection, add_bias},
    rope::{Angles, Factors, Rope},
    weights::{AttentionWeights, Dense, Ffn, LayerWeights, Linear, MixerWeights, Weights},
};
use crate::{KvCache, TokenId};
use slm_kernels::{
    AttentionArgs, AttentionRun, AttentionScratch, Compute, KvAppend, KvPool, KvType,
};
use std::{ops::Range, sync::Arc};

/// Which positions to turn into logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitsFor {
    /// None: more of the prompt follows.
    Nothing,
    /// The last token only.
    Last,
    /// Every token.
    All,
}

/// What a step does for one sequence.
pub struct Part<'a> {
    /// The sequence's state.
    pub cache: &'a mut KvCache,
    /// What follows in it.
    pub tokens: &'a [TokenId],
    /// Which of `tokens` to turn into logits.
    pub wanted: LogitsFor,
}

impl LogitsFor {
    /// How many of the last tokens of `n_tokens`.
    pub fn count(self, n_tokens: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Last => n_tokens.min(1),
            Self::All => n_tokens,
        }
    }
}

/// Tokens of a step when positions are computed anew.
const REPEATED_AT_ONCE: usize = 64;

/// A decoder: its shape, its packed weights, and the CPU tier and threads it runs on.
pub struct Decoder {
    spec: DecoderSpec,
    weights: Weights,
    /// What adapters can change.
    targets: Arc<Targets>,
    rope: Rope,
    /// Of the layers that see only the last positions.
    sliding_rope: Option<Rope>,
    compute: Compute,
    kv_type: KvType,
    kv_pool: KvPool,
}

/// Buffers of a forward pass, reused from step to step. Grow to the largest batch seen.
#[derive(Default)]
pub struct Scratch {
    /// Of all parts.
    pub(super) tokens: Vec<TokenId>,
    /// Residual stream.
    pub(super) x: Vec<f32>,
    /// What a norm gives, then what a projection back to the stream gives.
    pub(super) h: Vec<f32>,
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) attention: Vec<f32>,
    pub(super) gate: Vec<f32>,
    pub(super) up: Vec<f32>,
    /// What a norm in place gives, before it takes its source's place.
    pub(super) normed: Vec<f32>,
    /// Factors of the delta rule.
    pub(super) decay: Vec<f32>,
    pub(super) beta: Vec<f32>,
    /// What every block gets for every token from a table of its own.
    pub(super) per_layer: Vec<f32>,
    angles: Angles,
    sliding_angles: Angles,
    /// What the experts give.
    mixed: Vec<f32>,
    pub(super) projection: Projection,
    mixture: MixtureScratch,
    attention_scratch: AttentionScratch,
}

impl Scratch {
    /// Bytes that the buffers take.
    pub fn size_bytes(&self) -> usize {
        let rows = [
            &self.x,
            &self.h,
            &self.q,
            &self.k,
            &self.v,
            &self.attention,
            &self.gate,
            &self.up,
            &self.normed,
            &self.decay,
            &self.beta,
            &self.per_layer,
            &self.mixed,
            &self.angles.cos,
            &self.angles.sin,
            &self.sliding_angles.cos,
            &self.sliding_angles.sin,
        ];
        let n_values: usize = rows.into_iter().map(Vec::capacity).sum();
        n_values * size_of::<f32>()
            + self.projection.size_bytes()
            + self.mixture.size_bytes()
            + self.attention_scratch.size_bytes()
    }

    /// Values that the buffers of the streams, projections and norms have for a token, at most. Buffers change places,
    /// so that each may become as wide as the widest.
    pub(crate) fn values_of_token(spec: &DecoderSpec) -> usize {
        /// Of the fields: `h`, `q`, `k`, `v`, `attention`, `gate`, `up`, `normed`.
        const N_WIDE: usize = 8;
        let widest = spec.widest_row();
        let experts = spec.experts.as_ref();
        // `mixed`, and what the experts read and give, by the choices of a token
        let mixture = experts.map_or(0, |e| {
            spec.hidden_size + e.n_experts + e.n_used * (spec.hidden_size + 2 * e.ffn_size + 8)
        });
        let angles = 2 * 2 * spec.rope.n_rot;
        spec.hidden_size
            + N_WIDE * widest
            + 4 * spec.n_heads
            + angles
            + mixture
            + spec.n_layers * spec.per_layer_embedding.unwrap_or(0)
    }
}

impl Decoder {
    pub(super) fn new(
        spec: DecoderSpec,
        weights: Weights,
        targets: Targets,
        compute: Compute,
        kv_type: KvType,
    ) -> Self {
        let factors = Factors {
            short: weights.rope_factors.as_deref(),
            long: weights.long_rope_factors.as_deref(),
        };
        let rope = Rope::new(&spec.rope, factors);
        let sliding_rope = spec.sliding.as_ref().map(|s| Rope::new(&s.rope, factors));
        Self {
            spec,
            weights,
            targets: Arc::new(targets),
            rope,
            sliding_rope,
            compute,
            kv_type,
            kv_pool: KvPool::default(),
        }
    }

    /// The shape.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// The CPU tier and threads.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Bytes of the packed weights.
    pub fn weights_bytes(&self) -> usize {
        self.weights.size_bytes()
    }

    /// An empty cache for one sequence.
    pub fn new_cache(&self) -> KvCache {
        KvCache::new(&self.spec, self.kv_type, &self.kv_pool)
    }

    /// Where the keys and values of all sequences lie.
    pub fn kv_pool(&self) -> &KvPool {
        &self.kv_pool
    }

    pub(super) fn targets(&self) -> &Arc<Targets> {
        &self.targets
    }

    /// Whether all of `adapters` were loaded for this model.
    pub fn takes(&self, adapters: &Adapters) -> bool {
        adapters.are_for(&self.targets)
    }

    /// Takes `cache` back to what a sequence that starts with `prompt` can use of it, at most all but the last token of
    /// the prompt, whose logits are needed, and tells it how long the sequence is going to be at least. Returns how many
    /// positions are left.
    pub fn resume(&self, cache: &mut KvCache, prompt: &[TokenId]) -> usize {
        let n_shared = cache.common_prefix(prompt).min(prompt.len().max(1) - 1);
        let is_usable = cache.is_long() == self.is_long(prompt.len());
        let n = cache.rewind(if is_usable { n_shared } else { 0 });
        cache.expect(prompt.len());
        n
    }

    /// Whether a sequence of `len` positions is rotated as long ones are.
    pub(crate) fn is_long(&self, len: usize) -> bool {
        self.spec.rope.long.as_ref().is_some_and(|l| len > l.beyond)
    }

    /// How many more positions a sequence of `len` may get before it is rotated as long ones are.
    pub(crate) fn room_before_long(&self, len: usize) -> usize {
        let beyond = self.spec.rope.long.as_ref().map(|l| l.beyond);
        beyond
            .and_then(|beyond| beyond.checked_sub(len))
            .unwrap_or(usize::MAX)
    }

    /// Runs the tokens of every part at the positions after those in its cache, adds their state to it and writes the
    /// logits asked for, of one part after the other, `[n, vocab_size]`, to `logits`. What a part gets does not depend
    /// on the others.
    ///
    /// The step with which a sequence becomes long, in models that rotate long ones otherwise, computes all positions
    /// before it anew. [`resume`](Self::resume) tells the cache of long prompts ahead, so that it does not come to that.
    ///
    /// # Panics
    /// When a part has no tokens, one has an id outside the vocabulary, or a cache has adapters of another model.
    pub fn step(&self, parts: &mut [Part<'_>], scratch: &mut Scratch, logits: &mut Vec<f32>) {
        for Part { cache, tokens, .. } in &mut *parts {
            assert!(!tokens.is_empty(), "a part needs at least one token");
            assert!(self.takes(cache.adapters()), "adapters of another model");
            let is_long = self.is_long(cache.expected_len().max(cache.len() + tokens.len()));
            if is_long != cache.is_long() {
                let before = cache.restart(is_long);
                for tokens in before.chunks(REPEATED_AT_ONCE) {
                    let wanted = LogitsFor::Nothing;
                    self.run(
                        &mut [Part {
                            cache,
                            tokens,
                            wanted,
                        }],
                        scratch,
                    );
                }
            }
        }
        self.run(parts, scratch);
        self.logits(parts, scratch, logits);
    }

    /// [`Decoder::step`] of one part.
    ///
    /// # Panics
    /// As [`Decoder::step`].
    pub fn forward(
        &self,
        cache: &mut KvCache,
        scratch: &mut Scratch,
        tokens: &[TokenId],
        wanted: LogitsFor,
        logits: &mut Vec<f32>,
    ) {
        let part = Part {
            cache,
            tokens,
            wanted,
        };
        self.step(&mut [part], scratch, logits);
    }

    /// Runs `parts` up to the residual stream behind the last block.
    fn run(&self, parts: &mut [Part<'_>], scratch: &mut Scratch) {
        let n_tokens = parts.iter().map(|part| part.tokens.len()).sum();
        self.compute.prepare(n_tokens);
        scratch.tokens.clear();
        scratch.angles.clear();
        scratch.sliding_angles.clear();
        for Part { cache, tokens, .. } in &*parts {
            let (first, n, is_long) = (cache.len(), tokens.len(), cache.is_long());
            scratch.tokens.extend_from_slice(tokens);
            self.rope.extend(&mut scratch.angles, first, n, is_long);
            if let Some(rope) = &self.sliding_rope {
                rope.extend(&mut scratch.sliding_angles, first, n, is_long);
            }
        }
        let rows = parts
            .iter()
            .map(|part| (part.tokens.len(), part.cache.adapters()));
        scratch.projection.rows_have(rows);
        let n_tokens = scratch.tokens.len();
        self.embed(scratch);
        if let Some(table) = &self.weights.per_layer {
            table.fill(self, scratch);
        }
        for (il, layer) in self.weights.layers.iter().enumerate() {
            self.mixer_block(layer, parts, il, n_tokens, scratch);
            self.ffn_block(layer, n_tokens, scratch);
            if let Some(embedding) = &layer.embedding {
                embedding.forward(self, scratch, il, n_tokens);
            }
            if let Some(scale) = layer.output_scale {
                self.compute.scale(&mut scratch.x, scale);
            }
        }
        for Part { cache, tokens, .. } in parts {
            cache.extend(tokens);
        }
    }

    /// The states of the last step's `n_tokens` tokens behind the last norm, `[n_tokens, hidden_size]`: what a model
    /// that makes vectors pools.
    pub(super) fn states(&self, scratch: &Scratch, n_tokens: usize, states: &mut Vec<f32>) {
        let x = &scratch.x[..n_tokens * self.spec.hidden_size];
        resize(states, x.len());
        let weight = &self.weights.output_norm;
        self.compute
            .rms_norm(x, weight, self.spec.rms_norm_eps, states);
    }

    /// x = E[tokens]
    fn embed(&self, s: &mut Scratch) {
        let d = self.spec.hidden_size;
        resize(&mut s.x, s.tokens.len() * d);
        for (row, &token) in s.x.chunks_exact_mut(d).zip(&s.tokens) {
            self.weights.token_embd.dequantize_row(token as usize, row);
        }
        s.projection.embed(&self.compute, &s.tokens, &mut s.x);
        if self.spec.embedding_scale != 1.0 {
            self.compute.scale(&mut s.x, self.spec.embedding_scale);
        }
    }

    /// x += mixer(norm(x)), where tokens meet
    fn mixer_block(
        &self,
        layer: &LayerWeights,
        parts: &mut [Part<'_>],
        il: usize,
        n_tokens: usize,
        s: &mut Scratch,
    ) {
        let Self { spec, compute, .. } = self;
        resize(&mut s.h, n_tokens * spec.hidden_size);
        compute.rms_norm(&s.x, &layer.attn_norm, spec.rms_norm_eps, &mut s.h);
        match &layer.mixer {
            MixerWeights::Attention(weights) => self.attention(weights, parts, il, n_tokens, s),
            MixerWeights::ShortConv(weights) => weights.forward(self, parts, il, n_tokens, s),
            MixerWeights::DeltaNet(weights) => weights.forward(self, parts, il, n_tokens, s),
        }
        self.norm_in_place(
            layer.post_attention_norm.as_deref(),
            &mut s.h,
            &mut s.normed,
        );
        self.add_to_stream(&mut s.x, &mut s.h);
    }

    /// h = Wo · (attention(h) ⊙ σ(Wg · h))
    fn attention(
        &self,
        weights: &AttentionWeights,
        parts: &mut [Part<'_>],
        il: usize,
        n_tokens: usize,
        s: &mut Scratch,
    ) {
        let Self { spec, compute, .. } = self;
        let shape = self.attention_shape(il);
        let mut outputs = vec![(&weights.q, &mut s.q)];
        if let Some(kv) = &weights.kv {
            outputs.push((&kv.k, &mut s.k));
            outputs.extend(kv.v.as_ref().map(|v| (v, &mut s.v)));
        }
        outputs.extend(weights.gate.as_ref().map(|gate| (gate, &mut s.gate)));
        self.project(&mut s.projection, &s.h, n_tokens, &mut outputs);

        let (rope, angles, window) = match spec.sliding_layer(il) {
            Some(sliding) => (&sliding.rope, &s.sliding_angles, Some(sliding.window)),
            None => (&spec.rope, &s.angles, None),
        };
        let rotate = |heads: &mut [f32], n_heads: usize| {
            if !spec.is_rotated(il) {
                return;
            }
            compute.rope(
                heads,
                n_heads,
                shape.head_dim,
                rope.n_rot,
                rope.style,
                &angles.cos,
                &angles.sin,
            );
        };
        self.norm_in_place(weights.q_norm.as_deref(), &mut s.q, &mut s.normed);
        rotate(&mut s.q, shape.n_heads);
        if let Some(kv) = &weights.kv {
            if kv.v.is_none() {
                s.v.clone_from(&s.k);
            }
            self.norm_in_place(kv.k_norm.as_deref(), &mut s.k, &mut s.normed);
            self.norm_in_place(kv.v_norm.as_deref(), &mut s.v, &mut s.normed);
            rotate(&mut s.k, shape.n_kv_heads);
            let (k_row, v_row) = (s.k.len() / n_tokens, s.v.len() / n_tokens);
            let appends = each_part(parts).map(|(cache, tokens)| KvAppend {
                kv: cache.growing_kv(il),
                n_tokens: tokens.len(),
                k: &s.k[tokens.start * k_row..tokens.end * k_row],
                v: &s.v[tokens.start * v_row..tokens.end * v_row],
            });
            compute.append(appends.collect());
        }

        let values = n_tokens * shape.n_heads * shape.v_head_dim;
        resize(&mut s.attention, values);
        let args = AttentionArgs {
            n_heads: shape.n_heads,
            scale: spec.attention_scale,
            is_causal: spec.is_causal,
            window,
            softcap: spec.attention_softcap,
        };
        let runs: Vec<AttentionRun<'_>> = parts
            .iter()
            .map(|part| AttentionRun {
                kv: part.cache.kv(il),
                n_tokens: part.tokens.len(),
            })
            .collect();
        compute.attention(
            &mut s.attention_scratch,
            &args,
            &runs,
            &s.q,
            &mut s.attention,
        );
        if weights.gate.is_some() {
            compute.sigmoid_mul(&mut s.gate, &s.attention);
            std::mem::swap(&mut s.gate, &mut s.attention);
        }
        self.norm_in_place(
            weights.attn_sub_norm.as_deref(),
            &mut s.attention,
            &mut s.normed,
        );
        self.project(
            &mut s.projection,
            &s.attention,
            n_tokens,
            &mut [(&weights.attn_output, &mut s.h)],
        );
    }

    /// # Panics
    /// When block `il` has no attention.
    fn attention_shape(&self, il: usize) -> AttentionShape {
        match self.spec.block(il).mixer {
            Mixer::Attention(shape) => shape,
            other => panic!("block {il} has no attention but {other:?}"),
        }
    }

    /// x += Wd · (gate(Wg · norm(x)) ⊙ Wu · norm(x))
    fn ffn_block(&self, layer: &LayerWeights, n_tokens: usize, s: &mut Scratch) {
        let Self { spec, compute, .. } = self;
        compute.rms_norm(&s.x, &layer.ffn_norm, spec.rms_norm_eps, &mut s.h);
        match (&layer.ffn, &spec.experts) {
            (Ffn::Mixture(mixture), Some(experts)) => {
                resize(&mut s.mixed, s.h.len());
                mixture.forward(
                    (compute, experts, spec.gate),
                    &mut s.projection,
                    &mut s.mixture,
                    &s.h,
                    &mut s.mixed,
                );
                match &mixture.shared {
                    None => std::mem::swap(&mut s.h, &mut s.mixed),
                    Some(shared) => {
                        self.dense(shared, n_tokens, s);
                        compute.add_assign(&mut s.h, &s.mixed);
                    }
                }
            }
            (Ffn::Mixture(_), None) => unreachable!("experts are loaded where the spec has them"),
            (Ffn::Dense(dense), _) => self.dense(dense, n_tokens, s),
        }
        self.norm_in_place(layer.post_ffw_norm.as_deref(), &mut s.h, &mut s.normed);
        self.add_to_stream(&mut s.x, &mut s.h);
    }

    /// h = Wd · (gate(Wg · h) ⊙ Wu · h)
    fn dense(&self, dense: &Dense, n_tokens: usize, s: &mut Scratch) {
        self.project(
            &mut s.projection,
            &s.h,
            n_tokens,
            &mut [(&dense.gate, &mut s.gate), (&dense.up, &mut s.up)],
        );
        self.spec.gate.apply(&self.compute, &mut s.gate, &s.up);
        self.norm_in_place(dense.sub_norm.as_deref(), &mut s.gate, &mut s.normed);
        self.project(
            &mut s.projection,
            &s.gate,
            n_tokens,
            &mut [(&dense.down, &mut s.h)],
        );
    }

    /// x += scale · h
    fn add_to_stream(&self, x: &mut [f32], h: &mut [f32]) {
        if self.spec.residual_scale != 1.0 {
            self.compute.scale(h, self.spec.residual_scale);
        }
        self.compute.add_assign(x, h);
    }

    fn logits(&self, parts: &[Part<'_>], s: &mut Scratch, logits: &mut Vec<f32>) {
        let d = self.spec.hidden_size;
        // the rows that are wanted, one after the other
        s.normed.clear();
        let mut end = 0;
        for Part { tokens, wanted, .. } in parts {
            end += tokens.len();
            let first = end - wanted.count(tokens.len());
            s.normed.extend_from_slice(&s.x[first * d..end * d]);
        }
        let n = s.normed.len() / d;
        resize(logits, n * self.spec.vocab_size);
        if n == 0 {
            return;
        }
        resize(&mut s.h, n * d);
        self.compute.rms_norm(
            &s.normed,
            &self.weights.output_norm,
            self.spec.rms_norm_eps,
            &mut s.h,
        );
        let wanted = parts.iter().map(|part| {
            let n = part.wanted.count(part.tokens.len());
            (n, part.cache.adapters())
        });
        s.projection.rows_have(wanted);
        let normed = &s.h[..n * d];
        match &self.weights.output {
            Some(output) => self.project(&mut s.projection, normed, n, &mut [(output, logits)]),
            None => {
                let mut outputs = [(&self.weights.token_embd, logits.as_mut_slice())];
                s.projection
                    .multiply(&self.compute, normed, n, &mut outputs);
            }
        }
        add_bias(logits, self.weights.output_bias.as_deref());
        if self.spec.logit_scale != 1.0 {
            self.compute.scale(logits, self.spec.logit_scale);
        }
        if let Some(cap) = self.spec.logit_softcap {
            self.compute.softcap(logits, cap);
        }
    }

    /// Norms the rows of `values`, where the block has this norm.
    pub(super) fn norm_in_place(
        &self,
        weight: Option<&[f32]>,
        values: &mut Vec<f32>,
        normed: &mut Vec<f32>,
    ) {
        let Some(weight) = weight else { return };
        resize(normed, values.len());
        self.compute
            .rms_norm(values, weight, self.spec.rms_norm_eps, normed);
        std::mem::swap(values, normed);
    }

    /// See [`Projection::project`].
    pub(super) fn project(
        &self,
        projection: &mut Projection,
        x: &[f32],
        n_tokens: usize,
        outputs: &mut [(&Linear, &mut Vec<f32>)],
    ) {
        projection.project(&self.compute, x, n_tokens, outputs);
    }
}

/// The cache of every part, and which of the step's tokens are its.
pub(super) fn each_part<'a>(
    parts: &'a mut [Part<'_>],
) -> impl Iterator<Item = (&'a mut KvCache, Range<usize>)> {
    let mut end = 0;
    parts.iter_mut().map(move |part| {
        let first = end;
        end += part.tokens.len();
        (&mut *part.cache, first..end)
    })
}

impl Gate {
    /// What files call it.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Silu => &["silu", "swish"],
            Self::GeluTanh => &["gelu_pytorch_tanh", "gelu_tanh", "gelu_new"],
            Self::ReluSquared => &["relu2"],
        }
    }

    /// `gate = self(gate) ⊙ up`.
    pub(super) fn apply(self, compute: &Compute, gate: &mut [f32], up: &[f32]) {
        match self {
            Self::Silu => compute.silu_mul(gate, up),
            Self::GeluTanh => compute.gelu_tanh_mul(gate, up),
            Self::ReluSquared => compute.relu_squared_mul(gate, up),
        }
    }
}

/// Sets the length; what is in it is overwritten next, so shrinking keeps the memory and growing zeroes only the new part.
pub(super) fn resize(buffer: &mut Vec<f32>, len: usize) {
    buffer.reserve_exact(len.saturating_sub(buffer.len()));
    buffer.resize(len, 0.0);
}
