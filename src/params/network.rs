//! The arrays of all layers of a network, as their owner has them.

use super::{Params, ParamsMut, ParamsRef};
use crate::error::{Error, length};
use crate::params::schema::Schema;

/// The arrays of all layers of a network that are read, from the input to the output: made of a slice, a `Vec` or an
/// array of [`Params`], [`ParamsRef`] or [`ParamsMut`], of which nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct NetworkParams<'a, T>(Read<'a, T>);

#[derive(Clone, Copy, Debug)]
enum Read<'a, T> {
    Owned(&'a [Params<T>]),
    Views(&'a [ParamsRef<'a, T>]),
    Written(&'a [ParamsMut<'a, T>]),
}

impl<'a, T> NetworkParams<'a, T> {
    /// Those of layer `k`.
    pub(crate) fn layer(&self, k: usize) -> ParamsRef<'a, T> {
        match self.0 {
            Read::Owned(layers) => layers[k].view(),
            Read::Views(layers) => layers[k],
            Read::Written(layers) => layers[k].view(),
        }
    }

    /// Checks that there are as many layers as schemas, and in each the arrays of its schema. `name` is what the caller
    /// calls them.
    pub(crate) fn check<'s>(
        &self,
        name: &'static str,
        schemas: impl ExactSizeIterator<Item = &'s Schema>,
    ) -> Result<(), Error> {
        let layers = match self.0 {
            Read::Owned(layers) => layers.len(),
            Read::Views(layers) => layers.len(),
            Read::Written(layers) => layers.len(),
        };
        length(name, layers, schemas.len())?;
        schemas.enumerate().try_for_each(|(k, schema)| self.layer(k).check(schema).map_err(|error| error.in_layer(k)))
    }
}

/// The arrays of all layers of a network that are written, from the input to the output: made of a slice, a `Vec` or an
/// array of [`Params`] or [`ParamsMut`], of which nothing is copied.
#[derive(Debug)]
pub struct NetworkParamsMut<'a, 'p, T>(Write<'a, 'p, T>);

#[derive(Debug)]
enum Write<'a, 'p, T> {
    Owned(&'a mut [Params<T>]),
    Views(&'a mut [ParamsMut<'p, T>]),
}

impl<'p, T> NetworkParamsMut<'_, 'p, T> {
    /// Those of layer `k`, for reading.
    pub(crate) fn layer(&self, k: usize) -> ParamsRef<'_, T> {
        match &self.0 {
            Write::Owned(layers) => layers[k].view(),
            Write::Views(layers) => layers[k].view(),
        }
    }

    /// Those of layer `k`, for writing.
    pub(crate) fn layer_mut(&mut self, k: usize) -> ParamsMut<'_, T> {
        match &mut self.0 {
            Write::Owned(layers) => layers[k].view_mut(),
            Write::Views(layers) => layers[k].view_mut(),
        }
    }

    /// The same, for reading.
    pub fn view(&self) -> NetworkParams<'_, T> {
        NetworkParams(match &self.0 {
            Write::Owned(layers) => Read::Owned(layers),
            Write::Views(layers) => Read::Written(layers),
        })
    }

    /// The same, for a shorter time: for who is given one, and hands it on more than once.
    pub fn view_mut(&mut self) -> NetworkParamsMut<'_, 'p, T> {
        NetworkParamsMut(match &mut self.0 {
            Write::Owned(layers) => Write::Owned(layers),
            Write::Views(layers) => Write::Views(layers),
        })
    }
}

/// Conversions of slices, vectors and arrays.
macro_rules! conversions {
    (read $item:ty as $variant:ident) => {
        conversions!(@read [$item] as $variant);
        conversions!(@read Vec<$item> as $variant);
        conversions!(@read [$item; N] as $variant, const N: usize);
    };
    (@read $list:ty as $variant:ident $(, $($n:tt)*)?) => {
        impl<'a, T $(, $($n)*)?> From<&'a $list> for NetworkParams<'a, T> {
            fn from(layers: &'a $list) -> Self {
                Self(Read::$variant(layers))
            }
        }
    };
    (write $item:ty as $variant:ident) => {
        conversions!(@write [$item] as $variant);
        conversions!(@write Vec<$item> as $variant);
        conversions!(@write [$item; N] as $variant, const N: usize);
    };
    (@write $list:ty as $variant:ident $(, $($n:tt)*)?) => {
        impl<'a, 'p, T $(, $($n)*)?> From<&'a mut $list> for NetworkParamsMut<'a, 'p, T> {
            fn from(layers: &'a mut $list) -> Self {
                Self(Write::$variant(layers))
            }
        }
    };
}

conversions!(read Params<T> as Owned);
conversions!(read ParamsRef<'a, T> as Views);
conversions!(read ParamsMut<'a, T> as Written);
conversions!(write Params<T> as Owned);
conversions!(write ParamsMut<'p, T> as Views);
