//! The network: two convolutions and a linear layer.

use fedmkt_guest::learn::layers::{Convolution, ConvolutionShape, Linear, relu, relu_backward};
use fedmkt_guest::learn::{Parameters, Random};

use crate::Network;
use crate::data::{CLASSES, PIXELS, SIDE};

const FIRST: ConvolutionShape =
    ConvolutionShape { height: SIDE, width: SIDE, inputs: 1, outputs: 16, window: 3, stride: 1, padding: 1 };
/// Moves by two pixels, so that 4 x 4 are left.
const SECOND: ConvolutionShape =
    ConvolutionShape { height: SIDE, width: SIDE, inputs: 16, outputs: 32, window: 3, stride: 2, padding: 1 };
const FEATURES: usize = SIDE / 2 * SIDE / 2 * 32;

/// The deviation of weights before a ReLU that keeps values as large as they were (He et al. 2015).
pub(crate) fn before_relu(inputs: usize) -> f32 {
    (2.0 / inputs as f32).sqrt()
}

/// A convolutional network, and what its last forward pass left behind.
pub struct Cnn {
    parameters: Parameters,
    first: Convolution,
    second: Convolution,
    output: Linear,
    first_values: Vec<f32>,
    second_values: Vec<f32>,
    by_first: Vec<f32>,
    by_second: Vec<f32>,
}

impl Network for Cnn {
    const EPOCHS: u64 = 30;
    const RATE: f32 = 0.05;
    const MOST_SHIFT: usize = 1;

    fn initial(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let mut parameters = Parameters::new();
        let first = Convolution::new(&mut parameters, "first", FIRST, before_relu(9), &mut random);
        let second = Convolution::new(&mut parameters, "second", SECOND, before_relu(9 * FIRST.outputs), &mut random);
        let deviation = 0.5 * before_relu(FEATURES);
        let output = Linear::new(&mut parameters, "output", [FEATURES, CLASSES], deviation, &mut random);
        let [first_values, second_values, by_first, by_second] = [const { Vec::new() }; 4];
        Self { parameters, first, second, output, first_values, second_values, by_first, by_second }
    }

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn forward(&mut self, images: &[f32]) -> Vec<f32> {
        let count = images.len() / PIXELS;
        self.first_values.resize(count * FIRST.output_values(), 0.0);
        self.first.forward(&self.parameters, images, &mut self.first_values);
        relu(&mut self.first_values);
        self.second_values.resize(count * FEATURES, 0.0);
        self.second.forward(&self.parameters, &self.first_values, &mut self.second_values);
        relu(&mut self.second_values);
        let mut scores = vec![0.0; count * CLASSES];
        self.output.forward(&self.parameters, &self.second_values, &mut scores);
        scores
    }

    fn backward(&mut self, images: &[f32], by_scores: &[f32]) {
        let parameters = &mut self.parameters;
        self.by_second.resize(self.second_values.len(), 0.0);
        self.output.backward(parameters, &self.second_values, by_scores, Some(&mut self.by_second));
        relu_backward(&self.second_values, &mut self.by_second);
        self.by_first.resize(self.first_values.len(), 0.0);
        self.second.backward(parameters, &self.first_values, &self.by_second, Some(&mut self.by_first));
        relu_backward(&self.first_values, &mut self.by_first);
        self.first.backward(parameters, images, &self.by_first, None);
    }
}
