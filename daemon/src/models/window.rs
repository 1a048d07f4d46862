//! How large the context of a loaded model is.

/// The least that a window is rounded up to.
const FLOOR: usize = 4;
/// What a model gets when nobody says anything and memory is plentiful.
const AUTO: usize = 8192;
/// What it gets at least, however scarce memory is.
const AUTO_LEAST: usize = 2048;

/// The window that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// Somebody chose it: request, model or setting.
    Exact(usize),
    /// By model and memory, but at least this.
    Auto {
        /// Room that the prompt needs.
        at_least: usize,
    },
}

impl Window {
    /// What must be there; a larger window will do as well.
    pub(crate) fn least(self, trained: usize) -> usize {
        match self {
            Self::Exact(n) => n.max(FLOOR).min(trained),
            Self::Auto { at_least } => AUTO_LEAST.max(at_least).min(trained),
        }
    }

    /// What to load with where memory is no question.
    pub(crate) fn preferred(self, trained: usize) -> usize {
        match self {
            Self::Exact(_) => self.least(trained),
            Self::Auto { at_least } => AUTO.max(at_least.next_power_of_two()).min(trained),
        }
    }

    /// The largest window that `fits`, from the preferred one by halves down to the least.
    pub(crate) fn largest_that(
        self,
        trained: usize,
        fits: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let least = self.least(trained);
        let mut window = self.preferred(trained);
        loop {
            if fits(window) {
                return Some(window);
            }
            if window == least {
                return None;
            }
            window = (window / 2).max(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_window_is_capped_by_the_model_and_never_shrinks() {
        assert_eq!(Window::Exact(0).preferred(2048), 4);
        assert_eq!(Window::Exact(100_000).preferred(2048), 2048);
        assert_eq!(Window::Exact(512).largest_that(2048, |n| n < 512), None);
    }

    #[test]
    fn an_automatic_window_gives_way_to_memory_but_not_to_the_prompt() {
        let auto = Window::Auto { at_least: 0 };
        assert_eq!(auto.preferred(131_072), 8192);
        assert_eq!(auto.preferred(1024), 1024);
        assert_eq!(auto.largest_that(131_072, |n| n <= 5000), Some(4096));
        assert_eq!(auto.largest_that(131_072, |n| n <= 1000), None);
        let long = Window::Auto { at_least: 9000 };
        assert_eq!(long.preferred(131_072), 16_384);
        assert_eq!(long.largest_that(131_072, |n| n <= 10_000), Some(9000));
        assert_eq!(long.largest_that(131_072, |n| n <= 8192), None);
    }
}
