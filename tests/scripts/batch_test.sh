#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The batch scripts with a batch system and an mpirun of this test's: what is queued again, how often, and with what.
# slurm.sbatch on a real Slurm: tests/cluster/slurm.sh.
#
#   batch_test.sh SRC        SRC: the repository
set -euo pipefail

launch=$(realpath "${1:?usage: batch_test.sh SRC}/launch")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir bin build build/src

# mpirun: runs the question for the newest checkpoint, as two ranks; else saves a checkpoint named by the file saves, if that is there,
# and ends as the file code says; "wait" is for a second USR1, then 75: a launcher that is starting loses the first.
cat >bin/mpirun <<'MPIRUN'
#!/usr/bin/env bash
if [[ " $* " == *' sh -c '* ]]; then
    while [[ $1 != sh ]]; do shift; done
    rank=0 "$@" | sed 's/^/[1,0]<stdout>:/'
    rank=1 "$@"
    exit 0
fi
echo "mpirun $*" >>calls
[[ ! -s saves ]] || { mkdir -p 'runs/a (b)/checkpoints'; touch "runs/a (b)/checkpoints/$(cat saves)"; }
[[ $(cat code) == wait ]] || exit "$(cat code)"
trap "trap 'exit 75' USR1" USR1
touch waiting
for ((;;)); do sleep 0.05; done
MPIRUN
for command in scontrol qsub; do
    cat >"bin/$command" <<COMMAND
#!/usr/bin/env bash
echo "$command \$*" >>calls
env | grep -E '^(CONFIG|EXTRA|FAILURES|FIRST_JOB|NEWEST|RESUBMITS|PBS_ARRAYID)=' | sort >environment
echo 78.server
COMMAND
done
# As PBS has it: long lines go on in the next, after a tab.
cat >bin/qstat <<'QSTAT'
#!/usr/bin/env bash
[[ $1 == -f && -e walltime ]] || exit 1
printf 'Job Id: %s\n    Job_Name = sdtrain\n    Resource_List.select = 4:ncpus=16\n\t:mpiprocs=16\n' "$2"
printf '    Resource_List.walltime = %s\n    project = _pbs_default\n' "$(cat walltime)"
QSTAT
cat >build/src/sdtrain-mpi <<'PROGRAM'
#!/usr/bin/env bash
[[ $* == *' --job '*' --check' && $rank == 0 && ! -e silent ]] || exit 0
echo "files      runs/a (b) (checkpoint.resume = auto)"
PROGRAM
chmod +x bin/* build/src/sdtrain-mpi
export PATH=$tmp/bin:$PATH SLURM_SUBMIT_DIR=$tmp PBS_O_WORKDIR=$tmp SLURM_JOB_ID=12 PBS_JOBID=77.server
unset "${!SLURM_ARRAY@}" SLURM_RESTART_COUNT SLURM_CLUSTER_NAME PBS_ARRAY_INDEX PBS_ARRAYID

failed() {
    echo "FAILED: $*; it said:"
    cat log
    echo "and called:"
    cat calls
    exit 1
}

# batch PROGRAM'S_CODE CODE COMMAND...
batch() {
    local code=$2 got=0
    rm -f calls waiting
    echo "$1" >code
    shift 2
    "$@" >log 2>&1 || got=$?
    ((got == code)) || failed "'$*' ended with $got, expected $code"
}
called() { grep -qxF -- "$1" calls || failed "did not call '$1'"; }
not_called() { ! grep -q -- "^$1" calls || failed "called $1"; }
says() { grep -qF -- "$1" log || failed "did not say '$1'"; }

# signalled SIGNAL CODE COMMAND...: the job's script gets it while its ranks run.
signalled() {
    local signal=$1 code=$2 got=0 script
    rm -f calls waiting
    echo wait >code
    shift 2
    set -m # or INT is ignored
    "$@" >log 2>&1 &
    script=$!
    set +m
    for ((i = 0; i < 200; i++)); do
        [[ ! -e waiting ]] || break
        sleep 0.05
    done
    kill -s "$signal" "$script"
    wait "$script" || got=$?
    ((got == code)) || failed "$signal: '$*' ended with $got, expected $code"
    says "$signal: asking the run to write a checkpoint and stop"
}

# ---- Slurm ----

slurm=$launch/slurm.sbatch
for code in 0 64 65 66 78; do
    batch "$code" "$code" "$slurm" a.ini --set train.epochs=2
    called "mpirun --map-by slot:pe=1 --bind-to core $tmp/build/src/sdtrain-mpi a.ini --set train.epochs=2 --job slurm-12"
    not_called scontrol
done
for code in 75 1 70 74 137; do
    batch "$code" "$code" "$slurm" a.ini
    called "mpirun --map-by slot:pe=1 --bind-to core $tmp/build/src/sdtrain-mpi a.ini --job slurm-12"
    called 'scontrol requeue 12'
    rm -f slurm-12.failures
done
SLURM_CPUS_PER_TASK=4 LAUNCHER='mpirun -np 3' SLURM_RESTART_COUNT=1 MAX_REQUEUES=2 batch 75 75 "$slurm" a.ini
called "mpirun -np 3 $tmp/build/src/sdtrain-mpi a.ini --job slurm-12"
called 'scontrol requeue 12'
SLURM_CLUSTER_NAME=big SLURM_RESTART_COUNT=9 batch 75 75 "$slurm" a.ini
called "mpirun --map-by slot:pe=1 --bind-to core $tmp/build/src/sdtrain-mpi a.ini --job slurm-big-12"
batch 75 75 "$slurm" a.ini --job mine
called "mpirun --map-by slot:pe=1 --bind-to core $tmp/build/src/sdtrain-mpi a.ini --job mine"
SLURM_RESTART_COUNT=2 MAX_REQUEUES=2 batch 75 75 "$slurm" a.ini
not_called scontrol
says 'not queued again, as it was 2 times already'
SLURM_ARRAY_JOB_ID=12 SLURM_ARRAY_TASK_ID=3 LAUNCHER=mpirun batch 75 75 "$slurm" 'configs/a b.ini'
called "mpirun $tmp/build/src/sdtrain-mpi configs/a b.ini --set run.name=a b-3 --set run.seed=3 --job slurm-12_3"
called 'scontrol requeue 12_3' # not 12, the whole array
signalled USR1 75 "$slurm" a.ini
called 'scontrol requeue 12'
signalled TERM 75 "$slurm" a.ini
not_called scontrol
PROGRAM=nowhere batch 0 66 "$slurm" a.ini || failed 'a missing program'
says 'nowhere is not there'
# Failures in a row without a new checkpoint. (The stop with 75 and the step that is new start the count anew.)
slurm_fails() { # slurm_fails CODE QUEUED NEWEST
    echo "$3" >saves
    batch "$1" "$1" "$slurm" a.ini
    if [[ $2 == queued ]]; then called 'scontrol requeue 12'; else not_called scontrol; fi
}
for newest in '' step-00000010.h5; do
    slurm_fails 137 queued "$newest"
    slurm_fails 70 queued "$newest"
    slurm_fails 75 queued "$newest"
    slurm_fails 137 queued "$newest"
    slurm_fails 137 queued "$newest"
    slurm_fails 74 ended "$newest"
    says 'ended with 74; not queued again, after 3 failures in a row without a new checkpoint'
    [[ ! -e slurm-12.failures ]] || failed 'left its count'
done
cat >noisy.sh <<'BASH_ENV'
cd() { builtin cd "$@" && ls; }
set -Cf
BASH_ENV
export BASH_ENV=$tmp/noisy.sh POSIXLY_CORRECT=1
slurm_fails 137 queued step-00000010.h5
slurm_fails 137 queued step-00000010.h5
slurm_fails 137 ended step-00000010.h5
unset BASH_ENV POSIXLY_CORRECT
for step in 20 30 40 50; do slurm_fails 137 queued "step-000000$step.h5"; done
touch silent # the program cannot be asked
slurm_fails 137 queued ''
MAX_FAILURES=2 slurm_fails 137 ended ''
rm silent
slurm_fails 137 queued ''
slurm_fails 0 ended ''
[[ ! -e slurm-12.failures ]] || failed 'left its count'
rm -r runs saves
batch 0 64 "$slurm"
SLURM_JOB_ID='' batch 0 64 "$slurm" a.ini
LAUNCHER='nowhere -np 2' batch 0 69 "$slurm" a.ini
echo 'ok: Slurm'

# ---- PBS ----

pbs=$launch/pbs.sh
export CONFIG=a.ini
echo 02:00:00 >walltime
for code in 0 64 65 66 78; do
    batch "$code" "$code" "$pbs"
    called "mpirun $tmp/build/src/sdtrain-mpi a.ini --set run.max_seconds=7080 --job pbs-77.server"
    not_called qsub
done
variables=CONFIG,EXTRA,FAILURES,FIRST_JOB,LAUNCHER,MAX_FAILURES,MAX_RESUBMITS,NEWEST,PROGRAM,RESUBMITS,SCRIPT,SPARE_SECONDS
for code in 75 1 70 137; do
    EXTRA='--set lr.milestones=80,120' batch "$code" "$code" "$pbs"
    called "mpirun $tmp/build/src/sdtrain-mpi a.ini --set lr.milestones=80,120 --set run.max_seconds=7080 --job pbs-77.server"
    called "qsub -N sdtrain -l select=4:ncpus=16:mpiprocs=16 -l walltime=02:00:00 -v $variables $tmp/launch/pbs.sh"
    [[ $(cat environment) == $'CONFIG=a.ini\nEXTRA=--set lr.milestones=80,120\nFAILURES='$((code != 75))$'\nFIRST_JOB=77.server\nNEWEST=\nRESUBMITS=1' ]] || failed "$(cat environment)"
    says "ended with $code; 78.server goes on"
done
RESUBMITS=4 MAX_RESUBMITS=4 batch 75 75 "$pbs"
not_called qsub
PBS_JOBID=81.server FIRST_JOB='77[5].server' PBS_ARRAYID=5 RESUBMITS=3 PBS_QUEUE=long PBS_JOBNAME=mine batch 75 75 "$pbs"
called "mpirun $tmp/build/src/sdtrain-mpi a.ini --set run.name=a-5 --set run.seed=5 --set run.max_seconds=7080 --job pbs-77[5].server"
called "qsub -N mine -q long -l select=4:ncpus=16:mpiprocs=16 -l walltime=02:00:00 -v $variables,PBS_ARRAYID $tmp/launch/pbs.sh"
[[ $(cat environment) == $'CONFIG=a.ini\nEXTRA=\nFAILURES=0\nFIRST_JOB=77[5].server\nNEWEST=\nPBS_ARRAYID=5\nRESUBMITS=4' ]] || failed "$(cat environment)"
PBS_ARRAY_INDEX=6 PBS_JOBID='77[6].server' EXTRA='--job mine' batch 75 75 "$pbs"
called "mpirun $tmp/build/src/sdtrain-mpi a.ini --job mine --set run.name=a-6 --set run.seed=6 --set run.max_seconds=7080"
echo 00:03:00 >walltime # short: half of it
batch 0 0 "$pbs"
called "mpirun $tmp/build/src/sdtrain-mpi a.ini --set run.max_seconds=90 --job pbs-77.server"
rm walltime
batch 0 0 "$pbs"
called "mpirun $tmp/build/src/sdtrain-mpi a.ini --job pbs-77.server"
says 'qstat tells no walltime'
signalled USR1 75 "$pbs"
called "qsub -N sdtrain -v $variables $tmp/launch/pbs.sh"
signalled TERM 75 "$pbs"
not_called qsub
# Each successor with what the one before has handed on.
pbs_fails() { # pbs_fails CODE QUEUED NEWEST
    echo "$3" >saves
    FAILURES=$failures NEWEST=$newest FIRST_JOB=70.server RESUBMITS=5 batch "$1" "$1" "$pbs"
    called "mpirun $tmp/build/src/sdtrain-mpi a.ini --job pbs-70.server"
    if [[ $2 == queued ]]; then
        called "qsub -N sdtrain -v $variables $tmp/launch/pbs.sh"
        failures=$(sed -n 's/^FAILURES=//p' environment) newest=$(sed -n 's/^NEWEST=//p' environment)
    else
        not_called qsub
    fi
}
failures=0 newest=''
for step in 10 20 30 40 40; do pbs_fails 137 queued "step-000000$step.h5"; done
pbs_fails 75 queued step-00000040.h5
pbs_fails 137 queued step-00000040.h5
pbs_fails 1 queued step-00000040.h5
pbs_fails 74 ended step-00000040.h5
says 'ended with 74; not submitted again, after 3 failures in a row without a new checkpoint'
rm -r runs saves
CONFIG='' batch 0 64 "$pbs"
PBS_JOBID='' batch 0 64 "$pbs"
PBS_O_WORKDIR='' batch 0 64 "$pbs"
PROGRAM=nowhere batch 0 66 "$pbs"
LAUNCHER=nowhere batch 0 69 "$pbs"
echo 'batch_test: all passed'
