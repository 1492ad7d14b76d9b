//! Pictures as inputs of a model.

use crate::{Array, Error, array};
use ferrolite_model::{Quantization, TensorType};
use std::io::Cursor;
use std::path::Path;
use zune_jpeg::JpegDecoder;

/// Most pixels in one direction, and in all.
const MAX_SIDE: usize = 1 << 14;
const MAX_PIXELS: usize = 1 << 27;

/// A decoded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes of a pixel: 1 for grey, 2 for grey with alpha, 3 for red, green and blue, 4 with alpha.
    pub channels: usize,
    /// Row by row.
    pub pixels: Vec<u8>,
}

/// How bytes become numbers: `(byte − mean) / std`, with one pair for all channels or one per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// What is taken away.
    pub mean: Vec<f32>,
    /// What is divided by.
    pub std: Vec<f32>,
}

impl Default for Normalization {
    /// To 0..1.
    fn default() -> Self {
        Normalization { mean: vec![0.0], std: vec![255.0] }
    }
}

impl Normalization {
    fn apply(&self, byte: u8, channel: usize) -> f64 {
        let of = |values: &[f32], or: f32| values.get(channel).or(values.last()).copied().unwrap_or(or);
        (f64::from(byte) - f64::from(of(&self.mean, 0.0))) / f64::from(of(&self.std, 1.0))
    }
}

/// Where the pixels of an input tensor lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1, 3 or 4.
    pub channels: usize,
    /// Whether channels are outermost, as PyTorch has them.
    pub channels_first: bool,
}

impl Layout {
    /// The layout of a tensor that takes one picture; `None` when the shape is not a picture's.
    pub fn of(shape: &[usize]) -> Option<Layout> {
        let is_depth = |n: usize| matches!(n, 1 | 3 | 4);
        let (height, width, channels, channels_first) = match *shape {
            [1, h, w, c] | [h, w, c] if is_depth(c) && (shape.len() == 4 || !is_depth(h)) => (h, w, c, false),
            [1, c, h, w] | [c, h, w] if is_depth(c) && (shape.len() == 4 || c != 1 || !is_depth(w)) => (h, w, c, true),
            [h, w] if h > 1 && w > 1 => (h, w, 1, false),
            _ => return None,
        };
        let fits = |n: usize| (1..=MAX_SIDE).contains(&n);
        (fits(height) && fits(width)).then_some(Layout { height, width, channels, channels_first })
    }
}

/// Decodes a PNG or JPEG file.
///
/// # Errors
/// When it cannot be read, is damaged or very large.
pub fn read(path: &Path) -> Result<Picture, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    decode(&bytes).map_err(|problem| Error::file(path, problem))
}

/// Decodes PNG or JPEG bytes; the error says what is wrong.
pub fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let picture = match bytes {
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes)?,
        [0xff, 0xd8, ..] => decode_jpeg(bytes)?,
        _ => return Err("this is neither a PNG nor a JPEG file".to_owned()),
    };
    let size = picture.width * picture.height * picture.channels;
    if size == 0 || picture.pixels.len() != size {
        return Err("the picture has no pixels".to_owned());
    }
    Ok(picture)
}

fn check_size(width: usize, height: usize) -> Result<(), String> {
    let fits = width <= MAX_SIDE && height <= MAX_SIDE && width * height <= MAX_PIXELS;
    if fits { Ok(()) } else { Err(format!("a picture of {width}×{height} is too large")) }
}

fn decode_png(bytes: &[u8]) -> Result<Picture, String> {
    let explain = |e: png::DecodingError| e.to_string();
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: 4 * MAX_PIXELS });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(explain)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_size(width, height)?;
    let size = reader.output_buffer_size().ok_or("it is too large")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(explain)?;
    pixels.truncate(frame.buffer_size());
    Ok(Picture { width, height, channels: frame.color_type.samples(), pixels })
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = JpegDecoder::new(Cursor::new(bytes));
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    check_size(width, height)?;
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let channels = decoder.output_colorspace().map_or(3, |space| space.num_components());
    Ok(Picture { width, height, channels, pixels })
}

/// A picture, resized with smoothing to what an input takes and brought into its type.
///
/// Without a normalization, floats run from 0 to 1, and integers take the picture's own bytes: uint8 as they are, int8
/// less 128. With one, integers hold the normalized values by their scale and zero point.
///
/// # Errors
/// When the tensor's type or shape is not one that a picture fits.
pub fn to_tensor(
    picture: &Picture,
    ty: TensorType,
    shape: &[usize],
    quantization: Option<&Quantization>,
    normalization: Option<&Normalization>,
) -> Result<Array, Error> {
    let refused = || {
        Error::usage_with_help(
            format!("a picture does not fit an input of {ty} {shape:?}"),
            "give a .npy array with the input's values instead",
        )
    };
    let layout = Layout::of(shape).ok_or_else(refused)?;
    let bytes = pixels(picture, layout);
    let area = layout.height * layout.width;
    let channel_of = |i: usize| if layout.channels_first { i / area } else { i % layout.channels };
    let normal = normalization.cloned().unwrap_or_default();
    let values: Vec<f64> = match (ty, normalization) {
        (TensorType::UInt8, None) => bytes.iter().map(|&b| b.into()).collect(),
        (TensorType::Int8, None) => bytes.iter().map(|&b| f64::from(b) - 128.0).collect(),
        _ => {
            let real = bytes.iter().enumerate().map(|(i, &b)| normal.apply(b, channel_of(i)));
            match quantization.and_then(Quantization::as_per_tensor) {
                Some((scale, zero_point)) if !ty.is_float() => {
                    real.map(|v| (v / f64::from(scale)).round() + zero_point as f64).collect()
                }
                _ => real.collect(),
            }
        }
    };
    let bytes = array::from_f64(ty, &values).ok_or_else(refused)?;
    Ok(Array { ty, shape: shape.to_vec(), bytes })
}

/// The picture's bytes in a layout.
fn pixels(picture: &Picture, layout: Layout) -> Vec<u8> {
    let (from, to) = (picture.channels, layout.channels);
    let planes: Vec<Vec<f32>> = (0..to).map(|c| resize(&channel(picture, from, to, c), picture, layout)).collect();
    let byte = |v: f32| v.round().clamp(0.0, 255.0) as u8;
    let area = layout.height * layout.width;
    let place = |i: usize| if layout.channels_first { (i / area, i % area) } else { (i % to, i / to) };
    (0..area * to).map(place).map(|(c, at)| byte(planes[c][at])).collect()
}

/// Channel `c` of a picture with `from` channels as one with `to` has it.
fn channel(picture: &Picture, from: usize, to: usize, c: usize) -> Vec<f32> {
    let grey = |p: &[u8]| match p {
        // Luma of ITU-R BT.709, as most image libraries take it.
        [r, g, b, ..] => 0.2126 * f32::from(*r) + 0.7152 * f32::from(*g) + 0.0722 * f32::from(*b),
        _ => p[0].into(),
    };
    let alpha = |p: &[u8]| if from.is_multiple_of(2) { p[from - 1].into() } else { 255.0 };
    let color = |p: &[u8]| if from >= 3 { p[c].into() } else { p[0].into() };
    let of = |p: &[u8]| {
        if c == 3 {
            alpha(p)
        } else if to == 1 {
            grey(p)
        } else {
            color(p)
        }
    };
    picture.pixels.chunks_exact(from).map(of).collect()
}

/// Resizes one channel, columns first and rows then.
fn resize(plane: &[f32], picture: &Picture, layout: Layout) -> Vec<f32> {
    let (columns, rows) = (taps(picture.width, layout.width), taps(picture.height, layout.height));
    let wide: Vec<f32> = (plane.chunks_exact(picture.width))
        .flat_map(|row| columns.iter().map(|(start, taps)| taps.iter().zip(&row[*start..]).map(|(t, v)| t * v).sum()))
        .collect();
    let mut out = Vec::with_capacity(layout.width * layout.height);
    for (start, taps) in &rows {
        out.extend(
            (0..layout.width)
                .map(|x| taps.iter().enumerate().map(|(i, t)| t * wide[(start + i) * layout.width + x]).sum::<f32>()),
        );
    }
    out
}

/// For each of `to` pixels, where its weights of `from` pixels start, and the weights: a triangle as wide as a pixel of
/// the result or of the source, whichever is wider. That is bilinear for enlarging, and averages for reducing.
fn taps(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = from as f32 / to as f32;
    let reach = scale.max(1.0);
    let of = |i: usize| {
        let centre = (i as f32 + 0.5) * scale;
        let start = (centre - reach).floor().max(0.0) as usize;
        let end = ((centre + reach).ceil() as usize).clamp(start + 1, from.max(start + 1));
        let weight = |at: usize| (1.0 - ((at as f32 + 0.5 - centre) / reach).abs()).max(0.0);
        let weights: Vec<f32> = (start..end).map(weight).collect();
        let sum: f32 = weights.iter().sum();
        (start, weights.iter().map(|w| w / sum).collect())
    };
    (0..to).map(of).collect()
}

/// A grey picture as PNG.
///
/// # Errors
/// When `pixels` is not `width` × `height` bytes.
pub fn grey_png(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>, Error> {
    let mismatch = |e: png::EncodingError| Error::usage(format!("a picture of {width}×{height}: {e}"));
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().map_err(mismatch)?;
    writer.write_image_data(pixels).and_then(|()| writer.finish()).map_err(mismatch)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(height: usize, width: usize, channels: usize, channels_first: bool) -> Option<Layout> {
        Some(Layout { height, width, channels, channels_first })
    }

    #[test]
    fn layouts_of_the_usual_inputs() {
        assert_eq!(Layout::of(&[1, 224, 224, 3]), layout(224, 224, 3, false));
        assert_eq!(Layout::of(&[1, 3, 224, 224]), layout(224, 224, 3, true));
        assert_eq!(Layout::of(&[1, 28, 28]), layout(28, 28, 1, true));
        assert_eq!(Layout::of(&[28, 28, 1]), layout(28, 28, 1, false));
        assert_eq!(Layout::of(&[28, 28]), layout(28, 28, 1, false));
        assert_eq!(Layout::of(&[1, 1000]), None);
        assert_eq!(Layout::of(&[2, 224, 224, 3]), None);
        assert_eq!(Layout::of(&[1, 0, 224, 3]), None);
    }

    #[test]
    fn pictures_take_the_type_of_the_input() {
        let png = grey_png(&[0, 51, 102, 255], 2, 2).unwrap();
        let picture = decode(&png).unwrap();
        let tensor = |ty, shape: &[usize], q: Option<&Quantization>, n: Option<&Normalization>| {
            to_tensor(&picture, ty, shape, q, n).unwrap()
        };
        let float = tensor(TensorType::Float32, &[1, 2, 2, 1], None, None);
        assert_eq!(float.to_f32().unwrap(), [0.0, 0.2, 0.4, 1.0]);
        assert_eq!(tensor(TensorType::UInt8, &[1, 2, 2, 1], None, None).bytes, [0, 51, 102, 255]);
        assert_eq!(tensor(TensorType::Int8, &[1, 2, 2, 1], None, None).bytes, [0x80, 0xb3, 0xe6, 0x7f]);
        let half = Normalization { mean: vec![127.5], std: vec![127.5] };
        let quantization = Quantization::per_tensor(1.0 / 64.0, 3);
        let int = tensor(TensorType::Int8, &[1, 2, 2, 1], Some(&quantization), Some(&half));
        assert_eq!(int.to_f32().unwrap(), [-61.0, -35.0, -10.0, 67.0]);
        let planes = tensor(TensorType::Float32, &[1, 3, 2, 2], None, None).to_f32().unwrap();
        assert_eq!(planes, [0.0, 0.2, 0.4, 1.0].repeat(3));
        assert!(to_tensor(&picture, TensorType::Float32, &[1, 10], None, None).is_err());
    }

    #[test]
    fn resizing_averages_and_interpolates() {
        let resized = |width: usize, height: usize, pixels: &[u8], to: usize| {
            let picture = Picture { width, height, channels: 1, pixels: pixels.to_vec() };
            to_tensor(&picture, TensorType::UInt8, &[1, to, to, 1], None, None).unwrap().bytes
        };
        assert_eq!(resized(8, 8, &[77; 64], 3), [77; 9]);
        assert_eq!(resized(1, 1, &[9], 2), [9; 4]);
        // The middle of a step is half way.
        assert_eq!(resized(3, 1, &[0, 100, 200], 1), [100]);
        assert_eq!(resized(2, 2, &[0, 100, 0, 100], 4)[..4], [0, 25, 75, 100]);
    }

    #[test]
    fn colours_become_grey_and_alpha_goes() {
        let rgba = Picture { width: 1, height: 1, channels: 4, pixels: vec![255, 0, 0, 128] };
        let bytes = |shape: &[usize]| to_tensor(&rgba, TensorType::UInt8, shape, None, None).unwrap().bytes;
        assert_eq!(bytes(&[1, 1, 1, 1]), [54]);
        assert_eq!(bytes(&[1, 1, 1, 3]), [255, 0, 0]);
        assert_eq!(bytes(&[1, 1, 1, 4]), [255, 0, 0, 128]);
    }

    #[test]
    fn damaged_pictures_are_errors() {
        let png = grey_png(&[7; 64], 8, 8).unwrap();
        assert!(decode(&png[..png.len() / 2]).is_err());
        assert!(decode(b"GIF89a").is_err());
        assert!(decode(&[]).is_err());
    }
}
