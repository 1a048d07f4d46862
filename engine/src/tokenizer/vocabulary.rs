//! A vocabulary as the file spells it: plain arrays, checked against each other, before any tokenizer is built.
//!
//! Everything later code relies on is settled here: the arrays have one length, special ids lie inside the vocabulary or
//! are absent, and every token has a type.
use super::{TokenId, TokenizerError};
use slm_gguf::Metadata;

/// `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenType {
    /// Reached by merging.
    Normal,
    /// Stands for what the vocabulary cannot spell.
    Unknown,
    /// Steers the model; hidden from generated text.
    Control,
    /// An added text, matched wherever it appears.
    UserDefined,
    /// A place holder.
    Unused,
    /// One byte, `<0xNN>`.
    Byte,
}

/// Special ids and flags; absent where the file says nothing or something impossible.
#[derive(Clone, Debug, Default)]
pub(super) struct SpecialRules {
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) unknown: Option<TokenId>,
    /// What begins and what ends a text, where a vocabulary of word pieces calls them so.
    pub(super) class: Option<TokenId>,
    pub(super) separator: Option<TokenId>,
    /// Ids of keys whose tokens end a generation, EOS aside.
    pub(super) end_keys: Vec<TokenId>,
    pub(super) suppressed: Vec<TokenId>,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
    pub(super) add_space_prefix: Option<bool>,
    /// How text is cleaned for word pieces.
    pub(super) lowercase: Option<bool>,
    pub(super) strip_accents: Option<bool>,
}

/// The arrays and keys under `tokenizer.ggml.`.
#[derive(Clone, Debug, Default)]
pub(super) struct Vocabulary<'a> {
    /// `tokenizer.ggml.model`.
    pub(super) model: &'a str,
    /// `tokenizer.ggml.pre`.
    pub(super) pre: Option<&'a str>,
    /// `general.architecture`, for the one family whose special tokens swallow white space.
    pub(super) architecture: Option<&'a str>,
    pub(super) tokens: Vec<&'a [u8]>,
    /// As long as `tokens`.
    pub(super) types: Vec<TokenType>,
    /// As long as `tokens`, or empty when the file has none.
    pub(super) scores: Vec<f32>,
    pub(super) merges: Vec<&'a [u8]>,
    pub(super) rules: SpecialRules,
}

/// Keys besides EOS whose tokens end a generation.
const END_KEYS: [&str; 5] = [
    "eot_token_id",
    "eom_token_id",
    "fim_pad_token_id",
    "fim_rep_token_id",
    "fim_sep_token_id",
];

/// Texts of control tokens that end a generation in some model family.
const END_TEXTS: [&str; 22] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
    "<|eom_id|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
];

impl<'a> Vocabulary<'a> {
    /// Reads and checks the arrays, of which those of tokens end with the `most`th.
    ///
    /// # Errors
    /// A required key is missing or of another type, or arrays disagree.
    pub(super) fn from_metadata(
        metadata: &Metadata<'a>,
        most: usize,
    ) -> Result<Self, TokenizerError> {
        let model = metadata.string("tokenizer.ggml.model")?;
        let mut tokens = match strings(metadata, "tokens")? {
            Some(tokens) if !tokens.is_empty() => tokens,
            Some(_) => return Err(problem("it has no tokens")),
            None => {
                return Err(slm_gguf::Error::MissingKey {
                    key: "tokenizer.ggml.tokens".to_owned(),
                }
                .into());
            }
        };
        tokens.truncate(most);
        let mut scores = numbers(metadata, "scores")?;
        scores.truncate(most);
        let mut vocabulary = Self {
            model,
            pre: metadata.opt_string("tokenizer.ggml.pre")?,
            architecture: metadata.opt_string("general.architecture")?,
            merges: strings(metadata, "merges")?.unwrap_or_default(),
            scores,
            types: Vec::new(),
            rules: SpecialRules {
                bos: token_id(metadata, "bos_token_id"),
                eos: token_id(metadata, "eos_token_id"),
                unknown: token_id(metadata, "unknown_token_id"),
                class: token_id(metadata, "cls_token_id"),
                // spelled like this in the convention
                separator: token_id(metadata, "seperator_token_id"),
                end_keys: END_KEYS
                    .iter()
                    .filter_map(|key| token_id(metadata, key))
                    .collect(),
                suppressed: integers(metadata, "suppress_tokens")?
                    .into_iter()
                    .filter_map(|id| TokenId::try_from(id).ok())
                    .collect(),
                add_bos: metadata.opt_bool("tokenizer.ggml.add_bos_token")?,
                add_eos: metadata.opt_bool("tokenizer.ggml.add_eos_token")?,
                add_space_prefix: metadata.opt_bool("tokenizer.ggml.add_space_prefix")?,
                lowercase: metadata.opt_bool("tokenizer.ggml.normalizer.lowercase")?,
                strip_accents: metadata.opt_bool("tokenizer.ggml.normalizer.strip_accents")?,
            },
            tokens,
        };
        let mut types = integers(metadata, "token_type")?;
        types.truncate(most);
        vocabulary.settle(&types)?;
        Ok(vocabulary)
    }

    /// Checks lengths, decides types and disables ids outside the vocabulary. `types` may be empty.
    pub(super) fn settle(&mut self, types: &[i64]) -> Result<(), TokenizerError> {
        let n_tokens = self.tokens.len();
        if n_tokens > i32::MAX as usize {
            return Err(problem("it has more tokens than an id can count"));
        }
        for (what, len) in [("types", types.len()), ("scores", self.scores.len())] {
            if len != 0 && len != n_tokens {
                return Err(TokenizerError::Vocabulary {
                    problem: format!("it has {n_tokens} tokens but {len} {what}"),
                });
            }
        }
        let rules = &mut self.rules;
        for id in [
            &mut rules.bos,
            &mut rules.eos,
            &mut rules.unknown,
            &mut rules.class,
            &mut rules.separator,
        ] {
            *id = id.filter(|&id| (id as usize) < n_tokens);
        }
        rules.end_keys.retain(|&id| (id as usize) < n_tokens);
        rules.suppressed.retain(|&id| (id as usize) < n_tokens);
        self.types = if types.is_empty() {
            self.guessed_types()
        } else {
            self.tokens
                .iter()
                .zip(types)
                .map(|(text, &code)| match code {
                    2 => TokenType::Unknown,
                    3 if is_place_holder(text) => TokenType::Unused,
                    3 => TokenType::Control,
                    4 => TokenType::UserDefined,
                    5 => TokenType::Unused,
                    6 => TokenType::Byte,
                    _ => TokenType::Normal,
                })
                .collect()
        };
        if self.model == "gemma4" {
            // whatever the file says: the models write nonsense without it
            self.rules.add_bos = Some(true);
        }
        if self.model == "bert" {
            // the words of BERT for what begins and ends a text, which these vocabularies always want
            let named = |text: &[u8]| self.tokens.iter().position(|token| *token == text);
            let named = |text: &[u8]| named(text).map(|id| id as TokenId);
            let rules = &mut self.rules;
            rules.bos = rules.bos.or(rules.class).or_else(|| named(b"[CLS]"));
            rules.eos = rules.separator.or(rules.eos).or_else(|| named(b"[SEP]"));
            rules.unknown = rules.unknown.or_else(|| named(b"[UNK]"));
            rules.add_bos = Some(true);
            rules.add_eos = Some(true);
        }
        if self.model == "llama" {
            // SentencePiece's own numbering, where the file leaves it out
            let control = |id: TokenId| {
                (self.types.get(id as usize) == Some(&TokenType::Control)).then_some(id)
            };
            let rules = &mut self.rules;
            rules.bos = rules.bos.or_else(|| control(1));
            rules.eos = rules.eos.or_else(|| control(2));
            rules.unknown = rules
                .unknown
                .or_else(|| (self.types.first() == Some(&TokenType::Unknown)).then_some(0));
        }
        Ok(())
    }

    /// Types for a file without them: named special ids are control tokens, `<0xNN>` are bytes.
    fn guessed_types(&self) -> Vec<TokenType> {
        let sentence_piece = self.model == "llama";
        let has_bytes = sentence_piece || self.model == "gemma4";
        let mut types: Vec<_> = self
            .tokens
            .iter()
            .map(|text| match byte_token(text) {
                Some(_) if has_bytes => TokenType::Byte,
                _ => TokenType::Normal,
            })
            .collect();
        let defaults: &[(TokenId, TokenType)] = if sentence_piece {
            &[
                (0, TokenType::Unknown),
                (1, TokenType::Control),
                (2, TokenType::Control),
            ]
        } else {
            &[]
        };
        let rules = &self.rules;
        let named = [rules.bos, rules.eos].into_iter().flatten();
        let named = named.chain(rules.end_keys.iter().copied());
        let named = named.map(|id| (id, TokenType::Control));
        let unknown = rules.unknown.map(|id| (id, TokenType::Unknown));
        for (id, token_type) in defaults.iter().copied().chain(named).chain(unknown) {
            if let Some(entry) = types.get_mut(id as usize) {
                *entry = token_type;
            }
        }
        types
    }

    /// The tokens that end a generation: those of the keys, and control tokens with a known text. A token of another
    /// type that merely reads like one (`</s>` is an HTML tag in Gemma's vocabulary) does not count.
    pub(super) fn end_of_generation(&self) -> Vec<TokenId> {
        let mut by_text = Vec::new();
        for (id, (text, token_type)) in (0..).zip(self.tokens.iter().zip(&self.types)) {
            let known = || END_TEXTS.iter().find(|known| known.as_bytes() == *text);
            if *token_type == TokenType::Control
                && let Some(&text) = known()
            {
                by_text.push((id, text));
            }
        }
        let has = |wanted: &str| by_text.iter().any(|(_, text)| *text == wanted);
        // `<|end|>` ends a message, not the answer, where there is a token for the latter; so does `</s>` beside tools
        let end_goes_on = has("<|return|>") && has("<|call|>");
        let s_goes_on = has("<|tool_response>");
        let mut ids: Vec<TokenId> = by_text
            .iter()
            .filter(|(_, text)| !(*text == "<|end|>" && end_goes_on))
            .filter(|(_, text)| !(*text == "</s>" && s_goes_on))
            .map(|(id, _)| *id)
            .chain(self.rules.eos)
            .chain(self.rules.end_keys.iter().copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// The byte that `<0xNN>` stands for.
pub(super) fn byte_token(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let &[high, low] = digits else { return None };
    let digit = |c: u8| char::from(c).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Vocabularies are padded with control tokens such as `<unused12>`, which no model ever saw.
fn is_place_holder(text: &[u8]) -> bool {
    text.windows(6).any(|window| window == b"unused")
}

fn problem(text: &str) -> TokenizerError {
    TokenizerError::Vocabulary {
        problem: text.to_owned(),
    }
}

fn strings<'a>(
    metadata: &Metadata<'a>,
    name: &str,
) -> Result<Option<Vec<&'a [u8]>>, TokenizerError> {
    array(metadata, name, "an array of strings", |array| {
        Some(array.strings()?.collect())
    })
}

fn numbers(metadata: &Metadata<'_>, name: &str) -> Result<Vec<f32>, TokenizerError> {
    Ok(array(metadata, name, "an array of numbers", |array| {
        array.floats()
    })?
    .unwrap_or_default())
}

fn integers(metadata: &Metadata<'_>, name: &str) -> Result<Vec<i64>, TokenizerError> {
    let read = |array: slm_gguf::Array<'_>| array.integers();
    Ok(array(metadata, name, "an array of integers", read)?.unwrap_or_default())
}

/// The array under `tokenizer.ggml.{name}`, if there is one.
fn array<'a, T>(
    metadata: &Metadata<'a>,
    name: &str,
    expected: &'static str,
    read: impl Fn(slm_gguf::Array<'a>) -> Option<T>,
) -> Result<Option<T>, TokenizerError> {
    let key = format!("tokenizer.ggml.{name}");
    let Some(array) = metadata.opt_array(&key)? else {
        return Ok(None);
    };
    match read(array) {
        Some(read) => Ok(Some(read)),
        None => Err(slm_gguf::Error::WrongType {
            key,
            expected,
            found: format!("an array of {:?}", array.element_type()),
        }
        .into()),
    }
}

/// The id under `tokenizer.ggml.{name}`; files write -1 or 0xffffffff for none, so what cannot be an id is none.
fn token_id(metadata: &Metadata<'_>, name: &str) -> Option<TokenId> {
    let value = metadata.get(&format!("tokenizer.ggml.{name}"))?;
    value.as_integer()?.try_into().ok()
}
