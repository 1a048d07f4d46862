//! Bytes per second as people write them: `5M`, `800k`, `1.5GB`, `2000000`.

/// Parses a rate; `k`, `M` and `G` are powers of 1000, a `B` and `/s` behind them say nothing more. `None` for anything
/// else, for fractions of a byte and for what no line carries.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_suffix("/s").unwrap_or(text).trim_end();
    let text = text.strip_suffix(['B', 'b']).unwrap_or(text).trim_end();
    let (number, factor) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 1e3),
        (at, 'm' | 'M') => (&text[..at], 1e6),
        (at, 'g' | 'G') => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    let rate = number.trim_end().parse::<f64>().ok()? * factor;
    let is_rate = rate == 0.0 || (1.0..1e15).contains(&rate);
    is_rate.then_some(rate as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_as_people_write_them() {
        for (text, expected) in [
            ("0", 0),
            ("2000000", 2_000_000),
            ("800k", 800_000),
            ("5M", 5_000_000),
            ("1.5 GB/s", 1_500_000_000),
            (" 3mb ", 3_000_000),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in [
            "", "fast", "-1", "0.5", "nan", "inf", "1e99", "M", "5 M M", "é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
