//! Bytes per second as people write them: `5M`, `800k`, `1.5GB`, `2000000`.

/// Parses a rate: a [`size`](crate::size), with or without `/s`. `None` for anything else.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    crate::size::parse(text.strip_suffix("/s").unwrap_or(text))
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
