//! Where an input gradient goes.

use super::buffers::{LayerBuffers, Scratch};
use crate::buffer::Activations;
use crate::driver::{Side, panels, phase};
use crate::element::Element;
use crate::kernels::Kernels;
use crate::kernels::backward::{ExciteBackward, GainBackward, InhibitBackward, Store};
use crate::kernels::product::Product;
use crate::kernels::walk::{DownColumns, Operand};
use crate::layout::Split;
use crate::threads::Crew;
use std::marker::PhantomData;

/// Destination of an input gradient: an array, or the fused backward epilogue of the layer below, so that it goes
/// through that layer's nonlinearity and inhibition before it leaves the registers.
pub(crate) enum GradientSink<'a, T> {
    /// Stored.
    Store(&'a mut Activations<T>),
    /// Into a layer that does not divide.
    Excite(Fused<'a, ExciteBackward<T>>),
    /// Into a layer that divides.
    Inhibit(Fused<'a, InhibitBackward<T>>),
    /// Into a layer that is normalised.
    Gain(Fused<'a, GainBackward<T>>),
}

/// An epilogue that borrows the arrays of a layer, and the layer's units and examples: all its arrays were checked to
/// have them.
pub(crate) struct Fused<'a, E> {
    pub epilogue: E,
    pub units: usize,
    pub examples: Split,
    pub borrow: PhantomData<&'a mut ()>,
}

/// An input gradient `init + Σ terms`, with what computing it needs.
struct InputGradient<'a, T: Element> {
    kernels: &'a Kernels<T>,
    init: Option<&'a Activations<T>>,
    terms: [Option<Operand<T, DownColumns>>; 2],
    /// Units of the layer below.
    rows: usize,
    examples: Split,
    scratch: &'a mut Scratch<T>,
}

/// `dx = du W`, and of interneurons `+ dzI Wix`.
pub(super) fn input_gradient<T: Element>(
    crew: &Crew<'_>,
    buffers: &mut LayerBuffers<T>,
    w: &[T],
    interneurons: Option<(&[T], &Activations<T>)>,
    into: GradientSink<'_, T>,
) {
    let rows = buffers.inputs().len();
    let LayerBuffers { kernels, examples, ref du, ref mut scratch, .. } = *buffers;
    let term = |w: &[T], deltas: &Activations<T>| {
        assert_eq!(deltas.rows().checked_mul(rows), Some(w.len()), "elements of the weights");
        deltas.assert_shape("deltas", deltas.rows(), examples);
        DownColumns::operand(w, rows, deltas)
    };
    let terms = [Some(term(w, du)), interneurons.map(|(wix, dzi)| term(wix, dzi))];
    // SAFETY: the weights are borrowed and have as many rows as there are deltas, which have the batch's size.
    unsafe { into.run(crew, InputGradient { kernels, init: None, terms, rows, examples, scratch }) };
}

impl<T: Element> GradientSink<'_, T> {
    /// Lets a gradient that is in an array go where it should.
    pub fn store(self, crew: &Crew<'_>, kernels: &Kernels<T>, examples: Split, gradient: &Activations<T>) {
        let (rows, scratch) = (gradient.rows(), &mut Scratch::new());
        let gradient = InputGradient { kernels, init: Some(gradient), terms: [None, None], rows, examples, scratch };
        // SAFETY: there are no terms.
        unsafe { self.run(crew, gradient) };
    }

    /// Computes an input gradient and lets it go where it should.
    ///
    /// # Safety
    /// The terms are valid for reading in all rows and examples, and their weights have `rows` columns.
    unsafe fn run(self, crew: &Crew<'_>, gradient: InputGradient<'_, T>) {
        let InputGradient { kernels, init, terms, rows, examples, scratch } = gradient;
        let check = |units, of| assert_eq!((units, of), (rows, examples), "units and examples of the layer below");
        if let Some(init) = init {
            check(init.rows(), init.columns());
        }
        let k = terms.iter().flatten().map(|term| term.depth.len).sum();
        let in_panels = panels::pay::<T>(rows, k, examples);
        if in_panels {
            check(scratch.partial.rows(), scratch.partial.columns());
        }
        let init = init.map(Activations::grouped);
        macro_rules! run {
            ($kernel:ident, $epilogue:expr, $partial:expr) => {{
                let product = Product { init, terms, examples, epilogue: $epilogue };
                // SAFETY: the caller vouches for the terms; the epilogue borrows its arrays mutably through `self`, and
                // `check` compared their units and examples with those of the product.
                unsafe {
                    if in_panels {
                        let kernel = (kernels.panels.store, kernels.panels.$kernel);
                        phase::run_in_panels(crew, (kernels, rows), kernel, product, (&mut scratch.panels, $partial));
                    } else {
                        phase::run_product(crew, (kernels, rows), kernels.down.$kernel, &product, |_, _| ());
                    }
                }
            }};
        }
        match self {
            Self::Store(out) => {
                check(out.rows(), out.columns());
                let out = out.grouped_mut();
                run!(store, Store { out }, out);
            }
            Self::Excite(fused) => {
                check(fused.units, fused.examples);
                run!(excite, fused.epilogue, scratch.partial.grouped_mut());
            }
            Self::Inhibit(fused) => {
                check(fused.units, fused.examples);
                run!(inhibit, fused.epilogue, scratch.partial.grouped_mut());
            }
            Self::Gain(fused) => {
                check(fused.units, fused.examples);
                run!(gain, fused.epilogue, scratch.partial.grouped_mut());
            }
        }
    }
}
