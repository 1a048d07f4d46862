//! New positions, head by head, so that all threads write some.

use std::sync::{Mutex, PoisonError};

use super::layout::{HeadMut, Layout};
use super::{KvLayer, PAGE_POSITIONS};
use crate::Compute;

/// Values that are written together at least: fewer are done before another thread has begun.
const GRAIN_VALUES: usize = 4 << 10;

/// Positions to be added to a layer: `k` is `[n_tokens, n_kv_heads, head_dim]`, `v` is `[n_tokens, n_kv_heads,
/// v_head_dim]`.
pub struct KvAppend<'a> {
    /// The layer.
    pub kv: &'a mut KvLayer,
    /// How many positions.
    pub n_tokens: usize,
    /// Their keys.
    pub k: &'a [f32],
    /// Their values.
    pub v: &'a [f32],
}

/// Positions of one head in one page that are to be written.
struct Write<'a> {
    layout: Layout,
    head: HeadMut<'a>,
    /// The number of the head.
    index: usize,
    /// The place of the first of them in the page.
    first: usize,
    /// Of all heads.
    k: &'a [f32],
    v: &'a [f32],
}

impl Write<'_> {
    fn run(&mut self) {
        let layout = &self.layout;
        let k = self.k.chunks_exact(layout.head_dim);
        let v = self.v.chunks_exact(layout.v_head_dim);
        let rows = k.zip(v).skip(self.index).step_by(layout.n_kv_heads);
        self.layout.write(&mut self.head, self.first, rows);
    }

    fn n_values(&self) -> usize {
        (self.k.len() + self.v.len()) / self.layout.n_kv_heads
    }
}

impl KvLayer {
    /// Adds `n_tokens` positions on this thread alone; shapes as for [`KvAppend`].
    ///
    /// # Panics
    /// When the lengths disagree, or the system has no memory to give.
    pub fn append(&mut self, n_tokens: usize, k: &[f32], v: &[f32]) {
        self.grow(n_tokens, k, v).for_each(|mut write| write.run());
    }

    /// Makes room for `n_tokens` positions more; they are there once all writes have run.
    fn grow<'a>(
        &'a mut self,
        n_tokens: usize,
        k: &'a [f32],
        v: &'a [f32],
    ) -> impl Iterator<Item = Write<'a>> {
        let layout = self.layout;
        let (k_row, v_row) = (layout.k_row(), layout.v_row());
        assert_eq!(k.len(), n_tokens * k_row, "the keys' length");
        assert_eq!(v.len(), n_tokens * v_row, "the values' length");
        let (first, end) = (self.len, self.len + n_tokens);
        let first_page = first / PAGE_POSITIONS;
        let pages = match n_tokens {
            0 => &mut [],
            _ => {
                self.own_pages(end);
                self.len = end;
                self.pages_from(first_page)
            }
        };
        pages.iter_mut().enumerate().flat_map(move |(idx, page)| {
            let page_start = (first_page + idx) * PAGE_POSITIONS;
            let from = first.max(page_start);
            let to = end.min(page_start + PAGE_POSITIONS);
            let heads = layout.heads(super::own(page).as_mut_slice()).enumerate();
            heads.map(move |(index, head)| Write {
                layout,
                head,
                index,
                first: from - page_start,
                k: &k[(from - first) * k_row..(to - first) * k_row],
                v: &v[(from - first) * v_row..(to - first) * v_row],
            })
        })
    }
}

impl Compute {
    /// Adds positions to layers.
    ///
    /// # Panics
    /// When lengths disagree, or the system has no memory to give.
    pub fn append(&self, appends: Vec<KvAppend<'_>>) {
        let writes = appends
            .into_iter()
            .flat_map(|append| append.kv.grow(append.n_tokens, append.k, append.v));
        let writes: Vec<Write<'_>> = writes.collect();
        let largest = writes.iter().map(Write::n_values).max().unwrap_or(1);
        let writes: Vec<_> = writes.into_iter().map(Mutex::new).collect();
        self.parallel_for(writes.len(), GRAIN_VALUES.div_ceil(largest), &|items| {
            for write in &writes[items] {
                write.lock().unwrap_or_else(PoisonError::into_inner).run();
            }
        });
    }
}
