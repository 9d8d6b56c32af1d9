//! The processor's modes of rounding and of flushing to zero, which each thread has of its own.
//!
//! Rust and C leave them as they are by default; who changes them wants all of a computation to follow. A region on a
//! pool therefore takes the modes of the thread that opened it along, to the thread that leads it and to the helpers,
//! and each has its own back when it leaves. Which exceptions trap, and which were raised, stays the thread's own.

use std::marker::PhantomData;

/// The modes of a thread: the bits of the control register that say how numbers are rounded and flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Modes(register::Bits);

impl Modes {
    /// Those of this thread.
    pub fn current() -> Self {
        Self(register::read() & register::MODES)
    }

    /// Gives this thread these modes until the value is dropped.
    #[must_use]
    pub fn enter(self) -> Entered {
        let before = Self::current();
        before.change(self);
        Entered { before, inside: self, same_thread: PhantomData }
    }

    fn change(self, to: Self) {
        // Writing the register makes the processor wait, and nearly always nothing is to be changed.
        if self != to {
            register::write((register::read() & !register::MODES) | to.0);
        }
    }
}

/// Gives the thread its modes back.
pub(crate) struct Entered {
    before: Modes,
    inside: Modes,
    /// The register is that of the thread.
    same_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.inside.change(self.before);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod register {
    use std::arch::asm;

    pub type Bits = u32;
    /// Of MXCSR: rounding (13, 14), flush to zero (15), denormals are zero (6).
    pub const MODES: Bits = 0x6000 | 0x8000 | 0x0040;

    pub fn read() -> Bits {
        let mut bits = 0;
        // SAFETY: stores the register, which x86-64 always has, in a local.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut bits, options(nostack, preserves_flags)) };
        bits
    }

    pub fn write(bits: Bits) {
        // SAFETY: bits that were read from the register, the modes among them perhaps those of another thread. As all
        // memory may be touched here for what the compiler knows, arithmetic on numbers in memory stays on its side.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const bits, options(nostack)) };
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod register {
    use std::arch::asm;

    pub type Bits = u64;
    /// Of FPCR: rounding (22, 23), flush to zero (24, and 0 and 1 where there are alternative ways), default NaN (25).
    pub const MODES: Bits = 3 << 22 | 1 << 24 | 1 << 25 | 3;

    pub fn read() -> Bits {
        let bits;
        // SAFETY: reads the register, which aarch64 always has.
        unsafe { asm!("mrs {}, fpcr", out(reg) bits, options(nostack, preserves_flags)) };
        bits
    }

    pub fn write(bits: Bits) {
        // SAFETY: bits that were read from the register, the modes among them perhaps those of another thread. As all
        // memory may be touched here for what the compiler knows, arithmetic on numbers in memory stays on its side.
        unsafe { asm!("msr fpcr, {}", in(reg) bits, options(nostack)) };
    }
}

/// No modes that this crate knows of.
#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
mod register {
    pub type Bits = u32;
    pub const MODES: Bits = 0;

    pub fn read() -> Bits {
        0
    }

    pub fn write(_: Bits) {}
}

#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod tests {
    use super::*;
    use crate::{Architecture, Context, Isa, MatMut, MatRef, Network, Threads, Update};
    use std::sync::Arc;

    const NEAREST: Modes = Modes(0);
    const DOWN: Modes = Modes(0x2000);
    const UP: Modes = Modes(0x4000);
    const FLUSH: Modes = Modes(0x8040);

    fn pool(threads: usize) -> Arc<rayon::ThreadPool> {
        Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
    }

    /// The outputs on inputs of this size, and the parameters after a step.
    fn step(threads: Threads, isa: Isa, size: f32) -> Vec<u32> {
        let (inputs, batch) = (40, 20);
        let context = Context::from(isa).with_threads(threads);
        let mut net: Network<f32> = Architecture::mlp(&[inputs, 60, 10]).unwrap().build(&context).unwrap();
        let x: Vec<f32> = (0..batch * inputs).map(|i| size * (i * i % 97) as f32 / 97.0).collect();
        let labels: Vec<u32> = (0..batch).map(|i| i as u32 % 10).collect();
        let x = MatRef::new(&x, batch, inputs).unwrap();
        let mut numbers = vec![0.0; batch * 10];
        net.logits(x, MatMut::new(&mut numbers, batch, 10).unwrap()).unwrap();
        net.train_step(x, &labels, &Update::sgd(1.0)).unwrap();
        net.params().flat_map(|params| params.arrays()).for_each(|(_, array)| numbers.extend(array));
        numbers.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn a_pool_computes_in_the_modes_of_the_caller() {
        let pools = [2, 3].map(pool);
        let outer = pool(1);
        for isa in Isa::available() {
            // Products that are subnormal.
            for (modes, size) in [(DOWN, 1.0), (UP, 1.0), (FLUSH, 1e-37)] {
                let usual = step(Threads::Serial, isa, size);
                let run = |threads| {
                    let _entered = modes.enter();
                    step(threads, isa, size)
                };
                let serial = run(Threads::Serial);
                assert!(serial != usual, "{isa}, {modes:?}: the modes make no difference here");
                for pool in &pools {
                    assert!(
                        run(Threads::Pool(pool.clone())) == serial,
                        "{isa}, {modes:?}, {}",
                        pool.current_num_threads()
                    );
                    // By volunteers.
                    assert!(outer.install(|| run(Threads::Pool(pool.clone()))) == serial, "{isa}, {modes:?}");
                    // Nothing is left behind, neither here nor in the pool.
                    assert!(pool.broadcast(|_| Modes::current()).into_iter().all(|modes| modes == NEAREST));
                    assert_eq!(Modes::current(), NEAREST);
                    assert!(step(Threads::Pool(pool.clone()), isa, size) == usual);
                }
            }
        }
    }

    #[test]
    fn modes_are_restored_on_unwinding_and_nothing_else_changes() {
        let raised = 1;
        let result = std::panic::catch_unwind(|| {
            let _entered = DOWN.enter();
            assert_eq!(Modes::current(), DOWN);
            // As an invalid operation does.
            register::write(register::read() | raised);
            panic!("on purpose");
        });
        assert!(result.is_err());
        assert_eq!(Modes::current(), NEAREST);
        assert_eq!(register::read() & raised, raised);
    }
}
