//! The nonlinearity at a layer's end.

/// The nonlinearity `f` at a layer's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Nonlinearity {
    /// `f(z) = max(z, 0)`, for hidden layers.
    #[default]
    Relu,
    /// `f(z) = z`, for output layers.
    Identity,
}

#[cfg(feature = "checkpoint")]
impl Nonlinearity {
    const ALL: [Self; 2] = [Self::Relu, Self::Identity];

    /// What checkpoints call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Identity => "identity",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|nonlinearity| nonlinearity.name() == name)
    }
}
