//! What an update keeps of a layer from step to step.

use super::arrays::Letter;
use super::layer::{LayerMut, LayerOf, LayerParams, LayerRef, LayerShape};
use super::update::{Moment, Update};
use crate::element::Element;
use crate::error::{Error, length};
use crate::kernels::update::{Policy, Rule};

/// What an [`Update`] keeps of one layer from step to step: velocities, the estimate of the Fisher information, the
/// subtracted part of a bias. It begins empty; a step makes room for what its rule needs and finds missing.
#[derive(Clone, Debug)]
pub struct State<T> {
    pub(crate) velocity: Option<LayerParams<T>>,
    pub(crate) fisher: Option<LayerParams<T>>,
    /// `b⁻`; empty until a step is exponentiated.
    pub(crate) negative: Vec<T>,
    /// Room for the gradients of rules that need all of them first.
    pub(crate) gradients: Option<LayerParams<T>>,
    /// `F` before a batch, lest a step that fails leave a part of it there.
    pub(crate) fisher_before: Option<LayerParams<T>>,
}

/// Equal if all that is kept is; room for gradients is nothing of that kind.
impl<T: PartialEq> PartialEq for State<T> {
    fn eq(&self, other: &Self) -> bool {
        (&self.velocity, &self.fisher, &self.negative) == (&other.velocity, &other.fisher, &other.negative)
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { velocity: None, fisher: None, negative: vec![], gradients: None, fisher_before: None }
    }
}

/// An array that a step moves, with what its rule keeps of it; what it does not keep is empty.
pub(crate) struct Target<'a, T> {
    pub array: &'a mut [T],
    velocity: &'a mut [T],
    fisher: &'a [T],
    negative: &'a mut [T],
    rule: Rule<T>,
}

impl<T: Element> State<T> {
    /// Nothing kept yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for what a step needs, and checks that what is kept already is of a layer of this shape.
    pub(crate) fn prepare(
        &mut self,
        shape: &LayerShape,
        update: &Update,
        params: LayerRef<'_, T>,
    ) -> Result<(), Error> {
        let mut bias: &[T] = &[];
        params.for_each(|letter, array| {
            if letter == Letter::B {
                bias = array;
            }
        });
        let kept = [&self.velocity, &self.fisher, &self.gradients, &self.fisher_before];
        kept.into_iter().flatten().try_for_each(|kept| kept.view().check(shape))?;
        if !self.negative.is_empty() {
            length("negative.b", self.negative.len(), bias.len())?;
        }
        let zeros = |wanted, place: &mut Option<_>| {
            if wanted && place.is_none() {
                *place = Some(LayerParams::zeros(shape)?);
            }
            Ok::<_, Error>(())
        };
        zeros(update.momentum > 0.0, &mut self.velocity)?;
        zeros(update.natural.is_some(), &mut self.fisher)?;
        zeros(update.natural.is_some(), &mut self.fisher_before)?;
        zeros(update.needs_gradients(), &mut self.gradients)?;
        match update.split() {
            Some(split) if self.negative.is_empty() => {
                let too_large = |_| Error::TooLarge { elements: bias.len() };
                self.negative.try_reserve_exact(bias.len()).map_err(too_large)?;
                self.negative.extend(bias.iter().map(|b| T::from_f64((-b.to_f64()).max(0.0) + split)));
            }
            Some(_) => {}
            // Other steps move the bias as a whole: its parts are no longer known.
            None => self.negative.clear(),
        }
        Ok(())
    }

    /// The arrays of a layer as a step moves them. [`State::prepare`] went before.
    pub(crate) fn targets<'a>(
        &'a mut self,
        shape: &LayerShape,
        update: &Update,
        moment: &Moment,
        params: LayerMut<'a, T>,
    ) -> LayerOf<Target<'a, T>> {
        let mut velocity = self.velocity.as_mut().filter(|_| update.momentum > 0.0).map(LayerParams::view_mut);
        let fisher = self.fisher.as_ref().filter(|_| update.natural.is_some()).map(LayerParams::view);
        let mut negative = if update.split().is_some() { &mut self.negative[..] } else { &mut [] };
        let nothing = || nothing::<&mut [T]>(shape);
        params
            .zip(velocity.take().unwrap_or_else(nothing))
            .zip(fisher.unwrap_or_else(|| self::nothing::<&[T]>(shape)))
            .map(|letter, ((array, velocity), fisher)| {
                let rule: Rule<T> = update.rule(shape, letter, moment);
                let statistic = matches!(letter, Letter::Mean | Letter::Variance);
                Target {
                    array,
                    velocity: if statistic { &mut [] } else { velocity },
                    fisher: if statistic { &[] } else { fisher },
                    negative: if letter == Letter::B && rule.exponentiated {
                        std::mem::take(&mut negative)
                    } else {
                        &mut []
                    },
                    rule,
                }
            })
    }

    /// Keeps `F` as it is before a batch.
    pub(crate) fn keep_fisher(&mut self) {
        let both = self.fisher_before.as_mut().zip(self.fisher.as_ref()).expect("the state was prepared");
        both.0.view_mut().zip(both.1.view()).for_each(|_, (to, from)| to.copy_from_slice(from));
    }

    /// Takes `F` back as it was before the batch.
    pub(crate) fn restore_fisher(&mut self) {
        std::mem::swap(&mut self.fisher, &mut self.fisher_before);
    }

    /// One divided by the norm of `1/(F + ε)` over the layer's `Wex`, if the update asks for it; 0 where that is no
    /// number, so that nothing moves.
    pub(crate) fn natural_scale(&self, update: &Update) -> f64 {
        let (Some(natural), Some(fisher)) = (update.natural.filter(|natural| natural.normalised), &self.fisher) else {
            return 1.0;
        };
        let mut sum = 0.0;
        fisher.view().for_each(|letter, array| {
            if letter == Letter::Wex {
                sum = array.iter().map(|f| (f.to_f64() + natural.epsilon).powi(-2)).sum::<f64>();
            }
        });
        if sum > 0.0 && sum.is_finite() { 1.0 / sum.sqrt() } else { 0.0 }
    }
}

/// An empty array for each parameter.
fn nothing<A: Default + Sized>(shape: &LayerShape) -> LayerOf<A> {
    match shape {
        LayerShape::Dann(_) => LayerOf::Dann(Default::default()),
        LayerShape::Dense(_) => LayerOf::Dense(Default::default()),
        LayerShape::Norm(_) => LayerOf::Norm(Default::default()),
    }
}

impl<T: Element> Target<'_, T> {
    /// Scale and bound of the step, if it is `max(θ − scale · dθ, low)` and nothing else.
    pub fn plain(&self) -> Option<(T, T)> {
        let Rule { correction, decay, floor, exponentiated, natural, rate, low, .. } = self.rule;
        let alone = self.velocity.is_empty() && decay.is_none() && floor.is_none();
        (alone && !exponentiated && natural.is_none() && correction == T::ONE).then_some((rate, low))
    }

    /// What is left of the step when its direction is known.
    pub fn along_direction(self) -> Self {
        let exponentiated = self.rule.exponentiated;
        let rule =
            Rule { correction: T::ONE, natural: None, decay: self.rule.decay.filter(|_| exponentiated), ..self.rule };
        Self { velocity: &mut [], fisher: &[], rule, ..self }
    }

    /// The step for kernels, with rows `ld` elements apart.
    pub fn policy(&mut self, ld: usize) -> Policy<T> {
        let len = self.array.len();
        let place = |array: &mut [T]| {
            assert!(array.is_empty() || array.len() == len, "{} elements of {len}", array.len());
            if array.is_empty() { std::ptr::null_mut() } else { array.as_mut_ptr() }
        };
        let fisher = if self.rule.natural.is_some() { len } else { 0 };
        assert_eq!(self.fisher.len(), fisher, "elements of the Fisher information");
        Policy {
            velocity: place(self.velocity),
            negative: place(self.negative),
            fisher: if self.fisher.is_empty() { std::ptr::null() } else { self.fisher.as_ptr() },
            w: self.array.as_mut_ptr(),
            ld,
            rule: self.rule,
        }
    }
}
