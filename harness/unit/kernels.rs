//! The arithmetic by itself: against f64, against the plain loop, and every instruction set against every other.

use std::sync::atomic::{AtomicUsize, Ordering};

use llorch::tensor::{Compute, Instructions, MatrixMut, MatrixRef, Threads};
use llorch::tensor::{exponential, gelu, layer_norm, multiply, multiply_add, softmax};

use super::models::noise_vector;

pub const TESTS: &[(&str, fn())] = &[
    ("kernels/exponential_against_f64", exponential_against_f64),
    ("kernels/gelu_against_f64", gelu_against_f64),
    ("kernels/softmax_against_f64", softmax_against_f64),
    ("kernels/layer_norm_against_f64", layer_norm_against_f64),
    ("kernels/not_a_number_stays_one", not_a_number_stays_one),
    ("kernels/a_product_is_one_chain_of_fused_steps", a_product_is_one_chain_of_fused_steps),
    ("kernels/a_race_changes_no_bit", a_race_changes_no_bit),
    ("kernels/a_small_product_is_the_same_chain", a_small_product_is_the_same_chain),
    ("kernels/the_head_against_f64", the_head_against_f64),
    ("kernels/threads_do_every_part_once", threads_do_every_part_once),
    ("kernels/a_panic_in_a_part_comes_out", a_panic_in_a_part_comes_out),
];

/// Numbers between two bounds, evenly.
fn between(low: f32, high: f32, count: usize) -> Vec<f32> {
    (0..count).map(|i| low + (high - low) * i as f32 / (count - 1) as f32).collect()
}

/// The results of every instruction set, which must be one.
fn on_every_set(mut run: impl FnMut(Instructions) -> Vec<f32>) -> Vec<f32> {
    let mut first: Option<Vec<f32>> = None;
    for instructions in Instructions::available() {
        let found = run(instructions);
        let expected = first.get_or_insert_with(|| found.clone());
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            let name = instructions.name();
            assert_eq!(found.to_bits(), expected.to_bits(), "{name} has {found}, not {expected}, at {at}");
        }
    }
    first.expect("the plain set is always there")
}

fn assert_relative(found: f32, expected: f64, limit: f64, at: f32) {
    let error = (f64::from(found) - expected).abs() / expected.abs().max(1e-37);
    assert!(error < limit, "at {at}: {found:e}, not {expected:e}: {error:e}");
}

fn exponential_against_f64() {
    let x = between(-87.0, 88.0, 100_003);
    let found = on_every_set(|instructions| {
        let mut values = x.clone();
        exponential(instructions, &mut values);
        values
    });
    for (x, found) in x.iter().zip(found) {
        assert_relative(found, f64::from(*x).exp(), 2e-7, *x);
    }
}

fn gelu_against_f64() {
    let x = [between(-5.0, 20.0, 50_001), between(-0.01, 0.01, 5_001)].concat();
    let found = on_every_set(|instructions| {
        let mut values = x.clone();
        gelu(instructions, &mut values);
        values
    });
    for (x, found) in x.iter().zip(found) {
        let f64_x = f64::from(*x);
        let u = std::f64::consts::FRAC_2_PI.sqrt() * (f64_x + 0.044715 * f64_x.powi(3));
        // 1 + tanh u without the cancellation that f64 has too
        let expected = f64_x / (1.0 + (-2.0 * u).exp());
        // e^(−2u) is as exact as −2u, and that has an error of 6e-8 · |2u|
        assert_relative(found, expected, 1e-6 * (1.0 + u.abs()), *x);
        assert!((f64::from(found) - expected).abs() < 1e-6 * expected.abs().max(1.0), "at {x}");
    }
    let mut ends = [-1e30, -100.0, 100.0, 1e30, 0.0, -0.0];
    gelu(Instructions::detect(), &mut ends);
    assert_eq!(&ends[2..4], [100.0, 1e30]);
    assert!(ends[1].abs() < 1e-30 && ends[4] == 0.0, "{ends:?}");
}

fn softmax_against_f64() {
    for length in [1, 2, 15, 16, 17, 64, 333, 1024] {
        for spread in [0.1, 10.0, 300.0] {
            let row = noise_vector(length as u64, length, spread);
            let found = on_every_set(|instructions| {
                let mut row = row.clone();
                softmax(instructions, &mut row);
                row
            });
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let raised: Vec<f64> = row.iter().map(|x| (f64::from(*x) - f64::from(largest)).exp()).collect();
            let sum: f64 = raised.iter().sum();
            for (found, raised) in found.iter().zip(&raised) {
                assert!((f64::from(*found) - raised / sum).abs() < 2e-7, "{length} numbers up to {spread}");
            }
            let total: f64 = found.iter().map(|p| f64::from(*p)).sum();
            assert!((total - 1.0).abs() < 1e-6, "{length} numbers add up to {total}");
        }
    }
}

fn layer_norm_against_f64() {
    for (width, offset, spread) in
        [(1, 0.0, 1.0), (15, 0.3, 2.0), (96, 0.0, 1e-4), (768, 100.0, 1.0), (1024, -3.0, 50.0)]
    {
        let mut x = noise_vector(width as u64, 3 * width, spread);
        x.iter_mut().for_each(|x| *x += offset);
        let (weight, bias) = (noise_vector(2, width, 2.0), noise_vector(3, width, 1.0));
        let found = on_every_set(|instructions| {
            let mut out = vec![0.0; x.len()];
            layer_norm(instructions, &x, &weight, &bias, 1e-5, &mut out);
            out
        });
        let plain = {
            let mut out = vec![0.0; x.len()];
            layer_norm(Instructions::detect(), &x, &vec![1.0; width], &vec![0.0; width], 1e-5, &mut out);
            out
        };
        for ((x, found), plain) in x.chunks(width).zip(found.chunks(width)).zip(plain.chunks(width)) {
            let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let mean = wide.iter().sum::<f64>() / width as f64;
            let variance = wide.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            for (((x, found), weight), bias) in wide.iter().zip(found).zip(&weight).zip(&bias) {
                let expected = (x - mean) / (variance + 1e-5).sqrt() * f64::from(*weight) + f64::from(*bias);
                assert!((f64::from(*found) - expected).abs() < 1e-6 * expected.abs().max(1.0), "width {width}");
            }
            let mean = plain.iter().map(|y| f64::from(*y)).sum::<f64>() / width as f64;
            let spread = plain.iter().map(|y| (f64::from(*y) - mean).powi(2)).sum::<f64>() / width as f64;
            assert!(mean.abs() < 1e-6, "mean {mean:e}");
            assert!((spread - variance / (variance + 1e-5)).abs() < 1e-5, "variance {spread}");
        }
    }
}

fn not_a_number_stays_one() {
    for instructions in Instructions::available() {
        let mut values = vec![0.5; 40];
        values[37] = f32::NAN;
        let mut raised = values.clone();
        exponential(instructions, &mut raised);
        assert!(raised[37].is_nan() && raised[36].is_finite(), "exp, {}", instructions.name());
        let mut activated = values.clone();
        gelu(instructions, &mut activated);
        assert!(activated[37].is_nan() && activated[36].is_finite(), "gelu, {}", instructions.name());
        softmax(instructions, &mut values);
        assert!(values.iter().all(|value| value.is_nan()), "softmax, {}", instructions.name());
    }
}

/// b, then a fused step for each k in order: what every kernel must equal, to the bit.
fn chain(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let (columns, depth) = (bias.len(), weight.len() / bias.len());
    let row = |x: &[f32]| -> Vec<f32> {
        let number = |n: usize| (0..depth).fold(bias[n], |sum, k| x[k].mul_add(weight[k * columns + n], sum));
        (0..columns).map(number).collect()
    };
    x.chunks_exact(depth).flat_map(row).collect()
}

fn a_product_is_one_chain_of_fused_steps() {
    // rows, depth, columns: either side of every block, tile and vector
    let sizes = [
        (1, 1, 1),
        (1, 8, 16),
        (1, 19, 50),
        (2, 9, 17),
        (7, 64, 48),
        (8, 193, 49),
        (12, 40, 96),
        (13, 40, 96),
        (16, 5, 33),
        (33, 200, 150),
        (21, 385, 800),
        (3, 100, 1600),
        (64, 16, 3),
    ];
    for (rows, depth, columns) in sizes {
        let (x, weight) = (noise_vector(1, rows * depth, 2.0), noise_vector(2, depth * columns, 2.0));
        let bias = noise_vector(3, columns, 1.0);
        let expected = chain(&x, &weight, &bias);
        for instructions in Instructions::available() {
            for threads in [1, 3] {
                let mut out = vec![f32::NAN; rows * columns];
                Compute::new(threads, instructions, 0).matmul(&x, &weight, &bias, &mut out, |_, _| {});
                let name = instructions.name();
                assert!(out == expected, "{rows} × {depth} × {columns}, {name}, {threads} threads");
            }
        }
    }
}

/// Large enough to race: every contender, and the winner after them.
fn a_race_changes_no_bit() {
    let (depth, columns) = (515, 1031);
    let (x, weight) = (noise_vector(1, depth, 2.0), noise_vector(2, depth * columns, 2.0));
    let bias = noise_vector(3, columns, 1.0);
    let expected = chain(&x, &weight, &bias);
    for instructions in Instructions::available() {
        for threads in [1, 3] {
            let mut compute = Compute::new(threads, instructions, 0);
            for run in 0..26 {
                let mut out = vec![f32::NAN; columns];
                compute.matmul(&x, &weight, &bias, &mut out, |_, _| {});
                assert!(out == expected, "run {run}, {}, {threads} threads", instructions.name());
            }
        }
    }
}

fn a_small_product_is_the_same_chain() {
    for (rows, steps, columns) in [(1, 5, 16), (8, 64, 64), (7, 33, 32), (6, 1, 48), (3, 17, 80), (12, 9, 112)] {
        let (x, w) = (noise_vector(1, rows * (steps + 2), 2.0), noise_vector(2, steps * (columns + 3), 2.0));
        let x_rows: Vec<f32> = x.chunks_exact(steps + 2).flat_map(|row| &row[..steps]).copied().collect();
        let w_rows: Vec<f32> = w.chunks_exact(columns + 3).flat_map(|row| &row[..columns]).copied().collect();
        let expected = chain(&x_rows, &w_rows, &vec![0.0; columns]);
        for instructions in Instructions::available() {
            let (x, w) = (MatrixRef { values: &x, stride: steps + 2 }, MatrixRef { values: &w, stride: columns + 3 });
            let mut out = vec![f32::NAN; rows * columns];
            let sizes = (rows, steps, columns);
            multiply(instructions, sizes, x, w, MatrixMut { values: &mut out, stride: columns });
            assert!(out == expected, "{sizes:?}, {}", instructions.name());
            // in two pieces
            let half = steps / 2;
            let rest = MatrixRef { values: &x.values[half..], stride: x.stride };
            let below = MatrixRef { values: &w.values[half * w.stride..], stride: w.stride };
            out.fill(0.0);
            multiply_add(instructions, (rows, half, columns), x, w, MatrixMut { values: &mut out, stride: columns });
            let sizes = (rows, steps - half, columns);
            multiply_add(instructions, sizes, rest, below, MatrixMut { values: &mut out, stride: columns });
            assert!(out == expected, "in two pieces, {sizes:?}, {}", instructions.name());
        }
    }
}

fn the_head_against_f64() {
    for (rows, width, vocabulary) in [(1, 15, 50), (3, 64, 33), (1, 768, 101), (5, 17, 4), (2, 1, 1)] {
        let (x, weight) = (noise_vector(1, rows * width, 2.0), noise_vector(2, vocabulary * width, 2.0));
        let found = on_every_set(|instructions| {
            let mut one = vec![0.0; rows * vocabulary];
            Compute::new(1, instructions, 0).matmul_transposed(&x, &weight, width, &mut one);
            let mut three = vec![0.0; rows * vocabulary];
            Compute::new(3, instructions, 0).matmul_transposed(&x, &weight, width, &mut three);
            assert!(one == three, "threads");
            one
        });
        for (row, x) in x.chunks_exact(width).enumerate() {
            for (v, w) in weight.chunks_exact(width).enumerate() {
                let expected: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                assert!((f64::from(found[row * vocabulary + v]) - expected).abs() < 1e-5);
            }
        }
    }
}

fn threads_do_every_part_once() {
    let mut threads = Threads::new(4);
    let done: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
    for _ in 0..2000 {
        threads.run(&|part| {
            done[part].fetch_add(1, Ordering::Relaxed);
        });
    }
    assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 2000), "{done:?}");
    assert_eq!(Threads::new(0).count(), 1);
}

fn a_panic_in_a_part_comes_out() {
    let mut threads = Threads::new(3);
    for bad in 0..3 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            threads.run(&|part| assert!(part != bad, "on purpose"));
        }));
        assert!(result.is_err(), "part {bad}");
    }
    threads.run(&|_| {});
}
