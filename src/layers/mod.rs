//! Layers: each kind in a file of its own, behind two traits, and the parts that kinds share.
//!
//! | file | holds |
//! |---|---|
//! | `kinds.rs` | the list of the kinds |
//! | `dann.rs`, `dense.rs`, `norm.rs` | a kind: its shape, arrays, initialisation, and the phases of its passes |
//! | `buffers.rs` | what every kind keeps of a pass: output, its gradient, partial sums |
//! | `sink.rs` | where an input gradient goes: into an array, or on through the layer below |
//! | `collect.rs` | what becomes of weight gradients: a step, an array, a sum over slabs, the Fisher information |
//!
//! A pass goes through a [`Tape`] in this order:
//!
//! ```text
//! prepare            makes room for a batch
//! forward            x → h
//! sink               hands out where dh goes: the layer above, or an array, puts it there
//! inner_backward     what all units or examples together need between dh and du
//! input_gradient     dx, into the sink of the layer below
//! gradients          lists the gradients of its parameters
//! ```
//!
//! A Fisher pass, which sums up squares, may come between the forward pass and the backward pass:
//! [`Tape::begin_fisher_pass`], `sink` to `gradients`, [`Tape::end_fisher_pass`].

pub(crate) mod buffers;
pub(crate) mod collect;
pub(crate) mod dann;
pub(crate) mod dense;
pub(crate) mod kinds;
mod nonlinearity;
pub(crate) mod norm;
pub(crate) mod sink;

pub use kinds::LayerShape;
pub use nonlinearity::Nonlinearity;

use crate::buffer::Activations;
use crate::element::Element;
use crate::error::Error;
use crate::init::Init;
use crate::isa::Isa;
use crate::optim::apply::apply_stored;
use crate::optim::state::State;
use crate::optim::target::Targets;
use crate::optim::update::{StepScale, Update};
use crate::params::schema::{Schema, Shape};
use crate::params::{Params, ParamsMut, ParamsRef};
use crate::threads::Crew;
use buffers::{Input, LayerBuffers};
use collect::{Collect, Into};
use rand::Rng;
use sink::GradientSink;

/// A kind of layer, as the value that describes one layer of it.
pub(crate) trait Kind: Shape + Copy + Send + Sync + 'static {
    /// Inputs `d`.
    fn inputs(&self) -> usize;
    /// Outputs `ne`.
    fn outputs(&self) -> usize;
    fn nonlinearity(&self) -> Nonlinearity;

    /// Interneurons `ni`.
    fn interneurons(&self) -> usize {
        0
    }

    /// Whether inhibition divides.
    fn divisive(&self) -> bool {
        false
    }

    /// The same without division.
    #[must_use]
    fn without_division(self) -> Self {
        self
    }

    /// How many of the inputs, and of the outputs, the last ones, come in and go out with a negative sign, in a kind that
    /// has such inputs and outputs.
    fn inhibitory(&self) -> Option<[usize; 2]> {
        None
    }

    /// The same with so many of the outputs going out with a negative sign, if the kind can do that.
    #[cfg(feature = "checkpoint")]
    #[must_use]
    fn with_inhibitory_outputs(self, _: usize) -> Self {
        self
    }

    /// Whether what it does with an example depends on the others of the batch.
    fn has_batch_statistics(&self) -> bool {
        false
    }

    /// Draws its parameters.
    fn draw<T: Element>(&self, init: Init, rng: &mut impl Rng) -> Result<Params<T>, Error>;

    /// The buffers of a pass.
    fn tape<T: Element>(&self, isa: Isa) -> Result<Box<dyn Tape<T>>, Error>;

    /// The shape that a file's tensors have, if they are of this kind, as far as it can be told from one tensor of each
    /// dimension.
    #[cfg(feature = "checkpoint")]
    fn of_tensors(tensors: &mut dyn Tensors, nonlinearity: Nonlinearity) -> Result<Option<Self>, String>;
}

/// The tensors of one layer in a file.
#[cfg(feature = "checkpoint")]
pub(crate) trait Tensors {
    /// What errors call the layer.
    fn layer(&self) -> String;
    /// Whether there is a tensor of a name.
    fn has(&self, name: &str) -> bool;
    /// The dimensions of a matrix.
    fn matrix(&self, name: &str) -> Result<[usize; 2], String>;
    /// Takes the signs of `d` inputs out of the file: how many, the last ones, are negative.
    fn take_signs(&mut self, d: usize) -> Result<usize, String>;
}

/// What a pass through a layer keeps from forward to backward, with the scratch that it needs, and the order of its
/// phases. Parameters come as the caller holds them: of the layer's kind and lengths, which the caller checked.
pub(crate) trait Tape<T: Element>: Send + Sync {
    fn clone_box(&self) -> Box<dyn Tape<T>>;
    fn buffers(&self) -> &LayerBuffers<T>;
    fn buffers_mut(&mut self) -> &mut LayerBuffers<T>;

    /// Makes room for a batch, after which a pass allocates nothing.
    fn prepare(&mut self, batch: usize, training: bool) -> Result<(), Error>;

    /// From the layer's input to `h`, keeping for `training` what the backward pass needs.
    fn forward(&mut self, crew: &Crew<'_>, params: ParamsRef<'_, T>, x: Input<'_, T>, training: bool);

    /// What inhibition or normalisation did in the last forward pass of training. Before the backward pass.
    fn standardised(&self) -> Option<Standardised<'_, T>> {
        None
    }

    /// `−zI [ni, B]` of the last forward pass, in a layer with interneurons.
    fn minus_zi(&self) -> Option<&Activations<T>> {
        None
    }

    /// Where `dh` goes. It may use up what the forward pass kept, so it can be taken once after each.
    fn sink<'a>(&'a mut self, params: ParamsRef<'a, T>) -> GradientSink<'a, T>;

    /// What must happen between `dh` and the gradients of inputs and weights, for all units or examples together.
    fn inner_backward(&mut self, _: &Crew<'_>, _: ParamsRef<'_, T>) {}

    /// `dx [d, B]`
    fn input_gradient(&mut self, crew: &Crew<'_>, params: ParamsRef<'_, T>, into: GradientSink<'_, T>);

    /// Lists the gradients of its parameters, with the layer's input `x [B, d]`.
    fn gradients(&mut self, x: &Activations<T>, collect: &mut Collect<'_, '_, T>);

    /// Makes room for a Fisher pass, for the batch that was prepared.
    fn prepare_fisher_pass(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Saves what a backward pass uses up.
    fn save(&mut self) {}

    /// Takes back what [`Tape::save`] saved.
    fn restore(&mut self) {}
}

/// What inhibition or normalisation did.
pub(crate) struct Standardised<'a, T> {
    /// One divided by the divisor `γ [ne, B]`, in a layer that divides.
    pub inverse: Option<&'a Activations<T>>,
    /// `ẑ [ne, B]`
    pub zhat: &'a Activations<T>,
}

impl<T: Element> dyn Tape<T> {
    /// Begins with no gradients of slabs, and makes room to sum them up if there is more than one slab.
    pub fn prepare_slabs(&mut self, schema: &Schema, slabs: usize) -> Result<(), Error> {
        self.buffers_mut().prepare_slabs(schema, slabs)
    }

    /// Lists the gradients of its parameters, with the layer's input `x [B, d]`, for what is to become of them.
    pub fn collect(&mut self, crew: &Crew<'_>, schema: &Schema, x: &Activations<T>, into: Into<'_, T>) {
        let LayerBuffers { kernels, accumulated, .. } = *self.buffers();
        let after = match into {
            Into::Step(_) | Into::Store(_) => false,
            Into::Accumulate => true,
            Into::Fisher { .. } => accumulated,
        };
        self.gradients(x, &mut Collect { crew, kernels, schema, accumulated, into });
        self.buffers_mut().accumulated = after;
    }

    /// The step, with the layer's input `x [B, d]`: fused with the gradients where the rule allows it. The rule was
    /// checked and the state prepared for it.
    pub fn update(
        &mut self,
        crew: &Crew<'_>,
        (schema, update): (&Schema, &Update),
        params: ParamsMut<'_, T>,
        x: &Activations<T>,
        state: &mut State<T>,
    ) {
        if update.needs_gradients() {
            let mut gradients = state.gradients.take().expect("the state was prepared");
            self.collect(crew, schema, x, Into::Store(gradients.view_mut()));
            apply_stored(crew, self.buffers().kernels, (schema, update), params, &mut gradients, state);
            state.gradients = Some(gradients);
        } else {
            let scale = StepScale { lr: update.lr, clip: 1.0, natural: state.natural_scale(schema, update) };
            self.collect(crew, schema, x, Into::Step(Targets { schema, update, scale, params, state }));
        }
    }

    /// Lets a `dh` that is in an array go where it should.
    pub fn backward_from(&mut self, crew: &Crew<'_>, params: ParamsRef<'_, T>, dh: &Activations<T>) {
        let LayerBuffers { kernels, examples, .. } = *self.buffers();
        self.sink(params).store(crew, kernels, examples, dh);
    }

    /// The next backward pass sums up squared gradients of the examples instead of gradients; what it uses up is saved
    /// for another.
    pub fn begin_fisher_pass(&mut self) {
        self.buffers_mut().squares = true;
        self.save();
    }

    /// Makes way for an ordinary backward pass of the same forward pass.
    pub fn end_fisher_pass(&mut self) {
        self.buffers_mut().squares = false;
        self.restore();
    }
}

impl<T: Element> Clone for Box<dyn Tape<T>> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}
