//! Checkpoints: what is loaded goes on to the same bits, and a bad file is refused with an error that says why.

mod common;

use common::bits;
use interneuron::checkpoint::{Run, load, save, save_plan};
use interneuron::*;
use rand::RngExt;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const DIMS: [usize; 4] = [9, 13, 7, 3];
const NIS: [usize; 3] = [4, 2, 1];
const BATCH: usize = 6;

fn architectures() -> [Architecture; 10] {
    let dann = Architecture::dann(&DIMS, &NIS).unwrap();
    let others = [
        Architecture::mlp(&DIMS),
        Architecture::layer_norm(&DIMS),
        Architecture::batch_norm(&DIMS),
        Architecture::column_ei(&DIMS, 3, 0.5),
    ];
    let [mlp, layer_norm, batch_norm, columns] = others.map(Result::unwrap);
    let floor = dann.clone().divisor(Divisor::floor(0.1).unwrap()).subtractive_layer(1).unwrap();
    let floor = floor.divisor_layer(2, Divisor::Root).unwrap();
    let [divisive, state, plain] = recurrent();
    let all = [dann.clone(), dann.subtractive(), mlp, layer_norm, batch_norm, columns, floor, divisive, state, plain];
    all.map(|architecture| architecture.seed(5))
}

/// Networks with states, of each kind and form.
fn recurrent() -> [Architecture; 3] {
    let [inputs, below, above, outputs] = DIMS;
    let rate = Dynamics::Rate(Leak::new(0.3).unwrap());
    let divisive = RecurrentShape::dann(inputs, below, 3, 2).divisive(Divisor::Root).dynamics(rate).learned_state();
    let subtractive = RecurrentShape::dann(below, above, 2, 1);
    let readout = DannShape::new(above, outputs, 1).linear();
    let divisive = vec![divisive.into(), subtractive.into(), readout.into()];
    let state = Dynamics::State(Leak::per_unit());
    let below_columns = RecurrentShape::columns(inputs, below, 2, 3).visible(below - 1).no_self().dynamics(state);
    let above_columns = RecurrentShape::columns(below - 1, above, 2, 2).unsigned().learned_state();
    let readout = DenseShape::new(above, outputs).linear();
    let columns = vec![below_columns.into(), above_columns.into(), readout.into()];
    let rate = Dynamics::Rate(Leak::per_unit());
    let plain = RecurrentShape::plain(inputs, above).dynamics(rate).no_self().visible(3);
    let plain = vec![plain.into(), DenseShape::new(3, outputs).linear().into()];
    [divisive, columns, plain].map(|layers| Architecture::of(layers).unwrap())
}

/// Whether there is no natural gradient of it: the examples of batch normalisation have no gradients of their own, and
/// through time there is none.
fn is_without_natural(architecture: &Architecture) -> bool {
    let batch_norm = Architecture::batch_norm(&DIMS).unwrap();
    std::iter::once(batch_norm).chain(recurrent()).any(|other| other.seed(5) == *architecture)
}

/// Rules that keep something from step to step, or nothing.
fn updates() -> [Update; 8] {
    let momentum = Update { momentum: PerRole::all(0.9), ..Update::csgd(0.02) };
    let eg = Update { momentum: PerRole::all(0.5), ..Update::eg(0.02) };
    let amsgrad = Some(Adam { amsgrad: true, ..Adam::default() });
    [
        Update::csgd(0.02),
        momentum,
        eg,
        Update::natural(0.02, Natural::default()),
        Update { adam: amsgrad, ..Update::adamw(0.02) },
        Update { dampening: 0.25, decay: PerRole::all(0.01), ..eg },
        Update { kept_sums: Some(KeptSums::Array), ..Update::adamw_eg(0.02) },
        Update { kept_sums: Some(KeptSums::Row), ..momentum },
    ]
}

/// Steps on batches that the run's generator draws; returns the bits of the losses.
fn steps<T: Element>(net: &mut Network<T>, run: &mut Run, count: usize, update: &Update) -> Vec<u64> {
    let mut step = || {
        let x: Vec<T> = (0..BATCH * DIMS[0]).map(|_| T::from_f64(run.generator.random_range(0.0..1.0))).collect();
        let labels: Vec<u32> = (0..BATCH).map(|_| run.generator.random_range(0..3)).collect();
        // Three steps of two examples, where there are states.
        let x = Sequences::new(MatRef::new(&x, BATCH, DIMS[0]).unwrap(), 3).unwrap();
        net.train_step(x, &labels, update).unwrap().to_bits()
    };
    (0..count).map(|_| step()).collect()
}

fn all_bits<T: Element>(net: &Network<T>) -> Vec<Vec<u64>> {
    net.params().flat_map(|params| params.arrays()).map(|(_, array)| bits(array)).collect()
}

/// A network with the same parameters, and with what is kept of them set by names.
fn rebuilt<T: Element>(net: &Network<T>) -> Network<T> {
    let (plan, params, mut state) = net.clone().into_parts();
    let shapes: Vec<LayerShape> = plan.shapes().collect();
    for (shape, (params, kept)) in shapes.iter().zip(params.iter().zip(state.layers_mut())) {
        let before = std::mem::take(kept);
        let schema = shape.schema().unwrap();
        for (name, arrays) in before.iter() {
            let len = |parameter| State::<T>::dimensions(name, parameter).map_or(0, |sizes| sizes.iter().product());
            assert!(arrays.view().iter().map(<[T]>::len).eq(schema.iter().map(len)), "{name}");
            kept.set(shape, params, name, arrays.view().iter()).unwrap();
        }
        assert!(*kept == before);
    }
    let mut told = TrainState::of_line(&state.to_line()).unwrap();
    *told.layers_mut() = std::mem::take(state.layers_mut());
    let wrong = ["".into(), "1".into(), format!("-{}", state.to_line()), format!("{}x", state.to_line())];
    assert!(wrong.iter().all(|line| TrainState::<T>::of_line(line).is_none()));
    Network::new(plan, params, told).unwrap()
}

#[test]
fn what_steps_keep_can_be_taken_out_and_set() {
    for architecture in architectures() {
        for update in updates() {
            if update.natural.is_some() && is_without_natural(&architecture) {
                continue;
            }
            let mut net: Network<f32> = architecture.build(&Context::new().unwrap()).unwrap();
            let mut run = Run::new(11);
            steps(&mut net, &mut run, 3, &update);
            let mut other = rebuilt(&net);
            let again = steps(&mut other, &mut run.clone(), 3, &update);
            assert_eq!(again, steps(&mut net, &mut run, 3, &update), "{update:?}");
            assert_eq!(all_bits(&other), all_bits(&net), "{update:?}");
        }
    }
}

#[test]
fn what_no_step_keeps_cannot_be_set() {
    let shape = DenseShape::new(2, 1);
    let params = Params::<f32>::zeros(&shape).unwrap();
    let mut state = State::new();
    state.set(&shape, &params, "velocity", [&[1.0, 2.0][..], &[3.0]]).unwrap();
    let before = state.clone();
    let mut refused = |name: &str, arrays: [&[f32]; 2]| {
        let error = state.set(&shape, &params, name, arrays).unwrap_err().to_string();
        assert!(state == before);
        error
    };
    assert!(refused("speed", [&[1.0, 2.0], &[3.0]]).starts_with("something else that a step keeps is not supported"));
    assert_eq!(refused("velocity", [&[1.0], &[3.0]]), "W has 1 element: expected 2");
    assert_eq!(refused("velocity", [&[1.0, f32::NAN], &[3.0]]), "W[1] is NaN: expected a finite number");
    assert_eq!(refused("square", [&[1.0, 1.0], &[-3.0]]), "b[0] is -3: expected a finite number ≥ 0");
    assert!(refused("negative", [&[], &[-1.0]]).starts_with("b[0] is -1: expected"));
    let other = DenseShape::new(3, 1);
    let error = state.set(&other, &Params::zeros(&other).unwrap(), "square", [&[1.0; 3][..], &[1.0]]).unwrap_err();
    assert_eq!(error, Error::Length { name: "W", len: 2, expected: 3 });
}

#[test]
fn a_loaded_run_goes_on_to_the_same_bits() {
    fn check<T: Element>(architecture: &Architecture, file: &Path, update: &Update) {
        let mut net: Network<T> = architecture.build(&Context::new().unwrap()).unwrap();
        let mut run = Run::new(11);
        run.generator.set_stream(3);
        // An odd number of words, so that the generator stops inside a block.
        let _: u32 = run.generator.random();
        steps(&mut net, &mut run, 5, update);
        save(file, &net, &run).unwrap();
        let (mut loaded, mut loaded_run) = load::<T>(file, &net.isa().into()).unwrap();
        assert_eq!((loaded.steps(), loaded_run.seed), (5, 11));
        assert!(loaded.shapes().eq(net.shapes()));
        assert_eq!(all_bits(&loaded), all_bits(&net));
        assert!(loaded.state().layers().eq(net.state().layers()), "{update:?}");
        let both = [(&mut loaded, &mut loaded_run), (&mut net, &mut run)];
        let [again, losses] = both.map(|(net, run)| steps(net, run, 5, update));
        assert_eq!(again, losses, "{update:?}");
        assert_eq!(all_bits(&loaded), all_bits(&net));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.safetensors");
    for architecture in architectures() {
        for update in updates() {
            if update.natural.is_some() && is_without_natural(&architecture) {
                continue;
            }
            check::<f32>(&architecture, &file, &update);
            check::<f64>(&architecture, &file, &update);
        }
    }
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["net.safetensors"]);
}

/// The tensors and metadata of a file, to be changed and written as any other program would.
#[derive(Clone)]
struct Contents {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

impl Contents {
    fn of<T: Element>(net: &Network<T>, folder: &Path) -> Self {
        let file = folder.join("contents.safetensors");
        save(&file, net, &Run::new(1)).unwrap();
        Self::read(&file)
    }

    fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).unwrap();
        let parsed = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |(name, view): (&str, TensorView<'_>)| {
            (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        };
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        Self { tensors: parsed.iter().map(tensor).collect(), metadata: header.metadata().clone().unwrap() }
    }

    fn bytes(&self) -> Vec<u8> {
        let views = self
            .tensors
            .iter()
            .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    fn set(&mut self, name: &str, index: usize, value: f32) {
        let (_, _, data) = self.tensors.get_mut(name).unwrap();
        data[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
    }

    /// Leaves no tensor. (A file with neither tensors nor metadata is none for the package.)
    fn clear(&mut self) {
        self.tensors.clear();
        self.metadata.insert("step".to_owned(), "1".to_owned());
    }

    fn rename(&mut self, from: &str, to: &str) {
        let tensor = self.tensors.remove(from).unwrap();
        self.tensors.insert(to.to_owned(), tensor);
    }
}

fn dann() -> Network<f32> {
    architectures()[0].build(&Context::new().unwrap()).unwrap()
}

/// The error of a file with these bytes, without its path.
fn refused<T: Element>(bytes: &[u8], folder: &Path) -> String {
    let file = folder.join("bad.safetensors");
    std::fs::write(&file, bytes).unwrap();
    match load::<T>(&file, &Isa::best().into()) {
        Err(Error::File { path, reason }) => {
            assert_eq!(path, file.display().to_string());
            reason
        }
        other => panic!("{:?}", other.map(|(net, _)| net)),
    }
}

/// What is done to inputs is saved with the network that sees them, in its element type.
#[test]
fn a_scaler_is_saved_and_refused_like_other_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scaled.safetensors");
    let net = dann();
    let offset: Vec<f64> = (0..DIMS[0]).map(|i| 0.1 * i as f64 - 0.3).collect();
    let scaler = Scaler::new(offset.clone(), vec![1.5; DIMS[0]]).unwrap();
    save(&file, &net, &Run { scaler: Some(scaler), ..Run::new(1) }).unwrap();
    let (loaded, run) = load::<f32>(&file, &Isa::best().into()).unwrap();
    let single = offset.iter().map(|&x| f64::from(x as f32)).collect();
    assert_eq!(run, Run { scaler: Some(Scaler::new(single, vec![1.5; DIMS[0]]).unwrap()), ..Run::new(1) });
    assert_eq!(all_bits(&loaded), all_bits(&net));
    save(&file, &loaded, &run).unwrap();
    assert_eq!(load::<f32>(&file, &Isa::best().into()).unwrap().1, run);

    let contents = Contents::read(&file);
    type Change = fn(&mut Contents);
    let cases: [(Change, &str); 5] = [
        (|c| drop(c.tensors.remove("inputs.offset")), "no tensor inputs.offset"),
        (|c| drop(c.tensors.remove("inputs.scale")), "no tensor inputs.scale"),
        (|c| c.set("inputs.offset", 2, f32::NAN), "inputs.offset[2] is NaN: expected a finite number"),
        (|c| c.set("inputs.scale", 0, 0.0), "inputs.scale[0] is 0: expected a finite number > 0"),
        (
            |c| drop(c.tensors.insert("inputs.scale".into(), c.tensors["layers.0.b"].clone())),
            "inputs.scale is [13] of F32: expected [9] of F32",
        ),
    ];
    for (change, expected) in cases {
        let mut contents = contents.clone();
        change(&mut contents);
        assert_eq!(refused::<f32>(&contents.bytes(), folder.path()), expected);
    }
    let before = std::fs::read(&file).unwrap();
    for (offset, expected) in [
        (vec![0.0; 3], "the scaler has 3 inputs: expected 9, those of the network"),
        (vec![1e300; 9], "inputs.offset[0] is inf: expected a finite number"),
    ] {
        let scale = vec![1.0; offset.len()];
        let run = Run { scaler: Some(Scaler::new(offset, scale).unwrap()), ..Run::new(1) };
        let error = save(&file, &net, &run).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
    assert!(std::fs::read(&file).unwrap() == before);
}

#[test]
fn a_file_without_metadata_is_a_fresh_run() {
    let folder = tempfile::tempdir().unwrap();
    let net = dann();
    let mut contents = Contents::of(&net, folder.path());
    contents.metadata.clear();
    let file = folder.path().join("plain.safetensors");
    std::fs::write(&file, contents.bytes()).unwrap();
    let (loaded, mut run) = load::<f32>(&file, &Isa::best().into()).unwrap();
    assert!(loaded.shapes().eq(net.shapes()), "ReLU, and the identity at the end");
    assert_eq!(all_bits(&loaded), all_bits(&net));
    assert_eq!((loaded.steps(), run.seed), (0, 0));
    assert_eq!(run.generator.random::<u64>(), generator(0).random::<u64>());
}

#[test]
fn bad_tensors_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = Contents::of(&dann(), folder.path());
    type Change = fn(&mut Contents);
    let cases: [(Change, &str); 16] = [
        (|c| c.set("layers.1.Wei", 3, -0.5), "layer 1: Wei[3] is -0.5: expected a finite number ≥ 0"),
        (|c| c.set("layers.0.b", 2, f32::NAN), "layer 0: b[2] is NaN: expected a finite number"),
        (|c| c.set("layers.2.alpha", 0, f32::INFINITY), "layer 2: alpha[0] is inf: expected a finite number"),
        (|c| drop(c.tensors.remove("layers.1.Wix")), "no tensor layers.1.Wix"),
        (|c| drop(c.tensors.remove("layers.1.g")), "no tensor layers.1.g"),
        (|c| drop(c.tensors.remove("layers.1.alpha")), "layers.1.g is no tensor of such a layer"),
        (|c| c.rename("layers.1.b", "layers.1.bias"), "no tensor layers.1.b"),
        (|c| c.rename("layers.1.b", "b"), "tensor \"b\": expected a name such as layers.0.Wex"),
        (|c| c.rename("layers.1.b", "layers.-1.b"), "tensor \"layers.-1.b\": expected a name such as layers.0.Wex"),
        (|c| c.rename("layers.1.b", "layers.01.b"), "tensor \"layers.01.b\": expected a name such as layers.0.Wex"),
        (|c| c.clear(), "no tensors: expected those of a layer at least"),
        (|c| c.tensors.retain(|name, _| !name.starts_with("layers.1.")), "no tensors of layer 1, but some of layer 2"),
        (
            |c| c.tensors.get_mut("layers.0.g").unwrap().1 = vec![13, 1],
            "layers.0.g is [13, 1] of F32: expected [13] of F32",
        ),
        (
            |c| c.tensors.get_mut("layers.0.g").unwrap().0 = Dtype::I32,
            "layers.0.g is [13] of I32: expected [13] of F32",
        ),
        (
            |c| c.tensors.get_mut("layers.0.Wex").unwrap().1 = vec![9 * 13],
            "layers.0.Wex is [117]: expected two dimensions",
        ),
        // Nothing is allocated for the billions of weights that the first dimension promises.
        (
            |c| *c.tensors.get_mut("layers.0.Wix").unwrap() = (Dtype::F32, vec![1 << 40, 0], vec![]),
            "layers.0.Wix is [1099511627776, 0] of F32: expected [1099511627776, 9] of F32",
        ),
    ];
    for (change, expected) in cases {
        let mut contents = good.clone();
        contents.metadata.clear();
        change(&mut contents);
        assert_eq!(refused::<f32>(&contents.bytes(), folder.path()), expected);
    }
    // A run with momentum, and columns that keep their signs.
    let mut heavy = dann();
    steps(&mut heavy, &mut Run::new(1), 2, &updates()[1]);
    let heavy = Contents::of(&heavy, folder.path());
    let columns = Contents::of(&architectures()[5].build::<f32>(&Context::new().unwrap()).unwrap(), folder.path());
    let mut exponentiated = dann();
    steps(&mut exponentiated, &mut Run::new(1), 2, &updates()[2]);
    let exponentiated = Contents::of(&exponentiated, folder.path());
    let mut adam = dann();
    steps(&mut adam, &mut Run::new(1), 2, &updates()[4]);
    let adam = Contents::of(&adam, folder.path());
    let cases: [(&Contents, Change, &str); 10] = [
        (
            &exponentiated,
            |c| {
                c.set("layers.0.b", 1, -1.0);
                c.set("layers.0.negative.b", 1, 0.25);
            },
            "layers.0.negative.b[1] is 0.25: expected so much that b and it are not negative together",
        ),
        (&heavy, |c| drop(c.tensors.remove("layers.1.velocity.b")), "no tensor layers.1.velocity.b"),
        (
            &heavy,
            |c| c.set("layers.1.velocity.b", 1, f32::NAN),
            "layers.1.velocity.b[1] is NaN: expected a finite number",
        ),
        (&heavy, |c| c.rename("layers.0.velocity.b", "layers.0.velocity.c"), "no tensor layers.0.velocity.b"),
        (&adam, |c| drop(c.tensors.remove("layers.1.steps.b")), "no tensor layers.1.steps.b"),
        (&adam, |c| c.set("layers.0.steps.Wei", 0, -1.0), "layers.0.steps.Wei[0] is -1: expected a finite number ≥ 0"),
        (&adam, |c| c.set("layers.0.square.b", 2, -1.0), "layers.0.square.b[2] is -1: expected a finite number ≥ 0"),
        (&columns, |c| c.set("layers.1.Wpos", 0, -1.0), "layer 1: Wpos[0] is -1: expected a finite number ≥ 0"),
        (
            &columns,
            |c| c.set("layers.1.sign", 0, -1.0),
            "layers.1.sign[0] is -1: expected 1 for the first inputs and -1 for the others",
        ),
        (&columns, |c| drop(c.tensors.remove("layers.1.sign")), "no tensor layers.1.sign"),
    ];
    for (good, change, expected) in cases {
        let mut contents = good.clone();
        change(&mut contents);
        assert_eq!(refused::<f32>(&contents.bytes(), folder.path()), expected);
    }
    let of_f32 = "layers.0.Wex is [13, 9] of F32: expected [13, 9] of F64";
    assert_eq!(refused::<f64>(&good.bytes(), folder.path()), of_f32);
    let mut contents = good;
    contents.metadata.clear();
    contents.tensors.retain(|name, _| !name.starts_with("layers.1."));
    for name in ["Wex", "Wix", "Wei", "alpha", "g", "b"] {
        contents.rename(&format!("layers.2.{name}"), &format!("layers.1.{name}"));
    }
    let gap = "layer 1: the layer has 7 inputs, the layer below has 13 outputs";
    assert_eq!(refused::<f32>(&contents.bytes(), folder.path()), gap);
}

/// Metadata as files of format 1 have them: without a prefix.
fn as_of_format_1(metadata: &HashMap<String, String>) -> HashMap<String, String> {
    let without = |(key, value): (&String, &String)| match key.strip_prefix("interneuron.").unwrap() {
        "format" => ("format".to_owned(), "interneuron 1".to_owned()),
        key => (key.to_owned(), value.clone()),
    };
    metadata.iter().map(without).collect()
}

#[test]
fn bad_metadata_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = Contents::of(&dann(), folder.path());
    let mut old = good.clone();
    old.metadata = as_of_format_1(&good.metadata);
    let key = "0".repeat(64);
    let cases = [
        ("dims", "9,13,7,4".to_owned(), "expected \"9,13,7,3\""),
        ("nis", "4,2".to_owned(), "expected \"4,2,1\""),
        ("nonlinearities", "relu,identity".to_owned(), "expected relu or identity for each of 3 layers"),
        ("nonlinearities", "relu,tanh,identity".to_owned(), "expected relu or identity for each of 3 layers"),
        ("divisors", "plain,plain".to_owned(), "expected none, plain"),
        ("divisors", "plain,floor:0,plain".to_owned(), "expected none, plain"),
        ("divisors", "plain,none,plain".to_owned(), "expected none for the layers that do not divide"),
        ("step", "-1".to_owned(), "expected a whole number below 2^64"),
        ("seed", "18446744073709551616".to_owned(), "expected a whole number below 2^64"),
        ("generator", key.clone(), "expected 64 hexadecimal digits, the stream and the position: KEY:0:0"),
        ("generator", format!("{key}:0:{}", 1_u128 << 68), "expected 64 hexadecimal digits"),
        ("generator", format!("{key}:0:0:0"), "expected 64 hexadecimal digits"),
        ("generator", format!("+{}:0:0", &key[1..]), "expected 64 hexadecimal digits"),
        ("generator", format!("é{}:0:0", &key[2..]), "expected 64 hexadecimal digits"),
        ("labels", String::new(), "expected 64 hexadecimal digits"),
    ];
    let refused = |good: &Contents, key: &str, value: &str, expected: &str| {
        let mut contents = good.clone();
        contents.metadata.insert(key.to_owned(), value.to_owned());
        let reason = refused::<f32>(&contents.bytes(), folder.path());
        assert!(reason.starts_with(&format!("metadata {key} is {value:?}: {expected}")), "{reason}");
    };
    for (key, value, expected) in &cases {
        refused(&good, &format!("interneuron.{key}"), value, expected);
        refused(&old, key, value, expected);
        // As it stays where another program writes its format.
        let mut changed = old.clone();
        changed.metadata.insert("format".to_owned(), "pt".to_owned());
        refused(&changed, key, value, expected);
        // A prefix comes first.
        refused(&old, &format!("interneuron.{key}"), value, expected);
    }
    for format in ["1", "3", "", "interneuron 1"] {
        refused(&good, "interneuron.format", format, "expected \"2\"");
        refused(&old, "interneuron.format", format, "expected \"2\"");
    }
    for format in ["interneuron 2", "interneuron", "interneuron 10"] {
        refused(&good, "format", format, "expected \"interneuron 1\"");
        refused(&old, "format", format, "expected \"interneuron 1\"");
    }
}

/// What other programs write of their own means nothing here, and does not get in the way.
#[test]
fn metadata_of_other_programs_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut net = dann();
    let mut run = Run::new(11);
    steps(&mut net, &mut run, 3, &Update::csgd(0.02));
    let file = folder.path().join("net.safetensors");
    save(&file, &net, &run).unwrap();
    let ours = Contents::of(&net, folder.path());
    let bytes = std::fs::read(&file).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let ours = Contents { metadata: header.metadata().clone().unwrap(), ..ours };
    assert!(ours.metadata.keys().all(|key| key.starts_with("interneuron.")), "{:?}", ours.metadata.keys());

    let load_with = |metadata: &HashMap<String, String>, foreign: &[(&str, &str)]| {
        let mut contents = Contents { metadata: metadata.clone(), ..ours.clone() };
        let foreign = foreign.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        contents.metadata.extend(foreign);
        std::fs::write(&file, contents.bytes()).unwrap();
        let (loaded, run) = load::<f32>(&file, &net.isa().into()).unwrap();
        assert_eq!(all_bits(&loaded), all_bits(&net));
        (loaded.steps(), run)
    };
    let foreign = [
        ("format", "pt"),
        ("step", "1000.5"),
        ("seed", "abc"),
        ("dims", "NCHW"),
        ("generator", "torch"),
        ("labels", "cat,dog"),
        ("nonlinearities", "gelu"),
        ("__version__", "1"),
        ("", "é\n\0"),
    ];
    let fresh = (0, Run::new(0));
    let old = as_of_format_1(&ours.metadata);
    for some in [&foreign[..1], &foreign] {
        assert_eq!(load_with(&HashMap::new(), some), fresh, "without any of ours");
        assert_eq!(load_with(&ours.metadata, some), (3, run.clone()));
    }
    // Even where they would be ours in an old file.
    assert_eq!(load_with(&ours.metadata, &foreign[1..]), (3, run.clone()));
    assert_eq!(load_with(&ours.metadata, &[("nis", "none"), ("format", "interneuron 1")]), (3, run.clone()));
    // A file of ours to which a program gave its format, and one of which it left only that.
    assert_eq!(load_with(&old, &[]), (3, run.clone()));
    assert_eq!(load_with(&old, &[("format", "pt"), ("author", "b")]), (3, run.clone()));
    let mut without = old.clone();
    without.remove("format");
    assert_eq!(load_with(&without, &[]), (3, run.clone()));
    assert_eq!(load_with(&old, &[("interneuron.step", "7")]), (7, run));
}

/// Files of format 1, as they were written before the keys had a prefix.
#[test]
fn old_files_load_to_the_same_run() {
    fn check<T: Element>(old: &Path, folder: &Path) {
        let contents = |bytes: &[u8]| {
            let parsed = safetensors::SafeTensors::deserialize(bytes).unwrap();
            let tensors: BTreeMap<String, Vec<u8>> =
                parsed.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect();
            let (_, header) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
            (tensors, header.metadata().clone().unwrap())
        };
        let (net, run) = load::<T>(old, &Isa::best().into()).unwrap();
        assert_eq!((net.steps(), run.seed, run.generator.clone()), (1, 3, generator(3)));
        let file = folder.join("again.safetensors");
        save(&file, &net, &run).unwrap();
        let (old, metadata) = contents(&std::fs::read(old).unwrap());
        let (new, again) = contents(&std::fs::read(&file).unwrap());
        assert!(old == new && metadata == as_of_format_1(&again), "{metadata:?}");
        let (net_again, run_again) = load::<T>(&file, &Isa::best().into()).unwrap();
        assert!(
            run_again == run
                && net_again.state().layers().eq(net.state().layers())
                && all_bits(&net_again) == all_bits(&net)
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format_1");
    let mut files = 0;
    for entry in std::fs::read_dir(old).unwrap() {
        let path = entry.unwrap().path();
        let of_f64 = path.file_stem().unwrap().to_str().unwrap().ends_with("-f64");
        if of_f64 {
            check::<f64>(&path, folder.path())
        } else {
            check::<f32>(&path, folder.path())
        }
        files += 1;
    }
    assert_eq!(files, 9);
}

#[test]
fn broken_files_are_refused_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Contents::of(&dann(), folder.path()).bytes();
    for len in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        let reason = refused::<f32>(&bytes[..len], folder.path());
        assert!(reason.starts_with("not a whole safetensors file: "), "{len} bytes: {reason}");
    }
    // A changed byte may leave a valid file. What matters is that loading returns.
    let mut rng = generator(2);
    let file = folder.path().join("changed.safetensors");
    for _ in 0..500 {
        let mut changed = bytes.clone();
        for _ in 0..rng.random_range(1..4) {
            // Mostly in the header.
            let end = if rng.random_bool(0.8) { 1500 } else { bytes.len() };
            let at = rng.random_range(0..end);
            changed[at] = rng.random();
        }
        std::fs::write(&file, &changed).unwrap();
        let _ = load::<f32>(&file, &Isa::best().into());
    }
    assert!(matches!(load::<f32>(folder.path(), &Isa::best().into()), Err(Error::File { .. })), "a folder");
    assert!(matches!(load::<f32>(folder.path().join("none"), &Isa::best().into()), Err(Error::File { .. })));
}

#[test]
#[cfg(unix)]
fn a_path_that_is_no_text_is_a_path() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join(OsStr::from_bytes(b"caf\xe9"));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join(OsStr::from_bytes(b"\xff net\n.safetensors"));
    let (net, run) = (dann(), Run::new(1));
    save(&file, &net, &run).unwrap();
    save(&file, &net, &run).unwrap();
    assert_eq!(load::<f32>(&file, &Isa::best().into()).unwrap().1, run);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    // What is said of it is one line, whatever a file says of its tensors.
    let mut contents = Contents::of(&net, &folder);
    contents.rename("layers.2.b", "layers.2.b\nc");
    contents.tensors.insert("layers.2.b".to_owned(), contents.tensors["layers.2.b\nc"].clone());
    std::fs::write(&file, contents.bytes()).unwrap();
    let error = load::<f32>(&file, &Isa::best().into()).unwrap_err().to_string();
    assert!(error.ends_with("net\\n.safetensors: layers.2.b\\nc is no tensor of such a layer"), "{error}");
}

#[test]
fn a_plan_is_saved_with_parameters_of_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.safetensors");
    let [architecture, _, _, _, _, _, other, ..] = architectures();
    let mut net: Network<f32> = architecture.build(&Context::new().unwrap()).unwrap();
    let mut run = Run::new(3);
    steps(&mut net, &mut run, 2, &Update { momentum: PerRole::all(0.9), ..Update::csgd(0.02) });
    let (plan, params, state) = net.clone().into_parts();
    let views: Vec<ParamsRef<'_, f32>> = params.iter().map(Params::view).collect();
    let error = save_plan(&file, &plan, &views[1..], &state, &run).unwrap_err();
    assert_eq!(error.to_string(), "params has 2 elements: expected 3");
    let mut few = state.clone();
    few.layers_mut().pop();
    let error = save_plan(&file, &plan, &views, &few, &run).unwrap_err();
    assert_eq!(error.to_string(), "state has 2 elements: expected 3");
    let of_others: Network<f32> = other.build(&Context::new().unwrap()).unwrap();
    let others: Vec<_> = of_others.params().cloned().collect();
    let error = save_plan(&file, &plan, &others, &state, &run).unwrap_err();
    assert!(matches!(error, Error::Layer { index: 1, .. }), "{error}");
    assert!(!file.exists());
    save_plan(&file, &plan, &views, &state, &run).unwrap();
    let (loaded, loaded_run) = load::<f32>(&file, &Context::new().unwrap()).unwrap();
    assert_eq!(all_bits(&loaded), all_bits(&net));
    assert!(loaded.state() == net.state() && loaded_run == run);
}

#[test]
fn what_cannot_be_saved_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (net, run) = (dann(), Run::new(1));
    let missing = folder.path().join("none").join("net.safetensors");
    assert!(
        matches!(save(&missing, &net, &run), Err(Error::File { path, .. }) if path == missing.display().to_string())
    );
    let occupied = folder.path().join("folder");
    std::fs::create_dir(&occupied).unwrap();
    assert!(matches!(save(&occupied, &net, &run), Err(Error::File { .. })));
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["folder"]);
}

/// Trains at rates at which every network diverges, saves it after each step, and loads what was saved last.
#[test]
fn a_diverged_network_never_replaces_the_last_finite_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.safetensors");
    let (mut refused, mut diverged) = (0, 0);
    for (lr, architecture) in [1e4, 1e20, 3e38].into_iter().flat_map(|lr| architectures().map(|a| (lr, a))) {
        for update in updates() {
            // Decoupled decay allows no such rates.
            let update = Update { lr, decay: PerRole::all(0.0), ..update };
            let natural = update.natural.is_some();
            let mut net: Network<f32> = architecture.build(&Context::new().unwrap()).unwrap();
            let mut run = Run::new(11);
            save(&file, &net, &run).unwrap();
            let mut last = net.clone();
            for _ in 0..30 {
                let x: Vec<f32> = (0..BATCH * DIMS[0]).map(|_| run.generator.random_range(0.0..1.0)).collect();
                let x = MatRef::new(&x, BATCH, DIMS[0]).unwrap();
                match net.train_step(x, &[0, 1, 2, 0, 1, 2], &update) {
                    Ok(_) => {}
                    Err(Error::Unsupported { .. }) if natural => break,
                    Err(error @ Error::Diverged { .. }) => {
                        let text = error.to_string();
                        let step = format!("in step {} at learning rate {lr}", net.steps());
                        assert!(text.contains(&step), "{text}");
                        diverged += 1;
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
                match save(&file, &net, &run) {
                    Ok(()) => last = net.clone(),
                    Err(Error::File { reason, .. }) => {
                        assert!(reason.starts_with("layer") && reason.contains("] is "), "{reason}");
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            let (loaded, _) = load::<f32>(&file, &net.isa().into()).unwrap();
            assert_eq!(all_bits(&loaded), all_bits(&last));
            assert!(loaded.state().layers().eq(last.state().layers()));
            let finite = |(_, array): (_, &[f32])| array.iter().all(|value| value.is_finite());
            assert!(loaded.params().flat_map(|params| params.arrays()).all(finite));
        }
    }
    assert!(refused > 0 && diverged > 0, "{refused} not saved, {diverged} diverged");
    eprintln!("{refused} networks were not saved, {diverged} diverged");
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["net.safetensors"]);
}

#[test]
fn what_is_not_finite_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.safetensors");
    let run = Run::new(1);
    let mut net: Network<f32> = Architecture::mlp(&DIMS).unwrap().build(&Context::new().unwrap()).unwrap();
    save(&file, &net, &run).unwrap();
    let before = std::fs::read(&file).unwrap();
    let mut gradients = net.zero_gradients().unwrap();
    gradients[1].view_mut().arrays()[0].1[3] = f32::NAN;
    net.apply(&Update::sgd(1.0), &gradients).unwrap();
    let error = save(&file, &net, &run).unwrap_err().to_string();
    assert!(error.ends_with("net.safetensors: layer 1: W[3] is NaN: expected a finite number"), "{error}");
    assert!(std::fs::read(&file).unwrap() == before);
}
