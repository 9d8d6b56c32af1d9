//! The recurrent layer: units whose state at one step is an input at the next.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the shape, its arrays, and what the kind tells |
//! | `arrays.rs` | its arrays as its legs have them |
//! | `pass.rs` | what a pass keeps, and the order of its phases |
//! | `in_time.rs` | what a pass does that goes from step to step |
//! | `start.rs` | how sequences begin, go on and end |
//! | `stages.rs`, `steps.rs` | the products of a step, and step after step |
//! | `kernels.rs` | what these products end in |
//! | `fold.rs` | legs that only subtract, as one matrix |
//! | `init.rs`, `radius.rs` | how its arrays are drawn |

mod arrays;
mod fold;
pub(crate) mod in_time;
mod init;
pub(super) mod kernels;
mod pass;
mod radius;
mod stages;
mod start;
mod steps;

use super::inhibition::division::Divisor;
#[cfg(feature = "checkpoint")]
use super::kind::Tensors;
use super::kind::{Kind, Ports};
use super::nonlinearity::Nonlinearity;
use super::pass::Pass;
#[cfg(feature = "checkpoint")]
use crate::checkpoint::{SIGN, UNIT_SIGN};
use crate::element::Element;
use crate::error::{Error, at_most, dimension};
use crate::init::{Init, RandomNumbers};
use crate::isa::Isa;
use crate::params::schema::{Names, Parameter, Role, Schema, Shape};
use crate::params::{Params, ParamsRef};
use arrays::Arrays;
pub use init::{InputLeg, RecurrentInit};
use pass::RecurrentPass;
use radius::spectral_radius;

/// Dimensions and variant of a recurrent layer: over `T` steps, from inputs `x [T, B, d]` to states `h [T, B, ne]`.
///
/// ```text
/// z_t = A(x_t; U) + A(h_{t−1}; W) + b + ξ_t
/// plain   h_t = f(z_t)                                    f = ReLU
/// rate    h_t = (1−κ) h_{t−1} + κ f(z_t)
/// state   v_t = (1−κ) v_{t−1} + κ z_t,   h_t = f(v_t)     h0 is v_0 then
/// ```
///
/// The input leg `A(·; U)` and the recurrent leg `A(·; W)` are of one [`Cell`]. The noise `ξ` comes with the inputs:
/// see [`Sequences`](crate::Sequences).
///
/// ```
/// use interneuron::RecurrentShape;
///
/// // 28 inputs, 100 units, 10 interneurons of the input leg and 10 of the recurrent leg.
/// let shape = RecurrentShape::dann(28, 100, 10, 10);
/// let leaky = shape.state(0.2)?.learned_state();
/// assert_eq!((leaky.d, leaky.ne), (28, 100));
/// # Ok::<(), interneuron::Error>(())
/// ```
///
/// Sources: Li, Cornford, Ghosh, Richards, "Learning better with Dale's Law: a spectral perspective", NeurIPS 2023; Song,
/// Yang, Wang, "Training excitatory-inhibitory recurrent neural networks", PLoS Computational Biology 2016, for sign-
/// constrained columns and the `state` form; division in time, and other forms of layers with inhibition, are our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecurrentShape {
    /// Inputs `d`.
    pub d: usize,
    /// Units `ne`.
    pub ne: usize,
    /// What its legs are.
    pub cell: Cell,
    /// How the state follows from one step to the next.
    pub dynamics: Dynamics,
    /// Whether `h0` is learned. One that is not stays as it was drawn or set: 0.
    pub learned_state: bool,
    /// Whether units have no connection to themselves: the diagonal of `Wpos` or `W` is 0 and stays so. Not for
    /// [`Cell::Dann`], whose recurrent weights are products, too.
    pub no_self: bool,
    /// How many of the units, the first ones, go out to the next layer: `ne`, or fewer.
    pub visible: usize,
    /// Whether inhibitory units go out with a negative sign, as those of [`Columns`](crate::Columns) do, to a layer above
    /// whose columns have signs. Only of [`Cell::Columns`].
    pub signed: bool,
}

/// What the legs of a recurrent layer are, with `v` the inputs or the states of the step before, and `L` for `U` or `W`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Inhibition by interneurons, of which each leg has its own:
    ///
    /// ```text
    /// E = v Lexᵀ      I = v Lixᵀ      A = E − I Leiᵀ
    /// with division   γ = (exp(Lalpha) ⊙ I) Leiᵀ + ε      A = Lg ⊙ (E − I Leiᵀ) / γ
    /// ```
    Dann {
        /// Interneurons `nu` of the input leg.
        nu: usize,
        /// Interneurons `nw` of the recurrent leg.
        nw: usize,
        /// What inhibition divides by, if it divides.
        divisor: Option<Divisor>,
    },
    /// Dale's principle by columns of one sign: `A = v D L⁺ᵀ`, where `D` is −1 for the inhibitory inputs or units, the
    /// last ones, and 1 for the others. Inputs come in with their signs, as those of [`Columns`](crate::Columns) do, and
    /// so do states go out: `D h`, or `h` where the layer is [unsigned](RecurrentShape::unsigned).
    Columns {
        /// How many of the inputs are inhibitory and come in with a negative sign.
        inhibitory_inputs: usize,
        /// How many of the units are inhibitory: at least one, and not all.
        inhibitory_units: usize,
    },
    /// `A = v Lᵀ`.
    Plain,
}

/// How the state of a recurrent layer follows from one step to the next: see [`RecurrentShape`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dynamics {
    /// `h_t = f(z_t)`
    #[default]
    Plain,
    /// `h_t = (1−κ) h_{t−1} + κ f(z_t)`
    Rate(Leak),
    /// `v_t = (1−κ) v_{t−1} + κ z_t`, `h_t = f(v_t)`
    State(Leak),
}

/// The leak κ, a time step over a time constant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Leak(Kappa);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kappa {
    /// The bits of the number, of which each has one form.
    Same(u64),
    PerUnit,
}

impl Leak {
    /// One κ for all units.
    ///
    /// # Errors
    /// [`Error::Policy`] unless it is above 0 (by 1e-30) and at most 1.
    pub fn new(kappa: f64) -> Result<Self, Error> {
        if !(1e-30..=1.0).contains(&kappa) {
            return Err(Error::Policy { name: "kappa", value: kappa, expected: "above 0 and at most 1" });
        }
        Ok(Self(Kappa::Same(kappa.to_bits())))
    }

    /// One κ a unit: the array `kappa [ne]` of the layer, each above 0 and at most 1. It is drawn as 1, and set by whoever
    /// knows the time constants.
    pub const fn per_unit() -> Self {
        Self(Kappa::PerUnit)
    }

    /// The κ of all units, unless each has its own.
    pub fn get(self) -> Option<f64> {
        match self.0 {
            Kappa::Same(bits) => Some(f64::from_bits(bits)),
            Kappa::PerUnit => None,
        }
    }
}

impl std::fmt::Debug for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.get() {
            Some(kappa) => f.debug_tuple("Leak").field(&kappa).finish(),
            None => f.write_str("Leak(per unit)"),
        }
    }
}

impl Dynamics {
    /// The leak, in a form that has one.
    pub fn leak(self) -> Option<Leak> {
        match self {
            Self::Plain => None,
            Self::Rate(leak) | Self::State(leak) => Some(leak),
        }
    }
}

impl RecurrentShape {
    fn new(d: usize, ne: usize, cell: Cell) -> Self {
        let dynamics = Dynamics::Plain;
        let signed = matches!(cell, Cell::Columns { .. });
        Self { d, ne, cell, dynamics, learned_state: false, no_self: false, visible: ne, signed }
    }

    /// Separate excitatory and inhibitory units, `nu` interneurons in the input leg and `nw` in the recurrent leg.
    /// Inhibition subtracts.
    pub fn dann(d: usize, ne: usize, nu: usize, nw: usize) -> Self {
        Self::new(d, ne, Cell::Dann { nu, nw, divisor: None })
    }

    /// Columns of one sign, so many of the inputs and of the units inhibitory.
    pub fn columns(d: usize, ne: usize, inhibitory_inputs: usize, inhibitory_units: usize) -> Self {
        Self::new(d, ne, Cell::Columns { inhibitory_inputs, inhibitory_units })
    }

    /// Weights of any sign.
    pub fn plain(d: usize, ne: usize) -> Self {
        Self::new(d, ne, Cell::Plain)
    }

    /// The same with division as well as subtraction, if it has inhibition by interneurons.
    #[must_use]
    pub fn divisive(self, divisor: Divisor) -> Self {
        let cell = match self.cell {
            Cell::Dann { nu, nw, .. } => Cell::Dann { nu, nw, divisor: Some(divisor) },
            other => other,
        };
        Self { cell, ..self }
    }

    /// The same in the `rate` form with leak κ.
    ///
    /// # Errors
    /// As [`Leak::new`].
    pub fn rate(self, kappa: f64) -> Result<Self, Error> {
        Ok(Self { dynamics: Dynamics::Rate(Leak::new(kappa)?), ..self })
    }

    /// The same in the `state` form with leak κ.
    ///
    /// # Errors
    /// As [`Leak::new`].
    pub fn state(self, kappa: f64) -> Result<Self, Error> {
        Ok(Self { dynamics: Dynamics::State(Leak::new(kappa)?), ..self })
    }

    /// The same with other dynamics.
    #[must_use]
    pub fn dynamics(self, dynamics: Dynamics) -> Self {
        Self { dynamics, ..self }
    }

    /// The same with a learned `h0`.
    #[must_use]
    pub fn learned_state(self) -> Self {
        Self { learned_state: true, ..self }
    }

    /// The same without connections of units to themselves.
    #[must_use]
    pub fn no_self(self) -> Self {
        Self { no_self: true, ..self }
    }

    /// The same, of which the first `visible` units go out: the excitatory ones, for instance.
    #[must_use]
    pub fn visible(self, visible: usize) -> Self {
        Self { visible, ..self }
    }

    /// The same, whose inhibitory units go out as they are: for a readout with weights of any sign.
    #[must_use]
    pub fn unsigned(self) -> Self {
        Self { signed: false, ..self }
    }

    /// The first unit that is inhibitory; `ne` if none is.
    fn negative_from(&self) -> usize {
        self.ne - self.inhibitory_units()
    }

    /// Whether what goes out is what comes back, with the same signs.
    fn shows_all(&self) -> bool {
        self.visible == self.ne && (self.signed || self.inhibitory_units() == 0)
    }

    /// How many of the units, the last ones, are inhibitory.
    pub(crate) fn inhibitory_units(&self) -> usize {
        match self.cell {
            Cell::Columns { inhibitory_units, .. } => inhibitory_units,
            Cell::Dann { .. } | Cell::Plain => 0,
        }
    }

    /// What inhibition divides by, if it divides.
    fn divides_by(&self) -> Option<Divisor> {
        match self.cell {
            Cell::Dann { divisor, .. } => divisor,
            Cell::Columns { .. } | Cell::Plain => None,
        }
    }
}

/// The names where there are interneurons.
const DANN: &Names = &Names {
    kind: "recurrent DANN",
    arrays: &["Uex", "Uix", "Uei", "Ualpha", "Ug", "Wex", "Wix", "Wei", "Walpha", "Wg", "b", "h0", "kappa"],
};
/// The names where columns keep their signs.
const COLUMNS: &Names = &Names { kind: "recurrent columns", arrays: &["Upos", "Wpos", "b", "h0", "kappa"] };
const PLAIN: &Names = &Names { kind: "plain recurrent", arrays: &["U", "W", "b", "h0", "kappa"] };

impl RecurrentShape {
    fn check(&self) -> Result<(), Error> {
        let &Self { d, ne, cell, no_self, visible, .. } = self;
        dimension("d", d)?;
        dimension("ne", ne)?;
        dimension("visible", visible)?;
        at_most("visible", visible, ne, "at most ne, the units")?;
        match cell {
            Cell::Dann { nu, nw, .. } => {
                dimension("nu", nu)?;
                dimension("nw", nw)?;
                if no_self {
                    let expected = "Cell::Columns or Cell::Plain";
                    return Err(Error::Unsupported { what: "no_self of a layer with interneurons", expected });
                }
            }
            Cell::Columns { inhibitory_inputs, inhibitory_units } => {
                at_most("inhibitory_inputs", inhibitory_inputs, d, "at most d, the inputs")?;
                dimension("inhibitory_units", inhibitory_units)?;
                at_most("inhibitory_units", inhibitory_units, ne - 1, "less than ne, the units")?;
            }
            Cell::Plain => {}
        }
        Ok(())
    }
}

impl Shape for RecurrentShape {
    fn schema(&self) -> Result<Schema, Error> {
        self.check()?;
        let &Self { d, ne, cell, dynamics, learned_state, no_self, .. } = self;
        let weights = |cols| Parameter::matrix(Role::Weights, ne, cols);
        let own = weights(ne).without_diagonal(no_self);
        let b = Parameter::vector(Role::Bias, ne);
        let h0 = Parameter::vector(if learned_state { Role::InitialState } else { Role::Constant }, ne);
        // A rate is not negative under Dale's principle; a state may be.
        let rate = !matches!(dynamics, Dynamics::State(_)) && cell != Cell::Plain;
        let h0 = if rate { h0.non_negative() } else { h0 };
        let each = dynamics.leak().is_some_and(|leak| leak.get().is_none());
        let kappa = Parameter::vector(Role::Constant, ne).non_negative().only_if(each);
        match cell {
            Cell::Dann { nu, nw, divisor } => {
                // The corrections of a dense layer, leg by leg. Source: the published code of Li et al., NeurIPS 2023.
                let root = (ne as f64).sqrt();
                let leg = |inputs: usize, ni: usize| {
                    let fan_in = inputs as f64;
                    [
                        weights(inputs).non_negative(),
                        Parameter::matrix(Role::ToInterneurons, ni, inputs).non_negative().corrected(1.0 / root),
                        Parameter::matrix(Role::FromInterneurons, ne, ni).non_negative().corrected(1.0 / fan_in),
                        Parameter::vector(Role::LogStrength, ni)
                            .corrected(1.0 / (root * fan_in))
                            .only_if(divisor.is_some()),
                        Parameter::vector(Role::Gain, ne).non_negative().only_if(divisor.is_some()),
                    ]
                };
                let ([uex, uix, uei, ualpha, ug], [wex, wix, wei, walpha, wg]) = (leg(d, nu), leg(ne, nw));
                Schema::new(DANN, [uex, uix, uei, ualpha, ug, wex, wix, wei, walpha, wg, b, h0, kappa])
            }
            Cell::Columns { .. } => Schema::new(COLUMNS, [weights(d).non_negative(), own.non_negative(), b, h0, kappa]),
            Cell::Plain => Schema::new(PLAIN, [weights(d), own, b, h0, kappa]),
        }
    }
}

/// An example of what [`RecurrentShape::text`] says.
#[cfg(feature = "checkpoint")]
const FORM: &str = "state:0.2 learned no_self visible:40";

#[cfg(feature = "checkpoint")]
impl RecurrentShape {
    /// How it goes from step to step, as checkpoints have it: the form and its leak, and what else is not as in a new
    /// shape, such as `state:0.2 learned no_self visible:40`.
    pub fn text(&self) -> String {
        let leak = |leak: Leak| leak.get().map_or(String::new(), |kappa| format!(":{kappa:e}"));
        let form = match self.dynamics {
            Dynamics::Plain => "plain".to_owned(),
            Dynamics::Rate(kappa) => format!("rate{}", leak(kappa)),
            Dynamics::State(kappa) => format!("state{}", leak(kappa)),
        };
        let learned = if self.learned_state { " learned" } else { "" };
        let no_self = if self.no_self { " no_self" } else { "" };
        let visible = if self.visible < self.ne { format!(" visible:{}", self.visible) } else { String::new() };
        let unsigned = if self.inhibitory_units() > 0 && !self.signed { " unsigned" } else { "" };
        form + learned + no_self + &visible + unsigned
    }

    /// The same, going from step to step as a text of [`RecurrentShape::text`] says, if it can be read.
    pub fn with_text(self, text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let form = words.next()?;
        let (name, kappa) = form.split_once(':').map_or((form, None), |(name, kappa)| (name, Some(kappa)));
        let leak = || match kappa {
            Some(kappa) => Leak::new(kappa.parse().ok()?).ok(),
            None => Some(Leak::per_unit()),
        };
        let dynamics = match name {
            "plain" if kappa.is_none() => Dynamics::Plain,
            "rate" => Dynamics::Rate(leak()?),
            "state" => Dynamics::State(leak()?),
            _ => return None,
        };
        words.try_fold(self.dynamics(dynamics), |shape, word| match word.split_once(':') {
            None if word == "learned" => Some(shape.learned_state()),
            None if word == "no_self" => Some(shape.no_self()),
            None if word == "unsigned" => Some(shape.unsigned()),
            Some(("visible", units)) => Some(shape.visible(units.parse().ok()?)),
            _ => None,
        })
    }
}

impl Kind for RecurrentShape {
    fn ports(&self) -> Ports {
        let &Self { d, ne, cell, visible, signed, .. } = self;
        let (interneurons, inhibitory) = match cell {
            Cell::Dann { nu, nw, .. } => (nu + nw, None),
            Cell::Columns { inhibitory_inputs, inhibitory_units } => {
                let outputs = inhibitory_units.saturating_sub(ne - visible.min(ne));
                (0, Some([inhibitory_inputs, if signed { outputs } else { 0 }]))
            }
            Cell::Plain => (0, None),
        };
        Ports {
            inputs: d,
            outputs: visible,
            nonlinearity: Nonlinearity::Relu,
            interneurons,
            divisor: self.divides_by(),
            inhibitory,
            recurrent: true,
            ..Ports::default()
        }
    }

    fn without_division(self) -> Self {
        match self.cell {
            Cell::Dann { nu, nw, .. } => Self { cell: Cell::Dann { nu, nw, divisor: None }, ..self },
            Cell::Columns { .. } | Cell::Plain => self,
        }
    }

    fn with_divisor(self, divisor: Divisor) -> Self {
        if self.divides_by().is_some() { self.divisive(divisor) } else { self }
    }

    fn flops(&self, batch: usize, products: f64, training: bool) -> f64 {
        let &Self { d, ne, cell, .. } = self;
        let [b, d, ne] = [batch, d, ne].map(|n| n as f64);
        let passes = if training { 3.0 } else { 1.0 };
        let legs = |nu: f64, nw: f64| 2.0 * b * d * (ne + nu) * products + 2.0 * passes * b * ne * (ne + nw);
        match cell {
            Cell::Dann { nu, nw, divisor: Some(_) } => {
                let [nu, nw] = [nu, nw].map(|n| n as f64);
                legs(nu, nw) + 4.0 * passes * b * ne * (nu + nw)
            }
            Cell::Dann { nu, nw, divisor: None } => {
                legs(0.0, 0.0) + 2.0 * passes * ne * (nu as f64 * d + nw as f64 * ne)
            }
            Cell::Columns { .. } | Cell::Plain => legs(0.0, 0.0),
        }
    }

    fn radius<T: Element>(&self, params: ParamsRef<'_, T>) -> Option<f64> {
        let (ne, leg) = (self.ne, Arrays::of(params, self.cell).recurrent);
        let mut w: Vec<f64> = leg.ex.iter().map(|w| w.to_f64()).collect();
        for (row, from) in w.chunks_exact_mut(ne).zip(leg.ei.chunks_exact((leg.ei.len() / ne).max(1))) {
            for (from, to) in from.iter().zip(leg.ix.chunks_exact(ne)) {
                row.iter_mut().zip(to).for_each(|(w, to)| *w -= from.to_f64() * to.to_f64());
            }
        }
        let negative_from = self.negative_from();
        w.chunks_exact_mut(ne).for_each(|row| row[negative_from..].iter_mut().for_each(|w| *w = -*w));
        Some(spectral_radius(&w, ne))
    }

    fn draw<T: Element>(&self, init: Init, numbers: &mut impl RandomNumbers) -> Result<Params<T>, Error> {
        init.draw_recurrent(self, numbers)
    }

    fn pass<T: Element>(&self, isa: Isa) -> Result<Box<dyn Pass<T>>, Error> {
        Ok(Box::new(RecurrentPass::new(*self, isa)?))
    }

    #[cfg(feature = "checkpoint")]
    fn of_tensors(tensors: &mut dyn Tensors, _: Nonlinearity) -> Result<Option<Self>, String> {
        let shape = if tensors.has("Uex") {
            let ([ne, d], [nu, _], [nw, _]) = (tensors.matrix("Uex")?, tensors.matrix("Uix")?, tensors.matrix("Wix")?);
            let shape = Self::dann(d, ne, nu, nw);
            if tensors.has("Ualpha") { shape.divisive(tensors.divisor()) } else { shape }
        } else if tensors.has("Upos") {
            let [ne, d] = tensors.matrix("Upos")?;
            Self::columns(d, ne, tensors.take_signs(SIGN, d)?, tensors.take_signs(UNIT_SIGN, ne)?)
        } else if tensors.has("U") {
            let [ne, d] = tensors.matrix("U")?;
            Self::plain(d, ne)
        } else {
            return Ok(None);
        };
        let text = tensors.recurrence().unwrap_or_else(|| "plain".to_owned());
        let wrong = || format!("metadata recurrence has {text:?} for {}: expected such as {FORM:?}", tensors.layer());
        shape.with_text(&text).map(Some).ok_or_else(wrong)
    }
}
