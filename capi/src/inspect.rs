//! What the layers of a network do, as a few numbers.

use crate::arguments::Arguments;
use crate::arrays::place;
use crate::config::{UpdateConfig, UpdateInput, Versioned, known_size};
use crate::element::either;
use crate::network::{AnyNetwork, NetworkHandle};
use crate::status::{Outcome, call};
use crate::table::{self, NetworkId};
use crate::targets::{Examples, ExamplesIn, TargetConfig, named};
use interneuron::{Element, LayerStatistics, Schema};
use std::ffi::c_void;
use std::mem::offset_of;

/// What a layer does on some examples. Numbers that it has not are NaN, counts 0. Known sizes: the whole.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StatisticsOutput {
    /// `sizeof(interneuron_statistics)`, set by the caller in the first of an array.
    pub size: u64,
    /// Mean and variance of the standardised excitation over units and examples, where a layer divides or normalises.
    pub zhat_mean: f64,
    /// See `zhat_mean`.
    pub zhat_variance: f64,
    /// Least and largest divisor, where a layer divides.
    pub y_least: f64,
    /// See `y_least`.
    pub y_largest: f64,
    /// How many divisors are below their bound (for plain ones e, of which a step of training allows none),
    pub low_divisors: i64,
    /// of how many,
    pub divisors: i64,
    /// and the smallest of those below.
    pub low_smallest: f64,
    /// The part of the units that are zero for every example, with ReLU.
    pub silent: f64,
    /// The part of the weights that are zero.
    pub zero_weights: f64,
    /// The cosine between the step of projected descent and what the bound at zero leaves of it.
    pub cosine: f64,
    /// The norms of the gradients, in the order of the fields of `interneuron_arrays` up to `b`.
    pub gradient_norms: [f64; 6],
}

// SAFETY: numbers; the whole.
unsafe impl Versioned for StatisticsOutput {
    const SIZES: &'static [usize] = &[offset_of!(StatisticsOutput, gradient_norms) + size_of::<[f64; 6]>()];
    const DEFAULT: Self = Self {
        size: Self::SIZES[0] as u64,
        zhat_mean: f64::NAN,
        zhat_variance: f64::NAN,
        y_least: f64::NAN,
        y_largest: f64::NAN,
        low_divisors: 0,
        divisors: 0,
        low_smallest: f64::NAN,
        silent: f64::NAN,
        zero_weights: f64::NAN,
        cosine: f64::NAN,
        gradient_norms: [f64::NAN; 6],
    };
}

// The array is written as one of this struct: another version needs the caller's distance of elements.
const _: () = assert!(StatisticsOutput::SIZES.len() == 1);

impl StatisticsOutput {
    fn new(layer: &LayerStatistics, schema: &Schema) -> Self {
        let pair = |pair: Option<(f64, f64)>| pair.unwrap_or((f64::NAN, f64::NAN));
        let ((zhat_mean, zhat_variance), (y_least, y_largest)) = (pair(layer.zhat), pair(layer.gamma));
        let mut gradient_norms = Self::DEFAULT.gradient_norms;
        for &(name, norm) in &layer.gradient_norms {
            let parameter = schema.iter().find(|parameter| parameter.name == name);
            if let Some(slot) = parameter.and_then(|parameter| gradient_norms.get_mut(place(parameter))) {
                *slot = norm;
            }
        }
        let low = layer.low_divisors;
        Self {
            zhat_mean,
            zhat_variance,
            y_least,
            y_largest,
            low_divisors: low.map_or(0, |low| low.count as i64),
            divisors: low.map_or(0, |low| low.of as i64),
            low_smallest: low.and_then(|low| low.smallest).unwrap_or(f64::NAN),
            silent: layer.silent.unwrap_or(f64::NAN),
            zero_weights: layer.zero_weights,
            cosine: layer.cosine.unwrap_or(f64::NAN),
            gradient_norms,
            ..Self::DEFAULT
        }
    }
}

impl<T: Element> NetworkHandle<T> {
    /// # Safety
    /// The contract of the header.
    unsafe fn inspect(
        &mut self,
        mut arguments: Arguments,
        examples: ExamplesIn<*const TargetConfig>,
        update: UpdateInput,
        statistics: *mut StatisticsOutput,
    ) -> Outcome {
        let Self { plan, params, lengths, context, .. } = self;
        // SAFETY: as demanded here.
        let examples = unsafe { Examples::read(&mut arguments, plan, examples) }?;
        // SAFETY: as demanded here.
        unsafe { known_size("statistics", statistics.cast_const()) }?;
        let statistics = arguments.write("statistics", statistics, lengths.len())?;
        let params = params.read(&mut arguments, lengths)?;
        let checked = arguments.check()?;
        // SAFETY: as demanded here.
        let (update, params) = unsafe { (update.get(&checked), params.views(plan, &checked)?) };
        // SAFETY: as demanded here.
        let (x, target) = unsafe { examples.get(&checked) }?;
        plan.set_threads(context.threads()?);
        let layers = plan.inspect(params.params(), x, target, &update).map_err(named)?;
        // SAFETY: as demanded here.
        let statistics = unsafe { statistics.slice(&checked) };
        for (output, (layer, schema)) in statistics.iter_mut().zip(layers.iter().zip(plan.schemas())) {
            *output = StatisticsOutput::new(layer, schema);
        }
        Ok(())
    }
}

/// What each layer does on the examples `x [batch, inputs]` with a `target`: overwrites `statistics`, an array with one
/// struct for each layer, whose `size` the caller has set in the first. The cosine is that of a step with the rate,
/// corrections, factors and floor of `update`. Nothing of the network changes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_inspect(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    target: *const TargetConfig,
    update: *const UpdateConfig,
    statistics: *mut StatisticsOutput,
) -> i32 {
    // SAFETY: the contract of the header.
    unsafe { interneuron_network_inspect_strided(network, batch, x, 0, target, update, statistics) }
}

/// The same, with rows that are as far apart as the stride says (and the strides of `target`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interneuron_network_inspect_strided(
    network: NetworkId,
    batch: i64,
    x: *const c_void,
    x_stride: i64,
    target: *const TargetConfig,
    update: *const UpdateConfig,
    statistics: *mut StatisticsOutput,
) -> i32 {
    call(|| {
        let mut arguments = Arguments::new();
        // SAFETY: the contract of the header.
        let update = unsafe { UpdateInput::read(&mut arguments, update) }?;
        let examples = ExamplesIn { batch, x: (x, x_stride), target };
        table::with(network, |network: &mut AnyNetwork| {
            // SAFETY: the contract of the header.
            unsafe { either!(network, network => network.inspect(arguments, examples, update, statistics)) }
        })
    })
}
