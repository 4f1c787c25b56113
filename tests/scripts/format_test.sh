#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks that C code is as .clang-format says, and that no line has more than its 120 columns, unless a text in quotes takes them.
# The formatter leaves comments as they are, so lines are measured here; without clang-format 14 (others differ in details) that is all.
#
#   format_test.sh ROOT        ROOT: the repository
set -euo pipefail

cd "$1"
mapfile -t files < <(find include src tests -name '*.[ch]' | sort)
long=$(awk 'length > 120 && !/^ *([A-Za-z_ ]*[=(,] *)?".*"[;,)]*$/ { print FILENAME ":" FNR ": " length " columns" }' "${files[@]}")
if [[ -n $long ]]; then
    echo "$long"
    exit 1
fi
if [[ $(clang-format --version 2>/dev/null) == *"version 14."* ]]; then
    clang-format --dry-run -Werror "${files[@]}"
fi
echo "format_test: ${#files[@]} files"
