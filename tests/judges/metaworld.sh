#!/usr/bin/env bash
# MetaWorld as a robot on the wire: metaworld.sh [ENGRAFT]. Two minutes after the build.
# Without ENGRAFT it builds one. The virtual environment, 0.6 GB, is made in target/judges-metaworld.
# Debian: apt-get install libegl1 libgl1-mesa-dri
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
venv=${METAWORLD_VENV:-$target/judges-metaworld}
engraft=$target/debug/engraft
if (($#)); then
    engraft=$1
else
    cargo build --locked
fi
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/judges/requirements-metaworld.txt
"$venv/bin/python" tests/judges/metaworld.py "$engraft"
