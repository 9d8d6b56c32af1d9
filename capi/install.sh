#!/usr/bin/env bash
# Builds the C library and installs it with its header and its pkg-config file: install.sh PREFIX
set -euo pipefail
unset CDPATH

fail() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }

# A path from the root, so that nothing takes it for an option.
absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$PWD/$1" ;; esac; }

[ $# = 1 ] && [ -n "$1" ] || fail "usage: $0 PREFIX"
here=$(cd -- "$(dirname -- "$0")" && pwd)
prefix=$(absolute "$1")
case $prefix in
*$'\n'* | *$'\r'*) fail "PREFIX is $(printf %q "$prefix"): expected a path on one line, which a pkg-config file can hold" ;;
*"\${"*) fail "PREFIX is $(printf %q "$prefix"): expected a path without \${, where pkg-config reads a variable" ;;
esac
mkdir -p -- "$prefix"
prefix=$(cd -- "$prefix" && pwd)
target=$(absolute "${CARGO_TARGET_DIR:-$here/../target}")
# Cargo refuses one that is set and empty.
[ -n "${CARGO_TARGET_DIR:-}" ] || unset CARGO_TARGET_DIR
cargo build --release --manifest-path "$here/Cargo.toml" --target-dir "$target"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml")
install -D -m 644 -- "$here/include/interneuron.h" "$prefix/include/interneuron.h"
install -D -m 644 -- "$target/release/libinterneuron.a" "$prefix/lib/libinterneuron.a"
install -D -m 755 -- "$target/release/libinterneuron.so" "$prefix/lib/libinterneuron.so"
mkdir -p -- "$prefix/lib/pkgconfig"
# The file has the prefix between double quotes, of which the first escapes keep account; # would begin a comment.
escaped=$(printf '%s' "$prefix" | sed 's/[\\"`]/\\&/g; s/#/\\#/g')
while IFS= read -r line; do
    line=${line//@VERSION@/"$version"}
    # Last, and by itself, so that nothing is looked for in it.
    [ "$line" = "prefix=@PREFIX@" ] && line="prefix=$escaped"
    printf '%s\n' "$line"
done <"$here/interneuron.pc.in" >"$prefix/lib/pkgconfig/interneuron.pc"
case $prefix in
*[\$\(\)]*)
    printf '%s: note: pkg-config does not escape $, ( and ): where a shell reads its flags again, they must be quoted\n' \
        "$0" >&2
    ;;
*:*) printf '%s: note: PKG_CONFIG_PATH and other search paths cannot hold a folder with a colon\n' "$0" >&2 ;;
esac
