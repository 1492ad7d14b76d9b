//! STABLEHLO_RNG_BIT_GENERATOR: random bits from a counter and a key.
//!
//! Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use crate::common::cases;
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::tensor::TensorInfo;
use crate::{OpError, ensure};
use ferrolite_model::schema::RngAlgorithm;
use ferrolite_model::{BuiltinOperator, BuiltinOptions2, TensorType, schema};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// STABLEHLO_RNG_BIT_GENERATOR. Input: state (key and counter). Outputs: the next state, random bits.
pub struct RngBitGenerator;

fn is_threefry(node: &NodeView<'_>) -> Result<bool, OpError> {
    let options = node.options2.as_stablehlo_rng_bit_generator_options();
    match options.map_or(RngAlgorithm::DEFAULT, |o| o.algorithm) {
        RngAlgorithm::DEFAULT | RngAlgorithm::PHILOX => Ok(false),
        RngAlgorithm::THREEFRY => Ok(true),
        other => Err(OpError::unsupported(format!("random number algorithm {}", other.0))),
    }
}

fn check_state(state: &TensorInfo<'_>, threefry: bool) -> Result<(), OpError> {
    let is_right = match state.shape[..] {
        [2] => true,
        [3] => !threefry,
        _ => false,
    };
    ensure!(state.ty == TensorType::UInt64 && is_right, "a state of type {} and shape {:?}", state.ty, state.shape);
    Ok(())
}

impl OpDef for RngBitGenerator {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::STABLEHLO_RNG_BIT_GENERATOR)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    /// How many bits are wanted is the declared shape of the output.
    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 2)?;
        let (state, bits) = (node.input(0)?, node.output(1)?);
        check_state(state, is_threefry(node)?)?;
        use TensorType::*;
        if !matches!(bits.ty, Int32 | Int64 | UInt32 | UInt64) {
            return Err(OpError::unsupported(format!("random bits of type {}", bits.ty)));
        }
        ensure!(!bits.is_open, "the number of random bits is open");
        let state = Inferred { ty: state.ty, shape: Some(state.shape.clone()) };
        Ok(smallvec![state, Inferred { ty: bits.ty, shape: Some(bits.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(Generator { threefry: is_threefry(node)? }))
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        let states: [(RngAlgorithm, &[i32]); 3] =
            [(RngAlgorithm::DEFAULT, &[2]), (RngAlgorithm::PHILOX, &[3]), (RngAlgorithm::THREEFRY, &[2])];
        let types = [Int32, UInt32, Int64, UInt64];
        let all = states.into_iter().flat_map(|state| types.map(|ty| (state, ty)));
        let case = |((algorithm, state), ty): ((RngAlgorithm, &[i32]), TensorType)| {
            let name = format!("{ty} {algorithm:?}");
            let op = BuiltinOperator::STABLEHLO_RNG_BIT_GENERATOR;
            let state = (UInt64, state, None);
            cases::case2(name, op, &[state], &[state, (ty, &[3, 5], None)], |_| {
                let options = schema::StablehloRngBitGeneratorOptionsT { algorithm };
                BuiltinOptions2::StablehloRngBitGeneratorOptions(Box::new(options))
            })
        };
        all.filter_map(case).collect()
    }
}

struct Generator {
    threefry: bool,
}

/// Low and high half.
fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

fn join([low, high]: [u32; 2]) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Fills the output with the blocks of successive counters and returns the next counter. Only the low 64 bits count.
fn generate<const N: usize>(out: &mut [u8], mut counter: [u32; N], block: impl Fn([u32; N]) -> [u32; N]) -> [u32; N] {
    for part in out.chunks_mut(4 * N) {
        let words = block(counter);
        for (out, word) in part.chunks_exact_mut(4).zip(words) {
            out.copy_from_slice(&word.to_ne_bytes());
        }
        let next = join([counter[0], counter[1]]).wrapping_add(1);
        counter[..2].copy_from_slice(&halves(next));
    }
    counter
}

impl Kernel for Generator {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let state = io.input(0)?.slice::<u64>()?;
        let [next, bits] = &mut io.outputs[..] else { return Err(OpError::invalid("an output is missing")) };
        let (next, bits) = (next.slice::<u64>()?, bits.bytes());
        ensure!(next.len() == state.len() && state.len() >= 2, "a state of {} words", state.len());
        let (key, low) = (halves(state[0]), halves(state[1]));
        next.copy_from_slice(state);
        next[1] = if self.threefry {
            join(generate(bits, low, |counter| threefry_2x32(key, counter)))
        } else {
            let high = halves(state.get(2).copied().unwrap_or(state[0]));
            let counter = generate(bits, [low[0], low[1], high[0], high[1]], |counter| philox_4x32(key, counter));
            join([counter[0], counter[1]])
        };
        Ok(())
    }
}

/// Threefry-2x32 with 20 rounds.
fn threefry_2x32(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1BD1_1BDA];
    let mut x = [counter[0].wrapping_add(key[0]), counter[1].wrapping_add(key[1])];
    for round in 0..5 {
        for rotation in ROTATIONS[round % 2] {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(rotation) ^ x[0];
        }
        x[0] = x[0].wrapping_add(keys[(round + 1) % 3]);
        x[1] = x[1].wrapping_add(keys[(round + 2) % 3]).wrapping_add(round as u32 + 1);
    }
    x
}

/// Philox-4x32 with 10 rounds.
fn philox_4x32(mut key: [u32; 2], mut x: [u32; 4]) -> [u32; 4] {
    for _ in 0..10 {
        let a = halves(0xD251_1F53 * u64::from(x[0]));
        let b = halves(0xCD9E_8D57 * u64::from(x[2]));
        x = [b[1] ^ x[1] ^ key[0], b[0], a[1] ^ x[3] ^ key[1], a[0]];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::{philox_4x32, threefry_2x32};

    /// Known answers of the Random123 library.
    #[test]
    fn known_answers() {
        assert_eq!(threefry_2x32([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry_2x32([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
        assert_eq!(philox_4x32([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox_4x32([u32::MAX; 2], [u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }
}
