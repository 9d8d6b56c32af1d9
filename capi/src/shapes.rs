//! What layers are and how they are drawn, as a caller says it.

use crate::arguments::{choice, flag, size};
use crate::config::LayerConfig;
use crate::info::{INTERNEURON_IDENTITY, INTERNEURON_RELU};
use crate::status::{Failure, Outcome};
use interneuron::{
    DannShape, DenseShape, Divisor, Floor, Law, LayerShape, Nonlinearity, NormShape, Normalisation, Scheme,
};

/// A layer with interneurons if `ni` is above 0, and a plain one if it is 0.
pub const INTERNEURON_BY_NI: i64 = 0;
/// A layer with sign-constrained columns (Dale's principle without interneurons): `wex` is its Wpos, not negative, and
/// the last inputs come in with a negative sign.
pub const INTERNEURON_COLUMNS: i64 = 1;
/// A plain layer with layer normalisation: `wex` is its W.
pub const INTERNEURON_LAYER_NORM: i64 = 2;
/// A plain layer with batch normalisation: `wex` is its W.
pub const INTERNEURON_BATCH_NORM: i64 = 3;

/// Divisive inhibition is `(exp(alpha) zI) Wei' + e`, for inputs that are not negative.
pub const INTERNEURON_DIVISOR_PLAIN: i64 = 0;
/// The same, but at least `floor`.
pub const INTERNEURON_DIVISOR_FLOOR: i64 = 1;
/// `sqrt((exp(alpha) zI)^2 (Wei^2)' + 1e-5)`, for inputs of any sign.
pub const INTERNEURON_DIVISOR_ROOT: i64 = 2;

/// Interneurons are drawn like the excitatory units and inhibit as much as these excite.
pub const INTERNEURON_MATCHED: i64 = 0;
/// Inhibitory weights are drawn independently of the excitation.
pub const INTERNEURON_INDEPENDENT: i64 = 1;
/// Every interneuron sees the mean of the excitatory weights, so that subtraction centres every input. Exponential.
pub const INTERNEURON_CENTRED: i64 = 2;
/// The same with lognormal weights.
pub const INTERNEURON_CENTRED_LOGNORMAL: i64 = 3;

/// The shape that a configuration describes, whose fields errors call by their names after `prefix`.
pub fn shape(config: &LayerConfig, prefix: &str) -> Outcome<LayerShape> {
    let name = |field: &str| format!("{prefix}{field}");
    let sizes = |field: &str, value, least| size(&name(field), value, least);
    let (d, ne, ni) = (sizes("d", config.d, 1)?, sizes("ne", config.ne, 1)?, sizes("ni", config.ni, 0)?);
    let nonlinearity = match config.nonlinearity {
        INTERNEURON_RELU => Nonlinearity::Relu,
        INTERNEURON_IDENTITY => Nonlinearity::Identity,
        other => return Err(Failure::argument(&name("nonlinearity"), other, "0 (ReLU) or 1 (identity)")),
    };
    let divisive = flag(&name("divisive"), config.divisive)?;
    let kinds = [INTERNEURON_BY_NI, INTERNEURON_COLUMNS, INTERNEURON_LAYER_NORM, INTERNEURON_BATCH_NORM];
    let kind = choice(&name("kind"), config.kind, &kinds)?;
    let inhibitory_inputs = sizes("inhibitory_inputs", config.inhibitory_inputs, 0)?;
    let inhibitory_outputs = sizes("inhibitory_outputs", config.inhibitory_outputs, 0)?;
    let divisor = divisor(config, &name)?;
    // Who says something of a layer that this kind has not takes it for another.
    let columns = kind == INTERNEURON_COLUMNS;
    for (field, value, allowed) in [
        ("ni", config.ni, kind == INTERNEURON_BY_NI),
        ("divisor", config.divisor, kind == INTERNEURON_BY_NI && ni > 0 && divisive),
        ("floor", (config.floor != 0.0).into(), config.divisor == INTERNEURON_DIVISOR_FLOOR),
        ("inhibitory_inputs", config.inhibitory_inputs, columns),
        ("inhibitory_outputs", config.inhibitory_outputs, columns),
    ] {
        if value != 0 && !allowed {
            return Err(Failure::argument(&name(field), value, "0 in a layer of this kind"));
        }
    }
    let norm = |over| LayerShape::from(NormShape { nonlinearity, ..NormShape::new(d, ne, over) });
    let dense = DenseShape { nonlinearity, ..DenseShape::new(d, ne) };
    Ok(match kind {
        INTERNEURON_COLUMNS => dense.columns(inhibitory_inputs, inhibitory_outputs).into(),
        INTERNEURON_LAYER_NORM => norm(Normalisation::Layer),
        INTERNEURON_BATCH_NORM => norm(Normalisation::Batch),
        _ if ni > 0 => DannShape { nonlinearity, divisive, divisor, ..DannShape::new(d, ne, ni) }.into(),
        _ => dense.into(),
    })
}

fn divisor(config: &LayerConfig, name: &impl Fn(&str) -> String) -> Outcome<Divisor> {
    match config.divisor {
        INTERNEURON_DIVISOR_FLOOR => {
            let floor = Floor::new(config.floor);
            let floor = floor.map_err(|_| Failure::argument(&name("floor"), config.floor, "from 1e-30 to 1e30"))?;
            Ok(Divisor::Floor(floor))
        }
        kind => choice(&name("divisor"), kind, &[Divisor::Plain, Divisor::Plain, Divisor::Root]),
    }
}

/// How a network is drawn, by the number of a scheme.
pub fn scheme(number: i64, k: f64) -> Outcome<Scheme> {
    if k != 0.0 && number != INTERNEURON_CENTRED_LOGNORMAL {
        return Err(Failure::argument("config->k", k, "0 with a scheme other than INTERNEURON_CENTRED_LOGNORMAL"));
    }
    match number {
        INTERNEURON_MATCHED => Ok(Scheme::Matched),
        INTERNEURON_INDEPENDENT => Ok(Scheme::Independent),
        INTERNEURON_CENTRED => Ok(Scheme::Centred(Law::Exponential)),
        INTERNEURON_CENTRED_LOGNORMAL => Ok(Scheme::Centred(Law::Lognormal { k: if k == 0.0 { 1.0 } else { k } })),
        other => Err(Failure::argument("config->scheme", other, "from 0 to 3")),
    }
}
