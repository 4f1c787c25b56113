#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: hardening_test.sh PROGRAM    whether a release build was hardened, as the linker and the compiler left it
#
# Position independent, all relocations done before main and read-only after (full RELRO), no executable stack, stack
# canaries, checked string functions.
set -euo pipefail

program=${1:?"usage: hardening_test.sh PROGRAM"}
failures=0

# expect WHAT PATTERN TEXT: a line of text matches.
expect() {
    grep -Eq -- "$2" <<<"$3" && return
    echo "hardening_test: $program: no $1 ($2)"
    failures=$((failures + 1))
}

header=$(readelf -hW "$program")
dynamic=$(readelf -dW "$program")
segments=$(readelf -lW "$program")
symbols=$(readelf -W --dyn-syms "$program")
expect 'position independent code' 'Type: +DYN' "$header"
expect 'flag that says an executable is meant' 'FLAGS_1.*PIE' "$dynamic"
expect 'binding before main' '(FLAGS\).*BIND_NOW|FLAGS_1.*NOW)' "$dynamic"
expect 'read-only relocations' 'GNU_RELRO' "$segments"
expect 'stack that is data only' 'GNU_STACK.* RW +0x' "$segments"
expect 'stack canary' '__stack_chk_fail' "$symbols"
for function in __snprintf_chk __fprintf_chk; do
    expect 'checked library function' "$function" "$symbols"
done
((failures == 0)) || exit 1
echo "hardening_test: $program is hardened"
