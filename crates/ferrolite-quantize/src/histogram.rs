//! A histogram whose range grows with its values: streaming, in bounded memory, the same in any order of values.

/// Bins on each side of zero.
const HALF: usize = 2048;
/// Narrowest bin: its reciprocal is an ordinary number.
const NARROWEST: f32 = 1.0 / (1u128 << 100) as f32;

/// Counts of values in bins of one width, a power of two. Zeros are counted apart: every quantization keeps them exactly.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    /// Width of a bin; bin `i` begins at `(i − HALF) · width`.
    width: f32,
    counts: Vec<u64>,
    zeros: u64,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram { width: NARROWEST, counts: vec![0; 2 * HALF], zeros: 0 }
    }

    /// Counts finite values of magnitudes up to `limit`.
    pub(crate) fn add(&mut self, values: &[f32], limit: f32) {
        while limit >= HALF as f32 * self.width {
            self.widen();
        }
        let per_width = 1.0 / self.width;
        for &value in values {
            if value == 0.0 {
                self.zeros += 1;
            } else {
                self.counts[((value * per_width).floor() as i32 + HALF as i32) as usize] += 1;
            }
        }
    }

    /// Joins neighbouring bins, which doubles the range.
    fn widen(&mut self) {
        let mut counts = vec![0; 2 * HALF];
        for (i, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            counts[(i + HALF) / 2] += count;
        }
        (self.counts, self.width) = (counts, self.width * 2.0);
    }

    fn edge(&self, bin: usize) -> f64 {
        (bin as f64 - HALF as f64) * f64::from(self.width)
    }

    /// The first bin that lies above `value`, 0 and 2·HALF at the ends.
    fn bin_above(&self, value: f64) -> usize {
        (value / f64::from(self.width) + HALF as f64).ceil().clamp(0.0, 2.0 * HALF as f64) as usize
    }

    /// The range that leaves `tail` of all values (0..1) out at each end, to the precision of a bin.
    pub(crate) fn without_tails(&self, tail: f64) -> (f64, f64) {
        let total = self.zeros + self.counts.iter().sum::<u64>();
        let left_out = tail * total as f64;
        let (mut below, mut above) = (0.0, 0.0);
        let low = (0..HALF).find(|&i| {
            below += self.counts[i] as f64;
            below > left_out
        });
        // Zeros, and what lies on the other side, are in any range.
        let high = (HALF..2 * HALF).rev().find(|&i| {
            above += self.counts[i] as f64;
            above > left_out
        });
        (low.map_or(0.0, |i| self.edge(i)), high.map_or(0.0, |i| self.edge(i + 1)))
    }

    /// The range within `min..=max` under which rounding to `levels` values, and clipping to it, cost the least squared
    /// error.
    pub(crate) fn least_squares(&self, min: f64, max: f64, levels: f64) -> (f64, f64) {
        const STEPS: usize = 100;
        // Sums of the values, and of their squares, below each bin.
        let mut sums = vec![[0.0; 3]; 2 * HALF + 1];
        for (i, &count) in self.counts.iter().enumerate() {
            let (n, x) = (count as f64, self.edge(i) + f64::from(self.width) / 2.0);
            sums[i + 1] = [sums[i][0] + n, sums[i][1] + n * x, sums[i][2] + n * x * x];
        }
        let all = sums[2 * HALF];
        let clipped = |[n, x, xx]: [f64; 3], at: f64| (xx - 2.0 * at * x + at * at * n).max(0.0);
        let part = |end: f64| (1..=STEPS).map(move |k| end * k as f64 / STEPS as f64);
        let candidates = |end: f64| if end == 0.0 { vec![0.0] } else { part(end).collect() };
        // What lies below `low`, with the error of clipping it there.
        let lows = candidates(min).into_iter().map(|low| {
            let below = sums[self.bin_above(low)];
            (low, below[0], clipped(below, low))
        });
        let highs: Vec<_> = (candidates(max).into_iter())
            .map(|high| {
                let to = sums[self.bin_above(high)];
                let above = [all[0] - to[0], all[1] - to[1], all[2] - to[2]];
                (high, above[0], clipped(above, high))
            })
            .collect();
        let mut best = (f64::INFINITY, min, max);
        for (low, below, cost_below) in lows {
            for &(high, above, cost_above) in &highs {
                let step = (high - low) / (levels - 1.0);
                let cost = cost_below + cost_above + (all[0] - below - above) * step * step / 12.0;
                // Wider ranges come later and win where nothing is lost by them.
                if cost <= best.0 {
                    best = (cost, low, high);
                }
            }
        }
        (best.1, best.2)
    }

    /// The range within `min..=max` whose rounding to `levels` values changes the distribution least, by Kullback-Leibler
    /// divergence.
    pub(crate) fn least_divergence(&self, min: f64, max: f64, levels: usize) -> (f64, f64) {
        const STEPS: usize = 128;
        let reach = max.max(-min);
        let mut best = (f64::INFINITY, min, max);
        for k in 1..=STEPS {
            let limit = reach * k as f64 / STEPS as f64;
            let (low, high) = (min.max(-limit), max.min(limit));
            let (from, to) = (self.bin_above(low).saturating_sub(1), self.bin_above(high));
            // With a level per bin nothing but clipping could be seen.
            if k < STEPS && (to < from + levels || !(low..=high).contains(&0.0)) {
                continue;
            }
            let divergence = self.divergence(from, to, levels);
            if divergence <= best.0 {
                best = (divergence, low, high);
            }
        }
        (best.1, best.2)
    }

    /// Divergence of the bins `from..to`, rounded to `levels` values, from all bins, clipped to these.
    fn divergence(&self, from: usize, to: usize, levels: usize) -> f64 {
        let inside = &self.counts[from..to];
        let sum = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
        let (below, above, kept) = (sum(&self.counts[..from]), sum(&self.counts[to..]), sum(inside));
        if kept == 0.0 {
            return f64::INFINITY;
        }
        let total = below + above + kept;
        let mut divergence = 0.0;
        let bins = inside.len();
        for level in 0..levels {
            let (start, end) = (level * bins / levels, (level + 1) * bins / levels);
            let level = &inside[start..end];
            let filled = level.iter().filter(|&&count| count > 0).count();
            let rounded = sum(level) / filled.max(1) as f64 / kept;
            for (i, &count) in level.iter().enumerate() {
                let outside =
                    f64::from(u8::from(start + i == 0)) * below + f64::from(u8::from(start + i + 1 == bins)) * above;
                let exact = (count as f64 + outside) / total;
                if exact > 0.0 {
                    let rounded = if count > 0 { rounded } else { 0.0 };
                    divergence += exact * (exact / rounded.max(1e-9)).ln();
                }
            }
        }
        divergence
    }

    /// How many values there are in each of `count` equal parts of a range.
    pub(crate) fn bars(&self, low: f64, high: f64, count: usize) -> Vec<u64> {
        let mut bars = vec![0; count];
        let mut add = |value: f64, n: u64| {
            let part = if high > low { (value - low) / (high - low) } else { 0.0 };
            bars[((part * count as f64).max(0.0) as usize).min(count - 1)] += n;
        };
        for (i, &n) in self.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            add(self.edge(i) + f64::from(self.width) / 2.0, n);
        }
        add(0.0, self.zeros);
        bars
    }

    /// The part of all values that lies outside of a range.
    pub(crate) fn outside(&self, low: f64, high: f64) -> f64 {
        let (from, to) = (self.bin_above(low).saturating_sub(1), self.bin_above(high));
        let outside = self.counts[..from].iter().chain(&self.counts[to.max(from)..]).sum::<u64>();
        let total = self.zeros + self.counts.iter().sum::<u64>();
        outside as f64 / (total as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bell-shaped values.
    fn bell() -> Vec<f32> {
        let part = |i: u32, k: u32| (i.wrapping_mul(2_654_435_761).rotate_left(k * 7) >> 8) as f32 / (1 << 24) as f32;
        (0..20_000u32).map(|i| (0..8).map(|k| part(i, k)).sum::<f32>() - 4.0).collect()
    }

    fn of(chunks: &[&[f32]]) -> Histogram {
        let mut histogram = Histogram::new();
        for chunk in chunks {
            histogram.add(chunk, chunk.iter().fold(0.0, |a, v| a.max(v.abs())));
        }
        histogram
    }

    #[test]
    fn the_order_of_values_does_not_matter() {
        let values = bell();
        let (small, large) = (&values[..], &[0.5, -100.0][..]);
        assert_eq!(of(&[small, large]), of(&[large, small]));
        assert_eq!(of(&[&[]]), of(&[]));
        let extreme = of(&[&[f32::MAX, f32::MIN, 1e-45, -1e-45, 0.0]]);
        assert_eq!((extreme.counts.iter().sum::<u64>(), extreme.zeros), (4, 1));
    }

    #[test]
    fn tails_are_left_out() {
        let values: Vec<f32> = (0..1000).map(|i| i as f32 / 100.0 - 5.0).collect();
        let histogram = of(&[&values]);
        let (low, high) = histogram.without_tails(0.01);
        assert!((low + 4.9).abs() < 0.02 && (high - 4.9).abs() < 0.02, "{low}..{high}");
        let (low, high) = histogram.without_tails(0.0);
        assert!((-5.02..=-5.0).contains(&low) && (4.99..5.02).contains(&high), "{low}..{high}");
        assert!((histogram.outside(-4.0, 4.0) - 0.2).abs() < 0.01);
    }

    #[test]
    fn an_outlier_is_clipped_where_that_pays() {
        let bell = bell();
        let mut histogram = of(&[bell.as_slice(); 100]);
        histogram.add(&[10.0], 10.0);
        for (low, high) in [histogram.least_squares(-4.0, 10.0, 256.0), histogram.least_divergence(-4.0, 10.0, 256)] {
            assert!((-4.0..=-1.5).contains(&low) && (2.0..7.0).contains(&high), "{low}..{high}");
        }
    }

    #[test]
    fn even_values_are_not_clipped() {
        let values: Vec<f32> = (1..=4000).map(|i| i as f32 / 1000.0).collect();
        let histogram = of(&[&values]);
        let (low, high) = histogram.least_squares(0.0, 4.0, 256.0);
        assert!(low == 0.0 && high > 3.9, "{low}..{high}");
        assert_eq!(of(&[&[0.0; 5]]).least_squares(0.0, 0.0, 256.0), (0.0, 0.0));
    }
}
