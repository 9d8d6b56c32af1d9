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

/// What a case is computed from.
pub const INPUTS: [&str; 14] =
    ["x", "Wex", "Wix", "Wei", "alpha", "g", "b", "dh", "relu", "d", "ne", "ni", "batch", "lr"];

/// The shape of a case, with a plain divisor.
pub fn shape(case: &Case) -> DannShape {
    let [relu, d, ne, ni] = ["relu", "d", "ne", "ni"].map(|name| case.integer(name));
    let shape = DannShape::new(d, ne, ni);
    if relu == 1 { shape } else { shape.linear() }
}

/// The low divisors of a forward pass of a layer of another shape with the parameters of the case.
pub fn low_divisors<T: Element>(case: &Case, isa: Isa, shape: DannShape) -> LowDivisors {
    let (batch, x, params) = (case.integer("batch"), case.cast::<T>("x"), case.dann::<T>(str::to_owned));
    let (mut tape, mut h) = (Tape::new(), vec![T::ZERO; batch * shape.ne]);
    let x = MatRef::new(&x, batch, shape.d).unwrap();
    let out = MatMut::new(&mut h, batch, shape.ne).unwrap();
    Layer::<T>::new(shape, &isa.into()).unwrap().forward(params.view(), &mut tape, x, out).unwrap();
    tape.low_divisors().unwrap()
}

/// Compares a pass forward and backward and a corrected step; returns the parameters before it and after it.
pub fn passes<T: Tolerance>(case: &Case, isa: Isa, shape: DannShape, ledger: &mut Ledger<'_>) -> [DannParams<T>; 2] {
    let (DannShape { d, ne, ni, .. }, batch) = (shape, case.integer("batch"));
    let params = case.dann::<T>(str::to_owned);
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

    let mut after = params.clone();
    let h = MatMut::new(&mut h, batch, ne).unwrap();
    layer.forward(params.view(), &mut tape, x, h).unwrap();
    let update = Update::csgd(case.number("lr"));
    layer.update(after.view_mut(), &mut State::new(), &mut tape, dh, &update, None).unwrap();
    after.view().zip(Dann::<()>::NAMES).map(|(got, name)| ledger.close(&format!("{name}1"), got));
    [params, after]
}

fn layer<T: Tolerance>(case: &Case, isa: Isa) {
    let shape = shape(case);
    let mut ledger = Ledger::new::<T>(case, &format!("on {isa}"), T::LAYER);
    let [params, corrected] = passes::<T>(case, isa, shape, &mut ledger);

    let (DannShape { d, ne, .. }, batch) = (shape, case.integer("batch"));
    let (x, dh) = (case.cast::<T>("x"), case.cast::<T>("dh"));
    let (x, dh) = (MatRef::new(&x, batch, d).unwrap(), MatRef::new(&dh, batch, ne).unwrap());
    let layer = Layer::<T>::new(shape, &isa.into()).unwrap();
    let (mut tape, mut h, mut plain) = (Tape::new(), vec![T::ZERO; batch * ne], params.clone());
    layer.forward(params.view(), &mut tape, x, MatMut::new(&mut h, batch, ne).unwrap()).unwrap();
    let update = Update::sgd(case.number("lr"));
    layer.update(plain.view_mut(), &mut State::new(), &mut tape, dh, &update, None).unwrap();
    ledger.close("Wix1_sgd", &plain.wix);
    ledger.close("Wei1_sgd", &plain.wei);
    ledger.close("alpha1_sgd", &plain.alpha);
    assert_eq!((plain.wex, plain.g, plain.b), (corrected.wex, corrected.g, corrected.b), "uncorrected parameters");
    ledger.close_all(&INPUTS);
}
