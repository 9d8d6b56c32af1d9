//! Passes through a network with states: window after window of steps, and back.

use super::plan::{Objective, ParamsOf, Piece, Plan};
use super::purpose::Purpose;
use super::sequences::{Course, Sequences};
use crate::driver::{largest_slab, slabs};
use crate::element::Element;
use crate::error::Error;
use crate::layers::collect::Destination;
use crate::matrix::Steps;
use crate::params::ParamsRef;
use crate::threads::Team;
use std::ops::Range;

/// Sequences, or some of them, on their way.
#[derive(Clone, Copy)]
struct Journey<'x, T> {
    x: Sequences<'x, T>,
    course: Course,
    /// The first example.
    first: usize,
    training: bool,
}

impl<T: Element> Journey<'_, T> {
    /// The rows of a chunk.
    fn rows(&self, chunk: usize) -> Steps<()> {
        self.course.rows(chunk, self.x.examples(), self.first)
    }
}

impl<T: Element> Plan<T> {
    /// Keeps no more than `steps` of a sequence for the backward pass, rounded up to whole windows of the cache (about 192
    /// examples): the others are made once more when the backward pass comes to them. `√T` steps take the least memory.
    /// None keeps all. The result is the same to the bit.
    ///
    /// A pass through time keeps, for each step and example, about `2 d + 9 ne + 8 ni` elements of a recurrent layer,
    /// less where nothing divides.
    pub fn keep_at_most(&mut self, steps: Option<usize>) {
        self.most_steps = steps.map(|steps| steps.max(1));
    }

    /// Forward, loss and backward through time.
    pub(super) fn pass_through_time(
        &mut self,
        x: Sequences<'_, T>,
        objective: Objective<'_, T>,
        purpose: &mut dyn Purpose<T>,
    ) -> Result<f64, Error> {
        let examples = x.examples();
        let course = Course::new(x.steps(), examples, self.most_steps);
        let journey = Journey { x, course, first: 0, training: true };
        self.prepare(course.batch(false), true)?;
        for layer in &mut self.layers {
            layer.pass.prepare_slabs(course.all_windows())?;
            if let Some(in_time) = layer.pass.in_time() {
                in_time.prepare_sequences(course.chunks(), examples)?;
            }
        }
        self.begin_count();
        let threads = self.context.threads().clone();
        let flops = self.flops(x.rows(), crate::layers::LayerShape::train_flops);
        threads.region(flops, |team| {
            self.begin(team, &|k| purpose.params(k), journey)?;
            for chunk in 0..course.chunks() {
                if chunk > 0 {
                    self.each_in_time(|in_time| in_time.go_on(team, true));
                }
                if course.chunks() > 1 {
                    self.each_in_time(|in_time| in_time.save_start(chunk));
                }
                self.forward_chunk(team, &|k| purpose.params(k), journey, (chunk, objective))?;
            }
            self.each_in_time(|in_time| in_time.end(0));
            self.each_in_time(|in_time| in_time.begin_backward());
            let mut loss = 0.0;
            for chunk in (0..course.chunks()).rev() {
                if chunk + 1 < course.chunks() {
                    self.each_in_time(|in_time| in_time.restore_start(team, chunk));
                    self.forward_chunk(team, &|k| purpose.params(k), journey, (chunk, objective))?;
                }
                for window in course.windows(chunk).rev() {
                    let first = course.start(chunk) + window.start == 0;
                    self.turn_to(window, objective, journey.rows(chunk))?;
                    let start = course.start(chunk);
                    self.layers.iter().enumerate().for_each(|(k, layer)| purpose.observe(k, &*layer.pass, start));
                    loss += self.backward(team, &|k| purpose.params(k), objective, journey.rows(chunk));
                    if first {
                        self.check_pass(purpose, objective, loss)?;
                    }
                    self.for_each_down(|k, pass, x| {
                        if first {
                            purpose.finish(team, k, pass, x);
                        } else {
                            pass.collect(team, x, Destination::Accumulate);
                        }
                    });
                }
            }
            purpose.end(team, &|k| self.layers[k].pass.buffers());
            Ok(objective.finish(loss))
        })
    }

    /// Calls `each` with one piece of the outputs after the other.
    pub(super) fn in_pieces_through_time(
        &mut self,
        params: ParamsOf<'_, '_, T>,
        x: Sequences<'_, T>,
        mut each: impl FnMut(&Team<'_>, Piece<'_, T>, &mut [T]) + Send,
    ) -> Result<(), Error> {
        let all = x.examples();
        // Nothing is kept but what a window has.
        let course = |examples| Course::new(x.steps(), examples, Some(1));
        self.prepare(course(largest_slab(all)).batch(false), false)?;
        for layer in &mut self.layers {
            if let Some(in_time) = layer.pass.in_time() {
                in_time.prepare_sequences(1, all)?;
            }
        }
        self.begin_count();
        let flops = self.flops(x.rows(), |shape, batch, _| shape.forward_flops(batch));
        let threads = self.context.threads().clone();
        threads.region(flops, |team| {
            for (first, examples) in slabs(all) {
                let journey = Journey { x, course: course(examples), first, training: false };
                self.prepare(journey.course.batch(false), false)?;
                self.begin(team, params, journey)?;
                for chunk in 0..journey.course.chunks() {
                    if chunk > 0 {
                        self.each_in_time(|in_time| in_time.go_on(team, false));
                    }
                    for window in journey.course.windows(chunk) {
                        self.turn_all_to(window)?;
                        self.forward_window(team, params, journey, chunk)?;
                        let (outputs, examples) = self.layers.last().expect("a layer").pass.outputs();
                        each(team, Piece { outputs, examples, rows: journey.rows(chunk) }, &mut self.row);
                    }
                }
                self.each_in_time(|in_time| in_time.end(first));
            }
            Ok(())
        })
    }

    fn each_in_time(&mut self, f: impl FnMut(&mut dyn crate::layers::recurrent::in_time::InTime<T>)) {
        self.layers.iter_mut().filter_map(|layer| layer.pass.in_time()).for_each(f);
    }

    /// Begins sequences in all layers.
    fn begin(&mut self, team: &Team<'_>, params: ParamsOf<'_, '_, T>, journey: Journey<'_, T>) -> Result<(), Error> {
        let Journey { x, first, training, .. } = journey;
        for (k, layer) in self.layers.iter_mut().enumerate() {
            if let Some(in_time) = layer.pass.in_time() {
                let params: ParamsRef<'_, T> = params(k);
                in_time.begin(team, params, x.start_of(k, first), training);
            }
        }
        Ok(())
    }

    /// Goes forward through the windows of a chunk.
    fn forward_chunk(
        &mut self,
        team: &Team<'_>,
        params: ParamsOf<'_, '_, T>,
        journey: Journey<'_, T>,
        (chunk, objective): (usize, Objective<'_, T>),
    ) -> Result<(), Error> {
        for window in journey.course.windows(chunk) {
            self.turn_to(window, objective, journey.rows(chunk))?;
            self.forward_window(team, params, journey, chunk)?;
        }
        Ok(())
    }

    /// Goes forward through the present steps.
    fn forward_window(
        &mut self,
        team: &Team<'_>,
        params: ParamsOf<'_, '_, T>,
        journey: Journey<'_, T>,
        chunk: usize,
    ) -> Result<(), Error> {
        let (x, rows) = (journey.x, journey.rows(chunk));
        for (k, layer) in self.layers.iter_mut().enumerate() {
            if let Some(in_time) = layer.pass.in_time() {
                in_time.noise(team, x.noise_of(k).map(|noise| rows.of(noise)))?;
            }
        }
        self.forward(team, params, rows.of(x.x), journey.training);
        Ok(())
    }

    /// Turns all layers to some steps of a chunk.
    fn turn_all_to(&mut self, steps: Range<usize>) -> Result<(), Error> {
        self.layers.iter_mut().try_for_each(|layer| layer.pass.turn_to(steps.clone()))
    }

    /// Turns all layers to some steps of a chunk, but those without states that only make outputs to the steps among them
    /// that the objective asks about.
    fn turn_to(&mut self, steps: Range<usize>, objective: Objective<'_, T>, rows: Steps<()>) -> Result<(), Error> {
        self.turn_all_to(steps.clone())?;
        let Objective::Mean(mean) = objective else { return Ok(()) };
        let all = rows.row(steps.start, 0)..rows.row(steps.end, 0);
        let weighty = mean.weighty(all.clone());
        let step = |row: usize| steps.start + (row - all.start) / rows.rows_of_step;
        let asked =
            if weighty.is_empty() { steps.start..steps.start } else { step(weighty.start)..step(weighty.end - 1) + 1 };
        let readout = self.layers.iter().rposition(|layer| layer.shape.is_recurrent()).map_or(0, |last| last + 1);
        self.layers[readout..].iter_mut().try_for_each(|layer| layer.pass.turn_to(asked.clone()))
    }
}
