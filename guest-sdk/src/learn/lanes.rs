//! Four `f32` at a time.
//!
//! Each lane is computed as a single `f32` would be, with a rounding after every operation: vectors make nothing
//! differ. On WebAssembly a lane group is a `v128` (unless the feature `scalar` is on), elsewhere an array that the
//! compiler puts into a vector register if it has one.

/// Lanes of a group.
pub(super) const LANES: usize = 4;

#[cfg(all(target_arch = "wasm32", not(feature = "scalar")))]
mod group {
    use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128, v128_load, v128_store};

    /// Four `f32`.
    #[derive(Clone, Copy)]
    pub(in crate::learn) struct Group(v128);

    /// What a group is multiplied by: the same value in each lane, which is quicker to read than to make.
    #[derive(Clone, Copy)]
    pub(in crate::learn) struct Factor(v128);

    impl Factor {
        #[inline]
        #[target_feature(enable = "simd128")]
        pub(in crate::learn) fn new(value: f32) -> Self {
            Self(f32x4_splat(value))
        }
    }

    impl Group {
        /// Reads four values.
        ///
        /// # Safety
        /// `from` points to four readable values.
        #[inline]
        #[target_feature(enable = "simd128")]
        pub(in crate::learn) unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as promised by the caller; a v128 may lie anywhere.
            Self(unsafe { v128_load(from.cast()) })
        }

        /// Writes four values.
        ///
        /// # Safety
        /// `to` points to four writable values.
        #[inline]
        #[target_feature(enable = "simd128")]
        pub(in crate::learn) unsafe fn store(self, to: *mut f32) {
            // SAFETY: as promised by the caller; a v128 may lie anywhere.
            unsafe { v128_store(to.cast(), self.0) }
        }

        /// `self + factor * other`, with two roundings.
        #[inline]
        #[target_feature(enable = "simd128")]
        pub(in crate::learn) fn add_scaled(self, factor: Factor, other: Self) -> Self {
            Self(f32x4_add(self.0, f32x4_mul(factor.0, other.0)))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", not(feature = "scalar"))))]
mod group {
    use super::LANES;

    /// Four `f32`.
    #[derive(Clone, Copy)]
    pub(in crate::learn) struct Group([f32; LANES]);

    /// What a group is multiplied by.
    #[derive(Clone, Copy)]
    pub(in crate::learn) struct Factor(f32);

    impl Factor {
        #[inline]
        pub(in crate::learn) fn new(value: f32) -> Self {
            Self(value)
        }
    }

    impl Group {
        /// Reads four values.
        ///
        /// # Safety
        /// `from` points to four readable values.
        #[inline]
        pub(in crate::learn) unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as promised by the caller; an array of f32 is aligned as one f32 is.
            Self(unsafe { from.cast::<[f32; LANES]>().read() })
        }

        /// Writes four values.
        ///
        /// # Safety
        /// `to` points to four writable values.
        #[inline]
        pub(in crate::learn) unsafe fn store(self, to: *mut f32) {
            // SAFETY: as promised by the caller; an array of f32 is aligned as one f32 is.
            unsafe { to.cast::<[f32; LANES]>().write(self.0) }
        }

        /// `self + factor * other`, with two roundings.
        #[inline]
        pub(in crate::learn) fn add_scaled(self, factor: Factor, other: Self) -> Self {
            let mut sum = self.0;
            for (sum, value) in sum.iter_mut().zip(other.0) {
                *sum += factor.0 * value;
            }
            Self(sum)
        }
    }
}

pub(super) use group::{Factor, Group};
