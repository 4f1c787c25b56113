#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks that every source and script says in its first lines under which license it may be used, and that the license is there.
#
#   license_test.sh ROOT        ROOT: the repository
set -euo pipefail

cd "$1"
grep -q 'Apache License' LICENSE || { echo "LICENSE: is missing, or is another one"; exit 1; }
missing=$(find CMakeLists.txt include launch src tests -type f \
    \( -name '*.[ch]' -o -name '*.py' -o -name '*.sh' -o -name '*.sbatch' -o -name '*.yaml' -o -name CMakeLists.txt \) \
    -exec awk 'FNR > 2 { nextfile } /SPDX-License-Identifier: Apache-2\.0/ { found[FILENAME] }
               END { for (i = 1; i < ARGC; i++) if (!(ARGV[i] in found)) print ARGV[i] }' {} +)
if [[ -n $missing ]]; then
    echo "no SPDX-License-Identifier in the first two lines of:"
    echo "$missing"
    exit 1
fi
