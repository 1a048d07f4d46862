//! Answers of `/v1/responses` that clients may ask for again, or go on from: kept in memory, and gone when the daemon ends.
//!
//! At most [`MAX_RESPONSES`] with at most [`MAX_BYTES`]; what was not used for longest goes first, answers in progress last.
//! An answer counts with its whole conversation, though answers share what they have in common: the bound is never passed.

use serde_json::Value;
use slm_api::responses::Response;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// Most answers that are kept.
const MAX_RESPONSES: usize = 1024;
/// Most bytes that they take, as JSON.
const MAX_BYTES: usize = 128 << 20;

/// An item of a conversation, and its length as JSON.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) value: Value,
    n_bytes: usize,
}

impl Item {
    pub(crate) fn new(value: Value) -> Arc<Self> {
        let n_bytes = value.to_string().len();
        Arc::new(Self { value, n_bytes })
    }
}

/// A kept answer.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) response: Response,
    /// What it answers, from the conversation's beginning.
    pub(crate) input: Vec<Arc<Item>>,
}

impl Kept {
    /// The conversation with the answer at its end.
    pub(crate) fn conversation(self) -> Vec<Arc<Item>> {
        let output = self.response.output.into_iter().map(Item::new);
        self.input.into_iter().chain(output).collect()
    }
}

/// All kept answers.
#[derive(Debug, Default)]
pub(crate) struct Responses(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    n_bytes: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    /// Ends it, while it is in progress.
    cancel: Option<CancellationToken>,
    n_bytes: usize,
    used: u64,
}

/// How an attempt to end an answer went.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// It has been ended.
    Now(Box<Response>),
    /// There is nothing to end.
    IsOver,
}

impl Responses {
    /// Keeps an answer, in place of what is known of it; `cancel` ends it where it is in progress. One that was cancelled
    /// stays so, and one that was removed stays away.
    pub(crate) fn put(&self, kept: Kept, cancel: Option<CancellationToken>) {
        let mut inner = self.lock();
        let id = kept.response.id.clone();
        let is_new = cancel.is_some();
        let known = inner.entries.get(&id);
        let is_wanted = match known {
            Some(known) => known.cancel.is_some(),
            None => is_new,
        };
        if !is_wanted {
            return;
        }
        inner.take(&id);
        let response = serde_json::to_string(&kept.response).map_or(0, |text| text.len());
        let n_bytes = response + kept.input.iter().map(|item| item.n_bytes).sum::<usize>();
        inner.clock += 1;
        let used = inner.clock;
        inner.n_bytes += n_bytes;
        let entry = Entry {
            kept,
            cancel,
            n_bytes,
            used,
        };
        inner.entries.insert(id, entry);
        inner.shrink(MAX_RESPONSES, MAX_BYTES);
    }

    /// What is kept under `id`; it counts as used.
    pub(crate) fn get(&self, id: &str) -> Option<Kept> {
        let mut inner = self.lock();
        inner.clock += 1;
        let used = inner.clock;
        let entry = inner.entries.get_mut(id)?;
        entry.used = used;
        Some(entry.kept.clone())
    }

    /// Forgets an answer, and ends it where it is in progress. Whether there was one.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let entry = self.lock().take(id);
        if let Some(cancel) = entry.as_ref().and_then(|entry| entry.cancel.as_ref()) {
            cancel.cancel();
        }
        entry.is_some()
    }

    /// Ends an answer that is in progress; `None` where there is none.
    pub(crate) fn cancel(&self, id: &str) -> Option<Cancelled> {
        let mut inner = self.lock();
        let entry = inner.entries.get_mut(id)?;
        let Some(cancel) = entry.cancel.take() else {
            return Some(Cancelled::IsOver);
        };
        cancel.cancel();
        let response = &mut entry.kept.response;
        response.status = "cancelled".to_owned();
        Some(Cancelled::Now(Box::new(response.clone())))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, id: &str) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.n_bytes -= entry.n_bytes;
        Some(entry)
    }

    fn shrink(&mut self, max_responses: usize, max_bytes: usize) {
        while self.entries.len() > max_responses || self.n_bytes > max_bytes {
            let ended_first = |(_, entry): &(&String, &Entry)| (entry.cancel.is_some(), entry.used);
            let Some((id, _)) = self.entries.iter().min_by_key(ended_first) else {
                return;
            };
            let id = id.clone();
            self.take(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kept(id: &str) -> Kept {
        Kept {
            response: Response {
                id: id.to_owned(),
                status: "in_progress".to_owned(),
                ..Response::default()
            },
            input: vec![Item::new(json!({"a": "x".repeat(50)}))],
        }
    }

    fn add(responses: &Responses, id: &str) {
        responses.put(kept(id), Some(CancellationToken::new()));
        responses.put(kept(id), None);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_what_is_in_progress_last() {
        let responses = Responses::default();
        responses.put(kept("running"), Some(CancellationToken::new()));
        for id in ["a", "b", "c"] {
            add(&responses, id);
        }
        assert!(responses.get("a").is_some());
        let ids = |inner: &Inner| {
            let mut ids: Vec<&str> = inner.entries.keys().map(String::as_str).collect();
            ids.sort_unstable();
            ids.join(" ")
        };
        let mut inner = responses.lock();
        let each = inner.n_bytes / 4;
        inner.shrink(3, usize::MAX);
        assert_eq!(ids(&inner), "a c running");
        inner.shrink(9, each * 2 + 40);
        assert_eq!(ids(&inner), "a running");
        inner.shrink(9, 0);
        assert_eq!((ids(&inner).as_str(), inner.n_bytes), ("", 0));
    }

    #[test]
    fn what_was_cancelled_or_removed_stays_so() {
        let responses = Responses::default();
        let token = CancellationToken::new();
        responses.put(kept("a"), Some(token.clone()));
        assert!(
            matches!(responses.cancel("a"), Some(Cancelled::Now(r)) if r.status == "cancelled")
        );
        assert!(token.is_cancelled());
        responses.put(kept("a"), None);
        assert_eq!(responses.get("a").unwrap().response.status, "cancelled");
        assert!(matches!(responses.cancel("a"), Some(Cancelled::IsOver)));
        assert!(responses.cancel("b").is_none());
        responses.put(kept("b"), Some(token));
        assert!(responses.remove("b") && !responses.remove("b"));
        responses.put(kept("b"), None);
        assert!(responses.get("b").is_none());
    }
}
