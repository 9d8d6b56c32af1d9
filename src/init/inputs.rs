//! What the inputs of a layer are, as far as its initialisation asks.

use super::InputMoments;
use crate::error::Error;

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
    /// Known by their moments. For [`Scheme::Matched`](crate::Scheme) and [`Scheme::Independent`](crate::Scheme).
    Measured(InputMoments),
}

impl Inputs {
    /// `n`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for inputs that are known by their moments.
    pub(crate) fn numerator(self) -> Result<f64, Error> {
        match self {
            Self::Linear => Ok(1.0),
            Self::Rectified => Ok(2.0),
            Self::Recurrent => Ok(1.0 / 3.0),
            Self::Measured(_) => Err(Error::Unsupported {
                what: "a draw from moments of the inputs, without interneurons or with exact centring,",
                expected: "Inputs::Linear, Inputs::Rectified or Inputs::Recurrent",
            }),
        }
    }
}
