#!/usr/bin/env bash
# What no other check builds, since it is off by default: the feature `franka`. Lints it, runs its unit tests, and looks
# that a build without it has none of its crates. `tests/judges/franka.sh` lets a simulated arm judge it.
set -euo pipefail
cd "$(dirname "$0")/.."
tree() { cargo tree --locked --package "$1" --edges normal,build --prefix none "${@:2}" | sort -u; }
for package in firmware-bridge engraft; do
    if tree "$package" | grep --quiet '^franka-rs '; then
        echo "$package has franka-rs without being asked for it" >&2
        exit 1
    fi
    tree "$package" --features franka | grep --quiet '^franka-rs '
done
began=$SECONDS
cargo clippy --locked --package firmware-bridge --all-targets --features franka -- -D warnings
cargo test --locked --package firmware-bridge --features franka --lib -- franka description "$@"
echo "franka: lints and tests in $((SECONDS - began)) s"
