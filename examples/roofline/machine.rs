//! The machine: what it is, and its limits.

use interneuron::Isa;
use interneuron::Threads;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Turns of the loop of multiply-adds: about a millisecond.
const TURNS: usize = 500_000;
/// Sums of a loop that reads, so that hardly any waits for another; all fit in the registers of any instruction set.
const SUMS: usize = 4;
/// Elements of a cache line.
const LINE: usize = 16;

/// The model of the CPU as far as the system tells, or else its architecture.
pub fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let value =
            |line: &str| line.split_once(':').filter(|(name, _)| name.trim() == key).map(|(_, v)| v.trim().into());
        info.lines().find_map(value).filter(|value: &String| !value.is_empty())
    };
    let Some(name) = value("model name") else { return std::env::consts::ARCH.to_owned() };
    match (value("cpu family"), value("model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name,
    }
}

/// An array that is read, from the beginning of a cache line on.
pub struct Array {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Array {
    /// With `len` elements, which are in memory and not just promised.
    pub fn new(len: usize) -> Self {
        let data = vec![0.5; len + LINE];
        let start = data.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Self { data, start, len }
    }

    pub fn bytes(&self) -> usize {
        self.len * size_of::<f32>()
    }

    /// One of `parts` parts, each a whole number of turns of any loop; the last may be shorter.
    fn part(&self, part: usize, parts: usize) -> &[f32] {
        let len = self.len.div_ceil(parts).next_multiple_of(LINE * SUMS);
        self.data[self.start..][..self.len].chunks(len).nth(part).unwrap_or_default()
    }
}

/// What measures the limits of an instruction set. A value exists only if the CPU has it.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// Floating-point operations of `multiply_add`.
    flops: usize,
    multiply_add: unsafe fn(),
    read: unsafe fn(&[f32]),
}

impl Kernels {
    pub fn of(isa: Isa) -> Self {
        #[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
        match isa.name() {
            "avx2" => return x86_64::avx2::KERNELS,
            "avx512" => return x86_64::avx512::KERNELS,
            _ => {}
        }
        assert_eq!(isa.name(), "portable", "nothing here measures the limits of this instruction set");
        portable::KERNELS
    }

    /// Floating-point operations that each thread does in [`Kernels::multiply_add`].
    pub fn flops(&self) -> f64 {
        self.flops as f64
    }

    /// The time of multiply-adds in registers, the same number on each thread.
    pub fn multiply_add(&self, threads: &Threads) -> Duration {
        // SAFETY: these are the kernels of an `Isa`, which exists only if the CPU has the instruction set.
        together(threads, |_, _| unsafe { (self.multiply_add)() })
    }

    /// The time of reading an array, a part of it on each thread.
    pub fn read(&self, array: &Array, threads: &Threads) -> Duration {
        // SAFETY: these are the kernels of an `Isa`, which exists only if the CPU has the instruction set.
        together(threads, |part, parts| unsafe { (self.read)(array.part(part, parts)) })
    }
}

/// Runs `work(thread, threads)` on all threads; the time from the first start to the last end.
fn together(threads: &Threads, work: impl Fn(usize, usize) + Sync) -> Duration {
    let span = |thread, threads| {
        let start = Instant::now();
        work(thread, threads);
        (start, Instant::now())
    };
    let Threads::Pool(pool) = threads else {
        let (start, end) = span(0, 1);
        return end - start;
    };
    let missing = AtomicUsize::new(pool.current_num_threads());
    let spans = pool.broadcast(|thread| {
        // Threads take long to wake up, which has nothing to do with what is measured: all wait for the last.
        missing.fetch_sub(1, Ordering::AcqRel);
        while missing.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
        span(thread.index(), thread.num_threads())
    });
    let start = spans.iter().map(|span| span.0).min();
    let end = spans.iter().map(|span| span.1).max();
    start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start)
}

/// The kernels of one instruction set in a module of their own: how it is enabled, its vectors, how many are
/// accumulated at once, and how one fills, multiplies and adds, adds and loads them.
macro_rules! kernels {
    (
        $name:ident, $(#[$enable:meta])? $lanes:literal lanes of $v:ty, accumulators: $accumulators:expr,
        splat: $splat:path, mul_add: $mul_add:path, add: $add:path, load: $load:path
    ) => {
        pub mod $name {
            use super::*;

            const ACCUMULATORS: usize = $accumulators;

            pub const KERNELS: Kernels =
                Kernels { flops: 2 * $lanes * ACCUMULATORS * TURNS, multiply_add, read };

            $(#[$enable])?
            fn multiply_add() {
                // With these factors values stay near 1.
                let (factor, summand) = ($splat(black_box(0.75)), $splat(black_box(0.25)));
                let mut values: [$v; ACCUMULATORS] = [$splat(0.0); ACCUMULATORS];
                // All different, or the compiler sees that one would do.
                for (i, value) in values.iter_mut().enumerate() {
                    *value = $splat(black_box(i as f32));
                }
                for _ in 0..TURNS {
                    for value in &mut values {
                        *value = $mul_add(*value, factor, summand);
                    }
                }
                total(values);
            }

            $(#[$enable])?
            fn read(data: &[f32]) {
                let mut sums: [$v; SUMS] = [$splat(0.0); SUMS];
                for data in data.chunks_exact(SUMS * $lanes) {
                    for (sum, data) in sums.iter_mut().zip(data.chunks_exact($lanes)) {
                        // SAFETY: `data` has as many elements as a vector has lanes.
                        *sum = $add(*sum, unsafe { $load(data.as_ptr()) });
                    }
                }
                total(sums);
            }

            /// Uses all vectors, so that the compiler leaves nothing out.
            $(#[$enable])?
            fn total<const N: usize>(vectors: [$v; N]) {
                let mut sum = $splat(0.0);
                for vector in vectors {
                    sum = $add(sum, vector);
                }
                black_box(sum);
            }
        }
    };
}

// Each multiply-add waits for the one before it in the same accumulator. With about four turns of the clock for each
// and two that begin in every turn, eight accumulators would do; a few more make up for bad luck.
#[cfg(all(target_arch = "x86_64", not(interneuron_portable)))]
mod x86_64 {
    use super::*;
    use std::arch::x86_64::*;

    kernels! {
        avx2, #[target_feature(enable = "avx2,fma")] 8 lanes of __m256, accumulators: 12,
        splat: _mm256_set1_ps, mul_add: _mm256_fmadd_ps, add: _mm256_add_ps, load: _mm256_loadu_ps
    }
    kernels! {
        avx512, #[target_feature(enable = "avx512f")] 16 lanes of __m512, accumulators: 12,
        splat: _mm512_set1_ps, mul_add: _mm512_fmadd_ps, add: _mm512_add_ps, load: _mm512_loadu_ps
    }
}
kernels! {
    portable, 8 lanes of wide::f32x8, accumulators: PORTABLE_ACCUMULATORS,
    splat: wide::f32x8::splat, mul_add: wide::f32x8::mul_add, add: std::ops::Add::add, load: load_portable
}

/// SSE2 takes two of its sixteen registers for each, and two more for the factor and the summand.
const PORTABLE_ACCUMULATORS: usize = if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { 12 } else { 7 };

/// # Safety
/// `p` is valid for reading eight elements.
unsafe fn load_portable(p: *const f32) -> wide::f32x8 {
    // SAFETY: the caller vouches for them.
    wide::f32x8::from(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
}
