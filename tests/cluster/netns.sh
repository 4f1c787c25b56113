#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Emulates a cluster on one machine: N network namespaces as hosts, joined by a bridge, their links shaped by tc.
#
#   tests/cluster/netns.sh [-r RANKS] [-d DELAY_US] [-c FILE] N RATE COMMAND...
#
#   N          hosts, 1 to 250, called host1, host2, ...
#   RATE       of each host's link, both ways, as tc writes it: 1gbit, 100mbit, 12500kbps (bytes)
#   COMMAND    what follows mpirun: a program and its arguments; -np and the hosts are given
#   -r RANKS   ranks a host, default 1. Ranks of one host share memory; between hosts there is nothing but TCP
#   -d DELAY_US    one-way delay added to each link, in microseconds (needs the kernel's netem)
#   -c FILE    writes what the kernel counted on each host's interface: host,tx_bytes,rx_bytes,tx_packets,rx_packets.
#              From the start of mpirun to its end, its own traffic included. As packets leave the host's TCP: what a
#              network card would cut into frames counts as one packet, with one header
#
#   tests/cluster/netns.sh -c counters.csv 4 1gbit build/src/sdtrain-mpi configs/quickstart.ini --set train.epochs=1
#
# INT, TERM and HUP go to mpirun; a second one ends everything at once. Nothing outlives the script, not even when it is
# killed: a host is a sleeping process that holds its namespaces, without a name that anything else could use, and a janitor
# waits for the script's end.
# Exit codes: that of mpirun; 64 usage; 77 not possible here, with the reason (no root and no user namespaces, no tc, ...).
set -euo pipefail

readonly NETWORK=10.53.0 # known inside only
self=$(realpath -- "${BASH_SOURCE[0]}")
root=${self%/*/*/*}
holders=() # processes; the first is the switch, then host1, ...
work=      # folder; $work/holders says the same to the janitor
job=
signals=0
PATH+=:/usr/sbin:/sbin # ip and tc, for users

usage() {
    sed -n '3,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit "$1"
}

fail_usage() {
    printf 'netns: %s; see --help\n' "$*" >&2
    exit 64
}

skip() {
    printf 'netns: skipped: %s\n' "$*" >&2
    exit 77
}

try() {
    local said
    said=$("$@" 2>&1) || skip "'$*' is not possible here: ${said%%$'\n'*}"
}

is_number() { [[ $1 =~ ^[0-9]{1,9}$ ]] && ((10#$1 >= $2 && 10#$1 <= $3)); }

# rate_bytes RATE: prints bytes a second.
rate_bytes() {
    [[ ${1,,} =~ ^([1-9][0-9]{0,8})([kmgt]?)(i?)(bit|bps)$ ]] || return 1
    local value=${BASH_REMATCH[1]} prefix=_kmgt step=1000
    [[ -z ${BASH_REMATCH[3]} ]] || step=1024
    prefix=${prefix%%"${BASH_REMATCH[2]:-_}"*}
    value=$((value * step ** ${#prefix}))
    [[ ${BASH_REMATCH[4]} == bps ]] || value=$((value / 8))
    echo "$value"
}

# inside HOLDER COMMAND...: in its namespaces.
inside() {
    local holder=$1
    shift
    nsenter --target "$holder" --net --uts -- "$@"
}

# hold NAME: starts a process that keeps a network and a host name of its own; appends it to holders.
hold() {
    local ready line
    # shellcheck disable=SC2016 # expanded inside
    exec {ready}< <(
        trap '' INT TERM HUP # Ctrl-C and timeout(1) reach the whole process group; clean_up() needs the holders
        echo "$BASHPID" >>"$work/holders"
        exec unshare --net --uts -- sh -c \
            'hostname "$1" && ip link set lo up && echo ready && exec sleep infinity >/dev/null 2>&1' - "$1" 2>&1
    )
    holders+=("$!")
    read -r line <&"$ready" || line='no answer'
    exec {ready}<&-
    [[ $line == ready ]] || skip "no namespaces here: $line"
}

# shape HOLDER DEVICE [netem OPTION...]: what leaves through it keeps to the rate. HTB: a large packet (the network card's work
# of cutting it up is not emulated) is paid for after it was sent, so the rate is exact without large bursts.
# Burst: 1 ms, what timers may be late. Queue: 20 ms, as switches have; a host's own TCP does not fill it.
shape() {
    local holder=$1 device=$2 burst=$((bytes_per_s / 1000)) limit=$((bytes_per_s / 50))
    shift 2
    (($#)) || set -- bfifo limit $((limit > 262144 ? limit : 262144))
    ((burst > 4000)) || burst=4000
    try inside "$holder" tc qdisc add dev "$device" root handle 1: htb default 1
    try inside "$holder" tc class add dev "$device" parent 1: classid 1:1 htb \
        rate "$rate" burst "$burst" cburst "$burst" quantum 60000
    try inside "$holder" tc qdisc add dev "$device" parent 1:1 handle 2: "$@"
}

build_network() {
    local i host delay=()
    ((delay_us == 0)) || delay=(netem delay "${delay_us}us" limit 100000)
    hold switch
    try inside "${holders[0]}" ip link add bridge type bridge
    try inside "${holders[0]}" ip link set bridge up
    for ((i = 1; i <= hosts; ++i)); do
        hold "host$i"
        host=${holders[i]}
        try inside "${holders[0]}" ip link add "port$i" type veth peer name eth0 netns "$host"
        try inside "${holders[0]}" ip link set "port$i" addrgenmode none master bridge up
        try inside "$host" ip link set eth0 addrgenmode none up # no IPv6: it chatters
        try inside "$host" ip address add "$NETWORK.$i/24" dev eth0
        # Clusters have it; the machine's own may pause to probe (BBR).
        inside "$host" sh -c 'echo cubic >/proc/sys/net/ipv4/tcp_congestion_control' 2>/dev/null || true
        shape "$host" eth0
        shape "${holders[0]}" "port$i" "${delay[@]}"
        echo "$host" >"$work/$NETWORK.$i"
        echo "$NETWORK.$i slots=$ranks" >>"$work/hosts"
    done
    # In the place of ssh: AGENT ADDRESS COMMAND...
    cat >"$work/agent" <<AGENT
#!/bin/sh
host=\$(cat "$work/\$1") && shift && exec nsenter --target "\$host" --net --uts -- sh -c "\$*"
AGENT
    chmod +x "$work/agent"
}

set_environment() {
    # shellcheck source=launch/mpi-env.sh
    source "$root/launch/mpi-env.sh"
    local transports=self,tcp
    ((ranks == 1)) || transports+=,vader
    export TMPDIR=$work # sessions
    # Open MPI 4, then 5.
    export OMPI_MCA_plm_rsh_agent=$work/agent PRTE_MCA_plm_ssh_agent=$work/agent
    export OMPI_MCA_oob_tcp_if_include=eth0 PRTE_MCA_prte_if_include=eth0
    export OMPI_MCA_pml=ob1 OMPI_MCA_btl=$transports OMPI_MCA_btl_tcp_if_include=eth0
}

write_counters() {
    local i name fields
    echo host,tx_bytes,rx_bytes,tx_packets,rx_packets
    for ((i = 1; i <= hosts; ++i)); do
        while read -r name fields; do
            [[ $name == eth0: ]] || continue
            read -ra fields <<<"$fields"
            echo "host$i,${fields[8]},${fields[0]},${fields[9]},${fields[1]}"
        done <"/proc/${holders[i]}/net/dev"
    done
}

# Kills whatever lives in the hosts' networks (daemons of mpirun may be nobody's children), then the hosts.
# shellcheck disable=SC2317 # a trap calls it
clean_up() {
    local process holder
    trap '' INT TERM HUP
    [[ -e $work/holders ]] || return 0
    while read -r holder; do
        holder=/proc/$holder
        [[ -e $holder && ! $holder/ns/net -ef /proc/self/ns/net ]] || continue # not the machine's network!
        for process in /proc/[0-9]*; do
            if [[ $process/ns/net -ef $holder/ns/net && $process != "$holder" ]]; then
                kill -s KILL "${process#/proc/}" 2>/dev/null || true
            fi
        done
        kill -s KILL "${holder#/proc/}" 2>/dev/null || true
    done <"$work/holders"
    rm -rf "$work"
}

# Cleans up after a script that could not.
start_janitor() {
    (
        trap '' INT TERM HUP
        tail --pid=$$ -s 0.2 -f /dev/null || true
        clean_up
    ) </dev/null >/dev/null 2>&1 &
}

# shellcheck disable=SC2317 # a trap calls it
forward() {
    signals=$((signals + 1))
    if [[ -z $job ]] || ((signals > 1)); then
        exit $((128 + $(kill -l "$1")))
    fi
    kill -s "$2" "$job" 2>/dev/null || true
}

# ---- arguments ----

arguments=("$@")
ranks=1 delay_us=0 counters=
[[ ${1:-} != --help ]] || usage 0
while getopts :r:d:c:h option; do
    case $option in
    r) ranks=$OPTARG ;;
    d) delay_us=$OPTARG ;;
    c) counters=$OPTARG ;;
    h) usage 0 ;;
    :) fail_usage "-$OPTARG needs a value" ;;
    *) fail_usage "there is no option -$OPTARG" ;;
    esac
done
shift $((OPTIND - 1))
(($# >= 3)) || fail_usage "N, RATE and COMMAND are needed"
hosts=$1 rate=$2
shift 2
is_number "$hosts" 1 250 || fail_usage "N is $hosts, not a number from 1 to 250"
is_number "$ranks" 1 1000 || fail_usage "RANKS is $ranks, not a number from 1 to 1000"
is_number "$delay_us" 0 1000000 || fail_usage "DELAY_US is $delay_us, not a number from 0 to 1000000"
bytes_per_s=$(rate_bytes "$rate") || fail_usage "RATE is $rate, not a whole number with a unit, such as 1gbit or 100mbit"

# ---- run ----

for tool in ip tc unshare nsenter hostname mpirun; do
    command -v "$tool" >/dev/null || skip "$tool is not there"
done
if ((EUID != 0)); then
    try unshare --user --map-root-user true
    exec unshare --user --map-root-user -- bash "${BASH_SOURCE[0]}" "${arguments[@]}"
fi

trap clean_up EXIT
trap 'forward INT INT' INT
trap 'forward TERM TERM' TERM
trap 'forward HUP TERM' HUP
work=$(mktemp -d -t sdtrain-netns.XXXXXX)
start_janitor
build_network
set_environment
set -m # a process group of its own: Ctrl-C reaches mpirun once, through forward()
nsenter --target "${holders[1]}" --net --uts -- mpirun -np $((hosts * ranks)) --hostfile "$work/hosts" "$@" </dev/null &
job=$!
set +m
while :; do
    before=$signals code=0
    wait "$job" || code=$?
    ((signals > before)) || break
done
job=
[[ -z $counters ]] || write_counters >"$counters"
exit "$code"
