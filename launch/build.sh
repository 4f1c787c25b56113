#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Configures (Release) and builds sdtrain-mpi and its tests with all cores.
#
#   launch/build.sh [DIR]        DIR: build folder, default build/ of the repository
#
# With CI=true, warnings are errors. CMAKE_BUILD_PARALLEL_LEVEL: how many compilers at once, default: a core each.
# For other builds see CMakePresets.json.
set -euo pipefail

self=$(realpath -- "${BASH_SOURCE[0]}")
root=${self%/*/*}
dir=${1:-$root/build}
options=(-DCMAKE_BUILD_TYPE=Release)
if [[ ${CI:-} == true ]]; then
    options+=(-DSD_WERROR=ON)
fi

# OMP_NUM_THREADS and OMP_THREAD_LIMIT are for threads of a rank; nproc heeds them.
jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)}
command -v cmake >/dev/null || {
    echo "build: cmake is not there; launch/install-deps.sh installs it" >&2
    exit 69
}

echo "build: configuring into $dir"
cmake -S "$root" -B "$dir" "${options[@]}"
echo "build: building with $jobs cores"
cmake --build "$dir" --parallel "$jobs"
