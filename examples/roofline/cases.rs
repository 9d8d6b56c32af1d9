//! What is measured.

use super::args::Plan;
use interneuron::{
    Architecture, DannShape, DenseShape, Divisor, Error, Isa, LayerShape, PerRole, RecurrentShape, Update,
};
use serde::{Serialize, Serializer};
use std::fmt;

/// What a case does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Multiply-adds in registers alone: the limit of computing.
    Peak,
    /// Reading a long array: the limit of memory.
    Read,
    /// A train step.
    Step,
    /// A train step of a plain network.
    MlpStep,
    /// A train step of a plain network with layer normalisation.
    LayerNormStep,
    /// A train step of a plain network with batch normalisation.
    BatchNormStep,
    /// A train step of a network with sign-constrained columns.
    ColumnStep,
    /// A train step with momentum.
    MomentumStep,
    /// A train step with AdamW.
    AdamwStep,
    /// A train step through time of a network with inhibition that subtracts.
    RnnStep,
    /// The same with division.
    DivisiveRnnStep,
    /// A train step through time of a plain network.
    PlainRnnStep,
    /// A layer, forward, with nothing kept for a backward pass.
    Forward,
    /// The gradient of a layer's input.
    Backward,
    /// The fused update of a layer, without the gradient of its input.
    Update,
    /// One example through a layer.
    ForwardB1,
    /// A train step at one of many batches.
    Sweep,
}

impl Op {
    pub fn name(self) -> &'static str {
        match self {
            Self::Peak => "peak",
            Self::Read => "read",
            Self::Step | Self::Sweep => "step",
            Self::MlpStep => "mlp_step",
            Self::LayerNormStep => "layer_norm_step",
            Self::BatchNormStep => "batch_norm_step",
            Self::ColumnStep => "column_ei_step",
            Self::MomentumStep => "momentum_step",
            Self::AdamwStep => "adamw_step",
            Self::RnnStep => "rnn_step",
            Self::DivisiveRnnStep => "divisive_rnn_step",
            Self::PlainRnnStep => "plain_rnn_step",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Update => "update",
            Self::ForwardB1 => "forward_b1",
        }
    }

    /// The steps of the networks that the one with inhibition is compared with.
    pub const BASELINES: [(Self, Sizes); 4] = [
        (Self::MlpStep, Sizes::PLAIN),
        (Self::LayerNormStep, Sizes::PLAIN),
        (Self::BatchNormStep, Sizes::PLAIN),
        (Self::ColumnStep, Sizes::COLUMNS),
    ];

    /// The steps with other optimisers, and how many times as long as [`Op::Step`] they may take: momentum is read and
    /// written beside each weight, and both of Adam's moments are.
    pub const OPTIMISERS: [(Self, f64); 2] = [(Self::MomentumStep, 1.15), (Self::AdamwStep, 1.35)];

    /// The steps through time.
    pub const THROUGH_TIME: [Self; 3] = [Self::RnnStep, Self::DivisiveRnnStep, Self::PlainRnnStep];

    /// Whether it is a train step of a whole network.
    pub fn is_step(self) -> bool {
        matches!(self, Self::Step | Self::Sweep)
            || Self::THROUGH_TIME.contains(&self)
            || Self::BASELINES.iter().any(|(op, _)| *op == self)
            || Self::OPTIMISERS.iter().any(|(op, _)| *op == self)
    }

    /// How a train step updates the parameters.
    pub fn update(self, lr: f64) -> Update {
        match self {
            Self::MomentumStep => Update { momentum: PerRole::all(0.9), ..Update::csgd(lr) },
            Self::AdamwStep => Update { corrections: true, ..Update::adamw(lr) },
            _ => Update::csgd(lr),
        }
    }

    /// Whether it is a limit rather than something that has one.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::Peak | Self::Read)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Inputs and units of the layers of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Sizes {
    /// Inputs, then the excitatory units of each layer.
    pub dims: &'static [usize],
    /// Interneurons of each layer; none at all in a plain network.
    pub inhibitory: &'static [usize],
    /// Steps through time, in which all layers but the last are recurrent, with as many interneurons in either leg; 1
    /// where there is no time.
    pub steps: usize,
}

impl Sizes {
    /// No layers: the limits have none.
    pub const NONE: Self = Self { dims: &[], inhibitory: &[], steps: 1 };
    /// The network of Cornford et al. (2021).
    pub const PAPER: Self = Self { dims: &[784, 500, 500, 500, 10], inhibitory: &[50, 50, 50, 1], steps: 1 };
    /// The same with one interneuron a layer.
    pub const ONE: Self = Self { inhibitory: &[1, 1, 1, 1], ..Self::PAPER };
    /// As many units in all, of which every eleventh hidden one is inhibitory.
    pub const COLUMNS: Self = Self { dims: &[784, 550, 550, 550, 10], inhibitory: &[], steps: 1 };
    /// The same without inhibition.
    pub const PLAIN: Self = Self { inhibitory: &[], ..Self::PAPER };
    /// Its first layer.
    pub const FIRST: Self = Self { dims: &[784, 500], inhibitory: &[50], steps: 1 };
    /// Its other hidden layers.
    pub const DEEPER: Self = Self { dims: &[500, 500], inhibitory: &[50], steps: 1 };
    /// A layer that no cache holds.
    pub const LARGE: Self = Self { dims: &[4096, 4096], inhibitory: &[409], steps: 1 };
    /// Rows of MNIST, one after the other, as published.
    pub const ROWS: Self = Self { dims: &[28, 100, 10], inhibitory: &[10, 1], steps: 28 };
    /// A decision, as published.
    pub const DECISION: Self = Self { dims: &[3, 125, 3], inhibitory: &[25, 1], steps: 60 };
    /// As many units as such networks have, and as many steps.
    pub const LONG: Self = Self { dims: &[10, 1000, 3], inhibitory: &[100, 1], steps: 300 };
    /// Each with the examples of a step.
    pub const THROUGH_TIME: [(Self, usize); 3] = [(Self::ROWS, 32), (Self::DECISION, 200), (Self::LONG, 64)];

    /// The shapes of the layers. Nonlinearities are those of hidden layers; they matter to no size and no count.
    pub fn shapes(self, op: Op) -> impl Iterator<Item = LayerShape> {
        let last = self.dims.len().saturating_sub(2);
        self.dims.windows(2).enumerate().map(move |(k, dims)| match self.inhibitory.get(k) {
            _ if self.steps > 1 && k < last => match (op, self.inhibitory[k]) {
                (Op::PlainRnnStep, _) => RecurrentShape::plain(dims[0], dims[1]).into(),
                (Op::DivisiveRnnStep, ni) => {
                    let shape = RecurrentShape::dann(dims[0], dims[1], ni, ni);
                    shape.divisive(Divisor::Plain).learned_state().into()
                }
                (_, ni) => RecurrentShape::dann(dims[0], dims[1], ni, ni).into(),
            },
            Some(_) if op == Op::PlainRnnStep => DenseShape::new(dims[0], dims[1]).linear().into(),
            Some(&ni) if self.steps > 1 => DannShape::new(dims[0], dims[1], ni).subtractive().linear().into(),
            Some(&ni) => DannShape::new(dims[0], dims[1], ni).into(),
            None => DenseShape::new(dims[0], dims[1]).into(),
        })
    }

    /// Elements of the matrices of the first layer: `Wex`, `Wix` and `Wei`.
    pub fn weights(self) -> usize {
        let (d, ne, ni) = self.first();
        ne * d + ni * d + ne * ni
    }

    /// Inputs, excitatory and inhibitory units of the first layer.
    fn first(self) -> (usize, usize, usize) {
        (self.dims[0], self.dims[1], self.inhibitory.first().copied().unwrap_or(0))
    }

    /// The dimensions as `784-500`, and the steps, if there are some.
    pub fn dims(self) -> String {
        let steps = if self.steps > 1 { format!(" × {}", self.steps) } else { String::new() };
        join(self.dims) + &steps
    }

    /// The interneurons as `50-1`.
    pub fn inhibitory(self) -> String {
        join(self.inhibitory)
    }
}

fn join(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    pub op: Op,
    /// None for the composed baseline.
    #[serde(serialize_with = "isa_name")]
    pub isa: Option<Isa>,
    pub threads: usize,
    /// 0 for limits.
    pub batch: usize,
    #[serde(flatten)]
    pub sizes: Sizes,
}

fn isa_name<S: Serializer>(isa: &Option<Isa>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(isa.map_or(Case::COMPOSED, Isa::name))
}

impl Case {
    const COMPOSED: &str = "composed";

    /// A limit.
    pub fn limit(op: Op, isa: Isa, threads: usize) -> Self {
        Self { op, isa: Some(isa), threads, batch: 0, sizes: Sizes::NONE }
    }

    /// The network of a step.
    pub fn architecture(&self) -> Result<Architecture, Error> {
        /// Excitatory units for each inhibitory one.
        const RATIO: usize = 10;
        let Sizes { dims, inhibitory, .. } = self.sizes;
        match self.op {
            op if Op::THROUGH_TIME.contains(&op) => Architecture::of(self.sizes.shapes(op).collect()),
            Op::LayerNormStep => Architecture::layer_norm(dims),
            Op::BatchNormStep => Architecture::batch_norm(dims),
            Op::ColumnStep => Architecture::column_ei(dims, RATIO, 0.5),
            _ if inhibitory.is_empty() => Architecture::mlp(dims),
            _ => Architecture::dann(dims, inhibitory),
        }
    }

    /// The name of what computes.
    pub fn isa(&self) -> &'static str {
        self.isa.map_or(Self::COMPOSED, Isa::name)
    }

    /// Useful floating-point operations of a call.
    ///
    /// A layer's train step has `3·2·B·d·(ne+ni) + 12·B·ne·ni`. Its parts, measured one by one, have
    ///
    /// ```text
    /// forward     2·B·d·(ne+ni) +  4·B·ne·ni     zE, zI;       s, γ
    /// backward    2·B·d·(ne+ni) +  4·B·ne·ni     dx;           P, Q
    /// update      2·B·d·(ne+ni) +  8·B·ne·ni     dWex, dWix;   P, Q, and both terms of dWei
    /// together  3·2·B·d·(ne+ni) + 16·B·ne·ni
    /// ```
    ///
    /// where `P = du Wei` and `Q = dγ Wei`, `4·B·ne·ni` in all, occur twice, as each of the last two parts needs them.
    /// A step computes them once: `16 − 4 = 12`.
    pub fn flops(&self) -> f64 {
        let Self { op, batch, sizes, .. } = *self;
        match op {
            Op::Peak | Op::Read => 0.0,
            op if op.is_step() => {
                // The readout sees the last step alone.
                let rows = |shape: &LayerShape| if shape.is_recurrent() { sizes.steps * batch } else { batch };
                let shapes = sizes.shapes(op).enumerate();
                shapes.map(|(k, shape)| shape.train_flops(rows(&shape), k > 0)).sum()
            }
            Op::Backward | Op::Update => {
                let (d, ne, ni) = sizes.first();
                let with_wei = if op == Op::Backward { 4 } else { 8 };
                (batch * (2 * d * (ne + ni) + with_wei * ne * ni)) as f64
            }
            _ => sizes.shapes(op).map(|shape| shape.forward_flops(batch)).sum(),
        }
    }
}

/// Everything that is measured, in the order of the tables.
pub fn all(plan: &Plan) -> Vec<Case> {
    let Plan { isas, threads, batches, .. } = plan;
    let widest = [plan.widest()];
    // AVX2 has fewer registers, which asks for other kernels, so it is looked at more closely too.
    let two: Vec<Isa> = isas.iter().copied().filter(|isa| widest.contains(isa) || isa.name() == "avx2").collect();
    let mut list = List(vec![]);
    list.fused(Op::Peak, Sizes::NONE, &[0], isas, threads);
    list.fused(Op::Read, Sizes::NONE, &[0], isas, threads);
    list.fused(Op::Step, Sizes::PAPER, &[32], isas, threads);
    list.fused(Op::Step, Sizes::PAPER, &[128, 1024], &widest, threads);
    list.composed(Op::Step, Sizes::PAPER, &[32, 128, 1024]);
    list.fused(Op::Step, Sizes::ONE, &[32], &widest, threads);
    for (op, sizes) in Op::BASELINES {
        list.fused(op, sizes, &[32], if op == Op::MlpStep { isas } else { &widest }, threads);
    }
    list.composed(Op::MlpStep, Sizes::PLAIN, &[32]);
    for (op, _) in Op::OPTIMISERS {
        list.fused(op, Sizes::PAPER, &[32], &two, threads);
    }
    for (sizes, batch) in Sizes::THROUGH_TIME.into_iter().filter(|(sizes, _)| plan.long || *sizes != Sizes::LONG) {
        list.fused(Op::RnnStep, sizes, &[batch], if sizes == Sizes::LONG { &widest } else { &two }, threads);
        for op in [Op::DivisiveRnnStep, Op::PlainRnnStep] {
            list.fused(op, sizes, &[batch], &widest, &[1]);
        }
    }
    for op in [Op::Forward, Op::Backward, Op::Update] {
        for sizes in [Sizes::FIRST, Sizes::DEEPER] {
            list.fused(op, sizes, &[32, 1024], &two, &[1]);
        }
        list.fused(op, Sizes::LARGE, &[256], &widest, threads);
    }
    // The baseline computes all gradients at once, so it has nothing to set beside `Backward` and `Update`.
    for (sizes, batches) in [(Sizes::FIRST, &[32, 1024][..]), (Sizes::DEEPER, &[32, 1024]), (Sizes::LARGE, &[256])] {
        list.composed(Op::Forward, sizes, batches);
    }
    list.fused(Op::ForwardB1, Sizes::LARGE, &[1], &two, threads);
    list.fused(Op::Sweep, Sizes::PAPER, batches, &widest, &[1]);
    list.0
}

/// A list that grows by all combinations.
struct List(Vec<Case>);

impl List {
    fn fused(&mut self, op: Op, sizes: Sizes, batches: &[usize], isas: &[Isa], threads: &[usize]) {
        for &batch in batches {
            for &isa in isas {
                let case = |&threads| Case { op, isa: Some(isa), threads, batch, sizes };
                self.0.extend(threads.iter().map(case));
            }
        }
    }

    fn composed(&mut self, op: Op, sizes: Sizes, batches: &[usize]) {
        self.0.extend(batches.iter().map(|&batch| Case { op, isa: None, threads: 1, batch, sizes }));
    }
}
