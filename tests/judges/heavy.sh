#!/usr/bin/env bash
# Runs the judges that need torch, timm and lerobot: heavy.sh [PYTHON].
# Without PYTHON it makes a virtual environment in target/judges-heavy (some 7 GB).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-}
if [ -z "$python" ]; then
    venv=target/judges-heavy
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/judges/requirements-heavy.txt
    python=$venv/bin/python
fi
passed=0
for judge in tests/judges/*_heavy.py; do
    echo "-- $judge"
    "$python" "$judge"
    passed=$((passed + 1))
done
[ "$passed" -gt 0 ]
echo "$passed heavy judges agree"
