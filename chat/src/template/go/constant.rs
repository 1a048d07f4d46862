//! Constants of the language: numbers, characters, quoted text.
use super::tree::Operand;

/// A number as Go's templates take it: whole where it has no point and no exponent.
pub(super) fn number(text: &str) -> Option<Operand> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, radix)));
    let (plain, radix) = match radix {
        Some(found) => found,
        // a leading zero alone means octal
        None if lower.len() > 1
            && lower.starts_with('0')
            && lower.bytes().all(is_digit_or_mark) =>
        {
            (&lower[1..], 8)
        }
        None => (lower.as_str(), 10),
    };
    let underscored = plain.contains('_');
    if underscored
        && (plain.starts_with('_') && radix == 10 || plain.ends_with('_') || plain.contains("__"))
    {
        return None;
    }
    let plain = plain.replace('_', "");
    // a sign of its own here would be a second one
    if plain.starts_with(['+', '-']) {
        return None;
    }
    if let Ok(magnitude) = u64::from_str_radix(&plain, radix) {
        let value = if negative {
            0_i64.checked_sub_unsigned(magnitude)?
        } else {
            i64::try_from(magnitude).ok()?
        };
        return Some(Operand::Int(value));
    }
    let is_decimal = radix == 10
        && plain
            .bytes()
            .all(|b| b.is_ascii_digit() || b".e+-".contains(&b))
        && plain.bytes().any(|b| b.is_ascii_digit());
    let value: f64 = is_decimal.then(|| plain.parse().ok())??;
    value
        .is_finite()
        .then_some(Operand::Float(if negative { -value } else { value }))
}

fn is_digit_or_mark(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

/// The character in `'c'`, as its number.
pub(super) fn character(quoted: &str) -> Option<i64> {
    let text = unquote(quoted)?;
    let mut chars = text.chars();
    let c = chars.next()?;
    chars.next().is_none().then_some(i64::from(u32::from(c)))
}

/// The text in quotes of either kind, escapes resolved. Bytes that are not UTF-8 become replacement characters.
pub(super) fn unquote(quoted: &str) -> Option<String> {
    let quote = quoted.chars().next()?;
    let mut rest = quoted.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next()?;
        rest = &rest[escape.len_utf8()..];
        let simple = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            c if c == quote => c as u8,
            _ => {
                let (n_digits, radix, skip) = match escape {
                    'x' => (2, 16, 0),
                    'u' => (4, 16, 0),
                    'U' => (8, 16, 0),
                    '0'..='7' => (2, 8, escape as u32 - '0' as u32),
                    _ => return None,
                };
                let digits = rest.get(..n_digits)?;
                rest = &rest[n_digits..];
                if digits.starts_with('+') {
                    return None;
                }
                let value = u32::from_str_radix(digits, radix).ok()? + skip * 64;
                if matches!(escape, 'u' | 'U') {
                    let c = char::from_u32(value)?;
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                } else {
                    bytes.push(u8::try_from(value).ok()?);
                }
                continue;
            }
        };
        bytes.push(simple);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
