//! Gradients against finite differences.

use super::*;

fn random_values(count: usize, random: &mut Random) -> Vec<f32> {
    (0..count).map(|_| random.normal()).collect()
}

/// The loss that tests use: the outputs, each weighted by a random number, so that the weights are its gradient.
fn weighted(outputs: &[f32], weights: &[f32]) -> f64 {
    outputs.iter().zip(weights).map(|(output, weight)| f64::from(*output) * f64::from(*weight)).sum()
}

/// Checks each gradient against the slope between two points around the value. `loss` computes the loss anew.
fn check<T>(
    state: &mut T,
    count: usize,
    gradients: &[f32],
    value: impl Fn(&mut T, usize) -> &mut f32,
    mut loss: impl FnMut(&mut T) -> f64,
) {
    const STEP: f32 = 1.0 / 256.0;
    assert_eq!(gradients.len(), count);
    for (index, &gradient) in gradients.iter().enumerate() {
        let original = *value(state, index);
        *value(state, index) = original + STEP;
        let above = loss(state);
        *value(state, index) = original - STEP;
        let below = loss(state);
        *value(state, index) = original;
        let slope = (above - below) / f64::from(2.0 * STEP);
        let tolerance = 2e-3 * (1.0 + slope.abs());
        assert!((slope - f64::from(gradient)).abs() < tolerance, "{index}: {gradient}, but the slope is {slope}");
    }
}

/// Parameters and inputs of a layer under test.
struct State {
    parameters: Parameters,
    x: Vec<f32>,
}

/// Checks a layer's gradients by parameters and inputs.
fn check_layer(
    mut parameters: Parameters,
    inputs: usize,
    outputs: usize,
    forward: impl Fn(&Parameters, &[f32], &mut [f32]),
    backward: impl Fn(&mut Parameters, &[f32], &[f32], &mut [f32]),
) {
    let mut random = Random::seeded(99);
    let x = random_values(inputs, &mut random);
    let dy = random_values(outputs, &mut random);
    let mut dx = random_values(inputs, &mut random);
    // Biases start at zero, where a wrong sign would not be seen.
    parameters.values.iter_mut().for_each(|value| *value += 0.3 * random.normal());
    backward(&mut parameters, &x, &dy, &mut dx);
    let gradients = parameters.gradients.clone();
    let mut state = State { parameters, x };
    let mut y = vec![0.0; outputs];
    let mut loss = |state: &mut State| {
        forward(&state.parameters, &state.x, &mut y);
        weighted(&y, &dy)
    };
    check(&mut state, gradients.len(), &gradients, |state, index| &mut state.parameters.values[index], &mut loss);
    check(&mut state, inputs, &dx, |state, index| &mut state.x[index], &mut loss);
}

#[test]
fn linear() {
    let mut parameters = Parameters::new();
    let layer = Linear::new(&mut parameters, "linear", [5, 3], 1.0, &mut Random::seeded(1));
    check_layer(
        parameters,
        4 * 5,
        4 * 3,
        |parameters, x, y| layer.forward(parameters, x, y),
        |parameters, x, dy, dx| layer.backward(parameters, x, dy, Some(dx)),
    );
}

#[test]
fn convolutions() {
    for (height, width, window, stride, padding) in
        [(5, 4, 3, 1, 1), (6, 5, 3, 2, 1), (4, 4, 2, 2, 0), (3, 3, 3, 1, 0), (2, 3, 1, 1, 0), (3, 2, 5, 1, 2)]
    {
        let shape = ConvolutionShape { height, width, inputs: 2, outputs: 3, window, stride, padding };
        let mut parameters = Parameters::new();
        let layer = Convolution::new(&mut parameters, "convolution", shape, 1.0, &mut Random::seeded(1));
        check_layer(
            parameters,
            2 * shape.input_values(),
            2 * shape.output_values(),
            |parameters, x, y| layer.forward(parameters, x, y),
            |parameters, x, dy, dx| layer.backward(parameters, x, dy, Some(dx)),
        );
    }
}

#[test]
fn a_convolution_is_what_its_definition_says() {
    let shape = ConvolutionShape { height: 5, width: 4, inputs: 2, outputs: 3, window: 3, stride: 2, padding: 1 };
    let mut random = Random::seeded(3);
    let mut parameters = Parameters::new();
    let layer = Convolution::new(&mut parameters, "convolution", shape, 1.0, &mut random);
    let x = random_values(shape.input_values(), &mut random);
    let mut y = vec![0.0; shape.output_values()];
    layer.forward(&parameters, &x, &mut y);
    let weights = parameters.value(&layer.weights);
    let [rows, columns] = shape.output();
    assert_eq!([rows, columns], [3, 2]);
    for (index, &found) in y.iter().enumerate() {
        let (row, column, output) = (index / 3 / columns, index / 3 % columns, index % 3);
        let mut expected = 0.0;
        for (line, place, input) in (0..18).map(|index| (index / 6, index / 2 % 3, index % 2)) {
            let (at_row, at_column) = ((2 * row + line).wrapping_sub(1), (2 * column + place).wrapping_sub(1));
            if at_row < 5 && at_column < 4 {
                expected +=
                    x[(at_row * 4 + at_column) * 2 + input] * weights[((line * 3 + place) * 2 + input) * 3 + output];
            }
        }
        assert!((found - expected).abs() < 1e-5, "{index}: {found}, not {expected}");
    }
}

#[test]
fn layer_norm() {
    let mut parameters = Parameters::new();
    let layer = LayerNorm::new(&mut parameters, "norm", 7);
    check_layer(
        parameters,
        3 * 7,
        3 * 7,
        |parameters, x, y| layer.forward(parameters, x, y),
        |parameters, x, dy, dx| layer.backward(parameters, x, dy, dx),
    );
}

#[test]
fn embedding() {
    let symbols = [2, 0, 2, 1];
    let mut parameters = Parameters::new();
    let layer = Embedding::new(&mut parameters, "embedding", [4, 3], 1.0, &mut Random::seeded(1));
    check_layer(
        parameters,
        0,
        4 * 3,
        |parameters, _, y| {
            y.fill(0.0);
            layer.add_forward(parameters, symbols.into_iter(), y);
        },
        |parameters, _, dy, _| layer.backward(parameters, symbols.into_iter(), dy),
    );
}

#[test]
fn gelu_has_its_known_values_and_gradient() {
    let x = [-10.0, -1.0, 0.0, 0.5, 1.0, 2.0, 10.0];
    let mut y = [0.0; 7];
    gelu(&x, &mut y);
    // As PyTorch's `gelu(x, approximate="tanh")` gives them.
    for (y, expected) in y.iter().zip([0.0, -0.158_808, 0.0, 0.345_714, 0.841_192, 1.954_598, 10.0]) {
        assert!((y - expected).abs() < 2e-6, "{y} instead of {expected}");
    }
    let mut gradients = [1.0; 7];
    gelu_backward(&x, &mut gradients);
    let loss = |x: &mut [f32; 7]| {
        let mut y = [0.0; 7];
        gelu(x, &mut y);
        y.iter().map(|&y| f64::from(y)).sum()
    };
    check(&mut { x }, 7, &gradients, |x, index| &mut x[index], loss);
}

#[test]
fn relu_and_cross_entropy() {
    let mut random = Random::seeded(5);
    let mut x = random_values(4 * 6, &mut random);
    // No value so near to 0 that the step crosses it.
    x.iter_mut().for_each(|value| *value += 0.1 * value.signum());
    let labels = [0, 5, 2, 2];
    let forward = |x: &mut Vec<f32>| {
        let mut y = x.clone();
        relu(&mut y);
        let loss = softmax_cross_entropy(&mut y.clone(), 6, &labels).expect("finite");
        (y, f64::from(loss))
    };
    let (y, _) = forward(&mut x);
    let mut gradients = y.clone();
    softmax_cross_entropy(&mut gradients, 6, &labels).expect("finite");
    relu_backward(&y, &mut gradients);
    check(&mut x, 24, &gradients, |x, index| &mut x[index], |x| forward(x).1);
}

#[test]
fn rows_that_make_no_sense_are_named() {
    let scores = [0.0, 1.0, 2.0, 3.0];
    let error = softmax_cross_entropy(&mut scores.clone(), 2, &[1, 2]).expect_err("no class");
    assert!(error.to_string().contains("row 1 of the batch: label 2, but there are 2 classes"), "{error}");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = softmax_cross_entropy(&mut [0.0, 1.0, 2.0, bad], 2, &[1, 0]).expect_err("not finite");
        assert!(error.to_string().contains("row 1 of the batch"), "{error}");
    }
    // Far apart, but finite: a large loss and no error.
    for far in [200.0, 1e30] {
        assert_eq!(softmax_cross_entropy(&mut [0.0, far], 2, &[0]), Ok(far));
    }
    assert!(softmax_cross_entropy(&mut [f32::MIN, f32::MAX], 2, &[0]).is_err());
}

#[test]
#[should_panic(expected = "one row for each symbol")]
fn an_embedding_wants_a_row_for_each_symbol() {
    let mut parameters = Parameters::new();
    let layer = Embedding::new(&mut parameters, "embedding", [4, 3], 1.0, &mut Random::seeded(1));
    layer.add_forward(&parameters, [0, 1, 2].into_iter(), &mut [0.0; 6]);
}

#[test]
#[should_panic(expected = "one row for each symbol")]
fn an_embedding_wants_a_symbol_for_each_row() {
    let mut parameters = Parameters::new();
    let layer = Embedding::new(&mut parameters, "embedding", [4, 3], 1.0, &mut Random::seeded(1));
    layer.backward(&mut parameters, [0, 1].into_iter(), &[0.0; 9]);
}
