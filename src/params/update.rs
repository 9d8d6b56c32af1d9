//! The update rules: projected gradient descent, with or without the corrections from the Fisher information.

use super::dann::{Dann, DannMut, DannRef, DannShape, SIGNED};
use super::dense::{Dense, DenseMut, DenseRef, DenseShape};
use super::layer::{LayerArrays, LayerMut, LayerRef, LayerShape};
use crate::element::Element;
use crate::error::Error;

/// How a step changes the parameters: `θ ← θ − lr · correction · factor · dθ`, then `max(θ, 0)` for `Wex`, `Wix`,
/// `Wei` and `g`. `alpha`, `b` and a plain layer's `W` keep any sign.
///
/// With corrections, inhibitory gradients are scaled because a change of an inhibitory parameter moves the layer's
/// output distribution much further than one of an excitatory weight: `dWix` by `1/√ne`, `dWei` by `1/d`, `dalpha` by
/// `1/(√ne · d)`. Source: Cornford et al., ICLR 2021, section 4.
///
/// ```
/// use interneuron::{Dann, Update};
///
/// let corrected = Update::csgd(0.1);
/// let plain = Update::sgd(0.004);
/// let frozen_inhibition = Update { factors: Dann { wix: 0.0, wei: 0.0, alpha: 0.0, ..Dann::all(1.0) }, ..corrected };
/// assert!(plain.corrections != frozen_inhibition.corrections);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate η, finite and ≥ 0.
    pub lr: f64,
    /// Whether the gradients of inhibitory parameters are corrected.
    pub corrections: bool,
    /// Further factors on the learning rate of each parameter, finite and ≥ 0. A plain layer's `W` takes `wex`.
    pub factors: Dann<f64>,
}

impl Update {
    /// Projected stochastic gradient descent without corrections.
    pub fn sgd(lr: f64) -> Self {
        Self { lr, corrections: false, factors: Dann::all(1.0) }
    }

    /// Fisher-corrected stochastic gradient descent.
    pub fn csgd(lr: f64) -> Self {
        Self { corrections: true, ..Self::sgd(lr) }
    }

    /// Checks the numbers as they will be rounded to `T`.
    pub(crate) fn check<T: Element>(&self) -> Result<(), Error> {
        let valid = |x: f64| x >= 0.0 && T::from_f64(x).is_finite();
        if !valid(self.lr) {
            return Err(Error::LearningRate { lr: self.lr });
        }
        let factors = self.factors.zip(Dann::<()>::NAMES).into_array();
        match factors.into_iter().find(|&(factor, _)| !valid(factor) || !valid(factor * self.lr)) {
            Some((value, name)) => Err(Error::Factor { name, value }),
            None => Ok(()),
        }
    }

    /// What each gradient of a layer is multiplied with before it is subtracted: `lr · correction · factor`.
    pub fn scales(&self, shape: &DannShape) -> Dann<f64> {
        let (root_ne, d) = ((shape.ne as f64).sqrt(), shape.d as f64);
        let corrections = if self.corrections {
            Dann { wix: 1.0 / root_ne, wei: 1.0 / d, alpha: 1.0 / (root_ne * d), ..Dann::all(1.0) }
        } else {
            Dann::all(1.0)
        };
        self.factors.zip(corrections).map(|(factor, correction)| self.lr * correction * factor)
    }

    /// What each gradient of a plain layer is multiplied with before it is subtracted.
    pub fn dense_scales(&self) -> Dense<f64> {
        Dense { w: self.lr * self.factors.wex, b: self.lr * self.factors.b }
    }

    /// Applies gradients that were handed out. The result has the same bits as the fused step.
    ///
    /// # Errors
    /// [`Error::Kind`], [`Error::Length`], [`Error::LearningRate`] or [`Error::Factor`]; nothing is changed then.
    pub fn apply<'p, 'g, T: Element>(
        &self,
        shape: &LayerShape,
        params: impl Into<LayerMut<'p, T>>,
        gradients: impl Into<LayerRef<'g, T>>,
    ) -> Result<(), Error> {
        match (shape, params.into(), gradients.into()) {
            (LayerShape::Dann(shape), LayerArrays::Dann(params), LayerArrays::Dann(gradients)) => {
                self.apply_dann(shape, params, gradients)
            }
            (LayerShape::Dense(shape), LayerArrays::Dense(params), LayerArrays::Dense(gradients)) => {
                self.apply_dense(shape, params, gradients)
            }
            _ => Err(Error::Kind { expected: shape.kind() }),
        }
    }

    /// Applies gradients of a layer with inhibition.
    fn apply_dann<T: Element>(
        &self,
        shape: &DannShape,
        params: DannMut<'_, T>,
        gradients: DannRef<'_, T>,
    ) -> Result<(), Error> {
        self.check::<T>()?;
        params.view().check(shape)?;
        gradients.check(shape)?;
        params.zip(gradients).zip(self.scales(shape).zip(SIGNED)).map(|((params, gradients), (scale, signed))| {
            descend(params, gradients, T::from_f64(scale), signed);
        });
        Ok(())
    }

    /// Applies gradients of a plain layer.
    fn apply_dense<T: Element>(
        &self,
        shape: &DenseShape,
        params: DenseMut<'_, T>,
        gradients: DenseRef<'_, T>,
    ) -> Result<(), Error> {
        self.check::<T>()?;
        params.view().check(shape)?;
        gradients.check(shape)?;
        let scales = self.dense_scales().map(T::from_f64);
        descend(params.w, gradients.w, scales.w, true);
        descend(params.b, gradients.b, scales.b, true);
        Ok(())
    }
}

/// `θ ← θ − scale · dθ`, then not below zero unless `signed`; NaN stays NaN, so that a diverged run shows.
pub(crate) fn descend<T: Element>(params: &mut [T], gradients: &[T], scale: T, signed: bool) {
    for (param, &gradient) in params.iter_mut().zip(gradients) {
        let next = *param - scale * gradient;
        *param = if !signed && next < T::ZERO { T::ZERO } else { next };
    }
}
