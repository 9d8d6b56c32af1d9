//! Parameters as data: what a layer's arrays are called, how large they are, and what they are for.

use crate::element::Element;
use crate::error::{Error, area};

/// The most arrays that a layer has: views of them have room for so many, so that a step allocates nothing.
pub(crate) const MOST_ARRAYS: usize = 16;

/// What a parameter is for, in whatever kind of layer. It decides which factor and which decay of an
/// [`Update`](crate::Update) a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Weights from a layer's inputs to its units: `Wex`, or `W` and `Wpos` where there are no interneurons.
    Weights,
    /// Weights from a layer's inputs to its interneurons: `Wix`.
    ToInterneurons,
    /// Weights from a layer's interneurons to its units: `Wei`.
    FromInterneurons,
    /// Log-strength of divisive inhibition: `alpha`.
    LogStrength,
    /// Gain of a standardised excitation: `g`.
    Gain,
    /// Bias: `b`.
    Bias,
    /// The state in which a sequence begins, where it is learned: `h0`.
    InitialState,
    /// Statistics that a layer keeps for evaluation. No gradient moves them.
    Statistic,
    /// Numbers that training leaves alone: an `h0` that is not learned, leaks.
    Constant,
}

impl Role {
    /// The roles of parameters that a step moves: all but [`Role::Statistic`] and [`Role::Constant`].
    pub const MOVED: [Self; 7] = [
        Self::Weights,
        Self::ToInterneurons,
        Self::FromInterneurons,
        Self::LogStrength,
        Self::Gain,
        Self::Bias,
        Self::InitialState,
    ];

    /// The letter that equations and errors have for it.
    pub(crate) fn letter(self) -> &'static str {
        ["Wex", "Wix", "Wei", "alpha", "g", "b", "h0", "a statistic", "a constant"][self as usize]
    }
}

/// One value for the parameters of each role in [`Role::MOVED`]: factors on their learning rates, for instance.
///
/// ```
/// use interneuron::{PerRole, Role};
///
/// let frozen_bias = PerRole::all(1.0).with(Role::Bias, 0.0);
/// assert_eq!((frozen_bias[Role::Bias], frozen_bias[Role::Gain]), (0.0, 1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerRole<A>([A; Role::MOVED.len()]);

impl<A> PerRole<A> {
    /// Values in the order of [`Role::MOVED`].
    pub(crate) const fn new(values: [A; Role::MOVED.len()]) -> Self {
        Self(values)
    }

    /// The same value for each role.
    pub fn all(value: A) -> Self
    where
        A: Copy,
    {
        Self([value; Role::MOVED.len()])
    }

    /// The same values, but for one role.
    ///
    /// # Panics
    /// For roles that no step moves.
    #[must_use]
    pub fn with(mut self, role: Role, value: A) -> Self {
        self.0[role as usize] = value;
        self
    }

    /// Each role with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Role, &A)> {
        Role::MOVED.into_iter().zip(&self.0)
    }
}

/// # Panics
/// For roles that no step moves.
impl<A> std::ops::Index<Role> for PerRole<A> {
    type Output = A;

    fn index(&self, role: Role) -> &A {
        &self.0[role as usize]
    }
}

/// The names of a kind of layer and of its arrays.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub kind: &'static str,
    pub arrays: &'static [&'static str],
}

/// One array of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name, as in the equations and in checkpoints.
    pub name: &'static str,
    /// What it is for.
    pub role: Role,
    /// Whether its elements may be negative.
    pub signed: bool,
    /// What corrections from the Fisher information multiply its gradient with.
    pub correction: f64,
    /// Whether the diagonal of a square matrix is zero and stays so.
    pub zero_diagonal: bool,
    sizes: [usize; 2],
    rank: usize,
}

impl Parameter {
    /// A matrix, row-major.
    pub(crate) fn matrix(role: Role, rows: usize, cols: usize) -> Self {
        Self { name: "", role, signed: true, correction: 1.0, zero_diagonal: false, sizes: [rows, cols], rank: 2 }
    }

    pub(crate) fn vector(role: Role, len: usize) -> Self {
        Self { sizes: [len, 1], rank: 1, ..Self::matrix(role, 1, 1) }
    }

    /// The same, of which no element may be negative.
    pub(crate) fn non_negative(self) -> Self {
        Self { signed: false, ..self }
    }

    /// The same with a correction from the Fisher information.
    pub(crate) fn corrected(self, correction: f64) -> Self {
        Self { correction, ..self }
    }

    /// The same without a diagonal, if `there` is none.
    pub(crate) fn without_diagonal(self, there: bool) -> Self {
        Self { zero_diagonal: there, ..self }
    }

    /// Sets the diagonal of such an array to zero, if it has none.
    pub(crate) fn clear_diagonal<T: Element>(&self, array: &mut [T]) {
        if self.zero_diagonal && array.len() == self.elements() {
            array.iter_mut().step_by(self.sizes[1] + 1).for_each(|own| *own = T::ZERO);
        }
    }

    /// The same where `there`; without elements in a variant of the layer that does not have it.
    pub(crate) fn only_if(self, there: bool) -> Self {
        if there { self } else { Self { sizes: [0, 1], rank: 1, ..self } }
    }

    /// Its dimensions. Arrays are row-major: the last index is contiguous.
    pub fn dimensions(&self) -> &[usize] {
        &self.sizes[..self.rank]
    }

    /// How many elements it has: 0 where a variant of the layer does not have it.
    pub fn elements(&self) -> usize {
        self.sizes[0] * self.sizes[1]
    }

    /// Whether a step moves it along its gradient.
    pub fn moves(&self) -> bool {
        !matches!(self.role, Role::Statistic | Role::Constant)
    }
}

/// The arrays of a layer, in their order: that of the fields of structs such as [`Dann`](crate::Dann), of checkpoints,
/// and of everything that treats one array after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schema {
    pub(crate) names: &'static Names,
    parameters: [Parameter; MOST_ARRAYS],
}

impl Schema {
    /// Parameters in the order of their names.
    ///
    /// # Errors
    /// [`Error::Dimension`] if an array does not fit in memory.
    pub(crate) fn new<const N: usize>(names: &'static Names, parameters: [Parameter; N]) -> Result<Self, Error> {
        assert_eq!(names.arrays.len(), N, "names of the arrays");
        let mut all = [Parameter::vector(Role::Statistic, 0); MOST_ARRAYS];
        for ((to, from), name) in all.iter_mut().zip(parameters).zip(names.arrays) {
            let [rows, cols] = from.sizes;
            area(if from.role == Role::ToInterneurons { "ni" } else { "ne" }, rows, cols)?;
            *to = Parameter { name, ..from };
        }
        Ok(Self { names, parameters: all })
    }
}

/// The shape of a layer: what has parameters.
pub trait Shape {
    /// Its arrays, in their order.
    ///
    /// # Errors
    /// [`Error::Dimension`] if a dimension is zero or an array would not fit in memory.
    fn schema(&self) -> Result<Schema, Error>;
}

impl std::ops::Deref for Schema {
    type Target = [Parameter];

    fn deref(&self) -> &[Parameter] {
        &self.parameters[..self.names.arrays.len()]
    }
}
