//! The machine that finds regions in streaming text; what a region means is the family's business.
use super::{Body, Region, ToolCall, ToolSyntax, Tools};
use crate::markers::prefix_at_end;
use serde_json::Value;

/// Longest text of one region behind its marker; what is longer is text.
const MAX_REGION_BYTES: usize = 256 << 10;
/// Up to this length a region is looked at with every chunk.
const SHORT_BYTES: usize = 256;

/// Text and calls that became certain with one chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolSplit {
    /// More text.
    pub content: String,
    /// More calls.
    pub calls: Vec<ToolCall>,
}

/// Splits one generation's text.
#[derive(Clone, Debug)]
pub struct ToolCallParser {
    syntax: ToolSyntax,
    tools: Tools,
    /// Text that cannot be judged yet; in a region, from its marker on.
    held: String,
    /// The marker of the region that `held` begins with.
    open: Option<&'static str>,
    /// Only white space came, or only calls: markers for the start of a message count.
    at_start: bool,
    has_called: bool,
}

impl ToolCallParser {
    /// A parser for the answer of a model that was offered `tools`, a JSON list of definitions.
    pub fn new(syntax: ToolSyntax, tools: &Value) -> Self {
        Self {
            syntax,
            tools: Tools::new(tools),
            held: String::new(),
            open: None,
            at_start: true,
            has_called: false,
        }
    }

    /// Adds generated text.
    pub fn push(&mut self, text: &str) -> ToolSplit {
        let closes = text.contains(self.syntax.closers());
        self.held.push_str(text);
        let mut split = ToolSplit::default();
        // a region can only end with one of these characters; a short one is looked at anyway, because most text that is
        // no call shows so at once
        let is_short = self.held.len() <= SHORT_BYTES;
        if self.open.is_none() || closes || is_short || self.held.len() > MAX_REGION_BYTES {
            while self.step(false, &mut split) {}
        }
        split
    }

    /// What was held back; call once at the end.
    pub fn finish(&mut self) -> ToolSplit {
        let mut split = ToolSplit::default();
        while self.step(true, &mut split) {}
        let rest = std::mem::take(&mut self.held);
        // what separates calls says nothing behind the last one
        let is_separator = |c: char| c.is_whitespace() || matches!(c, ';' | ',');
        if !(self.has_called && self.at_start && rest.trim_matches(is_separator).is_empty()) {
            split.content.push_str(&rest);
        }
        split
    }

    /// For a text of which nothing came before and nothing will come: what stands before its first call, trimmed at the
    /// end, and the rest. `None` when it has no call.
    pub(crate) fn first_call(mut self, text: &str) -> Option<(String, ToolSplit)> {
        self.held.push_str(text);
        let mut split = ToolSplit::default();
        while self.step(true, &mut split) && split.calls.is_empty() {}
        if split.calls.is_empty() {
            return None;
        }
        let before = std::mem::take(&mut split.content);
        let rest = self.finish();
        split.content = rest.content;
        split.calls.extend(rest.calls);
        Some((before, split))
    }

    /// Handles a part of what is held; `false` when more text is needed.
    fn step(&mut self, at_end: bool, split: &mut ToolSplit) -> bool {
        match self.open {
            Some(marker) => self.region(marker, at_end, split),
            None => self.text(at_end, split),
        }
    }

    fn text(&mut self, at_end: bool, split: &mut ToolSplit) -> bool {
        if self.has_called && self.at_start {
            let blank = self.held.len() - self.held.trim_start().len();
            self.held.drain(..blank);
        }
        if let Some((at, marker)) = self.find_marker() {
            // white space before a call belongs to neither; should it be no call, it is text again
            let certain = self.held[..at].trim_end().len();
            let is_separator = self.has_called && self.at_start && at == self.start_len();
            if !is_separator {
                split.content.extend(self.held.drain(..certain));
                self.at_start &= certain == 0;
            }
            self.open = Some(marker);
            return true;
        }
        if at_end {
            return false;
        }
        let certain = self.held.len() - self.possible_marker();
        let certain = self.held[..certain].trim_end().len();
        self.at_start &= certain == 0;
        split.content.extend(self.held.drain(..certain));
        false
    }

    /// The earliest marker in what is held, and where.
    fn find_marker(&self) -> Option<(usize, &'static str)> {
        let anywhere = self.syntax.opens().iter();
        let anywhere = anywhere.filter_map(|marker| Some((self.held.find(marker)?, *marker)));
        let skipped = self.start_len();
        let at_start = self.syntax.starts().iter().filter(|_| self.at_start);
        let at_start = at_start.filter(|marker| self.held[skipped..].starts_with(**marker));
        anywhere
            .chain(at_start.map(|marker| (skipped, *marker)))
            .min_by_key(|(at, marker)| (*at, usize::MAX - marker.len()))
    }

    /// White space, and between calls what separates them, that may stand before a marker of the start.
    fn start_len(&self) -> usize {
        let rest = self.held.trim_start_matches(|c: char| {
            c.is_whitespace() || self.has_called && matches!(c, ';' | ',')
        });
        self.held.len() - rest.len()
    }

    /// Bytes at the end of what is held that may become a marker.
    fn possible_marker(&self) -> usize {
        let longest = |marker: &&'static str| prefix_at_end(&self.held, marker);
        let anywhere = self.syntax.opens().iter().map(longest).max().unwrap_or(0);
        let rest = &self.held[self.start_len()..];
        // what separates calls waits for the next one's marker, whichever it is
        let next = self.syntax.opens().iter().filter(|_| self.has_called);
        let mut starts = self.syntax.starts().iter().chain(next);
        if self.at_start && starts.any(|marker| marker.starts_with(rest)) {
            return self.held.len();
        }
        anywhere
    }

    fn region(&mut self, marker: &'static str, at_end: bool, split: &mut ToolSplit) -> bool {
        let start = self.held.find(marker).unwrap_or(0);
        let body_at = start + marker.len();
        let text = up_to_bytes(&self.held[body_at..], MAX_REGION_BYTES);
        let region = Region {
            marker,
            text,
            at_end: at_end || body_at + text.len() < self.held.len(),
        };
        match self.syntax.body(region, &self.tools) {
            Body::More if !region.at_end => false,
            Body::Calls(calls, len) if !calls.is_empty() => {
                self.held.drain(..body_at + len);
                split.calls.extend(calls);
                self.has_called = true;
                self.at_start = true;
                self.open = None;
                !self.held.is_empty()
            }
            _ => {
                // the marker is text, and what follows is looked at anew
                let text: String = self.held.drain(..body_at).collect();
                split.content.push_str(&text);
                self.at_start = false;
                self.open = None;
                !self.held.is_empty()
            }
        }
    }
}

/// The beginning of `text`, `max` bytes at most.
fn up_to_bytes(text: &str, max: usize) -> &str {
    let mut len = max.min(text.len());
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}
