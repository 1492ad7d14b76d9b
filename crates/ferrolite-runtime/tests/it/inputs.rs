//! Random inputs by type.

use ferrolite_model::TensorType;
use ferrolite_runtime::{Interpreter, RuntimeError};
use ferrolite_testkit::Rng;

/// Raw bytes of `elements` random elements: floats in [-1, 1), narrow integers over their whole range, short strings, wide
/// unsigned integers of up to 20 and 40 bits, others 0 or 1 (indices stay in range).
pub fn random_bytes(rng: &mut Rng, ty: TensorType, elements: usize) -> Vec<u8> {
    let mut out = Vec::new();
    if ty == TensorType::String {
        // Number of strings, offsets from the start, the strings. None where a damaged shape asks for very many.
        let count = if elements > 10_000 { 0 } else { elements };
        let text = b"the quick brown fox";
        let lengths: Vec<usize> = (0..count).map(|_| rng.u64() as usize % text.len()).collect();
        let mut at = 4 * (count + 2);
        out.extend((count as i32).to_le_bytes());
        for length in lengths.iter().chain([&0]) {
            out.extend((at as i32).to_le_bytes());
            at += length;
        }
        lengths.iter().for_each(|&length| out.extend(&text[..length]));
        return out;
    }
    for _ in 0..elements {
        match ty {
            TensorType::Float32 => out.extend(rng.uniform(-1.0, 1.0).to_le_bytes()),
            TensorType::Float64 => out.extend(f64::from(rng.uniform(-1.0, 1.0)).to_le_bytes()),
            TensorType::Float16 | TensorType::BFloat16 => {
                // Small normal numbers of either format.
                out.extend((0x3800u16 | (rng.u64() as u16 & 0x83ff)).to_le_bytes());
            }
            TensorType::Int32 => out.extend(((rng.u64() % 2) as i32).to_le_bytes()),
            TensorType::Int64 => out.extend(((rng.u64() % 2) as i64).to_le_bytes()),
            TensorType::UInt32 => out.extend(((rng.u64() >> 44) as u32).to_le_bytes()),
            TensorType::UInt64 => out.extend((rng.u64() >> 24).to_le_bytes()),
            TensorType::Bool => out.push((rng.u64() & 1) as u8),
            _ => out.extend((0..ty.bits().div_ceil(8)).map(|_| rng.u64() as u8)),
        }
    }
    out.truncate(ty.byte_len(elements).unwrap_or(0));
    out
}

/// Fills all inputs.
pub fn fill(interpreter: &mut Interpreter, seed: u64) -> Result<(), RuntimeError> {
    let mut rng = Rng::new(seed);
    for i in 0..interpreter.inputs().len() {
        let tensor = interpreter.input_tensor(i).expect("listed input");
        let data = random_bytes(&mut rng, tensor.ty, tensor.shape.iter().product());
        interpreter.set_input_bytes(i, &data)?;
    }
    Ok(())
}

/// Whether two floats are equal (NaN is equal to NaN) or at most `bound` apart.
pub fn close(a: f32, b: f32, bound: f32) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= bound
}
