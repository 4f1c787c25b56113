#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The scripts of launch/ that set up, build and start, where the user's shell and machine are not as one expects: a folder with a space,
# a symbolic link to the script, CDPATH, a cd that prints, OMP_NUM_THREADS, missing tools. (run.sh: run_test.sh.)
#
#   surroundings_test.sh SRC        SRC: the repository
set -euo pipefail

src=$(realpath "${1:?usage: surroundings_test.sh SRC}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir -p 'a b/data/cifar-10-batches-bin' other/launch bin links
cp -r "$src/launch" 'a b'
repository="$tmp/a b"
for file in data_batch_{1..5} test_batch; do echo x >"a b/data/cifar-10-batches-bin/$file.bin"; done

# Tools that say where and with what they were called.
printf '#!/bin/sh\nexit 0\n' >'a b/launch/install-deps.sh'
for tool in cmake ctest mpirun; do
    # shellcheck disable=SC2016 # theirs
    printf '#!/usr/bin/env bash\necho "%s in $PWD: $*" >>"%s/calls"\nexit "${%s_code:-0}"\n' "$tool" "$tmp" "$tool" >"bin/$tool"
done
chmod +x bin/*
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
export PATH=$tmp/bin:$PATH SD_DATA_URL=http://127.0.0.1:1

failed() {
    echo "FAILED: $*; it said:"
    cat "$tmp/log"
    echo "and called:"
    cat "$tmp/calls"
    exit 1
}

# start SCRIPT CODE OPTION...: the script ends with CODE.
start() {
    local script=$1 code=$2 got=0
    shift 2
    : >"$tmp/calls"
    "$script" "$@" >"$tmp/log" 2>&1 || got=$?
    ((got == code)) || failed "'$script $*' ended with $got, expected $code"
}
called() { grep -qE -- "^$1" "$tmp/calls" || failed "did not call '$1'"; }
says() { grep -qF -- "$1" "$tmp/log" || failed "did not say '$1'"; }

# all DIRECTORY: each script by its name there.
all() {
    start "$1/build.sh" 0
    called "cmake in .*: -S $repository -B $repository/build "
    called "cmake in .*: --build $repository/build --parallel $cores$"
    start "$1/test.sh" 0 -L unit
    called "cmake in .*: -S $repository "
    called "ctest in $repository: .* -L unit$"
    start "$1/quickstart.sh" 0 --set run.output=/elsewhere # the summary is the program's
    called "mpirun in $repository: .* --set run.output=/elsewhere$"
    mpirun_code=78 start "$1/quickstart.sh" 78
    start "$1/get-data.sh" 0 cifar10
    says 'already there'
    start "$1/fuzz.sh" 64
    says 'SECONDS [TARGET]'
}
for script in 'a b'/launch/*.sh; do ln -s "../$script" links/; done
export OMP_NUM_THREADS=77
all "$repository/launch"
echo 'ok: a folder with a space, OMP_NUM_THREADS'
all links
echo 'ok: a symbolic link'
export CDPATH=$tmp/other
(
    cd "$repository"
    all launch
    # shellcheck disable=SC2317 # scripts call it
    cd() { builtin cd "$@" && ls; }
    export -f cd
    all launch
)
unset CDPATH
echo 'ok: CDPATH, a cd that prints'
CMAKE_BUILD_PARALLEL_LEVEL=3 start "$repository/launch/build.sh" 0
called "cmake in .*: --build $repository/build --parallel 3$"

# ---- tools that are not there ----

mkdir few
for tool in bash cat dirname env nproc realpath rm tar curl mkdir mktemp; do
    ! command -v "$tool" >/dev/null || ln -s "$(command -v "$tool")" few/
done
PATH=$tmp/few start "$repository/launch/build.sh" 69
says 'cmake is not there'
PATH=$tmp/few start "$repository/launch/get-data.sh" 69 cifar10 "$tmp/new"
says 'md5sum is not there'
[[ ! -e new ]] || failed 'a folder is left'
mkdir 'a b/tests' 'a b/tests/fuzz'
touch 'a b/tests/fuzz/fuzz_cifar.c'
TMPDIR=$tmp/nowhere start "$repository/launch/fuzz.sh" 74 1 cifar
echo 'surroundings_test: all passed'
