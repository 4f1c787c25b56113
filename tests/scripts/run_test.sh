#!/usr/bin/env bash
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

# mpirun: takes the ranks from -np and the hosts from -H and --hostfile, and appends a line to calls. Not all of its options are
# known to it; the program begins at the first word without "-" that is a command here.
cat >bin/mpirun <<'MPIRUN'
#!/usr/bin/env bash
n='' hosts=''
while (($#)); do
    case $1 in
    -np) n=$2; shift 2 ;;
    -H) hosts=$2; shift 2 ;;
    --hostfile) hosts=$(sed '/^#/d; s/ .*//' "$2" | tr '\n' ' '); shift 2 ;;
    --mca) shift 3 ;;
    --map-by) shift 2 ;;
    -*) shift ;;
    *) break ;;
    esac
done
for host in $hosts; do
    if grep -qx "$host" gone 2>/dev/null; then
        echo "mpirun: no answer from $host" >&2
        exit 1
    fi
done
case $1 in
true) exit 0 ;;
echo) # a rank a slot
    for ((i = 0; i < ${slots:-2} * ($(wc -w <<<"${hosts:-here}")); i++)); do echo "$2"; done
    exit 0
    ;;
esac
export n hosts
exec "$@"
MPIRUN

# The program. --check: like one with reduction = reproducible and 8 shards, unless the configuration is bad. Else the next line of
# plan says what it does: words are "step N", "exit CODE", "kill SIGNAL", "wait" (for USR1, then saves and ends with 75), "gone HOST".
cat >bin/sdtrain-mpi <<'PROGRAM'
#!/usr/bin/env bash
if [[ " $* " == *' --check '* ]]; then
    [[ ! -e check_code ]] || { echo 'sdtrain-mpi: error: bad' >&2; exit "$(cat check_code)"; }
    ((8 % n == 0)) || { echo "sdtrain-mpi: error: $n ranks" >&2; exit 78; }
    echo "files      runs/a (b)/run (checkpoint.resume = $(cat resume 2>/dev/null || echo auto))"
    exit 0
fi
checkpoints='runs/a (b)/run/checkpoints'
mkdir -p "$checkpoints"
echo "n=$n hosts=$hosts $*" >>calls
read -ra plan < <(head -n 1 plan)
sed -i 1d plan
stop() {
    touch "$checkpoints/step-00000999.h5"
    exit 75
}
for ((i = 0; i < ${#plan[@]}; i += 2)); do
    value=${plan[i + 1]:-}
    case ${plan[i]} in
    step) touch "$checkpoints/$(printf 'step-%08d.h5' "$value")" ;;
    gone) echo "$value" >>gone ;;
    exit) exit "$value" ;;
    kill) kill -s "$value" $$ ;;
    wait)
        trap stop USR1
        echo $PPID >waiting
        for ((;;)); do sleep 0.05; done
        ;;
    stubborn)
        trap '' USR1
        echo $PPID >waiting
        for ((;;)); do sleep 0.05; done
        ;;
    esac
done
PROGRAM
chmod +x bin/*
export PATH=$tmp/bin:$PATH
touch config.ini

failed() {
    echo "FAILED: $*; it said:"
    cat log
    echo "and called:"
    cat calls 2>/dev/null
    exit 1
}

fresh() {
    rm -rf runs calls gone plan check_code resume waiting
    printf '%s\n' "$@" >plan
}

# supervise CODE STARTS OPTION...: run.sh ends with CODE after so many starts of the program.
supervise() {
    local code=$1 starts=$2 got=0 made=0
    shift 2
    "$run" --back-off 0 --program sdtrain-mpi "$@" >log 2>&1 || got=$?
    ((got == code)) || failed "ended with $got, expected $code"
    [[ ! -e calls ]] || made=$(wc -l <calls)
    ((made == starts)) || failed "started $made times, expected $starts"
}

says() { grep -qE -- "$1" log || failed "expected '$1'"; }
called() { [[ $(sed -n "$1p" calls) == "$2" ]] || failed "call $1 should be '$2'"; }

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

# ---- what is resumed ----

fresh 'exit 70' 'step 5 exit 70' 'exit 0'
echo old.h5 >resume
supervise 0 3 -n 2 config.ini --resume old.h5
called 2 'n=2 hosts= config.ini --resume old.h5' # its state is nowhere else yet
called 3 'n=2 hosts= config.ini --resume old.h5 --resume auto'
fresh 'exit 70' 'exit 0'
echo never >resume
supervise 0 2 -n 2 config.ini
called 1 'n=2 hosts= config.ini'
called 2 'n=2 hosts= config.ini --resume auto'
echo 'ok: resumes'

# ---- ranks and hosts ----

fresh 'exit 0'
slots=6 supervise 0 1 config.ini # of 6 slots, 4 can share 8 shards
called 1 'n=4 hosts= config.ini'
fresh 'step 1 gone two kill KILL' 'step 2 exit 0'
printf '%s slots=2\n' one two three '# five' four >hosts
supervise 0 2 -n 8 --hostfile hosts config.ini -- --mca plm_rsh_agent ssh --map-by ppr:2:node
called 1 'n=8 hosts=one two three four  config.ini'
called 2 'n=4 hosts=one three four  config.ini --resume auto'
says 'no answer within 30 s, left out: two'
fresh 'gone one gone two gone three gone four exit 1'
supervise 1 1 -n 8 --hostfile hosts config.ini
says 'giving up: no host of hosts answers'
echo 'ok: hosts that are gone'

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
    '--hostfile nowhere config.ini' '--program nowhere config.ini'; do
    got=0
    # shellcheck disable=SC2086 # words
    "$run" $words >log 2>&1 || got=$?
    ((got == 64)) || failed "'$words' ended with $got, expected 64"
done
"$run" --help | grep -q -- '--max-restarts K' || failed "--help"
echo 'run_test: all passed'
