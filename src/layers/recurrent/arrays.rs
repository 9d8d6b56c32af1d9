//! The arrays of a recurrent layer, as its legs have them.

use super::Cell;
use crate::element::Element;
use crate::layers::dann::Dann;
use crate::layers::dense::Dense;
use crate::params::ParamsRef;

/// The places of arrays in the schema of the layer.
pub(super) struct Places {
    /// Those of the input leg's own arrays, in their order: with the bias.
    pub input: &'static [usize],
    /// Those of the recurrent leg's own arrays.
    pub recurrent: &'static [usize],
    pub b: usize,
    pub h0: usize,
    pub kappa: usize,
}

/// Where there are interneurons.
const DANN: Places = Places { input: &[0, 1, 2, 3, 4, 10], recurrent: &[5, 6, 7, 8, 9], b: 10, h0: 11, kappa: 12 };
/// Where there are none.
const PLAIN: Places = Places { input: &[0, 2], recurrent: &[1], b: 2, h0: 3, kappa: 4 };

impl Places {
    pub fn of(cell: Cell) -> &'static Self {
        match cell {
            Cell::Dann { .. } => &DANN,
            Cell::Columns { .. } | Cell::Plain => &PLAIN,
        }
    }
}

/// The arrays of a layer; empty where there are none.
#[derive(Clone, Copy)]
pub(super) struct Arrays<'a, T> {
    pub input: Leg<'a, T>,
    pub recurrent: Leg<'a, T>,
    pub b: &'a [T],
    pub h0: &'a [T],
    pub kappa: &'a [T],
}

/// The arrays of a leg `L`.
#[derive(Clone, Copy)]
pub(super) struct Leg<'a, T> {
    /// `Lex`, or `L`.
    pub ex: &'a [T],
    /// `Lix`
    pub ix: &'a [T],
    /// `Lei`
    pub ei: &'a [T],
    /// `Lalpha`
    pub alpha: &'a [T],
    /// `Lg`
    pub g: &'a [T],
}

impl<'a, T: Element> Arrays<'a, T> {
    pub fn of(params: ParamsRef<'a, T>, cell: Cell) -> Self {
        let array = |place: usize| params.iter().nth(place).expect("the layer has this array");
        let &Places { input, recurrent, b, h0, kappa } = Places::of(cell);
        let leg = |places: &[usize]| {
            let of = |i: usize| if matches!(cell, Cell::Dann { .. }) || i == 0 { array(places[i]) } else { &[] };
            Leg { ex: of(0), ix: of(1), ei: of(2), alpha: of(3), g: of(4) }
        };
        Self { input: leg(input), recurrent: leg(recurrent), b: array(b), h0: array(h0), kappa: array(kappa) }
    }

    /// The input leg's as a dense layer has them; with these weights where it is folded.
    pub fn of_input(&self, cell: Cell, folded: Option<&'a [T]>) -> ParamsRef<'a, T> {
        let &Self { input: Leg { ex, ix, ei, alpha, g }, b, .. } = self;
        match (folded, cell) {
            (None, Cell::Dann { .. }) => Dann { wex: ex, wix: ix, wei: ei, alpha, g, b }.into(),
            (folded, _) => Dense { w: folded.unwrap_or(ex), b }.into(),
        }
    }
}
