#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
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
# All starts are one job (--job; an ID of one's own among the options joins the starts of several run.sh): the first does what
# checkpoint.resume says, later ones go on with what this job has written. With `-- --wdir DIR`, CONFIG and the paths in it are
# relative to DIR, as mpirun has it; so are the checkpoints that are looked for.
# TERM, INT (Ctrl-C), HUP or USR1 to this script: the run finishes its step, writes a checkpoint and ends with 75. (mpirun itself,
# asked by TERM or INT, kills its ranks a second later; hence it gets USR1.) A second INT ends the ranks without a checkpoint.
# With a hostfile, hosts that do not answer any more are left out at a restart, and the ranks become as many as the others have
# slots for; with communication.reduction = reproducible the bits stay the same.
# As root, in a container, or with more ranks than cores, source launch/mpi-env.sh first.
# Exit codes: those of sdtrain-mpi, of which 0, 64, 65, 66, 75 and 78 end the supervision (nothing would get better); 69 if mpirun can
# start nothing, as no host answers; 74 without a folder for temporary files; else that of the last failure. 0: training is complete.
set -euo pipefail
set +Cf # whatever BASH_ENV says

readonly PROBE_SECONDS=30 LONGEST_WAIT=60
self=$(realpath -- "${BASH_SOURCE[0]}")
root=${self%/*/*}
ranks='' hostfile='' max_failures=3 back_off=1 program=''
config='' words=() mpirun_words=() probe_words=()
checkpoints='' # the run's folder of them
hosts=()       # further options of mpirun: the hosts that answer
work='' child='' reminder='' signals=0 interrupts=0

exec 3>&2 # what is said while a command's output is caught
say() { printf 'run.sh: %(%F %T)T %s\n' -1 "$*" >&3; }

usage() {
    sed -n '3,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit "$1"
}

fail_usage() {
    printf 'run.sh: %s; see --help\n' "$*" >&2
    exit 64
}

is_number() { [[ $1 =~ ^[0-9]{1,6}$ ]] && ((10#$1 >= $2)); }

# is_among WORD WORDS...
is_among() {
    local word=$1
    shift
    while (($#)) && [[ $1 != "$word" ]]; do shift; done
    (($#))
}

parse() {
    local i word
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
    for word in --check --evaluate --help --version; do
        ! is_among "$word" "${words[@]}" || fail_usage "$word trains nothing: call sdtrain-mpi itself"
    done
    [[ -z $ranks ]] || ranks=$((10#$ranks)) # 08 is no octal number
    max_failures=$((10#$max_failures)) back_off=$((10#$back_off))
    [[ -z $hostfile || -r $hostfile ]] || fail_usage "$hostfile cannot be read"
    is_among --job "${words[@]}" || words+=(--job "run.sh-$(uname -n)-$$-$(printf '%(%s)T' -1)")
    if [[ -z $program ]]; then
        program=$root/build/src/sdtrain-mpi
        [[ -x $program ]] || program=sdtrain-mpi
    fi
    [[ $program != */* || $program == /* ]] || program=$PWD/$program # ranks may start elsewhere
    command -v "$program" >/dev/null || fail_usage "$program is not there (launch/build.sh builds it)"
    command -v mpirun >/dev/null || fail_usage "mpirun is not there (launch/install-deps.sh installs it)"
}

# ---- a process at a time, and the signals that may come meanwhile ----

# ask_to_stop: the run. Again after 2, 4, 8, ... seconds, as mpirun loses a signal that comes while it starts ranks.
ask_to_stop() {
    [[ -z $reminder ]] && kill -s USR1 "$child" 2>/dev/null || return 0
    for ((nap = 2; nap < 300; nap *= 2)); do
        sleep "$nap"
        kill -s USR1 "$child" || break
    done </dev/null >/dev/null 2>&1 3>&- &
    reminder=$!
}

# shellcheck disable=SC2317 # traps call it
on_signal() {
    signals=$((signals + 1))
    [[ $1 != INT ]] || interrupts=$((interrupts + 1))
    [[ -n $child ]] || return 0
    if ((interrupts > 2)); then
        kill -s KILL -- "-$child" 2>/dev/null || true
    elif ((interrupts == 2)); then
        say "INT again: ending the ranks at once; the newest checkpoint stands"
        kill -s TERM "$child" 2>/dev/null || true
    elif ((signals == 1)); then
        say "$1: asking the run to write a checkpoint and stop"
        ask_to_stop
    fi
}

# run COMMAND...: returns its exit code. In a process group of its own, so that Ctrl-C in a terminal comes here only; should this
# script be killed outright, the command is asked to stop.
run() {
    local before code last=0
    set -m
    "${deathbed[@]}" "$@" </dev/null 3>&- &
    child=$!
    set +m
    # One that came between.
    ((signals == 0)) || ask_to_stop
    while :; do
        before=$signals code=0
        wait "$child" 2>/dev/null || code=$? # what ended it is told later
        ((code != 127 || last == 0)) || code=$last # waited for already
        ((signals > before)) || break
        last=$code
    done
    child=
    [[ -z $reminder ]] || kill "$reminder" 2>/dev/null || true
    reminder=
    return "$code"
}

# pause: sleeps $wait seconds, and longer the next time.
pause() {
    run sleep "$wait" || true
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

# A folder for what mpirun says, again if something has tidied it away.
make_work() {
    local folder
    [[ -z $work || ! -d $work ]] || return 0
    for folder in "${TMPDIR:-/tmp}" /tmp; do
        ! work=$(mktemp -d -- "$folder/sdtrain-run.XXXXXX" 2>/dev/null) || return 0
    done
    work=
    finish 74 "no temporary folder can be made in ${TMPDIR:-/tmp} or /tmp; set TMPDIR to a folder that can be written"
}

# Leaves out the hosts that do not answer; returns 1 if none is left.
find_hosts() {
    local line host gone=()
    [[ -n $hostfile ]] || return 0
    make_work
    : >"$work/hosts"
    while read -r line || [[ -n $line ]]; do
        [[ $line =~ ^[[:space:]]*([^#[:space:]]+) ]] || continue
        host=${BASH_REMATCH[1]}
        if run timeout -k 5 "$PROBE_SECONDS" mpirun "${probe_words[@]}" -np 1 -H "$host" true >/dev/null 2>&1; then
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

# answers KEY: what ranks have said behind KEY, a line each. mpirun may put a rank or a time in front (--tag-output,
# --timestamp-output), or have it as XML.
answers() {
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        line=${line%'&#010;</stdout>'}
        if [[ $line =~ ^$1\ +(.*)$ || $line =~ ^[^/]*[\>:]\ ?$1\ +(.*)$ ]]; then
            printf '%s\n' "${BASH_REMATCH[1]}"
        fi
    done <"$work/said"
}

# How many ranks mpirun starts by itself, into $slots; returns 1, and says why, if it starts none.
count_slots() {
    local all
    if ! run timeout -k 5 "$PROBE_SECONDS" mpirun "${mpirun_words[@]}" "${hosts[@]}" echo 'a rank' >"$work/said" 2>"$work/errors"; then
        cat "$work/errors" >&2
        return 1
    fi
    mapfile -t all < <(answers a)
    slots=${#all[@]}
    if ((slots == 0)); then
        say "how many ranks mpirun starts cannot be seen: say -n RANKS"
        return 1
    fi
}

# Asks the program whether it can run so, and where its files go. The ranks into $n; returns its exit code.
prepare() {
    local code=0 fewer=0 half folder
    make_work
    n=$ranks
    if [[ -z $ranks || ${hosts[*]} == *"$work/hosts" ]]; then
        count_slots || return 69
        if [[ -z $n ]] || ((slots < n)); then
            n=$slots fewer=1
        fi
    fi
    while :; do
        code=0
        # shellcheck disable=SC2016 # for the shell on rank 0's host: the folder that relative paths begin at
        run mpirun "${mpirun_words[@]}" "${hosts[@]}" -np "$n" sh -c 'echo "started-in $(pwd)"; exec "$0" "$@"' \
            "$program" "$config" "${words[@]}" --check >"$work/said" 2>"$work/errors" || code=$?
        if ((code != 78 || fewer == 0 || n == 1)); then
            break
        fi
        half=1 # a power of two below
        while ((2 * half < n)); do
            half=$((2 * half))
        done
        n=$half
    done
    if ((code != 0)); then
        cat "$work/errors" >&2
        return "$code"
    fi
    checkpoints=$(answers files)
    checkpoints=${checkpoints% (checkpoint.resume = *}/checkpoints
    if [[ $checkpoints == /checkpoints ]]; then
        checkpoints=
        say "$program --check cannot be seen to name a folder: progress is not noticed, and any $max_failures failures end this"
    elif [[ $checkpoints != /* ]]; then
        folder=$(answers started-in)
        checkpoints=${folder%%$'\n'*}/$checkpoints
    fi
}

# ---- arguments ----

parse "$@"
deathbed=()
if command -v setpriv >/dev/null && setpriv --pdeathsig USR1 true 2>/dev/null; then
    deathbed=(setpriv --pdeathsig USR1)
fi
trap '[[ -z $work ]] || rm -rf -- "$work"' EXIT
make_work
for signal in TERM INT HUP USR1; do
    # shellcheck disable=SC2064 # the name of now
    trap "on_signal $signal" "$signal"
done
[[ -z $hostfile ]] || hosts=(--hostfile "$hostfile")

# ---- supervision ----

failures=0 starts=0 wait=$back_off
while :; do
    before=$(newest) what='' code=0
    prepare || code=$?
    end_if_asked
    if ((code == 0)); then
        before=$(newest) starts=$((starts + 1))
        say "starting $n rank$( ((n == 1)) || echo s) of $config"
        run mpirun "${mpirun_words[@]}" "${hosts[@]}" -np "$n" "$program" "$config" "${words[@]}" || code=$?
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
        ((code != 128 + $(kill -l USR1))) || code=75
        finish "$code" "ended with $code before it could stop by itself, $(stands); start it again to go on"
    fi
    after=$(newest)
    if ((after > before)); then
        failures=0 wait=$back_off
    fi
    failures=$((failures + 1))
    what+="it ended with $code"
    if ((code > 128)) && signal=$(kill -l $((code - 128)) 2>/dev/null) && [[ -n $signal ]]; then
        what+=" (signal $signal)"
    fi
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
        ((starts > 0)) || code=69 # not mpirun's
        ((failures < max_failures)) || finish "$code" "giving up: no host of $hostfile answers; $(stands)"
        say "no host answers ($failures of $max_failures); trying again in $wait s"
        pause
    done
done
