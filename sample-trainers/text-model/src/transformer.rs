//! A transformer of one block.
//!
//! The last symbols, each by its distance, and the place are embedded and added; then attention and a layer of hidden values each add to that what they
//! make of its normalised form; a last layer turns its normalised form into scores for the next symbol.

use fedmkt_guest::learn::layers::{
    Embedding, LayerNorm, Linear, gelu, gelu_backward, softmax, softmax_cross_entropy, softmax_loss,
};
use fedmkt_guest::learn::matrix::{Matrix, MatrixMut, multiply_add};
use fedmkt_guest::learn::{Parameters, Random};
use fedmkt_guest::{Error, Tensors};

use crate::text::{SYMBOLS, Text, Windows};

/// The most symbols that the model sees at once.
pub const CONTEXT: usize = 64;

/// How many symbols are embedded together: attention can find any symbol of the context, but most of what decides the
/// next one stands right before it.
const RECENT: usize = 8;
const WIDTH: usize = 96;
const HEADS: usize = 4;
const HEAD_WIDTH: usize = WIDTH / HEADS;
const HIDDEN: usize = 4 * WIDTH;
/// Query, key and value of a symbol follow one another.
const ATTENTION_INPUTS: usize = 3 * WIDTH;

/// The weights whose changes adapters learn.
pub const ADAPTED: [&str; 5] =
    ["attention.weights", "mixed.weights", "hidden.weights", "back.weights", "output.weights"];

/// The model, and what its last forward pass left behind.
pub struct Transformer {
    /// What is learned.
    pub parameters: Parameters,
    /// For each distance, from 0 on. What stands before a window has a symbol of its own.
    recent: [Embedding; RECENT],
    places: Embedding,
    before_attention: LayerNorm,
    attention: Linear,
    mixed: Linear,
    before_hidden: LayerNorm,
    hidden: Linear,
    back: Linear,
    before_output: LayerNorm,
    output: Linear,
    values: Values,
}

/// One row for each symbol of each window.
#[derive(Default)]
struct Values {
    embedded: Vec<f32>,
    normal_1: Vec<f32>,
    /// Queries, keys and values.
    attention: Vec<f32>,
    /// For each window and head, how much each symbol (row) takes from each other.
    shares: Vec<f32>,
    taken: Vec<f32>,
    attended: Vec<f32>,
    normal_2: Vec<f32>,
    hidden: Vec<f32>,
    /// After the non-linear function.
    active: Vec<f32>,
    result: Vec<f32>,
    normal_3: Vec<f32>,
    scores: Vec<f32>,
}

impl Transformer {
    /// A model that knows nothing; the seed decides where it starts.
    pub fn initial(seed: u64) -> Self {
        let random = &mut Random::seeded(seed);
        let mut parameters = Parameters::new();
        let p = &mut parameters;
        let deviation = |inputs: usize| 1.0 / (inputs as f32).sqrt();
        Self {
            recent: core::array::from_fn(|distance| {
                Embedding::new(p, &format!("recent.{distance}"), [SYMBOLS + 1, WIDTH], 0.1, random)
            }),
            places: Embedding::new(p, "places", [CONTEXT, WIDTH], 0.1, random),
            before_attention: LayerNorm::new(p, "before_attention", WIDTH),
            attention: Linear::new(p, "attention", [WIDTH, ATTENTION_INPUTS], deviation(WIDTH), random),
            mixed: Linear::new(p, "mixed", [WIDTH, WIDTH], 0.5 * deviation(WIDTH), random),
            before_hidden: LayerNorm::new(p, "before_hidden", WIDTH),
            hidden: Linear::new(p, "hidden", [WIDTH, HIDDEN], deviation(WIDTH), random),
            back: Linear::new(p, "back", [HIDDEN, WIDTH], 0.5 * deviation(HIDDEN), random),
            before_output: LayerNorm::new(p, "before_output", WIDTH),
            output: Linear::new(p, "output", [WIDTH, SYMBOLS], 0.5 * deviation(WIDTH), random),
            parameters,
            values: Values::default(),
        }
    }

    /// A stored model.
    ///
    /// # Errors
    /// When the tensors are another model's.
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, Error> {
        let mut model = Self::initial(0);
        model.parameters.load(tensors)?;
        Ok(model)
    }

    /// Computes the scores of the next symbol after each symbol of each window.
    ///
    /// # Panics
    /// When windows are longer than [`CONTEXT`].
    pub fn forward(&mut self, windows: &Windows) -> &mut [f32] {
        let length = windows.length;
        assert!(length <= CONTEXT, "windows of {length}");
        let rows = windows.symbols.len();
        let (p, v) = (&self.parameters, &mut self.values);
        let room = |values: &mut Vec<f32>, columns: usize| values.resize(rows * columns, 0.0);

        v.embedded.clear();
        room(&mut v.embedded, WIDTH);
        for (distance, embedding) in self.recent.iter().enumerate() {
            embedding.add_forward(p, symbols_before(windows, distance), &mut v.embedded);
        }
        self.places.add_forward(p, (0..rows).map(|row| row % length), &mut v.embedded);

        room(&mut v.normal_1, WIDTH);
        self.before_attention.forward(p, &v.embedded, &mut v.normal_1);
        room(&mut v.attention, ATTENTION_INPUTS);
        self.attention.forward(p, &v.normal_1, &mut v.attention);
        room(&mut v.taken, WIDTH);
        room(&mut v.shares, HEADS * length);
        attend(&v.attention, &mut v.shares, &mut v.taken, length);
        room(&mut v.attended, WIDTH);
        self.mixed.forward(p, &v.taken, &mut v.attended);
        add(&mut v.attended, &v.embedded);

        room(&mut v.normal_2, WIDTH);
        self.before_hidden.forward(p, &v.attended, &mut v.normal_2);
        room(&mut v.hidden, HIDDEN);
        self.hidden.forward(p, &v.normal_2, &mut v.hidden);
        room(&mut v.active, HIDDEN);
        gelu(&v.hidden, &mut v.active);
        room(&mut v.result, WIDTH);
        self.back.forward(p, &v.active, &mut v.result);
        add(&mut v.result, &v.attended);

        room(&mut v.normal_3, WIDTH);
        self.before_output.forward(p, &v.result, &mut v.normal_3);
        room(&mut v.scores, SYMBOLS);
        self.output.forward(p, &v.normal_3, &mut v.scores);
        &mut v.scores
    }

    /// The mean loss in nats for each symbol, and in the parameters its gradients.
    ///
    /// # Errors
    /// When the loss is not finite.
    pub fn loss_and_gradients(&mut self, windows: &Windows) -> Result<f32, Error> {
        self.forward(windows);
        self.parameters.clear_gradients();
        let loss = softmax_cross_entropy(&mut self.values.scores, SYMBOLS, &windows.next)?;
        self.backward(windows);
        Ok(loss)
    }

    /// Adds to the gradients; the scores have been replaced by theirs.
    fn backward(&mut self, windows: &Windows) {
        let rows = windows.symbols.len();
        let (p, v) = (&mut self.parameters, &self.values);
        let mut by_normal = vec![0.0; rows * WIDTH];
        let mut by_result = vec![0.0; rows * WIDTH];
        self.output.backward(p, &v.normal_3, &v.scores, Some(&mut by_normal));
        self.before_output.backward(p, &v.result, &by_normal, &mut by_result);

        let mut by_hidden = vec![0.0; rows * HIDDEN];
        self.back.backward(p, &v.active, &by_result, Some(&mut by_hidden));
        gelu_backward(&v.hidden, &mut by_hidden);
        self.hidden.backward(p, &v.normal_2, &by_hidden, Some(&mut by_normal));
        let mut by_attended = vec![0.0; rows * WIDTH];
        self.before_hidden.backward(p, &v.attended, &by_normal, &mut by_attended);
        add(&mut by_attended, &by_result);

        let mut by_taken = vec![0.0; rows * WIDTH];
        self.mixed.backward(p, &v.taken, &by_attended, Some(&mut by_taken));
        let mut by_attention = vec![0.0; rows * ATTENTION_INPUTS];
        attend_backward(&v.attention, &v.shares, &by_taken, &mut by_attention, windows.length);
        self.attention.backward(p, &v.normal_1, &by_attention, Some(&mut by_normal));
        let mut by_embedded = vec![0.0; rows * WIDTH];
        self.before_attention.backward(p, &v.embedded, &by_normal, &mut by_embedded);
        add(&mut by_embedded, &by_attended);
        for (distance, embedding) in self.recent.iter().enumerate() {
            embedding.backward(p, symbols_before(windows, distance), &by_embedded);
        }
        self.places.backward(p, (0..rows).map(|row| row % windows.length), &by_embedded);
    }

    /// Mean bits for each character of a text, of which each is predicted from at least half a context, except at the
    /// beginning.
    ///
    /// # Errors
    /// When the text cannot be read, or the loss is not finite.
    ///
    /// # Panics
    /// When the text is not longer than a context.
    pub fn bits(&mut self, text: &mut Text) -> Result<f64, Error> {
        let (mut nats, mut count) = (0.0, 0u64);
        let last = text.len() - CONTEXT as u64 - 1;
        for start in (0..=last).step_by(CONTEXT / 2) {
            let windows = Windows::read(text, CONTEXT, [start].into_iter())?;
            let first = if start == 0 { 0 } else { CONTEXT / 2 };
            for (scores, &next) in self.forward(&windows).chunks_exact_mut(SYMBOLS).zip(&windows.next).skip(first) {
                nats += f64::from(softmax_loss(scores, next));
                count += 1;
            }
        }
        Ok(nats / count as f64 / core::f64::consts::LN_2)
    }
}

/// For each symbol of each window, the one that stands so far before it.
fn symbols_before(windows: &Windows, distance: usize) -> impl Iterator<Item = usize> {
    let symbols = &windows.symbols;
    let length = windows.length;
    (0..symbols.len()).map(move |row| if row % length >= distance { symbols[row - distance] } else { SYMBOLS })
}

fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// How strongly products of queries and keys count, so that they are about as large as their factors.
fn strength() -> f32 {
    1.0 / (HEAD_WIDTH as f32).sqrt()
}

/// Query, key and value of a head in the rows of a window.
fn head(attention: &[f32], length: usize, head: usize) -> [Matrix<'_>; 3] {
    [0, 1, 2]
        .map(|part| Matrix::part(&attention[part * WIDTH + head * HEAD_WIDTH..], length, HEAD_WIDTH, ATTENTION_INPUTS))
}

/// Each symbol takes values from itself and the symbols before it: the more, the better their keys fit its query.
fn attend(attention: &[f32], shares: &mut [f32], taken: &mut [f32], length: usize) {
    shares.fill(0.0);
    taken.fill(0.0);
    let windows = attention.chunks_exact(length * ATTENTION_INPUTS).zip(taken.chunks_exact_mut(length * WIDTH));
    let mut shares = shares.chunks_exact_mut(length * length);
    for (attention, taken) in windows {
        for index in 0..HEADS {
            let shares = shares.next().expect("one for each window and head");
            let [query, key, value] = head(attention, length, index);
            multiply_add(MatrixMut::new(shares, length, length), query, key.transposed());
            for (place, shares) in shares.chunks_exact_mut(length).enumerate() {
                let (before, after) = shares.split_at_mut(place + 1);
                before.iter_mut().for_each(|share| *share *= strength());
                softmax(before);
                after.fill(0.0);
            }
            let taken = MatrixMut::part(&mut taken[index * HEAD_WIDTH..], length, HEAD_WIDTH, WIDTH);
            multiply_add(taken, Matrix::new(shares, length, length), value);
        }
    }
}

/// The gradients of [`attend`]. `by_attention` holds zeros.
fn attend_backward(attention: &[f32], shares: &[f32], by_taken: &[f32], by_attention: &mut [f32], length: usize) {
    let mut by_shares = vec![0.0; length * length];
    let windows = attention.chunks_exact(length * ATTENTION_INPUTS).zip(by_taken.chunks_exact(length * WIDTH));
    let windows = windows.zip(by_attention.chunks_exact_mut(length * ATTENTION_INPUTS));
    let mut shares = shares.chunks_exact(length * length);
    for ((attention, by_taken), by_attention) in windows {
        for index in 0..HEADS {
            let shares = shares.next().expect("one for each window and head");
            let [query, key, value] = head(attention, length, index);
            let by_taken = Matrix::part(&by_taken[index * HEAD_WIDTH..], length, HEAD_WIDTH, WIDTH);
            by_shares.fill(0.0);
            multiply_add(MatrixMut::new(&mut by_shares, length, length), by_taken, value.transposed());
            for (by_shares, shares) in by_shares.chunks_exact_mut(length).zip(shares.chunks_exact(length)) {
                let common: f32 = by_shares.iter().zip(shares).map(|(by_share, share)| by_share * share).sum();
                for (by_share, share) in by_shares.iter_mut().zip(shares) {
                    *by_share = share * (*by_share - common) * strength();
                }
            }
            let shares = Matrix::new(shares, length, length);
            let by_shares = Matrix::new(&by_shares, length, length);
            let factors = [(by_shares, key), (by_shares.transposed(), query), (shares.transposed(), by_taken)];
            for (part, (left, right)) in factors.into_iter().enumerate() {
                let start = part * WIDTH + index * HEAD_WIDTH;
                let gradient = MatrixMut::part(&mut by_attention[start..], length, HEAD_WIDTH, ATTENTION_INPUTS);
                multiply_add(gradient, left, right);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fedmkt_guest::learn::norm;

    use super::*;

    fn windows(length: usize) -> Windows {
        let mut random = Random::seeded(3);
        let mut symbols = || (0..2 * length).map(|_| random.below(SYMBOLS)).collect();
        Windows { length, symbols: symbols(), next: symbols() }
    }

    #[test]
    fn the_gradients_are_those_of_the_loss() {
        let windows = windows(5);
        let mut model = Transformer::initial(1);
        // Biases and shifts start at zero, where a wrong sign would not be seen.
        let mut random = Random::seeded(2);
        model.parameters.values.iter_mut().for_each(|value| *value += 0.05 * random.normal());
        model.loss_and_gradients(&windows).expect("finite");
        let gradients = model.parameters.gradients.clone();
        // Along the gradient of one tensor after the other, because a single parameter moves the loss by less than it is
        // rounded.
        let names: Vec<String> = model.parameters.to_tensors().names().map(str::to_string).collect();
        for name in names {
            let (slot, _) = model.parameters.find(&name).expect("a tensor");
            let gradient = model.parameters.gradient(&slot).to_vec();
            let length = norm(&gradient);
            let original = model.parameters.value(&slot).to_vec();
            let mut loss_at = |step: f64| {
                let values = model.parameters.value_mut(&slot);
                for ((value, original), along) in values.iter_mut().zip(&original).zip(&gradient) {
                    *value = original + (step * f64::from(*along) / length) as f32;
                }
                f64::from(model.loss_and_gradients(&windows).expect("finite"))
            };
            let step = 0.01;
            let found = (loss_at(step) - loss_at(-step)) / (2.0 * step);
            model.parameters.value_mut(&slot).copy_from_slice(&original);
            model.parameters.gradients.copy_from_slice(&gradients);
            assert!((found - length).abs() < 0.02 * length + 5e-4, "{name}: {found}, but the gradient says {length}");
        }
    }

    #[test]
    fn no_symbol_sees_those_after_it() {
        let mut model = Transformer::initial(1);
        let mut windows = windows(6);
        let before = model.forward(&windows).to_vec();
        windows.symbols[4] = (windows.symbols[4] + 1) % SYMBOLS;
        let after = model.forward(&windows).to_vec();
        assert_eq!(before[..4 * SYMBOLS], after[..4 * SYMBOLS]);
        assert_ne!(before[4 * SYMBOLS..6 * SYMBOLS], after[4 * SYMBOLS..6 * SYMBOLS]);
        // Nor does the other window.
        assert_eq!(before[6 * SYMBOLS..], after[6 * SYMBOLS..]);
    }
}
