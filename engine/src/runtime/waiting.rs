//! Generations that wait for their turn: the clients take turns, and each of them is served in order.
//!
//! Whoever sends a hundred requests at once makes nobody wait for more than one of them.

use super::request::Entry;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// One line for each client that has somebody in it; the first is next.
    lines: VecDeque<VecDeque<Entry>>,
}

impl Waiting {
    /// Queues behind the others of the same client; a new client is behind the others.
    pub(super) fn push(&mut self, entry: Entry) {
        let client = &entry.request.client;
        let is_its = |line: &&mut VecDeque<Entry>| {
            line.front()
                .is_some_and(|first| first.request.client == *client)
        };
        match self.lines.iter_mut().find(is_its) {
            Some(line) => line.push_back(entry),
            None => self.lines.push_back(VecDeque::from([entry])),
        }
    }

    /// The next one; those whose clients have left are dropped.
    pub(super) fn peek(&mut self) -> Option<&Entry> {
        for line in &mut self.lines {
            line.retain(|entry| !entry.results.is_closed());
        }
        self.lines.retain(|line| !line.is_empty());
        self.lines.front()?.front()
    }

    /// Takes the one that [`Waiting::peek`] showed: its client is last now.
    pub(super) fn take(&mut self) -> Option<Entry> {
        let mut line = self.lines.pop_front()?;
        let entry = line.pop_front();
        if !line.is_empty() {
            self.lines.push_back(line);
        }
        entry
    }

    /// Lets the other clients go first.
    pub(super) fn defer(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.lines.push_back(line);
        }
    }

    /// Clients that wait.
    pub(super) fn n_clients(&self) -> usize {
        self.lines.len()
    }

    /// Those whose clients have not left, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let all = self.lines.iter().flatten();
        all.filter(|entry| !entry.results.is_closed())
    }

    /// All, in no order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Entry> + '_ {
        self.lines.drain(..).flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        StepResult,
        runtime::request::{Counters, GenerateRequest},
    };
    use std::{cell::Cell, sync::Arc, time::Instant};
    use tokio::sync::mpsc::{Receiver, channel};

    fn entry(client: &str, seed: u32) -> (Entry, Receiver<StepResult>) {
        let (results, receiver) = channel(1);
        let request = GenerateRequest {
            client: client.to_owned(),
            prompt: vec![seed],
            ..GenerateRequest::default()
        };
        let entry = Entry {
            request,
            results,
            queued_at: Instant::now(),
            place: Arc::<Counters>::default().enter(1).unwrap(),
            is_looked_up: Cell::default(),
        };
        (entry, receiver)
    }

    #[test]
    fn clients_take_turns_and_those_who_left_are_passed_over() {
        let mut waiting = Waiting::default();
        let mut receivers = Vec::new();
        for (client, id) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)] {
            let (entry, receiver) = entry(client, id);
            waiting.push(entry);
            receivers.push(receiver);
        }
        assert_eq!(waiting.n_clients(), 3);
        waiting.defer();
        assert_eq!(waiting.peek().unwrap().request.prompt, [4]);
        waiting.defer();
        waiting.defer();
        // the first of b leaves
        receivers.remove(3);
        let mut order = Vec::new();
        while let Some(next) = waiting.peek().map(|entry| entry.request.prompt[0]) {
            assert_eq!(
                waiting.take().map(|entry| entry.request.prompt[0]),
                Some(next)
            );
            order.push(next);
        }
        assert_eq!(order, [1, 6, 5, 2, 3]);
        assert!(waiting.is_empty() && waiting.take().is_none());
    }
}
