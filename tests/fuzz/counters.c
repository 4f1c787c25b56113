/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer's coverage counters. Compiled without them: in a file that has some, clang's own names for them collide
 * with these. */
#include "fuzz.h"

extern unsigned char __start___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop___sancov_cntrs[] __attribute__((weak, visibility("hidden")));

unsigned char *fuzz_counters(size_t *n) {
    *n = __start___sancov_cntrs ? (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs) : 0;
    return __start___sancov_cntrs;
}
