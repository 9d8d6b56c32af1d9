//! `init_*`: exact centring, from numbers that were drawn by an exponential or a normal distribution.

use crate::case::{Case, Ledger, drawn_tolerance};
use crate::common::{Replay, Tolerance, isas, largest};
use interneuron::reference::{CentredStatistics, centred_statistics, mean_and_variance};
use interneuron::*;

pub fn compare(case: &Case) -> bool {
    let law = match case.kind() {
        "exponential" => Law::Exponential,
        "lognormal" => Law::Lognormal { k: case.number("k") },
        _ => return false,
    };
    centred::<f64>(case, law);
    centred::<f32>(case, law);
    true
}

/// The inputs whose numerator a case has.
fn inputs(case: &Case) -> Inputs {
    let known = [(1.0, Inputs::Linear), (2.0, Inputs::Rectified), (1.0 / 3.0, Inputs::Recurrent)];
    let numerator = case.number("numerator");
    let found = known.into_iter().find(|(n, _)| (n - numerator).abs() < 1e-12);
    found.unwrap_or_else(|| panic!("{}: no inputs have the numerator {numerator}", case.name)).1
}

/// The weights, and what a subtractive layer makes of the inputs with them: a mean of 0 over its units.
fn centred<T: Tolerance>(case: &Case, law: Law) {
    let [d, ne, ni, batch] = ["d", "ne", "ni", "batch"].map(|name| case.integer(name));
    let shape = DannShape::new(d, ne, ni).linear().subtractive();
    let drawn = [case.array("drawn_ex"), case.array("drawn_ei")].concat();
    let init = Init { inputs: inputs(case), scheme: Scheme::Centred(law), ..Init::default() };
    let params = init.draw_dann::<T>(&shape, &mut Replay::new(&drawn)).unwrap();
    let mut ledger = Ledger::new::<T>(case, "drawn", drawn_tolerance::<T>());
    ledger.close("Wex", &params.wex);
    ledger.close("Wix", &params.wix);
    ledger.close("Wei", &params.wei);

    let CentredStatistics { scale, mu, sigma, .. } =
        centred_statistics(&shape, case.number("numerator"), case.number("k"));
    for (name, got) in [("scale", scale), ("mu", mu), ("sigma", sigma)] {
        ledger.close(name, &[T::from_f64(got)]);
    }
    let x = case.array("x");
    let squares = x.chunks_exact(d).map(|x| scale.powi(2) * (ne as f64 - 1.0).max(1.0) / ne as f64 * dot(x, x));
    ledger.close("expected_var", &squares.map(T::from_f64).collect::<Vec<_>>());

    let excited = |x: &[f64]| (0..ne).map(|k| dot_of_magnitudes(x, &params.wex[k * d..][..d])).fold(0.0, f64::max);
    let excitation = x.chunks_exact(d).map(excited).fold(0.0, f64::max);
    let rows = case.cast::<T>("x");
    for isa in isas() {
        let layer = Layer::<T>::new(shape, &isa.into()).unwrap();
        let mut h = vec![T::ZERO; batch * ne];
        let x = MatRef::new(&rows, batch, d).unwrap();
        layer.infer(params.view(), &mut Tape::new(), x, MatMut::new(&mut h, batch, ne).unwrap()).unwrap();
        let h: Vec<f64> = h.iter().map(|h| h.to_f64()).collect();
        let (means, variances): (Vec<f64>, Vec<f64>) = h.chunks_exact(ne).map(mean_and_variance).unzip();
        ledger.close_beside(excitation, "mean", &means);
        ledger.close_beside(excitation * largest(&h), "var", &variances);
    }
    ledger.close_all(&["drawn_ex", "drawn_ei", "x", "d", "ne", "ni", "batch", "k", "numerator"]);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn dot_of_magnitudes<T: Element>(x: &[f64], w: &[T]) -> f64 {
    x.iter().zip(w).map(|(x, w)| x.abs() * w.to_f64()).sum()
}
