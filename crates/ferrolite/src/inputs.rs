//! Filling a model's inputs from files, arrays, pictures or chance.

use crate::images::{self, Normalization};
use crate::{Array, Error, array, encoding, metadata};
use ferrolite_model::{Quantization, TensorType};
use ferrolite_runtime::{Interpreter, TensorView};
use std::path::{Path, PathBuf};

/// A file for an input, by name or in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Name of the input: the signature's or the tensor's. In order where there is none.
    pub name: Option<String>,
    /// `.npy`, `.npz`, PNG or JPEG.
    pub path: PathBuf,
}

impl std::str::FromStr for Source {
    type Err = std::convert::Infallible;

    /// `FILE` or `NAME=FILE`.
    fn from_str(text: &str) -> Result<Source, Self::Err> {
        Ok(match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !Path::new(text).exists() => {
                Source { name: Some(name.to_owned()), path: path.into() }
            }
            _ => Source { name: None, path: text.into() },
        })
    }
}

/// What was put into an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// Position of the input.
    pub input: usize,
    /// Where its values come from, in words.
    pub from: String,
    /// Whether it was a picture.
    pub is_picture: bool,
}

/// Fills the inputs from files; inputs that no file is for get random values (see [`fill_random`]). A file of another
/// shape resizes its input where the model can be planned with that shape. Pictures for float inputs are normalized as
/// the model's metadata say, unless `normalization` says otherwise.
///
/// # Errors
/// When a file cannot be read, does not fit, or there is no input for it.
pub fn fill_from_files(
    interpreter: &mut Interpreter,
    sources: &[Source],
    normalization: Option<&Normalization>,
    seed: u64,
) -> Result<Vec<Filled>, Error> {
    enum Content {
        Array(Array),
        Picture(images::Picture),
    }
    let mut contents: Vec<(Option<String>, &Path, Content)> = Vec::new();
    for Source { name, path } in sources {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match extension.as_str() {
            "npy" => contents.push((name.clone(), path, Content::Array(array::read_npy(path)?))),
            "npz" => {
                let arrays = array::read_npz(path)?;
                let alone = arrays.len() == 1;
                for (own, array) in arrays {
                    // A single array may go by the name given, or to the only place left.
                    let name = if alone { name.clone().or_else(|| known_name(interpreter, &own)) } else { Some(own) };
                    contents.push((name, path, Content::Array(array)));
                }
            }
            "png" | "jpg" | "jpeg" => contents.push((name.clone(), path, Content::Picture(images::read(path)?))),
            _ => {
                let problem = format!("{}: the extension says nothing about its form", path.display());
                return Err(Error::usage_with_help(problem, "inputs are .npy, .npz, .png, .jpg or .jpeg files"));
            }
        }
    }
    let count = interpreter.inputs().len();
    let mut chosen: Vec<Option<(&Path, Content)>> = (0..count).map(|_| None).collect();
    let (named, in_order): (Vec<_>, Vec<_>) = contents.into_iter().partition(|(name, ..)| name.is_some());
    for (name, path, content) in named.into_iter().chain(in_order) {
        let input = match &name {
            Some(name) => input_by_name(interpreter, name)?,
            None => chosen.iter().position(Option::is_none).ok_or_else(|| {
                Error::usage(format!("{}: all {count} inputs of the model have a file already", path.display()))
            })?,
        };
        if let Some((other, _)) = &chosen[input] {
            let problem = format!("{} and {} are for the same input {input}", other.display(), path.display());
            return Err(Error::usage(problem));
        }
        chosen[input] = Some((path, content));
    }
    // Resizing clears inputs, so it goes first.
    let mut shapes: Vec<(usize, Vec<usize>)> = Vec::new();
    for (input, choice) in chosen.iter().enumerate() {
        let (Some((_, Content::Array(array))), Some(tensor)) = (choice, interpreter.input_tensor(input)) else {
            continue;
        };
        if !same_up_to_ones(&array.shape, tensor.shape) {
            shapes.push((input, array.shape.clone()));
        }
    }
    if !shapes.is_empty() {
        let borrowed: Vec<_> = shapes.iter().map(|(input, shape)| (*input, shape.as_slice())).collect();
        interpreter.resize_inputs(&borrowed).map_err(|e| {
            let wanted = interpreter.inputs().iter().filter_map(|&id| interpreter.tensor(id));
            let wanted: Vec<_> = wanted.map(|t| format!("{:?} {:?}", t.name, t.shape)).collect();
            let problem = format!("inputs of shape {:?}: {e}", shapes.iter().map(|s| &s.1).collect::<Vec<_>>());
            Error::usage_with_help(problem, format!("the model's inputs are {}", wanted.join(", ")))
        })?;
    }
    let mut filled = Vec::new();
    for (input, choice) in chosen.into_iter().enumerate() {
        let (from, is_picture) = match choice {
            Some((path, Content::Array(array))) => {
                fill(interpreter, input, &array).map_err(|e| Error::file(path, e.to_string()))?;
                (path.display().to_string(), false)
            }
            Some((path, Content::Picture(picture))) => {
                let tensor = tensor_of(interpreter, input)?;
                let (ty, shape, quantization) = (tensor.ty, tensor.shape, tensor.quantization);
                let declared = metadata::normalization(interpreter.model(), input).filter(|_| ty.is_float());
                let normalization = normalization.or(declared.as_ref());
                let array = images::to_tensor(&picture, ty, shape, quantization, normalization)?;
                interpreter.set_input_bytes(input, &array.bytes)?;
                (path.display().to_string(), true)
            }
            None => {
                fill_random_one(interpreter, input, seed)?;
                (format!("random values (seed {seed})"), false)
            }
        };
        filled.push(Filled { input, from, is_picture });
    }
    Ok(filled)
}

/// Puts an array into an input of the same number of elements. An array of the input's own type is taken as it is; any
/// other is taken as real numbers, which are quantized where the input is.
///
/// # Errors
/// When it does not fit.
pub fn fill(interpreter: &mut Interpreter, input: usize, array: &Array) -> Result<(), Error> {
    let tensor = tensor_of(interpreter, input)?;
    let elements: usize = tensor.shape.iter().product();
    if array.len() != elements {
        return Err(Error::usage(format!("shape {:?} does not fit input {input} {:?}", array.shape, tensor.shape)));
    }
    if array.ty == tensor.ty {
        return Ok(interpreter.set_input_bytes(input, &array.bytes)?);
    }
    let mismatch = || Error::usage(format!("{} values do not fit input {input} of {}", array.ty, tensor.ty));
    let mut values = array.to_f64().ok_or_else(mismatch)?;
    let quantization = tensor.quantization.filter(|_| !tensor.ty.is_float());
    if let Some((scale, zero_point)) = quantization.and_then(Quantization::as_per_tensor) {
        values.iter_mut().for_each(|v| *v = (*v / f64::from(scale)).round() + zero_point as f64);
    }
    let bytes = array::from_f64(tensor.ty, &values).ok_or_else(mismatch)?;
    Ok(interpreter.set_input_bytes(input, &bytes)?)
}

/// Fills every input with random values: floats in 0..1, quantized integers over their whole range, indices 0 or 1.
///
/// # Errors
/// When an input has a type without numbers.
pub fn fill_random(interpreter: &mut Interpreter, seed: u64) -> Result<(), Error> {
    (0..interpreter.inputs().len()).try_for_each(|input| fill_random_one(interpreter, input, seed))
}

fn fill_random_one(interpreter: &mut Interpreter, input: usize, seed: u64) -> Result<(), Error> {
    let tensor = tensor_of(interpreter, input)?;
    let (ty, elements) = (tensor.ty, tensor.shape.iter().product::<usize>());
    let quantized = tensor.quantization.is_some_and(|q| !q.scale.is_empty());
    let mut rng = Rng::new(seed.wrapping_add(input as u64));
    let mut draw = |from: f64, to: f64| (0..elements).map(|_| from + rng.unit() * (to - from)).collect::<Vec<f64>>();
    let values = match ty {
        TensorType::String => {
            let empty = encoding::pack_strings(std::iter::repeat_n(&b""[..], elements));
            let many = || Error::usage(format!("{elements} strings are too many"));
            return Ok(interpreter.set_input_bytes(input, &empty.ok_or_else(many)?)?);
        }
        _ if ty.is_float() => draw(0.0, 1.0),
        TensorType::UInt8 => draw(-0.499, 255.499),
        TensorType::Int8 if quantized => draw(-128.499, 127.499),
        TensorType::Int16 if quantized => draw(-32768.0, 32767.0),
        _ => draw(-0.499, 1.499),
    };
    let none = || {
        Error::usage_with_help(
            format!("input {input} is of type {ty}, for which there are no random values"),
            "give the input by --input",
        )
    };
    let bytes = array::from_f64(ty, &values).ok_or_else(none)?;
    Ok(interpreter.set_input_bytes(input, &bytes)?)
}

fn tensor_of(interpreter: &Interpreter, input: usize) -> Result<TensorView<'_>, Error> {
    let missing = || Error::usage(format!("there is no input {input}: the model has {}", interpreter.inputs().len()));
    interpreter.input_tensor(input).ok_or_else(missing)
}

/// Position of the input with this name, in the signature or as a tensor.
///
/// # Errors
/// When there is none; the error lists the names.
pub fn input_by_name(interpreter: &Interpreter, name: &str) -> Result<usize, Error> {
    let by_signature = interpreter.signature().and_then(|s| s.inputs.iter().find(|(n, _)| n == name)).map(|s| s.1);
    let named = |id| interpreter.tensor(id).map_or("", |tensor| tensor.name);
    let found = interpreter.inputs().iter().position(|&id| by_signature == Some(id) || named(id) == name);
    found.ok_or_else(|| {
        let names = interpreter.signature().map(|s| s.inputs.iter().map(|(name, _)| name.as_str()).collect());
        let names: Vec<_> = names.unwrap_or_else(|| interpreter.inputs().iter().map(|&id| named(id)).collect());
        Error::usage(format!("there is no input {name:?}; the model has {names:?}"))
    })
}

fn known_name(interpreter: &Interpreter, name: &str) -> Option<String> {
    input_by_name(interpreter, name).ok().map(|_| name.to_owned())
}

/// Whether two shapes differ in dimensions of size 1 only.
pub(crate) fn same_up_to_ones(a: &[usize], b: &[usize]) -> bool {
    let essential = |shape: &[usize]| shape.iter().copied().filter(|&dim| dim != 1).collect::<Vec<_>>();
    essential(a) == essential(b)
}

/// A small random number generator (SplitMix64): the same numbers everywhere for a seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}
