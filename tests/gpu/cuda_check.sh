#!/bin/bash
# Type-checks `--features cuda` and the tests behind it, on a machine without a GPU, a CUDA
# toolkit or an LLVM. It builds nothing that runs.
#
# A build for CUDA fetches an LLVM, with which it makes kernels. Under DOCS_RS, as documentation
# is built, it does without one.
set -euo pipefail
cd "$(dirname "$0")/../.."
export DOCS_RS=1 CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/cuda-check}"
began=$SECONDS
cargo check --locked --no-default-features --features cpu,cuda --bins --tests "$@"
echo "cuda: the command and its tests pass the compiler's checks" \
     "($((SECONDS - began)) s, in $CARGO_TARGET_DIR); nothing was linked or run"
