//! The arrays of one kind of layer: a struct with one field for each parameter, and what every such struct can do.

/// A parameter, whatever kind of layer has it: what decides its sign, its correction and its factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letter {
    /// `Wex`, and the weights of a layer without interneurons.
    Wex,
    Wix,
    Wei,
    Alpha,
    G,
    B,
    /// Statistics that a layer keeps for evaluation; no gradient moves them.
    Mean,
    Variance,
}

/// Defines the arrays of a kind of layer: `field: Letter = "name"` for each parameter.
macro_rules! arrays {
    (
        $(#[$doc:meta])*
        $name:ident, $params:ident, $ref:ident, $mut:ident for $shape:ident {
            $($(#[$field_doc:meta])* $field:ident: $letter:ident = $text:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<A> {
            $($(#[$field_doc])* pub $field: A,)*
        }

        /// Owned arrays, one for each parameter.
        pub type $params<T> = $name<Vec<T>>;
        /// Arrays that are read.
        pub type $ref<'a, T> = $name<&'a [T]>;
        /// Arrays that are written: parameters to update, or gradients to fill.
        pub type $mut<'a, T> = $name<&'a mut [T]>;

        impl<A> $name<A> {
            /// The names of the parameters, as in the equations.
            pub const NAMES: $name<&'static str> = $name { $($field: $text),* };

            pub(crate) const LETTERS: $name<Letter> = $name { $($field: Letter::$letter),* };

            /// The same value for each parameter.
            pub fn all(value: A) -> Self
            where
                A: Clone,
            {
                $name { $($field: value.clone()),* }
            }

            /// `f` of each parameter, in the order of the fields.
            pub fn map<B>(self, mut f: impl FnMut(A) -> B) -> $name<B> {
                $name { $($field: f(self.$field)),* }
            }

            /// Each parameter together with its counterpart.
            pub fn zip<B>(self, other: $name<B>) -> $name<(A, B)> {
                $name { $($field: (self.$field, other.$field)),* }
            }

            /// The parameters in the order of the fields.
            pub fn into_array(self) -> [A; [$($text),*].len()] {
                [$(self.$field),*]
            }
        }

        impl<T: Element> $params<T> {
            /// Arrays of zeros.
            ///
            /// # Errors
            /// [`Error::Dimension`] if a dimension is zero, [`Error::TooLarge`] if an array does not fit in memory.
            pub fn zeros(shape: &$shape) -> Result<Self, Error> {
                let lengths = shape.lengths()?;
                Ok($name { $($field: zeros(lengths.$field)?),* })
            }

            /// A view for reading.
            pub fn view(&self) -> $ref<'_, T> {
                $name { $($field: &self.$field),* }
            }

            /// A view for writing.
            pub fn view_mut(&mut self) -> $mut<'_, T> {
                $name { $($field: &mut self.$field),* }
            }
        }

        impl<T: Element> $ref<'_, T> {
            /// Checks the length of each array.
            pub(crate) fn check(&self, shape: &$shape) -> Result<(), Error> {
                let arrays = self.map(<[T]>::len).zip(shape.lengths()?).zip(shape.names());
                let mut arrays = arrays.into_array().into_iter();
                arrays.try_for_each(|((len, expected), name)| crate::error::length(name, len, expected))
            }

            /// Checks that the arrays can be a layer's parameters: their lengths, that all values are finite, and that
            /// those that keep their sign are nowhere negative.
            ///
            /// # Errors
            /// [`Error::Length`] or [`Error::Value`], naming the parameter; [`Error::Dimension`] if the shape itself is
            /// impossible.
            pub fn validate(&self, shape: &$shape) -> Result<(), Error> {
                self.check(shape)?;
                let arrays = self.zip(shape.names()).zip($name::<()>::LETTERS);
                arrays.into_array().into_iter().try_for_each(|((array, name), letter)| {
                    let values = array.iter().map(|value| value.to_f64());
                    crate::error::values(name, values, shape.signed(letter))
                })
            }
        }

        impl<T: Element> $mut<'_, T> {
            /// A view for reading.
            pub fn view(&self) -> $ref<'_, T> {
                $name { $($field: self.$field),* }
            }
        }
    };
}

pub(super) use arrays;
