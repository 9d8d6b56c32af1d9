//! A leg that only subtracts, as one matrix: `V = Lex − Lei Lix`.
//!
//! Forward and backward pass are then those of a plain layer, and with `G = Σ dzᵀ v` over all steps
//!
//! ```text
//! dLex = G      dLix = −Leiᵀ G      dLei = −G Lixᵀ
//! ```

use super::kernels::{Fold, RecurrentKernels};
use crate::buffer::{Activations, Buffer};
use crate::driver::phase::run_gradients;
use crate::element::Element;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::kernels::gradient::{Gradient, Outer};
use crate::layers::collect::{SumSoFar, WeightGradient};
use crate::layout::Split;
use crate::threads::Team;

/// `V` of a leg, and what its gradients are made with.
#[derive(Clone)]
pub(super) struct FoldedLeg<T> {
    ne: usize,
    ni: usize,
    inputs: usize,
    /// `V [ne, inputs]`, row-major.
    pub v: Buffer<T>,
    /// `−Lei [ne, ni]`
    minus_lei: Activations<T>,
    /// `Lix [ni, inputs]`
    lix: Activations<T>,
    /// `−Leiᵀ [ni, ne]`
    minus_lei_transposed: Activations<T>,
    /// `−Lixᵀ [inputs, ni]`
    minus_lix_transposed: Activations<T>,
}

impl<T: Element> FoldedLeg<T> {
    pub fn new(ne: usize, ni: usize, inputs: usize) -> Self {
        let [minus_lei, lix, minus_lei_transposed, minus_lix_transposed] = [(); 4].map(|()| Activations::new());
        Self { ne, ni, inputs, v: Buffer::default(), minus_lei, lix, minus_lei_transposed, minus_lix_transposed }
    }

    pub fn prepare(&mut self, kernels: &Kernels<T>, training: bool) -> Result<(), Error> {
        let &mut Self { ne, ni, inputs, .. } = self;
        let cut = |n| Split::new(n, kernels.lanes, kernels.input_vectors);
        self.v.resize(ne * inputs)?;
        self.minus_lei.resize(ne, cut(ni))?;
        self.lix.resize(ni, cut(inputs))?;
        if training {
            self.minus_lei_transposed.resize(ni, cut(ne))?;
            self.minus_lix_transposed.resize(inputs, cut(ni))?;
        }
        Ok(())
    }

    /// Makes `V` of the leg's arrays; for training, keeps what the gradients will need of them.
    pub fn make(&mut self, team: &Team<'_>, own: &RecurrentKernels<T>, [lex, lix, lei]: [&[T]; 3], training: bool) {
        let &mut Self { ne, ni, inputs, .. } = self;
        assert_eq!([lex.len(), lix.len(), lei.len()], [ne * inputs, ni * inputs, ne * ni], "elements of a leg");
        assert_eq!(self.v.len(), ne * inputs, "elements of V");
        self.minus_lei.fill(|unit, i| -lei[unit * ni + i]);
        self.lix.fill(|i, input| lix[i * inputs + input]);
        if training {
            self.minus_lei_transposed.fill(|i, unit| -lei[unit * ni + i]);
            self.minus_lix_transposed.fill(|input, i| -lix[i * inputs + input]);
        }
        let examples = self.minus_lei.columns();
        let product = Gradient {
            init: None,
            terms: [Some(Outer { delta: self.minus_lei.grouped(), x: self.lix.grouped(), first: 0 }), None],
            rows: ne,
            examples,
            inputs: self.lix.columns(),
            epilogue: Fold { base: lex.as_ptr(), out: self.v.as_mut_ptr(), ld: inputs },
        };
        // SAFETY: the operands are borrowed and have these sizes; V is borrowed mutably.
        unsafe { run_gradients(team, own.fold, &[product]) };
    }

    /// The gradients of `Lex`, `Lix` and `Lei`, which are parameters 0, 1 and 2, from `G [ne, inputs]`.
    pub fn gradients<'g>(&'g self, sum: &'g Activations<T>) -> [WeightGradient<'g, T>; 3] {
        let (of_units, of_inputs) = (self.minus_lei_transposed.columns(), sum.columns());
        let lix = Some((self.minus_lei_transposed.units(), sum.examples()));
        let lei = Some((sum.units(), self.minus_lix_transposed.examples()));
        let alone = |parameter, examples, term| {
            let gradient = WeightGradient::new(parameter, examples, [term, None]);
            WeightGradient { so_far: SumSoFar::Nothing, ..gradient }
        };
        let lex = WeightGradient::new(0, of_units, [None, None]);
        [WeightGradient { so_far: SumSoFar::Of(sum), ..lex }, alone(1, of_units, lix), alone(2, of_inputs, lei)]
    }
}
