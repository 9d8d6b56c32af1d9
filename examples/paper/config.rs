//! The configuration: a list of fields, each with its comment and what it may hold, from which the file, the flags,
//! the checks and `--print-config` all follow.

use super::common::bounds::{CLIPS, MOST_DECAY, MOST_EPOCHS, MOST_IMAGES, MOST_MOMENTUM, MOST_SEED, MOST_THREADS};
use super::common::files::read_text;
use super::common::images::Fingerprint;
use super::common::inputs::{Preparation, Remedy, Standardise};
use super::common::learn::LastBatch;
use super::common::training::{Course, Optimiser, Training};
use super::networks;
use interneuron::{Law, Scheme};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use toml::{Table, Value};

/// Everything that an experiment depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    pub data: String,
    pub drawn_train: usize,
    pub drawn_test: usize,
    #[serde(flatten)]
    pub inputs: Preparation,
    pub networks: Vec<String>,
    pub hidden: Vec<usize>,
    pub interneurons: usize,
    pub column_ratio: usize,
    pub batch: usize,
    pub last_batch: LastBatch,
    pub epochs: usize,
    #[serde(flatten)]
    pub training: Training,
    pub scheme: Start,
    pub seeds: usize,
    pub seed: u64,
    pub trials: usize,
    pub search_epochs: usize,
    pub validation: usize,
    pub natural_batch: usize,
    pub natural_f_lambda: f64,
    pub natural_c: f64,
    pub record: bool,
    pub checkpoints: bool,
    pub threads: usize,
    pub isa: String,
    pub out: String,
    pub rates: BTreeMap<String, Rates>,
    /// What the data are; none before they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

/// How the parameters of networks with interneurons are drawn: [`Scheme`], by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    #[default]
    Matched,
    Independent,
    Centred,
    Lognormal,
}

impl Start {
    const NAMES: &[&str] = &["matched", "independent", "centred", "lognormal"];

    pub fn scheme(self) -> Scheme {
        match self {
            Self::Matched => Scheme::Matched,
            Self::Independent => Scheme::Independent,
            Self::Centred => Scheme::Centred(Law::Exponential),
            Self::Lognormal => Scheme::Centred(Law::Lognormal { k: 1.0 }),
        }
    }
}

/// Learning rates of a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    pub low: f64,
    pub high: f64,
    /// What is used without a search.
    pub known: f64,
}

/// A field of [`Config`].
pub struct Field {
    pub name: &'static str,
    pub about: &'static str,
    pub holds: Holds,
}

/// What a field may hold.
pub enum Holds {
    Text,
    YesOrNo,
    /// A whole number in a range, bounds included.
    Whole(i64, i64),
    /// At least one whole number and at most [`MOST_LAYERS`], each from 1 to a bound.
    Wholes(i64),
    Positive,
    /// A number in a range, bounds included.
    Number(f64, f64),
    /// The largest norm of gradients, or 0 for none.
    Clip,
    /// Above 0, at most 1.
    Fraction,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Names of networks, all different.
    Networks,
}

use Holds::{Clip, Fraction, Networks, Number, Positive, Text, Whole, Wholes, Word, YesOrNo};

/// Units of a layer: two such layers need terabytes.
const MOST_UNITS: i64 = 1_000_000;
/// Hidden layers. Every run keeps a list of them.
const MOST_LAYERS: usize = 100;

const fn field(name: &'static str, holds: Holds, about: &'static str) -> Field {
    Field { name, about, holds }
}

/// All fields but the rates.
pub const FIELDS: &[Field] = &[
    field(
        "data",
        Text,
        "Folder with IDX files named as MNIST's or EMNIST's, plain or .gz; \"\" draws images of digits",
    ),
    field("drawn_train", Whole(1, 1_000_000), "Training images to draw, if they are drawn"),
    field("drawn_test", Whole(1, 1_000_000), "Test images to draw, if they are drawn"),
    field(
        "standardise",
        Word(Standardise::NAMES),
        "Give pixels mean 0 and variance 1 by the training images, those for validation included: no, all (together) or \
         each (by itself)",
    ),
    field(
        "remedy",
        Word(Remedy::NAMES),
        "What makes up for pixels below 0, with which divisive inhibition would be negative: none; shift, which takes \
         from each pixel its smallest value in the training images; or another first layer of networks with \
         interneurons: floor (divisors of 0.01 at least), root (divisors that are roots) or subtractive",
    ),
    field("networks", Networks, "Networks to compare"),
    field("hidden", Wholes(MOST_UNITS), "Units of each hidden layer; the excitatory ones where there are interneurons"),
    field("interneurons", Whole(1, MOST_UNITS), "Interneurons of each hidden layer; the output layer has one"),
    field("column_ratio", Whole(1, MOST_UNITS), "Excitatory units for each inhibitory one in column-ei"),
    field("batch", Whole(1, MOST_IMAGES as i64), "Images of a step"),
    field(
        "last_batch",
        Word(&LastBatch::NAMES),
        "Images that do not fill a batch: spread over the steps of an epoch, or a short last step as in the original \
         experiments",
    ),
    field("epochs", Whole(1, MOST_EPOCHS as i64), "Passes over the training images in a final run"),
    field(
        "optimiser",
        Word(Optimiser::NAMES),
        "What a step makes of the gradients, but for dann-ngd; eg is exponentiated gradient",
    ),
    field("momentum", Number(0.0, MOST_MOMENTUM), "Momentum of sgd and eg, but for dann-ngd"),
    field(
        "weight_decay",
        Number(0.0, MOST_DECAY),
        "Weight decay of all parameters, but for dann-ngd; decoupled with adamw and adamw-eg (PyTorch has 0.01 there)",
    ),
    field("clip", Clip, "Largest norm of the gradients of a network; 0 does not clip"),
    field(
        "schedule",
        Word(Course::NAMES),
        "What the learning rate does: linear and cosine go down to 0 at the end of the last epoch of a run",
    ),
    field(
        "warmup",
        Number(0.0, MOST_EPOCHS as f64),
        "Epochs, or a part of one, in which the learning rate grows first",
    ),
    field("step_every", Whole(1, MOST_EPOCHS as i64), "Epochs after which schedule step multiplies the learning rate"),
    field("step_factor", Number(0.0, 1.0), "What schedule step multiplies it by"),
    field(
        "scheme",
        Word(Start::NAMES),
        "How networks with interneurons are drawn, but for dann-iid: matched, as originally; centred or lognormal, so \
         that subtraction centres every input; independent",
    ),
    field("seeds", Whole(1, 10_000), "Final runs of each network, at seed, seed + 1, ..."),
    field(
        "seed",
        Whole(0, MOST_SEED as i64),
        "Base of all random numbers: parameters, orders, rates, validation, drawn images",
    ),
    field("trials", Whole(0, 10_000), "Learning rates to try for each network; 0 uses the known rates"),
    field("search_epochs", Whole(1, MOST_EPOCHS as i64), "Passes over the training images in a trial"),
    field("validation", Whole(1, MOST_IMAGES as i64), "Training images that trials do not learn but are scored by"),
    field("natural_batch", Whole(1, MOST_IMAGES as i64), "Images of a step of dann-ngd"),
    field("natural_f_lambda", Positive, "Factor of the squared gradients in the Fisher information of dann-ngd"),
    field("natural_c", Fraction, "Weight of a step in the running Fisher information of dann-ngd"),
    field(
        "record",
        YesOrNo,
        "Whether to record after each epoch what every layer does on the first 1000 validation or test images",
    ),
    field("checkpoints", YesOrNo, "Whether to save the networks of the final runs, as networks/*.safetensors"),
    field(
        "threads",
        Whole(0, MOST_THREADS as i64),
        "Runs at a time, each on one thread; 0 is as many as the process may use cores (other programs' variables, such \
         as RAYON_NUM_THREADS or OMP_NUM_THREADS, are not read)",
    ),
    field("isa", Text, "Instruction set, as train --list-isas prints it; \"\" is $INTERNEURON_ISA, or else the widest"),
    field("out", Text, "Folder for all that is written"),
];

const RATES: &str = "Learning rates: trials are spread evenly on a logarithmic scale from low to high, at random; \
                     known is used if trials is 0. The \
                     defaults depend on optimiser and momentum";

const FINGERPRINT: &str =
    "What the data are, wherever they lie: hashes, by which an experiment that goes on knows them";

/// Fields that may differ when an experiment goes on: they change no result. What the data are is seen from their
/// fingerprint.
const FREE: [&str; 3] = ["threads", "out", "data"];
/// Fields that older versions did not have.
const NEWER: [&str; 11] = [
    "standardise",
    "remedy",
    "optimiser",
    "momentum",
    "weight_decay",
    "clip",
    "schedule",
    "warmup",
    "step_every",
    "step_factor",
    "scheme",
];
/// Fields that may grow: what was done stays as it is, and more is done.
const GROWING: [&str; 2] = ["seeds", "trials"];

impl Holds {
    /// What is expected, for people.
    fn expected(&self) -> String {
        match self {
            Text => "text".into(),
            YesOrNo => "true or false".into(),
            Whole(low, i64::MAX) => format!("a whole number, at least {low}"),
            Whole(low, high) => format!("a whole number from {low} to {high}"),
            Wholes(high) => format!("whole numbers, 1 to {MOST_LAYERS} of them, each from 1 to {high}"),
            Positive => "a finite number above 0".into(),
            Number(low, high) => format!("a number from {low} to {high}"),
            Clip => format!("0, or a number from {:e} to {:e}", CLIPS[0], CLIPS[1]),
            Fraction => "a number above 0, at most 1".into(),
            Word(words) => {
                let (last, others) = words.split_last().expect("a word at least");
                format!("{} or {last}", others.join(", "))
            }
            Networks => format!("different names out of {}", networks::names()),
        }
    }

    /// The value, if it may be held.
    fn admit(&self, value: Value) -> Option<Value> {
        let number = || value.as_float().or(value.as_integer().map(|number| number as f64));
        let each = |holds: &dyn Fn(&Value) -> bool| {
            value.as_array().is_some_and(|values| !values.is_empty() && values.iter().all(holds))
        };
        let held = match self {
            Text => value.is_str(),
            YesOrNo => value.is_bool(),
            Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Whole(low, high) => value.as_integer().is_some_and(|number| (*low..=*high).contains(&number)),
            Wholes(high) => {
                let few = value.as_array().is_some_and(|values| values.len() <= MOST_LAYERS);
                few && each(&|value| value.as_integer().is_some_and(|number| (1..=*high).contains(&number)))
            }
            Positive => return number().filter(|&number| positive(number)).map(Value::Float),
            Number(low, high) => return number().filter(|number| (*low..=*high).contains(number)).map(Value::Float),
            Clip => {
                let [low, high] = CLIPS;
                let held = |&clip: &f64| clip == 0.0 || (low..=high).contains(&clip);
                return number().filter(held).map(Value::Float);
            }
            Fraction => return number().filter(|&number| positive(number) && number <= 1.0).map(Value::Float),
            Networks => {
                let names: Vec<&str> = value.as_array()?.iter().filter_map(Value::as_str).collect();
                let new = |(i, name): (usize, &&str)| !names[..i].contains(name);
                each(&|value| value.as_str().and_then(networks::find).is_some()) && names.iter().enumerate().all(new)
            }
        };
        held.then_some(value)
    }

    /// The value that a flag means.
    fn parse(&self, text: &str) -> Option<Value> {
        let list = |of: &dyn Fn(&str) -> Option<Value>| text.split(',').map(of).collect::<Option<Vec<_>>>();
        let value = match self {
            Text | Word(_) => Value::String(text.into()),
            YesOrNo => Value::Boolean(text.parse().ok()?),
            Whole(..) => Value::Integer(text.parse().ok()?),
            Wholes(_) => Value::Array(list(&|text| Some(Value::Integer(text.parse().ok()?)))?),
            Positive | Number(..) | Clip | Fraction => Value::Float(text.parse().ok()?),
            Networks => Value::Array(list(&|text| Some(Value::String(text.into())))?),
        };
        self.admit(value)
    }
}

fn positive(number: f64) -> bool {
    number > 0.0 && (number as f32).is_finite()
}

/// A set of defaults.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// The settings of the original experiments.
    Paper,
    /// Small networks and few images, for a minute or two on a small machine.
    Small,
}

impl Preset {
    pub fn find(name: &str) -> Result<Self, String> {
        match name {
            "paper" => Ok(Self::Paper),
            "small" => Ok(Self::Small),
            _ => Err("expected paper or small".into()),
        }
    }

    fn config(self) -> Config {
        let paper = Config {
            data: String::new(),
            drawn_train: 60_000,
            drawn_test: 10_000,
            inputs: Preparation::default(),
            networks: networks::ALL.iter().map(|kind| kind.name.to_owned()).collect(),
            hidden: vec![500; 3],
            interneurons: 50,
            column_ratio: 10,
            batch: 32,
            last_batch: LastBatch::Spread,
            epochs: 50,
            training: Training::default(),
            scheme: Start::Matched,
            seeds: 5,
            seed: 1,
            trials: 20,
            search_epochs: 50,
            validation: 10_000,
            natural_batch: 250,
            natural_f_lambda: 2.5e-5,
            natural_c: 0.02,
            record: false,
            checkpoints: false,
            threads: 0,
            isa: String::new(),
            out: "runs/paper".into(),
            rates: rates_for(&Training::default()),
            fingerprint: None,
        };
        match self {
            Self::Paper => paper,
            Self::Small => Config {
                drawn_train: 8_000,
                drawn_test: 2_000,
                hidden: vec![100; 3],
                interneurons: 10,
                epochs: 12,
                seeds: 2,
                trials: 4,
                search_epochs: 8,
                validation: 1_000,
                ..paper
            },
        }
    }
}

/// The learning rates of all networks for an optimiser.
fn rates_for(training: &Training) -> BTreeMap<String, Rates> {
    networks::ALL.iter().map(|kind| (kind.name.to_owned(), kind.rates_for(training))).collect()
}

/// A file of fields, read but not yet believed.
#[derive(Default)]
pub struct Source {
    name: String,
    table: Table,
}

/// The most bytes of a file: ten times what `--print-config` prints.
const LONGEST: usize = 1 << 16;
/// The parser lets 80 inline tables nest, each behind a key of 80 parts. To walk through that takes a large stack.
const STACK: usize = 128 << 20;
/// Tables within tables, as far as there are any: `rates`, and one for each network.
const DEEPEST: usize = 3;

impl Source {
    /// Reads a file of at most [`LONGEST`] bytes. Whatever is in it, 16 MiB and a stack are enough to do so.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let text = read_text(path, LONGEST).map_err(|error| format!("{name}: {error}"))?;
        let parse = || {
            let table: Table = text.parse().map_err(|error: toml::de::Error| {
                let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or_default());
                let line = before.matches('\n').count() + 1;
                format!("{name}, line {line}: {}", one_line(error.message()))
            })?;
            match table.iter().find(|(_, value)| depth(value) > DEEPEST) {
                Some((field, _)) => Err(format!("{name}: {}: nested deeper than any field", one_line(field))),
                None => Ok(table),
            }
        };
        let table = thread::scope(|scope| {
            let parser = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, parse);
            parser
                .map_err(|error| format!("{name}: no thread can be started to read it: {error}"))?
                .join()
                .expect("the parser does not panic")
        })?;
        Ok(Self { name, table })
    }

    /// Reads the configuration that an experiment was begun with: no field may be missing but those that older versions
    /// did not have, which were as the defaults are.
    pub fn read_whole(path: &Path) -> Result<Self, String> {
        let source = Self::read(path)?;
        let mut names = FIELDS.iter().map(|field| field.name).chain(["rates", "fingerprint"]);
        match names.find(|name| !source.table.contains_key(*name) && !NEWER.contains(name)) {
            Some(name) => Err(format!("{}: {name} is missing: expected all fields", source.name)),
            None => Ok(source),
        }
    }

    pub fn text(&self, field: &str) -> Option<&str> {
        self.table.get(field)?.as_str()
    }
}

impl Config {
    /// The defaults of a preset, overridden by the fields of a file, overridden by flags. Errors name the field, its
    /// value, and what was expected.
    pub fn new(preset: Preset, source: Source, flags: &[(&'static Field, String)]) -> Result<Self, String> {
        let mut table = to_table(&preset.config());
        let Source { name: file, table: mut fields } = source;
        let given_rates = fields.remove("rates");
        for (name, value) in fields {
            if name == "fingerprint" {
                let known = value.clone().try_into::<Fingerprint>().is_ok();
                let wrong = || format!("{file}: fingerprint is {}: expected four hashes", one_line(&value.to_string()));
                table.insert(name, Some(value.clone()).filter(|_| known).ok_or_else(wrong)?);
                continue;
            }
            let field = FIELDS.iter().find(|field| field.name == name);
            let field = field.ok_or_else(|| {
                let names: Vec<_> = FIELDS.iter().map(|field| field.name).chain(["rates"]).collect();
                format!("{file}: unknown field {}: expected one of {}", one_line(&name), names.join(", "))
            })?;
            let shown = one_line(&value.to_string());
            let wrong = || format!("{file}: {name} is {shown}: expected {}", field.holds.expected());
            table.insert(name.clone(), field.holds.admit(value).ok_or_else(wrong)?);
        }
        for (field, text) in flags {
            let wrong = || format!("{} is {text}: expected {}", flag(field), field.holds.expected());
            table.insert(field.name.into(), field.holds.parse(text).ok_or_else(wrong)?);
        }
        let training = table.clone().try_into::<Self>().map(|config| config.training);
        let training = training.map_err(|error| one_line(error.message()))?;
        let mut rates = Table::try_from(rates_for(&training)).expect("numbers");
        if let Some(given) = given_rates {
            override_rates(&mut rates, given).map_err(|error| format!("{file}: {error}"))?;
        }
        table.insert("rates".into(), Value::Table(rates));
        table.try_into().map_err(|error: toml::de::Error| one_line(error.message()))
    }

    /// Names the first field in which this is not what was `before`, or more of the same.
    pub fn check_extends(&self, before: &Self) -> Result<(), String> {
        let flat = |config| {
            let mut fields = BTreeMap::new();
            flatten("", Value::Table(to_table(config)), &mut fields);
            fields.retain(|name, _| {
                let known = |list: &[&str]| list.contains(&name.as_str());
                !known(&FREE) && !known(&GROWING) && name != "networks" && !name.starts_with("fingerprint.")
            });
            fields
        };
        for (name, now, before) in [("seeds", self.seeds, before.seeds), ("trials", self.trials, before.trials)] {
            if now < before {
                return Err(format!("{name} is {now}: expected at least {before}"));
            }
        }
        if let Some(missing) = before.networks.iter().find(|name| !self.networks.contains(name)) {
            return Err(format!("networks is {:?}: expected {missing} among them", self.networks));
        }
        let (now, before) = (flat(self), flat(before));
        // Both have all fields.
        match now.iter().zip(&before).find(|(now, before)| now != before) {
            Some(((name, now), (_, before))) => Err(format!("{name} is {now}: expected {before}")),
            None => Ok(()),
        }
    }

    /// The configuration as a file, with a comment for each field.
    pub fn print(&self) -> String {
        let table = to_table(self);
        let field = |field: &Field| format!("# {}\n{} = {}\n\n", field.about, field.name, table[field.name]);
        let rates = |kind: &networks::Kind| {
            let Rates { low, high, known } = self.rates[kind.name];
            let [low, high, known] = [low, high, known].map(Value::Float);
            format!("# {}\n[rates.{}]\nlow = {low}\nhigh = {high}\nknown = {known}\n", kind.about, kind.name)
        };
        let rates: Vec<String> = networks::ALL.iter().map(rates).collect();
        let fingerprint = self.fingerprint.as_ref().map(|_| {
            let hashes = table["fingerprint"].as_table().expect("a table of hashes");
            let lines = hashes.iter().map(|(name, hash)| format!("{name} = {hash}\n"));
            format!("\n# {FINGERPRINT}\n[fingerprint]\n{}", lines.collect::<String>())
        });
        FIELDS.iter().map(field).collect::<String>()
            + &format!("# {RATES}\n\n")
            + &rates.join("\n")
            + &fingerprint.unwrap_or_default()
    }
}

/// The name of the flag that overrides a field.
pub fn flag(field: &Field) -> String {
    format!("--{}", field.name.replace('_', "-"))
}

fn to_table(config: &Config) -> Table {
    Table::try_from(config).expect("numbers that fit in TOML's")
}

/// Takes over what `[rates.NAME]` says.
fn override_rates(rates: &mut Table, value: Value) -> Result<(), String> {
    let wrong = |name: &str, value: &Value, expected: &str| {
        Err(format!("{name} is {}: expected {expected}", one_line(&value.to_string())))
    };
    let Value::Table(networks) = value else {
        return wrong("rates", &value, "tables such as [rates.mlp]");
    };
    for (network, value) in networks {
        let Some(Value::Table(known)) = rates.get_mut(&network) else {
            let network = one_line(&network);
            return Err(format!("unknown field rates.{network}: expected one of {}", networks::names()));
        };
        let Value::Table(given) = value else {
            return wrong(&format!("rates.{network}"), &value, "a table with low, high and known");
        };
        for (name, value) in given {
            let full = format!("rates.{network}.{name}");
            if !known.contains_key(&name) {
                return Err(format!("unknown field {}: expected low, high or known", one_line(&full)));
            }
            match Positive.admit(value.clone()) {
                Some(value) => known.insert(name, value),
                None => return wrong(&full, &value, &Positive.expected()),
            };
        }
        if known["low"].as_float() > known["high"].as_float() {
            return wrong(&format!("rates.{network}.low"), &known["low"], &format!("at most high, {}", known["high"]));
        }
    }
    Ok(())
}

/// Fields of tables within tables get names with dots.
fn flatten(name: &str, value: Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let name = if name.is_empty() { key } else { format!("{name}.{key}") };
                flatten(&name, value, into);
            }
        }
        value => {
            into.insert(name.into(), value.to_string());
        }
    }
}

/// How deep values lie within a value.
fn depth(value: &Value) -> usize {
    let within = match value {
        Value::Table(table) => table.values().map(depth).max(),
        Value::Array(values) => values.iter().map(depth).max(),
        _ => None,
    };
    1 + within.unwrap_or_default()
}

/// On one line, and without the end of what is too long to be read.
fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MOST) {
        line.replace_range(end.., " …");
    }
    line
}
