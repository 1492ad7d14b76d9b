//! Data to train and test on: files of the MNIST family, and a sample of Fashion-MNIST that comes with the library.

pub mod idx;
pub mod packed;

use crate::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// 6,000 training and 1,000 test images of Fashion-MNIST (MIT licence, see `data/NOTICE`), the first 600 and 100 of each
/// class: a header of two little-endian u32 (training images, all images), one byte of label per image, packed images.
const SAMPLE: &[u8] = include_bytes!("../../data/fashion-mnist-sample.bin");

/// Fashion-MNIST's classes.
pub const FASHION_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// Grey images with a class each.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Images {
    /// Rows of an image.
    pub rows: usize,
    /// Columns of an image.
    pub columns: usize,
    /// One byte per pixel, image after image.
    pub pixels: Vec<u8>,
    /// One class per image.
    pub labels: Vec<u8>,
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of one image.
    pub fn size(&self) -> usize {
        self.rows * self.columns
    }

    /// The pixels of image `i`.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.size()..][..self.size()]
    }

    /// Images `range`.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn slice(&self, range: Range<usize>) -> Images {
        let pixels = self.pixels[range.start * self.size()..range.end * self.size()].to_vec();
        Images { pixels, labels: self.labels[range].to_vec(), ..*self }
    }

    /// All pixels scaled to 0..1.
    pub fn to_f32(&self) -> Vec<f32> {
        self.pixels.iter().map(|&p| f32::from(p) / 255.0).collect()
    }

    /// From an idx pair of images and labels; classes have to be below `classes`.
    fn from_idx(images: &Path, labels: &Path, classes: usize) -> Result<Images, Error> {
        let (pixels, label) = (idx::read(images)?, idx::read(labels)?);
        let [count, rows, columns] = pixels.shape[..] else {
            return Err(Error::file(images, format!("{} dimensions, where images have 3", pixels.shape.len())));
        };
        if label.shape != [count] {
            let problem = format!("labels of shape {:?} for {count} images of {}", label.shape, images.display());
            return Err(Error::file(labels, problem));
        }
        if let Some(&wrong) = label.data.iter().find(|&&class| usize::from(class) >= classes) {
            return Err(Error::file(labels, format!("class {wrong}, where there are {classes}")));
        }
        Ok(Images { rows, columns, pixels: pixels.data, labels: label.data })
    }
}

/// Training and test images.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What it is, for people.
    pub name: String,
    /// To learn from.
    pub train: Images,
    /// To judge by.
    pub test: Images,
    /// Names of the classes.
    pub classes: Vec<String>,
}

/// The sample that comes with the library: 6,000 training and 1,000 test images, equally many of each class.
pub fn fashion_mnist_sample() -> Dataset {
    let parse = || {
        let (head, rest) = SAMPLE.split_first_chunk::<8>()?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (train, all) = (word(0), word(4));
        let (labels, data) = rest.split_at_checked(all)?;
        let (pixels, rows, columns) = packed::unpack(data).ok()?;
        let all = Images { rows, columns, pixels, labels: labels.to_vec() };
        Some((all.slice(0..train), all.slice(train..all.len())))
    };
    // The bytes are part of the program, and a test unpacks them.
    let (train, test) = parse().expect("the embedded sample is intact");
    let classes = FASHION_CLASSES.map(str::to_owned).to_vec();
    Dataset { name: "Fashion-MNIST, embedded sample".to_owned(), train, test, classes }
}

/// The form in which the sample is embedded.
pub fn pack_sample(dataset: &Dataset) -> Vec<u8> {
    let (train, test) = (&dataset.train, &dataset.test);
    let mut out = Vec::new();
    [train.len(), train.len() + test.len()].iter().for_each(|&n| out.extend((n as u32).to_le_bytes()));
    out.extend(train.labels.iter().chain(&test.labels));
    out.extend(packed::pack(&[&train.pixels[..], &test.pixels].concat(), train.rows, train.columns));
    out
}

/// Fashion-MNIST (or a data set of the same form) from the four idx files of its distribution in a folder,
/// `train-images-idx3-ubyte` and so on, plain or with `.gz`.
///
/// # Errors
/// When a file is missing or damaged, or training and test images differ in size.
pub fn fashion_mnist(dir: &Path) -> Result<Dataset, Error> {
    let find = |name: &str| -> Result<PathBuf, Error> {
        let forms = [name.to_owned(), format!("{name}.gz")].map(|form| dir.join(form));
        forms.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            Error::usage_with_help(
                format!("{}: neither {name} nor {name}.gz is there", dir.display()),
                "Debian's package dataset-fashion-mnist puts the files in /usr/share/datasets/fashion-mnist; \
                 without --data an embedded sample is used",
            )
        })
    };
    let part = |part: &str| {
        let (images, labels) =
            (find(&format!("{part}-images-idx3-ubyte"))?, find(&format!("{part}-labels-idx1-ubyte"))?);
        Images::from_idx(&images, &labels, FASHION_CLASSES.len())
    };
    let (train, test) = (part("train")?, part("t10k")?);
    if (train.rows, train.columns) != (test.rows, test.columns) || train.is_empty() || test.is_empty() {
        let problem = format!(
            "{} training images of {}×{} and {} test images of {}×{} do not go together",
            train.len(),
            train.rows,
            train.columns,
            test.len(),
            test.rows,
            test.columns
        );
        return Err(Error::file(dir, problem));
    }
    let classes = FASHION_CLASSES.map(str::to_owned).to_vec();
    Ok(Dataset { name: format!("Fashion-MNIST, {}", dir.display()), train, test, classes })
}
