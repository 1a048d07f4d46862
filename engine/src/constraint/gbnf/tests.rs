//! What a grammar accepts is judged by tables written by hand, and for grammars made up at random by a recogniser that
//! follows all ways through the grammar, one character after the other, as GBNF is defined.

use super::{is_gbnf, to_lark};
use llguidance::{
    Matcher, ParserFactory, api::TopLevelGrammar, earley::SlicedBiasComputer,
    toktrie::ApproximateTokEnv, toktrie::InferenceCapabilities,
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
};

fn lark(text: &str) -> Result<String, String> {
    to_lark(text, &|text| (text == "<think>").then_some(7))
}

/// A matcher whose tokens are single bytes.
fn matcher(lark: &str) -> Result<Matcher, String> {
    let factory = ParserFactory::new(
        &ApproximateTokEnv::single_byte_env(),
        InferenceCapabilities::default(),
        &SlicedBiasComputer::json_slices(),
    );
    let mut factory = factory.unwrap();
    factory.quiet();
    let parser = factory.create_parser(TopLevelGrammar::from_lark(lark.to_owned()));
    parser
        .map(|parser| Matcher::new(Ok(parser)))
        .map_err(|error| error.to_string())
}

fn accepts(matcher: &mut Matcher, text: &str) -> bool {
    matcher.reset().unwrap();
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    let n = matcher.try_consume_tokens(&tokens).unwrap();
    n == tokens.len() && (matcher.is_accepting().unwrap() || matcher.is_stopped())
}

#[track_caller]
fn check(grammar: &str, accepted: &[&str], rejected: &[&str]) {
    let lark = lark(grammar).unwrap();
    let mut matcher = matcher(&lark).unwrap_or_else(|error| panic!("{error}\n{lark}"));
    for text in accepted {
        assert!(
            accepts(&mut matcher, text),
            "{text:?} must match\n{grammar}\n{lark}"
        );
    }
    for text in rejected {
        assert!(
            !accepts(&mut matcher, text),
            "{text:?} must not match\n{grammar}\n{lark}"
        );
    }
}

const JSON: &str = r##"
# any value; blanks only behind what is complete
root  ::= value
value ::= map | list | text | number | ("true" | "false" | "null") gap

map ::=
  "{" gap (
         text ":" gap value
    ("," gap text ":" gap value)*
  )? "}" gap
list ::= "[" gap (
         value ("," gap value)* # no comma at the end
  )? "]" gap

text ::= "\"" (
    [^"\\\x00-\x1F\x7F] |
    "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" gap
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,4})? gap
gap ::= | " " | "\n" [ \t]{0,20}
"##;

#[test]
fn json() {
    check(
        JSON,
        &[
            "{}",
            "[ ]",
            "[1, -2.5e-7,true\n\t ]",
            "{\"a\": {\"b\":[[[]]]},\"ü\":\"\\u00fc\\\"\"}",
            "\"\"",
            "0.5",
        ],
        &[
            "", "{", "[1,]", "[01]", "\"\\x\"", "{a:1}", "[1]]", "\"\n\"", "[1  ]", "tru",
        ],
    );
    // texts and numbers are one terminal each: a mask must not go through the vocabulary character by character
    let lark = lark(JSON).unwrap();
    assert!(lark.contains("{0,15}") && lark.contains("{4,4})"), "{lark}");
    assert!(lark.len() < 3000, "{lark}");
}

#[test]
fn rules_of_the_kinds_that_people_write() {
    // moves of a game: groups, optional parts, a comment and lines in the rule
    check(
        "root ::= (\n  # the first\n  \"1. \" move \" \" move \"\\n\"\n  ([1-9] [0-9]? \". \" move \" \" move \"\\n\")+\n)\nmove ::= (piece | pawn | \"O-O\" \"-O\"?) [+#]?\npiece ::= [NBKQR] [a-h]? [1-8]? \"x\"? [a-h] [1-8]\npawn ::= ([a-h] \"x\")? [a-h] [1-8] (\"=\" [NBKQR])?",
        &["1. e4 e5\n2. Nf3 O-O-O+\n", "1. exd8=Q# Nbd7\n12. a1 a2\n"],
        &[
            "1. e4 e5\n",
            "1. e4 e5\n2. Nf9 e6\n",
            "1. e4  e5\n2. e4 e5\n",
        ],
    );
    // what may be a line's end ends a term, too
    check(
        "root ::= (sum \"=\" gap term \"\\n\")+\nsum ::= term ([-+*/] term)*\nterm ::= name | number | \"(\" gap sum \")\" gap\nname ::= [a-z] [a-z0-9_]* gap\nnumber ::= [0-9]+ gap\ngap ::= [ \\t\\n]*",
        &["a=1\n", "(a1 +(2))*3 = x_ \n\n", "a\n=\n1\nb=2\n"],
        &["a=1", "a+ 1=2\n", "a+=1\n", "(a=1\n", "1a=2\n"],
    );
    // lists by recursion at the end, alone and in a group
    check(
        "root ::= item root | item\nitem ::= \"- \" line\nline ::= [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029] (line | \"\\n\")",
        &["- a\n", "- größe\n- 日本\n"],
        &["", "- a", "- \n", "- a\u{85}\n", "- a\u{2028}b\n"],
    );
    check(
        "root ::= \"a\" gap \"b\"\ngap ::= ([ \\t] gap)?",
        &["ab", "a \t b"],
        &["a\nb", "a ", " ab"],
    );
    // a language with statements in each other
    check(
        "root ::= (statement)*\nstatement ::= \"{\" statement* \"}\" | name gap \"=\" gap value \";\" | \"//\" [^\\n]* \"\\n\" | \"/*\" ( [^*] | (\"*\" [^/]) )* \"*/\"\nvalue ::= name | name\"(\" (value (\",\" gap value)*)? \")\"\nname ::= [a-zA-Z_] [a-zA-Z_0-9]*\ngap ::= ([ \\t\\n]+)",
        &["", "x = y;", "{a = f(g(x), y);{}}// z\n/* * / */"],
        &["x=y;", "{", "x = f(;", "// z"],
    );
    // hiragana and other letters
    check(
        "root ::= jp+ ([ \\t\\n] jp+)*\njp ::= [ぁ-ゟ] | [ァ-ヿ] | [、-〾] | [一-鿿]",
        &["ひらがな", "カタカナ 漢字。"],
        &["romaji", "ひ ", "ひ  ら"],
    );
}

#[test]
fn terminals_that_go_on_where_others_end() {
    // the longest match alone would never go back
    let nested = |inner: &str| format!("root ::= pair\npair ::= \"<\" pair \">\" | {inner}");
    check(
        &nested("\"a\" [a-z]* x \"c\"\nx ::= \"b\" | \"(\" pair \")\""),
        &["abc", "<abbbc>", "a(abc)c", "azzzbc"],
        &["ac", "<abc", "abcz"],
    );
    check(
        "root ::= x\nx ::= (\"a\" | \"ab\") (\"bc\" | \"d\" | \"(\" x \")\")",
        &["abc", "abbc", "ad", "abd", "a(abc)", "ab(ad)"],
        &["a", "abcc", "acd"],
    );
    check(
        "root ::= [ab]* \"a\" root \"c\" | \"b\"",
        &["b", "abc", "aaabc", "babbabc", "aabcc"],
        &["ab", "abbbc", "c"],
    );
}

#[test]
fn numbers_of_times() {
    check("root ::= \"a\"{3}", &["aaa"], &["", "aa", "aaaa"]);
    check("root ::= \"a\"{2,}", &["aa", "aaaaa"], &["a"]);
    check(
        "root ::= \"a\"{ 1 , 3 } \"b\"",
        &["ab", "aaab"],
        &["b", "aaaab"],
    );
    check("root ::= \"a\"{,2}", &["", "aa"], &["aaa"]);
    check("root ::= \"a\"{0} \"b\"{0,0} \"c\"{1}", &["c"], &["", "ac"]);
    check(
        "root ::= x{2,3} \"!\"\nx ::= \"(\" x? \")\"",
        &["()()!", "(())()()!"],
        &["()!", "()()()()!", "(!"],
    );
    check(
        "root ::= (\"a\"? \"b\"?)+ \"c\"*?",
        &["", "abba", "c"],
        &["d"],
    );
    let many = format!("{}!", "ab".repeat(500));
    check("root ::= ([a-z]{2}){0,600} \"!\"", &[&many], &["abc!"]);
}

#[test]
fn characters_are_what_their_escapes_say() {
    check(
        r#"root ::= "\n\t\r\\\"\x41\u00e9\U0001F980\[\]\-" [\]\-\\^] [a\-z] [-a] [a-] [\x80-\xff]"#,
        &["\n\t\r\\\"Aé🦀[]-]z-aÿ", "\n\t\r\\\"Aé🦀[]-^--a\u{80}"],
        &["\n\t\r\\\"Aé🦀[]-]b-aÿ", "\n\t\r\\\"Aé🦀[]-az-aÿ"],
    );
    check("root ::= .", &["a", "🦀", "\n", "\u{0}"], &["", "ab"]);
    check("root ::= [^a-c]", &["d", "é", "\n"], &["a", "b", "", "dd"]);
    check(
        "root ::= [^\\uD800-\\uDFFF]",
        &["d", "\u{D7FF}", "\u{E000}"],
        &[""],
    );
    // as they stand in the text
    check("root ::= \"/a#b//\n\" [/#]", &["/a#b//\n#"], &["/a"]);
    // nothing of a regular expression or of Lark is one here
    check(
        r#"root ::= "(?i)a.*{2}$|^" ["'`%@~&<>]+ x x ::= "\u{41}""#
            .replace(" x x ::= \"\\u{41}\"", "")
            .as_str(),
        &["(?i)a.*{2}$|^\"'`%@~&<>"],
        &["(?i)A", "aa"],
    );
}

#[test]
fn lines_and_comments_may_stand_where_upstream_has_them() {
    for grammar in [
        "root ::= \"a\" |\n  \"b\"",
        "root ::=\n\"a\" | # one\n# two\n\"b\"\n\n# three",
        "# zero\r\n\r\nroot\t::= (\"a\"\r\n|\r\n\"b\"\r\n)\r\n",
        "x-1 ::= \"z\"\nroot ::= x-2\nx-2 ::= \"a\" | \"b\"",
        // the last one counts
        "root ::= \"z\"\nroot ::= \"a\" | \"b\"",
    ] {
        check(grammar, &["a", "b"], &["", "z", "ab"]);
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    #[track_caller]
    fn says(grammar: &str, place: &str, what: &str) {
        let error = lark(grammar).unwrap_err();
        let expected = format!("{place}: ");
        assert!(
            error.starts_with(&expected) && error.contains(what),
            "{error}"
        );
    }
    says("root ::= \"é\" x\n", "line 1, column 14", "no rule `x`");
    says(
        "root ::= x\n\nx ::= y? \"a\"* x\ny ::= \"b\"",
        "line 3, column 15",
        "`x` begins with itself",
    );
    says(
        "root ::= a\na ::= \"\" b\nb ::= c?\nc ::= a \"x\"",
        "line 4, column 7",
        "begins with itself",
    );
    says(
        "root ::= (root \"a\")*",
        "line 1, column 11",
        "left recursion",
    );
    says(
        "root ::= (\"a\"\n  | \"b\"",
        "line 1, column 10",
        "not closed",
    );
    says("root ::= \"a\n\n", "line 1, column 10", "not closed");
    says("root ::= [a-", "line 1, column 10", "not closed");
    says(
        "root ::= \"\\q\"",
        "line 1, column 11",
        "`\\q` is no escape",
    );
    says(
        "root ::= \"\\x4\"",
        "line 1, column 11",
        "2 hexadecimal digits",
    );
    says(
        "root ::= \"\\u12é\"",
        "line 1, column 11",
        "4 hexadecimal digits",
    );
    says("root ::= \"\\uD800\"", "line 1, column 11", "no character");
    says("root ::= [z-a]", "line 1, column 11", "ends before");
    says("root ::= []", "line 1, column 10", "a class must name");
    says(
        "root ::= [^\\x00-\\U0010FFFF]",
        "line 1, column 10",
        "no character is",
    );
    says("root ::= * \"a\"", "line 1, column 11", "nothing to repeat");
    says(
        "root ::= \"a\"{3,2}",
        "line 1, column 13",
        "less than the least",
    );
    says("root ::= \"a\"{,}", "line 1, column 13", "`{m,n}`");
    says("root ::= \"a\"{9999}", "line 1, column 13", "2000");
    says(
        "root ::= \"a\"{1,99999999999}",
        "line 1, column 16",
        "too large",
    );
    says("root ::= \"a\")", "line 1, column 13", "no group");
    says(
        "root ::= a_b\na ::= \"a\"",
        "line 1, column 11",
        "no part of a rule",
    );
    says("root := \"a\"", "line 1, column 6", "`::=` must follow");
    says("\n  = \"a\"", "line 2, column 3", "begins no rule");
    says("root ::= <nothing>", "line 1, column 10", "no token");
    says("root ::= <[7>", "line 1, column 10", "no token");
    says("root ::= <[7]", "line 1, column 10", "written as");
    assert!(lark("x ::= \"a\"").unwrap_err().contains("no rule `root`"));
}

#[test]
fn tokens_are_named_by_text_or_number() {
    let lark = lark("root ::= <think> !<think>* <[12]> \"a\"").unwrap();
    assert_eq!(lark, "start: r0\nr0: <[7]> (<[^7]>)* <[12]> /a/\n");
}

#[test]
fn a_dialect_shows_itself() {
    for gbnf in ["root ::= \"a\"", "# x\n  a-b\t::=x", "x_y::=", "root ::= ("] {
        assert!(is_gbnf(gbnf), "{gbnf}");
    }
    for lark in [
        "start: \"a\"",
        "start: \"root ::= x\"",
        "// root\n?start: x\nX: /::=/",
        "%llguidance {}\nstart: \"::=\"",
        "",
    ] {
        assert!(!is_gbnf(lark), "{lark}");
    }
}

/// Each is refused, or small after all; none overflows the stack of a thread as small as those that serve.
#[test]
fn hostile_grammars_end() {
    let rules = |n: usize, body: &dyn Fn(usize) -> String| {
        let mut text = "root ::= x0\n".to_owned();
        for i in 0..n {
            let _ = writeln!(text, "x{i} ::= {}", body(i));
        }
        text + &format!("x{n} ::= \"a\"")
    };
    let grammars = [
        format!(
            "root ::= {}\"a\"{}",
            "(".repeat(100_000),
            ")".repeat(100_000)
        ),
        format!("root ::= {}\"a\" root?{}", "(".repeat(50), ")*".repeat(50)),
        format!("root ::= \"a\"{}", "*+?".repeat(50_000)),
        format!("root ::= \"{}\"", "a".repeat(49_000)),
        format!("root ::= {}", "[a-z]? ".repeat(20_000)),
        format!(
            "root ::= x\nx ::= \"(\" x \")\" | {}\"b\"",
            "[a-z]? ".repeat(990)
        ),
        format!(
            "root ::= x\nx ::= \"(\" x \")\" | ({}\"b\")*",
            "[a-z]? | ".repeat(400)
        ),
        format!(
            "root ::= \"(\" root \")\" | {}",
            "\"ab\" root \"c\" | ".repeat(2000)
        ),
        format!(
            "x ::= {}\nroot ::= x",
            "\"a\" (x | \"b\" ".repeat(49) + &")".repeat(49)
        ),
        format!(
            "root ::= {} ({}root)",
            "\"a\" ".repeat(9000),
            "root | ".repeat(9000)
        ),
        "root ::= ((((\"a\"{1,2000}){1,2000}){1,2000}){1,2000}){1,2000}".to_owned(),
        "root ::= \"(\" root \")\" | ((\"a\"{1,2000}){1,2000}){1,2000}".to_owned(),
        rules(190, &|i| format!("\"(\" x{} \")\" | \"<\" x0 \">\"", i + 1)),
        rules(1998, &|i| format!("x{}", i + 1)),
        rules(1998, &|i| {
            format!("\"(\" x{} \")\" | \"<\" x0 \">\"", i + 1)
        }),
        rules(60, &|i| format!("x{0} x{0}", i + 1)),
        rules(60, &|i| format!("x{0} \"\" x{0} | \"(\" root \")\"", i + 1)),
        rules(40, &|i| format!("\"\" (\"\" \"\") x{0}? x{0}?", i + 1)),
        rules(2500, &|_| "\"a\"".to_owned()),
    ];
    let run = move || {
        for (i, grammar) in grammars.iter().enumerate() {
            let started = std::time::Instant::now();
            let mut what = match lark(grammar) {
                Ok(lark) => match matcher(&lark) {
                    Ok(mut matcher) => {
                        let mask = matcher.compute_mask().map(|_| "taken");
                        format!("{} bytes, {mask:?}", lark.len())
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            what.truncate(what.floor_char_boundary(160));
            println!("{i}: {:?} {what}", started.elapsed());
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
    thread.unwrap().join().unwrap();
}

/// A grammar as the recogniser has it.
enum Part {
    Class(&'static str, bool),
    Text(String),
    Rule(usize),
    All(Vec<Part>),
    OneOf(Vec<Part>),
    Times(Box<Part>, usize, Option<usize>),
}

impl Part {
    fn any(random: &mut fastrand::Rng, depth: usize) -> Self {
        let several = |random: &mut fastrand::Rng| {
            let n = random.usize(1..4);
            (0..n).map(|_| Self::any(random, depth - 1)).collect()
        };
        match random.u32(0..if depth == 0 { 6 } else { 14 }) {
            0 => Self::Class(
                random.choice(["a", "b", "ab", "bc"]).unwrap(),
                random.bool(),
            ),
            1 | 2 => {
                let n = random.usize(0..3);
                Self::Text((0..n).map(|_| random.char('a'..='c')).collect())
            }
            3..6 => Self::Rule(random.usize(0..3)),
            6..9 => Self::All(several(random)),
            9 | 10 => Self::OneOf(several(random)),
            _ => {
                let of = Box::new(Self::any(random, depth - 1));
                let (least, most) = random
                    .choice([
                        (0, None),
                        (1, None),
                        (0, Some(1)),
                        (2, Some(2)),
                        (1, Some(3)),
                    ])
                    .unwrap();
                Self::Times(of, least, most)
            }
        }
    }

    fn write(&self, text: &mut String) {
        let _ = match self {
            Self::Class(set, false) => write!(text, "[{set}]"),
            Self::Class(set, true) => write!(text, "[^{set}d-\\U0010FFFF]"),
            Self::Text(literal) => write!(text, "\"{literal}\""),
            Self::Rule(rule) => write!(text, "{}", ["root", "x", "y"][*rule]),
            Self::All(parts) => {
                for part in parts {
                    part.write(text);
                    text.push(' ');
                }
                Ok(())
            }
            Self::OneOf(parts) => {
                for (i, part) in parts.iter().enumerate() {
                    *text += if i == 0 { "(" } else { "|" };
                    part.write(text);
                }
                write!(text, ")")
            }
            Self::Times(of, least, most) => {
                text.push('(');
                of.write(text);
                match most {
                    None => write!(text, "){{{least},}}"),
                    Some(most) => write!(text, "){{{least},{most}}}"),
                }
            }
        };
    }

    /// Where in the text a match that begins at `at` may end.
    fn ends(&self, text: &mut Reading<'_>, at: usize) -> BTreeSet<usize> {
        match self {
            Self::Class(set, is_negated) => text.characters[at..]
                .first()
                .filter(|c| set.contains(**c) != *is_negated && **c <= 'c')
                .map(|_| at + 1)
                .into_iter()
                .collect(),
            Self::Text(literal) => {
                let literal: Vec<char> = literal.chars().collect();
                let is_here = text.characters[at..].starts_with(&literal);
                is_here.then_some(at + literal.len()).into_iter().collect()
            }
            Self::Rule(rule) => {
                if let Some(ends) = text.known.get(&(*rule, at)) {
                    return ends.clone();
                }
                let ends = text.rules[*rule].ends(text, at);
                text.known.insert((*rule, at), ends.clone());
                ends
            }
            Self::OneOf(parts) => {
                let mut ends = BTreeSet::new();
                for part in parts {
                    ends.extend(part.ends(text, at));
                }
                ends
            }
            Self::All(parts) => parts.iter().fold(BTreeSet::from([at]), |starts, part| {
                part.ends_from(text, &starts)
            }),
            Self::Times(of, least, most) => {
                let mut ends = BTreeSet::from([at]);
                let mut all = BTreeSet::new();
                for n in 0..=most.unwrap_or(least + text.characters.len() + 1) {
                    if n >= *least {
                        all.extend(&ends);
                    }
                    ends = of.ends_from(text, &ends);
                }
                all
            }
        }
    }

    fn ends_from(&self, text: &mut Reading<'_>, starts: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut ends = BTreeSet::new();
        for &at in starts {
            ends.extend(self.ends(text, at));
        }
        ends
    }
}

/// A text that is being read, and where rules end in it that began somewhere.
struct Reading<'a> {
    rules: &'a [Part],
    characters: Vec<char>,
    known: HashMap<(usize, usize), BTreeSet<usize>>,
}

#[test]
fn grammars_of_all_kinds_accept_what_they_describe() {
    let mut texts = vec![String::new()];
    for i in 0..121 {
        if texts[i].len() < 4 {
            for c in 'a'..='c' {
                texts.push(format!("{}{c}", texts[i]));
            }
        }
    }
    let mut random = fastrand::Rng::with_seed(17);
    let (mut n_checked, mut n_recursive, mut n_accepted, mut n_cut) = (0, 0, 0, 0);
    while n_recursive < 600 {
        let rules: Vec<Part> = (0..3).map(|_| Part::any(&mut random, 3)).collect();
        let mut grammar = String::new();
        for (rule, name) in rules.iter().zip(["root", "x", "y"]) {
            grammar = grammar + name + " ::= ";
            rule.write(&mut grammar);
            grammar.push('\n');
        }
        let lark = match lark(&grammar) {
            Ok(lark) => lark,
            Err(error) => {
                assert!(error.contains("left recursion"), "{error}\n{grammar}");
                continue;
            }
        };
        // a grammar that no text ends is refused
        let Ok(mut matcher) = matcher(&lark) else {
            continue;
        };
        let is_recursive = lark.contains("r0");
        if !is_recursive && n_checked > 2 * n_recursive + 200 {
            continue;
        }
        let n_texts = if is_recursive { texts.len() } else { 40 };
        for text in &texts[..n_texts] {
            let mut reading = Reading {
                rules: &rules,
                characters: text.chars().collect(),
                known: HashMap::new(),
            };
            let expected = rules[0].ends(&mut reading, 0).contains(&text.len());
            assert_eq!(
                accepts(&mut matcher, text),
                expected,
                "{text:?}\n{grammar}\n{lark}"
            );
            n_accepted += usize::from(expected);
        }
        n_checked += 1;
        n_recursive += usize::from(is_recursive);
        n_cut += usize::from(is_recursive && lark.contains('*'));
    }
    println!("{n_checked} grammars, {n_recursive} with rules, {n_cut} with repetitions in them");
    assert!(n_accepted > 2000, "{n_accepted}");
}
