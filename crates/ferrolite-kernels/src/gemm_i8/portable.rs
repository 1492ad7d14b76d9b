//! The inner block in plain Rust.
#![allow(unsafe_code)]

use super::{Dots, QUAD};

const N: usize = 8;

/// See [`super::Micro::dots`].
pub(super) unsafe fn dots(rows: usize, d: &Dots) {
    for r in 0..rows {
        // SAFETY: the row of starts is `N` long.
        let mut acc = unsafe { d.start.cast::<[i32; N]>().read_unaligned() };
        let mut b = d.panel.cast::<i8>();
        for tap in 0..d.taps {
            // SAFETY: an address per tap and row, good for whole groups; the panel holds as many groups of `N · 4` bytes.
            unsafe {
                let a = *d.ptrs.add(tap * rows + r) as *const i8;
                for q in 0..d.quads {
                    let x = a.add(q * QUAD).cast::<[i8; QUAD]>().read_unaligned();
                    let w = b.cast::<[[i8; QUAD]; N]>().read_unaligned();
                    b = b.add(N * QUAD);
                    for c in 0..N {
                        for i in 0..QUAD {
                            acc[c] = acc[c].wrapping_add(i32::from(x[i]) * i32::from(w[c][i]));
                        }
                    }
                }
            }
        }
        // SAFETY: the tile holds `rows` rows of `N` sums.
        unsafe { d.tile.add(r * N).cast::<[i32; N]>().write_unaligned(acc) };
    }
}

/// See [`super::Micro::row_sums`].
pub(super) unsafe fn row_sums(rows: usize, ptrs: &[usize], kc: usize, sums: &mut [i32]) {
    for (r, sum) in sums[..rows].iter_mut().enumerate() {
        *sum = 0;
        for p in ptrs[r..].iter().step_by(rows) {
            // SAFETY: every address is good for `kc` bytes.
            let row = unsafe { std::slice::from_raw_parts(*p as *const i8, kc) };
            *sum = sum.wrapping_add(row.iter().map(|&x| i32::from(x)).sum::<i32>());
        }
    }
}
