//! How fast the forward pass is, beside what the machine can do: `cargo bench --bench forward [-- WORD…]`.
//!
//! Rates mean nothing on a shared machine; shares of a limit measured in the same round do. Each figure is the best of
//! several rounds, limits and passes taking turns, in processor time where there is one thread (what others do to the
//! clock is left out) and by the clock where there are more. Shape: GPT-2 base, weights of noise.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use llorch::layers::Gpt2;
use llorch::layers::NoTap;
use llorch::layers::gpt2::{LogitRows, Scratch};
use llorch::model::{Gpt2Configuration, Weight, Weights};
use llorch::tensor::{Instructions, MatrixMut, MatrixRef, Threads, multiply};
use nix::time::ClockId;

const ROUNDS: usize = 5;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |word: &str| wanted.is_empty() || wanted.iter().any(|wanted| word.contains(wanted.as_str()));
    let configuration = Gpt2Configuration {
        n_layer: 12,
        n_head: 12,
        n_embd: 768,
        n_inner: 3072,
        n_ctx: 1024,
        vocab_size: 50257,
        layer_norm_epsilon: 1e-5,
        eos_token_id: None,
        bos_token_id: None,
    };
    let model = model(&configuration);
    let instructions = Instructions::detect();
    println!("GPT-2 base, f32, {}", instructions.name());
    for threads in [1, 2] {
        let mut scratch = Scratch::new(&configuration, threads, instructions);
        println!("\n{threads} thread{}", if threads == 1 { "" } else { "s" });
        if wants("decode") {
            decode(&configuration, &model, &mut scratch, threads);
        }
        for rows in [2, 4, 8, 16, 24, 32, 64, 128, 512] {
            if wants(&format!("prefill-{rows}.")) {
                prefill(&configuration, &model, &mut scratch, threads, rows);
            }
        }
    }
}

/// Every matrix is read once for each token.
fn decode(configuration: &Gpt2Configuration, model: &Gpt2, scratch: &mut Scratch, threads: usize) {
    let read: usize = configuration
        .tensors()
        .iter()
        .filter(|(name, _)| !name.starts_with("wpe"))
        .map(|(_, shape)| shape.iter().product::<usize>() * size_of::<f32>())
        .sum();
    let memory = vec![1.0_f32; read / size_of::<f32>()];
    let mut cache = model.cache();
    let mut step = |tokens: &[u32]| {
        let logits = model.forward(tokens, &mut cache, scratch, LogitRows::Last, &mut NoTap, &|| false);
        black_box(logits.expect("the context has room"));
    };
    step(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let (mut limit, mut rate) = (0.0_f64, 0.0_f64);
    for _ in 0..10 * ROUNDS {
        limit = limit.max(read as f64 / seconds(threads, || read_all(&memory, threads)) / 1e9);
        let time = seconds(threads, || step(&[7]));
        rate = rate.max(read as f64 / time / 1e9);
    }
    let tokens = rate * 1e9 / read as f64;
    println!(
        "  decode           {rate:7.1} of {limit:6.1} GB/s     {:4.0} %   {tokens:7.1} tokens/s",
        100.0 * rate / limit
    );
}

fn prefill(configuration: &Gpt2Configuration, model: &Gpt2, scratch: &mut Scratch, threads: usize, rows: usize) {
    let width = configuration.n_embd;
    let matrices = 12 * width * width * configuration.n_layer * rows;
    // q · k and p · v over half of the positions
    let attention = width * rows * (rows + 1) * configuration.n_layer;
    let operations = 2 * (matrices + attention);
    let tokens: Vec<u32> = (0..rows as u32).map(|i| i * 97 % 50257).collect();
    let mut cache = model.cache();
    let (mut limit, mut rate, mut best) = (0.0_f64, 0.0_f64, f64::MAX);
    for _ in 0..ROUNDS {
        limit = limit.max(peak(threads));
        let time = seconds(threads, || {
            cache.reset();
            let logits = model.forward(&tokens, &mut cache, scratch, LogitRows::Last, &mut NoTap, &|| false);
            black_box(logits.expect("the context has room"));
        });
        rate = rate.max(operations as f64 / time / 1e9);
        best = best.min(time);
    }
    println!(
        "  prefill {rows:4}     {rate:7.1} of {limit:6.1} GFLOP/s  {:4.0} %   {:7.1} tokens/s   {:6.1} ms",
        100.0 * rate / limit,
        rows as f64 / best,
        1e3 * best
    );
}

/// Reads all of it, each thread its part in four streams.
fn read_all(memory: &[f32], threads: usize) {
    let mut threads = Threads::new(threads);
    let part = memory.len() / threads.count() / 64 * 64;
    threads.run(&|index| {
        let streams: Vec<&[f32]> = memory[index * part..][..part].chunks_exact(part / 4).collect();
        let mut sums = [[0.0_f32; 16]; 4];
        for at in (0..part / 4 - 15).step_by(16) {
            for (sums, stream) in sums.iter_mut().zip(&streams) {
                for (sum, value) in sums.iter_mut().zip(&stream[at..at + 16]) {
                    *sum += value;
                }
            }
        }
        black_box(sums);
    });
}

/// What the threads can multiply with everything in the first cache: GFLOP/s.
fn peak(threads: usize) -> f64 {
    let instructions = Instructions::detect();
    let sizes = (8, 64, 48);
    let mut pool = Threads::new(threads);
    const TIMES: usize = 20_000;
    let time = seconds(threads, || {
        pool.run(&|_| {
            let (x, w, mut y) = (vec![1.0; 8 * 64], vec![1e-9; 64 * 48], vec![0.0; 8 * 48]);
            for _ in 0..TIMES {
                let (x, w) = (MatrixRef { values: &x, stride: 64 }, MatrixRef { values: &w, stride: 48 });
                multiply(instructions, sizes, x, w, MatrixMut { values: &mut y, stride: 48 });
            }
            black_box(&y);
        });
    });
    (2 * sizes.0 * sizes.1 * sizes.2 * TIMES * pool.count()) as f64 / time / 1e9
}

fn seconds(threads: usize, work: impl FnOnce()) -> f64 {
    let clock = if threads == 1 { ClockId::CLOCK_THREAD_CPUTIME_ID } else { ClockId::CLOCK_MONOTONIC };
    let now = || Duration::from(clock.now().expect("the system has this clock"));
    let start = now();
    work();
    (now() - start).as_secs_f64()
}

fn model(configuration: &Gpt2Configuration) -> Gpt2 {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 0.08 - 0.04
    };
    let tensors = configuration.tensors().into_iter().map(|(name, shape)| {
        let values = (0..shape.iter().product()).map(|_| noise()).collect();
        (name, Weight::from_vec(shape, values))
    });
    let weights = Weights::new("noise", tensors.collect::<BTreeMap<_, _>>());
    Gpt2::load(configuration.clone(), &weights).expect("every tensor is there")
}
