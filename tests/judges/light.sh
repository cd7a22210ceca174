#!/usr/bin/env bash
# Runs every light judge: light.sh [PYTHON]. Each is a program that others' libraries decide.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3}
passed=0
for judge in tests/judges/*_light.py; do
    echo "-- $judge"
    "$python" "$judge"
    passed=$((passed + 1))
done
[ "$passed" -gt 0 ]
echo "$passed light judges agree"
