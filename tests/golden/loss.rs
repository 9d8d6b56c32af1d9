//! `loss_*`: losses and their gradients by the outputs.

use crate::case::{Case, Ledger};
use crate::common::Tolerance;
use interneuron::*;

pub fn compare(case: &Case) -> bool {
    let known = matches!(case.kind(), "ce" | "mse" | "bce");
    if known {
        loss::<f64>(case, 1e-12);
        loss::<f32>(case, 1e-5);
    }
    known
}

/// The tolerances are those that the cases come with: of the largest element, some roundings of functions of one output.
fn loss<T: Tolerance>(case: &Case, tolerance: f64) {
    let [batch, classes] = ["batch", "classes"].map(|name| case.integer(name));
    let (o, y) = (case.cast::<T>("o"), case.cast::<T>("y"));
    let labels: Vec<u32> = case.array("y").iter().map(|&y| y as u32).collect();
    let by_labels = case.metadata["targets"] == "labels";
    let weights = case.arrays.contains_key("w").then(|| case.cast::<T>("w"));
    let mut ledger = Ledger::new::<T>(case, "", tolerance);
    // The target of `rows` examples from `row`, for `cols` of their outputs from `col`.
    let target = |[row, col]: [usize; 2], [rows, cols]: [usize; 2]| {
        if by_labels {
            return Target::labels(&labels[row..row + rows]).smoothed(case.number("smoothing"));
        }
        let y = MatRef::with_stride(&y[row * classes + col..], rows, cols, classes).unwrap();
        match case.kind() {
            "ce" => Target::probabilities(y).smoothed(case.number("smoothing")),
            "mse" => Target::values(y),
            _ => Target::binary(y),
        }
    };
    let mut whole = target([0, 0], [batch, classes]);
    if let Some(w) = &weights {
        whole =
            if w.len() == batch { whole.weighted(w) } else { whole.masked(MatRef::new(w, batch, classes).unwrap()) };
    }
    let outputs = MatRef::new(&o, batch, classes).unwrap();
    let mut doutputs = vec![T::from_f64(f64::NAN); o.len()];
    let got = whole.loss(outputs, Some(MatMut::new(&mut doutputs, batch, classes).unwrap())).unwrap();
    ledger.close("loss", &[got.loss]);
    ledger.close("do", &doutputs);

    // The unweighted loss of each example or element alone, and what the gradient of a softmax was made of.
    let (mut losses, mut softmax) = (vec![], vec![]);
    let each = case.array("losses").len();
    for i in 0..each {
        let [at, size] = if each == batch { [[i, 0], [1, classes]] } else { [[i / classes, i % classes], [1, 1]] };
        let outputs = MatRef::with_stride(&o[at[0] * classes + at[1]..], 1, size[1], classes).unwrap();
        let mut d = vec![T::ZERO; size[1]];
        losses.push(target(at, size).loss(outputs, Some(MatMut::new(&mut d, 1, size[1]).unwrap())).unwrap().loss);
        if by_labels {
            let unsmoothed = Target::labels(&labels[i..=i]);
            unsmoothed.loss(outputs, Some(MatMut::new(&mut d, 1, classes).unwrap())).unwrap();
            d[labels[i] as usize] = d[labels[i] as usize] + T::ONE;
            softmax.extend_from_slice(&d);
        }
    }
    ledger.close("losses", &losses);
    if by_labels {
        ledger.close("softmax", &softmax);
    }
    ledger.close_all(&["o", "y", "w", "smoothing", "batch", "classes", if by_labels { "" } else { "softmax" }]);
}
