#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kills a training run again and again at random instants, resumes it each time, and compares what comes of it with a run that
# nobody disturbed.
#
#   tests/fault/torture.sh K [SEED [RANKS...]]     K kills; the same SEED chooses the same victims and delays
#
# RANKS: numbers of ranks, of which each start draws one; default 2. With several the bits differ, and epochs have other lengths (the short
# last batch is too small for more than 2 ranks); so what is checked then is that every epoch was trained, logged and scored once, each
# step once, and that the learning rate only falls.
#
# SIGKILL goes to a rank, to mpirun, or to all at once as when a node loses its power, between the start and a little after the
# time a whole run takes: into start-up, steps, checkpoints (every 2 steps), evaluations, and the end. After each kill every
# checkpoint must be whole, and the same command goes on. A run that completes is compared with the undisturbed one: state bit
# for bit (sdtrain diff), logs without times, links; then the next one begins in a folder of its own.
# SD_TRAIN and SD_SDTRAIN name the programs, build/src/sdtrain-mpi and build/src/sdtrain by default.
set -euo pipefail

kills_wanted=${1:?usage: torture.sh K [SEED]}
seed=${2:-$((EPOCHSECONDS % 32768))}
rank_counts=("${@:3}")
if ((${#rank_counts[@]} == 0)); then rank_counts=(2); fi
self=$(realpath -- "${BASH_SOURCE[0]}")
root=${self%/*/*/*}
train=$(realpath "${SD_TRAIN:-$root/build/src/sdtrain-mpi}")
tool=$(realpath "${SD_SDTRAIN:-$root/build/src/sdtrain}")
# shellcheck source=launch/mpi-env.sh
source "$root/launch/mpi-env.sh"
export OMP_NUM_THREADS=1 ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0} # of a sanitised build; MPI libraries leak at their end
mpirun=${SD_MPIRUN:-mpirun}
limit_seconds=120 # for anything that takes a few seconds: reached, it hangs

RANDOM=$seed
echo "torture: seed $seed"
folder=$(mktemp -d "${TMPDIR:-/tmp}/sdtrain-torture-XXXXXX")
cd "$folder"
session='' # of the mpirun under way

# Processes of the session: mpirun, and the ranks, which have process groups of their own. Prints "PID NAME" lines.
members() {
    local stat line name fields
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue # it has ended meanwhile
        name=${line#*(}
        name=${name%)*}
        read -ra fields <<<"${line##*) }"
        if [[ ${fields[3]} == "$session" && ${fields[0]} != [ZX] ]]; then echo "${line%% *} $name"; fi
    done
}

kill_session() {
    local pids
    mapfile -t pids < <(members | cut -d ' ' -f 1)
    if ((${#pids[@]} > 0)); then kill -KILL "${pids[@]}" 2>/dev/null || true; fi
}

clean_up() {
    local status=$?
    if ((status != 0)) && [[ -z ${kept:-} ]]; then echo "torture: FAILED: the script itself ended with $status" >&2; fi
    if [[ -n $session ]]; then kill_session; fi
    cd /
    if [[ -z ${kept:-} ]]; then rm -rf "$folder"; fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
    kept=1
    echo "torture: FAILED: $*; see $folder" >&2
    tail -n 20 "$folder/log" >&2 || true
    summary no
    exit 1
}

cat >run.ini <<'END'
[run]
output = runs
seed = 7
[data]
train_samples = 82
last_batch = keep
val_samples = 24
augment = crop_flip
[model]
name = resnet20
[stochastic_depth]
rate = 0.5
[lr]
base = 0.01
schedule = cosine
[train]
epochs = 6
batch_size = 8
[checkpoint]
every_steps = 2
keep = 2
[communication]
check_every = 1
[log]
every_steps = 1
decisions = true
END

# start NAME: in a session of its own. A shell without job control starts it in its own group, so setsid does not fork, and its
# process is the session's leader.
start() {
    setsid "$mpirun" -np "${rank_counts[RANDOM % ${#rank_counts[@]}]}" "$train" run.ini --set "run.name=$1" >log 2>&1 </dev/null &
    session=$!
}

# Until nothing of the session is left; returns the exit code of its mpirun.
wait_for_session() {
    local end=$((SECONDS + limit_seconds))
    while [[ -n $(members) ]]; do
        ((SECONDS < end)) || fail "$1: after $limit_seconds s there still is $(members | tr '\n' ' ')"
        sleep 0.05
    done
    local leader=$session
    session=''
    wait "$leader" 2>/dev/null
}

milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# ---- what must hold ----

# After a kill, of a folder of checkpoints that may not be there yet.
check_checkpoints() {
    local link files
    if [[ ! -d $1 ]]; then return 0; fi
    for link in latest best; do
        if [[ -L $1/$link && ! -e $1/$link ]]; then fail "$1/$link points at nothing"; fi
    done
    leftovers=$((leftovers + $(find "$1" -name '*.part' | wc -l)))
    mapfile -t files < <(find "$1" -name 'step-*.h5')
    if ((${#files[@]} == 0)); then return 0; fi
    verified=$((verified + ${#files[@]}))
    "$tool" verify "${files[@]}" >verified || {
        refused=$((refused + $(grep -c ': BAD: ' verified)))
        fail "$(grep ': BAD: ' verified)"
    }
}

# A log without its last columns, which are times.
without_times() {
    local header
    read -r header <"$1"
    [[ $header == *,seconds,images_per_second ]] || fail "$1 has other columns: $header"
    sed -E 's/(,[^,]*){2}$//' "$1"
}

# On any ranks: steps and epochs follow each other, none is missing or there twice, and the last score is that of the last step.
check_epochs() {
    local run=runs/$1 last
    last=$(awk -F , 'NR > 1 { if ($1 != NR - 1 || $2 < epoch || $2 > epoch + 1 || (NR > 2 && $3 >= lr)) exit 1; epoch = $2; lr = $3 }
                     END { if (epoch != 6) exit 1; print NR - 1 }' "$run/steps.csv") || fail "$1: steps.csv has gaps"
    awk -F , -v last="$last" 'NR > 1 { if ($1 != NR - 1 || $2 <= step || $7 == "") exit 1; step = $2 }
                              END { if (NR != 7 || step != last) exit 1 }' "$run/epochs.csv" || fail "$1: epochs.csv has gaps"
    awk -F , 'NR > 1 && $1 != NR - 1 { exit 1 } END { if (NR != '"$last"' + 1) exit 1 }' "$run/decisions.csv" ||
        fail "$1: decisions.csv has gaps"
    awk -F , 'NR > 1 { if ($2 == 0) epochs++; if ($1 != epochs) exit 1 } END { if (epochs != 6) exit 1 }' "$run/timing.csv" ||
        fail "$1: timing.csv has other rows"
    [[ $(readlink "$run/checkpoints/latest") == "$(printf 'step-%08d.h5' "$last")" ]] || fail "$1: latest is another"
}

check_complete() {
    local name=$1 file
    grep -q '"status":[[:space:]]*"complete"' "runs/$name/summary.json" || fail "$name: summary.json does not say complete"
    [[ -z $(find "runs/$name" -name '*.part') ]] || fail "$name: left over: $(find "runs/$name" -name '*.part')"
    check_epochs "$name"
    if ((${#rank_counts[@]} > 1)); then return 0; fi
    "$tool" diff runs/whole/checkpoints/latest "runs/$name/checkpoints/latest" >difference ||
        fail "$name: $(tr '\n' ' ' <difference)"
    for file in latest best; do
        [[ $(readlink "runs/whole/checkpoints/$file") == "$(readlink "runs/$name/checkpoints/$file")" ]] ||
            fail "$name: $file is another"
    done
    for file in steps.csv epochs.csv; do
        cmp <(without_times "runs/whole/$file") <(without_times "runs/$name/$file") || fail "$name: $file differs"
    done
    cmp "runs/whole/decisions.csv" "runs/$name/decisions.csv" || fail "$name: decisions.csv differs"
    cmp <(cut -d , -f 1-3 runs/whole/timing.csv) <(cut -d , -f 1-3 "runs/$name/timing.csv") ||
        fail "$name: timing.csv has other rows"
}

# ---- victims ----

# Sets victim to what was killed; leaves it empty if all had ended by themselves.
strike() {
    local pids=() kind=$((RANDOM % 3)) which=$RANDOM
    case $kind in
    0) mapfile -t pids < <(members | awk -v name="$(basename "$train")" '$2 == substr(name, 1, 15) { print $1 }') ;;
    1) if [[ $'\n'$(members) == *$'\n'"$session "* ]]; then pids=("$session"); fi ;;
    2) mapfile -t pids < <(members | cut -d ' ' -f 1) ;;
    esac
    if ((kind == 0 && ${#pids[@]} > 0)); then pids=("${pids[which % ${#pids[@]}]}"); fi
    if ((kind == 0 && ${#pids[@]} == 0)) && [[ -n $(members) ]]; then # there are no ranks yet, or no more
        pids=("$session")
        kind=1
    fi
    if ((${#pids[@]} > 0)) && kill -KILL "${pids[@]}" 2>/dev/null; then
        case $kind in
        0) victim=rank ranks=$((ranks + 1)) ;;
        1) victim=mpirun mpiruns=$((mpiruns + 1)) ;;
        2) victim=all all=$((all + 1)) ;;
        esac
    fi
}

kills=0 ranks=0 mpiruns=0 all=0 restarts=0 completed=0 refused=0 verified=0 leftovers=0
summary() {
    echo "torture: $leftovers temporary files left over by kills, $verified checkpoints verified after kills"
    echo "torture: $kills kills ($ranks ranks, $mpiruns mpirun, $all all), $restarts restarts, $completed completed runs," \
        "$refused checkpoints refused, as undisturbed: $1"
}

# ---- the undisturbed run, twice: the second is not cold, and ends in the same bits ----

for name in whole again; do
    begin=$(milliseconds)
    start "$name"
    wait_for_session "$name" || fail "the undisturbed run ended with $?"
    whole_ms=$(($(milliseconds) - begin))
    check_complete "$name"
done
echo "torture: a run takes $whole_ms ms"

# ---- the others ----

name=killed-1 # of the run under way
while ((kills < kills_wanted)) || [[ -e runs/$name ]]; do
    delay_ms=$(((RANDOM * 32768 + RANDOM) % (whole_ms * 11 / 10)))
    if ((kills == kills_wanted)); then delay_ms=$((limit_seconds * 1000)); fi # the last one is left to complete
    fresh=1
    if [[ -e runs/$name ]]; then
        fresh=''
        restarts=$((restarts + 1))
    fi
    begin=$(milliseconds)
    start "$name"
    sleep "$((delay_ms / 1000)).$(printf %03d $((delay_ms % 1000)))" &
    sleeper=$!
    ended='' victim='' status=0
    wait -n -p ended "$session" "$sleeper" || status=$?
    if [[ $ended == "$sleeper" ]]; then
        ((kills < kills_wanted)) || fail "$name does not end"
        strike
    else
        kill "$sleeper" 2>/dev/null || true
        wait "$sleeper" 2>/dev/null || true
    fi
    if [[ $ended == "$sleeper" ]]; then
        wait_for_session "$name${victim:+, after SIGKILL to $victim}" || status=$?
    else
        wait_for_session "$name" || true # whose exit code is known
    fi
    if grep -q 'trying the one before\|none of its' log; then
        refused=$((refused + 1))
        fail "$name: a checkpoint was refused"
    fi
    if [[ -n $victim ]]; then
        kills=$((kills + 1))
        check_checkpoints "runs/$name/checkpoints"
        continue
    fi
    [[ $status == 0 ]] || fail "$name ended by itself with $status"
    # On a machine with other work: what a whole run takes now.
    if [[ $fresh ]]; then whole_ms=$(($(milliseconds) - begin)); fi
    completed=$((completed + 1))
    check_complete "$name"
    rm -rf "runs/$name"
    name=killed-$((completed + 1))
done
((completed > 0)) || fail "no run was completed"
summary yes
