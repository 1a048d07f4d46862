//! Text to the words inside which byte-level BPE may merge, written by hand for each family of patterns.
//!
//! `tokenizer.ggml.pre` names the pattern list of the model; [`FAMILIES`] is the only place that knows these names. A
//! list is applied in sequence: each stage cuts every piece of the stage before into matches and the gaps between them,
//! and sees nothing beyond that piece. The patterns stand above the functions that replace them; a test compares the two
//! on random text. Linear in the text, unlike a backtracking regex.

mod cased;
mod deepseek;
mod gpt2;
mod llama3;
mod runs;
mod unicode;

use super::TokenizerError;
use deepseek::Class;
use unicode::Kinds;

/// One pattern.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// See [`gpt2`].
    Gpt2,
    /// See [`llama3`].
    Llama3(llama3::Rules),
    /// See [`cased`].
    Cased(cased::Rules),
    /// Runs of these kinds, cut after so many characters (`None`: never).
    Runs(Kinds, Option<usize>),
    /// Runs of punctuation and some signs, see [`runs::punctuation`].
    Punctuation { backtick: bool },
    /// `[0-9][0-9][0-9]`.
    ThreeDigits,
    /// Runs of a class, with one white space in front where there is one and the flag is set, see [`deepseek`].
    Class(deepseek::Class, bool),
    /// `\s+$`.
    TrailingSpace,
    /// See [`deepseek`].
    DeepseekV3,
}

impl Stage {
    fn split<'t>(self, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
        match self {
            Self::Gpt2 => gpt2::split(text, emit),
            Self::Llama3(rules) => llama3::split(text, rules, emit),
            Self::Cased(rules) => cased::split(text, rules, emit),
            Self::Runs(kinds, n_max) => runs::split(text, kinds, n_max, emit),
            Self::Punctuation { backtick } => runs::punctuation(text, backtick, emit),
            Self::ThreeDigits => runs::three_digits(text, emit),
            Self::Class(class, after_space) => deepseek::classes(text, class, after_space, emit),
            Self::TrailingSpace => deepseek::trailing_space(text, emit),
            Self::DeepseekV3 => deepseek::split_v3(text, emit),
        }
    }
}

/// What a pre-tokeniser's name stands for.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    names: &'static [&'static str],
    stages: &'static [Stage],
    /// A word that is in the vocabulary as a whole is not merged but taken.
    pub(super) ignore_merges: bool,
    /// Whether BOS is added when the file does not say.
    pub(super) add_bos: bool,
    /// Text is composed (NFC) first. llama.cpp does not; the models' own tokenizers do.
    pub(super) compose: bool,
}

const PLAIN: PreTokenizer = PreTokenizer {
    names: &[],
    stages: &[],
    ignore_merges: false,
    add_bos: false,
    compose: false,
};

const THREE_DIGIT_LLAMA3: &[Stage] = &[Stage::Llama3(llama3::Rules {
    n_digits: 3,
    marks_are_letters: false,
})];
const ONE_DIGIT_LLAMA3: &[Stage] = &[Stage::Llama3(llama3::Rules {
    n_digits: 1,
    marks_are_letters: false,
})];

/// Every pre-tokeniser that is known.
static FAMILIES: &[PreTokenizer] = &[
    PreTokenizer {
        names: &[
            "smollm",
            "refact",
            "starcoder",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        stages: &[Stage::Runs(Kinds::NUMBER, Some(1)), Stage::Gpt2],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "roberta-bpe",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "jais",
            "trillion",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "modern-bert",
            "exaone4",
            "mpt",
            "olmo",
            "granite-docling",
        ],
        stages: &[Stage::Gpt2],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "lfm2",
            "falcon3",
            "falcon-h1",
            "jina-v5-nano",
            "pixtral",
            "midm-2.0",
        ],
        stages: THREE_DIGIT_LLAMA3,
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["glm4", "glm5"],
        stages: THREE_DIGIT_LLAMA3,
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["smaug-bpe", "dbrx", "chatglm-bpe"],
        stages: THREE_DIGIT_LLAMA3,
        ..PLAIN
    },
    PreTokenizer {
        names: &["qwen2"],
        stages: ONE_DIGIT_LLAMA3,
        compose: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "deepseek-r1-qwen",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "kormo",
            "f2llmv2",
            "grok-2",
            // possessive quantifiers there change nothing
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
        ],
        stages: ONE_DIGIT_LLAMA3,
        ..PLAIN
    },
    PreTokenizer {
        names: &["qwen35"],
        stages: &[Stage::Llama3(llama3::Rules {
            n_digits: 1,
            marks_are_letters: true,
        })],
        compose: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        stages: &[Stage::Cased(cased::Rules {
            n_digits: 3,
            contractions: true,
        })],
        ..PLAIN
    },
    PreTokenizer {
        names: &["granite-embed-multi-97m"],
        stages: &[Stage::Cased(cased::Rules {
            n_digits: 3,
            contractions: true,
        })],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["minicpm5"],
        stages: &[
            Stage::Runs(Kinds::NUMBER, Some(3)),
            Stage::Llama3(llama3::Rules {
                n_digits: usize::MAX,
                marks_are_letters: false,
            }),
        ],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        stages: &[
            Stage::Runs(Kinds::NEWLINE, Some(1)),
            Stage::Class(Class::Cased, true),
            Stage::Class(Class::Sign, true),
            Stage::TrailingSpace,
            Stage::Class(Class::EastAsian, false),
            Stage::Runs(Kinds::NUMBER, None),
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        stages: &[
            Stage::Runs(Kinds::NEWLINE, Some(1)),
            Stage::Class(Class::Letter, true),
            Stage::Class(Class::Punctuation, true),
            Stage::Class(Class::EastAsian, false),
            Stage::Runs(Kinds::NUMBER, Some(1)),
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        stages: &[
            Stage::Runs(Kinds::NUMBER, Some(3)),
            Stage::Class(Class::ChineseOrJapanese, false),
            Stage::DeepseekV3,
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["tekken"],
        stages: &[Stage::Cased(cased::Rules {
            n_digits: 1,
            contractions: false,
        })],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["falcon"],
        stages: &[
            Stage::Punctuation { backtick: true },
            Stage::Gpt2,
            Stage::ThreeDigits,
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["default"],
        stages: &[
            Stage::Punctuation { backtick: false },
            Stage::Gpt2,
            Stage::Runs(Kinds::NUMBER, None),
            Stage::ThreeDigits,
        ],
        ..PLAIN
    },
];

impl PreTokenizer {
    /// The pre-tokeniser that a file calls `name`.
    ///
    /// # Errors
    /// An unknown name: another pattern would give the model tokens that it was not trained on.
    pub(super) fn named(name: &str) -> Result<&'static Self, TokenizerError> {
        FAMILIES
            .iter()
            .find(|family| family.names.contains(&name))
            .ok_or_else(|| TokenizerError::UnknownPreTokenizer {
                found: name.to_owned(),
                known: FAMILIES
                    .iter()
                    .flat_map(|family| family.names)
                    .copied()
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }
    /// Calls `emit` with the words of `text` in order; together they are `text`.
    pub(super) fn split<'t>(&self, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
        split_by(self.stages, text, emit);
    }
}

fn split_by<'t>(stages: &[Stage], text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    match stages {
        [] if text.is_empty() => {}
        [] => emit(text),
        [only] => only.split(text, emit),
        [first, rest @ ..] => first.split(text, &mut |piece| split_by(rest, piece, emit)),
    }
}

#[cfg(test)]
mod tests;
