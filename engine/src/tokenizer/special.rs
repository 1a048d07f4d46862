//! Special tokens cut out of a text before anything else looks at it.
//!
//! One automaton finds the leftmost, at one place the longest, special text in a single pass. The reference splits by
//! each token in turn, longest first; the two differ only where candidates overlap without containing one another.
use super::vocabulary::TokenType;
use super::{Special, TokenId, TokenizerError};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Most bytes of special texts together; the largest published vocabulary has about 60 kB.
const MAX_SPECIAL_BYTES: usize = 1 << 20;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    /// Ordinary text; never empty.
    Text(&'t str),
    /// A special token.
    Token(TokenId),
}

/// The special tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    /// Control, unknown and user-defined tokens.
    all: Option<Matcher>,
    /// Those that match in ordinary text too.
    user_defined: Option<Matcher>,
    /// Whether a token swallows the white space behind it; indexed by token, empty when none does.
    swallows: Vec<bool>,
}

/// Special tokens that keep the white space behind them in a vocabulary whose others swallow it.
const KEEP_SPACE: [&[u8]; 3] = [b"<s>", b"<unk>", b"<|endoftext|>"];

impl SpecialTokens {
    /// Collects them from `(id, type, text)`. `swallow_space`: white space behind a control token is not text, as in
    /// the Phi-3 family's SentencePiece vocabularies (`rstrip` there; the file has no key for it).
    ///
    /// # Errors
    /// More special text than any real vocabulary has.
    pub(super) fn new<'v>(
        tokens: impl Iterator<Item = (TokenId, TokenType, &'v [u8])> + Clone,
        swallow_space: bool,
    ) -> Result<Self, TokenizerError> {
        let swallows = if swallow_space {
            let control = |(_, token_type, text): (TokenId, TokenType, &[u8])| {
                token_type == TokenType::Control && !KEEP_SPACE.contains(&text)
            };
            tokens.clone().map(control).collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            all: Matcher::new(tokens.clone().filter_map(|(id, token_type, text)| {
                let special = matches!(
                    token_type,
                    TokenType::Control | TokenType::Unknown | TokenType::UserDefined
                );
                special.then_some((id, text))
            }))?,
            user_defined: Matcher::new(tokens.filter_map(|(id, token_type, text)| {
                (token_type == TokenType::UserDefined).then_some((id, text))
            }))?,
            swallows,
        })
    }
    /// Cuts `text`; the fragments' texts together are `text`, except for swallowed white space.
    pub(super) fn split<'t>(&self, text: &'t str, special: Special) -> Vec<Fragment<'t>> {
        let matcher = match special {
            Special::Recognise => &self.all,
            Special::Ignore => &self.user_defined,
        };
        let mut fragments = Vec::new();
        let mut rest_from = 0;
        if let Some(matcher) = matcher {
            for found in matcher.automaton.find_iter(text) {
                if found.start() < rest_from {
                    continue; // swallowed
                }
                if found.start() > rest_from {
                    fragments.push(Fragment::Text(&text[rest_from..found.start()]));
                }
                let id = matcher.ids[found.pattern().as_usize()];
                fragments.push(Fragment::Token(id));
                rest_from = found.end();
                if self.swallows.get(id as usize).copied().unwrap_or(false) {
                    rest_from = text.len() - text[rest_from..].trim_start().len();
                }
            }
        }
        if rest_from < text.len() {
            fragments.push(Fragment::Text(&text[rest_from..]));
        }
        fragments
    }
}

#[derive(Debug)]
struct Matcher {
    automaton: AhoCorasick,
    /// Pattern → token.
    ids: Vec<TokenId>,
}

impl Matcher {
    /// `None` when there is nothing to find. Texts that are not UTF-8 cannot occur in a `str` and are left out.
    fn new<'v>(
        tokens: impl Iterator<Item = (TokenId, &'v [u8])>,
    ) -> Result<Option<Self>, TokenizerError> {
        let (mut ids, mut texts, mut n_bytes) = (Vec::new(), Vec::new(), 0);
        for (id, text) in tokens {
            if text.is_empty() || std::str::from_utf8(text).is_err() {
                continue;
            }
            n_bytes += text.len();
            if n_bytes > MAX_SPECIAL_BYTES {
                return Err(TokenizerError::Vocabulary {
                    problem: format!("its special tokens have more than {MAX_SPECIAL_BYTES} bytes"),
                });
            }
            ids.push(id);
            texts.push(text);
        }
        if ids.is_empty() {
            return Ok(None);
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // the default would build a table of kilobytes per byte of a few long texts
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&texts)
            .map_err(|error| TokenizerError::Vocabulary {
                problem: format!("its special tokens cannot be searched for: {error}"),
            })?;
        Ok(Some(Self { automaton, ids }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [(TokenId, TokenType, &[u8]); 6] = [
        (0, TokenType::Unknown, b"<unk>"),
        (1, TokenType::Control, b"<|im|>"),
        (2, TokenType::Control, b"<|im|>end"),
        (3, TokenType::UserDefined, b"  "),
        (4, TokenType::Normal, b"user"),
        (5, TokenType::Unused, b"<unused>"),
    ];

    #[track_caller]
    fn check(text: &str, special: Special, expected: &[Fragment<'_>]) {
        let specials = SpecialTokens::new(TOKENS.into_iter(), false).unwrap();
        assert_eq!(specials.split(text, special), expected);
    }

    #[test]
    fn control_tokens_match_only_when_asked_for() {
        use Fragment::{Text, Token};
        let text = "<|im|>user<unk>  <unused>";
        check(
            text,
            Special::Recognise,
            &[Token(1), Text("user"), Token(0), Token(3), Text("<unused>")],
        );
        check(
            text,
            Special::Ignore,
            &[Text("<|im|>user<unk>"), Token(3), Text("<unused>")],
        );
    }

    #[test]
    fn swallowed_white_space_is_no_text() {
        use Fragment::{Text, Token};
        let specials = SpecialTokens::new(TOKENS.into_iter(), true).unwrap();
        assert_eq!(
            specials.split("<|im|> \n   a  <|im|>\n", Special::Recognise),
            [Token(1), Text("a"), Token(3), Token(1)]
        );
    }

    #[test]
    fn the_longest_wins_and_nothing_gives_nothing() {
        use Fragment::{Text, Token};
        check("<|im|>end!", Special::Recognise, &[Token(2), Text("!")]);
        check("", Special::Recognise, &[]);
    }
}
