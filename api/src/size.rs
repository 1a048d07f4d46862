//! Bytes as people write them: `2GiB`, `800M`, `1.5 GB`, `2000000`.

/// Parses a size; `k`, `M`, `G` and `T` are powers of 1000, and of 1024 with an `i` behind them; a `B` at the end says
/// nothing more. `None` for anything else, for fractions of a byte and for what no machine has.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_suffix(['B', 'b']).unwrap_or(text).trim_end();
    let (text, base) = match text.strip_suffix(['i', 'I']) {
        Some(text) => (text, 1024.0_f64),
        None => (text, 1000.0),
    };
    let power = |unit: char| {
        "kmgt"
            .find(unit.to_ascii_lowercase())
            .map(|at| at as i32 + 1)
    };
    let last = text.char_indices().next_back()?;
    let (number, factor) = match power(last.1) {
        Some(power) => (&text[..last.0], base.powi(power)),
        None if base > 1000.0 => return None,
        None => (text, 1.0),
    };
    let bytes = number.trim_end().parse::<f64>().ok()? * factor;
    let is_size = bytes == 0.0 || (1.0..1e15).contains(&bytes);
    is_size.then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, expected) in [
            ("0", 0),
            ("2000000", 2_000_000),
            ("800k", 800_000),
            ("2GiB", 2 << 30),
            ("1.5 GB", 1_500_000_000),
            ("512 Mi", 512 << 20),
            (" 3mib ", 3 << 20),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in [
            "", "much", "-1", "0.5", "nan", "inf", "1e99", "M", "5 M M", "é", "12i", "i", "iB",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
