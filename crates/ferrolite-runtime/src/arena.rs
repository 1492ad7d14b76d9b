//! The arena: one block of memory in which every planned tensor has its place.

use crate::RuntimeError;
use ferrolite_ops::AlignedBytes;
use std::marker::PhantomData;
use std::ops::Range;

/// Alignment of every place.
const ALIGN: usize = 64;

/// A block to place: how large, and from which step to which it is needed (both included).
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) bytes: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Places blocks so that those needed at the same time do not overlap: largest first, each at the lowest free offset.
/// Returns the places, in the order of the requests, and the size of the arena.
pub(crate) fn place(requests: &[Request]) -> Result<(Vec<Range<usize>>, usize), RuntimeError> {
    // The search is quadratic; past this many blocks (no real model has them) memory is not shared any more.
    const SHARED: usize = 20_000;
    let mut order: Vec<usize> = (0..requests.len()).filter(|&i| requests[i].bytes > 0).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(requests[i].bytes), requests[i].first));
    let mut places = vec![0..0; requests.len()];
    // Placed blocks by offset.
    let mut placed: Vec<usize> = Vec::new();
    let mut size = 0usize;
    for i in order {
        let wanted = &requests[i];
        let mut offset = if placed.len() < SHARED { 0 } else { size };
        if offset == 0 {
            for &other in &placed {
                let (place, busy) = (&places[other], &requests[other]);
                if busy.last < wanted.first || wanted.last < busy.first {
                    continue;
                }
                if place.start >= offset && place.start - offset >= wanted.bytes {
                    break;
                }
                offset = offset.max(place.end.next_multiple_of(ALIGN));
            }
        }
        let end = offset.checked_add(wanted.bytes).filter(|&end| end <= isize::MAX as usize - ALIGN);
        let Some(end) = end else { return Err(RuntimeError::Usage("the arena is larger than memory".into())) };
        places[i] = offset..end;
        size = size.max(end.next_multiple_of(ALIGN));
        let at = placed.partition_point(|&other| places[other].start <= offset);
        placed.insert(at, i);
    }
    Ok((places, size))
}

/// Memory of one plan.
#[derive(Default)]
pub(crate) struct Arena(AlignedBytes);

impl Arena {
    pub(crate) fn new(bytes: usize) -> Arena {
        Arena(AlignedBytes::zeroed(bytes))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A place, between invocations.
    pub(crate) fn get(&self, range: Range<usize>) -> &[u8] {
        &self.0[range]
    }

    /// A place to write, between invocations.
    pub(crate) fn get_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.0[range]
    }

    /// Access to several places at once.
    pub(crate) fn lend(&mut self) -> Lent<'_> {
        Lent { base: self.0.as_mut_ptr(), len: self.0.len(), arena: PhantomData }
    }
}

/// The arena while a step runs.
#[derive(Clone, Copy)]
pub(crate) struct Lent<'a> {
    base: *mut u8,
    len: usize,
    arena: PhantomData<&'a mut [u8]>,
}

#[allow(unsafe_code)]
impl<'a> Lent<'a> {
    /// A place to read.
    ///
    /// # Safety
    /// While the result is used, no slice from [`Lent::write`] may overlap it.
    pub(crate) unsafe fn read(self, range: Range<usize>) -> &'a [u8] {
        assert!(range.start <= range.end && range.end <= self.len, "place outside of the arena");
        // SAFETY: in bounds (checked above) of the block that `'a` borrows; the caller rules out writers.
        unsafe { std::slice::from_raw_parts(self.base.add(range.start), range.len()) }
    }

    /// A place to write.
    ///
    /// # Safety
    /// While the result is used, no other slice of the arena may overlap it.
    pub(crate) unsafe fn write(self, range: Range<usize>) -> &'a mut [u8] {
        assert!(range.start <= range.end && range.end <= self.len, "place outside of the arena");
        // SAFETY: in bounds (checked above) of the block that `'a` borrows exclusively; the caller rules out others.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_alive_together_do_not_overlap_and_memory_is_reused() {
        let chain: Vec<Request> = (0..50).map(|i| Request { bytes: 100 + i * 7, first: i, last: i + 1 }).collect();
        let (places, size) = place(&chain).unwrap();
        for (i, a) in chain.iter().enumerate() {
            assert_eq!(places[i].len(), a.bytes);
            assert_eq!(places[i].start % ALIGN, 0);
            for (j, b) in chain.iter().enumerate().skip(i + 1) {
                let together = a.first <= b.last && b.first <= a.last;
                let apart = places[i].end <= places[j].start || places[j].end <= places[i].start;
                assert!(!together || apart, "{i} and {j} overlap");
            }
        }
        assert!(size < 1200, "a chain needs two or three blocks, not {size} bytes");
    }
}
