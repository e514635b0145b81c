//! A multilayer perceptron: 64 pixels, 32 hidden values, 10 scores.

use fedmkt_guest::learn::layers::{Linear, relu, relu_backward};
use fedmkt_guest::learn::{Parameters, Random};

use crate::data::{CLASSES, PIXELS};
use crate::{Network, cnn};

const HIDDEN: usize = 32;

/// A network with one hidden layer, and what its last forward pass left behind.
pub struct Mlp {
    parameters: Parameters,
    hidden: Linear,
    output: Linear,
    hidden_values: Vec<f32>,
    by_hidden: Vec<f32>,
}

impl Network for Mlp {
    const EPOCHS: u64 = 60;
    const RATE: f32 = 0.1;
    const MOST_SHIFT: usize = 0;

    fn initial(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let mut parameters = Parameters::new();
        let hidden = Linear::new(&mut parameters, "hidden", [PIXELS, HIDDEN], cnn::before_relu(PIXELS), &mut random);
        let output =
            Linear::new(&mut parameters, "output", [HIDDEN, CLASSES], 0.5 * cnn::before_relu(HIDDEN), &mut random);
        Self { parameters, hidden, output, hidden_values: Vec::new(), by_hidden: Vec::new() }
    }

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn forward(&mut self, images: &[f32]) -> Vec<f32> {
        let count = images.len() / PIXELS;
        self.hidden_values.resize(count * HIDDEN, 0.0);
        self.hidden.forward(&self.parameters, images, &mut self.hidden_values);
        relu(&mut self.hidden_values);
        let mut scores = vec![0.0; count * CLASSES];
        self.output.forward(&self.parameters, &self.hidden_values, &mut scores);
        scores
    }

    fn backward(&mut self, images: &[f32], by_scores: &[f32]) {
        self.by_hidden.resize(self.hidden_values.len(), 0.0);
        self.output.backward(&mut self.parameters, &self.hidden_values, by_scores, Some(&mut self.by_hidden));
        relu_backward(&self.hidden_values, &mut self.by_hidden);
        self.hidden.backward(&mut self.parameters, images, &self.by_hidden, None);
    }
}
