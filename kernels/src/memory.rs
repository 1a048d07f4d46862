//! Memory for weights and scratch: zeroed, aligned to cache lines, in huge pages where the system has them.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// The bytes of a cache line and of the widest vector.
pub(crate) const LINE: usize = 64;

/// From this size on, memory is asked for in huge pages of this size.
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed bytes that start on a cache line.
pub(crate) struct AlignedBytes {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned and has no interior mutability: it is written through `&mut` alone.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `None` when the system has no memory to give.
    pub(crate) fn zeroed(size_bytes: usize) -> Option<Self> {
        let align = if size_bytes >= HUGE_PAGE {
            HUGE_PAGE
        } else {
            LINE
        };
        let layout = Layout::from_size_align(size_bytes.max(1), align).ok()?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        #[cfg(target_os = "linux")]
        if align == HUGE_PAGE {
            // SAFETY: the range was just allocated and is wholly ours. The advice changes speed alone, so that its
            // failure may be ignored.
            let _ = unsafe {
                rustix::mm::madvise(
                    start.as_ptr().cast(),
                    size_bytes / HUGE_PAGE * HUGE_PAGE,
                    rustix::mm::Advice::LinuxHugepage,
                )
            };
        }
        Some(Self { start, layout })
    }

    pub(crate) fn len(&self) -> usize {
        self.layout.size()
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the allocation has this size, is initialised (zeroed) and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len()) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len()) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Scratch that grows and is reused: its contents are lost when it grows.
#[derive(Default)]
pub(crate) struct Scratch(Option<AlignedBytes>);

impl Scratch {
    /// At least `size_bytes` bytes, with whatever was last written to them.
    ///
    /// # Panics
    /// When the system has no memory to give.
    pub(crate) fn at_least(&mut self, size_bytes: usize) -> &mut [u8] {
        if self.0.as_ref().is_none_or(|bytes| bytes.len() < size_bytes) {
            self.0 = None;
            let bytes = AlignedBytes::zeroed(size_bytes.next_power_of_two());
            self.0 = Some(bytes.expect("memory for scratch, which is small beside the weights'"));
        }
        match &mut self.0 {
            Some(bytes) => bytes.as_mut_slice(),
            None => unreachable!("allocated above"),
        }
    }
}

/// A pointer that tasks of one parallel region share; who uses it says why they do not collide.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: a pointer is inert; every dereference argues for itself.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer; a method, so that closures capture the whole wrapper.
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}
