//! What a pass through one layer keeps.

use super::layer::Layer;
use super::sequences::Course;
use crate::buffer::Activations;
use crate::driver::to_rows;
use crate::element::Element;
use crate::error::{Error, same};
use crate::layers::LayerShape;
use crate::layers::entry::Entry;
use crate::layers::inhibition::low::LowDivisors;
use crate::layers::pass::{Pass, Standardised};
use crate::matrix::{MatMut, MatRef, Steps};
use crate::threads::Threads;

/// What a forward pass through a [`Layer`] keeps for its backward pass: a copy of its input, what happened on the way,
/// and the scratch memory of both. There is one tape for each pass that is outstanding: for each time step of a
/// sequence, for instance, or for each node of an automatic differentiation.
///
/// A pass through the layer that it was last used with allocates nothing, for batches of no more examples; one through
/// another layer begins anew. So it pays to keep a tape for each layer. With `d` inputs, `ne` and `ni` units and `B`
/// examples it has about `B (2 d + 6 ne + 4 ni)` elements, and some more of a layer whose weights are larger than the
/// cache.
#[derive(Clone)]
pub struct Tape<T: Element>(Option<Kept<T>>);

/// What is kept of a pass through a layer of one shape.
#[derive(Clone)]
pub(super) struct Kept<T: Element> {
    /// The layer, by its number.
    layer: u64,
    shape: LayerShape,
    pub pass: Box<dyn Pass<T>>,
    pub entry: Entry<T>,
    pub dh: Activations<T>,
    pub dx: Activations<T>,
    /// How the forward pass went through its steps; one without states has one.
    pub course: Course,
    /// Examples of the forward pass that no backward pass followed yet, of all its steps.
    pub examples: Option<usize>,
    /// Whether a backward pass through states was the last thing that happened.
    pub went_back: bool,
}

impl<T: Element> Default for Tape<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Element> Tape<T> {
    /// An empty tape.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Examples of the forward pass that it keeps, until a backward pass follows it: rows of its `x`.
    pub fn examples(&self) -> Option<usize> {
        self.0.as_ref().and_then(|kept| kept.examples)
    }

    /// What it keeps of passes through this layer; what it kept of those through another one is gone.
    pub(super) fn of(&mut self, layer: &Layer<T>) -> Result<&mut Kept<T>, Error> {
        if self.0.as_ref().is_none_or(|kept| kept.layer != layer.number()) {
            let (shape, pass) = (layer.shape(), layer.shape().pass(layer.context().isa())?);
            let [dh, dx] = [(); 2].map(|()| Activations::new());
            let (layer, entry, course) = (layer.number(), Entry::new(), Course::new(1, 1, None));
            self.0 = Some(Kept { layer, shape, pass, entry, dh, dx, course, examples: None, went_back: false });
        }
        Ok(self.0.as_mut().expect("it was just made"))
    }

    /// What it keeps of a forward pass through this layer, whose outputs `dh` is the gradient of.
    pub(super) fn outstanding(&mut self, layer: &Layer<T>, dh: MatRef<'_, T>) -> Result<&mut Kept<T>, Error> {
        let kept = self.0.as_mut().filter(|kept| kept.layer == layer.number()).ok_or(Error::NoForward)?;
        same("dh", "rows", dh.rows(), "the forward pass", "examples", kept.examples.ok_or(Error::NoForward)?)?;
        Ok(kept)
    }

    /// Copies what the interneurons of a DANN layer did in the forward pass: `zi [B, ni]` is overwritten.
    ///
    /// # Errors
    /// [`Error::NoForward`] if no [`Layer::forward`] went before or a backward pass already followed it,
    /// [`Error::Kind`] if it was that of a layer without interneurons, [`Error::Mismatch`] if `zi` has other
    /// dimensions.
    pub fn interneurons(&self, mut zi: MatMut<'_, T>) -> Result<(), Error> {
        let (kept, examples) = self.kept()?;
        let minus_zi = kept.pass.minus_zi().ok_or(Error::Kind { expected: "DANN" })?;
        check("zi", &zi, examples, "interneurons", kept.shape.interneurons())?;
        Threads::Serial.region(0.0, |team| {
            to_rows(team, minus_zi.units(), minus_zi.columns(), Steps::one(&mut zi), |minus_zi| -minus_zi)
        });
        Ok(())
    }

    /// Copies what inhibition did in the forward pass of a divisive DANN layer: the standardised excitation
    /// `zhat = ẑ [B, ne]` and the divisor `gamma = γ [B, ne]` are overwritten.
    ///
    /// # Errors
    /// As [`Tape::interneurons`]; [`Error::Kind`] for a layer that does not divide.
    pub fn standardised(&self, mut zhat: MatMut<'_, T>, mut gamma: MatMut<'_, T>) -> Result<(), Error> {
        let (kept, examples) = self.kept()?;
        let [Some(Standardised { inverse: Some((inverse, division)), zhat: standardised, .. }), None] =
            kept.pass.standardised()
        else {
            return Err(Error::Kind { expected: "divisive DANN" });
        };
        check("zhat", &zhat, examples, "outputs", kept.shape.outputs())?;
        check("gamma", &gamma, examples, "outputs", kept.shape.outputs())?;
        Threads::Serial.region(0.0, |team| {
            to_rows(team, standardised.units(), standardised.columns(), Steps::one(&mut zhat), |zhat| zhat);
            to_rows(team, inverse.units(), inverse.columns(), Steps::one(&mut gamma), |kept| {
                T::ONE / division.kept(kept)
            });
        });
        Ok(())
    }

    /// How many divisors of the last forward pass, also of one by [`Layer::infer`], were below their bound; none if there
    /// was no pass, or for a layer that does not divide. A layer on its own computes with such divisors all the same: see
    /// [`Error::Divisor`] for what to do about them.
    pub fn low_divisors(&self) -> Option<LowDivisors> {
        self.0.as_ref().and_then(|kept| kept.pass.low_divisors())
    }

    /// What is kept, and of how many examples.
    /// The states in which the last sequences through a recurrent layer ended, `[B, ne]`: `h_T`, or `v_T` in the `state`
    /// form. They can be handed to another call ([`Sequences::states`](crate::Sequences::states)), or be
    /// [carried over](crate::Sequences::carried).
    pub fn last_states(&self) -> Option<MatRef<'_, T>> {
        self.0.as_ref().and_then(|kept| kept.pass.last_states())
    }

    /// The gradient by the states before the first step, `dh0 [B, ne]`, which is overwritten: one an example, after a
    /// backward pass through a recurrent layer. Where states were handed in, what comes back to them. Zero where the
    /// sequences began in an `h0` of zeros that is not learned.
    ///
    /// # Errors
    /// [`Error::NoForward`] unless a backward pass through a recurrent layer is the last that happened;
    /// [`Error::Mismatch`] if `dh0` has other dimensions.
    pub fn state_gradient(&mut self, mut dh0: MatMut<'_, T>) -> Result<(), Error> {
        let kept = self.0.as_mut().filter(|kept| kept.went_back).ok_or(Error::NoForward)?;
        let units = kept.shape.recurrent_units();
        let in_time = kept.pass.in_time().ok_or(Error::NoForward)?;
        let (dstates, examples) = in_time.dstates();
        check("dh0", &dh0, examples.len(), "recurrent units", units)?;
        Threads::Serial.region(0.0, |team| to_rows(team, dstates, examples, Steps::one(&mut dh0), |d| d));
        Ok(())
    }

    fn kept(&self) -> Result<(&Kept<T>, usize), Error> {
        let kept = self.0.as_ref().and_then(|kept| kept.examples.map(|examples| (kept, examples)));
        kept.ok_or(Error::NoForward)
    }
}

impl<T: Element> std::fmt::Debug for Tape<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = self.0.as_ref().map(|kept| kept.shape);
        f.debug_struct("Tape").field("shape", &shape).field("examples", &self.examples()).finish()
    }
}

/// Checks that `out` has a row for each example and a column for each of these units.
fn check<T: Element>(
    name: &'static str,
    out: &MatMut<'_, T>,
    examples: usize,
    units: &'static str,
    count: usize,
) -> Result<(), Error> {
    same(name, "rows", out.rows(), "the forward pass", "examples", examples)?;
    same(name, "columns", out.cols(), "the layer", units, count)
}
