//! What a handful of repetitions says: mean and deviation as llama-bench gives them, median and range beside.

/// Of the speeds or times of one test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Statistics {
    pub(super) mean: f64,
    /// Of a sample: divided by n - 1; 0 for a single value.
    pub(super) deviation: f64,
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Statistics {
    /// Of some values; zeroes for none.
    pub(super) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Self {
                mean: 0.0,
                deviation: 0.0,
                median: 0.0,
                min: 0.0,
                max: 0.0,
            };
        };
        let mean = sorted.iter().sum::<f64>() / n as f64;
        let squares: f64 = sorted.iter().map(|x| (x - mean) * (x - mean)).sum();
        Self {
            mean,
            deviation: (squares / (n.max(2) - 1) as f64).sqrt(),
            median: (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
            min,
            max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_of_one_and_of_none() {
        let some = Statistics::of(&[4.0, 1.0, 2.0, 9.0]);
        assert_eq!(
            (some.mean, some.median, some.min, some.max),
            (4.0, 3.0, 1.0, 9.0)
        );
        assert!((some.deviation - (38.0f64 / 3.0).sqrt()).abs() < 1e-12);
        let odd = Statistics::of(&[3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.deviation), (2.0, 1.0));
        let one = Statistics::of(&[5.0]);
        assert_eq!((one.mean, one.deviation, one.median), (5.0, 0.0, 5.0));
        assert_eq!(Statistics::of(&[]).mean, 0.0);
    }
}
