//! Files in memory. The only place of this crate that needs `unsafe`; see decision 5.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::{Deref, Range};

/// Less memory than this is not worth giving back.
#[cfg(unix)]
const RELEASED: usize = 4 << 10;

/// A mapped file, read-only.
pub(crate) struct Map(memmap2::Mmap);

impl Map {
    /// `None` where the system cannot map the file.
    pub(crate) fn new(file: &File) -> Option<Map> {
        // SAFETY: the slice is sound as long as nobody writes to the file, which [`crate::Bytes::map_file`] asks for. Should
        // somebody do, nothing but numbers changes: what the reader decides by is a copy.
        unsafe { memmap2::Mmap::map(file) }.ok().map(Map)
    }

    /// Gives the memory of a part back until it is read again.
    pub(crate) fn release(&self, part: Range<usize>) {
        #[cfg(unix)]
        if part.len() >= RELEASED {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the pages of a file that is mapped read-only come back with the same contents. Failing costs memory only.
            let _ = unsafe { self.0.unchecked_advise_range(advice, part.start, part.len()) };
        }
        #[cfg(not(unix))]
        let _ = part;
    }
}

impl Deref for Map {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
