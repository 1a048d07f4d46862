//! What may stand ahead of constrained text: thoughts, which are free.
//!
//! A model that opens its thoughts itself may also answer at once; as long as both are possible, both are followed.
//! Within thoughts a generation cannot end, unless the form is one that need not come at all, and the token that closes
//! them adds nothing to the answer but white space, so that all of the answer is the grammar's.

use super::FromStart;
use crate::{TokenId, Tokenizer};

/// Where an answer's form begins, in a model that may think first.
#[derive(Clone, Debug, PartialEq)]
pub struct Thoughts {
    /// What opens them, first thing in the answer; `None` where the prompt has opened them already.
    pub opens: Option<String>,
    /// The texts that close them: all of these, one after the other, with anything between them.
    pub closes: Vec<String>,
    /// Whether the answer may end without a form. What stands ahead of one is then all of the answer that is free: the
    /// last of `closes` is what a form begins with; without any, no form follows.
    pub may_end: bool,
    /// A form that the answer may have instead, from its beginning.
    pub from_start: Option<FromStart>,
}

/// Where an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the beginning: in what opens thoughts, or in the form.
    Either,
    Thoughts,
    /// The grammar says what comes.
    Form,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Prelude {
    place: Place,
    /// What opens thoughts, and how much of it has come.
    opens: Vec<u8>,
    n_opened: usize,
    /// Whether all that has come may be the form as well.
    is_form_possible: bool,
    /// What closes them, the next one first.
    closes: Vec<Vec<u8>>,
    may_end: bool,
    /// The end of the thoughts: less than the next of `closes`.
    tail: Vec<u8>,
    /// Tokens that close thoughts alone and have more text behind it.
    closing: Vec<TokenId>,
}

impl Prelude {
    pub(super) fn new(thoughts: Option<Thoughts>, tokenizer: &Tokenizer) -> Self {
        let may_end = thoughts.as_ref().is_some_and(|t| t.may_end);
        let (opens, closes) = thoughts.map_or((None, Vec::new()), |t| (t.opens, t.closes));
        let opens = opens.unwrap_or_default().into_bytes();
        let closes = closes.into_iter().map(String::into_bytes);
        let closes: Vec<_> = closes.filter(|text| !text.is_empty()).collect();
        let place = match (closes.is_empty(), opens.is_empty()) {
            (true, _) if !may_end => Place::Form,
            (true, _) => Place::Thoughts,
            (false, true) => Place::Thoughts,
            (false, false) => Place::Either,
        };
        let closing = match closes.last() {
            None => Vec::new(),
            Some(close) => (0..tokenizer.vocab_size() as TokenId)
                .filter(|&token| {
                    let bytes = tokenizer.token_bytes(token);
                    end_of(&bytes, close).is_some_and(|end| !is_white(&bytes[end..]))
                })
                .collect(),
        };
        Self {
            place,
            opens,
            n_opened: 0,
            is_form_possible: place != Place::Thoughts,
            closes,
            may_end,
            tail: Vec::new(),
            closing,
        }
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Whether the answer may end without a form.
    pub(super) fn may_end(&self) -> bool {
        self.may_end
    }

    /// Whether all that has come may be constrained text.
    pub(super) fn is_form_possible(&self) -> bool {
        self.is_form_possible
    }

    /// Whether `token` goes on with what opens thoughts.
    pub(super) fn may_open(&self, tokenizer: &Tokenizer, token: TokenId) -> bool {
        let bytes = tokenizer.token_bytes(token);
        let rest = &self.opens[self.n_opened..];
        !bytes.is_empty()
            && (rest.starts_with(&bytes) || bytes.starts_with(rest))
            && !tokenizer.is_end_of_generation(token)
    }

    /// Takes a token at the beginning, which goes on with what opens thoughts, with the form, or with both.
    pub(super) fn accept_either(
        &mut self,
        tokenizer: &Tokenizer,
        token: TokenId,
        opens: bool,
        is_form: bool,
    ) {
        if !opens {
            self.place = Place::Form;
            return;
        }
        self.is_form_possible = is_form;
        let bytes = tokenizer.token_bytes(token);
        self.n_opened += bytes.len();
        if let Some(n_more) = self.n_opened.checked_sub(self.opens.len()) {
            self.place = Place::Thoughts;
            self.is_form_possible = false;
            self.push(&bytes[bytes.len() - n_more..]);
        }
    }

    /// Within thoughts: makes the logits of tokens −∞ that end the generation or close the thoughts with text behind.
    pub(super) fn mask(&self, tokenizer: &Tokenizer, logits: &mut [f32]) {
        let mut forbid = |token: TokenId| {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        };
        if !self.may_end {
            let ends = tokenizer.ends_of_generation().iter().copied();
            ends.for_each(&mut forbid);
        }
        let [close] = self.closes.as_slice() else {
            return;
        };
        self.closing.iter().copied().for_each(&mut forbid);
        let rests: Vec<&[u8]> = (1..close.len())
            .filter(|&n| self.tail.ends_with(&close[..n]))
            .map(|n| &close[n..])
            .collect();
        if rests.is_empty() {
            return;
        }
        for token in 0..tokenizer.vocab_size() as TokenId {
            let bytes = tokenizer.token_bytes(token);
            let behind = rests.iter().filter_map(|rest| bytes.strip_prefix(*rest));
            if behind.into_iter().any(|text| !is_white(text)) {
                forbid(token);
            }
        }
    }

    /// Takes a token of thoughts.
    pub(super) fn accept(&mut self, tokenizer: &Tokenizer, token: TokenId) {
        self.push(&tokenizer.token_bytes(token));
    }

    /// Takes the thoughts to be at their end: what has come is the form.
    pub(super) fn end(&mut self) {
        self.place = Place::Form;
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.closes.is_empty() {
            return; // nothing closes them
        }
        self.tail.extend_from_slice(bytes);
        while let Some(close) = self.closes.first() {
            match end_of(&self.tail, close) {
                Some(end) => {
                    self.tail.drain(..end);
                    self.closes.remove(0);
                }
                None => {
                    let n_gone = (self.tail.len() + 1).saturating_sub(close.len());
                    self.tail.drain(..n_gone);
                    return;
                }
            }
        }
        // what is left is white space
        self.tail.clear();
        self.place = Place::Form;
    }
}

/// Where the first `text` in `bytes` ends.
fn end_of(bytes: &[u8], text: &[u8]) -> Option<usize> {
    let mut windows = bytes.windows(text.len());
    windows
        .position(|window| window == text)
        .map(|at| at + text.len())
}

fn is_white(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_whitespace)
}
