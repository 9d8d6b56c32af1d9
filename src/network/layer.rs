//! One layer on a caller's arrays.

use super::sequences::{Course, Sequences};
use super::tape::{Kept, Tape};
use crate::context::Context;
use crate::driver::{from_rows, largest_slab, slabs, to_rows};
use crate::element::{Element, table};
use crate::error::{Error, same};
use crate::kernels::Kernels;
use crate::layers::LayerShape;
use crate::layers::collect::Destination;
use crate::matrix::{MatMut, MatRef};
use crate::optim::apply::apply;
use crate::optim::state::State;
use crate::optim::update::Update;
use crate::params::schema::Schema;
use crate::params::{ParamsMut, ParamsRef};
use crate::threads::{Team, Threads};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// One layer, on a caller's arrays: parameters, inputs and outputs stay there. What a forward pass keeps is in a
/// [`Tape`], what updates keep in a [`State`]; no call changes the layer itself, so that threads may share it.
///
/// ```
/// use interneuron::*;
///
/// let shape = DannShape::new(3, 4, 2);
/// let mut params = Init::first().draw_dann::<f32>(&shape, &mut generator(1))?;
/// let layer = Layer::new(shape, &Context::new()?)?;
/// let (mut tape, mut state) = (Tape::new(), State::new());
///
/// let x = [0.5, 0.0, 1.0, 0.2, 0.9, 0.0]; // two examples
/// let mut h = [0.0; 8];
/// layer.forward(params.view(), &mut tape, MatRef::new(&x, 2, 3)?, MatMut::new(&mut h, 2, 4)?)?;
///
/// let dh = MatRef::new(&h, 2, 4)?; // the gradient of a loss of |h|²/2
/// layer.update(params.view_mut(), &mut state, &mut tape, dh, &Update::csgd(0.1), None)?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Layer<T> {
    /// Its own, and that of its clones: by it a tape knows whose pass it keeps.
    number: u64,
    shape: LayerShape,
    schema: Schema,
    context: Context,
    element: PhantomData<fn() -> T>,
}

impl<T: Element> Layer<T> {
    /// A layer of this shape.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or an array would not fit in memory.
    pub fn new(shape: impl Into<LayerShape>, context: &Context) -> Result<Self, Error> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let shape = shape.into();
        let (schema, number) = (shape.schema()?, NUMBERS.fetch_add(1, Ordering::Relaxed));
        Ok(Self { number, shape, schema, context: context.clone(), element: PhantomData })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its shape.
    pub fn shape(&self) -> LayerShape {
        self.shape
    }

    /// Its arrays, in their order.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The instruction set and the threads.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Computes on other threads from now on: [`Threads::Serial`], or a pool.
    pub fn set_threads(&mut self, threads: impl Into<Threads>) {
        self.context.set_threads(threads);
    }

    /// From `x [B, d]` to `h [B, ne]`, which is overwritten; through a recurrent layer from
    /// [`Sequences`](crate::Sequences) `x [T·B, d]` to the states of all steps, `h [T·B, visible]`. What a following [`Layer::backward`] or
    /// [`Layer::update`] needs is kept in the `tape`, instead of what an earlier forward pass kept there.
    ///
    /// # Errors
    /// [`Error::Kind`] or [`Error::Length`] if `params` are not those of this shape, [`Error::Mismatch`] if `x` or `h`
    /// has other dimensions, [`Error::TooLarge`] if the scratch does not fit in memory: what the tape kept is gone then.
    pub fn forward<'p>(
        &self,
        params: impl Into<ParamsRef<'p, T>>,
        tape: &mut Tape<T>,
        x: impl Into<Sequences<'p, T>>,
        h: MatMut<'_, T>,
    ) -> Result<(), Error>
    where
        T: 'p,
    {
        self.pass(params.into(), tape, x.into(), h, true)
    }

    /// As [`Layer::forward`], but the `tape` is only scratch memory: it keeps nothing for a backward pass, also not
    /// what an earlier forward pass kept.
    ///
    /// # Errors
    /// As [`Layer::forward`].
    pub fn infer<'p>(
        &self,
        params: impl Into<ParamsRef<'p, T>>,
        tape: &mut Tape<T>,
        x: impl Into<Sequences<'p, T>>,
        h: MatMut<'_, T>,
    ) -> Result<(), Error>
    where
        T: 'p,
    {
        self.pass(params.into(), tape, x.into(), h, false)
    }

    fn pass(
        &self,
        params: ParamsRef<'_, T>,
        tape: &mut Tape<T>,
        x: Sequences<'_, T>,
        mut h: MatMut<'_, T>,
        training: bool,
    ) -> Result<(), Error> {
        params.check(&self.schema)?;
        same("x", "columns", x.x.cols(), "the layer", "inputs", self.shape.inputs())?;
        x.check(std::iter::once(self.shape.recurrent_units()))?;
        same("h", "rows", h.rows(), "x", "rows", x.rows())?;
        same("h", "columns", h.cols(), "the layer", "outputs", self.shape.outputs())?;
        let kept = tape.of(self)?;
        // Where there is no state, a step is as good as another example.
        let x = if self.shape.is_recurrent() { x } else { x.rows_alone() };
        x.check_carried(std::iter::once(kept.pass.last_states().filter(|_| self.shape.is_recurrent())))?;
        (kept.examples, kept.went_back) = (None, false);
        kept.pass.begin_count();
        // Without a backward pass nothing need stay, so a large batch goes through in slabs, and of its steps those of a
        // window are kept.
        let course = |examples| Course::new(x.steps(), examples, Some(1).filter(|_| !training));
        let all = x.examples();
        // Room for the largest slab first, so that nothing is half-written when there is none.
        kept.prepare(course(if training { all } else { largest_slab(all) }), training)?;
        if let Some(in_time) = kept.pass.in_time() {
            in_time.prepare_sequences(1, all)?;
        }
        let whole = std::iter::once((0, all)).filter(|_| training);
        let slabs = slabs(all).filter(|_| !training);
        self.context.threads().region(self.shape.forward_flops(x.rows()), |team| {
            for (first, examples) in whole.chain(slabs) {
                kept.prepare(course(examples), training)?;
                kept.forward(team, params, (x, first), &mut h, training)?;
            }
            Ok::<_, Error>(())
        })?;
        kept.examples = training.then_some(x.rows());
        Ok(())
    }

    /// All gradients, for callers with an update of their own: from `dh [B, ne]` to `gradients`, and to `dx [B, d]` if
    /// wanted; all are overwritten. `params` are those of the forward pass whose `tape` it is.
    ///
    /// # Errors
    /// [`Error::NoForward`] if the tape keeps no forward pass through this layer (or a clone), or a backward pass already
    /// followed it; otherwise as [`Layer::forward`], also of `gradients`, `dh` and `dx`.
    pub fn backward<'p, 'g>(
        &self,
        params: impl Into<ParamsRef<'p, T>>,
        tape: &mut Tape<T>,
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
        let kept = self.begin_backward(tape, dh, dx.as_ref(), true)?;
        self.context.threads().region(self.shape.train_flops(dh.rows(), dx.is_some()), |team| {
            kept.backpropagate(team, params, (dh, dx), true)?;
            kept.pass.collect(team, kept.entry.examples(), Destination::Store(gradients));
            Ok(())
        })
    }

    /// The fused step: from `dh [B, ne]` to the updated `params`, and to `dx [B, d]` (of the parameters before the
    /// update) if wanted. No gradient of a weight is ever stored, unless the rule needs all of them first. What the
    /// rule keeps from step to step is kept in `state`, which begins as [`State::new`]. `params` are those of the
    /// forward pass whose `tape` it is.
    ///
    /// # Errors
    /// [`Error::LearningRate`], [`Error::Factor`], [`Error::Policy`] or [`Error::Unsupported`] if the update cannot be
    /// used, [`Error::Kind`] or [`Error::Length`] if the state is of a layer of another shape; otherwise as
    /// [`Layer::backward`].
    pub fn update<'p>(
        &self,
        params: impl Into<ParamsMut<'p, T>>,
        state: &mut State<T>,
        tape: &mut Tape<T>,
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
        update.check_for_layer()?;
        state.prepare(&self.schema, update, params.view())?;
        let kept = self.begin_backward(tape, dh, dx.as_ref(), true)?;
        self.context.threads().region(self.shape.train_flops(dh.rows(), dx.is_some()), |team| {
            kept.backpropagate(team, params.view(), (dh, dx), true)?;
            kept.pass.update(team, update, params, kept.entry.examples(), state);
            Ok(())
        })
    }

    /// Takes a step with gradients that were handed out, perhaps averaged by the caller: `params` are overwritten. With
    /// unchanged gradients they get the same bits as by [`Layer::update`], on any number of threads.
    ///
    /// # Errors
    /// As [`Layer::update`], also of `gradients`.
    pub fn apply<'p, 'g>(
        &self,
        params: impl Into<ParamsMut<'p, T>>,
        state: &mut State<T>,
        update: &Update,
        gradients: impl Into<ParamsRef<'g, T>>,
    ) -> Result<(), Error>
    where
        T: 'p + 'g,
    {
        let (params, gradients) = (params.into(), gradients.into());
        params.view().check(&self.schema)?;
        gradients.check(&self.schema)?;
        update.check::<T>()?;
        update.check_for_layer()?;
        state.prepare(&self.schema, update, params.view())?;
        let kernels = table::<T, Kernels<T>>(self.context.isa());
        // A step waits for memory: an element takes about as long as it does in a forward pass of 8 examples.
        self.context.threads().region(self.shape.forward_flops(8), |team| {
            apply(team, kernels, (&self.schema, update), params, gradients, state, None);
        });
        Ok(())
    }

    /// The gradient of the input alone: from `dh [B, ne]` to `dx [B, d]`, which is overwritten, for layers that do not
    /// learn. `params` are those of the forward pass whose `tape` it is.
    ///
    /// # Errors
    /// As [`Layer::backward`].
    pub fn input_gradient<'p>(
        &self,
        params: impl Into<ParamsRef<'p, T>>,
        tape: &mut Tape<T>,
        dh: MatRef<'_, T>,
        dx: MatMut<'_, T>,
    ) -> Result<(), Error>
    where
        T: 'p,
    {
        let params = params.into();
        params.check(&self.schema)?;
        let kept = self.begin_backward(tape, dh, Some(&dx), false)?;
        let flops = self.shape.forward_flops(dh.rows());
        self.context.threads().region(flops, |team| kept.backpropagate(team, params, (dh, Some(dx)), false))
    }

    /// Checks that a backward pass can follow, with `gradients` or without, and makes room for it.
    fn begin_backward<'t>(
        &self,
        tape: &'t mut Tape<T>,
        dh: MatRef<'_, T>,
        dx: Option<&MatMut<'_, T>>,
        gradients: bool,
    ) -> Result<&'t mut Kept<T>, Error> {
        same("dh", "columns", dh.cols(), "the layer", "outputs", self.shape.outputs())?;
        if let Some(dx) = dx {
            same("dx", "rows", dx.rows(), "dh", "rows", dh.rows())?;
            same("dx", "columns", dx.cols(), "the layer", "inputs", self.shape.inputs())?;
        }
        let kept = tape.outstanding(self, dh)?;
        let examples = kept.pass.buffers().all;
        kept.dh.resize(dh.cols(), examples)?;
        if dx.is_some() {
            kept.dx.resize(self.shape.inputs(), examples)?;
        }
        kept.pass.prepare_slabs(if gradients { kept.course.all_windows() } else { 1 })?;
        (kept.examples, kept.went_back) = (None, self.shape.is_recurrent());
        Ok(kept)
    }
}

impl<T: Element> Kept<T> {
    /// Makes room for a forward pass.
    fn prepare(&mut self, course: Course, training: bool) -> Result<(), Error> {
        self.course = course;
        self.pass.prepare(course.batch(true), training)?;
        self.entry.prepare(self.pass.buffers())
    }

    /// The forward pass of the examples from `first` on; for training, it copies the input.
    fn forward(
        &mut self,
        team: &Team<'_>,
        params: ParamsRef<'_, T>,
        (x, first): (Sequences<'_, T>, usize),
        h: &mut MatMut<'_, T>,
        training: bool,
    ) -> Result<(), Error> {
        let Self { pass, entry, course, .. } = self;
        if let Some(in_time) = pass.in_time() {
            in_time.begin(team, params, x.start_of(0, first), training);
        }
        for chunk in 0..course.chunks() {
            let rows = course.rows(chunk, x.examples(), first);
            if chunk > 0
                && let Some(in_time) = pass.in_time()
            {
                in_time.go_on(team, training);
            }
            for window in course.windows(chunk) {
                pass.turn_to(window)?;
                if let Some(in_time) = pass.in_time() {
                    in_time.noise(team, x.noise_of(0).map(|noise| rows.of(noise)))?;
                }
                let input = entry.load(team, pass.buffers(), rows.of(x.x), training);
                pass.forward(team, params, input, training);
                let (outputs, examples) = pass.outputs();
                to_rows(team, outputs, examples, rows.of(&mut *h), |h| h);
            }
        }
        if let Some(in_time) = pass.in_time() {
            in_time.end(first);
        }
        Ok(())
    }

    /// The backward pass up to the gradients of the weights: from `dh` to what they are made of in the first window, after
    /// those of the windows behind it were added up, if `gradients` are wanted; and to `dx`.
    fn backpropagate(
        &mut self,
        team: &Team<'_>,
        params: ParamsRef<'_, T>,
        (dh, mut dx): (MatRef<'_, T>, Option<MatMut<'_, T>>),
        gradients: bool,
    ) -> Result<(), Error> {
        let Self { pass, entry, course, .. } = self;
        let rows = course.rows(0, pass.buffers().all.block_len(), 0);
        if let Some(in_time) = pass.in_time() {
            in_time.begin_backward();
        }
        for window in course.windows(0).rev() {
            let first = window.start == 0;
            pass.turn_to(window)?;
            let examples = pass.buffers().examples;
            from_rows(team, rows.of(dh), examples, &mut self.dh);
            pass.receive_array(team, params, &self.dh);
            pass.inner_backward(team, params);
            if let Some(dx) = &mut dx {
                pass.input_gradient(params).store(team, &mut self.dx);
                to_rows(team, self.dx.units(), examples, rows.of(&mut *dx), |dx| dx);
            }
            if gradients && !first {
                pass.collect(team, entry.examples(), Destination::Accumulate);
            }
        }
        Ok(())
    }
}
