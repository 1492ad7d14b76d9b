//! NON_MAX_SUPPRESSION_V4 and V5: the boxes of the highest scores that do not overlap each other too much.
//!
//! V5 has the soft form: overlaps lower a box's score by a Gaussian factor (Bodla et al., "Soft-NMS", 2017). Sources: LiteRT
//! `reference/non_max_suppression.h`, TensorFlow `non_max_suppression_op.cc`.

use crate::common::boxes::{corners, intersection_over_union, ordered};
use crate::common::elementwise::check_type;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::strided::{dims, scalar_index};
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use bytemuck::{Pod, Zeroable};
use ferrolite_model::schema::{NonMaxSuppressionV4OptionsT, NonMaxSuppressionV5OptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, ModelBuilder, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// One of the operators. Inputs: boxes (two opposite corners y, x), scores, most boxes to select, overlap from which on a box
/// is dropped, score above which a box is looked at and, for the soft form, sigma. Outputs: indices of the selected boxes,
/// their scores (soft form), their number; what is left of the first two is 0.
pub struct NonMaxSuppression {
    op: BuiltinOperator,
    soft: bool,
}

/// NON_MAX_SUPPRESSION_V4.
pub const NON_MAX_SUPPRESSION_V4: NonMaxSuppression =
    NonMaxSuppression { op: BuiltinOperator::NON_MAX_SUPPRESSION_V4, soft: false };
/// NON_MAX_SUPPRESSION_V5.
pub const NON_MAX_SUPPRESSION_V5: NonMaxSuppression =
    NonMaxSuppression { op: BuiltinOperator::NON_MAX_SUPPRESSION_V5, soft: true };

impl OpDef for NonMaxSuppression {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let (inputs, outputs) = if self.soft { (6, 3) } else { (5, 2) };
        node.expect(inputs..=inputs, outputs)?;
        let (boxes, scores, most) = (node.input(0)?, node.input(1)?, node.input(2)?);
        for i in (0..inputs).filter(|&i| i != 2) {
            check_type(node.input(i)?.ty, &[TensorType::Float32])?;
        }
        check_type(most.ty, &[TensorType::Int32])?;
        ensure!(boxes.shape.len() == 2 && boxes.shape[1] == 4, "boxes have shape {:?}, not [n, 4]", boxes.shape);
        ensure!(scores.shape[..] == boxes.shape[..1], "scores {:?} for boxes {:?}", scores.shape, boxes.shape);
        ensure!(u32::try_from(boxes.shape[0]).is_ok(), "{} boxes are too many", boxes.shape[0]);
        for i in 3..inputs {
            ensure!(node.input(i)?.elements() == 1, "input {i} has shape {:?}, not one value", node.input(i)?.shape);
        }
        let selected = |ty| match scalar_index(most)? {
            Some(most) => Ok(Inferred { ty, shape: Some(dims(&[most])?) }),
            None => Ok(Inferred::dynamic(ty)),
        };
        let count = Inferred::new(TensorType::Int32, []);
        let indices = selected(TensorType::Int32)?;
        Ok(if self.soft {
            smallvec![indices, selected(TensorType::Float32)?, count]
        } else {
            smallvec![indices, count]
        })
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let most = node.output(0)?.shape.iter().product();
        Ok(Box::new(Suppress { boxes: node.input(0)?.shape[0], most, soft: self.soft }))
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (boxes, most, threshold, sigma) in
            [(20, 6, 0.5, 0.0), (20, 30, 0.2, 0.3), (1, 1, 0.5, 0.1), (64, 12, 0.7, 0.5)]
        {
            let mut b = ModelBuilder::new();
            let mut inputs = vec![
                b.input("boxes", TensorType::Float32, &[boxes, 4]),
                b.input("scores", TensorType::Float32, &[boxes]),
                b.constant_i32("most", &[], &[most]),
                b.constant_f32("overlap", &[], &[threshold]),
                b.constant_f32("score", &[], &[-0.5]),
            ];
            let mut outputs = vec![b.tensor("indices", TensorType::Int32, &[most])];
            let mut options = BuiltinOptions::NonMaxSuppressionV4Options(Box::new(NonMaxSuppressionV4OptionsT {}));
            if self.soft {
                options = BuiltinOptions::NonMaxSuppressionV5Options(Box::new(NonMaxSuppressionV5OptionsT {}));
                inputs.push(b.constant_f32("sigma", &[], &[sigma]));
                outputs.push(b.tensor("selected", TensorType::Float32, &[most]));
            }
            outputs.push(b.tensor("count", TensorType::Int32, &[]));
            outputs.iter().for_each(|&id| b.output(id));
            let inputs: Vec<_> = inputs.into_iter().map(Some).collect();
            b.node(self.op, 1, options, &inputs, &outputs);
            let name = format!("{boxes} boxes, {most}, {threshold}, {sigma}");
            cases.extend(b.build().ok().map(|model| Case { name, model }));
        }
        cases
    }
}

struct Suppress {
    boxes: usize,
    most: usize,
    soft: bool,
}

/// A box that may be selected.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Candidate {
    index: u32,
    score: f32,
    /// Number of selected boxes that it has been compared with.
    compared: u32,
}

impl Candidate {
    /// Whether it comes before another: the higher score, then the lower index.
    fn precedes(&self, other: &Candidate) -> bool {
        self.score > other.score || (self.score == other.score && self.index < other.index)
    }
}

/// Moves the element at `at` of a heap down to its place.
fn sift_down(heap: &mut [Candidate], mut at: usize) {
    loop {
        let child = |i: usize| 2 * at + i;
        let mut first = at;
        for i in [child(1), child(2)] {
            if i < heap.len() && heap[i].precedes(&heap[first]) {
                first = i;
            }
        }
        if first == at {
            return;
        }
        heap.swap(at, first);
        at = first;
    }
}

impl Kernel for Suppress {
    fn scratch_bytes(&self) -> usize {
        scratch_size::<Candidate>(self.boxes)
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (boxes, scores) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
        ensure!(boxes.len() == 4 * self.boxes && scores.len() == self.boxes, "sizes changed");
        let parameter = |i: usize| -> Result<f32, OpError> {
            io.input(i)?.slice::<f32>()?.first().copied().ok_or_else(|| OpError::invalid(format!("input {i} is empty")))
        };
        let (overlap, threshold) = (parameter(3)?, parameter(4)?);
        let sigma = if self.soft { parameter(5)? } else { 0.0 };
        ensure!(sigma >= 0.0, "sigma is {sigma}");
        let factor = if sigma > 0.0 { (-0.5 / f64::from(sigma)) as f32 } else { 0.0 };
        let heap = Scratch::new(io.scratch).take::<Candidate>(self.boxes)?;
        let mut len = 0;
        for (index, &score) in scores.iter().enumerate().filter(|&(_, &score)| score > threshold) {
            heap[len] = Candidate { index: index as u32, score, compared: 0 };
            len += 1;
        }
        let mut heap = &mut heap[..len];
        (0..heap.len() / 2).rev().for_each(|i| sift_down(heap, i));
        let (indices, rest) = io.outputs.split_at_mut(1);
        let indices = indices[0].slice::<i32>()?;
        ensure!(indices.len() == self.most, "sizes changed since the kernel was prepared");
        let (mut selected_scores, count) = match rest {
            [count] => (None, count),
            [scores, count] => (Some(scores.slice::<f32>()?), count),
            _ => return Err(OpError::invalid("an output is missing")),
        };
        let mut selected = 0;
        while selected < self.most && !heap.is_empty() {
            let mut candidate = heap[0];
            let corner = ordered(corners(boxes, candidate.index as usize));
            let before = candidate.score;
            let mut dropped = false;
            // Boxes that overlap tend to have similar scores: the last ones first.
            for &other in indices[candidate.compared as usize..selected].iter().rev() {
                let iou = intersection_over_union(corner, ordered(corners(boxes, other as usize)));
                dropped = iou >= overlap;
                if dropped {
                    break;
                }
                if sigma > 0.0 {
                    candidate.score *= (factor * iou * iou).exp();
                }
                if candidate.score <= threshold {
                    break;
                }
            }
            // A score that was lowered has to find its place again. One that was not is selected, once: LiteRT looks at it
            // again, and selects a box without area, which does not even overlap itself, as often as there is room.
            if !dropped && candidate.score != before && candidate.score > threshold {
                heap[0] = Candidate { compared: selected as u32, ..candidate };
            } else {
                if !dropped && candidate.score == before {
                    indices[selected] = candidate.index as i32;
                    if let Some(scores) = &mut selected_scores {
                        scores[selected] = candidate.score;
                    }
                    selected += 1;
                }
                let last = heap.len() - 1;
                heap.swap(0, last);
                heap = &mut heap[..last];
            }
            sift_down(heap, 0);
        }
        indices[selected..].fill(0);
        if let Some(scores) = selected_scores {
            scores[selected..].fill(0.0);
        }
        count.slice::<i32>()?[0] = selected as i32;
        Ok(())
    }
}
