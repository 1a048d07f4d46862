//! What a line of progress has room for.
//!
//! Both programs show bars. A line that is longer than the terminal is wide is broken by the terminal, and the next one
//! does not replace it: so what matters less goes first, and the label is cut.

/// Columns of the longest bar, and of the shortest that still shows something.
const BAR: std::ops::RangeInclusive<usize> = 4..=24;
/// What stands around a bar.
const AROUND_BAR: usize = 3;
/// `: 100%`.
const PERCENT: usize = 6;
/// A label is given so many fifths of a line at most.
const LABEL_FIFTHS: usize = 3;

/// How wide what may stand behind a label is, each with the blank before it.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// How much is done, and of how much.
    pub sizes: usize,
    /// How fast it goes.
    pub rate: usize,
    /// How long it still takes.
    pub left: usize,
}

/// What stands in a line of progress beside its percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Columns of the label at most.
    pub label: usize,
    /// Columns of the bar, if there is one.
    pub bar: Option<usize>,
    /// Whether [`Parts::sizes`] stand there.
    pub sizes: bool,
    /// Whether [`Parts::rate`] stands there.
    pub rate: bool,
    /// Whether [`Parts::left`] stands there.
    pub left: bool,
}

impl Line {
    /// What fits a terminal of so many columns, behind a label of so many.
    pub fn fitting(columns: usize, label: usize, parts: Parts) -> Self {
        // a cursor behind the last column is on either line, as the terminal likes
        let columns = columns.saturating_sub(1);
        let of_line = (columns * LABEL_FIFTHS / 5).min(columns.saturating_sub(PERCENT));
        let label = label.min(of_line);
        let mut room = columns.saturating_sub(label + PERCENT);
        let mut take = |n: usize| {
            let fits = n <= room && n > 0;
            room -= if fits { n } else { 0 };
            fits
        };
        let left = take(parts.left);
        let sizes = take(parts.sizes);
        let rate = sizes && take(parts.rate);
        let bar = room.saturating_sub(AROUND_BAR).min(*BAR.end());
        Self {
            label,
            bar: (bar >= *BAR.start()).then_some(bar),
            sizes,
            rate,
            left,
        }
    }

    /// The same for a line that is done and has other parts: its bar stays as long as it was, where there is room.
    pub fn done(columns: usize, label: usize, parts: Parts, before: Parts) -> Self {
        let line = Self::fitting(columns, label, parts);
        let bar = line.bar.zip(Self::fitting(columns, label, before).bar);
        Self {
            bar: bar.map(|(most, before)| most.min(before)),
            ..line
        }
    }

    /// The line as a template: `msg`, `percent` and `bar`, and these for the parts.
    pub fn template(&self, sizes: &str, rate: &str, left: &str) -> String {
        let mut template = "{msg}: {percent:>3}%".to_owned();
        if let Some(bar) = self.bar {
            template += &format!(" ▕{{bar:{bar}}}▏");
        }
        for (is_there, part) in [(self.sizes, sizes), (self.rate, rate), (self.left, left)] {
            if is_there {
                template += " ";
                template += part;
            }
        }
        template
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts = Parts {
        sizes: 16,
        rate: 11,
        left: 6,
    };

    #[test]
    fn a_line_is_never_longer_than_the_terminal() {
        for columns in 0..200 {
            for label in 0..100 {
                let line = Line::fitting(columns, label, PARTS);
                let bar = line.bar.map_or(0, |bar| bar + AROUND_BAR);
                let parts = [(line.sizes, 16), (line.rate, 11), (line.left, 6)];
                let parts: usize = parts.iter().map(|(is, n)| usize::from(*is) * n).sum();
                let n = line.label + PERCENT + bar + parts;
                assert!(n < columns || (columns < 8 && line.label == 0), "{line:?}");
            }
        }
    }

    #[test]
    fn what_matters_less_goes_first() {
        let shown = |columns| {
            let line = Line::fitting(columns, 20, PARTS);
            line.template("{sizes}", "{rate}", "{left}")
        };
        for (columns, expected) in [
            (120, "{msg}: {percent:>3}% ▕{bar:24}▏ {sizes} {rate} {left}"),
            (80, "{msg}: {percent:>3}% ▕{bar:17}▏ {sizes} {rate} {left}"),
            (62, "{msg}: {percent:>3}% {sizes} {rate} {left}"),
            (58, "{msg}: {percent:>3}% ▕{bar:6}▏ {sizes} {left}"),
            (40, "{msg}: {percent:>3}% ▕{bar:4}▏ {left}"),
            (30, "{msg}: {percent:>3}% {left}"),
            (20, "{msg}: {percent:>3}%"),
        ] {
            assert_eq!(shown(columns), expected, "{columns} columns");
        }
    }

    #[test]
    fn a_bar_keeps_its_length_when_it_is_done() {
        let done = Parts {
            sizes: 8,
            rate: 0,
            left: 0,
        };
        for columns in 0..200 {
            let before = Line::fitting(columns, 20, PARTS);
            let line = Line::done(columns, 20, done, PARTS);
            assert!(line.bar <= before.bar, "{columns} columns: {line:?}");
            assert_eq!(line.sizes, Line::fitting(columns, 20, done).sizes);
        }
        assert_eq!(Line::done(80, 20, done, PARTS).bar, Some(17));
    }
}
