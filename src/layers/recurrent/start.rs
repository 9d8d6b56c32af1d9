//! How sequences begin, go on from chunk to chunk, and end.

use super::in_time::InTime;
use super::pass::RecurrentPass;
use super::{Dynamics, RecurrentShape};
use crate::buffer::Units;
use crate::driver::from_rows;
use crate::driver::transpose::{all_to_examples, transposed};
use crate::element::Element;
use crate::error::Error;
use crate::layout::Split;
use crate::matrix::{MatRef, Steps};
use crate::network::sequences::LayerStart;
use crate::params::ParamsRef;
use crate::threads::Team;

impl<T: Element> RecurrentPass<T> {
    /// Whether the state is `v`.
    fn has_v(&self) -> bool {
        matches!(self.shape.dynamics, Dynamics::State(_))
    }

    /// `x`, or `−x` of a unit that is inhibitory.
    fn signed(&self, unit: usize, x: T) -> T {
        if unit >= self.shape.negative_from() { -x } else { x }
    }

    /// What follows from the first states, `v_0` or the unsigned `h_0`, which are there: `h_0` in all forms.
    fn begin_states(&mut self, team: &Team<'_>, training: bool) {
        let (one, has_v) = (self.one_step(), self.has_v());
        let negative_from = self.shape.negative_from();
        for group in one.iter(0..one.groups()) {
            for unit in 0..self.shape.ne {
                if has_v {
                    let v = self.v.row(unit, group);
                    let rate = |&v: &T| if v < T::ZERO { T::ZERO } else { v };
                    self.h.row_mut(unit, group).iter_mut().zip(v).for_each(|(h, v)| *h = rate(v));
                }
                if unit >= negative_from {
                    self.h.row_mut(unit, group).iter_mut().for_each(|h| *h = -*h);
                }
            }
        }
        self.copy_first(team, training);
    }

    /// Copies the first states to the form with a row an example.
    fn copy_first(&mut self, team: &Team<'_>, training: bool) {
        if training {
            let one = self.one_step();
            all_to_examples(team, self.h.units(), one, &mut self.h_examples);
        }
    }

    /// The gradient by the states before the first step, from what came back to it.
    pub(super) fn end_backward(&mut self) {
        let (one, has_v) = (self.one_step(), self.has_v());
        let learned = self.starts_at_own && self.shape.learned_state;
        self.dh0.fill(T::ZERO);
        for group in one.iter(0..one.groups()) {
            for unit in 0..self.shape.ne {
                let kept = T::ONE - self.kappa[unit];
                let leaks = self.shape.dynamics.leak().is_some();
                let mut sum = T::ZERO;
                for i in 0..group.len {
                    let back = if self.has_back { self.back.row(unit, group)[i] } else { T::ZERO };
                    let carry = if leaks { kept * self.carry.row(unit, group)[i] } else { T::ZERO };
                    let d = match (has_v, self.h.row(unit, group)[i] == T::ZERO) {
                        (true, true) => carry,
                        (true, false) => self.signed(unit, back) + carry,
                        (false, _) => self.signed(unit, back + carry),
                    };
                    self.dstates.row_mut(unit, group)[i] = d;
                    sum = sum + d;
                }
                self.dh0[unit] = self.dh0[unit] + if learned { sum } else { T::ZERO };
            }
        }
    }
}

impl<T: Element> InTime<T> for RecurrentPass<T> {
    fn begin(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, start: LayerStart<'_, T>, training: bool) {
        let RecurrentShape { ne, dynamics, learned_state, .. } = self.shape;
        let arrays = self.arrays(params);
        (self.at_start, self.has_noise) = (true, false);
        self.starts_at_own = matches!(start, LayerStart::Own);
        self.starts_at_zero = self.starts_at_own && !learned_state && arrays.h0.iter().all(|&h0| h0 == T::ZERO);
        match dynamics.leak().map(super::Leak::get) {
            Some(None) => self.kappa.copy_from_slice(arrays.kappa),
            Some(Some(kappa)) => self.kappa.fill(T::from_f64(kappa)),
            None => self.kappa.fill(T::ONE),
        }
        let one = self.one_step();
        let last = std::mem::take(&mut self.last);
        let first = if self.has_v() { &mut self.v } else { &mut self.h };
        match start {
            LayerStart::Own => first.fill_block(0, |unit| arrays.h0[unit]),
            LayerStart::Carried(first_example) => {
                let rows = MatRef::new(&last, last.len() / ne, ne).expect("states were carried over");
                from_rows(team, Steps { rows, rows_of_step: rows.rows(), first: first_example }, one, first);
            }
            LayerStart::Given(rows) => from_rows(team, rows, one, first),
        }
        self.last = last;
        self.begin_states(team, training);
        let Self { folds, folded, leg, own, .. } = self;
        if let Some([input, recurrent]) = folds.as_mut().filter(|_| *folded) {
            for (fold, arrays) in [(input, arrays.input), (recurrent, arrays.recurrent)] {
                fold.make(team, own, [arrays.ex, arrays.ix, arrays.ei], training);
            }
        } else if let Some(inhibition) = &mut leg.inhibition {
            inhibition.strengths(arrays.recurrent.alpha);
        }
        if training {
            let mut transposes = std::mem::take(&mut self.leg.transposes);
            let [weights, wix, wei] = &mut transposes;
            transposed(self.weights(&arrays), ne, weights);
            if self.has_interneurons() {
                transposed(arrays.recurrent.ix, ne, wix);
                transposed(arrays.recurrent.ei, wei.len() / ne, wei);
            }
            self.leg.transposes = transposes;
        }
    }

    fn noise(&mut self, team: &Team<'_>, noise: Option<Steps<MatRef<'_, T>>>) -> Result<(), Error> {
        self.has_noise = noise.is_some();
        if let Some(noise) = noise {
            self.noise.resize(self.shape.ne, self.buffers.all)?;
            from_rows(team, noise, self.buffers.examples, &mut self.noise);
        }
        Ok(())
    }

    fn go_on(&mut self, team: &Team<'_>, training: bool) {
        let chunk = self.buffers.all.block_range().end;
        self.h.copy_block_within(chunk, 0);
        if self.has_v() {
            self.v.copy_block_within(chunk, 0);
        }
        self.at_start = false;
        self.copy_first(team, training);
    }

    fn prepare_sequences(&mut self, chunks: usize, examples: usize) -> Result<(), Error> {
        if chunks > 1 {
            self.starts.resize(self.shape.ne, self.buffers.all.repeated(chunks))?;
        }
        self.last.resize(self.shape.ne * examples)
    }

    fn save_start(&mut self, chunk: usize) {
        let first = if self.has_v() { &self.v } else { &self.h };
        first.copy_block(0, &mut self.starts, chunk);
    }

    fn restore_start(&mut self, team: &Team<'_>, chunk: usize) {
        self.at_start = chunk == 0;
        if self.has_v() {
            self.starts.copy_block(chunk, &mut self.v, 0);
            self.begin_states(team, true);
        } else {
            self.starts.copy_block(chunk, &mut self.h, 0);
            self.copy_first(team, true);
        }
    }

    fn end(&mut self, first: usize) {
        let (one, ne, end) = (self.one_step(), self.shape.ne, self.steps().end);
        let (states, negative_from) = if self.has_v() { (&self.v, ne) } else { (&self.h, self.shape.negative_from()) };
        let states = states.units_from(end);
        for group in one.iter(0..one.groups()) {
            for unit in 0..ne {
                let values = &states.row(unit, group)[..group.len];
                for (i, &value) in values.iter().enumerate() {
                    let value = if unit >= negative_from { -value } else { value };
                    self.last[(first + group.first + i) * ne + unit] = value;
                }
            }
        }
    }

    fn begin_backward(&mut self) {
        self.has_back = false;
        self.carry.blocks_mut(0..1).fill(T::ZERO);
    }

    fn dstates(&self) -> (Units<'_, T>, Split) {
        (self.dstates.units(), self.one_step())
    }
}
