/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "isa.h"

extern const sd_kernels sd_kernels_ref, sd_kernels_vec128;
#ifdef SD_HAVE_X86
extern const sd_kernels sd_kernels_avx2, sd_kernels_avx512;
#endif

static const struct isa_row {
    const char *name;
    const sd_kernels *kernels; /* NULL: not in this build */
} isa_rows[] = {
    {"ref", &sd_kernels_ref},
    {"vec128", &sd_kernels_vec128},
#ifdef SD_HAVE_X86
    {"avx2", &sd_kernels_avx2},
    {"avx512", &sd_kernels_avx512},
#else
    {"avx2", NULL},
    {"avx512", NULL},
#endif
};
enum { N_ISA = sizeof isa_rows / sizeof isa_rows[0] };

static bool processor_has(int row) {
    if (!isa_rows[row].kernels)
        return false;
#ifdef SD_HAVE_X86
    if (!strcmp(isa_rows[row].name, "avx2"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!strcmp(isa_rows[row].name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#endif
    return true;
}

sd_status sd_kernels_select(const char *isa, const sd_kernels **kernels) {
    const char *from = "";
    if (!isa) {
        isa = getenv("SD_ISA");
        from = " (from the environment variable SD_ISA)";
    }
    for (int row = N_ISA - 1; row >= 0; row--) {
        bool wanted = !isa || !*isa || !strcmp(isa, isa_rows[row].name);
        if (wanted && processor_has(row)) {
            *kernels = isa_rows[row].kernels;
            return SD_OK;
        }
        if (wanted && isa && *isa)
            return sd_fail(SD_ERR_CONFIG, "this processor or build does not have the instruction set '%s'%s", isa,
                           from);
    }
    return sd_fail(SD_ERR_CONFIG, "unknown instruction set '%s'%s: known are ref, vec128, avx2, avx512", isa, from);
}

const sd_kernels *sd_kernels_at(int index) {
    for (int row = 0; row < N_ISA; row++)
        if (processor_has(row) && index-- == 0)
            return isa_rows[row].kernels;
    return NULL;
}
