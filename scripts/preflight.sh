# Says in its first line what the set-up lacks, and how to get it.
#
# Usage: sh scripts/preflight.sh rust      what Rust needs
#        sh scripts/preflight.sh python PY what the virtual environment needs of the interpreter PY
set -u

fail() {
    echo "cs336 needs $1: $2" >&2
    exit 1
}

check_rust() {
    version=$(cargo --version 2>/dev/null) ||
        fail "a Rust toolchain (cargo)" "get it from https://rustup.rs, then open a new shell"
    needed=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)
    minor=$(echo "$version" | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$needed" ] ||
        fail "Rust 1.$needed or newer, and this is $version" "update it with: rustup update stable"
    # A program is linked, because a compiler without the C library's files is a common half installation.
    program=$(mktemp) || exit 1
    echo 'int main(void) { return 0; }' | cc -x c -o "$program" - 2>/dev/null
    linked=$?
    rm -f "$program"
    [ $linked -eq 0 ] ||
        fail "a C compiler (cc) that Rust links with" \
            "on Debian and Ubuntu: apt install gcc libc6-dev; on Fedora: dnf install gcc; on macOS: xcode-select --install"
}

check_python() {
    command -v "$1" >/dev/null 2>&1 ||
        fail "Python 3.11 or newer, and there is no '$1'" \
            "on Debian and Ubuntu: apt install python3 python3-venv; or name another: make PYTHON=python3.12 ..."
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer, and '$1' is $("$1" --version 2>&1)" \
            "$(newer_python)"
    "$1" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        fail "Python's venv module, which '$1' lacks" \
            "on Debian and Ubuntu: apt install python3-venv; or name another Python: make PYTHON=python3.12 ..."
}

# The command with a newer Python that is there already, else what to do to have one.
newer_python() {
    for name in python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c '' 2>/dev/null; then
            echo "there is also $name, so: make PYTHON=$name ..."
            return
        fi
    done
    echo "install a newer one and name it: make PYTHON=python3.12 ..."
}

case ${1:-} in
rust) check_rust ;;
python) check_python "${2:?an interpreter}" ;;
*)
    sed -n '3,4s/^# //p' "$0" >&2
    exit 2
    ;;
esac
