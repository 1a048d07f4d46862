//! Which file of a model fits a machine, how fast it will be, and why it was chosen.

use crate::{Catalog, Kind, Model, Variant, size};
use serde::Serialize;

/// Tokens of context that a model gets where nobody says a number.
pub const CONTEXT: u64 = 8192;
/// Bytes that the daemon and the buffers of a model take beside weights, keys and values.
const BESIDES_BYTES: u64 = 192 << 20;
/// Tokens per second below which an answer is slower than most people read.
const LEAST_SPEED: f64 = 6.0;

/// What counts of a machine; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory that models can have.
    pub memory: Option<u64>,
    /// Bytes of memory that are read in a second.
    pub bandwidth: Option<u64>,
}

/// How a file fits a machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Bytes to download, about.
    pub file_bytes: u64,
    /// Bytes of memory at [`Fit::context`], about.
    pub memory_bytes: u64,
    /// Tokens of context that this is for.
    pub context: u64,
    /// Whether the machine has so much memory; `None` where that is unknown.
    pub fits: Option<bool>,
    /// Tokens per second of an answer, estimated: how often the weights can be read.
    pub tokens_per_second: Option<f64>,
}

/// A chosen file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice<'a> {
    /// The model.
    pub model: &'a Model,
    /// Its file.
    pub variant: &'a Variant,
    /// How it fits.
    pub fit: Fit,
    /// Why this one.
    pub reason: Reason,
}

/// Why a file was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The largest model whose recommended file fits and is fast enough.
    Best,
    /// A larger one fits, but would be slow.
    LargerIsSlow,
    /// A larger model does not fit.
    LargerDoesNotFit,
    /// Nothing fits: the smallest there is.
    NothingFits,
    /// The machine is unknown: the smallest there is.
    Unknown,
}

impl Fit {
    /// Whether an answer is probably slower than most people read.
    pub fn is_slow(&self) -> bool {
        self.tokens_per_second
            .is_some_and(|speed| speed < LEAST_SPEED)
    }
}

impl Machine {
    /// How a file fits.
    pub fn fit(&self, model: &Model, variant: &Variant) -> Fit {
        let weights = size::weights_bytes(model, variant);
        let context = CONTEXT.min(model.context);
        let memory_bytes = weights
            .saturating_add(size::kv_bytes(model, context))
            .saturating_add(BESIDES_BYTES);
        let speed = |bandwidth: u64| bandwidth as f64 / weights.max(1) as f64;
        Fit {
            file_bytes: size::file_bytes(model, variant),
            memory_bytes,
            context,
            fits: self.memory.map(|memory| memory_bytes <= memory),
            tokens_per_second: self
                .bandwidth
                .filter(|_| model.kind == Kind::Text)
                .map(speed),
        }
    }

    /// How a file fits of which only the size is known: without keys and values, and with the speed of a dense model.
    pub fn fit_bytes(&self, file_bytes: u64) -> Fit {
        let memory_bytes = file_bytes.saturating_add(BESIDES_BYTES);
        Fit {
            file_bytes,
            memory_bytes,
            context: 0,
            fits: self.memory.map(|memory| memory_bytes <= memory),
            tokens_per_second: self
                .bandwidth
                .map(|bandwidth| bandwidth as f64 / file_bytes.max(1) as f64),
        }
    }

    /// The file of a model for this machine: the recommended one, or a smaller one where that does not fit; the smallest
    /// where none does.
    pub fn variant<'a>(&self, model: &'a Model) -> Option<(&'a Variant, Fit)> {
        let fits = model
            .variants
            .iter()
            .map(|variant| (variant, self.fit(model, variant)));
        let smallest = fits.clone().min_by_key(|(_, fit)| fit.memory_bytes);
        fits.into_iter()
            .find(|(_, fit)| fit.fits == Some(true))
            .or(smallest)
    }

    /// The model and file of a family for this machine: the largest that fits and is not too slow. `None` when the
    /// catalogue has no such family.
    pub fn choose<'a>(&self, catalog: &'a Catalog, family: &'a str) -> Option<Choice<'a>> {
        let mut models: Vec<&Model> = catalog.family(family).collect();
        models.sort_by_key(|model| std::cmp::Reverse(model.parameters));
        let mut reason = Reason::Best;
        let mut slow = None;
        for model in &models {
            let Some((variant, fit)) = self.variant(model) else {
                continue;
            };
            let choice = |reason| Choice {
                model,
                variant,
                fit,
                reason,
            };
            match fit.fits {
                None => break,
                Some(false) => reason = Reason::LargerDoesNotFit,
                Some(true) if fit.is_slow() => {
                    // the smallest of the slow ones is the last resort
                    slow = Some(choice(reason));
                    reason = Reason::LargerIsSlow;
                }
                Some(true) => return Some(choice(reason)),
            }
        }
        if slow.is_some() {
            return slow;
        }
        let model = models.last()?;
        let (variant, fit) = self.variant(model)?;
        let reason = if fit.fits.is_some() {
            Reason::NothingFits
        } else {
            Reason::Unknown
        };
        Some(Choice {
            model,
            variant,
            fit,
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(gib: f64, gb_per_second: f64) -> Machine {
        Machine {
            memory: Some((gib * 1024.0 * 1024.0 * 1024.0) as u64),
            bandwidth: Some((gb_per_second * 1e9) as u64),
        }
    }

    #[track_caller]
    fn check(machine: Machine, family: &str, pull: &str, reason: Reason) {
        let catalog = Catalog::built_in().expect("it is read");
        let choice = machine.choose(&catalog, family).expect("a known family");
        assert_eq!(
            (choice.variant.pull.as_str(), choice.reason),
            (pull, reason)
        );
    }

    #[test]
    fn the_largest_that_fits_and_is_fast_enough() {
        check(
            machine(16.0, 40.0),
            "qwen3",
            "qwen3:4b-q4_K_M",
            Reason::Best,
        );
        check(
            machine(16.0, 10.0),
            "qwen3",
            "qwen3:1.7b-q4_K_M",
            Reason::LargerIsSlow,
        );
        check(
            machine(2.5, 40.0),
            "qwen3",
            "qwen3:1.7b-q4_K_M",
            Reason::LargerDoesNotFit,
        );
        check(
            machine(1.8, 40.0),
            "qwen3",
            "qwen3:0.6b-q8_0",
            Reason::LargerDoesNotFit,
        );
        // 8 bits would be better, but are too many
        check(
            machine(1.6, 40.0),
            "qwen3",
            "qwen3:0.6b-q4_K_M",
            Reason::LargerDoesNotFit,
        );
        check(
            machine(0.3, 40.0),
            "qwen3",
            "qwen3:0.6b-q4_K_M",
            Reason::NothingFits,
        );
        check(
            Machine::default(),
            "qwen3",
            "qwen3:0.6b-q4_K_M",
            Reason::Unknown,
        );
        // all are slow: the smallest of them
        check(
            machine(16.0, 1.0),
            "qwen3",
            "qwen3:0.6b-q8_0",
            Reason::LargerIsSlow,
        );
        let catalog = Catalog::built_in().expect("it is read");
        assert_eq!(machine(16.0, 40.0).choose(&catalog, "absent"), None);
    }

    #[test]
    fn memory_and_speed_of_one_file() {
        let catalog = Catalog::built_in().expect("it is read");
        let (model, variant) = catalog.find("qwen3:0.6b-q8_0").expect("known");
        let fit = machine(8.0, 20.0).fit(model, variant);
        // 633 MB of weights, 8192 tokens of 28·8·128·4 bytes
        assert_eq!(fit.context, 8192);
        let weights = 596_049_920u64 * 17 / 16;
        assert_eq!(
            fit.memory_bytes,
            weights + 28 * 8 * 128 * 4 * 8192 + BESIDES_BYTES
        );
        let speed = fit.tokens_per_second.expect("a speed");
        assert!((speed - 20e9 / weights as f64).abs() < 0.01, "{speed}");
        assert_eq!(fit.fits, Some(true));
        assert_eq!(Machine::default().fit(model, variant).fits, None);
        let (encoder, variant) = catalog.find("all-minilm:22m").expect("known");
        let fit = machine(8.0, 20.0).fit(encoder, variant);
        assert_eq!((fit.context, fit.tokens_per_second), (512, None));
    }
}
