//! Sixteen numbers at a time, on whatever the processor has.
//!
//! A kernel is written once, over [`Lanes`], and compiled once for each instruction set; [`Instructions`] picks at run
//! time. Sixteen lanes everywhere (one AVX-512 register, two of AVX2, four of NEON, an array otherwise), a fused
//! multiply-add everywhere and one fixed order for the sum over lanes: every set gives the same bits, and a unit test
//! holds them to it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use plain::Plain;

/// Lanes in a vector.
pub const LANES: usize = 16;

/// One instruction set. A value of it is the proof that the processor has it: only [`Instructions`] makes one.
pub trait Lanes: Copy {
    type Vector: Copy;

    /// The tile of a matrix product that fills the registers without spilling: rows, and vectors of columns.
    const TILE_ROWS: usize;
    const TILE_VECTORS: usize;

    fn splat(self, value: f32) -> Self::Vector;
    fn of_array(self, values: [f32; LANES]) -> Self::Vector;
    fn to_array(self, vector: Self::Vector) -> [f32; LANES];

    /// # Safety
    /// Sixteen numbers must be readable at `from`.
    #[allow(unsafe_code)]
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// # Safety
    /// Sixteen numbers must be writable at `to`.
    #[allow(unsafe_code)]
    unsafe fn store(self, vector: Self::Vector, to: *mut f32);

    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn divide(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b + c, rounded once.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `value`, or `bound` where value < bound. NaN stays NaN.
    fn at_least(self, value: Self::Vector, bound: Self::Vector) -> Self::Vector;
    /// `value`, or `bound` where value > bound. NaN stays NaN.
    fn at_most(self, value: Self::Vector, bound: Self::Vector) -> Self::Vector;
    /// 2ⁿ, for whole n from −126 to 127.
    fn power_of_two(self, exponent: Self::Vector) -> Self::Vector;

    /// Asks for the cache line at an address, which need not be a valid one: into the second-level cache, for later.
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}

    /// The same into the first cache, for what is read next.
    #[inline(always)]
    fn prefetch_near(self, _at: *const f32) {}

    /// The sum of the lanes: i with i + 8, then + 4, + 2, + 1. The order is part of the result.
    #[inline(always)]
    fn sum(self, vector: Self::Vector) -> f32 {
        let mut lanes = self.to_array(vector);
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
        }
        lanes[0]
    }

    #[inline(always)]
    fn maximum(self, vector: Self::Vector) -> f32 {
        self.to_array(vector).into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The first sixteen numbers of `from`, or all of them and `filler` after.
    #[inline(always)]
    fn load_slice(self, from: &[f32], filler: f32) -> Self::Vector {
        match from.first_chunk::<LANES>() {
            Some(whole) => self.of_array(*whole),
            None => {
                let mut lanes = [filler; LANES];
                lanes[..from.len()].copy_from_slice(from);
                self.of_array(lanes)
            }
        }
    }

    /// Writes the first sixteen numbers of `to`, or all of them where there are fewer.
    #[inline(always)]
    fn store_slice(self, vector: Self::Vector, to: &mut [f32]) {
        let lanes = self.to_array(vector);
        match to.first_chunk_mut::<LANES>() {
            Some(whole) => *whole = lanes,
            None => to.copy_from_slice(&lanes[..to.len()]),
        }
    }
}

/// The instruction sets that a processor of this kind may have.
#[derive(Clone, Copy, Debug)]
pub enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Plain(Plain),
}

impl Instructions {
    /// All that this processor has, the widest first. The last is always the plain one.
    pub fn available() -> impl Iterator<Item = Instructions> {
        [
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(Instructions::Avx512),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Instructions::Avx2),
            #[cfg(target_arch = "aarch64")]
            Neon::detect().map(Instructions::Neon),
            Some(Instructions::Plain(Plain)),
        ]
        .into_iter()
        .flatten()
    }

    /// The widest that this processor has.
    pub fn detect() -> Instructions {
        Self::available().next().unwrap_or(Instructions::Plain(Plain))
    }

    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon(_) => "neon",
            Instructions::Plain(_) => "plain",
        }
    }
}

/// Makes `fn name(instructions, …)` out of `fn generic<L: Lanes>(lanes: L, …)`: one copy for each instruction set,
/// compiled with its features on, so that everything inside is inlined into it.
macro_rules! for_each_instruction_set {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? = $generic:ident) => {
        $(#[$attribute])*
        #[allow(unsafe_code)]
        $visibility fn $name(instructions: $crate::tensor::lanes::Instructions, $($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
            fn avx512(lanes: $crate::tensor::lanes::Avx512, $($argument: $kind),*) $(-> $result)? {
                $generic(lanes, $($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2(lanes: $crate::tensor::lanes::Avx2, $($argument: $kind),*) $(-> $result)? {
                $generic(lanes, $($argument),*)
            }
            match instructions {
                // SAFETY (both): the value `lanes` exists only where the processor was found to have these features.
                #[cfg(target_arch = "x86_64")]
                $crate::tensor::lanes::Instructions::Avx512(lanes) => unsafe { avx512(lanes, $($argument),*) },
                #[cfg(target_arch = "x86_64")]
                $crate::tensor::lanes::Instructions::Avx2(lanes) => unsafe { avx2(lanes, $($argument),*) },
                // NEON is part of every aarch64 target: nothing to switch on.
                #[cfg(target_arch = "aarch64")]
                $crate::tensor::lanes::Instructions::Neon(lanes) => $generic(lanes, $($argument),*),
                $crate::tensor::lanes::Instructions::Plain(lanes) => $generic(lanes, $($argument),*),
            }
        }
    };
}
pub(crate) use for_each_instruction_set;
