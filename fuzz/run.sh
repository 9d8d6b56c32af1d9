#!/usr/bin/env bash
# Runs fuzz targets for so many seconds each, from their seeds and whatever earlier runs found. Needs a nightly compiler
# and cargo-fuzz (`cargo install cargo-fuzz`). An input that fails is kept in fuzz/artifacts/TARGET.
#
#     fuzz/run.sh 600                       # all targets, ten minutes each
#     fuzz/run.sh 600 layer capi            # some
#     fuzz/run.sh --dev 10                  # compiled without optimisation: in a minute instead of ten, and slow to run
set -euo pipefail
cd "$(dirname "$0")"
profile=()
if [ "${1:-}" = --dev ]; then
    profile=(--dev)
    shift
fi
seconds=${1:?seconds for each target}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(idx npz checkpoint config layer capi)

cargo +nightly fuzz build --fuzz-dir . "${profile[@]}"
for target in "${targets[@]}"; do
    printf '\n== %s\n' "$target"
    mkdir -p "corpus/$target"
    options=(-max_total_time="$seconds" -max_len=16384 -rss_limit_mb=4096 -timeout=60 -print_final_stats=1)
    [ -f "dictionaries/$target.dict" ] && options+=(-dict="dictionaries/$target.dict")
    cargo +nightly fuzz run "$target" --fuzz-dir . "${profile[@]}" "corpus/$target" "seeds/$target" -- "${options[@]}"
done
