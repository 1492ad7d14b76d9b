//! Copying many runs of one length: short ones without a call per run.

/// Copies a run whose length is only known at run time; both have one length.
#[inline(always)]
pub fn copy_run(src: &[u8], dst: &mut [u8]) {
    const STEP: usize = 16;
    let n = dst.len();
    match n {
        4 => return fixed::<4>(src, dst),
        8 => return fixed::<8>(src, dst),
        16 => return fixed::<16>(src, dst),
        32 => return fixed::<32>(src, dst),
        _ => {}
    }
    // From three steps on a call is as fast.
    if !(STEP..3 * STEP).contains(&n) || src.len() != n {
        dst.copy_from_slice(src);
        return;
    }
    // Whole steps, then the last one again from the end.
    let (from, to) = (src.as_chunks::<STEP>().0, dst.as_chunks_mut::<STEP>().0);
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    if !n.is_multiple_of(STEP) {
        fixed::<STEP>(&src[n - STEP..], &mut dst[n - STEP..]);
    }
}

#[inline(always)]
fn fixed<const N: usize>(src: &[u8], dst: &mut [u8]) {
    if let (Some(to), Some(from)) = (dst.first_chunk_mut::<N>(), src.first_chunk::<N>()) {
        *to = *from;
    }
}

/// Calls `$many::<N>($args)` for the run lengths (in bytes) that are worth their own code, else `$any`.
macro_rules! for_run_length {
    ($len:expr, $many:ident($($arg:expr),*), $any:expr) => {
        match $len {
            1 => $many::<1>($($arg),*),
            2 => $many::<2>($($arg),*),
            3 => $many::<3>($($arg),*),
            4 => $many::<4>($($arg),*),
            6 => $many::<6>($($arg),*),
            8 => $many::<8>($($arg),*),
            12 => $many::<12>($($arg),*),
            16 => $many::<16>($($arg),*),
            _ => $any,
        }
    };
}
pub(crate) use for_run_length;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_every_length() {
        let src: Vec<u8> = (0..600).map(|i| i as u8).collect();
        for n in 0..src.len() {
            let mut dst = vec![0; n];
            copy_run(&src[..n], &mut dst);
            assert_eq!(dst, src[..n]);
        }
    }
}
