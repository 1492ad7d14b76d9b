//! Lossless packing of small grey images, about a quarter smaller than gzip: each pixel is coded bit by bit with
//! adaptive probabilities, in a context made of what its neighbours predict and how much they differ. It is how the
//! embedded sample is stored.
//!
//! The packed form is `FLI1`, then the number of images, rows and columns as little-endian u32, then the range coder's
//! bytes. Coder and decoder use integers only, so that every machine decodes the same pixels.

/// First bytes of the packed form.
const MAGIC: [u8; 4] = *b"FLI1";
/// Most pixels that unpacking accepts.
const MAX_PIXELS: usize = 1 << 28;
/// Below this the range is shifted, so that `range >> 16` keeps at least 8 bits.
const MIN_RANGE: u32 = 1 << 24;

/// Packs images of `rows` × `columns` bytes, one after another.
///
/// # Panics
/// When `pixels` is not a whole number of images.
pub fn pack(pixels: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let count = pixels.len().checked_div(rows * columns).unwrap_or(0);
    assert_eq!(pixels.len(), count * rows * columns, "not a whole number of images");
    let mut out = MAGIC.to_vec();
    [count, rows, columns].iter().for_each(|&n| out.extend((n as u32).to_le_bytes()));
    let mut model = Model::new();
    let mut encoder = Encoder { low: 0, range: u32::MAX, out };
    for image in pixels.chunks_exact((rows * columns).max(1)) {
        for i in 0..image.len() {
            let context = context(&image[..i], columns, i);
            model.code_pixel(context, image[i], &mut encoder);
        }
    }
    encoder.finish()
}

/// Unpacks what [`pack`] made into pixels, rows and columns; the error says what is wrong.
pub fn unpack(bytes: &[u8]) -> Result<(Vec<u8>, usize, usize), String> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or("these are not packed images")?;
    let (head, data) = rest.split_first_chunk::<12>().ok_or("the header is cut off")?;
    let [count, rows, columns] = [0, 4, 8].map(|at| {
        let word = [head[at], head[at + 1], head[at + 2], head[at + 3]];
        u32::from_le_bytes(word) as usize
    });
    let size = rows.checked_mul(columns).filter(|&size| size > 0).ok_or("the images have no size")?;
    let total = size.checked_mul(count).filter(|&n| n <= MAX_PIXELS);
    let total = total.ok_or_else(|| format!("{count} images of {rows}×{columns} are too many"))?;
    let mut model = Model::new();
    let mut decoder = Decoder::new(data);
    let mut pixels: Vec<u8> = Vec::new();
    while pixels.len() < total {
        // A damaged header must not make a short file fill memory.
        if decoder.missing > 0 {
            break;
        }
        let start = pixels.len();
        for i in 0..size {
            let context = context(&pixels[start..], columns, i);
            let pixel = model.code_pixel(context, 0, &mut decoder);
            pixels.push(pixel);
        }
    }
    // The encoder writes exactly the bytes that the decoder reads.
    match (decoder.missing, decoder.rest) {
        (0, []) => Ok((pixels, rows, columns)),
        (0, _) => Err("there is more data than images".to_owned()),
        _ => Err("the data is cut off".to_owned()),
    }
}

/// Context of pixel `i`, from the pixels `before` it in the same image: the predicted value in steps of four, and how
/// much the neighbours differ in eight steps.
fn context(before: &[u8], columns: usize, i: usize) -> usize {
    let (y, x) = (i / columns, i % columns);
    let at = |up: usize, x: Option<usize>| match x {
        Some(x) if up <= y && x < columns => i32::from(before[(y - up) * columns + x]),
        _ => 0,
    };
    let (west, north, north_west) = (at(0, x.checked_sub(1)), at(1, Some(x)), at(1, x.checked_sub(1)));
    let (north_east, far_west, far_north) = (at(1, Some(x + 1)), at(0, x.checked_sub(2)), at(2, Some(x)));
    // The median edge detector of lossless JPEG-LS, averaged with its two neighbours.
    let median = if north_west >= west.max(north) {
        west.min(north)
    } else if north_west <= west.min(north) {
        west.max(north)
    } else {
        west + north - north_west
    };
    let predicted = (2 * median + west + north) / 4;
    let activity = (west - north_west).abs()
        + (north_west - north).abs()
        + (north - north_east).abs()
        + (west - far_west).abs() / 2
        + (north - far_north).abs() / 2;
    let level = [1, 8, 16, 32, 64, 120, 221].iter().filter(|&&bound| activity >= bound).count();
    (predicted as usize >> 2) << 3 | level
}

/// Adaptive probabilities: 512 contexts of 256 binary decisions.
struct Model {
    bits: Vec<Probability>,
}

/// The probability of a one in 1/65536, and how often it was used.
#[derive(Clone, Copy)]
struct Probability {
    one: u16,
    used: u8,
}

impl Model {
    fn new() -> Model {
        Model { bits: vec![Probability { one: 1 << 15, used: 0 }; 512 * 256] }
    }

    /// Codes a pixel: whether it is zero, then its eight bits, highest first. A decoder ignores `pixel`.
    fn code_pixel(&mut self, context: usize, pixel: u8, coder: &mut impl Coder) -> u8 {
        let bits = &mut self.bits[context * 256..][..256];
        if coder.code(&mut bits[0], pixel == 0) {
            return 0;
        }
        let mut node = 1usize;
        for shift in (0..8).rev() {
            let bit = coder.code(&mut bits[node], pixel >> shift & 1 == 1);
            node = node << 1 | usize::from(bit);
        }
        node as u8
    }
}

impl Probability {
    /// The part of `range` that stands for a one.
    fn split(self, range: u32) -> u32 {
        (range >> 16) * u32::from(self.one)
    }

    /// Moves towards `bit`, quickly at first.
    fn update(&mut self, bit: bool) {
        let rate = match self.used {
            0..=1 => 2,
            2..=3 => 3,
            4..=7 => 4,
            8..=20 => 5,
            _ => 6,
        };
        self.used = self.used.saturating_add(1);
        let step = if bit { self.one + ((u16::MAX - self.one) >> rate) } else { self.one - (self.one >> rate) };
        self.one = step.clamp(32, u16::MAX - 32);
    }
}

/// Codes one decision: an encoder writes `bit` and returns it, a decoder returns the bit that it reads.
trait Coder {
    fn code(&mut self, probability: &mut Probability, bit: bool) -> bool;
}

struct Encoder {
    low: u32,
    range: u32,
    out: Vec<u8>,
}

impl Encoder {
    /// Adds one to the number written so far.
    fn carry(&mut self) {
        for byte in self.out.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.extend(self.low.to_be_bytes());
        self.out
    }
}

impl Coder for Encoder {
    fn code(&mut self, probability: &mut Probability, bit: bool) -> bool {
        let split = probability.split(self.range);
        if bit {
            self.range = split;
        } else {
            let (low, carried) = self.low.overflowing_add(split);
            if carried {
                self.carry();
            }
            (self.low, self.range) = (low, self.range - split);
        }
        while self.range < MIN_RANGE {
            self.out.push((self.low >> 24) as u8);
            (self.low, self.range) = (self.low << 8, self.range << 8);
        }
        probability.update(bit);
        bit
    }
}

struct Decoder<'a> {
    /// The coded number, less what the decisions so far stand for.
    code: u32,
    range: u32,
    rest: &'a [u8],
    /// Bytes that were read past the end.
    missing: usize,
}

impl<'a> Decoder<'a> {
    fn new(rest: &'a [u8]) -> Decoder<'a> {
        let mut decoder = Decoder { code: 0, range: u32::MAX, rest, missing: 0 };
        for _ in 0..4 {
            decoder.shift();
        }
        decoder
    }

    fn shift(&mut self) {
        let byte = match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => {
                self.missing += 1;
                0
            }
        };
        self.code = self.code << 8 | u32::from(byte);
    }
}

impl Coder for Decoder<'_> {
    fn code(&mut self, probability: &mut Probability, _: bool) -> bool {
        let split = probability.split(self.range);
        let bit = self.code < split;
        if bit {
            self.range = split;
        } else {
            self.code -= split;
            self.range -= split;
        }
        while self.range < MIN_RANGE {
            self.range <<= 8;
            self.shift();
        }
        probability.update(bit);
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Smooth, noisy and extreme pictures; the last ones force carries.
    fn pictures() -> Vec<u8> {
        let mut state = 1u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let mut pixels = Vec::new();
        for image in 0..12 {
            pixels.extend((0..5 * 7).map(|i| match image % 4 {
                0 => 0,
                1 => (i * 3) as u8,
                2 => noise(),
                _ => 255 * u8::from(noise() > 128),
            }));
        }
        pixels
    }

    #[test]
    fn unpacks_what_was_packed() {
        let pixels = pictures();
        let packed = pack(&pixels, 5, 7);
        assert_eq!(unpack(&packed), Ok((pixels, 5, 7)));
        assert_eq!(unpack(&pack(&[], 5, 7)), Ok((vec![], 5, 7)));
    }

    #[test]
    fn hostile_bytes_are_errors_or_pixels() {
        let packed = pack(&pictures(), 5, 7);
        for end in 0..16 {
            assert!(unpack(&packed[..end]).is_err());
        }
        assert!(unpack(&packed[..packed.len() - 1]).is_err());
        assert!(unpack(&[&packed[..], &[0]].concat()).is_err());
        // A header that promises far more than the data holds.
        let mut greedy = packed.clone();
        greedy[4..8].copy_from_slice(&7_000_000u32.to_le_bytes());
        assert_eq!(unpack(&greedy), Err("the data is cut off".to_owned()));
        greedy[4..16].fill(0xff);
        assert!(unpack(&greedy).unwrap_err().contains("too many"));
        greedy[8..16].fill(0);
        assert!(unpack(&greedy).is_err());
    }
}
