//! Reads operators one after the other into the same place.
//!
//! [`Operator`] is large, and to move it costs more than to decode it: several copies for each operator, which are most of
//! the time on a machine that has no fast way to copy.

use alloc::vec::Vec;

use wasmparser::{Operator, OperatorsReader, Result, VisitOperator, VisitSimdOperator};

/// The operator that was read last; `nop` before.
pub struct Current<'a>(Operator<'a>);

impl Default for Current<'_> {
    fn default() -> Self {
        Self(Operator::Nop)
    }
}

impl<'a> Current<'a> {
    /// Reads the next operator.
    ///
    /// # Errors
    /// When there is none.
    #[inline]
    pub fn read(&mut self, operators: &mut OperatorsReader<'a>) -> Result<&Operator<'a>> {
        // Visits forget what is here, so it must own nothing.
        self.0 = Operator::Nop;
        operators.visit_operator(self)?;
        Ok(&self.0)
    }
}

macro_rules! define_visit_operator {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
        $(
            fn $visit(&mut self $($(,$arg: $argty)*)?) {
                core::mem::forget(core::mem::replace(&mut self.0, Operator::$op $({ $($arg),* })?));
            }
        )*
    };
}

impl<'a> VisitOperator<'a> for Current<'a> {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(define_visit_operator);
}

impl<'a> VisitSimdOperator<'a> for Current<'a> {
    wasmparser::for_each_visit_simd_operator!(define_visit_operator);
}
