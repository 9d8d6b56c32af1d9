//! The networks that papers compare, as lists of their dimensions.

use crate::error::{Error, dimension, length};
use crate::layers::LayerShape;
use crate::layers::dann::DannShape;
use crate::layers::dense::DenseShape;
use crate::layers::norm::{NormShape, Normalisation};
use crate::network::architecture::Architecture;

impl Architecture {
    /// Layers with separate excitatory and inhibitory units: `dims` are the inputs and then the excitatory units of
    /// each layer, `nis` the interneurons of each layer. Hidden layers have ReLU, the last the identity.
    ///
    /// # Errors
    /// As [`Architecture::of`]; [`Error::Length`] if `nis` has not one element for each layer.
    pub fn dann(dims: &[usize], nis: &[usize]) -> Result<Self, Error> {
        let layers = dims.len().saturating_sub(1);
        length("nis", nis.len(), layers)?;
        Self::stack(dims, |k, d, ne, last| {
            let shape = DannShape::new(d, ne, nis[k]);
            if last { shape.linear() } else { shape }.into()
        })
    }

    /// Plain layers: `dims` are the inputs and then the units of each layer. Hidden layers have ReLU, the last the
    /// identity.
    ///
    /// # Errors
    /// As [`Architecture::of`].
    pub fn mlp(dims: &[usize]) -> Result<Self, Error> {
        Self::stack(dims, |_, d, ne, last| {
            let shape = DenseShape::new(d, ne);
            if last { shape.linear() } else { shape }.into()
        })
    }

    /// As [`Architecture::mlp`], with layer normalisation in the hidden layers.
    ///
    /// # Errors
    /// As [`Architecture::of`].
    pub fn layer_norm(dims: &[usize]) -> Result<Self, Error> {
        Self::normalised(dims, Normalisation::Layer)
    }

    /// As [`Architecture::mlp`], with batch normalisation in the hidden layers.
    ///
    /// # Errors
    /// As [`Architecture::of`].
    pub fn batch_norm(dims: &[usize]) -> Result<Self, Error> {
        Self::normalised(dims, Normalisation::Batch)
    }

    fn normalised(dims: &[usize], over: Normalisation) -> Result<Self, Error> {
        Self::stack(dims, |_, d, ne, last| {
            if last { DenseShape::new(d, ne).linear().into() } else { NormShape::new(d, ne, over).into() }
        })
    }

    /// Dale's principle by sign-constrained columns: see [`Columns`](crate::Columns). `dims` are the inputs, all
    /// positive, and then all units of each layer; in hidden layers `⌈n/(ratio + 1)⌉` of `n` units are inhibitory.
    /// Hidden layers have ReLU, the last the identity. `mean_input` is the mean of the inputs, which the biases of the
    /// first layer make up for at first.
    ///
    /// # Errors
    /// As [`Architecture::of`]; [`Error::Dimension`] if `ratio` is zero, [`Error::Policy`] if `mean_input` is not
    /// finite.
    pub fn column_ei(dims: &[usize], ratio: usize, mean_input: f64) -> Result<Self, Error> {
        dimension("ratio", ratio)?;
        if !mean_input.is_finite() {
            return Err(Error::Policy { name: "mean_input", value: mean_input, expected: "a finite number" });
        }
        let inhibitory = |units: usize| units.div_ceil(ratio.saturating_add(1));
        let architecture = Self::stack(dims, |k, d, ne, last| {
            let shape = DenseShape::new(d, ne)
                .columns(if k == 0 { 0 } else { inhibitory(d) }, if last { 0 } else { inhibitory(ne) });
            if last { shape.linear() } else { shape }.into()
        })?;
        Ok(architecture.mean_input(mean_input))
    }

    /// Layers that `layer` makes of their number, their inputs and outputs, and whether they are the last.
    fn stack(dims: &[usize], layer: impl Fn(usize, usize, usize, bool) -> LayerShape) -> Result<Self, Error> {
        let layers = dims.windows(2).enumerate();
        Self::of(layers.map(|(k, pair)| layer(k, pair[0], pair[1], k + 2 == dims.len())).collect())
    }
}
