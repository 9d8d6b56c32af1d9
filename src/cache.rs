//! The sizes of caches that loops are cut for, in one place: read from the machine where it tells, else as stated here.
//! They decide in which order numbers are made, never in which order they are added: results do not depend on them.

use std::sync::OnceLock;

/// The second-level cache of a core in bytes where the machine does not tell: that of many servers.
const SECOND_LEVEL: usize = 1 << 20;

/// The second-level cache of a core in bytes.
fn second_level() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| told().map_or(SECOND_LEVEL, |bytes| bytes.clamp(1 << 18, 1 << 22)))
}

/// Bytes of activations that every tile of rows meets: about half of the second-level cache.
pub(crate) fn activations() -> usize {
    second_level() / 2
}

/// Bytes of weights whose columns tiles may walk down in place: a little more than the second-level cache holds.
pub(crate) fn weights() -> usize {
    2 * second_level()
}

/// What the CPU tells of its second-level cache.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn told() -> Option<usize> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    /// The leaves of Intel and of AMD that list the caches in the same form.
    const LEAVES: [u32; 2] = [0x4, 0x8000_001d];
    /// More caches than any CPU has.
    const MOST: u32 = 16;
    let level_two = |leaf: u32| {
        // The instruction is part of x86-64; the first call tells which leaves there are.
        #[allow(unused_unsafe, reason = "safe in newer compilers")]
        // SAFETY: every x86-64 CPU has the instruction.
        let last = unsafe { __cpuid(leaf & 0x8000_0000) }.eax;
        #[allow(unused_unsafe, reason = "safe in newer compilers")]
        // SAFETY: as above.
        let mut caches = (0..MOST).filter(|_| leaf <= last).map(|i| unsafe { __cpuid_count(leaf, i) });
        // Kind 1 or 3: data, or both; 0: no further cache.
        let cache = caches.find(|cache| matches!(cache.eax & 31, 1 | 3) && cache.eax >> 5 & 7 == 2)?;
        let [line, partitions, ways] = [cache.ebx & 0xfff, cache.ebx >> 12 & 0x3ff, cache.ebx >> 22];
        let factors = [line, partitions, ways, cache.ecx].map(|n| n as usize + 1);
        factors.into_iter().try_fold(1, usize::checked_mul)
    };
    LEAVES.into_iter().find_map(level_two)
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn told() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_has_a_likely_size() {
        for bytes in [second_level(), told().unwrap_or(SECOND_LEVEL)] {
            assert!(bytes.is_multiple_of(1 << 10) && (1 << 16..=1 << 26).contains(&bytes), "{bytes} bytes");
        }
    }
}
