#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to a trained network: installs what is missing, builds, trains a small ResNet with stochastic depth
# on 2 ranks on built-in synthetic images (about two minutes). The program says at its end what came out.
#
#   launch/quickstart.sh [OPTION FOR sdtrain-mpi]...        for example: --set train.epochs=2
#
# Each start writes a run folder of its own, runs/quickstart-DATE-TIME. Exit codes: those of sdtrain-mpi.
set -euo pipefail

self=$(realpath -- "${BASH_SOURCE[0]}")
cd "${self%/*/*}"
launch/install-deps.sh
launch/build.sh
# shellcheck source=launch/mpi-env.sh
source launch/mpi-env.sh

name=quickstart-$(date +%Y%m%d-%H%M%S)
command=(mpirun -np 2 build/src/sdtrain-mpi configs/quickstart.ini
    --set run.output=runs --set "run.name=$name" --set checkpoint.resume=never "$@")
echo "quickstart: ${command[*]}"
"${command[@]}"

echo "quickstart: done"
