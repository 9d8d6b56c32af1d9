//! What is done to inputs before a network sees them.

use crate::element::Element;
use crate::error::{Error, dimension, length, same, values};
use crate::matrix::{MatMut, MatRef};

/// A map of each input, as a loader applies it to training and test data alike: `x' = (x − offset) ⊙ scale`.
///
/// Divisive inhibition asks for inputs ≥ 0. From inputs of both signs, [`InputStatistics::shifted`] makes such by taking
/// from each input its smallest value in the training data. A checkpoint holds the map
/// ([`checkpoint::Run`](crate::checkpoint::Run)), so that who loads the network feeds it alike.
///
/// ```
/// use interneuron::*;
///
/// let mut train = [-1.0_f32, 3.0, 0.0, 5.0, 1.0, 7.0]; // three examples of two inputs
/// let statistics = InputStatistics::of(MatRef::new(&train, 3, 2)?)?;
/// let scaler = statistics.shifted(&statistics.standardise()?)?;
/// scaler.apply(MatMut::new(&mut train, 3, 2)?)?;
/// assert_eq!((train[0], train[1]), (0.0, 0.0)); // the smallest value of each input
/// assert!(train.iter().all(|&x| x >= 0.0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scaler {
    offset: Vec<f64>,
    scale: Vec<f64>,
}

impl Scaler {
    /// `offset [d]` and `scale [d]`.
    ///
    /// # Errors
    /// [`Error::Dimension`] if they are empty, [`Error::Length`] if they disagree, [`Error::Value`] if an offset is not
    /// finite or a scale no finite number above 0.
    pub fn new(offset: Vec<f64>, scale: Vec<f64>) -> Result<Self, Error> {
        dimension("inputs", offset.len())?;
        length("scale", scale.len(), offset.len())?;
        values("offset", offset.iter().copied(), true)?;
        match scale.iter().position(|scale| !(scale.is_finite() && *scale > 0.0)) {
            None => Ok(Self { offset, scale }),
            Some(index) => {
                Err(Error::Value { name: "scale", index, value: scale[index], expected: "a finite number > 0" })
            }
        }
    }

    /// What is taken from each input, `[d]`.
    pub fn offset(&self) -> &[f64] {
        &self.offset
    }

    /// What each input is multiplied by then, `[d]`.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// Overwrites `x [B, d]` by what the network is to see, computed in `T`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if `x` has not as many columns as there are inputs, [`Error::Value`] if `T` cannot hold an
    /// offset or a scale. Nothing is changed then.
    pub fn apply<T: Element>(&self, mut x: MatMut<'_, T>) -> Result<(), Error> {
        same("x", "columns", x.cols(), "the scaler", "inputs", self.offset.len())?;
        values("offset", self.offset.iter().map(|&offset| T::from_f64(offset).to_f64()), true)?;
        let held = |scale: &f64| (T::ZERO < T::from_f64(*scale)) && T::from_f64(*scale).is_finite();
        if let Some(index) = self.scale.iter().position(|scale| !held(scale)) {
            let expected = "a finite number > 0, also in the element type of x";
            return Err(Error::Value { name: "scale", index, value: self.scale[index], expected });
        }
        for row in 0..x.rows() {
            let maps = self.offset.iter().zip(&self.scale);
            for (x, (&offset, &scale)) in x.row_mut(row).iter_mut().zip(maps) {
                *x = (*x - T::from_f64(offset)) * T::from_f64(scale);
            }
        }
        Ok(())
    }
}

/// What is known of each input of a data set, of which batches are added one by one: its smallest value, its mean and
/// its deviation. Sums are in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct InputStatistics {
    examples: u64,
    /// The first example. Sums are of distances from it, lest a small deviation be lost beside a large mean.
    first: Vec<f64>,
    least: Vec<f64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl InputStatistics {
    /// Those of the examples `x [B, d]`.
    ///
    /// # Errors
    /// [`Error::Value`] if an element is not finite.
    pub fn of<T: Element>(x: MatRef<'_, T>) -> Result<Self, Error> {
        let first: Vec<f64> = x.row(0).iter().map(|x| x.to_f64()).collect();
        let zeros = vec![0.0; x.cols()];
        let mut statistics = Self { examples: 0, least: first.clone(), first, sums: zeros.clone(), squares: zeros };
        statistics.add(x)?;
        Ok(statistics)
    }

    /// Adds the examples `x [B, d]`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there are not as many inputs as before, [`Error::Value`] if an element is not finite.
    /// Nothing is added then.
    pub fn add<T: Element>(&mut self, x: MatRef<'_, T>) -> Result<(), Error> {
        same("x", "columns", x.cols(), "the examples before", "inputs", self.first.len())?;
        x.check_finite("x")?;
        self.examples += x.rows() as u64;
        for row in 0..x.rows() {
            let sums = self.sums.iter_mut().zip(&mut self.squares);
            let inputs = self.first.iter().zip(&mut self.least).zip(sums);
            for (x, ((first, least), (sum, square))) in x.row(row).iter().zip(inputs) {
                let x = x.to_f64();
                *least = least.min(x);
                *sum += x - first;
                *square += (x - first).powi(2);
            }
        }
        Ok(())
    }

    /// How many inputs, `d`.
    pub fn inputs(&self) -> usize {
        self.first.len()
    }

    /// The smallest value of each input, `[d]`.
    pub fn least(&self) -> &[f64] {
        &self.least
    }

    /// The mean of each input, `[d]`.
    pub fn means(&self) -> Vec<f64> {
        let mean = |(first, sum): (&f64, &f64)| first + sum / self.examples as f64;
        self.first.iter().zip(&self.sums).map(mean).collect()
    }

    /// The biased variance of each input, `[d]`.
    pub fn variances(&self) -> Vec<f64> {
        let examples = self.examples as f64;
        let variance = |(sum, square): (&f64, &f64)| {
            let variance = square / examples - (sum / examples).powi(2);
            // Rounding may leave less than nothing; what is too large for f64 stays NaN.
            if variance < 0.0 { 0.0 } else { variance }
        };
        self.sums.iter().zip(&self.squares).map(variance).collect()
    }

    /// Leaves inputs as they are.
    pub fn identity(&self) -> Scaler {
        Scaler { offset: vec![0.0; self.inputs()], scale: vec![1.0; self.inputs()] }
    }

    /// Makes mean 0 and variance 1 of all inputs together: one offset and one scale. Inputs that are all the same only
    /// lose their mean.
    ///
    /// # Errors
    /// [`Error::Value`] if their deviation is too large for f64. One whose square is too small for f64 counts as none.
    pub fn standardise(&self) -> Result<Scaler, Error> {
        let (means, inputs) = (self.means(), self.inputs() as f64);
        // Of distances from the first, which are 0 where all inputs are the same.
        let mean = means[0] + means.iter().map(|mean| mean - means[0]).sum::<f64>() / inputs;
        let between = means.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / inputs;
        let variance = between + self.variances().iter().sum::<f64>() / inputs;
        Scaler::new(vec![mean; self.inputs()], vec![inverse(variance); self.inputs()])
    }

    /// Makes mean 0 and variance 1 of each input by itself. One that is always the same only loses its mean.
    ///
    /// # Errors
    /// As [`InputStatistics::standardise`].
    pub fn standardise_each(&self) -> Result<Scaler, Error> {
        Scaler::new(self.means(), self.variances().into_iter().map(inverse).collect())
    }

    /// A scaler with its offsets replaced by each input's smallest value: of the examples that these statistics are of,
    /// no input is below 0 then. Others may be, a little.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the scaler is of another number of inputs.
    pub fn shifted(&self, scaler: &Scaler) -> Result<Scaler, Error> {
        same("the scaler", "inputs", scaler.offset.len(), "the examples", "inputs", self.inputs())?;
        Ok(Scaler { offset: self.least.clone(), scale: scaler.scale.clone() })
    }
}

/// What makes a variance 1, or 1 for one of 0; what is too large becomes no scale.
fn inverse(variance: f64) -> f64 {
    if variance == 0.0 { 1.0 } else { variance.sqrt().recip() }
}
