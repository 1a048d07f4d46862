//! Names of pages: each follows from the one before it and from its tokens.

use crate::{KvCache, TokenId, kv_cache::Owner};
use sha2::{Digest, Sha256};
use slm_kernels::PAGE_POSITIONS;

/// The name of a page: a hash over everything that decides its contents.
pub(super) type Link = [u8; 32];

/// Counts changes of the files' form.
const VERSION: u32 = 1;

/// The names of one model's pages.
pub(super) struct Chain {
    root: Link,
}

impl Chain {
    /// Of the model with this key, whose states are like the empty one `like`.
    pub(super) fn new(model_key: &str, like: &KvCache) -> Self {
        let mut hash = Sha256::new();
        hash.update(VERSION.to_le_bytes());
        hash_text(&mut hash, model_key);
        for layer in like.stored_layers() {
            hash_text(&mut hash, &layer.kv.shape());
            hash.update((layer.window.unwrap_or(usize::MAX) as u64).to_le_bytes());
        }
        Self {
            root: hash.finalize().into(),
        }
    }

    /// What the model's folder is called.
    pub(super) fn folder(&self) -> String {
        hex(&self.root[..16])
    }

    /// The names of the pages of `tokens`, as many as are full.
    pub(super) fn links(&self, owner: &Owner, is_long: bool, tokens: &[TokenId]) -> Vec<Link> {
        let mut hash = Sha256::new();
        hash.update(self.root);
        hash.update([u8::from(is_long), u8::from(owner.salt.is_some())]);
        hash_text(&mut hash, owner.salt.as_deref().unwrap_or_default());
        let mut last: Link = hash.finalize().into();
        let pages = tokens.chunks_exact(PAGE_POSITIONS).map(|page| {
            let mut hash = Sha256::new();
            hash.update(last);
            for token in page {
                hash.update(token.to_le_bytes());
            }
            last = hash.finalize().into();
            last
        });
        pages.collect()
    }
}

/// With its length, so that what follows cannot be taken for a part of it.
fn hash_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The link that is written like this.
pub(super) fn parse(text: &str) -> Option<Link> {
    let mut link = Link::default();
    if !text.is_ascii() || text.len() != 2 * link.len() {
        return None;
    }
    for (i, byte) in link.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(link)
}
