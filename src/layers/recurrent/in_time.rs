//! What a pass does that goes from step to step.

use crate::buffer::Units;
use crate::element::Element;
use crate::error::Error;
use crate::layout::Split;
use crate::matrix::{MatRef, Steps};
use crate::network::sequences::LayerStart;
use crate::params::ParamsRef;
use crate::threads::Team;

/// What a pass through a recurrent layer does beside what every [`Pass`](crate::layers::pass::Pass) does, in this order:
///
/// ```text
/// prepare_sequences   makes room
/// begin               the states before the first step, and what the steps need of the parameters
/// noise, forward      window after window
/// end                 keeps the last states
/// begin_backward      no gradient comes from behind the last step
/// receive … gradients window after window, from the last
/// ```
///
/// Where not all steps are kept, `go_on` comes between the chunks, `save_start` before each of them, and in the backward
/// pass `restore_start` before each is made again.
pub(crate) trait InTime<T: Element> {
    /// Makes room for the first states of so many chunks, and for the last states of so many examples in all.
    fn prepare_sequences(&mut self, chunks: usize, examples: usize) -> Result<(), Error>;

    /// Begins sequences, in steps that there is room for.
    fn begin(&mut self, team: &Team<'_>, params: ParamsRef<'_, T>, start: LayerStart<'_, T>, training: bool);

    /// The noise of the present steps, if any.
    fn noise(&mut self, team: &Team<'_>, noise: Option<Steps<MatRef<'_, T>>>) -> Result<(), Error>;

    /// Goes on to the next chunk.
    fn go_on(&mut self, team: &Team<'_>, training: bool);

    /// Saves the first states of a chunk.
    fn save_start(&mut self, chunk: usize);

    /// Takes back the first states of a chunk.
    fn restore_start(&mut self, team: &Team<'_>, chunk: usize);

    /// Keeps the last states, those of the examples from `first` on.
    fn end(&mut self, first: usize);

    /// Begins the backward pass.
    fn begin_backward(&mut self);

    /// The gradient by the states before the first step, `[ne, B]`, after a backward pass.
    fn dstates(&self) -> (Units<'_, T>, Split);
}
