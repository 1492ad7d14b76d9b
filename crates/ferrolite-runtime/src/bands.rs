//! Chains of image operators, run band by band.
//!
//! The tensors between the first layers of a network are larger than a core's cache: written by one operator, they are gone
//! from the cache when the next one reads them. A [`Chain`] computes some rows of each tensor at a time, from the rows of
//! the tensor before, so that what lies between stays in the cache and never has a place in the arena. Rows that a later
//! band needs again are kept, not computed again.

use crate::facts::Facts;
use crate::plan::{Context, Step, Work};
use ferrolite_kernels::ThreadPool;
use ferrolite_kernels::pool::chunk;
use ferrolite_model::{TensorId, TensorType};
use ferrolite_ops::op::{Bands, Io, RowWindow};
use ferrolite_ops::tensor::OutputData;
use ferrolite_ops::{Kernel, NoSession, OpError, TensorMut, TensorRef};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Filters and biases are read anew for each band: they should stay in the cache too.
const CONSTANT_BYTES: usize = 512 << 10;
/// Narrower images are left alone: a matrix product of very few rows adds in another order, and the result should not depend
/// on bands.
const MIN_WIDTH: usize = 8;
/// Alignment of line buffers.
const ALIGN: usize = 64;

/// Where an input of a stage comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    /// Left out.
    None,
    /// The output of an earlier stage.
    Stage(usize),
    /// An image among the chain's inputs: the rows that are needed.
    Image(usize),
    /// An input of the chain, whole.
    Whole(usize),
}

/// One node of a chain.
struct Stage {
    kernel: Box<dyn Kernel>,
    window: RowWindow,
    sources: SmallVec<[Source; 4]>,
    ty: TensorType,
    /// Shape of the output: one image.
    shape: [usize; 4],
    row_bytes: usize,
    /// Rows of the line buffer that holds the output; 0 for the last stage.
    capacity: usize,
}

impl Stage {
    fn bands(&self) -> Result<&dyn Bands, OpError> {
        self.kernel.bands().ok_or_else(|| OpError::invalid("the kernel has no bands"))
    }
}

/// A kernel made of several.
pub(crate) struct Chain {
    name: String,
    stages: Vec<Stage>,
    /// Output rows of the last stage per band.
    band: usize,
    /// Parts of the image that are computed independently, at most one per thread.
    strips: usize,
    /// Bytes of line buffers of a strip, then of scratch.
    buffer_bytes: usize,
    scratch_bytes: usize,
    serial: ThreadPool,
}

/// For each stage, from the rows that its line buffer holds: the first row to keep, and the rows to compute, so that the last
/// stage can compute `rows`.
fn demand(stages: &[Stage], held: &[Range<usize>], rows: Range<usize>) -> SmallVec<[(usize, Range<usize>); 8]> {
    let mut wanted: SmallVec<[(usize, Range<usize>); 8]> = SmallVec::from_elem((0, 0..0), stages.len());
    let last = stages.len() - 1;
    for i in (0..stages.len()).rev() {
        if i == last {
            wanted[i] = (rows.start, rows.clone());
            continue;
        }
        let mut need: Option<Range<usize>> = None;
        for (j, stage) in stages.iter().enumerate().skip(i + 1) {
            if stage.sources.contains(&Source::Stage(i)) && !wanted[j].1.is_empty() {
                let of = stage.window.needs(wanted[j].1.clone());
                need = Some(need.map_or(of.clone(), |n| n.start.min(of.start)..n.end.max(of.end)));
            }
        }
        let have = held[i].clone();
        wanted[i] = match need {
            None => (have.start, have.end..have.end),
            Some(need) if have.is_empty() => (need.start, need),
            Some(need) => (need.start, have.end..need.end.max(have.end)),
        };
    }
    wanted
}

impl Chain {
    /// The output rows of a strip, and its bands.
    fn strip(&self, i: usize) -> Range<usize> {
        chunk(self.stages[self.stages.len() - 1].shape[1], self.strips, i)
    }

    /// Sets buffer sizes for bands of `band` rows. Returns the bytes that a strip takes.
    fn size(&mut self, band: usize) -> usize {
        self.band = band;
        let mut capacity = vec![0; self.stages.len()];
        for strip in 0..self.strips {
            let mut held = vec![0..0; self.stages.len()];
            let strip = self.strip(strip);
            for start in strip.clone().step_by(band) {
                let wanted = demand(&self.stages, &held, start..(start + band).min(strip.end));
                for (i, (keep, new)) in wanted.into_iter().enumerate() {
                    held[i] = keep.max(held[i].start).min(new.start)..new.end;
                    capacity[i] = capacity[i].max(held[i].len());
                }
            }
        }
        capacity.pop();
        for (stage, rows) in self.stages.iter_mut().zip(capacity) {
            stage.capacity = rows;
        }
        let bytes = |s: &Stage| (s.capacity * s.row_bytes).next_multiple_of(ALIGN);
        self.buffer_bytes = self.stages.iter().map(bytes).sum();
        self.buffer_bytes
    }

    /// Computes the output rows `strip`, which `out` holds.
    fn run_strip(
        &self,
        inputs: &[Option<TensorRef<'_>>],
        strip: Range<usize>,
        out: &mut [u8],
        memory: &mut [u8],
    ) -> Result<(), OpError> {
        let (mut rest, scratch) = memory.split_at_mut(self.buffer_bytes);
        let mut buffers: SmallVec<[&mut [u8]; 8]> = SmallVec::new();
        for stage in &self.stages {
            let (buffer, tail) = rest.split_at_mut((stage.capacity * stage.row_bytes).next_multiple_of(ALIGN));
            buffers.push(buffer);
            rest = tail;
        }
        let mut held: SmallVec<[Range<usize>; 8]> = SmallVec::from_elem(0..0, self.stages.len());
        let mut session = NoSession::default();
        let last = self.stages.len() - 1;
        for start in strip.clone().step_by(self.band) {
            let wanted = demand(&self.stages, &held, start..(start + self.band).min(strip.end));
            for (i, (keep, new)) in wanted.into_iter().enumerate() {
                if new.is_empty() {
                    continue;
                }
                let stage = &self.stages[i];
                let (before, after) = buffers.split_at_mut(i);
                let target = if i == last {
                    &mut out[(new.start - strip.start) * stage.row_bytes..][..new.len() * stage.row_bytes]
                } else {
                    // Rows that nobody needs any more make room.
                    let rows = held[i].clone();
                    let keep = if rows.is_empty() { new.start } else { keep.clamp(rows.start, rows.end) };
                    if !rows.is_empty() && keep > rows.start {
                        let from = (keep - rows.start) * stage.row_bytes..rows.len() * stage.row_bytes;
                        after[0].copy_within(from, 0);
                    }
                    held[i] = keep..new.end;
                    &mut after[0][(new.start - keep) * stage.row_bytes..(new.end - keep) * stage.row_bytes]
                };
                let needs = stage.window.needs(new.clone());
                self.run_stage(i, inputs, before, &held, needs, new, target, scratch, &mut session)?;
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn run_stage(
        &self,
        i: usize,
        inputs: &[Option<TensorRef<'_>>],
        buffers: &[&mut [u8]],
        held: &[Range<usize>],
        needs: Range<usize>,
        rows: Range<usize>,
        target: &mut [u8],
        scratch: &mut [u8],
        session: &mut NoSession,
    ) -> Result<(), OpError> {
        let stage = &self.stages[i];
        let missing = || OpError::invalid("an input of the chain is missing");
        // Shapes of the bands first: the inputs borrow them.
        let shape = [1, rows.len(), stage.shape[2], stage.shape[3]];
        let mut shapes: SmallVec<[[usize; 4]; 4]> = SmallVec::new();
        for source in &stage.sources {
            let image = match *source {
                Source::Stage(of) => self.stages[of].shape,
                Source::Image(of) => {
                    let image = inputs[of].as_ref().ok_or_else(missing)?.shape;
                    <[usize; 4]>::try_from(image).map_err(|_| missing())?
                }
                Source::None | Source::Whole(_) => [0; 4],
            };
            shapes.push([1, needs.len(), image[2], image[3]]);
        }
        let mut refs = SmallVec::new();
        for (source, shape) in stage.sources.iter().zip(&shapes) {
            refs.push(match *source {
                Source::None => None,
                Source::Whole(of) => inputs[of],
                Source::Image(of) => {
                    let image = inputs[of].ok_or_else(missing)?;
                    let row = image.bytes.len() / image.shape[1].max(1);
                    Some(TensorRef { shape, bytes: &image.bytes[needs.start * row..needs.end * row], ..image })
                }
                Source::Stage(of) => {
                    let (made, first) = (&self.stages[of], held[of].start);
                    let range = (needs.start - first) * made.row_bytes..(needs.end - first) * made.row_bytes;
                    Some(TensorRef { ty: made.ty, shape, quantization: None, bytes: &buffers[of][range] })
                }
            });
        }
        let data = OutputData::Planned { shape: &shape, bytes: target };
        let outputs = SmallVec::from_iter([TensorMut { ty: stage.ty, quantization: None, data }]);
        let state = SmallVec::new();
        stage.bands()?.run_rows(&mut Io { inputs: refs, outputs, state, scratch, pool: &self.serial, session }, rows)
    }
}

impl Kernel for Chain {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let row = self.stages[self.stages.len() - 1].row_bytes;
        let per_strip = self.buffer_bytes + self.scratch_bytes;
        let mut out = io.outputs[0].bytes();
        let mut memory = &mut *io.scratch;
        let inputs = &io.inputs;
        type Part<'p> = (&'p mut [u8], &'p mut [u8], Result<(), OpError>);
        let mut parts: SmallVec<[Mutex<Part<'_>>; 8]> = SmallVec::new();
        for i in 0..self.strips {
            let (part, rest) = std::mem::take(&mut out).split_at_mut(self.strip(i).len() * row);
            let (mine, others) = std::mem::take(&mut memory).split_at_mut(per_strip);
            (out, memory) = (rest, others);
            parts.push(Mutex::new((part, mine, Ok(()))));
        }
        // Each lock is taken once.
        io.pool.run(self.strips, &|i| {
            let mut part = parts[i].lock().unwrap_or_else(PoisonError::into_inner);
            let (out, memory, result) = &mut *part;
            *result = self.run_strip(inputs, self.strip(i), out, memory);
        });
        parts.into_iter().try_for_each(|part| part.into_inner().unwrap_or_else(PoisonError::into_inner).2)
    }

    fn scratch_bytes(&self) -> usize {
        self.strips * (self.buffer_bytes + self.scratch_bytes)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Context<'_> {
    /// Joins neighbouring steps into chains where the tensors between them are large.
    pub(crate) fn join_bands(&self, facts: &Facts, steps: Vec<Step>) -> Vec<Step> {
        let graph = &self.model.subgraphs[self.subgraph];
        // By steps, and by nodes that only give data another shape.
        let mut is_step = vec![false; graph.nodes.len()];
        steps.iter().flat_map(|s| &s.nodes).for_each(|&node| is_step[node] = true);
        let views = graph.nodes.iter().zip(&is_step).filter(|(_, is_step)| !**is_step).map(|(node, _)| &node.inputs);
        let read = steps.iter().map(|s| &s.inputs).chain(views).flatten().flatten();
        let mut uses = vec![0usize; graph.tensors.len()];
        read.chain(&graph.outputs).for_each(|&id| uses[id] += 1);
        let mut joined: Vec<Step> = Vec::with_capacity(steps.len());
        let mut rest = steps.into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut run = vec![first];
            while let Some(next) = rest.peek()
                && self.links(facts, run.last(), next)
            {
                run.extend(rest.next());
            }
            joined.extend(self.cut(facts, run, &uses));
        }
        joined
    }

    /// Whether `next` continues a chain that ends with `last`.
    fn links(&self, facts: &Facts, last: Option<&Step>, next: &Step) -> bool {
        let (Some(last), Some(window)) = (last, self.window(facts, next)) else { return false };
        let made = last.outputs[0];
        self.window(facts, last).is_some()
            && self.bytes(facts, made) > self.cache_bytes
            && facts.shapes[made].as_deref().is_some_and(|s| s.len() == 4 && s[1] == window.in_h)
            && next.inputs.contains(&Some(made))
    }

    fn bytes(&self, facts: &Facts, id: TensorId) -> usize {
        let ty = self.model.subgraphs[self.subgraph].tensors[id].ty;
        facts.shapes[id].as_deref().and_then(|s| ty.byte_len(s.iter().product())).unwrap_or(0)
    }

    /// How a step's rows depend on each other, if it can be part of a chain.
    fn window(&self, facts: &Facts, step: &Step) -> Option<RowWindow> {
        let Work::Planned { kernel, .. } = &step.work else { return None };
        let bands = kernel.bands().filter(|_| step.outputs.len() == 1 && step.state.is_empty())?;
        let window = bands.window();
        let image =
            |id: TensorId| facts.shapes[id].as_deref().is_some_and(|s| s.len() == 4 && s[0] == 1 && s[2] >= MIN_WIDTH);
        let images = step.inputs.iter().enumerate().filter(|(i, _)| bands.is_image(*i));
        let fits = image(step.outputs[0])
            && images.clone().all(|(_, id)| id.is_some_and(|id| facts.constants[id].is_none() && image(id)));
        // Every window sees a row of the image.
        let inside = window.pad < window.reach
            && window.out_h > 0
            && (window.out_h - 1).checked_mul(window.stride)?.saturating_sub(window.pad) < window.in_h;
        (fits && inside).then_some(window)
    }

    /// Makes chains of linked steps: as long as possible, closed (nobody else reads what lies between).
    fn cut(&self, facts: &Facts, mut run: Vec<Step>, uses: &[usize]) -> Vec<Step> {
        let mut done = Vec::new();
        while !run.is_empty() {
            let length = (2..=run.len()).rev().find(|&n| self.is_closed(facts, &run[..n], uses));
            let rest = run.split_off(length.unwrap_or(1));
            match length {
                Some(_) => done.push(self.chain(facts, run)),
                None => done.extend(run),
            }
            run = rest;
        }
        done
    }

    fn is_closed(&self, facts: &Facts, steps: &[Step], uses: &[usize]) -> bool {
        let inner = |id: &TensorId| steps[..steps.len() - 1].iter().any(|s| s.outputs[0] == *id);
        let reads = |id: TensorId| steps.iter().flat_map(|s| &s.inputs).filter(|input| **input == Some(id)).count();
        let constants = steps.iter().flat_map(|s| s.inputs.iter().flatten());
        let constants: usize =
            constants.filter(|&&id| facts.constants[id].is_some()).map(|&id| self.bytes(facts, id)).sum();
        steps.iter().map(|s| s.outputs[0]).filter(|id| inner(id)).all(|id| reads(id) == uses[id])
            && constants <= CONSTANT_BYTES
    }

    fn chain(&self, facts: &Facts, steps: Vec<Step>) -> Step {
        let graph = &self.model.subgraphs[self.subgraph];
        let made: Vec<TensorId> = steps.iter().map(|s| s.outputs[0]).collect();
        let mut inputs: Vec<Option<TensorId>> = Vec::new();
        let mut stages = Vec::new();
        let (mut nodes, mut macs, mut names) = (Vec::new(), 0, Vec::new());
        for step in steps {
            let Work::Planned { kernel, .. } = step.work else { continue };
            let Some(bands) = kernel.bands() else { continue };
            let sources = step.inputs.iter().enumerate().map(|(i, id)| {
                let Some(id) = *id else { return Source::None };
                if let Some(stage) = made.iter().position(|&m| m == id) {
                    return Source::Stage(stage);
                }
                let at = inputs.iter().position(|other| *other == Some(id)).unwrap_or(inputs.len());
                if at == inputs.len() {
                    inputs.push(Some(id));
                }
                if bands.is_image(i) { Source::Image(at) } else { Source::Whole(at) }
            });
            let (sources, window) = (sources.collect(), bands.window());
            let output = step.outputs[0];
            let mut shape = [1; 4];
            shape.copy_from_slice(facts.shapes[output].as_deref().unwrap_or(&[1; 4]));
            let row_bytes = self.bytes(facts, output) / shape[1].max(1);
            names.push(kernel.name().to_owned());
            let ty = graph.tensors[output].ty;
            stages.push(Stage { kernel, window, sources, ty, shape, row_bytes, capacity: 0 });
            nodes.extend(step.nodes);
            macs += step.macs;
        }
        let height = stages[stages.len() - 1].shape[1];
        let scratch_bytes = stages.iter().map(|s| s.kernel.scratch_bytes()).fold(0, usize::max).next_multiple_of(ALIGN);
        let mut chain = Chain {
            name: names.join(" > "),
            stages,
            band: height,
            strips: self.pool.threads().min(height).max(1),
            buffer_bytes: 0,
            scratch_bytes,
            serial: ThreadPool::new(1),
        };
        let mut band = height.div_ceil(chain.strips);
        while chain.size(band) > self.cache_bytes && band > 1 {
            band = band.div_ceil(2);
        }
        let work = Work::Planned { kernel: Box::new(chain), scratch: 0..0 };
        Step::new(nodes, inputs, made.into_iter().last().into_iter().collect(), work, macs)
    }
}
