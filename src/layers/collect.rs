//! What becomes of a layer's gradients. A layer lists them once, and [`Collect`] decides: a step is taken, or they are
//! stored, added to those of the slabs before, or, as squares, to the Fisher information.

use crate::buffer::{Activations, Buffer};
use crate::driver::phase::run_gradients;
use crate::element::Element;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::kernels::epilogue::{Partials, Store};
use crate::kernels::gradient::{Gradient, GradientKernel, Outer};
use crate::kernels::update::{Curvature, Step, StoreGradient};
use crate::layout::Split;
use crate::optim::target::Targets;
use crate::params::ParamsMut;
use crate::params::schema::Schema;
use crate::threads::Team;
use std::array::from_fn;

/// Takes the gradients of a layer as it lists them.
pub(crate) struct Collect<'a, 'c, T: Element> {
    pub team: &'a Team<'c>,
    pub kernels: &'static Kernels<T>,
    pub schema: &'a Schema,
    /// Whether there are gradients of slabs before.
    pub accumulated: bool,
    pub into: Destination<'a, T>,
}

/// What becomes of the gradients.
pub(crate) enum Destination<'a, T> {
    /// A step of each parameter, fused with its gradient.
    Step(Targets<'a, T>),
    /// They are stored.
    Store(ParamsMut<'a, T>),
    /// They are added to those of the slabs before.
    Accumulate,
    /// `F ← keep · F + scale · Σ_B (∂θ)²`, after a backward pass of squares. What the slabs before summed up stays.
    Fisher { into: ParamsMut<'a, T>, keep: T, scale: T },
}

/// The gradient of a matrix of weights, `Σ_t deltas_tᵀ x_t` over up to two terms.
#[derive(Clone, Copy)]
pub(crate) struct WeightGradient<'g, T> {
    /// Which parameter, in the order of the schema.
    pub parameter: usize,
    /// Deltas `[rows, B]` and inputs `[B, cols]`.
    pub terms: [Option<(&'g Activations<T>, &'g Activations<T>)>; 2],
}

/// A sum over the examples for each unit, made of one for each group of examples; see [`Partials`].
#[derive(Clone)]
pub(crate) struct Sums<T> {
    /// The total, then that of each group.
    values: Buffer<T>,
    units: usize,
}

impl<T: Element> Sums<T> {
    pub fn new(units: usize) -> Self {
        Self { values: Buffer::default(), units }
    }

    /// Makes room for a batch.
    pub fn prepare(&mut self, examples: Split) -> Result<(), Error> {
        self.values.resize(self.len(examples))
    }

    fn len(&self, examples: Split) -> usize {
        self.units * (examples.groups() + 1)
    }

    /// Panics unless there is room for the batch.
    #[track_caller]
    pub fn assert_prepared(&self, name: &str, examples: Split) {
        assert_eq!(self.values.len(), self.len(examples), "partial sums of {name}");
    }

    /// For kernels that write the groups' sums.
    pub fn partials(&mut self, squares: bool) -> Partials<T> {
        Partials::new(self.values.as_mut_ptr(), self.units, squares)
    }

    /// Adds the groups' sums, one after the other, to those that the slabs before `accumulated`, if any.
    pub fn total(&mut self, accumulated: bool) -> &mut [T] {
        let (total, groups) = self.values.split_at_mut(self.units);
        if !accumulated {
            total.fill(T::ZERO);
        }
        for group in groups.chunks_exact(self.units) {
            total.iter_mut().zip(group).for_each(|(sum, &part)| *sum = *sum + part);
        }
        total
    }

    /// `F ← keep · F + scale · Σ`, at most the largest number, with the groups' sums of squares. The total stays.
    fn add_squares(&self, fisher: &mut [T], [keep, scale]: [T; 2]) {
        for (unit, f) in fisher.iter_mut().enumerate() {
            let groups = self.values[self.units..].iter().skip(unit).step_by(self.units);
            let sum = keep * *f + scale * groups.fold(T::ZERO, |sum, &part| sum + part);
            *f = if sum > T::MAX { T::MAX } else { sum };
        }
    }
}

impl<T: Element> Collect<'_, '_, T> {
    /// The gradients of matrices, in one phase. `slabs` are those of the slabs before.
    pub fn matrices<const N: usize>(&mut self, slabs: &mut [Activations<T>], gradients: [WeightGradient<'_, T>; N]) {
        let kernels = self.kernels;
        let number = |j: usize| gradients[j].parameter;
        // The distance of the rows of a matrix.
        let ld = |j: usize| self.schema[number(j)].dimensions()[1];
        match &mut self.into {
            Destination::Step(targets) => {
                let plain: [_; N] = from_fn(|j| targets.target(number(j)).plain());
                if plain.iter().all(Option::is_some) {
                    let steps = from_fn(|j| {
                        let (scale, low) = plain[j].expect("all of them");
                        Step { w: targets.target(number(j)).array.as_mut_ptr(), ld: ld(j), scale, low }
                    });
                    self.run(slabs, kernels.step, &gradients, steps);
                } else {
                    let policies = from_fn(|j| targets.target(number(j)).policy(ld(j)));
                    self.run(slabs, kernels.policy, &gradients, policies);
                }
            }
            Destination::Store(into) => {
                let stores = from_fn(|j| StoreGradient { grad: into.array_mut(number(j)).as_mut_ptr(), ld: ld(j) });
                self.run(slabs, kernels.store_gradients, &gradients, stores);
            }
            Destination::Accumulate => {
                let stores = from_fn(|j| Store { out: slabs[number(j)].grouped_mut() });
                self.run(slabs, kernels.accumulate, &gradients, stores);
            }
            &mut Destination::Fisher { ref mut into, keep, scale } => {
                let squares = from_fn(|j| {
                    let fisher = into.array_mut(number(j)).as_mut_ptr();
                    Curvature { fisher, ld: ld(j), keep, scale }
                });
                self.run(slabs, kernels.curvature, &gradients, squares);
            }
        }
    }

    /// The gradient of a vector.
    pub fn vector(&mut self, parameter: usize, sums: &mut Sums<T>) {
        let (team, kernels, accumulated) = (self.team, self.kernels, self.accumulated);
        match &mut self.into {
            Destination::Step(targets) => targets.target(parameter).step(team, kernels, sums.total(accumulated)),
            Destination::Store(into) => into.array_mut(parameter).copy_from_slice(sums.total(accumulated)),
            Destination::Accumulate => drop(sums.total(accumulated)),
            Destination::Fisher { into, keep, scale } => sums.add_squares(into.array_mut(parameter), [*keep, *scale]),
        }
    }

    /// What the batch has in the place of a statistic, which takes it in.
    pub fn statistic(&mut self, parameter: usize, of_batch: &[T]) {
        match &mut self.into {
            Destination::Step(targets) => targets.target(parameter).step(self.team, self.kernels, of_batch),
            Destination::Store(into) => into.array_mut(parameter).copy_from_slice(of_batch),
            Destination::Accumulate | Destination::Fisher { .. } => {}
        }
    }

    /// Computes gradients of matrices, each with an epilogue whose array is borrowed mutably by `self` or is one of
    /// `slabs`.
    fn run<E, const N: usize>(
        &self,
        slabs: &[Activations<T>],
        kernel: GradientKernel<T, E>,
        gradients: &[WeightGradient<'_, T>; N],
        epilogues: [E; N],
    ) {
        assert!(gradients.is_sorted_by(|a, b| a.parameter < b.parameter), "each parameter once");
        let mut epilogues = epilogues.into_iter();
        let gradients: [_; N] = from_fn(|j| {
            let WeightGradient { parameter, terms } = gradients[j];
            let &[rows, cols] = self.schema[parameter].dimensions() else { panic!("gradient {j} of a vector") };
            let (deltas, x) = terms[0].expect("a gradient has a term");
            let (examples, inputs) = (deltas.columns(), x.columns());
            assert_eq!(inputs.len(), cols, "columns of gradient {j}");
            for (deltas, x) in terms.into_iter().flatten() {
                deltas.assert_shape("deltas", rows, examples);
                x.assert_shape("x", examples.len(), inputs);
            }
            assert!(self.into.elements(parameter).is_none_or(|n| n == rows * cols), "elements of matrix {j}");
            let slab = &slabs[parameter];
            if self.accumulated || matches!(self.into, Destination::Accumulate) {
                slab.assert_shape("gradients of slabs", rows, inputs);
            }
            // What the slabs before summed up is no part of the squares.
            let init = self.accumulated && !matches!(self.into, Destination::Fisher { .. });
            Gradient {
                init: init.then(|| slab.grouped()),
                terms: terms.map(|term| term.map(|(deltas, x)| Outer { delta: deltas.grouped(), x: x.grouped() })),
                rows: if self.into.leaves(parameter) { 0 } else { rows },
                examples,
                inputs,
                epilogue: epilogues.next().expect("an epilogue for each gradient"),
            }
        });
        // SAFETY: deltas and inputs have the batch's size; the epilogues write arrays of the parameters' sizes, each of
        // another parameter, that are borrowed mutably.
        unsafe { run_gradients(self.team, kernel, &gradients) };
    }
}

impl<T> Destination<'_, T> {
    /// Whether a parameter stays as it is, and its gradient need not be made.
    fn leaves(&self, parameter: usize) -> bool {
        matches!(self, Self::Step(targets) if targets.frozen(parameter))
    }

    /// How many elements there are of what becomes of a parameter's gradient; none where nothing is the caller's.
    fn elements(&self, parameter: usize) -> Option<usize> {
        Some(match self {
            Self::Step(targets) => targets.len(parameter),
            Self::Store(into) | Self::Fisher { into, .. } => into.len(parameter),
            Self::Accumulate => return None,
        })
    }
}
