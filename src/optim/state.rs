//! What an update keeps of a layer from step to step.

use super::adam::{FIRST, LARGEST, SECOND, STEPS};
use super::exponentiated::DECAY;
pub(crate) use super::exponentiated::NEGATIVE;
use super::momentum::{DAMPED, VELOCITY};
pub(crate) use super::natural::FISHER;
use super::sums::{ROW_SUMS, SUM};
use super::update::Update;
use crate::element::Element;
use crate::error::{Error, length};
use crate::params::schema::{Parameter, Role, Schema, Shape};
use crate::params::{Params, ParamsRef};

/// What an [`Update`] keeps of one layer from step to step: velocities, moments, counted steps, the estimate of the
/// Fisher information, the subtracted part of a bias, the sums that weights keep. It begins empty; a step makes room for
/// what its rule needs and finds missing.
#[derive(Clone, Debug)]
pub struct State<T> {
    pub(crate) slots: Vec<Slot<T>>,
    /// Room for the gradients of rules that need all of them first.
    pub(crate) gradients: Option<Params<T>>,
    /// `F` before a batch, so that a step that fails leaves no part of one there.
    pub(crate) fisher_before: Option<Params<T>>,
    /// Which slots were kept before the step that was prepared last, by their places in [`SLOTS`].
    pub(crate) kept_before: [bool; SLOTS.len()],
}

/// Numbers that an update keeps of some parameters.
#[derive(Clone, Debug)]
pub(crate) struct Slot<T> {
    pub kind: &'static SlotKind,
    pub params: Params<T>,
    /// Whether it is kept. Else it is only room, so that rules that take turns allocate nothing.
    pub kept: bool,
}

/// A number that no step can have left.
pub(crate) struct Bad {
    pub parameter: &'static str,
    pub index: usize,
    pub value: f64,
    pub expected: &'static str,
}

/// What becomes of a number.
type Advance = fn(&Update, Role, [f64; 2]) -> f64;

/// A kind of [`Slot`].
#[derive(Debug)]
pub(crate) struct SlotKind {
    /// What checkpoints call it.
    pub name: &'static str,
    /// Whether its numbers may be negative.
    pub signed: bool,
    /// The parameters that have it.
    pub of: fn(&Parameter) -> bool,
    /// How many numbers it has of each of them.
    pub numbers: Numbers,
    /// The updates that need it.
    pub wanted: fn(&Update) -> bool,
    /// What a number begins with, beside those elements of the parameter that it is of.
    pub begin: fn(&Update, &mut dyn Iterator<Item = f64>) -> f64,
    /// What the number of an array becomes with each step that moves it: of what it was, and the number of steps that
    /// its velocity has taken, this one counted, if dampening counts them.
    pub advance: Option<Advance>,
    /// Whether other updates leave it alone; else they make it wrong, and it is forgotten.
    pub lasts: bool,
}

/// What there is a number of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Numbers {
    Elements,
    Rows,
    Array,
}

/// Every kind of slot.
pub(crate) static SLOTS: [&SlotKind; 11] =
    [&VELOCITY, &FISHER, &NEGATIVE, &FIRST, &SECOND, &LARGEST, &STEPS, &DAMPED, &DECAY, &SUM, &ROW_SUMS];

impl SlotKind {
    /// Its place in [`SLOTS`].
    pub fn index(&self) -> usize {
        SLOTS.into_iter().position(|kind| kind.name == self.name).expect("a kind of the list")
    }

    /// The dimensions of what it has of a parameter; none of one that does not have it.
    pub fn dimensions<'p>(&self, parameter: &'p Parameter) -> Option<&'p [usize]> {
        let dimensions = parameter.dimensions();
        let here = parameter.elements() > 0 && (self.of)(parameter);
        here.then_some(match self.numbers {
            Numbers::Elements => dimensions,
            Numbers::Rows => &dimensions[..1],
            Numbers::Array => &[1],
        })
    }

    /// How many numbers it has of a parameter.
    pub fn len(&self, parameter: &Parameter) -> usize {
        self.dimensions(parameter).map_or(0, |dimensions| dimensions.iter().product())
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { slots: vec![], gradients: None, fisher_before: None, kept_before: [false; SLOTS.len()] }
    }
}

/// Equal if all that is kept is; room for gradients is nothing of that kind.
impl<T: PartialEq> PartialEq for State<T> {
    fn eq(&self, other: &Self) -> bool {
        SLOTS.into_iter().all(|kind| self.slot(kind) == other.slot(kind))
    }
}

impl<T> State<T> {
    /// Nothing kept yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The arrays that are kept under a name, one for each parameter of the layer, in their order; empty for parameters
    /// of which nothing is kept. The names are those of checkpoints: `velocity`, `moment`, `square` and so on.
    pub fn get(&self, name: &str) -> Option<&Params<T>> {
        self.kept().find(|slot| slot.kind.name == name).map(|slot| &slot.params)
    }

    /// The names of all that is kept, each with its arrays.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Params<T>)> {
        self.kept().map(|slot| (slot.kind.name, &slot.params))
    }

    /// All that is kept.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Slot<T>> {
        self.slots.iter().filter(|slot| slot.kept)
    }

    /// What is kept in a kind of slot.
    pub(crate) fn slot(&self, kind: &SlotKind) -> Option<&Params<T>> {
        self.get(kind.name)
    }

    pub(crate) fn slot_mut(&mut self, kind: &SlotKind) -> Option<&mut Params<T>> {
        self.slots.iter_mut().find(|slot| slot.kept && slot.kind.name == kind.name).map(|slot| &mut slot.params)
    }
}

impl<T: Element> State<T> {
    /// The dimensions of what is kept of a parameter under a name: those of the parameter, or of its rows, or `[1]`. None
    /// if nothing is kept of it, or there is no such name.
    pub fn dimensions<'p>(name: &str, parameter: &'p Parameter) -> Option<&'p [usize]> {
        SLOTS.into_iter().find(|kind| kind.name == name)?.dimensions(parameter)
    }

    /// Keeps `arrays` under a name, as if a step had left them: one for each parameter of a layer of this shape, in their
    /// order, with the dimensions of [`State::dimensions`], or empty. What was kept under the name is overwritten.
    /// `params` are those that it is kept of.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if nothing is kept under such a name; [`Error::Kind`] or [`Error::Length`] if `params`, the
    /// arrays, or what is kept already are of another shape; [`Error::Value`], which names the parameter, if a number is not finite,
    /// or negative where it cannot be. Nothing is changed then.
    pub fn set<'a, 'p>(
        &mut self,
        shape: &impl Shape,
        params: impl Into<ParamsRef<'p, T>>,
        name: &str,
        arrays: impl IntoIterator<Item = &'a [T]>,
    ) -> Result<(), Error>
    where
        T: 'p,
    {
        let (schema, params) = (shape.schema()?, params.into());
        params.check(&schema)?;
        self.check(&schema)?;
        let Some(kind) = SLOTS.into_iter().find(|kind| kind.name == name) else {
            let expected = "a name of the documentation of checkpoints, such as velocity, moment or square";
            return Err(Error::Unsupported { what: "something else that a step keeps", expected });
        };
        let arrays: Vec<&[T]> = arrays.into_iter().collect();
        length("arrays", arrays.len(), schema.len())?;
        let arrays = ParamsRef::of(schema.names, arrays).to_owned();
        let slot = Slot { kind, params: arrays, kept: true };
        slot.check(&schema)?;
        slot.check_values(&schema, params).map_err(|Bad { parameter, index, value, expected }| Error::Value {
            name: parameter,
            index,
            value,
            expected,
        })?;
        self.slots.retain(|slot| slot.kind.name != kind.name);
        self.slots.push(slot);
        Ok(())
    }

    /// Checks that what is kept is of a layer of this schema.
    pub(crate) fn check(&self, schema: &Schema) -> Result<(), Error> {
        self.slots.iter().try_for_each(|slot| slot.check(schema))?;
        [&self.gradients, &self.fisher_before].into_iter().flatten().try_for_each(|kept| kept.view().check(schema))
    }

    /// Makes room for what a step needs, and checks that what is kept already is of a layer of this schema. A step that
    /// then fails takes it back by [`State::undo`].
    pub(crate) fn prepare(&mut self, schema: &Schema, update: &Update, params: ParamsRef<'_, T>) -> Result<(), Error> {
        self.check(schema)?;
        let room = |wanted, place: &mut Option<_>| {
            if wanted && place.is_none() {
                *place = Some(Params::zeros_where(schema, |_| true)?);
            }
            Ok::<_, Error>(())
        };
        room(update.natural.is_some(), &mut self.fisher_before)?;
        room(update.needs_gradients(), &mut self.gradients)?;
        for kind in SLOTS.into_iter().filter(|kind| (kind.wanted)(update)) {
            if self.slots.iter().all(|slot| slot.kind.name != kind.name) {
                let params = Params::zeros_sized(schema, |parameter| kind.len(parameter))?;
                self.slots.push(Slot { kind, params, kept: false });
            }
        }
        // From here on nothing fails.
        for slot in &mut self.slots {
            self.kept_before[slot.kind.index()] = slot.kept;
            let wanted = (slot.kind.wanted)(update);
            if wanted && !slot.kept {
                slot.begin(schema, update, params);
            }
            slot.kept = wanted || slot.kept && slot.kind.lasts;
        }
        Ok(())
    }

    /// Keeps what was kept before [`State::prepare`], which filled nothing but slots that were not, and emptied none.
    pub(crate) fn undo(&mut self) {
        for slot in &mut self.slots {
            slot.kept = self.kept_before[slot.kind.index()];
        }
    }

    /// Goes on to the next step in all numbers of arrays that the step moves.
    pub(crate) fn advance(&mut self, schema: &Schema, update: &Update) {
        for (i, parameter) in schema.iter().enumerate().filter(|(_, parameter)| update.moves(parameter)) {
            let damped = self.slot(&DAMPED).and_then(|steps| steps.view().iter().nth(i)?.first().copied());
            let steps = damped.map_or(1.0, |steps| steps.to_f64() + 1.0);
            for slot in self.slots.iter_mut().filter(|slot| (slot.kind.wanted)(update)) {
                if let (Some(advance), [number]) = (slot.kind.advance, slot.params.array_mut(i)) {
                    *number = T::from_f64(advance(update, parameter.role, [number.to_f64(), steps]));
                }
            }
        }
    }

    /// Keeps `F` as it is before a batch.
    pub(crate) fn keep_fisher(&mut self) {
        let mut before = self.fisher_before.take().expect("the state was prepared");
        let fisher = self.slot(&FISHER).expect("the state was prepared");
        before.view_mut().into_iter().zip(fisher.view().iter()).for_each(|(to, from)| to.copy_from_slice(from));
        self.fisher_before = Some(before);
    }

    /// Takes `F` back as it was before the batch.
    pub(crate) fn restore_fisher(&mut self) {
        let mut before = self.fisher_before.take().expect("the state was prepared");
        std::mem::swap(&mut before, self.slot_mut(&FISHER).expect("the state was prepared"));
        self.fisher_before = Some(before);
    }

    /// One divided by the norm of `1/(F + ε)` over the layer's `Wex`, if the update asks for it; 0 where that is no
    /// number, so that nothing moves.
    pub(crate) fn natural_scale(&self, schema: &Schema, update: &Update) -> f64 {
        let natural = update.natural.filter(|natural| natural.normalised);
        let (Some(natural), Some(fisher)) = (natural, self.slot(&FISHER)) else { return 1.0 };
        let weights = schema.iter().zip(fisher.view().iter()).find(|(parameter, _)| parameter.role == Role::Weights);
        let squares = |array: &[T]| array.iter().map(|f| (f.to_f64() + natural.epsilon).powi(-2)).sum::<f64>();
        let sum = weights.map_or(0.0, |(_, array)| squares(array));
        if sum > 0.0 && sum.is_finite() { 1.0 / sum.sqrt() } else { 0.0 }
    }
}

impl<T: Element> Slot<T> {
    /// Fills it with what it begins with.
    fn begin(&mut self, schema: &Schema, update: &Update, params: ParamsRef<'_, T>) {
        let begin = self.kind.begin;
        for ((parameter, to), from) in schema.iter().zip(self.params.view_mut().into_iter()).zip(params.iter()) {
            let each = match self.kind.numbers {
                Numbers::Elements => 1,
                Numbers::Rows => parameter.dimensions().iter().skip(1).product(),
                Numbers::Array => parameter.elements(),
            };
            let elements = from.chunks(each.max(1));
            to.iter_mut().zip(elements).for_each(|(to, from)| {
                *to = T::from_f64(begin(update, &mut from.iter().map(|element| element.to_f64())));
            });
        }
    }

    /// Checks that its numbers are what a step of the parameters can leave.
    pub fn check_values(&self, schema: &Schema, params: ParamsRef<'_, T>) -> Result<(), Bad> {
        for (parameter, array) in schema.iter().zip(self.params.view().iter()) {
            let fine = |value: &T| value.is_finite() && (self.kind.signed || *value >= T::ZERO);
            if let Some(index) = array.iter().position(|value| !fine(value)) {
                let expected = if self.kind.signed { "a finite number" } else { "a finite number ≥ 0" };
                return Err(Bad { parameter: parameter.name, index, value: array[index].to_f64(), expected });
            }
        }
        if self.kind.name != NEGATIVE.name {
            return Ok(());
        }
        let biases = schema.iter().zip(params.iter().zip(self.params.view().iter()));
        for (parameter, (bias, negative)) in biases.filter(|(parameter, _)| parameter.role == Role::Bias) {
            if let Some(index) = bias.iter().zip(negative).position(|(&b, &negative)| b + negative < T::ZERO) {
                let expected = "so much that b and it are not negative together";
                return Err(Bad { parameter: parameter.name, index, value: negative[index].to_f64(), expected });
            }
        }
        Ok(())
    }

    /// Checks that it is of a layer of this schema.
    fn check(&self, schema: &Schema) -> Result<(), Error> {
        let names = self.params.names();
        if names.kind != schema.names.kind {
            return Err(Error::Kind { expected: schema.names.kind });
        }
        let mut arrays = schema.iter().zip(self.params.view().iter());
        arrays.try_for_each(|(parameter, array)| length(parameter.name, array.len(), self.kind.len(parameter)))
    }
}
