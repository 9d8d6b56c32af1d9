//! Input gradients on their way from a layer to the one below.

use super::buffers::{LayerBuffers, Scratch};
use crate::buffer::{Activations, Units};
use crate::driver::{Side, panels, phase};
use crate::element::Element;
use crate::kernels::access::{Operand, Transposed};
use crate::kernels::epilogue::Store;
use crate::kernels::product::Product;
use crate::kernels::{Kernels, TransposedKernels};
use crate::layout::{Grouped, Split};
use crate::threads::Team;

/// The gradient of a layer's input, `init + Σ terms`, before it is computed. Who receives it decides what becomes of
/// it: it is stored, or goes on through the nonlinearity and the inhibition of the layer below before it leaves the
/// registers.
pub(crate) struct InputGradient<'a, T: Element> {
    kernels: &'a Kernels<T>,
    init: Option<Units<'a, T>>,
    terms: [Option<Operand<T, Transposed>>; 2],
    /// Units of the layer below.
    rows: usize,
    examples: Split,
    scratch: &'a mut Scratch<T>,
}

impl<'a, T: Element> InputGradient<'a, T> {
    /// `du W`, and of interneurons `+ dzI Wix`.
    pub fn new(
        buffers: &'a mut LayerBuffers<T>,
        w: &'a [T],
        interneurons: Option<(&'a [T], &'a Activations<T>)>,
    ) -> Self {
        buffers.assert_prepared_for_training();
        let rows = buffers.inputs().len();
        let LayerBuffers { kernels, examples, du, scratch, .. } = buffers;
        let (kernels, examples) = (*kernels, *examples);
        let term = |w: &[T], deltas: &Activations<T>| {
            assert_eq!(deltas.rows().checked_mul(rows), Some(w.len()), "elements of the weights");
            deltas.assert_shape("deltas", deltas.rows(), examples);
            Transposed::operand(w, rows, deltas.units())
        };
        let terms = [Some(term(w, du)), interneurons.map(|(wix, dzi)| term(wix, dzi))];
        Self { kernels, init: None, terms, rows, examples, scratch }
    }

    /// One that is in an array.
    pub fn of_array(
        kernels: &'a Kernels<T>,
        gradient: Units<'a, T>,
        examples: Split,
        scratch: &'a mut Scratch<T>,
    ) -> Self {
        let rows = gradient.rows();
        gradient.assert_shape("the gradient", rows, examples);
        Self { kernels, init: Some(gradient), terms: [None, None], rows, examples, scratch }
    }

    /// The examples that it is of.
    pub fn examples(&self) -> Split {
        self.examples
    }

    /// Stores it in the first rows.
    pub fn store(self, team: &Team<'_>, out: &mut Activations<T>) {
        let (kernels, partial) = (&self.kernels.store_transposed, out.grouped_mut());
        let (units, examples) = (self.rows, self.examples);
        out.assert_shape("the gradient", out.rows(), examples);
        assert!(units <= out.rows(), "rows of the gradient");
        // SAFETY: the output is borrowed mutably and has these units and examples.
        unsafe { self.run(team, kernels, (units, examples), Store { out: partial }, Some(partial)) };
    }

    /// Computes it and hands each tile to an epilogue of a layer with so many units and examples.
    ///
    /// # Safety
    /// The epilogue's arrays are borrowed mutably by the caller where it writes them, and have these units and
    /// examples.
    pub unsafe fn receive<E>(
        self,
        team: &Team<'_>,
        kernels: &TransposedKernels<T, E>,
        of: (usize, Split),
        epilogue: E,
    ) {
        // SAFETY: as demanded here.
        unsafe { self.run(team, kernels, of, epilogue, None) };
    }

    /// # Safety
    /// As [`InputGradient::receive`], also for `partial`, the place of sums so far, if it is not to be the scratch.
    unsafe fn run<E>(
        self,
        team: &Team<'_>,
        kernels: &TransposedKernels<T, E>,
        of: (usize, Split),
        epilogue: E,
        partial: Option<Grouped<T>>,
    ) {
        let Self { kernels: all, init, terms, rows, examples, scratch } = self;
        assert_eq!(of, (rows, examples), "units and examples of the layer below");
        let k = terms.iter().flatten().map(|term| term.depth.len).sum();
        let product = Product { init: init.map(|init| init.grouped()), terms, examples, epilogue };
        // SAFETY: the terms borrow weights and deltas, which have the batch's size, through `self`; the caller vouches
        // for the epilogue.
        unsafe {
            if panels::pay::<T>(rows, k, examples) {
                scratch.partial.assert_shape("sums so far", rows, examples);
                let partial = partial.unwrap_or_else(|| scratch.partial.grouped_mut());
                let kernels = (all.store_transposed.packed, kernels.packed);
                phase::run_in_panels(team, (all, rows), kernels, product, (&mut scratch.panels, partial));
            } else {
                phase::run_product(team, (all, rows), kernels.in_place, &product, |_, _| ());
            }
        }
    }
}
