//! Kept sums: weights whose magnitudes add up to what they did at first.

use super::state::{Numbers, SlotKind, State};
use super::update::Update;
use crate::element::Element;
use crate::params::ParamsMut;
use crate::params::schema::{Role, Schema};

/// Which weights keep their sum. After each step, `θ ← θ · C / Σ|θ|` for `Wex` (or `W`, `Wpos`), `Wix` and `Wei`, where
/// `C` is `Σ|θ|` before the first step. Nothing is scaled where `Σ|θ|` is 0, nor biases and gains at all: a bias may
/// begin with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeptSums {
    /// Those of each array together.
    Array,
    /// Those of each row: what reaches a unit.
    Row,
}

/// `C` of each array.
pub(crate) static SUM: SlotKind = SlotKind {
    name: "sum",
    signed: false,
    of: |parameter| [Role::Weights, Role::ToInterneurons, Role::FromInterneurons].contains(&parameter.role),
    numbers: Numbers::Array,
    wanted: |update| update.kept_sums == Some(KeptSums::Array),
    begin: |_, own| magnitude(own),
    advance: None,
    // Other updates change the sums.
    lasts: false,
};

/// `C` of each row.
pub(crate) static ROW_SUMS: SlotKind = SlotKind {
    name: "row_sums",
    signed: false,
    of: |parameter| (SUM.of)(parameter),
    numbers: Numbers::Rows,
    wanted: |update| update.kept_sums == Some(KeptSums::Row),
    begin: |_, own| magnitude(own),
    advance: None,
    lasts: false,
};

/// Scales the weights of a layer, after a step, to the sums that they keep, if the update asks for it.
pub(super) fn keep<T: Element>(schema: &Schema, update: &Update, params: ParamsMut<'_, T>, state: &State<T>) {
    let kind = match update.kept_sums {
        Some(KeptSums::Array) => &SUM,
        Some(KeptSums::Row) => &ROW_SUMS,
        None => return,
    };
    let sums = state.slot(kind).expect("the state was prepared").view();
    for ((parameter, array), sums) in schema.iter().zip(params.into_iter()).zip(sums.iter()) {
        if update.moves(parameter) && !sums.is_empty() {
            let each = array.len() / sums.len();
            array.chunks_exact_mut(each).zip(sums).for_each(|(weights, &sum)| scale_to(weights, sum));
        }
    }
}

/// Scales weights so that their magnitudes add up to `sum`.
fn scale_to<T: Element>(weights: &mut [T], sum: T) {
    let is = magnitude(weights.iter().map(|weight| weight.to_f64()));
    // What is the sum already stays to the bit.
    if is > 0.0 && T::from_f64(is) != sum {
        let factor = T::from_f64(sum.to_f64() / is);
        weights.iter_mut().for_each(|weight| *weight = *weight * factor);
    }
}

/// `Σ|θ|`, as eight sums side by side.
fn magnitude(weights: impl Iterator<Item = f64>) -> f64 {
    let mut sums = [0.0; 8];
    weights.enumerate().for_each(|(i, weight)| sums[i % 8] += weight.abs());
    sums.iter().sum()
}
