//! Sixteen lanes in one 512-bit register.
#![allow(unsafe_code)] // intrinsics; the token is the proof that the processor has them

use std::arch::x86_64::*;

use super::{LANES, Lanes};

#[derive(Clone, Copy, Debug)]
pub struct Avx512 {
    _detected: (),
}

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Self { _detected: () })
    }
}

// SAFETY (every block below): `self` exists only where `detect` found AVX-512; pointers are the caller's promise.
impl Lanes for Avx512 {
    type Vector = __m512;
    // 24 sums, 3 vectors of weights, and the numbers of x straight from memory: 27 of 32 registers
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 3;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn of_array(self, values: [f32; LANES]) -> __m512 {
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }
    #[inline(always)]
    fn to_array(self, vector: __m512) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), vector) };
        values
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, vector: __m512, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, vector) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn multiply(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn divide(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    // where one side is NaN, max and min give their second operand
    #[inline(always)]
    fn at_least(self, value: __m512, bound: __m512) -> __m512 {
        unsafe { _mm512_max_ps(bound, value) }
    }
    #[inline(always)]
    fn at_most(self, value: __m512, bound: __m512) -> __m512 {
        unsafe { _mm512_min_ps(bound, value) }
    }
    #[inline(always)]
    fn power_of_two(self, exponent: __m512) -> __m512 {
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(exponent), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
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
