//! The networks that are compared. Everything that is particular to one is in its entry of [`ALL`].

use super::common::inputs::Preparation;
use super::common::training::{Optimiser, Training};
use super::config::{Config, Rates};
use interneuron::{Architecture, Error, Natural, Scheme, Update};
use interneuron_datasets::TrainTest;

/// A kind of network, and how it is trained.
pub struct Kind {
    pub name: &'static str,
    pub about: &'static str,
    /// Where its learning rate is searched for, and the one that is known to be good for MNIST.
    pub rates: Rates,
    pub architecture: fn(&Sizes) -> Result<Architecture, Error>,
    pub update: fn(f64, &Config) -> Update,
    /// The field of the configuration that holds its batch, and what it holds.
    pub batch: fn(&Config) -> (&'static str, usize),
}

impl Kind {
    /// Its learning rates where another optimiser takes the steps. Those of the natural gradient stay as they are, as
    /// does its update.
    pub fn rates_for(&self, training: &Training) -> Rates {
        let plain = self.rates;
        if self.has_own_update() {
            return plain;
        }
        match training.optimiser {
            Optimiser::Sgd => {
                let [low, high, known] = [plain.low, plain.high, plain.known].map(|rate| training.scaled(rate));
                Rates { low, high, known }
            }
            Optimiser::Eg => {
                let [low, high, known] = [0.01, 3.0, 0.1].map(|rate| training.scaled(rate));
                Rates { low, high, known }
            }
            Optimiser::Adamw => Rates { low: 1e-4, high: 0.03, known: 0.001 },
            Optimiser::AdamwEg => Rates { low: 0.001, high: 0.1, known: 0.01 },
        }
    }

    /// Whether no other optimiser takes the place of its own.
    fn has_own_update(&self) -> bool {
        self.name == "dann-ngd"
    }

    /// Its update at a learning rate.
    pub fn update_at(&self, rate: f64, config: &Config) -> Update {
        let own = (self.update)(rate, config);
        if self.has_own_update() {
            let steps = Training { clip: config.training.clip, ..Training::default() }.update(own);
            return Update { clip: steps.clip, clip_scope: steps.clip_scope, ..own };
        }
        config.training.update(own)
    }
}

/// All networks, in the order of the table. The known rates of mlp, column-ei, dann, dann-nc and dann-ngd are those of
/// the original experiments, and variants have that of the network which they are a variant of. Only dann-iid cannot:
/// about one network in ten diverges at any rate, but more at larger ones.
pub const ALL: &[Kind] = &[
    Kind {
        name: "mlp",
        about: "plain layers",
        rates: Rates { low: 0.01, high: 2.0, known: 0.2976 },
        architecture: |sizes| Architecture::mlp(&sizes.dims),
        update: |rate, _| Update::sgd(rate),
        batch: ordinary_batch,
    },
    Kind {
        name: "layer-norm",
        about: "plain layers with layer normalisation",
        rates: Rates { low: 0.01, high: 2.0, known: 0.2976 },
        architecture: |sizes| Architecture::layer_norm(&sizes.dims),
        update: |rate, _| Update::sgd(rate),
        batch: ordinary_batch,
    },
    Kind {
        name: "batch-norm",
        about: "plain layers with batch normalisation",
        rates: Rates { low: 0.01, high: 2.0, known: 0.2976 },
        architecture: |sizes| Architecture::batch_norm(&sizes.dims),
        update: |rate, _| Update::sgd(rate),
        batch: ordinary_batch,
    },
    Kind {
        name: "column-ei",
        about: "Dale's principle by columns of one sign; as many units in all as the others with inhibition",
        rates: Rates { low: 0.003, high: 0.5, known: 0.05273 },
        architecture: |sizes| Architecture::column_ei(&sizes.totals(), sizes.column_ratio, sizes.mean_input),
        update: |rate, _| Update::sgd(rate),
        batch: ordinary_batch,
    },
    Kind {
        name: "dann",
        about: "excitatory units and interneurons, corrected updates",
        rates: Rates { low: 0.01, high: 1.0, known: 0.1107 },
        architecture: dann,
        update: |rate, _| Update::csgd(rate),
        batch: ordinary_batch,
    },
    Kind {
        name: "dann-nc",
        about: "dann without corrections",
        rates: Rates { low: 0.0003, high: 0.1, known: 0.003981 },
        architecture: dann,
        update: |rate, _| Update::sgd(rate),
        batch: ordinary_batch,
    },
    Kind {
        name: "dann-one",
        about: "dann with one interneuron a layer",
        rates: Rates { low: 0.01, high: 1.0, known: 0.1107 },
        architecture: dann_of_one,
        update: |rate, _| Update::csgd(rate),
        batch: ordinary_batch,
    },
    Kind {
        name: "dann-iid",
        about: "dann with inhibition drawn independently of the excitation",
        rates: Rates { low: 0.001, high: 0.05, known: 0.01 },
        architecture: |sizes| {
            sizes.inputs.first_layer(Architecture::dann(&sizes.dims, &sizes.interneurons)?.iid_inhibition())
        },
        update: |rate, _| Update::csgd(rate),
        batch: ordinary_batch,
    },
    Kind {
        name: "dann-sub",
        about: "dann with subtractive inhibition only",
        rates: Rates { low: 0.001, high: 1.0, known: 0.1107 },
        architecture: |sizes| Ok(dann(sizes)?.subtractive()),
        update: |rate, _| Update::csgd(rate),
        batch: ordinary_batch,
    },
    Kind {
        name: "dann-ngd",
        about: "dann with one interneuron a layer, by the diagonal natural gradient",
        rates: Rates { low: 10.0, high: 1000.0, known: 300.0 },
        architecture: dann_of_one,
        update: |rate, &Config { natural_f_lambda: f_lambda, natural_c: c, .. }| {
            Update::natural(rate, Natural { f_lambda, c, ..Natural::default() })
        },
        batch: |config| ("natural_batch", config.natural_batch),
    },
];

fn dann(sizes: &Sizes) -> Result<Architecture, Error> {
    sizes.inputs.first_layer(Architecture::dann(&sizes.dims, &sizes.interneurons)?.init(sizes.scheme))
}

fn dann_of_one(sizes: &Sizes) -> Result<Architecture, Error> {
    let interneurons = vec![1; sizes.interneurons.len()];
    sizes.inputs.first_layer(Architecture::dann(&sizes.dims, &interneurons)?.init(sizes.scheme))
}

fn ordinary_batch(config: &Config) -> (&'static str, usize) {
    ("batch", config.batch)
}

/// The network of a name.
pub fn find(name: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name)
}

/// The names of all networks, for people.
pub fn names() -> String {
    ALL.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

/// What the sizes of a network follow from.
pub struct Sizes {
    /// The inputs, then the units of each layer; only excitatory ones where there are interneurons.
    pub dims: Vec<usize>,
    /// The interneurons of each layer; the output layer has one.
    pub interneurons: Vec<usize>,
    pub column_ratio: usize,
    /// Mean of the training pixels, as networks see them.
    pub mean_input: f64,
    /// What inputs ask of the first layer, where there are interneurons.
    pub inputs: Preparation,
    /// How networks with interneurons are drawn.
    pub scheme: Scheme,
}

impl Sizes {
    pub fn new(config: &Config, data: &TrainTest, outputs: usize) -> Self {
        Self {
            column_ratio: config.column_ratio,
            scheme: config.scheme.scheme(),
            mean_input: data.train.images.mean(),
            inputs: config.inputs,
            dims: [&[data.train.images.size()][..], &config.hidden, &[outputs]].concat(),
            interneurons: [vec![config.interneurons; config.hidden.len()], vec![1]].concat(),
        }
    }

    /// As `dims`, with the interneurons counted among the units of hidden layers.
    fn totals(&self) -> Vec<usize> {
        let hidden = 1..self.dims.len() - 1;
        let with = |(k, &units)| {
            let interneurons = if hidden.contains(&k) { self.interneurons[k - 1] } else { 0 };
            usize::saturating_add(units, interneurons)
        };
        self.dims.iter().enumerate().map(with).collect()
    }
}
