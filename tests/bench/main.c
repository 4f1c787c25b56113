/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain-bench: how fast kernels and training steps are on this machine. Compare ratios, not absolute figures. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "sdtrain/arena.h"

enum { MAX_WORDS = 256, MAX_CONFIG_BYTES = 1 << 20, MAX_ROUNDS = 10000, ROUNDS = 7, STEPS = 4 };

typedef struct options {
    const char *mode, *isa;
    const char *words[MAX_WORDS], *settings[MAX_WORDS];
    int n_words, n_settings, rounds, steps;
    bool help, direct;
} options;

static const char usage[] =
    "usage: sdtrain-bench kernels [--direct] [--isa NAME] [--rounds N] [NAME-SUBSTRING ...]\n"
    "       sdtrain-bench steps CONFIG.ini [--set section.key=value ...] [--rounds N] [--steps N]\n"
    "       sdtrain-bench loader CONFIG.ini [--set section.key=value ...] [--rounds N]\n"
    "       sdtrain-bench --help\n";

static const char help[] =
    "\n"
    "kernels: GFLOP/s of the forward and the backward pass of the layers of ResNet-110 (64 images of 32 pixels),\n"
    "    ResNet-50 (8 images of 224 pixels) and ViT-Tiny (32 images of 65 tokens), one thread; their share of the processor's\n"
    "    peak, and their speed as a multiple of OpenBLAS's for a matrix product of the same size. Each round measures peak,\n"
    "    ours and OpenBLAS in turn; ratios are taken within a round, then the median over rounds.\n"
    "  --direct          no Winograd: what run.convolution = direct takes. Without it more than 100 % of the peak is no error:\n"
    "                    FLOPs are always those of the direct algorithm.\n"
    "  --isa NAME        ref, vec128, avx2 or avx512 (default: SD_ISA, else the best). OpenBLAS, and with it whatever of ours\n"
    "                    stands on it, takes the best there is nevertheless and may pass the peak of a lesser one.\n"
    "  NAME-SUBSTRING    only layers whose name contains one of these, as resnet110/3x3/32px/16-16 or vit_tiny\n"
    "\n"
    "steps: images/s of training steps of a configuration, by phase: one process, train.batch_size made-up images, no MPI.\n"
    "    If it drops branches, steps without and with drawn plans alternate, and the share of time saved is set against the\n"
    "    share of FLOPs saved by the plans that were drawn.\n"
    "  --set section.key=value   overrides a key of the file; may be given often\n"
    "  --steps N                 steps of a round, of either kind (default 4)\n"
    "\n"
    "loader: images/s that the threads of data.workers read, decode, transform and normalise; a round is an epoch.\n"
    "\n"
    "  --rounds N        default 7\n"
    "\n"
    "exit codes: 0 finished; 64 usage; 66 missing input; 70 internal; 78 bad configuration or instruction set\n";

static sd_status parse_number(const char *option, const char *text, int *number) {
    char *end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno || value < 1 || value > MAX_ROUNDS)
        return sd_fail(SD_ERR_USAGE, "%s: '%s' is not a number from 1 to %d", option, text, MAX_ROUNDS);
    *number = (int)value;
    return SD_OK;
}

static sd_status add_word(const char *words[], int *n, const char *word) {
    if (*n == MAX_WORDS)
        return sd_fail(SD_ERR_USAGE, "more than %d arguments of a kind", MAX_WORDS);
    words[(*n)++] = word;
    return SD_OK;
}

/* An option that has a value. */
static sd_status parse_option(const char *option, const char *value, options *o) {
    const bool is_known = !strcmp(option, "--rounds") || !strcmp(option, "--steps") || !strcmp(option, "--isa") ||
                          !strcmp(option, "--set");
    if (!is_known)
        return sd_fail(SD_ERR_USAGE, "unknown option %s (--help lists all)", option);
    if (!value)
        return sd_fail(SD_ERR_USAGE, "%s needs a value (--help shows how)", option);
    if (!strcmp(option, "--rounds"))
        return parse_number(option, value, &o->rounds);
    if (!strcmp(option, "--steps"))
        return parse_number(option, value, &o->steps);
    if (!strcmp(option, "--set"))
        return add_word(o->settings, &o->n_settings, value);
    o->isa = value;
    return SD_OK;
}

static sd_status parse_options(int argc, char **argv, options *o) {
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!strcmp(word, "--help") || !strcmp(word, "-h"))
            o->help = true;
        else if (!strcmp(word, "--direct"))
            o->direct = true;
        else if (word[0] == '-')
            SD_TRY(parse_option(word, argv[++i], o)); /* argv ends with NULL */
        else if (!o->mode)
            o->mode = word;
        else
            SD_TRY(add_word(o->words, &o->n_words, word));
    }
    return SD_OK;
}

/* That what is given fits the mode. */
static sd_status check_options(const options *o) {
    if (!o->mode)
        return sd_fail(SD_ERR_USAGE, "a mode is expected, kernels, steps or loader (--help shows how)");
    const bool is_steps = !strcmp(o->mode, "steps") || !strcmp(o->mode, "loader");
    if (!is_steps && strcmp(o->mode, "kernels") != 0)
        return sd_fail(SD_ERR_USAGE, "unknown mode '%s': known are kernels, steps and loader (--help shows how)",
                       o->mode);
    if (is_steps && o->isa)
        return sd_fail(SD_ERR_USAGE, "--isa belongs to kernels; the others take the environment variable SD_ISA");
    if (is_steps && o->direct)
        return sd_fail(SD_ERR_USAGE, "--direct belongs to kernels; the others take --set run.convolution=direct");
    if (is_steps && o->n_words != 1)
        return sd_fail(SD_ERR_USAGE, "%s expects one configuration file, %d are given", o->mode, o->n_words);
    if (!is_steps && (o->n_settings > 0 || o->steps > 0))
        return sd_fail(SD_ERR_USAGE, "%s belongs to steps, not to kernels", o->n_settings > 0 ? "--set" : "--steps");
    return SD_OK;
}

static sd_status read_config(const char *path, char **text) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return sd_fail(SD_ERR_NOINPUT, "%s: %s", path, strerror(errno));
    sd_status status = sd_alloc(text, MAX_CONFIG_BYTES + 1, 1);
    if (status == SD_OK) {
        errno = 0;
        const size_t bytes = fread(*text, 1, MAX_CONFIG_BYTES, file);
        if (ferror(file))
            status = sd_fail(SD_ERR_NOINPUT, "%s: cannot be read: %s", path, strerror(errno));
        else if (bytes == MAX_CONFIG_BYTES || memchr(*text, '\0', bytes))
            status = sd_fail(SD_ERR_CONFIG, "%s: is not a configuration file", path);
    }
    fclose(file);
    return status;
}

static sd_status load_config(const options *o, sd_config *config) {
    char *text = NULL;
    sd_status status = read_config(o->words[0], &text);
    sd_config_init(config);
    if (status == SD_OK)
        status = sd_config_parse(config, text, o->words[0]);
    free(text);
    for (int i = 0; status == SD_OK && i < o->n_settings; i++)
        status = sd_config_set(config, o->settings[i]);
    return status == SD_OK ? sd_config_check(config, 1) : status;
}

static sd_status run(const options *o) {
    static sd_config config; /* large */
    const int rounds = o->rounds > 0 ? o->rounds : ROUNDS;
    SD_TRY(check_options(o));
    if (!strcmp(o->mode, "kernels"))
        return bench_kernels(o->isa, o->direct, rounds, o->n_words, o->words);
    SD_TRY(load_config(o, &config));
    if (!strcmp(o->mode, "loader"))
        return bench_loader(&config, rounds);
    return bench_steps(&config, rounds, o->steps > 0 ? o->steps : STEPS);
}

int main(int argc, char **argv) {
    options o = {0};
    sd_status status = parse_options(argc, argv, &o);
    if (status == SD_OK && o.help)
        printf("%s%s", usage, help);
    else if (status == SD_OK)
        status = run(&o);
    fflush(stdout);
    if (status != SD_OK)
        fprintf(stderr, "sdtrain-bench: error: %s\n", sd_error_message());
    return sd_status_exit_code(status);
}
