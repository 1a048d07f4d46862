//! How much of the guesses at what follows is worth checking: what gives most tokens in a second.
//!
//! A step that checks guesses takes longer, the more the wider it is already; how much longer is measured
//! ([`super::pace`]). How likely a guess is right is what it was of late.

/// How often guesses were right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Luck {
    /// Guessed tokens that were right and that were looked at, the older ones counting less.
    right: f64,
    seen: f64,
}

impl Default for Luck {
    /// Three of four, until more is known.
    fn default() -> Self {
        Self {
            right: 3.0,
            seen: 4.0,
        }
    }
}

impl Luck {
    /// Learns from a guess of `n_tokens`, of which the first `n_right` were right.
    pub(super) fn judge(&mut self, n_tokens: usize, n_right: usize) {
        // what follows a wrong one was not looked at
        let n_seen = (n_right + 1).min(n_tokens);
        self.right = 0.9 * self.right + n_right as f64;
        self.seen = 0.9 * self.seen + n_seen as f64;
    }

    /// How likely it is that a guessed token is right.
    pub(super) fn chance(&self) -> f64 {
        (self.right / self.seen).clamp(0.0, 0.98)
    }
}

/// How many tokens of each of `guesses`, which have so many and are right with such a chance, to check in a step of
/// `n_plain` tokens, so that it has no more than `most`; `seconds` says how long a step takes by its width. `None` where
/// that is not known.
pub(super) fn worthwhile(
    n_plain: usize,
    guesses: &[(usize, f64)],
    most: usize,
    seconds: impl Fn(usize) -> Option<f64>,
) -> Option<Vec<usize>> {
    // a token of a guess counts only after those before it
    let mut values: Vec<(f64, usize)> = Vec::new();
    for (of, &(n_tokens, chance)) in guesses.iter().enumerate() {
        values.extend((1..=n_tokens).map(|k| (chance.powi(k as i32), of)));
    }
    values.sort_by(|a, b| b.0.total_cmp(&a.0));
    values.truncate(most.saturating_sub(n_plain));
    let mut tokens = n_plain as f64;
    let mut best = (tokens / seconds(n_plain)?, 0);
    for (i, (value, _)) in values.iter().enumerate() {
        tokens += value;
        let rate = tokens / seconds(n_plain + i + 1)?;
        if rate > best.0 {
            best = (rate, i + 1);
        }
    }
    let mut counts = vec![0; guesses.len()];
    for &(_, of) in &values[..best.1] {
        counts[of] += 1;
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a machine that reads weights in 20 ms, and computes 8 tokens meanwhile.
    fn seconds(width: usize) -> Option<f64> {
        Some(0.02 + 0.002 * width.saturating_sub(8) as f64)
    }

    #[test]
    fn guesses_are_checked_as_far_as_they_pay() {
        let check = |n, guesses: &[_]| worthwhile(n, guesses, 16, seconds).unwrap();
        // what costs nothing is checked
        assert_eq!(check(1, &[(7, 0.1)]), [7]);
        assert_eq!(check(2, &[(3, 0.9), (3, 0.5)]), [3, 3]);
        // beyond, only what is likely enough
        assert_eq!(check(8, &[(1, 0.95), (1, 0.3), (2, 0.97)]), [1, 0, 2]);
        assert_eq!(check(8, &[(4, 0.5); 8]), [0; 8]);
        assert_eq!(check(16, &[(4, 0.98); 16]), [0; 16]);
        assert_eq!(worthwhile(1, &[(3, 0.9)], 16, |_| None), None);
    }

    #[test]
    fn luck_follows_what_happens() {
        let mut luck = Luck::default();
        for _ in 0..30 {
            luck.judge(4, 4);
        }
        assert!(luck.chance() > 0.95);
        for _ in 0..5 {
            luck.judge(4, 0);
        }
        let seen_one_each = luck.chance();
        assert!(
            seen_one_each < 0.95 && seen_one_each > 0.5,
            "{seen_one_each}"
        );
        for _ in 0..40 {
            luck.judge(4, 0);
        }
        assert!(luck.chance() < 0.1);
    }
}
