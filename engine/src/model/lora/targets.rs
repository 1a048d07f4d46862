//! Which matrices of a loaded model an adapter can change, by the names of their tensors.

use std::{collections::HashMap, ops::Range};

/// A matrix of a model, by a number of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::model) struct Slot(u32);

/// The tensors of a model that are multiplied with, by name.
#[derive(Debug, Default)]
pub(in crate::model) struct Targets {
    tensors: HashMap<String, Target>,
    n_slots: u32,
}

/// A tensor, and the matrices that it was cut into.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) n_cols: usize,
    /// Of each matrix of the file's.
    pub(super) n_rows: usize,
    /// How many the tensor stacks: experts.
    pub(super) n_matrices: usize,
    pub(super) parts: Vec<Part>,
}

/// A matrix of the model's: rows of one of the file's.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) slot: Slot,
    /// Which of those that the tensor stacks.
    pub(super) index: usize,
    /// Counted through the whole tensor.
    pub(super) rows: Vec<Range<usize>>,
}

impl Targets {
    /// Notes that the tensor called `name`, of `n_matrices` matrices of this shape, is cut into `parts`: of each, which
    /// of the matrices it is a part of, and its rows, counted through the whole tensor. Returns the slot of each.
    pub(in crate::model) fn add(
        &mut self,
        name: &str,
        [n_matrices, n_rows, n_cols]: [usize; 3],
        parts: impl IntoIterator<Item = (usize, Vec<Range<usize>>)>,
    ) -> Vec<Slot> {
        let parts: Vec<Part> = parts
            .into_iter()
            .map(|(index, rows)| {
                let slot = Slot(self.n_slots);
                self.n_slots += 1;
                Part { slot, index, rows }
            })
            .collect();
        let slots = parts.iter().map(|part| part.slot).collect();
        let target = Target {
            n_cols,
            n_rows,
            n_matrices,
            parts,
        };
        self.tensors.insert(name.to_owned(), target);
        slots
    }

    pub(super) fn get(&self, name: &str) -> Option<&Target> {
        self.tensors.get(name)
    }
}
