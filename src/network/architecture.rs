//! What a network is made of, before its parameters are drawn.

use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, dimension, same};
use crate::init::{Init, generator};
use crate::layers::LayerShape;
use crate::network::Network;
use crate::network::plan::Plan;
use crate::network::train_state::TrainState;
use crate::params::Params;
use crate::params::schema::Parameter;

/// What a network is made of, before its parameters are drawn.
///
/// ```
/// use interneuron::{Architecture, Context, Network};
///
/// // The network of Cornford et al. (2021): three hidden layers of 500 excitatory and 50 inhibitory units.
/// let net: Network<f32> = Architecture::dann(&[784, 500, 500, 500, 10], &[50, 50, 50, 1])?.seed(7).build(&Context::new()?)?;
/// assert_eq!(net.shapes().count(), 4);
/// # Ok::<(), interneuron::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    layers: Vec<LayerShape>,
    iid_inhibition: bool,
    mean_input: f64,
    seed: u64,
}

impl Architecture {
    /// Layers of any kind, from the input to the output.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no layer; [`Error::Layer`] with [`Error::Dimension`] if a dimension of one is
    /// zero or an array would not fit in memory, with [`Error::Mismatch`] if it has not as many inputs as the layer
    /// below has outputs, or not as many inhibitory outputs as the layer above has inhibitory inputs.
    pub fn of(layers: Vec<LayerShape>) -> Result<Self, Error> {
        dimension("layers", layers.len())?;
        for (k, shape) in layers.iter().enumerate() {
            shape.schema().map_err(|error| error.in_layer(k))?;
        }
        for (k, pair) in layers.windows(2).enumerate() {
            same("the layer", "inputs", pair[1].inputs(), "the layer below", "outputs", pair[0].outputs())
                .map_err(|error| error.in_layer(k + 1))?;
        }
        // The signs that a layer hands on are those that the layer above counts on.
        for (k, below) in layers.iter().enumerate() {
            let of = |shape: Option<&LayerShape>| shape.and_then(LayerShape::inhibitory).unwrap_or_default();
            let ([_, outputs], [expected, _]) = (of(Some(below)), of(layers.get(k + 1)));
            let (other, other_dimension) = match k + 1 < layers.len() {
                true => ("the layer above", "inhibitory inputs"),
                false => ("a last layer", "inhibitory outputs"),
            };
            same("the layer", "inhibitory outputs", outputs, other, other_dimension, expected)
                .map_err(|error| error.in_layer(k))?;
        }
        Ok(Self { layers, iid_inhibition: false, mean_input: 0.0, seed: 0 })
    }

    /// The mean of the inputs, for [`Init::mean_input`].
    pub(crate) fn mean_input(self, mean_input: f64) -> Self {
        Self { mean_input, ..self }
    }

    /// Takes the division out of every layer with inhibition.
    #[must_use]
    pub fn subtractive(mut self) -> Self {
        self.layers.iter_mut().for_each(|layer| *layer = layer.without_division());
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

    /// How the network computes, without parameters.
    ///
    /// # Errors
    /// None that [`Architecture::of`] leaves.
    pub fn plan<T: Element>(&self, context: &Context) -> Result<Plan<T>, Error> {
        Plan::of(&self.layers, context)
    }

    /// A network with drawn parameters.
    ///
    /// # Errors
    /// As [`Architecture::draw`].
    pub fn build<T: Element>(&self, context: &Context) -> Result<Network<T>, Error> {
        Network::new(self.plan(context)?, self.draw()?, TrainState::new(self.seed))
    }

    /// Draws the parameters of each layer, from the input to the output.
    ///
    /// Before anything is drawn, the system is asked for as much memory as they all take, and none of it is used: each
    /// array alone may fit where all together do not.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the parameters do not fit in memory.
    pub fn draw<T: Element>(&self) -> Result<Vec<Params<T>>, Error> {
        let schemas = self.layers.iter().map(LayerShape::schema).collect::<Result<Vec<_>, _>>()?;
        let elements = schemas.iter().flat_map(|schema| schema.iter()).map(Parameter::elements);
        let elements = elements.fold(0, usize::saturating_add);
        let mut all = Vec::<T>::new();
        all.try_reserve_exact(elements).map_err(|_| Error::TooLarge { elements })?;
        // Or else the compiler may leave out what is never used.
        drop(std::hint::black_box(all));
        let mut rng = generator(self.seed);
        let layer = |(k, shape): (usize, &LayerShape)| {
            let init =
                Init { rectified_input: k > 0, iid_inhibition: self.iid_inhibition, mean_input: self.mean_input };
            init.draw(shape, &mut rng)
        };
        self.layers.iter().enumerate().map(layer).collect()
    }
}
