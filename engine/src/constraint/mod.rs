//! Answers that must have a form: a grammar says which tokens may come next, and the others are never chosen.
//!
//! [`Grammar`] is what is asked for, [`Constraint`] that grammar compiled for one model's vocabulary, with how far an
//! answer has got in it. What may stand ahead of the form ([`Thoughts`]) is `prelude`'s, a form that shows itself only
//! after some text ([`FromStart`]) is `undecided`'s, what every request of a model shares is `vocabulary`'s, and what is
//! refused because of its size is `bounds`'. Grammars of llama.cpp are read by `gbnf`. The grammars' own arithmetic is
//! llguidance's.
//!
//! A constraint moves with tokens that were chosen and never with guesses, so an answer is the same with and without
//! them. Whatever a grammar holds, compiling it and each step are bounded; one that asks for more fails with a sentence.

mod bounds;
mod gbnf;
mod prelude;
mod undecided;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use prelude::Thoughts;
pub use undecided::FromStart;
pub(crate) use vocabulary::Guide;

use crate::{Special, TokenId, Tokenizer};
use llguidance::{Matcher, api::TopLevelGrammar};
use prelude::{Place, Prelude};
use serde_json::{Value, json};
use std::fmt;
use undecided::{Turn, Undecided};

/// White space between the parts of JSON, at most so much in one place: a model that has lost the thread must not fill
/// its answer with line breaks. A space, or one or two new lines, as in llama.cpp, each with an indent of up to sixteen
/// levels of four, where llama.cpp has twenty spaces.
const JSON_SPACE: &str = r"\x20|(\x0D?\x0A){1,2}[\x20\x09]{0,64}";

/// The form of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// Any JSON object.
    Json,
    /// JSON that a schema describes: an object, `true` or `false`.
    JsonSchema(Value),
    /// Text that a regular expression matches as a whole, in the syntax of Rust's `regex`.
    Regex(String),
    /// Text of a context-free grammar in llguidance's dialect of Lark.
    Lark(String),
    /// Text of a grammar in GBNF, llama.cpp's dialect, whose rule `root` is the whole.
    Gbnf(String),
}

/// Why a grammar cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// It is longer, or deeper, than what is taken.
    #[error("the {what} is too large: at most {most} {unit} are taken; make it smaller")]
    TooLarge {
        /// `schema`, `grammar`, …
        what: &'static str,
        /// Bytes, levels, …
        unit: &'static str,
        /// The bound.
        most: usize,
    },
    /// It has a mistake, or asks for something that cannot be enforced.
    #[error("{0}")]
    Grammar(String),
    /// The model's vocabulary cannot spell constrained text.
    #[error("answers of this model cannot be constrained: {0}")]
    Vocabulary(String),
}

impl Grammar {
    /// A grammar's text, in the dialect that it shows itself to be: GBNF if a line begins with a name and `::=`, else Lark.
    pub fn of_text(text: String) -> Self {
        match gbnf::is_gbnf(&text) {
            true => Self::Gbnf(text),
            false => Self::Lark(text),
        }
    }

    /// As the compiler takes it.
    fn compiled_from(&self, tokenizer: &Tokenizer) -> Result<TopLevelGrammar, ConstraintError> {
        bounds::check(self)?;
        let schema = match self {
            Self::Json => json!({"type": "object"}),
            Self::JsonSchema(schema) => schema.clone(),
            Self::Regex(regex) => return Ok(TopLevelGrammar::from_regex(regex)),
            Self::Lark(text) => return Ok(TopLevelGrammar::from_lark(text.clone())),
            Self::Gbnf(text) => {
                let token = |text: &str| match tokenizer.encode(text, Special::Recognise)[..] {
                    [token] => Some(token),
                    _ => None,
                };
                let lark = gbnf::to_lark(text, &token).map_err(ConstraintError::Grammar)?;
                return Ok(TopLevelGrammar::from_lark(lark));
            }
        };
        Ok(TopLevelGrammar::from_json_schema(with_settings(
            schema, JSON_SPACE,
        )?))
    }

    /// JSON that `schema` describes, as a part of a rule of [`Grammar::Lark`]; in one line with single spaces at most, or
    /// over several `lines`.
    ///
    /// # Errors
    /// What is no schema, or too large.
    pub fn lark_of_schema(schema: &Value, lines: bool) -> Result<String, ConstraintError> {
        bounds::check_schema(schema)?;
        let space = if lines { JSON_SPACE } else { r"[\x20]" };
        Ok(format!("%json {}", with_settings(schema.clone(), space)?))
    }

    /// The white space that may stand between the parts of JSON over several lines, as a part of a rule of
    /// [`Grammar::Lark`].
    pub fn lark_of_space() -> String {
        format!("/{JSON_SPACE}/")
    }
}

/// How the compiler is set is not for the schema to say.
fn with_settings(schema: Value, space: &str) -> Result<Value, ConstraintError> {
    let mut schema = match schema {
        Value::Bool(anything) => json!({"anyOf": [anything]}),
        schema => schema,
    };
    let Some(fields) = schema.as_object_mut() else {
        return Err(ConstraintError::Grammar(
            "a JSON schema is an object, `true` or `false`".to_owned(),
        ));
    };
    let settings = json!({"whitespace_pattern": space});
    fields.insert("x-guidance".to_owned(), settings);
    Ok(schema)
}

/// A grammar compiled for one model, and how far an answer has got in it; made by [`crate::Engine::constrain`].
pub struct Constraint {
    matcher: Box<Matcher>,
    prelude: Prelude,
    /// Another form, while the answer may still turn out to have it.
    undecided: Option<Undecided>,
    /// Whether nothing more may follow.
    is_complete: bool,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint")
            .field("prelude", &self.prelude)
            .field("is_complete", &self.is_complete)
            .finish_non_exhaustive()
    }
}

impl Clone for Constraint {
    /// The copy shares nothing with the original: what one spends of the bounds is not missing to the other.
    fn clone(&self) -> Self {
        Self {
            matcher: Box::new(self.matcher.deep_clone()),
            prelude: self.prelude.clone(),
            undecided: self.undecided.clone(),
            is_complete: self.is_complete,
        }
    }
}

impl Constraint {
    /// Compiles `grammar` for the vocabulary of `guide`. What is constrained begins behind `thoughts`.
    pub(crate) fn new(
        guide: &Guide,
        grammar: &Grammar,
        thoughts: Option<Thoughts>,
        tokenizer: &Tokenizer,
    ) -> Result<Self, ConstraintError> {
        let mut thoughts = thoughts;
        let from_start = thoughts.as_mut().and_then(|t| t.from_start.take());
        let undecided = from_start.map(|form| {
            let matcher = guide.matcher(form.grammar.compiled_from(tokenizer)?)?;
            Ok(Undecided::new(matcher, form.decided_by))
        });
        let matcher = guide.matcher(grammar.compiled_from(tokenizer)?)?;
        Ok(Self {
            matcher: Box::new(matcher),
            prelude: Prelude::new(thoughts, tokenizer),
            undecided: undecided.transpose()?,
            is_complete: false,
        })
    }

    /// Whether the form begins with the answer's first token.
    pub(crate) fn begins_at_once(&self) -> bool {
        matches!(self.prelude.place(), Place::Form)
    }

    /// Whether the answer may end without a form.
    pub(crate) fn is_optional(&self) -> bool {
        self.prelude.may_end()
    }

    /// Whether nothing more may follow: the answer has ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Makes the logits of tokens that may not come next −∞.
    ///
    /// # Errors
    /// The grammar needs more than the bounds allow, or leaves nothing to choose; one sentence.
    pub(crate) fn mask(&mut self, tokenizer: &Tokenizer, logits: &mut [f32]) -> Result<(), String> {
        // a model may have more rows than its vocabulary has tokens
        let n_tokens = logits.len().min(tokenizer.vocab_size());
        let (logits, padding) = logits.split_at_mut(n_tokens);
        padding.fill(f32::NEG_INFINITY);
        match self.prelude.place() {
            Place::Thoughts => {
                self.prelude.mask(tokenizer, logits);
                if let Some(undecided) = &mut self.undecided {
                    undecided.mask(tokenizer, logits)?;
                }
            }
            Place::Form => self.mask_form(tokenizer, logits, |_| false)?,
            Place::Either => {
                let prelude = self.prelude.clone();
                let opens = |token| prelude.may_open(tokenizer, token);
                if self.prelude.is_form_possible() {
                    self.mask_form(tokenizer, logits, opens)?;
                } else {
                    for (token, logit) in (0..).zip(logits.iter_mut()) {
                        if !opens(token) {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
        match logits.iter().any(|logit| logit.is_finite()) {
            true => Ok(()),
            false => Err(
                "the grammar allows nothing here that the model can write; make it less strict"
                    .to_owned(),
            ),
        }
    }

    /// The same for text of the grammar; tokens for which `also` says yes stay in any case.
    fn mask_form(
        &mut self,
        tokenizer: &Tokenizer,
        logits: &mut [f32],
        also: impl Fn(TokenId) -> bool,
    ) -> Result<(), String> {
        let mask = self.matcher.compute_mask().map_err(sentence)?;
        let words = mask.as_slice();
        const BITS: usize = u32::BITS as usize;
        for (i, logits) in logits.chunks_mut(BITS).enumerate() {
            let word = words.get(i).copied().unwrap_or(0);
            if word == u32::MAX {
                continue;
            }
            for (bit, logit) in logits.iter_mut().enumerate() {
                let token = (i * BITS + bit) as TokenId;
                if word >> bit & 1 == 0 && !also(token) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        debug_assert!(
            words.len() * BITS >= tokenizer.vocab_size(),
            "the mask has a bit for each token"
        );
        Ok(())
    }

    /// Moves on by a token that was chosen, other than one that ends a generation.
    ///
    /// # Errors
    /// As [`Constraint::mask`].
    pub(crate) fn accept(&mut self, tokenizer: &Tokenizer, token: TokenId) -> Result<(), String> {
        match self.prelude.place() {
            Place::Thoughts => {
                self.prelude.accept(tokenizer, token);
                self.decide(tokenizer, token)?;
            }
            Place::Form => self.accept_form(token)?,
            Place::Either => {
                let opens = self.prelude.may_open(tokenizer, token);
                let is_form = self.prelude.is_form_possible()
                    && self.matcher.validate_tokens(&[token]).map_err(sentence)? == 1;
                if is_form {
                    self.accept_form(token)?;
                }
                self.prelude.accept_either(tokenizer, token, opens, is_form);
                if self.prelude.place() == Place::Thoughts {
                    self.is_complete = false;
                    self.matcher.reset().map_err(sentence)?;
                }
            }
        }
        Ok(())
    }

    /// Sees whether the answer has turned out to have its other form, or not to have it.
    fn decide(&mut self, tokenizer: &Tokenizer, token: TokenId) -> Result<(), String> {
        let Some(undecided) = &mut self.undecided else {
            return Ok(());
        };
        let turn = undecided.accept(tokenizer, token)?;
        if turn == Turn::Undecided {
            return Ok(());
        }
        if let Some(form) = self.undecided.take().filter(|_| turn == Turn::Form) {
            self.matcher = form.into_matcher();
            self.prelude.end();
            self.is_complete = self.matcher.is_stopped();
        }
        Ok(())
    }

    fn accept_form(&mut self, token: TokenId) -> Result<(), String> {
        self.matcher.consume_token(token).map_err(sentence)?;
        self.is_complete = self.matcher.is_stopped();
        match self.matcher.get_error() {
            Some(error) => Err(sentence(error)),
            None => Ok(()),
        }
    }
}

/// Most characters of a message of the grammar's compiler.
const MAX_MESSAGE: usize = 400;

/// The first part of a message, on one line.
fn sentence(error: impl fmt::Display) -> String {
    let text = error.to_string();
    let text = text.split("<backtrace>").next().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line = words.join(" ");
    if let Some((end, _)) = line.char_indices().nth(MAX_MESSAGE) {
        line.truncate(end);
        line.push('…');
    }
    line
}
