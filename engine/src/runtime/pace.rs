//! How many tokens of prompts a step takes beside tokens that are being generated, so that neither waits too long.
//!
//! Whoever reads an answer sees every step. So beside running answers a step takes only as much of a prompt as keeps it
//! below [`SLOWER`] times what it would take without; that is found out by measuring. With nobody waiting for a token a
//! step takes as much as fills [`ALONE`], within which a request can be cancelled.

use std::time::Duration;

/// How much longer than without prompts a step may take.
const SLOWER: f64 = 1.7;
/// What a step that only reads prompts may take.
const ALONE: Duration = Duration::from_millis(800);
/// Prompt tokens of a step at least: so few cost hardly more than one.
const LEAST: usize = 4;
/// Most tokens of a step that is measured by width.
const MAX_WIDTH: usize = 64;
/// After so many steps with prompts in them, one without shows anew what that takes.
const FRESH: usize = 100;
/// Share of a new measurement in what is known.
const WEIGHT: f64 = 0.2;
/// How much of what is known of a width remains of it with each step of a narrower one, and at least.
const FORGETTING: f64 = 0.998;
const LEAST_BELIEF: f64 = 0.6;
/// What a token more costs beside what one of those that are there does, before it was measured.
const MARGINAL: f64 = 0.5;
/// So many tokens are taken to cost as much as one.
const FREE: usize = 8;

/// See the module.
pub(super) struct Pace {
    /// Tokens of prompts in a step without others.
    alone: usize,
    most_alone: usize,
    /// Tokens of prompts in a step with others.
    beside: usize,
    /// Seconds of a step without prompts, by the tokens in it.
    plain: [Option<f64>; MAX_WIDTH],
    /// By width, the share of what was measured that is still believed: little by little what was not measured again
    /// may have become better.
    belief: [f64; MAX_WIDTH],
    /// Steps with prompts beside others since the last without.
    n_since_plain: usize,
}

/// What was in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Tokens of answers, guesses among them.
    pub(super) n_decoded: usize,
    /// Tokens of prompts.
    pub(super) n_prompt: usize,
}

impl Pace {
    /// Of a model whose steps have at most `most` tokens of prompts.
    pub(super) fn new(most: usize) -> Self {
        Self {
            alone: most.min(256),
            most_alone: most,
            beside: 2 * LEAST,
            plain: [None; MAX_WIDTH],
            belief: [1.0; MAX_WIDTH],
            n_since_plain: 0,
        }
    }

    /// Tokens of prompts that the next step may take beside `n_decoded` tokens of answers.
    pub(super) fn n_prompt(&self, n_decoded: usize) -> usize {
        if n_decoded == 0 {
            self.alone
        } else if self.n_since_plain >= FRESH || self.plain_seconds(n_decoded).is_none() {
            // this one is measured without
            0
        } else {
            self.beside.min(self.most_alone)
        }
    }

    /// Tokens of prompts that are read in `time` without others.
    pub(super) fn n_alone_in(&self, time: Duration) -> usize {
        (self.alone as f64 * time.as_secs_f64() / ALONE.as_secs_f64()) as usize
    }

    /// Learns from a step.
    pub(super) fn learn(&mut self, load: Load, took: Duration) {
        let seconds = took.as_secs_f64();
        match load {
            Load { n_prompt: 0, .. } => {
                self.n_since_plain = 0;
                let at = load.n_decoded.clamp(1, MAX_WIDTH) - 1;
                self.belief[at] = 1.0;
                for belief in &mut self.belief[at + 1..] {
                    *belief = (*belief * FORGETTING).max(LEAST_BELIEF);
                }
                let known = &mut self.plain[at];
                *known = Some(known.map_or(seconds, |s| s + WEIGHT * (seconds - s)));
            }
            Load { n_decoded: 0, .. } => {
                // only a full step says how long one may be
                if load.n_prompt >= self.alone || took > ALONE {
                    let fitting = load.n_prompt as f64 * ALONE.as_secs_f64() / seconds;
                    let fitting = fitting.clamp(0.5 * self.alone as f64, 2.0 * self.alone as f64);
                    self.alone = (fitting as usize).clamp(16.min(self.most_alone), self.most_alone);
                }
            }
            Load { .. } => {
                self.n_since_plain += 1;
                let Some(plain) = self.plain_seconds(load.n_decoded) else {
                    return;
                };
                if seconds > SLOWER * plain {
                    self.beside = (self.beside * 3 / 4).max(LEAST);
                } else if load.n_prompt >= self.beside && seconds < 0.85 * SLOWER * plain {
                    self.beside = (self.beside + 1 + self.beside / 8).min(self.most_alone);
                }
            }
        }
    }

    /// What a step of `width` tokens of answers is likely to take: between what was measured of narrower and of wider ones;
    /// `None` before any narrower was.
    pub(super) fn expected_seconds(&self, width: usize) -> Option<f64> {
        let width = width.clamp(1, MAX_WIDTH);
        let believed = |at: usize| Some((at + 1, self.plain[at]? * self.belief[at]));
        let (narrow, least) = (0..width).rev().find_map(believed)?;
        if narrow == width {
            return Some(least);
        }
        let beyond = (width - narrow) as f64;
        let slope = match (width..MAX_WIDTH).find_map(believed) {
            Some((wide, most)) => (most - least).max(0.0) / (wide - narrow) as f64,
            None => MARGINAL * least / narrow.max(FREE) as f64,
        };
        Some(least + beyond * slope)
    }

    /// What a step of so many tokens of answers takes, from the nearest width that was measured; `None` before any was.
    pub(super) fn plain_seconds(&self, n_decoded: usize) -> Option<f64> {
        let width = n_decoded.clamp(1, MAX_WIDTH);
        let narrower = self.plain[..width].iter().rev().flatten().next();
        narrower
            .or(self.plain[width - 1..].iter().flatten().next())
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that takes 20 ms for a step and 2 ms for each token beyond the tenth.
    fn took(load: Load) -> Duration {
        let n = load.n_decoded + load.n_prompt;
        Duration::from_millis(20 + 2 * n.saturating_sub(10) as u64)
    }

    #[test]
    fn beside_answers_a_step_stays_below_twice_its_time() {
        let mut pace = Pace::new(512);
        let mut most = Duration::ZERO;
        let mut n_read = 0;
        for step in 0..300 {
            let n_prompt = pace.n_prompt(2);
            let load = Load {
                n_decoded: 2,
                n_prompt,
            };
            pace.learn(load, took(load));
            if step > 100 {
                most = most.max(took(load));
                n_read += n_prompt;
            }
        }
        assert!(most < Duration::from_millis(40), "{most:?}");
        assert!(n_read > 199 * 12, "{n_read}");
    }

    #[test]
    fn prompts_alone_fill_their_time_and_no_more() {
        let mut pace = Pace::new(512);
        for _ in 0..20 {
            let load = Load {
                n_decoded: 0,
                n_prompt: pace.n_prompt(0),
            };
            pace.learn(load, Duration::from_millis(10 * load.n_prompt as u64));
        }
        assert!(
            (70..=80).contains(&pace.n_prompt(0)),
            "{}",
            pace.n_prompt(0)
        );
        let mut quick = Pace::new(512);
        for _ in 0..20 {
            let n_prompt = quick.n_prompt(0);
            quick.learn(
                Load {
                    n_decoded: 0,
                    n_prompt,
                },
                Duration::from_micros(100 * n_prompt as u64),
            );
        }
        assert_eq!(quick.n_prompt(0), 512);
    }

    #[test]
    fn a_step_without_prompts_is_measured_first_and_again() {
        let mut pace = Pace::new(512);
        assert_eq!(pace.n_prompt(3), 0);
        let plain = Load {
            n_decoded: 3,
            n_prompt: 0,
        };
        pace.learn(plain, Duration::from_millis(20));
        assert!(pace.n_prompt(3) > 0 && pace.n_prompt(4) > 0);
        for _ in 0..FRESH {
            let load = Load {
                n_decoded: 3,
                n_prompt: 8,
            };
            pace.learn(load, Duration::from_millis(21));
        }
        assert_eq!(pace.n_prompt(3), 0);
    }

    #[test]
    fn what_was_not_measured_lies_between_what_was() {
        let mut pace = Pace::new(512);
        let learn = |pace: &mut Pace, n_decoded, millis| {
            let load = Load {
                n_decoded,
                n_prompt: 0,
            };
            pace.learn(load, Duration::from_millis(millis));
        };
        let millis = |pace: &Pace, width| {
            let seconds = pace.expected_seconds(width);
            seconds.map(|seconds| (seconds * 1000.0).round())
        };
        assert_eq!(millis(&pace, 3), None);
        learn(&mut pace, 8, 40);
        assert_eq!(millis(&pace, 7), None);
        assert_eq!(millis(&pace, 16), Some(60.0), "half as much for each more");
        learn(&mut pace, 16, 80);
        assert_eq!(millis(&pace, 8), Some(40.0));
        assert_eq!(millis(&pace, 12), Some(60.0));
        assert_eq!(millis(&pace, 16), Some(80.0));
        assert_eq!(millis(&pace, 24), Some(100.0));
        for _ in 0..2000 {
            learn(&mut pace, 8, 40);
        }
        assert_eq!(millis(&pace, 16), Some(48.0), "worth another try");
    }
}
