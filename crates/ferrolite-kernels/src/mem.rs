//! Aligned buffers, per-thread scratch, and shared mutable output.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::marker::PhantomData;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

mod sealed {
    /// Plain numbers: every bit pattern is a value, no padding, alignment at most 64.
    pub trait Pod: Copy + Default + Send + Sync + 'static {}
    impl Pod for f32 {}
    impl Pod for i32 {}
    impl Pod for i8 {}
    impl Pod for u8 {}
    impl Pod for usize {}
}
pub(crate) use sealed::Pod;

/// A growable buffer of numbers that starts on a cache line.
#[derive(Clone, Default)]
pub(crate) struct AlignedVec<T> {
    lines: Vec<Line>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Pod> AlignedVec<T> {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> AlignedVec<T> {
        let mut v = AlignedVec { lines: Vec::new(), len: 0, of: PhantomData };
        v.resize(len);
        v
    }

    /// Sets the length; new elements are 0 or left from before. Memory is kept.
    pub(crate) fn resize(&mut self, len: usize) {
        let lines = len.checked_mul(size_of::<T>()).expect("buffer length overflows").div_ceil(64);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0; 64]));
        }
        self.len = len;
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: the lines hold `len` elements, are aligned to 64 and initialised, and every bit pattern is a `T`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T> std::fmt::Debug for AlignedVec<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedVec({})", self.len)
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
        static FREE: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
    }
    let mut s = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let r = f(&mut s);
    FREE.with_borrow_mut(|free| free.push(s));
    r
}

impl AlignedVec<u8> {
    /// At least `len` elements of another type, with whatever they hold.
    pub(crate) fn typed<T: Pod>(&mut self, len: usize) -> &mut [T] {
        let bytes = len.checked_mul(size_of::<T>()).expect("buffer length overflows");
        if bytes > self.len {
            self.resize(bytes);
        }
        // SAFETY: `bytes` bytes are initialised and aligned to 64, and every bit pattern is a `T`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
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
