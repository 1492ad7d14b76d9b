//! SVDF: a layer whose weights over inputs and time are a sum of `rank` products of a vector over inputs and one over time.
//!
//! Each filter's projection of the input is shifted into its memory; the memory's product with the filter's weights over
//! time, summed over the filters of a unit, is the output.
//!
//! Sources: LiteRT `kernels/svdf.cc`, `internal/reference/svdf.h`; TensorFlow Lite Micro `kernels/svdf_common.cc` for a
//! state of int8.

mod cases;
mod fast;
mod reference;

use crate::common::recurrent::{check_activation, expect_shape, expect_type, is_hybrid};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Float32, Int8, Int16, Int32};
use ferrolite_model::schema::{ActivationFunctionType, SVDFOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, Node};
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::ops::RangeInclusive;

/// SVDF.
pub struct Svdf;

const FEATURE: usize = 1;
const TIME: usize = 2;
const BIAS: usize = 3;
const STATE: usize = 4;

/// Types of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Hybrid,
    /// int8 with a state of int16, or of int8.
    Integer,
}

/// A checked node.
#[derive(Clone, Copy, Debug)]
struct Problem {
    batch: usize,
    input: usize,
    filters: usize,
    rank: usize,
    memory: usize,
    units: usize,
    kind: Kind,
    activation: ActivationFunctionType,
    asymmetric: bool,
}

fn options<'a>(node: &NodeView<'a>) -> Result<Cow<'a, SVDFOptionsT>, OpError> {
    match node.options {
        BuiltinOptions::NONE => Ok(Cow::Owned(SVDFOptionsT::default())),
        options => match options.as_svdfoptions() {
            Some(options) => Ok(Cow::Borrowed(options)),
            None => Err(OpError::invalid("options of another operator")),
        },
    }
}

fn problem(node: &NodeView<'_>) -> Result<Problem, OpError> {
    node.expect(5..=5, 1)?;
    let o = options(node)?;
    let (x, feature, time, state) = (node.input(0)?, node.input(FEATURE)?, node.input(TIME)?, node.input(STATE)?);
    let (&[batch, input], &[filters, _], &[_, memory]) = (&x.shape[..], &feature.shape[..], &time.shape[..]) else {
        let shapes = [&x.shape, &feature.shape, &time.shape];
        return Err(OpError::invalid(format!("input and weights of shapes {shapes:?}")));
    };
    let rank = usize::try_from(o.rank).unwrap_or(0);
    ensure!(rank > 0 && filters % rank == 0, "{filters} filters of rank {}", o.rank);
    ensure!(memory > 0, "no memory");
    let units = filters / rank;
    expect_shape(feature, &[filters, input])?;
    expect_shape(time, &[filters, memory])?;
    let remembered = filters.checked_mul(memory).ok_or_else(|| OpError::invalid("sizes overflow"))?;
    expect_shape(state, &[batch, remembered])?;
    check_activation(o.fused_activation_function)?;
    let kind = match x.ty {
        Float32 if is_hybrid(feature.ty)? => Kind::Hybrid,
        Float32 => Kind::Float,
        Int8 => Kind::Integer,
        ty => return Err(OpError::unsupported(format!("an input of type {ty}"))),
    };
    if kind == Kind::Integer {
        expect_type(feature, Int8)?;
        let fine = if time.ty == Int8 { Int8 } else { Int16 };
        expect_type(time, fine)?;
        expect_type(state, fine)?;
        if o.fused_activation_function != ActivationFunctionType::RELU {
            return Err(OpError::unsupported("an int8 node with another activation than RELU"));
        }
    } else {
        expect_type(time, feature.ty)?;
        expect_type(state, Float32)?;
    }
    if let Some(bias) = node.optional_input(BIAS) {
        expect_shape(bias, &[units])?;
        expect_type(bias, if kind == Kind::Integer { Int32 } else { Float32 })?;
    }
    Ok(Problem {
        batch,
        input,
        filters,
        rank,
        memory,
        units,
        kind,
        activation: o.fused_activation_function,
        asymmetric: o.asymmetric_quantize_inputs,
    })
}

impl OpDef for Svdf {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SVDF)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let p = problem(node)?;
        let ty = if p.kind == Kind::Integer { Int8 } else { Float32 };
        Ok(smallvec![Inferred::new(ty, [p.batch, p.units])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference::reference(node, problem(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        fast::FAST
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn state_inputs(&self, _node: &Node) -> SmallVec<[usize; 4]> {
        smallvec![STATE]
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        problem(node).map_or(0, |p| {
            let [batch, filters, depth] = [p.batch, p.filters, p.input + p.memory].map(|n| n as u64);
            batch.saturating_mul(filters).saturating_mul(depth)
        })
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases()
    }
}
