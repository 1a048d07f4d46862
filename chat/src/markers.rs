//! Marks in text that comes in chunks.

/// Length of the longest proper prefix of `marker` that `text` ends with: what must be held back.
pub(crate) fn prefix_at_end(text: &str, marker: &str) -> usize {
    (1..marker.len())
        .rev()
        .find(|&len| marker.is_char_boundary(len) && text.ends_with(&marker[..len]))
        .unwrap_or(0)
}
