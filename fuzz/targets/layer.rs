//! One layer of any kind, shape and content against the reference, on a drawn instruction set and number of threads.
//!
//! Numbers begin as those of a problem of the tests and are then edited: to zeros, subnormal, huge, infinite, NaN, or
//! any bits. What must hold depends on what they are:
//!
//! - always: no crash; the same bits from any number of threads, and from gradients and update in one pass or apart;
//! - in rows of `x` whose numbers are finite: outputs as if the other rows were zero, unless the batch is normalised;
//! - if all numbers are finite: f64 results close to the reference, which no f32 number can make overflow;
//! - if they are of moderate size: f32 results close to it, too.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::problem::{Expected, KINDS, Outcome, Problem, run};
use common::{Tolerance, bits};
use interneuron::*;
use std::sync::OnceLock;

/// A problem and how to solve it. Numbers are taken modulo what there is.
#[derive(Arbitrary, Debug)]
struct Input {
    kind: u8,
    dims: [u8; 4],
    relu: bool,
    seed: u8,
    isa: u8,
    threads: u8,
    rule: Rule,
    edits: Vec<Edit>,
}

/// A number that is replaced.
#[derive(Arbitrary, Debug)]
struct Edit {
    array: u8,
    index: u16,
    /// How many numbers from there on.
    count: u8,
    number: Number,
}

#[derive(Arbitrary, Debug)]
enum Number {
    Zero,
    NegativeZero,
    Subnormal,
    Tiny,
    Large,
    Huge,
    Largest,
    Infinity,
    NegativeInfinity,
    Nan,
    /// As it was, with the other sign.
    Negated,
    Bits(u32),
}

#[derive(Arbitrary, Debug)]
enum Rule {
    Plain { corrections: bool, rate: u8 },
    Momentum { nesterov: bool, floor: bool },
    Exponentiated { momentum: bool, rate: u8 },
    Moments { exponentiated: bool, amsgrad: bool, sums: bool },
    Clip { clip: u8 },
    Angle { rates: u8 },
}

impl Number {
    fn replace(&self, x: f64) -> f64 {
        f64::from(match self {
            Self::Zero => 0.0,
            Self::NegativeZero => -0.0,
            Self::Subnormal => f32::MIN_POSITIVE / 64.0,
            Self::Tiny => 1e-20,
            Self::Large => 1e5,
            Self::Huge => 1e25,
            Self::Largest => f32::MAX,
            Self::Infinity => f32::INFINITY,
            Self::NegativeInfinity => f32::NEG_INFINITY,
            Self::Nan => f32::NAN,
            Self::Negated => -(x as f32),
            Self::Bits(bits) => f32::from_bits(*bits),
        })
    }
}

impl Rule {
    fn update(&self) -> Update {
        const RATES: [f64; 6] = [0.0, 1e-6, 0.01, 0.3, 100.0, 1e30];
        let rate = |i: &u8| RATES[usize::from(*i) % RATES.len()];
        let decay = PerRole::all(0.1).with(Role::Weights, 0.01);
        match self {
            Self::Plain { corrections, rate: i } => Update { corrections: *corrections, ..Update::sgd(rate(i)) },
            Self::Momentum { nesterov, floor } => {
                let floor = floor.then_some(1e-3);
                Update { momentum: PerRole::all(0.9), nesterov: *nesterov, floor, decay, ..Update::csgd(0.1) }
            }
            Self::Exponentiated { momentum, rate: i } => {
                Update { momentum: PerRole::all(if *momentum { 0.5 } else { 0.0 }), decay, ..Update::eg(rate(i)) }
            }
            Self::Moments { exponentiated, amsgrad, sums } => {
                let rule = if *exponentiated { Update::adamw_eg(0.1) } else { Update::adamw(0.1) };
                let adam = Some(Adam { amsgrad: *amsgrad, ..Adam::default() });
                Update { adam, kept_sums: sums.then_some(KeptSums::Row), corrections: true, ..rule }
            }
            Self::Clip { clip } => Update { clip: Some((f64::from(*clip) / 2.0 - 64.0).exp2()), ..Update::csgd(0.1) },
            Self::Angle { rates } => {
                let angle = Angle { lr_min: 1e-4, rates: 1 + usize::from(*rates), cosine_epsilon: 0.01 };
                Update { angle: Some(angle), ..Update::sgd(0.1) }
            }
        }
    }
}

impl Input {
    fn problem(&self) -> Problem {
        // The first stands there twice.
        let kinds = &KINDS[1..];
        let kind = kinds[usize::from(self.kind) % kinds.len()];
        // Few of them large: the reference is slow, and every tile is smaller than 33.
        let size = |i: usize| 1 + usize::from(self.dims[i]) % if i == usize::from(self.seed) % 8 { 100 } else { 34 };
        let mut problem = Problem::new((size(0), size(1), size(2), size(3)), kind, self.relu, self.seed.into());
        for edit in &self.edits {
            let mut arrays: Vec<&mut [f64]> = vec![&mut problem.x, &mut problem.dh];
            arrays.extend(problem.params.view_mut().arrays().into_iter().map(|(_, array)| array));
            arrays.retain(|array| !array.is_empty());
            let choice = usize::from(edit.array) % arrays.len();
            let array = &mut arrays[choice];
            let start = usize::from(edit.index) % array.len();
            let end = array.len().min(start + 1 + usize::from(edit.count));
            array[start..end].iter_mut().for_each(|x| *x = edit.number.replace(*x));
        }
        problem
    }
}

/// All inputs of a problem.
fn numbers(problem: &Problem) -> impl Iterator<Item = f64> {
    let params = problem.params.view().arrays().into_iter().flat_map(|(_, array)| array);
    problem.x.iter().chain(&problem.dh).chain(params).copied()
}

/// A pool of 2 to 4 threads.
fn pool(threads: u8) -> &'static Threads {
    static POOLS: OnceLock<Vec<Threads>> = OnceLock::new();
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().into();
    let pools = POOLS.get_or_init(|| (2..=4).map(pool).collect());
    &pools[usize::from(threads) % pools.len()]
}

fn assert_same<T: Element>(what: &str, a: &Outcome<T>, b: &Outcome<T>) {
    for ((name, a), (_, b)) in a.arrays().into_iter().zip(b.arrays()) {
        assert_eq!(bits(a), bits(b), "{what}: {name}");
    }
}

/// What must hold of all numbers. Returns the results.
fn check<T: Tolerance>(problem: &Problem, isa: Isa, threads: u8, update: &Update) -> Outcome<T> {
    let serial = run::<T>(problem, isa, Threads::Serial, update);
    assert_same("threads", &serial, &run::<T>(problem, isa, pool(threads).clone(), update));
    let mut apart = problem.params::<T>();
    let layer = Layer::new(problem.shape, &isa.into()).unwrap();
    layer.apply(&mut apart, &mut State::new(), update, &serial.gradients).unwrap();
    assert_same("update apart", &serial, &Outcome { updated: apart, ..serial.clone() });

    let (d, ne) = (problem.shape.inputs(), problem.shape.outputs());
    let finite = |row: &[f64]| row.iter().all(|x| x.is_finite());
    if !matches!(problem.shape, LayerShape::Norm(NormShape { over: Normalisation::Batch, .. })) && !finite(&problem.x) {
        let mut silent = problem.clone();
        silent.x.chunks_exact_mut(d).filter(|row| !finite(row)).for_each(|row| row.fill(0.0));
        let silent = run::<T>(&silent, isa, Threads::Serial, update);
        for (i, x) in problem.x.chunks_exact(d).enumerate().filter(|(_, x)| finite(x)) {
            let row = |h: &[T]| bits(&h[i * ne..][..ne]);
            assert_eq!(row(&serial.h), row(&silent.h), "row {i} of h, {x:?}");
            let row = |dx: &[T]| bits(&dx[i * d..][..d]);
            assert_eq!(row(&serial.dx), row(&silent.dx), "row {i} of dx, {x:?}");
        }
    }
    serial
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let problem = input.problem();
    let update = input.rule.update();
    let isas: Vec<Isa> = Isa::available().collect();
    let isa = isas[usize::from(input.isa) % isas.len()];
    let narrow = check::<f32>(&problem, isa, input.threads, &update);
    let wide = check::<f64>(&problem, isa, input.threads, &update);

    // Policies are compared with the reference by the tests, with gradients of a size that they are meant for.
    let Rule::Plain { rate, .. } = input.rule else { return };
    let bounded = |low: f64, high: f64| numbers(&problem).all(|x| x == 0.0 || (low..high).contains(&x.abs()));
    if !bounded(0.0, f64::INFINITY) || rate % 6 > 3 {
        return;
    }
    let want = Expected::new(&problem, &update);
    // Two right answers differ at a kink, and where a result is not finite rounding decides which it is.
    let exists = want.outcome.arrays().into_iter().all(|(_, array)| array.iter().all(|x| x.is_finite()));
    if want.at_a_kink || !exists {
        return;
    }
    want.assert(&format!("{isa}, f64"), &wide);
    if bounded(1e-6, 1e6) {
        want.assert(&format!("{isa}, f32"), &narrow);
    }
});
