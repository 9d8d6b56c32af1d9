//! `layer_*`: a layer with inhibition, forward, backward and updated once.

use crate::case::{Case, Ledger};
use crate::common::{Tolerance, isas};
use interneuron::*;

pub fn compare(case: &Case) -> bool {
    for isa in isas() {
        layer::<f64>(case, isa);
        layer::<f32>(case, isa);
    }
    true
}

fn layer<T: Tolerance>(case: &Case, isa: Isa) {
    let [relu, d, ne, ni, batch] = ["relu", "d", "ne", "ni", "batch"].map(|name| case.integer(name));
    let shape = DannShape::new(d, ne, ni);
    let shape = if relu == 1 { shape } else { shape.linear() };
    let params = case.dann::<T>(str::to_owned);
    let mut ledger = Ledger::new::<T>(case, &format!("on {isa}"), T::LAYER);
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

    let lr = case.number("lr");
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
