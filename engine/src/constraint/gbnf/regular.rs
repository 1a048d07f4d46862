//! Which parts of a grammar a regular expression can say, and what can be written so that more of them are.
//!
//! A rule is regular if all that it names is. One that names itself at its end alone, as `ws ::= ([ \t] ws)?` does, is
//! written as a repetition first. Neighbours that are regular become one part.

use super::nodes::{Facts, Node, NodeId, Nodes, RuleId};
use rustc_hash::FxHashMap;

/// Most copies of a part with a bound that count one by one; what is bound higher counts as unbound.
pub(super) const MAX_COPIES: u32 = 8;

/// Rewrites the grammar as said above, and fills in the facts.
pub(super) fn simplify(nodes: &mut Nodes) {
    for rule in 0..nodes.rules.len() {
        if let Some(body) = as_repetition(nodes, rule) {
            nodes.rules[rule] = body;
        }
    }
    fill_in(nodes);
    let mut known = FxHashMap::default();
    for rule in 0..nodes.rules.len() {
        nodes.rules[rule] = joined(nodes, nodes.rules[rule], &mut known);
    }
    fill_in(nodes);
}

/// Nodes that a rule may grow by: what ends in itself is taken apart level by level.
const MAX_GROWTH: usize = 10_000;

/// What a rule says that names itself at its end only, without naming itself.
fn as_repetition(nodes: &mut Nodes, rule: RuleId) -> Option<NodeId> {
    let body = nodes.rules[rule];
    let most = nodes.all.len() + MAX_GROWTH;
    if !names(nodes, body, rule) {
        return None;
    }
    let (again, ends) = split_at_end(nodes, body, rule, most)?;
    if ends.is_empty() {
        // it never ends; whoever writes that has a limit of tokens in mind
        return None;
    }
    let again = nodes.add(Node::OneOf(again));
    let again = nodes.add(Node::Repeat {
        of: again,
        least: 0,
        most: None,
    });
    let ends = nodes.add(Node::OneOf(ends));
    Some(nodes.add(Node::All(vec![again, ends])))
}

/// Whether `rule` is named in `node`, other rules left aside.
fn names(nodes: &Nodes, node: NodeId, rule: RuleId) -> bool {
    match &nodes.all[node] {
        Node::Rule { rule: named, .. } => *named == rule,
        _ => nodes
            .parts(node)
            .iter()
            .any(|&part| names(nodes, part, rule)),
    }
}

/// The ways through `node` that go on with `rule`, without it, and those that do not; none where it is named elsewhere.
fn split_at_end(
    nodes: &mut Nodes,
    node: NodeId,
    rule: RuleId,
    most: usize,
) -> Option<(Vec<NodeId>, Vec<NodeId>)> {
    if nodes.all.len() > most {
        return None;
    }
    if !names(nodes, node, rule) {
        return Some((vec![], vec![node]));
    }
    match nodes.all[node].clone() {
        Node::Chars(_) | Node::Token { .. } => None,
        Node::Rule { .. } => Some((vec![nodes.add(Node::All(vec![]))], vec![])),
        Node::OneOf(parts) => {
            let (mut again, mut ends) = (vec![], vec![]);
            for part in parts {
                let (more, done) = split_at_end(nodes, part, rule, most)?;
                again.extend(more);
                ends.extend(done);
            }
            Some((again, ends))
        }
        Node::All(mut parts) => {
            let last = parts.pop()?;
            if parts.iter().any(|&part| names(nodes, part, rule)) {
                return None;
            }
            let (again, ends) = split_at_end(nodes, last, rule, most)?;
            let before = nodes.add(Node::All(parts));
            let mut behind = |ways: Vec<NodeId>| -> Vec<NodeId> {
                let one = |way| nodes.add(Node::All(vec![before, way]));
                ways.into_iter().map(one).collect()
            };
            Some((behind(again), behind(ends)))
        }
        Node::Repeat {
            of,
            least: 0,
            most: Some(1),
        } => {
            let (again, mut ends) = split_at_end(nodes, of, rule, most)?;
            ends.push(nodes.add(Node::All(vec![])));
            Some((again, ends))
        }
        Node::Repeat { .. } => None,
    }
}

/// Computes the facts of all nodes.
fn fill_in(nodes: &mut Nodes) {
    let is_nullable = nodes.nullable();
    let mut facts = vec![Facts::default(); nodes.all.len()];
    let mut rules = vec![Facts::default(); nodes.rules.len()];
    loop {
        for (i, node) in nodes.all.iter().enumerate() {
            facts[i] = Facts {
                is_nullable: is_nullable[i],
                ..of_node(node, &facts, &rules)
            };
        }
        let mut is_new = false;
        for (rule, &body) in nodes.rules.iter().enumerate() {
            // it was looked at before all that it names was: once regular, a rule stays what it is
            if facts[body].is_regular && !rules[rule].is_regular {
                rules[rule] = facts[body];
                is_new = true;
            }
        }
        if !is_new {
            break;
        }
    }
    nodes.facts = facts;
    nodes.is_cut.resize(nodes.all.len(), false);
}

fn of_node(node: &Node, facts: &[Facts], rules: &[Facts]) -> Facts {
    let all = |parts: &[NodeId]| Facts {
        is_regular: parts.iter().all(|&part| facts[part].is_regular),
        size: parts
            .iter()
            .fold(1, |sum: usize, &part| sum.saturating_add(facts[part].size)),
        depth: 1 + parts
            .iter()
            .map(|&part| facts[part].depth)
            .max()
            .unwrap_or(0),
        is_nullable: false,
    };
    match node {
        Node::Chars(_) => Facts {
            is_regular: true,
            size: 1,
            ..Facts::default()
        },
        Node::Token { .. } => Facts::default(),
        Node::Rule { rule, .. } => Facts {
            depth: rules[*rule].depth.saturating_add(1),
            ..rules[*rule]
        },
        Node::All(parts) | Node::OneOf(parts) => all(parts),
        Node::Repeat { of, most, .. } => {
            let one = all(&[*of]);
            Facts {
                size: one.size.saturating_mul(copies(*most)),
                ..one
            }
        }
    }
}

/// How many copies of a part count one by one.
pub(super) fn copies(most: Option<u32>) -> usize {
    most.filter(|&most| most <= MAX_COPIES).unwrap_or(1) as usize
}

/// The same node with neighbours that can be one terminal as one part. What stands in several places is `known`.
fn joined(nodes: &mut Nodes, node: NodeId, known: &mut FxHashMap<NodeId, NodeId>) -> NodeId {
    if nodes.facts[node].fits() {
        return node;
    }
    if let Some(&done) = known.get(&node) {
        return done;
    }
    let new = match nodes.all[node].clone() {
        Node::Chars(_) | Node::Token { .. } | Node::Rule { .. } => return node,
        Node::Repeat { of, least, most } => Node::Repeat {
            of: joined(nodes, of, known),
            least,
            most,
        },
        Node::All(parts) => Node::All(runs(nodes, &parts, Node::All, known)),
        Node::OneOf(mut parts) => {
            // their order means nothing
            parts.sort_by_key(|&part| !nodes.facts[part].fits());
            Node::OneOf(runs(nodes, &parts, Node::OneOf, known))
        }
    };
    let done = nodes.add(new);
    known.insert(node, done);
    done
}

/// The parts of a node, those that can be one terminal together as one of this kind.
fn runs(
    nodes: &mut Nodes,
    parts: &[NodeId],
    kind: fn(Vec<NodeId>) -> Node,
    known: &mut FxHashMap<NodeId, NodeId>,
) -> Vec<NodeId> {
    let mut done = Vec::with_capacity(parts.len());
    let mut run = Vec::new();
    let mut facts = Facts::default();
    let finish = |nodes: &mut Nodes, run: &mut Vec<NodeId>, done: &mut Vec<NodeId>| match run.len()
    {
        0 => {}
        1 => done.append(run),
        _ => done.push(nodes.add(kind(std::mem::take(run)))),
    };
    for &part in parts {
        let more = nodes.facts[part];
        if !more.fits() {
            finish(nodes, &mut run, &mut done);
            done.push(joined(nodes, part, known));
            continue;
        }
        let together = Facts {
            is_regular: true,
            size: facts.size + more.size,
            depth: facts.depth.max(more.depth + 1),
            is_nullable: false,
        };
        if together.fits() && !run.is_empty() {
            facts = together;
        } else {
            finish(nodes, &mut run, &mut done);
            facts = Facts {
                size: 1 + more.size,
                depth: more.depth + 1,
                ..together
            };
        }
        run.push(part);
    }
    finish(nodes, &mut run, &mut done);
    done
}
