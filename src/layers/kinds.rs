//! The list of the kinds of layers. Everything that is decided by the kind is decided here, once.

use super::dann::DannShape;
use super::dense::DenseShape;
use super::excite::ExciteKernels;
use super::inhibition::division::Divisor;
use super::inhibition::kernels::InhibitionKernels;
#[cfg(feature = "checkpoint")]
use super::kind::Tensors;
use super::kind::{Kind, Ports};
use super::nonlinearity::Nonlinearity;
use super::norm::{NormKernels, NormShape};
use super::pass::Pass;
use super::recurrent::RecurrentShape;
use super::recurrent::kernels::RecurrentKernels;
use crate::element::{AnyTable, Element, Tables};
use crate::error::Error;
use crate::init::{Init, RandomNumbers};
use crate::isa::{ForIsa, InstructionSet, Isa};
use crate::kernels::{KernelTable, Kernels};
use crate::params::schema::{Schema, Shape};
use crate::params::{Params, ParamsRef};
use std::any::TypeId;

/// Makes [`LayerShape`] of the kinds, each a shape that implements [`Kind`].
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($shape:ident),)*) => {
        /// The shape of a layer of any kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum LayerShape {
            $($(#[$doc])* $variant($shape),)*
        }

        $(impl From<$shape> for LayerShape {
            fn from(shape: $shape) -> Self {
                Self::$variant(shape)
            }
        })*

        /// The same expression for the shape of each kind.
        macro_rules! each {
            ($value:expr, $own:ident => $call:expr) => {
                match $value {
                    $(LayerShape::$variant($own) => $call,)*
                }
            };
        }

        #[cfg(feature = "checkpoint")]
        impl LayerShape {
            /// The shape of the layer that a file's tensors make: the first kind that knows them.
            pub(crate) fn of_tensors(tensors: &mut dyn Tensors, nonlinearity: Nonlinearity) -> Result<Self, String> {
                $(if let Some(shape) = $shape::of_tensors(tensors, nonlinearity)? {
                    return Ok(shape.into());
                })*
                Err(format!("{} has no tensors of any kind of layer", tensors.layer()))
            }
        }
    };
}

// A file's tensors are of the first kind that knows them: those of a recurrent layer have the names of others among theirs.
kinds! {
    /// States that come back from step to step.
    Recurrent(RecurrentShape),
    /// Separate excitatory and inhibitory units.
    Dann(DannShape),
    /// Layer or batch normalisation.
    Norm(NormShape),
    /// No interneurons: a plain layer, or columns that keep their signs.
    Dense(DenseShape),
}

/// Makes the tables of kernels for both element types.
macro_rules! tables {
    ($($table:ident,)*) => {
        tables!(f32: $($table,)*);
        #[cfg(feature = "f64")]
        tables!(f64: $($table,)*);
    };
    ($t:ident: $($table:ident,)*) => {
        impl Tables for $t {
            // Inlined in another crate, it would have the kernels compiled there once more.
            #[inline(never)]
            fn find(isa: Isa, table: TypeId) -> Option<&'static AnyTable> {
                struct Find(TypeId);
                impl ForIsa for Find {
                    type Output = Option<&'static AnyTable>;

                    fn call<S: InstructionSet>(self) -> Self::Output {
                        $(if self.0 == TypeId::of::<$table<$t>>() {
                            return Some($table::<$t>::of::<S>());
                        })*
                        None
                    }
                }
                isa.dispatch(Find(table))
            }
        }
    };
}

tables! {
    Kernels,
    ExciteKernels,
    InhibitionKernels,
    NormKernels,
    RecurrentKernels,
}

impl LayerShape {
    // Inlined, a flag of one kind may be looked at before the kind is known, which memcheck takes for a fault.
    #[inline(never)]
    fn ports(&self) -> Ports {
        each!(self, shape => shape.ports())
    }

    /// Inputs `d`.
    pub fn inputs(&self) -> usize {
        self.ports().inputs
    }

    /// Outputs `ne`.
    pub fn outputs(&self) -> usize {
        self.ports().outputs
    }

    /// Interneurons `ni`; 0 in a layer that has none.
    pub fn interneurons(&self) -> usize {
        self.ports().interneurons
    }

    /// Whether inhibition divides.
    pub fn divisive(&self) -> bool {
        self.divisor().is_some()
    }

    /// What inhibition divides by, if it divides.
    pub fn divisor(&self) -> Option<Divisor> {
        self.ports().divisor
    }

    /// The nonlinearity at its end.
    pub fn nonlinearity(&self) -> Nonlinearity {
        self.ports().nonlinearity
    }

    /// See [`Ports::inhibitory`].
    pub(crate) fn inhibitory(&self) -> Option<[usize; 2]> {
        self.ports().inhibitory
    }

    /// Whether what it does at one step depends on the steps before.
    pub fn is_recurrent(&self) -> bool {
        self.ports().recurrent
    }

    /// Units whose states go from step to step; 0 in a layer that has none.
    pub(crate) fn recurrent_units(&self) -> usize {
        match self {
            Self::Recurrent(shape) => shape.ne,
            _ => 0,
        }
    }

    /// See [`Ports::batch_statistics`].
    pub(crate) fn has_batch_statistics(&self) -> bool {
        self.ports().batch_statistics
    }

    /// The spectral radius of what takes states from one step to the next, in a recurrent layer.
    pub(crate) fn radius<T: Element>(&self, params: ParamsRef<'_, T>) -> Option<f64> {
        each!(self, shape => shape.radius(params))
    }

    /// The same with so many of the outputs going out with a negative sign, if its kind can do that.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn with_inhibitory_outputs(self, outputs: usize) -> Self {
        each!(self, shape => shape.with_inhibitory_outputs(outputs).into())
    }

    /// The same without division.
    pub(crate) fn without_division(self) -> Self {
        each!(self, shape => shape.without_division().into())
    }

    /// The same with another divisor, if it divides.
    pub(crate) fn with_divisor(self, divisor: Divisor) -> Self {
        each!(self, shape => shape.with_divisor(divisor).into())
    }

    /// Its arrays in their order: their names, dimensions, roles and signs.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or an array would not fit in memory.
    pub fn schema(&self) -> Result<Schema, Error> {
        each!(self, shape => shape.schema())
    }

    /// The buffers of a pass.
    pub(crate) fn pass<T: Element>(&self, isa: Isa) -> Result<Box<dyn Pass<T>>, Error> {
        each!(self, shape => shape.pass(isa))
    }

    /// Useful floating-point operations of a train step with `batch` examples, forward and backward, with or without
    /// the input gradient: `2·B·d·(ne+ni)·c + 12·B·ne·ni`, c = 3 or 2. Half of the last term is division's and is not
    /// counted in the subtractive variant. Normalisation is not counted: it is no product.
    ///
    /// Of a recurrent layer, where `batch` are the examples of all steps:
    /// `2·B·d·(ne+nu)·c + 6·B·ne·(ne+nw) + 12·B·ne·(nu+nw)` with division, else, as one matrix a leg,
    /// `2·B·d·ne·c + 6·B·ne² + 6·ne·(nu·d + nw·ne)`.
    pub fn train_flops(&self, batch: usize, input_gradient: bool) -> f64 {
        let products = if input_gradient { 3.0 } else { 2.0 };
        each!(self, shape => shape.flops(batch, products, true))
    }

    /// Useful floating-point operations of a forward pass: `2·B·d·(ne+ni) + 4·B·ne·ni`, half of the last term being
    /// division's.
    pub fn forward_flops(&self, batch: usize) -> f64 {
        each!(self, shape => shape.flops(batch, 1.0, false))
    }
}

impl Shape for LayerShape {
    fn schema(&self) -> Result<Schema, Error> {
        self.schema()
    }
}

impl Init {
    /// Draws a layer's parameters. Numbers are drawn in f64, so `f32` and `f64` layers of a seed differ by rounding.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or overflows, [`Error::Policy`] if a number of the initialisation
    /// cannot be used, [`Error::Unsupported`] if it does not go with the inputs, [`Error::TooLarge`] if an array does
    /// not fit in memory.
    pub fn draw<T: Element>(self, shape: &LayerShape, numbers: &mut impl RandomNumbers) -> Result<Params<T>, Error> {
        each!(shape, shape => shape.draw(self, numbers))
    }
}
