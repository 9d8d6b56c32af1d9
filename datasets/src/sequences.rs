//! Labelled sequences of a batch, time-major.

use crate::tasks::{Condition, Task, Trial};
use crate::{Dataset, SequenceSet, SequenceTargets};
use interneuron::{Error, Generator, MatRef, Sequences, Target};

/// What the outputs of a network are compared with at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A label: cross-entropy.
    Labels,
    /// A number for each output: the mean of the squared errors.
    Values,
}

/// A batch of sequences with their targets, of which the shorter ones are padded to the longest with zeros that have no
/// weight: row `t · B + i` is example `i` at step `t`. It is filled again and again, and allocates only where a batch is
/// larger than all before.
///
/// ```
/// use interneuron::generator;
/// use interneuron_datasets::SequenceBatch;
/// use interneuron_datasets::tasks::PerceptualDecision;
///
/// let (task, mut rng) = (PerceptualDecision::new(20.0)?, generator(1));
/// let mut batch = SequenceBatch::new();
/// for _ in 0..3 {
///     batch.draw(&task, 16, &mut rng)?;
///     let (x, target) = (batch.x()?, batch.target()?); // for `Network::train_step`
///     assert_eq!(x.examples(), 16);
///     assert!(batch.conditions().iter().all(|trial| trial.answer == 1 + trial.side));
/// }
/// # Ok::<(), interneuron::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceBatch {
    inputs: usize,
    outputs: usize,
    steps: usize,
    examples: usize,
    x: Vec<f32>,
    labels: Vec<u32>,
    values: Vec<f32>,
    weights: Vec<f32>,
    conditions: Vec<Condition>,
    lengths: Vec<usize>,
    trials: Vec<Trial>,
}

impl SequenceBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws so many trials of a task. There is room for the longest that it has from the first time on, so that drawing
    /// as many again allocates nothing.
    ///
    /// # Errors
    /// [`Error::Dimension`] if `examples` is 0, [`Error::TooLarge`] if there is no memory for them, [`Error::Dimension`] or
    /// [`Error::Length`] if the task draws a trial of other steps, inputs or targets than it says. The batch is empty then.
    pub fn draw(&mut self, task: &dyn Task, examples: usize, rng: &mut Generator) -> Result<(), Error> {
        self.begin(examples)?;
        let (inputs, outputs, longest, loss) = (task.inputs(), task.outputs(), task.longest(), task.loss());
        self.reserve(longest, inputs, outputs, loss)?;
        self.trials.resize_with(examples.max(self.trials.len()), Trial::default);
        for trial in &mut self.trials[..examples] {
            trial.clear();
            trial.reserve(longest, inputs, outputs, loss)?;
            task.draw(trial, rng);
            trial.check(task)?;
        }
        let trials = &self.trials[..examples];
        self.lengths.extend(trials.iter().map(Trial::steps));
        self.conditions.extend(trials.iter().map(|trial| trial.condition));
        let steps = self.lengths.iter().copied().max().unwrap_or(0);
        for t in 0..steps {
            for trial in &self.trials[..examples] {
                trial.copy_step(t, inputs, &mut self.x);
                match loss {
                    Loss::Labels => self.labels.push(trial.labels.get(t).copied().unwrap_or(0)),
                    Loss::Values if t < trial.steps() => {
                        self.values.extend_from_slice(&trial.values[t * outputs..][..outputs]);
                    }
                    Loss::Values => self.values.resize(self.values.len() + outputs, 0.0),
                }
                self.weights.push(trial.weights.get(t).copied().unwrap_or(0.0));
            }
        }
        (self.examples, self.inputs, self.outputs, self.steps) = (examples, inputs, outputs, steps);
        Ok(())
    }

    /// Takes the sequences `indices` of a set, in this order. It has as many steps as the longest of them.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there are no indices, [`Error::TooLarge`] if there is no memory for them.
    ///
    /// # Panics
    /// If there is no such sequence.
    pub fn gather(&mut self, set: &SequenceSet, indices: &[usize]) -> Result<(), Error> {
        self.begin(indices.len())?;
        let (inputs, outputs, loss) = (set.inputs(), set.outputs(), set.loss());
        self.reserve(set.steps(), inputs, outputs, loss)?;
        self.lengths.extend(indices.iter().map(|&index| set.lengths()[index]));
        let steps = self.lengths.iter().copied().max().unwrap_or(0);
        for t in 0..steps {
            for &index in indices {
                let row = index * set.steps() + t;
                self.x.extend_from_slice(&set.x()[row * inputs..][..inputs]);
                match set.targets() {
                    SequenceTargets::Labels(labels) => self.labels.push(labels[row]),
                    SequenceTargets::Values { y, outputs } => {
                        self.values.extend_from_slice(&y[row * outputs..][..*outputs]);
                    }
                }
                self.weights.push(set.weights()[row]);
            }
        }
        (self.examples, self.inputs, self.outputs, self.steps) = (indices.len(), inputs, outputs, steps);
        Ok(())
    }

    /// Takes the images `indices` row by row: `x_t` is row `t`, the label that of the image, and only the last step has a
    /// weight.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there are no indices, or no pixels in an image.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn rows_of(&mut self, images: &Dataset, indices: &[usize]) -> Result<(), Error> {
        self.begin(indices.len())?;
        let (height, width) = (images.images.height, images.images.width);
        if height * width == 0 {
            return Err(Error::Dimension { name: "pixels", value: 0, expected: "at least 1" });
        }
        let mut pixels = std::mem::take(&mut self.values);
        images.images.gather(indices.iter().copied(), &mut pixels);
        for t in 0..height {
            for (i, &index) in indices.iter().enumerate() {
                self.x.extend_from_slice(&pixels[(i * height + t) * width..][..width]);
                self.labels.push(u32::from(images.labels[index]));
                self.weights.push(if t + 1 == height { 1.0 } else { 0.0 });
            }
        }
        pixels.clear();
        self.values = pixels;
        self.lengths.resize(indices.len(), height);
        (self.examples, self.inputs, self.outputs, self.steps) = (indices.len(), width, 0, height);
        Ok(())
    }

    /// Empties it, for so many examples.
    fn begin(&mut self, examples: usize) -> Result<(), Error> {
        let Self { x, labels, values, weights, conditions, lengths, .. } = self;
        [x, values, weights].into_iter().for_each(Vec::clear);
        labels.clear();
        conditions.clear();
        lengths.clear();
        (self.examples, self.steps) = (examples, 0);
        if examples == 0 {
            return Err(Error::Dimension { name: "examples", value: 0, expected: "at least 1" });
        }
        Ok(())
    }

    /// Makes room for the longest sequences there may be.
    fn reserve(&mut self, longest: usize, inputs: usize, outputs: usize, loss: Loss) -> Result<(), Error> {
        let rows = longest.saturating_mul(self.examples);
        reserve(&mut self.x, rows.saturating_mul(inputs))?;
        reserve(&mut self.weights, rows)?;
        reserve(&mut self.lengths, self.examples)?;
        reserve(&mut self.conditions, self.examples)?;
        match loss {
            Loss::Labels => reserve(&mut self.labels, rows),
            Loss::Values => reserve(&mut self.values, rows.saturating_mul(outputs)),
        }
    }

    /// Inputs `d`.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The input of example `example` at step `step`.
    ///
    /// # Panics
    /// If there is no such example or step.
    pub fn input(&self, step: usize, example: usize) -> &[f32] {
        assert!(step < self.steps && example < self.examples, "step {step} and example {example} of the batch");
        &self.x[(step * self.examples + example) * self.inputs..][..self.inputs]
    }

    /// The label of each row `[T, B]`, 0 in the padding; empty where targets are values.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The values of each row `[T·B, K]`, 0 in the padding; empty where targets are labels.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Steps `T`, those of the longest sequence.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Examples `B`.
    pub fn examples(&self) -> usize {
        self.examples
    }

    /// The inputs `x [T·B, d]`.
    ///
    /// # Errors
    /// [`Error::Dimension`] of a batch that was never filled.
    pub fn x(&self) -> Result<Sequences<'_, f32>, Error> {
        Sequences::new(MatRef::new(&self.x, self.steps * self.examples, self.inputs)?, self.steps)
    }

    /// The target of each row, with the weights `m [T, B]`.
    ///
    /// # Errors
    /// [`Error::Dimension`] of a batch that was never filled.
    pub fn target(&self) -> Result<Target<'_, f32>, Error> {
        let target = if self.values.is_empty() {
            Target::labels(&self.labels)
        } else {
            Target::values(MatRef::new(&self.values, self.steps * self.examples, self.outputs)?)
        };
        Ok(target.weighted(&self.weights))
    }

    /// The steps of each sequence before it was padded.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// What each trial is about; empty where the sequences are no trials of a task.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Weights of the loss `m [T, B]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// How many sequences are answered right by outputs `[T·B, outputs]`: where there are labels, if the largest output of
    /// a sequence's last step is that of the label.
    ///
    /// # Panics
    /// If there are not so many outputs, or no labels.
    pub fn right(&self, outputs: MatRef<'_, f32>) -> Vec<bool> {
        let right = |i: usize| {
            let row = (self.lengths[i] - 1) * self.examples + i;
            let outputs = outputs.row(row).iter().enumerate();
            let largest = outputs.fold((0, f32::NEG_INFINITY), |best, (k, &o)| if o > best.1 { (k, o) } else { best });
            largest.0 == self.labels[row] as usize
        };
        (0..self.examples).map(right).collect()
    }
}

/// Makes room for so many elements in all.
///
/// # Errors
/// [`Error::TooLarge`].
pub(crate) fn reserve<A>(all: &mut Vec<A>, elements: usize) -> Result<(), Error> {
    all.try_reserve_exact(elements.saturating_sub(all.len())).map_err(|_| Error::TooLarge { elements })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits;
    use crate::tasks::{Adding, ContextDecision, DelayedMatch, PerceptualDecision, SongDecision};
    use interneuron::generator;

    fn tasks() -> Vec<Box<dyn Task>> {
        vec![
            Box::new(Adding::new(20).unwrap()),
            Box::new(PerceptualDecision::new(20.0).unwrap()),
            Box::new(DelayedMatch::new(100.0).unwrap()),
            Box::new(ContextDecision::new(100.0).unwrap()),
            Box::new(SongDecision::new(20.0).unwrap()),
        ]
    }

    fn drawn(task: &dyn Task, examples: usize, seed: u64) -> SequenceBatch {
        let mut batch = SequenceBatch::new();
        batch.draw(task, examples, &mut generator(seed)).unwrap();
        batch
    }

    #[test]
    fn a_seed_decides_a_batch_and_a_batch_is_filled_again() {
        for task in tasks() {
            let first = drawn(&*task, 33, 5);
            assert!(first == drawn(&*task, 33, 5) && first != drawn(&*task, 33, 6));
            let mut again = drawn(&*task, 64, 1);
            again.draw(&*task, 33, &mut generator(5)).unwrap();
            assert_eq!((&again.x, &again.labels, &again.values), (&first.x, &first.labels, &first.values));
            assert_eq!((&again.weights, &again.conditions), (&first.weights, &first.conditions));
            assert!(again.draw(&*task, 0, &mut generator(5)).is_err());
        }
    }

    #[test]
    fn shorter_trials_are_padded_and_have_no_weight_there() {
        for task in tasks() {
            let batch = drawn(&*task, 200, 2);
            let (steps, examples) = (batch.steps(), batch.examples());
            assert_eq!(batch.x().unwrap().rows(), steps * examples);
            assert_eq!(batch.lengths().iter().copied().max(), Some(steps));
            for (i, &length) in batch.lengths().iter().enumerate() {
                for t in length..steps {
                    let row = t * examples + i;
                    assert_eq!(batch.weights()[row], 0.0);
                    assert!(batch.x[row * task.inputs()..][..task.inputs()].iter().all(|&x| x == 0.0));
                }
                assert!(batch.weights()[(length - 1) * examples + i] == 1.0, "the last step counts");
            }
            let target = batch.target().unwrap();
            let zeros = vec![0.0; steps * examples * task.outputs()];
            assert!(target.loss(MatRef::new(&zeros, steps * examples, task.outputs()).unwrap(), None).is_ok());
        }
    }

    #[test]
    fn always_answering_one_errs_by_a_sixth_in_adding() {
        let batch = drawn(&Adding::new(20).unwrap(), 20_000, 3);
        let ones = vec![1.0; 20 * 20_000];
        let loss = batch.target().unwrap().loss(MatRef::new(&ones, 20 * 20_000, 1).unwrap(), None).unwrap().loss;
        // The variance of such an error is 7/180.
        assert!((loss - 1.0 / 6.0).abs() < 5.0 * (7.0 / 180.0 / 20_000.0_f64).sqrt(), "{loss}");
        let marked: f32 = batch.x.iter().skip(1).step_by(2).sum();
        assert_eq!(marked, 40_000.0);
    }

    #[test]
    fn decisions_are_between_the_periods_and_coherences_of_the_task() {
        let batch = drawn(&PerceptualDecision::new(20.0).unwrap(), 4000, 4);
        assert!(batch.steps() <= 65);
        let mut counts = [[0; 5]; 2];
        for (i, condition) in batch.conditions().iter().enumerate() {
            let (start, end) = condition.stimulus;
            assert!([2, 5, 10, 20].contains(&start) && [5, 10, 20, 40].contains(&(end - start)), "{start} {end}");
            assert_eq!(batch.lengths()[i], end + 5);
            let strength = condition.coherence.abs();
            let which = PerceptualDecision::COHERENCES.iter().position(|&q| q == strength).unwrap();
            counts[condition.answer as usize - 1][which] += 1;
            assert!(condition.coherence == 0.0 || (condition.coherence > 0.0) == (condition.answer == 1));
            for t in 0..end + 5 {
                let label = batch.labels[t * 4000 + i];
                assert_eq!(label, if t < end { 0 } else { condition.answer });
            }
        }
        for count in counts.into_iter().flatten() {
            assert!((count as f64 - 400.0).abs() < 5.0 * 400_f64.sqrt(), "{counts:?}");
        }
        let fixed = PerceptualDecision::new(20.0).unwrap().stimulus(500.0).unwrap();
        assert!(drawn(&fixed, 50, 1).conditions().iter().all(|c| c.stimulus.1 - c.stimulus.0 == 25));
        assert!(PerceptualDecision::new(0.5).is_err() && PerceptualDecision::new(f64::NAN).is_err());
        assert!(fixed.stimulus(0.0).is_err() && Adding::new(1).is_err());
    }

    #[test]
    fn the_stimulus_is_stronger_on_the_right_side() {
        let batch = drawn(&PerceptualDecision::new(20.0).unwrap(), 4000, 9);
        let (mut sums, mut counts) = ([0.0; 2], 0.0);
        for (i, condition) in batch.conditions().iter().enumerate().filter(|(_, c)| c.coherence.abs() == 51.2) {
            for t in condition.stimulus.0..condition.stimulus.1 {
                let x = &batch.x[(t * 4000 + i) * 3..][..3];
                let (right, wrong) = if condition.answer == 1 { (x[1], x[2]) } else { (x[2], x[1]) };
                sums = [sums[0] + f64::from(right), sums[1] + f64::from(wrong)];
                counts += 1.0;
            }
        }
        let error = 5.0 / 20_f64.sqrt() / f64::sqrt(counts);
        assert!((sums[0] / counts - 0.756).abs() < error && (sums[1] / counts - 0.244).abs() < error, "{sums:?}");
    }

    #[test]
    fn delays_and_contexts_are_those_of_the_task() {
        let batch = drawn(&ContextDecision::new(100.0).unwrap(), 1000, 4);
        let mut delays = vec![];
        for (i, condition) in batch.conditions().iter().enumerate() {
            assert!(ContextDecision::COHERENCES.contains(&condition.coherence.abs()));
            assert_eq!(batch.x[i * 7 + 4 + condition.context as usize], 1.0);
            let delay = batch.lengths()[i] - 1 - condition.stimulus.1;
            assert!((3..30).contains(&delay), "{delay}");
            delays.push(delay as f64);
        }
        // An exponential of mean 600 in [300, 3000) has mean 870 or so, of which half a step is cut.
        let mean = 100.0 * delays.iter().sum::<f64>() / 1000.0;
        assert!((mean - 820.0).abs() < 100.0, "{mean}");
        let batch = drawn(&DelayedMatch::new(100.0).unwrap(), 1000, 4);
        assert_eq!(batch.steps(), 32);
        let matches = batch.conditions().iter().filter(|condition| condition.answer == 1).count() as f64;
        assert!((matches - 500.0).abs() < 5.0 * 250_f64.sqrt(), "{matches}");
    }

    #[test]
    fn song_s_task_has_trials_without_a_stimulus() {
        let batch = drawn(&SongDecision::new(20.0).unwrap(), 2200, 4);
        let quiet = batch.conditions().iter().filter(|condition| condition.answer == 0).count() as f64;
        assert!((quiet - 200.0).abs() < 5.0 * 182_f64.sqrt(), "{quiet}");
        assert_eq!(batch.steps(), 100);
        assert!(batch.x.iter().all(|&x| x >= 0.0));
        let i = batch.conditions().iter().position(|condition| condition.answer == 2).unwrap();
        assert_eq!(batch.lengths()[i], 60);
        let row = |t: usize| t * 2200 + i;
        assert_eq!((batch.weights()[row(4)], batch.weights()[row(5)], batch.weights()[row(45)]), (1.0, 0.0, 1.0));
        assert_eq!(batch.values[2 * row(59)..][..2], [0.2, 1.0]);
    }

    #[test]
    fn rows_of_images_come_one_after_the_other() {
        let images = digits(20, 1, 3).train;
        let mut batch = SequenceBatch::new();
        batch.rows_of(&images, &[7, 3]).unwrap();
        assert_eq!((batch.steps(), batch.examples()), (28, 2));
        let mut pixels: Vec<f32> = vec![];
        images.images.gather([3], &mut pixels);
        for t in 0..28 {
            assert_eq!(batch.x[(2 * t + 1) * 28..][..28], pixels[t * 28..][..28]);
        }
        assert!(batch.labels[2 * 27..] == [7, 3] && batch.weights().iter().sum::<f32>() == 2.0);
        let mut outputs = vec![0.0; 28 * 2 * 10];
        outputs[(27 * 2) * 10 + 7] = 1.0;
        assert_eq!(batch.right(MatRef::new(&outputs, 56, 10).unwrap()), [true, false]);
        assert!(batch.rows_of(&images, &[]).is_err());
    }
}
