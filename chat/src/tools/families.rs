//! Which family writes calls how: one table, by what the model's template mentions.
use super::{
    Arguments, Body, Region, Shape, Tools, bare_json, cohere, gemma, glm, hermes, list, mistral,
    python, qwen_coder, sections, tagged,
};

/// One family's way to write calls.
#[derive(Debug)]
pub(super) struct Family {
    /// For logs and tests.
    pub(super) name: &'static str,
    /// Markers that open a region wherever they stand.
    pub(super) opens: &'static [&'static str],
    /// Markers that open one at the start of a message only.
    pub(super) starts: &'static [&'static str],
    /// Other markers within a region or at its end.
    pub(super) inner: &'static [&'static str],
    /// Characters of which one must come before a region can end.
    pub(super) closers: &'static [char],
    /// What a region is.
    pub(super) body: fn(Region<'_>, &Tools) -> Body,
    /// What to write for a region to hold calls.
    pub(super) shape: Shape,
}

/// gpt-oss: a call is a message of its own, which [`crate::harmony`] reads together with all others.
const HARMONY: Family = Family {
    name: "harmony",
    opens: &[],
    starts: &[],
    inner: &[],
    closers: &[],
    body: |_, _| Body::Text,
    shape: Shape {
        open: "",
        call: "<|channel|>commentary to=functions.$name <|constrain|>json<|message|>$arguments",
        between: None,
        close: "",
        arguments: Arguments::Object,
    },
};

/// What a template must mention, all of it, for a family to be chosen; the first match counts.
const FAMILIES: &[(&[&str], &Family)] = &[
    (&["<|channel|>", "<|message|>"], &HARMONY),
    (&["<|tool_call>call:"], &gemma::GEMMA4),
    (&["<start_function_call>"], &gemma::FUNCTION_GEMMA),
    (&["<|tool_list_start|>"], &python::LFM2),
    (&["<|tool_call_start|>"], &python::LFM2),
    (&["List of tools: ["], &python::LFM2), // LFM2.5
    (&["<function_calls>"], &python::OLMO3),
    (&["<｜tool▁call▁begin｜>", "```json"], &sections::DEEPSEEK3),
    (&["<｜tool▁call▁begin｜>"], &sections::FAMILY),
    (&["<|tool_call_argument_begin|>"], &sections::KIMI),
    (&["｜DSML｜"], &tagged::DSML),
    (&["<minimax:tool_call>"], &tagged::MINIMAX),
    (&["<function name=\"", "<param name=\""], &tagged::MINICPM),
    (&["<arg_key>"], &glm::FAMILY),
    (&["<seed:tool_call>"], &qwen_coder::SEED),
    (&["<function=", "<parameter="], &qwen_coder::FAMILY),
    (&["<tool_calls>"], &hermes::TOOL_CALLS),
    (&["<TOOLCALL>"], &hermes::NEMOTRON),
    (&["<tool_call>"], &hermes::FAMILY),
    (&["xml_tools"], &hermes::FAMILY), // SmolLM3 writes the tag in the system text only
    (&["[TOOL_CALLS]", "[ARGS]"], &mistral::NAMED),
    (&["[TOOL_CALLS]"], &mistral::FAMILY),
    (&["<|START_ACTION|>"], &cohere::FAMILY),
    (&["Action:", "tool_name"], &cohere::ACTION),
    (&["<|tool_call|>"], &list::FAMILY), // Granite 3
    (&["<|tool|>"], &list::FAMILY),      // Phi-4-mini
    (&["functools["], &list::FUNCTOOLS),
    (&["tool_code"], &python::TOOL_CODE),
    (&["python_tag"], &bare_json::LLAMA3),
    (&["ipython"], &bare_json::LLAMA3),
];

/// How a model writes its calls.
#[derive(Clone, Copy, Debug)]
pub struct ToolSyntax(&'static Family);

impl ToolSyntax {
    /// The syntax of a model with this template, in either language. Where no marker is known, a message that is
    /// JSON with a tool's name is a call.
    pub fn of_template(source: &str) -> Self {
        let found = FAMILIES
            .iter()
            .find(|(markers, _)| markers.iter().all(|marker| source.contains(marker)));
        Self(found.map_or(&bare_json::ANY, |(_, family)| family))
    }

    /// The family, for logs.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Markers that stand for themselves in the model's text. A tokenizer that hides control tokens must show these.
    pub fn markers(self) -> impl Iterator<Item = &'static str> {
        let all = self.0.opens.iter().chain(self.0.starts);
        let all = all.chain(self.0.inner).copied();
        all.filter(|marker| marker.len() > 1)
    }

    /// Whether calls are messages on a channel.
    pub(crate) fn is_harmony(self) -> bool {
        self.0.name == HARMONY.name
    }

    /// Markers that open a call wherever they stand.
    pub fn opens(self) -> &'static [&'static str] {
        self.0.opens
    }

    pub(super) fn starts(self) -> &'static [&'static str] {
        self.0.starts
    }

    pub(super) fn closers(self) -> &'static [char] {
        self.0.closers
    }

    pub(super) fn shape(self) -> &'static Shape {
        &self.0.shape
    }

    pub(super) fn body(self, region: Region<'_>, tools: &Tools) -> Body {
        (self.0.body)(region, tools)
    }
}

impl PartialEq for ToolSyntax {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}
