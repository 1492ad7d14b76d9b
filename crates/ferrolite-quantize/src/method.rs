//! How ranges come from observed values.

use crate::calibrate::Observed;
use std::fmt;
use std::str::FromStr;

/// How the range of a tensor comes from the values that it was seen to have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Method {
    /// From the least to the greatest.
    #[default]
    MinMax,
    /// The averages of the samples' own ends, newer samples weighing more: a single outlier counts little.
    MovingAverage,
    /// So that this many per cent of all values are inside, the others half below, half above.
    Percentile(f64),
    /// The range whose rounding to 8 bits changes the distribution of values least.
    Entropy,
    /// The range under which 8 bits have the least squared error.
    Mse,
}

/// What an average keeps of itself with each further sample.
const MOMENTUM: f32 = 0.95;
/// Values of 8 bits.
const LEVELS: usize = 256;

impl Method {
    /// The usual [`Self::Percentile`].
    pub const PERCENTILE: Method = Method::Percentile(99.99);

    /// Whether it looks at the distribution of values.
    pub(crate) fn needs_histogram(self) -> bool {
        matches!(self, Method::Percentile(_) | Method::Entropy | Method::Mse)
    }

    /// Whether its ranges are for activations of 8 bits only.
    pub(crate) fn is_for_8_bits(self) -> bool {
        matches!(self, Method::Entropy | Method::Mse)
    }

    /// The range of a tensor.
    pub(crate) fn range(self, observed: &Observed) -> (f32, f32) {
        let (min, max) = (observed.min, observed.max);
        // Ranges hold 0 in any case.
        let (low, high) = (f64::from(min.min(0.0)), f64::from(max.max(0.0)));
        let found = match (self, &observed.histogram) {
            (Method::MovingAverage, _) => return observed.average,
            (Method::Percentile(inside), Some(histogram)) => histogram.without_tails((1.0 - inside / 100.0) / 2.0),
            (Method::Entropy, Some(histogram)) => histogram.least_divergence(low, high, LEVELS),
            (Method::Mse, Some(histogram)) => histogram.least_squares(low, high, LEVELS as f64),
            _ => return (min, max),
        };
        ((found.0 as f32).max(min), (found.1 as f32).min(max).max(min))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::MinMax => f.write_str("min-max"),
            Method::MovingAverage => f.write_str("moving-average"),
            Method::Percentile(inside) => write!(f, "percentile={inside}"),
            Method::Entropy => f.write_str("entropy"),
            Method::Mse => f.write_str("mse"),
        }
    }
}

impl FromStr for Method {
    type Err = String;

    /// `min-max`, `moving-average`, `percentile`, `percentile=99.9`, `entropy`, `mse`.
    fn from_str(text: &str) -> Result<Method, String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("min-max", None) => Ok(Method::MinMax),
            ("moving-average", None) => Ok(Method::MovingAverage),
            ("percentile", None) => Ok(Method::PERCENTILE),
            ("entropy", None) => Ok(Method::Entropy),
            ("mse", None) => Ok(Method::Mse),
            ("percentile", Some(value)) => match value.parse() {
                Ok(inside) if inside > 50.0 && inside <= 100.0 => Ok(Method::Percentile(inside)),
                _ => Err(format!("{value:?} is no percentage above 50 and up to 100")),
            },
            _ => Err("it is one of min-max, moving-average, percentile[=99.99], entropy, mse".into()),
        }
    }
}

impl Observed {
    /// Takes the ends of a further sample's values in.
    pub(crate) fn average_with(&mut self, low: f32, high: f32) {
        let mix = |old: f32, new: f32| MOMENTUM * old + (1.0 - MOMENTUM) * new;
        self.average = (mix(self.average.0, low), mix(self.average.1, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["min-max", "moving-average", "percentile=99.9", "entropy", "mse"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        assert_eq!("percentile".parse(), Ok(Method::PERCENTILE));
        for text in ["percentile=3", "percentile=x", "mse=1", "best"] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
    }
}
