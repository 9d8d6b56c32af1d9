//! Divisors that are too small: counted where they are made.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many divisors of a layer are below their bound.
///
/// Of plain divisors that is ε, and only inputs below zero can make them smaller: divisive inhibition is then negative
/// somewhere, and what it divides has a pole between such an example and the others. Inputs ≥ 0 never count: without
/// input, a divisor is ε to the bit. Of divisors with a floor it is the floor, and those below it are the ones through
/// which no gradient goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowDivisors {
    /// How many are below.
    pub count: u64,
    /// How many there are: one for each unit and example.
    pub of: u64,
    /// The smallest of those below, before it was raised to a floor; none if none is below.
    pub smallest: Option<f64>,
}

impl LowDivisors {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        let smallest = match (self.smallest, other.smallest) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { count: self.count + other.count, of: self.of + other.of, smallest }
    }

    /// The part that is below, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.of == 0 { 0.0 } else { self.count as f64 / self.of as f64 }
    }
}

/// The count of a pass. Forward products only tell whether there is a low divisor; the count is made where there is one.
/// Tiles add to it in whatever order: sums of integers and a minimum are the same for any number of threads.
#[derive(Debug)]
pub(crate) struct Lows {
    /// Whether there is one in this slab.
    pub any: AtomicBool,
    count: AtomicU64,
    /// The smallest divisor as an integer that is ordered as numbers are, the largest integer if there is none.
    smallest: AtomicU64,
    /// Divisors in all.
    of: u64,
}

impl Lows {
    pub fn new() -> Self {
        Self { any: AtomicBool::new(false), count: AtomicU64::new(0), smallest: AtomicU64::new(u64::MAX), of: 0 }
    }

    /// Begins a slab with so many divisors.
    pub fn begin_slab(&mut self, divisors: usize) {
        *self.any.get_mut() = false;
        self.of += divisors as u64;
    }

    /// Adds the low divisors of a tile.
    pub fn add(&self, count: usize, smallest: f64) {
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        self.smallest.fetch_min(key(smallest), Ordering::Relaxed);
    }

    pub fn total(&self) -> LowDivisors {
        let (count, smallest) = (self.count.load(Ordering::Relaxed), self.smallest.load(Ordering::Relaxed));
        LowDivisors { count, of: self.of, smallest: (count > 0).then(|| of_key(smallest)) }
    }
}

impl Clone for Lows {
    fn clone(&self) -> Self {
        let copy = |number: &AtomicU64| number.load(Ordering::Relaxed).into();
        let any = self.any.load(Ordering::Relaxed).into();
        Self { any, count: copy(&self.count), smallest: copy(&self.smallest), of: self.of }
    }
}

const SIGN: u64 = 1 << 63;

/// An integer that is ordered as numbers are.
fn key(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The number of a [`key`].
fn of_key(key: u64) -> f64 {
    f64::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_is_the_smallest_number() {
        let numbers = [f64::NEG_INFINITY, -2.5, -1.0, -1e-300, 0.0, 1e-300, 1e-8, 3.0, f64::INFINITY];
        assert!(numbers.map(key).is_sorted());
        assert_eq!(numbers.map(key).map(of_key), numbers);
        let lows = Lows::new();
        assert_eq!(lows.total(), LowDivisors { count: 0, of: 0, smallest: None });
        lows.add(2, 1e-9);
        lows.add(1, -3.0);
        lows.add(4, -0.5);
        assert_eq!((lows.total().count, lows.total().smallest), (7, Some(-3.0)));
    }
}
