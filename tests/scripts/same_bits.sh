#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whether two builds of the program train to the same bits: the gate of a change that is to change none.
#
#   same_bits.sh OLD NEW [MODEL...]    OLD, NEW: build folders; MODEL: resnet20, resnet50, vit_tiny (default: all three)
#
# Trains each model for 20 steps with each scope, fast on 2 ranks, and reproducible on 2 and on 4 ranks (not scope = rank,
# which contradicts it), with both programs, and compares /model, /optimizer and the rest of the last checkpoints' state
# (`sdtrain diff` of NEW), the decisions, and steps.csv without its times. SD_ISA holds both to an instruction set.
# Exit code: 0 all equal; 1 some differ; 64 usage. Takes about three minutes on two cores.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: same_bits.sh OLD NEW [MODEL...]" >&2
    exit 64
fi
old=$(realpath -- "$1")
new=$(realpath -- "$2")
shift 2
models=("$@")
[[ $# -gt 0 ]] || models=(resnet20 resnet50 vit_tiny)
self=$(realpath -- "${BASH_SOURCE[0]}")
# shellcheck source=launch/mpi-env.sh
. "${self%/*/*/*}/launch/mpi-env.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What each model is trained with; together they meet both optimizers, every shortcut, and both rules of scale and unit.
settings() {
    case $1 in
    resnet20) echo stochastic_depth.scale=training optimizer.nesterov=true train.batch_size=32 ;;
    resnet50) echo model.stem=imagenet train.batch_size=16 model.zero_init_residual=true ;;
    vit_tiny) echo model.patch_size=4 optimizer.name=adamw lr.base=0.001 train.batch_size=16 model.dropout=0.1 ;;
    *)
        echo "same_bits: no settings for model '$1'" >&2
        exit 64
        ;;
    esac
}

# train PROGRAM FOLDER RANKS ASSIGNMENT...
train() {
    local program=$1 folder=$2 ranks=$3 assignments=()
    shift 3
    for assignment in "$@"; do assignments+=(--set "$assignment"); done
    mkdir -p "$folder"
    mpirun -np "$ranks" "$program" "$work/config.ini" --set "run.output=$folder" "${assignments[@]}" >"$folder/out" 2>&1 || {
        echo "same_bits: $program failed:" >&2
        tail -n 5 "$folder/out" >&2
        return 1
    }
}

# steps.csv without the columns that hold times.
without_times() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) keep[i] = $i !~ /seconds|images_per_second/ }
             { row = ""; for (i = 1; i <= NF; i++) if (keep[i]) row = row $i ","; print row }' "$1"
}

# compare A B: run folders.
compare() {
    "$new/src/sdtrain" diff "$1/checkpoints/step-00000020.h5" "$2/checkpoints/step-00000020.h5" >"$work/diff" 2>&1 &&
        cmp -s "$1/decisions.csv" "$2/decisions.csv" &&
        cmp -s <(without_times "$1/steps.csv") <(without_times "$2/steps.csv")
}

cat >"$work/config.ini" <<INI
[run]
name = run
threads = 1
seed = 5
[data]
dataset = synthetic
train_samples = 640
val_samples = 64
augment = crop_flip
[stochastic_depth]
rate = 0.5
[train]
epochs = 1
max_steps = 20
label_smoothing = 0.1
[eval]
every_epochs = 0
[checkpoint]
every_epochs = 0
[communication]
shards = 4
[log]
every_steps = 1
decisions = true
INI

different=0 compared=0
for model in "${models[@]}"; do
    read -ra of_model <<<"$(settings "$model")"
    for scope in global rank sample; do
        for how in fast:2 reproducible:2 reproducible:4; do
            [[ $scope != rank || $how == fast:2 ]] || continue
            run=("${how#*:}" "${of_model[@]}" "model.name=$model" "stochastic_depth.scope=$scope"
                "communication.reduction=${how%:*}")
            train "$old/src/sdtrain-mpi" "$work/old" "${run[@]}"
            train "$new/src/sdtrain-mpi" "$work/new" "${run[@]}"
            compared=$((compared + 1))
            verdict=equal
            if ! compare "$work/old/run" "$work/new/run"; then
                verdict=DIFFERENT
                different=$((different + 1))
            fi
            printf '%-9s scope = %-6s %-12s on %d ranks: %s\n' "$model" "$scope" "${how%:*}" "${how#*:}" "$verdict"
            [[ $verdict == equal ]] || head -n 5 "$work/diff"
            rm -rf "$work/old" "$work/new"
        done
    done
done
echo "same_bits: $((compared - different)) of $compared equal"
[[ $different -eq 0 ]]
