//! One layer on a caller's arrays.

use crate::buffer::Activations;
use crate::driver::{copy_examples, from_rows, largest_slab, slabs, to_rows};
use crate::element::Element;
use crate::error::{Error, same};
use crate::isa::Isa;
use crate::layers::LayerShape;
use crate::layers::buffers::Input;
use crate::layers::collect::Destination;
use crate::layers::tape::{Standardised, Tape};
use crate::matrix::{MatMut, MatRef};
use crate::optim::state::State;
use crate::optim::update::Update;
use crate::params::schema::Schema;
use crate::params::{ParamsMut, ParamsRef};
use crate::threads::{Team, Threads};

/// The kernels of one layer, with the scratch memory that they need. Parameters, inputs and outputs stay in the
/// caller's arrays.
///
/// ```
/// use interneuron::*;
///
/// let shape = DannShape::new(3, 4, 2);
/// let mut params = Init::first().draw_dann::<f32>(&shape, &mut generator(1))?;
/// let mut layer = Layer::new(shape, Isa::select()?)?;
///
/// let x = [0.5, 0.0, 1.0, 0.2, 0.9, 0.0]; // two examples
/// let mut h = [0.0; 8];
/// let x = MatRef::new(&x, 2, 3)?;
/// layer.forward(Threads::Serial, params.view(), x, MatMut::new(&mut h, 2, 4)?)?;
///
/// let dh = h; // the gradient of a loss of |h|²/2
/// let dh = MatRef::new(&dh, 2, 4)?;
/// layer.update(Threads::Serial, params.view_mut(), x, dh, &Update::csgd(0.1), None)?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Layer<T: Element> {
    shape: LayerShape,
    isa: Isa,
    schema: Schema,
    tape: Box<dyn Tape<T>>,
    x: Activations<T>,
    x_examples: Activations<T>,
    dh: Activations<T>,
    dx: Activations<T>,
    /// Examples of the forward pass that no backward pass followed yet.
    forward: Option<usize>,
    state: State<T>,
}

impl<T: Element> Layer<T> {
    /// The kernels of `isa` for a layer of this shape.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or an array would not fit in memory.
    pub fn new(shape: impl Into<LayerShape>, isa: Isa) -> Result<Self, Error> {
        let shape = shape.into();
        let (schema, tape) = (shape.schema()?, shape.tape(isa)?);
        let [x, x_examples, dh, dx] = [(); 4].map(|()| Activations::new());
        Ok(Self { shape, isa, schema, tape, x, x_examples, dh, dx, forward: None, state: State::new() })
    }

    /// Its shape.
    pub fn shape(&self) -> LayerShape {
        self.shape
    }

    /// Its arrays, in their order.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The instruction set that it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// From `x [B, d]` to `h [B, ne]`, which is overwritten. What a following [`Layer::backward`] or
    /// [`Layer::update`] needs is kept.
    ///
    /// # Errors
    /// [`Error::Kind`] or [`Error::Length`] if `params` are not those of this shape, [`Error::Mismatch`] if `x` or `h`
    /// has other dimensions, [`Error::TooLarge`] if the scratch does not fit in memory.
    pub fn forward<'p>(
        &mut self,
        threads: Threads<'_>,
        params: impl Into<ParamsRef<'p, T>>,
        x: MatRef<'_, T>,
        h: MatMut<'_, T>,
    ) -> Result<(), Error> {
        self.pass(threads, params.into(), x, h, true)
    }

    /// As [`Layer::forward`], but nothing is kept for a backward pass, also not what an earlier forward pass kept.
    ///
    /// # Errors
    /// As [`Layer::forward`].
    pub fn infer<'p>(
        &mut self,
        threads: Threads<'_>,
        params: impl Into<ParamsRef<'p, T>>,
        x: MatRef<'_, T>,
        h: MatMut<'_, T>,
    ) -> Result<(), Error> {
        self.pass(threads, params.into(), x, h, false)
    }

    fn pass(
        &mut self,
        threads: Threads<'_>,
        params: ParamsRef<'_, T>,
        x: MatRef<'_, T>,
        mut h: MatMut<'_, T>,
        training: bool,
    ) -> Result<(), Error> {
        params.check(&self.schema)?;
        same("x", "columns", x.cols(), "the layer", "inputs", self.shape.inputs())?;
        same("h", "rows", h.rows(), "x", "rows", x.rows())?;
        same("h", "columns", h.cols(), "the layer", "outputs", self.shape.outputs())?;
        self.forward = None;
        // Without a backward pass nothing need stay, so a large batch goes through in slabs.
        // Room for the largest slab first, so that nothing is half-written when there is none.
        let largest = if training { x.rows() } else { largest_slab(x.rows()) };
        self.tape.prepare(largest, training)?;
        self.x.resize(x.cols(), self.tape.buffers().h.columns())?;
        self.x_examples.resize(largest, self.tape.buffers().inputs())?;
        let whole = std::iter::once((0, x.rows())).filter(|_| training);
        let slabs = slabs(x.rows()).filter(|_| !training);
        threads.region(self.shape.forward_flops(x.rows()), |team| {
            for (start, len) in whole.chain(slabs) {
                let x = x.slice(start, len)?;
                self.tape.prepare(len, training)?;
                self.x.resize(x.cols(), self.tape.buffers().h.columns())?;
                self.x_examples.resize(len, self.tape.buffers().inputs())?;
                let input = if self.tape.buffers().uses_dot_products(len) {
                    copy_examples(team, x, &mut self.x_examples);
                    Input::Examples(&self.x_examples)
                } else {
                    from_rows(team, x, &mut self.x);
                    Input::Units(&self.x)
                };
                self.tape.forward(team, params, input, training);
                to_rows(team, &self.tape.buffers().h, &mut h.slice_mut(start, x.rows()), |h| h);
            }
            Ok::<_, Error>(())
        })?;
        self.forward = training.then_some(x.rows());
        Ok(())
    }

    /// All gradients, for callers with an update of their own: from `dh [B, ne]` to `gradients`, and to `dx [B, d]` if
    /// wanted; all are overwritten. `params` and `x` are those of the forward pass that went before.
    ///
    /// # Errors
    /// [`Error::NoForward`] if no forward pass with as many examples went before or a backward pass already followed
    /// it; otherwise as [`Layer::forward`], also of `gradients`, `dh` and `dx`.
    pub fn backward<'p, 'g>(
        &mut self,
        threads: Threads<'_>,
        params: impl Into<ParamsRef<'p, T>>,
        x: MatRef<'_, T>,
        dh: MatRef<'_, T>,
        gradients: impl Into<ParamsMut<'g, T>>,
        dx: Option<MatMut<'_, T>>,
    ) -> Result<(), Error>
    where
        T: 'p + 'g,
    {
        let (params, gradients) = (params.into(), gradients.into());
        params.check(&self.schema)?;
        gradients.view().check(&self.schema)?;
        same("x", "columns", x.cols(), "the layer", "inputs", self.shape.inputs())?;
        self.check_backward(x.rows(), dh, dx.as_ref())?;
        self.forward = None;
        threads.region(self.shape.train_flops(x.rows(), dx.is_some()), |team| {
            self.backpropagate(team, params, dh, dx);
            copy_examples(team, x, &mut self.x_examples);
            self.tape.collect(team, &self.x_examples, Destination::Store(gradients));
        });
        Ok(())
    }

    /// The fused step: from `dh [B, ne]` to the updated `params`, and to `dx [B, d]` (of the parameters before the
    /// update) if wanted. No gradient of a weight is ever stored, unless the rule needs all of them first. What the
    /// rule keeps from step to step (see [`State`]) is kept here. `params` and `x` are those of the forward pass that
    /// went before.
    ///
    /// # Errors
    /// [`Error::LearningRate`], [`Error::Factor`], [`Error::Policy`] or [`Error::Unsupported`] if the update cannot be
    /// used; otherwise as [`Layer::backward`].
    pub fn update<'p>(
        &mut self,
        threads: Threads<'_>,
        params: impl Into<ParamsMut<'p, T>>,
        x: MatRef<'_, T>,
        dh: MatRef<'_, T>,
        update: &Update,
        dx: Option<MatMut<'_, T>>,
    ) -> Result<(), Error>
    where
        T: 'p,
    {
        let params = params.into();
        params.view().check(&self.schema)?;
        update.check::<T>()?;
        update.check_without_labels()?;
        same("x", "columns", x.cols(), "the layer", "inputs", self.shape.inputs())?;
        self.check_backward(x.rows(), dh, dx.as_ref())?;
        self.state.prepare(&self.schema, update, params.view())?;
        self.forward = None;
        threads.region(self.shape.train_flops(x.rows(), dx.is_some()), |team| {
            self.backpropagate(team, params.view(), dh, dx);
            copy_examples(team, x, &mut self.x_examples);
            self.tape.update(team, update, params, &self.x_examples, &mut self.state);
        });
        Ok(())
    }

    /// The gradient of the input alone: from `dh [B, ne]` to `dx [B, d]`, which is overwritten, for layers that do not
    /// learn. `params` are those of the forward pass that went before.
    ///
    /// # Errors
    /// As [`Layer::backward`].
    pub fn input_gradient<'p>(
        &mut self,
        threads: Threads<'_>,
        params: impl Into<ParamsRef<'p, T>>,
        dh: MatRef<'_, T>,
        dx: MatMut<'_, T>,
    ) -> Result<(), Error>
    where
        T: 'p,
    {
        let params = params.into();
        params.check(&self.schema)?;
        self.check_backward(dh.rows(), dh, Some(&dx))?;
        self.forward = None;
        threads.region(self.shape.forward_flops(dh.rows()), |team| self.backpropagate(team, params, dh, Some(dx)));
        Ok(())
    }

    /// Checks that a backward pass can follow, and makes room for it.
    fn check_backward(&mut self, batch: usize, dh: MatRef<'_, T>, dx: Option<&MatMut<'_, T>>) -> Result<(), Error> {
        same("dh", "rows", dh.rows(), "x", "rows", batch)?;
        same("dh", "columns", dh.cols(), "the layer", "outputs", self.shape.outputs())?;
        if let Some(dx) = dx {
            same("dx", "rows", dx.rows(), "dh", "rows", batch)?;
            same("dx", "columns", dx.cols(), "the layer", "inputs", self.shape.inputs())?;
        }
        if self.forward != Some(batch) {
            return Err(Error::NoForward { expected: "number of examples" });
        }
        self.dh.resize(dh.cols(), self.tape.buffers().h.columns())?;
        self.dx.resize(self.shape.inputs(), self.tape.buffers().h.columns())
    }

    /// The backward pass up to the gradients of the weights: from `dh` to what they are made of, and to `dx`.
    fn backpropagate(
        &mut self,
        team: &Team<'_>,
        params: ParamsRef<'_, T>,
        dh: MatRef<'_, T>,
        dx: Option<MatMut<'_, T>>,
    ) {
        from_rows(team, dh, &mut self.dh);
        self.tape.receive_array(team, params, &self.dh);
        self.tape.inner_backward(team, params);
        if let Some(mut dx) = dx {
            self.tape.input_gradient(params).store(team, &mut self.dx);
            to_rows(team, &self.dx, &mut dx, |dx| dx);
        }
    }

    /// What the updates of the layer keep from step to step.
    pub fn state(&self) -> &State<T> {
        &self.state
    }

    /// Replaces what the updates of the layer keep from step to step: by [`State::new`] to begin with nothing. That of
    /// a layer of another shape is an error of the next update.
    pub fn set_state(&mut self, state: State<T>) {
        self.state = state;
    }

    /// Copies what the interneurons of a DANN layer did in the last forward pass: `zi [B, ni]` is overwritten.
    ///
    /// # Errors
    /// [`Error::Kind`] for a layer without interneurons, [`Error::NoForward`] if no [`Layer::forward`] went before or a
    /// backward pass already followed it, [`Error::Mismatch`] if `zi` has other dimensions.
    pub fn interneurons(&self, mut zi: MatMut<'_, T>) -> Result<(), Error> {
        let Some(minus_zi) = self.tape.minus_zi() else {
            return Err(Error::Kind { expected: "DANN" });
        };
        self.check_kept("zi", &zi, "interneurons", self.shape.interneurons())?;
        Threads::Serial.region(0.0, |team| to_rows(team, minus_zi, &mut zi, |minus_zi| -minus_zi));
        Ok(())
    }

    /// Copies what inhibition did in the last forward pass of a divisive DANN layer: the standardised excitation
    /// `zhat = ẑ [B, ne]` and the divisor `gamma = γ [B, ne]` are overwritten.
    ///
    /// # Errors
    /// As [`Layer::interneurons`]; [`Error::Kind`] for a layer that does not divide.
    pub fn standardised(&self, mut zhat: MatMut<'_, T>, mut gamma: MatMut<'_, T>) -> Result<(), Error> {
        let Some(Standardised { inverse: Some(inverse), zhat: standardised }) = self.tape.standardised() else {
            return Err(Error::Kind { expected: "divisive DANN" });
        };
        self.check_kept("zhat", &zhat, "outputs", self.shape.outputs())?;
        self.check_kept("gamma", &gamma, "outputs", self.shape.outputs())?;
        Threads::Serial.region(0.0, |team| {
            to_rows(team, standardised, &mut zhat, |zhat| zhat);
            to_rows(team, inverse, &mut gamma, |inverse| T::ONE / inverse);
        });
        Ok(())
    }

    /// Checks that what a forward pass kept is there, and that `out` has a row for each example and a column for each
    /// of these units.
    fn check_kept(
        &self,
        name: &'static str,
        out: &MatMut<'_, T>,
        units: &'static str,
        count: usize,
    ) -> Result<(), Error> {
        let Some(examples) = self.forward else { return Err(Error::NoForward { expected: "number of examples" }) };
        same(name, "rows", out.rows(), "the forward pass", "examples", examples)?;
        same(name, "columns", out.cols(), "the layer", units, count)
    }
}
