//! The arrays of all layers of a network, as their owner has them.

use super::{Params, ParamsMut, ParamsRef};
use crate::error::{Error, length};
use crate::params::schema::Schema;

/// The arrays of all layers of a network that are read, from the input to the output: made of a slice or a `Vec` of
/// [`Params`] or [`ParamsRef`], of which nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct NetworkParams<'a, T>(Read<'a, T>);

#[derive(Clone, Copy, Debug)]
enum Read<'a, T> {
    Owned(&'a [Params<T>]),
    Views(&'a [ParamsRef<'a, T>]),
}

impl<'a, T> NetworkParams<'a, T> {
    /// Those of layer `k`.
    pub(crate) fn layer(&self, k: usize) -> ParamsRef<'a, T> {
        match self.0 {
            Read::Owned(layers) => layers[k].view(),
            Read::Views(layers) => layers[k],
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
        };
        length(name, layers, schemas.len())?;
        schemas.enumerate().try_for_each(|(k, schema)| self.layer(k).check(schema).map_err(|error| error.in_layer(k)))
    }
}

/// The arrays of all layers of a network that are written, from the input to the output: made of a slice or a `Vec` of
/// [`Params`] or [`ParamsMut`], of which nothing is copied.
#[derive(Debug)]
pub struct NetworkParamsMut<'a, 'p, T>(Write<'a, 'p, T>);

#[derive(Debug)]
enum Write<'a, 'p, T> {
    Owned(&'a mut [Params<T>]),
    Views(&'a mut [ParamsMut<'p, T>]),
}

impl<T> NetworkParamsMut<'_, '_, T> {
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

    /// As [`NetworkParams::check`].
    pub(crate) fn check<'s>(
        &self,
        name: &'static str,
        schemas: impl ExactSizeIterator<Item = &'s Schema>,
    ) -> Result<(), Error> {
        let layers = match &self.0 {
            Write::Owned(layers) => layers.len(),
            Write::Views(layers) => layers.len(),
        };
        length(name, layers, schemas.len())?;
        schemas.enumerate().try_for_each(|(k, schema)| self.layer(k).check(schema).map_err(|error| error.in_layer(k)))
    }
}

impl<'a, T> From<&'a [Params<T>]> for NetworkParams<'a, T> {
    fn from(layers: &'a [Params<T>]) -> Self {
        Self(Read::Owned(layers))
    }
}

impl<'a, T> From<&'a Vec<Params<T>>> for NetworkParams<'a, T> {
    fn from(layers: &'a Vec<Params<T>>) -> Self {
        Self(Read::Owned(layers))
    }
}

impl<'a, T> From<&'a [ParamsRef<'a, T>]> for NetworkParams<'a, T> {
    fn from(layers: &'a [ParamsRef<'a, T>]) -> Self {
        Self(Read::Views(layers))
    }
}

impl<'a, T> From<&'a Vec<ParamsRef<'a, T>>> for NetworkParams<'a, T> {
    fn from(layers: &'a Vec<ParamsRef<'a, T>>) -> Self {
        Self(Read::Views(layers))
    }
}

impl<'a, T> From<&'a mut [Params<T>]> for NetworkParamsMut<'a, '_, T> {
    fn from(layers: &'a mut [Params<T>]) -> Self {
        Self(Write::Owned(layers))
    }
}

impl<'a, T> From<&'a mut Vec<Params<T>>> for NetworkParamsMut<'a, '_, T> {
    fn from(layers: &'a mut Vec<Params<T>>) -> Self {
        Self(Write::Owned(layers))
    }
}

impl<'a, 'p, T> From<&'a mut [ParamsMut<'p, T>]> for NetworkParamsMut<'a, 'p, T> {
    fn from(layers: &'a mut [ParamsMut<'p, T>]) -> Self {
        Self(Write::Views(layers))
    }
}

impl<'a, 'p, T> From<&'a mut Vec<ParamsMut<'p, T>>> for NetworkParamsMut<'a, 'p, T> {
    fn from(layers: &'a mut Vec<ParamsMut<'p, T>>) -> Self {
        Self(Write::Views(layers))
    }
}
