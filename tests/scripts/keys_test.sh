#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks that the tables of keys in configs/README.md are those of the program.
#
#   keys_test.sh PRINT_KEYS README             compares them; PRINT_KEYS: the program made of print_keys.c
#   keys_test.sh PRINT_KEYS README --write     renews them
set -euo pipefail

readme=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$1" >"$work/keys"
awk -v keys="$work/keys" '
    /^<!-- keys:/ { print; while ((getline line < keys) > 0) print line; print ""; skip = 1; found = 1; next }
    /^<!-- end of keys/ { skip = 0 }
    !skip { print }
    END { exit !found }' "$readme" >"$work/readme" || { echo "keys_test: $readme has no place for the keys"; exit 1; }
if [[ ${3:-} == --write ]]; then
    cp "$work/readme" "$readme"
elif ! diff -u "$readme" "$work/readme"; then
    echo "keys_test: $readme differs from the program; run tests/scripts/keys_test.sh build/tests/print_keys configs/README.md --write"
    exit 1
fi
