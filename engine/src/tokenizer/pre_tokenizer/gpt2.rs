//! GPT-2's pattern, case-sensitive:
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
use super::unicode::{Kinds, kinds_at, run_end};

/// The runs that may follow one space.
const RUNS: [Kinds; 3] = [Kinds::LETTER, Kinds::NUMBER, Kinds::OTHER_OR_MARK];

pub(super) fn split<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let mut at = 0;
    while at < text.len() {
        let end = match_end(text, at);
        emit(&text[at..end]);
        at = end;
    }
}

fn match_end(text: &str, at: usize) -> usize {
    if let Some(end) = contraction_end(text, at) {
        return end;
    }
    let after_space = at + usize::from(text.as_bytes()[at] == b' ');
    if let Some((kinds, next)) = kinds_at(text, after_space) {
        for run in RUNS {
            if kinds.meets(run) {
                return run_end(text, next, run);
            }
        }
    }
    white_space_end(text, at)
}

/// The end of `'s|'t|'re|'ve|'m|'ll|'d` at `at`.
fn contraction_end(text: &str, at: usize) -> Option<usize> {
    match text.as_bytes()[at..] {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(at + 2),
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(at + 3),
        _ => None,
    }
}

/// The end of `\s+(?!\S)|\s+` at `at`, where white space begins: the run without its last character, which the next
/// word may want, unless the run ends the text or has only one.
pub(super) fn white_space_end(text: &str, at: usize) -> usize {
    let mut before_last = at;
    let mut end = at;
    while let Some((kinds, next)) = kinds_at(text, end) {
        if !kinds.meets(Kinds::SPACE) {
            return if before_last > at { before_last } else { end };
        }
        before_last = end;
        end = next;
    }
    end
}
