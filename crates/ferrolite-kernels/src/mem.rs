//! Aligned buffers, per-thread scratch, and shared mutable output.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::marker::PhantomData;

/// Alignment of all buffers: a cache line, and the longest vector.
const ALIGN: usize = 64;
/// Memory from here on is asked of the system at once.
const POPULATED: usize = 256 << 10;
/// Memory from here on holds whole huge pages, of which a fault clears one.
#[cfg(target_os = "linux")]
const HUGE: usize = 4 << 20;

/// Bytes aligned to 64, the alignment that every kernel may count on.
#[derive(Default)]
pub struct AlignedBytes {
    /// The bytes and what aligns them. It is never grown in place, so that it stays where it is.
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> AlignedBytes {
        if len == 0 {
            return AlignedBytes::default();
        }
        // Aligned by hand: zeros of the system are used as they are only for allocations without an alignment.
        let mut memory = vec![0; len.checked_add(ALIGN - 1).expect("buffer length overflows")];
        if len >= POPULATED {
            populate(&mut memory);
        }
        let start = memory.as_ptr().addr().next_multiple_of(ALIGN) - memory.as_ptr().addr();
        AlignedBytes { memory, start, len }
    }

    /// Sets the length, keeping the allocation where it is large enough; new bytes are 0 or left from before.
    pub(crate) fn resize(&mut self, len: usize) {
        if self.start + len > self.memory.len() {
            let mut larger = AlignedBytes::zeroed(len);
            larger[..self.len].copy_from_slice(self);
            *self = larger;
        }
        self.len = len;
    }

    /// Becomes a copy of `bytes`, keeping its allocation where it is large enough.
    pub fn assign(&mut self, bytes: &[u8]) {
        self.len = 0;
        self.resize(bytes.len());
        self.copy_from_slice(bytes);
    }

    /// Becomes `len` zero bytes, keeping its allocation where it is large enough.
    pub fn resize_zeroed(&mut self, len: usize) {
        let fits = self.start + len <= self.memory.len();
        self.len = 0;
        self.resize(len);
        if fits {
            self.fill(0);
        }
    }

    fn address(&self) -> *const u8 {
        if self.memory.is_empty() { std::ptr::without_provenance(ALIGN) } else { self.memory[self.start..].as_ptr() }
    }
}

/// Asks the system for the pages of memory that will be written whole. It takes a fraction of the time of a fault for each.
fn populate(memory: &mut [u8]) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: no pointers are passed.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096).max(1);
        let skipped = memory.as_ptr().addr().next_multiple_of(page) - memory.as_ptr().addr();
        if let Some(whole) = memory.get_mut(skipped..) {
            let len = whole.len() / page * page;
            let start = whole.as_mut_ptr();
            let advise = |advice| {
                // SAFETY: whole pages of a slice that is borrowed exclusively, whose contents the call does not change.
                // Systems that do not know it refuse, and the pages come when they are written.
                unsafe { libc::madvise(start.cast(), len, advice) };
            };
            if len >= HUGE {
                advise(libc::MADV_HUGEPAGE);
            }
            advise(libc::MADV_POPULATE_WRITE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

impl Clone for AlignedBytes {
    fn clone(&self) -> AlignedBytes {
        AlignedBytes::from(&**self)
    }
}

impl From<&[u8]> for AlignedBytes {
    fn from(bytes: &[u8]) -> AlignedBytes {
        let mut aligned = AlignedBytes::zeroed(bytes.len());
        aligned.copy_from_slice(bytes);
        aligned
    }
}

impl std::ops::Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` on are inside `memory`, and without memory `len` is 0.
        unsafe { std::slice::from_raw_parts(self.address(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        let address = if self.memory.is_empty() {
            std::ptr::without_provenance_mut(ALIGN)
        } else {
            self.memory[self.start..].as_mut_ptr()
        };
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(address, self.len) }
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBytes({} bytes)", self.len)
    }
}

mod sealed {
    /// Plain numbers: every bit pattern is a value, no padding, alignment at most 64.
    pub trait Pod: Copy + Default + Send + Sync + 'static {}
    impl Pod for f32 {}
    impl Pod for i32 {}
    impl Pod for i16 {}
    impl Pod for i8 {}
    impl Pod for u8 {}
    impl Pod for usize {}
}
pub(crate) use sealed::Pod;

/// A growable buffer of numbers that starts on a cache line.
#[derive(Clone, Default)]
pub(crate) struct AlignedVec<T> {
    bytes: AlignedBytes,
    of: PhantomData<T>,
}

impl<T: Pod> AlignedVec<T> {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> AlignedVec<T> {
        AlignedVec { bytes: AlignedBytes::zeroed(bytes_of::<T>(len)), of: PhantomData }
    }

    /// Sets the length; new elements are 0 or left from before. Memory is kept.
    pub(crate) fn resize(&mut self, len: usize) {
        self.bytes.resize(bytes_of::<T>(len));
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        let bytes = &*self.bytes;
        // SAFETY: the bytes are aligned to 64 and initialised, and every bit pattern is a `T`.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        let bytes = &mut *self.bytes;
        // SAFETY: as in `as_slice`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) }
    }
}

fn bytes_of<T>(len: usize) -> usize {
    len.checked_mul(size_of::<T>()).expect("buffer length overflows")
}

impl<T> std::fmt::Debug for AlignedVec<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedVec({} bytes)", self.bytes.len())
    }
}

/// Buffers that a thread keeps between calls, so that a warm kernel allocates nothing.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Addresses of rows.
    pub(crate) ptrs: AlignedVec<usize>,
    /// Gathered rows.
    pub(crate) patch: AlignedVec<u8>,
    /// Anything else.
    pub(crate) extra: AlignedVec<u8>,
}

/// Lends a scratch of this thread to `f`. A nested call gets another one; all are kept.
pub(crate) fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        // Boxed, so that a pointer moves and not the buffers' parts.
        #[allow(clippy::vec_box)]
        static FREE: RefCell<Vec<Box<Scratch>>> = const { RefCell::new(Vec::new()) };
    }
    let mut s = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let r = f(&mut s);
    FREE.with_borrow_mut(|free| free.push(s));
    r
}

impl AlignedVec<u8> {
    /// At least `len` elements of another type, with whatever they hold.
    pub(crate) fn typed<T: Pod>(&mut self, len: usize) -> &mut [T] {
        let bytes = bytes_of::<T>(len);
        if bytes > self.bytes.len() {
            self.resize(bytes);
        }
        // SAFETY: `bytes` bytes are initialised and aligned to 64, and every bit pattern is a `T`.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_mut_ptr().cast(), len) }
    }
}

/// An output that several tasks write, each its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    ptr: *mut T,
    len: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shared` only hands out raw pointers and, by an unsafe function, disjoint parts of a slice of `Send` elements.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(s: &'a mut [T]) -> Self {
        Shared { ptr: s.as_mut_ptr(), len: s.len(), of: PhantomData }
    }

    /// Elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of element `at`.
    pub(crate) fn at(&self, at: usize) -> *mut T {
        debug_assert!(at <= self.len);
        self.ptr.wrapping_add(at)
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// No other task uses the same elements at the same time.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, range: std::ops::Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the slice, which is borrowed for `'a`; disjointness is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_aligned_and_keep_their_contents() {
        for len in [0, 1, 63, 64, 1000, POPULATED + 5] {
            let mut bytes = AlignedBytes::zeroed(len);
            assert!(bytes.as_ptr().addr().is_multiple_of(ALIGN) && bytes.len() == len && bytes.iter().all(|&b| b == 0));
            bytes.fill(9);
            assert_eq!(*bytes.clone(), *bytes);
            bytes.resize(len + 1);
            assert!(bytes[..len].iter().all(|&b| b == 9));
            bytes.resize_zeroed(len / 2);
            assert!(bytes.len() == len / 2 && bytes.iter().all(|&b| b == 0));
            bytes.assign(&[1, 2, 3]);
            assert_eq!(*bytes, [1, 2, 3]);
        }
    }
}
