/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain-mpi: training. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forecast.h"
#include "sdtrain/sdtrain.h"

enum { MAX_SETTINGS = 256, MAX_CONFIG_BYTES = 1 << 20 };

typedef struct options {
    const char *config, *evaluate, *keep, *resume, *job;
    const char *settings[MAX_SETTINGS];
    int n_settings;
    bool check, sweep, help, version, link; /* link: a forecast's link option is given */
    sd_forecast forecast;
} options;

static const char usage[] =
    "usage: mpirun -np RANKS sdtrain-mpi CONFIG.ini [--set section.key=value ...] [--resume auto|never|FILE] [--job ID]\n"
    "                                    [--check [--ranks R,... [--link-gbit G] [--latency-us U]]]\n"
    "                                    [--evaluate CHECKPOINT [--keep RULE | --sweep]] [--help] [--version]\n";

static bool is_job(const char *text) {
    const size_t bytes = strlen(text);
    bool good = bytes > 0 && bytes < SD_JOB_BYTES;
    for (size_t i = 0; i < bytes; i++)
        good = good && (unsigned char)text[i] >= ' ' && text[i] != 0x7f;
    return good;
}

static sd_status parse_options(int argc, char **argv, options *o) {
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            o->help = true;
        } else if (!strcmp(word, "--version")) {
            o->version = true;
        } else if (!strcmp(word, "--check")) {
            o->check = true;
        } else if (!strcmp(word, "--sweep")) {
            o->sweep = true;
        } else if (sd_forecast_is_option(word)) {
            if (!value)
                return sd_fail(SD_ERR_USAGE, "%s needs a value (--help shows how)", word);
            SD_TRY(sd_forecast_set(&o->forecast, word, value));
            o->link = o->link || strcmp(word, "--ranks") != 0;
            i++;
        } else if (!strcmp(word, "--set") || !strcmp(word, "--resume") || !strcmp(word, "--job") ||
                   !strcmp(word, "--evaluate") || !strcmp(word, "--keep")) {
            if (!value)
                return sd_fail(SD_ERR_USAGE, "%s needs a value (--help shows how)", word);
            if (!strcmp(word, "--resume"))
                o->resume = value;
            else if (!strcmp(word, "--job"))
                o->job = value;
            else if (!strcmp(word, "--evaluate"))
                o->evaluate = value;
            else if (!strcmp(word, "--keep"))
                o->keep = value;
            else if (o->n_settings == MAX_SETTINGS)
                return sd_fail(SD_ERR_USAGE, "more than %d --set", MAX_SETTINGS);
            else
                o->settings[o->n_settings++] = value;
            i++;
        } else if (word[0] == '-') {
            return sd_fail(SD_ERR_USAGE, "unknown option %s (--help lists all)", word);
        } else if (o->config) {
            return sd_fail(SD_ERR_USAGE, "two configuration files are given, %s and %s; one is expected", o->config,
                           word);
        } else {
            o->config = word;
        }
    }
    if (o->job && !is_job(o->job))
        return sd_fail(SD_ERR_USAGE, "--job is an ID of 1 to %d printable characters", SD_JOB_BYTES - 1);
    if (!o->config && !o->help && !o->version)
        return sd_fail(SD_ERR_USAGE, "a configuration file is expected (--help shows how)");
    if (o->check && o->evaluate)
        return sd_fail(SD_ERR_USAGE, "--check and --evaluate exclude each other");
    if ((o->keep || o->sweep) && !o->evaluate)
        return sd_fail(SD_ERR_USAGE, "--keep and --sweep are for --evaluate CHECKPOINT");
    if (o->keep && o->sweep)
        return sd_fail(SD_ERR_USAGE, "--keep and --sweep exclude each other");
    if (o->forecast.n > 0 && !o->check)
        return sd_fail(SD_ERR_USAGE, "--ranks is a question for --check");
    if (o->link && o->forecast.n == 0)
        return sd_fail(SD_ERR_USAGE, "--link-gbit and --latency-us are for --check --ranks");
    return SD_OK;
}

/* A hash of the options that must be equal on all ranks, such as --check. */
static uint64_t options_hash(const options *o) {
    const uint64_t flags =
        (uint64_t)o->sweep << 3 | (uint64_t)o->help << 2 | (uint64_t)o->version << 1 | (uint64_t)o->check;
    const double link[] = {o->forecast.link_gbit, o->forecast.latency_us};
    return flags ^ (o->evaluate ? sd_hash(o->evaluate, strlen(o->evaluate)) : 0) ^ sd_hash(link, sizeof link) ^
           (o->keep ? sd_hash(o->keep, strlen(o->keep)) << 5 : 0) ^
           (o->job ? sd_hash(o->job, strlen(o->job)) << 3 : 0) ^
           sd_hash(o->forecast.ranks, (size_t)o->forecast.n * sizeof *o->forecast.ranks);
}

static void print_help(void) {
    fputs(usage, stdout);
    fputs(
        "\nTrains a ResNet, ViT or BERT with stochastic depth, data-parallel over MPI ranks, as CONFIG.ini says.\n\n"
        "  --set section.key=value   overrides a key of the file; may be repeated\n"
        "  --resume auto|never|FILE  overrides checkpoint.resume\n"
        "  --job ID                  for supervisors that restart a command: starts with the same ID are one job. The\n"
        "                            first one obeys checkpoint.resume, later ones resume from the job's own run; a\n"
        "                            diverged job is refused (78)\n"
        "  --check                   validates everything and prints model, drop rates, savings and memory; trains nothing\n"
        "  --ranks R[,R...]          with --check: times steps for some seconds, and predicts them on 1 to 4096 ranks\n"
        "  --link-gbit G             bandwidth of each rank, for --ranks; default 10\n"
        "  --latency-us U            latency between ranks, for --ranks; default 30\n"
        "  --evaluate CHECKPOINT     scores a checkpoint on the validation images and prints one line; writes nothing\n"
        "  --keep RULE               with --evaluate: only these blocks are computed, counted from 0: 0,2,4 or every_other:K,\n"
        "                            first:K, last:K, random:K; blocks that change shapes always are, and K counts none\n"
        "  --sweep                   with --evaluate: a table over all depths, every other block kept, in sweep.csv as well: in\n"
        "                            the folder of the checkpoint's run, or where the checkpoint is if that is no run's\n"
        "  --version                 prints version and libraries\n\n"
        "exit codes: 0 finished; 64 usage; 65 bad data; 66 missing input; 70 internal, ranks disagree, or training diverged;\n"
        "            74 input/output; 75 stopped by a signal with a checkpoint written; 78 bad configuration\n\n"
        "keys of a configuration file, with their defaults (the first of several choices):\n",
        stdout);
    sd_config_help(stdout);
}

/* Reads the file on rank 0. Caller frees *text in any case. */
static sd_status read_config(const char *path, char **text, size_t *bytes) {
    const sd_status status = sd_file_get(path, MAX_CONFIG_BYTES, text, bytes);
    if (status == SD_ERR_DATA)
        return sd_fail(SD_ERR_CONFIG, "%s: is not a configuration file (a text file of at most %d bytes)", path,
                       MAX_CONFIG_BYTES);
    return status == SD_OK ? sd_config_check_text(*text, *bytes, path) : status;
}

/* Parses on every rank the text that rank 0 has read. Collective. */
static sd_status load_config(sd_comm *comm, const options *o, sd_config *config) {
    char *text = NULL;
    size_t bytes = 0;
    const bool root = sd_comm_rank(comm) == 0;
    sd_status status = root ? read_config(o->config, &text, &bytes) : SD_OK;
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_broadcast(comm, &bytes, sizeof bytes));
    if (!root)
        status = sd_alloc(&text, bytes + 1, 1);
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_broadcast(comm, text, bytes));
    sd_config_init(config);
    status = sd_config_parse(config, text, o->config);
    free(text);
    for (int i = 0; status == SD_OK && i < o->n_settings; i++)
        status = sd_config_set(config, o->settings[i]);
    if (status == SD_OK && o->resume) {
        char setting[SD_CONFIG_TEXT + 32];
        snprintf(setting, sizeof setting, "checkpoint.resume=%s", o->resume);
        status = sd_config_set(config, setting);
    }
    if (status == SD_OK)
        status = sd_config_check(config, sd_comm_size(comm));
    SD_TRY(sd_comm_agree(comm, status));
    /* --set may differ between ranks: compare the results */
    SD_TRY(sd_comm_agree(comm, sd_config_text(config, &text)));
    const uint64_t hash = sd_hash(text, strlen(text));
    free(text);
    return sd_comm_check_same(comm, hash, "configuration");
}

static sd_status run(sd_comm *comm, const options *o) {
    static sd_config config; /* large */
    SD_TRY(sd_comm_agree(comm, sd_comm_check_launcher(comm)));
    SD_TRY(load_config(comm, o, &config));
    if (o->check)
        return sd_train_check(comm, &config, o->job, &o->forecast);
    if (o->sweep)
        return sd_train_sweep(comm, &config, o->evaluate);
    if (o->evaluate)
        return sd_train_evaluate(comm, &config, o->evaluate, o->keep);
    sd_signals_catch();
    return sd_train(comm, &config, o->job);
}

int main(int argc, char **argv) {
    options o = {0};
    sd_comm *comm = NULL;
    sd_file_reserve_standard_streams();
    sd_forecast_init(&o.forecast);
    sd_status status = sd_comm_start(&argc, &argv, &comm);
    if (status != SD_OK) {
        sd_log_error();
        return sd_status_exit_code(status);
    }
    const bool root = sd_comm_rank(comm) == 0;
    sd_log_mute(!root);
    status = sd_comm_agree(comm, parse_options(argc, argv, &o));
    if (status == SD_OK)
        status = sd_comm_check_same(comm, options_hash(&o), "command line");
    if (status == SD_OK && o.help && root)
        print_help();
    else if (status == SD_OK && o.version && root)
        printf("sdtrain-mpi %s (%s, compiled by %s)\n", SD_VERSION, sd_comm_library(), __VERSION__);
    if (status == SD_OK && !o.help && !o.version)
        status = run(comm, &o);

    const int exit_code = sd_status_exit_code(status);
    if (status == SD_STOPPED && sd_error_message()[0])
        fprintf(stderr, "sdtrain-mpi: %s\n", sd_error_message());
    else if (status != SD_OK && sd_error_message()[0])
        sd_log_error();
    fflush(NULL);
    if (status != SD_OK && !sd_comm_failed_together(comm))
        sd_comm_abort(comm, exit_code);
    sd_comm_finish(&comm);
    return exit_code;
}
