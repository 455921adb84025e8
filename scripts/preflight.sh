# Says in its first line what the set-up lacks, and how to get it.
set -u

fail() {
    echo "cs336 needs $1" >&2
    echo "    $2" >&2
    exit 1
}

PYTHON=${PYTHON:-python3}
version='import sys; sys.exit(sys.version_info < (3, 11))'
command -v "$PYTHON" >/dev/null 2>&1 ||
    fail "Python 3.11 or newer, and '$PYTHON' is not there." \
        "Debian, Ubuntu: apt install python3 python3-venv. Or name one: make PYTHON=/path/to/python3.12 ..."
"$PYTHON" -c "$version" ||
    fail "Python 3.11 or newer; '$PYTHON' is $("$PYTHON" --version 2>&1)." \
        "Install a newer one and name it: make PYTHON=/path/to/python3.12 ..."
"$PYTHON" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
    fail "Python's venv module, which '$PYTHON' lacks." "Debian, Ubuntu: apt install python3-venv"
command -v cargo >/dev/null 2>&1 ||
    fail "a Rust toolchain (cargo)." "Get it from https://rustup.rs, then open a new shell."
command -v cc >/dev/null 2>&1 ||
    fail "a C compiler (cc), which Rust links with." "Debian, Ubuntu: apt install gcc libc6-dev. macOS: xcode-select --install"
