//! Samples of a model's inputs: what a calibration or a comparison runs a model on.

use crate::images::{self, Normalization};
use crate::inputs::{self, Source};
use crate::{Array, Error, Interpreter, Model, Quantization, TensorType, array, metadata};
use std::path::{Path, PathBuf};

/// Samples of every input of a model, read one at a time: folders of any size take the memory of one sample.
///
/// ```no_run
/// # use ferrolite::{Model, samples::Samples};
/// # fn main() -> Result<(), ferrolite::Error> {
/// let model = Model::from_file("model.tflite")?;
/// let samples = Samples::open(&model, &["photos/".parse().unwrap()], None)?;
/// println!("{} samples of {} bytes", samples.len(), samples.get(0)?[0].len());
/// # Ok(())
/// # }
/// ```
pub struct Samples {
    inputs: Vec<Input>,
    columns: Vec<Column>,
    /// Numbers of the samples that are taken.
    chosen: Vec<usize>,
}

/// What an input takes.
struct Input {
    name: String,
    ty: TensorType,
    shape: Vec<usize>,
    quantization: Option<Quantization>,
    normalization: Option<Normalization>,
}

/// The samples of one input.
enum Column {
    /// The first dimension counts them; of the input's type.
    Array(Array),
    /// One in each file.
    Files(Vec<PathBuf>),
}

impl Samples {
    /// Samples from files, for the inputs in order or by name: `.npy` and `.npz` arrays whose first dimension counts
    /// samples, or a folder (and those in it) of pictures and `.npy` files with a sample each, in the order of their
    /// names. Pictures for float inputs are normalized as the model's metadata say, unless `normalization` says otherwise.
    ///
    /// # Errors
    /// When a file cannot be read, does not fit its input, an input has no samples, or their numbers differ.
    pub fn open(model: &Model, sources: &[Source], normalization: Option<&Normalization>) -> Result<Samples, Error> {
        let interpreter = Interpreter::new(model.clone())?;
        let mut columns: Vec<(Option<String>, &Path, Column)> = Vec::new();
        for Source { name, path } in sources {
            let column = |column| (name.clone(), path.as_path(), column);
            match extension(path).as_str() {
                _ if path.is_dir() => columns.push(column(Column::Files(files_in(path)?))),
                "npy" => columns.push(column(Column::Array(array::read_npy(path)?))),
                "npz" => {
                    let arrays = array::read_npz(path)?;
                    let alone = arrays.len() == 1;
                    for (own, array) in arrays {
                        let known = inputs::input_by_name(&interpreter, &own).is_ok();
                        let name = if alone && !known { name.clone() } else { Some(own) };
                        columns.push((name, path, Column::Array(array)));
                    }
                }
                extension if PICTURES.contains(&extension) => {
                    columns.push(column(Column::Files(vec![path.to_owned()])));
                }
                _ if !path.exists() => return Err(Error::io(path, std::io::ErrorKind::NotFound.into())),
                _ => {
                    let problem = format!("{}: the extension says nothing about its form", path.display());
                    let help =
                        "samples are .npy or .npz files, pictures (.png, .jpg), or a folder of .npy files or pictures";
                    return Err(Error::usage_with_help(problem, help));
                }
            }
        }
        let inputs = Input::all(&interpreter, normalization);
        let mut placed: Vec<Option<(&Path, Column)>> = inputs.iter().map(|_| None).collect();
        let (named, in_order): (Vec<_>, Vec<_>) = columns.into_iter().partition(|(name, ..)| name.is_some());
        for (name, path, column) in named.into_iter().chain(in_order) {
            let full = || Error::usage(format!("{}: all inputs of the model have samples already", path.display()));
            let at = match &name {
                Some(name) => inputs::input_by_name(&interpreter, name)
                    .map_err(|e| Error::usage(format!("{}: {e}", path.display())))?,
                None => placed.iter().position(Option::is_none).ok_or_else(full)?,
            };
            if let Some((other, _)) = &placed[at] {
                let name = &inputs[at].name;
                let problem = format!("{} and {} are both for the input {name:?}", other.display(), path.display());
                return Err(Error::usage(problem));
            }
            let column = match column {
                Column::Array(array) => {
                    Column::Array(inputs[at].take(array).map_err(|e| e.prefixed(&path.display().to_string()))?)
                }
                files => files,
            };
            placed[at] = Some((path, column));
        }
        let columns = placed.into_iter().map(|column| column.map(|(_, column)| column));
        Samples::of(inputs, columns)
    }

    /// Samples from arrays, one per input in the model's order, whose first dimension counts samples.
    ///
    /// # Errors
    /// When an array does not fit its input, or their numbers of samples differ.
    pub fn from_arrays(model: &Model, arrays: &[Array]) -> Result<Samples, Error> {
        let inputs = Input::all(&Interpreter::new(model.clone())?, None);
        if arrays.len() != inputs.len() {
            return Err(Error::usage_with_help(
                format!("{} arrays of samples for {} inputs", arrays.len(), inputs.len()),
                "give one array per input, in the model's order; its first dimension counts samples",
            ));
        }
        let columns = inputs.iter().zip(arrays).map(|(input, array)| input.take(array.clone()).map(Column::Array));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Samples::of(inputs, columns.into_iter().map(Some))
    }

    fn of(inputs: Vec<Input>, columns: impl Iterator<Item = Option<Column>>) -> Result<Samples, Error> {
        let mut found = Vec::new();
        for (input, column) in inputs.iter().zip(columns) {
            found.push(column.ok_or_else(|| {
                let name = &input.name;
                Error::usage_with_help(
                    format!("there are no samples of the input {name:?}"),
                    format!("give them as {name}=FILE, or one file per input in the model's order"),
                )
            })?);
        }
        let counts: Vec<usize> = found.iter().map(Column::len).collect();
        let count = counts.first().copied().unwrap_or(0);
        if let Some(other) = counts.iter().position(|&other| other != count) {
            let (name, first) = (&inputs[other].name, &inputs[0].name);
            let problem = format!("{count} samples of the input {first:?}, but {} of {name:?}", counts[other]);
            return Err(Error::usage(problem));
        }
        if count == 0 {
            return Err(Error::usage_with_help(
                "there are no samples",
                "a hundred that look like real inputs are enough",
            ));
        }
        Ok(Samples { inputs, columns: found, chosen: (0..count).collect() })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// False: there is one at least.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Keeps at most `count` samples, evenly spread over all.
    pub fn spread(mut self, count: usize) -> Samples {
        let all = self.chosen.len();
        if count > 0 && count < all {
            self.chosen = (0..count).map(|i| self.chosen[i * all / count]).collect();
        }
        self
    }

    /// Sample `i`: the bytes of every input, in the model's order.
    ///
    /// # Errors
    /// When its file cannot be read or does not fit.
    pub fn get(&self, i: usize) -> Result<Vec<Vec<u8>>, Error> {
        let at = self.chosen.get(i).copied();
        let at = at.ok_or_else(|| Error::usage(format!("there is no sample {i} of {}", self.len())))?;
        self.inputs.iter().zip(&self.columns).map(|(input, column)| input.sample(column, at)).collect()
    }

    /// What sample `i` is: its number, or its file.
    pub fn name(&self, i: usize) -> String {
        let at = self.chosen.get(i).copied().unwrap_or(i);
        let file = self.columns.iter().find_map(|column| match column {
            Column::Files(files) => files.get(at),
            Column::Array(_) => None,
        });
        file.map_or_else(|| format!("sample {at}"), |path| path.display().to_string())
    }
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Column::Array(array) => array.shape.first().copied().unwrap_or(0),
            Column::Files(files) => files.len(),
        }
    }
}

impl Input {
    fn all(interpreter: &Interpreter, normalization: Option<&Normalization>) -> Vec<Input> {
        let input = |i| {
            let tensor = interpreter.input_tensor(i)?;
            let declared = || metadata::normalization(interpreter.model(), i).filter(|_| tensor.ty.is_float());
            let signature = interpreter.signature().and_then(|s| {
                let id = interpreter.inputs()[i];
                s.inputs.iter().find(|named| named.1 == id).map(|named| named.0.clone())
            });
            Some(Input {
                name: signature.unwrap_or_else(|| tensor.name.to_owned()),
                ty: tensor.ty,
                shape: tensor.shape.to_vec(),
                quantization: tensor.quantization.cloned(),
                normalization: normalization.cloned().or_else(declared),
            })
        };
        (0..interpreter.inputs().len()).filter_map(input).collect()
    }

    /// An array of samples, checked and in the input's type.
    fn take(&self, array: Array) -> Result<Array, Error> {
        // Flat samples lie in memory as the input does.
        let flat: [usize; 1] = [self.shape.iter().product()];
        let fits = array
            .shape
            .split_first()
            .is_some_and(|(_, shape)| inputs::same_up_to_ones(shape, &self.shape) || *shape == flat);
        if !fits {
            let dims: Vec<String> = self.shape.iter().skip(1).map(usize::to_string).collect();
            return Err(Error::usage_with_help(
                format!("samples of shape {:?} do not fit the input {:?} {:?}", array.shape, self.name, self.shape),
                format!("its shape has to be [samples, {}]", dims.join(", ")),
            ));
        }
        self.convert(array)
    }

    fn convert(&self, array: Array) -> Result<Array, Error> {
        if array.ty == self.ty {
            return Ok(array);
        }
        // Bytes for a float input would be taken for numbers up to 255, where nearly always 0..1 is meant.
        let is_alike = array.ty.is_float() == self.ty.is_float();
        let values = array.to_f64().filter(|_| is_alike).and_then(|values| array::from_f64(self.ty, &values));
        let bytes = values.ok_or_else(|| {
            Error::usage_with_help(
                format!("samples of {} do not fit the input {:?} of {}", array.ty, self.name, self.ty),
                format!("prepare them as the model takes them, and save them as {}", self.ty),
            )
        })?;
        Ok(Array { ty: self.ty, bytes, ..array })
    }

    /// Bytes of sample `at`.
    fn sample(&self, column: &Column, at: usize) -> Result<Vec<u8>, Error> {
        match column {
            Column::Array(array) => {
                let size = array.bytes.len() / array.shape.first().copied().unwrap_or(1).max(1);
                Ok(array.bytes[at * size..][..size].to_vec())
            }
            Column::Files(files) => {
                let path = &files[at];
                let named = |e: Error| e.prefixed(&path.display().to_string());
                if extension(path) != "npy" {
                    let picture = images::read(path)?;
                    let (normal, quantization) = (self.normalization.as_ref(), self.quantization.as_ref());
                    return Ok(images::to_tensor(&picture, self.ty, &self.shape, quantization, normal)
                        .map_err(named)?
                        .bytes);
                }
                let array = array::read_npy(path)?;
                if !inputs::same_up_to_ones(&array.shape, &self.shape) {
                    let (shape, name) = (&array.shape, &self.name);
                    let problem = format!("shape {shape:?} does not fit the input {name:?} {:?}", self.shape);
                    return Err(Error::file(path, problem));
                }
                Ok(self.convert(array).map_err(named)?.bytes)
            }
        }
    }
}

const PICTURES: [&str; 3] = ["png", "jpg", "jpeg"];
/// Folders in folders.
const MAX_DEPTH: usize = 16;

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Pictures and `.npy` files in a folder and those in it, in the order of their names.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
        let fail = |source| Error::io(folder, source);
        let entries = std::fs::read_dir(folder).map_err(fail)?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(fail)?;
        paths.sort();
        for path in paths {
            let extension = extension(&path);
            if path.is_dir() && depth < MAX_DEPTH {
                walk(&path, depth + 1, files)?;
            } else if extension == "npy" || PICTURES.contains(&extension.as_str()) {
                files.push(path);
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(folder, 0, &mut files)?;
    if files.is_empty() {
        return Err(Error::file(folder, "the folder has neither pictures (.png, .jpg) nor .npy files"));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelBuilder;

    fn model() -> Model {
        let mut b = ModelBuilder::new();
        let image = b.input("image", TensorType::Float32, &[1, 2, 2, 1]);
        let n = b.input("n", TensorType::Int32, &[1]);
        b.output(image);
        b.output(n);
        b.build().unwrap()
    }

    fn int32(shape: &[usize], values: &[i32]) -> Array {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { ty: TensorType::Int32, shape: shape.to_vec(), bytes }
    }

    fn images(n: usize) -> Array {
        Array::from_f32(&[n, 2, 2], &(0..4 * n).map(|i| i as f32).collect::<Vec<_>>())
    }

    #[test]
    fn arrays_are_cut_into_samples() {
        let samples = Samples::from_arrays(&model(), &[images(3), int32(&[3, 1], &[7, 8, 9])]).unwrap();
        assert_eq!(samples.len(), 3);
        let sample = samples.get(1).unwrap();
        assert_eq!(sample[1], 8i32.to_le_bytes());
        assert_eq!(sample[0][..4], 4f32.to_le_bytes());
        assert!(samples.get(3).is_err());
        let few = samples.spread(2);
        assert_eq!((few.len(), few.name(1)), (2, "sample 1".to_owned()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let model = model();
        let error = |arrays: &[Array]| Samples::from_arrays(&model, arrays).err().unwrap().to_string();
        let n = || int32(&[3], &[7, 8, 9]);
        for (arrays, parts) in [
            (vec![images(3)], ["1 arrays", "2 inputs"]),
            (vec![images(2), n()], ["2 samples", "3 of \"n\""]),
            (vec![Array::from_f32(&[3, 5], &[0.0; 15]), n()], ["[3, 5]", "[1, 2, 2, 1]"]),
            (vec![int32(&[3, 2, 2], &[0; 12]), n()], ["int32", "float32"]),
            (vec![images(3), Array::from_f32(&[3], &[0.0; 3])], ["float32", "\"n\" of int32"]),
            (vec![images(0), int32(&[0], &[])], ["there are no samples", ""]),
        ] {
            let error = error(&arrays);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn folders_and_named_files_are_read() {
        let dir = std::env::temp_dir().join(format!("ferrolite-samples-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("photos/cats")).unwrap();
        std::fs::create_dir_all(dir.join("empty")).unwrap();
        std::fs::write(dir.join("photos/cats/b.png"), images::grey_png(&[255; 4], 2, 2).unwrap()).unwrap();
        array::write_npy(&dir.join("photos/a.npy"), &Array::from_f32(&[2, 2, 1], &[0.25; 4])).unwrap();
        std::fs::write(dir.join("photos/notes.txt"), "-").unwrap();
        array::write_npy(&dir.join("n.npy"), &int32(&[2], &[1, 2])).unwrap();
        let source = |text: &str| match text.split_once('=') {
            Some((name, file)) => Source { name: Some(name.to_owned()), path: dir.join(file) },
            None => Source { name: None, path: dir.join(text) },
        };
        let open = |texts: &[&str]| Samples::open(&model(), &texts.iter().map(|t| source(t)).collect::<Vec<_>>(), None);
        for texts in [["photos", "n.npy"], ["n=n.npy", "photos"]] {
            let samples = open(&texts).unwrap();
            assert_eq!(samples.get(0).unwrap()[0][..4], 0.25f32.to_le_bytes());
            assert_eq!(samples.get(1).unwrap(), [1f32.to_le_bytes().repeat(4), 2i32.to_le_bytes().to_vec()]);
            assert!(samples.name(1).ends_with("b.png"));
        }
        for (texts, part) in [
            (&["empty", "n.npy"][..], "neither pictures"),
            (&["photos"], "no samples of the input \"n\""),
            (&["m=n.npy"], "there is no input \"m\""),
            (&["nowhere.npy"], "nowhere.npy"),
            (&["photos/notes.txt"], "extension"),
            (&["image=photos", "image=n.npy"], "both for"),
            (&["photos", "n.npy", "n.npy"], "already"),
        ] {
            let error = open(texts).err().unwrap().to_string();
            assert!(error.contains(part), "{error}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
