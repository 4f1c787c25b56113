#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# launch/slurm.sbatch on a real Slurm: this machine becomes a cluster of one node for a minute or two.
#
#   slurm.sh PROGRAM [FOLDER]        PROGRAM: sdtrain-mpi. FOLDER: keeps logs there, for a look at failures
#
# Proves that a job whose time limit comes near, one that is told by scancel --signal, and one that loses a rank (an element of an
# array) are queued again and end in the same bits as a run that nothing disturbed; that scancel ends a job for good; that a
# wrong configuration is not tried twice, and a program that always fails not for ever.
# Everything lives in a temporary folder, with a key, ports and a socket of its own, and ends with the script. Needs root, munge and
# Slurm (install-deps.sh --cluster); exit code 77, with the reason, where they are not there.
set -euo pipefail

program=$(realpath "${1:?usage: slurm.sh PROGRAM [FOLDER]}")
kept=${2:-}
self=$(realpath -- "${BASH_SOURCE[0]}")
root=${self%/*/*/*}
PATH+=:/usr/sbin:/sbin
work='' reference=''

skip() {
    printf 'slurm: skipped: %s\n' "$*" >&2
    exit 77
}

failed() {
    printf 'slurm: FAILED: %s\n' "$*"
    squeue --all || true
    tail -n 40 "$work"/*.out "$work"/*.log || true
    exit 1
}

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds.
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || failed "no $what"
        sleep 0.1
    done
}

# ---- the cluster ----

start_cluster() {
    local ports host
    host=$(hostname -s)
    read -ra ports < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))')
    mkdir "$work/munge" "$work/state" "$work/spool"
    chmod 755 "$work" "$work/munge"
    (umask 077 && head -c 128 /dev/urandom >"$work/munge/key")
    # Two ranks fit, whatever the machine has. A job queued again waits as long as credentials live: 2 minutes, if not told otherwise.
    cat >"$work/slurm.conf" <<CONF
ClusterName=sdtrain-test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmdPort=${ports[1]}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$work/munge/socket,cred_expire=5
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/linear
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2
JobRequeue=1
KillWait=5
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF=$work/slurm.conf
    munged --foreground --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
        --log-file="$work/munged.log" --seed-file="$work/munge/seed" >/dev/null 2>&1 &
    wait_for 20 munged test -S "$work/munge/socket"
    slurmctld -D -i >/dev/null 2>&1 &
    wait_for 30 slurmctld scontrol ping
    slurmd -D >/dev/null 2>&1 &
    wait_for 60 'idle node' node_is_idle
}

node_is_idle() { [[ $(sinfo -h -o %T) == idle ]]; }

# Whatever has this cluster's configuration in its environment: its daemons and jobs.
members() {
    local process
    for process in /proc/[0-9]*; do
        if ((${process#/proc/} != $$)) && grep -qzFx "SLURM_CONF=$work/slurm.conf" "$process/environ" 2>/dev/null; then
            echo "${process#/proc/}"
        fi
    done
}

# shellcheck disable=SC2317 # a trap calls it
clean_up() {
    local process
    trap '' INT TERM HUP
    [[ -n $work ]] || return 0
    for ((i = 0; i < 5; i++)); do # what a killed daemon has just started
        for process in $(members) $(jobs -p); do
            kill -s KILL "$process" 2>/dev/null || true
        done
    done
    wait 2>/dev/null || true
    if [[ -n $kept ]]; then
        mkdir -p "$kept"
        cp "$work"/*.out "$work"/*.log "$work"/slurm.conf "$kept" || true
    fi
    rm -rf "$work"
}

# ---- jobs ----

# submit NAME OPTION...: slurm.sbatch with the configuration as run NAME; its number into $job.
submit() {
    local name=$1
    shift
    job=$(cd "$work" && MAX_REQUEUES=3 MAX_FAILURES=2 LAUNCHER=mpirun PROGRAM=${fails:-$program} sbatch --parsable --ntasks=2 --time=10 \
        --output="$work/$name.out" "$@" "$root/launch/slurm.sbatch" "$work/$name.ini")
}

# write_config NAME: some 150 steps, ten seconds.
write_config() {
    cat >"$work/$1.ini" <<INI
[run]
output = $work/runs
seed = 7
threads = 1
[data]
train_samples = 40
val_samples = 24
[stochastic_depth]
rate = 0.5
[lr]
base = 0.01
[train]
epochs = 30
batch_size = 8
[checkpoint]
every_steps = 10
[log]
every_steps = 1
INI
}

has_steps() { (($(wc -l <"$work/runs/$1/steps.csv") > $2)); }
has_said() { grep -qF -- "$2" "$work/$1.out"; }
has_ended() { ! squeue -h -j "$job" -t PD,R,CG,S -o %i 2>/dev/null | grep -q .; }
ranks() { scontrol listpids "$job" | awk '$1 ~ /^[0-9]+$/ {print $1}' | while read -r p; do
    [[ $(readlink "/proc/$p/exe") != "$program" ]] || echo "$p"
done; }

# same_as_undisturbed RUN: state, losses and decisions of its last step.
same_as_undisturbed() {
    local group last=runs/$1/checkpoints/latest
    for group in /model /optimizer; do
        (cd "$work" && h5diff -q "$reference/checkpoints/latest" "$last" "$group") || failed "$1 differs in $group"
    done
    cmp <(cut -d, -f1-9 "$reference/steps.csv") <(cut -d, -f1-9 "$work/runs/$1/steps.csv") || failed "$1 differs in steps.csv"
}

# finishes_as_undisturbed NAME RUN: the job ends, at its second start, and nothing shows of that.
finishes_as_undisturbed() {
    wait_for 120 "end of the job $1" has_said "$1" 'start 2: ended with 0'
    ! has_said "$1" 'start 3' || failed "$1 was started a third time"
    wait_for 30 "end of the job $1" has_ended
    same_as_undisturbed "$2"
    printf 'slurm: ok after %d s: %s\n' "$SECONDS" "$3"
}

# ---- what must be there ----

((EUID == 0)) || skip 'needs root'
for tool in munged slurmctld slurmd sbatch scancel scontrol squeue mpirun h5diff python3; do
    command -v "$tool" >/dev/null || skip "$tool is not there"
done
trap clean_up EXIT
trap 'exit 130' INT TERM HUP
work=$(mktemp -d -t sdtrain-slurm.XXXXXX)
# shellcheck source=launch/mpi-env.sh
source "$root/launch/mpi-env.sh"
export OMP_NUM_THREADS=1
start_cluster

# ---- a run that nothing disturbs ----

for name in whole limit told lost gone wrong hopeless; do
    write_config "$name"
done
reference=$work/runs/whole
submit whole
wait_for 120 'end of the undisturbed job' has_said whole 'start 1: ended with 0'
wait_for 30 'end of the undisturbed job' has_ended
has_steps whole 149 || failed 'the undisturbed run is short'

# ---- the time limit comes near ----

# The limit is a minute, Slurm's shortest, and its warning comes when Slurm looks next, every half minute; what would have to
# last as long is held up instead: a stopped rank.
submit limit --time=1 --signal=B:USR1@50
wait_for 60 'steps of the job' has_steps limit 20
held=$(ranks | tail -n 1)
kill -s STOP "$held"
wait_for 60 'signal before the limit' has_said limit 'USR1: asking the run to write a checkpoint and stop'
kill -s CONT "$held"
wait_for 30 'requeue' has_said limit 'start 1: ended with 75; queueing it again'
scontrol update "jobid=$job" timelimit=10 # on a slow machine the rest might take a minute as well
finishes_as_undisturbed limit limit 'a job near its time limit is queued again and ends in the same bits'

# ---- scancel --signal ----

submit told
wait_for 60 'steps of the job' has_steps told 20
scancel --signal=USR1 --batch "$job"
wait_for 30 'requeue' has_said told 'start 1: ended with 75; queueing it again'
finishes_as_undisturbed told told 'so does one that scancel --signal has told'

# ---- a rank dies ----

submit lost --array=7
wait_for 60 'steps of the job' has_steps lost-7 20
kill -s KILL "$(ranks | tail -n 1)"
wait_for 30 'requeue' has_said lost 'start 1: ended with 137; queueing it again'
finishes_as_undisturbed lost lost-7 'so does one that has lost a rank'

# ---- no requeue ----

submit gone
wait_for 60 'steps of the job' has_steps gone 20
scancel "$job"
wait_for 60 'end of a cancelled job' has_ended
echo 'nonsense = 2' >>"$work/wrong.ini"
submit wrong
wait_for 60 'end of a wrong job' has_ended
has_said wrong 'start 1: ended with 78' || failed 'a wrong configuration does not end with 78'
fails=false submit hopeless
wait_for 60 'end of a job that always fails' has_said hopeless 'start 2: ended with 1; not queued again, after 2 failures in a row'
wait_for 60 'end of a job that always fails' has_ended
[[ ! $(ls "$work"/*.failures 2>/dev/null) ]] || failed 'a count of failures is left'
sleep 7 # longer than a job queued again would wait
for name in gone wrong; do
    ! has_said "$name" 'start 2' || failed "$name was started again"
done
printf 'slurm: ok after %d s: scancel, wrong configurations and failures in a row end a job for good\n' "$SECONDS"
