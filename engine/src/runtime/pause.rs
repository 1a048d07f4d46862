//! Rests of running answers, for short prompts to be read at once.
//!
//! Beside running answers a prompt is read in small parts, which takes far longer than reading it alone. Where it is
//! short, all answers stand still for a moment instead, and go on together with its own. An answer does so at most once
//! in [`APART`] tokens: rarely enough to leave 99 of 100 tokens as quick as they were.

use super::pace::Pace;
use std::time::Duration;

/// How long answers stand still at most.
const LONGEST: Duration = Duration::from_secs(1);
/// Tokens of an answer from one pause to the next.
const APART: usize = 200;
/// Prompts whose rest is shorter are worth the rest of a pause.
const SHORTEST: usize = 16;

/// The pause of all answers of a model, if there is one.
#[derive(Debug, Default)]
pub(super) struct Pause {
    left: Duration,
}

impl Pause {
    /// How many tokens of prompts to read while the answers stand still, of which some are at `last_pauses` tokens after
    /// their last pause (`None` before any), when the first prompt to read has `n_first` tokens left. None when answers
    /// go on.
    pub(super) fn n_prompt(
        &mut self,
        pace: &Pace,
        n_first: usize,
        mut last_pauses: impl Iterator<Item = Option<usize>>,
    ) -> Option<usize> {
        if self.left.is_zero() {
            let is_short = n_first <= pace.n_alone_in(LONGEST);
            let may_pause = last_pauses.all(|since| since.is_none_or(|n| n >= APART));
            if !is_short || !may_pause {
                return None;
            }
            self.left = LONGEST;
        }
        let n_fitting = pace.n_alone_in(self.left);
        if n_fitting < n_first.min(SHORTEST) {
            self.left = Duration::ZERO;
            return None;
        }
        Some(n_fitting.min(pace.n_prompt(0)))
    }

    /// A step in the pause took so long.
    pub(super) fn pass(&mut self, took: Duration) {
        self.left = self.left.saturating_sub(took);
    }

    /// There is nothing to read any more.
    pub(super) fn end(&mut self) {
        self.left = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pace::Load, *};

    /// Of a machine that reads 2 tokens a millisecond: 1,600 in a step, 2,000 in a pause.
    fn pace() -> Pace {
        let mut pace = Pace::new(4096);
        for _ in 0..20 {
            let n_prompt = pace.n_prompt(0);
            let load = Load {
                n_decoded: 0,
                n_prompt,
            };
            pace.learn(load, Duration::from_micros(500 * n_prompt as u64));
        }
        assert_eq!(pace.n_prompt(0), 1600);
        pace
    }

    #[test]
    fn short_prompts_are_read_at_once_until_the_time_is_up() {
        let pace = pace();
        let mut pause = Pause::default();
        let n_prompt =
            |pause: &mut Pause, since| pause.n_prompt(&pace, 600, [None, since].into_iter());
        assert_eq!(n_prompt(&mut pause, Some(APART)), Some(1600));
        // it was read at half the speed
        pause.pass(Duration::from_millis(600));
        assert_eq!(
            n_prompt(&mut pause, Some(0)),
            Some(800),
            "what is left of it"
        );
        pause.pass(Duration::from_millis(400));
        assert_eq!(n_prompt(&mut pause, Some(0)), None);
    }

    #[test]
    fn answers_go_on_beside_long_prompts_and_soon_after_a_pause() {
        let pace = pace();
        let long = Pause::default().n_prompt(&pace, 2001, [None].into_iter());
        assert_eq!(long, None);
        let again = Pause::default().n_prompt(&pace, 50, [None, Some(APART - 1)].into_iter());
        assert_eq!(again, None);
        let mut pause = Pause::default();
        assert_eq!(pause.n_prompt(&pace, 50, [None].into_iter()), Some(1600));
        pause.end();
        assert_eq!(pause.n_prompt(&pace, 50, [Some(0)].into_iter()), None);
    }
}
