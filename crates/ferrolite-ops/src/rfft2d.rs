//! RFFT2D: the two-dimensional discrete Fourier transform of real numbers, over the last two dimensions; of the last one, the
//! non-negative frequencies.

use crate::common::elementwise::check_type;
use crate::common::fft::{Complex, Fft, RealFft};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::strided::elements;
use crate::op::{Case, FastKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_kernels::{FFT_LANES, FftLanes, Isa, rfft_lanes};
use ferrolite_model::schema::Rfft2dOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, ModelBuilder, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// RFFT2D. Inputs: data, lengths (rows, columns) of the transform, to which the data is cropped or padded with zeros.
pub struct Rfft2d;

/// (rows, columns) of the transform; `None` when they are not known yet.
fn lengths(node: &NodeView<'_>) -> Result<Option<(usize, usize)>, OpError> {
    let lengths = node.input(1)?;
    ensure!(lengths.shape.len() == 1 && lengths.shape[0] == 2, "lengths have shape {:?}, not [2]", lengths.shape);
    let Some(values) = lengths.values::<i32>()? else { return Ok(None) };
    let [rows, columns] = values[..] else { return Err(OpError::invalid("there are no two lengths")) };
    match (usize::try_from(rows), usize::try_from(columns)) {
        (Ok(rows), Ok(columns)) => Ok(Some((rows, columns))),
        _ => Err(OpError::invalid(format!("lengths {values:?} are negative"))),
    }
}

impl OpDef for Rfft2d {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::RFFT2D)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        check_type(input.ty, &[TensorType::Float32])?;
        check_type(node.input(1)?.ty, &[TensorType::Int32])?;
        ensure!(input.shape.len() >= 2, "the input has {} dimensions, less than 2", input.shape.len());
        let Some((rows, columns)) = lengths(node)? else {
            return Ok(smallvec![Inferred::dynamic(TensorType::Complex64)]);
        };
        let powers = rows.is_power_of_two() && columns.is_power_of_two();
        ensure!(powers, "lengths {rows} and {columns} are not both powers of two");
        let outer = &input.shape[..input.shape.len() - 2];
        let shape = outer.iter().copied().chain([rows, columns / 2 + 1]);
        Ok(smallvec![Inferred::new(TensorType::Complex64, shape)])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        if slices(node)? == 0 {
            return reference(|_| Ok(()));
        }
        Ok(Box::new(transform(node)?))
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "lanes",
            supports: |node| {
                let one_row = lengths(node).is_ok_and(|l| l.is_some_and(|(rows, columns)| rows == 1 && columns > 1));
                one_row && slices(node).is_ok_and(|n| n > 0)
            },
            prepare: |node, isa| Ok(Box::new(Lanes { transform: transform(node)?, isa })),
        }]
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (x, lengths) in [
            ([2, 8, 16], [8, 16]),
            ([1, 5, 9], [8, 4]),
            ([3, 1, 30], [1, 32]),
            ([19, 1, 64], [1, 64]),
            ([5, 3, 7], [1, 2]),
            ([2, 4, 3], [2, 2]),
        ] {
            let mut b = ModelBuilder::new();
            let input = b.input("x", TensorType::Float32, &x);
            let constant = b.constant_i32("lengths", &[2], &lengths);
            let z = b.tensor("z", TensorType::Complex64, &[x[0], lengths[0], lengths[1] / 2 + 1]);
            b.output(z);
            let options = BuiltinOptions::Rfft2dOptions(Box::new(Rfft2dOptionsT {}));
            b.node(BuiltinOperator::RFFT2D, 1, options, &[Some(input), Some(constant)], &[z]);
            let name = format!("{x:?} {lengths:?}");
            cases.extend(b.build().ok().map(|model| Case { name, model }));
        }
        cases
    }
}

/// How many matrices are transformed.
fn slices(node: &NodeView<'_>) -> Result<usize, OpError> {
    let shape = &node.input(0)?.shape;
    elements(&shape[..shape.len().saturating_sub(2)])
}

fn transform(node: &NodeView<'_>) -> Result<Transform, OpError> {
    let Some((rows, columns)) = lengths(node)? else { return Err(OpError::invalid("lengths are not known")) };
    let Some((outer, &[in_rows, in_columns])) = node.input(0)?.shape.split_last_chunk() else {
        return Err(OpError::invalid("less than 2 dimensions"));
    };
    Ok(Transform {
        outer: elements(outer)?,
        input: (in_rows, in_columns),
        rows,
        columns,
        along_row: RealFft::new(columns)?,
        along_column: Fft::new(rows)?,
    })
}

/// The fast kernel: several transforms of one row at once.
struct Lanes {
    transform: Transform,
    isa: Isa,
}

impl Kernel for Lanes {
    fn scratch_bytes(&self) -> usize {
        scratch_size::<FftLanes>(self.transform.along_row.bins())
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Transform { outer, input: (in_rows, in_columns), columns, ref along_row, .. } = self.transform;
        let bins = along_row.bins();
        let input = io.input(0)?.slice::<f32>()?;
        let output = io.outputs[0].slice::<[f32; 2]>()?;
        let lengths = (input.len(), output.len()) == (outer * in_rows * in_columns, outer * bins);
        ensure!(lengths, "sizes changed since the kernel was prepared");
        let work = Scratch::new(&mut *io.scratch).take::<FftLanes>(bins)?;
        let (half_roots, roots) = along_row.roots();
        for (group, out) in output.chunks_mut(FFT_LANES * bins).enumerate() {
            work.fill([[0.0; FFT_LANES]; 2]);
            for lane in 0..out.len() / bins {
                let at = (group * FFT_LANES + lane) * in_rows * in_columns;
                let kept = if in_rows == 0 { &[] } else { &input[at..][..in_columns.min(columns)] };
                let (pairs, last) = kept.as_chunks::<2>();
                for (z, &[a, b]) in work.iter_mut().zip(pairs) {
                    (z[0][lane], z[1][lane]) = (a.into(), b.into());
                }
                if let [x] = *last {
                    work[pairs.len()][0][lane] = x.into();
                }
            }
            rfft_lanes(self.isa, work, half_roots, roots);
            for (lane, out) in out.chunks_exact_mut(bins).enumerate() {
                out.iter_mut().zip(&*work).for_each(|(y, z)| *y = [z[0][lane] as f32, z[1][lane] as f32]);
            }
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "rfft2d/lanes"
    }
}

struct Transform {
    outer: usize,
    input: (usize, usize),
    rows: usize,
    columns: usize,
    along_row: RealFft,
    along_column: Fft,
}

impl Kernel for Transform {
    fn scratch_bytes(&self) -> usize {
        let whole = self.rows.saturating_mul(self.along_row.bins());
        scratch_size::<Complex>(whole).saturating_add(scratch_size::<Complex>(self.rows))
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let input = io.input(0)?.slice::<f32>()?;
        let output = io.outputs[0].slice::<[f32; 2]>()?;
        let bins = self.along_row.bins();
        let mut scratch = Scratch::new(io.scratch);
        let spectrum = scratch.take::<Complex>(self.rows * bins)?;
        let column = scratch.take::<Complex>(self.rows)?;
        let (in_rows, in_columns) = self.input;
        let lengths = (input.len(), output.len()) == (self.outer * in_rows * in_columns, self.outer * self.rows * bins);
        ensure!(lengths, "sizes changed since the kernel was prepared");
        for (slice, out) in output.chunks_exact_mut(self.rows * bins).enumerate() {
            let x = &input[slice * in_rows * in_columns..][..in_rows * in_columns];
            for (r, row) in spectrum.chunks_exact_mut(bins).enumerate() {
                row.fill([0.0; 2]);
                if r < in_rows {
                    // What the row holds when it is transformed is its numbers in pairs.
                    let kept = &x[r * in_columns..][..in_columns.min(self.columns)];
                    kept.iter().enumerate().for_each(|(i, &x)| row[i / 2][i % 2] = x.into());
                    self.along_row.forward(row);
                }
            }
            for bin in 0..bins {
                column.iter_mut().zip(spectrum.iter().skip(bin).step_by(bins)).for_each(|(c, &z)| *c = z);
                self.along_column.forward(column);
                for (z, c) in out.iter_mut().skip(bin).step_by(bins).zip(&*column) {
                    *z = [c[0] as f32, c[1] as f32];
                }
            }
        }
        Ok(())
    }
}
