#!/usr/bin/env bash
# Configures (Release) and builds sdtrain-mpi and its tests with all cores.
#
#   launch/build.sh [DIR]        DIR: build folder, default build/ of the repository
#
# With CI=true, warnings are errors. For other builds see CMakePresets.json.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${1:-$root/build}
options=(-DCMAKE_BUILD_TYPE=Release)
if [[ ${CI:-} == true ]]; then
    options+=(-DSD_WERROR=ON)
fi

echo "build: configuring into $dir"
cmake -S "$root" -B "$dir" "${options[@]}"
echo "build: building with $(nproc) cores"
cmake --build "$dir" --parallel "$(nproc)"
