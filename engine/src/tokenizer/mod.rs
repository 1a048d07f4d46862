//! Text to token ids and back, read from a GGUF's `tokenizer.*` keys.
//!
//! [`Tokenizer`] is the face; what a file says is settled in `vocabulary`, special tokens are cut out by `special`, and
//! ordinary text goes to one of the kinds, one file each: `byte_level_bpe` (words from `pre_tokenizer`),
//! `character_bpe`, `sentence_piece` and `word_piece`. A new kind is a file, a variant of `Kind` and its lines in
//! `Tokenizer::from_vocabulary`.
//!
//! Building and encoding are linear (times a logarithm) in their input; whatever the file holds is an error or works.

mod byte_alphabet;
mod byte_level_bpe;
mod character_bpe;
mod joins;
mod merge;
mod pieces;
mod pre_tokenizer;
mod sentence_piece;
mod special;
mod vocabulary;
mod word_cache;
mod word_piece;

#[cfg(test)]
mod tests;

use byte_level_bpe::ByteLevelBpe;
use character_bpe::CharacterBpe;
use pieces::Pieces;
use sentence_piece::SentencePiece;
use special::{Fragment, SpecialTokens};
use std::borrow::Cow;
use vocabulary::{TokenType, Vocabulary};
use word_cache::WordCache;
use word_piece::WordPiece;

/// Index into a model's vocabulary.
pub type TokenId = u32;

/// Whether text such as `<|im_end|>` becomes the special token or ordinary text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Control tokens in the text are recognised (rendered templates).
    Recognise,
    /// They are plain text (what a user typed). User-defined tokens still match, as in the reference.
    Ignore,
}

/// Why a vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// `tokenizer.ggml.model` has no implementation.
    #[error(
        "tokenizer model `{}` is not supported; supported are: gpt2, llama, gemma4, bert",
        slm_gguf::shown(found)
    )]
    UnknownModel {
        /// What the file says.
        found: String,
    },
    /// `tokenizer.ggml.pre` has no implementation; another one would give the model the wrong tokens.
    #[error(
        "pre-tokeniser `{}` is not supported; supported are: {known}",
        slm_gguf::shown(found)
    )]
    UnknownPreTokenizer {
        /// What the file says.
        found: String,
        /// Comma-separated list.
        known: String,
    },
    /// The arrays contradict each other or themselves.
    #[error("the vocabulary is damaged: {problem}")]
    Vocabulary {
        /// What is wrong.
        problem: String,
    },
    /// A key is missing or wrong.
    #[error(transparent)]
    Gguf(#[from] slm_gguf::Error),
}

/// A model's tokenizer. Immutable, cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
    special: SpecialTokens,
    /// As the vocabulary spells them.
    texts: Pieces,
    /// What they stand for.
    bytes: Pieces,
    types: Vec<TokenType>,
    /// Sorted.
    end_of_generation: Vec<TokenId>,
    suppressed: Vec<TokenId>,
    bos: Option<TokenId>,
    eos: Option<TokenId>,
    add_bos: bool,
    add_eos: bool,
}

/// How ordinary text becomes tokens.
#[derive(Debug)]
enum Kind {
    ByteLevelBpe(ByteLevelBpe),
    CharacterBpe(CharacterBpe),
    SentencePiece(SentencePiece),
    WordPiece(WordPiece),
}

impl Tokenizer {
    /// Builds it from the metadata of a GGUF file.
    ///
    /// # Errors
    /// A missing key, a vocabulary whose arrays disagree, an unknown model or pre-tokeniser.
    pub fn from_metadata(metadata: &slm_gguf::Metadata<'_>) -> Result<Self, TokenizerError> {
        Self::of_first(metadata, usize::MAX)
    }

    /// The same, of the first `n` tokens alone.
    pub(crate) fn of_first(
        metadata: &slm_gguf::Metadata<'_>,
        n: usize,
    ) -> Result<Self, TokenizerError> {
        Self::from_vocabulary(&Vocabulary::from_metadata(metadata, n)?)
    }

    fn from_vocabulary(vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        let decode_into = match vocabulary.model {
            "gpt2" => byte_alphabet::decode_into,
            "llama" | "bert" | "gemma4" => sentence_piece::decode_into,
            other => {
                return Err(TokenizerError::UnknownModel {
                    found: other.to_owned(),
                });
            }
        };
        let n_tokens = vocabulary.tokens.len();
        let n_bytes = vocabulary.tokens.iter().map(|text| text.len()).sum();
        let mut texts = Pieces::with_capacity(n_tokens, n_bytes);
        let mut bytes = Pieces::with_capacity(n_tokens, n_bytes);
        let mut spelled = Vec::with_capacity(n_tokens);
        let mut decoded = Vec::new();
        for (text, token_type) in vocabulary.tokens.iter().zip(&vocabulary.types) {
            texts.push(text);
            spelled.push(match token_type {
                TokenType::Normal => decode_into(text, &mut decoded),
                TokenType::Byte => {
                    decoded.clear();
                    decoded.extend(vocabulary::byte_token(text));
                    false
                }
                _ => {
                    decoded.clear();
                    decoded.extend_from_slice(text);
                    false
                }
            });
            bytes.push(&decoded);
        }
        let kind = match vocabulary.model {
            "gpt2" => Kind::ByteLevelBpe(ByteLevelBpe::new(vocabulary, &bytes, &spelled)?),
            "gemma4" => Kind::CharacterBpe(CharacterBpe::new(vocabulary, &bytes, &spelled)?),
            "bert" => Kind::WordPiece(WordPiece::new(vocabulary, &bytes, &spelled)),
            _ => Kind::SentencePiece(SentencePiece::new(vocabulary, &bytes, &spelled)),
        };
        let add_bos_by_default = match &kind {
            Kind::ByteLevelBpe(bpe) => bpe.pre_tokenizer.add_bos,
            Kind::CharacterBpe(_) | Kind::SentencePiece(_) | Kind::WordPiece(_) => true,
        };
        let typed = (0..).zip(vocabulary.types.iter().zip(&vocabulary.tokens));
        let special = SpecialTokens::new(
            typed.map(|(id, (token_type, text))| (id, *token_type, *text)),
            vocabulary.model == "llama" && vocabulary.architecture == Some("phi3"),
        )?;
        let rules = &vocabulary.rules;
        Ok(Self {
            kind,
            special,
            texts,
            bytes,
            types: vocabulary.types.clone(),
            end_of_generation: vocabulary.end_of_generation(),
            suppressed: rules.suppressed.clone(),
            bos: rules.bos,
            eos: rules.eos,
            add_bos: rules.add_bos.unwrap_or(add_bos_by_default),
            add_eos: rules.add_eos.unwrap_or(false),
        })
    }

    /// Token ids of `text`; adds neither BOS nor EOS.
    pub fn encode(&self, text: &str, special: Special) -> Vec<TokenId> {
        let fragments = self.special.split(text, special);
        match &self.kind {
            Kind::ByteLevelBpe(bpe) => encode_fragments(
                &fragments,
                |text| bpe.normalize(text),
                |text, cache| bpe.encode(text, &self.bytes, cache),
            ),
            Kind::CharacterBpe(bpe) => encode_fragments(
                &fragments,
                |text| bpe.normalize(text),
                |text, cache| bpe.encode(text, &self.bytes, cache),
            ),
            Kind::WordPiece(pieces) => encode_fragments(
                &fragments,
                |text| Cow::Owned(pieces.normalize(text)),
                |text, cache| pieces.encode(text, &self.bytes, cache),
            ),
            Kind::SentencePiece(pieces) => {
                let prepared = pieces.prepare(&fragments);
                let mut cache = WordCache::default();
                pieces.encode(&prepared, &self.bytes, &mut cache);
                cache.into_ids()
            }
        }
    }

    /// Token ids of a rendered prompt: specials recognised, BOS and EOS added where the model asks for them (a BOS that
    /// the template already wrote is not doubled).
    pub fn encode_prompt(&self, text: &str) -> Vec<TokenId> {
        self.frame(self.encode(text, Special::Recognise))
    }

    /// `ids` with BOS and EOS around them where the model asks for them and they are not there already; vocabularies of
    /// word pieces always ask for them.
    pub fn frame(&self, mut ids: Vec<TokenId>) -> Vec<TokenId> {
        let [bos, eos] = self.framing();
        let always = matches!(self.kind, Kind::WordPiece(_));
        if let Some(bos) = bos.filter(|bos| always || ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        if let Some(eos) = eos.filter(|eos| always || ids.last() != Some(eos)) {
            ids.push(eos);
        }
        ids
    }

    /// How many tokens [`Tokenizer::frame`] adds at most.
    pub fn n_frame_tokens(&self) -> usize {
        self.framing().iter().flatten().count()
    }

    /// What every text begins with, where the model asks for it.
    pub fn leading_bos(&self) -> Option<TokenId> {
        self.framing()[0]
    }

    /// What begins and what ends a text, where the model asks for it.
    fn framing(&self) -> [Option<TokenId>; 2] {
        [
            self.bos.filter(|_| self.add_bos),
            self.eos.filter(|_| self.add_eos),
        ]
    }

    /// Text of `tokens`; invalid UTF-8 becomes U+FFFD. `special`: show control tokens or hide them. The space that
    /// encoding put in front of the text is taken away again.
    pub fn decode(&self, tokens: &[TokenId], special: Special) -> String {
        let mut bytes = Vec::with_capacity(tokens.len() * 4);
        for &token in tokens {
            if special == Special::Recognise || !self.is_control(token) {
                bytes.extend_from_slice(self.bytes.get(token));
            }
        }
        let text = match bytes.strip_prefix(b" ") {
            Some(rest) if self.adds_space_prefix() => rest,
            _ => &bytes,
        };
        String::from_utf8_lossy(text).into_owned()
    }

    /// The bytes that a token stands for (control tokens: their literal text); empty for an id that is no token.
    pub fn token_bytes(&self, token: TokenId) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.bytes.get(token))
    }

    /// Whether `token` is a control token, hidden from generated text.
    pub fn is_control(&self, token: TokenId) -> bool {
        matches!(
            self.types.get(token as usize),
            None | Some(TokenType::Control | TokenType::Unknown | TokenType::Unused)
        )
    }

    /// Whether `token` ends a generation (EOS, EOT and their kin).
    pub fn is_end_of_generation(&self, token: TokenId) -> bool {
        self.end_of_generation.binary_search(&token).is_ok()
    }

    /// All tokens that end a generation, sorted.
    pub fn ends_of_generation(&self) -> &[TokenId] {
        &self.end_of_generation
    }

    /// The beginning-of-sequence token, when the vocabulary has one (whether or not it is added).
    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<TokenId> {
        self.eos
    }

    /// Tokens that the model's makers never want generated; usually none.
    pub fn suppressed(&self) -> &[TokenId] {
        &self.suppressed
    }

    /// Whether encoding puts a space in front of text, which decoding takes away.
    pub fn adds_space_prefix(&self) -> bool {
        match &self.kind {
            Kind::ByteLevelBpe(_) | Kind::CharacterBpe(_) => false,
            Kind::WordPiece(_) => true,
            Kind::SentencePiece(pieces) => pieces.add_space_prefix,
        }
    }

    /// The literal text of `token` as the vocabulary spells it, for templates (`bos_token`, `eos_token`).
    pub fn token_text(&self, token: TokenId) -> String {
        String::from_utf8_lossy(self.texts.get(token)).into_owned()
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.types.len()
    }
}

/// Tokens of fragments whose texts are normalised first and then encoded one after another.
fn encode_fragments<'t>(
    fragments: &[Fragment<'t>],
    normalize: impl Fn(&'t str) -> Cow<'t, str>,
    encode: impl for<'n> Fn(&'n str, &mut WordCache<'n>),
) -> Vec<TokenId> {
    let normalized: Vec<_> = fragments
        .iter()
        .map(|fragment| match *fragment {
            Fragment::Text(text) => Ok(normalize(text)),
            Fragment::Token(id) => Err(id),
        })
        .collect();
    let mut cache = WordCache::default();
    for part in &normalized {
        match part {
            Ok(text) => encode(text, &mut cache),
            Err(id) => cache.push(*id),
        }
    }
    cache.into_ids()
}
