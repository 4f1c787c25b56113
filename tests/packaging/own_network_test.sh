#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the library into a folder of its own, builds own_network.c there as a user does, with pkg-config alone, and runs it.
#
#   own_network_test.sh BUILD SOURCE        BUILD: the build folder; SOURCE: own_network.c
set -euo pipefail

build=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/before" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
mv "$work/before" "$work/prefix" # an installed tree may be moved
pc=$(find "$work/prefix" -name sdtrain.pc)
[[ -n $pc ]] || { echo "own_network_test: no sdtrain.pc was installed"; exit 1; }
export PKG_CONFIG_PATH=${pc%/*}${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
read -ra flags <<<"$(pkg-config --cflags --libs --static sdtrain)"
cd "$work"
"${CC:-cc}" -std=c17 -Wall -Wextra -Werror "$source" -o own_network "${flags[@]}"
OMP_NUM_THREADS=1 ./own_network
