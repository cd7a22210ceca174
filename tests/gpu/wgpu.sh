#!/bin/bash
# Builds with `--features wgpu` and compares backbones, policies, short runs, predictions and a
# server's answers with the CPU: `tests/gpu.rs`. Without a GPU it runs on Mesa's software driver.
#
# Debian: apt-get install mesa-vulkan-drivers
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null &&
    ! compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null; then
    echo "no driver for Vulkan is here; on Debian: apt-get install mesa-vulkan-drivers" >&2
    exit 1
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target/wgpu}"
# What the device is tuned to is kept here: a second time it is much quicker.
export ENGRAFT_CACHE="${ENGRAFT_CACHE:-$CARGO_TARGET_DIR/cache}"
# What Mesa asks for on a machine without a desktop; fewer ways of computing are tried out.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}" CUBECL_AUTOTUNE_LEVEL=minimal
tests=(cargo test --locked --no-default-features --features cpu,wgpu --test engraft-tests)
began=$SECONDS
"${tests[@]}" --no-run
built=$SECONDS
# The driver compiles on one thread: two tests at a time keep two cores busy.
"${tests[@]}" gpu:: -- --nocapture --test-threads 2 "$@"
echo "wgpu: built in $((built - began)) s, ran in $((SECONDS - built)) s"
