//! What the inputs of a layer are, as far as its initialisation asks.

/// What the inputs of a layer are: its initialisation makes weights such that activity has about the same spread in
/// every layer.
///
/// `n` is the variance of the weights of an output, times `d`: see [`Scheme::Centred`](crate::Scheme) and, for weights of
/// any sign, [`Init`](crate::Init).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Inputs {
    /// Nothing rectified them: those of a network's first layer, or the outputs of a linear one. `n = 1`.
    #[default]
    Linear,
    /// The outputs of a ReLU, which halves the mean square. `n = 2`.
    Rectified,
    /// The state of a recurrent layer, which comes back to it. `n = 1/3`. For [`Scheme::Centred`](crate::Scheme), and
    /// for weights of any sign.
    Recurrent,
}

impl Inputs {
    /// `n`.
    pub(crate) fn numerator(self) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Rectified => 2.0,
            Self::Recurrent => 1.0 / 3.0,
        }
    }
}
