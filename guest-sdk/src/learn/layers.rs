//! Layers and their gradients.
//!
//! A layer keeps where its parameters are among the model's [`Parameters`]. `forward` computes outputs from inputs.
//! `backward` takes the gradient of the loss by the outputs, adds those by the parameters to the model's gradients, and
//! writes those by the inputs if they are asked for.

use super::matrix::{Matrix, MatrixMut, multiply_add};
use super::{Parameters, Random, Slot};
use crate::Error;

/// `y = x w + b`, for each row.
#[derive(Clone, Debug)]
pub struct Linear {
    weights: Slot,
    bias: Slot,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// Adds the parameters `NAME.weights` (inputs x outputs, normal with this deviation) and `NAME.bias` (zeros).
    pub fn new(
        parameters: &mut Parameters,
        name: &str,
        [inputs, outputs]: [usize; 2],
        deviation: f32,
        random: &mut Random,
    ) -> Self {
        let weights = parameters.add_normal(&format!("{name}.weights"), &[inputs, outputs], deviation, random);
        let bias = parameters.add_zeros(&format!("{name}.bias"), &[outputs]);
        Self { weights, bias, inputs, outputs }
    }

    /// `x` has rows of `inputs`, `y` gets as many rows of `outputs`.
    ///
    /// # Panics
    /// When the slices are not whole rows, or not the same number of them.
    pub fn forward(&self, parameters: &Parameters, x: &[f32], y: &mut [f32]) {
        let rows = rows_of(y, self.outputs);
        fill_rows(y, parameters.value(&self.bias));
        let weights = Matrix::new(parameters.value(&self.weights), self.inputs, self.outputs);
        multiply_add(MatrixMut::new(y, rows, self.outputs), matrix(x, rows, self.inputs), weights);
    }

    /// The gradients, by `dy`; those by the inputs are written to `dx`.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn backward(&self, parameters: &mut Parameters, x: &[f32], dy: &[f32], dx: Option<&mut [f32]>) {
        let rows = rows_of(dy, self.outputs);
        add_rows(parameters.gradient(&self.bias), dy);
        let dy = matrix(dy, rows, self.outputs);
        let (weights, gradient) = parameters.value_and_gradient(&self.weights);
        multiply_add(
            MatrixMut::new(gradient, self.inputs, self.outputs),
            matrix(x, rows, self.inputs).transposed(),
            dy,
        );
        if let Some(dx) = dx {
            assert_eq!(dx.len(), rows * self.inputs, "one gradient for each input");
            dx.fill(0.0);
            let weights = Matrix::new(weights, self.inputs, self.outputs).transposed();
            multiply_add(MatrixMut::new(dx, rows, self.inputs), dy, weights);
        }
    }
}

/// Convolution of images whose pixels follow one another row by row, with all channels of a pixel together.
#[derive(Clone, Debug)]
pub struct Convolution {
    weights: Slot,
    bias: Slot,
    shape: ConvolutionShape,
}

/// What goes into a [`Convolution`] and how it moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvolutionShape {
    /// Rows of an input image.
    pub height: usize,
    /// Columns of an input image.
    pub width: usize,
    /// Channels of an input pixel.
    pub inputs: usize,
    /// Channels of an output pixel.
    pub outputs: usize,
    /// Rows and columns of the window.
    pub window: usize,
    /// By how many pixels the window moves.
    pub stride: usize,
    /// Pixels of zeros around an input image.
    pub padding: usize,
}

impl ConvolutionShape {
    /// Rows and columns of an output image.
    ///
    /// # Panics
    /// When the window is larger than the padded image, or the stride is 0.
    pub fn output(&self) -> [usize; 2] {
        [self.height, self.width].map(|size| {
            let padded = size + 2 * self.padding;
            assert!(self.stride > 0 && self.window > 0 && self.window <= padded, "a window that fits: {self:?}");
            (padded - self.window) / self.stride + 1
        })
    }

    fn window_values(&self) -> usize {
        self.window * self.window * self.inputs
    }

    /// Values of an input image.
    pub fn input_values(&self) -> usize {
        self.height * self.width * self.inputs
    }

    /// Values of an output image.
    pub fn output_values(&self) -> usize {
        self.output().iter().product::<usize>() * self.outputs
    }

    /// Calls `f` for each row of each window that lies in the image: with its place in the matrix of windows, its place
    /// in the image, and its length.
    fn for_window_rows(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [rows, columns] = self.output();
        let row_values = self.window * self.inputs;
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let at = (row * columns + column) * self.window_values();
            let left = (column * self.stride).saturating_sub(self.padding);
            let right = (column * self.stride + self.window).saturating_sub(self.padding).min(self.width);
            let skipped = (left + self.padding - column * self.stride) * self.inputs;
            for line in 0..self.window {
                let y = (row * self.stride + line).wrapping_sub(self.padding);
                if y < self.height && left < right {
                    let length = (right - left) * self.inputs;
                    f(at + line * row_values + skipped, (y * self.width + left) * self.inputs, length);
                }
            }
        }
    }
}

impl Convolution {
    /// Adds the parameters `NAME.weights` (window rows, window columns, inputs, outputs; normal with this deviation) and
    /// `NAME.bias` (zeros).
    pub fn new(
        parameters: &mut Parameters,
        name: &str,
        shape: ConvolutionShape,
        deviation: f32,
        random: &mut Random,
    ) -> Self {
        let weight_shape = [shape.window, shape.window, shape.inputs, shape.outputs];
        let weights = parameters.add_normal(&format!("{name}.weights"), &weight_shape, deviation, random);
        let bias = parameters.add_zeros(&format!("{name}.bias"), &[shape.outputs]);
        Self { weights, bias, shape }
    }

    /// `x` holds images, `y` gets as many.
    ///
    /// # Panics
    /// When the slices are not whole images, or not the same number of them.
    pub fn forward(&self, parameters: &Parameters, x: &[f32], y: &mut [f32]) {
        let shape = &self.shape;
        check_images(x, y, shape);
        let positions = shape.output().iter().product();
        fill_rows(y, parameters.value(&self.bias));
        let weights = Matrix::new(parameters.value(&self.weights), shape.window_values(), shape.outputs);
        let mut windows = vec![0.0; positions * shape.window_values()];
        for (x, y) in x.chunks_exact(shape.input_values()).zip(y.chunks_exact_mut(shape.output_values())) {
            shape.for_window_rows(|to, from, length| {
                windows[to..to + length].copy_from_slice(&x[from..from + length]);
            });
            let windows = Matrix::new(&windows, positions, shape.window_values());
            multiply_add(MatrixMut::new(y, positions, shape.outputs), windows, weights);
        }
    }

    /// The gradients, by `dy`; those by the inputs are written to `dx`.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn backward(&self, parameters: &mut Parameters, x: &[f32], dy: &[f32], mut dx: Option<&mut [f32]>) {
        let shape = &self.shape;
        check_images(x, dy, shape);
        let positions = shape.output().iter().product();
        let window_values = shape.window_values();
        add_rows(parameters.gradient(&self.bias), dy);
        let (weights, gradient) = parameters.value_and_gradient(&self.weights);
        let weights = Matrix::new(weights, window_values, shape.outputs).transposed();
        let mut windows = vec![0.0; positions * window_values];
        let mut d_windows = vec![0.0; if dx.is_some() { windows.len() } else { 0 }];
        if let Some(dx) = &mut dx {
            assert_eq!(dx.len(), x.len(), "one gradient for each input");
            dx.fill(0.0);
        }
        let images = x.chunks_exact(shape.input_values()).zip(dy.chunks_exact(shape.output_values()));
        for (image, (x, dy)) in images.enumerate() {
            let dy = Matrix::new(dy, positions, shape.outputs);
            shape.for_window_rows(|to, from, length| {
                windows[to..to + length].copy_from_slice(&x[from..from + length]);
            });
            multiply_add(
                MatrixMut::new(gradient, window_values, shape.outputs),
                Matrix::new(&windows, positions, window_values).transposed(),
                dy,
            );
            if let Some(dx) = &mut dx {
                let dx = &mut dx[image * shape.input_values()..][..shape.input_values()];
                d_windows.fill(0.0);
                multiply_add(MatrixMut::new(&mut d_windows, positions, window_values), dy, weights);
                shape
                    .for_window_rows(|from, to, length| add(&mut dx[to..to + length], &d_windows[from..from + length]));
            }
        }
    }
}

/// Brings each row to mean 0 and deviation 1, then scales and shifts each column.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    scale: Slot,
    shift: Slot,
    columns: usize,
}

impl LayerNorm {
    /// What is added to the variance, so that rows of equal values are no division by zero.
    const LEAST_VARIANCE: f32 = 1e-5;

    /// Adds the parameters `NAME.scale` (ones) and `NAME.shift` (zeros).
    pub fn new(parameters: &mut Parameters, name: &str, columns: usize) -> Self {
        let scale = parameters.add(&format!("{name}.scale"), &[columns], || 1.0);
        let shift = parameters.add_zeros(&format!("{name}.shift"), &[columns]);
        Self { scale, shift, columns }
    }

    /// What is subtracted from a row, and by what it is multiplied then.
    fn mean_and_factor(&self, row: &[f32]) -> (f32, f32) {
        let columns = self.columns as f32;
        let mean = sum_of(row, |value| value) / columns;
        let variance = sum_of(row, |value| (value - mean) * (value - mean)) / columns;
        (mean, 1.0 / (variance + Self::LEAST_VARIANCE).sqrt())
    }

    /// `x` and `y` have rows of `columns`.
    ///
    /// # Panics
    /// When the slices are not whole rows, or not the same number of them.
    pub fn forward(&self, parameters: &Parameters, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "as many outputs as inputs");
        rows_of(x, self.columns);
        let (scale, shift) = (parameters.value(&self.scale), parameters.value(&self.shift));
        for (x, y) in x.chunks_exact(self.columns).zip(y.chunks_exact_mut(self.columns)) {
            let (mean, factor) = self.mean_and_factor(x);
            for ((y, x), (scale, shift)) in y.iter_mut().zip(x).zip(scale.iter().zip(shift)) {
                *y = (x - mean) * factor * scale + shift;
            }
        }
    }

    /// The gradients, by `dy`; those by the inputs are written to `dx`.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn backward(&self, parameters: &mut Parameters, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        assert!(x.len() == dy.len() && x.len() == dx.len(), "as many outputs and gradients as inputs");
        rows_of(x, self.columns);
        add_rows(parameters.gradient(&self.shift), dy);
        let (scale, d_scale) = parameters.value_and_gradient(&self.scale);
        let columns = self.columns as f32;
        let rows = x.chunks_exact(self.columns).zip(dy.chunks_exact(self.columns));
        for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(self.columns)) {
            let (mean, factor) = self.mean_and_factor(x);
            for (index, dx) in dx.iter_mut().enumerate() {
                let normal = (x[index] - mean) * factor;
                d_scale[index] += dy[index] * normal;
                *dx = dy[index] * scale[index];
            }
            // The mean and the deviation move with every input of the row.
            let by_mean = sum_of(dx, |value| value) / columns;
            let products: f32 = x.iter().zip(&*dx).map(|(x, dx)| (x - mean) * factor * dx).sum();
            let by_deviation = products / columns;
            for (x, dx) in x.iter().zip(dx) {
                *dx = factor * (*dx - by_mean - (x - mean) * factor * by_deviation);
            }
        }
    }
}

/// A learned row for each symbol of an alphabet.
#[derive(Clone, Debug)]
pub struct Embedding {
    rows: Slot,
    symbols: usize,
    columns: usize,
}

impl Embedding {
    /// Adds the parameter `NAME` (symbols x columns, normal with this deviation).
    pub fn new(
        parameters: &mut Parameters,
        name: &str,
        [symbols, columns]: [usize; 2],
        deviation: f32,
        random: &mut Random,
    ) -> Self {
        Self { rows: parameters.add_normal(name, &[symbols, columns], deviation, random), symbols, columns }
    }

    /// Adds to each row of `y` that of a symbol.
    ///
    /// # Panics
    /// When a symbol is not in the alphabet, or `y` has not one row for each.
    pub fn add_forward(&self, parameters: &Parameters, symbols: impl Iterator<Item = usize>, y: &mut [f32]) {
        let rows = parameters.value(&self.rows);
        let mut places = y.chunks_mut(self.columns);
        for symbol in symbols {
            assert!(symbol < self.symbols, "symbol {symbol} of {}", self.symbols);
            add(places.next().expect(ONE_ROW), &rows[symbol * self.columns..][..self.columns]);
        }
        assert!(places.next().is_none(), "{ONE_ROW}");
    }

    /// The gradients, by `dy`.
    ///
    /// # Panics
    /// As [`Self::add_forward`].
    pub fn backward(&self, parameters: &mut Parameters, symbols: impl Iterator<Item = usize>, dy: &[f32]) {
        let gradient = parameters.gradient(&self.rows);
        let mut rows = dy.chunks(self.columns);
        for symbol in symbols {
            assert!(symbol < self.symbols, "symbol {symbol} of {}", self.symbols);
            add(&mut gradient[symbol * self.columns..][..self.columns], rows.next().expect(ONE_ROW));
        }
        assert!(rows.next().is_none(), "{ONE_ROW}");
    }
}

const ONE_ROW: &str = "one row for each symbol";

/// Replaces negative values by 0.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
pub fn relu(values: &mut [f32]) {
    // Written so that a NaN stays one, to be found later.
    values.iter_mut().for_each(|value| *value = if *value < 0.0 { 0.0 } else { *value });
}

/// Scales each value by about its share of a normal distribution: the Gaussian error linear unit of Hendrycks and Gimpel
/// (arXiv:1606.08415), by their formula with `tanh`. `x` are the inputs, `y` gets as many outputs.
///
/// # Panics
/// When `x` and `y` have different lengths.
pub fn gelu(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "one output for each input");
    for (&x, y) in x.iter().zip(y) {
        *y = 0.5 * x * (1.0 + gelu_tanh(x));
    }
}

/// Turns the gradient by the outputs of [`gelu`] into that by its inputs, `x`.
///
/// # Panics
/// When `x` and `gradients` have different lengths.
pub fn gelu_backward(x: &[f32], gradients: &mut [f32]) {
    assert_eq!(x.len(), gradients.len(), "one gradient for each input");
    for (&x, gradient) in x.iter().zip(gradients) {
        let tanh = gelu_tanh(x);
        let inner = GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * x * x);
        *gradient *= 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner;
    }
}

/// The square root of 2/pi.
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBE: f32 = 0.044_715;

fn gelu_tanh(x: f32) -> f32 {
    libm::tanhf(GELU_SCALE * (x + GELU_CUBE * x * x * x))
}

/// Turns the gradient by the outputs of [`relu`] into that by its inputs. `y` are the outputs.
///
/// # Panics
/// When there are not as many gradients as outputs.
#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
pub fn relu_backward(y: &[f32], gradients: &mut [f32]) {
    assert_eq!(y.len(), gradients.len(), "one gradient for each output");
    gradients.iter_mut().zip(y).for_each(|(gradient, y)| *gradient = if *y > 0.0 { *gradient } else { 0.0 });
}

/// Turns scores into probabilities, in place.
pub fn softmax(scores: &mut [f32]) {
    normalise(scores);
}

/// Turns scores into probabilities, in place, and returns `-ln` of the probability of `label`, in nats. That follows from the
/// scores and not from the probability, which may be too small for a number.
///
/// # Panics
/// When there is no score for `label`.
pub fn softmax_loss(scores: &mut [f32], label: usize) -> f32 {
    let score = scores[label];
    let [most, sum] = normalise(scores);
    libm::logf(sum) + (most - score)
}

/// What [`softmax`] does. Returns the largest score, and the sum of `e^(score - largest)`.
fn normalise(scores: &mut [f32]) -> [f32; 2] {
    let most = scores.iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score));
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = libm::expf(*score - most);
        sum += *score;
    }
    let factor = 1.0 / sum;
    scores.iter_mut().for_each(|score| *score *= factor);
    [most, sum]
}

/// The mean loss, `-ln` of the probability that softmax gives the right class, in nats. The scores, one row of `classes`
/// for each label, become the gradients by them.
///
/// # Errors
/// With the row in which a score or the loss is not finite, or a label is not below `classes`.
///
/// # Panics
/// When there is not one row for each label, or there are no labels.
pub fn softmax_cross_entropy(scores: &mut [f32], classes: usize, labels: &[usize]) -> Result<f32, Error> {
    assert!(scores.len() == labels.len() * classes && !labels.is_empty(), "one row of scores for each label");
    let share = 1.0 / labels.len() as f32;
    let mut loss = 0.0;
    for (row, (scores, &label)) in scores.chunks_exact_mut(classes).zip(labels).enumerate() {
        if label >= classes {
            return Err(Error::failed(format!(
                "row {row} of the batch: label {label}, but there are {classes} classes"
            )));
        }
        let is_finite = scores.iter().all(|score| score.is_finite());
        let row_loss = softmax_loss(scores, label);
        if !is_finite || !row_loss.is_finite() {
            return Err(Error::failed(format!(
                "row {row} of the batch: the loss is not finite, training has diverged"
            )));
        }
        loss += row_loss;
        scores[label] -= 1.0;
        scores.iter_mut().for_each(|score| *score *= share);
    }
    Ok(loss * share)
}

/// The position of the largest value, the first of them if there are several.
///
/// # Panics
/// When there are no values.
pub fn largest(values: &[f32]) -> usize {
    assert!(!values.is_empty(), "values");
    (1..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

fn rows_of(values: &[f32], columns: usize) -> usize {
    assert!(columns > 0 && values.len().is_multiple_of(columns), "{} values, rows of {columns}", values.len());
    values.len() / columns
}

fn matrix(values: &[f32], rows: usize, columns: usize) -> Matrix<'_> {
    assert_eq!(values.len(), rows * columns, "{rows} rows of {columns}");
    Matrix::new(values, rows, columns)
}

fn check_images(x: &[f32], y: &[f32], shape: &ConvolutionShape) {
    let images = rows_of(x, shape.input_values());
    assert_eq!(y.len(), images * shape.output_values(), "{images} images");
}

#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn fill_rows(values: &mut [f32], row: &[f32]) {
    values.chunks_exact_mut(row.len()).for_each(|values| values.copy_from_slice(row));
}

/// Adds all rows to `sums`.
fn add_rows(sums: &mut [f32], rows: &[f32]) {
    rows.chunks_exact(sums.len()).for_each(|row| add(sums, row));
}

#[cfg_attr(all(target_arch = "wasm32", not(feature = "scalar")), target_feature(enable = "simd128"))]
fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// Four sums of every fourth value each, which are then added in order.
fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; 4];
    for values in values.chunks(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += f(*value);
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests;
