//! What is refused: rules that begin with themselves. llama.cpp refuses them too, so no grammar that works there has any.

use super::{
    mistake,
    nodes::{Node, NodeId, Nodes, RuleId},
};

/// # Errors
/// A rule that leads to itself before any character is read, with the place where it does.
pub(super) fn check(nodes: &Nodes, text: &str) -> Result<(), String> {
    let is_nullable = nodes.nullable();
    let begins_with = |rule: RuleId| {
        let mut found = Vec::new();
        first_rules(nodes, &is_nullable, nodes.rules[rule], &mut found);
        found
    };
    // each rule is entered once; those on the way to where the search is are open
    let mut state = vec![State::New; nodes.rules.len()];
    for start in 0..nodes.rules.len() {
        if state[start] != State::New {
            continue;
        }
        state[start] = State::Open;
        let mut way = vec![(start, begins_with(start))];
        while let Some((rule, rest)) = way.last_mut() {
            let Some((next, at)) = rest.pop() else {
                state[*rule] = State::Done;
                way.pop();
                continue;
            };
            match state[next] {
                State::Done => {}
                State::New => {
                    state[next] = State::Open;
                    way.push((next, begins_with(next)));
                }
                State::Open => {
                    let name = &nodes.names[next];
                    let what = format!(
                        "`{name}` begins with itself (left recursion), which is not taken; write `{name} ::= first rest*` instead"
                    );
                    return Err(mistake(text, at, &what));
                }
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

/// The rules that may come first in `node`, and where they are named.
fn first_rules(
    nodes: &Nodes,
    is_nullable: &[bool],
    node: NodeId,
    found: &mut Vec<(RuleId, usize)>,
) {
    match &nodes.all[node] {
        Node::Chars(_) | Node::Token { .. } => {}
        Node::Rule { rule, at } => found.push((*rule, *at)),
        Node::OneOf(parts) => {
            for &part in parts {
                first_rules(nodes, is_nullable, part, found);
            }
        }
        Node::Repeat { of, .. } => first_rules(nodes, is_nullable, *of, found),
        Node::All(parts) => {
            for &part in parts {
                first_rules(nodes, is_nullable, part, found);
                if !is_nullable[part] {
                    return;
                }
            }
        }
    }
}
