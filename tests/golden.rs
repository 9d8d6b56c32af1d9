//! Golden vectors: every array of every case, on every instruction set and in both element types.
//!
//! The cases were computed in f64 with automatic differentiation by an independent implementation. They are in
//! `tests/golden`, or in the folder that `INTERNEURON_GOLDEN_DIR` names.

mod common;

use common::{Tolerance, assert_close, assert_close_each, cast, isas, largest, variable};
use interneuron::*;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The arrays of a case.
struct Case {
    name: String,
    kind: Option<String>,
    arrays: BTreeMap<String, Vec<f64>>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let kind = header.metadata().as_ref().and_then(|m| m.get("kind").cloned());
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let array = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            let number = |bytes: &[u8]| {
                let bytes = bytes.try_into().unwrap();
                match view.dtype() {
                    Dtype::F64 => f64::from_le_bytes(bytes),
                    Dtype::I64 => i64::from_le_bytes(bytes) as f64,
                    other => panic!("{name} is of type {other:?}"),
                }
            };
            let values = view.data().chunks_exact(8).map(number).collect();
            (name.clone(), values)
        };
        let arrays = tensors.tensors().into_iter().map(array).collect();
        Self { name: path.file_stem().unwrap().to_string_lossy().into_owned(), kind, arrays }
    }

    fn array(&self, name: &str) -> &[f64] {
        self.arrays.get(name).unwrap_or_else(|| panic!("{} has no array {name}", self.name))
    }

    fn integers(&self, name: &str) -> Vec<usize> {
        self.array(name).iter().map(|&x| x as usize).collect()
    }

    fn integer(&self, name: &str) -> usize {
        self.integers(name)[0]
    }

    fn cast<T: Element>(&self, name: &str) -> Vec<T> {
        cast(self.array(name))
    }

    fn dann<T: Element>(&self, name: impl Fn(&str) -> String) -> DannParams<T> {
        Dann::<()>::NAMES.map(|letter| self.cast(&name(letter)))
    }
}

/// Keeps account of the arrays of a case, so that none is left out.
struct Ledger<'c> {
    case: &'c Case,
    what: String,
    tolerance: f64,
    seen: Vec<String>,
}

impl Ledger<'_> {
    fn close<T: Element>(&mut self, name: &str, got: &[T]) {
        let tolerance = self.tolerance;
        self.close_within(name, got, |_| tolerance);
    }

    /// With a tolerance of each element's own.
    fn close_within<T: Element>(&mut self, name: &str, got: &[T], tolerance: impl Fn(usize) -> f64) {
        assert_close_each(&format!("{}: {name}", self.what), got, self.case.array(name), tolerance);
        self.seen.push(name.to_owned());
    }

    /// Closes the account: every array but the inputs was compared.
    fn close_all(self, inputs: &[&str]) {
        for name in self.case.arrays.keys() {
            let seen = self.seen.contains(name) || inputs.contains(&name.as_str());
            assert!(seen, "{}: {name} was not compared", self.what);
        }
    }
}

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn cases() -> Vec<Case> {
    cases_in(&variable("INTERNEURON_GOLDEN_DIR").map_or_else(own_folder, PathBuf::from))
}

fn cases_in(dir: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no *.safetensors", dir.display());
    paths.iter().map(|path| Case::read(path)).collect()
}

#[test]
fn layers() {
    let cases = cases();
    let layers: Vec<_> = cases.iter().filter(|case| case.name.starts_with("layer_")).collect();
    for isa in isas() {
        for case in &layers {
            layer::<f64>(case, isa);
            layer::<f32>(case, isa);
        }
    }
}

fn layer<T: Tolerance>(case: &Case, isa: Isa) {
    let [relu, d, ne, ni, batch] = ["relu", "d", "ne", "ni", "batch"].map(|name| case.integer(name));
    let shape = DannShape::new(d, ne, ni);
    let shape = if relu == 1 { shape } else { shape.linear() };
    let params = case.dann::<T>(str::to_owned);
    let what = format!("{} on {isa} in {}", case.name, std::any::type_name::<T>());
    let mut ledger = Ledger { case, what, tolerance: T::LAYER, seen: vec![] };
    let (x, dh) = (case.cast::<T>("x"), case.cast::<T>("dh"));
    let (x, dh) = (MatRef::new(&x, batch, d).unwrap(), MatRef::new(&dh, batch, ne).unwrap());
    let zeros = |n: usize| vec![T::ZERO; n];

    let layer = Layer::<T>::new(shape, &isa.into()).unwrap();
    let mut tape = Tape::new();
    let mut h = zeros(batch * ne);
    layer.forward(params.view(), &mut tape, x, MatMut::new(&mut h, batch, ne).unwrap()).unwrap();
    let (mut zi, mut zhat, mut gamma) = (zeros(batch * ni), zeros(batch * ne), zeros(batch * ne));
    tape.interneurons(MatMut::new(&mut zi, batch, ni).unwrap()).unwrap();
    let [zhat_out, gamma_out] = [&mut zhat, &mut gamma].map(|out| MatMut::new(out, batch, ne).unwrap());
    tape.standardised(zhat_out, gamma_out).unwrap();
    ledger.close("h", &h);
    ledger.close("zi", &zi);
    ledger.close("gamma", &gamma);
    // zE and z stay in registers: they are compared through what the kernel made of them.
    let z: Vec<T> = (0..h.len()).map(|i| params.g[i % ne] * zhat[i] + params.b[i % ne]).collect();
    ledger.close("z", &z);
    let s = |i: usize| (0..ni).fold(T::ZERO, |s, j| s + zi[i / ne * ni + j] * params.wei[i % ne * ni + j]);
    let ze: Vec<T> = (0..h.len()).map(|i| zhat[i] * gamma[i] + s(i)).collect();
    ledger.close("ze", &ze);

    let mut gradients = DannParams::<T>::zeros(&shape).unwrap();
    let mut dx = zeros(batch * d);
    let dx_out = MatMut::new(&mut dx, batch, d).unwrap();
    layer.backward(params.view(), &mut tape, dh, gradients.view_mut(), Some(dx_out)).unwrap();
    ledger.close("dx", &dx);
    gradients.view().zip(Dann::<()>::NAMES).map(|(got, name)| ledger.close(&format!("d{name}"), got));

    let lr = case.array("lr")[0];
    let mut step = |update: Update| {
        let mut after = params.clone();
        let h = MatMut::new(&mut h, batch, ne).unwrap();
        layer.forward(params.view(), &mut tape, x, h).unwrap();
        layer.update(after.view_mut(), &mut State::new(), &mut tape, dh, &update, None).unwrap();
        after
    };
    let (corrected, plain) = (step(Update::csgd(lr)), step(Update::sgd(lr)));
    corrected.view().zip(Dann::<()>::NAMES).map(|(got, name)| ledger.close(&format!("{name}1"), got));
    ledger.close("Wix1_sgd", &plain.wix);
    ledger.close("Wei1_sgd", &plain.wei);
    ledger.close("alpha1_sgd", &plain.alpha);
    assert_eq!((plain.wex, plain.g, plain.b), (corrected.wex, corrected.g, corrected.b), "uncorrected parameters");

    let inputs = ["x", "Wex", "Wix", "Wei", "alpha", "g", "b", "dh", "relu", "d", "ne", "ni", "batch", "lr"];
    ledger.close_all(&inputs);
}

#[test]
fn networks() {
    use std::io::Write;
    for case in cases().iter().filter(|case| case.name.starts_with("net_")) {
        let kind = case.kind.as_deref().unwrap_or("unnamed");
        if !["dann", "dann_nc", "mlp", "colei"].contains(&kind) {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {} is of the unknown kind {kind}", case.name);
            continue;
        }
        for isa in isas() {
            network::<f64>(case, kind, isa);
            network::<f32>(case, kind, isa);
        }
    }
}

/// What the cases call the weights of a layer without interneurons.
fn weights(columns: bool) -> &'static str {
    if columns { "Wpos" } else { "W" }
}

/// The network of a case at its beginning.
fn begin<T: Tolerance>(case: &Case, kind: &str, isa: Isa) -> Network<T> {
    let dims = case.integers("dims");
    let layers = dims.len() - 1;
    let architecture = match kind {
        "mlp" => Architecture::mlp(&dims),
        "colei" => Architecture::column_ei(&dims, 10, 0.0),
        _ => Architecture::dann(&dims, &case.integers("nis")),
    };
    let mut net = architecture.unwrap().build::<T>(&isa.into()).unwrap();
    for k in 0..layers {
        let params = match net.shapes().nth(k).unwrap() {
            LayerShape::Dann(_) => case.dann(|letter| format!("p{k}_{letter}")).into(),
            LayerShape::Dense(DenseShape { d, columns, .. }) => {
                if let Some(columns) = columns {
                    let sign = |input| if input < d - columns.inhibitory_inputs { 1.0 } else { -1.0 };
                    let signs: Vec<f64> = (0..d).map(sign).collect();
                    for time in ["p", "q"] {
                        assert_eq!(case.array(&format!("{time}{k}_sign")), signs);
                    }
                }
                let w = weights(columns.is_some());
                Dense { w: case.cast(&format!("p{k}_{w}")), b: case.cast(&format!("p{k}_b")) }.into()
            }
            _ => unreachable!("a kind of layer that has no golden case"),
        };
        net.set_params(k, params).unwrap();
    }
    net
}

/// The rule of a case.
fn rule(kind: &str, lr: f64) -> Update {
    if kind == "dann" { Update::csgd(lr) } else { Update::sgd(lr) }
}

fn network<T: Tolerance>(case: &Case, kind: &str, isa: Isa) {
    let dims = case.integers("dims");
    let layers = dims.len() - 1;
    let mut net = begin::<T>(case, kind, isa);
    let what = format!("{} on {isa} in {}", case.name, std::any::type_name::<T>());
    let mut ledger = Ledger { case, what, tolerance: T::NETWORK, seen: vec![] };
    let steps = case.integer("steps");
    let labels: Vec<u32> = case.array("y").iter().map(|&y| y as u32).collect();
    let batch = labels.len();
    let x = case.cast::<T>("x");
    let x = MatRef::new(&x, batch, dims[0]).unwrap();

    let mut logits = vec![T::ZERO; batch * dims[layers]];
    net.logits(x, MatMut::new(&mut logits, batch, dims[layers]).unwrap()).unwrap();
    ledger.close("logits0", &logits);
    let update = rule(kind, case.array("lr")[0]);
    let step = |_| net.train_step(x, &labels, &update).unwrap();
    let losses: Vec<f64> = (0..steps).map(step).collect();
    // That of step i, which i steps went before and which is itself one.
    ledger.close_within("loss", &losses, |i| T::network(i + 1));
    ledger.tolerance = T::network(steps);
    ledger.close("loss_end", &[net.evaluate(x, &labels).unwrap().loss]);
    for (k, params) in net.params().enumerate() {
        for (name, got) in params.arrays() {
            ledger.close(&format!("q{k}_{name}"), got);
        }
    }
    let inputs = case.arrays.keys().filter(|name| name.starts_with('p') || name.ends_with("_sign"));
    let inputs: Vec<&str> = inputs.map(String::as_str).chain(["x", "y", "dims", "nis", "lr", "steps"]).collect();
    ledger.close_all(&inputs);
}

/// The tolerance of a long run lets pass what rounds otherwise, and catches a learning rate that is off by a millionth.
#[test]
fn tolerance_of_25_steps() {
    const STEPS: usize = 25;
    let run = |case: &Case, isa: Isa, change: f64| -> (Vec<f64>, Vec<f64>) {
        let kind = case.kind.as_deref().unwrap();
        let mut net = begin::<f64>(case, kind, isa);
        let labels: Vec<u32> = case.array("y").iter().map(|&y| y as u32).collect();
        let x = MatRef::new(case.array("x"), labels.len(), case.integer("dims")).unwrap();
        let update = rule(kind, case.array("lr")[0] * (1.0 + change));
        let losses = (0..STEPS).map(|_| net.train_step(x, &labels, &update).unwrap()).collect();
        let weights = net.params().next().unwrap().arrays()[0].1.to_vec();
        (losses, weights)
    };
    // Those of this repository, of which it is known that no weight of theirs is thrown about.
    for case in cases_in(&own_folder()).iter().filter(|case| case.name.starts_with("net_")) {
        let portable = Isa::available().next().unwrap();
        let (losses, weights) = run(case, portable, 0.0);
        for isa in isas() {
            let (got, got_weights) = run(case, isa, 0.0);
            let what = format!("{} on {isa}", case.name);
            assert_close_each(&what, &got, &losses, |i| f64::network(i + 1));
            assert_close(&what, &got_weights, &weights, f64::network(STEPS));
        }
        let (wrong, _) = run(case, portable, 1e-6);
        let off = (wrong[STEPS - 1] - losses[STEPS - 1]).abs() / largest(&losses);
        assert!(off > f64::network(STEPS), "{}: a wrong rate changes the last loss by {off:.1e} only", case.name);
    }
}
