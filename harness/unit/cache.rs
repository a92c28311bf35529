//! The KV cache by itself: zeros at first, then exactly what was put in, and nothing beyond it.

use llorch::cache::{BLOCK, CacheError, CacheShape, KvCache};
use llorch::tensor::MatrixRef;

use super::models::noise_vector;

pub const TESTS: &[(&str, fn())] = &[
    ("cache/it_returns_what_was_put_in", it_returns_what_was_put_in),
    ("cache/reading_past_the_filled_part_is_an_error", reading_past_the_filled_part_is_an_error),
    ("cache/only_the_written_positions_change", only_the_written_positions_change),
    ("cache/it_starts_as_zeros", it_starts_as_zeros),
    ("cache/a_full_cache_is_an_error", a_full_cache_is_an_error),
];

const SHAPE: CacheShape = CacheShape { n_layer: 2, n_head: 3, head_size: 5, n_ctx: 2 * BLOCK + 9 };
const WIDTH: usize = SHAPE.n_head * SHAPE.head_size;

/// [rows, H, D] for k and for v
fn numbers(seed: u64, rows: usize) -> (Vec<f32>, Vec<f32>) {
    (noise_vector(seed, rows * WIDTH, 1.0), noise_vector(seed + 1, rows * WIDTH, 1.0))
}

fn write(cache: &mut KvCache, layer: usize, start: usize, (k, v): &(Vec<f32>, Vec<f32>)) -> Result<(), CacheError> {
    let matrix = |values| MatrixRef { values, stride: WIDTH };
    cache.write(layer, start, k.len() / WIDTH, matrix(k), matrix(v))
}

fn it_returns_what_was_put_in() {
    let mut cache = KvCache::new(SHAPE);
    let (first, second) = (numbers(1, 60), numbers(3, SHAPE.n_ctx - 60)); // over two ends of blocks
    for layer in 0..2 {
        write(&mut cache, layer, 0, &first).expect("room");
        write(&mut cache, layer, 60, &second).expect("room");
        assert_eq!(cache.keys(layer, SHAPE.n_ctx).expect("written"), [&first.0[..], &second.0].concat());
        assert_eq!(cache.values(layer, SHAPE.n_ctx).expect("written"), [&first.1[..], &second.1].concat());
    }
}

fn reading_past_the_filled_part_is_an_error() {
    let mut cache = KvCache::new(SHAPE);
    write(&mut cache, 1, 0, &numbers(1, 7)).expect("room");
    assert!(cache.values(1, 7).is_ok());
    assert_eq!(cache.keys(1, 8), Err(CacheError::NotWritten { layer: 1, position: 7, written: 7 }));
    assert_eq!(cache.values(0, 1), Err(CacheError::NotWritten { layer: 0, position: 0, written: 0 }));
    cache.advance(7);
    cache.reset();
    assert_eq!(cache.keys(1, 1), Err(CacheError::NotWritten { layer: 1, position: 0, written: 0 }));
}

fn only_the_written_positions_change() {
    let mut cache = KvCache::new(SHAPE);
    let before = numbers(1, 70);
    write(&mut cache, 0, 0, &before).expect("room");
    write(&mut cache, 1, 0, &before).expect("room");
    let after = numbers(5, 4);
    write(&mut cache, 0, 63, &after).expect("room");
    assert_eq!(cache.keys(0, 67).expect("written"), [&before.0[..63 * WIDTH], &after.0].concat());
    assert_eq!(cache.values(0, 67).expect("written"), [&before.1[..63 * WIDTH], &after.1].concat());
    assert_eq!(cache.keys(1, 70).expect("written"), before.0, "the other layer");
}

fn it_starts_as_zeros() {
    let cache = KvCache::new(SHAPE);
    for layer in 0..2 {
        for head in 0..3 {
            for block in 0..3 {
                assert!(cache.key_block(layer, head, block).values.iter().all(|value| value.to_bits() == 0));
                assert!(cache.value_block(layer, head, block, 0).values.iter().all(|value| value.to_bits() == 0));
            }
        }
    }
    assert!(cache.is_empty());
    assert_eq!(cache.keys(0, 0), Ok(Vec::new()));
}

fn a_full_cache_is_an_error() {
    let mut cache = KvCache::new(SHAPE);
    let capacity = SHAPE.n_ctx;
    assert_eq!(
        write(&mut cache, 0, capacity, &numbers(1, 1)),
        Err(CacheError::Full { needed: capacity + 1, capacity })
    );
    assert!(write(&mut cache, 0, capacity - 1, &numbers(1, 1)).is_ok());
}
