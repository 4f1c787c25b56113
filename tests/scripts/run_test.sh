#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh with an mpirun that ends as this test wants: every exit code, restarts, back-off, signals, hosts that are gone.
#
#   run_test.sh SRC        SRC: the repository
set -euo pipefail

run=$(realpath "${1:?usage: run_test.sh SRC}/launch/run.sh")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
export TMPDIR=$tmp # what a killed run.sh leaves
mkdir bin

# mpirun: takes the ranks from -np and the hosts from -H and --hostfile, starts in --wdir, and decorates lines as Open MPI does.
# Not all of its options are known to it; the program begins at the first word without "-" that is a command here.
cat >bin/mpirun <<'MPIRUN'
#!/usr/bin/env bash
n='' hosts='' decorate=''
while (($#)); do
    case $1 in
    -np) n=$2; shift 2 ;;
    -H) hosts=$2; shift 2 ;;
    --hostfile) hosts=$(sed '/^#/d; s/ .*//' "$2" | tr '\n' ' '); shift 2 ;;
    --mca) shift 3 ;;
    --wdir) cd "$2" || exit; shift 2 ;;
    --tag-output) decorate='s/^/[1,0]<stdout>:/'; shift ;;
    --timestamp-output) decorate='s/^/Thu Nov 26 03:40:26 2026<stdout>:/'; shift ;;
    -xml) decorate='s/.*/<stdout rank="0">&\&#010;<\/stdout>/'; shift ;;
    --no-output) decorate=d; shift ;;
    --map-by) shift 2 ;;
    -*) shift ;;
    *) break ;;
    esac
done
for host in $hosts; do
    if grep -qx "$host" "$STAND_INS/gone" 2>/dev/null; then
        echo "mpirun: no answer from $host" >&2
        exit 255 # as Open MPI after ssh
    fi
done
start() {
    case $1 in
    true) exit 0 ;;
    echo) # a rank a slot
        for ((i = 0; i < ${slots:-2} * ($(wc -w <<<"${hosts:-here}")); i++)); do echo "$2"; done
        exit 0
        ;;
    esac
    export n hosts
    exec "$@"
}
[[ -n $decorate ]] || start "$@"
start "$@" | sed "$decorate"
exit "${PIPESTATUS[0]}"
MPIRUN

# The program. --check: like one with reduction = reproducible and 8 shards, unless the configuration is bad. Else the next line of
# plan says what it does: words are "step N", "exit CODE", "kill SIGNAL", "wait" (for USR1, then saves and ends with 75), "gone HOST".
cat >bin/sdtrain-mpi <<'PROGRAM'
#!/usr/bin/env bash
[[ -r $1 ]] || exit 66
if [[ " $* " == *' --check '* ]]; then
    echo "$*" >>"$STAND_INS/checks"
    [[ ! -e $STAND_INS/check_code ]] || { echo 'sdtrain-mpi: error: bad' >&2; exit "$(cat "$STAND_INS/check_code")"; }
    ((8 % n == 0)) || { echo "sdtrain-mpi: error: $n ranks" >&2; exit 78; }
    echo "files      runs/a (b)/run (checkpoint.resume = auto)"
    exit 0
fi
checkpoints='runs/a (b)/run/checkpoints'
mkdir -p "$checkpoints"
echo "n=$n hosts=$hosts $*" >>"$STAND_INS/calls"
read -ra plan < <(head -n 1 "$STAND_INS/plan")
sed -i 1d "$STAND_INS/plan"
stop() {
    touch "$checkpoints/step-00000999.h5"
    exit 75
}
for ((i = 0; i < ${#plan[@]}; i += 2)); do
    value=${plan[i + 1]:-}
    case ${plan[i]} in
    step) touch "$checkpoints/$(printf 'step-%08d.h5' "$value")" ;;
    gone) echo "$value" >>"$STAND_INS/gone" ;;
    no_hosts) : >"$STAND_INS/hosts"; ((i--)) ;;
    tidy) rm -r "$STAND_INS"/sdtrain-run.*; ((i--)) ;;
    exit) exit "$value" ;;
    kill) kill -s "$value" $$ ;;
    wait)
        trap stop USR1
        echo $PPID >"$STAND_INS/waiting"
        for ((;;)); do sleep 0.05; done
        ;;
    deaf)
        trap 'trap stop USR1' USR1
        echo $PPID >"$STAND_INS/waiting"
        for ((;;)); do sleep 0.05; done
        ;;
    stubborn)
        trap '' USR1
        echo $PPID >"$STAND_INS/waiting"
        for ((;;)); do sleep 0.05; done
        ;;
    esac
done
PROGRAM
chmod +x bin/*
export PATH=$tmp/bin:$PATH STAND_INS=$tmp
touch config.ini

failed() {
    echo "FAILED: $*; it said:"
    cat log
    echo "and called:"
    cat calls 2>/dev/null
    exit 1
}

fresh() {
    rm -rf runs calls checks gone plan check_code waiting
    printf '%s\n' "$@" >plan
}

# supervise CODE STARTS OPTION...: run.sh ends with CODE after so many starts of the program, all of one job.
supervise() {
    local code=$1 starts=$2 got=0 made=0
    shift 2
    "$run" --back-off 0 --program sdtrain-mpi "$@" >log 2>&1 || got=$?
    ((got == code)) || failed "ended with $got, expected $code"
    [[ ! -e calls ]] || made=$(wc -l <calls)
    ((made == starts)) || failed "started $made times, expected $starts"
    ((made == 0)) || (($(sed 's/.* --job \([^ ]*\).*/\1/' calls checks | sort -u | wc -l) == 1)) || failed "starts of several jobs"
}

says() { grep -qE -- "$1" log || failed "expected '$1'"; }
called() { [[ $(sed -n "$1s/ --job run.sh-[^ ]*$//p" calls) == "$2" ]] || failed "call $1 should be '$2'"; }

# ---- codes ----

fresh 'exit 0'
supervise 0 1 -n 2 config.ini --set train.epochs=1 -- --mca a b
called 1 'n=2 hosts= config.ini --set train.epochs=1'
says '^run.sh: [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} finished$'
for code in 64 65 66 78; do
    fresh "exit $code"
    supervise "$code" 1 -n 2 config.ini
    says "ended with $code, which a restart would not better"
done
fresh 'step 7 exit 75' # by itself: its budget
supervise 75 1 -n 2 config.ini
says 'stopped, the checkpoint of step 7 stands'
fresh
echo 78 >check_code
supervise 78 0 -n 2 config.ini
says '^sdtrain-mpi: error: bad'
fresh
supervise 78 0 -n 3 config.ini # asked for in so many words: no other number
for code in 1 70 74; do
    fresh "exit $code" 'exit 0'
    supervise 0 2 -n 2 config.ini
    says "it ended with $code without a new checkpoint \(1 of 3\); trying again in 0 s: there is no checkpoint yet"
done
fresh 'step 3 kill KILL' 'kill SEGV' 'step 4 kill ABRT' 'exit 0'
supervise 0 4 -n 2 config.ini
says '137 \(signal KILL\) after progress from step 0 to 3 \(1 of 3\).*: the checkpoint of step 3 stands'
says '139 \(signal SEGV\) without a new checkpoint \(2 of 3\)'
says '134 \(signal ABRT\) after progress from step 3 to 4 \(1 of 3\)'
echo 'ok: exit codes'

# ---- giving up ----

fresh 'exit 70' 'exit 70' 'exit 71' 'exit 0'
supervise 71 3 -n 2 config.ini
says 'giving up: it ended with 71 without a new checkpoint, 3 times in a row; there is no checkpoint yet'
fresh 'exit 70' 'exit 70' 'step 1 exit 70' 'exit 70' 'exit 70' 'exit 0'
supervise 70 5 -n 2 config.ini # progress starts the count anew, at 1
fresh 'exit 70' 'exit 0'
supervise 70 1 -n 2 --max-restarts 1 config.ini
fresh 'exit 70' 'exit 70' 'exit 70'
begin=$(date +%s%N)
supervise 70 3 -n 2 --back-off 1 config.ini
seconds=$((($(date +%s%N) - begin) / 1000000))
((seconds >= 3000)) || failed "1 s and 2 s of back-off took $seconds ms"
says 'trying again in 1 s' && says 'trying again in 2 s'
echo 'ok: gives up, backs off'

# ---- one job ----

fresh 'exit 70' 'step 5 exit 70' 'exit 0'
supervise 0 3 -n 2 config.ini --resume old.h5 # the rule of what that means at each start is the program's
for n in 1 2 3; do called "$n" 'n=2 hosts= config.ini --resume old.h5'; done
first=$(grep -o -- '--job .*' calls | head -n 1)
fresh 'exit 0'
supervise 0 1 -n 2 config.ini
[[ $(grep -o -- '--job .*' calls) != "$first" ]] || failed 'two run.sh are one job'
fresh 'exit 70' 'exit 0'
supervise 0 2 -n 2 config.ini --job mine --set run.name=a
for n in 1 2; do [[ $(sed -n "${n}p" calls) == 'n=2 hosts= config.ini --job mine --set run.name=a' ]] || failed "call $n"; done
echo 'ok: one job'

# ---- ranks and hosts ----

fresh 'exit 0'
slots=6 supervise 0 1 config.ini # of 6 slots, 4 can share 8 shards
called 1 'n=4 hosts= config.ini'
fresh 'step 1 gone two kill KILL' 'step 2 exit 0'
printf '%s slots=2\n' one two three '# five' four >hosts
supervise 0 2 -n 8 --hostfile hosts config.ini -- --mca plm_rsh_agent ssh --map-by ppr:2:node
called 1 'n=8 hosts=one two three four  config.ini'
called 2 'n=4 hosts=one three four  config.ini'
says 'no answer within 30 s, left out: two'
fresh 'gone one gone two gone three gone four exit 1'
supervise 1 1 -n 8 --hostfile hosts config.ini
says 'giving up: no host of hosts answers'
fresh 'no_hosts exit 70' # a scheduler's script that rewrites it, or a full disk
printf '%s slots=2\n' one two >hosts
supervise 70 1 -n 4 --hostfile hosts config.ini
says 'giving up: no host of hosts answers'
printf 'one slots=2\n' >hosts
for words in '-n 2' ''; do # before there was a run: not the code of the question
    fresh
    echo one >gone
    # shellcheck disable=SC2086 # words
    supervise 69 0 $words --hostfile hosts config.ini
    ! grep -q 'signal )' log || failed 'a signal without a name'
done
fresh 'exit 70' 'exit 0'
slots=0 supervise 69 0 config.ini
says 'say -n RANKS'
echo 'ok: hosts that are gone'

# ---- what mpirun does to output and folders ----

for option in --tag-output --timestamp-output -xml; do
    fresh 'exit 70' 'exit 70' 'step 2 exit 70' 'exit 70' 'exit 0'
    supervise 0 5 config.ini -- "$option"
    called 1 'n=2 hosts= config.ini'
    ! grep -q 'progress is not noticed' log || failed "$option"
done
fresh 'exit 70' 'step 1 exit 70' 'step 2 exit 70' 'exit 0'
supervise 70 3 -n 2 config.ini -- --no-output
says 'progress is not noticed'
mkdir 'else where'
mv config.ini 'else where'
fresh 'exit 70' 'exit 70' 'step 2 exit 70' 'exit 70' 'exit 0'
supervise 0 5 -n 2 config.ini -- --wdir 'else where'
says 'after progress from step 0 to 2'
[[ -e 'else where/runs/a (b)/run/checkpoints/step-00000002.h5' ]] || failed 'where the run is'
mv 'else where/config.ini' .
echo 'ok: output and folders'

# ---- surroundings ----

fresh 'exit 0'
TMPDIR=$tmp/nowhere supervise 0 1 -n 2 config.ini
mkdir full
printf '#!/bin/sh\necho "mktemp: no space" >&2\nexit 1\n' >full/mktemp
chmod +x full/mktemp
fresh
PATH=$tmp/full:$PATH supervise 74 0 -n 2 config.ini
says 'no temporary folder can be made in .* or /tmp; set TMPDIR'
fresh 'tidy exit 70' 'tidy exit 70' 'exit 0' # what is in /tmp for days is tidied away
supervise 0 3 config.ini
mkdir -p other/launch linked 'a b/launch' 'a b/build/src'
cp "$run" 'a b/launch'
cp bin/sdtrain-mpi 'a b/build/src'
ln -s "$tmp/a b/launch/run.sh" linked/start
cat >noisy.sh <<'BASH_ENV'
cd() { builtin cd "$@" && ls; }
set -Cf
BASH_ENV
for command in 'a b/launch/run.sh' linked/start; do # without --program: the repository's
    fresh 'step 1 exit 70' 'exit 0'
    env -u HOME CDPATH="$tmp/other" POSIXLY_CORRECT=1 LC_ALL=xx_XX GREP_OPTIONS=-v BASH_ENV="$tmp/noisy.sh" \
        "$command" --back-off 0 -n 2 config.ini >log 2>&1 || failed "$command"
    says 'after progress from step 0 to 1'
done
fresh 'exit 0'
(cd linked && ../'a b/launch/run.sh' --program ../bin/sdtrain-mpi -n 08 config.ini -- --wdir ..) >log 2>&1 || failed 'relative names'
echo 'ok: surroundings'

# ---- signals ----

# start_waiting OPTION...: run.sh in the background, its process in $supervisor, once the program waits.
start_waiting() {
    # Job control, or a background process ignores INT from its start.
    set -m
    "$run" --program sdtrain-mpi -n 2 "$@" config.ini >log 2>&1 &
    supervisor=$!
    set +m
    for ((i = 0; i < 200; i++)); do
        [[ ! -s waiting ]] || return 0
        sleep 0.05
    done
    failed "does not wait"
}
ends_with() {
    local got=0
    wait "$supervisor" || got=$?
    ((got == $1)) || failed "ended with $got, expected $1"
}
for signal in TERM INT HUP USR1; do
    fresh 'wait'
    start_waiting
    kill -s "$signal" "$supervisor"
    ends_with 75
    says "$signal: asking the run to write a checkpoint and stop"
    says 'stopped, the checkpoint of step 999 stands'
    (($(wc -l <calls) == 1)) || failed "it was started again"
done
fresh 'deaf'
start_waiting
kill -s TERM "$supervisor"
ends_with 75 # asked again
fresh 'wait'
# shellcheck disable=SC2016 # the program's
sed -i 's/exit 75/exit ${SAVED:-75}/' bin/sdtrain-mpi
SAVED=74 start_waiting # the checkpoint could not be written
kill -s TERM "$supervisor"
ends_with 74
fresh 'stubborn'
start_waiting
kill -s INT "$supervisor"
sleep 0.3
kill -0 "$supervisor" || failed "ended at the first INT"
kill -s INT "$supervisor"
ends_with 143
says 'INT again'
fresh 'exit 70' 'exit 0'
"$run" --back-off 60 --program sdtrain-mpi -n 2 config.ini >log 2>&1 &
supervisor=$!
for ((i = 0; i < 200; i++)); do
    ! grep -q 'trying again in 60 s' log || break
    sleep 0.05
done
kill -s TERM "$supervisor"
ends_with 75
says 'asked to stop while no run was under way'
if setpriv --pdeathsig USR1 true 2>/dev/null; then
    fresh 'wait'
    start_waiting
    kill -s KILL "$supervisor"
    wait "$supervisor" 2>/dev/null || true
    for ((i = 0; i < 200; i++)); do
        [[ ! -e 'runs/a (b)/run/checkpoints/step-00000999.h5' ]] || break
        sleep 0.05
    done
    [[ -e 'runs/a (b)/run/checkpoints/step-00000999.h5' ]] || failed "the run goes on without its supervisor"
fi
echo 'ok: signals'

# ---- usage ----

for words in '' '-n' '-n 0 config.ini' '-n two config.ini' '--max-restarts 0 config.ini' '--nonsense config.ini' \
    '--hostfile nowhere config.ini' '--program nowhere config.ini' 'config.ini --check' 'config.ini --evaluate a.h5' \
    'config.ini --help'; do
    got=0
    # shellcheck disable=SC2086 # words
    "$run" $words >log 2>&1 || got=$?
    ((got == 64)) || failed "'$words' ended with $got, expected 64"
done
"$run" --help | grep -q -- '--max-restarts K' || failed "--help"
echo 'run_test: all passed'
