#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Downloads CIFAR-10 or CIFAR-100 (binary version) from its authors' page, checks it, and unpacks it.
#
#   launch/get-data.sh cifar10|cifar100 [DEST]        DEST: where its folder goes, default data/ of the repository
#
# Needs curl or wget. Does nothing if the data set is there. What is under its final name is complete: the archive's MD5
# is checked before it is unpacked, and the folder is renamed last.
# A mirror: SD_DATA_URL (the address before the archive's name) and SD_DATA_MD5 replace the official ones.
# Exit codes: 0 the data set is there; 64 usage; 65 not the expected data; 69 cannot be had now; 74 disk trouble.
set -euo pipefail

fail() {
    local code=$1
    shift
    printf 'get-data: error: %s\n' "$@" >&2
    exit "$code"
}

have() { command -v "$1" >/dev/null 2>&1; }

case ${1:-} in
cifar10)
    archive=cifar-10-binary.tar.gz md5=c32a1d4ab5d03f1284b67883e8d87530 folder=cifar-10-batches-bin
    files=(data_batch_{1..5}.bin test_batch.bin)
    ;;
cifar100)
    archive=cifar-100-binary.tar.gz md5=03b5dce01913d631647c71ecec9e9cb8 folder=cifar-100-binary
    files=(train.bin test.bin)
    ;;
*)
    fail 64 "usage: ${BASH_SOURCE[0]} cifar10|cifar100 [DEST]"
    ;;
esac
(($# <= 2)) || fail 64 "usage: ${BASH_SOURCE[0]} cifar10|cifar100 [DEST]"
dataset=$1
if (($# < 2)); then
    self=$(realpath -- "${BASH_SOURCE[0]}")
    cd "${self%/*/*}"
fi
dest=${2:-data}
[[ $dest != -* ]] || dest=./$dest # no option
url=${SD_DATA_URL:-https://www.cs.toronto.edu/~kriz}/$archive
md5=${SD_DATA_MD5:-$md5}

# Fails unless all files of the data set are in folder $1.
check_folder() {
    local file
    for file in "${files[@]}"; do
        [[ -s $1/$file ]] || fail 65 "$1 has no $file" "$2"
    done
}

# Downloads $url to file $1.
download() {
    local code=0 full=23
    if have curl; then
        local progress=(--silent --show-error)
        [[ ! -t 2 ]] || progress=(--progress-bar)
        curl --fail --location --retry 2 --connect-timeout 30 --speed-limit 1000 --speed-time 60 \
            "${progress[@]}" --output "$1" "$url" || code=$?
    elif have wget; then
        full=3
        wget --tries=3 --timeout=60 --no-verbose --output-document="$1" "$url" || code=$?
    else
        fail 69 "neither curl nor wget is there; launch/install-deps.sh installs curl"
    fi
    if ((code == full)); then
        fail 74 "cannot write to $dest: is the disk full?"
    elif ((code != 0)); then
        fail 69 "cannot download $url" "is there a network? For a mirror set SD_DATA_URL and SD_DATA_MD5."
    fi
}

if [[ -e $dest/$folder ]]; then
    check_folder "$dest/$folder" "it is not what this script makes: move it away and start again"
    echo "get-data: already there"
else
    for tool in md5sum tar gzip; do
        have "$tool" || fail 69 "$tool is not there"
    done
    unset TAR_OPTIONS
    mkdir -p "$dest" || fail 74 "cannot make the folder $dest"
    temporary=$(mktemp -d "$dest/.get-data.XXXXXX") || fail 74 "cannot write to $dest"
    trap 'rm -rf "$temporary"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    echo "get-data: downloading $url"
    download "$temporary/$archive"
    found=$(md5sum <"$temporary/$archive") || fail 74 "cannot read $temporary/$archive"
    found=${found%% *}
    [[ $found == "$md5" ]] ||
        fail 65 "$url is not the expected file: MD5 $found instead of $md5" "it has been removed; nothing was unpacked"
    echo "get-data: MD5 is right, unpacking"
    tar -xzf "$temporary/$archive" -C "$temporary" --no-same-owner --no-same-permissions ||
        fail 74 "cannot unpack into $dest: is the disk full?"
    check_folder "$temporary/$folder" "the archive is not laid out as the official one"
    mv -T "$temporary/$folder" "$dest/$folder" || fail 74 "cannot make $dest/$folder"
fi

cat <<TEXT
get-data: $dataset is in $dest/$folder; use it in a config with
    [data]
    dataset = $dataset
    path = $dest/$folder
TEXT
