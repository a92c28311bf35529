//! Memory for decoded weights: zeros, aligned, and as long as was asked for.

use llorch::model::weights::memory::Values;

pub const TESTS: &[(&str, fn())] =
    &[("weights/memory_of_every_length", memory_of_every_length), ("weights/large_pages", large_pages)];

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
