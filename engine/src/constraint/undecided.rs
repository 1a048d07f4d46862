//! Answers that may turn out to have a form from their first character on: calls that a model writes without a mark.
//!
//! What has come is followed in the form's grammar while it goes on there, and nothing is forbidden meanwhile, except to
//! leave the form with the very token that decides for it.

use super::{Grammar, sentence};
use crate::{TokenId, Tokenizer};
use llguidance::Matcher;

/// A form that an answer need not have, but must keep to once it has begun so.
#[derive(Clone, Debug, PartialEq)]
pub struct FromStart {
    /// What the whole answer is then.
    pub grammar: Grammar,
    /// Text of the form in which one of these has come is no other text any more.
    pub decided_by: Vec<String>,
}

/// What an answer has turned out to be with one more token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Undecided,
    Form,
    Other,
}

/// How far an answer has got in a form that it need not have.
pub(super) struct Undecided {
    matcher: Box<Matcher>,
    decided_by: Vec<Vec<u8>>,
    /// The end of what has come: less than the longest of `decided_by`.
    tail: Vec<u8>,
}

impl Clone for Undecided {
    fn clone(&self) -> Self {
        Self {
            matcher: Box::new(self.matcher.deep_clone()),
            decided_by: self.decided_by.clone(),
            tail: self.tail.clone(),
        }
    }
}

impl Undecided {
    pub(super) fn new(matcher: Matcher, decided_by: Vec<String>) -> Self {
        let decided_by = decided_by.into_iter().map(String::into_bytes);
        Self {
            matcher: Box::new(matcher),
            decided_by: decided_by.filter(|text| !text.is_empty()).collect(),
            tail: Vec::new(),
        }
    }

    /// The form's grammar, as far as it has come.
    pub(super) fn into_matcher(self) -> Box<Matcher> {
        self.matcher
    }

    /// Makes logits −∞ of tokens that would decide for the form and are not of it.
    ///
    /// # Errors
    /// The grammar needs more than the bounds allow; one sentence.
    pub(super) fn mask(&mut self, tokenizer: &Tokenizer, logits: &mut [f32]) -> Result<(), String> {
        let rests: Vec<&[u8]> = self
            .decided_by
            .iter()
            .flat_map(|text| (1..text.len()).map(move |n| text.split_at(n)))
            .filter(|(come, _)| self.tail.ends_with(come))
            .map(|(_, rest)| rest)
            .collect();
        if rests.is_empty() {
            return Ok(());
        }
        let mask = self.matcher.compute_mask().map_err(sentence)?;
        for (token, logit) in (0..).zip(logits.iter_mut()) {
            if mask.is_allowed(token) {
                continue;
            }
            let bytes = tokenizer.token_bytes(token);
            if rests.iter().any(|rest| bytes.starts_with(rest)) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes a token.
    ///
    /// # Errors
    /// As [`Undecided::mask`].
    pub(super) fn accept(&mut self, tokenizer: &Tokenizer, token: TokenId) -> Result<Turn, String> {
        if self.matcher.validate_tokens(&[token]).map_err(sentence)? == 0 {
            return Ok(Turn::Other);
        }
        self.matcher.consume_token(token).map_err(sentence)?;
        self.tail.extend_from_slice(&tokenizer.token_bytes(token));
        let comes = |text: &Vec<u8>| self.tail.windows(text.len()).any(|part| part == text);
        if self.decided_by.iter().any(comes) {
            return Ok(Turn::Form);
        }
        let longest = self.decided_by.iter().map(Vec::len).max().unwrap_or(0);
        let n_gone = (self.tail.len() + 1).saturating_sub(longest);
        self.tail.drain(..n_gone.min(self.tail.len()));
        Ok(Turn::Undecided)
    }
}
