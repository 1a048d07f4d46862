//! Bytes for what no piece of a vocabulary spells: its `<0xNN>` tokens.
use super::TokenId;
use super::vocabulary::{TokenType, Vocabulary, byte_token};

#[derive(Debug)]
pub(super) struct ByteFallback {
    bytes: Box<[Option<TokenId>; 256]>,
    unknown: Option<TokenId>,
}

impl ByteFallback {
    /// Of two tokens for a byte the first counts.
    pub(super) fn new(vocabulary: &Vocabulary<'_>) -> Self {
        let mut bytes = Box::new([None; 256]);
        for (id, (text, token_type)) in (0..).zip(vocabulary.tokens.iter().zip(&vocabulary.types)) {
            if *token_type == TokenType::Byte
                && let Some(byte) = byte_token(text)
            {
                bytes[usize::from(byte)].get_or_insert(id);
            }
        }
        Self {
            bytes,
            unknown: vocabulary.rules.unknown,
        }
    }

    /// Appends the bytes of `text`, or the unknown token when a byte has no token either.
    pub(super) fn push(&self, text: &[u8], ids: &mut Vec<TokenId>) {
        let before = ids.len();
        for &byte in text {
            match self.bytes[usize::from(byte)] {
                Some(id) => ids.push(id),
                None => {
                    ids.truncate(before);
                    ids.extend(self.unknown);
                    return;
                }
            }
        }
    }
}
