#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and runs every test.
#
#   launch/test.sh [OPTION FOR ctest]...        for example: -L unit, or -R checkpoint
#
# With CI=true, warnings are errors.
set -euo pipefail

self=$(realpath -- "${BASH_SOURCE[0]}")
cd "${self%/*/*}"
launch/install-deps.sh
launch/build.sh
# shellcheck source=launch/mpi-env.sh
source launch/mpi-env.sh
echo "test: ctest --test-dir build $*"
ctest --test-dir build --output-on-failure --no-tests=error "$@"
