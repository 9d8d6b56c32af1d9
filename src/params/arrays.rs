//! The arrays of one kind of layer as a struct with one field for each: for code that knows the kind.

/// Defines the arrays of a kind of layer: `field = "name"` for each.
macro_rules! arrays {
    (
        $(#[$doc:meta])*
        $name:ident, $params:ident, $ref:ident, $mut:ident for $shape:ident: $kind:literal {
            $($(#[$field_doc:meta])* $field:ident = $text:literal,)*
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

        impl $name<()> {
            /// The names of the arrays, as in the equations.
            pub const NAMES: $name<&'static str> = $name { $($field: $text),* };

            pub(crate) const KIND: &Names = &Names { kind: $kind, arrays: &[$($text),*] };

            fn of_kind(names: &Names) -> Result<(), Error> {
                if names.kind == $kind { Ok(()) } else { Err(Error::Kind { expected: $kind }) }
            }
        }

        impl<A> $name<A> {
            /// One for each field, in the order of the fields.
            pub(crate) fn of(mut all: impl Iterator<Item = A>) -> Self {
                let mut next = || all.next().expect("a field for each array");
                $name { $($field: next()),* }
            }

            /// `f` of each field, in the order of the fields.
            pub fn map<B>(self, mut f: impl FnMut(A) -> B) -> $name<B> {
                $name { $($field: f(self.$field)),* }
            }

            /// Each field together with its counterpart.
            pub fn zip<B>(self, other: $name<B>) -> $name<(A, B)> {
                $name { $($field: (self.$field, other.$field)),* }
            }

            /// The fields in their order.
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
                Params::zeros(shape)?.try_into()
            }
        }

        impl<T> $params<T> {
            /// A view for reading.
            pub fn view(&self) -> $ref<'_, T> {
                $name { $($field: &self.$field),* }
            }

            /// A view for writing.
            pub fn view_mut(&mut self) -> $mut<'_, T> {
                $name { $($field: &mut self.$field),* }
            }
        }

        impl<T> $mut<'_, T> {
            /// A view for reading.
            pub fn view(&self) -> $ref<'_, T> {
                $name { $($field: self.$field),* }
            }
        }

        impl<T> From<$params<T>> for Params<T> {
            fn from(arrays: $params<T>) -> Self {
                Params::of($name::KIND, arrays.into_array().into())
            }
        }

        impl<'a, T> From<$ref<'a, T>> for ParamsRef<'a, T> {
            fn from(arrays: $ref<'a, T>) -> Self {
                ParamsRef::of($name::KIND, arrays.into_array())
            }
        }

        impl<'a, T> From<$mut<'a, T>> for ParamsMut<'a, T> {
            fn from(arrays: $mut<'a, T>) -> Self {
                ParamsMut::of($name::KIND, arrays.into_array())
            }
        }

        impl<T> TryFrom<Params<T>> for $params<T> {
            type Error = Error;

            fn try_from(params: Params<T>) -> Result<Self, Error> {
                $name::of_kind(params.names())?;
                Ok($name::of(params.into_arrays().into_iter()))
            }
        }

        impl<'a, T> TryFrom<ParamsRef<'a, T>> for $ref<'a, T> {
            type Error = Error;

            fn try_from(params: ParamsRef<'a, T>) -> Result<Self, Error> {
                $name::of_kind(params.names())?;
                Ok($name::of(params.iter()))
            }
        }

        impl<'a, T> TryFrom<ParamsMut<'a, T>> for $mut<'a, T> {
            type Error = Error;

            fn try_from(params: ParamsMut<'a, T>) -> Result<Self, Error> {
                $name::of_kind(params.names())?;
                Ok($name::of(params.into_iter()))
            }
        }
    };
}

pub(crate) use arrays;
