//! What the kernels should reach.

use super::cases::{Case, Op, Sizes};
use super::report::{Report, Row};
use interneuron::Isa;

/// Which instruction set a target is for.
#[derive(Clone, Copy)]
enum Set {
    Widest,
    Avx2,
}

/// A fraction of the limit to reach: operation, sizes, batch, instruction set, threads, fraction.
type Fraction = (Op, Sizes, usize, Set, usize, f64);

const FRACTIONS: [Fraction; 14] = [
    (Op::Step, Sizes::PAPER, 32, Set::Widest, 1, 0.90),
    (Op::Step, Sizes::PAPER, 32, Set::Widest, 2, 0.82),
    (Op::Step, Sizes::PAPER, 128, Set::Widest, 1, 0.92),
    (Op::Step, Sizes::PAPER, 1024, Set::Widest, 1, 0.92),
    (Op::Step, Sizes::PAPER, 32, Set::Avx2, 1, 0.88),
    (Op::Forward, Sizes::FIRST, 32, Set::Widest, 1, 0.93),
    (Op::Forward, Sizes::FIRST, 1024, Set::Widest, 1, 0.93),
    (Op::Forward, Sizes::DEEPER, 32, Set::Widest, 1, 0.93),
    (Op::Forward, Sizes::DEEPER, 1024, Set::Widest, 1, 0.93),
    (Op::Forward, Sizes::LARGE, 256, Set::Widest, 1, 0.85),
    (Op::Backward, Sizes::LARGE, 256, Set::Widest, 1, 0.85),
    (Op::Update, Sizes::LARGE, 256, Set::Widest, 1, 0.85),
    (Op::ForwardB1, Sizes::LARGE, 1, Set::Widest, 1, 0.85),
    (Op::RnnStep, Sizes::LONG, 64, Set::Widest, 1, 0.75),
];

/// What a figure should be.
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

struct Target {
    description: String,
    bound: Bound,
    measured: Option<f64>,
}

/// The table.
pub fn print(report: &Report) -> String {
    let mut text = format!("\n{:70}  target  measured\n", "targets");
    let ratios = [sweep(report), composed(report), inhibition(report)];
    let baselines = Op::BASELINES.map(|(op, sizes)| baseline(report, op, sizes));
    let optimisers = Op::OPTIMISERS.map(|(op, most)| optimiser(report, op, most));
    let fractions = FRACTIONS.map(|line| fraction(report, line));
    let targets = fractions.into_iter().chain(ratios).chain(baselines).chain(optimisers);
    for Target { description, bound, measured } in targets {
        let (wanted, met) = match bound {
            Bound::AtLeast(low) => (format!("≥ {low:.2}"), measured.map(|value| value >= low)),
            Bound::AtMost(high) => (format!("≤ {high:.2}"), measured.map(|value| value <= high)),
        };
        let measured = measured.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
        let verdict = met.map_or("not measured", |met| if met { "met" } else { "not met" });
        text += &format!("{description:70}  {wanted:>6}  {measured:>8}  {verdict}\n");
    }
    text
}

fn fraction(report: &Report, (op, sizes, batch, set, threads, low): Fraction) -> Target {
    let isa = match set {
        Set::Widest => Some(report.isa),
        Set::Avx2 => Isa::available().find(|isa| isa.name() == "avx2"),
    };
    let name = isa.map_or("avx2", Isa::name);
    let plural = if threads == 1 { "" } else { "s" };
    // Without the instruction set there is no such row; a case without one would be the baseline.
    let row = isa.and_then(|isa| report.row(&Case { op, isa: Some(isa), threads, batch, sizes }));
    Target {
        description: format!("{op} {}, batch {batch}, {name}, {threads} thread{plural}: fraction", sizes.dims()),
        bound: Bound::AtLeast(low),
        measured: row.and_then(|row| row.fraction),
    }
}

fn sweep(report: &Report) -> Target {
    Target {
        description: "sweep: time of a batch ÷ that of any larger one, at worst".to_owned(),
        bound: Bound::AtMost(1.05),
        measured: report.worst(|row| row.us_median).map(|worst| worst.ratio),
    }
}

/// A step at batch 32 on one thread and the widest instruction set.
fn step(report: &Report, op: Op, sizes: Sizes) -> Option<&Row> {
    report.row(&Case { op, isa: Some(report.isa), threads: 1, batch: 32, sizes })
}

fn composed(report: &Report) -> Target {
    Target {
        description: format!("step, batch 32, 1 thread: time of composed ÷ {}", report.isa),
        bound: Bound::AtLeast(2.0),
        measured: step(report, Op::Step, Sizes::PAPER).and_then(|row| row.vs_composed),
    }
}

fn inhibition(report: &Report) -> Target {
    let (dann, mlp) = (step(report, Op::Step, Sizes::PAPER), step(report, Op::MlpStep, Sizes::PLAIN));
    Target {
        description: format!("step ÷ mlp_step, batch 32, {}, 1 thread: ratio of times ÷ of work", report.isa),
        bound: Bound::AtMost(1.02),
        // Time by work is the inverse of a rate.
        measured: dann.zip(mlp).map(|(dann, mlp)| mlp.gflops / dann.gflops),
    }
}

/// The networks that inhibition is compared with are to be as close to the limit.
fn baseline(report: &Report, op: Op, sizes: Sizes) -> Target {
    let (baseline, dann) = (step(report, op, sizes), step(report, Op::Step, Sizes::PAPER));
    Target {
        description: format!("{op}, batch 32, {}, 1 thread: its fraction ÷ that of step", report.isa),
        bound: Bound::AtLeast(1.0),
        measured: baseline.zip(dann).map(|(baseline, dann)| baseline.gflops / dann.gflops),
    }
}

/// What an optimiser costs beside projected descent.
fn optimiser(report: &Report, op: Op, most: f64) -> Target {
    let [it, plain] = [op, Op::Step].map(|op| step(report, op, Sizes::PAPER));
    Target {
        description: format!("{op} ÷ step, batch 32, {}, 1 thread: ratio of times", report.isa),
        bound: Bound::AtMost(most),
        measured: it.zip(plain).map(|(it, plain)| it.us_median / plain.us_median),
    }
}
