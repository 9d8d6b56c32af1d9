//! One run: a network, trained and tested epoch by epoch.

use super::args::{Args, Model};
use super::common::output::note;
use super::common::progress::{Screen, brief, left};
use super::common::{interrupt, learn};
use super::networks::{architecture, leak, schedule, update};
use super::trials::Trials;
use interneuron::{
    Context, Error, Generator, Isa, Layer, LayerShape, MatMut, MatRef, Network, Sequences, Tape, Threads, generator,
};
use interneuron_datasets::{Loss, SequenceBatch};
use rand_distr::{Distribution, StandardNormal};
use serde::Serialize;
use std::time::Instant;

/// What became of a network.
pub struct Run {
    pub record: Record,
    pub net: Network<f32>,
}

/// What the results hold of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub model: String,
    pub seed: u64,
    pub lr: f64,
    pub isa: String,
    pub threads: usize,
    /// finished, diverged or unfinished
    pub status: &'static str,
    /// Where and why it diverged, if it did.
    pub diverged: Option<Diverged>,
    pub epochs: Vec<Epoch>,
    pub step_us_median: f64,
    /// Sequences learnt in a second, drawing included.
    pub sequences_per_second: f64,
    /// How often answer 1 was given, for each coherence in percent that speaks for it; empty in tasks without.
    pub psychometric: Vec<Point>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Diverged {
    /// The steps taken before.
    pub step: u64,
    pub lr: f64,
    pub why: String,
}

/// An epoch of a run; the training loss is the mean of its updates, the others are those at its end.
#[derive(Clone, Debug, Serialize)]
pub struct Epoch {
    pub epoch: usize,
    pub train_loss: f64,
    pub test_loss: f64,
    /// In percent; none where there are no labels.
    pub test_error: Option<f64>,
    /// Time of training in this epoch, without the test.
    pub seconds: f64,
}

/// A point of a psychometric curve.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    pub coherence: f64,
    /// The part of the trials with answer 1 or 2 in which it was 1.
    pub first: f64,
    pub trials: usize,
}

/// Noise `ξ = √(2/κ)·σ·N` for the units of each recurrent layer; none where σ is 0.
struct Noise {
    deviation: f32,
    units: Vec<usize>,
    rng: Generator,
    values: Vec<Vec<f32>>,
}

impl Noise {
    fn new(args: &Args, net: &Network<f32>) -> Self {
        let units = |shape: LayerShape| match shape {
            LayerShape::Recurrent(shape) => shape.ne,
            _ => 0,
        };
        let deviation = if args.task.is_cognitive() { args.noise * (2.0 / leak(args)).sqrt() } else { 0.0 };
        let units: Vec<usize> = net.shapes().map(units).collect();
        Self { deviation: deviation as f32, values: vec![vec![]; units.len()], units, rng: generator(args.seed) }
    }

    /// Draws that of so many rows.
    fn draw(&mut self, rows: usize) {
        let Self { deviation, units, rng, values } = self;
        for (values, &units) in values.iter_mut().zip(&*units) {
            values.clear();
            values.extend(
                (0..rows * units)
                    .map(|_| *deviation * <StandardNormal as Distribution<f32>>::sample(&StandardNormal, rng)),
            );
        }
    }

    fn of_layers(&self, rows: usize) -> Result<Vec<Option<MatRef<'_, f32>>>, Error> {
        let layers = self.values.iter().zip(&self.units);
        layers.map(|(values, &units)| (units > 0).then(|| MatRef::new(values, rows, units)).transpose()).collect()
    }
}

/// Trains a network. A loss that is not finite ends the run but is no error.
pub fn train(
    model: Model,
    args: &Args,
    isa: Isa,
    trials: &Trials,
    threads: &Threads,
    screen: &Screen,
) -> Result<Run, Error> {
    let context = Context::from(isa).with_threads(threads.clone());
    let mut net: Network<f32> = architecture(args, model, trials.inputs, trials.outputs)?.build(&context)?;
    let mut record = Record {
        model: model.name().to_owned(),
        seed: args.seed,
        lr: args.lr(model),
        isa: isa.name().to_owned(),
        threads: threads.count(),
        status: "unfinished",
        diverged: None,
        epochs: vec![],
        step_us_median: 0.0,
        sequences_per_second: 0.0,
        psychometric: vec![],
    };
    let schedule = schedule(args, model)?;
    let (mut noise, mut course) = (Noise::new(args, &net), trials.course());
    let (epochs, updates) = (args.epochs(), trials.updates());
    let template = "{prefix:8} {bar:30} {percent:>3} %  {rate} updates  {eta} left  {msg}";
    let bar = screen.bar((epochs * updates) as u64, template, model.name());
    let (began, mut step_us) = (Instant::now(), vec![]);
    'epochs: for number in 1..=epochs {
        let (start, mut losses) = (Instant::now(), 0.0);
        for _ in 0..updates {
            if interrupt::requested() {
                break 'epochs;
            }
            course.next()?;
            let (x, target) = (course.batch.x()?, course.batch.target()?);
            if noise.deviation > 0.0 {
                noise.draw(x.rows());
            }
            let layers = if noise.deviation > 0.0 { noise.of_layers(x.rows())? } else { vec![] };
            let lr = schedule.rate(net.steps() + 1);
            let step = Instant::now();
            match net.train_step(x.noise(&layers), target, &update(args, model, lr)) {
                Ok(loss) => losses += loss,
                Err(error @ (Error::Diverged { .. } | Error::Divisor { .. })) => {
                    let why = error.to_string();
                    record.diverged = Some(Diverged { step: net.steps(), lr, why });
                    break 'epochs;
                }
                Err(error) => return Err(error),
            }
            step_us.push(step.elapsed().as_secs_f64() * 1e6);
            bar.advance(1);
        }
        let seconds = start.elapsed().as_secs_f64();
        let (test_loss, test_error) = test(&mut net, trials)?;
        if let Some(why) = learn::diverged(&net, test_loss, number, record.lr) {
            record.diverged = Some(Diverged { step: net.steps(), lr: record.lr, why });
            break;
        }
        let epoch = Epoch { epoch: number, train_loss: losses / updates as f64, test_loss, test_error, seconds };
        let told = match epoch.test_error {
            Some(error) => format!("test error {error:.2} %"),
            None => format!("test loss {test_loss:.5}"),
        };
        bar.message(|| told.clone());
        if !screen.has_bars() {
            let (train_loss, left) = (epoch.train_loss, brief(left(began.elapsed(), number as f64, epochs as f64)));
            note(format_args!("{model:8} epoch {number:>3}/{epochs}  train loss {train_loss:.4}  {told}  {left} left"));
        }
        record.epochs.push(epoch);
        if number == epochs {
            record.status = "finished";
        }
    }
    bar.keep();
    if let Some(Diverged { why, .. }) = &record.diverged {
        record.status = "diverged";
        screen.note(format_args!("{model} stopped: {why}"));
    }
    step_us.sort_by(f64::total_cmp);
    record.step_us_median = step_us.get(step_us.len() / 2).copied().unwrap_or_default();
    let seconds: f64 = record.epochs.iter().map(|epoch| epoch.seconds).sum();
    let sequences = (record.epochs.len() * updates * args.batch()) as f64;
    record.sequences_per_second = if seconds > 0.0 { sequences / seconds } else { 0.0 };
    if args.task.is_cognitive() && record.diverged.is_none() {
        record.psychometric = psychometric(&mut net, trials)?;
    }
    Ok(Run { record, net })
}

/// The outputs for a batch of the test.
fn outputs(net: &mut Network<f32>, batch: &SequenceBatch) -> Result<Vec<f32>, Error> {
    let x = batch.x()?;
    let (rows, columns) = (x.rows(), net.outputs());
    let mut outputs = vec![0.0; rows * columns];
    net.logits(x, MatMut::new(&mut outputs, rows, columns)?)?;
    Ok(outputs)
}

/// The loss on the sequences of the test, and the part of them that is answered wrong at the last step, in percent.
fn test(net: &mut Network<f32>, trials: &Trials) -> Result<(f64, Option<f64>), Error> {
    let (mut loss, mut weight, mut right, mut all) = (0.0, 0.0, 0, 0);
    for batch in &trials.tests {
        let outputs = outputs(net, batch)?;
        let matrix = MatRef::new(&outputs, batch.steps() * batch.examples(), net.outputs())?;
        let weights: f64 = batch.weights().iter().copied().map(f64::from).sum();
        loss += weights * batch.target()?.loss(matrix, None)?.loss;
        weight += weights;
        if trials.loss == Loss::Labels {
            right += batch.right(matrix).into_iter().filter(|&right| right).count();
            all += batch.examples();
        }
    }
    Ok((loss / weight, (all > 0).then(|| 100.0 * (all - right) as f64 / all as f64)))
}

/// How often answer 1 is given, by the evidence for it.
fn psychometric(net: &mut Network<f32>, trials: &Trials) -> Result<Vec<Point>, Error> {
    let mut points: Vec<(f64, usize, usize)> = vec![];
    for batch in &trials.tests {
        let (outputs, examples, columns) = (outputs(net, batch)?, batch.examples(), net.outputs());
        for (i, condition) in batch.conditions().iter().enumerate().filter(|(_, c)| c.answer > 0) {
            let row = &outputs[((batch.lengths()[i] - 1) * examples + i) * columns..][..columns];
            // The two answers are the last outputs: where there are three, the first is to fixate.
            let first = row[columns - 2] > row[columns - 1];
            let place = points.iter().position(|point| point.0 == condition.coherence).unwrap_or_else(|| {
                points.push((condition.coherence, 0, 0));
                points.len() - 1
            });
            points[place].1 += usize::from(first);
            points[place].2 += 1;
        }
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(points
        .into_iter()
        .map(|(coherence, first, trials)| Point { coherence, first: first as f64 / trials as f64, trials })
        .collect())
}

/// What each unit of the first layer does at each step, on average over the trials of the test with the strongest
/// evidence for an answer.
pub fn activity(run: &Run, trials: &Trials, answer: u32) -> Result<Vec<Vec<f64>>, Error> {
    let Some(batch) = trials.tests.first() else { return Ok(vec![]) };
    let shape = run.net.shapes().next().expect("a network has a layer");
    let layer = Layer::<f32>::new(shape, run.net.context())?;
    let x: Sequences<'_, f32> = batch.x()?;
    let (rows, units, examples) = (x.rows(), shape.outputs(), batch.examples());
    let mut h = vec![0.0; rows * units];
    let params = run.net.params().next().expect("a network has a layer");
    layer.infer(params, &mut Tape::new(), x, MatMut::new(&mut h, rows, units)?)?;
    let strongest = batch.conditions().iter().map(|c| c.coherence.abs()).fold(0.0, f64::max);
    let of_answer = |c: &&interneuron_datasets::tasks::Condition| c.answer == answer && c.coherence.abs() == strongest;
    let chosen: Vec<usize> =
        (0..examples).filter(|&i| Some(&batch.conditions()[i]).filter(of_answer).is_some()).collect();
    let shortest = chosen.iter().map(|&i| batch.lengths()[i]).min().unwrap_or(0);
    let mean = |t: usize, unit: usize| {
        let sum: f64 = chosen.iter().map(|&i| f64::from(h[(t * examples + i) * units + unit])).sum();
        sum / chosen.len() as f64
    };
    Ok((0..units).map(|unit| (0..shortest).map(|t| mean(t, unit)).collect()).collect())
}
