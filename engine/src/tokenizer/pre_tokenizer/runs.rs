//! Stages that cut runs of one kind of character out of the text and leave the rest alone.
use super::unicode::{Kinds, kinds_at, run_end_at_most};

/// Matches of `[kinds]{1,n_max}` and the gaps between them.
pub(super) fn split<'t>(
    text: &'t str,
    kinds: Kinds,
    n_max: Option<usize>,
    emit: &mut dyn FnMut(&'t str),
) {
    let n_max = n_max.unwrap_or(usize::MAX);
    matches_and_gaps(text, emit, |at| {
        let end = run_end_at_most(text, at, kinds, n_max);
        (end > at).then_some(end)
    });
}

/// Matches of ``[\p{P}\$\+<=>\^~\|`]+`` (without the backtick where there is none) and the gaps.
pub(super) fn punctuation<'t>(text: &'t str, backtick: bool, emit: &mut dyn FnMut(&'t str)) {
    let bytes = text.as_bytes();
    matches_and_gaps(text, emit, |at| {
        let mut end = at;
        while let Some((kinds, next)) = kinds_at(text, end) {
            let sign = match bytes[end] {
                b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'~' | b'|' => true,
                b'`' => backtick,
                _ => kinds.meets(Kinds::PUNCTUATION),
            };
            if !sign {
                break;
            }
            end = next;
        }
        (end > at).then_some(end)
    });
}

/// Matches of `[0-9][0-9][0-9]` and the gaps.
pub(super) fn three_digits<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    matches_and_gaps(text, emit, |at| {
        let end = run_end_at_most(text, at, Kinds::ASCII_DIGIT, 3);
        (end == at + 3).then_some(end)
    });
}

/// Emits what `match_end` matches, and what lies between. `match_end` is asked at every character in turn.
pub(super) fn matches_and_gaps<'t>(
    text: &'t str,
    emit: &mut dyn FnMut(&'t str),
    match_end: impl Fn(usize) -> Option<usize>,
) {
    let (mut gap_from, mut at) = (0, 0);
    while let Some((_, next)) = kinds_at(text, at) {
        match match_end(at) {
            Some(end) => {
                if gap_from < at {
                    emit(&text[gap_from..at]);
                }
                emit(&text[at..end]);
                gap_from = end;
                at = end;
            }
            None => at = next,
        }
    }
    if gap_from < text.len() {
        emit(&text[gap_from..]);
    }
}
