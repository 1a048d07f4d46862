//! Reading little-endian numbers and strings off a byte slice; `None` at its end, never a panic.

/// A position in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

macro_rules! numbers {
    ($($name:ident),*) => {
        $(pub(crate) fn $name(&mut self) -> Option<$name> {
            self.array().map($name::from_le_bytes)
        })*
    };
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.position // the position only moves inside
    }

    /// The next `n` bytes. At the end of the slice, `None`, and the position stays.
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(n)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    numbers!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

    /// A `u64` length and that many bytes.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.position;
        let taken = self
            .u64()
            .and_then(|len| usize::try_from(len).ok())
            .and_then(|len| self.take(len));
        if taken.is_none() {
            self.position = start;
        }
        taken
    }
}
