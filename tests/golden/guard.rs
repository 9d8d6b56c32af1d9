//! `guard_*`: a layer with inhibition and another divisor than the plain one, of inputs of both signs.

use crate::case::{Case, Ledger};
use crate::common::{Tolerance, isas};
use crate::layer;
use interneuron::*;

pub fn compare(case: &Case) -> bool {
    let divisor = match case.kind() {
        "floor" => Divisor::floor(case.number("floor")).unwrap(),
        "root" => Divisor::Root,
        _ => return false,
    };
    for isa in isas() {
        guard::<f64>(case, isa, divisor);
        guard::<f32>(case, isa, divisor);
    }
    true
}

fn guard<T: Tolerance>(case: &Case, isa: Isa, divisor: Divisor) {
    let shape = layer::shape(case);
    let mut ledger = Ledger::new::<T>(case, &format!("on {isa}"), T::LAYER);
    layer::passes::<T>(case, isa, shape.divisor(divisor), &mut ledger);
    let low = |shape| layer::low_divisors::<T>(case, isa, shape).count.to_string();
    // How many plain divisors are below ε, and how many the floor raises.
    assert_eq!(low(shape), case.integer("negative").to_string(), "{}: negative", case.name);
    assert_eq!(low(shape.divisor(divisor)), case.integer("floored").to_string(), "{}: floored", case.name);
    ledger.close_all(&[&layer::INPUTS[..], &["floor", "negative", "floored"]].concat());
}
