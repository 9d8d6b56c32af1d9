//! The networks: what their layers are, how they are drawn, and how they learn.

use super::args::{Args, Model, TaskName};
use interneuron::{
    Architecture, ClipScope, DannShape, DenseShape, Divisor, Dynamics, Error, InputLeg, Law, LayerShape, Leak,
    RecurrentInit, RecurrentShape, Schedule, Scheme, Update,
};

/// The leak of units whose time constant is 100 ms.
pub fn leak(args: &Args) -> f64 {
    args.dt() / 100.0
}

/// The network of a model, for so many inputs and outputs.
pub fn architecture(args: &Args, model: Model, inputs: usize, outputs: usize) -> Result<Architecture, Error> {
    let cognitive = args.task.is_cognitive();
    let hidden = args.hidden();
    let mut layers: Vec<LayerShape> = vec![];
    let (mut below, mut inhibitory_below) = (inputs, 0);
    for (k, &units) in hidden.iter().enumerate() {
        let (ni, last) = (args.inhibitory(units), k + 1 == hidden.len());
        // A fifth or a tenth of the units, as there are interneurons.
        let inhibitory = if cognitive { units.div_ceil(5) } else { units.div_ceil(10) };
        let shape = match model {
            Model::Rnn => RecurrentShape::plain(below, units),
            Model::Dann | Model::DannNc => RecurrentShape::dann(below, units, ni, ni),
            // Noisy inputs have both signs.
            Model::DannDiv => RecurrentShape::dann(below, units, ni, ni)
                .divisive(if cognitive { Divisor::Root } else { Divisor::Plain })
                .learned_state(),
            Model::Columns => {
                let shape = RecurrentShape::columns(below, units, inhibitory_below, inhibitory);
                match (cognitive, last) {
                    // Only excitatory units are read, and no unit has a connection to itself.
                    (true, true) => shape.visible(units - inhibitory).no_self(),
                    (true, false) => shape.no_self(),
                    _ => shape,
                }
            }
        };
        let shape = if cognitive { shape.dynamics(Dynamics::State(Leak::new(leak(args))?)) } else { shape };
        inhibitory_below = if model == Model::Columns && shape.visible == units { inhibitory } else { 0 };
        below = shape.visible;
        layers.push(shape.into());
    }
    layers.push(match model {
        Model::Rnn => DenseShape::new(below, outputs).linear().into(),
        Model::Columns if cognitive => DenseShape::new(below, outputs).linear().into(),
        Model::Columns => DenseShape::new(below, outputs).linear().columns(inhibitory_below, 0).into(),
        Model::Dann | Model::DannNc | Model::DannDiv => DannShape::new(below, outputs, 1).subtractive().linear().into(),
    });
    // A few inputs would not be heard beside the noise, and memory asks for a radius of 1.
    let dann = matches!(model, Model::Dann | Model::DannNc);
    let recurrent = RecurrentInit {
        input: if cognitive { InputLeg::FewInputs } else { InputLeg::Published },
        radius: Some(1.0).filter(|_| cognitive && dann),
    };
    let architecture = Architecture::of(layers)?.init(Scheme::Centred(Law::Exponential));
    Ok(architecture.recurrent_init(recurrent).seed(args.seed))
}

/// The learning rate of each update.
pub fn schedule(args: &Args, model: Model) -> Result<Schedule, Error> {
    /// Source: the published code of Li et al., NeurIPS 2023, which does so at updates 0, 20, … 140 of each epoch.
    const FACTOR: f64 = 0.99;
    let lr = args.lr(model);
    if args.task == TaskName::Adding { Schedule::steps(lr, 18, FACTOR) } else { Schedule::constant(lr) }
}

/// How a network learns.
pub fn update(args: &Args, model: Model, lr: f64) -> Update {
    let update = match (args.task.has_adam(), model) {
        (true, _) => Update::adam(lr),
        (false, Model::Dann | Model::DannDiv) => Update::csgd(lr),
        (false, _) => Update::sgd(lr),
    };
    let clip_scope = match (args.task.has_adam(), model) {
        (true, _) | (_, Model::Rnn) => ClipScope::Network,
        (_, Model::Columns) => ClipScope::Array,
        _ => ClipScope::Layer,
    };
    Update { clip: args.clip(model), clip_scope, ..update }
}
