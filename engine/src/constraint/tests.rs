use super::{vocabulary::tree, *};
use crate::Special;
use llguidance::toktrie::TokTrie;
use slm_gguf::Gguf;

/// Byte-level BPE, SentencePiece with byte fallback, characters, and more of each.
const MODELS: [&str; 8] = [
    "llama", "mistral", "gemma3", "gemma4", "qwen2", "qwen35", "phi3", "smollm3",
];

fn tokenizer(model: &str) -> Tokenizer {
    let path = format!(
        "{}/../tests/data/golden/{model}.gguf",
        env!("CARGO_MANIFEST_DIR")
    );
    let file = std::fs::read(path).unwrap();
    Tokenizer::from_metadata(Gguf::parse(&file).unwrap().metadata()).unwrap()
}

#[test]
fn tokens_of_the_tree_spell_texts_to_the_byte() {
    let texts = [
        "{\"key\": [1, -2.5e7, true, null]}",
        " two  spaces\n\ttab\r\n",
        "größe 日本語 🦀 \u{1}\u{7f}\u{200b}",
        "<s> is not a token here, nor </s> or <|im_end|>",
    ];
    for model in MODELS {
        let tokenizer = tokenizer(model);
        let tree = tree(&tokenizer).unwrap();
        for text in texts {
            let tokens = tokenizer.encode(text, Special::Ignore);
            let spelled: Vec<u8> = tokens
                .iter()
                .flat_map(|&t| tree.token(t).to_vec())
                .collect();
            let spelled = match tokenizer.adds_space_prefix() {
                true => spelled.strip_prefix(b" ").unwrap_or(&spelled),
                false => &spelled,
            };
            let spelled = String::from_utf8_lossy(spelled);
            assert_eq!(spelled, text, "{model}: {tokens:?}");
        }
    }
}

#[test]
fn control_tokens_are_no_text_and_every_end_is_one() {
    for model in MODELS {
        let tokenizer = tokenizer(model);
        let tree = tree(&tokenizer).unwrap();
        let (mut n_control, mut n_text) = (0, 0);
        for token in 0..tokenizer.vocab_size() as TokenId {
            let bytes = tree.token(token);
            let is_text = bytes
                .first()
                .is_some_and(|&b| b != TokTrie::SPECIAL_TOKEN_MARKER);
            if tokenizer.is_control(token) || tokenizer.is_end_of_generation(token) {
                assert!(!is_text, "{model}: {}", tokenizer.token_text(token));
                n_control += 1;
            } else {
                n_text += usize::from(is_text);
            }
        }
        assert!(
            n_control > 0 && n_text > 256,
            "{model}: {n_control}, {n_text}"
        );
        assert_eq!(tree.eos_tokens(), tokenizer.ends_of_generation(), "{model}");
    }
}

/// Feeds tokens of `text` one by one and checks that each was allowed.
fn follow(constraint: &mut Constraint, tokenizer: &Tokenizer, tokens: &[TokenId]) {
    for &token in tokens {
        let mut logits = vec![0.0; tokenizer.vocab_size() + 5];
        constraint.mask(tokenizer, &mut logits).unwrap();
        assert!(
            logits[tokenizer.vocab_size()..]
                .iter()
                .all(|l| !l.is_finite())
        );
        assert!(
            logits[token as usize].is_finite(),
            "{}",
            tokenizer.token_text(token)
        );
        constraint.accept(tokenizer, token).unwrap();
    }
}

fn allowed(constraint: &mut Constraint, tokenizer: &Tokenizer) -> Vec<TokenId> {
    let mut logits = vec![0.0; tokenizer.vocab_size()];
    constraint.mask(tokenizer, &mut logits).unwrap();
    let ids = (0..).zip(&logits);
    ids.filter(|(_, l)| l.is_finite())
        .map(|(id, _)| id)
        .collect()
}

/// Whether the answer may end here: by every end of a generation, or by none.
fn may_end(constraint: &mut Constraint, tokenizer: &Tokenizer) -> bool {
    let ends = tokenizer.ends_of_generation();
    let allowed = allowed(constraint, tokenizer);
    assert!(
        ends.iter()
            .all(|end| allowed.contains(end) == allowed.contains(&ends[0]))
    );
    allowed.contains(&ends[0])
}

#[test]
fn an_end_is_allowed_where_the_grammar_may_end_and_only_there() {
    let tokenizer = tokenizer("llama");
    let guide = Guide::new(&tokenizer).unwrap();
    let grammar = Grammar::Regex("a+(bc)?".to_owned());
    let mut constraint = Constraint::new(&guide, &grammar, None, &tokenizer).unwrap();
    let token = |text: &str| tokenizer.encode(text, Special::Ignore);
    assert!(!may_end(&mut constraint, &tokenizer));
    follow(&mut constraint, &tokenizer, &token("a"));
    assert!(may_end(&mut constraint, &tokenizer));
    let mut copy = constraint.clone();
    follow(&mut constraint, &tokenizer, &token("b"));
    assert!(!may_end(&mut constraint, &tokenizer) && !constraint.is_complete());
    follow(&mut constraint, &tokenizer, &token("c"));
    assert!(constraint.is_complete());
    // a copy goes its own way
    assert!(may_end(&mut copy, &tokenizer) && !copy.is_complete());
    follow(&mut copy, &tokenizer, &token("a"));
}

#[test]
fn a_form_that_need_not_come_is_enforced_once_its_mark_has() {
    let tokenizer = tokenizer("llama");
    let guide = Guide::new(&tokenizer).unwrap();
    let ahead = Thoughts {
        opens: None,
        closes: vec!["<c>".to_owned()],
        may_end: true,
        from_start: None,
    };
    let grammar = Grammar::Regex("[0-9]{2}".to_owned());
    let mut constraint = Constraint::new(&guide, &grammar, Some(ahead), &tokenizer).unwrap();
    assert!(constraint.is_optional() && !constraint.begins_at_once());
    let token = |text: &str| tokenizer.encode(text, Special::Ignore);
    assert!(may_end(&mut constraint, &tokenizer));
    follow(&mut constraint, &tokenizer, &token("free < text <c"));
    assert!(may_end(&mut constraint, &tokenizer) && !constraint.is_complete());
    follow(&mut constraint, &tokenizer, &token(">"));
    assert!(!may_end(&mut constraint, &tokenizer));
    for token in allowed(&mut constraint, &tokenizer) {
        assert!(
            tokenizer
                .token_text(token)
                .bytes()
                .all(|b| b.is_ascii_digit())
        );
    }
    follow(&mut constraint, &tokenizer, &token("42"));
    assert!(constraint.is_complete());
}

#[test]
fn a_form_from_the_start_is_enforced_once_something_has_decided_for_it() {
    let tokenizer = tokenizer("llama");
    let guide = Guide::new(&tokenizer).unwrap();
    let ahead = |closes: &[&str]| Thoughts {
        opens: None,
        closes: closes.iter().map(|&text| text.to_owned()).collect(),
        may_end: true,
        from_start: Some(FromStart {
            grammar: Grammar::Regex("a+:(x|xy)=[0-9]{2}".to_owned()),
            decided_by: vec![":x=".to_owned(), ":xy=".to_owned()],
        }),
    };
    let grammar = Grammar::Regex("[a-c]{2}".to_owned());
    let made = |closes: &[&str]| {
        let constraint = Constraint::new(&guide, &grammar, Some(ahead(closes)), &tokenizer);
        constraint.unwrap()
    };
    let token = |text: &str| tokenizer.encode(text, Special::Ignore);
    for closes in [&[][..], &["<c>"]] {
        let mut constraint = made(closes);
        assert!(constraint.is_optional() && !constraint.begins_at_once());
        follow(&mut constraint, &tokenizer, &token("aa:x"));
        // what would leave the form by deciding for it may not come, all else may
        assert!(may_end(&mut constraint, &tokenizer));
        let may_come = allowed(&mut constraint, &tokenizer);
        for token in 0..tokenizer.vocab_size() as TokenId {
            let bytes = tokenizer.token_bytes(token);
            let rest = bytes.strip_prefix(b"=").or(bytes.strip_prefix(b"y="));
            let is_out =
                rest.is_some_and(|rest| rest.len() > 2 || !rest.iter().all(u8::is_ascii_digit));
            let text = tokenizer.token_text(token);
            assert_eq!(may_come.contains(&token), !is_out, "{text}");
        }
        follow(&mut constraint, &tokenizer, &token("y="));
        assert!(!may_end(&mut constraint, &tokenizer));
        for token in allowed(&mut constraint, &tokenizer) {
            let text = tokenizer.token_text(token);
            assert!(text.bytes().all(|b| b.is_ascii_digit()), "{text}");
        }
        follow(&mut constraint, &tokenizer, &token("42"));
        assert!(constraint.is_complete());
    }
    // what begins otherwise is free, and the mark counts as ever
    for text in ["b", "aa:z=", "aa:xz=", "<c"] {
        let mut constraint = made(&["<c>"]);
        follow(&mut constraint, &tokenizer, &token(text));
        let n_allowed = allowed(&mut constraint, &tokenizer).len();
        assert!(
            n_allowed > 250 && may_end(&mut constraint, &tokenizer),
            "{text}"
        );
        follow(&mut constraint, &tokenizer, &token(" free a:x=z <c>"));
        assert!(!may_end(&mut constraint, &tokenizer), "{text}");
        follow(&mut constraint, &tokenizer, &token("ab"));
        assert!(constraint.is_complete(), "{text}");
    }
    let mut constraint = made(&[]);
    follow(&mut constraint, &tokenizer, &token("free a:x=z <c> text"));
    assert!(may_end(&mut constraint, &tokenizer) && !constraint.is_complete());
}

#[test]
fn thoughts_cannot_end_the_answer_and_close_with_white_space_at_most() {
    let tokenizer = tokenizer("llama");
    let guide = Guide::new(&tokenizer).unwrap();
    let thoughts = Thoughts {
        opens: Some("<th>".to_owned()),
        closes: vec!["</th>".to_owned()],
        may_end: false,
        from_start: None,
    };
    let grammar = Grammar::Json;
    let mut constraint = Constraint::new(&guide, &grammar, Some(thoughts), &tokenizer).unwrap();
    let text = |token| tokenizer.token_text(token);
    let token = |text: &str| tokenizer.encode(text, Special::Ignore);
    for token in allowed(&mut constraint, &tokenizer) {
        assert!(["<", "{"].contains(&&text(token)[..1]), "{}", text(token));
    }
    follow(&mut constraint, &tokenizer, &token("<th>free {</th"));
    let rest = allowed(&mut constraint, &tokenizer);
    assert!(rest.len() > 250 && rest.contains(&token(">")[0]));
    for &token in &rest {
        assert!(!tokenizer.is_end_of_generation(token));
        let bytes = tokenizer.token_bytes(token);
        assert!(
            bytes
                .strip_prefix(b">")
                .is_none_or(|rest| rest.trim_ascii().is_empty())
        );
    }
    follow(&mut constraint, &tokenizer, &token(">"));
    for token in allowed(&mut constraint, &tokenizer) {
        assert!(text(token).starts_with('{'), "{}", text(token));
    }
}

#[test]
fn a_grammar_may_ask_for_control_tokens_and_for_text_up_to_another() {
    let tokenizer = tokenizer("qwen2");
    let guide = Guide::new(&tokenizer).unwrap();
    let is_mark =
        |&token: &TokenId| tokenizer.is_control(token) && !tokenizer.is_end_of_generation(token);
    let mark = (0..tokenizer.vocab_size() as TokenId)
        .find(is_mark)
        .unwrap();
    let json = Grammar::lark_of_schema(&json!({"enum": [7]}), false).unwrap();
    let lark = format!(
        "start: <[{mark}]> \"f\" r0 j <[{mark}]>\nr0[lazy]: /(.|\\n)*/ \"</p>\"\nj: {json}\n"
    );
    let grammar = Grammar::Lark(lark);
    let mut constraint = Constraint::new(&guide, &grammar, None, &tokenizer).unwrap();
    assert_eq!(allowed(&mut constraint, &tokenizer), [mark]);
    let text = tokenizer.encode("f<p> </p>7", Special::Ignore);
    let tokens = [&[mark], text.as_slice(), &[mark]].concat();
    follow(&mut constraint, &tokenizer, &tokens);
    assert!(constraint.is_complete());
}
