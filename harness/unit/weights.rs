//! Memory for decoded weights: zeros, aligned, and as long as was asked for. Rows that a file keeps in another order.

use std::sync::Arc;

use llorch::model::weights::bytes::FileBytes;
use llorch::model::weights::element::Element;
use llorch::model::weights::load::{self, Arrangement, Stored};
use llorch::model::weights::memory::Values;

pub const TESTS: &[(&str, fn())] = &[
    ("weights/memory_of_every_length", memory_of_every_length),
    ("weights/large_pages", large_pages),
    ("weights/quantised_rows_in_pairs", quantised_rows_in_pairs),
];

/// Two heads of six rows, each row a block of Q8_0 that says which row of the file it is.
fn quantised_rows_in_pairs() {
    let file: Vec<u8> = (0..12u8)
        .flat_map(|row| half::f16::ONE.to_le_bytes().into_iter().chain(std::iter::repeat_n(row, 32)))
        .collect();
    let range = 0..file.len();
    let stored = Stored {
        name: "q".into(),
        shape: vec![12, 32],
        element: Element::Q8_0,
        arrangement: Arrangement::Pairs { heads: 2 },
        file: Arc::new(FileBytes::Shared(file.into())),
        range,
    };
    let rows_of = |arrangement: Arrangement| {
        let stored = Stored { arrangement, ..stored.clone() };
        let weights = load::load(&[stored], &mut |_| {}).expect("loads");
        weights["q"].values().chunks(32).map(|row| row[31]).collect::<Vec<f32>>()
    };
    let halves = [0.0, 2.0, 4.0, 1.0, 3.0, 5.0];
    let expected: Vec<f32> = halves.iter().copied().chain(halves.iter().map(|row| row + 6.0)).collect();
    assert_eq!(rows_of(Arrangement::Pairs { heads: 2 }), expected);
    assert_eq!(rows_of(Arrangement::AsHeld), (0..12).map(|row| row as f32).collect::<Vec<_>>());
}

fn memory_of_every_length() {
    for length in [0, 1, 15, 1023, 1024, (1 << 19) - 1, 1 << 19, (1 << 19) + 1, 3_000_001] {
        let mut values = Values::zeros(length).unwrap();
        assert_eq!(values.len(), length);
        assert!(values.iter().all(|value| *value == 0.0), "{length} begin as zeros");
        assert!((values.as_ptr() as usize).is_multiple_of(64), "{length} begin on a cache line");
        for (place, value) in values.iter_mut().enumerate() {
            *value = place as f32;
        }
        assert!(values.iter().enumerate().all(|(place, value)| *value == place as f32), "{length} are kept");
    }
}

fn large_pages() {
    const LARGE: usize = 2 << 20;
    let values = Values::zeros(LARGE).unwrap();
    assert!((values.as_ptr() as usize).is_multiple_of(LARGE), "only there a large page can lie");
}
