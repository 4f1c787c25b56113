#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fuzzes what reads files, with libFuzzer and the sanitizers, each target for some seconds.
#
#   launch/fuzz.sh SECONDS [TARGET]...      TARGET: config, cifar, decode, checkpoint, checkpoint_inner, listing, packed, safetensors, table, tokenizer; default: all, in turn
#
# Builds into build-fuzz/ and keeps what it has learned in build-fuzz/corpus/TARGET. Inputs that break something are left in
# build-fuzz/findings/TARGET; build-fuzz/tests/fuzz/fuzz_TARGET FILE shows one again. Exit codes: 0 nothing was found; 1 something was;
# 64 usage; 69 clang is missing; 70 it cannot be built; 74 no folder for temporary files.
set -euo pipefail
set +Cf # whatever BASH_ENV says

self=$(realpath -- "${BASH_SOURCE[0]}")
root=${self%/*/*}
dir=$root/build-fuzz
all=(config cifar decode checkpoint checkpoint_inner listing packed safetensors table tokenizer)

if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]]; then
    sed -n '3,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 64
fi
seconds=$1
shift
targets=("${@:-${all[@]}}")
for target in "${targets[@]}"; do
    if [[ ! -f $root/tests/fuzz/fuzz_$target.c ]]; then
        echo "fuzz: there is no target '$target'; there are: ${all[*]}" >&2
        exit 64
    fi
done

clang=${CLANG:-clang}
try=$(mktemp -d) || exit 74
trap 'rm -rf "$try"' EXIT
echo 'int LLVMFuzzerTestOneInput(const char *b, unsigned long n); int LLVMFuzzerTestOneInput(const char *b, unsigned long n) { return (void)b, (void)n, 0; }' >"$try/try.c"
if ! command -v "$clang" >/dev/null || ! "$clang" -fsanitize=fuzzer,address,undefined -fopenmp "$try/try.c" -o "$try/try" 2>"$try/why"; then
    echo "fuzz: clang with its libFuzzer, sanitizers and OpenMP is needed; on Debian 12: apt-get install clang libclang-rt-14-dev libomp-14-dev" >&2
    [[ ! -s $try/why ]] || head -n 3 "$try/why" >&2
    exit 69
fi

echo "fuzz: building into $dir"
cmake -S "$root" -B "$dir" -DCMAKE_C_COMPILER="$clang" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSD_FUZZ=ON -DSD_SANITIZE=ON >"$try/log" 2>&1 ||
    { cat "$try/log" && exit 70; }
programs=()
for target in "${targets[@]}"; do programs+=("fuzz_$target"); done
cmake --build "$dir" --parallel "$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" --target "${programs[@]}" >"$try/log" 2>&1 || { cat "$try/log" && exit 70; }

# Files of the targets lie in memory, and go with this script.
if [[ -w /dev/shm ]]; then
    scratch=$(mktemp -d /dev/shm/sdtrain-fuzz-XXXXXX) || exit 74
    trap 'rm -rf "$try" "$scratch"' EXIT
    export TMPDIR=$scratch
fi
# HDF5 asks for what a hostile file names: at most 512 MB, and NULL beyond. Leaks are looked for by LeakSanitizer at the end.
export ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=512:detect_leaks=1:${ASAN_OPTIONS:-}
export UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-}
export OMP_NUM_THREADS=1

found=0
for target in "${targets[@]}"; do
    program=$dir/tests/fuzz/fuzz_$target
    corpus=$dir/corpus/$target findings=$dir/findings/$target log=$dir/fuzz_$target.log
    mkdir -p "$corpus" "$findings"
    "$program" --write-seeds="$corpus"
    options=(-max_total_time="$seconds" -timeout=150 -max_len=131072 -rss_limit_mb=4096 -artifact_prefix="$findings/" -print_final_stats=1)
    [[ ! -f $root/tests/fuzz/corpus/$target.dict ]] || options+=(-dict="$root/tests/fuzz/corpus/$target.dict")
    given=()
    [[ ! -d $root/tests/fuzz/corpus/$target ]] || given+=("$root/tests/fuzz/corpus/$target")
    result=0
    "$program" "${options[@]}" "$corpus" "${given[@]}" >"$log" 2>&1 || result=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    findings_now=$(find "$findings" -type f | wc -l)
    echo "fuzz: $target: ${runs:-no} executions in $seconds s, $findings_now findings"
    sed -n 's/^checkpoint_inner: /fuzz:   of HDF5: /p' "$log"
    if [[ $result != 0 ]]; then
        found=1
        echo "fuzz: $target ended with $result; the end of $log:"
        tail -n 40 "$log"
    fi
done
exit "$found"
