//! What is missing behind JSON that broke off, so that it can be parsed: quotes, values, brackets. Whether the outcome
//! keeps to a schema is another matter; the answer's `done_reason` still says that it is not the model's own end.

/// What comes next in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A value.
    Value,
    /// A value, or the end of its array.
    ValueOrEnd,
    Key,
    /// A key, or the end of its object.
    KeyOrEnd,
    Colon,
    /// A comma, or the end of what the value is in.
    CommaOrEnd,
}

/// What to put behind `text`, the beginning of a JSON text, to make it whole; nothing where it is whole already.
pub(super) fn closing(text: &str) -> String {
    let mut open = Vec::new();
    let mut next = Next::Value;
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else {
            break;
        };
        let mut n_read = first.len_utf8();
        match first {
            '{' | '[' => {
                open.push(first);
                next = match first {
                    '{' => Next::KeyOrEnd,
                    _ => Next::ValueOrEnd,
                };
            }
            '}' | ']' => {
                open.pop();
                next = Next::CommaOrEnd;
            }
            ',' => {
                next = match open.last() {
                    Some('{') => Next::Key,
                    _ => Next::Value,
                };
            }
            ':' => next = Next::Value,
            '"' => {
                let is_key = matches!(next, Next::Key | Next::KeyOrEnd);
                next = match is_key {
                    true => Next::Colon,
                    false => Next::CommaOrEnd,
                };
                match string_end(rest) {
                    Ok(end) => n_read = end,
                    Err(missing) => return missing + &behind(next, &open),
                }
            }
            _ => {
                let is_word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
                n_read = rest.find(|c| !is_word(c)).unwrap_or(rest.len()).max(n_read);
                next = Next::CommaOrEnd;
                if n_read == rest.len() {
                    return missing_of_word(rest) + &behind(next, &open);
                }
            }
        }
        rest = &rest[n_read..];
    }
    behind(next, &open)
}

/// Where the string at the beginning of `text` ends, or what is missing of it.
fn string_end(text: &str) -> Result<usize, String> {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok(at + 1),
            '\\' => match chars.next() {
                None => return Err("\\\"".to_owned()),
                Some((_, 'u')) => {
                    let n_digits = chars.by_ref().take(4).count();
                    if n_digits < 4 {
                        return Err("0".repeat(4 - n_digits) + "\"");
                    }
                }
                Some(_) => {}
            },
            _ => {}
        }
    }
    Err("\"".to_owned())
}

/// What is missing of a number, `true`, `false` or `null` at the end of a text.
fn missing_of_word(word: &str) -> String {
    let literals = ["true", "false", "null"];
    let missing = literals
        .iter()
        .find_map(|literal| literal.strip_prefix(word));
    let is_open = word.ends_with(['-', '+', '.', 'e', 'E']);
    missing.unwrap_or(if is_open { "0" } else { "" }).to_owned()
}

/// What is missing where `next` comes next within `open`.
fn behind(next: Next, open: &[char]) -> String {
    let mut missing = match next {
        Next::Value => "null",
        Next::Key => "\"\":null",
        Next::Colon => ":null",
        Next::ValueOrEnd | Next::KeyOrEnd | Next::CommaOrEnd => "",
    }
    .to_owned();
    missing.extend(open.iter().rev().map(|bracket| match bracket {
        '{' => '}',
        _ => ']',
    }));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_beginning_of_json_becomes_json() {
        let texts = [
            r#"{"a": [1, -2.5e+7, {"b\n\"": true}], "ü\u0041": "x\\", "c": [], "d": {}, "e": null}"#,
            " [ false , \"\\u00e9\" , [ ] , 0.5 ]\n",
            "\"text\"",
            "-12.5",
        ];
        let mut n_beginnings = 0;
        for text in texts {
            for (end, _) in text.char_indices() {
                let beginning = &text[..end];
                let whole = beginning.to_owned() + &closing(beginning);
                let parsed = serde_json::from_str::<Value>(&whole);
                assert!(parsed.is_ok(), "{beginning:?} became {whole:?}");
                n_beginnings += 1;
            }
            assert_eq!(closing(text), "");
        }
        assert!(n_beginnings > 100);
    }
}
