//! What the numbers of layers and networks are.

use crate::arguments::choice;
use crate::status::Outcome;

/// Arrays are of float.
pub const INTERNEURON_F32: i64 = 0;
/// Arrays are of double.
pub const INTERNEURON_F64: i64 = 1;

/// One of two things, by the element that it is for.
#[derive(Clone, Copy)]
pub enum Either<A, B> {
    F32(A),
    F64(B),
}

/// What a caller asks for.
pub fn element(name: &str, number: i64) -> Outcome<Either<(), ()>> {
    choice(name, number, &[Either::F32(()), Either::F64(())])
}

/// Evaluates the same expression with what is there, of whichever element.
macro_rules! either {
    ($either:expr, $it:pat => $body:expr) => {
        match $either {
            $crate::element::Either::F32($it) => $body,
            $crate::element::Either::F64($it) => $body,
        }
    };
}

pub(crate) use either;
