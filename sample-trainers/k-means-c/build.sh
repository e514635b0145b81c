#!/bin/sh
# Builds the trainer with Debian's packages clang, lld, libclang-rt-dev-wasm32 and wasi-libc: `build.sh [OUT.wasm]`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../target/c/k-means.wasm}
mkdir -p "$(dirname "$out")"
${CLANG:-clang} --target=wasm32-wasi -std=c11 -O2 -Wall -Wextra -Werror -s -o "$out" "$here/src/k-means.c"
