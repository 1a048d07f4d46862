//! A grammar as nodes that refer to each other by number, so that a part can stand in several places.

use super::characters::{SetId, Sets};
use crate::TokenId;

pub(super) type NodeId = usize;
pub(super) type RuleId = usize;

#[derive(Clone, Debug)]
pub(super) enum Node {
    /// One character of a set.
    Chars(SetId),
    /// One token, or any other.
    Token {
        id: TokenId,
        is_negated: bool,
    },
    /// What a rule says; where in the text that stands.
    Rule {
        rule: RuleId,
        at: usize,
    },
    /// One after the other; of nothing, the empty text.
    All(Vec<NodeId>),
    OneOf(Vec<NodeId>),
    /// `most` of `None` is no limit.
    Repeat {
        of: NodeId,
        least: u32,
        most: Option<u32>,
    },
}

/// What is known about a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// Whether the empty text matches.
    pub(super) is_nullable: bool,
    /// Whether a regular expression says the same.
    pub(super) is_regular: bool,
    /// Of a regular one, about how many places for characters it has with its rules written out.
    pub(super) size: usize,
    /// And how deep they lie in each other.
    pub(super) depth: usize,
}

#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
    /// Of the first nodes; what was added since has none yet.
    pub(super) facts: Vec<Facts>,
    /// Regular nodes that are not to be one terminal.
    pub(super) is_cut: Vec<bool>,
    /// What each rule says.
    pub(super) rules: Vec<NodeId>,
    pub(super) names: Vec<String>,
    pub(super) sets: Sets,
}

impl Nodes {
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        self.all.push(node);
        self.all.len() - 1
    }

    /// The parts of a node in the order of their places; a rule's is what it says.
    pub(super) fn parts(&self, node: NodeId) -> &[NodeId] {
        match &self.all[node] {
            Node::Chars(_) | Node::Token { .. } => &[],
            Node::Rule { rule, .. } => std::slice::from_ref(&self.rules[*rule]),
            Node::All(parts) | Node::OneOf(parts) => parts,
            Node::Repeat { of, .. } => std::slice::from_ref(of),
        }
    }

    /// Which nodes match the empty text.
    pub(super) fn nullable(&self) -> Vec<bool> {
        let mut nodes = vec![false; self.all.len()];
        // parts stand before what they are part of, so that rules alone need another look
        let mut rules = vec![false; self.rules.len()];
        loop {
            for (i, node) in self.all.iter().enumerate() {
                nodes[i] = match node {
                    Node::Chars(_) | Node::Token { .. } => false,
                    Node::Rule { rule, .. } => rules[*rule],
                    Node::All(parts) => parts.iter().all(|&part| nodes[part]),
                    Node::OneOf(parts) => parts.iter().any(|&part| nodes[part]),
                    Node::Repeat { of, least, .. } => *least == 0 || nodes[*of],
                };
            }
            let now: Vec<bool> = self.rules.iter().map(|&body| nodes[body]).collect();
            if now == rules {
                return nodes;
            }
            rules = now;
        }
    }

    /// Whether a node is one terminal of the grammar that is written.
    pub(super) fn is_terminal(&self, node: NodeId) -> bool {
        match self.all[node] {
            Node::Chars(_) | Node::Token { .. } => true,
            _ => !self.is_cut[node] && self.facts[node].fits(),
        }
    }
}

/// Places of a terminal among others, and of one that is all; levels of both.
const MAX_SIZE: usize = 1000;
const MAX_SIZE_ALONE: usize = 20_000;
const MAX_DEPTH: usize = 60;

impl Facts {
    /// Whether it can be one terminal.
    pub(super) fn fits(&self) -> bool {
        self.fits_alone() && self.size <= MAX_SIZE
    }

    /// Whether it can be the only terminal.
    pub(super) fn fits_alone(&self) -> bool {
        self.is_regular && self.size <= MAX_SIZE_ALONE && self.depth <= MAX_DEPTH
    }
}
