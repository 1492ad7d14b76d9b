//! Folding in lanes that a vector unit computes at once.

/// Folds a row in 16 partial results that a vector unit computes at once; short rows strictly in order.
pub fn lanes<T: Copy>(start: T, identity: T, row: &[T], f: impl Fn(T, T) -> T) -> T {
    const LANES: usize = 16;
    if row.len() < 2 * LANES {
        return row.iter().fold(start, |a, &x| f(a, x));
    }
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut partial = [identity; LANES];
    for chunk in chunks {
        for (p, &x) in partial.iter_mut().zip(chunk) {
            *p = f(*p, x);
        }
    }
    let total = partial.iter().fold(start, |a, &x| f(a, x));
    rest.iter().fold(total, |a, &x| f(a, x))
}
