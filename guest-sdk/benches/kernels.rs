//! How fast the kernels are, in millions of multiply-adds a second: medians of three, one thread.
//!
//! The same program measures natively (`cargo bench -p fedmkt-guest`) and under any WASI runtime:
//! `cargo bench -p fedmkt-guest --target wasm32-wasip1 --no-run`, then run the module that it names.

use std::hint::black_box;
use std::time::Instant;

use fedmkt_guest::learn::layers::{Linear, relu, relu_backward, softmax_cross_entropy};
use fedmkt_guest::learn::matrix::{Matrix, MatrixMut, multiply_add};
use fedmkt_guest::learn::{Momentum, Parameters, Random};

fn values(count: usize) -> Vec<f32> {
    let mut random = Random::seeded(1);
    (0..count).map(|_| random.uniform() - 0.5).collect()
}

/// Measures something that takes this many multiply-adds.
fn measure(name: &str, multiply_adds: usize, mut work: impl FnMut()) {
    let mut seconds = |repeats: u32| {
        let start = Instant::now();
        (0..repeats).for_each(|_| work());
        start.elapsed().as_secs_f64()
    };
    let mut repeats = 1;
    while seconds(repeats) < 0.05 {
        repeats *= 2;
    }
    let mut rates: Vec<f64> =
        (0..3).map(|_| multiply_adds as f64 * f64::from(repeats) / seconds(repeats) / 1e6).collect();
    rates.sort_by(f64::total_cmp);
    println!("{name}: {:.0}", rates[1]);
}

fn product(size: usize) {
    let (a, b, mut c) = (values(size * size), values(size * size), values(size * size));
    measure(&format!("product of {size} x {size}"), size * size * size, || {
        let c = MatrixMut::new(&mut c, size, size);
        multiply_add(c, Matrix::new(black_box(&a), size, size), Matrix::new(&b, size, size));
    });
}

/// What separate multiplies and adds of four lanes can reach at best: nothing else is done, all is in registers, and
/// as many chains of them as there are registers for hide how long each takes.
fn limit() {
    const CHAINS: usize = 12;
    const TURNS: usize = 1000;
    let (factor, summand) = (black_box([0.5f32; 4]), black_box([1.0f32; 4]));
    measure("multiplies and adds alone", CHAINS * 4 * TURNS, || {
        let mut chains = black_box([[1.0f32; 4]; CHAINS]);
        for _ in 0..TURNS {
            for chain in &mut chains {
                for lane in 0..4 {
                    chain[lane] = chain[lane] * factor[lane] + summand[lane];
                }
            }
        }
        black_box(chains);
    });
}

/// Training steps of a perceptron with one hidden layer.
fn perceptron([inputs, hidden, outputs]: [usize; 3], batch: usize) {
    let mut random = Random::seeded(1);
    let mut parameters = Parameters::new();
    let first = Linear::new(&mut parameters, "first", [inputs, hidden], 0.1, &mut random);
    let second = Linear::new(&mut parameters, "second", [hidden, outputs], 0.1, &mut random);
    let mut optimiser = Momentum::new(parameters.values.len(), 0.01, 0.9);
    let x = values(batch * inputs);
    let labels: Vec<usize> = (0..batch).map(|example| example % outputs).collect();
    let (mut y, mut by_y) = (vec![0.0; batch * hidden], vec![0.0; batch * hidden]);
    let mut scores = vec![0.0; batch * outputs];
    let multiply_adds = batch * (2 * inputs * hidden + 3 * hidden * outputs);
    measure(&format!("training {inputs}-{hidden}-{outputs}, batches of {batch}"), multiply_adds, || {
        parameters.clear_gradients();
        first.forward(&parameters, &x, &mut y);
        relu(&mut y);
        second.forward(&parameters, &y, &mut scores);
        black_box(softmax_cross_entropy(&mut scores, outputs, &labels)).expect("finite");
        second.backward(&mut parameters, &y, &scores, Some(&mut by_y));
        relu_backward(&y, &mut by_y);
        first.backward(&mut parameters, &x, &by_y, None);
        optimiser.update(&mut parameters.values, &parameters.gradients);
    });
}

fn main() {
    limit();
    product(64);
    product(512);
    perceptron([64, 32, 10], 32);
    perceptron([784, 128, 10], 32);
    perceptron([784, 512, 10], 128);
}
