//! `net_*`: a network in training.

use crate::case::{Case, Ledger};
use crate::common::{Tolerance, assert_close, assert_close_each, isas, largest};
use crate::own_cases;
use interneuron::*;

pub fn compare(case: &Case) -> bool {
    if !["dann", "dann_nc", "mlp", "colei"].contains(&case.kind()) {
        return false;
    }
    for isa in isas() {
        network::<f64>(case, isa);
        network::<f32>(case, isa);
    }
    true
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

fn network<T: Tolerance>(case: &Case, isa: Isa) {
    let kind = case.kind();
    let dims = case.integers("dims");
    let layers = dims.len() - 1;
    let mut net = begin::<T>(case, kind, isa);
    let mut ledger = Ledger::new::<T>(case, &format!("on {isa}"), T::NETWORK);
    let steps = case.integer("steps");
    let labels: Vec<u32> = case.array("y").iter().map(|&y| y as u32).collect();
    let batch = labels.len();
    let x = case.cast::<T>("x");
    let x = MatRef::new(&x, batch, dims[0]).unwrap();

    let mut logits = vec![T::ZERO; batch * dims[layers]];
    net.logits(x, MatMut::new(&mut logits, batch, dims[layers]).unwrap()).unwrap();
    ledger.close("logits0", &logits);
    let update = rule(kind, case.number("lr"));
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
        let kind = case.kind();
        let mut net = begin::<f64>(case, kind, isa);
        let labels: Vec<u32> = case.array("y").iter().map(|&y| y as u32).collect();
        let x = MatRef::new(case.array("x"), labels.len(), case.integer("dims")).unwrap();
        let update = rule(kind, case.number("lr") * (1.0 + change));
        let losses = (0..STEPS).map(|_| net.train_step(x, &labels, &update).unwrap()).collect();
        let weights = net.params().next().unwrap().arrays()[0].1.to_vec();
        (losses, weights)
    };
    // Those of this repository, of which it is known that no weight of theirs is thrown about.
    for case in &own_cases("net") {
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
