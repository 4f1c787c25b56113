#!/usr/bin/env bash
# Trains under supervision, without a batch system: starts mpirun, and starts it again from the newest checkpoint when it fails.
#
#   launch/run.sh [OPTION]... CONFIG [OPTION FOR sdtrain-mpi]... [-- OPTION FOR mpirun...]
#
#   -n RANKS           ranks; default: as many as mpirun has slots (a core each, or those of the hostfile or batch job); with
#                      communication.reduction = reproducible the largest number below that which may share the work
#   --hostfile FILE    hosts, as mpirun wants them: HOST slots=N
#   --max-restarts K   gives up after K failures in a row without a new checkpoint, default 3
#   --back-off S       seconds before the first restart, default 1; doubled after each failure without progress, at most 60
#   --program FILE     default: build/src/sdtrain-mpi of this repository, or sdtrain-mpi in PATH
#
#   launch/run.sh -n 64 --hostfile hosts configs/cifar10-resnet110-sd.ini --set run.name=first -- --map-by core --bind-to core
#
# TERM, INT (Ctrl-C), HUP or USR1 to this script: the run finishes its step, writes a checkpoint and ends with 75. (mpirun itself,
# asked by TERM or INT, kills its ranks a second later; hence it gets USR1.) A second INT ends the ranks without a checkpoint.
# With a hostfile, hosts that do not answer any more are left out at a restart, and the ranks become as many as the others have
# slots for; with communication.reduction = reproducible the bits stay the same.
# As root, in a container, or with more ranks than cores, source launch/mpi-env.sh first.
# Exit codes: those of sdtrain-mpi, of which 0, 64, 65, 66, 75 and 78 end the supervision (nothing would get better); else that
# of the last failure.
set -euo pipefail

readonly PROBE_SECONDS=30 LONGEST_WAIT=60
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ranks='' hostfile='' max_failures=3 back_off=1 program=''
config='' words=() mpirun_words=() probe_words=()
checkpoints='' resume='' # of the run, as the program says
hosts=()                 # further options of mpirun: the hosts that answer
work='' job='' signals=0 interrupts=0

exec 3>&2 # what is said while a command's output is caught
say() { printf 'run.sh: %(%F %T)T %s\n' -1 "$*" >&3; }

usage() {
    sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit "$1"
}

fail_usage() {
    printf 'run.sh: %s; see --help\n' "$*" >&2
    exit 64
}

is_number() { [[ $1 =~ ^[0-9]{1,6}$ ]] && ((10#$1 >= $2)); }

parse() {
    local i
    while (($#)); do
        case $1 in
        -h | --help) usage 0 ;;
        -n | --hostfile | --max-restarts | --back-off | --program)
            (($# > 1)) || fail_usage "$1 needs a value"
            case $1 in
            -n) ranks=$2 ;;
            --hostfile) hostfile=$2 ;;
            --max-restarts) max_failures=$2 ;;
            --back-off) back_off=$2 ;;
            --program) program=$2 ;;
            esac
            shift 2
            ;;
        -*) fail_usage "there is no option $1" ;;
        *) break ;;
        esac
    done
    (($#)) || fail_usage "a configuration file is expected"
    config=$1
    shift
    while (($#)) && [[ $1 != -- ]]; do
        words+=("$1")
        shift
    done
    mpirun_words=("${@:2}")
    for ((i = 0; i < ${#mpirun_words[@]}; i++)); do # how to reach a host, not how to place ranks
        case ${mpirun_words[i]} in
        -mca | --mca | -prtemca | --prtemca) probe_words+=("${mpirun_words[@]:i:3}") ;;
        -prefix | --prefix | -x) probe_words+=("${mpirun_words[@]:i:2}") ;;
        --allow-run-as-root) probe_words+=("${mpirun_words[i]}") ;;
        esac
    done
    [[ -z $ranks ]] || is_number "$ranks" 1 || fail_usage "RANKS is $ranks, not a number from 1"
    is_number "$max_failures" 1 || fail_usage "K is $max_failures, not a number from 1"
    is_number "$back_off" 0 || fail_usage "S is $back_off, not a number of seconds"
    [[ -z $hostfile || -r $hostfile ]] || fail_usage "$hostfile cannot be read"
    if [[ -z $program ]]; then
        program=$root/build/src/sdtrain-mpi
        [[ -x $program ]] || program=sdtrain-mpi
    fi
    command -v "$program" >/dev/null || fail_usage "$program is not there (launch/build.sh builds it)"
    command -v mpirun >/dev/null || fail_usage "mpirun is not there (launch/install-deps.sh installs it)"
}

# ---- a process at a time, and the signals that may come meanwhile ----

# shellcheck disable=SC2317 # traps call it
on_signal() {
    signals=$((signals + 1))
    [[ $1 != INT ]] || interrupts=$((interrupts + 1))
    [[ -n $job ]] || return 0
    if ((interrupts > 2)); then
        kill -s KILL -- "-$job" 2>/dev/null || true
    elif ((interrupts == 2)); then
        say "INT again: ending the ranks at once; the newest checkpoint stands"
        kill -s TERM "$job" 2>/dev/null || true
    elif ((signals == 1)); then
        say "$1: asking the run to write a checkpoint and stop"
        kill -s USR1 "$job" 2>/dev/null || true
    fi
}

# run COMMAND...: its exit code into $code. In a process group of its own, so that Ctrl-C in a terminal comes here only; should this
# script be killed outright, the command is asked to stop.
run() {
    local before last=0
    set -m
    "${deathbed[@]}" "$@" </dev/null 3>&- &
    job=$!
    set +m
    # One that came between.
    ((signals == 0)) || kill -s USR1 "$job" 2>/dev/null || true
    while :; do
        before=$signals code=0
        wait "$job" 2>/dev/null || code=$? # what ended it is told later
        ((code != 127 || last == 0)) || code=$last # waited for already
        ((signals > before)) || break
        last=$code
    done
    job=
}

# pause: sleeps $wait seconds, and longer the next time.
pause() {
    run sleep "$wait"
    end_if_asked
    wait=$((2 * wait > LONGEST_WAIT ? LONGEST_WAIT : 2 * wait))
}

# end_if_asked: for signals that come while nothing runs that could be asked.
end_if_asked() {
    ((signals == 0)) || finish 75 "asked to stop while no run was under way; $(stands)"
}

finish() {
    say "$2"
    exit "$1"
}

# ---- what the run has come to ----

# The step of the newest checkpoint; -1: none.
newest() {
    local file best=-1 step
    for file in "${checkpoints:-/dev/null}"/step-*.h5; do
        [[ $file =~ /step-([0-9]+)\.h5$ ]] || continue
        step=$((10#${BASH_REMATCH[1]}))
        ((step <= best)) || best=$step
    done
    echo "$best"
}

stands() {
    local step
    step=$(newest)
    if ((step >= 0)); then
        echo "the checkpoint of step $step stands"
    else
        echo "there is no checkpoint yet"
    fi
}

# ---- hosts and ranks ----

# Leaves out the hosts that do not answer; returns 1 if none is left.
find_hosts() {
    local line host gone=()
    [[ -n $hostfile ]] || return 0
    : >"$work/hosts"
    while read -r line || [[ -n $line ]]; do
        [[ $line =~ ^[[:space:]]*([^#[:space:]]+) ]] || continue
        host=${BASH_REMATCH[1]}
        run timeout -k 5 "$PROBE_SECONDS" mpirun "${probe_words[@]}" -np 1 -H "$host" true >/dev/null 2>&1
        if ((code == 0)); then
            printf '%s\n' "$line" >>"$work/hosts"
        else
            gone+=("$host")
        fi
    done <"$hostfile"
    hosts=(--hostfile "$work/hosts")
    if ((${#gone[@]} == 0)); then
        hosts=(--hostfile "$hostfile")
    else
        say "no answer within $PROBE_SECONDS s, left out: ${gone[*]}"
    fi
    [[ -s $work/hosts ]]
}

# How many ranks mpirun starts by itself, into $slots; 0: it cannot.
count_slots() {
    run timeout -k 5 "$PROBE_SECONDS" mpirun "${mpirun_words[@]}" "${hosts[@]}" echo a-rank >"$work/slots" 2>"$work/said"
    slots=$(grep -c a-rank "$work/slots" || true)
    ((code == 0)) || slots=0
}

# Asks the program whether it can run so, and where its files go. The ranks into $n; its answer into $code.
prepare() {
    local fewer=0
    n=$ranks
    if [[ -z $ranks || ${hosts[*]} == *"$work/hosts" ]]; then
        count_slots
        if ((slots == 0)); then
            cat "$work/said" >&2
            ((code != 0)) || code=70
            return 0
        fi
        if [[ -z $n ]] || ((slots < n)); then
            n=$slots fewer=1
        fi
    fi
    while :; do
        run mpirun "${mpirun_words[@]}" "${hosts[@]}" -np "$n" "$program" "$config" "${words[@]}" --check \
            >"$work/check" 2>"$work/said"
        if ((code != 78 || fewer == 0 || n == 1)); then
            break
        fi
        # A power of two below.
        local half=1
        while ((2 * half < n)); do
            half=$((2 * half))
        done
        n=$half
    done
    if ((code != 0)); then
        cat "$work/said" >&2
        return 0
    fi
    local line
    line=$(grep '^files ' "$work/check")
    [[ $line =~ ^files\ +(.*)\ \(checkpoint\.resume\ =\ (.*)\)$ ]] || finish 70 "$program --check names no folder: '$line'"
    checkpoints=${BASH_REMATCH[1]}/checkpoints resume=${BASH_REMATCH[2]}
}

# ---- arguments ----

parse "$@"
deathbed=()
if command -v setpriv >/dev/null && setpriv --pdeathsig USR1 true 2>/dev/null; then
    deathbed=(setpriv --pdeathsig USR1)
fi
work=$(mktemp -d -t sdtrain-run.XXXXXX)
trap 'rm -rf "$work"' EXIT
for signal in TERM INT HUP USR1; do
    # shellcheck disable=SC2064 # the name of now
    trap "on_signal $signal" "$signal"
done
[[ -z $hostfile ]] || hosts=(--hostfile "$hostfile")

# ---- supervision ----

failures=0 starts=0 wait=$back_off first='' again=()
while :; do
    before=$(newest) what=
    prepare
    end_if_asked
    if ((code == 0)); then
        before=$(newest)
        [[ -n $first ]] || first=$before
        # Who asked for a new run (never) has had it begun; who asked for a file's state has that once there are later ones.
        if ((starts > 0)) && { [[ $resume == never ]] || ((before != first)); }; then
            again=(--resume auto)
        fi
        starts=$((starts + 1))
        say "starting $n rank$( ((n == 1)) || echo s) of $config"
        run mpirun "${mpirun_words[@]}" "${hosts[@]}" -np "$n" "$program" "$config" "${words[@]}" "${again[@]}"
    else
        what="before training began, "
    fi
    case $code in
    0) finish 0 "finished" ;;
    75) finish 75 "stopped, $(stands); start it again to go on" ;;
    64 | 65 | 66 | 78) finish "$code" "ended with $code, which a restart would not better" ;;
    esac
    if ((signals > 0)); then
        # A signal that comes before the program listens ends it as well.
        ((interrupts > 1)) || code=75
        finish "$code" "ended before it could stop by itself, $(stands); start it again to go on"
    fi
    after=$(newest)
    if ((after > before)); then
        failures=0 wait=$back_off
    fi
    failures=$((failures + 1))
    what+="it ended with $code$( ((code <= 128)) || echo " (signal $(kill -l $((code - 128)) 2>/dev/null || true))")"
    if ((after > before)); then
        what+=" after progress from step $((before < 0 ? 0 : before)) to $after"
    else
        what+=" without a new checkpoint"
    fi
    ((failures < max_failures)) ||
        finish "$code" "giving up: $what, $failures time$( ((failures == 1)) || echo s) in a row; $(stands)"
    say "$what ($failures of $max_failures); trying again in $wait s: $(stands)"
    pause
    until find_hosts; do
        failures=$((failures + 1))
        ((failures < max_failures)) || finish "$code" "giving up: no host of $hostfile answers; $(stands)"
        say "no host answers ($failures of $max_failures); trying again in $wait s"
        pause
    done
done
