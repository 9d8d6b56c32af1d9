//! Divisors: those that are too small are counted, and no step is taken with them.

mod common;

use common::isas;
use interneuron::*;
use rand_distr::{Distribution, StandardNormal};

const DIMS: [usize; 4] = [7, 24, 5, 3];

fn dann() -> Architecture {
    Architecture::dann(&DIMS, &[4, 2, 1]).unwrap().seed(3)
}

/// `batch` examples with inputs ≥ 0, every seventh without any, but for the examples `signed`.
fn inputs<T: Element>(batch: usize, signed: impl Fn(usize) -> bool) -> Vec<T> {
    let mut rng = generator(batch as u64);
    let mut x = vec![];
    for example in 0..batch {
        for _ in 0..DIMS[0] {
            let normal = f64::from(Distribution::<f32>::sample(&StandardNormal, &mut rng));
            // So low that some divisor is negative.
            let normal = if signed(example) { normal - 1.0 } else { normal.max(0.0) };
            x.push(T::from_f64(if example % 7 == 6 && !signed(example) { 0.0 } else { normal }));
        }
    }
    x
}

fn labels(batch: usize) -> Vec<u32> {
    (0..batch as u32).map(|i| i % 3).collect()
}

/// The divisors of each layer by the reference: how many are below ε, how many there are, the smallest of the former.
fn want<T: Element>(net: &Network<T>, x: &[T]) -> Vec<(u64, u64, Option<f64>)> {
    let mut input: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
    let mut all = vec![];
    for (shape, params) in net.shapes().zip(net.params()) {
        let mut own = Params::<f64>::zeros(&shape).unwrap();
        for ((_, to), (_, from)) in own.view_mut().arrays().into_iter().zip(params.arrays()) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f64());
        }
        let forward = reference::forward(&shape, &own, &input);
        let reference::Forward::Dann(dann) = &forward else { unreachable!() };
        let low = dann.gamma.iter().copied().filter(|&gamma| gamma < reference::EPSILON);
        all.push((low.clone().count() as u64, dann.gamma.len() as u64, low.reduce(f64::min)));
        input = forward.h().to_vec();
    }
    all
}

#[track_caller]
fn assert_counts(got: Option<LowDivisors>, want: (u64, u64, Option<f64>), what: &str) {
    let got = got.expect("the layer divides");
    assert_eq!((got.count, got.of, got.smallest.is_some()), (want.0, want.1, want.2.is_some()), "{what}");
    assert_eq!(got.share(), want.0 as f64 / want.1 as f64, "{what}");
    if let (Some(got), Some(want)) = (got.smallest, want.2) {
        assert!((got - want).abs() <= 1e-5 * want.abs(), "{what}: {got}, expected {want}");
    }
}

/// One example with inputs of both signs, in any slab, stops a step of any rule before anything moves; evaluation goes
/// on, and everybody counts the same.
#[test]
fn steps_refuse_divisors_below_epsilon_and_leave_everything() {
    fn check<T: Element>(isa: Isa, batch: usize, signed: usize) {
        let what = format!("{isa}, batch {batch}, example {signed}");
        let x = inputs::<T>(batch, |example| example == signed);
        let (x, labels) = (&x, &labels(batch));
        let matrix = MatRef::new(x, batch, DIMS[0]).unwrap();
        let good = inputs::<T>(batch, |_| false);
        let good = MatRef::new(&good, batch, DIMS[0]).unwrap();
        let momentum = Update { momentum: PerRole::all(0.9), ..Update::csgd(0.05) };
        let natural = Update { natural: Some(Natural::default()), ..Update::sgd(0.05) };
        for update in [Update::csgd(0.05), momentum, natural] {
            let mut net: Network<T> = dann().build(&isa.into()).unwrap();
            net.train_step(good, labels, &update).unwrap();
            let [first, ..] = want(&net, x)[..] else { unreachable!() };
            assert!(first.0 > 0, "{what}: a problem that is one");
            let before = net.clone().into_parts();
            let check = |result: Result<f64, Error>, net: &Network<T>| {
                let Err(Error::Divisor { layer: 0, share, smallest }) = result else { panic!("{what}: {result:?}") };
                assert_eq!(share, first.0 as f64 / first.1 as f64, "{what}");
                assert_counts(net.low_divisors().next().unwrap(), first, &what);
                assert_eq!(net.low_divisors().next().unwrap().unwrap().smallest, Some(smallest), "{what}");
                let (_, params, state) = net.clone().into_parts();
                assert!(params == before.1 && state == before.2, "{what}: something moved");
            };
            let result = net.train_step(matrix, labels, &update);
            check(result, &net);
            if update.natural.is_none() {
                let result = net.step_with(matrix, &update, |_, _| panic!("a loss is asked for"));
                check(result, &net);
            }
            let mut gradients = net.zero_gradients().unwrap();
            let untouched = gradients.clone();
            let result = net.gradients(matrix, labels, &mut gradients);
            check(result, &net);
            assert!(gradients == untouched, "{what}: gradients were written");

            // What only looks goes on.
            let want = want(&net, x);
            net.evaluate(matrix, labels).unwrap();
            net.low_divisors().zip(&want).for_each(|(got, want)| assert_counts(got, *want, &what));
            let seen = net.inspect(matrix, labels, &update).unwrap();
            seen.iter().zip(&want).for_each(|(got, want)| assert_counts(got.low_divisors, *want, &what));
            // The next step is as if nothing had been.
            let mut again = Network::new(before.0, before.1, before.2).unwrap();
            assert_eq!(net.train_step(good, labels, &update), again.train_step(good, labels, &update), "{what}");
            assert!(net.params().eq(again.params()), "{what}");
            assert!(net.low_divisors().all(|low| low.unwrap().count == 0), "{what}");
        }
    }
    for isa in isas() {
        let cases =
            if cfg!(debug_assertions) { &[(17, 16)][..] } else { &[(1, 0), (3, 1), (17, 16), (400, 5), (400, 399)] };
        for &(batch, signed) in cases {
            check::<f32>(isa, batch, signed);
            check::<f64>(isa, batch, signed);
        }
    }
}

/// Examples without any input have a divisor of ε, which is not below it; weights at zero and dead layers, too.
#[test]
fn inputs_that_are_not_negative_never_count() {
    fn check<T: Element>(isa: Isa, batch: usize) {
        let x = inputs::<T>(batch, |_| false);
        let labels = labels(batch);
        let mut net: Network<T> = dann().build(&isa.into()).unwrap();
        for x in [&x, &vec![T::ZERO; x.len()]] {
            let x = MatRef::new(x, batch, DIMS[0]).unwrap();
            for _ in 0..5 {
                net.train_step(x, &labels, &Update::csgd(0.1)).unwrap();
            }
            net.evaluate(x, &labels).unwrap();
            for low in net.low_divisors() {
                assert_eq!(low.map(|low| (low.count, low.smallest)), Some((0, None)), "{isa}, batch {batch}");
            }
        }
    }
    for isa in isas() {
        for batch in [1, 2, 5, 33, 200] {
            check::<f32>(isa, batch);
            check::<f64>(isa, batch);
        }
    }
}

/// The count is the same for any number of threads, and zero for layers that do not divide none.
#[test]
fn the_count_does_not_depend_on_threads() {
    let (batch, dims) = (300, [DIMS[0], 300, 200, 3]);
    let x = inputs::<f32>(batch, |example| example % 3 == 0);
    let x = MatRef::new(&x, batch, DIMS[0]).unwrap();
    let labels = labels(batch);
    for isa in isas() {
        let architecture = Architecture::dann(&dims, &[40, 30, 1]).unwrap();
        let mut net: Network<f32> = architecture.build(&isa.into()).unwrap();
        net.evaluate(x, &labels).unwrap();
        let alone: Vec<_> = net.low_divisors().collect();
        assert!(alone[0].unwrap().count > 0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        net.set_threads(pool);
        for _ in 0..3 {
            net.evaluate(x, &labels).unwrap();
            assert!(net.low_divisors().eq(alone.iter().copied()), "{isa}");
        }
        let mut net: Network<f32> = architecture.subtractive().build(&isa.into()).unwrap();
        net.train_step(x, &labels, &Update::csgd(0.001)).unwrap();
        assert!(net.low_divisors().all(|low| low.is_none()), "{isa}");
    }
}

/// A layer on its own computes and counts.
#[test]
fn a_tape_counts() {
    let shape = DannShape::new(DIMS[0], 24, 4);
    let params = Init::first().draw_dann::<f32>(&shape, &mut generator(1)).unwrap();
    for isa in isas() {
        let layer = Layer::<f32>::new(shape, &isa.into()).unwrap();
        let mut tape = Tape::new();
        assert_eq!(tape.low_divisors(), None);
        for batch in [2, 17, 300] {
            let x = inputs::<f32>(batch, |example| example % 2 == 0);
            let matrix = MatRef::new(&x, batch, DIMS[0]).unwrap();
            let [mut h, mut zhat, mut gamma] = [(); 3].map(|()| vec![0.0; batch * 24]);
            layer.forward(params.view(), &mut tape, matrix, MatMut::new(&mut h, batch, 24).unwrap()).unwrap();
            let counted = tape.low_divisors().unwrap();
            let [zhat, out] = [&mut zhat, &mut gamma].map(|out| MatMut::new(out, batch, 24).unwrap());
            tape.standardised(zhat, out).unwrap();
            let low = gamma.iter().filter(|&&gamma| gamma < 1e-8).count();
            assert_eq!((counted.count, counted.of), (low as u64, 24 * batch as u64), "{isa}, batch {batch}");
            assert!(low > 0);
            let least = f64::from(gamma.iter().copied().fold(1e-8, f32::min));
            assert!((counted.smallest.unwrap() - least).abs() <= 1e-5 * least.abs(), "{isa}, batch {batch}");
            layer.infer(params.view(), &mut tape, matrix, MatMut::new(&mut h, batch, 24).unwrap()).unwrap();
            assert_eq!(tape.low_divisors(), Some(counted), "{isa}, batch {batch}");
        }
        let layer = Layer::<f32>::new(DenseShape::new(2, 3), &isa.into()).unwrap();
        let params = Params::zeros(&layer.shape()).unwrap();
        let x = MatRef::new(&[-1.0, 1.0], 1, 2).unwrap();
        layer.forward(params.view(), &mut tape, x, MatMut::new(&mut [0.0; 3], 1, 3).unwrap()).unwrap();
        assert_eq!(tape.low_divisors(), None);
    }
}

#[test]
fn the_error_names_layer_share_smallest_and_remedies() {
    let text = Error::Divisor { layer: 2, share: 0.008_123, smallest: -0.034_56 }.to_string();
    for part in [
        "layer 2",
        "0.81 %",
        "-3.46e-2",
        "smallest value in the training data",
        "floor or a root",
        "subtracts",
        "Centred",
    ] {
        assert!(text.contains(part), "{text}: {part}");
    }
}

/// With a floor, a network learns from inputs of both signs, and what was raised is counted.
#[test]
fn a_floor_is_a_remedy() {
    fn check<T: Element>(isa: Isa, batch: usize) {
        let x = inputs::<T>(batch, |example| example % 2 == 0);
        let matrix = MatRef::new(&x, batch, DIMS[0]).unwrap();
        let labels = labels(batch);
        let architecture = dann().divisor_layer(0, Divisor::floor(0.25).unwrap()).unwrap();
        let mut net: Network<T> = architecture.build(&isa.into()).unwrap();
        let mut plain: Network<T> = dann().build(&isa.into()).unwrap();
        assert!(net.params().eq(plain.params()));
        let divisors: Vec<_> = net.shapes().map(|shape| shape.divisor()).collect();
        assert_eq!(divisors[1..], [Some(Divisor::Plain); 2]);
        plain.evaluate(matrix, &labels).unwrap();
        let negative = plain.low_divisors().next().unwrap().unwrap();
        for _ in 0..3 {
            net.train_step(matrix, &labels, &Update::csgd(0.05)).unwrap();
            if net.steps() == 1 {
                let floored = net.low_divisors().next().unwrap().unwrap();
                assert!(floored.count >= negative.count && floored.smallest == negative.smallest, "{isa}: {floored:?}");
            }
        }
        assert!(net.params().flat_map(|params| params.arrays()).all(|(_, p)| p.iter().all(|p| p.to_f64().is_finite())));
    }
    for isa in isas() {
        for batch in [2, 17, 300] {
            check::<f32>(isa, batch);
            check::<f64>(isa, batch);
        }
    }
}

/// A floor that no divisor is below changes no bit, also where a divisor is at the floor.
#[test]
fn a_floor_of_epsilon_changes_no_bit_for_inputs_that_are_not_negative() {
    fn check<T: Element>(isa: Isa, batch: usize) {
        let x = inputs::<T>(batch, |_| false);
        let x = MatRef::new(&x, batch, DIMS[0]).unwrap();
        let labels = labels(batch);
        let floored = |floor| dann().divisor(Divisor::floor(floor).unwrap());
        let mut nets = [dann(), floored(reference::EPSILON), floored(1e-20)].map(|architecture| {
            let net: Network<T> = architecture.build(&isa.into()).unwrap();
            net
        });
        for update in [Update::csgd(0.05), Update { natural: Some(Natural::default()), ..Update::sgd(0.05) }] {
            let losses: Vec<_> =
                nets.each_mut().map(|net| net.train_step(x, &labels, &update).unwrap().to_bits()).to_vec();
            assert_eq!(losses, [losses[0]; 3], "{isa}, batch {batch}");
        }
        let [plain, others @ ..] = &nets;
        others.iter().for_each(|net| assert!(net.params().eq(plain.params()), "{isa}, batch {batch}"));
    }
    for isa in isas() {
        for batch in [1, 7, 33, 200] {
            check::<f32>(isa, batch);
            check::<f64>(isa, batch);
        }
    }
}

#[test]
fn floors_are_checked() {
    for floor in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-31, 1e31] {
        let error = Floor::new(floor).unwrap_err();
        assert!(matches!(error, Error::Policy { name: "floor", .. }), "{error}");
        assert_eq!(error.to_string(), format!("floor is {floor}: expected from 1e-30 to 1e30"));
        assert!(Divisor::floor(floor).is_err());
    }
    assert_eq!(Floor::new(0.01).unwrap().get(), 0.01);
    assert_eq!(format!("{:?}", Divisor::floor(0.01).unwrap()), "Floor(Floor(0.01))");
    let no_layer = dann().divisor_layer(3, Divisor::Plain).unwrap_err();
    assert!(matches!(no_layer, Error::Dimension { name: "k", value: 3, .. }));
    assert!(dann().subtractive_layer(3).is_err());
    // What does not divide has no divisor.
    let subtractive = dann().subtractive();
    assert_eq!(subtractive.clone().divisor(Divisor::floor(1.0).unwrap()), subtractive);
    assert_eq!(
        DannShape::new(2, 3, 1).divisor(Divisor::floor(1.0).unwrap()).subtractive(),
        DannShape::new(2, 3, 1).subtractive()
    );
}

/// A root is a remedy, too: nothing is below its bound.
#[test]
fn a_root_is_a_remedy() {
    fn check<T: Element>(isa: Isa, batch: usize) {
        let x = inputs::<T>(batch, |example| example % 2 == 0);
        let x = MatRef::new(&x, batch, DIMS[0]).unwrap();
        let architecture = dann().divisor_layer(0, Divisor::Root).unwrap();
        let mut net: Network<T> = architecture.build(&isa.into()).unwrap();
        for _ in 0..3 {
            net.train_step(x, &labels(batch), &Update::csgd(0.05)).unwrap();
            let low = net.low_divisors().next().unwrap().unwrap();
            assert_eq!((low.count, low.of, low.smallest), (0, 24 * batch as u64, None));
        }
        let least = net.inspect(x, &labels(batch), &Update::csgd(0.05)).unwrap()[0].gamma.unwrap().0;
        assert!(least >= 0.99 * reference::ROOT_EPSILON.sqrt(), "{isa}: {least}");
    }
    for isa in isas() {
        for batch in [2, 17, 300] {
            check::<f32>(isa, batch);
            check::<f64>(isa, batch);
        }
    }
}
