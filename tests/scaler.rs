//! What is done to inputs: the map, and the statistics that it is made of.

use interneuron::*;

/// Seven examples of four inputs: of both signs, beside a large mean, always the same, and large.
fn examples() -> Vec<f64> {
    let row = |i: usize| {
        let wave = (i as f64 * 1.7).sin();
        [wave, 1e6 + wave, -3.0, 1e3 * wave * wave]
    };
    (0..7).flat_map(row).collect()
}

fn statistics<T: Element>(x: &[T]) -> InputStatistics {
    let mut statistics = InputStatistics::of(MatRef::new(&x[..8], 2, 4).unwrap()).unwrap();
    statistics.add(MatRef::new(&x[8..], 5, 4).unwrap()).unwrap();
    statistics
}

fn scaled<T: Element>(scaler: &Scaler, x: &[T]) -> Vec<f64> {
    let mut x = x.to_vec();
    scaler.apply(MatMut::new(&mut x, 7, 4).unwrap()).unwrap();
    x.iter().map(|x| x.to_f64()).collect()
}

/// Mean and biased variance, by their definitions.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, values.map(|x| (x - mean).powi(2)).sum::<f64>() / count)
}

#[test]
fn statistics_are_those_of_all_batches() {
    let x = examples();
    let statistics = statistics(&x);
    let (means, variances) = (statistics.means(), statistics.variances());
    for input in 0..4 {
        let column = x.iter().copied().skip(input).step_by(4);
        let (mean, variance) = moments(column.clone());
        assert_eq!(statistics.least()[input], column.fold(f64::INFINITY, f64::min));
        // Rounding of sums of seven; beside a mean of 10⁶ the examples themselves are rounded.
        assert!((means[input] - mean).abs() <= 1e-15 * mean.abs().max(1.0), "{means:?}");
        assert!((variances[input] - variance).abs() <= 1e-9 * variance, "{variances:?}");
    }
    assert_eq!((variances[2], statistics.inputs()), (0.0, 4));
}

#[test]
fn standardised_examples_have_mean_0_and_variance_1() {
    let x = examples();
    let statistics = statistics(&x);
    let all = scaled(&statistics.standardise().unwrap(), &x);
    let (mean, variance) = moments(all.iter().copied());
    assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12, "{mean} {variance}");
    let each = scaled(&statistics.standardise_each().unwrap(), &x);
    for input in 0..4 {
        let (mean, variance) = moments(each.iter().copied().skip(input).step_by(4));
        let expected = if input == 2 { 0.0 } else { 1.0 };
        assert!(mean.abs() < 1e-9 && (variance - expected).abs() < 1e-9, "input {input}: {mean} {variance}");
    }
}

/// The remedy for layers that divide: exactly 0 at least, in either type, and at the smallest example 0.
#[test]
fn shifted_examples_are_never_negative() {
    fn check<T: Element>() {
        let x: Vec<T> = examples().into_iter().map(T::from_f64).collect();
        let statistics = statistics(&x);
        for scaler in [statistics.identity(), statistics.standardise().unwrap(), statistics.standardise_each().unwrap()]
        {
            let shifted = scaled(&statistics.shifted(&scaler).unwrap(), &x);
            for input in 0..4 {
                let column = shifted.iter().copied().skip(input).step_by(4);
                assert_eq!(column.fold(f64::INFINITY, f64::min), 0.0);
            }
        }
        assert_eq!(scaled(&statistics.identity(), &x), x.iter().map(|x| x.to_f64()).collect::<Vec<_>>());
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn what_cannot_be_used_is_named() {
    let wrong = |offset: &[f64], scale: &[f64]| Scaler::new(offset.to_vec(), scale.to_vec()).unwrap_err().to_string();
    assert_eq!(wrong(&[], &[]), "inputs is 0: expected at least 1");
    assert_eq!(wrong(&[0.0], &[1.0, 1.0]), "scale has 2 elements: expected 1");
    assert_eq!(wrong(&[0.0, f64::NAN], &[1.0, 1.0]), "offset[1] is NaN: expected a finite number");
    assert_eq!(wrong(&[0.0, 0.0], &[1.0, 0.0]), "scale[1] is 0: expected a finite number > 0");
    let scaler = Scaler::new(vec![0.0; 2], vec![1.0; 2]).unwrap();
    let mut x = [1.0_f32; 3];
    let error = scaler.apply(MatMut::new(&mut x, 1, 3).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "x has 3 columns, the scaler has 2 inputs");
    assert_eq!(x, [1.0; 3]);
    let mut statistics = InputStatistics::of(MatRef::new(&x, 1, 3).unwrap()).unwrap();
    let before = statistics.clone();
    assert!(matches!(statistics.add(MatRef::new(&[1.0_f32; 2], 1, 2).unwrap()), Err(Error::Mismatch { .. })));
    let infinite = [1.0, f32::INFINITY, 1.0];
    let error = statistics.add(MatRef::new(&infinite, 1, 3).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "x[1] is inf: expected a finite number");
    assert_eq!(statistics, before);
    assert!(matches!(statistics.shifted(&scaler), Err(Error::Mismatch { .. })));
    // Too much for f64, and for the elements.
    let large = InputStatistics::of(MatRef::new(&[0.0, 1e200], 2, 1).unwrap()).unwrap();
    assert!(matches!(large.standardise(), Err(Error::Value { name: "scale", .. })));
    assert!(matches!(large.standardise_each(), Err(Error::Value { name: "scale", .. })));
    for (offset, scale, name) in
        [(1e300, 1.0, "offset[0] is inf"), (0.0, 1e39, "scale[0] is 1"), (0.0, 1e-60, "scale[0]")]
    {
        let (scaler, mut x) = (Scaler::new(vec![offset], vec![scale]).unwrap(), [2.0_f32]);
        let error = scaler.apply(MatMut::new(&mut x, 1, 1).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with(name) && x == [2.0], "{error}");
    }
    // One mean of inputs that are all the same is that number, whatever it is.
    let constant = InputStatistics::of(MatRef::new(&[0.1; 3], 1, 3).unwrap()).unwrap().standardise().unwrap();
    assert_eq!((constant.offset(), constant.scale()), (&[0.1; 3][..], &[1.0; 3][..]));
}
