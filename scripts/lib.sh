# shellcheck shell=bash
# What the scripts beside this file share: finding a Python, and keeping the virtual environment.
# Sourced, not run. Written for bash 3.2 and later.
#
#   PYTHON=...   the interpreter to make the environment with (default: the first suitable one)
#   VENV=...     where the environment is (default: .venv in the clone)
#
# An environment is installed into only when it has to be: its stamp names the Python version,
# the folder of the clone and a checksum of the files that say what to install. While those are
# the same, nothing here touches the network, or starts pip at all.

set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=${VENV:-.venv}
case $VENV in /*) ;; *) VENV=$ROOT/$VENV ;; esac
VENV_PYTHON=$VENV/bin/python
STATE=$ROOT/.venv-state # the lock and pip's log; beside the environments, as one is made anew

say() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The path without the clone's, for messages and hints.
short() { printf '%s' "${1#"$ROOT"/}"; }

# Addresses of package indexes have no business in a log that others read.
mask_addresses() {
    sed -E -e 's#[a-z+]+://[^] ,;<>)"'\'']+#<address>#g' -e "s#host='[^']*'#host=<address>#g" \
        -e 's#([A-Za-z0-9-]+\.)+(com|dev|io|local|internal|net|org)\b[^ ]*#<address>#g'
}

# ok|old|bare, version and path of an interpreter; fails where it does not run, as the stand-ins
# that version managers put into PATH may not. "bare" is one that cannot make environments.
describe_python() {
    "$1" -c '
import sys
state = "ok"
if sys.version_info < (3, 10):
    state = "old"
else:
    try:
        import ensurepip, venv
    except ImportError:
        state = "bare"
sys.stdout.write("%s %d.%d.%d %s" % ((state,) + tuple(sys.version_info[:3]) + (sys.executable,)))
' 2>/dev/null </dev/null
}

python_candidates() {
    if [ -n "${PYTHON:-}" ]; then
        printf '%s\n' "$PYTHON"
        return
    fi
    printf '%s\n' python3 python3.13 python3.12 python3.11 python3.10 python
    managed_pythons '3.1[0-3]'
}

# Interpreters that pyenv keeps, whether or not it has them in PATH: managed_pythons VERSION.
managed_pythons() {
    local path
    for path in "${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}"/versions/$1*/bin/python; do
        if [ -x "$path" ]; then printf '%s\n' "$path"; fi
    done
}

# The first interpreter of exactly this version, such as 3.12, that runs and can make
# environments; nothing where there is none.
python_of_version() {
    local candidate description
    while read -r candidate; do
        description=$(describe_python "$candidate") || continue
        case $description in
            "ok $1."*)
                printf '%s\n' "${description#* * }"
                return
                ;;
        esac
    done < <(
        printf '%s\n' "python$1" python3
        managed_pythons "$1"
    )
}

# Sets FOUND_PYTHON and FOUND_VERSION, or ends with a message that says what to install.
find_python() {
    local candidate description state version path bare='' old='' seen=''
    while read -r candidate; do
        description=$(describe_python "$candidate") || continue
        seen=1
        read -r state version path <<<"$description"
        case $state in
            ok)
                FOUND_PYTHON=$path FOUND_VERSION=$version
                return
                ;;
            bare) bare=${bare:-$version} ;;
            old) old=${old:-$version} ;;
        esac
    done < <(python_candidates)
    local others='or name another interpreter, as in: PYTHON=/path/to/python3 '$0
    if [ -n "${PYTHON:-}" ] && [ -z "$seen" ]; then
        fail "PYTHON=$PYTHON does not run. Name a Python 3.10 or later."
    elif [ -n "$bare" ]; then
        fail "Python $bare has no venv or ensurepip, which make virtual environments." \
            "On Debian and Ubuntu: apt install python3-venv (or python${bare%.*}-venv), $others"
    elif [ -n "$old" ]; then
        fail "Python $old is too old; this needs 3.10 or later." \
            "On Debian and Ubuntu: apt install python3 python3-venv, $others"
    fi
    fail "no Python found; this needs 3.10 or later." \
        "On Debian and Ubuntu: apt install python3 python3-venv, $others"
}

environment_version() {
    "$VENV_PYTHON" -c 'import sys; sys.stdout.write("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

# What an environment of this Python version would be installed from.
stamp_of() {
    printf '%s %s ' "$1" "$ROOT"
    (cd "$ROOT" && cat pyproject.toml setup.py map_reduce/_kernel.c requirements.txt \
        requirements-dev.txt | cksum)
}

# Whether VENV's interpreter runs, and is of the version of PYTHON where that is given.
environment_fits() {
    local description
    [ "$(cat "$VENV/.state" 2>/dev/null || echo made)" = made ] || return 1
    HAVE_VERSION=$(environment_version) || return 1
    if [ -n "${PYTHON:-}" ]; then
        description=$(describe_python "$PYTHON") || return 1
        case $description in *" $HAVE_VERSION "*) ;; *) return 1 ;; esac
    else
        case $HAVE_VERSION in 3.[0-9].*) return 1 ;; esac
    fi
}

is_prepared() {
    environment_fits &&
        [ "$(cat "$VENV/.installed-$1" 2>/dev/null)" = "$(stamp_of "$HAVE_VERSION")" ]
}

# One installation at a time in a clone. The lock is the open file's: it ends with this script,
# however that ends.
take_lock() {
    mkdir -p "$STATE"
    exec 9>"$STATE/lock"
    "$FOUND_PYTHON" -c '
import fcntl, sys, time

deadline_s = time.monotonic() + 900
waiting = False
while True:
    try:
        fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except OSError:
        if time.monotonic() > deadline_s:
            sys.exit("another script has been installing here for 15 minutes; see to it first")
        if not waiting:
            sys.stderr.write("==> Waiting for another script that installs here\n")
            waiting = True
        time.sleep(0.2)
' || exit 1
}

release_lock() { exec 9>&-; }

# logged WHAT COMMAND...: run quietly, and show the end of what it wrote only if it fails.
logged() {
    local what=$1 log=$STATE/install.log
    shift
    say "$what"
    if ! "$@" >"$log" 2>&1 </dev/null 9>&-; then
        tail -n 15 "$log" | mask_addresses >&2
        fail "that did not work (the whole log: $(short "$log")). A first installation needs" \
            "the network, or pip set up for packages kept elsewhere."
    fi
}

make_environment() {
    if [ -d "$VENV" ] && [ ! -e "$VENV/.state" ] && [ -n "$(ls -A "$VENV")" ]; then
        fail "$VENV was not made by these scripts, and its Python does not run or is not the" \
            "one asked for. Move it away, or name another folder, as in: VENV=.venv-mine $0"
    fi
    rm -rf "$VENV"
    mkdir -p "$VENV"
    echo making >"$VENV/.state"
    logged "Making $(short "$VENV") with Python $FOUND_VERSION" "$FOUND_PYTHON" -m venv "$VENV"
    echo made >"$VENV/.state"
}

install_package() {
    local wanted=$1 what=$2
    shift 2
    if ! "$VENV_PYTHON" -c 'import pip' 2>/dev/null; then # an environment made by other means
        logged "Installing pip" "$VENV_PYTHON" -m ensurepip
    fi
    logged "Installing map-reduce $what" "$VENV_PYTHON" -m pip install --quiet \
        --disable-pip-version-check --no-input --constraint "$wanted" "$@"
}

# prepare core|certs|test|dev: afterwards VENV holds the package and what that extra names.
prepare() {
    local extra=$1 has
    if is_prepared "$extra"; then return; fi
    find_python
    take_lock
    if ! is_prepared "$extra"; then # another script may have done it meanwhile
        if ! environment_fits; then make_environment; fi
        cd "$ROOT"
        case $extra in
            core) install_package requirements.txt "and what it needs" --editable . ;;
            certs) install_package requirements-dev.txt "and what makes certificates" --editable '.[certs]' ;;
            test) install_package requirements-dev.txt "and its test tools" --editable '.[test]' ;;
            dev) install_package requirements-dev.txt "and all its tools" --editable '.[test,dev]' ;;
        esac
        for has in core certs test dev; do
            stamp_of "$(environment_version)" >"$VENV/.installed-$has"
            if [ "$has" = "$extra" ]; then break; fi
        done
    fi
    release_lock
}
