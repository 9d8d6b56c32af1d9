//! Digit-like images drawn from a seed, so that everything can be tried without a data set.

use super::{Dataset, Images, Pixels, TrainTest};
use interneuron::{Generator, generator};
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::{PI, TAU};

/// Pixels of a side.
const SIDE: usize = 28;

/// A point of a stroke; x to the right, y down, the digit within the unit square.
type Point = [f64; 2];

/// An arc of an ellipse: centre, radii, first and last angle in turns (0 to the right, growing clockwise).
fn arc([cx, cy]: Point, [rx, ry]: Point, from: f64, to: f64) -> Vec<Point> {
    let pieces = ((to - from).abs() * 16.0).ceil() as usize;
    let point = |i: usize| {
        let angle = (from + (to - from) * i as f64 / pieces as f64) * TAU;
        [cx + rx * angle.cos(), cy + ry * angle.sin()]
    };
    (0..=pieces).map(point).collect()
}

/// The strokes of a digit, each a line through its points.
fn strokes(digit: u8) -> Vec<Vec<Point>> {
    match digit {
        0 => vec![arc([0.5, 0.5], [0.27, 0.4], 0.0, 1.0)],
        1 => vec![vec![[0.36, 0.26], [0.54, 0.1], [0.54, 0.9]]],
        2 => vec![[arc([0.5, 0.33], [0.25, 0.23], -0.48, 0.1), vec![[0.25, 0.9], [0.78, 0.9]]].concat()],
        3 => vec![[arc([0.46, 0.3], [0.25, 0.2], -0.4, 0.25), arc([0.46, 0.7], [0.28, 0.2], -0.25, 0.4)].concat()],
        4 => vec![vec![[0.62, 0.9], [0.62, 0.1], [0.2, 0.63], [0.82, 0.63]]],
        5 => vec![[vec![[0.74, 0.1], [0.33, 0.1], [0.3, 0.45]], arc([0.47, 0.65], [0.28, 0.25], -0.32, 0.4)].concat()],
        6 => vec![[vec![[0.66, 0.1], [0.4, 0.35]], arc([0.5, 0.67], [0.24, 0.23], -0.5, 0.5)].concat()],
        7 => vec![vec![[0.22, 0.1], [0.78, 0.1], [0.42, 0.9]]],
        8 => vec![arc([0.5, 0.3], [0.2, 0.2], 0.0, 1.0), arc([0.5, 0.7], [0.25, 0.2], 0.0, 1.0)],
        _ => vec![[arc([0.5, 0.33], [0.24, 0.23], 0.0, 1.0), vec![[0.74, 0.4], [0.6, 0.9]]].concat()],
    }
}

/// Draws `train` and `test` images of 28 × 28 pixels with the labels 0 to 9 in turn. The strokes of a digit are
/// turned, scaled, sheared, shifted and bent at random and drawn with a random width; the image is blurred and gets
/// noise. After training on 16,000, a linear classifier errs on about a quarter of them and a network on 1 to 3 %.
///
/// # Panics
/// If the images do not fit in memory.
pub fn digits(train: usize, test: usize, seed: u64) -> TrainTest {
    let mut rng = generator(seed);
    let mut draw = |count| {
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        let pixels = Pixels::Bytes(labels.iter().flat_map(|&label| draw_digit(label, &mut rng)).collect());
        Dataset { images: Images { pixels, scaler: None, count, height: SIDE, width: SIDE }, labels }
    };
    TrainTest { train: draw(train), test: draw(test) }
}

fn draw_digit(digit: u8, rng: &mut Generator) -> [u8; SIDE * SIDE] {
    let mut normal = |deviation: f64| -> f64 {
        let x: f64 = StandardNormal.sample(rng);
        deviation * x.clamp(-2.5, 2.5)
    };
    let (sin, cos) = normal(PI / 14.0).sin_cos();
    let (scale_x, scale_y, shear) = (16.0 * normal(0.13).exp(), 18.0 * normal(0.1).exp(), normal(0.22));
    let (shift_x, shift_y) = (normal(1.6), normal(1.6));
    let radius = 0.5 * 2.3 * normal(0.25).exp();
    let (bend_x, bend_y, phase_x, phase_y) = (normal(0.05), normal(0.05), normal(3.0), normal(3.0));
    let sharpness = 1.0 / (0.5 + normal(0.25).abs());
    let brightness = 235.0 * normal(0.08).exp();
    let noise: [f64; SIDE * SIDE] = std::array::from_fn(|_| normal(36.0));

    let place = |[x, y]: Point| -> Point {
        let x = x - 0.5 + bend_x * (TAU * y + phase_x).sin();
        let y = y - 0.5 + bend_y * (TAU * x + phase_y).sin();
        let (x, y) = (scale_x * (x + shear * y), scale_y * y);
        let centre = SIDE as f64 / 2.0;
        [centre + shift_x + cos * x - sin * y, centre + shift_y + sin * x + cos * y]
    };
    let lines: Vec<Vec<Point>> =
        strokes(digit).into_iter().map(|stroke| stroke.into_iter().map(place).collect()).collect();
    std::array::from_fn(|i| {
        let pixel = [(i % SIDE) as f64 + 0.5, (i / SIDE) as f64 + 0.5];
        let pieces = lines.iter().flat_map(|line| line.windows(2));
        let squares = pieces.map(|ends| squared_distance(pixel, ends[0], ends[1]));
        let distance = squares.fold(f64::INFINITY, f64::min).sqrt();
        // The edge of a stroke, softened by the blur.
        let ink = 1.0 / (1.0 + (4.0 * sharpness * (distance - radius)).exp());
        (brightness * ink + noise[i]).clamp(0.0, 255.0) as u8
    })
}

/// The squared distance of a point from the line between two others.
fn squared_distance([x, y]: Point, [x0, y0]: Point, [x1, y1]: Point) -> f64 {
    let (dx, dy) = (x1 - x0, y1 - y0);
    let along = ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy).max(1e-12);
    let t = along.clamp(0.0, 1.0);
    (x - x0 - t * dx).powi(2) + (y - y0 - t * dy).powi(2)
}
