#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# get-data.sh against a local HTTP server: a good download, a second call, and everything that can be wrong.
#
#   get_data_test.sh SRC        SRC: the repository
set -euo pipefail

get_data=${1:?usage: get_data_test.sh SRC}/launch/get-data.sh
get_data=$(realpath "$get_data")
tmp=$(mktemp -d)
server=
finish() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$tmp"
}
trap finish EXIT
cd "$tmp"

# expect CODE TEXT COMMAND...: COMMAND exits with CODE and says TEXT.
expect() {
    local code=$1 text=$2 got=0
    shift 2
    "$@" >log 2>&1 || got=$?
    if ((got != code)) || ! grep -qF -- "$text" log; then
        echo "FAILED: '$*' ended with $got, expected $code and the text '$text'; it said:"
        cat log
        exit 1
    fi
    echo "ok: exit $code, '$text'"
}

expect_empty() {
    [[ -z $(ls -A "$1") ]] || {
        echo "FAILED: left behind in $1: $(ls -A "$1")"
        exit 1
    }
}

# An archive in the official layout, with one record a file.
mkdir -p serve cifar-10-batches-bin
for file in data_batch_{1..5} test_batch; do
    head -c 3073 /dev/zero >"cifar-10-batches-bin/$file.bin"
done
tar -czf serve/cifar-10-binary.tar.gz cifar-10-batches-bin
md5=$(md5sum <serve/cifar-10-binary.tar.gz)
md5=${md5%% *}

# The server takes a free port and names it in its first line.
python3 -u -m http.server --bind 127.0.0.1 --directory serve 0 >server.log 2>&1 &
server=$!
port=
for ((i = 0; i < 100 && ${#port} == 0; i++)); do
    sleep 0.1
    port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' server.log | head -n 1)
done
[[ -n $port ]] || {
    echo "FAILED: the HTTP server did not start:"
    cat server.log
    exit 1
}
export SD_DATA_URL=http://127.0.0.1:$port SD_DATA_MD5=$md5 no_proxy=127.0.0.1 NO_PROXY=127.0.0.1

expect 0 'path = data/cifar-10-batches-bin' "$get_data" cifar10 data
cmp data/cifar-10-batches-bin/test_batch.bin cifar-10-batches-bin/test_batch.bin
rm -r cifar-10-batches-bin
[[ $(ls -A data) == cifar-10-batches-bin ]]
SD_DATA_URL=http://127.0.0.1:1 expect 0 'already there' "$get_data" cifar10 data

rm data/cifar-10-batches-bin/data_batch_3.bin
expect 65 'has no data_batch_3.bin' "$get_data" cifar10 data

SD_DATA_MD5=${md5//[0-9]/f} expect 65 "MD5 $md5 instead of" "$get_data" cifar10 refused
expect_empty refused
expect 69 'cannot download' "$get_data" cifar100 missing
expect_empty missing
SD_DATA_URL=http://127.0.0.1:1 expect 69 'is there a network?' "$get_data" cifar10 missing
expect_empty missing

expect 64 'usage:' "$get_data" mnist
expect 64 'usage:' "$get_data"
touch file
expect 74 'cannot make the folder' "$get_data" cifar10 file

# The same with wget, where it is installed: a PATH that has all but curl.
if command -v wget >/dev/null; then
    mkdir bin
    for tool in bash cat dirname gzip md5sum mkdir mktemp mv rm tar wget; do
        ln -s "$(command -v "$tool")" bin/
    done
    PATH=$tmp/bin "$BASH" "$get_data" cifar10 by-wget >log 2>&1 || {
        cat log
        exit 1
    }
    [[ $(ls -A by-wget) == cifar-10-batches-bin ]]
    echo 'ok: with wget'
fi
echo 'get_data_test: all passed'
