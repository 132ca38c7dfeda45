#!/bin/sh
# Makes the virtual environment FOLDER: tools/venv.sh FOLDER
# With $PYTHON if it is set, else the first Python of 3.11, 3.12, 3.10 there is.
set -eu
dir=$1

fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; }

py=
for name in ${PYTHON:-python3.11 python3.12 python3.10 python3 python}; do
    if fits "$name"; then py=$name; break; fi
done
if [ -z "$py" ]; then
    echo "No Python 3.10, 3.11 or 3.12 here${PYTHON:+ (PYTHON=$PYTHON is none)}. Install one, for example:" >&2
    echo "  Debian, Ubuntu:  sudo apt-get install python3.11 python3.11-venv" >&2
    echo "  macOS:           brew install python@3.11" >&2
    echo "or name one: make install PYTHON=/path/to/python3.11" >&2
    exit 1
fi
minor=$("$py" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

usual() { "$py" -c 'import ensurepip' >/dev/null 2>&1 && "$py" -m venv --clear "$dir"; }
by_system_pip() {  # Debian splits ensurepip off Python; pip, if it is there, can fill an environment from outside
    "$py" -m pip --version >/dev/null 2>&1 && "$py" -m venv --clear --without-pip "$dir" &&
        "$py" -m pip --quiet --python "$dir/bin/python" install pip
}
by_virtualenv() { command -v virtualenv >/dev/null && virtualenv --quiet --clear --python "$py" "$dir"; }
by_uv() { command -v uv >/dev/null && uv venv --quiet --clear --seed --python "$py" "$dir"; }
by_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "Installing python$minor-venv ..."
    export DEBIAN_FRONTEND=noninteractive
    { apt-get install -y "python$minor-venv" || { apt-get update && apt-get install -y "python$minor-venv"; }; } \
        >/dev/null 2>&1 && usual
}

echo "Making $dir with $("$py" -c 'import platform, sys; print("Python", platform.python_version(), "of", sys.prefix)')"
for way in usual by_system_pip by_virtualenv by_uv by_apt; do
    if $way; then exit 0; fi
    rm -rf "$dir"
done
echo "$py cannot make virtual environments: its venv module lacks ensurepip. Mend it with" >&2
echo "  sudo apt-get install python$minor-venv" >&2
echo "or name another Python: make install PYTHON=/path/to/python3.11" >&2
exit 1
