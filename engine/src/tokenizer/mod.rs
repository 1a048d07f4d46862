//! Text to token ids and back, read from a GGUF's `tokenizer.*` keys.

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
    #[error("tokenizer model `{found}` is not supported")]
    UnknownModel {
        /// What the file says.
        found: String,
    },
    /// A key is missing or wrong.
    #[error(transparent)]
    Gguf(#[from] slm_gguf::Error),
}

/// A model's tokenizer. Immutable, cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Tokenizer {}

impl Tokenizer {
    /// Builds it from the metadata of a GGUF file.
    ///
    /// # Errors
    /// A missing key, a vocabulary whose arrays disagree, an unknown model or pre-tokeniser.
    pub fn from_metadata(_metadata: &slm_gguf::Metadata<'_>) -> Result<Self, TokenizerError> {
        todo!()
    }
    /// Token ids of `text`; adds neither BOS nor EOS.
    pub fn encode(&self, _text: &str, _special: Special) -> Vec<TokenId> {
        todo!()
    }
    /// Token ids of a rendered prompt: specials recognised, BOS and EOS added where the model asks for them (a BOS that
    /// the template already wrote is not doubled).
    pub fn encode_prompt(&self, _text: &str) -> Vec<TokenId> {
        todo!()
    }
    /// Text of `tokens`; invalid UTF-8 becomes U+FFFD. `special`: show control tokens or hide them.
    pub fn decode(&self, _tokens: &[TokenId], _special: Special) -> String {
        todo!()
    }
    /// The bytes that a token stands for (control tokens: their literal text).
    pub fn token_bytes(&self, _token: TokenId) -> std::borrow::Cow<'_, [u8]> {
        todo!()
    }
    /// Whether `token` is a control token, hidden from generated text.
    pub fn is_control(&self, _token: TokenId) -> bool {
        todo!()
    }
    /// Whether `token` ends a generation (EOS, EOT and their kin).
    pub fn is_end_of_generation(&self, _token: TokenId) -> bool {
        todo!()
    }
    /// The beginning-of-sequence token, when the vocabulary has one (whether or not it is added).
    pub fn bos(&self) -> Option<TokenId> {
        todo!()
    }
    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<TokenId> {
        todo!()
    }
    /// The literal text of `token` as the vocabulary spells it, for templates (`bos_token`, `eos_token`).
    pub fn token_text(&self, _token: TokenId) -> String {
        todo!()
    }
    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        todo!()
    }
}
