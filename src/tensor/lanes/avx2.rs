//! Sixteen lanes in two 256-bit registers.
#![allow(unsafe_code)] // intrinsics; the token is the proof that the processor has them

use std::arch::x86_64::*;

use super::{LANES, Lanes};

#[derive(Clone, Copy, Debug)]
pub struct Avx2 {
    _detected: (),
}

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(Self { _detected: () })
    }
}

type Pair = [__m256; 2];

// SAFETY (every block below): `self` exists only where `detect` found AVX2 and FMA; pointers are the caller's promise.
impl Lanes for Avx2 {
    type Vector = Pair;
    // 12 registers of sums, 2 of weights, 1 for the number of x: 15 of 16
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    fn splat(self, value: f32) -> Pair {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    fn of_array(self, values: [f32; LANES]) -> Pair {
        unsafe { self.load(values.as_ptr()) }
    }
    #[inline(always)]
    fn to_array(self, vector: Pair) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        unsafe { self.store(vector, values.as_mut_ptr()) };
        values
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Pair {
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(self, vector: Pair, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, vector[0]);
            _mm256_storeu_ps(to.add(8), vector[1]);
        }
    }
    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn multiply(self, a: Pair, b: Pair) -> Pair {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn divide(self, a: Pair, b: Pair) -> Pair {
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn multiply_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    // where one side is NaN, max and min give their second operand
    #[inline(always)]
    fn at_least(self, value: Pair, bound: Pair) -> Pair {
        unsafe { [_mm256_max_ps(bound[0], value[0]), _mm256_max_ps(bound[1], value[1])] }
    }
    #[inline(always)]
    fn at_most(self, value: Pair, bound: Pair) -> Pair {
        unsafe { [_mm256_min_ps(bound[0], value[0]), _mm256_min_ps(bound[1], value[1])] }
    }
    #[inline(always)]
    fn power_of_two(self, exponent: Pair) -> Pair {
        exponent.map(|half| unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(half), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
    #[inline(always)]
    fn prefetch_near(self, at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
