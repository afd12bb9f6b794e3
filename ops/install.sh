#!/bin/sh
# Installs locked packages into a virtual environment, once per change of the lock file.
#
# usage: ops/install.sh DIRECTORY LOCK [CONTAINED...]
#
# CONTAINED are lock files whose packages LOCK has as well, at the same versions: they count as installed with it.
# $PYTHON makes the environment. uv installs (seconds instead of minutes): the one on PATH, else a locked one that is
# fetched for this run only; where neither works, pip does. Hashes are required either way. --no-deps: a lock file names
# all packages, and older versions of pip refuse the pin of a package that is asked for with an extra (coverage[toml]).
set -eu

directory=$1 lock=$2
python=$directory/bin/python
stamp=$directory/.installed
PYTHON=${PYTHON:-python3}

say() { echo "$*" >&2; }

fingerprint() { cksum <"$1"; }

find_uv() {
    uv=uv
    "$uv" --version >/dev/null 2>&1 && return
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    uv=$scratch/bin/uv
    "$python" -m pip install --quiet --no-input --disable-pip-version-check --require-hashes --no-deps \
        --target "$scratch" --requirement "$(dirname "$lock")/uv.txt" >"$scratch/log" 2>&1
}

make_environment() {
    if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        say "$PYTHON cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"
        exit 1
    fi
    "$PYTHON" -m venv --clear "$directory"
}

with_uv() {
    find_uv && "$uv" pip install --quiet --no-progress --python "$python" --compile-bytecode --require-hashes --no-deps \
        --requirement "$lock" && "$uv" pip check --quiet --python "$python"
}

with_pip() {
    "$python" -m pip install --quiet --no-input --disable-pip-version-check --require-hashes --no-deps --requirement "$lock" &&
        "$python" -m pip check --disable-pip-version-check >&2
}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "%s is Python %d.%d" % (sys.argv[1], *sys.version_info[:2]))' \
    "$PYTHON" || {
    say "SeqPulse needs Python 3.11 or newer. Name one: make PYTHON=python3.12 ..."
    exit 1
}

if grep -qxF "$(fingerprint "$lock")" "$stamp" 2>/dev/null && "$python" -c '' 2>/dev/null; then exit 0; fi
started=$(date +%s)
"$python" -m pip --version >/dev/null 2>&1 || make_environment
say "Installing the $(grep -c '^[a-z].*==' "$lock") packages of $lock into $directory ..."
rm -f "$stamp"
with_uv || { say "uv could not install them; pip does, which takes longer ..."; with_pip; }
for file in "$@"; do
    [ "$file" = "$directory" ] || fingerprint "$file"
done >"$stamp"
say "Installed in $(($(date +%s) - started)) s."
