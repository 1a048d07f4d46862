//! Memory for weights and scratch: zeroed, aligned to cache lines, in huge pages where the system has them.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// The bytes of a cache line and of the widest vector.
pub(crate) const LINE: usize = 64;

/// From this size on, memory is asked for in huge pages of this size, where the system has them.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Whether this system is asked for them.
pub(crate) const HAS_HUGE_PAGES: bool = cfg!(all(target_os = "linux", not(miri)));

/// Zeroed bytes that start on a cache line.
pub(crate) struct AlignedBytes {
    start: NonNull<u8>,
    len: usize,
    origin: Origin,
}

/// Where memory came from, and so how it is given back.
enum Origin {
    Allocator(Layout),
    /// A map of this many bytes, `skipped` of them before the first one that is used.
    #[cfg(all(target_os = "linux", not(miri)))]
    Map {
        skipped: usize,
        size: usize,
    },
}

// SAFETY: the memory is owned and has no interior mutability: it is written through `&mut` alone.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `None` when the system has no memory to give.
    pub(crate) fn zeroed(size_bytes: usize) -> Option<Self> {
        #[cfg(all(target_os = "linux", not(miri)))]
        if size_bytes >= HUGE_PAGE {
            return Self::mapped(size_bytes);
        }
        let layout = Layout::from_size_align(size_bytes.max(1), LINE).ok()?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self {
            start,
            len: layout.size(),
            origin: Origin::Allocator(layout),
        })
    }

    /// Pages of the system's own, huge ones where it has them: they are zero until they are first written, by whichever
    /// thread does that, so that nothing is cleared twice and the advice comes in time.
    #[cfg(all(target_os = "linux", not(miri)))]
    fn mapped(len: usize) -> Option<Self> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let size = len
            .checked_next_multiple_of(HUGE_PAGE)?
            .checked_add(HUGE_PAGE)?;
        // SAFETY: a new private map touches no memory that exists.
        let map = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let map = map.ok()?.cast::<u8>();
        let skipped = map.align_offset(HUGE_PAGE);
        // SAFETY: the map is longer by a huge page than what is used of it.
        let start = unsafe { map.add(skipped) };
        // SAFETY: the range is a part of the map, which is wholly ours. The advice changes speed alone, so that its
        // failure may be ignored.
        let _ = unsafe { madvise(start.cast(), len, Advice::LinuxHugepage) };
        Some(Self {
            start: NonNull::new(start)?,
            len,
            origin: Origin::Map { skipped, size },
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
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
        match self.origin {
            // SAFETY: allocated with this layout, and freed once.
            Origin::Allocator(layout) => unsafe { dealloc(self.start.as_ptr(), layout) },
            #[cfg(all(target_os = "linux", not(miri)))]
            Origin::Map { skipped, size } => {
                // SAFETY: the map of this size starts so far before, and is given back once. That cannot fail for a
                // whole map; were it to, memory would be lost and nothing else.
                let _ =
                    unsafe { rustix::mm::munmap(self.start.as_ptr().sub(skipped).cast(), size) };
            }
        }
    }
}

/// Has the allocator give what was freed back to the system when this is dropped: as the last field of what is large and
/// made of many pieces, which would stay the process's otherwise.
#[derive(Debug, Default)]
pub struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        #[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
        {
            unsafe extern "C" {
                /// glibc's: <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>.
                fn malloc_trim(pad: usize) -> std::ffi::c_int;
            }
            // SAFETY: it may be called at any time, by any thread; memory that is in use stays as it is.
            let _whether_there_was_some = unsafe { malloc_trim(0) };
        }
    }
}

/// Bytes of a block of an [`Arena`].
const BLOCK: usize = 32 << 20;

/// Memory for many matrices, cut from large blocks: smaller than a huge page each, they lie in huge pages together.
#[derive(Default)]
pub(crate) struct Arena {
    /// The block that is being cut, and how much of it is taken.
    current: Mutex<Option<(Arc<AlignedBytes>, usize)>>,
}

impl Arena {
    /// Zeroed bytes that start on a cache line, given back when the last part of their block is. `None` when the system
    /// has no memory to give.
    pub(crate) fn zeroed(&self, len: usize) -> Option<Part> {
        if len > BLOCK / 2 {
            let block = Arc::new(AlignedBytes::zeroed(len)?);
            return Some(Part {
                block,
                first: 0,
                len,
            });
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (block, first) = match current.take() {
            Some((block, taken)) if len <= block.len() - taken => (block, taken),
            _ => (Arc::new(AlignedBytes::zeroed(BLOCK)?), 0),
        };
        *current = Some((Arc::clone(&block), first + len.next_multiple_of(LINE)));
        Some(Part { block, first, len })
    }
}

/// A part of a block, nobody else's.
pub(crate) struct Part {
    block: Arc<AlignedBytes>,
    first: usize,
    len: usize,
}

impl Part {
    /// A block of `size_bytes`, cut into all parts of `len` that it has room for. `None` when the system has no memory
    /// to give.
    pub(crate) fn cut(size_bytes: usize, len: usize) -> Option<impl Iterator<Item = Self>> {
        let block = Arc::new(AlignedBytes::zeroed(size_bytes)?);
        let stride = len.next_multiple_of(LINE);
        let firsts = (0..(size_bytes + stride - len) / stride).map(move |part| part * stride);
        Some(firsts.map(move |first| Self {
            block: Arc::clone(&block),
            first,
            len,
        }))
    }

    /// Which block it is a part of, and how many parts of that there are.
    pub(crate) fn block(&self) -> (*const u8, usize) {
        let start = self.block.start.as_ptr().cast_const();
        (start, Arc::strong_count(&self.block))
    }

    /// Gives the memory back to the system, which gives some again when it is next touched; what is in it is anything
    /// then. Returns whether that can be done.
    pub(crate) fn give_back(&mut self) -> bool {
        #[cfg(all(target_os = "linux", not(miri)))]
        if let Origin::Map { .. } = self.block.origin {
            use rustix::mm::{Advice, madvise};
            let page = rustix::param::page_size();
            let skipped = self.start().align_offset(page).min(self.len);
            let len = (self.len - skipped) / page * page;
            // SAFETY: whole pages of this part, which is borrowed mutably: nobody reads or writes them meanwhile, and
            // any bytes are fine ones.
            let advised =
                unsafe { madvise(self.start().add(skipped).cast(), len, Advice::LinuxDontNeed) };
            return advised.is_ok();
        }
        false
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.start().cast_const()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: an arena gives each part once; the bytes are initialised and written through `&mut` of it alone.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: the block has the part.
        unsafe { self.block.start.as_ptr().add(self.first) }
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
            let bytes = AlignedBytes::zeroed(Self::rounded(size_bytes));
            self.0 = Some(bytes.expect("memory for scratch, which is small beside the weights'"));
        }
        match &mut self.0 {
            Some(bytes) => bytes.as_mut_slice(),
            None => unreachable!("allocated above"),
        }
    }

    /// Bytes that are taken when so many are asked for, more than were before.
    pub(crate) fn rounded(size_bytes: usize) -> usize {
        size_bytes.checked_next_power_of_two().unwrap_or(usize::MAX)
    }

    /// Bytes that it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, AlignedBytes::len)
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
