//! Tensors that share their parameters, because operators between them only move values.

/// Disjoint sets of tensors.
pub(super) struct Groups {
    parent: Vec<usize>,
}

impl Groups {
    /// Every tensor on its own.
    pub(super) fn new(tensors: usize) -> Groups {
        Groups { parent: (0..tensors).collect() }
    }

    /// The tensor that stands for the group of `id`.
    pub(super) fn find(&mut self, mut id: usize) -> usize {
        while self.parent[id] != id {
            self.parent[id] = self.parent[self.parent[id]];
            id = self.parent[id];
        }
        id
    }

    /// Joins two groups.
    pub(super) fn union(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b)] = a.min(b);
    }
}
