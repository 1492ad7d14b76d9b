//! REDUCE_WINDOW and STABLEHLO_REDUCE_WINDOW: one value from each position of a sliding window.

use crate::common::cases;
use crate::common::node_case::NodeCase;
use crate::common::number::Number;
use crate::common::region::{Function, function};
use crate::common::strided::{elements, strides};
use crate::for_number;
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::schema::{ReduceWindowFunction, ReduceWindowOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, BuiltinOptions2, TensorType, schema};
use smallvec::{SmallVec, smallvec};
use std::ops::RangeInclusive;

/// STABLEHLO_REDUCE_WINDOW. Inputs: data, the value to start with.
pub struct StablehloReduceWindow;
/// REDUCE_WINDOW, its predecessor. Inputs: data, the value to start with, window shape, strides, dilations.
pub struct ReduceWindow;

/// The window along one dimension.
#[derive(Clone, Copy, Debug)]
struct Axis {
    /// Length of the data.
    len: i64,
    window: i64,
    stride: i64,
    /// Distance of elements under the window.
    dilation: i64,
    /// Distance of the data's elements; what lies between them is the start value.
    base: i64,
    /// Positions before the data, with the start value; negative ones crop.
    before: i64,
    /// Positions of the window.
    output: i64,
}

/// What the options of both operators come down to.
struct Options {
    window: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    base: Vec<i64>,
    padding: Vec<i64>,
    function: Function,
}

fn axes(shape: &[usize], options: &Options) -> Result<SmallVec<[Axis; 6]>, OpError> {
    let rank = shape.len();
    ensure!((1..=6).contains(&rank), "{rank} dimensions, not 1 to 6");
    for (name, list) in [
        ("window", &options.window),
        ("strides", &options.strides),
        ("dilations", &options.dilations),
        ("base dilations", &options.base),
    ] {
        ensure!(list.len() == rank, "{} {name} for {rank} dimensions", list.len());
        let in_range = list.iter().all(|&x| (1..=i32::MAX.into()).contains(&x));
        ensure!(in_range, "{name} of {list:?} are not positive, or too large");
    }
    ensure!(options.padding.len() == 2 * rank, "{} paddings for {rank} dimensions", options.padding.len());
    let in_range = options.padding.iter().all(|p| p.unsigned_abs() <= i32::MAX as u64);
    ensure!(in_range, "paddings {:?} are too large", options.padding);
    let is_padded = options.padding.iter().any(|&p| p != 0);
    let axis = |d: usize| {
        let (before, after) = (options.padding[2 * d], options.padding[2 * d + 1]);
        let len = shape[d] as i64;
        let spread = if len == 0 { 0 } else { (len - 1).saturating_mul(options.base[d]).saturating_add(1) };
        let padded = spread.saturating_add(before + after);
        ensure!(!is_padded || padded > 0, "paddings {:?} leave nothing of {shape:?}", options.padding);
        let reach = (options.window[d] - 1) * options.dilations[d] + 1;
        Ok(Axis {
            len,
            window: options.window[d],
            stride: options.strides[d],
            dilation: options.dilations[d],
            base: options.base[d],
            before,
            output: if padded < reach { 0 } else { (padded - reach) / options.strides[d] + 1 },
        })
    };
    let axes = (0..rank).map(axis).collect::<Result<SmallVec<[Axis; 6]>, OpError>>()?;
    let count = |of: fn(&Axis) -> i64| -> Result<usize, OpError> {
        elements(&axes.iter().map(|a| usize::try_from(of(a)).unwrap_or(usize::MAX)).collect::<Shape>())
    };
    count(|a| a.window)?;
    count(|a| a.output)?;
    Ok(axes)
}

fn output(axes: &[Axis]) -> Shape {
    axes.iter().map(|a| a.output as usize).collect()
}

fn stablehlo(node: &NodeView<'_>) -> Result<Options, OpError> {
    let Some(options) = node.options2.as_stablehlo_reduce_window_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    let Some(function) = function(node, options.body_subgraph_index)? else {
        return Err(OpError::unsupported("a region without operators"));
    };
    let rank = node.input(0)?.shape.len();
    // What is left out is 1, paddings 0.
    let list = |list: &Option<Vec<i64>>, or: i64, len: usize| match list.as_deref() {
        None | Some([]) => vec![or; len],
        Some(list) => list.to_vec(),
    };
    Ok(Options {
        window: list(&options.window_dimensions, 1, rank),
        strides: list(&options.window_strides, 1, rank),
        dilations: list(&options.window_dilations, 1, rank),
        base: list(&options.base_dilations, 1, rank),
        padding: list(&options.padding, 0, 2 * rank),
        function,
    })
}

/// `None` while the window is not known.
fn deprecated(node: &NodeView<'_>) -> Result<Option<Options>, OpError> {
    let wanted = node.options2.as_reduce_window_options().map(|o| o.reduce_function);
    let function = match wanted {
        Some(ReduceWindowFunction::ADD) => Function::Add,
        Some(ReduceWindowFunction::MUL) => Function::Multiply,
        Some(ReduceWindowFunction::MINIMUM) => Function::Minimum,
        Some(ReduceWindowFunction::MAXIMUM) => Function::Maximum,
        Some(ReduceWindowFunction::ALL) => Function::All,
        Some(ReduceWindowFunction::ANY) => Function::Any,
        other => return Err(OpError::unsupported(format!("reduction {other:?}"))),
    };
    let mut lists = Vec::new();
    for i in 2..5 {
        let tensor = node.input(i)?;
        ensure!(tensor.ty == TensorType::Int64, "input {i} of type {}", tensor.ty);
        let Some(values) = tensor.values::<i64>()? else { return Ok(None) };
        lists.push(values);
    }
    let [window, strides, dilations] = <[Vec<i64>; 3]>::try_from(lists).unwrap_or_default();
    let rank = node.input(0)?.shape.len();
    Ok(Some(Options { window, strides, dilations, base: vec![1; rank], padding: vec![0; 2 * rank], function }))
}

/// Checks that data and start value are of one type that the kernel covers.
fn check_inputs(node: &NodeView<'_>) -> Result<TensorType, OpError> {
    let (data, start) = (node.input(0)?, node.input(1)?);
    ensure!(data.ty == start.ty, "a start value of type {} for {}", start.ty, data.ty);
    ensure!(start.elements() == 1, "a start value of shape {:?}", start.shape);
    use TensorType::*;
    if !matches!(data.ty, Bool | Int8 | Int16 | Int32 | Int64 | UInt8 | Float32 | Float64) {
        return Err(OpError::unsupported(format!("windows of {}", data.ty)));
    }
    Ok(data.ty)
}

fn prepare(node: &NodeView<'_>, options: &Options) -> Result<Box<dyn Kernel>, OpError> {
    let data = node.input(0)?;
    let axes = axes(&data.shape, options)?;
    let strides = strides(&data.shape).into_iter().collect();
    for_number!(data.ty, T => Ok(Box::new(WindowKernel::<T> { axes, strides, combine: combine(options.function) })))
}

impl OpDef for StablehloReduceWindow {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::STABLEHLO_REDUCE_WINDOW)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let ty = check_inputs(node)?;
        let shape = output(&axes(&node.input(0)?.shape, &stablehlo(node)?)?);
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        prepare(node, &stablehlo(node)?)
    }

    fn runs_subgraphs(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        use BuiltinOperator as B;
        use TensorType::*;
        // Shape, output; window, strides, base dilations, window dilations, paddings.
        type Window<'a> = ([&'a [i32]; 2], [&'a [i64]; 5]);
        let windows: [Window<'_>; 3] = [
            ([&[6, 5], &[3, 4]], [&[2, 2], &[2, 1], &[1, 1], &[1, 1], &[0, 0, 0, 0]]),
            ([&[4, 5, 3], &[7, 2, 2]], [&[2, 3, 1], &[1, 2, 2], &[2, 1, 1], &[1, 1, 2], &[0, 1, 1, 0, 0, 0]]),
            ([&[7], &[5]], [&[3], &[1], &[1], &[2], &[-1, 3]]),
        ];
        let mut cases = Vec::new();
        for ty in [Float32, Int8, Int64] {
            for (i, function) in
                [B::STABLEHLO_ADD, B::STABLEHLO_MULTIPLY, B::MAXIMUM, B::MINIMUM].into_iter().enumerate()
            {
                let ([shape, output], [window, strides, base, dilations, padding]) = windows[i % 3];
                let inputs = [(ty, shape, None), (ty, &[][..], None)];
                let name =
                    format!("{ty} {shape:?} {window:?} {strides:?} {base:?} {dilations:?} {padding:?} {function:?}");
                let op = B::STABLEHLO_REDUCE_WINDOW;
                cases.extend(cases::case2(name, op, &inputs, &[(ty, output, None)], |b| {
                    let options = BuiltinOptions::NONE;
                    let region = cases::one_node(b, function, options, &[(ty, &[], None), (ty, &[], None)]);
                    let list = |list: &[i64]| Some(list.to_vec());
                    BuiltinOptions2::StablehloReduceWindowOptions(Box::new(schema::StablehloReduceWindowOptionsT {
                        window_dimensions: list(window),
                        window_strides: list(strides),
                        base_dilations: list(base),
                        window_dilations: list(dilations),
                        padding: list(padding),
                        body_subgraph_index: region,
                    }))
                }));
            }
        }
        cases
    }
}

impl OpDef for ReduceWindow {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::REDUCE_WINDOW)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(5..=5, 1)?;
        let ty = check_inputs(node)?;
        let Some(options) = deprecated(node)? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        let shape = output(&axes(&node.input(0)?.shape, &options)?);
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match deprecated(node)? {
            Some(options) => prepare(node, &options),
            None => Err(OpError::invalid("the window is not known yet")),
        }
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        type F = ReduceWindowFunction;
        // Shape, output; window, strides, dilations.
        type Window<'a> = ([&'a [i32]; 2], [&'a [i64]; 3]);
        const WINDOWS: [Window<'_>; 3] = [
            ([&[6, 5], &[3, 4]], [&[2, 2], &[2, 1], &[1, 1]]),
            ([&[4, 9, 3], &[3, 3, 1]], [&[2, 3, 2], &[1, 2, 1], &[1, 2, 2]]),
            ([&[7], &[1]], [&[3], &[4], &[3]]),
        ];
        let mut cases = Vec::new();
        for ty in [Float32, Float64, Int8, UInt8, Int16, Int32, Int64, Bool] {
            let functions = if ty == Bool { &[F::ALL, F::ANY][..] } else { &[F::ADD, F::MUL, F::MINIMUM, F::MAXIMUM] };
            for (&reduce_function, ([shape, output], lists)) in functions.iter().zip(WINDOWS.into_iter().cycle()) {
                let options = ReduceWindowOptionsT { reduce_function };
                let node = NodeCase::new().drawn((ty, shape, None)).drawn((ty, &[], None));
                let rank = [shape.len() as i32];
                let node = lists.into_iter().fold(node, |node, list| node.constant(Int64, &rank, list));
                let node = node.options2(BuiltinOptions2::ReduceWindowOptions(Box::new(options)));
                let name = format!("{ty} {shape:?} {lists:?} {reduce_function:?}");
                let op = BuiltinOperator::REDUCE_WINDOW;
                cases.extend(node.finish(name, op, BuiltinOptions::NONE, &[(ty, output, None)]));
            }
        }
        cases
    }
}

fn combine<T: Number>(function: Function) -> fn(T, T) -> T {
    match function {
        Function::Add => T::plus,
        Function::Multiply => T::times,
        Function::Maximum => |a, b| if a >= b { a } else { b },
        Function::Minimum => |a, b| if a <= b { a } else { b },
        Function::All => |a, b| T::truth(a.is_true() && b.is_true()),
        Function::Any => |a, b| T::truth(a.is_true() || b.is_true()),
    }
}

struct WindowKernel<T> {
    axes: SmallVec<[Axis; 6]>,
    strides: SmallVec<[isize; 6]>,
    combine: fn(T, T) -> T,
}

/// Where the walk is: in the output, and in the window at that place.
struct Walk<'a, T> {
    kernel: &'a WindowKernel<T>,
    data: &'a [T],
    start: T,
    /// Position of the window in each dimension of the data, spread and padded.
    corner: [i64; 6],
}

impl<T: Number> Walk<'_, T> {
    fn outputs(&mut self, d: usize, out: &mut std::slice::IterMut<'_, T>) {
        let Some(axis) = self.kernel.axes.get(d) else {
            let mut sum = self.start;
            self.window(0, Some(0), &mut sum);
            if let Some(out) = out.next() {
                *out = sum;
            }
            return;
        };
        for i in 0..axis.output {
            self.corner[d] = i * axis.stride - axis.before;
            self.outputs(d + 1, out);
        }
    }

    /// Adds the elements under the window, from dimension `d` on. `at` is the place in the data, `None` beside it.
    fn window(&self, d: usize, at: Option<usize>, sum: &mut T) {
        let Some(axis) = self.kernel.axes.get(d) else {
            let value = at.map_or(self.start, |at| self.data[at]);
            *sum = (self.kernel.combine)(*sum, value);
            return;
        };
        for i in 0..axis.window {
            let place = self.corner[d] + i * axis.dilation;
            let is_data = place >= 0 && place % axis.base == 0 && place / axis.base < axis.len;
            let here = |at: usize| at + (place / axis.base) as usize * self.kernel.strides[d] as usize;
            self.window(d + 1, at.filter(|_| is_data).map(here), sum);
        }
    }
}

impl<T: Number> Kernel for WindowKernel<T> {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (data, start) = (io.input(0)?.slice::<T>()?, io.input(1)?.slice::<T>()?);
        let &[start] = start else { return Err(OpError::invalid("the start value is not a single one")) };
        let output = io.outputs[0].slice::<T>()?;
        let mut walk = Walk { kernel: self, data, start, corner: [0; 6] };
        walk.outputs(0, &mut output.iter_mut());
        Ok(())
    }
}
