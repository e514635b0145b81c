//! How parameters follow their gradients.

/// Gradient descent with momentum: `v = momentum v + g; p = p - rate v`.
#[derive(Clone, PartialEq, Debug)]
pub struct Momentum {
    /// How far a parameter goes for a velocity of one.
    pub rate: f32,
    /// What share of the velocity stays, from 0 to below 1.
    pub momentum: f32,
    velocity: Vec<f32>,
}

impl Momentum {
    /// For this many parameters, which do not move yet.
    pub fn new(parameters: usize, rate: f32, momentum: f32) -> Self {
        Self { rate, momentum, velocity: vec![0.0; parameters] }
    }

    /// One update.
    ///
    /// # Panics
    /// When there is another number of parameters or gradients.
    #[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
    pub fn update(&mut self, parameters: &mut [f32], gradients: &[f32]) {
        check_lengths(self.velocity.len(), parameters, gradients);
        for ((parameter, velocity), gradient) in parameters.iter_mut().zip(&mut self.velocity).zip(gradients) {
            *velocity = self.momentum * *velocity + gradient;
            *parameter -= self.rate * *velocity;
        }
    }
}

/// Adam (Kingma and Ba 2015) with the customary decay rates 0.9 and 0.999.
#[derive(Clone, PartialEq, Debug)]
pub struct Adam {
    /// The size of a step.
    pub rate: f32,
    mean: Vec<f32>,
    square: Vec<f32>,
    // What the powers of the decay rates have come to.
    mean_decay: f64,
    square_decay: f64,
}

impl Adam {
    const MEAN_DECAY: f32 = 0.9;
    const SQUARE_DECAY: f32 = 0.999;
    const LEAST_DEVIATION: f32 = 1e-8;

    /// For this many parameters.
    pub fn new(parameters: usize, rate: f32) -> Self {
        Self { rate, mean: vec![0.0; parameters], square: vec![0.0; parameters], mean_decay: 1.0, square_decay: 1.0 }
    }

    /// One update.
    ///
    /// # Panics
    /// When there is another number of parameters or gradients.
    #[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
    pub fn update(&mut self, parameters: &mut [f32], gradients: &[f32]) {
        check_lengths(self.mean.len(), parameters, gradients);
        self.mean_decay *= f64::from(Self::MEAN_DECAY);
        self.square_decay *= f64::from(Self::SQUARE_DECAY);
        let rate = (f64::from(self.rate) / (1.0 - self.mean_decay)) as f32;
        let square_scale = (1.0 / (1.0 - self.square_decay)) as f32;
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((parameter, gradient), (mean, square)) in parameters.iter_mut().zip(gradients).zip(moments) {
            *mean = Self::MEAN_DECAY * *mean + (1.0 - Self::MEAN_DECAY) * gradient;
            *square = Self::SQUARE_DECAY * *square + (1.0 - Self::SQUARE_DECAY) * (gradient * gradient);
            // A square root is rounded exactly on every machine.
            *parameter -= rate * *mean / ((*square * square_scale).sqrt() + Self::LEAST_DEVIATION);
        }
    }
}

fn check_lengths(expected: usize, parameters: &[f32], gradients: &[f32]) {
    assert!(
        parameters.len() == expected && gradients.len() == expected,
        "{} parameters and {} gradients for an optimiser of {expected}",
        parameters.len(),
        gradients.len()
    );
}

/// The Euclidean norm, summed in `f64` in eight sums of every eighth value each, which are then added in order.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
pub fn norm(values: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    for values in values.chunks(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    sums.iter().sum::<f64>().sqrt()
}

/// Scales the gradients down to a norm of `most` if theirs is larger. Returns the norm they had.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
pub fn clip_norm(gradients: &mut [f32], most: f64) -> f64 {
    let norm = norm(gradients);
    if norm > most {
        let scale = (most / norm) as f32;
        gradients.iter_mut().for_each(|gradient| *gradient *= scale);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn momentum_follows_its_formula() {
        let mut optimiser = Momentum::new(1, 0.5, 0.5);
        let mut parameter = [1.0];
        optimiser.update(&mut parameter, &[1.0]);
        assert_eq!(parameter, [0.5]);
        optimiser.update(&mut parameter, &[1.0]);
        assert_eq!(parameter, [-0.25]);
    }

    #[test]
    fn adam_takes_the_steps_of_the_paper() {
        let mut optimiser = Adam::new(2, 0.1);
        let mut parameters = [1.0f32, -1.0];
        let (mut mean, mut square) = ([0.0f64; 2], [0.0f64; 2]);
        let mut expected = [1.0f64, -1.0];
        for step in 1..=20 {
            let gradients = [0.3 * step as f32, -1e-3];
            optimiser.update(&mut parameters, &gradients);
            for index in 0..2 {
                let gradient = f64::from(gradients[index]);
                mean[index] = 0.9 * mean[index] + 0.1 * gradient;
                square[index] = 0.999 * square[index] + 0.001 * gradient * gradient;
                let unbiased = mean[index] / (1.0 - 0.9f64.powi(step));
                let deviation = (square[index] / (1.0 - 0.999f64.powi(step))).sqrt();
                expected[index] -= 0.1 * unbiased / (deviation + 1e-8);
                assert!((f64::from(parameters[index]) - expected[index]).abs() < 2e-4, "step {step}");
            }
        }
    }

    #[test]
    fn gradients_are_clipped_only_when_they_are_long() {
        let mut gradients = [3.0f32, 0.0, 4.0];
        assert_eq!(clip_norm(&mut gradients, 10.0), 5.0);
        assert_eq!(gradients, [3.0, 0.0, 4.0]);
        assert_eq!(clip_norm(&mut gradients, 2.5), 5.0);
        assert_eq!(gradients, [1.5, 0.0, 2.0]);
    }
}
