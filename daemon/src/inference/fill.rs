//! Texts with a gap, for models that were trained to fill one: with tokens of their own around what stands before it and
//! behind it.

use slm_engine::{Special, TokenId, Tokenizer};

/// Ahead of the text before the gap, of the text behind it, and of what fills it; families have one of these.
const MARKS: [[&str; 3]; 5] = [
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
    ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
    ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"],
];

/// Whether a vocabulary has such tokens.
pub(crate) fn has_marks<'a>(vocabulary: impl Iterator<Item = &'a [u8]>) -> bool {
    let all = MARKS.as_flattened();
    let mut is_there = [false; MARKS.as_flattened().len()];
    for token in vocabulary.filter(|token| token.starts_with(b"<")) {
        if let Some(at) = all.iter().position(|mark| mark.as_bytes() == token) {
            is_there[at] = true;
        }
    }
    let families = is_there.chunks(MARKS[0].len());
    families
        .into_iter()
        .any(|marks| marks.iter().all(|has| *has))
}

/// The prompt for what stands between two texts; `None` where the model has no such tokens.
pub(super) fn tokens(prefix: &str, suffix: &str, tokenizer: &Tokenizer) -> Option<Vec<TokenId>> {
    let marks = MARKS.iter().find_map(|marks| {
        let mut found = marks.iter().map(|mark| single(mark, tokenizer));
        Some([found.next()??, found.next()??, found.next()??])
    });
    let [before, behind, gap] = marks?;
    let text = |text: &str| tokenizer.encode(text, Special::Ignore);
    let mut tokens: Vec<TokenId> = tokenizer.leading_bos().into_iter().collect();
    tokens.push(before);
    tokens.extend(text(prefix));
    tokens.push(behind);
    tokens.extend(text(suffix));
    tokens.push(gap);
    Some(tokens)
}

/// The one token that a mark is.
fn single(mark: &str, tokenizer: &Tokenizer) -> Option<TokenId> {
    match tokenizer.encode(mark, Special::Recognise).as_slice() {
        [token] => Some(*token),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slm_gguf::{Gguf, Writer};

    /// Of letters, a beginning, and what else is given.
    fn tokenizer(control: &[&str]) -> Tokenizer {
        let texts = ["<unk>", "<s>", "</s>", "a", "b", "\u{2581}"];
        let texts = [&texts[..], control].concat();
        let types = [[2, 3, 3, 1, 1, 1].as_slice(), &vec![3; control.len()]].concat();
        let mut writer = Writer::new();
        writer.put("tokenizer.ggml.model", "llama");
        writer.put_array("tokenizer.ggml.tokens", &texts);
        writer.put_array("tokenizer.ggml.token_type", &types);
        writer.put_array("tokenizer.ggml.scores", &vec![0f32; texts.len()]);
        writer.put("tokenizer.ggml.add_space_prefix", false);
        let file = writer.finish().unwrap();
        Tokenizer::from_metadata(Gguf::parse(&file).unwrap().metadata()).unwrap()
    }

    #[test]
    fn a_vocabulary_can_fill_gaps_if_it_has_all_marks_of_one_family() {
        let has = |tokens: &[&str]| has_marks(tokens.iter().map(|token| token.as_bytes()));
        assert!(has(&[
            "a",
            "<fim_middle>",
            "<fim_prefix>",
            "<|fim_prefix|>",
            "<fim_suffix>"
        ]));
        assert!(!has(&["<fim_middle>", "<fim_prefix>", "<|fim_suffix|>"]));
        assert!(!has(&[]));
    }

    #[test]
    fn a_gap_stands_between_the_models_own_tokens_where_it_has_some() {
        let with = tokenizer(&["<fim-suffix>", "<fim-prefix>", "<fim-middle>"]);
        assert_eq!(
            tokens("a", "ba", &with),
            Some(vec![1, 7, 3, 6, 4, 3, 8]),
            "beginning, mark, a, mark, b, a, mark"
        );
        // what a user writes is never a mark
        let written = tokens("<fim-middle>", "", &with).unwrap();
        assert_eq!(written.iter().filter(|token| **token == 8).count(), 1);
        assert_eq!(tokens("a", "b", &tokenizer(&["<fim-prefix>"])), None);
    }
}
