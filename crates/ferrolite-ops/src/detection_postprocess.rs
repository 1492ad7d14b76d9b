//! TFLite_Detection_PostProcess: decodes the boxes of an SSD detector, drops those that overlap better ones, and lists the
//! best.
//!
//! Sources: LiteRT `kernels/detection_postprocess.cc`.

use crate::common::boxes::{corners, intersection_over_union};
use crate::common::elementwise::check_type;
use crate::common::flex::FlexOptions;
use crate::common::lanes::lanes;
use crate::common::partial_sort::partial_sort;
use crate::common::scratch::{Scratch, scratch_size};
use crate::op::{Case, FastKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::tensor::{TensorInfo, TensorRef};
use crate::{OpError, ensure};
use bytemuck::{Pod, Zeroable};
use ferrolite_model::TensorType::{Float32, UInt8};
use ferrolite_model::{FlexItem, ModelBuilder, TensorType, flex_map};
use smallvec::smallvec;
use std::cmp::Ordering;
use std::ops::RangeInclusive;

/// TFLite_Detection_PostProcess. Inputs: box encodings (1, boxes, 4 or more: y, x, h, w), scores (1, boxes, classes, perhaps
/// with one for the background before them), anchors (boxes, 4: y, x, h, w). Outputs: boxes (y1, x1, y2, x2), classes,
/// scores and number of the detections.
pub struct DetectionPostProcess;

/// Names of the options are the fields'.
#[derive(Clone, Debug)]
struct Settings {
    max_detections: usize,
    max_classes_per_detection: usize,
    detections_per_class: usize,
    use_regular_nms: bool,
    nms_score_threshold: f32,
    nms_iou_threshold: f32,
    num_classes: usize,
    /// y, x, h, w
    scales: [f32; 4],
}

/// More detections than any detector gives.
const LIMIT: usize = 1 << 20;

impl Settings {
    fn of(node: &NodeView<'_>) -> Result<Settings, OpError> {
        let o = FlexOptions::of(node)?;
        let float = |key| o.float(key).map(|x| x.unwrap_or(0.0));
        let s = Settings {
            max_detections: o.size("max_detections", LIMIT)?,
            max_classes_per_detection: o.size("max_classes_per_detection", LIMIT)?,
            detections_per_class: match o.int("detections_per_class")? {
                Some(_) => o.size("detections_per_class", i32::MAX as usize)?,
                None => 100,
            },
            use_regular_nms: o.flag("use_regular_nms")?,
            nms_score_threshold: float("nms_score_threshold")?,
            nms_iou_threshold: float("nms_iou_threshold")?,
            num_classes: o.size("num_classes", LIMIT)?,
            scales: [float("y_scale")?, float("x_scale")?, float("h_scale")?, float("w_scale")?],
        };
        let threshold = s.nms_iou_threshold;
        ensure!(threshold > 0.0 && threshold <= 1.0, "nms_iou_threshold is {threshold}, not in 0..1");
        ensure!(s.max_classes_per_detection > 0 && s.num_classes > 0, "no classes are asked for");
        ensure!(!s.use_regular_nms || s.per_class() > 0, "no detections are asked for");
        Ok(s)
    }

    fn per_class(&self) -> usize {
        self.detections_per_class.min(self.max_detections)
    }
}

/// Scale and zero point of a uint8 tensor; `None` for floats.
fn parameters(tensor: &TensorInfo<'_>) -> Result<Option<(f32, i32)>, OpError> {
    if tensor.ty == UInt8 { tensor.scale_zero_point().map(Some) } else { Ok(None) }
}

impl OpDef for DetectionPostProcess {
    fn id(&self) -> OpId {
        OpId::Custom("TFLite_Detection_PostProcess")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 4)?;
        let (boxes, scores, anchors) = (node.input(0)?, node.input(1)?, node.input(2)?);
        check_type(boxes.ty, &[Float32, UInt8])?;
        check_type(scores.ty, &[Float32, UInt8])?;
        if anchors.ty != boxes.ty {
            return Err(OpError::unsupported(format!("anchors of type {} with boxes of {}", anchors.ty, boxes.ty)));
        }
        for tensor in [boxes, scores, anchors] {
            parameters(tensor)?;
        }
        let &[1, count, encoding] = &boxes.shape[..] else {
            return Err(OpError::invalid(format!("box encodings have shape {:?}, not [1, n, 4]", boxes.shape)));
        };
        ensure!(encoding >= 4 && u32::try_from(count).is_ok(), "box encodings have shape {:?}", boxes.shape);
        let fits = anchors.shape.len() == 2 && anchors.shape[1] == 4 && anchors.shape[0] >= count;
        ensure!(fits, "anchors have shape {:?}, not [{count}, 4]", anchors.shape);
        let settings = Settings::of(node)?;
        let classes = settings.num_classes;
        let fits = scores.shape[..] == [1, count, classes] || scores.shape[..] == [1, count, classes + 1];
        ensure!(fits, "scores have shape {:?}, not [1, {count}, {classes}]", scores.shape);
        let detections = settings.max_detections * settings.max_classes_per_detection;
        Ok(smallvec![
            Inferred::new(Float32, [1, detections, 4]),
            Inferred::new(Float32, [1, detections]),
            Inferred::new(Float32, [1, detections]),
            Inferred::new(Float32, [1]),
        ])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(detect(node)?))
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "detect_8bit_table",
            supports: |node| node.inputs.iter().flatten().all(|t| t.ty == UInt8),
            prepare: |node, _| {
                let kernel = detect(node)?;
                let tables = [kernel.box_parameters, kernel.score_parameters, kernel.anchor_parameters].map(table);
                Ok(Box::new(Detect { tables: Some(Box::new(tables)), ..kernel }))
            },
        }]
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (boxes, classes, regular, detections, per_detection) in
            [(12, 1, false, 3, 1), (40, 5, false, 10, 2), (40, 5, true, 10, 1), (9, 3, true, 20, 1)]
        {
            for ty in [Float32, UInt8] {
                let settings = [
                    ("max_detections", FlexItem::Int(detections.into())),
                    ("max_classes_per_detection", FlexItem::Int(per_detection)),
                    ("use_regular_nms", FlexItem::Bool(regular)),
                    // All scores count: LiteRT does not write rows that nothing was detected for.
                    ("nms_score_threshold", FlexItem::Float(-1.0)),
                    ("nms_iou_threshold", FlexItem::Float(0.5)),
                    ("num_classes", FlexItem::Int(classes.into())),
                    ("y_scale", FlexItem::Float(10.0)),
                    ("x_scale", FlexItem::Float(10.0)),
                    ("h_scale", FlexItem::Float(5.0)),
                    ("w_scale", FlexItem::Float(5.0)),
                ];
                let name = format!("{ty} {boxes} boxes, {classes} classes, regular {regular}, {detections}");
                let rows = detections * per_detection as i32;
                cases.extend(case(name, ty, [boxes, classes, rows], &settings));
            }
        }
        cases
    }
}

fn case(name: String, ty: TensorType, [boxes, classes, rows]: [i32; 3], settings: &[(&str, FlexItem)]) -> Option<Case> {
    let mut b = ModelBuilder::new();
    // On a grid, so that neighbours overlap.
    let step = if ty == UInt8 { 16.0 } else { 0.0625 };
    let grid: Vec<f32> = (0..boxes)
        .flat_map(|i| [(i % 7 + 2) as f32 * step, (i / 7 + 2) as f32 * step, 3.0 * step, (3 + i % 3) as f32 * step])
        .collect();
    let encodings = b.input("encodings", ty, &[1, boxes, 4]);
    let scores = b.input("scores", ty, &[1, boxes, classes + 1]);
    let anchors = if ty == UInt8 {
        b.constant("anchors", ty, &[boxes, 4], grid.iter().map(|&x| x as u8).collect::<Vec<u8>>())
    } else {
        b.constant_f32("anchors", &[boxes, 4], &grid)
    };
    if ty == UInt8 {
        for (id, scale, zero_point) in [(encodings, 0.02, 128), (scores, 1.0 / 256.0, 0), (anchors, 1.0 / 256.0, 0)] {
            b.quantize(id, ferrolite_model::Quantization::per_tensor(scale, zero_point));
        }
    }
    let outputs = [
        b.tensor("boxes", Float32, &[1, rows, 4]),
        b.tensor("classes", Float32, &[1, rows]),
        b.tensor("detected", Float32, &[1, rows]),
        b.tensor("count", Float32, &[1]),
    ];
    outputs.iter().for_each(|&id| b.output(id));
    let inputs = [Some(encodings), Some(scores), Some(anchors)];
    b.custom("TFLite_Detection_PostProcess", flex_map(settings), &inputs, &outputs);
    Some(Case { name, model: b.build().ok()? })
}

fn detect(node: &NodeView<'_>) -> Result<Detect, OpError> {
    let (boxes, scores, anchors) = (node.input(0)?, node.input(1)?, node.input(2)?);
    Ok(Detect {
        settings: Settings::of(node)?,
        boxes: boxes.shape[1],
        encoding: boxes.shape[2],
        columns: scores.shape[2],
        box_parameters: parameters(boxes)?,
        anchor_parameters: parameters(anchors)?,
        score_parameters: parameters(scores)?,
        tables: None,
    })
}

/// The real number that each byte stands for.
type Table = [f32; 256];

fn table(parameters: Option<(f32, i32)>) -> Table {
    let (scale, zero_point) = parameters.unwrap_or((1.0, 0));
    std::array::from_fn(|byte| (byte as f32 - zero_point as f32) * scale)
}

struct Detect {
    settings: Settings,
    boxes: usize,
    /// Numbers that encode a box; those after the first four are not looked at.
    encoding: usize,
    /// Scores of a box: of the classes, perhaps with the background before them.
    columns: usize,
    box_parameters: Option<(f32, i32)>,
    anchor_parameters: Option<(f32, i32)>,
    score_parameters: Option<(f32, i32)>,
    /// Of the fast kernel: real numbers of boxes, scores and anchors, which are all bytes.
    tables: Option<Box<[Table; 3]>>,
}

/// A box that was selected for a class.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Found {
    at: u32,
    class: u32,
    score: f32,
    /// Ties keep this order.
    order: u32,
}

/// Element `i` of a tensor, as a real number.
fn real(tensor: TensorRef<'_>, parameters: Option<(f32, i32)>, i: usize) -> Result<f32, OpError> {
    Ok(match parameters {
        Some((scale, zero_point)) => (f32::from(tensor.slice::<u8>()?[i]) - zero_point as f32) * scale,
        None => tensor.slice::<f32>()?[i],
    })
}

fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

impl Detect {
    /// The corners of every box, from offsets to its anchor in units of the anchor's size.
    fn decode(&self, boxes: TensorRef<'_>, anchors: TensorRef<'_>, out: &mut [f32]) -> Result<(), OpError> {
        let scales = self.settings.scales.map(f64::from);
        for (i, corners) in out.chunks_exact_mut(4).enumerate() {
            let (mut code, mut anchor) = ([0.0; 4], [0.0; 4]);
            if let Some([of_box, _, of_anchor]) = self.tables.as_deref() {
                let (bytes, at) = (&boxes.bytes[i * self.encoding..][..4], &anchors.bytes[i * 4..][..4]);
                for k in 0..4 {
                    code[k] = f64::from(of_box[usize::from(bytes[k])]) / scales[k];
                    anchor[k] = f64::from(of_anchor[usize::from(at[k])]);
                }
            } else {
                for k in 0..4 {
                    code[k] = f64::from(real(boxes, self.box_parameters, i * self.encoding + k)?) / scales[k];
                    anchor[k] = f64::from(real(anchors, self.anchor_parameters, i * 4 + k)?);
                }
            }
            for k in 0..2 {
                let center = (code[k] * anchor[2 + k] + anchor[k]) as f32;
                let half = (0.5 * code[2 + k].exp() * anchor[2 + k]) as f32;
                (corners[k], corners[2 + k]) = (center - half, center + half);
            }
            let negative = corners[0] > corners[2] || corners[1] > corners[3];
            ensure!(!negative, "box {i} has a negative size");
        }
        Ok(())
    }

    /// Puts the boxes that are selected by these scores, best first and at most `limit`, at the start of `order`, and returns
    /// their number.
    fn select(&self, decoded: &[f32], scores: &[f32], order: &mut [u32], dropped: &mut [u8], limit: usize) -> usize {
        let mut kept = 0;
        for (i, _) in scores.iter().enumerate().filter(|&(_, &s)| s >= self.settings.nms_score_threshold) {
            order[kept] = i as u32;
            kept += 1;
        }
        let order = &mut order[..kept];
        order.sort_unstable_by(|&a, &b| descending(scores[a as usize], scores[b as usize]).then(a.cmp(&b)));
        let dropped = &mut dropped[..kept];
        dropped.fill(0);
        let mut selected = 0;
        for i in 0..kept {
            if selected == limit {
                break;
            }
            if dropped[i] != 0 {
                continue;
            }
            let best = corners(decoded, order[i] as usize);
            for j in i + 1..kept {
                if dropped[j] == 0 {
                    let iou = intersection_over_union(best, corners(decoded, order[j] as usize));
                    dropped[j] = u8::from(iou > self.settings.nms_iou_threshold);
                }
            }
            order[selected] = order[i];
            selected += 1;
        }
        selected
    }
}

impl Kernel for Detect {
    fn scratch_bytes(&self) -> usize {
        let scores = if self.score_parameters.is_some() { self.boxes.saturating_mul(self.columns) } else { 0 };
        [
            scratch_size::<f32>(self.boxes.saturating_mul(4)),
            scratch_size::<f32>(scores),
            scratch_size::<f32>(self.boxes),
            scratch_size::<u32>(self.boxes),
            scratch_size::<u8>(self.boxes),
            scratch_size::<u32>(self.settings.num_classes),
            scratch_size::<Found>(self.settings.max_detections + self.settings.per_class()),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let s = &self.settings;
        let (boxes, score_input, anchors) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let mut scratch = Scratch::new(&mut *io.scratch);
        let decoded = scratch.take::<f32>(4 * self.boxes)?;
        let scores: &[f32] = if self.score_parameters.is_some() {
            let scores = scratch.take::<f32>(self.boxes * self.columns)?;
            if let Some([_, of_score, _]) = self.tables.as_deref() {
                ensure!(score_input.bytes.len() == scores.len(), "sizes changed since the kernel was prepared");
                scores.iter_mut().zip(score_input.bytes).for_each(|(s, &byte)| *s = of_score[usize::from(byte)]);
            }
            let rest = if self.tables.is_some() { &mut [][..] } else { &mut scores[..] };
            for (i, score) in rest.iter_mut().enumerate() {
                *score = real(score_input, self.score_parameters, i)?;
            }
            scores
        } else {
            score_input.slice()?
        };
        let by_box = scratch.take::<f32>(self.boxes)?;
        let order = scratch.take::<u32>(self.boxes)?;
        let dropped = scratch.take::<u8>(self.boxes)?;
        let classes = scratch.take::<u32>(s.num_classes)?;
        let found = scratch.take::<Found>(s.max_detections + s.per_class())?;
        let [out_boxes, out_classes, out_scores, out_count] = &mut io.outputs[..] else {
            return Err(OpError::invalid("an output is missing"));
        };
        let (out_boxes, out_classes) = (out_boxes.slice::<f32>()?, out_classes.slice::<f32>()?);
        let out_scores = out_scores.slice::<f32>()?;
        let sizes = out_boxes.len() == 4 * out_classes.len() && out_classes.len() == out_scores.len();
        ensure!(sizes && scores.len() == self.boxes * self.columns, "sizes changed since the kernel was prepared");
        out_boxes.fill(0.0);
        out_classes.fill(0.0);
        out_scores.fill(0.0);
        self.decode(boxes, anchors, decoded)?;
        let decoded = &*decoded;
        let score = |at: usize, class: usize| scores[at * self.columns + self.columns - s.num_classes + class];
        let mut put = |row: usize, at: u32, class: u32| {
            let at = at as usize;
            out_boxes[4 * row..][..4].copy_from_slice(&corners(decoded, at));
            (out_classes[row], out_scores[row]) = (class as f32, score(at, class as usize));
        };
        let mut count = 0;
        if s.use_regular_nms {
            for class in 0..s.num_classes {
                by_box.iter_mut().enumerate().for_each(|(at, b)| *b = score(at, class));
                let selected = self.select(decoded, by_box, order, dropped, s.per_class());
                for &at in &order[..selected] {
                    found[count] = Found { at, class: class as u32, score: by_box[at as usize], order: count as u32 };
                    count += 1;
                }
                found[..count].sort_unstable_by(|a, b| descending(a.score, b.score).then(a.order.cmp(&b.order)));
                count = count.min(s.max_detections);
                found[..count].iter_mut().zip(0..).for_each(|(f, i)| f.order = i);
            }
            found[..count].iter().enumerate().for_each(|(row, f)| put(row, f.at, f.class));
        } else {
            for (b, row) in by_box.iter_mut().zip(scores.chunks_exact(self.columns)) {
                let greater = |m: f32, x: f32| if x > m { x } else { m };
                *b = lanes(f32::NEG_INFINITY, f32::NEG_INFINITY, &row[self.columns - s.num_classes..], greater);
            }
            count = self.select(decoded, by_box, order, dropped, s.max_detections);
            let columns = s.max_classes_per_detection;
            for (row, &at) in order[..count].iter().enumerate() {
                let of = |class: u32| score(at as usize, class as usize);
                classes.iter_mut().zip(0..).for_each(|(c, i)| *c = i);
                partial_sort(classes, columns, |a, b| of(a) > of(b));
                classes.iter().take(columns).enumerate().for_each(|(i, &class)| put(row * columns + i, at, class));
            }
        }
        out_count.slice::<f32>()?[0] = count as f32;
        Ok(())
    }

    fn name(&self) -> &str {
        if self.tables.is_some() { "detect_8bit_table" } else { "reference" }
    }
}
