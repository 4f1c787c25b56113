#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks that the tables of keys in configs/README.md are those of the program.
#
#   keys_test.sh PROGRAM README             compares them
#   keys_test.sh PROGRAM README --write     renews them
set -euo pipefail

program=$1
readme=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The sections and keys of --help, as one table a section.
"$program" --help | awk '
    /^\[[a-z_]+\]$/ { printf "\n### %s\n\n| key | default, or choices | meaning |\n|---|---|---|\n", $0; in_keys = 1; next }
    in_keys && match($0, /^  [a-z_0-9]+ =/) {
        key = substr($0, 3, RLENGTH - 4); rest = substr($0, RLENGTH + 1)
        match(rest, /  +/) # in front of the meaning
        value = substr(rest, 1, RSTART - 1); meaning = substr(rest, RSTART + RLENGTH)
        sub(/^ /, "", value); gsub(/\|/, "\\|", value); gsub(/\|/, "\\|", meaning)
        printf "| `%s` | %s | %s |\n", key, value == "" ? "" : "`" value "`", meaning
    }' >"$work/keys"
grep -qF 'seed of everything random' "$work/keys" || { echo "keys_test: --help lists no keys"; exit 1; }

awk -v keys="$work/keys" '
    /^<!-- keys:/ { print; while ((getline line < keys) > 0) print line; print ""; skip = 1; found = 1; next }
    /^<!-- end of keys/ { skip = 0 }
    !skip { print }
    END { exit !found }' "$readme" >"$work/readme" || { echo "keys_test: $readme has no place for the keys"; exit 1; }
if [[ ${3:-} == --write ]]; then
    cp "$work/readme" "$readme"
elif ! diff -u "$readme" "$work/readme"; then
    echo "keys_test: $readme is not what the program has; run tests/scripts/keys_test.sh build/src/sdtrain-mpi configs/README.md --write"
    exit 1
fi
