//! How programs show images to networks: how an epoch is cut into batches, and that it can be gone on with.

#[path = "../examples/common/mod.rs"]
mod common;

use common::learn::{Course, LastBatch, check_batches};
use interneuron::{Architecture, Context, LayerShape, Network, Update};
use interneuron_datasets::{Dataset, digits};

/// Images of each step of an epoch.
fn batches(all: &Dataset, images: usize, batch: usize, last: LastBatch) -> Vec<usize> {
    let data = all.subset(&(0..images).collect::<Vec<_>>());
    let mut course = Course::new(&data, batch, last, 1);
    let mut net: Network<f32> = Architecture::mlp(&[784, 10]).unwrap().build(&Context::new().unwrap()).unwrap();
    let mut sizes = vec![];
    let flow = course.epoch(&mut net, |_| Update::sgd(0.01), |step| sizes.push(step.images)).unwrap();
    assert!(flow.is_continue() && sizes.len() == course.steps());
    sizes
}

#[test]
fn every_step_of_an_epoch_weighs_about_the_same() {
    let all = digits(100, 1, 1).train;
    for batch in [1, 2, 3, 7, 32, 33] {
        for images in (1..=100).step_by(if cfg!(debug_assertions) { 7 } else { 1 }) {
            let spread = batches(&all, images, batch, LastBatch::Spread);
            let what = format!("{images} images by {batch}: {spread:?}");
            assert_eq!(spread.iter().sum::<usize>(), images, "{what}");
            let (least, most) = (*spread.iter().min().unwrap(), *spread.iter().max().unwrap());
            assert!(most - least <= 1 && most < 2 * batch.max(images.min(batch)), "{what}");
            assert!(least >= batch.min(images), "no step has fewer images than were asked for: {what}");
            let short = batches(&all, images, batch, LastBatch::Short);
            let chunks: Vec<usize> = vec![(); images].chunks(batch).map(<[()]>::len).collect();
            assert_eq!(short, chunks, "as the original experiments did");
            if images % batch == 0 {
                assert_eq!(spread, short, "{what}");
            }
        }
    }
}

/// An image more than a multiple of the batch changes nothing that matters. With a short last batch the same network
/// ends two to four times as far from what it could learn.
#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn one_image_more_does_not_ruin_training() {
    let data = digits(2001, 1000, 1);
    // The mean of the last epochs of some seeds: a network alone strays by a few percent.
    const EPOCHS: usize = 12;
    const COUNTED: usize = 6;
    let error = |images: usize, last| {
        let train = data.train.subset(&(0..images).collect::<Vec<_>>());
        let seeds = 1..=4;
        let of_seed = |seed| {
            let mut net: Network<f32> =
                Architecture::mlp(&[784, 100, 100, 10]).unwrap().seed(seed).build(&Context::new().unwrap()).unwrap();
            let mut course = Course::new(&train, 32, last, seed);
            let mut sum = 0.0;
            for epoch in 0..EPOCHS {
                let _ = course.epoch(&mut net, |_| Update::sgd(0.1), |_| ()).unwrap();
                if epoch >= EPOCHS - COUNTED {
                    sum += course.examples.evaluate(&mut net, &data.test).unwrap().error_percent();
                }
            }
            sum / COUNTED as f64
        };
        seeds.map(of_seed).sum::<f64>() / 4.0
    };
    // 1984 is 62 · 32.
    let (even, spread, short) =
        (error(1984, LastBatch::Spread), error(1985, LastBatch::Spread), error(1985, LastBatch::Short));
    eprintln!("1984 images {even:.1} %, 1985 images {spread:.1} %, with a short last batch {short:.1} %");
    // What networks of four other seeds differ by, and more; the fault is four times as large.
    assert!((spread - even).abs() < 0.25 * even, "{spread} % beside {even} %");
    assert!(short > 1.5 * even, "{short} % beside {even} %");
}

#[test]
fn epochs_that_are_passed_over_leave_the_same_order() {
    let data = digits(50, 1, 1).train;
    // The parameters after the third epoch, of which only that is learnt.
    let learn = |passed: usize, epochs: usize| {
        let mut net: Network<f32> = Architecture::mlp(&[784, 10]).unwrap().build(&Context::new().unwrap()).unwrap();
        let mut course = Course::new(&data, 8, LastBatch::Spread, 3);
        course.skip(passed);
        for epoch in passed..epochs {
            let rate = if epoch == 2 { 0.01 } else { 0.0 };
            let _ = course.epoch(&mut net, |_| Update::sgd(rate), |_| ()).unwrap();
        }
        (course.generator().clone(), net.params().map(|params| params.to_owned()).collect::<Vec<_>>())
    };
    assert!(learn(0, 3) == learn(2, 3));
    assert!(learn(1, 3) == learn(2, 3));
    assert!(learn(0, 2).0 == learn(2, 2).0 && learn(0, 3).0 != learn(2, 2).0);
}

#[test]
fn batches_that_cannot_be_are_refused() {
    let shapes = |architecture: interneuron::Architecture| -> Vec<LayerShape> {
        architecture.build::<f32>(&Context::new().unwrap()).unwrap().shapes().collect()
    };
    let (plain, batch_norm) =
        (shapes(Architecture::mlp(&[4, 3, 2]).unwrap()), shapes(Architecture::batch_norm(&[4, 3, 2]).unwrap()));
    assert!(check_batches(plain.clone(), 10, 11, LastBatch::Spread).unwrap_err().contains("at most 10"));
    assert!(check_batches(plain.clone(), 10, 10, LastBatch::Spread).is_ok());
    assert!(check_batches(plain, 10, 3, LastBatch::Short).is_ok());
    assert!(check_batches(batch_norm.clone(), 10, 3, LastBatch::Spread).is_ok());
    let error = check_batches(batch_norm.clone(), 10, 3, LastBatch::Short).unwrap_err();
    assert!(error.contains("batch normalisation needs two"), "{error}");
    assert!(check_batches(batch_norm.clone(), 10, 1, LastBatch::Spread).is_err());
    assert!(check_batches(batch_norm, 11, 3, LastBatch::Short).is_ok());
}
