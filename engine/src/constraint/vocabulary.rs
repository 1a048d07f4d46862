//! What all constraints of a model share: its vocabulary as a tree of bytes, and tables for text between quotes.

use super::{ConstraintError, sentence};
use crate::{TokenId, Tokenizer};
use llguidance::{
    Matcher, ParserFactory,
    api::{ParserLimits, TopLevelGrammar},
    earley::SlicedBiasComputer,
    toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie},
};
use std::sync::Arc;

/// Longest token in the tree; longer ones never appear in constrained text.
const MAX_TOKEN_BYTES: usize = 1000;
/// Bytes of all tokens: the tree's nodes are numbered with 22 bits.
const MAX_TREE_BYTES: usize = (1 << 22) - 2;
/// Stands for no token.
const NO_TOKEN: TokenId = TokenId::MAX;

/// See the module. Building one takes some tenths of a second and some dozen megabytes for 150 thousand tokens.
pub(crate) struct Guide(ParserFactory);

impl Guide {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Self, ConstraintError> {
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(tree(tokenizer)?));
        let capabilities = InferenceCapabilities::default();
        let slices = SlicedBiasComputer::json_slices();
        let factory = ParserFactory::new(&environment, capabilities, &slices);
        let mut factory = factory.map_err(|e| ConstraintError::Vocabulary(sentence(e)))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            // 1 to 2 kB each, for every answer
            max_lexer_states: 30_000,
            // megabytes and tens of milliseconds
            max_grammar_size: 200_000,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self(factory))
    }

    /// An answer's place in `grammar`, at its beginning.
    pub(super) fn matcher(&self, grammar: TopLevelGrammar) -> Result<Matcher, ConstraintError> {
        let parser = self.0.create_parser(grammar);
        let parser = parser.map_err(|e| ConstraintError::Grammar(sentence(e)))?;
        let mut matcher = Matcher::new(Ok(parser));
        // what is empty, or cannot begin, shows here and not in an answer
        match matcher.compute_mask() {
            Ok(_) => Ok(matcher),
            Err(error) => Err(ConstraintError::Grammar(sentence(error))),
        }
    }
}

/// The tokens' bytes as a tree. Control tokens, and those that end a generation, lie where no text leads.
pub(super) fn tree(tokenizer: &Tokenizer) -> Result<TokTrie, ConstraintError> {
    let n_tokens = tokenizer.vocab_size() as TokenId;
    let words: Vec<Vec<u8>> = (0..n_tokens)
        .map(|token| tree_bytes(tokenizer, token))
        .collect();
    let n_bytes: usize = words.iter().map(Vec::len).sum();
    if n_bytes > MAX_TREE_BYTES {
        return Err(ConstraintError::Vocabulary(format!(
            "its tokens have {n_bytes} bytes, and at most {MAX_TREE_BYTES} can be searched"
        )));
    }
    let ends: Vec<TokenId> = (0..n_tokens)
        .filter(|&token| tokenizer.is_end_of_generation(token))
        .collect();
    let first = ends.first().copied().unwrap_or(NO_TOKEN);
    let tree = TokTrie::from(&TokRxInfo::new(n_tokens, first), &words);
    Ok(match ends.is_empty() {
        true => tree,
        false => tree.with_eos_tokens(&ends),
    })
}

/// What a token adds to constrained text; empty where it never may.
fn tree_bytes(tokenizer: &Tokenizer, token: TokenId) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(token);
    if bytes.is_empty() || bytes.len() > MAX_TOKEN_BYTES {
        return Vec::new();
    }
    if tokenizer.is_control(token) || tokenizer.is_end_of_generation(token) {
        let mark = [TokTrie::SPECIAL_TOKEN_MARKER];
        return [&mark, &*bytes].concat();
    }
    bytes.into_owned()
}
