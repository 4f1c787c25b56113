#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Downloads a data set from its authors' page, checks it, and unpacks it.
#
#   launch/get-data.sh DATASET [DEST]        DEST: where its folder goes, default data/ of the repository
#
#   DATASET            download   images                                         folder in DEST
#   cifar10            170 MB     60,000 of 32 x 32 pixels, 10 classes           cifar-10-batches-bin
#   cifar100           169 MB     60,000 of 32 x 32 pixels, 100 classes          cifar-100-binary
#   imagenette2-160     99 MB     13,394, shorter side 160 pixels, 10 classes    imagenette2-160
#   imagenette2-320    342 MB     the same, shorter side 320 pixels              imagenette2-320
#   imagenette2       1557 MB     the same in the size they have in ImageNet     imagenette2
#   tiny-imagenet      248 MB     110,000 of 64 x 64 pixels, 200 classes         tiny-imagenet-200
#
# The last four are JPEG files in folders, for `dataset = folder`: FOLDER/train/CLASS/ and FOLDER/val/CLASS/.
# tiny-imagenet comes with one folder for all of val; here its images are sorted into classes as val_annotations.txt
# says, and test/, whose labels are not published, is left out.
#
# Needs curl or wget; tiny-imagenet also unzip or python3. Does nothing if the data set is there. What is under
# its final name is complete: the archive's MD5 is checked before it is unpacked, and the folder is renamed last.
# A mirror: SD_DATA_URL (the address before the archive's name) and SD_DATA_MD5 replace the official ones.
# Exit codes: 0 the data set is there; 64 usage; 65 not the expected data; 69 cannot be had now; 74 disk trouble;
# 129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM.
set -euo pipefail
shopt -s nullglob

fail() {
    local code=$1
    shift
    printf 'get-data: error: %s\n' "$@" >&2
    exit "$code"
}

have() { command -v "$1" >/dev/null 2>&1; }

# What there must be: files, or a number of class folders in train/ and in val/. MD5: CIFAR's are its authors', those of
# Imagenette torchvision's (datasets/imagenette.py), that of tiny-imagenet Avalanche's (datasets/tiny_imagenet/).
folder='' files=() classes=0
imagenette=https://s3.amazonaws.com/fast-ai-imageclas
case ${1:-} in
cifar10)
    base=https://www.cs.toronto.edu/~kriz archive=cifar-10-binary.tar.gz md5=c32a1d4ab5d03f1284b67883e8d87530
    folder=cifar-10-batches-bin files=(data_batch_{1..5}.bin test_batch.bin)
    ;;
cifar100)
    base=https://www.cs.toronto.edu/~kriz archive=cifar-100-binary.tar.gz md5=03b5dce01913d631647c71ecec9e9cb8
    folder=cifar-100-binary files=(train.bin test.bin)
    ;;
imagenette2-160)
    base=$imagenette archive=$1.tgz md5=e793b78cc4c9e9a4ccc0c1155377a412 folder=$1 classes=10
    ;;
imagenette2-320)
    base=$imagenette archive=$1.tgz md5=3df6f0d01a2c9592104656642f5e78a3 folder=$1 classes=10
    ;;
imagenette2)
    base=$imagenette archive=$1.tgz md5=fe2fc210e6bb7c5664d602c3cd71e612 folder=$1 classes=10
    ;;
tiny-imagenet)
    base=http://cs231n.stanford.edu archive=tiny-imagenet-200.zip md5=90528d7ca1a48142e341f4ef8d21d0de
    folder=tiny-imagenet-200 classes=200
    ;;
esac
if [[ -z $folder ]] || (($# > 2)); then
    fail 64 "usage: ${BASH_SOURCE[0]} cifar10|cifar100|imagenette2[-160|-320]|tiny-imagenet [DEST]"
fi
dataset=$1 word=$1
((classes == 0)) || word=folder # of the configuration
if (($# < 2)); then
    self=$(realpath -- "${BASH_SOURCE[0]}")
    cd "${self%/*/*}"
fi
dest=${2:-data}
[[ $dest != -* ]] || dest=./$dest # no option
url=${SD_DATA_URL:-$base}/$archive
md5=${SD_DATA_MD5:-$md5}

# Runs a command that takes long. A signal ends it: bash runs no trap before a foreground command is over.
run() {
    "$@" &
    wait "$!"
}

# Ends what run() has begun, and removes what is not complete.
clean_up() {
    local running
    running=$(jobs -p)
    [[ -z $running ]] || kill "$running" 2>/dev/null || true
    wait
    rm -rf "$temporary"
}

# Fails with text $2 unless all of the data set is in folder $1.
check_folder() {
    local file split folders
    for file in "${files[@]}"; do
        [[ -s $1/$file ]] || fail 65 "$1 has no $file" "$2"
    done
    ((classes > 0)) || return 0
    for split in train val; do
        folders=("$1/$split"/*/)
        ((${#folders[@]} == classes)) ||
            fail 65 "$1/$split has ${#folders[@]} class folders instead of $classes" "$2"
    done
}

# Downloads $url to file $1.
download() {
    local code=0 full=23
    if have curl; then
        local progress=(--silent --show-error)
        [[ ! -t 2 ]] || progress=(--progress-bar)
        run curl --fail --location --retry 2 --connect-timeout 30 --speed-limit 1000 --speed-time 60 \
            "${progress[@]}" --output "$1" "$url" || code=$?
    elif have wget; then
        full=3
        run wget --tries=3 --timeout=60 --no-verbose --output-document="$1" "$url" || code=$?
    else
        fail 69 "neither curl nor wget is there; launch/install-deps.sh installs curl"
    fi
    if ((code == full)); then
        fail 74 "cannot write to $dest: is the disk full?"
    elif ((code != 0)); then
        fail 69 "cannot download $url" "is there a network? For a mirror set SD_DATA_URL and SD_DATA_MD5."
    fi
}

# Sets unpacker to a tool for $archive.
choose_unpacker() {
    local tool
    if [[ $archive != *.zip ]]; then
        for tool in tar gzip; do
            have "$tool" || fail 69 "$tool is not there"
        done
        unpacker=tar
        return
    fi
    # Not bsdtar: of a zip file that is cut it unpacks what there is, and ends with 0.
    for unpacker in unzip python3; do
        ! have "$unpacker" || return 0
    done
    fail 69 "$archive is a zip file: unzip or python3 is needed, neither is there"
}

# Unpacks archive $1 into folder $2.
unpack() {
    local extract check
    case $unpacker in
    tar) extract=(tar -xzf "$1" -C "$2" --no-same-owner --no-same-permissions) check=(gzip -t "$1") ;;
    unzip) extract=(unzip -q -o "$1" -d "$2") check=(unzip -q -t "$1") ;;
    python3) extract=(python3 -I -m zipfile -e "$1" "$2") check=(python3 -I -m zipfile -t "$1") ;;
    esac
    run "${extract[@]}" && return
    run "${check[@]}" >/dev/null 2>&1 || fail 65 "$url is damaged" "it has been removed"
    fail 74 "cannot unpack into $dest: is the disk full?"
}

# tiny-imagenet in folder $1: val/images/NAME -> val/CLASS/NAME by val_annotations.txt, whose lines are NAME, CLASS and
# a box, with tabs between them.
sort_into_classes() {
    local unlike="the archive is not laid out as the official one" name class rest images
    local -A of_class=()
    [[ -f $1/val/val_annotations.txt ]] || fail 65 "it has no val/val_annotations.txt" "$unlike"
    while IFS=$'\t' read -r name class rest || [[ -n $name ]]; do
        [[ -n $class && $class != .* && $name$class != */* && -d $1/train/$class && -f $1/val/images/$name ]] ||
            fail 65 "val_annotations.txt: '$name' is no image of val, or '$class' no class of train" "$unlike"
        of_class[$class]+=$1/val/images/$name$'\n'
    done <"$1/val/val_annotations.txt"
    for class in "${!of_class[@]}"; do
        mapfile -t images <<<"${of_class[$class]%$'\n'}"
        mkdir "$1/val/$class" || fail 74 "cannot make $1/val/$class"
        mv -t "$1/val/$class" -- "${images[@]}" || fail 74 "cannot move images to $1/val/$class"
    done
    rmdir "$1/val/images" || fail 65 "val_annotations.txt does not name all images of val" "$unlike"
    rm -rf "$1/test"
}

if [[ -e $dest/$folder || -L $dest/$folder ]]; then
    check_folder "$dest/$folder" "it is not what this script makes: move it away and start again"
    echo "get-data: already there"
else
    have md5sum || fail 69 "md5sum is not there"
    choose_unpacker
    unset TAR_OPTIONS UNZIP UNZIPOPT
    mkdir -p "$dest" || fail 74 "cannot make the folder $dest"
    temporary=$(mktemp -d "$dest/.get-data.XXXXXX") || fail 74 "cannot write to $dest"
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM

    echo "get-data: downloading $url"
    download "$temporary/$archive"
    found=$(md5sum <"$temporary/$archive") || fail 74 "cannot read $temporary/$archive"
    found=${found%% *}
    [[ $found == "$md5" ]] ||
        fail 65 "$url is not the expected file: MD5 $found instead of $md5" "it has been removed; nothing was unpacked"
    echo "get-data: MD5 is right, unpacking"
    unpack "$temporary/$archive" "$temporary"
    [[ $dataset != tiny-imagenet ]] || sort_into_classes "$temporary/$folder"
    check_folder "$temporary/$folder" "the archive is not laid out as the official one"
    mv -T "$temporary/$folder" "$dest/$folder" || fail 74 "cannot make $dest/$folder"
fi

cat <<TEXT
get-data: $dataset is in $dest/$folder; use it in a config with
    [data]
    dataset = $word
    path = $dest/$folder
TEXT
