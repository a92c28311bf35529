//! Sixteen lanes in four 128-bit registers.
#![allow(unsafe_code)] // intrinsics; NEON is part of every aarch64 target

use std::arch::aarch64::*;
use std::array::from_fn;

use super::{LANES, Lanes};

#[derive(Clone, Copy, Debug)]
pub struct Neon {
    _detected: (),
}

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self { _detected: () })
    }
}

type Quad = [float32x4_t; 4];

// SAFETY (every block below): `self` exists only where `detect` found NEON; pointers are the caller's promise.
#[allow(unused_unsafe)] // some of these intrinsics are safe where NEON is part of the target
impl Lanes for Neon {
    type Vector = Quad;
    // 24 registers of sums, 4 of weights, 1 for the number of x: 29 of 32
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    fn splat(self, value: f32) -> Quad {
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    fn of_array(self, values: [f32; LANES]) -> Quad {
        unsafe { self.load(values.as_ptr()) }
    }
    #[inline(always)]
    fn to_array(self, vector: Quad) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        unsafe { self.store(vector, values.as_mut_ptr()) };
        values
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Quad {
        from_fn(|i| unsafe { vld1q_f32(from.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn store(self, vector: Quad, to: *mut f32) {
        for (i, quarter) in vector.into_iter().enumerate() {
            unsafe { vst1q_f32(to.add(4 * i), quarter) }
        }
    }
    #[inline(always)]
    fn add(self, a: Quad, b: Quad) -> Quad {
        from_fn(|i| unsafe { vaddq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn multiply(self, a: Quad, b: Quad) -> Quad {
        from_fn(|i| unsafe { vmulq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn divide(self, a: Quad, b: Quad) -> Quad {
        from_fn(|i| unsafe { vdivq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn multiply_add(self, a: Quad, b: Quad, c: Quad) -> Quad {
        from_fn(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }
    #[inline(always)]
    fn at_least(self, value: Quad, bound: Quad) -> Quad {
        from_fn(|i| unsafe { vbslq_f32(vcltq_f32(value[i], bound[i]), bound[i], value[i]) })
    }
    #[inline(always)]
    fn at_most(self, value: Quad, bound: Quad) -> Quad {
        from_fn(|i| unsafe { vbslq_f32(vcgtq_f32(value[i], bound[i]), bound[i], value[i]) })
    }
    #[inline(always)]
    fn power_of_two(self, exponent: Quad) -> Quad {
        exponent.map(|quarter| unsafe {
            let biased = vaddq_s32(vcvtnq_s32_f32(quarter), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        })
    }
}
