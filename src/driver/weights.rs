//! The one weight matrix of a layer without interneurons: its gradient and what becomes of it.

use super::frame::Frame;
use super::phase::run_gradients;
use super::{Backward, InputGradient, Side};
use crate::buffer::Activations;
use crate::element::Element;
use crate::error::Error;
use crate::kernels::backward::Store;
use crate::kernels::gradient::{Gradient, GradientKernel, Outer};
use crate::kernels::update::{Curvature, HandOut, Step};
use crate::kernels::walk::DownColumns;
use crate::params::state::Target;
use crate::threads::Crew;

/// What is kept of `W [ne, d]` between the slabs of a batch.
#[derive(Clone)]
pub(super) struct Weights<T> {
    /// `dW` of the slabs before.
    carried: Activations<T>,
}

/// `dx = du W`
pub(super) fn input_gradient<T: Element>(crew: &Crew<'_>, frame: &mut Frame<T>, w: &[T], into: Backward<'_, T>) {
    frame.assert_prepared_for_training();
    frame.assert_weights(w.len());
    let (kernels, examples, rows) = (frame.kernels, frame.examples, frame.inputs().len());
    let terms = [Some(DownColumns::operand(w, rows, &frame.du)), None];
    let scratch = &mut frame.scratch;
    // SAFETY: the weights are borrowed and were checked, du has the batch's size.
    unsafe { into.run(crew, InputGradient { kernels, init: None, terms, rows, examples, scratch }) };
}

impl<T: Element> Weights<T> {
    pub fn new() -> Self {
        Self { carried: Activations::new() }
    }

    /// Makes room for gradients that are carried over from slab to slab, and begins with none.
    pub fn prepare_slabs(&mut self, frame: &mut Frame<T>, slabs: usize) -> Result<(), Error> {
        frame.carries = false;
        if slabs > 1 {
            self.carried.resize(frame.du.rows(), frame.inputs())?;
        }
        Ok(())
    }

    /// The step of `W`.
    pub fn update(&self, crew: &Crew<'_>, frame: &mut Frame<T>, w: &mut Target<'_, T>, x: &Activations<T>) {
        frame.assert_weights(w.array.len());
        let (kernels, ld) = (frame.kernels, frame.inputs().len());
        match w.plain() {
            Some((scale, low)) => {
                self.gradient(crew, frame, x, kernels.step, Step { w: w.array.as_mut_ptr(), ld, scale, low });
            }
            None => self.gradient(crew, frame, x, kernels.policy, w.policy(ld)),
        }
    }

    /// `dW` for the caller.
    pub fn hand_out(&self, crew: &Crew<'_>, frame: &mut Frame<T>, dw: &mut [T], x: &Activations<T>) {
        frame.assert_weights(dw.len());
        let epilogue = HandOut { grad: dw.as_mut_ptr(), ld: frame.inputs().len() };
        self.gradient(crew, frame, x, frame.kernels.hand_out, epilogue);
    }

    /// Adds `dW` to that of the slabs before.
    pub fn carry(&mut self, crew: &Crew<'_>, frame: &mut Frame<T>, x: &Activations<T>) {
        self.carried.assert_shape("dW", frame.du.rows(), frame.inputs());
        let epilogue = Store { out: self.carried.grouped_mut() };
        self.gradient(crew, frame, x, frame.kernels.carry, epilogue);
    }

    /// `F ← keep · F + scale · Σ_B (∂W)²`
    pub fn curvature(
        &self,
        crew: &Crew<'_>,
        frame: &mut Frame<T>,
        fisher: &mut [T],
        x: &Activations<T>,
        [keep, scale]: [T; 2],
    ) {
        frame.assert_weights(fisher.len());
        let epilogue = Curvature { fisher: fisher.as_mut_ptr(), ld: frame.inputs().len(), keep, scale };
        // What the slabs before carried over is no part of the squares.
        let carries = std::mem::replace(&mut frame.carries, false);
        self.gradient(crew, frame, x, frame.kernels.curvature, epilogue);
        frame.carries = carries;
    }

    /// `dW = duᵀ x`, handed to an epilogue whose arrays were checked and are borrowed mutably.
    fn gradient<E>(
        &self,
        crew: &Crew<'_>,
        frame: &Frame<T>,
        x: &Activations<T>,
        kernel: GradientKernel<T, E>,
        epilogue: E,
    ) {
        x.assert_shape("x", frame.examples.len(), frame.inputs());
        frame.assert_prepared_for_training();
        if frame.carries {
            self.carried.assert_shape("dW", frame.du.rows(), frame.inputs());
        }
        let gradient = Gradient {
            init: frame.carries.then(|| self.carried.grouped()),
            terms: [Some(Outer { delta: frame.du.grouped(), x: x.grouped() }), None],
            rows: frame.du.rows(),
            examples: frame.examples,
            inputs: frame.inputs(),
            epilogue,
        };
        // SAFETY: x and du have the batch's size; the epilogue writes an array of the layer's shape that the caller
        // borrows mutably.
        unsafe { run_gradients(crew, kernel, &[gradient]) };
    }
}
