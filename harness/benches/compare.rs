//! How fast two captures are compared: `cargo bench --bench compare`.
//!
//! GPT-2 medium's shape, every station of every layer, as noise with noise on top. Beside it what memory gives (the same
//! bytes, only added up), and numpy's `assert_allclose` on the same arrays, where a Python with numpy is there
//! (`PYTHON=…` names another than `python3`). Each figure is the best of several rounds, taking turns.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use llorch::layers::Station;
use llorch::parity::capture::{Capture, Tensor, Values};
use llorch::parity::compare::{Pair, Verdict, compare_all};
use llorch::parity::station::Place;
use llorch::parity::tolerance::{LogitScale, Profile, tolerance};

const TOKENS: usize = 64;
const LAYERS: usize = 24;
const HEADS: usize = 16;
const WIDTH: usize = 1024;
const VOCABULARY: usize = 50257;
const ROUNDS: usize = 25;

fn main() {
    let (reference, found) = (capture(0.0), capture(1e-6));
    let pairs: Vec<Pair<'_>> = reference
        .tensors
        .iter()
        .filter_map(|(name, tensor)| {
            let place = Place::of_name(name)?;
            let tolerance = tolerance(place, Profile::Exact, LogitScale { largest: 100.0 });
            let masked = place.station == Station::ScoresMasked;
            Some(Pair { reference: tensor, found: found.tensors.get(name)?, tolerance, masked })
        })
        .collect();
    let numbers: usize = pairs.iter().map(|pair| pair.reference.count()).sum();
    let gigabytes = (2 * numbers * size_of::<f32>()) as f64 / 1e9;
    println!(
        "GPT-2 medium, {TOKENS} tokens: {} tensors, {:.1} M numbers a side, {gigabytes:.2} GB",
        pairs.len(),
        numbers as f64 / 1e6
    );

    let (mut memory, mut one, mut two) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        memory = memory.min(seconds(|| pairs.iter().for_each(|pair| read(pair))));
        one = one.min(seconds(|| all_pass(&pairs, 1)));
        two = two.min(seconds(|| all_pass(&pairs, 2)));
    }
    let row = |name: &str, time: f64| {
        println!("  {name:<22} {:8.1} ms  {:6.1} GB/s  {:5.2} × reading", 1e3 * time, gigabytes / time, time / memory)
    };
    row("reading it once", memory);
    row("compare, 1 thread", one);
    row("compare, 2 threads", two);
    match numpy(&reference, &found) {
        Ok(time) => {
            row("numpy assert_allclose", time);
            println!("  numpy / compare: {:.1} × with one thread, {:.1} × with two", time / one, time / two);
        }
        Err(why) => println!("  numpy: not measured: {why}"),
    }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// The bytes of both, as fast as one thread takes them in.
fn read(pair: &Pair<'_>) {
    for tensor in [pair.reference, pair.found] {
        let Values::F32(values) = &tensor.values else { continue };
        let mut sums = [0_u32; 64];
        for chunk in values.as_chunks::<64>().0 {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum ^= value.to_bits();
            }
        }
        black_box(sums);
    }
}

fn all_pass(pairs: &[Pair<'_>], threads: usize) {
    let comparisons = compare_all(pairs, threads);
    assert!(comparisons.iter().all(|comparison| comparison.verdict == Verdict::Pass));
    black_box(comparisons);
}

/// Noise in every tensor of every layer; `off` times more noise on top.
fn capture(off: f32) -> Capture {
    let mut state = 1_u32;
    let mut noise = |shape: &[usize]| {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            value + off * ((state & 255) as f32 / 128.0 - 1.0)
        };
        Tensor::f32(shape, (0..shape.iter().product()).map(|_| next()).collect())
    };
    let mut capture = Capture::default();
    for station in Station::ALL {
        let layers = if station.is_of_a_layer() { LAYERS } else { 1 };
        for layer in 0..layers {
            let shape: &[usize] = match station {
                Station::Query | Station::Key | Station::Value | Station::CachedKeys | Station::CachedValues => {
                    &[TOKENS, HEADS, WIDTH / HEADS]
                }
                Station::Scores | Station::ScoresMasked | Station::Probabilities => &[HEADS, TOKENS, TOKENS],
                Station::FeedForwardHidden | Station::Gelu => &[TOKENS, 4 * WIDTH],
                Station::Logits => &[TOKENS, VOCABULARY],
                Station::SelectedLogits => &[VOCABULARY],
                Station::QueryRotated | Station::KeyRotated => continue,
                Station::Gate | Station::Up | Station::GatedProduct => continue,
                Station::Argmax | Station::GeneratedIds => continue,
                Station::SoftmaxHalf | Station::SoftmaxOne | Station::SoftmaxTwo => continue,
                _ => &[TOKENS, WIDTH],
            };
            let mut tensor = noise(shape);
            if let (Station::ScoresMasked, Values::F32(values)) = (station, &mut tensor.values) {
                for (at, value) in values.iter_mut().enumerate().filter(|(at, _)| at % TOKENS > at / TOKENS % TOKENS) {
                    *value = if at % 2 == 0 { f32::NEG_INFINITY } else { f32::MIN };
                }
            }
            capture.tensors.insert(station.name(layer, 0), tensor);
        }
    }
    capture
}

/// `assert_allclose` over the same arrays, each loaded beforehand: the best round.
fn numpy(reference: &Capture, found: &Capture) -> Result<f64, String> {
    let folder = std::env::temp_dir().join(format!("llorch-compare-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|problem| problem.to_string())?;
    let written =
        [("a", reference), ("b", found)].into_iter().try_for_each(|(name, capture)| write(&folder.join(name), capture));
    let result = written.map_err(|problem| problem.to_string()).and_then(|()| {
        let sizes: Vec<String> = reference.tensors.values().map(|tensor| tensor.count().to_string()).collect();
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let rounds = ROUNDS.to_string();
        let arguments = ["-c", NUMPY, &folder.display().to_string(), &sizes.join(","), &rounds].map(str::to_owned);
        let output =
            Command::new(&python).args(arguments).output().map_err(|problem| format!("{python}: {problem}"))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse().map_err(|_| {
            format!("{python}: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default())
        })
    });
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn write(path: &Path, capture: &Capture) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for tensor in capture.tensors.values() {
        let Values::F32(values) = &tensor.values else { continue };
        for value in values {
            file.write_all(&value.to_le_bytes())?;
        }
    }
    file.flush()
}

/// Masked entries are made equal first, outside the clock: numpy has no word for them.
const NUMPY: &str = "
import sys, time
import numpy as np
folder, sizes, rounds = sys.argv[1], [int(n) for n in sys.argv[2].split(',')], int(sys.argv[3])
ends = np.cumsum(sizes)[:-1]
a, b = (np.split(np.fromfile(f'{folder}/{name}', dtype='<f4'), ends) for name in 'ab')
for x, y in zip(a, b):
    x[x < -1e30] = 0; y[y < -1e30] = 0
best = float('inf')
for _ in range(rounds):
    start = time.perf_counter()
    for x, y in zip(a, b):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-4)
    best = min(best, time.perf_counter() - start)
print(best)
";
