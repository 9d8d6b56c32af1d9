//! `moments_*`: the draw from the moments of a batch of inputs.

use crate::case::{Case, Ledger, drawn_tolerance};
use crate::common::{Replay, Tolerance};
use interneuron::reference::measured_statistics;
use interneuron::*;

pub fn compare(case: &Case) -> bool {
    if case.kind() != "moments" {
        return false;
    }
    measured::<f64>(case);
    measured::<f32>(case);
    true
}

fn measured<T: Tolerance>(case: &Case) {
    let [d, ni, batch] = ["d", "ni", "batch"].map(|name| case.integer(name));
    let x = case.cast::<T>("x");
    let moments = InputMoments::of(MatRef::new(&x, batch, d).unwrap()).unwrap();
    let mut ledger = Ledger::new::<T>(case, "measured", drawn_tolerance::<T>());
    let InputMoments { m1, m2, v, .. } = moments;
    for (name, got) in [("m1", m1), ("m2", m2), ("v", v)] {
        ledger.close(name, &[got].map(T::from_f64));
    }

    let shape = DannShape::new(d, 2, ni);
    // Where all exponential numbers are 1, the weights are the scale, and so is the mean of two.
    let ones = vec![1.0; 2 * d + ni * d];
    for (name, unit_variance) in [("exp_alpha", false), ("exp_alpha_unit", true)] {
        let inputs = Inputs::Measured(InputMoments { unit_variance, ..moments });
        let params = Init { inputs, ..Init::default() }.draw_dann::<T>(&shape, &mut Replay::new(&ones)).unwrap();
        ledger.close("scale", &params.wex[..1]);
        assert!(params.wex.iter().chain(&params.wix).all(|&w| w == params.wex[0]), "{name}: the weights");
        assert!(params.wei.iter().all(|&w| w == T::from_f64(1.0 / ni as f64)), "{name}: Wei");
        ledger.close(name, &[params.alpha[0].to_f64().exp()].map(T::from_f64));
        assert!(params.alpha.iter().all(|&alpha| alpha == params.alpha[0]), "{name}: alpha");
    }
    let predicted = measured_statistics([m1, m2, v], d, ni);
    ledger.close("predicted_var", &[predicted.variance].map(T::from_f64));
    ledger.close("predicted_square", &[predicted.square].map(T::from_f64));
    ledger.close_all(&["x", "d", "ni", "batch"]);
}
