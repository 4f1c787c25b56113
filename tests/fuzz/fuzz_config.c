/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration text and --set assignments, as cli/main.c takes them: refused with a place and a reason, or accepted,
 * and then what is written of it reads back as the same configuration.
 *
 *     input: ranks (1 byte), the file, then assignments, each after a zero byte */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "sdtrain/config.h"

static const char file_name[] = "folder/run.ini";

bool fuzz_seed(int i, uint8_t **bytes, size_t *n) {
    static const char assigned[] =
        "\x01[train]\nepochs = 2\n\0train.batch_size=64\0stochastic_depth.survival_prob=0.8\0"
        "run.name=a b\0lr.milestones=1, 2";
    if (i > 0)
        return false;
    *n = sizeof assigned - 1;
    *bytes = malloc(*n);
    memcpy(*bytes, assigned, *n);
    return true;
}

/* The file is what stands before the first zero byte; main() refuses one with a zero byte in it. */
static sd_status load(sd_config *config, const char *text, const char *end, int ranks) {
    sd_config_init(config);
    SD_TRY(sd_config_parse(config, text, file_name));
    for (const char *next = text + strlen(text) + 1; next < end; next += strlen(next) + 1)
        SD_TRY(sd_config_set(config, next));
    return sd_config_check(config, ranks);
}

static void expect_the_same_again(const sd_config *config, int ranks) {
    static sd_config again; /* large */
    char *text, *same, differences[3072];
    fuzz_require(sd_config_text(config, &text) == SD_OK, "no text: %s", sd_error_message());
    sd_config_init(&again);
    sd_status status = sd_config_parse(&again, text, file_name);
    if (status == SD_OK)
        status = sd_config_check(&again, ranks);
    fuzz_require(status == SD_OK, "refused when it is read again: %s\n%s", sd_error_message(), text);
    fuzz_require(sd_config_text(&again, &same) == SD_OK, "no text: %s", sd_error_message());
    fuzz_require(!strcmp(text, same), "reads back as another:\n%s\n--- not\n%s", same, text);
    sd_config_differences(config, &again, differences, sizeof differences);
    fuzz_require(!differences[0], "reads back with differences: %s", differences);
    free(text);
    free(same);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static sd_config config; /* large */
    if (n < 1)
        return 0;
    const int ranks = 1 + bytes[0] % 8;
    char *text = malloc(n);
    memcpy(text, bytes + 1, n - 1);
    text[n - 1] = '\0';
    sd_error_clear();
    sd_status status = load(&config, text, text + n, ranks);
    if (status == SD_OK)
        expect_the_same_again(&config, ranks);
    else
        fuzz_require((status == SD_ERR_CONFIG || status == SD_ERR_USAGE) && sd_error_message()[0],
                     "status %d without a reason: %s", (int)status, sd_error_message());
    free(text);
    return 0;
}
