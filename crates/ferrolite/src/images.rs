//! Pictures as inputs of a model.

use crate::{Array, Error, array};
use ferrolite_model::{Quantization, TensorType};
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageReader};
use std::io::Cursor;
use std::path::Path;

/// Most pixels in one direction, and bytes of a decoded picture.
const MAX_SIDE: u32 = 1 << 15;
const MAX_BYTES: u64 = 1 << 29;

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
        let fits = |n: usize| (1..=MAX_SIDE as usize).contains(&n);
        (fits(height) && fits(width)).then_some(Layout { height, width, channels, channels_first })
    }
}

/// Decodes a PNG or JPEG file.
///
/// # Errors
/// When it cannot be read, is damaged or very large.
pub fn read(path: &Path) -> Result<DynamicImage, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    decode(&bytes).map_err(|problem| Error::file(path, problem))
}

/// Decodes PNG or JPEG bytes; the error says what is wrong.
pub fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    reader.decode().map_err(|e| e.to_string())
}

/// A picture, resized with smoothing to what an input takes and brought into its type.
///
/// Without a normalization, floats run from 0 to 1, and integers take the picture's own bytes: uint8 as they are, int8
/// less 128. With one, integers hold the normalized values by their scale and zero point.
///
/// # Errors
/// When the tensor's type or shape is not one that a picture fits.
pub fn to_tensor(
    picture: &DynamicImage,
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
fn pixels(picture: &DynamicImage, layout: Layout) -> Vec<u8> {
    let (width, height) = (layout.width as u32, layout.height as u32);
    let bytes = match layout.channels {
        1 => imageops::resize(&picture.to_luma8(), width, height, FilterType::Triangle).into_raw(),
        3 => imageops::resize(&picture.to_rgb8(), width, height, FilterType::Triangle).into_raw(),
        _ => imageops::resize(&picture.to_rgba8(), width, height, FilterType::Triangle).into_raw(),
    };
    if !layout.channels_first {
        return bytes;
    }
    (0..layout.channels).flat_map(|c| bytes.iter().copied().skip(c).step_by(layout.channels)).collect()
}

/// A grey picture as PNG.
///
/// # Errors
/// When `pixels` is not `width` × `height` bytes.
pub fn grey_png(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>, Error> {
    let mismatch = || Error::usage(format!("{} bytes are not a picture of {width}×{height}", pixels.len()));
    let picture = image::GrayImage::from_raw(width as u32, height as u32, pixels.to_vec()).ok_or_else(mismatch)?;
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, image::ImageFormat::Png).map_err(|e| Error::usage(e.to_string()))?;
    Ok(out.into_inner())
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
    fn damaged_pictures_are_errors() {
        let png = grey_png(&[7; 64], 8, 8).unwrap();
        assert!(decode(&png[..png.len() / 2]).is_err());
        assert!(decode(b"GIF89a").is_err());
        assert!(decode(&[]).is_err());
    }
}
