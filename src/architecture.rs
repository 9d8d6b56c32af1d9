//! What a network is made of, before its parameters are drawn.

use crate::element::Element;
use crate::error::{Error, dimension, length, same};
use crate::init::{Init, generator};
use crate::isa::Isa;
use crate::network::{Network, label_generator};
use crate::params::dann::DannShape;
use crate::params::dense::{Columns, DenseShape};
use crate::params::layer::LayerShape;
use crate::params::norm::{NormShape, Over};

/// What a network is made of, before its parameters are drawn.
///
/// ```
/// use interneuron::{Architecture, Network};
///
/// // The network of Cornford et al. (2021): three hidden layers of 500 excitatory and 50 inhibitory units.
/// let net: Network<f32> = Architecture::dann(&[784, 500, 500, 500, 10], &[50, 50, 50, 1])?.seed(7).build()?;
/// assert_eq!(net.shapes().count(), 4);
/// # Ok::<(), interneuron::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    layers: Vec<LayerShape>,
    iid_inhibition: bool,
    mean_input: f64,
    seed: u64,
    isa: Option<Isa>,
}

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
        Self::normalised(dims, Over::Units)
    }

    /// As [`Architecture::mlp`], with batch normalisation in the hidden layers.
    ///
    /// # Errors
    /// As [`Architecture::of`].
    pub fn batch_norm(dims: &[usize]) -> Result<Self, Error> {
        Self::normalised(dims, Over::Examples)
    }

    fn normalised(dims: &[usize], over: Over) -> Result<Self, Error> {
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
        Ok(Self { mean_input, ..architecture })
    }

    /// Layers that `layer` makes of their number, their inputs and outputs, and whether they are the last.
    fn stack(dims: &[usize], layer: impl Fn(usize, usize, usize, bool) -> LayerShape) -> Result<Self, Error> {
        let layers = dims.windows(2).enumerate();
        Self::of(layers.map(|(k, pair)| layer(k, pair[0], pair[1], k + 2 == dims.len())).collect())
    }

    /// Layers of any kind, from the input to the output.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no layer; [`Error::Layer`] with [`Error::Dimension`] if a dimension of one is
    /// zero or an array would not fit in memory, with [`Error::Mismatch`] if it has not as many inputs as the layer
    /// below has outputs, or not as many inhibitory outputs as the layer above has inhibitory inputs.
    pub fn of(layers: Vec<LayerShape>) -> Result<Self, Error> {
        dimension("layers", layers.len())?;
        for (k, shape) in layers.iter().enumerate() {
            shape.check().map_err(|error| error.in_layer(k))?;
        }
        for (k, pair) in layers.windows(2).enumerate() {
            same("the layer", "inputs", pair[1].inputs(), "the layer below", "outputs", pair[0].outputs())
                .map_err(|error| error.in_layer(k + 1))?;
        }
        // The signs that a layer hands on are those that the layer above counts on.
        let columns = |shape: Option<&LayerShape>| match shape {
            Some(LayerShape::Dense(shape)) => shape.columns.unwrap_or_default(),
            _ => Columns::default(),
        };
        for (k, below) in layers.iter().enumerate() {
            let (below, above) = (columns(Some(below)), columns(layers.get(k + 1)));
            let (other, other_dimension) = match k + 1 < layers.len() {
                true => ("the layer above", "inhibitory inputs"),
                false => ("a last layer", "inhibitory outputs"),
            };
            let (outputs, expected) = (below.inhibitory_outputs, above.inhibitory_inputs);
            same("the layer", "inhibitory outputs", outputs, other, other_dimension, expected)
                .map_err(|error| error.in_layer(k))?;
        }
        Ok(Self { layers, iid_inhibition: false, mean_input: 0.0, seed: 0, isa: None })
    }

    /// Takes the division out of every layer with inhibition.
    #[must_use]
    pub fn subtractive(mut self) -> Self {
        for layer in &mut self.layers {
            if let LayerShape::Dann(shape) = layer {
                shape.divisive = false;
            }
        }
        self
    }

    /// Draws inhibitory weights independently instead of matching them to the excitation.
    #[must_use]
    pub fn iid_inhibition(self) -> Self {
        Self { iid_inhibition: true, ..self }
    }

    /// The seed of the parameters; 0 if never called.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The instruction set; that of [`Isa::select`] if never called.
    #[must_use]
    pub fn isa(self, isa: Isa) -> Self {
        Self { isa: Some(isa), ..self }
    }

    /// Draws the parameters.
    ///
    /// Before anything is drawn, the system is asked for as much memory as they all take, and none of it is used: each
    /// array alone may fit where all together do not.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the parameters do not fit in memory; those of [`Isa::select`] if no set was named.
    pub fn build<T: Element>(self) -> Result<Network<T>, Error> {
        let isa = self.isa.map_or_else(Isa::select, Ok)?;
        let arrays = self.layers.iter().flat_map(LayerShape::arrays);
        let elements = arrays.map(|(_, dimensions)| dimensions.iter().product()).fold(0, usize::saturating_add);
        let mut all = Vec::<T>::new();
        all.try_reserve_exact(elements).map_err(|_| Error::TooLarge { elements })?;
        // Or else the compiler may leave out what is never used.
        drop(std::hint::black_box(all));
        let mut rng = generator(self.seed);
        let layer = |(k, shape): (usize, &LayerShape)| {
            let init =
                Init { rectified_input: k > 0, iid_inhibition: self.iid_inhibition, mean_input: self.mean_input };
            Ok((*shape, init.draw(shape, &mut rng)?))
        };
        let layers = self.layers.iter().enumerate().map(layer).collect::<Result<Vec<_>, Error>>()?;
        Network::of(layers, isa, 0, label_generator(self.seed))
    }
}
