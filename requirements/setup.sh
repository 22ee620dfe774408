#!/bin/sh
# Make .venv and install the locked packages. Does nothing when that is done already. usage: sh requirements/setup.sh [cpu|gpu]
set -eu
cd "$(dirname "$0")/.."
build="${1:-cpu}"
torch_index=https://download.pytorch.org/whl/cpu

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

# Ray starts its workers by `bash -c "exec PYTHON …"`, unquoted; and a venv's path may hold no colon.
folder="$(pwd -P)"
case "$folder" in
*[[:space:]\"\'\`\\\$\&\;\|\<\>\(\)\{\}\[\]\*\?:]*)
    fail "got the repository in '$folder', expected a path without spaces and the shell's own characters, which Ray \
can't start its workers from; move it"
    ;;
esac

case "$build" in
cpu) sources="requirements/cpu.lock" ;;
gpu) sources="requirements/base.in requirements/gpu.in requirements/gpu.constraints" ;;
*) fail "got the build '$build', expected cpu or gpu" ;;
esac

stamp="$build $(cat $sources | cksum)"
if [ -x .venv/bin/python ] && [ "$(cat .venv/installed 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi

is_new_enough() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

if ! is_new_enough .venv/bin/python; then
    found=
    for python in python3.11 python3.12 python3.13 python3 python; do
        if is_new_enough "$python"; then
            found="$python"
            break
        fi
    done
    [ -n "$found" ] || fail "Python 3.11, 3.12 or 3.13 is needed, and $(python3 --version 2>/dev/null || echo none) was found; install one"
    "$found" -m venv --clear .venv || fail "$found can't make a virtual environment; install its venv package"
fi

echo "Installing the $build build into .venv: about 3 GB and 2 minutes with cpu, three times that with gpu."
pip() {
    .venv/bin/python -m pip --disable-pip-version-check "$@"
}
if [ "$build" = cpu ]; then
    torch="$(grep '^torch==' requirements/cpu.lock)"
    if ! pip install -qq --no-deps "$torch" 2>/dev/null; then
        echo "pip's own sources don't have $torch: taking it from $torch_index"
        pip install -qq --no-deps --index-url "$torch_index" "$torch"
    fi
    pip install -qq --no-deps -r requirements/cpu.lock
else
    pip install -qq -r requirements/gpu.in -c requirements/gpu.constraints
fi
echo "$stamp" >.venv/installed
