//! A model as a function of arrays: shapes and batches are looked after.

use crate::{Array, Error, encoding};
use ferrolite_model::{Model, Subgraph, Tensor, TensorType};
use ferrolite_runtime::{Interpreter, Options, RuntimeError, TensorView};
use std::ops::Range;
use std::sync::Arc;

/// Runs a subgraph on arrays of any batch size.
///
/// An array may have the shape of its input, another first dimension (a batch), or lack a first dimension that is 1 or
/// open (a sample; results then lack theirs). A batch is run at once where the model can be planned for it and its
/// results have as many rows, else in parts of the size that the file was made for; inputs that are no larger than the
/// file says go to every part.
///
/// Arrays hold packed integers as one byte per element, and strings in the format's own serialization.
///
/// ```
/// use ferrolite::{Array, Options, Runner, TensorType};
/// # fn main() -> Result<(), ferrolite::Error> {
/// # let mut b = ferrolite::ModelBuilder::new();
/// # let x = b.input("x", TensorType::Float32, &[1, 2]);
/// # let y = b.tensor("y", TensorType::Float32, &[1, 2]);
/// # b.node(ferrolite::BuiltinOperator::RELU, 1, ferrolite::BuiltinOptions::NONE, &[Some(x)], &[y]);
/// # b.output(y);
/// # let model = b.build()?;
/// let mut runner = Runner::new(model, 0, Options::default())?;
/// let batch = Array::from_f32(&[3, 2], &[1.0, -1.0, 2.0, -2.0, 3.0, -3.0]);
/// let results = runner.run(&[(0, batch)])?;
/// assert_eq!(results[0], Array::from_f32(&[3, 2], &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0]));
/// # Ok(())
/// # }
/// ```
pub struct Runner {
    model: Arc<Model>,
    subgraph: usize,
    options: Options,
    planned: Option<Interpreter>,
}

/// An array for an input, with the shape that the input gets for it.
struct Given<'a> {
    input: usize,
    array: &'a Array,
    shape: Vec<usize>,
    is_sample: bool,
    /// Rows that the file's input has; `None` for an input without dimensions, which has no rows.
    rows: Option<usize>,
    /// The file leaves open how many there are.
    is_open: bool,
}

impl Given<'_> {
    /// How many times the file's rows there are.
    fn parts(&self, name: &str) -> Result<usize, Error> {
        let (Some(rows), Some(&given)) = (self.rows, self.shape.first()) else { return Ok(1) };
        if given.is_multiple_of(rows) {
            return Ok(given / rows);
        }
        Err(Error::usage(format!("input {name:?} takes multiples of {rows} rows, not {given}")))
    }

    /// The shape and bytes of one part of the rows, or of all where there is just one part.
    fn part(&self, index: usize, parts: usize) -> Option<(Vec<usize>, Vec<u8>)> {
        match (self.rows, self.shape.first()) {
            (Some(rows), Some(&given)) if given == rows * parts => {
                let mut shape = self.shape.clone();
                shape[0] = rows;
                Some((shape, rows_of(self.array, given, index * rows..(index + 1) * rows)?))
            }
            _ => Some((self.shape.clone(), self.array.bytes.clone())),
        }
    }
}

impl Runner {
    /// A subgraph of a model as a function. Nothing is planned yet.
    ///
    /// # Errors
    /// When there is no such subgraph.
    pub fn new(model: impl Into<Arc<Model>>, subgraph: usize, options: Options) -> Result<Runner, Error> {
        let model = model.into();
        match model.subgraphs.get(subgraph) {
            Some(_) => Ok(Runner { model, subgraph, options, planned: None }),
            None => Err(Error::usage(format!("there is no subgraph {subgraph}"))),
        }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The subgraph.
    pub fn definition(&self) -> &Subgraph {
        &self.model.subgraphs[self.subgraph]
    }

    /// Runs the subgraph on arrays for its inputs, each with the input's position, and gives its outputs in their order.
    ///
    /// # Errors
    /// When an array does not fit, arrays disagree about the size of the batch, or the model cannot be planned or run.
    pub fn run(&mut self, inputs: &[(usize, Array)]) -> Result<Vec<Array>, Error> {
        let given = inputs.iter().map(|(input, array)| self.fit(*input, array)).collect::<Result<Vec<_>, _>>()?;
        let parts = self.parts(&given)?;
        let whole = given.iter().map(|g| (g.input, g.shape.as_slice(), g.array.bytes.as_slice())).collect::<Vec<_>>();
        let mut results = match self.run_once(&whole) {
            Ok(results) if parts == 1 || self.is_batch(&given, &results, parts) => results,
            Err(error) if parts <= 1 => return Err(error.into()),
            other => self.run_parts(&given, parts).map_err(|failed| other.err().map_or(failed, Error::from))?,
        };
        if given.iter().any(|g| g.is_sample) {
            for result in &mut results {
                if result.shape.first() == Some(&1) {
                    result.shape.remove(0);
                }
            }
        }
        Ok(results)
    }

    fn fit<'a>(&self, input: usize, array: &'a Array) -> Result<Given<'a>, Error> {
        let graph = self.definition();
        let missing = || Error::usage(format!("there is no input {input}, only {}", graph.inputs.len()));
        let tensor = &graph.tensors[*graph.inputs.get(input).ok_or_else(missing)?];
        let name = tensor.name();
        if array.ty != tensor.ty {
            return Err(Error::usage(format!("input {name:?} takes {}, not {}", tensor.ty, array.ty)));
        }
        let signature = signature(tensor);
        let mut shape = array.shape.clone();
        let is_sample = shape.len() + 1 == signature.len() && matches!(signature[0], 1 | -1);
        if is_sample {
            shape.insert(0, 1);
        }
        if shape.len() != signature.len() {
            let (wanted, given) = (signature.len(), shape.len());
            return Err(Error::usage(format!("input {name:?} has {wanted} dimensions {signature:?}, not {given}")));
        }
        let differs = |(&have, &want): (&usize, &i32)| want != -1 && usize::try_from(want) != Ok(have);
        if shape.iter().zip(signature).skip(1).any(differs) {
            return Err(Error::usage(format!("input {name:?} has shape {signature:?}, not {:?}", array.shape)));
        }
        let is_open = signature.first() == Some(&-1);
        let rows = signature.first().map(|&dim| usize::try_from(dim).unwrap_or(1).max(1));
        Ok(Given { input, array, shape, is_sample, rows, is_open })
    }

    /// How many times the file's rows the arrays hold.
    fn parts(&self, given: &[Given<'_>]) -> Result<usize, Error> {
        let mut found = 1;
        for one in given {
            let graph = self.definition();
            match one.parts(graph.tensors[graph.inputs[one.input]].name())? {
                1 => {}
                parts if found == 1 => found = parts,
                parts if parts == found => {}
                parts => {
                    return Err(Error::usage(format!(
                        "the inputs' first dimensions differ: {found} and {parts} samples"
                    )));
                }
            }
        }
        Ok(found)
    }

    /// Whether results are those of all rows: surely where the file leaves their number open, else by their shapes.
    fn is_batch(&self, given: &[Given<'_>], results: &[Array], parts: usize) -> bool {
        let graph = self.definition();
        let grown = |g: &&Given<'_>| g.shape.first() != g.rows.as_ref();
        given.iter().filter(grown).all(|g| g.is_open)
            || graph.outputs.iter().zip(results).all(|(&id, result)| {
                let rows = signature(&graph.tensors[id]).first().map(|&dim| usize::try_from(dim).unwrap_or(1));
                rows.is_some_and(|rows| result.shape.first() == Some(&(rows * parts)))
            })
    }

    fn run_parts(&mut self, given: &[Given<'_>], parts: usize) -> Result<Vec<Array>, Error> {
        let mut all: Vec<Vec<Array>> = Vec::new();
        for index in 0..parts {
            let damaged = || Error::usage("an array has other bytes than its shape takes");
            let cut = given.iter().map(|g| g.part(index, parts).map(|(shape, bytes)| (g.input, shape, bytes)));
            let cut = cut.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
            let fed = cut.iter().map(|(input, shape, bytes)| (*input, shape.as_slice(), bytes.as_slice()));
            all.push(self.run_once(&fed.collect::<Vec<_>>())?);
        }
        let count = self.definition().outputs.len();
        (0..count).map(|i| join(all.iter().map(|results| &results[i]))).collect()
    }

    fn run_once(&mut self, inputs: &[(usize, &[usize], &[u8])]) -> Result<Vec<Array>, RuntimeError> {
        let shapes: Vec<_> = inputs.iter().map(|&(input, shape, _)| (input, shape)).collect();
        let graph = &self.model.subgraphs[self.subgraph];
        let interpreter = match &mut self.planned {
            Some(planned) => {
                if shapes.iter().any(|&(i, shape)| planned.shape(graph.inputs[i]) != Some(shape)) {
                    planned.resize_inputs(&shapes)?;
                }
                planned
            }
            none => {
                let model = Arc::clone(&self.model);
                none.insert(Interpreter::for_subgraph(model, self.subgraph, &shapes, self.options.clone())?)
            }
        };
        for &(input, _, bytes) in inputs {
            match graph.tensors[graph.inputs[input]].ty {
                ty if ty.bits() < 8 && ty != TensorType::String => {
                    interpreter.set_input_bytes(input, &encoding::pack_narrow(ty, bytes))?;
                }
                _ => interpreter.set_input_bytes(input, bytes)?,
            }
        }
        interpreter.invoke()?;
        Ok((0..graph.outputs.len()).filter_map(|i| interpreter.output_tensor(i)).map(array_of).collect())
    }
}

/// Dimensions with -1 where they are open.
fn signature(tensor: &Tensor) -> &[i32] {
    if tensor.shape_signature.is_empty() { &tensor.shape } else { &tensor.shape_signature }
}

fn array_of(tensor: TensorView<'_>) -> Array {
    let elements = tensor.shape.iter().product();
    let mut bytes = encoding::unpack_narrow(tensor.ty, tensor.bytes);
    if tensor.ty.bits() < 8 && tensor.ty != TensorType::String {
        bytes.truncate(elements);
    }
    Array { ty: tensor.ty, shape: tensor.shape.to_vec(), bytes }
}

/// The bytes of some of an array's `count` rows.
fn rows_of(array: &Array, count: usize, rows: Range<usize>) -> Option<Vec<u8>> {
    if array.ty == TensorType::String {
        let strings = encoding::unpack_strings(&array.bytes)?;
        let each = strings.len() / count.max(1);
        let part = strings.get(rows.start * each..rows.end * each)?;
        return encoding::pack_strings(part.iter().copied());
    }
    let each = array.bytes.len() / count.max(1);
    array.bytes.get(rows.start * each..rows.end * each).map(<[u8]>::to_vec)
}

/// Arrays one after the other along their first dimension; arrays without dimensions become a row each.
fn join<'a>(parts: impl Iterator<Item = &'a Array> + Clone) -> Result<Array, Error> {
    let mut joined: Option<Array> = None;
    for part in parts.clone() {
        let (count, rest) = part.shape.split_first().map_or((1, &[][..]), |(&count, rest)| (count, rest));
        match &mut joined {
            None => joined = Some(Array { ty: part.ty, shape: [&[count], rest].concat(), bytes: part.bytes.clone() }),
            Some(joined) if joined.shape[1..] == *rest => {
                joined.shape[0] += count;
                joined.bytes.extend(&part.bytes);
            }
            Some(joined) => {
                let (first, other) = (&joined.shape[1..], rest);
                return Err(Error::usage(format!("the samples' results differ in shape: {first:?} and {other:?}")));
            }
        }
    }
    let mut joined = joined.ok_or_else(|| Error::usage("the batch is empty"))?;
    if joined.ty == TensorType::String {
        let damaged = || Error::usage("the results' strings are damaged");
        let strings: Option<Vec<_>> = parts.map(|part| encoding::unpack_strings(&part.bytes)).collect();
        let strings = strings.ok_or_else(damaged)?;
        joined.bytes = encoding::pack_strings(strings.into_iter().flatten()).ok_or_else(damaged)?;
    }
    Ok(joined)
}
