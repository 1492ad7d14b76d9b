//! Tensors as kernels see them: typed views of borrowed bytes.

use crate::{OpError, ensure};
use bytemuck::Pod;
pub use ferrolite_kernels::AlignedBytes;
use ferrolite_model::{Bytes, Quantization, Sparsity, TensorType};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cell::Cell;

/// Concrete dimensions, outermost first.
pub type Shape = SmallVec<[usize; 6]>;

/// A Rust type that holds one element of a tensor.
pub trait Element: Pod {
    /// Whether a slice of `Self` may view a tensor of this type.
    fn matches(ty: TensorType) -> bool;
}

macro_rules! element {
    ($($rust:ty => $($ty:ident)|+;)+) => {
        $(impl Element for $rust {
            fn matches(ty: TensorType) -> bool {
                matches!(ty, $(TensorType::$ty)|+)
            }
        })+
    };
}

element! {
    f32 => Float32;
    f64 => Float64;
    half::f16 => Float16;
    half::bf16 => BFloat16;
    i8 => Int8;
    i16 => Int16;
    i32 => Int32 | Resource;
    i64 => Int64;
    u8 => UInt8 | Bool | Int4 | UInt4 | Int2 | Float8E4M3FN | Float8E5M2;
    u16 => UInt16;
    u32 => UInt32;
    u64 => UInt64;
    [f32; 2] => Complex64;
    [f64; 2] => Complex128;
}

/// Data of a tensor that is known when a node is prepared. Whether it is looked at is noted: what was prepared without a
/// look holds for other data as well.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    bytes: &'a [u8],
    seen: Option<&'a Cell<bool>>,
}

impl<'a> Known<'a> {
    /// Data that never changes.
    pub fn constant(bytes: &'a [u8]) -> Known<'a> {
        Known { bytes, seen: None }
    }

    /// Data of this moment; `seen` becomes true when somebody looks at it.
    pub fn computed(bytes: &'a [u8], seen: &'a Cell<bool>) -> Known<'a> {
        Known { bytes, seen: Some(seen) }
    }

    /// The data.
    pub fn bytes(self) -> &'a [u8] {
        if let Some(seen) = self.seen {
            seen.set(true);
        }
        self.bytes
    }
}

/// What is known about a tensor when a node is prepared.
#[derive(Clone, Debug)]
pub struct TensorInfo<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// Element type.
    pub ty: TensorType,
    /// Dimensions. For outputs during inference: the file's, which may be stale.
    pub shape: Shape,
    /// Whether the file leaves dimensions open, so that its shape is only one to start with.
    pub is_open: bool,
    /// Scales and zero points.
    pub quantization: Option<&'a Quantization>,
    /// Sparse layout of a constant.
    pub sparsity: Option<&'a Sparsity>,
    /// Keeps its value between invocations.
    pub is_variable: bool,
    /// Data of a constant: shared, may be kept by a kernel. Alignment is not promised.
    pub constant: Option<&'a Bytes>,
    /// Data if it is known now: a constant, or a computed tensor when a node is prepared late.
    pub known: Option<Known<'a>>,
}

impl TensorInfo<'_> {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The single scale and zero point; an error that names the tensor when there is none, or when the zero point is not
    /// a value of the tensor's type.
    pub fn scale_zero_point(&self) -> Result<(f32, i32), OpError> {
        let Some((scale, zero_point)) = self.quantization.and_then(Quantization::as_per_tensor) else {
            return Err(OpError::invalid(format!("tensor {:?} needs one scale and zero point", self.name)));
        };
        let range = match self.ty {
            TensorType::UInt8 => 0..=255,
            TensorType::Int8 => -128..=127,
            TensorType::Int16 => -32768..=32767,
            TensorType::UInt16 => 0..=65535,
            TensorType::Int4 => -8..=7,
            TensorType::UInt4 => 0..=15,
            TensorType::Int2 => -2..=1,
            _ => i32::MIN.into()..=i32::MAX.into(),
        };
        ensure!(range.contains(&zero_point), "tensor {:?} of type {} has zero point {zero_point}", self.name, self.ty);
        Ok((scale, zero_point as i32))
    }

    /// Known data as a vector of elements (copied: constants may be unaligned); `None` when it is not known yet.
    pub fn values<T: Element>(&self) -> Result<Option<Vec<T>>, OpError> {
        let Some(bytes) = self.known.map(Known::bytes) else { return Ok(None) };
        ensure!(T::matches(self.ty), "tensor {:?} has type {}", self.name, self.ty);
        Ok(Some(copy_elements(bytes)))
    }

    /// Known int32 or int64 data as i64; `None` when it is not known yet.
    pub fn indices(&self) -> Result<Option<Vec<i64>>, OpError> {
        match self.ty {
            TensorType::Int64 => self.values::<i64>(),
            TensorType::Int32 => Ok(self.values::<i32>()?.map(|v| v.into_iter().map(i64::from).collect())),
            TensorType::Int16 => Ok(self.values::<i16>()?.map(|v| v.into_iter().map(i64::from).collect())),
            ty => Err(OpError::unsupported(format!("index tensor {:?} of type {ty}", self.name))),
        }
    }
}

/// Copies bytes of any alignment into elements; a trailing part of an element is dropped.
pub fn copy_elements<T: Pod>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

/// The elements in bytes of any alignment: copied only where they are not aligned. A trailing part of an element is dropped.
pub fn elements_of<T: Pod>(bytes: &[u8]) -> Cow<'_, [T]> {
    let whole = &bytes[..bytes.len() / size_of::<T>() * size_of::<T>()];
    bytemuck::try_cast_slice(whole).map_or_else(|_| Cow::Owned(copy_elements(whole)), Cow::Borrowed)
}

/// The elements of a tensor of type `ty` in aligned bytes.
pub fn elements_mut<T: Element>(ty: TensorType, bytes: &mut [u8]) -> Result<&mut [T], OpError> {
    ensure!(T::matches(ty), "holds {ty}, which was not expected");
    bytemuck::try_cast_slice_mut(bytes).map_err(|e| OpError::invalid(format!("{ty} data: {e}")))
}

/// A tensor that a kernel reads.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Element type.
    pub ty: TensorType,
    /// Dimensions.
    pub shape: &'a [usize],
    /// Scales and zero points.
    pub quantization: Option<&'a Quantization>,
    /// Raw data, aligned for its elements.
    pub bytes: &'a [u8],
}

impl<'a> TensorRef<'a> {
    /// The elements.
    pub fn slice<T: Element>(&self) -> Result<&'a [T], OpError> {
        ensure!(T::matches(self.ty), "holds {}, which was not expected", self.ty);
        bytemuck::try_cast_slice(self.bytes).map_err(|e| OpError::invalid(format!("{} data: {e}", self.ty)))
    }
}

/// A tensor that a kernel writes.
#[derive(Debug)]
pub struct TensorMut<'a> {
    /// Element type.
    pub ty: TensorType,
    /// Quantization of the result.
    pub quantization: Option<&'a Quantization>,
    /// Where the elements go.
    pub data: OutputData<'a>,
}

/// Memory of an output.
#[derive(Debug)]
pub enum OutputData<'a> {
    /// Planned: shape known before the run; data aligned to 64 bytes.
    Planned {
        /// Dimensions.
        shape: &'a [usize],
        /// Raw data to overwrite, aligned to 64 bytes; its old contents are unspecified.
        bytes: &'a mut [u8],
    },
    /// The kernel decides the shape: see [`TensorMut::set_shape`].
    Dynamic {
        /// Dimensions, set by the kernel.
        shape: &'a mut Shape,
        /// Raw data, sized by the kernel.
        bytes: &'a mut AlignedBytes,
    },
}

impl TensorMut<'_> {
    /// Dimensions.
    pub fn shape(&self) -> &[usize] {
        match &self.data {
            OutputData::Planned { shape, .. } => shape,
            OutputData::Dynamic { shape, .. } => shape,
        }
    }

    /// Raw data to overwrite.
    pub fn bytes(&mut self) -> &mut [u8] {
        match &mut self.data {
            OutputData::Planned { bytes, .. } => bytes,
            OutputData::Dynamic { bytes, .. } => bytes,
        }
    }

    /// The elements to overwrite; old contents are unspecified.
    pub fn slice<T: Element>(&mut self) -> Result<&mut [T], OpError> {
        elements_mut(self.ty, self.bytes())
    }

    /// Becomes a copy of a tensor of the same type: an output whose shape was inferred, only of one of that shape.
    pub fn assign(&mut self, value: TensorRef<'_>) -> Result<(), OpError> {
        ensure!(self.ty == value.ty, "a value of type {} for an output of type {}", value.ty, self.ty);
        match &mut self.data {
            OutputData::Dynamic { shape, bytes } => {
                **shape = Shape::from_slice(value.shape);
                bytes.assign(value.bytes);
            }
            OutputData::Planned { shape, bytes } => {
                ensure!(*shape == value.shape, "a value of shape {:?}, planned as {shape:?}", value.shape);
                ensure!(bytes.len() == value.bytes.len(), "a value's data does not fit its shape");
                bytes.copy_from_slice(value.bytes);
            }
        }
        Ok(())
    }

    /// Gives an output whose shape inference left open its shape and zeroed memory.
    pub fn set_shape(&mut self, new: &[usize]) -> Result<(), OpError> {
        let ty = self.ty;
        match &mut self.data {
            OutputData::Planned { shape, .. } => {
                ensure!(*shape == new, "planned as {shape:?}, computed as {new:?}");
            }
            OutputData::Dynamic { shape, bytes } => {
                let elements = new.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
                let len = elements.and_then(|n| ty.byte_len(n)).filter(|&n| n <= isize::MAX as usize / 2);
                let Some(len) = len else { return Err(OpError::invalid(format!("{ty} shape {new:?} is too large"))) };
                **shape = Shape::from_slice(new);
                bytes.resize_zeroed(len);
            }
        }
        Ok(())
    }
}
