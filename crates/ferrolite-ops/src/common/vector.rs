//! Fast kernels of elementwise operators: vector code for float32, tables for 8-bit types.

use crate::common::broadcast::{Broadcast, Tiles};
use crate::common::parallel::for_items;
use crate::op::{Bands, FnKernel, Io, Kernel, NodeView, OpDef, RowWindow};
use crate::session::NoSession;
use crate::tensor::{AlignedBytes, OutputData, Shape, TensorInfo, TensorMut, TensorRef};
use crate::{OpError, ensure};
use ferrolite_kernels::{Binary, Isa, RowsF32, ThreadPool, Unary, binary_f32, lut_8bit, unary_f32};
use ferrolite_model::TensorType;
use smallvec::{SmallVec, smallvec};
use std::ops::Range;

/// Output elements below which a thread is not worth waking.
const GRAIN: usize = 8 << 10;

/// Whether input 0 is float32.
pub fn is_f32(node: &NodeView<'_>) -> bool {
    node.input(0).is_ok_and(|t| t.ty == TensorType::Float32)
}

/// out = op(input 0), in float32.
pub fn unary(name: &'static str, node: &NodeView<'_>, isa: Isa, op: Unary) -> Result<Box<dyn Kernel>, OpError> {
    unary_of(name, node, 0, isa, op)
}

/// out = op(input `variable`), in float32; of one shape.
pub fn unary_of(
    name: &'static str,
    node: &NodeView<'_>,
    variable: usize,
    isa: Isa,
    op: Unary,
) -> Result<Box<dyn Kernel>, OpError> {
    let run = move |io: &mut Io<'_>| {
        let input = io.input(variable)?.slice::<f32>()?;
        let output = io.outputs[0].slice::<f32>()?;
        ensure!(input.len() == output.len(), "a kernel was prepared for other shapes");
        unary_f32(io.pool, isa, op, input, output);
        Ok(())
    };
    Ok(Box::new(OfOne { name, variable, height: image_height(node)?, run }))
}

/// A function of one tensor, element by element.
struct OfOne<F> {
    name: &'static str,
    /// Which input the tensor is.
    variable: usize,
    /// Rows, if the output is an image.
    height: Option<usize>,
    run: F,
}

impl<F: Fn(&mut Io<'_>) -> Result<(), OpError> + Send + Sync> Kernel for OfOne<F> {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        (self.run)(io)
    }

    fn name(&self) -> &str {
        self.name
    }

    fn bands(&self) -> Option<&dyn Bands> {
        self.height.map(|_| self as &dyn Bands)
    }
}

impl<F: Fn(&mut Io<'_>) -> Result<(), OpError> + Send + Sync> Bands for OfOne<F> {
    fn window(&self) -> RowWindow {
        RowWindow::pointwise(self.height.unwrap_or(0))
    }

    fn is_image(&self, i: usize) -> bool {
        i == self.variable
    }

    fn run_rows(&self, io: &mut Io<'_>, _: Range<usize>) -> Result<(), OpError> {
        (self.run)(io)
    }
}

/// Rows of output 0, if it is one image.
fn image_height(node: &NodeView<'_>) -> Result<Option<usize>, OpError> {
    Ok(match node.output(0)?.shape[..] {
        [1, height, _, _] => Some(height),
        _ => None,
    })
}

/// out = clamp(op(input 0, input 1)), in float32, with broadcasting.
pub fn binary(
    name: &'static str,
    node: &NodeView<'_>,
    isa: Isa,
    op: Binary,
    range: (f32, f32),
) -> Result<Box<dyn Kernel>, OpError> {
    let zip = Zip { isa, op, range };
    Ok(Box::new(BinaryKernel { name, zip, whole: Tiled::new(Broadcast::of(node)?), rows: ImageRows::new(node)? }))
}

/// A broadcasting loop, planned.
struct Tiled {
    walk: Broadcast<2>,
    tiles: Tiles<2>,
}

impl Tiled {
    fn new(walk: Broadcast<2>) -> Tiled {
        Tiled { tiles: Tiles::new(&walk), walk }
    }
}

/// What is done to a pair of numbers.
#[derive(Clone, Copy)]
struct Zip {
    isa: Isa,
    op: Binary,
    range: (f32, f32),
}

impl Zip {
    fn run(self, pool: &ThreadPool, tiled: &Tiled, a: &[f32], b: &[f32], out: &mut [f32]) -> Result<(), OpError> {
        tiled.walk.check([a.len(), b.len()], out.len())?;
        let tiles = &tiled.tiles;
        tiles.for_each_run(|first, [at_a, at_b], count, [step_a, step_b]| {
            let a = RowsF32 { data: &a[at_a..], len: tiles.inputs[0], step: step_a };
            let b = RowsF32 { data: &b[at_b..], len: tiles.inputs[1], step: step_b };
            let out = &mut out[first * tiles.len..][..count * tiles.len];
            binary_f32(pool, self.isa, self.op, count, a, b, out, self.range);
        });
        Ok(())
    }
}

/// An output that is one image, row by row.
struct ImageRows {
    height: usize,
    /// Whether each operand has rows of its own, and how long they are.
    operands: [(bool, usize); 2],
    /// Elements of an output row.
    len: usize,
    row: Tiled,
}

impl ImageRows {
    fn new(node: &NodeView<'_>) -> Result<Option<ImageRows>, OpError> {
        let Some(height) = image_height(node)?.filter(|&height| height > 1) else { return Ok(None) };
        let (a, b, out) = (&node.input(0)?.shape, &node.input(1)?.shape, &node.output(0)?.shape);
        // Of fewer dimensions, yet with rows: no image.
        if [a, b].iter().any(|shape| shape.len() == 3 && shape[0] > 1) {
            return Ok(None);
        }
        let one_row = |shape: &Shape| {
            let mut row = shape.clone();
            let cut = row.len() == 4 && row[1] > 1;
            if cut {
                row[1] = 1;
            }
            (cut, row)
        };
        let [(cut_a, a), (cut_b, b), (_, out)] = [a, b, out].map(one_row);
        let row = Tiled::new(Broadcast::new(&out, [&a, &b])?);
        let len = |shape: &Shape| shape.iter().product();
        Ok(Some(ImageRows { height, operands: [(cut_a, len(&a)), (cut_b, len(&b))], len: row.walk.output_len(), row }))
    }
}

struct BinaryKernel {
    name: &'static str,
    zip: Zip,
    whole: Tiled,
    rows: Option<ImageRows>,
}

impl Kernel for BinaryKernel {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (a, b) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
        self.zip.run(io.pool, &self.whole, a, b, io.outputs[0].slice::<f32>()?)
    }

    fn name(&self) -> &str {
        self.name
    }

    fn bands(&self) -> Option<&dyn Bands> {
        self.rows.as_ref().map(|_| self as &dyn Bands)
    }
}

impl Bands for BinaryKernel {
    fn window(&self) -> RowWindow {
        RowWindow::pointwise(self.rows.as_ref().map_or(0, |rows| rows.height))
    }

    fn is_image(&self, i: usize) -> bool {
        self.rows.as_ref().is_some_and(|rows| rows.operands.get(i).is_some_and(|operand| operand.0))
    }

    fn run_rows(&self, io: &mut Io<'_>, range: Range<usize>) -> Result<(), OpError> {
        let Some(rows) = &self.rows else { return self.run(io) };
        let inputs = [io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?];
        let out = io.outputs[0].slice::<f32>()?;
        let given = |(cut, len): (bool, usize)| if cut { range.len() * len } else { len };
        let fits = inputs.iter().zip(rows.operands).all(|(x, operand)| x.len() == given(operand));
        ensure!(fits && out.len() == range.len() * rows.len, "a kernel was prepared for other shapes");
        for (y, out) in out.chunks_exact_mut(rows.len.max(1)).enumerate() {
            let part = |i: usize| match rows.operands[i] {
                (true, len) => &inputs[i][y * len..][..len],
                (false, _) => inputs[i],
            };
            self.zip.run(io.pool, &rows.row, part(0), part(1), out)?;
        }
        Ok(())
    }
}

/// Whether inputs and the output are all of one byte per element, and input 0 is quantized.
pub fn is_8_bit(node: &NodeView<'_>) -> bool {
    let narrow = |ty| matches!(ty, TensorType::Int8 | TensorType::UInt8);
    node.inputs.iter().flatten().chain(&node.outputs).all(|t| narrow(t.ty))
}

/// An 8-bit function of one 8-bit input, by a table that the reference kernel fills.
pub fn table(name: &'static str, op: &dyn OpDef, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let all: Vec<u8> = (0..=255).collect();
    let values = tabulate(op, node, &[(&[256], &all)], &[256])?;
    let mut table = Box::new([0; 256]);
    table.copy_from_slice(&values);
    table_kernel(name, node, 0, table)
}

/// out = table\[input `variable`\], bytes of one shape.
pub fn table_kernel(
    name: &'static str,
    node: &NodeView<'_>,
    variable: usize,
    table: Box<[u8; 256]>,
) -> Result<Box<dyn Kernel>, OpError> {
    let run = move |io: &mut Io<'_>| {
        let input = io.input(variable)?.bytes;
        let output = io.outputs[0].bytes();
        ensure!(input.len() == output.len(), "a kernel was prepared for other shapes");
        lut_8bit(io.pool, input, &table, output);
        Ok(())
    };
    Ok(Box::new(OfOne { name, variable, height: image_height(node)?, run }))
}

/// Whether [`bytes`] is of use: one quantized type of 8 bits, and pieces that are long enough for vectors.
pub fn is_long_8_bit(node: &NodeView<'_>) -> bool {
    let long = |&n: &usize| n == 1 || n >= 16;
    let tiles = |walk: Broadcast<2>| Tiles::new(&walk);
    let Some(ty) = node.outputs.first().map(|t| t.ty) else { return false };
    let byte = |t: &TensorInfo<'_>| t.ty == ty && t.scale_zero_point().is_ok();
    is_8_bit(node)
        && node.inputs.iter().flatten().chain(&node.outputs).all(byte)
        && Broadcast::<2>::of(node).map(tiles).is_ok_and(|t| t.len >= 16 && t.inputs.iter().all(long))
}

/// An 8-bit function of two 8-bit inputs, with broadcasting; `run` takes pieces of the inputs that repeat as often as the
/// piece of the output needs.
pub fn bytes<F>(name: &'static str, node: &NodeView<'_>, run: F) -> Result<Box<dyn Kernel>, OpError>
where
    F: Fn(&ThreadPool, &[u8], &[u8], &mut [u8]) + Send + Sync + 'static,
{
    let walk = Broadcast::<2>::of(node)?;
    let tiles = Tiles::new(&walk);
    // Small pieces are shared between threads whole; large ones are cut by the vector code.
    let alone = ThreadPool::new(1);
    let whole = tiles.len < GRAIN && tiles.count() > 1;
    Ok(Box::new(FnKernel(name, move |io: &mut Io<'_>| {
        let (a, b) = (io.input(0)?.bytes, io.input(1)?.bytes);
        let output = io.outputs[0].bytes();
        walk.check([a.len(), b.len()], output.len())?;
        let (pool, grain) = if whole { (&alone, GRAIN.div_ceil(tiles.len)) } else { (io.pool, usize::MAX) };
        let [len_a, len_b] = tiles.inputs;
        for_items(io.pool, output, tiles.len, grain, |pieces, part| {
            let first = pieces.start;
            tiles.for_each(pieces, |piece, [at_a, at_b]| {
                let out = &mut part[(piece - first) * tiles.len..][..tiles.len];
                run(pool, &a[at_a..at_a + len_a], &b[at_b..at_b + len_b], out);
            });
        });
        Ok(())
    })))
}

/// Whether [`table2`] is of use: 8 bits, and enough elements to pay for filling a table of 64 KiB.
pub fn is_large_8_bit(node: &NodeView<'_>) -> bool {
    is_8_bit(node) && node.output(0).is_ok_and(|t| t.elements() >= 4 << 10)
}

/// An 8-bit function of two 8-bit inputs, with broadcasting, by a table of all pairs that the reference kernel fills.
pub fn table2(name: &'static str, op: &dyn OpDef, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let all: Vec<u8> = (0..=255).collect();
    let table: Box<[u8]> = tabulate(op, node, &[(&[256, 1], &all), (&[256], &all)], &[256, 256])?.to_vec().into();
    let walk = Broadcast::<2>::of(node)?;
    Ok(Box::new(FnKernel(name, move |io: &mut Io<'_>| {
        let (a, b) = (io.input(0)?.bytes, io.input(1)?.bytes);
        let output = io.outputs[0].bytes();
        walk.check([a.len(), b.len()], output.len())?;
        for_items(io.pool, output, 1, GRAIN, |range, part| {
            walk.map_range(range, a, b, part, |x, y| table[usize::from(x) << 8 | usize::from(y)]);
        });
        Ok(())
    })))
}

/// Runs an operator's reference kernel on given 8-bit inputs in place of a node's own.
pub fn tabulate(
    op: &dyn OpDef,
    node: &NodeView<'_>,
    inputs: &[(&[usize], &[u8])],
    output: &[usize],
) -> Result<AlignedBytes, OpError> {
    let mut view = node.clone();
    for (tensor, (shape, _)) in view.inputs.iter_mut().flatten().zip(inputs) {
        *tensor = crate::TensorInfo { shape: Shape::from_slice(shape), constant: None, known: None, ..tensor.clone() };
    }
    view.outputs[0].shape = Shape::from_slice(output);
    let kernel = op.reference(&view)?;
    let data: SmallVec<[AlignedBytes; 2]> = inputs.iter().map(|(_, bytes)| AlignedBytes::from(*bytes)).collect();
    let mut result = AlignedBytes::zeroed(output.iter().product());
    let mut scratch = AlignedBytes::zeroed(kernel.scratch_bytes());
    let tensors = view.inputs.iter().flatten().zip(&data);
    kernel.run(&mut Io {
        inputs: tensors
            .map(|(t, bytes)| Some(TensorRef { ty: t.ty, shape: &t.shape, quantization: t.quantization, bytes }))
            .collect(),
        outputs: smallvec![TensorMut {
            ty: view.outputs[0].ty,
            quantization: view.outputs[0].quantization,
            data: OutputData::Planned { shape: output, bytes: &mut result },
        }],
        scratch: &mut scratch,
        pool: &ThreadPool::new(1),
        state: SmallVec::new(),
        session: &mut NoSession::default(),
    })?;
    Ok(result)
}
