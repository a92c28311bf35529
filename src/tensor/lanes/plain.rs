//! Sixteen lanes in an array: what runs where nothing better is there, and what the others are held against.
#![allow(unsafe_code)] // raw loads and stores, as the trait has them

use std::array::from_fn;

use super::{LANES, Lanes};

#[derive(Clone, Copy, Debug)]
pub struct Plain;

type Array = [f32; LANES];

impl Lanes for Plain {
    type Vector = Array;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    fn splat(self, value: f32) -> Array {
        [value; LANES]
    }
    #[inline(always)]
    fn of_array(self, values: Array) -> Array {
        values
    }
    #[inline(always)]
    fn to_array(self, vector: Array) -> Array {
        vector
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Array {
        // SAFETY: the caller's promise; an array of f32 asks for no more alignment than f32.
        unsafe { *from.cast::<Array>() }
    }
    #[inline(always)]
    unsafe fn store(self, vector: Array, to: *mut f32) {
        // SAFETY: as above.
        unsafe { *to.cast::<Array>() = vector }
    }
    #[inline(always)]
    fn add(self, a: Array, b: Array) -> Array {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn multiply(self, a: Array, b: Array) -> Array {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn divide(self, a: Array, b: Array) -> Array {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn multiply_add(self, a: Array, b: Array, c: Array) -> Array {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn at_least(self, value: Array, bound: Array) -> Array {
        from_fn(|i| if value[i] < bound[i] { bound[i] } else { value[i] })
    }
    #[inline(always)]
    fn at_most(self, value: Array, bound: Array) -> Array {
        from_fn(|i| if value[i] > bound[i] { bound[i] } else { value[i] })
    }
    #[inline(always)]
    fn power_of_two(self, exponent: Array) -> Array {
        exponent.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
}
