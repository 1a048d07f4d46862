//! Text cut to a number of columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text, or its beginning and `…` where it has more than `columns`.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let start = within(text.chars(), columns.saturating_sub(1));
    format!("{}…", start.iter().collect::<String>().trim_end())
}

/// The text, or its two ends with `…` between where it has more than `columns`.
pub(crate) fn cut_middle(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let left = columns.saturating_sub(1);
    let start: String = within(text.chars(), left.div_ceil(2)).into_iter().collect();
    let end = within(text.chars().rev(), left / 2);
    let end: String = end.into_iter().rev().collect();
    format!("{start}…{end}")
}

/// The first characters that take no more than `columns`.
fn within(chars: impl Iterator<Item = char>, columns: usize) -> Vec<char> {
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken <= columns
    };
    chars.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("ab cd", 4), "ab…");
        assert_eq!(cut("你好世界", 5), "你好…");
        assert_eq!(cut("你好", 2), "…");
    }

    #[test]
    fn names_keep_both_ends() {
        assert_eq!(cut_middle("abcdefgh", 8), "abcdefgh");
        assert_eq!(cut_middle("abcdefgh", 6), "abc…gh");
        assert_eq!(cut_middle("abcdefgh", 5), "ab…gh");
        assert_eq!(cut_middle("你好世界", 6), "你…界");
        assert_eq!(cut_middle("abc", 1), "…");
    }
}
