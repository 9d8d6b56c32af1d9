//! Pictures: curves, with a legend beside them.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::error::Error;

/// Where something is drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Dark enough to be seen on white, and different also to the colour-blind.
const COLORS: [RGBColor; 5] =
    [RGBColor(0, 90, 181), RGBColor(220, 80, 30), RGBColor(20, 130, 90), RGBColor(150, 60, 150), RGBColor(90, 90, 90)];
/// Width of a legend.
const LEGEND: u32 = 118;

/// How a curve looks: five colours, drawn through and then again dashed.
#[derive(Clone, Copy)]
pub struct Look(pub usize);

impl Look {
    fn color(self) -> RGBColor {
        COLORS[self.0 % COLORS.len()]
    }

    fn dashed(self) -> bool {
        self.0 / COLORS.len() % 2 == 1
    }
}

/// Points from left to right.
pub struct Curve {
    pub name: String,
    pub look: Look,
    pub points: Vec<(f64, f64)>,
    /// Lowest and highest value at each x, if there is more than one.
    pub band: Vec<(f64, f64, f64)>,
    /// Whether to draw the points themselves, too.
    pub dots: bool,
    /// Where there is an x but no value: crosses at the upper edge.
    pub crosses: Vec<f64>,
}

/// How values are laid along an axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Log,
}

/// One system of axes.
pub struct Panel<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub log_x: bool,
    pub y: Scale,
    pub curves: &'a [Curve],
}

/// A picture of panels side by side, with one legend for all.
pub fn picture(size: (u32, u32), panels: &[Panel<'_>]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        let (charts, legend) = area.split_horizontally(size.0 - LEGEND);
        for (area, panel) in charts.split_evenly((1, panels.len())).iter().zip(panels) {
            panel.draw(area)?;
        }
        if let Some(panel) = panels.first() {
            draw_legend(&legend, panel.curves)?;
        }
        area.present()?;
    }
    Ok(svg)
}

impl Panel<'_> {
    fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
        if self.log_x {
            // Some room to both sides, also of a single point.
            let (low, high) = range(self.xs(), 1.3);
            self.draw_above(area, (low..high).log_scale().with_key_points(ticks(low, high)), 10)
        } else {
            let (low, high) = span(self.xs());
            let high = high.max(low + 1.0);
            self.draw_above(area, low..high, (high - low).min(10.0) as usize + 1)
        }
    }

    fn ys(&self) -> impl Iterator<Item = f64> {
        let points = self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.1);
        points.chain(self.curves.iter().flat_map(|curve| &curve.band).flat_map(|&(_, low, high)| [low, high]))
    }

    fn draw_above<X>(&self, area: &Area<'_>, x: X, x_labels: usize) -> Result<(), Box<dyn Error>>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
    {
        match self.y {
            Scale::Log => {
                let (low, high) = range(self.ys(), 1.2);
                let y = (low..high).log_scale().with_key_points(ticks(low, high));
                self.draw_on(area, (x, x_labels), (y, high), FLOOR)
            }
            Scale::Linear => {
                let (low, high) = span(self.ys());
                let room = 0.05 * (high - low).max(1e-3);
                let high = high + room;
                self.draw_on(area, (x, x_labels), (low - room..high, high), f64::NEG_INFINITY)
            }
        }
    }

    fn xs(&self) -> impl Iterator<Item = f64> {
        let points = self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.0);
        points.chain(self.curves.iter().flat_map(|curve| &curve.crosses).copied())
    }

    /// Draws the curves on two axes, of which y ends `high`, and values below `floor` lie on it.
    fn draw_on<X, Y>(
        &self,
        area: &Area<'_>,
        (x, x_labels): (X, usize),
        (y, high): (Y, f64),
        floor: f64,
    ) -> Result<(), Box<dyn Error>>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .x_labels(x_labels)
            .x_label_formatter(&|&x| label(x))
            .y_label_formatter(&|&y| label(y))
            .light_line_style(WHITE)
            .draw()?;
        for curve in self.curves {
            let color = curve.look.color();
            let there_and_back = || {
                let there = curve.band.iter().map(|&(x, low, _)| (x, low.max(floor)));
                there.chain(curve.band.iter().rev().map(|&(x, _, high)| (x, high.max(floor))))
            };
            if curve.band.len() > 1 {
                chart.draw_series([Polygon::new(there_and_back().collect::<Vec<_>>(), color.mix(0.12))])?;
            }
        }
        for curve in self.curves {
            let color = curve.look.color();
            let points = || curve.points.iter().map(|&(x, y)| (x, y.max(floor)));
            if curve.look.dashed() {
                chart.draw_series(DashedLineSeries::new(points(), 6, 4, color.stroke_width(2)))?;
            } else {
                chart.draw_series(LineSeries::new(points(), color.stroke_width(2)))?;
            }
            if curve.dots {
                chart.draw_series(points().map(|point| Circle::new(point, 3, color.filled())))?;
            }
            let style = color.stroke_width(2);
            chart.draw_series(curve.crosses.iter().map(|&x| Cross::new((x, high), 5, style)))?;
        }
        Ok(())
    }
}

/// Below this a logarithmic scale tells nothing.
const FLOOR: f64 = 1e-5;

/// The least and the largest finite value.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low > high { (0.0, 1.0) } else { (low, high) }
}

/// The range of finite values, with a factor to spare on both sides.
fn range(values: impl Iterator<Item = f64>, spare: f64) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite()).map(|value| value.max(FLOOR));
    let (low, high) = finite.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low > high { (1.0, 2.0) } else { (low / spare, high * spare) }
}

/// Round numbers from `low` to `high`: all with one digit, or 1, 2 and 5, or 1 alone, so that there are not too many.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let digits: &[f64] = match (high / low).log10() {
        ..1.1 => &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        ..3.5 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    // Divided where that is exact.
    let scale =
        |digit: f64, power: i32| if power < 0 { digit / 10_f64.powi(-power) } else { digit * 10_f64.powi(power) };
    let all = powers.flat_map(|power| digits.iter().map(move |&digit| scale(digit, power)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

fn label(value: f64) -> String {
    if (0.001..10_000.0).contains(&value) {
        // Not the noise of a last digit.
        format!("{}", (value * 1e6).round() / 1e6)
    } else {
        format!("{value:.0e}")
    }
}

fn draw_legend(area: &Area<'_>, curves: &[Curve]) -> Result<(), Box<dyn Error>> {
    /// Distance of two lines.
    const LINE: i32 = 20;
    for (y, curve) in (48..).step_by(LINE as usize).zip(curves) {
        let style = curve.look.color().stroke_width(2);
        let ends = if curve.look.dashed() { vec![(0, 7), (9, 16), (18, 25)] } else { vec![(0, 25)] };
        for (from, to) in ends {
            area.draw(&PathElement::new([(from, y), (to, y)], style))?;
        }
        area.draw(&Text::new(curve.name.clone(), (32, y - 6), ("sans-serif", 13)))?;
    }
    Ok(())
}
