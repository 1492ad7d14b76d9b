//! The fast form of a strided copy.

use super::{Step, odometer, transpose_tile};
use crate::OpError;
use crate::common::blocks::copy_run;
use ferrolite_kernels::{Isa, transpose_into};

/// Runs planned loops on elements of `unit` bytes; `start` is the first element of source and destination.
pub fn run(
    isa: Isa,
    unit: usize,
    steps: &[Step],
    start: (usize, usize),
    src: &[u8],
    dst: &mut [u8],
) -> Result<(), OpError> {
    match unit {
        1 => sized::<1>(isa, steps, start, src, dst),
        2 => sized::<2>(isa, steps, start, src, dst),
        4 => sized::<4>(isa, steps, start, src, dst),
        8 => sized::<8>(isa, steps, start, src, dst),
        16 => sized::<16>(isa, steps, start, src, dst),
        _ => return Err(OpError::unsupported(format!("elements of {unit} bytes"))),
    }
    Ok(())
}

fn sized<const N: usize>(isa: Isa, steps: &[Step], start: (usize, usize), src: &[u8], dst: &mut [u8]) {
    let (bytes, src) = (src, src.as_chunks::<N>().0);
    let (s, d) = (start.0 as isize, start.1 as isize);
    match *steps {
        [ref outer @ .., Step { len, src: 1, dst: 1 }] => odometer(outer, s, d, |s, d| {
            copy_run(&bytes[s as usize * N..][..len * N], &mut dst[d as usize * N..][..len * N]);
        }),
        [ref outer @ .., rows @ Step { src: 1, .. }, columns @ Step { dst: 1, .. }] if columns.src != 0 => {
            odometer(outer, s, d, |s, d| {
                if !transpose_words::<N>(isa, rows, columns, bytes, s, dst, d) {
                    transpose_tile(rows, columns, src, s, dst.as_chunks_mut::<N>().0, d);
                }
            });
        }
        [] => dst[d as usize * N..][..N].copy_from_slice(&src[s as usize]),
        [ref outer @ .., inner] => {
            let dst = dst.as_chunks_mut::<N>().0;
            odometer(outer, s, d, |s, d| row(inner, src, s, dst, d));
        }
    }
}

/// One innermost loop that is no run.
#[inline]
fn row<const N: usize>(inner: Step, src: &[[u8; N]], s: isize, dst: &mut [[u8; N]], d: isize) {
    let (s, d) = (s as usize, d as usize);
    match inner {
        Step { len, src: 0, dst: 1 } => dst[d..][..len].fill(src[s]),
        Step { len, src: -1, dst: 1 } => {
            let from = &src[s + 1 - len..=s];
            dst[d..][..len].iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
        }
        Step { len, src: 2, dst: 1 } => apart::<N, 2>(&src[s..], &mut dst[d..][..len]),
        Step { len, src: 3, dst: 1 } => apart::<N, 3>(&src[s..], &mut dst[d..][..len]),
        Step { len, src: 4, dst: 1 } => apart::<N, 4>(&src[s..], &mut dst[d..][..len]),
        Step { len, src: 1, dst: 2 } => together::<N, 2>(&src[s..][..len], &mut dst[d..]),
        Step { len, src: 1, dst: 3 } => together::<N, 3>(&src[s..][..len], &mut dst[d..]),
        Step { len, src: 1, dst: 4 } => together::<N, 4>(&src[s..][..len], &mut dst[d..]),
        Step { len, src: from @ 1.., dst: to @ 1.. } => {
            let from = src[s..].iter().step_by(from as usize);
            dst[d..].iter_mut().step_by(to as usize).zip(from).take(len).for_each(|(to, from)| *to = *from);
        }
        _ => {
            let (mut s, mut d) = (s as isize, d as isize);
            for _ in 0..inner.len {
                dst[d as usize] = src[s as usize];
                (s, d) = (s + inner.src, d + inner.dst);
            }
        }
    }
}

/// Takes every `K`-th element.
#[inline]
fn apart<const N: usize, const K: usize>(src: &[[u8; N]], dst: &mut [[u8; N]]) {
    let Some((last, most)) = dst.split_last_mut() else { return };
    // The last group need not be whole.
    *last = src[most.len() * K];
    most.iter_mut().zip(src.as_chunks::<K>().0).for_each(|(to, from)| *to = from[0]);
}

/// Writes every `K`-th element.
#[inline]
fn together<const N: usize, const K: usize>(src: &[[u8; N]], dst: &mut [[u8; N]]) {
    let Some((last, most)) = src.split_last() else { return };
    dst[most.len() * K] = *last;
    dst.as_chunks_mut::<K>().0.iter_mut().zip(most).for_each(|(to, from)| to[0] = *from);
}

/// Transposes elements of four bytes that are aligned; whether it did.
fn transpose_words<const N: usize>(
    isa: Isa,
    rows: Step,
    columns: Step,
    src: &[u8],
    s: isize,
    dst: &mut [u8],
    d: isize,
) -> bool {
    let far = |step: isize, len: usize| usize::try_from(step).ok().filter(|&step| step >= len);
    let (Some(from), Some(to)) = (far(columns.src, rows.len), far(rows.dst, columns.len)) else { return false };
    if N != 4 {
        return false;
    }
    let (Ok(src), Ok(dst)) = (bytemuck::try_cast_slice(src), bytemuck::try_cast_slice_mut(dst)) else { return false };
    transpose_into(isa, &src[s as usize..], from, columns.len, rows.len, &mut dst[d as usize..], to);
    true
}
