//! What a template says about the text of its model, read from its tree as Ollama reads it.
use super::tree::{Branch, Node, Tree};

/// The texts around `.Thinking` within a `range` over `.Messages`: first and last of the nearest list. `None` unless
/// both are there.
pub(super) fn thinking_tags(tree: &Tree) -> Option<(String, String)> {
    let mut tags = (String::new(), String::new());
    find_thinking(&tree.root, false, &mut tags);
    (!tags.0.is_empty() && !tags.1.is_empty()).then_some(tags)
}

fn find_thinking(list: &[Node], in_messages: bool, tags: &mut (String, String)) {
    for node in list {
        if in_messages && node.pipe().is_some_and(|pipe| pipe.mentions("Thinking")) {
            if let Some(Node::Text(text)) = list.first() {
                tags.0 = text.trim().to_owned();
            }
            if let Some(Node::Text(text)) = list.last() {
                tags.1 = text.trim().to_owned();
            }
        }
        let in_messages = match node {
            Node::Range(branch) => branch.pipe.mentions("Messages"),
            _ => in_messages,
        };
        for inner in node.lists() {
            find_thinking(inner, in_messages, tags);
        }
    }
}

/// What stands before a call in the model's text: the first text in the first `if` about `.ToolCalls`, up to a `{`.
pub(super) fn tool_tag(tree: &Tree) -> Option<String> {
    let branch = find_tool_calls(&tree.root)?;
    let text = match first_text(&branch.list) {
        Found::Text(text) => text,
        Found::Nothing | Found::Stop => return None,
    };
    let tag = text.split('{').next().unwrap_or_default().trim();
    (!tag.is_empty()).then(|| tag.to_owned())
}

fn find_tool_calls(list: &[Node]) -> Option<&Branch> {
    list.iter().find_map(|node| match node {
        Node::If(branch) if branch.pipe.mentions("ToolCalls") => Some(branch),
        node => node.lists().find_map(find_tool_calls),
    })
}

enum Found<'a> {
    Text(&'a str),
    Nothing,
    /// Something that prints comes first.
    Stop,
}

fn first_text(list: &[Node]) -> Found<'_> {
    for node in list {
        match node {
            Node::Text(text) if !text.trim().is_empty() => return Found::Text(text),
            Node::Text(_) | Node::Template { .. } | Node::Break | Node::Continue => {}
            Node::Action(_) => return Found::Stop,
            Node::If(_) | Node::Range(_) | Node::With(_) => {
                let inner = node.lists().map(first_text);
                let mut texts = inner.filter(|found| matches!(found, Found::Text(_)));
                return texts.next().unwrap_or(Found::Stop);
            }
        }
    }
    Found::Nothing
}
