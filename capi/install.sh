#!/usr/bin/env bash
# Builds the C library and installs it with its header and its pkg-config file: install.sh PREFIX
set -euo pipefail
if [ $# != 1 ]; then
    echo "usage: $0 PREFIX" >&2
    exit 1
fi
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$here/../target}")
cargo build --release --manifest-path "$here/Cargo.toml" --target-dir "$target"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml")
install -D -m 644 "$here/include/interneuron.h" "$prefix/include/interneuron.h"
install -D -m 644 "$target/release/libinterneuron.a" "$prefix/lib/libinterneuron.a"
install -D -m 755 "$target/release/libinterneuron.so" "$prefix/lib/libinterneuron.so"
mkdir -p "$prefix/lib/pkgconfig"
sed "s|@PREFIX@|$prefix|; s|@VERSION@|$version|" "$here/interneuron.pc.in" >"$prefix/lib/pkgconfig/interneuron.pc"
