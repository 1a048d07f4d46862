use super::*;
use fancy_regex::Regex;

const A: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const S: &str = r"\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Letters that come in capitals and small, as DeepSeek LLM lists them.
const CASED: &str = "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃";

/// The patterns as they are published, for one name of each family.
fn published(name: &str) -> Vec<String> {
    let llama3 = |n: &str| {
        format!(r"{A}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{n}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{S}")
    };
    let cased = |n: &str, a: &str| {
        let upper = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
        let lower = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";
        let prefix = r"[^\r\n\p{L}\p{N}]?";
        format!(
            r"{prefix}{upper}*{lower}+{a}|{prefix}{upper}+{lower}*{a}|\p{{N}}{n}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{S}"
        )
    };
    let gpt2 = GPT2.to_owned();
    match name {
        "smollm" => vec![r"\p{N}".to_owned(), gpt2],
        "gpt-2" => vec![gpt2],
        "llama-bpe" | "glm4" | "smaug-bpe" => vec![llama3("{1,3}")],
        "qwen2" | "deepseek-r1-qwen" => vec![llama3("")],
        "qwen35" => vec![format!(
            r"{A}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{S}"
        )],
        "minicpm5" => vec![r"\p{N}{1,3}".to_owned(), llama3("+")],
        "deepseek-llm" => vec![
            r"[\r\n]".to_owned(),
            r"\s?[CASED]+".replace("CASED", CASED),
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+".to_owned(),
            r"\s+$".to_owned(),
            r"[一-龥ࠀ-一가-\x{d7ff}]+".to_owned(),
            r"\p{N}+".to_owned(),
        ],
        "deepseek-coder" => vec![
            r"[\r\n]".to_owned(),
            r"\s?\p{L}+".to_owned(),
            r"\s?\p{P}+".to_owned(),
            r"[一-龥ࠀ-一가-\x{d7ff}]+".to_owned(),
            r"\p{N}".to_owned(),
        ],
        "deepseek-v3" => vec![
            r"\p{N}{1,3}".to_owned(),
            r"[一-龥\x{3040}-ゟ゠-ヿ]+".to_owned(),
            format!(
                r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{{|}}~][A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{S}"##
            ),
        ],
        "gpt-4o" | "granite-embed-multi-97m" => vec![cased("{1,3}", &format!("(?:{A})?"))],
        "tekken" => vec![cased("", "")],
        "falcon" => vec![
            r"[\p{P}\$\+<=>\^~\|`]+".to_owned(),
            gpt2,
            "[0-9][0-9][0-9]".to_owned(),
        ],
        "default" => vec![
            r"[\p{P}\$\+<=>\^~\|]+".to_owned(),
            gpt2,
            r"\p{N}+".to_owned(),
            "[0-9][0-9][0-9]".to_owned(),
        ],
        other => panic!("no published pattern for {other}"),
    }
}

fn split_by_regexes(regexes: &[Regex], text: &str) -> Vec<String> {
    let mut pieces = vec![text.to_owned()];
    for regex in regexes {
        let mut cut = Vec::new();
        for piece in &pieces {
            let mut from = 0;
            for found in regex.find_iter(piece) {
                let found = found.unwrap();
                cut.extend([&piece[from..found.start()], found.as_str()].map(str::to_owned));
                from = found.end();
            }
            cut.push(piece[from..].to_owned());
        }
        cut.retain(|piece| !piece.is_empty());
        pieces = cut;
    }
    pieces
}

fn split(name: &str, text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let pre_tokenizer = PreTokenizer::named(name).unwrap();
    pre_tokenizer.split(text, &mut |piece| pieces.push(piece.to_owned()));
    pieces
}

#[test]
fn hand_written_splitters_are_the_published_patterns() {
    let alphabet = [
        "a", "b", "s", "S", "T", "re", "LL", "'", "'s", "'ve", "'D", "ſ", "é", "e\u{301}", "Ä",
        "ǅ", "ʰ", "中", "の", "ำ", "\u{0903}", "1", "2", "345", "½", "Ⅷ", "٣", " ", " ", "  ",
        "\t", "\n", "\r\n", "\u{a0}", "\u{3000}", "\u{85}", ".", "!", "/", "//", "$", "+", "`",
        "~", "|", "_", "龥", "가", "ࠀ", "ｚ", "！", "。", "‘", "ϵ", "µ", "🙂", "\u{301}", "¬", "’",
        "«", "€", "🦀", "\u{200d}", "\u{0}", "ⓐ",
    ];
    let mut random = fastrand::Rng::with_seed(1);
    for family in FAMILIES {
        let name = family.names[0];
        let regexes: Vec<_> = published(name)
            .iter()
            .map(|pattern| Regex::new(pattern).unwrap())
            .collect();
        for _ in 0..4000 {
            let text: String = (0..random.usize(0..14))
                .map(|_| alphabet[random.usize(0..alphabet.len())])
                .collect();
            assert_eq!(
                split(name, &text),
                split_by_regexes(&regexes, &text),
                "{name}: {text:?}"
            );
        }
    }
}

#[test]
fn known_splits() {
    #[track_caller]
    fn check(name: &str, text: &str, expected: &[&str]) {
        assert_eq!(split(name, text), expected);
    }
    check(
        "smollm",
        "It's 2024!",
        &["It", "'s", " ", "2", "0", "2", "4", "!"],
    );
    check(
        "gpt-2",
        "I'LL go  home",
        &["I", "'", "LL", " go", " ", " home"],
    );
    check(
        "llama-bpe",
        "I'LL pay 12345\n\n ok",
        &["I", "'LL", " pay", " ", "123", "45", "\n\n", " ok"],
    );
    check("qwen2", "a  1234", &["a", " ", " ", "1", "2", "3", "4"]);
    check("gpt-4o", "HelloWorld's", &["Hello", "World's"]);
    check("default", "x=12345 ok", &["x", "=", "123", "45", " ok"]);
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let error = PreTokenizer::named("gpt-5").unwrap_err().to_string();
    assert!(
        error.contains("`gpt-5`") && error.contains("smollm") && error.contains("qwen2"),
        "{error}"
    );
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = FAMILIES.iter().flat_map(|family| family.names).collect();
    let n_names = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), n_names);
}

#[test]
fn long_runs_stay_linear() {
    for family in FAMILIES {
        for unit in ["a", " ", "A", "1", "!", "\n", "中", "e\u{301}", " \n"] {
            let text = unit.repeat(300_000);
            let mut n_bytes = 0;
            family.split(&text, &mut |piece| n_bytes += piece.len());
            assert_eq!(n_bytes, text.len());
        }
    }
}
