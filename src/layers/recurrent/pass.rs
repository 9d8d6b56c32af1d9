//! What a pass through a recurrent layer keeps, and the order of its phases.
//!
//! Everything that is not sequential is a dense layer over all examples of all steps: the input leg is such a layer with
//! the identity at its end, whose outputs drive the units and whose `dh` is `dz`. The recurrent leg goes step by step.

use super::arrays::{Arrays, Places};
use super::fold::FoldedLeg;
use super::in_time::InTime;
use super::kernels::RecurrentKernels;
use super::{Cell, Dynamics, RecurrentShape};
use crate::buffer::{Activations, Buffer, Examples, Units};
use crate::driver::transpose::all_to_examples;
use crate::element::{Element, table};
use crate::error::Error;
use crate::isa::Isa;
use crate::layers::buffers::{Batch, Input, LayerBuffers};
use crate::layers::collect::{Collect, Destination, Sums, WeightGradient};
use crate::layers::dann::DannShape;
use crate::layers::dense::DenseShape;
use crate::layers::inhibition::Inhibition;
use crate::layers::inhibition::division::Divisor;
use crate::layers::inhibition::kernels::InhibitionKernels;
use crate::layers::inhibition::low::{LowDivisors, Lows};
use crate::layers::input_gradient::InputGradient;
use crate::layers::kind::Kind;
use crate::layers::nonlinearity::Nonlinearity;
use crate::layers::pass::{Pass, Standardised};
use crate::layout::Split;
use crate::matrix::MatRef;
use crate::params::ParamsRef;
use crate::params::schema::Shape;
use crate::threads::Team;
use std::ops::Range;

/// The recurrent leg.
#[derive(Clone)]
pub(super) struct Leg<T: Element> {
    /// Those of a dense layer from the units to the units, of which only deltas and sums of slabs are used.
    pub buffers: LayerBuffers<T>,
    /// Its interneurons, if it has some.
    pub inhibition: Option<Inhibition<T>>,
    pub dg: Sums<T>,
    /// The transposes of `Wex` (or `W`, or `V`), `Wix` and `Wei`.
    pub transposes: [Buffer<T>; 3],
}

/// What a pass through a recurrent layer keeps. Arrays over time have a block for each step of a chunk; those of states
/// have one more, the first, for the states before.
#[derive(Clone)]
pub(super) struct RecurrentPass<T: Element> {
    pub shape: RecurrentShape,
    pub own: &'static RecurrentKernels<T>,
    pub inhibition_kernels: &'static InhibitionKernels<T>,
    /// The schema, the kernels, the examples; and what goes out, if that is not all.
    pub buffers: LayerBuffers<T>,
    /// The input leg as it reads.
    as_written: Box<dyn Pass<T>>,
    /// The input leg as one matrix, and both legs' matrices, if they can be.
    folded_input: Option<Box<dyn Pass<T>>>,
    pub folds: Option<[FoldedLeg<T>; 2]>,
    /// Whether the legs are folded.
    pub folded: bool,
    pub leg: Leg<T>,
    /// `h [ne, ·]`, negative from a unit on, and with a row an example.
    pub h: Activations<T>,
    pub h_examples: Activations<T>,
    /// `v [ne, ·]` in the `state` form, `f(z)` in the `rate` form.
    pub v: Activations<T>,
    pub rates: Activations<T>,
    pub kappa: Buffer<T>,
    pub noise: Activations<T>,
    pub has_noise: bool,
    /// The gradient by what goes out.
    pub dout: Activations<T>,
    pub dz: Activations<T>,
    /// `[ne, B]`: what comes back from one step to the one before, beside the products; and these, between windows.
    pub carry: Activations<T>,
    pub back: Activations<T>,
    /// Whether there is a window behind the present one, whose products came back.
    pub has_back: bool,
    /// The gradient by the states before the first step, one an example, and their sum.
    pub dstates: Activations<T>,
    pub dh0: Buffer<T>,
    /// The first states of the chunks.
    pub starts: Activations<T>,
    /// The last states of the last sequences, row-major with a row an example.
    pub last: Buffer<T>,
    /// Whether the chunk is the first; whether sequences begin in `h0`, and whether that is zero and stays so.
    pub at_start: bool,
    pub starts_at_own: bool,
    pub starts_at_zero: bool,
}

/// A leg with interneurons as a layer.
fn dann_leg(inputs: usize, ne: usize, ni: usize, divisor: Option<Divisor>) -> DannShape {
    let shape = DannShape::new(inputs, ne, ni).linear();
    divisor.map_or(shape.subtractive(), |divisor| shape.divisor(divisor))
}

impl<T: Element> RecurrentPass<T> {
    pub fn new(shape: RecurrentShape, isa: Isa) -> Result<Self, Error> {
        let schema = shape.schema()?;
        let &RecurrentShape { d, ne, visible, cell, .. } = &shape;
        let plain = || DenseShape::new(d, ne).linear().pass(isa);
        let new = Activations::new;
        let (as_written, leg_schema, inhibition) = match cell {
            Cell::Dann { nu, nw, divisor } => (
                dann_leg(d, ne, nu, divisor).pass(isa)?,
                dann_leg(ne, ne, nw, divisor).schema()?,
                Some(Inhibition::new(ne, nw, divisor)),
            ),
            Cell::Columns { .. } | Cell::Plain => (plain()?, DenseShape::new(ne, ne).schema()?, None),
        };
        let (folds, mut folded_input) = match cell {
            Cell::Dann { nu, nw, divisor: None } => {
                (Some([FoldedLeg::new(ne, nu, d), FoldedLeg::new(ne, nw, ne)]), Some(plain()?))
            }
            _ => (None, None),
        };
        let mut as_written = as_written;
        for input in [Some(&mut as_written), folded_input.as_mut()].into_iter().flatten() {
            input.buffers_mut().inner = true;
        }
        Ok(Self {
            shape,
            own: table::<T, _>(isa),
            inhibition_kernels: table::<T, _>(isa),
            buffers: LayerBuffers::new(schema, (d, visible), Nonlinearity::Relu, isa),
            as_written,
            folded_input,
            folds,
            folded: false,
            leg: Leg {
                buffers: LayerBuffers::new(leg_schema, (ne, ne), Nonlinearity::Identity, isa),
                inhibition,
                dg: Sums::new(ne),
                transposes: [(); 3].map(|()| Buffer::default()),
            },
            h: new(),
            h_examples: new(),
            v: new(),
            rates: new(),
            kappa: Buffer::default(),
            noise: new(),
            has_noise: false,
            dout: new(),
            dz: new(),
            carry: new(),
            back: new(),
            has_back: false,
            dstates: new(),
            dh0: Buffer::default(),
            starts: new(),
            last: Buffer::default(),
            at_start: true,
            starts_at_own: true,
            starts_at_zero: false,
        })
    }

    /// The input leg.
    pub fn input(&self) -> &dyn Pass<T> {
        match &self.folded_input {
            Some(folded) if self.folded => &**folded,
            _ => &*self.as_written,
        }
    }

    pub fn input_mut(&mut self) -> &mut dyn Pass<T> {
        match &mut self.folded_input {
            Some(folded) if self.folded => &mut **folded,
            _ => &mut *self.as_written,
        }
    }

    /// The arrays of the layer.
    ///
    /// # Panics
    /// If they are not: callers of a pass check that.
    pub fn arrays<'p>(&self, params: ParamsRef<'p, T>) -> Arrays<'p, T> {
        params.check(&self.buffers.schema).expect("checked by the layer");
        Arrays::of(params, self.shape.cell)
    }

    /// The input leg, and its arrays as its layer has them.
    fn input_with<'a>(&'a mut self, arrays: &Arrays<'a, T>) -> (&'a mut dyn Pass<T>, ParamsRef<'a, T>) {
        let cell = self.shape.cell;
        match (&mut self.folded_input, &self.folds) {
            (Some(folded), Some([input, _])) if self.folded => (&mut **folded, arrays.of_input(cell, Some(&input.v))),
            _ => (&mut *self.as_written, arrays.of_input(cell, None)),
        }
    }

    /// Whether so many rows are less work with folded legs. A single step is not folded, so that it is the dense layer to
    /// the bit.
    fn folds(&self, batch: Batch) -> bool {
        let RecurrentShape { d, ne, cell, .. } = self.shape;
        let Cell::Dann { nu, nw, divisor: None } = cell else { return false };
        // Multiply-adds of the interneurons for each row, and what folding takes once an update.
        let written = 3 * (nu * (d + ne) + 2 * nw * ne);
        let once = 3 * ne * (nu * d + nw * ne);
        batch.whole > 1 && batch.whole.saturating_mul(batch.examples).saturating_mul(written) > once
    }

    /// The examples of one step, the first of a chunk.
    pub fn one_step(&self) -> Split {
        self.buffers.all.blocks(0..1)
    }

    /// The present steps, counted from the first of the chunk.
    pub fn steps(&self) -> Range<usize> {
        self.buffers.examples.block_range()
    }

    /// Whether the first of the present steps has no state before it.
    pub fn begins_at_zero(&self) -> bool {
        self.at_start && self.starts_at_zero && self.steps().start == 0
    }

    /// The examples of the present steps that have a state before them.
    pub fn recurrent_examples(&self) -> Split {
        let steps = self.steps();
        let first = steps.start + usize::from(self.begins_at_zero());
        self.buffers.all.blocks(first.min(steps.end)..steps.end)
    }

    /// Whether the recurrent leg has interneurons that are steps of their own.
    pub fn has_interneurons(&self) -> bool {
        self.leg.inhibition.is_some() && !self.folded
    }

    /// Panics unless there is room for a pass through the present steps.
    pub fn assert_prepared(&self, training: bool) {
        let RecurrentShape { ne, dynamics, .. } = self.shape;
        let examples = self.buffers.examples;
        self.h.assert_shape("h of the step before", ne, examples);
        self.h.units_from(1).assert_shape("h", ne, examples);
        self.input().h().assert_shape("the drive", ne, examples);
        match dynamics {
            Dynamics::Plain => {}
            Dynamics::Rate(_) => self.rates.assert_shape("f(z)", ne, examples),
            Dynamics::State(_) => {
                self.v.assert_shape("v of the step before", ne, examples);
                self.v.units_from(1).assert_shape("v", ne, examples);
            }
        }
        assert_eq!(self.kappa.len(), ne, "leaks");
        if training {
            let (before, units) = (self.h_examples.examples(), self.buffers.units(ne));
            before.assert_shape("h of the step before", examples, units);
            self.h_examples.examples_from(examples.block_len()).assert_shape("h", examples, units);
            self.dz.assert_shape("dz", ne, examples);
            self.dout.assert_shape("the gradient of h", ne, examples);
            for block in [&self.carry, &self.back, &self.dstates] {
                block.assert_shape("what comes back", ne, self.one_step());
            }
        }
        if let Some(inhibition) = self.leg.inhibition.as_ref().filter(|_| !self.folded) {
            inhibition.assert_forward(&self.leg.buffers, training);
            if training {
                inhibition.assert_backward(&self.leg.buffers);
            }
            if training && inhibition.divides() {
                self.leg.buffers.du.assert_shape("du", ne, examples);
                self.leg.dg.assert_prepared("dg", examples);
            }
        }
    }

    /// Copies the units that go out, if these are not all, or go out without their signs.
    fn show(&mut self, team: &Team<'_>, training: bool) {
        let Self { buffers, h, shape, .. } = self;
        if shape.shows_all() {
            return;
        }
        let (examples, h) = (buffers.examples, h.units_from(1));
        for group in examples.iter(0..examples.groups()) {
            for unit in 0..shape.visible {
                let out = buffers.h.row_mut(unit, group);
                out.copy_from_slice(h.row(unit, group));
                if !shape.signed && unit >= shape.negative_from() {
                    out.iter_mut().for_each(|h| *h = -*h);
                }
            }
        }
        if training {
            all_to_examples(team, buffers.h.units(), examples, &mut buffers.h_examples);
        }
    }
}

impl<T: Element> Pass<T> for RecurrentPass<T> {
    fn clone_box(&self) -> Box<dyn Pass<T>> {
        Box::new(self.clone())
    }

    fn buffers(&self) -> &LayerBuffers<T> {
        &self.buffers
    }

    fn buffers_mut(&mut self) -> &mut LayerBuffers<T> {
        &mut self.buffers
    }

    fn prepare(&mut self, batch: Batch, training: bool) -> Result<(), Error> {
        let RecurrentShape { ne, dynamics, cell, .. } = self.shape;
        let copies = !self.shape.shows_all();
        // A single step is the dense layer to the bit, also of a few examples.
        let batch = Batch { dots: batch.dots && batch.whole == 1, ..batch };
        self.folded = self.folds(batch);
        self.input_mut().prepare(batch, training)?;
        self.buffers.prepare_part(batch, training, copies)?;
        self.leg.buffers.prepare_part(batch, false, false)?;
        let all = self.buffers.all;
        let (states, one) = (all.repeated(batch.steps + 1), all.blocks(0..1));
        self.h.resize(ne, states)?;
        self.kappa.resize(ne)?;
        match dynamics {
            Dynamics::Plain => {}
            Dynamics::Rate(_) => self.rates.resize(ne, all)?,
            Dynamics::State(_) => self.v.resize(ne, states)?,
        }
        let unfolded = !self.folded;
        if let Some(inhibition) = self.leg.inhibition.as_mut().filter(|_| unfolded) {
            inhibition.prepare(&mut self.leg.buffers, training)?;
            if training && inhibition.divides() {
                self.leg.buffers.du.resize(ne, all)?;
                self.leg.dg.prepare(self.leg.buffers.examples)?;
            }
        }
        if let Some(legs) = self.folds.as_mut().filter(|_| self.folded) {
            for leg in legs {
                leg.prepare(self.buffers.kernels, training)?;
            }
        }
        if training {
            self.h_examples.resize(states.len(), self.buffers.units(ne))?;
            for array in [&mut self.dout, &mut self.dz] {
                array.resize(ne, all)?;
            }
            for block in [&mut self.carry, &mut self.back, &mut self.dstates] {
                block.resize(ne, one)?;
            }
            self.dh0.resize(ne)?;
            let [weights, wix, wei] = &mut self.leg.transposes;
            weights.resize(ne * ne)?;
            if let Cell::Dann { nw, .. } = cell {
                wix.resize(nw * ne)?;
                wei.resize(nw * ne)?;
            }
        }
        Ok(())
    }

    fn turn_to(&mut self, steps: Range<usize>) -> Result<(), Error> {
        self.input_mut().turn_to(steps.clone())?;
        self.buffers.examples = self.buffers.all.blocks(steps.clone());
        let examples = self.buffers.examples;
        self.leg.buffers.examples = examples;
        let unfolded = !self.folded;
        if let Some(inhibition) = self.leg.inhibition.as_mut().filter(|_| unfolded) {
            inhibition.turn_to(examples)?;
            if inhibition.divides() {
                self.leg.dg.prepare(examples)?;
            }
        }
        Ok(())
    }

    fn prepare_slabs(&mut self, slabs: usize) -> Result<(), Error> {
        // What folded legs make of their gradients needs them whole.
        let slabs = if self.folded { slabs.max(2) } else { slabs };
        self.input_mut().prepare_slabs(slabs)?;
        self.leg.buffers.prepare_slabs(slabs)?;
        // The layer's own have no place for sums.
        self.buffers.prepare_slabs(1)
    }

    fn in_time(&mut self) -> Option<&mut dyn InTime<T>> {
        Some(self)
    }

    fn h(&self) -> Units<'_, T> {
        if self.shape.shows_all() { self.h.units_from(1) } else { self.buffers.h.units() }
    }

    fn h_examples(&self) -> Examples<'_, T> {
        if self.shape.shows_all() {
            self.h_examples.examples_from(self.buffers.all.block_len())
        } else {
            self.buffers.h_examples.examples()
        }
    }

    fn last_states(&self) -> Option<MatRef<'_, T>> {
        let ne = self.shape.ne;
        MatRef::new(&self.last, self.last.len() / ne, ne).ok()
    }

    fn forward(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, x: Input<'_, T>, training: bool) {
        let arrays = self.arrays(params);
        let (input, of_input) = self.input_with(&arrays);
        input.forward(team, of_input, x, training);
        if self.has_noise {
            let examples = self.buffers.examples;
            let noise = std::mem::replace(&mut self.noise, Activations::new());
            self.input_mut().buffers_mut().h.add(&noise, examples);
            self.noise = noise;
        }
        self.forward_steps(team, &arrays, training);
        self.show(team, training);
    }

    fn standardised(&self) -> [Option<Standardised<'_, T>>; 2] {
        let recurrent = self.leg.inhibition.as_ref().filter(|inhibition| inhibition.divides()).map(|inhibition| {
            let (inverse, examples) = (Some((&self.leg.buffers.du, inhibition.division)), self.recurrent_examples());
            Standardised { inverse, zhat: &inhibition.dgamma, examples }
        });
        let [input, _] = self.input().standardised();
        [input, recurrent]
    }

    fn low_divisors(&self) -> Option<LowDivisors> {
        let input = self.input().low_divisors()?;
        let recurrent = self.leg.inhibition.as_ref().map(|inhibition| inhibition.lows.total());
        Some(recurrent.map_or(input, |recurrent| input.and(recurrent)))
    }

    fn begin_count(&mut self) {
        self.input_mut().begin_count();
        if let Some(inhibition) = &mut self.leg.inhibition {
            inhibition.lows = Lows::new();
        }
    }

    fn receive(&mut self, team: &Team<'_>, _: ParamsRef<'_, T>, dh: InputGradient<'_, T>) {
        let (steps, asked) = (self.steps(), dh.examples().block_range());
        let RecurrentShape { ne, visible, .. } = self.shape;
        dh.store(team, &mut self.dout);
        let zero = if asked.is_empty() {
            [steps.clone(), steps.end..steps.end]
        } else {
            [steps.start..asked.start, asked.end..steps.end]
        };
        for steps in zero {
            self.dout.blocks_mut(steps).fill(T::ZERO);
        }
        if self.shape.shows_all() {
            return;
        }
        let (asked, negative_from) = (self.buffers.all.blocks(asked), self.shape.negative_from());
        for group in asked.iter(0..asked.groups()) {
            (visible..ne).for_each(|unit| self.dout.row_mut(unit, group).fill(T::ZERO));
            if !self.shape.signed {
                for unit in negative_from..visible.max(negative_from) {
                    self.dout.row_mut(unit, group).iter_mut().for_each(|d| *d = -*d);
                }
            }
        }
    }

    /// From the last of the present steps to the first, and through the input leg.
    fn inner_backward(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>) {
        let arrays = self.arrays(params);
        self.backward_steps(team, &arrays);
        let dz = std::mem::replace(&mut self.dz, Activations::new());
        let (input, of_input) = self.input_with(&arrays);
        input.receive_array(team, of_input, &dz);
        input.inner_backward(team, of_input);
        self.dz = dz;
    }

    fn input_gradient<'a>(&'a mut self, params: ParamsRef<'a, T>) -> InputGradient<'a, T> {
        let arrays = self.arrays(params);
        let (input, of_input) = self.input_with(&arrays);
        input.input_gradient(of_input)
    }

    fn gradients(&mut self, x: Examples<'_, T>, collect: &mut Collect<'_, '_, T>) {
        self.assert_prepared(true);
        let places = Places::of(self.shape.cell);
        let (examples, folded) = (self.recurrent_examples(), self.folded);
        let leg_schema = &self.leg.buffers.schema.clone();
        let input_schema = &self.input().buffers().schema.clone();
        let Self { folded_input, as_written, folds, leg, h_examples, dz, .. } = self;
        let before = h_examples.examples();
        let (team, kernels, accumulated) = (collect.team, collect.kernels, collect.accumulated);
        match (folded_input, folds) {
            (Some(input), Some([of_input, of_leg])) if folded => {
                let sum = |schema| Collect {
                    team,
                    kernels,
                    schema,
                    places: None,
                    accumulated,
                    into: Destination::Accumulate,
                };
                input.gradients(x, &mut sum(input_schema));
                let w = WeightGradient::new(0, examples, [Some((dz.units(), before)), None]);
                sum(leg_schema).matrices(&mut leg.buffers.slabs, [w]);
                if !collect.accumulates() {
                    let (sum_of_input, sum_of_leg) = (&input.buffers().slabs[0], &leg.buffers.slabs[0]);
                    collect.part(places.input, |collect| collect.matrices(&mut [], of_input.gradients(sum_of_input)));
                    collect.part(places.recurrent, |collect| collect.matrices(&mut [], of_leg.gradients(sum_of_leg)));
                    collect.vector_of(places.b, input.buffers().db.so_far());
                }
            }
            _ => {
                collect.part(places.input, |collect| as_written.gradients(x, collect));
                let Leg { buffers, inhibition, dg, .. } = leg;
                collect.part(places.recurrent, |collect| {
                    let Some(inhibition) = inhibition else {
                        let w = WeightGradient::new(0, examples, [Some((dz.units(), before)), None]);
                        return collect.matrices(&mut buffers.slabs, [w]);
                    };
                    let LayerBuffers { du, slabs, .. } = buffers;
                    let du = if inhibition.divides() { du.units() } else { dz.units() };
                    let wex = WeightGradient::new(0, examples, [Some((du, before)), None]);
                    let [wix, wei] = inhibition.gradients((1, 2), examples, du, before);
                    collect.matrices(slabs, [wex, wix, wei]);
                    if inhibition.divides() {
                        collect.vector(3, &mut inhibition.dalpha);
                        collect.vector(4, dg);
                    }
                });
            }
        }
        if self.shape.learned_state {
            collect.vector_of(places.h0, &self.dh0);
        } else {
            collect.constant(places.h0);
        }
        if !self.buffers.schema[places.kappa].dimensions().contains(&0) {
            collect.constant(places.kappa);
        }
    }
}
