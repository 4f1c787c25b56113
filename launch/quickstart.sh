#!/usr/bin/env bash
# From a fresh clone to a trained network: installs what is missing, builds, trains a small ResNet with stochastic depth
# on 2 ranks on built-in synthetic images (about two minutes), and shows what came out.
#
#   launch/quickstart.sh [OPTION FOR sdtrain-mpi]...        for example: --set train.epochs=2
#
# Each start writes a run folder of its own, runs/quickstart-DATE-TIME.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
launch/install-deps.sh
launch/build.sh
# shellcheck source=launch/mpi-env.sh
source launch/mpi-env.sh

name=quickstart-$(date +%Y%m%d-%H%M%S)
command=(mpirun -np 2 build/src/sdtrain-mpi configs/quickstart.ini
    --set run.output=runs --set "run.name=$name" --set checkpoint.resume=never "$@")
echo "quickstart: ${command[*]}"
"${command[@]}"

python3 - "runs/$name/summary.json" <<'PYTHON'
import json
import sys

with open(sys.argv[1]) as file:
    summary = json.load(file)


def show(key, text, form, of=lambda value: value):
    value = summary.get(key)
    print(f"  {text:<28}{'-' if value is None else form.format(of(value))}")


print("\nquickstart: done")
show("val_accuracy", "validation accuracy", "{:.1f} %", lambda fraction: 100 * fraction)
show("gap", "train-validation gap", "{:.1f} points", lambda fraction: 100 * fraction)
show("seconds", "time", "{:.0f} s")
show("kept_fraction", "share of branches skipped", "{:.1f} %", lambda fraction: 100 * (1 - fraction))
show("run_folder", "files", "{}")
PYTHON
