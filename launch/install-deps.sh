#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building and testing sdtrain-mpi needs, and nothing else.
#
#   launch/install-deps.sh [--cluster]        --cluster: also Slurm, which one test wants (tests/cluster/slurm.sh)
#
# Slurm is left out otherwise: users of a cluster have that cluster's, and without it the one test is skipped. With
# CI=true it is installed. The test starts daemons of its own.
#
# Debian and Ubuntu: installs the missing packages as root or with sudo; with nothing missing it needs neither rights
# nor network. Elsewhere: says what to install. Exit codes: 0 all is there; 1 something needed is missing;
# 64 usage; 77 no right to install.
set -euo pipefail

if (($# > 1)) || [[ ${1:---cluster} != --cluster ]]; then
    echo "usage: ${BASH_SOURCE[0]} [--cluster]" >&2
    exit 64
fi

say() { printf 'install-deps: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Debian's packages. C only; libc6-dev is a mere recommendation of gcc, and recommendations are not installed.
libraries=(
    libc6-dev
    openmpi-bin libopenmpi-dev # ranks
    libopenblas-dev            # matrix products
    libhdf5-dev                # checkpoints
    libinih-dev libcjson-dev   # config files, summary.json
    libxxhash-dev              # checksums
    libjpeg-dev libspng-dev    # JPEG (libjpeg-turbo) and PNG images
    libutf8proc-dev            # Unicode
    librandom123-dev           # random numbers
    check                      # unit tests
    ca-certificates            # get-data.sh
)
# A package, and the commands of which one must be there, wherever it came from.
tools=(
    'gcc gcc'
    'cmake cmake'
    'make make'
    'pkg-config pkg-config'
    'hdf5-tools h5diff' # tests compare checkpoints
    'python3 python3'   # tests; get-data.sh
    'curl curl wget'    # get-data.sh
    'iproute2 tc /usr/sbin/tc' # tests emulate hosts and their links; a user's PATH may lack it
)

if [[ ${1:-} == --cluster || ${CI:-} == true ]]; then
    tools+=(
        'slurmctld slurmctld /usr/sbin/slurmctld'
        'slurmd slurmd /usr/sbin/slurmd'
        'slurm-client sbatch'
        'munge munged /usr/sbin/munged' # which Slurm trusts
    )
fi

print_other_system() {
    cat <<'TEXT'
install-deps: this is not Debian or Ubuntu. Please install (Fedora's names in brackets):
  C17 compiler with OpenMP, CMake >= 3.25, make, pkg-config   [gcc cmake make pkgconf-pkg-config]
  Open MPI                                                    [openmpi openmpi-devel; then: module load mpi]
  OpenBLAS, threaded                                          [openblas-devel]
  HDF5, serial, with its tools                                [hdf5-devel hdf5]
  inih, cJSON, xxHash, Random123                              [inih-devel cjson-devel xxhash-devel Random123-devel]
  libjpeg-turbo, libspng, utf8proc                            [libjpeg-turbo-devel libspng-devel utf8proc-devel]
  for tests: Check, Python 3, iproute2 with tc                [check-devel python3 iproute iproute-tc]
  for get-data.sh: curl or wget; unzip or Python 3            [curl unzip]
TEXT
}

# Prints the packages that are not there.
missing_packages() {
    local package commands command
    for package in "${libraries[@]}"; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *' installed' ]] || echo "$package"
    done
    for package in "${tools[@]}"; do
        read -r package commands <<<"$package"
        for command in $commands; do
            ! have "$command" || continue 2
        done
        echo "$package"
    done
}

install_packages() {
    local as_root=(env)
    if ((EUID != 0)); then
        if ! have sudo; then
            say "missing: $*"
            say "please run this as root, or install sudo"
            exit 77
        fi
        as_root=(sudo env)
    fi
    say "installing: $*"
    "${as_root[@]}" apt-get update -q ||
        say "apt-get update failed; trying with the lists that are there"
    if ! "${as_root[@]}" DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@"; then
        say "apt-get could not install them: is there a network? (On Ubuntu the component 'universe' is needed.)"
        exit 1
    fi
}

require() {
    have "$1" && return
    say "$1 is not there"
    exit 1
}

if have apt-get && have dpkg-query; then
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
else
    print_other_system
fi

require cmake
require mpicc
version=$(cmake --version | sed -n '1s/[^0-9]*//p')
if [[ $(printf '%s\n' 3.25 "$version" | sort -V | head -n 1) != 3.25 ]]; then
    say "cmake $version is too old, 3.25 or newer is needed (python3 -m pip install cmake has one)"
    exit 1
fi
if have apt-get; then
    say "all packages are there"
fi
