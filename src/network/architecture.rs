//! What a network is made of, before its parameters are drawn.

use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, area, dimension, same};
use crate::init::{Init, InputMoments, Inputs, Scheme, generator};
use crate::layers::inhibition::division::Divisor;
use crate::layers::recurrent::RecurrentInit;
use crate::layers::{LayerShape, Nonlinearity};
use crate::matrix::{MatMut, MatRef};
use crate::network::Network;
use crate::network::layer::Layer;
use crate::network::plan::Plan;
use crate::network::tape::Tape;
use crate::network::train_state::TrainState;
use crate::params::schema::Parameter;
use crate::params::{Params, array};

/// What a layer makes of `x`, with the statistics of the batch where it normalises over that.
fn outputs_of<T: Element>(
    shape: &LayerShape,
    params: &Params<T>,
    x: MatRef<'_, T>,
    context: &Context,
) -> Result<Vec<T>, Error> {
    let mut h = array(area("x", x.rows(), shape.outputs())?, |_| 0.0)?;
    let (layer, mut tape) = (Layer::new(*shape, context)?, Tape::new());
    let out = MatMut::new(&mut h, x.rows(), shape.outputs())?;
    if shape.has_batch_statistics() {
        layer.forward(params.view(), &mut tape, x, out)?;
    } else {
        layer.infer(params.view(), &mut tape, x, out)?;
    }
    Ok(h)
}

/// The error of a layer that is not there.
fn no_layer(k: usize) -> Error {
    Error::Dimension { name: "k", value: k, expected: "less than the number of layers" }
}

/// What a network is made of, before its parameters are drawn.
///
/// ```
/// use interneuron::{Architecture, Context, Network};
///
/// // The network of Cornford et al. (2021): three hidden layers of 500 excitatory and 50 inhibitory units.
/// let architecture = Architecture::dann(&[784, 500, 500, 500, 10], &[50, 50, 50, 1])?.seed(7);
/// let net: Network<f32> = architecture.build(&Context::new()?)?;
/// assert_eq!(net.shapes().count(), 4);
/// # Ok::<(), interneuron::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    layers: Vec<LayerShape>,
    /// One for each layer.
    schemes: Vec<Scheme>,
    mean_input: f64,
    recurrent: RecurrentInit,
    seed: u64,
}

impl Architecture {
    /// Layers of any kind, from the input to the output.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no layer; [`Error::Layer`] with [`Error::Dimension`] if a dimension of one is
    /// zero or an array would not fit in memory, with [`Error::Mismatch`] if it has not as many inputs as the layer
    /// below has outputs, or not as many inhibitory outputs as the layer above has inhibitory inputs;
    /// [`Error::Unsupported`] if there is batch normalisation beside a recurrent layer.
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
        if layers.iter().any(LayerShape::is_recurrent) && layers.iter().any(LayerShape::has_batch_statistics) {
            return Err(Error::Unsupported {
                what: "batch normalisation in a network with states",
                expected: "layers that treat each example on its own",
            });
        }
        let schemes = vec![Scheme::default(); layers.len()];
        Ok(Self { layers, schemes, mean_input: 0.0, recurrent: RecurrentInit::default(), seed: 0 })
    }

    /// The mean of the inputs, which the biases of a first layer with sign-constrained columns make up for
    /// ([`Init::mean_input`]); 0 if never called.
    #[must_use]
    pub fn mean_input(self, mean_input: f64) -> Self {
        Self { mean_input, ..self }
    }

    /// How recurrent layers are drawn; as published if never called.
    #[must_use]
    pub fn recurrent_init(self, recurrent: RecurrentInit) -> Self {
        Self { recurrent, ..self }
    }

    /// Takes the division out of every layer with inhibition.
    #[must_use]
    pub fn subtractive(mut self) -> Self {
        self.layers.iter_mut().for_each(|layer| *layer = layer.without_division());
        self
    }

    /// Takes the division out of layer `k`, if it has inhibition.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no such layer.
    ///
    /// ```
    /// use interneuron::{Architecture, Law, Scheme};
    ///
    /// // For inputs of both signs: a first layer that subtracts, and centres every input exactly.
    /// let architecture = Architecture::dann(&[784, 500, 10], &[50, 1])?
    ///     .subtractive_layer(0)?
    ///     .init_layer(0, Scheme::Centred(Law::Exponential))?;
    /// # Ok::<(), interneuron::Error>(())
    /// ```
    pub fn subtractive_layer(mut self, k: usize) -> Result<Self, Error> {
        let layer = self.layers.get_mut(k).ok_or_else(|| no_layer(k))?;
        *layer = layer.without_division();
        Ok(self)
    }

    /// What every layer that divides divides by: [`Divisor::Plain`] if never called.
    ///
    /// ```
    /// use interneuron::{Architecture, Divisor};
    ///
    /// let architecture = Architecture::dann(&[784, 500, 10], &[50, 1])?.divisor(Divisor::floor(0.01)?);
    /// # Ok::<(), interneuron::Error>(())
    /// ```
    #[must_use]
    pub fn divisor(mut self, divisor: Divisor) -> Self {
        self.layers.iter_mut().for_each(|layer| *layer = layer.with_divisor(divisor));
        self
    }

    /// What layer `k` divides by, if it divides: as [`Architecture::divisor`], for one layer. Layers behind a ReLU need no
    /// other divisor than the plain one.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no such layer.
    pub fn divisor_layer(mut self, k: usize, divisor: Divisor) -> Result<Self, Error> {
        let layer = self.layers.get_mut(k).ok_or_else(|| no_layer(k))?;
        *layer = layer.with_divisor(divisor);
        Ok(self)
    }

    /// How the weights of every layer with inhibition are drawn; matched to the excitation if never called.
    ///
    /// What the inputs of a layer are goes by what lies before it: linear for the first, and rectified for the others.
    /// With [`Scheme::Centred`] those behind a layer without ReLU are linear, too.
    ///
    /// ```
    /// use interneuron::{Architecture, Context, Law, Network, Scheme};
    ///
    /// let scheme = Scheme::Centred(Law::Lognormal { k: 1.0 });
    /// let net: Network<f32> = Architecture::dann(&[784, 500, 10], &[50, 1])?.init(scheme).build(&Context::new()?)?;
    /// # Ok::<(), interneuron::Error>(())
    /// ```
    #[must_use]
    pub fn init(mut self, scheme: Scheme) -> Self {
        self.schemes.fill(scheme);
        self
    }

    /// How the weights of layer `k` are drawn, if it has inhibition: as [`Architecture::init`], for one layer.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is no such layer.
    pub fn init_layer(mut self, k: usize, scheme: Scheme) -> Result<Self, Error> {
        *self.schemes.get_mut(k).ok_or_else(|| no_layer(k))? = scheme;
        Ok(self)
    }

    /// Draws inhibitory weights independently instead of matching them to the excitation.
    #[must_use]
    pub fn iid_inhibition(self) -> Self {
        self.init(Scheme::Independent)
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
    /// [`Error::TooLarge`] if the parameters do not fit in memory; [`Error::Policy`], or [`Error::Layer`] with it, if a
    /// number of the initialisation cannot be used.
    pub fn draw<T: Element>(&self) -> Result<Vec<Params<T>>, Error> {
        self.check_draw::<T>()?;
        let mut rng = generator(self.seed);
        let layer = |(k, shape): (usize, &LayerShape)| self.init_of(k, self.inputs_of(k)).draw(shape, &mut rng);
        self.layers.iter().enumerate().map(layer).collect()
    }

    /// Draws the parameters of each layer, from the input to the output, where there is inhibition from the moments of
    /// its inputs on a batch `x [B, inputs]`: for the first layer these are the examples themselves, for each other one
    /// what the layers below it, just drawn, make of them. See [`InputMoments`]. Layers without inhibition, and those of
    /// [`Scheme::Centred`], are drawn as by [`Architecture::draw`].
    ///
    /// # Errors
    /// As [`Architecture::draw`]; [`Error::Mismatch`] if `x` has not as many columns as the network has inputs,
    /// [`Error::Value`] if an element is not finite; [`Error::Layer`] with [`Error::Dimension`] if there is one example
    /// only, with [`Error::Policy`] if the inputs of a layer do not vary, or if their mean is not above 0 and the layer
    /// divides otherwise than by a root.
    ///
    /// ```
    /// use interneuron::{Architecture, Context, MatRef, Network};
    ///
    /// let x: Vec<f32> = (0..64 * 9).map(|i| (i * i % 17) as f32 / 16.0).collect();
    /// let (x, context) = (MatRef::new(&x, 64, 9)?, Context::new()?);
    /// let net: Network<f32> = Architecture::dann(&[9, 24, 3], &[4, 1])?.seed(1).build_from(x, &context)?;
    /// # Ok::<(), interneuron::Error>(())
    /// ```
    pub fn draw_from<T: Element>(&self, x: MatRef<'_, T>, context: &Context) -> Result<Vec<Params<T>>, Error> {
        same("x", "columns", x.cols(), "the network", "inputs", self.layers[0].inputs())?;
        x.check_finite("x")?;
        if self.layers.iter().any(LayerShape::is_recurrent) {
            return Err(Error::Unsupported {
                what: "drawing a recurrent layer from a batch",
                expected: "Architecture::draw, and RecurrentInit for its numbers",
            });
        }
        self.check_draw::<T>()?;
        let mut rng = generator(self.seed);
        let (mut all, mut outputs) = (vec![], None::<Vec<T>>);
        for (k, shape) in self.layers.iter().enumerate() {
            let input = match &outputs {
                Some(outputs) => MatRef::new(outputs, x.rows(), shape.inputs())?,
                None => x,
            };
            let measured = shape.interneurons() > 0 && !matches!(self.schemes[k], Scheme::Centred(_));
            let inputs = if measured { InputMoments::of(input).map(Inputs::Measured) } else { Ok(self.inputs_of(k)) };
            let params = inputs.and_then(|inputs| self.init_of(k, inputs).draw::<T>(shape, &mut rng));
            let params = params.map_err(|error| error.in_layer(k))?;
            if k + 1 < self.layers.len() {
                outputs = Some(outputs_of(shape, &params, input, context)?);
            }
            all.push(params);
        }
        Ok(all)
    }

    /// A network with parameters that are drawn from a batch `x [B, inputs]`.
    ///
    /// # Errors
    /// As [`Architecture::draw_from`].
    pub fn build_from<T: Element>(&self, x: MatRef<'_, T>, context: &Context) -> Result<Network<T>, Error> {
        Network::new(self.plan(context)?, self.draw_from(x, context)?, TrainState::new(self.seed))
    }

    /// How layer `k` is drawn, for such inputs.
    fn init_of(&self, k: usize, inputs: Inputs) -> Init {
        Init { inputs, scheme: self.schemes[k], mean_input: self.mean_input, recurrent: self.recurrent }
    }

    /// Checks the numbers of the schemes, and that there is memory for all parameters.
    fn check_draw<T: Element>(&self) -> Result<(), Error> {
        if !T::from_f64(self.mean_input).is_finite() {
            return Err(Error::Policy { name: "mean_input", value: self.mean_input, expected: "a finite number" });
        }
        self.recurrent.check()?;
        for (k, scheme) in self.schemes.iter().enumerate() {
            scheme.check().map_err(|error| error.in_layer(k))?;
        }
        let schemas = self.layers.iter().map(LayerShape::schema).collect::<Result<Vec<_>, _>>()?;
        let elements = schemas.iter().flat_map(|schema| schema.iter()).map(Parameter::elements);
        let elements = elements.fold(0, usize::saturating_add);
        let mut all = Vec::<T>::new();
        all.try_reserve_exact(elements).map_err(|_| Error::TooLarge { elements })?;
        // Or else the compiler may leave out what is never used.
        drop(std::hint::black_box(all));
        Ok(())
    }

    /// What the inputs of layer `k` are.
    fn inputs_of(&self, k: usize) -> Inputs {
        let Some(below) = k.checked_sub(1).map(|below| self.layers[below]) else { return Inputs::Linear };
        // The schemes of 2021 take every layer but the first for one behind a ReLU, and a seed's numbers stay as they
        // were.
        let centred = matches!(self.schemes[k], Scheme::Centred(_));
        if centred && below.nonlinearity() == Nonlinearity::Identity { Inputs::Linear } else { Inputs::Rectified }
    }
}
