//! The pattern of GPT-4o and Tekken, where a word changes from capitals to small letters at most once:
//! `P?[U]*[W]+A?|P?[U]+[W]*A?|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n/]*|S`, where P = `[^\r\n\p{L}\p{N}]`,
//! U = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, W = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`, A and S as in [`super::llama3`].
use super::llama3::{contraction_end, signs_end, white_space_end};
use super::unicode::{Kinds, kinds_at, run_end, run_end_at_most};

/// What differs within the family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Most digits in a word.
    pub(super) n_digits: usize,
    /// Whether there is an `A?`.
    pub(super) contractions: bool,
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
    let Some((kinds, next)) = kinds_at(text, at) else {
        return at;
    };
    // The optional P first; a mark is both P and a part of the word, so the word may begin at `at` all the same.
    let is_prefix = !kinds.meets(Kinds::LETTER | Kinds::NUMBER | Kinds::NEWLINE);
    let with_prefix = is_prefix.then_some(next);
    let word = [lower_word_end, upper_word_end]
        .into_iter()
        .find_map(|word_end| {
            with_prefix
                .and_then(|start| word_end(text, start))
                .or_else(|| word_end(text, at))
        });
    if let Some(end) = word {
        let contraction = rules.contractions.then(|| contraction_end_in(text, end));
        return contraction.flatten().unwrap_or(end);
    }
    if kinds.meets(Kinds::NUMBER) {
        return run_end_at_most(text, next, Kinds::NUMBER, rules.n_digits - 1);
    }
    if let Some(mut end) = signs_end(text, at, Kinds::OTHER_OR_MARK) {
        loop {
            let breaks = run_end(text, end, Kinds::NEWLINE);
            let slashes = text[breaks..]
                .bytes()
                .take_while(|&byte| byte == b'/')
                .count();
            if breaks + slashes == end {
                return end;
            }
            end = breaks + slashes;
        }
    }
    white_space_end(text, at)
}

fn contraction_end_in(text: &str, at: usize) -> Option<usize> {
    (at < text.len())
        .then(|| contraction_end(text, at))
        .flatten()
}

/// The end of `[U]*[W]+` at `at`. U takes what it can; when no W follows, it gives back up to the last character that is
/// both, and W takes exactly that one.
fn lower_word_end(text: &str, at: usize) -> Option<usize> {
    let mut after_both = None;
    let mut upper_end = at;
    while let Some((kinds, next)) = kinds_at(text, upper_end) {
        if !kinds.meets(Kinds::UPPER) {
            break;
        }
        if kinds.meets(Kinds::LOWER) {
            after_both = Some(next);
        }
        upper_end = next;
    }
    let end = run_end(text, upper_end, Kinds::LOWER);
    if end > upper_end {
        Some(end)
    } else {
        after_both
    }
}

/// The end of `[U]+[W]*` at `at`.
fn upper_word_end(text: &str, at: usize) -> Option<usize> {
    let end = run_end(text, at, Kinds::UPPER);
    (end > at).then(|| run_end(text, end, Kinds::LOWER))
}
