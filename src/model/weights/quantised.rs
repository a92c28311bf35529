//! ggml's quantised blocks, decoded to f32: bit for bit what ggml's own `dequantize_row_*` gives, so the order of every
//! product and the absence of fused operations matter here.
//!
//! A *simple* block holds 32 elements under one f16 scale; a *super-block* (the K types) holds 256 elements in groups of 16 or
//! 32, each with a small integer scale (and minimum) that an f16 for the whole block multiplies. All f16 are little-endian.

use half::f16;

/// Applies one block's decoder to all of them: `B` bytes stored become `N` values.
pub fn decode_blocks<const B: usize, const N: usize>(
    stored: &[u8],
    values: &mut [f32],
    decode: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (block, values) in stored.as_chunks::<B>().0.iter().zip(values.as_chunks_mut::<N>().0) {
        decode(block, values);
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// d, 16 bytes of nibbles (low ones first): `(q − 8) · d`.
pub fn q4_0(block: &[u8; 18], values: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let (low, high) = values.split_at_mut(16);
    for (i, &pair) in block[2..].iter().enumerate() {
        low[i] = (i32::from(pair & 0xF) - 8) as f32 * d;
        high[i] = (i32::from(pair >> 4) - 8) as f32 * d;
    }
}

/// d, m, 16 bytes of nibbles: `q · d + m`.
pub fn q4_1(block: &[u8; 20], values: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let (low, high) = values.split_at_mut(16);
    for (i, &pair) in block[4..].iter().enumerate() {
        low[i] = f32::from(pair & 0xF) * d + m;
        high[i] = f32::from(pair >> 4) * d + m;
    }
}

/// d, the fifth bits of all 32, 16 bytes of nibbles: `(q − 16) · d`.
pub fn q5_0(block: &[u8; 22], values: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let fifth = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    let (low, high) = values.split_at_mut(16);
    for (i, &pair) in block[6..].iter().enumerate() {
        low[i] = (fifth_bit(fifth, i) + i32::from(pair & 0xF) - 16) as f32 * d;
        high[i] = (fifth_bit(fifth, i + 16) + i32::from(pair >> 4) - 16) as f32 * d;
    }
}

/// d, m, the fifth bits, 16 bytes of nibbles: `q · d + m`.
pub fn q5_1(block: &[u8; 24], values: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let fifth = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    let (low, high) = values.split_at_mut(16);
    for (i, &pair) in block[8..].iter().enumerate() {
        low[i] = (fifth_bit(fifth, i) + i32::from(pair & 0xF)) as f32 * d + m;
        high[i] = (fifth_bit(fifth, i + 16) + i32::from(pair >> 4)) as f32 * d + m;
    }
}

fn fifth_bit(bits: u32, i: usize) -> i32 {
    ((bits >> i & 1) << 4) as i32
}

/// d, 32 signed bytes: `q · d`.
pub fn q8_0(block: &[u8; 34], values: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (value, &q) in values.iter_mut().zip(&block[2..]) {
        *value = f32::from(q as i8) * d;
    }
}

/// 16 bytes of scales (low nibble) and minima (high nibble), 64 bytes of 2-bit numbers, d, d of the minima.
/// Sixteen groups of 16: `d · scale · q − dmin · minimum`.
pub fn q2_k(block: &[u8; 84], values: &mut [f32; 256]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (bytes, shift) = two_bit_group(quants, group);
        let (dl, ml) = (d * f32::from(scales[group] & 0xF), dmin * f32::from(scales[group] >> 4));
        for (value, &byte) in values.iter_mut().zip(bytes) {
            *value = dl * f32::from(byte >> shift & 3) - ml;
        }
    }
}

/// 32 bytes of third bits, 64 bytes of 2-bit numbers, 12 bytes of 6-bit scales, d. Sixteen groups of 16:
/// `d · (scale − 32) · q`, where q is in −4 … 3.
pub fn q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let (third, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half_at(block, 108);
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = if group < 8 { packed[group] & 0xF } else { packed[group - 8] >> 4 };
        let high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
        let dl = d * (i32::from(low | high << 4) - 32) as f32;
        let (bytes, shift) = two_bit_group(quants, group);
        let third = &third[group % 2 * 16..];
        let bit = group / 2; // of each byte of `third`
        for (i, value) in values.iter_mut().enumerate() {
            let borrowed = if third[i] >> bit & 1 == 1 { 0 } else { 4 };
            *value = dl * (i32::from(bytes[i] >> shift & 3) - borrowed) as f32;
        }
    }
}

/// Where the 2-bit numbers of a group of 16 are: 128 elements share 32 bytes, in four layers of two groups.
fn two_bit_group(quants: &[u8], group: usize) -> (&[u8], usize) {
    let (half, layer, side) = (group / 8, group % 8 / 2, group % 2);
    (&quants[half * 32 + side * 16..][..16], layer * 2)
}

/// d, d of the minima, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles. Eight groups of 32:
/// `d · scale · q − dmin · minimum`.
pub fn q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (packed, quants) = (&block[4..16], &block[16..]);
    for (group, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(packed, group);
        let (d1, m1) = (d * f32::from(scale), dmin * f32::from(minimum));
        for (value, &pair) in values.iter_mut().zip(&quants[group / 2 * 32..]) {
            *value = d1 * f32::from(pair >> (group % 2 * 4) & 0xF) - m1;
        }
    }
}

/// As [`q4_k`], with 32 bytes of fifth bits before the nibbles.
pub fn q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (packed, fifth, quants) = (&block[4..16], &block[16..48], &block[48..]);
    for (group, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(packed, group);
        let (d1, m1) = (d * f32::from(scale), dmin * f32::from(minimum));
        let pairs = &quants[group / 2 * 32..];
        for (i, value) in values.iter_mut().enumerate() {
            let q = (pairs[i] >> (group % 2 * 4) & 0xF) + ((fifth[i] >> group & 1) << 4);
            *value = d1 * f32::from(q) - m1;
        }
    }
}

/// Eight 6-bit scales and eight 6-bit minima in 12 bytes: the first four of each whole, the others in their spare bits.
fn scale_and_minimum(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let scale = packed[group + 4] & 0xF | packed[group - 4] >> 6 << 4;
        let minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
        (scale, minimum)
    }
}

/// 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed scales, d. Sixteen groups of 16:
/// `d · scale · (q − 32)`.
pub fn q6_k(block: &[u8; 210], values: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (i, value) in values.iter_mut().enumerate() {
        // 128 elements share 64 bytes of nibbles and 32 of bit pairs: four quarters of 32.
        let (half, quarter, at) = (i / 128, i % 128 / 32, i % 32);
        let nibble = low[half * 64 + quarter % 2 * 32 + at] >> (quarter / 2 * 4) & 0xF;
        let pair = high[half * 32 + at] >> (quarter * 2) & 3;
        let scale = scales[i / 16] as i8;
        *value = d * f32::from(scale) * (i32::from(nibble | pair << 4) - 32) as f32;
    }
}
