#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# get-data.sh against a local HTTP server: a good download, a second call, and everything that can be wrong. The
# archives are laid out as the official ones, with all their classes and a few bytes an image. The texts of debian come
# from an apt-cache of its own.
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

failed() {
    echo "FAILED: $*"
    exit 1
}

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
    [[ -z $(ls -A "$1") ]] || failed "left behind in $1: $(ls -A "$1")"
}

# expect_only NAME FOLDER: there is nothing else in FOLDER.
expect_only() {
    [[ $(ls -A "$2") == "$1" ]] || failed "in $2 there is not $1 alone: $(ls -A "$2")"
}

md5_of() {
    local sum
    sum=$(md5sum <"$1")
    echo "${sum%% *}"
}

# tools FOLDER NAME...: FOLDER is a PATH with these tools alone and what get-data.sh always needs.
tools() {
    local folder=$1 tool
    shift
    mkdir "$folder"
    for tool in bash cat dirname gzip md5sum mkdir mktemp mv rm rmdir tar "$@"; do
        ln -s "$(command -v "$tool")" "$folder/"
    done
}

# ---- the archives ----

# CIFAR-10 with one record a file.
mkdir -p serve cifar-10-batches-bin
for file in data_batch_{1..5} test_batch; do
    head -c 3073 /dev/zero >"cifar-10-batches-bin/$file.bin"
done
tar -czf serve/cifar-10-binary.tar.gz cifar-10-batches-bin
md5=$(md5_of serve/cifar-10-binary.tar.gz)

# Imagenette: 10 classes with an image each, and a table, here of zeros, which is large when it is unpacked.
for split in train val; do
    for ((i = 0; i < 10; i++)); do
        mkdir -p "imagenette2-160/$split/n$i"
        echo "$split $i" >"imagenette2-160/$split/n$i/image.JPEG"
    done
done
head -c 1000000 /dev/zero >imagenette2-160/noisy_imagenette.csv
tar -czf serve/imagenette2-160.tgz imagenette2-160
imagenette_md5=$(md5_of serve/imagenette2-160.tgz)

# Tiny ImageNet: 200 classes, two images of each in val, whose order is not that of the classes.
tiny='tiny-imagenet-200'
mkdir -p "$tiny/val/images" "$tiny/test/images"
echo unlabelled >"$tiny/test/images/test_0.JPEG"
for ((i = 0; i < 200; i++)); do
    mkdir -p "$tiny/train/n$i/images"
    echo "train $i" >"$tiny/train/n$i/images/n${i}_0.JPEG"
    printf 'n%d_0.JPEG\t0\t0\t63\t63\n' "$i" >"$tiny/train/n$i/n${i}_boxes.txt"
done
for ((i = 0; i < 400; i++)); do
    class=$((i * 7 % 200))
    echo "val $class" >"$tiny/val/images/val_$i.JPEG"
    printf 'val_%d.JPEG\tn%d\t0\t32\t44\t62\n' "$i" "$class" >>"$tiny/val/val_annotations.txt"
done
head -c 1000000 /dev/zero >"$tiny/words.txt"
python3 -m zipfile -c "serve/$tiny.zip" "$tiny/"
tiny_md5=$(md5_of "serve/$tiny.zip")

# Others under the same names: laid out in another way, or cut though their MD5 is that which is expected.
mkdir -p other less cut
mv imagenette2-160/val/n3 imagenette2-160/n3
tar -czf other/imagenette2-160.tgz imagenette2-160
printf 'val_400.JPEG\tn0\t0\t0\t0\t0\n' >>"$tiny/val/val_annotations.txt"
python3 -m zipfile -c "other/$tiny.zip" "$tiny/"
head -n 399 "$tiny/val/val_annotations.txt" >annotations
mv annotations "$tiny/val/val_annotations.txt"
python3 -m zipfile -c "less/$tiny.zip" "$tiny/"
for archive in cifar-10-binary.tar.gz imagenette2-160.tgz "$tiny.zip"; do
    size=$(stat -c %s "serve/$archive")
    head -c $((size * 2 / 3)) "serve/$archive" >"cut/$archive"
done
rm -r cifar-10-batches-bin imagenette2-160 "$tiny"

# ---- the server ----

# Takes a free port and names it. /good/, /other/, /less/, /cut/: files. /broken/: error 500. /short/: half of a file,
# then the end, though the header names all of it. /stuck/: half of a file, then nothing.
cat >server.py <<'PYTHON'
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, kind, name = self.path.split("/")
        path = os.path.join(kind if kind in ("other", "less", "cut") else "serve", name)
        if kind == "broken" or not os.path.exists(path):
            return self.send_error(500 if kind == "broken" else 404)
        with open(path, "rb") as file:
            content = file.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = kind in ("short", "stuck")
        self.wfile.write(content[: len(content) // 2] if half else content)
        if kind == "stuck":
            self.wfile.flush()
            open("stuck", "w").close()
            time.sleep(600)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
python3 server.py >port 2>server.log &
server=$!
for ((i = 0; i < 100; i++)); do
    sleep 0.1
    [[ ! -s port ]] || break
done
[[ -s port ]] || failed "the HTTP server did not start: $(cat server.log)"
host=http://127.0.0.1:$(cat port)
export SD_DATA_URL=$host/good SD_DATA_MD5=$md5 no_proxy=127.0.0.1 NO_PROXY=127.0.0.1

# ---- CIFAR ----

expect 0 'path = data/cifar-10-batches-bin' "$get_data" cifar10 data
grep -qF 'dataset = cifar10' log || failed "no dataset: $(cat log)"
cmp data/cifar-10-batches-bin/test_batch.bin <(head -c 3073 /dev/zero)
expect_only cifar-10-batches-bin data
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
folder=x expect 64 'usage:' "$get_data" mnist
expect 64 'usage:' "$get_data" imagenette2-160 a b
expect 64 'usage:' "$get_data"
touch file
expect 74 'cannot make the folder' "$get_data" cifar10 file

# ---- folders of images ----

# The images of a data set as dataset = folder sees them: SPLIT/CLASS and what is in the file.
labels() {
    local image class
    (
        cd "$1"
        find train val -iname '*.jpeg' | while read -r image; do
            class=${image#*/}
            echo "${image%%/*} ${class%%/*} $(cat "$image")"
        done | sort
    )
}
# expect_labels FOLDER CLASSES IMAGES: each class has one training image and IMAGES of val, all of their own class.
expect_labels() {
    local class image
    for ((class = 0; class < $2; class++)); do
        echo "train n$class train $class"
        for ((image = 0; image < $3; image++)); do
            echo "val n$class val $class"
        done
    done | sort | cmp - <(labels "$1") || failed "images of $1 are not where they belong"
}

SD_DATA_MD5=$imagenette_md5 expect 0 'path = data/imagenette2-160' "$get_data" imagenette2-160 data
grep -qF 'dataset = folder' log || failed "no dataset: $(cat log)"
expect_labels data/imagenette2-160 10 1
SD_DATA_URL=http://127.0.0.1:1 expect 0 'already there' "$get_data" imagenette2-160 data

SD_DATA_MD5=$tiny_md5 expect 0 "path = a [b]*/$tiny" "$get_data" tiny-imagenet 'a [b]*'
grep -qF 'dataset = folder' log || failed "no dataset: $(cat log)"
expect_labels "a [b]*/$tiny" 200 2
[[ ! -e "a [b]*/$tiny/test" && ! -e "a [b]*/$tiny/val/images" ]] || failed 'folders that are no classes'
expect_only "$tiny" 'a [b]*'
SD_DATA_URL=http://127.0.0.1:1 expect 0 'already there' "$get_data" tiny-imagenet 'a [b]*'

# What is there under the final name is not touched.
rm -r data/imagenette2-160/val/n7
expect 65 'val has 9 class folders instead of 10' "$get_data" imagenette2-160 data
[[ -e data/imagenette2-160/val/n6/image.JPEG ]] || failed 'the folder has been touched'
mkdir -p "unsorted/$tiny/val/images" link
expect 65 'train has 0 class folders instead of 200' "$get_data" tiny-imagenet unsorted
ln -s nowhere link/imagenette2
expect 65 'move it away' "$get_data" imagenette2 link
expect_only imagenette2 link

# Every way to unpack that is there.
for tool in unzip python3; do
    program=$(command -v "$tool") || continue
    [[ $tool != python3 ]] || program=$(python3 -c 'import sys; print(sys.executable)') # no script that finds it
    tools "with-$tool" curl
    ln -s "$program" "with-$tool/$tool"
    with_tool=(env "PATH=$tmp/with-$tool" "$BASH" "$get_data")
    SD_DATA_MD5=$tiny_md5 expect 0 "$tiny" "${with_tool[@]}" tiny-imagenet "by-$tool"
    expect_labels "by-$tool/$tiny" 200 2
    SD_DATA_URL=$host/cut SD_DATA_MD5=$(md5_of "cut/$tiny.zip") \
        expect 65 'is damaged' "${with_tool[@]}" tiny-imagenet "cut-$tool"
    expect_empty "cut-$tool"
    (
        trap '' XFSZ # a write beyond this limit fails, as on a full disk
        ulimit -f 300
        SD_DATA_MD5=$tiny_md5 expect 74 'is the disk full?' "${with_tool[@]}" tiny-imagenet "full-$tool"
    )
    expect_empty "full-$tool"
    echo "ok: with $tool"
done
tools without curl
without=(env "PATH=$tmp/without" "$BASH" "$get_data")
expect 69 'unzip or python3 is needed' "${without[@]}" tiny-imagenet no-unzip
[[ ! -e no-unzip ]] || failed 'a folder is left'
SD_DATA_MD5=$imagenette_md5 expect 0 'imagenette2-160' "${without[@]}" imagenette2-160 no-unzip

# ---- what can be wrong with a download: nothing is left ----

# refused CODE TEXT KIND DATASET MD5: from $host/KIND.
refused() {
    rm -rf refused
    SD_DATA_URL=$host/$3 SD_DATA_MD5=$5 expect "$1" "$2" "$get_data" "$4" refused
    expect_empty refused
}
for dataset in imagenette2-160 tiny-imagenet; do
    refused 65 "instead of ${md5//[0-9]/f}" good "$dataset" "${md5//[0-9]/f}"
    refused 65 'instead of' cut "$dataset" "$imagenette_md5"
done
refused 69 'cannot download' broken imagenette2-160 "$imagenette_md5"
refused 69 'cannot download' good imagenette2 "$imagenette_md5" # 404
refused 69 'cannot download' short imagenette2-160 "$imagenette_md5"
refused 65 'is damaged' cut imagenette2-160 "$(md5_of cut/imagenette2-160.tgz)"
refused 65 'is damaged' cut cifar10 "$(md5_of cut/cifar-10-binary.tar.gz)"
refused 65 'val has 9 class folders' other imagenette2-160 "$(md5_of other/imagenette2-160.tgz)"
refused 65 "'val_400.JPEG' is no image of val" other tiny-imagenet "$(md5_of "other/$tiny.zip")"
refused 65 'does not name all images of val' less tiny-imagenet "$(md5_of "less/$tiny.zip")"
(
    trap '' XFSZ
    ulimit -f 300
    refused 74 'is the disk full?' good imagenette2-160 "$imagenette_md5"
)

# ---- signals ----

# interrupted SIGNAL CODE COMMAND...: COMMAND downloads into refused/; the file stuck says that it waits for what does
# not end. SIGNAL to the script alone ends it and its tool at once; nothing is left.
interrupted() {
    local signal=$1 code=$2 got=0 script tool
    shift 2
    rm -rf refused stuck
    set -m # else SIGINT is ignored in what is in the background
    SD_DATA_MD5=$tiny_md5 "$@" >log 2>&1 &
    script=$!
    set +m
    for ((i = 0; i < 100; i++)); do
        [[ ! -e stuck ]] || break
        sleep 0.1
    done
    tool=$({ cat /proc/[0-9]*/stat 2>/dev/null || true; } | sed -n "s/^\([0-9]*\) (.*) . $script .*/\1/p")
    [[ -e stuck && -n $tool ]] || failed "it does not wait for a tool: $(cat log)"
    kill -s "$signal" "$script"
    SECONDS=0
    wait "$script" || got=$?
    ((got == code)) || failed "SIG$signal: '$*' ended with $got, expected $code: $(cat log)"
    ((SECONDS < 20)) || failed "SIG$signal: '$*' ended after $SECONDS s"
    ! kill -0 "$tool" 2>/dev/null || failed "SIG$signal: the tool of '$*' goes on"
    expect_empty refused
    echo "ok: exit $code, SIG$signal"
}
for signal in HUP:129 INT:130 TERM:143; do
    interrupted "${signal%:*}" "${signal#*:}" env "SD_DATA_URL=$host/stuck" "$get_data" tiny-imagenet refused
done

# ---- texts of packages ----

# An apt-cache that knows what is in the file `lists`, and its tools alone.
tools apt awk sort env
cat >apt/apt-cache <<'TEXT'
#!/usr/bin/env bash
[[ $* == dumpavail && -e lists ]] || exit 100
exec cat lists
TEXT
chmod +x apt/apt-cache
debian=(env "PATH=$tmp/apt" "$BASH" "$get_data" debian)

# package SOURCE NAME SECTION TEXT
package() {
    printf 'Package: %s\n%sVersion: 1\nDescription: %s\n of many lines\nDescription-md5: 0\nTag: role::program,\n a::b\n' \
        "$2" "$([[ $1 == "$2" ]] || echo "Source: $1 (1)"$'\n')" "$4"
    printf 'Section: %s\nPriority: optional\n\n' "$3"
}
# 100 sources: those of libs are of two packages, 40 are of games, 10 of news.
{
    for ((i = 0; i < 50; i++)); do
        package "lib$i" "lib$i" libs "\"library\" number $i"
        package "lib$i" "lib$i-dev" contrib/libs "headers of number $i"
    done
    for ((i = 0; i < 40; i++)); do
        package "game$i" "game$i" non-free/games $'a  game\twith '"naïve player $i "
    done
    for ((i = 0; i < 10; i++)); do
        package "news$i" "news$i" news "news reader $i"
    done
    package twin twin news 'news reader 3'    # a text that is there
    package lib0 lib0 libs 'an older version' # a package that is there
    printf 'Package: bare\nDescription: of no section\n\n'
    printf 'Package: mute\nSection: libs\n\n'
} >lists

expect 0 'path = texts/debian-2-sections' "${debian[@]}" texts --sections 2
grep -qF 'dataset = text' log || failed "no dataset: $(cat log)"
expect_only debian-2-sections texts
cd texts/debian-2-sections
[[ $(head -qn 1 train.tsv test.tsv | sort -u) == $'sentence\tlabel' ]] || failed 'no header'
[[ $(cut -f 2 train.tsv test.tsv | sort | uniq -c | awk '{ print $1, $2 }') == $'40 games\n2 label\n100 libs' ]] ||
    failed "other texts than expected: $(cat train.tsv test.tsv)"
! grep -vP '^[^\t]+\t[a-z]+$' train.tsv test.tsv || failed 'lines that are no text and label'
grep -qF $'"library" number 7\tlibs' train.tsv test.tsv || failed 'a quote is not as it was'
grep -qF $'a game with naïve player 7\tgames' train.tsv test.tsv || failed 'space is not folded'
(($(wc -l <test.tsv) > 5 && $(wc -l <test.tsv) < 30)) || failed "$(wc -l <test.tsv) lines of 142 are test texts"
numbers() { sed -n "s/^$2 number \([0-9]*\)\t.*/\1/p" "$1" | sort; }
[[ -n $(numbers test.tsv '"library"') ]] || failed 'there is no library in the test set'
cmp <(numbers test.tsv '"library"') <(numbers test.tsv 'headers of') || failed 'a source is on both sides'
cd "$tmp"
expect 0 'already there' "${debian[@]}" texts --sections 2

# The same whatever the order of the lists; the third section has every text once.
awk -v RS= -v ORS='\n\n' '{ packages[NR] = $0 } END { for (i = NR; i > 0; i--) print packages[i] }' lists >reversed
mv reversed lists
expect 0 'path = again/debian-2-sections' "${debian[@]}" --sections 2 again
diff -r texts/debian-2-sections again/debian-2-sections || failed 'the order of the lists matters'
expect 0 'path = again/debian-3-sections' "${debian[@]}" again --sections 3
(($(cat again/debian-3-sections/*.tsv | grep -c 'news$') == 10)) || failed 'not 10 texts of news'

expect 69 'packages of 3 sections, not 20' "${debian[@]}" few
expect_empty few
: >lists
expect 69 'knows no package' "${debian[@]}" few
rm lists
expect 69 'dumpavail has failed' "${debian[@]}" few
expect_empty few
rm apt/apt-cache
expect 69 'apt-cache is not there' "${debian[@]}" few
for wrong in 1 0 -3 x 1000 ''; do
    expect 64 'from 2 to 999' "${debian[@]}" few --sections "$wrong"
done
expect 64 'from 2 to 999' "${debian[@]}" few --sections
expect 64 'usage:' "$get_data" cifar10 few --sections 2
expect_empty few

# An unzip that has unpacked a part, and goes on without end.
tools slow curl touch sleep
cat >slow/unzip <<'TEXT'
#!/usr/bin/env bash
folder=${!#}/tiny-imagenet-200
mkdir -p "$folder/train/n0" "$folder/val/images"
touch stuck
exec sleep 600
TEXT
chmod +x slow/unzip
ln -s "$(command -v env)" slow/
interrupted TERM 143 env "PATH=$tmp/slow" "$BASH" "$get_data" tiny-imagenet refused

SD_DATA_MD5=$tiny_md5 expect 0 "$tiny" "$get_data" tiny-imagenet refused
expect_labels "refused/$tiny" 200 2

# ---- the same with wget, where it is installed ----

if command -v wget >/dev/null; then
    tools wget-alone wget
    by_wget=(env "PATH=$tmp/wget-alone" "$BASH" "$get_data")
    expect 0 'cifar-10-batches-bin' "${by_wget[@]}" cifar10 by-wget
    expect_only cifar-10-batches-bin by-wget
    SD_DATA_MD5=$imagenette_md5 expect 0 'imagenette2-160' "${by_wget[@]}" imagenette2-160 by-wget
    expect_labels by-wget/imagenette2-160 10 1
    SD_DATA_URL=$host/broken expect 69 'cannot download' "${by_wget[@]}" cifar10 no-wget
    expect_empty no-wget
    echo 'ok: with wget'
fi
echo 'get_data_test: all passed'
