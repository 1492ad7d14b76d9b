//! Comparing results with golden ones, by the rules of the conformance suite's checker.

use crate::array::{Array, Data};
use serde::Deserialize;

/// How far a result may be off.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Tolerance {
    /// Largest difference of integers.
    pub int: i64,
    /// Floats: difference relative to the golden value, plus `atol`.
    pub rtol: f64,
    /// Floats: difference allowed everywhere.
    pub atol: f64,
    /// `random`: only shape, type and range are checked.
    pub mode: Option<String>,
    /// Least value of a random result.
    pub lo: f64,
    /// Greatest value of a random result.
    pub hi: f64,
}

impl Tolerance {
    /// Nothing may differ.
    pub fn exact() -> Tolerance {
        Tolerance::default()
    }

    /// Integers may differ by this much.
    pub fn int(int: i64) -> Tolerance {
        Tolerance { int, ..Tolerance::default() }
    }

    /// Floats have to satisfy `|got - want| <= atol + rtol * |want|`.
    pub fn float(rtol: f64, atol: f64) -> Tolerance {
        Tolerance { rtol, atol, ..Tolerance::default() }
    }

    /// True for the results of random operators.
    pub fn is_random(&self) -> bool {
        self.mode.as_deref() == Some("random")
    }
}

/// Compares a result with the golden one and returns the largest error.
///
/// # Errors
/// What differs, in words.
pub fn compare(got: &Array, want: &Array, tolerance: &Tolerance) -> Result<f64, String> {
    if got.shape != want.shape {
        return Err(format!("shape {:?}, want {:?}", got.shape, want.shape));
    }
    if got.ty != want.ty {
        return Err(format!("type {}, want {}", got.ty, want.ty));
    }
    if let (Data::Strings(got), Data::Strings(want)) = (&got.data, &want.data) {
        return match got.iter().zip(want).position(|(got, want)| got != want) {
            _ if got.len() != want.len() => Err(format!("{} strings, want {}", got.len(), want.len())),
            Some(i) => Err(format!("string {i} differs")),
            None => Ok(0.0),
        };
    }
    if let (Some(got), Some(want)) = (got.to_ints(), want.to_ints()) {
        return compare_ints(&got, &want, tolerance);
    }
    match (got.to_complex(), want.to_complex()) {
        (Some(got), Some(want)) => compare_floats(&got, &want, tolerance),
        _ => Err(format!("{} cannot be compared", want.ty)),
    }
}

fn compare_ints(got: &[i128], want: &[i128], tolerance: &Tolerance) -> Result<f64, String> {
    same_len(got.len(), want.len())?;
    if tolerance.is_random() {
        return in_range(got.iter().map(|&v| v as f64), tolerance);
    }
    let differences = got.iter().zip(want).map(|(got, want)| got.abs_diff(*want));
    let (at, largest) = differences.enumerate().fold((0, 0), |max, (i, d)| if d > max.1 { (i, d) } else { max });
    if largest > tolerance.int.unsigned_abs().into() {
        let (got, want) = (got[at], want[at]);
        return Err(format!("integers differ by {largest} at element {at}: {got}, want {want}"));
    }
    Ok(largest as f64)
}

fn compare_floats(got: &[(f64, f64)], want: &[(f64, f64)], tolerance: &Tolerance) -> Result<f64, String> {
    same_len(got.len(), want.len())?;
    if tolerance.is_random() {
        return in_range(got.iter().map(|&(re, _)| re), tolerance);
    }
    let is_nan = |v: (f64, f64)| v.0.is_nan() || v.1.is_nan();
    let is_finite = |v: (f64, f64)| v.0.is_finite() && v.1.is_finite();
    let total = want.len();
    let (mut largest, mut outside, mut first) = (0f64, 0usize, None);
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        if got == want || (is_nan(got) && is_nan(want)) {
            continue;
        }
        let error = (got.0 - want.0).hypot(got.1 - want.1);
        largest = largest.max(error);
        let allowed = tolerance.atol + tolerance.rtol * want.0.hypot(want.1);
        if !(error <= allowed && is_finite(got) && is_finite(want)) {
            outside += 1;
            first.get_or_insert((i, got, want));
        }
    }
    match first {
        None => Ok(largest),
        Some((i, got, want)) => Err(format!(
            "{outside} of {total} out of tolerance, by at most {largest:.3e}; first at element {i}: {got:?}, want {want:?}"
        )),
    }
}

fn same_len(got: usize, want: usize) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{got} elements, want {want}")) }
}

fn in_range(mut got: impl Iterator<Item = f64>, tolerance: &Tolerance) -> Result<f64, String> {
    match got.find(|v| !(tolerance.lo..=tolerance.hi).contains(v)) {
        Some(value) => Err(format!("{value} is outside of {}..={}", tolerance.lo, tolerance.hi)),
        None => Ok(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_may_differ_by_the_tolerance() {
        let (got, want) = (Array::i8(&[2], &[3, -128]), Array::i8(&[2], &[3, 127]));
        assert_eq!(compare(&got, &want, &Tolerance::int(255)), Ok(255.0));
        assert!(compare(&got, &want, &Tolerance::int(254)).is_err());
        assert!(compare(&got, &Array::i32(&[2], &[3, -128]), &Tolerance::exact()).is_err());
        assert!(compare(&got, &Array::i8(&[1, 2], &[3, -128]), &Tolerance::exact()).is_err());
    }

    #[test]
    fn floats_need_matching_infinities_and_nans() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let tolerance = Tolerance::float(0.1, 0.0);
        let check = |got: &[f32], want: &[f32]| compare(&Array::f32(&[2], got), &Array::f32(&[2], want), &tolerance);
        assert!(check(&[inf, nan], &[inf, nan]).is_ok());
        assert!(check(&[inf, 1.05], &[inf, 1.0]).is_ok());
        assert!(check(&[1.0, 1.2], &[1.0, 1.0]).is_err());
        assert!(check(&[1.0, nan], &[1.0, 1.0]).is_err());
        assert!(check(&[1.0, -inf], &[1.0, inf]).is_err());
        assert!(check(&[1.0, 1.0], &[1.0, inf]).is_err());
    }

    #[test]
    fn random_results_only_need_their_range() {
        let tolerance = Tolerance { mode: Some("random".into()), lo: 0.0, hi: 5.0, ..Tolerance::default() };
        let golden = Array::i32(&[2], &[0, 0]);
        assert!(compare(&Array::i32(&[2], &[5, 1]), &golden, &tolerance).is_ok());
        assert!(compare(&Array::i32(&[2], &[6, 1]), &golden, &tolerance).is_err());
    }
}
