//! Llama 3's pattern and its kin, with L = `\p{L}` (or `\p{L}\p{M}`) and n digits:
//! `A|[^\r\n\p{L}\p{N}]?[L]+|\p{N}{1,n}| ?[^\s\p{N}L]+[\r\n]*|S`, where
//! A = `(?i:'s|'t|'re|'ve|'m|'ll|'d)` and S = `\s*[\r\n]+|\s+(?!\S)|\s+`.
use super::gpt2;
use super::unicode::{Kinds, kinds_at, run_end, run_end_at_most};

/// What differs within the family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Most digits in a word.
    pub(super) n_digits: usize,
    /// L has `\p{M}` too.
    pub(super) marks_are_letters: bool,
}

pub(super) fn split<'t>(text: &'t str, rules: Rules, emit: &mut dyn FnMut(&'t str)) {
    let mut at = 0;
    while at < text.len() {
        let end = match_end(text, at, rules);
        emit(&text[at..end]);
        at = end;
    }
}

fn match_end(text: &str, at: usize, rules: Rules) -> usize {
    let (letters, signs) = if rules.marks_are_letters {
        (Kinds::LETTER | Kinds::MARK, Kinds::OTHER)
    } else {
        (Kinds::LETTER, Kinds::OTHER_OR_MARK)
    };
    let Some((kinds, next)) = kinds_at(text, at) else {
        return at;
    };
    if let Some(end) = contraction_end(text, at) {
        return end;
    }
    if kinds.meets(letters) {
        return run_end(text, next, letters);
    }
    if kinds.meets(Kinds::NUMBER) {
        return run_end_at_most(text, next, Kinds::NUMBER, rules.n_digits - 1);
    }
    if !kinds.meets(Kinds::NEWLINE) {
        let end = run_end(text, next, letters);
        if end > next {
            return end;
        }
    }
    if let Some(signs_end) = signs_end(text, at, signs) {
        return run_end(text, signs_end, Kinds::NEWLINE);
    }
    white_space_end(text, at)
}

/// The end of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at `at`. Ignoring case, `ſ` is an `s`.
pub(super) fn contraction_end(text: &str, at: usize) -> Option<usize> {
    let [b'\'', rest @ ..] = &text.as_bytes()[at..] else {
        return None;
    };
    match rest {
        [b's' | b'S' | b't' | b'T' | b'm' | b'M' | b'd' | b'D', ..] => Some(at + 2),
        [b'r' | b'R' | b'v' | b'V', b'e' | b'E', ..] | [b'l' | b'L', b'l' | b'L', ..] => {
            Some(at + 3)
        }
        _ if rest.starts_with("ſ".as_bytes()) => Some(at + 1 + "ſ".len()),
        _ => None,
    }
}

/// The end of ` ?[signs]+` at `at`.
pub(super) fn signs_end(text: &str, at: usize, signs: Kinds) -> Option<usize> {
    let start = at + usize::from(text.as_bytes()[at] == b' ');
    let end = run_end(text, start, signs);
    (end > start).then_some(end)
}

/// The end of S at `at`, where white space begins: up to the run's last line break if it has one.
pub(super) fn white_space_end(text: &str, at: usize) -> usize {
    let mut line_end = None;
    let mut end = at;
    while let Some((kinds, next)) = kinds_at(text, end) {
        if !kinds.meets(Kinds::SPACE) {
            break;
        }
        end = next;
        if kinds.meets(Kinds::NEWLINE) {
            line_end = Some(end);
        }
    }
    line_end.unwrap_or_else(|| gpt2::white_space_end(text, at))
}
