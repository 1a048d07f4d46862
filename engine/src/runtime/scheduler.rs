//! What runs next on a model: one step after the other, each with a part of every generation that can go on.
//!
//! Generations join between two steps and leave when they have ended. A step feeds in the token that each has just got,
//! with a guess at what follows, and as much of the prompts of others as the pace allows. Older ones come first, for
//! memory too: where it does not suffice for all, states of ended generations go, then those of the youngest running
//! ones, which are computed anew when there is room.

use super::{
    disk_tier::{DiskTier, Look},
    draft::MAX_DRAFT,
    draft_model::DraftModel,
    embedding::{Buffers, Embedding},
    pace::{Load, Pace},
    pause::Pause,
    prefix_cache::PrefixCache,
    request::{Counters, EmbedError, Entry, Order},
    sequence::{Readiness, Sequence},
    waiting::Waiting,
    worth::worthwhile,
};
use crate::{
    TokenId,
    kv_cache::MAX_STEP,
    model::{Loaded, Model, Scratch, prefill_chunk},
};
use slm_kernels::KvPool;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// Tokens of answers in a step that guesses may fill it up to: so many take hardly longer than one, since reading the
/// weights takes as long as computing with them. Beyond, a guess costs what it can save.
pub(crate) const GUESSED_TOGETHER: usize = 8;
/// A prompt that begins as one that is being computed waits for it from so many tokens on.
const WORTH_WAITING: usize = 32;

/// Bounds of what runs at once.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Generations and requests for vectors.
    pub(super) n_parallel: usize,
    /// Bytes of the states of all generations; may change at any time.
    pub(super) kv_bytes: Arc<AtomicU64>,
}

/// The generations of one model, and the states that ended ones left behind.
pub(super) struct Scheduler<'a> {
    loaded: &'a Loaded,
    limits: Limits,
    counters: Arc<Counters>,
    /// The oldest first.
    active: Vec<Sequence>,
    /// Whether the oldest waits for memory that what is no generation is about to give back. Nobody begins meanwhile.
    is_short: bool,
    /// Those that wait for a place, for memory or for a prompt that begins as their own.
    waiting: Waiting,
    embeddings: Vec<Embedding>,
    /// Requests for vectors that wait for a place.
    waiting_embeddings: VecDeque<Order>,
    /// Whether those are next, where a generation waits too.
    is_turn_of_vectors: bool,
    prefixes: PrefixCache,
    disk: DiskTier,
    draft: Option<DraftModel>,
    pace: Pace,
    pause: Pause,
    scratch: Scratch,
    buffers: Buffers,
    logits: Vec<f32>,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(
        loaded: &'a Loaded,
        (limits, counters): (Limits, Arc<Counters>),
        disk: DiskTier,
        draft: Option<DraftModel>,
    ) -> Self {
        let most = match loaded {
            Loaded::Decoder(model) => prefill_chunk(model.decoder().spec()),
            Loaded::Encoder(_) => MAX_STEP,
        };
        Self {
            loaded,
            limits,
            counters,
            active: Vec::new(),
            is_short: false,
            waiting: Waiting::default(),
            embeddings: Vec::new(),
            waiting_embeddings: VecDeque::new(),
            is_turn_of_vectors: false,
            prefixes: PrefixCache::default(),
            disk,
            draft,
            pace: Pace::new(most),
            pause: Pause::default(),
            scratch: Scratch::default(),
            buffers: Buffers::default(),
            logits: Vec::new(),
        }
    }

    fn has_place(&self) -> bool {
        self.active.len() + self.embeddings.len() < self.limits.n_parallel
    }

    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
            && self.embeddings.is_empty()
            && self.waiting.is_empty()
            && self.waiting_embeddings.is_empty()
    }

    /// Queues a request, or answers it when it cannot be computed at all.
    pub(super) fn receive(&mut self, order: Order) {
        match (order, self.loaded) {
            (Order::Trim, Loaded::Decoder(model)) => {
                self.make_room_before(model, 0, self.active.len().min(1));
                model.decoder().kv_pool().trim();
            }
            (Order::Trim, Loaded::Encoder(_)) => {}
            (order @ Order::Embed { .. }, _) => self.waiting_embeddings.push_back(order),
            (Order::Generate(entry), Loaded::Decoder(model)) if self.loaded.writes_text() => {
                match problem(&entry, model, self.kv_limit()) {
                    Some(problem) => entry.fail(&problem),
                    None => self.waiting.push(*entry),
                }
            }
            (Order::Generate(entry), _) => {
                entry.fail("the model makes vectors (embeddings) and cannot write text");
            }
        }
    }

    fn kv_limit(&self) -> u64 {
        self.limits.kv_bytes.load(Relaxed)
    }

    /// Makes those that wait active, as many as have a place. Generations and requests for vectors take turns, so that
    /// neither keeps the other out.
    fn admit(&mut self) {
        if let Some(state) = self.disk.poll(self.waiting.iter()) {
            self.prefixes.keep(state);
        }
        let mut n_deferred = 0;
        while self.has_place() && !self.is_short {
            let is_turn_of_vectors = self.is_turn_of_vectors && !self.waiting_embeddings.is_empty();
            if !is_turn_of_vectors && self.admit_generation(&mut n_deferred) {
                self.is_turn_of_vectors = true;
            } else if !self.admit_embedding() {
                return;
            }
        }
    }

    /// Makes the next request for vectors active; false where there is none, or no memory for it yet.
    fn admit_embedding(&mut self) -> bool {
        if !self.has_room_for_vectors() {
            return false;
        }
        let next = self.waiting_embeddings.pop_front();
        let is_there = next.is_some();
        if let Some(Order::Embed {
            request,
            n_context,
            reply,
            queued_at,
            place,
        }) = next
        {
            self.is_turn_of_vectors = false;
            let embedding =
                Embedding::admit(self.loaded, request, n_context, reply, queued_at, place);
            self.embeddings.extend(embedding);
        }
        is_there
    }

    /// Whether the longest of the next request's texts has room beside what runs. Alone it may try in any case.
    fn has_room_for_vectors(&mut self) -> bool {
        let next = self.waiting_embeddings.front();
        let Some(Order::Embed {
            request, n_context, ..
        }) = next
        else {
            return true;
        };
        let Loaded::Decoder(model) = self.loaded else {
            return true;
        };
        // longer ones are refused when they are admitted
        let n_tokens = request.n_longest().min(*n_context);
        let needed = model.decoder().new_cache().bytes_at(n_tokens);
        let needed = needed.saturating_add(self.promised_bytes(model));
        self.make_room(model, needed) || (self.active.is_empty() && !self.others_hold_memory())
    }

    /// Bytes that requests for vectors and what is read from disk are going to take.
    fn promised_bytes(&self, model: &Model) -> u64 {
        let embeddings = self.embeddings.iter();
        let bytes = embeddings.map(|embedding| embedding.growth_bytes(model.decoder()));
        bytes.fold(self.disk.needed_bytes(), u64::saturating_add)
    }

    /// Makes one generation active; false where none can be. A client whose next one must wait for another's prompt lets
    /// the others go first.
    fn admit_generation(&mut self, n_deferred: &mut usize) -> bool {
        let Loaded::Decoder(model) = self.loaded else {
            return false;
        };
        while *n_deferred < self.waiting.n_clients() {
            match self.admit_next(model) {
                Admission::Done => return true,
                Admission::Deferred => {
                    *n_deferred += 1;
                    self.waiting.defer();
                }
                Admission::NoRoom => return false,
            }
        }
        false
    }

    /// Makes the next generation active, if it need not wait any longer.
    fn admit_next(&mut self, model: &Model) -> Admission {
        let Some(entry) = self.waiting.peek() else {
            return Admission::NoRoom;
        };
        let prompt = &entry.request.prompt;
        let owner = entry.owner();
        let running = || {
            let all = self.active.iter();
            all.filter(|sequence| *sequence.cache().owner() == owner)
        };
        // a running generation may be about to know more of the beginning than it does now
        let tells_of_prompt = entry.request.prompt_logprobs;
        let is_being_computed = running().any(|sequence| {
            let known = sequence.cache().common_prefix(prompt);
            let tokens = sequence.tokens().iter().zip(prompt);
            let n_common = tokens.take_while(|(a, b)| a == b).count();
            known == sequence.cache().len() && n_common >= known + WORTH_WAITING
        });
        if is_being_computed && !tells_of_prompt {
            return Admission::Deferred;
        }
        let in_running = running().map(|sequence| sequence.cache().reusable(prompt));
        let n_known = self.prefixes.n_known(prompt, &owner);
        let n_known = in_running.max().unwrap_or(0).max(n_known);
        let look = match tells_of_prompt {
            true => Look::Nothing,
            false => self.disk.look(model.decoder(), entry, &owner, n_known),
        };
        match look {
            Look::Nothing => {}
            Look::Found(found) => {
                let needed = found.needed_bytes() + self.promised_bytes(model);
                if self.has_room_beside_active(needed)
                    && self.make_room(model, needed)
                    && self.disk.read(found)
                {
                    return Admission::Deferred;
                }
            }
            Look::Reading => return Admission::Deferred,
        }
        let Some(entry) = self.waiting.peek() else {
            return Admission::NoRoom;
        };
        let prompt = &entry.request.prompt;
        let running = self.active.iter().map(Sequence::cache);
        let running = running.filter(|cache| *cache.owner() == owner);
        // of what is known already, nobody knows how likely it was
        let known_prompt = if tells_of_prompt {
            &[]
        } else {
            prompt.as_slice()
        };
        let mut cache = self
            .prefixes
            .state_of(model.decoder(), known_prompt, &owner, running);
        cache.expect(prompt.len());
        let needed = cache.growth_bytes(prompt.len() - cache.len()) + self.promised_bytes(model);
        // alone it may try in any case: to fail with the reason, when it comes to that
        if !self.make_room(model, needed) && !self.active.is_empty() {
            self.prefixes.keep(cache);
            return Admission::NoRoom;
        }
        if let Some(entry) = self.waiting.take() {
            self.active.push(Sequence::new(entry, cache, model));
        }
        Admission::Done
    }

    /// Steps everything that can go on. False when nothing could: all wait for their clients.
    pub(super) fn step(&mut self) -> bool {
        self.admit();
        self.counters.run(self.active.len() + self.embeddings.len());
        let mut has_stepped = !self.embeddings.is_empty();
        for embedding in std::mem::take(&mut self.embeddings) {
            let going_on = embedding.step(self.loaded, &mut self.scratch, &mut self.buffers);
            self.embeddings.extend(going_on);
        }
        let Loaded::Decoder(model) = self.loaded else {
            return has_stepped;
        };
        has_stepped |= self.step_generations(model);
        has_stepped
    }

    fn step_generations(&mut self, model: &Model) -> bool {
        let mut is_ready = Vec::with_capacity(self.active.len());
        let mut has_changed = false;
        for mut sequence in std::mem::take(&mut self.active) {
            match sequence.poll() {
                Readiness::Ended => {
                    has_changed = true;
                    self.counters.learn(sequence.age());
                    let state = sequence.into_cache();
                    self.disk.keep(&state);
                    self.prefixes.keep(state);
                    continue;
                }
                readiness => is_ready.push(readiness == Readiness::Ready),
            }
            self.active.push(sequence);
        }
        if has_changed {
            // the budget may have become smaller
            self.make_room(model, 0);
        }
        let all_ready = is_ready.clone();
        let mut paused_for = self.pause_for_prompts(&mut is_ready);
        let (mut plan, mut load) = self.plan(model, &is_ready, paused_for);
        let is_complete = self.active.len() == all_ready.len();
        if plan.is_empty() && is_complete && paused_for.take().is_some() {
            // the answers hold the memory that the prompts need
            self.pause.end();
            (plan, load) = self.plan(model, &all_ready, None);
        }
        if plan.is_empty() {
            return has_changed;
        }
        let started = Instant::now();
        let mut rows = Vec::with_capacity(plan.len());
        let mut parts = Vec::with_capacity(plan.len());
        let mut planned = plan.iter().peekable();
        for (i, sequence) in self.active.iter_mut().enumerate() {
            if let Some(&(_, n_tokens)) = planned.next_if(|(index, _)| *index == i) {
                let part = sequence.part(n_tokens);
                rows.push(part.wanted.count(n_tokens));
                parts.push(part);
            }
        }
        let decoder = model.decoder();
        decoder.step(&mut parts, &mut self.scratch, &mut self.logits);
        let took = started.elapsed();
        self.pace.learn(load, took);
        if paused_for.is_some() {
            self.pause.pass(took);
        }
        // Each reads a whole vocabulary's logits to choose its token: on many cores that would be a good part of the step.
        let mut logits = self.logits.as_mut_slice();
        let mut planned = plan.iter().zip(rows).peekable();
        let mut takers = Vec::with_capacity(plan.len());
        for (i, sequence) in self.active.iter_mut().enumerate() {
            if let Some((_, n_rows)) = planned.next_if(|((index, _), _)| *index == i) {
                let (of_sequence, rest) =
                    std::mem::take(&mut logits).split_at_mut(n_rows * decoder.spec().vocab_size);
                takers.push(Mutex::new((sequence, of_sequence)));
                logits = rest;
            }
        }
        decoder.compute().parallel_for(takers.len(), 1, &|items| {
            for taker in &takers[items] {
                let (sequence, logits) = &mut *taker.lock().unwrap_or_else(PoisonError::into_inner);
                sequence.take(model, logits);
            }
        });
        true
    }

    /// Whether what is no generation holds memory, and gives it back before long.
    fn others_hold_memory(&self) -> bool {
        !self.embeddings.is_empty() || self.disk.is_busy()
    }

    /// How many tokens of prompts the next step reads while all answers stand still; those are not ready then. None when
    /// they go on.
    fn pause_for_prompts(&mut self, is_ready: &mut [bool]) -> Option<usize> {
        let all = self.active.iter().zip(is_ready.iter());
        let ready = all.filter(|(_, is_ready)| **is_ready);
        let (answers, prompts): (Vec<_>, Vec<_>) = ready
            .map(|(sequence, _)| sequence)
            .partition(|sequence| sequence.is_decoding());
        let Some(first) = prompts.first().filter(|_| !answers.is_empty()) else {
            self.pause.end();
            return None;
        };
        let since_pause = answers.into_iter().map(Sequence::since_pause);
        let n_prompt = self
            .pause
            .n_prompt(&self.pace, first.n_rest(), since_pause)?;
        for (sequence, is_ready) in self.active.iter_mut().zip(is_ready) {
            if sequence.is_decoding() {
                sequence.pause();
                *is_ready = false;
            }
        }
        Some(n_prompt)
    }

    /// Which sequences the next step runs, and how many tokens of each; `n_prompt` tokens of prompts, or as many as the
    /// pace allows.
    fn plan(
        &mut self,
        model: &Model,
        is_ready: &[bool],
        n_prompt: Option<usize>,
    ) -> (Vec<(usize, usize)>, Load) {
        for sequence in &mut self.active {
            sequence.outgrow(model.decoder());
        }
        let ready = || {
            self.active
                .iter()
                .zip(is_ready)
                .filter(|(_, ready)| **ready)
        };
        let n_decoding = ready()
            .filter(|(sequence, _)| sequence.is_decoding())
            .count();
        // prompts use what computing there is
        let may_guess = ready().count() == n_decoding;
        self.guess(model, is_ready, if may_guess { n_decoding } else { 0 });
        let mut n_decoded = 0;
        for (sequence, is_ready) in self.active.iter_mut().zip(is_ready) {
            if *is_ready && sequence.is_decoding() {
                n_decoded += sequence.n_next(0);
            }
        }
        let n_prompt = n_prompt.unwrap_or_else(|| self.pace.n_prompt(n_decoded));
        // each has one; what else there is room for goes to prompts whose tokens are told of
        let n_prompts = self.n_ready_prompts(is_ready);
        let n_rows = self.limits.n_parallel.max(GUESSED_TOGETHER);
        let mut n_spare_rows = n_rows.saturating_sub(n_decoded + n_prompts);
        let mut load = Load::default();
        self.is_short = false;
        // before the memory is counted: what is given back meanwhile is not missed
        let will_be_more = self.others_hold_memory();
        let mut plan = Vec::with_capacity(self.active.len());
        let mut i = 0;
        while i < self.active.len() {
            let sequence = &mut self.active[i];
            let is_decoding = sequence.is_decoding();
            let mut most = n_prompt - load.n_prompt;
            let tells_of_prompt = sequence.tells_of_prompt();
            if tells_of_prompt {
                most = most.min(1 + n_spare_rows);
            }
            if !is_ready[i] || (!is_decoding && most == 0) {
                i += 1;
                continue;
            }
            let n_tokens = sequence.n_next(most);
            let needed = sequence
                .cache()
                .growth_bytes(sequence.n_rest().max(n_tokens));
            if self.make_room_before(model, needed, i + 1) {
                plan.push((i, n_tokens));
                if tells_of_prompt {
                    n_spare_rows -= n_tokens - 1;
                }
                if is_decoding {
                    load.n_decoded += n_tokens;
                } else {
                    load.n_prompt += n_tokens;
                }
            } else if i == 0 && will_be_more {
                self.is_short = true;
                break;
            } else if i == 0 {
                self.active.remove(0).fail(&format!(
                    "the memory set aside for keys and values ({} MiB) is used up; ask for less text, or give the model more memory",
                    self.kv_limit() >> 20
                ));
                // the others are looked at anew in the next step
                break;
            }
            i += 1;
        }
        (plan, load)
    }

    /// Guesses at what follows in the `n_decoding` answers that are ready, as far as it is worth it; not at all for 0.
    fn guess(&mut self, model: &Model, is_ready: &[bool], n_decoding: usize) {
        let most = self.limits.n_parallel.max(GUESSED_TOGETHER);
        let each = (GUESSED_TOGETHER / n_decoding.max(1)).saturating_sub(1);
        let ready = self.active.iter_mut().zip(is_ready);
        let answers = ready.filter(|(sequence, is_ready)| **is_ready && sequence.is_decoding());
        let mut answers: Vec<_> = answers.map(|(sequence, _)| sequence).collect();
        for sequence in &mut answers {
            let n_guessed = if n_decoding > 0 { MAX_DRAFT } else { 0 };
            sequence.guess(n_guessed, model.decoder());
        }
        let guesses: Vec<_> = answers.iter().map(|sequence| sequence.guessed()).collect();
        let seconds = |width| self.pace.expected_seconds(width);
        let counts = worthwhile(n_decoding, &guesses, most, seconds);
        let counts = counts.unwrap_or_else(|| vec![each; guesses.len()]);
        let mut n_tokens = n_decoding;
        for (sequence, n) in answers.into_iter().zip(counts) {
            sequence.shorten_guess(n);
            n_tokens += sequence.guessed().0;
        }
        let room = most.saturating_sub(n_tokens) / n_decoding.max(1);
        let each = if n_decoding > 0 { each.min(room) } else { 0 };
        self.guess_by_model(model, is_ready, each);
    }

    /// Prompts that can be read.
    fn n_ready_prompts(&self, is_ready: &[bool]) -> usize {
        let ready = self.active.iter().zip(is_ready);
        let prompts = ready.filter(|(sequence, is_ready)| **is_ready && !sequence.is_decoding());
        prompts.count()
    }

    /// Lets the model that guesses do so for those that are to be decoded and have no guess yet.
    fn guess_by_model(&mut self, model: &Model, is_ready: &[bool], n_guessed: usize) {
        let room = self.kv_limit().saturating_sub(self.in_use(model));
        let Some(draft) = self.draft.as_mut().filter(|_| n_guessed > 0) else {
            return;
        };
        let ready = self.active.iter_mut().zip(is_ready);
        let decoding = ready.filter(|(sequence, is_ready)| **is_ready && sequence.is_decoding());
        let decoding = decoding.map(|(sequence, _)| sequence);
        draft.guess(decoding, n_guessed, &self.pace, room);
    }

    /// Bytes of all states.
    fn in_use(&self, model: &Model) -> u64 {
        let states: u64 = self.active.iter().map(|s| s.cache().own_bytes()).sum();
        let drafts = self
            .draft
            .as_ref()
            .map(|draft| draft.kv_pool().bytes_in_use());
        let pages = model.decoder().kv_pool().bytes_in_use() + drafts.unwrap_or(0);
        pages as u64 + self.prefixes.own_bytes() + states
    }

    /// Whether there is room for `needed` bytes once all states of ended sequences are gone: else none is to go for them.
    /// Says no too where running ones share so much that there is just enough.
    fn has_room_beside_active(&self, needed: u64) -> bool {
        let bytes = |sequence: &Sequence| sequence.cache().bytes_at(sequence.cache().len());
        let active: u64 = self.active.iter().map(bytes).sum();
        let drafts = self.draft.as_ref().map(DraftModel::kv_pool);
        let drafts = drafts.map_or(0, KvPool::bytes_in_use) as u64;
        active + drafts + needed <= self.kv_limit()
    }

    /// Whether the states of all sequences can grow by `needed` bytes. Those of ended ones make room.
    fn make_room(&mut self, model: &Model, needed: u64) -> bool {
        let limit = self.kv_limit();
        loop {
            let in_use = self.in_use(model);
            if in_use + needed <= limit {
                let drafts = self.draft.as_ref().map(DraftModel::kv_pool);
                let pools = || drafts.into_iter().chain([model.decoder().kv_pool()]);
                let n_free: usize = pools().map(KvPool::bytes_free).sum();
                // what is needed is taken from what is free first
                if in_use + needed.max(n_free as u64) > limit {
                    pools().for_each(KvPool::trim);
                }
                return true;
            }
            if !self.prefixes.let_one_go() {
                return false;
            }
        }
    }

    /// As [`Scheduler::make_room`]; the sequences from `first` on make room too, the youngest first.
    fn make_room_before(&mut self, model: &Model, needed: u64, first: usize) -> bool {
        while !self.make_room(model, needed) {
            let younger = self.active[first..].iter_mut().rev();
            let Some(youngest) = younger.into_iter().find(|s| !s.cache().is_empty()) else {
                return false;
            };
            youngest.lose_state(model.decoder());
        }
        true
    }

    pub(super) fn fail_all(&mut self, why: &str) {
        for sequence in self.active.drain(..) {
            sequence.fail(why);
        }
        for entry in self.waiting.drain() {
            entry.fail(why);
        }
        for order in self.waiting_embeddings.drain(..) {
            order.fail(why);
        }
        for embedding in self.embeddings.drain(..) {
            embedding.fail(EmbedError::Failed(why.to_owned()));
        }
    }
}

/// What became of the next one that waits.
enum Admission {
    Done,
    /// It waits for what another computes.
    Deferred,
    NoRoom,
}

/// Why a generation cannot begin.
fn problem(entry: &Entry, model: &Model, kv_limit: u64) -> Option<String> {
    let vocab_size = model.tokenizer().vocab_size();
    let n_prompt = entry.request.prompt.len();
    let n_context = entry.request.context_length;
    if n_prompt == 0 {
        return Some("the prompt is empty".to_owned());
    }
    if n_prompt >= n_context {
        return Some(format!(
            "the prompt of {n_prompt} tokens exceeds the available context size of {n_context} tokens"
        ));
    }
    let needed = model.decoder().new_cache().bytes_at(n_prompt + 1);
    if needed > kv_limit {
        return Some(format!(
            "the prompt of {n_prompt} tokens needs {} MiB for keys and values, and {} MiB are set aside for them; shorten it, or give the model more memory",
            needed >> 20,
            kv_limit >> 20
        ));
    }
    if !model.decoder().takes(&entry.request.adapters) {
        return Some("the request has an adapter that was loaded for another model".to_owned());
    }
    let is_outside = |&token: &TokenId| token as usize >= vocab_size;
    let outside = entry.request.prompt.iter().any(is_outside);
    outside.then(|| "the prompt has a token id outside the model's vocabulary".to_owned())
}
