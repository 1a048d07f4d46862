//! Guesses at what a sequence says next, from what it has said: after the same few words as before often come the same
//! words (prompt lookup decoding).
//!
//! A step that checks a guess of several tokens costs more than one of a single token. So the length of guesses follows
//! their success, and after guesses that were wrong from the start there are none for a while. What is generated is the
//! same with them and without: a guess only decides what is computed ahead.

use super::worth::Luck;
use crate::TokenId;
use std::collections::HashMap;

/// Tokens of a guess at most.
pub(super) const MAX_DRAFT: usize = 12;
/// Tokens that must have been the same before.
const KEY: usize = 3;
/// Length of the first guess.
const FIRST_DRAFT: usize = 3;
/// Tokens without a guess after one that was all wrong, at first and at most.
const PAUSE: std::ops::Range<usize> = 4..256;

/// See the module.
pub(super) struct Drafter {
    is_on: bool,
    /// Where the tokens after the last occurrence of these begin.
    places: HashMap<[TokenId; KEY], usize>,
    /// Tokens of the sequence that `places` knows.
    n_known: usize,
    /// How long the next guess may be.
    length: usize,
    /// How long the next pause is.
    pause: usize,
    /// Until how many tokens there is none.
    paused_until: usize,
    luck: Luck,
}

impl Drafter {
    /// Of a sequence that can be taken back to where a guess went wrong, or else of one that gets no guesses.
    pub(super) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            places: HashMap::new(),
            n_known: 0,
            length: FIRST_DRAFT,
            pause: PAUSE.start,
            paused_until: 0,
            luck: Luck::default(),
        }
    }

    /// Writes at most `n` tokens that may follow `tokens` to `draft`.
    pub(super) fn guess(&mut self, tokens: &[TokenId], n: usize, draft: &mut Vec<TokenId>) {
        draft.clear();
        let n = n.min(self.length);
        if !self.is_on || n == 0 || tokens.len() < self.paused_until {
            return;
        }
        let Some(last) = tokens.last_chunk::<KEY>() else {
            return;
        };
        // what ends here has nothing behind it yet
        for end in self.n_known.max(KEY)..tokens.len() {
            if let Some(key) = tokens[..end].last_chunk::<KEY>() {
                self.places.insert(*key, end);
            }
        }
        self.n_known = tokens.len();
        if let Some(&place) = self.places.get(last) {
            let found = &tokens[place..];
            draft.extend(found.iter().take(n));
        }
    }

    /// How likely it is that a guessed token is right.
    pub(super) fn chance(&self) -> f64 {
        self.luck.chance()
    }

    /// Learns from a guess of `n_tokens`, of which the first `n_right` were right.
    pub(super) fn judge(&mut self, n_tokens: usize, n_right: usize) {
        self.luck.judge(n_tokens, n_right);
        if n_right == n_tokens {
            self.length = (self.length * 2).min(MAX_DRAFT);
            self.pause = PAUSE.start;
        } else if n_right > 0 {
            self.length = (n_right + 1).min(MAX_DRAFT);
            self.pause = PAUSE.start;
        } else {
            self.length = FIRST_DRAFT;
            self.paused_until = self.n_known + self.pause;
            self.pause = (self.pause * 2).min(PAUSE.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(drafter: &mut Drafter, tokens: &[TokenId]) -> Vec<TokenId> {
        let mut draft = vec![99];
        drafter.guess(tokens, MAX_DRAFT, &mut draft);
        draft
    }

    #[test]
    fn what_followed_last_time_follows_again() {
        let mut drafter = Drafter::new(true);
        assert_eq!(guess(&mut drafter, &[1, 2, 3, 4, 5]), [0; 0]);
        assert_eq!(guess(&mut drafter, &[1, 2, 3, 4, 5, 1, 2, 3]), [4, 5, 1]);
        drafter.judge(3, 3);
        let again = [1, 2, 3, 4, 5, 1, 2, 3, 7, 1, 2, 3];
        assert_eq!(
            guess(&mut drafter, &again),
            [7, 1, 2, 3],
            "the last time counts"
        );
        assert_eq!(guess(&mut Drafter::new(true), &[5, 5, 5, 5]), [5]);
        assert_eq!(guess(&mut Drafter::new(true), &[1, 2]), [0; 0]);
    }

    #[test]
    fn wrong_guesses_make_it_quiet_for_longer_and_longer() {
        let mut drafter = Drafter::new(true);
        let mut tokens: Vec<TokenId> = vec![1, 2, 3, 4];
        let mut n_guesses = 0;
        for _ in 0..400 {
            tokens.extend([1, 2, 3]);
            let draft = guess(&mut drafter, &tokens);
            if !draft.is_empty() {
                n_guesses += 1;
                drafter.judge(draft.len(), 0);
            }
            tokens.push(1000 + tokens.len() as TokenId);
        }
        assert!((5..20).contains(&n_guesses), "{n_guesses}");
    }

    #[test]
    fn a_sequence_that_cannot_be_taken_back_gets_none() {
        assert_eq!(guess(&mut Drafter::new(false), &[5, 5, 5, 5, 5]), [0; 0]);
    }
}
