//! Ages as people write them: `90`, `30m`, `12h`, `2d`.

/// Parses an age in seconds; `s`, `m`, `h` and `d` behind a whole number are its unit, seconds where there is none.
///
/// # Errors
/// What was expected, for anything else.
pub fn parse(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 24 * 3600),
        _ => (text, 1),
    };
    let seconds = number.parse::<u64>().ok();
    seconds
        .and_then(|n| n.checked_mul(unit))
        .ok_or_else(|| "expected an age such as 0, 30m, 12h or 2d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let all = [
            ("0", 0),
            ("90", 90),
            ("5s", 5),
            ("30m", 1800),
            ("2d", 172_800),
        ];
        for (text, seconds) in all {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
        for text in ["", "d", "-1", "1w", "1.5h", "99999999999999999999d", "é"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
