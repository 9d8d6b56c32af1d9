//! The spectral radius of a matrix.

/// The largest magnitude of the eigenvalues of `w [n, n]`, which need not be real: `‖wᵏ‖^(1/k)` by squaring, to about
/// `ln n / k` of it.
pub(crate) fn spectral_radius(w: &[f64], n: usize) -> f64 {
    /// `k = 2²⁰`
    const SQUARINGS: usize = 20;
    assert_eq!(w.len(), n * n, "elements of a square matrix");
    let norm = |w: &[f64]| w.iter().map(|x| x * x).sum::<f64>().sqrt();
    // So that no square overflows.
    let largest = w.iter().fold(0.0, |most: f64, x| if x.is_nan() { *x } else { most.max(x.abs()) });
    if largest == 0.0 || !largest.is_finite() {
        return if largest == 0.0 { 0.0 } else { f64::NAN };
    }
    let (mut power, mut square): (Vec<f64>, _) = (w.iter().map(|x| x / largest).collect(), vec![0.0; n * n]);
    // wᵏ = largestᵏ · power · e^log
    let (mut log, mut k) = (0.0, 1.0);
    for _ in 0..SQUARINGS {
        let size = norm(&power);
        if size == 0.0 {
            return 0.0;
        }
        power.iter_mut().for_each(|x| *x /= size);
        let (rows, columns) = (n as isize, 1);
        // SAFETY: the three matrices have n rows of n elements; the one that is written is borrowed mutably.
        unsafe {
            matrixmultiply::dgemm(
                n,
                n,
                n,
                1.0,
                power.as_ptr(),
                rows,
                columns,
                power.as_ptr(),
                rows,
                columns,
                0.0,
                square.as_mut_ptr(),
                rows,
                columns,
            );
        }
        std::mem::swap(&mut power, &mut square);
        log = 2.0 * (log + size.ln());
        k *= 2.0;
    }
    let size = norm(&power);
    if size == 0.0 { 0.0 } else { largest * ((log + size.ln()) / k).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(is: f64, expected: f64) {
        assert!((is - expected).abs() <= 2e-5 * expected, "{is} instead of {expected}");
    }

    #[test]
    fn the_radius_is_that_of_the_largest_eigenvalue() {
        assert_eq!(spectral_radius(&[0.0], 1), 0.0);
        assert_near(spectral_radius(&[-3.0], 1), 3.0);
        // A rotation by 90 degrees, twice as long: a complex pair.
        assert_near(spectral_radius(&[0.0, -2.0, 2.0, 0.0], 2), 2.0);
        // Nilpotent: no eigenvalue but 0, whatever the norm.
        assert_eq!(spectral_radius(&[0.0, 5.0, 0.0, 0.0], 2), 0.0);
        // Far from normal.
        assert_near(spectral_radius(&[0.5, 1e3, 0.0, 0.4], 2), 0.5);
        // A cycle of length three: the cube root of the product.
        assert_near(spectral_radius(&[0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0], 3), 24_f64.cbrt());
        assert!(spectral_radius(&[f64::NAN], 1).is_nan());
        assert_near(spectral_radius(&[1e200, 0.0, 0.0, 1e199], 2), 1e200);
    }
}
