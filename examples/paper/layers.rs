//! What the layers of a network do after an epoch, as a few numbers in the record of a run.

use interneuron::LayerStatistics;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// [`LayerStatistics`] as JSON can hold them: what is not finite is missing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// Mean and variance of the standardised excitation.
    pub zhat: Option<[f64; 2]>,
    /// Least and largest divisor.
    pub gamma: Option<[f64; 2]>,
    /// The part of the units that are zero for every example.
    pub silent: Option<f64>,
    /// The part of the weights that are zero.
    pub zero_weights: Option<f64>,
    /// Between a step along the gradients and what the bound at zero leaves of it.
    pub cosine: Option<f64>,
    /// L2 norms.
    pub gradient_norms: BTreeMap<String, Option<f64>>,
}

impl From<LayerStatistics> for Layer {
    fn from(layer: LayerStatistics) -> Self {
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        let pair = |(a, b)| Some([finite(a)?, finite(b)?]);
        let norms = layer.gradient_norms.into_iter();
        Self {
            zhat: layer.zhat.and_then(pair),
            gamma: layer.gamma.and_then(pair),
            silent: layer.silent.and_then(finite),
            zero_weights: finite(layer.zero_weights),
            cosine: layer.cosine.and_then(finite),
            gradient_norms: norms.map(|(name, norm)| (name.to_owned(), finite(norm))).collect(),
        }
    }
}
