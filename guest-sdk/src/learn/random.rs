//! Random numbers that are the same for the same seed.

use core::f64::consts::TAU;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// A generator of random numbers: xoshiro256++ by Blackman and Vigna, its state filled by SplitMix64 from the seed.
///
/// The algorithms are part of what this type promises: the same calls after the same seed give the same numbers in
/// every version, so that a run can be repeated years later. Normal numbers also need a logarithm and a cosine, which are those
/// of the `libm` that a module was built with.
#[derive(Clone, Debug)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The generator of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to `bound - 1`, each equally likely: the upper half of `bits * bound`, drawn again while the
    /// lower half shows that some result would come up once too often (Lemire 2019).
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "there is no number below 0");
        let bound = bound as u64;
        let surplus = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if product as u64 >= surplus {
                return (product >> 64) as usize;
            }
        }
    }

    /// A multiple of 2⁻²⁴ from 0 to below 1: the upper 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// A number of the normal distribution with mean 0 and deviation 1 (Box and Muller 1958), computed in `f64`.
    pub fn normal(&mut self) -> f32 {
        let unit = 1.0 / (1u64 << 53) as f64;
        // From above 0 to 1, so that the logarithm is finite.
        let radius = libm::sqrt(-2.0 * libm::log(((self.bits() >> 11) + 1) as f64 * unit));
        let angle = TAU * ((self.bits() >> 11) as f64 * unit);
        (radius * libm::cos(angle)) as f32
    }

    /// Puts the values into a random order, each order equally likely (Fisher and Yates, from the end).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = Random::seeded(42);
        assert_eq!([random.bits(), random.bits()], [15_021_278_609_987_233_951, 5_881_210_131_331_364_753]);
        let mut order: Vec<u8> = (0..8).collect();
        random.shuffle(&mut order);
        assert_eq!(order, [5, 3, 1, 0, 2, 6, 4, 7]);
        assert_eq!(random.below(1000), 933);
        assert_eq!(random.uniform().to_bits(), 0x3f0f_3dfa);
        assert_eq!(random.normal().to_bits(), 0xbe78_85f5);
    }

    #[test]
    fn numbers_are_spread_as_they_should_be() {
        let mut random = Random::seeded(1);
        let mut counts = [0u32; 6];
        (0..60_000).for_each(|_| counts[random.below(6)] += 1);
        // Five deviations of a binomial distribution.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 460), "{counts:?}");
        let normal: Vec<f64> = (0..100_000).map(|_| f64::from(random.normal())).collect();
        let moment = |power| normal.iter().map(|value| value.powi(power)).sum::<f64>() / normal.len() as f64;
        assert!(moment(1).abs() < 0.016 && (moment(2) - 1.0).abs() < 0.023 && (moment(4) - 3.0).abs() < 0.16);
        let uniform: Vec<f32> = (0..10_000).map(|_| random.uniform()).collect();
        assert!(uniform.iter().all(|value| (0.0..1.0).contains(value)));
    }
}
