#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A PBS job (PBS Professional, OpenPBS, Torque) that stops with a checkpoint before its time limit and submits itself again.
#
#   qsub [OPTION]... -v CONFIG=FILE launch/pbs.sh        in the repository's folder
#
#   qsub -l select=4:ncpus=16:mpiprocs=16 -l walltime=12:00:00 -v CONFIG=configs/cifar10-resnet110-sd.ini launch/pbs.sh
#   qsub -J 1-5 -v CONFIG=FILE launch/pbs.sh             five seeds, a run folder each (Torque: -t 1-5)
#   qsig -s USR1 JOB                                     stops the run now; its successor goes on
#
# At its limit PBS sends TERM to all processes of a job, mpirun among them, which then kills its ranks within a second. So the
# program is told how long it may take (run.max_seconds) and stops by itself. Submitted again: after a stop with a checkpoint (75)
# and after failures that a restart may better, not after 0, 64, 65, 66, 78, nor after MAX_FAILURES failures in a row without a new
# checkpoint, nor after MAX_RESUBMITS times in a row. A user may not have a job queued again once it has ended (qrerun is the
# operators'), hence a new one, with the resources of this one. -r y: PBS itself starts it again after a failed node. All are one job
# to the program (--job, unless EXTRA has one): the first start does what checkpoint.resume says, later ones go on.
# Exit codes: those of the program; 64 usage, 66 no program or folder, 69 no launcher.

#PBS -N sdtrain
#PBS -l walltime=24:00:00
#PBS -j oe
#PBS -r y

set -uo pipefail
set +Cf # whatever BASH_ENV says

if [[ -z ${CONFIG:-} || -z ${PBS_JOBID:-} || -z ${PBS_O_WORKDIR:-} ]]; then
    echo 'usage: qsub [OPTION]... -v CONFIG=FILE launch/pbs.sh' >&2
    exit 64
fi
MAX_RESUBMITS=${MAX_RESUBMITS:-100}
MAX_FAILURES=${MAX_FAILURES:-3}
# Handed on to successors: the job before this one that was submitted by hand; failures in a row until now, and the newest checkpoint then.
FIRST_JOB=${FIRST_JOB:-$PBS_JOBID} FAILURES=${FAILURES:-0} NEWEST=${NEWEST:-}
RESUBMITS=${RESUBMITS:-0}                       # of those before this job
SPARE_SECONDS=${SPARE_SECONDS:-120}             # of the limit, for what comes before and after training
LAUNCHER=${LAUNCHER:-mpirun}                    # with its options, in words without spaces
EXTRA=${EXTRA:-}                                # options for sdtrain-mpi, in words without spaces
PROGRAM=${PROGRAM:-$PBS_O_WORKDIR/build/src/sdtrain-mpi}
SCRIPT=${SCRIPT:-$PBS_O_WORKDIR/launch/pbs.sh}  # PBS runs a copy of it

say() { printf 'pbs.sh: %(%F %T)T %s: %s\n' -1 "$PBS_JOBID" "$*"; }

# The value of one of this job's attributes. qstat folds long lines.
attribute() { qstat -f "$PBS_JOBID" 2>/dev/null | sed -e ':join' -e 'N' -e '$!b join' -e 's/\n\t//g' | sed -n "s/^ *$1 = //p"; }

# seconds HH:MM:SS (or fewer parts)
seconds() {
    local part total=0
    for part in ${1//:/ }; do
        [[ $part =~ ^[0-9]+$ ]] || return 1
        total=$((60 * total + 10#$part))
    done
    echo "$total"
}

cd "$PBS_O_WORKDIR" || exit 66
read -ra words <<<"$EXTRA"
index=${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-}}
if [[ -n $index ]]; then
    words+=(--set "run.name=$(basename -- "$CONFIG" .ini)-$index" --set "run.seed=$index")
fi
if limit=$(seconds "$(attribute Resource_List.walltime)") && ((limit > 0)); then
    if ((limit > 2 * SPARE_SECONDS)); then
        limit=$((limit - SPARE_SECONDS))
    else
        limit=$((limit / 2))
    fi
    words+=(--set "run.max_seconds=$limit")
else
    say "qstat tells no walltime; set run.max_seconds in $CONFIG, or the last checkpoint stands at the limit"
fi

job=pbs-$FIRST_JOB
[[ " ${words[*]} " == *' --job '* ]] || words+=(--job "${job:0:120}")
words=("$CONFIG" "${words[@]}")
read -ra launcher <<<"$LAUNCHER"
command -v "$PROGRAM" >/dev/null || {
    say "$PROGRAM is not there; submit from the repository, or set PROGRAM"
    exit 66
}
command -v "${launcher[0]:-}" >/dev/null || {
    say "LAUNCHER: ${launcher[0]:-} is not there"
    exit 69
}

# The newest checkpoint, as rank 0 sees it in the folder that --check names; nothing if there is none, or it cannot be seen. (The batch
# system runs a copy of this script, which cannot source another file: slurm.sbatch has the same lines.)
newest_checkpoint() {
    local said
    # shellcheck disable=SC2016 # for the shell of each rank
    said=$(timeout 300 "${launcher[@]}" sh -c '"$0" "$@" --check | sed -n "s/^files  *\(.*\) (checkpoint\.resume = .*/\1/p" |
        while IFS= read -r run; do ls "$run/checkpoints" | sed -n "/^step-[0-9]*\.h5$/p" | sort | tail -n 1; done' \
        "$PROGRAM" "${words[@]}" </dev/null 2>/dev/null)
    [[ ! $said =~ step-[0-9]+\.h5 ]] || echo "${BASH_REMATCH[0]}"
}

# TERM is how PBS ends a job, for good (qdel, the limit) or to start it again itself: nothing for this script to add to.
signals=0 for_good='' launched='' reminder=''
# Again after 2, 4, 8, ... seconds, as mpirun loses a signal that comes while it starts ranks.
ask_to_stop() {
    [[ -z $reminder ]] && kill -s USR1 "$launched" 2>/dev/null || return 0
    for ((nap = 2; nap < 300; nap *= 2)); do
        sleep "$nap"
        kill -s USR1 "$launched" || break
    done </dev/null >/dev/null 2>&1 &
    reminder=$!
}
# shellcheck disable=SC2317 # a trap calls it
on_signal() {
    signals=$((signals + 1))
    [[ $1 != TERM ]] || for_good=1
    ((signals == 1)) || return 0
    say "$1: asking the run to write a checkpoint and stop"
    [[ -z $launched ]] || ask_to_stop
}
trap 'on_signal USR1' USR1
trap 'on_signal TERM' TERM
trap 'on_signal INT' INT

say "${launcher[*]} $PROGRAM ${words[*]}"
"${launcher[@]}" "$PROGRAM" "${words[@]}" </dev/null &
launched=$!
((signals == 0)) || ask_to_stop # one that came between
while :; do
    before=$signals
    wait "$launched"
    code=$?
    ((signals > before)) || break # else a signal ended the wait, not the run
done
launched=
[[ -z $reminder ]] || kill "$reminder" 2>/dev/null
# A signal that comes before the ranks listen ends them as well (128 + 10).
if ((signals > 0 && code == 138)); then
    code=75
fi

case $code in
0 | 64 | 65 | 66 | 78)
    say "ended with $code"
    exit "$code"
    ;;
75) FAILURES=0 ;;
*)
    newest=$(newest_checkpoint)
    [[ $FAILURES =~ ^[0-9]{1,4}$ && $newest == "$NEWEST" ]] || FAILURES=0
    FAILURES=$((10#$FAILURES + 1)) NEWEST=$newest
    ;;
esac
if [[ $for_good ]]; then
    say "ended with $code; PBS ends the job"
    exit "$code"
fi
if ((FAILURES >= MAX_FAILURES)); then
    say "ended with $code; not submitted again, after $FAILURES failures in a row without a new checkpoint"
    exit "$code"
fi
if ((RESUBMITS >= MAX_RESUBMITS)); then
    say "ended with $code; not submitted again, as it was $RESUBMITS times already"
    exit "$code"
fi

# The same resources, queue and settings; of an array, this element alone, as one.
again=(-N "${PBS_JOBNAME:-sdtrain}")
[[ -z ${PBS_QUEUE:-} ]] || again+=(-q "$PBS_QUEUE")
for resource in select place nodes walltime; do
    value=$(attribute "Resource_List.$resource")
    [[ -z $value ]] || again+=(-l "$resource=$value")
done
RESUBMITS=$((RESUBMITS + 1))
handed_on=(CONFIG EXTRA FAILURES FIRST_JOB LAUNCHER MAX_FAILURES MAX_RESUBMITS NEWEST PROGRAM RESUBMITS SCRIPT SPARE_SECONDS)
export "${handed_on[@]}"
printf -v variables '%s,' "${handed_on[@]}" # by name: values may hold commas
variables=${variables%,}
if [[ -n $index ]]; then
    export PBS_ARRAYID=$index
    variables+=,PBS_ARRAYID
fi
if next=$(qsub "${again[@]}" -v "$variables" "$SCRIPT"); then
    say "ended with $code; $next goes on"
else
    say "ended with $code; qsub refuses a successor: submit it again to go on"
fi
exit "$code"
