//! What becomes of a layer's gradients. A layer lists them once, and [`Collect`] decides: a step is taken, or they are
//! stored, added to those of the slabs before, or, as squares, to the Fisher information.

use crate::buffer::{Activations, Buffer, Examples, Units};
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
use std::ops::Range;

/// Takes the gradients of a layer as it lists them.
pub(crate) struct Collect<'a, 'c, T: Element> {
    pub team: &'a Team<'c>,
    pub kernels: &'static Kernels<T>,
    pub schema: &'a Schema,
    /// The place in the schema of each parameter of a pass that is a part of another; none where they are the same.
    pub places: Option<&'static [usize]>,
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
    /// Which parameter, in the order of the pass's own schema.
    pub parameter: usize,
    /// The examples that are summed over.
    pub examples: Split,
    /// Deltas `[rows, B]` and inputs `[B, cols]`.
    pub terms: [Option<Term<'g, T>>; 2],
    pub so_far: SumSoFar<'g, T>,
}

/// What a weight gradient begins with.
#[derive(Clone, Copy)]
pub(crate) enum SumSoFar<'g, T> {
    /// What the slabs before summed up, if any.
    Slabs,
    Nothing,
    Of(&'g Activations<T>),
}

/// Deltas and inputs of a [`WeightGradient`].
pub(crate) type Term<'g, T> = (Units<'g, T>, Examples<'g, T>);

impl<'g, T> WeightGradient<'g, T> {
    pub fn new(parameter: usize, examples: Split, terms: [Option<Term<'g, T>>; 2]) -> Self {
        Self { parameter, examples, terms, so_far: SumSoFar::Slabs }
    }
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

    /// Sets the sums of some groups to zero.
    pub fn clear_groups(&mut self, groups: Range<usize>) {
        self.values[self.units * (groups.start + 1)..self.units * (groups.end + 1)].fill(T::ZERO);
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

    /// The total of the slabs so far.
    pub fn so_far(&self) -> &[T] {
        &self.values[..self.units]
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
        let places: [usize; N] = from_fn(|j| self.place(gradients[j].parameter));
        let schema = self.schema;
        let number = |j: usize| places[j];
        // The distance of the rows of a matrix.
        let ld = |j: usize| schema[places[j]].dimensions()[1];
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
                let stores = from_fn(|j| Store { out: slabs[gradients[j].parameter].grouped_mut() });
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
        for place in places {
            self.hold(place);
        }
    }

    /// The place of a parameter in the schema.
    fn place(&self, parameter: usize) -> usize {
        self.places.map_or(parameter, |places| places[parameter])
    }

    /// What a pass that is a part of another one lists, whose parameters have these places.
    pub fn part(&mut self, places: &'static [usize], list: impl FnOnce(&mut Self)) {
        let whole = self.places.replace(places);
        list(self);
        self.places = whole;
    }

    /// Whether gradients are only added to those of the slabs before.
    pub fn accumulates(&self) -> bool {
        matches!(self.into, Destination::Accumulate)
    }

    /// Keeps the diagonal of a matrix at zero that has none.
    fn hold(&mut self, place: usize) {
        match &mut self.into {
            Destination::Step(targets) => targets.hold(place),
            Destination::Store(into) => self.schema[place].clear_diagonal(into.array_mut(place)),
            Destination::Accumulate | Destination::Fisher { .. } => {}
        }
    }

    /// What no gradient moves has a gradient of zero.
    pub fn constant(&mut self, parameter: usize) {
        if let Destination::Store(into) = &mut self.into {
            into.array_mut(parameter).fill(T::ZERO);
        }
    }

    /// The gradient of a vector, whose sum over all slabs is there.
    pub fn vector_of(&mut self, parameter: usize, sum: &[T]) {
        let (team, kernels, place) = (self.team, self.kernels, self.place(parameter));
        match &mut self.into {
            Destination::Step(targets) => targets.target(place).step(team, kernels, sum),
            Destination::Store(into) => into.array_mut(place).copy_from_slice(sum),
            Destination::Accumulate | Destination::Fisher { .. } => {}
        }
    }

    /// The gradient of a vector.
    pub fn vector(&mut self, parameter: usize, sums: &mut Sums<T>) {
        let place = self.place(parameter);
        if let &mut Destination::Fisher { ref mut into, keep, scale } = &mut self.into {
            sums.add_squares(into.array_mut(place), [keep, scale]);
        } else {
            let total = sums.total(self.accumulated);
            self.vector_of(parameter, total);
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
            let WeightGradient { parameter, examples, terms, so_far } = gradients[j];
            let place = self.place(parameter);
            let &[rows, cols] = self.schema[place].dimensions() else { panic!("gradient {j} of a vector") };
            // What the slabs before summed up is no part of the squares.
            let accumulated = self.accumulated && !matches!(self.into, Destination::Fisher { .. });
            let init = match so_far {
                SumSoFar::Slabs => accumulated.then(|| &slabs[parameter]),
                SumSoFar::Nothing => None,
                SumSoFar::Of(sum) => Some(sum),
            };
            let inputs = terms[0].map(|(_, x)| x.units()).or(init.map(Activations::columns));
            let inputs = inputs.expect("a gradient has a term or a sum");
            assert_eq!(inputs.len(), cols, "columns of gradient {j}");
            for (deltas, x) in terms.into_iter().flatten() {
                deltas.assert_shape("deltas", rows, examples);
                x.assert_shape("x", examples, inputs);
            }
            assert!(self.into.elements(place).is_none_or(|n| n == rows * cols), "elements of matrix {j}");
            if let Some(sum) = init {
                sum.assert_shape("the sum so far", rows, inputs);
            }
            if matches!(self.into, Destination::Accumulate) {
                slabs[parameter].assert_shape("gradients of slabs", rows, inputs);
            }
            Gradient {
                init: init.map(Activations::grouped),
                terms: terms.map(|term| {
                    let (deltas, x) = term?;
                    let (x, first) = x.grouped();
                    Some(Outer { delta: deltas.grouped(), x, first })
                }),
                rows: if self.into.leaves(place) { 0 } else { rows },
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
