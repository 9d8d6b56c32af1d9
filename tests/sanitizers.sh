#!/usr/bin/env bash
# The test suite under tools that see what a test cannot: AddressSanitizer and memcheck (reads and writes outside of
# arrays, use of what was freed or never written), ThreadSanitizer (accesses of two threads that nothing orders).
# Half an hour on two cores, most of it compilation. What cannot run on a machine is skipped and says so.
#
#     tests/sanitizers.sh                              # all of them
#     tests/sanitizers.sh address memcheck thread      # some
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
tools=("$@")
[ ${#tools[@]} -gt 0 ] || tools=(address memcheck thread)

step() { printf '\n== %s\n' "$*"; }
skip() { printf 'SKIPPED: %s\n' "$*"; }

# Tests of data sets, examples and speed are left out: they have no kernels that the others do not have.
tests=(--lib --test layers --test networks --test numbers --test checkpoints --test golden --test errors)

# A nightly compiler has the sanitizers, if its runtime is installed with it.
sanitize() {
    if ! rustc +nightly --version >/dev/null 2>&1; then
        skip "$1 sanitizer: no nightly compiler (rustup toolchain install nightly)"
        return
    fi
    if ! ls "$(rustc +nightly --print sysroot)/lib/rustlib/$target/lib/"librustc*_rt."$2".a >/dev/null 2>&1; then
        skip "$1 sanitizer: the nightly compiler has no runtime of it for $target"
        return
    fi
    shift 2
    "$@"
}

address() {
    step "AddressSanitizer"
    # Build scripts and macros run on the host without it, so a target is named. Tests ask for more memory than there is.
    RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1" \
        cargo +nightly test --release --target "$target" --target-dir target/address "${tests[@]}"
}

thread() {
    step "ThreadSanitizer"
    # A pool hands over by means of the standard library, which is not compiled for the sanitizer, so that all such
    # accesses would seem to be races. Threads that are spawned and joined are understood. The portable kernels alone: who
    # reads and writes what when does not depend on the instruction set.
    RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg interneuron_portable" \
        TSAN_OPTIONS="suppressions=$PWD/tests/thread.supp" \
        cargo +nightly test --release --target "$target" --target-dir target/thread --lib -- spawned
}

memcheck() {
    step "valgrind's memcheck"
    if ! command -v valgrind >/dev/null; then
        skip "memcheck: no valgrind"
        return
    fi
    # It may not know AVX-512. Fewer cases: it is some fifty times slower.
    for isa in portable avx2; do
        if [ "$isa" = avx2 ] && ! grep -qw avx2 /proc/cpuinfo; then
            skip "memcheck with avx2: this CPU has none"
            continue
        fi
        INTERNEURON_ISA=$isa PROPTEST_CASES=100 \
            cargo --config 'target."cfg(unix)".runner="valgrind --quiet --error-exitcode=9 --fair-sched=yes"' \
            test --release --test layers --test numbers -- --skip large
    done
}

for tool in "${tools[@]}"; do
    case $tool in
    address) sanitize address asan address ;;
    thread) sanitize thread tsan thread ;;
    memcheck) memcheck ;;
    *) echo "error: no tool $tool: expected address, memcheck or thread" >&2 && exit 2 ;;
    esac
done
