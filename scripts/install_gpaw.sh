#!/bin/sh
# Install GPAW (serial build) for one Python: sh scripts/install_gpaw.sh PYTHON
# Exit codes: 0 GPAW works, 2 wrong call, 3 system packages are missing and cannot be installed, 4 the build failed.
set -u

PYTHON=${1:-}
GPAW_VERSION=26.7.0
DEBIAN="gcc libc6-dev libxc-dev libopenblas-dev libfftw3-dev"
HERE=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

[ -n "$PYTHON" ] || { echo "usage: sh scripts/install_gpaw.sh PYTHON" >&2; exit 2; }

BIN=$(dirname -- "$(command -v "$PYTHON" || echo "$PYTHON")")
ALTERNATIVE="Or go on without first-principles labels, with a model Hamiltonian that needs nothing to be installed:
  $BIN/spinmultinet run configs/campaigns/quickstart_nio.yaml --engine spin-lattice"

gpaw_works() {
    "$PYTHON" -c "import gpaw, gpaw.cgpaw, sys; sys.exit(gpaw.__version__ != '$GPAW_VERSION')" >/dev/null 2>&1
}

# Debian keeps the headers of Python itself in a package of their own.
python_says() {
    "$PYTHON" -c "import sys, sysconfig; print($1)" 2>/dev/null
}

# A test program is the only honest way to ask whether headers and libraries are usable, wherever they lie.
can_build() {
    command -v gcc >/dev/null 2>&1 || return 1
    printf '#include <Python.h>\n#include <xc.h>\n#include <fftw3.h>\nint main(void) { return xc_family_from_id(1, 0, 0) > 99; }\n' >"$WORK/t.c"
    gcc -I"$(python_says "sysconfig.get_path('include')")" "$WORK/t.c" -o "$WORK/t" -lxc -lopenblas -lfftw3 >>"$LOG" 2>&1
}

# Root, or a sudo that asks for no password; anything else would block a script.
apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" = 0 ]; then SUDO=""; elif sudo -n true >/dev/null 2>&1; then SUDO="sudo -n"; else return 1; fi
    echo "installing system packages for GPAW: $DEBIAN (about 20 s)"
    $SUDO apt-get update >>"$LOG" 2>&1
    # shellcheck disable=SC2086  # words are meant to split
    $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $DEBIAN >>"$LOG" 2>&1
}

explain() {
    cat >&2 <<TEXT
error: GPAW needs a C compiler, libxc, OpenBLAS and FFTW, and this script may not or cannot install them here.
Install one of these, then run the same command again:
  Debian/Ubuntu:  sudo apt-get install -y --no-install-recommends $DEBIAN
  Fedora:         sudo dnf install -y gcc glibc-devel python3-devel libxc-devel openblas-devel fftw-devel
  cluster:        load the modules of a C compiler, libxc, OpenBLAS and FFTW
$ALTERNATIVE
What was tried is in $LOG
TEXT
    exit 3
}

build() {
    cat >"$WORK/siteconfig.py" <<TEXT
compiler = 'gcc'
mpi = False
fftw = True
scalapack = False
libraries = ['xc', 'openblas', 'fftw3']
extra_compile_args += ['-O3', '-march=native']
TEXT
    echo "building GPAW $GPAW_VERSION (about 45 s)"
    GPAW_CONFIG="$WORK/siteconfig.py" "$PYTHON" -m pip install --disable-pip-version-check \
        -c "$HERE/constraints.txt" "gpaw==$GPAW_VERSION" >>"$LOG" 2>&1
}

gpaw_works && exit 0
command -v "$PYTHON" >/dev/null 2>&1 || { echo "error: no Python at $PYTHON" >&2; exit 2; }
[ -f "$(python_says "sysconfig.get_path('include')")/Python.h" ] ||
    DEBIAN="$DEBIAN python$(python_says "'%d.%d' % sys.version_info[:2]")-dev"
WORK=$(mktemp -d) || exit 4
LOG=$(mktemp "${TMPDIR:-/tmp}/install_gpaw.XXXXXX") || exit 4
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM

can_build || { apt_install && can_build; } || explain
build && gpaw_works || {
    echo "error: building GPAW failed (no network? a proxy?). The last lines of $LOG:" >&2
    tail -n 5 "$LOG" >&2
    echo "$ALTERNATIVE" >&2
    exit 4
}
rm -f "$LOG"
echo "GPAW $GPAW_VERSION is ready"
