//! `opt_*`: eight steps with given gradients, by every rule.
//!
//! Those of PyTorch's rules were made by PyTorch, too.

use crate::case::Case;
use crate::common::{Tolerance, assert_close, assert_within, cast, isas};
use interneuron::*;
use std::collections::BTreeSet;

pub fn compare(case: &Case) -> bool {
    let known = matches!(case.kind(), "sgd" | "adam" | "eg" | "adam_eg");
    for isa in isas().into_iter().filter(|_| known) {
        steps::<f64>(case, isa);
        steps::<f32>(case, isa);
    }
    known
}

impl Case {
    fn flag(&self, name: &str) -> bool {
        self.number(name) != 0.0
    }

    /// One number for each role, in their order.
    fn per_role(&self, name: &str) -> PerRole<f64> {
        let numbers = Role::MOVED.into_iter().zip(self.array(name));
        numbers.fold(PerRole::all(0.0), |all, (role, &value)| all.with(role, value))
    }

    /// The arrays of a layer: `name` of each letter, of which part `part` of so many is taken.
    fn layer<T: Element>(&self, part: (usize, usize), name: impl Fn(&str) -> String) -> Params<T> {
        let (part, parts) = part;
        let arrays = Dann::<()>::NAMES.map(|letter| {
            let array = self.array(&name(letter));
            let len = array.len() / parts;
            cast(&array[part * len..][..len])
        });
        arrays.into()
    }

    /// The rule, but for its rate.
    fn update(&self) -> Update {
        let kind = self.kind();
        let exponentiated = kind.ends_with("eg");
        let scope = self.says("clip_scope");
        let moments = Adam {
            betas: ["beta1", "beta2"].map(|name| self.number(name)),
            epsilon: self.number("eps"),
            amsgrad: self.flag("amsgrad"),
        };
        let order = if self.flag("decoupled") {
            DecayOrder::Decoupled
        } else if exponentiated && self.says("eg_decay") == "after" {
            DecayOrder::AfterMomentum
        } else {
            DecayOrder::BeforeMomentum
        };
        Update {
            corrections: self.flag("corrections"),
            factors: self.per_role("factors"),
            descent: match exponentiated {
                true => Descent::Exponentiated { split: self.number("split") },
                false => Descent::Projected,
            },
            decay: self.per_role("decay"),
            decay_order: order,
            momentum: self.per_role("momentum"),
            nesterov: self.flag("nesterov"),
            dampening: self.number("dampening"),
            adam: kind.starts_with("adam").then_some(moments),
            clip: (scope != "none").then(|| self.number("clip")),
            clip_scope: match scope {
                "tensor" => ClipScope::Array,
                "global" => ClipScope::Network,
                _ => ClipScope::Layer,
            },
            kept_sums: match self.says("keep_sum") {
                "none" => None,
                "array" => Some(KeptSums::Array),
                "row" => Some(KeptSums::Row),
                other => panic!("{} keeps sums of each {other}", self.name),
            },
            ..Update::sgd(0.0)
        }
    }

    fn schedule(&self) -> Schedule {
        let [lr, lowest] = ["lr", "lr_min"].map(|name| self.number(name));
        let [warmup, total, cool] = ["warmup", "total", "cool"].map(|name| self.number(name) as u64);
        let decaying = |schedule: Result<Schedule, Error>| schedule?.down_to(lowest)?.decay(cool);
        let schedule = match self.says("schedule") {
            "constant" => Schedule::constant(lr),
            "linear" => decaying(Schedule::linear(lr, total)),
            "cosine" => decaying(Schedule::cosine(lr, total)),
            other => panic!("{} has the schedule {other}", self.name),
        };
        schedule.and_then(|schedule| schedule.warmup(warmup)).unwrap()
    }
}

/// How far eight steps may be off, of the largest element of an array: products and sums are rounded some hundred times.
trait Steps: Tolerance {
    const STEPS: f64;
}

impl Steps for f32 {
    const STEPS: f64 = 1e-5;
}

impl Steps for f64 {
    const STEPS: f64 = 1e-12;
}

/// Takes the steps of a case and compares what it has of each.
fn steps<T: Steps>(case: &Case, isa: Isa) {
    let what = format!("{} on {isa} in {}", case.name, std::any::type_name::<T>());
    let architecture = Architecture::dann(&case.integers("dims"), &case.integers("nis")).unwrap();
    let mut net: Network<T> = architecture.build(&isa.into()).unwrap();
    let layers = net.shapes().len();
    for k in 0..layers {
        net.set_params(k, case.layer((0, 1), |letter| format!("p{k}_{letter}"))).unwrap();
    }
    let (update, schedule, rates) = (case.update(), case.schedule(), case.array("rates"));
    let mut seen = BTreeSet::new();
    for (step, &rate) in rates.iter().enumerate() {
        let lr = schedule.rate(step as u64 + 1);
        assert!((lr - rate).abs() <= 1e-15 * case.number("lr"), "{what}: rate {lr} of step {step}, expected {rate}");
        let update = Update { lr, ..update };
        let part = (step, rates.len());
        let layer = |k: usize| case.layer::<T>(part, |letter| format!("d{k}_{letter}"));
        let gradients: Vec<Params<T>> = (0..layers).map(layer).collect();
        net.apply(&update, &gradients).unwrap();
        for k in 0..layers {
            compare_layer(case, &what, (&net, &update), (step + 1, k), &mut seen);
        }
    }
    // Every array but what goes in was compared.
    let results = case.arrays.keys().filter(|name| name.contains('_') && !name.starts_with(['p', 'd', 'l']));
    let results: BTreeSet<_> = results.filter(|name| *name != "momentum_sum").cloned().collect();
    assert_eq!(seen, results, "{what}: what was compared");
}

/// Compares layer `k` after step `t`, where the case has something of it.
fn compare_layer<T: Steps>(
    case: &Case,
    what: &str,
    (net, update): (&Network<T>, &Update),
    (t, k): (usize, usize),
    seen: &mut BTreeSet<String>,
) {
    let (params, state) = (net.params().nth(k).unwrap(), net.state().layers().nth(k).unwrap());
    let exponentiated = matches!(update.descent, Descent::Exponentiated { .. });
    let mut close = |name: String, got: &[T], scale: Option<Vec<f64>>| {
        let Some(want) = case.arrays.get(&name) else { return };
        match scale {
            None => assert_close(&format!("{what}: {name}"), got, want, T::STEPS),
            Some(scales) => {
                for (i, scale) in scales.into_iter().enumerate() {
                    assert_within(&format!("{what}: {name}, {i}"), &got[i..=i], &want[i..=i], scale, T::STEPS);
                }
            }
        }
        seen.insert(name);
    };
    let kept = |slot: &str, name: &str| state.get(slot).map(|kept| kept[name].to_vec());
    let magnitudes = |array: &[T]| array.iter().map(|x| x.to_f64().abs()).collect::<Vec<_>>();
    for (name, got) in params.arrays() {
        let negative = kept("negative", name).filter(|negative| !negative.is_empty());
        // Of an exponentiated parameter each element is so exact, of a bias each part.
        let of_parts = |negative: &Vec<T>| {
            let parts = magnitudes(got).into_iter().zip(negative);
            parts.map(|(bias, negative)| bias + 2.0 * negative.to_f64()).collect()
        };
        let scale = exponentiated.then(|| negative.as_ref().map_or_else(|| magnitudes(got), of_parts));
        close(format!("q{t}_{k}_{name}"), got, scale);
        if let Some(negative) = &negative {
            close(format!("q{t}_{k}_minus_{name}"), negative, Some(magnitudes(negative)));
        }
        for (letter, slot) in [("m", "moment"), ("v", "square"), ("vmax", "largest_square")] {
            if let Some(kept) = kept(slot, name) {
                close(format!("{letter}{t}_{k}_{name}"), &kept, None);
            }
        }
        let Some(velocity) = kept("velocity", name) else { continue };
        // The velocity of decay is kept apart.
        let decay = kept("decay_velocity", name).map_or(T::ZERO, |decay| decay[0]);
        let with = |sign: fn(T) -> T| velocity.iter().zip(got).map(|(&v, &theta)| v + sign(theta) * decay).collect();
        let sign = |theta: T| if theta == T::ZERO { T::ZERO } else { T::from_f64(theta.to_f64().signum()) };
        let velocity: Vec<T> = if negative.is_some() { with(|_| T::ONE) } else { with(sign) };
        close(format!("u{t}_{k}_{name}"), &velocity, None);
        if negative.is_some() {
            let minus: Vec<T> = velocity.iter().map(|&v| v - decay - decay).collect();
            close(format!("u{t}_{k}_minus_{name}"), &minus, None);
        }
    }
}
