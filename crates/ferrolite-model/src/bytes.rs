//! Shared, immutable bytes.

use crate::map::Map;
use std::fmt;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

/// A cheaply cloned range of shared bytes: constants point into the file that they were read from.
///
/// Nothing is promised about alignment.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<Owner>,
    range: Range<usize>,
}

enum Owner {
    Memory(Vec<u8>),
    Map(Map),
    Other(Box<dyn AsRef<[u8]> + Send + Sync>),
}

impl Bytes {
    /// The bytes of a file, mapped: they take no memory until they are read, and what is read can be given back by
    /// [`Bytes::release`]. The file must neither shrink nor be written to while the bytes live: they would change, or end the
    /// program when they are read. Replacing it by another file of its name is fine.
    ///
    /// Where the system cannot map the file it is read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn map_file(path: impl AsRef<Path>) -> io::Result<Bytes> {
        match Map::new(&File::open(&path)?) {
            Some(map) => Ok(Bytes { range: 0..map.len(), owner: Arc::new(Owner::Map(map)) }),
            None => Ok(Bytes::from(std::fs::read(path)?)),
        }
    }

    /// Bytes in memory of another kind, which has to give the same ones every time.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Bytes {
        Bytes { range: 0..owner.as_ref().len(), owner: Arc::new(Owner::Other(Box::new(owner))) }
    }

    /// Whether these are bytes of a mapped file.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(*self.owner, Owner::Map(_))
    }

    /// Tells that these bytes will not be read for a while: those of a mapped file give their memory back.
    pub fn release(&self) {
        if let Owner::Map(map) = &*self.owner {
            map.release(self.range.clone());
        }
    }

    /// The part `range` of these bytes, or `None` when it does not lie inside.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.range.start + range.start;
        Some(Bytes { owner: Arc::clone(&self.owner), range: start..start + range.len() })
    }

    /// The range of these bytes that `part` borrows, or `None` when `part` lies elsewhere in memory.
    pub fn slice_ref(&self, part: &[u8]) -> Option<Bytes> {
        self.slice(self.range_of(part)?)
    }

    /// The range of these bytes that `part` borrows, which is to lie inside.
    pub(crate) fn range_of(&self, part: &[u8]) -> Option<Range<usize>> {
        let start = part.as_ptr().addr().checked_sub(self.as_ptr().addr())?;
        Some(start..start.checked_add(part.len())?)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Bytes { owner: Arc::new(Owner::Memory(bytes)), range }
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Bytes::from(bytes.to_vec())
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes::from(Vec::new())
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let all = match &*self.owner {
            Owner::Memory(bytes) => &**bytes,
            Owner::Map(map) => map,
            Owner::Other(owner) => (**owner).as_ref(),
        };
        &all[self.range.clone()]
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.owner, &other.owner) && self.range == other.range) || **self == **other
    }
}

impl Eq for Bytes {}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.len())
    }
}
