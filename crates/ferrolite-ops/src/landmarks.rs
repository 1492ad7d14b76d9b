//! MediaPipe's operators that look at a part of an image again, where landmarks say it is: Landmarks2TransformMatrix finds the
//! rotated rectangle around some landmarks, TransformTensorBilinear cuts it out, TransformLandmarks maps landmarks found there
//! back.
//!
//! Sources: MediaPipe `util/tflite/operations/{landmarks_to_transform_matrix,transform_tensor_bilinear,transform_landmarks}.cc`.

use crate::common::elementwise::check_type;
use crate::common::flex::FlexOptions;
use crate::common::node_case::NodeCase;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::Float32;
use ferrolite_model::{BuiltinOptions, FlexItem, ModelBuilder, flex_map};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// The first two rows of a 4 x 4 matrix that maps (x, y, ·, 1).
type Affine = [[f32; 4]; 2];

/// Where a point is mapped to.
fn apply(matrix: &Affine, x: f32, y: f32) -> [f32; 2] {
    matrix.map(|row| row[0] * x + row[1] * y + row[3])
}

/// Reads the matrix from a tensor.
fn affine(matrix: &[f32]) -> Result<Affine, OpError> {
    let row = |i: usize| matrix.get(4 * i..4 * i + 4).and_then(|row| row.try_into().ok());
    match (row(0), row(1)) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => Err(OpError::invalid("the matrix has less than 2 rows")),
    }
}

fn check_matrix(node: &NodeView<'_>) -> Result<(), OpError> {
    let matrix = node.input(1)?;
    check_type(matrix.ty, &[Float32])?;
    ensure!(matrix.elements() == 16, "the matrix has shape {:?}, not [1, 4, 4]", matrix.shape);
    Ok(())
}

/// TransformLandmarks: landmarks of 2 or 3 coordinates, of which the first two are mapped. Inputs: landmarks, matrix.
pub struct TransformLandmarks;

/// Coordinates of a landmark, and the factor of the matrix's translation.
fn landmark_options(node: &NodeView<'_>) -> Result<(usize, f32), OpError> {
    let last = node.input(0)?.shape.last().copied().unwrap_or(0);
    let (dimensions, scale) = if node.version == 1 {
        let options = FlexOptions::of(node)?;
        (options.size("dimensions", 3)?, options.float("scale")?.unwrap_or(1.0))
    } else {
        (last, 1.0)
    };
    ensure!(matches!(dimensions, 2 | 3), "landmarks of {dimensions} coordinates");
    ensure!(last % dimensions == 0 && scale != 0.0, "rows of {last} numbers, scale {scale}");
    Ok((dimensions, scale))
}

impl OpDef for TransformLandmarks {
    fn id(&self) -> OpId {
        OpId::Custom("TransformLandmarks")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let landmarks = node.input(0)?;
        check_type(landmarks.ty, &[Float32])?;
        check_matrix(node)?;
        landmark_options(node)?;
        Ok(smallvec![Inferred::new(Float32, landmarks.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (dimensions, scale) = landmark_options(node)?;
        reference(move |io| {
            let landmarks = io.input(0)?.slice::<f32>()?;
            let mut matrix = affine(io.input(1)?.slice()?)?;
            matrix.iter_mut().for_each(|row| row[3] *= scale);
            let output = io.outputs[0].slice::<f32>()?;
            for (from, to) in landmarks.chunks_exact(dimensions).zip(output.chunks_exact_mut(dimensions)) {
                to.copy_from_slice(from);
                to[..2].copy_from_slice(&apply(&matrix, from[0], from[1]));
            }
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (shape, dimensions) in [([1, 2, 3, 6], 2), ([1, 1, 4, 3], 3)] {
            let items = [("dimensions", FlexItem::Int(dimensions)), ("scale", FlexItem::Float(2.5))];
            cases.extend(case(shape[3], "TransformLandmarks", &items, &[&shape, &[1, 4, 4]], &shape));
        }
        cases
    }
}

/// A case of a custom operator on floats.
fn case(name: impl ToString, op: &str, items: &[(&str, FlexItem)], inputs: &[&[i32]], output: &[i32]) -> Option<Case> {
    let mut b = ModelBuilder::new();
    let inputs: Vec<_> = inputs.iter().map(|shape| Some(b.input("x", Float32, shape))).collect();
    let y = b.tensor("y", Float32, output);
    b.output(y);
    b.custom(op, flex_map(items), &inputs, &[y]);
    Some(Case { name: name.to_string(), model: b.build().ok()? })
}

/// TransformTensorBilinear: an image seen through a matrix that maps the output's pixels to the input's, with bilinear
/// interpolation and 0 outside. Inputs: image, matrix.
pub struct TransformTensorBilinear;

impl OpDef for TransformTensorBilinear {
    fn id(&self) -> OpId {
        OpId::Custom("TransformTensorBilinear")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        2..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let image = node.input(0)?;
        check_type(image.ty, &[Float32])?;
        check_matrix(node)?;
        let &[1, rows, columns, channels] = &image.shape[..] else {
            return Err(OpError::invalid(format!("the image has shape {:?}, not [1, h, w, c]", image.shape)));
        };
        ensure!(rows * columns > 0, "the image is empty: {:?}", image.shape);
        let options = FlexOptions::of(node)?;
        let size = |key| options.size(key, 1 << 20);
        Ok(smallvec![Inferred::new(Float32, [1, size("output_height")?, size("output_width")?, channels])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (image, output) = (&node.input(0)?.shape, &node.output(0)?.shape);
        let (rows, columns, channels) = (image[1], image[2], image[3]);
        let width = output[2];
        reference(move |io| {
            let image = io.input(0)?.slice::<f32>()?;
            let mut matrix = affine(io.input(1)?.slice()?)?;
            // It maps the centers of pixels, which are half a pixel away from their indices.
            matrix.iter_mut().for_each(|row| row[3] += row[0] * 0.5 + row[1] * 0.5 - 0.5);
            let output = io.outputs[0].slice::<f32>()?;
            for (i, pixel) in output.chunks_exact_mut(channels.max(1)).enumerate() {
                let [x, y] = apply(&matrix, (i % width) as f32, (i / width) as f32);
                let inside = (0.0..=(columns - 1) as f32).contains(&x) && (0.0..=(rows - 1) as f32).contains(&y);
                if !inside {
                    pixel.fill(0.0);
                    continue;
                }
                let (left, top) = (x.floor(), y.floor());
                let (right, lower) = (x - left, y - top);
                let (left, top) = (left as usize, top as usize);
                let at = |row: usize, column: usize, c: usize| {
                    let inside = row < rows && column < columns;
                    if inside { image[(row * columns + column) * channels + c] } else { 0.0 }
                };
                for (c, out) in pixel.iter_mut().enumerate() {
                    let along = |row: usize| (1.0 - right) * at(row, left, c) + right * at(row, left + 1, c);
                    *out = lower * along(top + 1) + (1.0 - lower) * along(top);
                }
            }
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        // Half as large, turned by a quarter, and moved beside the image.
        const ROWS: [[f32; 8]; 3] = [
            [2.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.25, -1.0, 0.0, 0.0, 6.5],
            [0.6, -0.3, 0.0, -2.0, 0.3, 0.6, 0.0, 3.0],
        ];
        let case = |rows: [f32; 8]| {
            let matrix = [&rows[..], &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]].concat();
            let node = NodeCase::new().drawn((Float32, &[1, 9, 7, 3], None)).constant(Float32, &[1, 4, 4], &matrix);
            let options = flex_map(&[("output_height", FlexItem::Int(5)), ("output_width", FlexItem::Int(6))]);
            let (op, output) = (("TransformTensorBilinear", 2), (Float32, &[1, 5, 6, 3][..], None));
            node.finish_custom_builtin(format!("{rows:?}"), op, options, BuiltinOptions::NONE, &[output])
        };
        ROWS.into_iter().filter_map(case).collect()
    }
}

/// Landmarks2TransformMatrix: the matrix from the pixels of an image of a given size to the rectangle around some landmarks
/// that is turned so that two of them lie side by side.
pub struct Landmarks2TransformMatrix;

/// What the versions of the operator have in common.
struct Rectangle {
    /// Numbers of the landmarks inside.
    subset: Vec<usize>,
    /// Numbers of the landmarks that give the direction.
    left: usize,
    right: usize,
    form: Form,
}

enum Form {
    /// Version 1: from indices of pixels to indices of pixels. Sizes are (width, height).
    First { range: f32, margin: f32, input: [f32; 2], output: [f32; 2] },
    /// Version 2: from coordinates of pixels to those of landmarks.
    Second { target: f32, scale: [f32; 2], output: [f32; 2] },
}

impl Rectangle {
    fn of(node: &NodeView<'_>) -> Result<Rectangle, OpError> {
        let (options, count) = (FlexOptions::of(node)?, node.input(0)?.elements() / 3);
        let list = |key: &str| -> Result<Vec<i64>, OpError> {
            let vector = options.get(key);
            let len = vector.and_then(|v| v.len()).filter(|&len| len <= 1 << 16);
            let values = (0..len.unwrap_or(0)).map(|i| vector.and_then(|v| v.index(i)?.as_i64()));
            let values = values.collect::<Option<Vec<i64>>>().filter(|values| !values.is_empty());
            values.ok_or_else(|| OpError::invalid(format!("option {key:?} is not a list of numbers")))
        };
        let number = |i: i64| match usize::try_from(i).ok().filter(|&i| i < count) {
            Some(i) => Ok(i),
            None => Err(OpError::invalid(format!("landmark {i} of {count}"))),
        };
        let size = |key: &str| -> Result<[f32; 2], OpError> {
            match list(key)?[..] {
                [height, width] if height > 0 && width > 0 => Ok([width as f32, height as f32]),
                _ => Err(OpError::invalid(format!("option {key:?} is not a height and a width"))),
            }
        };
        let positive = |key: &str| match options.float(key)?.unwrap_or(0.0) {
            x if x > 0.0 => Ok(x),
            x => Err(OpError::invalid(format!("option {key:?} is {x}, not positive"))),
        };
        let form = if node.version == 1 {
            ensure!(options.required("dimensions")? == 3, "landmarks have to have 3 coordinates");
            let margin = options.float("bbox_size_multiplier")?.unwrap_or(0.0);
            ensure!(margin != 0.0, "bbox_size_multiplier is 0");
            Form::First {
                range: positive("landmarks_range")?,
                margin,
                input: size("input_hw")?,
                output: size("output_hw")?,
            }
        } else {
            Form::Second {
                target: options.float("target_rotation_radians")?.unwrap_or(0.0),
                scale: [positive("scale_x")?, positive("scale_y")?],
                output: [positive("output_width")?, positive("output_height")?],
            }
        };
        Ok(Rectangle {
            subset: list(if node.version == 1 { "subset" } else { "subset_idxs" })?
                .into_iter()
                .map(number)
                .collect::<Result<_, _>>()?,
            left: number(options.required("left_rotation_idx")?.into())?,
            right: number(options.required("right_rotation_idx")?.into())?,
            form,
        })
    }

    /// The first two rows of the matrix.
    fn matrix(&self, landmarks: &[f32]) -> Affine {
        let landmark = |i: usize| [landmarks[3 * i], landmarks[3 * i + 1]];
        let (left, right) = (landmark(self.left), landmark(self.right));
        let (dx, dy) = (right[0] - left[0], right[1] - left[1]);
        let angle = match self.form {
            Form::First { .. } => -(dy / dx).atan(),
            Form::Second { target, .. } => target - dy.atan2(dx),
        };
        let (sin, cos) = angle.sin_cos();
        let turned = |[x, y]: [f32; 2]| [x * cos - y * sin, x * sin + y * cos];
        let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
        for point in self.subset.iter().map(|&i| turned(landmark(i))) {
            for d in 0..2 {
                low[d] = low[d].min(point[d]);
                high[d] = high[d].max(point[d]);
            }
        }
        let size = [high[0] - low[0], high[1] - low[1]];
        let middle = [(high[0] + low[0]) / 2.0, (high[1] + low[1]) / 2.0];
        // Turned back.
        let center = [middle[0] * cos + middle[1] * sin, middle[1] * cos - middle[0] * sin];
        // p = R⁻¹ · S · (q − origin) + offset, where R⁻¹ turns back and S scales by `step`; then, per row, · `factor`.
        let (step, origin, offset, factor) = match self.form {
            Form::First { range, margin, input, output } => {
                // Coordinates −1..1 for both images.
                let step = [0, 1].map(|d| size[d] * margin / range * 2.0 / (output[d] - 1.0));
                let origin = output.map(|n| (n - 1.0) / 2.0);
                let offset = center.map(|c| c / range * 2.0);
                (step, origin, offset, input.map(|n| (n - 1.0) / 2.0))
            }
            Form::Second { scale, output, .. } => {
                let step = [0, 1].map(|d| scale[d] * size[d] / output[d]);
                (step, output.map(|n| n / 2.0), center, [1.0; 2])
            }
        };
        let back = [[cos * step[0], sin * step[1]], [-sin * step[0], cos * step[1]]];
        let row = |d: usize| {
            let [a, b] = back[d];
            let shift = offset[d] - a * origin[0] - b * origin[1];
            [factor[d] * a, factor[d] * b, 0.0, factor[d] * shift]
        };
        [row(0), row(1)]
    }
}

impl OpDef for Landmarks2TransformMatrix {
    fn id(&self) -> OpId {
        OpId::Custom("Landmarks2TransformMatrix")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        check_type(node.input(0)?.ty, &[Float32])?;
        Rectangle::of(node)?;
        Ok(smallvec![Inferred::new(Float32, [1, 4, 4])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let rectangle = Rectangle::of(node)?;
        let count = node.input(0)?.elements();
        reference(move |io| {
            let landmarks = io.input(0)?.slice::<f32>()?;
            ensure!(landmarks.len() == count, "a kernel was prepared for another shape");
            let matrix = rectangle.matrix(landmarks);
            let last = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
            let output = io.outputs[0].slice::<f32>()?;
            output.iter_mut().zip(matrix.iter().flatten().chain(&last)).for_each(|(y, x)| *y = *x);
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let items = [
            ("dimensions", FlexItem::Int(3)),
            ("landmarks_range", FlexItem::Int(192)),
            ("bbox_size_multiplier", FlexItem::Float(1.5)),
            ("input_hw", FlexItem::Ints(vec![48, 40])),
            ("output_hw", FlexItem::Ints(vec![16, 20])),
            ("left_rotation_idx", FlexItem::Int(2)),
            ("right_rotation_idx", FlexItem::Int(0)),
            ("subset", FlexItem::Ints(vec![0, 1, 2, 4, 5])),
        ];
        case("1", "Landmarks2TransformMatrix", &items, &[&[1, 1, 1, 18]], &[1, 4, 4]).into_iter().collect()
    }
}
