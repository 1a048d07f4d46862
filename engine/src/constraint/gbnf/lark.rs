//! Nodes as llguidance's Lark: one rule for each that the answer's rule leads to, terminals as regular expressions.

use super::nodes::{Node, NodeId, Nodes};
use rustc_hash::FxHashMap;
use std::fmt::Write as _;

/// Most rules and groups in each other on the way that the compiler takes through them, which calls itself.
const MAX_DEPTH: usize = 200;
/// Most groups in each other in one rule.
const MAX_GROUPS: usize = 10;
/// Bytes of what is written, and steps on that way.
const MAX_BYTES: usize = 1 << 20;
const MAX_STEPS: usize = 1 << 20;

/// # Errors
/// A grammar whose rules lie too deep in each other, or that is too large.
pub(super) fn write(nodes: &Nodes, root: NodeId) -> Result<String, String> {
    let mut lark = "start: ".to_owned();
    if nodes.facts[root].fits_alone() {
        write_terminal(nodes, root, &mut lark);
        lark.push('\n');
        return Ok(lark);
    }
    check_depth(nodes, root)?;
    let mut writer = Writer {
        nodes,
        numbers: FxHashMap::default(),
        rules: Vec::new(),
    };
    writer.write(root, 0, &mut lark);
    lark.push('\n');
    let mut next = 0;
    while let Some(&said) = writer.rules.get(next) {
        let _ = write!(lark, "r{next}: ");
        writer.write(said, 0, &mut lark);
        lark.push('\n');
        next += 1;
    }
    match lark.len() > MAX_BYTES {
        true => Err(TOO_LARGE.to_owned()),
        false => Ok(lark),
    }
}

const TOO_LARGE: &str = "with its rules written out it is too large";

/// Goes through the rules in the compiler's order, each once.
fn check_depth(nodes: &Nodes, root: NodeId) -> Result<(), String> {
    let mut is_known = vec![false; nodes.rules.len()];
    let mut rest = vec![(root, 0)];
    let mut n_steps = 0;
    while let Some((node, depth)) = rest.pop() {
        n_steps += 1;
        if n_steps > MAX_STEPS {
            return Err(TOO_LARGE.to_owned());
        }
        if depth > MAX_DEPTH {
            return Err(format!(
                "its rules and groups lie more than {MAX_DEPTH} levels in each other"
            ));
        }
        if nodes.is_terminal(node) {
            continue;
        }
        if let Node::Rule { rule, .. } = nodes.all[node]
            && std::mem::replace(&mut is_known[rule], true)
        {
            continue;
        }
        rest.extend(
            nodes
                .parts(node)
                .iter()
                .rev()
                .map(|&part| (part, depth + 1)),
        );
    }
    Ok(())
}

struct Writer<'a> {
    nodes: &'a Nodes,
    /// What the rules say that are named, in order, and the place of each.
    rules: Vec<NodeId>,
    numbers: FxHashMap<NodeId, usize>,
}

impl Writer<'_> {
    /// Writes a node that lies in `level` groups.
    fn write(&mut self, node: NodeId, level: usize, lark: &mut String) {
        let nodes = self.nodes;
        if lark.len() > MAX_BYTES {
            return;
        }
        match &nodes.all[node] {
            _ if nodes.is_terminal(node) => write_terminal(nodes, node, lark),
            Node::Chars(_) | Node::Token { .. } => {}
            Node::Rule { rule, .. } => self.name(nodes.rules[*rule], lark),
            // the compiler takes few groups in each other, and any number of rules
            _ if level > MAX_GROUPS => self.name(node, lark),
            Node::All(parts) => self.write_parts(parts, " ", level, lark),
            Node::OneOf(parts) => {
                lark.push('(');
                self.write_parts(parts, " | ", level + 1, lark);
                lark.push(')');
            }
            &Node::Repeat { of, least, most } => {
                let mut times = |times: &str, lark: &mut String| {
                    lark.push('(');
                    self.write(of, level + 1, lark);
                    lark.push(')');
                    *lark += times;
                };
                match (least, most) {
                    (0, None) => times("*", lark),
                    (1, None) => times("+", lark),
                    (0, Some(1)) => times("?", lark),
                    (_, Some(most)) => times(&format!("{{{least},{most}}}"), lark),
                    (_, None) => {
                        times(&format!("{{{least},{least}}}"), lark);
                        lark.push(' ');
                        times("*", lark);
                    }
                }
            }
        }
    }

    /// Names the rule that says the same as a node.
    fn name(&mut self, node: NodeId, lark: &mut String) {
        let number = *self.numbers.entry(node).or_insert_with(|| {
            self.rules.push(node);
            self.rules.len() - 1
        });
        let _ = write!(lark, "r{number}");
    }

    fn write_parts(&mut self, parts: &[NodeId], between: &str, level: usize, lark: &mut String) {
        if parts.is_empty() {
            *lark += "\"\"";
        }
        for (i, &part) in parts.iter().enumerate() {
            if i > 0 {
                *lark += between;
            }
            self.write(part, level, lark);
        }
    }
}

fn write_terminal(nodes: &Nodes, node: NodeId, lark: &mut String) {
    if let Node::Token { id, is_negated } = nodes.all[node] {
        let not = if is_negated { "^" } else { "" };
        let _ = write!(lark, "<[{not}{id}]>");
        return;
    }
    let start = lark.len();
    lark.push('/');
    write_regex(nodes, node, lark);
    lark.push('/');
    if &lark[start..] == "//" {
        // which would be a comment
        lark.truncate(start);
        *lark += "\"\"";
    }
}

/// A regular node as a regular expression; nothing for the empty text.
fn write_regex(nodes: &Nodes, node: NodeId, regex: &mut String) {
    match &nodes.all[node] {
        // has no regular expression, and is in no regular node
        Node::Token { .. } => {}
        Node::Chars(set) => match nodes.sets.ranges(*set)[..] {
            [(first, last)] if first == last => write_character(first, regex),
            ref ranges => {
                regex.push('[');
                for &(first, last) in ranges {
                    write_character(first, regex);
                    if last > first {
                        regex.push('-');
                        write_character(last, regex);
                    }
                }
                regex.push(']');
            }
        },
        Node::Rule { rule, .. } => write_regex(nodes, nodes.rules[*rule], regex),
        Node::All(parts) => {
            for &part in parts {
                write_regex(nodes, part, regex);
            }
        }
        Node::OneOf(parts) => {
            for (i, &part) in parts.iter().enumerate() {
                *regex += if i == 0 { "(?:" } else { "|" };
                write_regex(nodes, part, regex);
            }
            regex.push(')');
        }
        Node::Repeat { of, least, most } => {
            *regex += "(?:";
            write_regex(nodes, *of, regex);
            regex.push(')');
            let _ = match (least, most) {
                (0, None) => write!(regex, "*"),
                (1, None) => write!(regex, "+"),
                (0, Some(1)) => write!(regex, "?"),
                (least, None) => write!(regex, "{{{least},}}"),
                (least, Some(most)) => write!(regex, "{{{least},{most}}}"),
            };
        }
    }
}

/// A letter or digit as it is, all else by its number, so that nothing has a meaning of its own.
fn write_character(code: u32, regex: &mut String) {
    match char::from_u32(code) {
        Some(c) if c.is_ascii_alphanumeric() => regex.push(c),
        _ => {
            let _ = write!(regex, "\\u{{{code:X}}}");
        }
    }
}
