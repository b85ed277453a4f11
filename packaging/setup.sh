#!/bin/sh
# Make .venv: the pinned packages, then the distributions, editable. Writes the stamp when it is complete.
#
# usage: [PYTHON=python3.12] packaging/setup.sh STAMP
set -eu
stamp=$1
python=${PYTHON:-python3}

command -v "$python" >/dev/null || {
    echo "no $python here: install Python 3.11 to 3.14, or name one: make PYTHON=python3.12 ..." >&2
    exit 1
}
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || {
    echo "$("$python" -V) is not supported: name a Python from 3.11 to 3.14, e.g. make PYTHON=python3.12 ..." >&2
    exit 1
}
# Debian leaves ensurepip to a package of its own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    packaging/apt.sh "python -m venv" "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || {
        echo "$python has no venv: as root, apt install python3-venv" >&2
        exit 1
    }
fi

echo "setting up .venv with $("$python" -V) (a minute or two, once)"
if [ -x .venv/bin/python ] && [ -e "$stamp" ]; then
    rm -f "$stamp" # only the lock or a pyproject changed: bring the same environment up to date
else
    "$python" -m venv --clear .venv
fi
pip() {
    .venv/bin/python -m pip --disable-pip-version-check --quiet install "$@"
}
pip --require-hashes -r requirements.lock
pip --no-deps --no-build-isolation -e proto -e unlock -e rules -e agent -e collector -e lab
touch "$stamp"
