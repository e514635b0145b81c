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
        pub(in crate::learn) fn add_scaled(self, factor: f32, other: Self) -> Self {
            Self(f32x4_add(self.0, f32x4_mul(f32x4_splat(factor), other.0)))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", not(feature = "scalar"))))]
mod group {
    use super::LANES;

    /// Four `f32`.
    #[derive(Clone, Copy)]
    pub(in crate::learn) struct Group([f32; LANES]);

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
        pub(in crate::learn) fn add_scaled(self, factor: f32, other: Self) -> Self {
            let mut sum = self.0;
            for (sum, value) in sum.iter_mut().zip(other.0) {
                *sum += factor * value;
            }
            Self(sum)
        }
    }
}

pub(super) use group::Group;
