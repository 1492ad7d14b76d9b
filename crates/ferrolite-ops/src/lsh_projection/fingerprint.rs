//! FarmHash's 64-bit fingerprint, whose values models depend on.
//!
//! Source of the constants and formulas: google/farmhash, `farmhashna::Hash64`.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |&b| u64::from_le_bytes(b))
}

fn half_word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |&b| u32::from_le_bytes(b).into())
}

fn mix(x: u64) -> u64 {
    x ^ (x >> 47)
}

/// Two words made one.
fn join(u: u64, v: u64, factor: u64) -> u64 {
    let a = mix((u ^ v).wrapping_mul(factor));
    mix((v ^ a).wrapping_mul(factor)).wrapping_mul(factor)
}

/// The fingerprint of some bytes.
pub fn fingerprint64(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0..=16 => up_to_16(bytes),
        17..=32 => up_to_32(bytes),
        33..=64 => up_to_64(bytes),
        _ => long(bytes),
    }
}

fn factor(len: usize) -> u64 {
    K2.wrapping_add(len as u64 * 2)
}

fn up_to_16(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    match len {
        8.. => {
            let (a, b) = (word(bytes, 0).wrapping_add(K2), word(bytes, len - 8));
            let c = b.rotate_right(37).wrapping_mul(factor(len)).wrapping_add(a);
            let d = a.rotate_right(25).wrapping_add(b).wrapping_mul(factor(len));
            join(c, d, factor(len))
        }
        4.. => join((len as u64) + (half_word(bytes, 0) << 3), half_word(bytes, len - 4), factor(len)),
        1.. => {
            let [a, b, c] = [bytes[0], bytes[len / 2], bytes[len - 1]].map(u64::from);
            let (y, z) = (a + (b << 8), len as u64 + (c << 2));
            mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2)
        }
        0 => K2,
    }
}

/// What the two middle lengths start with: the scaled words, and two sums of them.
fn ends(bytes: &[u8], first: u64) -> ([u64; 4], u64, u64) {
    let len = bytes.len();
    let (a, b) = (word(bytes, 0).wrapping_mul(first), word(bytes, 8));
    let (c, d) = (word(bytes, len - 8).wrapping_mul(factor(len)), word(bytes, len - 16).wrapping_mul(K2));
    let y = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let z = a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c);
    ([a, b, c, d], y, z)
}

fn up_to_32(bytes: &[u8]) -> u64 {
    let (_, y, z) = ends(bytes, K1);
    join(y, z, factor(bytes.len()))
}

fn up_to_64(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    let factor = factor(len);
    let ([a, ..], y, z) = ends(bytes, K2);
    let z = join(y, z, factor);
    let (e, f) = (word(bytes, 16).wrapping_mul(factor), word(bytes, 24));
    let g = y.wrapping_add(word(bytes, len - 32)).wrapping_mul(factor);
    let h = z.wrapping_add(word(bytes, len - 24)).wrapping_mul(factor);
    join(
        e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h),
        e.wrapping_add(f.wrapping_add(a).rotate_right(18)).wrapping_add(g),
        factor,
    )
}

/// 32 bytes at `at` hashed into two seeds.
fn absorb(bytes: &[u8], at: usize, a: u64, b: u64) -> (u64, u64) {
    let [w, x, y, z] = [0, 8, 16, 24].map(|i| word(bytes, at + i));
    let a = a.wrapping_add(w);
    let b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let sum = a.wrapping_add(x).wrapping_add(y);
    (sum.wrapping_add(z), b.wrapping_add(sum.rotate_right(44)).wrapping_add(a))
}

/// The state between blocks of 64 bytes.
struct State {
    x: u64,
    y: u64,
    z: u64,
    v: (u64, u64),
    w: (u64, u64),
}

impl State {
    /// One block; the last one uses a factor of its own and weighs parts by 9.
    fn block(&mut self, bytes: &[u8], at: usize, factor: u64, weight: u64) {
        let State { x, y, z, v, w } = self;
        let sum = x.wrapping_add(*y).wrapping_add(v.0).wrapping_add(word(bytes, at + 8));
        *x = sum.rotate_right(37).wrapping_mul(factor) ^ w.1.wrapping_mul(weight);
        *y = y.wrapping_add(v.1).wrapping_add(word(bytes, at + 48)).rotate_right(42).wrapping_mul(factor);
        *y = y.wrapping_add(v.0.wrapping_mul(weight)).wrapping_add(word(bytes, at + 40));
        *z = z.wrapping_add(w.0).rotate_right(33).wrapping_mul(factor);
        *v = absorb(bytes, at, v.1.wrapping_mul(factor), x.wrapping_add(w.0));
        *w = absorb(bytes, at + 32, z.wrapping_add(w.1), y.wrapping_add(word(bytes, at + 16)));
        std::mem::swap(z, x);
    }
}

fn long(bytes: &[u8]) -> u64 {
    const SEED: u64 = 81;
    let y = SEED.wrapping_mul(K1).wrapping_add(113);
    let mut state = State {
        x: SEED.wrapping_mul(K2).wrapping_add(word(bytes, 0)),
        y,
        z: mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2),
        v: (0, 0),
        w: (0, 0),
    };
    let rest = (bytes.len() - 1) % 64;
    for at in (0..bytes.len() - 1 - rest).step_by(64) {
        state.block(bytes, at, K1, 1);
    }
    // The last 64 bytes, some of them for the second time.
    let factor = K1.wrapping_add((state.z & 0xff) << 1);
    state.w.0 = state.w.0.wrapping_add(rest as u64);
    state.v.0 = state.v.0.wrapping_add(state.w.0);
    state.w.0 = state.w.0.wrapping_add(state.v.0);
    state.block(bytes, bytes.len() - 64, factor, 9);
    let State { x, y, z, v, w } = state;
    let low = join(v.0, w.0, factor).wrapping_add(mix(y).wrapping_mul(K0)).wrapping_add(z);
    join(low, join(v.1, w.1, factor).wrapping_add(x), factor)
}
