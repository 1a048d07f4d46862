//! Cuts terminals until reading the longest one is never wrong.
//!
//! Of two terminals that may come in the same place, one can match where the other goes on. The reader goes on then, so
//! what may follow the shorter must not begin with a character that continues the longer. Where it does, the longer is cut
//! into its parts, down to single characters, which cannot go on. What follows a terminal is taken from all its places, so
//! that too much may be cut, which costs time, but never too little.

use super::{
    characters::SetId,
    nodes::{Node, NodeId, Nodes},
    regular,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// Most terminals, and most steps of the search; a grammar that has more is cut into characters unseen.
const MAX_TERMINALS: usize = 512;
const MAX_WORK: usize = 8_000_000;

/// See the module; `root` is where the grammar begins.
pub(super) fn cut(nodes: &mut Nodes, root: NodeId) {
    if nodes.facts[root].fits_alone() {
        return;
    }
    let mut work = Work(MAX_WORK);
    // each round cuts something
    loop {
        let conflicts = match Surroundings::of(nodes, root, &mut work) {
            Some(surroundings) => surroundings.conflicts(nodes, &mut work),
            None => None,
        };
        match conflicts {
            Some(terminals) if terminals.is_empty() => return,
            Some(terminals) => {
                for terminal in terminals {
                    nodes.is_cut[terminal] = true;
                }
            }
            None => return nodes.is_cut.fill(true),
        }
    }
}

/// Steps that are left.
struct Work(usize);

impl Work {
    fn spend(&mut self, steps: usize) -> Option<()> {
        self.0 = self.0.checked_sub(steps)?;
        Some(())
    }
}

/// A set of terminals, by their numbers.
#[derive(Clone, Copy, PartialEq, Default)]
struct Terminals([u64; MAX_TERMINALS / 64]);

impl Terminals {
    fn one(terminal: usize) -> Self {
        let mut set = Self::default();
        set.0[terminal / 64] |= 1 << (terminal % 64);
        set
    }

    fn add(&mut self, other: Self) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a |= b;
        }
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        let bits = self.0.into_iter().enumerate();
        bits.flat_map(|(i, word)| {
            let of_word = (0..64).filter(move |bit| word >> bit & 1 == 1);
            of_word.map(move |bit| 64 * i + bit)
        })
    }
}

/// What may stand next to what.
struct Surroundings {
    /// The nodes of the terminals.
    terminals: Vec<NodeId>,
    /// The terminals that may begin an answer.
    first: Terminals,
    /// Those that may follow each terminal.
    follow: Vec<Terminals>,
}

impl Surroundings {
    fn of(nodes: &Nodes, root: NodeId, work: &mut Work) -> Option<Self> {
        // what the grammar consists of, whole before parts
        let (mut found, mut terminals) = (vec![root], Vec::new());
        let mut numbers = FxHashMap::from_iter([(root, 0)]);
        let mut at = 0;
        while let Some(&node) = found.get(at) {
            at += 1;
            if nodes.is_terminal(node) {
                terminals.push(node);
                continue;
            }
            for &part in nodes.parts(node) {
                work.spend(1)?;
                numbers.entry(part).or_insert_with(|| {
                    found.push(part);
                    found.len() - 1
                });
            }
        }
        if terminals.len() > MAX_TERMINALS {
            return None;
        }
        let mut first = vec![Terminals::default(); found.len()];
        for (i, terminal) in terminals.iter().enumerate() {
            first[numbers[terminal]] = Terminals::one(i);
        }
        let mut follow = vec![Terminals::default(); found.len()];
        let mut is_new = true;
        while is_new {
            is_new = false;
            for (i, &node) in found.iter().enumerate().rev() {
                if nodes.is_terminal(node) {
                    continue;
                }
                let mut all = Terminals::default();
                for part in nodes.parts(node) {
                    work.spend(1)?;
                    all.add(first[numbers[part]]);
                    if matches!(nodes.all[node], Node::All(_)) && !nodes.facts[*part].is_nullable {
                        break;
                    }
                }
                is_new |= first[i] != all;
                first[i] = all;
            }
        }
        is_new = true;
        while is_new {
            is_new = false;
            for (i, &node) in found.iter().enumerate() {
                if nodes.is_terminal(node) {
                    continue;
                }
                let mut behind = follow[i];
                if let Node::Repeat { of, .. } = nodes.all[node] {
                    behind.add(first[numbers[&of]]);
                }
                for part in nodes.parts(node).iter().rev() {
                    work.spend(1)?;
                    let part_follow = &mut follow[numbers[part]];
                    let before = *part_follow;
                    part_follow.add(behind);
                    is_new |= before != *part_follow;
                    if matches!(nodes.all[node], Node::All(_)) {
                        if !nodes.facts[*part].is_nullable {
                            behind = Terminals::default();
                        }
                        behind.add(first[numbers[part]]);
                    }
                }
            }
        }
        Some(Self {
            first: first[0],
            follow: terminals.iter().map(|node| follow[numbers[node]]).collect(),
            terminals,
        })
    }

    /// The terminals that go on where another may have ended.
    fn conflicts(&self, nodes: &Nodes, work: &mut Work) -> Option<Vec<NodeId>> {
        let readers: Option<Vec<Reader>> = self
            .terminals
            .iter()
            .map(|&node| Reader::of(nodes, node, work))
            .collect();
        let readers = readers?;
        // the characters that may come behind each
        let behind: Vec<FxHashSet<SetId>> = self
            .follow
            .iter()
            .map(|follow| {
                let places = follow.iter().map(|next| &readers[next]);
                places.flat_map(Reader::first_sets).collect()
            })
            .collect();
        let may_come = |ended: usize, sets: &FxHashSet<SetId>, work: &mut Work| {
            work.spend(sets.len() * behind[ended].len())?;
            let meets = |set: &SetId| {
                behind[ended]
                    .iter()
                    .any(|&next| nodes.sets.meet(*set, next))
            };
            Some(sets.iter().any(meets))
        };
        let mut conflicts = FxHashSet::default();
        let mut seen = FxHashSet::default();
        let mut pairs = Vec::new();
        let mut meet = |a: Terminals, b: Terminals, pairs: &mut Vec<_>, work: &mut Work| {
            for a in a.iter() {
                for b in b.iter() {
                    work.spend(1)?;
                    if seen.insert((a.min(b), a.max(b))) {
                        pairs.push((a, b));
                    }
                }
            }
            Some(())
        };
        meet(self.first, self.first, &mut pairs, work)?;
        while let Some((a, b)) = pairs.pop() {
            let both = readers[a].beside(&readers[b], nodes, work)?;
            if may_come(a, &both.after_first, work)? {
                conflicts.insert(self.terminals[b]);
            }
            if may_come(b, &both.after_second, work)? {
                conflicts.insert(self.terminals[a]);
            }
            let is_token = |i: usize| matches!(nodes.all[self.terminals[i]], Node::Token { .. });
            if both.may_end_together || a == b || is_token(a) && is_token(b) {
                meet(self.follow[a], self.follow[b], &mut pairs, work)?;
            }
        }
        Some(conflicts.into_iter().collect())
    }
}

/// A terminal as its places for characters, and which may come behind which.
#[derive(Default)]
struct Reader {
    sets: Vec<SetId>,
    next: Vec<Vec<usize>>,
    first: Vec<usize>,
    is_last: Vec<bool>,
}

/// Where a part of a terminal begins and ends.
#[derive(Clone)]
struct Part {
    is_nullable: bool,
    first: Vec<usize>,
    last: Vec<usize>,
}

/// What two terminals do on the same characters.
#[derive(Default)]
struct Both {
    /// What continues the second where the first may have ended, and the other way round.
    after_first: FxHashSet<SetId>,
    after_second: FxHashSet<SetId>,
    may_end_together: bool,
}

impl Reader {
    fn of(nodes: &Nodes, node: NodeId, work: &mut Work) -> Option<Self> {
        let mut reader = Self::default();
        let whole = reader.read(nodes, node, work)?;
        reader.first = whole.first;
        reader.is_last = vec![false; reader.sets.len()];
        for place in whole.last {
            reader.is_last[place] = true;
        }
        Some(reader)
    }

    fn read(&mut self, nodes: &Nodes, node: NodeId, work: &mut Work) -> Option<Part> {
        work.spend(1)?;
        let nothing = |is_nullable| Part {
            is_nullable,
            first: vec![],
            last: vec![],
        };
        match &nodes.all[node] {
            // its bytes are no text, so nothing meets it
            Node::Token { .. } => Some(nothing(false)),
            Node::Chars(set) => {
                let place = self.sets.len();
                self.sets.push(*set);
                self.next.push(Vec::new());
                Some(Part {
                    is_nullable: false,
                    first: vec![place],
                    last: vec![place],
                })
            }
            Node::Rule { rule, .. } => self.read(nodes, nodes.rules[*rule], work),
            Node::All(parts) => {
                let mut all = nothing(true);
                for &part in parts {
                    let part = self.read(nodes, part, work)?;
                    all = self.then(all, part, work)?;
                }
                Some(all)
            }
            Node::OneOf(parts) => {
                let mut any = nothing(false);
                for &part in parts {
                    let part = self.read(nodes, part, work)?;
                    any.is_nullable |= part.is_nullable;
                    any.first.extend(part.first);
                    any.last.extend(part.last);
                    work.spend(any.first.len() + any.last.len())?;
                }
                Some(any)
            }
            Node::Repeat { of, least, most } => {
                let copies = regular::copies(*most);
                let is_counted = most.is_some_and(|most| most as usize == copies);
                let mut all = nothing(true);
                for copy in 0..copies {
                    let mut one = self.read(nodes, *of, work)?;
                    one.is_nullable |= copy >= *least as usize;
                    all = self.then(all, one, work)?;
                }
                if !is_counted {
                    self.join(&all.last, &all.first, work)?;
                }
                Some(all)
            }
        }
    }

    /// One part behind another.
    fn then(&mut self, mut a: Part, b: Part, work: &mut Work) -> Option<Part> {
        self.join(&a.last, &b.first, work)?;
        work.spend(a.first.len() + a.last.len())?;
        if a.is_nullable {
            a.first.extend(b.first);
        }
        let mut last = b.last;
        if b.is_nullable {
            last.extend(a.last);
        }
        Some(Part {
            is_nullable: a.is_nullable && b.is_nullable,
            first: a.first,
            last,
        })
    }

    fn join(&mut self, from: &[usize], to: &[usize], work: &mut Work) -> Option<()> {
        work.spend(from.len() * to.len())?;
        for &place in from {
            self.next[place].extend(to);
        }
        Some(())
    }

    fn first_sets(&self) -> impl Iterator<Item = SetId> {
        self.first.iter().map(|&place| self.sets[place])
    }

    /// Reads the same characters with both.
    fn beside(&self, other: &Self, nodes: &Nodes, work: &mut Work) -> Option<Both> {
        let mut both = Both::default();
        let n_other = other.sets.len();
        work.spend(self.sets.len() * n_other / 16)?;
        let mut is_seen = vec![false; self.sets.len() * n_other];
        let mut rest = Vec::new();
        let mut reach = |a: &[usize], b: &[usize], rest: &mut Vec<_>, work: &mut Work| {
            work.spend(a.len() * b.len())?;
            for &a in a {
                for &b in b {
                    if std::mem::replace(&mut is_seen[a * n_other + b], true) {
                        continue;
                    }
                    if nodes.sets.meet(self.sets[a], other.sets[b]) {
                        rest.push((a, b));
                    }
                }
            }
            Some(())
        };
        reach(&self.first, &other.first, &mut rest, work)?;
        while let Some((a, b)) = rest.pop() {
            let (next_a, next_b) = (&self.next[a], &other.next[b]);
            work.spend(next_a.len() + next_b.len())?;
            if self.is_last[a] {
                let sets = next_b.iter().map(|&place| other.sets[place]);
                both.after_first.extend(sets);
            }
            if other.is_last[b] {
                let sets = next_a.iter().map(|&place| self.sets[place]);
                both.after_second.extend(sets);
            }
            both.may_end_together |= self.is_last[a] && other.is_last[b];
            reach(next_a, next_b, &mut rest, work)?;
        }
        Some(both)
    }
}
