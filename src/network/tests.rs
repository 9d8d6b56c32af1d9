//! Tests that look inside a network.

use super::loss::draw_labels;
use super::*;
use crate::driver::slabs;
use crate::network::architecture::Architecture;
use crate::optim::state::FISHER;
use crate::optim::update::Natural;
use crate::params::schema::PerRole;

/// The estimate of the Fisher information against squares of gradients that are made example by example.
#[test]
fn curvature_is_the_mean_of_squared_gradients_of_single_examples() {
    use crate::reference;
    /// Sums over 240 examples and three layers.
    const TOLERANCE: f64 = 1e-11;
    let (dims, natural) = ([13, 21, 9, 5], Natural { c: 0.25, f_lambda: 0.5, ..Natural::default() });
    let dann = |nis: &[usize]| Architecture::dann(&dims, nis).unwrap();
    let architectures = [
        dann(&[1, 1, 1]),
        dann(&[4, 7, 2]),
        dann(&[3, 2, 1]).subtractive(),
        Architecture::mlp(&dims).unwrap(),
        Architecture::layer_norm(&dims).unwrap(),
        Architecture::column_ei(&dims, 3, 0.5).unwrap(),
    ];
    for (architecture, isa) in architectures.iter().flat_map(|a| Isa::available().map(move |isa| (a, isa))) {
        // One batch of a slab, one of two.
        for batch in [7, 240] {
            let x: Vec<f64> = (0..batch * 13).map(|i| (i * i % 17) as f64 / 16.0).collect();
            let labels: Vec<u32> = (0..batch as u32).map(|i| i % 5).collect();
            let mut net: Network<f64> = architecture.clone().seed(4).build(&isa.into()).unwrap();
            // Away from the beginning, where some gradients are zero by symmetry.
            let matrix = MatRef::new(&x, batch, 13).unwrap();
            for _ in 0..3 {
                net.train_step(matrix, &labels, &Update::csgd(0.05)).unwrap();
            }
            let params: Vec<_> = net.params().cloned().collect();
            let shapes: Vec<_> = net.shapes().collect();
            // The labels that will be drawn, slab by slab: the same generator on the same outputs.
            let mut drawn = vec![];
            let mut labels_of = net.state.label_generator.clone();
            for (start, len) in slabs(batch) {
                let x = MatRef::new(&x[start * 13..][..len * 13], len, 13).unwrap();
                net.evaluate(x, &labels[..len]).unwrap();
                let mut here = vec![];
                draw_labels(net.plan.last_outputs(), &mut labels_of, &mut here);
                drawn.extend(here);
            }
            net.train_step(matrix, &labels, &Update::natural(0.0, natural)).unwrap();

            let mut squares: Vec<Params<f64>> = net.zero_gradients().unwrap();
            for (x, &label) in x.chunks_exact(13).zip(&drawn) {
                let mut inputs = vec![x.to_vec()];
                let mut passes = vec![];
                for (shape, params) in shapes.iter().zip(&params) {
                    passes.push(reference::forward(shape, params, inputs.last().unwrap()));
                    inputs.push(passes.last().unwrap().h().to_vec());
                }
                let (_, mut dh) = reference::softmax_cross_entropy(inputs.last().unwrap(), &[label]);
                for k in (0..shapes.len()).rev() {
                    let (dx, gradients) = reference::backward(&shapes[k], &params[k], &inputs[k], &passes[k], &dh);
                    for (sum, gradient) in squares[k].view_mut().into_iter().zip(gradients.view().iter()) {
                        sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g * g);
                    }
                    dh = dx;
                }
            }
            for (k, (state, squares)) in net.state().layers().zip(&squares).enumerate() {
                let fisher = state.slot(&FISHER).unwrap().arrays();
                for ((name, got), squares) in fisher.into_iter().zip(squares.view().iter()) {
                    let want = squares.iter().map(|sum| natural.c * natural.f_lambda * sum / batch as f64);
                    let largest = want.clone().fold(0.0, f64::max);
                    for (got, want) in got.iter().zip(want) {
                        assert!(
                            (got - want).abs() <= TOLERANCE * largest,
                            "{isa}, batch {batch}, layer {k}, {name}: {got} {want}"
                        );
                    }
                }
            }
            // The ordinary gradient and the step are what they are without the estimate: a zero rate moves nothing.
            assert!(net.params().cloned().eq(params));
        }
    }
}

/// A natural step is the step of the reference with the same estimate.
#[test]
fn natural_steps_divide_by_the_estimate() {
    use crate::reference;
    let architecture = Architecture::dann(&[13, 21, 5], &[2, 1]).unwrap();
    let x: Vec<f64> = (0..40 * 13).map(|i| (i * i % 17) as f64 / 16.0).collect();
    let labels: Vec<u32> = (0..40).map(|i| i % 5).collect();
    let x = MatRef::new(&x, 40, 13).unwrap();
    for normalised in [false, true] {
        let natural = Natural { epsilon: 1e-3, normalised, ..Natural::default() };
        for update in [
            Update::natural(1e-3, natural),
            Update { clip: Some(0.1), momentum: PerRole::all(0.5), ..Update::natural(1e-3, natural) },
        ] {
            let mut net: Network<f64> = architecture.build(&Context::new().unwrap()).unwrap();
            let mut gradients = net.zero_gradients().unwrap();
            net.gradients(x, &labels, &mut gradients).unwrap();
            let mut params: Vec<_> = net.params().cloned().collect();
            net.train_step(x, &labels, &update).unwrap();
            let shapes: Vec<_> = net.shapes().collect();
            for (k, params) in params.iter_mut().enumerate() {
                let fisher = net.state.layers[k].slot(&FISHER).unwrap().clone().into_arrays();
                let mut kept = reference::Kept { fisher, ..reference::Kept::default() };
                reference::update(&shapes[k], params, &gradients[k], &update, &mut kept);
                for ((name, got), want) in net.params[k].arrays().into_iter().zip(params.view().iter()) {
                    for (got, want) in got.iter().zip(want) {
                        assert!((got - want).abs() <= 1e-13 * (1.0 + want.abs()), "{name}: {got} {want}");
                    }
                }
            }
        }
    }
}

/// In the tests of the crate itself a team shares every phase, also the small ones.
#[cfg(feature = "rayon")]
#[test]
fn every_phase_can_be_shared() {
    fn check<T: Element>(architecture: &Architecture, isa: Isa) {
        for batch in [1, 33, 300] {
            let x: Vec<T> = (0..batch * 37).map(|i| T::from_f64((i * i % 11) as f64 / 8.0)).collect();
            let x = MatRef::new(&x, batch, 37).unwrap();
            let labels: Vec<u32> = (0..batch as u32).map(|i| i % 5).collect();
            let run = |threads: Threads| {
                let mut net: Network<T> = architecture.build(&Context::from(isa).with_threads(threads)).unwrap();
                let mut step = |_| net.train_step(x, &labels, &Update::csgd(0.05)).unwrap().to_bits();
                let losses: Vec<u64> = (0..3).map(&mut step).collect();
                (losses, net.params)
            };
            let serial = run(Threads::Serial);
            for threads in 2..=4 {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert!(run(pool.into()) == serial, "{isa}, batch {batch}, {threads} threads");
            }
        }
    }
    for architecture in shared_architectures() {
        for isa in Isa::available() {
            check::<f32>(&architecture, isa);
            check::<f64>(&architecture, isa);
        }
    }
}

#[cfg(feature = "rayon")]
fn shared_architectures() -> [Architecture; 6] {
    let dims = [37, 53, 29, 5];
    let dann = Architecture::dann(&dims, &[7, 13, 1]).unwrap();
    [
        dann.clone(),
        dann.subtractive(),
        Architecture::mlp(&dims).unwrap(),
        Architecture::layer_norm(&dims).unwrap(),
        Architecture::batch_norm(&dims).unwrap(),
        Architecture::column_ei(&dims, 4, 0.25).unwrap(),
    ]
}

/// The same with threads that a race detector understands: all phases of every kind of network and rule, of which only
/// the losses are compared.
#[cfg(feature = "rayon")]
#[test]
fn spawned_threads_do_not_change_a_loss() {
    let decay = PerRole::all(0.01);
    let updates = [
        Update { momentum: PerRole::all(0.9), decay, ..Update::csgd(0.05) },
        Update { clip: Some(1.0), ..Update::eg(0.05) },
        Update::adamw(1e-3),
        Update::natural(1e-3, Natural::default()),
    ];
    for (architecture, update) in shared_architectures().iter().flat_map(|a| updates.iter().map(move |u| (a, u))) {
        for batch in [2, 33, 200] {
            let x: Vec<f32> = (0..batch * 37).map(|i| (i * i % 11) as f32 / 8.0).collect();
            let x = MatRef::new(&x, batch, 37).unwrap();
            let labels: Vec<u32> = (0..batch as u32).map(|i| i % 5).collect();
            let run = |threads: Threads| -> Result<Vec<u64>, Error> {
                let mut net: Network<f32> = architecture.build(&Context::new()?.with_threads(threads))?;
                let mut losses = vec![net.evaluate(x, &labels)?.loss.to_bits()];
                for _ in 0..2 {
                    losses.push(net.train_step(x, &labels, update)?.to_bits());
                }
                Ok(losses)
            };
            let serial = run(Threads::Serial);
            assert!(matches!(serial, Ok(_) | Err(Error::Unsupported { .. })));
            assert_eq!(run(Threads::Spawned(3)), serial, "{architecture:?}, {update:?}, batch {batch}");
        }
    }
}
