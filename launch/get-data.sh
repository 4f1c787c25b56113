#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Downloads a data set from its authors' page, checks it, and unpacks it; or makes one of what the machine knows.
#
#   launch/get-data.sh DATASET [DEST]        DEST: where its folder goes, default data/ of the repository
#   launch/get-data.sh debian [DEST] [--sections N]
#
#   DATASET            download   images                                         folder in DEST
#   cifar10            170 MB     60,000 of 32 x 32 pixels, 10 classes           cifar-10-batches-bin
#   cifar100           169 MB     60,000 of 32 x 32 pixels, 100 classes          cifar-100-binary
#   imagenette2-160     99 MB     13,394, shorter side 160 pixels, 10 classes    imagenette2-160
#   imagenette2-320    342 MB     the same, shorter side 320 pixels              imagenette2-320
#   imagenette2       1557 MB     the same in the size they have in ImageNet     imagenette2
#   tiny-imagenet      248 MB     110,000 of 64 x 64 pixels, 200 classes         tiny-imagenet-200
#
#   debian            none       texts: what packages are, with their section     debian-N-sections
#
# The four before the last are JPEG files in folders, for `dataset = folder`: FOLDER/train/CLASS/ and FOLDER/val/CLASS/.
# tiny-imagenet comes with one folder for all of val; here its images are sorted into classes as val_annotations.txt
# says, and test/, whose labels are not published, is left out.
#
# debian is for `dataset = text`: train.tsv and test.tsv with columns sentence and label, of the short descriptions in
# the machine's own package lists (apt-cache), each text once, of the N sections with most texts (default 20). A tenth
# of the source packages, chosen by a hash of their names, is the test set: packages built of one source, which are
# described alike, are on the same side. Lines are in the order of the hash, so that the first ones are a fair sample.
#
# Needs curl or wget; tiny-imagenet also unzip or python3; debian apt-cache and awk instead. Does nothing if the data set is there. What is under
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

# --sections N, which stands anywhere
arguments=() sections=''
while (($# > 0)); do
    if [[ $1 == --sections ]]; then
        sections=${2:-none}
        shift $(($# > 1 ? 2 : 1))
    else
        arguments+=("$1")
        shift
    fi
done
set -- "${arguments[@]}"

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
debian)
    sections=${sections:-20}
    [[ $sections =~ ^([2-9]|[1-9][0-9]{1,2})$ ]] ||
        fail 64 "--sections $sections: a number of classes from 2 to 999 is expected"
    folder=debian-$sections-sections files=(train.tsv test.tsv)
    ;;
esac
if [[ -z $folder || (-n $sections && $1 != debian) ]] || (($# > 2)); then
    fail 64 "usage: ${BASH_SOURCE[0]} cifar10|cifar100|imagenette2[-160|-320]|tiny-imagenet [DEST]" \
        "or: ${BASH_SOURCE[0]} debian [DEST] [--sections N]"
fi
dataset=$1 word=$1
((classes == 0)) || word=folder # of the configuration
[[ $dataset != debian ]] || word=text
if (($# < 2)); then
    self=$(realpath -- "${BASH_SOURCE[0]}")
    cd "${self%/*/*}"
fi
dest=${2:-data}
[[ $dest != -* ]] || dest=./$dest # no option

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

# Downloads, checks and unpacks the data set into folder $1.
get_archive() {
    local found url=${SD_DATA_URL:-$base}/$archive
    md5=${SD_DATA_MD5:-$md5}
    echo "get-data: downloading $url"
    download "$1/$archive"
    found=$(md5sum <"$1/$archive") || fail 74 "cannot read $1/$archive"
    found=${found%% *}
    [[ $found == "$md5" ]] ||
        fail 65 "$url is not the expected file: MD5 $found instead of $md5" "it has been removed; nothing was unpacked"
    echo "get-data: MD5 is right, unpacking"
    unpack "$1/$archive" "$1"
    [[ $dataset != tiny-imagenet ]] || sort_into_classes "$1/$folder"
    check_folder "$1/$folder" "the archive is not laid out as the official one"
}

# Reads what apt-cache dumpavail prints, writes a line a package: a hash of its source's name, its name, its section
# without contrib/ and the like, its short description; tabs between.
describe_packages() {
    LC_ALL=C awk '
        BEGIN { for (i = 33; i < 127; i++) code[sprintf("%c", i)] = i }
        # Polynomial in double arithmetic that is exact: below 2^32 x 2^20.
        function hash(name,    h, i) {
            h = 1
            for (i = 1; i <= length(name) + 3; i++)
                h = (h * 1000003 + code[substr(name, i, 1)]) % 4294967291
            return sprintf("%010.0f", h)
        }
        function finish() {
            if (name != "" && section != "" && text != "")
                print hash(source != "" ? source : name) "\t" name "\t" section "\t" text
            name = source = section = text = ""
        }
        /^Package: / { name = $2 }
        /^Source: / { source = $2 }
        /^Section: / { section = $2; sub(/.*\//, "", section) }
        /^Description(-en)?: / && text == "" {
            text = $0
            sub(/^[^:]*:[ \t\r]*/, "", text)
            gsub(/[ \t\r]+/, " ", text)
            sub(/ $/, "", text)
        }
        /^$/ { finish() }
        END { finish() }'
}

# Writes train.tsv and test.tsv in folder $1 of such lines in file $2, those of the sections with most training texts.
write_tables() {
    LC_ALL=C awk -F '\t' -v n="$sections" -v folder="$1" '
        function is_test() { return $1 % 10 == 0 }
        function choose(    i, section, best) {
            for (i = 0; i < n; i++) {
                best = ""
                for (section in texts)
                    if (!(section in chosen) && (best == "" || texts[section] > texts[best] ||
                        (texts[section] == texts[best] && section < best)))
                        best = section
                if (best == "") { print i; exit 1 }
                chosen[best]
            }
            print "sentence\tlabel" >train
            print "sentence\tlabel" >test
        }
        BEGIN { train = folder "/train.tsv"; test = folder "/test.tsv" }
        NR == FNR { if (!is_test()) texts[$3]++; next }
        FNR == 1 { choose() }
        $3 in chosen { print $4 "\t" $3 >(is_test() ? test : train) }' "$2" "$2"
}

# Makes the data set debian in folder $1.
make_debian() {
    local none="run apt-get update, which gets the lists of packages" there
    echo "get-data: reading the lists of packages"
    run apt-cache dumpavail >"$1/lists" || fail 69 "apt-cache dumpavail has failed"
    describe_packages <"$1/lists" | LC_ALL=C sort | LC_ALL=C awk -F '\t' '!name[$2]++ && !text[$4]++' >"$1/texts" ||
        fail 74 "cannot write to $dest: is the disk full?"
    [[ -s $1/texts ]] || fail 69 "apt-cache knows no package" "$none"
    mkdir "$1/$folder"
    there=$(write_tables "$1/$folder" "$1/texts") || {
        [[ -n $there ]] || fail 74 "cannot write to $dest: is the disk full?"
        fail 69 "apt-cache knows packages of $there sections, not $sections" "$none, or choose fewer (--sections)"
    }
    check_folder "$1/$folder" "$none"
}

if [[ -e $dest/$folder || -L $dest/$folder ]]; then
    check_folder "$dest/$folder" "it is not what this script makes: move it away and start again"
    echo "get-data: already there"
else
    if [[ $dataset == debian ]]; then
        for tool in apt-cache awk sort; do
            have "$tool" || fail 69 "$tool is not there; the data set debian is made on Debian and its descendants"
        done
    else
        have md5sum || fail 69 "md5sum is not there"
        choose_unpacker
    fi
    unset TAR_OPTIONS UNZIP UNZIPOPT
    mkdir -p "$dest" || fail 74 "cannot make the folder $dest"
    temporary=$(mktemp -d "$dest/.get-data.XXXXXX") || fail 74 "cannot write to $dest"
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM

    if [[ $dataset == debian ]]; then
        make_debian "$temporary"
    else
        get_archive "$temporary"
    fi
    mv -T "$temporary/$folder" "$dest/$folder" || fail 74 "cannot make $dest/$folder"
fi

cat <<TEXT
get-data: $dataset is in $dest/$folder; use it in a config with
    [data]
    dataset = $word
    path = $dest/$folder
TEXT
[[ $word != text ]] || cat <<TEXT
    vocab = $dest/$folder/vocab.txt
and make the vocabulary with
    sdtrain vocab $dest/$folder/train.tsv --size 8000 >$dest/$folder/vocab.txt
TEXT
