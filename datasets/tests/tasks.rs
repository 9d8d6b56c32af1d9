//! The tasks: what a trial is made of, and the moments of many.

use interneuron::{Error, Generator, MatRef, generator};
use interneuron_datasets::tasks::{
    Adding, Condition, ContextDecision, DelayedMatch, GradedDecision, PerceptualDecision, SongDecision, Task, Trial,
};
use interneuron_datasets::{Loss, SequenceBatch};

fn drawn(task: &dyn Task, examples: usize, seed: u64) -> SequenceBatch {
    let mut batch = SequenceBatch::new();
    batch.draw(task, examples, &mut generator(seed)).unwrap();
    batch
}

/// All tasks, at all time steps that are published.
fn tasks() -> Vec<Box<dyn Task>> {
    vec![
        Box::new(Adding::new(2).unwrap()),
        Box::new(Adding::new(50).unwrap()),
        Box::new(PerceptualDecision::new(20.0).unwrap()),
        Box::new(PerceptualDecision::new(50.0).unwrap().stimulus(1600.0).unwrap()),
        Box::new(DelayedMatch::new(100.0).unwrap()),
        Box::new(DelayedMatch::new(20.0).unwrap()),
        Box::new(ContextDecision::new(100.0).unwrap()),
        Box::new(ContextDecision::new(20.0).unwrap()),
        Box::new(SongDecision::new(20.0).unwrap()),
        Box::new(GradedDecision::new()),
        Box::new(GradedDecision::new().coherence(0.1).unwrap()),
    ]
}

/// The label, or the values, of an example at a step.
fn label(batch: &SequenceBatch, t: usize, i: usize) -> u32 {
    batch.labels()[t * batch.examples() + i]
}

fn values(batch: &SequenceBatch, t: usize, i: usize) -> [f32; 2] {
    let row = t * batch.examples() + i;
    [batch.values()[2 * row], batch.values()[2 * row + 1]]
}

fn weight(batch: &SequenceBatch, t: usize, i: usize) -> f32 {
    batch.weights()[t * batch.examples() + i]
}

fn within(t: usize, (start, end): (usize, usize)) -> bool {
    (start..end).contains(&t)
}

fn steps((start, end): (usize, usize)) -> usize {
    end - start
}

/// The mean, the variance and the number of some values.
#[derive(Default)]
struct Moments {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count
    }

    fn variance(&self) -> f64 {
        self.squares / self.count - self.mean().powi(2)
    }

    /// Panics unless they can be those of a normal distribution.
    #[track_caller]
    fn assert_normal(&self, mean: f64, deviation: f64) {
        let error = 5.0 * deviation / self.count.sqrt();
        assert!((self.mean() - mean).abs() < error, "mean {}, expected {mean} ± {error}", self.mean());
        let (variance, error) = (deviation.powi(2), 5.0 * deviation.powi(2) * (2.0 / self.count).sqrt());
        assert!(
            (self.variance() - variance).abs() < error,
            "variance {}, expected {variance} ± {error}",
            self.variance()
        );
    }
}

/// Panics unless so many of all can be those that happen with this probability.
#[track_caller]
fn assert_part(happened: usize, all: usize, probability: f64) {
    let (mean, n) = (probability * all as f64, all as f64);
    let error = 5.0 * (n * probability * (1.0 - probability)).sqrt();
    assert!((happened as f64 - mean).abs() < error, "{happened} of {all}, expected {mean} ± {error}");
}

#[test]
fn the_same_seed_draws_the_same_bits() {
    for task in tasks() {
        let (mut one, mut other) = (generator(7), generator(7));
        let (mut first, mut second) = (SequenceBatch::new(), SequenceBatch::new());
        let mut before: Option<SequenceBatch> = None;
        for _ in 0..3 {
            first.draw(&*task, 20, &mut one).unwrap();
            second.draw(&*task, 20, &mut other).unwrap();
            let bits = |batch: &SequenceBatch| -> Vec<u32> {
                let rows = (0..batch.steps()).flat_map(|t| (0..20).map(move |i| (t, i)));
                rows.flat_map(|(t, i)| batch.input(t, i).iter().map(|x| x.to_bits())).collect()
            };
            assert_eq!(bits(&first), bits(&second));
            assert_eq!((first.labels(), first.weights()), (second.labels(), second.weights()));
            assert_eq!((first.values(), first.conditions()), (second.values(), second.conditions()));
            assert!(before.as_ref().is_none_or(|before| bits(before) != bits(&first)), "the next batch is another");
            before = Some(first.clone());
        }
    }
}

#[test]
fn no_trial_is_longer_than_its_task_says_and_padding_is_silent() {
    for task in tasks() {
        let batch = drawn(&*task, 300, 3);
        assert_eq!(batch.lengths().iter().max(), Some(&batch.steps()));
        assert!(batch.steps() <= task.longest());
        for (i, &length) in batch.lengths().iter().enumerate() {
            for t in 0..batch.steps() {
                let x = batch.input(t, i);
                assert!(x.len() == task.inputs() && x.iter().all(|x| x.is_finite()));
                if t >= length {
                    assert!(x.iter().all(|&x| x == 0.0) && weight(&batch, t, i) == 0.0);
                }
            }
            assert_eq!(weight(&batch, length - 1, i), 1.0, "the last step counts");
            let condition = batch.conditions()[i];
            let Condition { fixation, stimulus, delay, test, decision, .. } = condition;
            // The periods that there are follow one another and fill the trial, but for adding and graded decisions.
            let mut end = 0;
            for period in [fixation, stimulus, delay, test, decision].into_iter().filter(|&period| steps(period) > 0) {
                assert_eq!(period.0, end, "{condition:?}");
                end = period.1;
            }
            let whole = condition.answer > 0 || condition.stimulus == (0, 0) && condition.fixation != (0, 0);
            assert!(!whole || end == length, "{condition:?}");
        }
        let zeros = vec![0.0; batch.steps() * 300 * task.outputs()];
        let outputs = MatRef::new(&zeros, batch.steps() * 300, task.outputs()).unwrap();
        assert!(batch.target().unwrap().loss(outputs, None).unwrap().loss > 0.0);
        assert_eq!(task.loss() == Loss::Labels, batch.values().is_empty());
    }
}

#[test]
fn the_marks_of_adding_are_two_steps_anywhere() {
    let (steps, examples) = (10, 20_000);
    let batch = drawn(&Adding::new(steps).unwrap(), examples, 3);
    let mut at = vec![0; steps];
    let (mut drawn, mut error) = (Moments::default(), 0.0);
    for i in 0..examples {
        let mut sum = 0.0;
        let mut marks = 0;
        for (t, at) in at.iter_mut().enumerate() {
            let &[u, p] = batch.input(t, i) else { panic!("two inputs") };
            assert!((0.0..1.0).contains(&u) && (p == 0.0 || p == 1.0));
            drawn.add(f64::from(u));
            sum += u * p;
            marks += p as usize;
            *at += p as usize;
            assert_eq!(weight(&batch, t, i), if t + 1 == steps { 1.0 } else { 0.0 });
        }
        let target = batch.values()[(steps - 1) * examples + i];
        assert!(marks == 2 && (target - sum).abs() < 1e-6, "{marks} marks, {target} for {sum}");
        error += f64::from(target - 1.0).powi(2);
    }
    at.into_iter().for_each(|at| assert_part(at, examples, 0.2));
    assert!((drawn.mean() - 0.5).abs() < 5.0 / (12.0 * drawn.count).sqrt());
    // The square of (u − ½) + (u' − ½) has mean 1/6 and variance 7/180.
    let mean = error / examples as f64;
    assert!((mean - 1.0 / 6.0).abs() < 5.0 * (7.0 / 180.0 / examples as f64).sqrt(), "{mean}");
    assert_eq!(batch.conditions()[0], Condition::default());
}

#[test]
fn a_perceptual_decision_shows_its_evidence_in_the_stimulus_only() {
    for dt in [20.0, 50.0] {
        let batch = drawn(&PerceptualDecision::new(dt).unwrap(), 4000, 5);
        assert!(batch.steps() <= (1300.0 / dt) as usize);
        let mut noise = Moments::default();
        let mut lasting = [[0; 4]; 2];
        let mut zero = [0; 2];
        for (i, c) in batch.conditions().iter().enumerate() {
            let milliseconds = |period| steps(period) as f64 * dt;
            assert_eq!(milliseconds(c.decision), 100.0);
            for (counts, (allowed, period)) in lasting
                .iter_mut()
                .zip([([50.0, 100.0, 200.0, 400.0], c.fixation), ([100.0, 200.0, 400.0, 800.0], c.stimulus)])
            {
                let floor = |ms: f64| (ms / dt).floor() * dt;
                let place = allowed.iter().position(|&ms| floor(ms) == milliseconds(period));
                counts[place.expect("a period that there is")] += 1;
            }
            assert_eq!(c.answer, 1 + c.side);
            if c.coherence == 0.0 {
                zero[c.side as usize] += 1;
            } else {
                assert_eq!(c.coherence < 0.0, c.side == 1);
            }
            for t in 0..batch.lengths()[i] {
                let x = batch.input(t, i);
                if within(t, c.stimulus) {
                    assert_eq!(x[0], 0.0);
                    noise.add(f64::from(x[1]) - 0.5 - c.coherence / 200.0);
                    noise.add(f64::from(x[2]) - 0.5 + c.coherence / 200.0);
                } else {
                    assert_eq!(x, if within(t, c.fixation) { [1.0, 0.0, 0.0] } else { [0.0; 3] });
                }
                assert_eq!(label(&batch, t, i), if within(t, c.decision) { c.answer } else { 0 });
                assert_eq!(weight(&batch, t, i), 1.0);
            }
        }
        lasting.into_iter().flatten().for_each(|count| assert_part(count, 4000, 0.25));
        zero.into_iter().for_each(|count| assert_part(count, 4000, 0.1));
        noise.assert_normal(0.0, 1.0 / dt.sqrt());
    }
}

#[test]
fn a_match_shows_one_channel_twice() {
    for (dt, all) in [(100.0, 32), (20.0, 160)] {
        let batch = drawn(&DelayedMatch::new(dt).unwrap(), 1000, 4);
        assert!(batch.lengths().iter().all(|&length| length == all) && batch.steps() == all);
        let mut noise = Moments::default();
        let (mut matches, mut sides) = (0, 0);
        for (i, c) in batch.conditions().iter().enumerate() {
            let [fixation, sample, delay, test, decision] =
                [c.fixation, c.stimulus, c.delay, c.test, c.decision].map(|period| steps(period) as f64 * dt);
            assert_eq!([fixation, sample, delay, test, decision], [300.0, 500.0, 1000.0, 500.0, 900.0]);
            let tested = if c.answer == 1 { c.side } else { 1 - c.side };
            matches += usize::from(c.answer == 1);
            sides += c.side as usize;
            for t in 0..all {
                let x = batch.input(t, i);
                let shown = [(c.stimulus, c.side), (c.test, tested)].into_iter().find(|&(period, _)| within(t, period));
                match shown {
                    Some((_, channel)) => {
                        for k in 0..2 {
                            let signal = if channel == k as u32 { 1.0 } else { 0.0 };
                            noise.add(f64::from(x[1 + k]) - signal);
                        }
                    }
                    None => assert_eq!(x[1..], [0.0; 2]),
                }
                let due = within(t, c.decision);
                assert_eq!((x[0], label(&batch, t, i)), if due { (0.0, c.answer) } else { (1.0, 0) });
                assert_eq!(weight(&batch, t, i), 1.0);
            }
        }
        assert_part(matches, 1000, 0.5);
        assert_part(sides, 1000, 0.5);
        noise.assert_normal(0.0, 1.0 / dt.sqrt());
    }
}

#[test]
fn the_context_names_the_modality_that_counts() {
    for dt in [100.0, 20.0] {
        let examples = 1000;
        let batch = drawn(&ContextDecision::new(dt).unwrap(), examples, 8);
        let mut noise = Moments::default();
        let (mut contexts, mut same) = (0, 0);
        let mut strengths = [[0; 3]; 2];
        for (i, c) in batch.conditions().iter().enumerate() {
            assert_eq!(steps(c.fixation), (300.0 / dt) as usize);
            assert_eq!(steps(c.stimulus), (750.0 / dt) as usize);
            assert_eq!(steps(c.decision), (100.0 / dt) as usize);
            let named = [c.coherence, c.distraction];
            for (counts, q) in strengths.iter_mut().zip(named) {
                counts[ContextDecision::COHERENCES.iter().position(|&strength| strength == q.abs()).unwrap()] += 1;
            }
            assert!(c.answer == 1 + c.side && (c.coherence < 0.0) == (c.side == 1));
            contexts += usize::from(c.context == 1);
            same += usize::from((c.coherence < 0.0) == (c.distraction < 0.0));
            let modalities = if c.context == 1 { named } else { [named[1], named[0]] };
            for t in 0..batch.lengths()[i] {
                let x = batch.input(t, i);
                assert_eq!(x[5..], if c.context == 1 { [1.0, 0.0] } else { [0.0, 1.0] });
                let due = within(t, c.decision);
                assert_eq!((x[0], label(&batch, t, i)), if due { (0.0, c.answer) } else { (1.0, 0) });
                assert_eq!(weight(&batch, t, i), 1.0);
                if within(t, c.stimulus) {
                    for (modality, q) in modalities.into_iter().enumerate() {
                        noise.add(f64::from(x[1 + 2 * modality]) - 0.5 - q / 200.0);
                        noise.add(f64::from(x[2 + 2 * modality]) - 0.5 + q / 200.0);
                    }
                } else {
                    assert_eq!(x[1..5], [0.0; 4]);
                }
            }
        }
        assert_part(contexts, examples, 0.5);
        assert_part(same, examples, 0.5);
        strengths.into_iter().flatten().for_each(|count| assert_part(count, examples, 1.0 / 3.0));
        noise.assert_normal(0.0, 1.0 / dt.sqrt());
    }
}

#[test]
fn delays_are_those_of_an_exponential_between_its_ends() {
    let dt = 10.0;
    let (mut delays, mut early) = (Moments::default(), 0);
    let count = 4000;
    for seed in 0..10 {
        for c in drawn(&ContextDecision::new(dt).unwrap(), count / 10, seed).conditions() {
            let delay = steps(c.delay) as f64 * dt;
            assert!((300.0..3000.0).contains(&delay), "{delay}");
            delays.add(delay);
            early += usize::from(delay < 600.0);
        }
    }
    // With e = exp(−2700/600) cut away: the mean is 300 + 600 − 2700 e/(1 − e), and whole steps take half of one from it.
    let e = (-2700.0_f64 / 600.0).exp();
    let mean = 900.0 - 2700.0 * e / (1.0 - e) - dt / 2.0;
    assert!((delays.mean() - mean).abs() < 5.0 * (delays.variance() / count as f64).sqrt(), "{}", delays.mean());
    assert_part(early, count, (1.0 - (-0.5_f64).exp()) / (1.0 - e));
}

#[test]
fn song_s_decision_is_between_rates() {
    let (dt, examples) = (20.0, 4400);
    let batch = drawn(&SongDecision::new(dt).unwrap(), examples, 4);
    // Inputs at rest are 6 deviations away from 0, where they would be cut.
    let mut noise = Moments::default();
    let (mut quiet, mut strengths) = (0, [[0; 5]; 2]);
    for (i, c) in batch.conditions().iter().enumerate() {
        if c.answer == 0 {
            quiet += 1;
            assert_eq!((batch.lengths()[i], c.fixation, c.stimulus), (100, (0, 100), (0, 0)));
        } else {
            assert_eq!((c.fixation, c.stimulus, c.decision), ((0, 5), (5, 45), (45, 60)));
            let q = c.coherence.abs() / 3.2;
            let place = SongDecision::COHERENCES.iter().position(|&strength| (strength - q).abs() < 1e-9);
            strengths[c.side as usize][place.expect("a coherence that there is")] += 1;
            assert!(c.answer == 1 + c.side && (c.coherence < 0.0) == (c.side == 1));
        }
        for t in 0..batch.lengths()[i] {
            let x = batch.input(t, i);
            let shown = within(t, c.stimulus);
            for (&x, sign) in x.iter().zip([1.0, -1.0]) {
                let stimulus = if shown { (1.0 + sign * c.coherence / 100.0) / 2.0 } else { 0.0 };
                noise.add(f64::from(x) - 0.2 - stimulus);
                assert!(x >= 0.0);
            }
            assert_eq!(weight(&batch, t, i), if shown { 0.0 } else { 1.0 });
            let up = |output| if within(t, c.decision) && c.answer == output { 1.0 } else { 0.2 };
            assert_eq!(values(&batch, t, i), [up(1), up(2)]);
        }
    }
    assert_part(quiet, examples, 1.0 / 11.0);
    strengths.into_iter().flatten().for_each(|count| assert_part(count, examples, 1.0 / 11.0));
    noise.assert_normal(0.0, 0.01 * (2.0 * 100.0 / dt).sqrt());
}

#[test]
fn a_graded_decision_is_for_the_input_that_was_larger_last() {
    let examples = 4000;
    let batch = drawn(&GradedDecision::new(), examples, 4);
    assert!(batch.lengths().iter().all(|&length| length == 60));
    let (mut noise, mut strength, mut decided, mut first) = (Moments::default(), Moments::default(), 0, 0);
    for (i, c) in batch.conditions().iter().enumerate() {
        let decides = c.answer > 0;
        assert_eq!((c.fixation, c.stimulus), ((0, 10), (10, 31)));
        assert_eq!(c.decision, if decides { (31, 60) } else { (0, 0) });
        if decides {
            let last = batch.input(30, i);
            assert_eq!(c.answer, if last[1] > last[0] { 2 } else { 1 });
            strength.add(c.coherence / 320.0);
            decided += 1;
            first += usize::from(c.answer == 1);
        } else {
            assert_eq!(c.coherence, 0.0);
        }
        for t in 0..60 {
            let shown = within(t, c.stimulus);
            for (&x, sign) in batch.input(t, i).iter().zip([1.0, -1.0]) {
                noise.add(f64::from(x) - 0.2 - if shown { 1.0 + sign * c.coherence / 100.0 } else { 0.0 });
            }
            assert_eq!(weight(&batch, t, i), if decides && shown { 0.0 } else { 1.0 });
            let up = |output| if t >= 10 && c.answer == output { 1.0 } else { 0.2 };
            assert_eq!(values(&batch, t, i), [up(1), up(2)]);
        }
    }
    assert_part(decided, examples, 0.5);
    assert_part(first, decided, 0.5);
    noise.assert_normal(0.0, 0.05);
    // Uniform in ±0.2: of variance 0.04/3, and its square of variance 0.0016·(1/5 − 1/9).
    let count = strength.count;
    assert!(strength.mean().abs() < 5.0 * (0.04 / 3.0 / count).sqrt());
    assert!((strength.squares / count - 0.04 / 3.0).abs() < 5.0 * (0.0016 * (0.2 - 1.0 / 9.0) / count).sqrt());

    let fixed = drawn(&GradedDecision::new().coherence(-0.2).unwrap(), 500, 4);
    assert!(fixed.conditions().iter().all(|c| c.coherence == -64.0 && c.side == 1));
    // 1.28 apart, with noise of 0.05: there is no doubt.
    assert!(fixed.conditions().iter().all(|c| c.answer == 2));
}

/// Panics unless a number is refused.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, message: &str) {
    assert_eq!(result.unwrap_err().to_string(), message);
}

#[test]
fn numbers_that_a_task_cannot_have_are_refused() {
    assert_refused(Adding::new(1), "steps is 1: expected 2 to 1000000");
    assert_refused(Adding::new(1_000_001), "steps is 1000001: expected 2 to 1000000");
    for dt in [0.0, -20.0, 0.99, 100.5, f64::INFINITY, f64::NAN] {
        let message = format!("dt is {dt}: expected 1 to 100 milliseconds");
        assert_refused(DelayedMatch::new(dt), &message);
        assert_refused(ContextDecision::new(dt), &message);
        assert_refused(SongDecision::new(dt), &message);
    }
    assert_refused(PerceptualDecision::new(51.0), "dt is 51: expected 1 to 50 milliseconds");
    let decision = PerceptualDecision::new(20.0).unwrap();
    for stimulus in [0.0, 19.0, 10_001.0, f64::NAN] {
        let message = format!("stimulus is {stimulus}: expected a time step to 10000 milliseconds");
        assert_refused(decision.stimulus(stimulus), &message);
    }
    for q in [-0.21, 0.21, f64::NAN] {
        assert_refused(GradedDecision::new().coherence(q), &format!("coherence is {q}: expected -0.2 to 0.2"));
    }
    let mut batch = drawn(&decision, 4, 1);
    assert_refused(batch.draw(&decision, 0, &mut generator(1)), "examples is 0: expected at least 1");
    assert!(batch.steps() == 0 && batch.x().is_err() && batch.weights().is_empty());
    // More than any memory has.
    let long = Adding::new(1_000_000).unwrap();
    assert!(matches!(batch.draw(&long, usize::MAX / 16, &mut generator(1)), Err(Error::TooLarge { .. })));
}

/// A task of somebody else, which may not keep to what it says.
struct Own {
    steps: usize,
    width: usize,
    labels: bool,
}

impl Task for Own {
    fn inputs(&self) -> usize {
        2
    }

    fn outputs(&self) -> usize {
        3
    }

    fn loss(&self) -> Loss {
        Loss::Labels
    }

    fn longest(&self) -> usize {
        4
    }

    fn draw(&self, trial: &mut Trial, _: &mut Generator) {
        for _ in 0..self.steps {
            match self.labels {
                true => trial.labelled(&[0.5, 1.0, 1.5][..self.width], 2, 1.0),
                false => trial.valued(&[0.5, 1.0, 1.5][..self.width], &[0.0; 3], 1.0),
            }
        }
    }
}

#[test]
fn a_task_of_somebody_else_must_keep_to_what_it_says() {
    let own = |steps, width, labels| {
        let mut batch = SequenceBatch::new();
        batch.draw(&Own { steps, width, labels }, 3, &mut generator(1)).map(|()| batch)
    };
    let batch = own(4, 2, true).unwrap();
    assert_eq!((batch.steps(), batch.labels()), (4, &[2; 12][..]));
    assert!(matches!(own(0, 2, true), Err(Error::Dimension { value: 0, .. })));
    assert!(matches!(own(5, 2, true), Err(Error::Dimension { value: 5, .. })));
    assert_refused(own(4, 3, true), "x of a trial has 12 elements: expected 8");
    assert_refused(own(4, 2, false), "labels of a trial has 0 elements: expected 4");
}

#[test]
fn batches_of_a_task_stay_where_they_are() {
    for task in tasks() {
        let (mut batch, mut rng) = (SequenceBatch::new(), generator(2));
        let places = |batch: &SequenceBatch| {
            let pointers = [batch.input(0, 0).as_ptr(), batch.values().as_ptr(), batch.weights().as_ptr()];
            (pointers, batch.labels().as_ptr(), batch.lengths().as_ptr(), batch.conditions().as_ptr())
        };
        batch.draw(&*task, 5, &mut rng).unwrap();
        let first = places(&batch);
        for _ in 0..50 {
            batch.draw(&*task, 5, &mut rng).unwrap();
            assert_eq!(places(&batch), first);
        }
    }
}
