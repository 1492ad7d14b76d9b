//! The first elements in some order, with ties as C++ leaves them.

/// Puts the first `k` of `items` in the order `before` at the front, sorted. Which of several equal elements these are, and in
/// which order, is what GNU's `std::partial_sort` makes of them: LiteRT's results show it.
pub fn partial_sort<T: Copy>(items: &mut [T], k: usize, before: impl Fn(T, T) -> bool) {
    let k = k.min(items.len());
    if k == 0 {
        return;
    }
    let (heap, rest) = items.split_at_mut(k);
    // The root is the last one in the order.
    for at in (0..k / 2).rev() {
        let value = heap[at];
        settle(heap, at, value, &before);
    }
    for item in rest {
        if before(*item, heap[0]) {
            let value = std::mem::replace(item, heap[0]);
            settle(heap, 0, value, &before);
        }
    }
    for end in (1..k).rev() {
        let value = heap[end];
        heap[end] = heap[0];
        settle(&mut heap[..end], 0, value, &before);
    }
}

/// Fills the hole at `top`: it sinks to a leaf, past the children that come later, and `value` rises from there.
fn settle<T: Copy>(heap: &mut [T], top: usize, value: T, before: &impl Fn(T, T) -> bool) {
    let mut hole = top;
    while 2 * hole + 1 < heap.len() {
        let (left, right) = (2 * hole + 1, 2 * hole + 2);
        let child = if right == heap.len() || before(heap[right], heap[left]) { left } else { right };
        heap[hole] = heap[child];
        hole = child;
    }
    while hole > top && before(heap[(hole - 1) / 2], value) {
        heap[hole] = heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    heap[hole] = value;
}

#[cfg(test)]
mod tests {
    use super::partial_sort;

    #[test]
    fn sorts_the_first() {
        for n in 0..20usize {
            for k in 0..=n + 1 {
                let mut items: Vec<usize> = (0..n).map(|i| i * 7 % 11).collect();
                let mut want = items.clone();
                want.sort_unstable_by(|a, b| b.cmp(a));
                partial_sort(&mut items, k, |a, b| a > b);
                assert_eq!(items[..k.min(n)], want[..k.min(n)]);
                items.sort_unstable_by(|a, b| b.cmp(a));
                assert_eq!(items, want);
            }
        }
    }
}
