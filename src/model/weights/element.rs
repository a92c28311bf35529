//! How one tensor's elements are stored, and how they become f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::quantised;

/// The element types that the forward pass can be fed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Element {
    /// As `/health` reports it.
    pub const fn name(self) -> &'static str {
        match self {
            Element::F32 => "F32",
            Element::F16 => "F16",
            Element::Bf16 => "BF16",
            Element::Q4_0 => "Q4_0",
            Element::Q4_1 => "Q4_1",
            Element::Q5_0 => "Q5_0",
            Element::Q5_1 => "Q5_1",
            Element::Q8_0 => "Q8_0",
            Element::Q2K => "Q2_K",
            Element::Q3K => "Q3_K",
            Element::Q4K => "Q4_K",
            Element::Q5K => "Q5_K",
            Element::Q6K => "Q6_K",
        }
    }

    /// How many elements are stored together, and in how many bytes.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Element::F32 => (1, 4),
            Element::F16 | Element::Bf16 => (1, 2),
            Element::Q4_0 => (32, 18),
            Element::Q4_1 => (32, 20),
            Element::Q5_0 => (32, 22),
            Element::Q5_1 => (32, 24),
            Element::Q8_0 => (32, 34),
            Element::Q2K => (256, 84),
            Element::Q3K => (256, 110),
            Element::Q4K => (256, 144),
            Element::Q5K => (256, 176),
            Element::Q6K => (256, 210),
        }
    }

    /// The bytes of `count` elements, which are whole blocks.
    pub fn stored_bytes(self, count: usize) -> usize {
        let (elements, bytes) = self.block();
        count / elements * bytes
    }

    /// How many elements are in so many bytes of whole blocks.
    pub fn elements(self, stored: usize) -> usize {
        let (elements, bytes) = self.block();
        stored / bytes * elements
    }

    /// Decodes whole blocks: `stored` holds exactly `values.len()` elements.
    pub fn decode(self, stored: &[u8], values: &mut [f32]) {
        assert_eq!(stored.len(), self.stored_bytes(values.len()), "{} blocks", self.name());
        match self {
            Element::F32 => decode_f32(stored, values),
            Element::F16 => decode_f16(stored, values),
            Element::Bf16 => decode_bf16(stored, values),
            Element::Q4_0 => quantised::decode_blocks(stored, values, quantised::q4_0),
            Element::Q4_1 => quantised::decode_blocks(stored, values, quantised::q4_1),
            Element::Q5_0 => quantised::decode_blocks(stored, values, quantised::q5_0),
            Element::Q5_1 => quantised::decode_blocks(stored, values, quantised::q5_1),
            Element::Q8_0 => quantised::decode_blocks(stored, values, quantised::q8_0),
            Element::Q2K => quantised::decode_blocks(stored, values, quantised::q2_k),
            Element::Q3K => quantised::decode_blocks(stored, values, quantised::q3_k),
            Element::Q4K => quantised::decode_blocks(stored, values, quantised::q4_k),
            Element::Q5K => quantised::decode_blocks(stored, values, quantised::q5_k),
            Element::Q6K => quantised::decode_blocks(stored, values, quantised::q6_k),
        }
    }
}

/// The number of elements of a shape; `None` where it does not fit in 64 bits. (A zero anywhere does not hide a wrap.)
pub fn product(shape: &[u64]) -> Option<u64> {
    let nonzero = shape.iter().filter(|&&size| size != 0).try_fold(1u64, |count, &size| count.checked_mul(size))?;
    Some(if shape.contains(&0) { 0 } else { nonzero })
}

fn decode_f32(stored: &[u8], values: &mut [f32]) {
    for (bytes, value) in stored.as_chunks::<4>().0.iter().zip(values) {
        *value = f32::from_le_bytes(*bytes);
    }
}

fn decode_f16(stored: &[u8], values: &mut [f32]) {
    const RUN: usize = 256; // enough at a time for the machine's own conversion
    let mut halves = [f16::ZERO; RUN];
    for (bytes, values) in stored.chunks(2 * RUN).zip(values.chunks_mut(RUN)) {
        let halves = &mut halves[..values.len()];
        for (bytes, half) in bytes.as_chunks::<2>().0.iter().zip(&mut *halves) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(values);
    }
}

fn decode_bf16(stored: &[u8], values: &mut [f32]) {
    for (bytes, value) in stored.as_chunks::<2>().0.iter().zip(values) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}
