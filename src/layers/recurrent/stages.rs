//! The products of a step, forward and back.

use super::arrays::Arrays;
use super::kernels::{Advance, AdvanceDivided, AdvanceRule, OneBlock, Retreat, RetreatDivided, RetreatRule};
use super::pass::RecurrentPass;
use super::steps::{Copies, ProductStage, Stage, run_steps};
use super::{Dynamics, RecurrentShape};
use crate::driver::phase::run_product;
use crate::element::Element;
use crate::kernels::access::{Block, Operand, RowMajor};
use crate::kernels::epilogue::Store;
use crate::kernels::product::{Product, ProductKernel};
use crate::layers::inhibition::Inhibition;
use crate::layers::inhibition::division::{Divide, Division};
use crate::layers::inhibition::kernels::{Interneurons, InterneuronsBackward, Q};
use crate::layout::Grouped;
use crate::threads::Team;

/// The terms of a product.
type Terms<T> = [Option<Operand<T, RowMajor>>; 2];

/// Row-major weights with so many columns, and the activations that they meet.
fn term<T: Element>(weights: &[T], columns: usize, b: Grouped<T>) -> Operand<T, RowMajor> {
    Operand { a: weights.as_ptr(), lda: columns, b, depth: Block { first: 0, len: columns } }
}

impl<T: Element> RecurrentPass<T> {
    /// From `z_t` to the state of the step.
    fn advance(&mut self) -> Advance<T> {
        let (kappa, one) = (self.kappa.as_ptr(), self.one_step());
        let rule = match self.shape.dynamics {
            Dynamics::Plain => AdvanceRule::Plain,
            Dynamics::Rate(_) => AdvanceRule::Rate { kappa, before: self.h.grouped(), rates: self.rates.grouped_mut() },
            Dynamics::State(_) => {
                let v = self.v.grouped_mut();
                AdvanceRule::State { kappa, before: v, v: v.since_block(1, one) }
            }
        };
        Advance { rule, h: self.h.grouped_mut().since_block(1, one), negative_from: self.shape.negative_from() }
    }

    /// From the gradient by what goes out and on of a step to `dz_t`.
    fn retreat(&mut self) -> Retreat<T> {
        let (kappa, padded) = (self.kappa.as_ptr(), self.one_step().padded());
        let carry = OneBlock { block: self.carry.grouped_mut(), padded };
        let rule = match self.shape.dynamics {
            Dynamics::Plain => RetreatRule::Plain,
            Dynamics::Rate(_) => RetreatRule::Rate { kappa, rates: self.rates.grouped(), carry },
            Dynamics::State(_) => RetreatRule::State { kappa, carry },
        };
        let (h, negative_from) = (self.h.grouped_from(1), self.shape.negative_from());
        Retreat { rule, h, negative_from, dz: self.dz.grouped_mut() }
    }

    /// A product of all units in the present steps.
    fn of_units<E>(
        &self,
        kernel: ProductKernel<T, RowMajor, E>,
        init: Option<Grouped<T>>,
        terms: Terms<T>,
        epilogue: E,
    ) -> ProductStage<T, E> {
        let product = Product { init, terms, examples: self.buffers.examples, epilogue };
        ProductStage { kernel, rows: self.shape.ne, product, copies: [None, None] }
    }

    /// The recurrent weights that states meet: `Wex`, `W`, `Wpos`, or `V`.
    pub(super) fn weights<'a>(&'a self, arrays: &Arrays<'a, T>) -> &'a [T] {
        match &self.folds {
            Some([_, w]) if self.folded => &w.v,
            _ => arrays.recurrent.ex,
        }
    }

    /// The interneurons of the recurrent leg. Only where it has some.
    fn inhibition(&mut self) -> &mut Inhibition<T> {
        self.leg.inhibition.as_mut().expect("a leg with interneurons")
    }

    /// What they divide by, and whether they divide.
    fn division(&mut self) -> (Division<T>, bool) {
        let inhibition = self.inhibition();
        (inhibition.division, inhibition.divides())
    }

    /// Goes through the present steps.
    pub(super) fn forward_steps(&mut self, team: &Team<'_>, arrays: &Arrays<'_, T>, training: bool) {
        self.assert_prepared(training);
        let RecurrentShape { ne, .. } = self.shape;
        let (own, window, kernels) = (self.own, self.buffers.examples, self.buffers.kernels);
        let (count, begins_at_zero) = (self.steps().len(), self.begins_at_zero());
        let run = |only: &[&dyn Stage], stages: &[&dyn Stage]| {
            let stages = |step| if step == 0 && begins_at_zero { only } else { stages };
            // SAFETY: the parameters are borrowed and were checked by the layer, what is written is borrowed mutably by
            // this call, and all arrays have the steps of the window.
            unsafe { run_steps(team, kernels, window, 0..count, stages) };
        };
        let (drive, before) = (Some(self.input().h().grouped()), self.h.grouped());
        let h = self.h.grouped_from(1);
        let (h_examples, units) = (self.h_examples.grouped_mut(), self.h_examples.columns());
        let copy = training.then_some(Copies { from: h, to: h_examples, units, first: window.block_len() });
        let copies = [copy, None];
        let excitation = Some(term(self.weights(arrays), ne, before));
        let only = self.advance();
        let only = ProductStage { copies, ..self.of_units(own.advance, drive, [None, None], only) };
        if !self.has_interneurons() {
            let advance = self.advance();
            let units = self.of_units(own.advance, drive, [excitation, None], advance);
            return run(&[&only], &[&ProductStage { copies, ..units }]);
        }
        let interneurons = self.interneurons(arrays, before, training);
        let [subtraction, gamma] = self.inhibition().terms::<RowMajor>(arrays.recurrent.ei);
        let terms = [excitation, Some(subtraction)];
        let divided = (drive.expect("a drive"), gamma, terms, training);
        let recurrent = self.recurrent_examples();
        let (division, divides) = self.division();
        if divides {
            self.inhibition().lows.begin_slab(ne * recurrent.len());
        }
        match division {
            _ if !divides => {
                let advance = self.advance();
                let units = self.of_units(own.advance, drive, terms, advance);
                run(&[&only], &[&interneurons, &ProductStage { copies, ..units }]);
            }
            Division::Plain(divide) => {
                let units = self.advance_divided((own.advance_divided, divide), arrays, divided);
                run(&[&only], &[&interneurons, &ProductStage { copies, ..units }]);
            }
            Division::Other(divide) => {
                let units = self.advance_divided((own.advance_divided_other, divide), arrays, divided);
                run(&[&only], &[&interneurons, &ProductStage { copies, ..units }]);
            }
        }
        if divides {
            let kernel = self.inhibition_kernels.count_lows.along;
            self.inhibition().count_lows(team, (kernels, recurrent), gamma, kernel);
        }
    }

    /// `I = h_{t−1} Wixᵀ`
    fn interneurons(
        &mut self,
        arrays: &Arrays<'_, T>,
        before: Grouped<T>,
        training: bool,
    ) -> ProductStage<T, Interneurons<T>> {
        let RecurrentShape { ne, .. } = self.shape;
        let (examples, kernel) = (self.buffers.examples, self.inhibition_kernels.interneurons.along);
        let inhibition = self.inhibition();
        let copies = if training { inhibition.copies() } else { [None, None] };
        let copies = copies.map(|copy| {
            let (from, to, units) = copy?;
            Some(Copies { from, to, units, first: 0 })
        });
        let terms = [Some(term(arrays.recurrent.ix, ne, before)), None];
        let product = Product { init: None, terms, examples, epilogue: inhibition.interneurons() };
        ProductStage { kernel, rows: inhibition.ni(), product, copies }
    }

    /// The units of a leg that divides.
    fn advance_divided<D: Divide<T>>(
        &mut self,
        (kernel, divide): (ProductKernel<T, RowMajor, AdvanceDivided<T, D>>, D),
        arrays: &Arrays<'_, T>,
        (drive, gamma, terms, training): (Grouped<T>, Operand<T, RowMajor>, Terms<T>, bool),
    ) -> ProductStage<T, AdvanceDivided<T, D>> {
        let advance = self.advance();
        let inv_gamma = self.leg.buffers.du.grouped_mut();
        let inhibition = self.inhibition();
        let keep = training.then(|| (inhibition.dgamma.grouped_mut(), inv_gamma));
        let any_low = &raw const inhibition.lows.any;
        let g = arrays.recurrent.g.as_ptr();
        self.of_units(kernel, None, terms, AdvanceDivided { gamma, divide, g, drive, keep, any_low, advance })
    }

    /// Goes back through the present steps, from `dout` to `dz`, `du` and so on, and to what comes back from the first of
    /// them.
    pub(super) fn backward_steps(&mut self, team: &Team<'_>, arrays: &Arrays<'_, T>) {
        self.assert_prepared(true);
        let RecurrentShape { ne, .. } = self.shape;
        let (own, window, kernels) = (self.own, self.buffers.examples, self.buffers.kernels);
        let (steps, begins_at_zero) = (self.steps(), self.begins_at_zero());
        let last = steps.len() - 1;
        if self.has_back {
            self.dout.add_block(steps.end - 1, &self.back);
        }
        let run = |only: &[&dyn Stage], first: &[&dyn Stage], stages: &[&dyn Stage], at_zero: &[&dyn Stage]| {
            let stages = |step| match (step, begins_at_zero) {
                (0, true) if last == 0 => only,
                (0, true) => at_zero,
                _ if step == last => first,
                _ => stages,
            };
            // SAFETY: the transposes are borrowed and have the sizes of the weights, what is written is borrowed mutably
            // by this call, and all arrays have the steps of the window.
            unsafe { run_steps(team, kernels, window, (0..=last).rev(), stages) };
        };
        let (dout, none) = (Some(self.dout.grouped()), [None, None]);
        // Step t reads what step t + 1 has written.
        let terms = self.terms_back(1);
        let retreat = [(); 3].map(|()| self.retreat());
        let [only, at_zero, plain] = retreat;
        let only = self.of_units(own.retreat, dout, none, only);
        let at_zero = self.of_units(own.retreat, dout, terms, at_zero);
        let plain = self.of_units(own.retreat, dout, terms, plain);
        if !self.has_interneurons() {
            run(&[&only], &[&only], &[&plain], &[&at_zero]);
        } else {
            let (division, divides) = self.division();
            if begins_at_zero && divides {
                // No stage writes their part of the sums.
                let groups = 0..window.block_groups();
                self.inhibition().dalpha.clear_groups(groups.clone());
                self.leg.dg.clear_groups(groups);
            }
            let interneurons = self.interneurons_back();
            match division {
                _ if !divides => {
                    run(&[&only], &[&only, &interneurons], &[&plain, &interneurons], &[&at_zero]);
                }
                Division::Plain(divide) => {
                    let kernel = (own.retreat_divided, divide);
                    let [first, units] = [none, terms].map(|terms| self.retreat_divided(kernel, arrays, dout, terms));
                    run(&[&only], &[&first, &interneurons], &[&units, &interneurons], &[&at_zero]);
                }
                Division::Other(divide) => {
                    let kernel = (own.retreat_divided_other, divide);
                    let [first, units] = [none, terms].map(|terms| self.retreat_divided(kernel, arrays, dout, terms));
                    run(&[&only], &[&first, &interneurons], &[&units, &interneurons], &[&at_zero]);
                }
            }
        }
        self.has_back = !begins_at_zero;
        if self.has_back {
            let terms = self.terms_back(steps.start);
            let epilogue = Store { out: self.back.grouped_mut() };
            let product = Product { init: None, terms, examples: self.one_step(), epilogue };
            // SAFETY: the transposes are borrowed and have the sizes of the weights, the deltas have this step, and what
            // is written is borrowed mutably and has a block.
            unsafe { run_product(team, (kernels, ne), kernels.store.along, &product, |_, _| ()) };
        }
        if self.at_start && steps.start == 0 {
            self.end_backward();
        }
    }

    /// The products that go from a step, so many behind, to the one before: `du Wex + dI Wix`.
    fn terms_back(&self, behind: usize) -> Terms<T> {
        let RecurrentShape { ne, .. } = self.shape;
        let [weights, wix, _] = &self.leg.transposes;
        let divides = self.leg.inhibition.as_ref().is_some_and(Inhibition::divides);
        let du = if divides { &self.leg.buffers.du } else { &self.dz };
        let interneurons = self.leg.inhibition.as_ref().filter(|_| !self.folded).map(|inhibition| {
            let ni = inhibition.ni();
            term(&wix[..ni * ne], ni, inhibition.dzi.grouped_from(behind))
        });
        [Some(term(weights, ne, du.grouped_from(behind))), interneurons]
    }

    /// `dI = −du Wei + exp(Walpha) ⊙ (dγ Wei)`
    fn interneurons_back(&mut self) -> ProductStage<T, InterneuronsBackward<T, RowMajor>> {
        let RecurrentShape { ne, .. } = self.shape;
        let (examples, kernel) = (self.buffers.examples, self.own.interneurons_backward);
        let du = if self.inhibition().divides() { self.leg.buffers.du.grouped() } else { self.dz.grouped() };
        let wei = &self.leg.transposes[2];
        let p = term(wei, ne, du);
        let inhibition = self.leg.inhibition.as_mut().expect("a leg with interneurons");
        let q = Q::Sum(term(wei, ne, inhibition.dgamma.grouped()));
        let epilogue = inhibition.interneurons_backward(q, false);
        let product = Product { init: None, terms: [Some(p), None], examples, epilogue };
        ProductStage { kernel, rows: inhibition.ni(), product, copies: [None, None] }
    }

    /// The units of a leg that divides.
    fn retreat_divided<D: Divide<T>>(
        &mut self,
        (kernel, divide): (ProductKernel<T, RowMajor, RetreatDivided<T, D>>, D),
        arrays: &Arrays<'_, T>,
        dout: Option<Grouped<T>>,
        terms: Terms<T>,
    ) -> ProductStage<T, RetreatDivided<T, D>> {
        let retreat = self.retreat();
        let (g, dg) = (arrays.recurrent.g.as_ptr(), self.leg.dg.partials(false));
        let inv_gamma_to_du = self.leg.buffers.du.grouped_mut();
        let zhat_to_dgamma = self.inhibition().dgamma.grouped_mut();
        let epilogue = RetreatDivided { divide, g, inv_gamma_to_du, zhat_to_dgamma, dg, retreat };
        self.of_units(kernel, dout, terms, epilogue)
    }
}
