//! A round: a network and what it learns, all drawn from a seed.

use interneuron::checkpoint::{self, Run};
use interneuron::{
    Angle, Architecture, Context, Element, Error, Generator, Isa, KeptSums, MatRef, Natural, Network, PerRole, Threads,
    Update, generator,
};
use rand::RngExt;
use rayon::ThreadPoolBuilder;
use std::fmt;
use std::path::{Path, PathBuf};

/// What is drawn.
#[derive(Debug)]
pub struct Round {
    architecture: Architecture,
    isa: Isa,
    /// f64 instead of f32.
    wide: bool,
    update: Update,
    /// Examples of each step.
    batches: Vec<usize>,
    seed: u64,
}

/// What must not matter for the result.
pub enum Conditions {
    /// One thread, from beginning to end.
    Serial,
    /// A pool, and reloads now and then.
    Shared {
        pool: Threads,
        /// Whether steps are taken inside of the pool.
        inside: bool,
        generator: Box<Generator>,
        checkpoint: PathBuf,
        reloads: usize,
    },
}

impl Conditions {
    /// A pool of up to four threads.
    pub fn shared(seed: u64, checkpoint: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let mut generator = generator(seed);
        generator.set_stream(2);
        let pool = ThreadPoolBuilder::new().num_threads(generator.random_range(1..=4)).build()?.into();
        let inside = generator.random();
        let generator = Box::new(generator);
        Ok(Self::Shared { pool, inside, generator, checkpoint: checkpoint.to_owned(), reloads: 0 })
    }

    /// How often a network was loaded.
    pub fn reloads(&self) -> usize {
        if let Self::Shared { reloads, .. } = self { *reloads } else { 0 }
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial => f.write_str("one thread"),
            Self::Shared { pool, inside, reloads, .. } => {
                let place = if *inside { "inside" } else { "outside" };
                write!(f, "{} threads, {place} of the pool, after {reloads} reloads,", pool.count())
            }
        }
    }
}

impl Round {
    /// Draws a round.
    pub fn new(seed: u64) -> Result<Self, Error> {
        let mut rng = generator(seed);
        let layers = rng.random_range(1..=4);
        let dims: Vec<usize> = (0..=layers).map(|_| rng.random_range(1..=300)).collect();
        let nis: Vec<usize> = (0..layers).map(|_| rng.random_range(1..=30)).collect();
        // Units of both signs beside each other need a few.
        let wide_enough = dims.iter().all(|&units| units > 4);
        let kind = rng.random_range(0..9);
        let architecture = match kind {
            0 => Architecture::mlp(&dims),
            1 => Architecture::layer_norm(&dims),
            2 => Architecture::batch_norm(&dims),
            3 if wide_enough => Architecture::column_ei(&dims, 4, 0.25),
            4 => Architecture::dann(&dims, &nis).map(Architecture::subtractive),
            _ => Architecture::dann(&dims, &nis),
        }?;
        let isas: Vec<Isa> = Isa::available().collect();
        let isa = isas[rng.random_range(0..isas.len())];
        let lr = 10_f64.powf(rng.random_range(-4.0..-1.0));
        let plain = Update { corrections: rng.random(), ..Update::sgd(lr) };
        let update = match rng.random_range(0..9) {
            0 => Update { momentum: PerRole::all(0.9), nesterov: rng.random(), ..plain },
            1 => Update { decay: PerRole::all(1e-3), floor: Some(1e-6), ..plain },
            2 => Update { clip: Some(1.0), ..plain },
            3 => Update { angle: Some(Angle { lr_min: lr / 64.0, rates: 5, cosine_epsilon: 0.01 }), ..plain },
            4 => Update { momentum: PerRole::all(0.5), ..Update::eg(lr) },
            5 if kind != 2 => Update::natural(lr, Natural { epsilon: 1e-4, ..Natural::default() }),
            6 => Update { corrections: rng.random(), ..Update::adamw(lr) },
            7 => Update { kept_sums: Some(KeptSums::Row), ..Update::adamw_eg(lr) },
            _ => plain,
        };
        let most = [1, 40, 400][rng.random_range(0..3)];
        let batches = (0..rng.random_range(5..=30)).map(|_| rng.random_range(1..=most)).collect();
        Ok(Self { architecture: architecture.seed(seed), isa, wide: rng.random(), update, batches, seed })
    }

    /// How many steps there are to take.
    pub fn steps(&self) -> usize {
        self.batches.len()
    }

    /// Takes the steps, and returns the bits of their losses. They end early if the loss is no longer finite.
    pub fn play(&self, conditions: &mut Conditions) -> Result<Vec<u64>, Error> {
        if self.wide { self.play_with::<f64>(conditions) } else { self.play_with::<f32>(conditions) }
    }

    fn play_with<T: Element>(&self, conditions: &mut Conditions) -> Result<Vec<u64>, Error> {
        let mut context = Context::from(self.isa);
        if let Conditions::Shared { pool, .. } = conditions {
            context = context.with_threads(pool.clone());
        }
        let mut net: Network<T> = self.architecture.build(&context)?;
        let mut run = Run::new(self.seed);
        run.generator.set_stream(3);
        let (mut losses, mut x) = (vec![], vec![]);
        for &batch in &self.batches {
            x.clear();
            x.extend((0..batch * net.inputs()).map(|_| T::from_f64(run.generator.random())));
            let labels: Vec<u32> = (0..batch).map(|_| run.generator.random_range(0..net.outputs() as u32)).collect();
            let x = MatRef::new(&x, batch, net.inputs())?;
            let step = match conditions {
                Conditions::Shared { pool, inside: true, .. } => {
                    pool.install(|| net.train_step(x, &labels, &self.update))
                }
                _ => net.train_step(x, &labels, &self.update),
            };
            match step {
                Ok(loss) => losses.push(loss.to_bits()),
                Err(Error::Diverged { .. }) => break,
                Err(error) => return Err(error),
            }
            // A step can be so long that parameters overflow before any loss does: these cannot be saved.
            let finite = |net: &Network<T>| {
                net.shapes().zip(net.params()).all(|(shape, params)| params.validate(&shape).is_ok())
            };
            if let Conditions::Shared { generator, checkpoint, reloads, .. } = conditions
                && generator.random_bool(0.2)
                && finite(&net)
            {
                checkpoint::save(&*checkpoint, &net, &run)?;
                (net, run) = checkpoint::load(&*checkpoint, &context)?;
                *reloads += 1;
            }
        }
        Ok(losses)
    }
}
