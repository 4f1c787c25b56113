/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoint files, through the path a resume takes: only the file that was written is loaded; whatever differs from it
 * is refused with its name and a reason, leaves the run as it was, and never reaches HDF5.
 *
 *     input: the file */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/checkpoint/seal.h"
#include "fuzz.h"
#include "tiny.h"

bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    static const char bare[] = "SDTRAIN\n\x01\0\0\0\0\0\0\0\x18\0\0\0\0\0\0\0";
    if (i == 0) {
        tiny_run run = tiny_new(100);
        *bytes = tiny_checkpoint(&run, n);
        sd_optimizer_destroy(&run.optimizer);
        sd_network_destroy(&run.network);
    } else if (i == 1) {
        *n = sizeof bare - 1;
        *bytes = malloc(*n);
        memcpy(*bytes, bare, *n);
    }
    return i < 2;
}

/* libFuzzer reads the right digest out of the comparison with the wrong one, and puts it in: after a minute it seals
 * what it likes. That is the matter of checkpoint_inner. */
static bool sealed(const uint8_t *bytes, size_t n) {
    unsigned char *copy = malloc(n + 1);
    memcpy(copy, bytes, n);
    const bool good = sd_seal_check("copy", copy, n) == SD_OK;
    free(copy);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static tiny_run into;
    static unsigned char *original;
    static size_t original_bytes;
    static uint64_t whole, clean;
    char path[512];
    sd_checkpoint_info info;
    snprintf(path, sizeof path, "%s/step-00000007.h5", fuzz_folder());
    if (!original) {
        tiny_run saved = tiny_new(100);
        original = tiny_checkpoint(&saved, &original_bytes);
        whole = tiny_hash(&saved);
        sd_optimizer_destroy(&saved.optimizer);
        sd_network_destroy(&saved.network);
    }
    if (!into.network) {
        into = tiny_new(200);
        clean = tiny_hash(&into);
    }
    const bool same = n == original_bytes && !memcmp(bytes, original, n);
    if (!same && sealed(bytes, n))
        return 0;
    fuzz_write(path, bytes, n);
    sd_error_clear();
    sd_status status = tiny_load(path, &into, &info);
    fuzz_require((status == SD_OK) == same, "status %d of %s: %s", (int)status,
                 same ? "the file as it was written" : "another file", sd_error_message());
    fuzz_require(tiny_hash(&into) == (same ? whole : clean), "the run holds neither the checkpoint nor what it held");
    fuzz_require(same || (status == SD_ERR_DATA && strstr(sd_error_message(), path)), "status %d: %s", (int)status,
                 sd_error_message());
    fuzz_require(!same || info.progress.step == 7, "another step");
    sd_checkpoint_info_free(&info);
    if (same) {
        sd_optimizer_destroy(&into.optimizer);
        sd_network_destroy(&into.network);
    }
    return 0;
}
