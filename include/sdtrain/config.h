/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a run: INI text -> one typed struct, each key checked against one table (config/keys.c).
 *
 * Local; the caller gives all ranks the same text. Errors are SD_ERR_CONFIG, and name file, line, key and allowed
 * values. */
#ifndef SDTRAIN_CONFIG_H
#define SDTRAIN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sdtrain/choice.h"
#include "sdtrain/console.h"
#include "sdtrain/data.h"
#include "sdtrain/dist.h"
#include "sdtrain/drop.h"
#include "sdtrain/list.h"
#include "sdtrain/models.h"
#include "sdtrain/optim.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A text and its key fit a line of the file. */
enum { SD_CONFIG_TEXT = 184, SD_CONFIG_FILE = 512, SD_CONFIG_MAX_KEYS = 128 };
enum { SD_MAX_THREADS = 1024 }; /* of a rank */

/* The treatment of a step whose loss or gradient is not finite. */
#define SD_ON_NONFINITE_LIST(X)                                                                                        \
    X(SD_NONFINITE_STOP, "stop")                                                                                       \
    X(SD_NONFINITE_SKIP, "skip")
typedef enum sd_on_nonfinite { SD_ON_NONFINITE_LIST(SD_CHOICE_ENUMERATOR) } sd_on_nonfinite;
SD_CHOICE_WORD_OF(sd_on_nonfinite, SD_ON_NONFINITE_LIST)

/* The values of all keys (meanings: config/keys.c), by section; some sections are the spec of a room. */
typedef struct sd_config {
    struct {
        char name[SD_CONFIG_TEXT], output[SD_CONFIG_TEXT];
        int64_t seed, threads, max_seconds, stall_seconds;
        sd_convolution_choice convolution;
    } run;
    struct {
        sd_dataset_kind dataset;
        sd_augment augment;
        sd_last_batch last_batch;
        sd_filter interpolation;
        sd_bad_image on_bad_image;
        double crop_pct;
        char path[SD_CONFIG_TEXT], normalise[SD_CONFIG_TEXT];
        int64_t image_size, train_samples, val_samples, validation, workers; /* validation: 0: the test set */
        char vocab[SD_CONFIG_TEXT], text_columns[SD_CONFIG_TEXT], label_column[SD_CONFIG_TEXT];
        bool lower_case;
        int64_t sequence;
    } data;
    struct {
        char name[SD_CONFIG_TEXT], init[SD_CONFIG_TEXT], init_digest[SD_CONFIG_TEXT];
        sd_stem_choice stem;
        int64_t classes, patch_size;
        sd_list layers;
        double dropout, hidden_dropout, attention_dropout;
        bool zero_init_residual;
        char freeze[SD_CONFIG_TEXT];
    } model;
    struct {
        double rate, survival_prob; /* sd_config_check() resolves survival_prob into rate */
        sd_drop_schedule schedule;
        sd_drop_scope scope;
        sd_rank_divisor rank_divisor;
        sd_drop_scale scale;
        sd_unit_choice unit;
        sd_list rates;
        int64_t min_kept;
    } stochastic_depth;
    sd_optimizer_spec optimizer; /* and stochastic_depth.dropped_update */
    sd_lr_spec lr;
    struct {
        int64_t epochs, max_steps, batch_size;
        double label_smoothing;
        sd_objective objective;
        sd_on_nonfinite on_nonfinite;
    } train;
    struct {
        int64_t every_epochs, train_samples;
    } eval;
    struct {
        int64_t every_steps, every_epochs, keep, keep_every, compression, max_failures;
        double every_seconds;
        char resume[SD_CONFIG_TEXT];
    } checkpoint;
    struct {
        int64_t bucket_bytes, check_every, shards;
        bool skip_dropped;
        sd_reduction reduction;
        sd_communication_progress progress;
        sd_wire_format wire;
    } communication;
    struct {
        int64_t every_steps, trace_step;
        bool decisions;
        char trace[SD_CONFIG_TEXT];
        sd_display progress;
    } log;

    char file[SD_CONFIG_FILE];    /* the name of the file, for messages */
    int line[SD_CONFIG_MAX_KEYS]; /* of each key of the table: 0 default, -1 command line */
} sd_config;

/* Sets all keys to their defaults. */
void sd_config_init(sd_config *config);

/* Refuses bytes that are not text in UTF-8. Local. */
sd_status sd_config_check_text(const char *text, size_t bytes, const char *file);

/* Parses INI text; file: its name in messages. Refuses lines of 200 bytes or more. A list may continue on indented
 * lines. A section may occur several times, a key once. */
sd_status sd_config_parse(sd_config *config, const char *text, const char *file);

/* Applies a "section.key=value" of the command line, which overrides the file. */
sd_status sd_config_set(sd_config *config, const char *assignment);

/* Refuses contradictions between keys, and texts that only a shell would expand; resolves survival_prob into rate and
 * an empty run.name into the file's name; warns of values that usually cost accuracy. ranks: of the run. */
sd_status sd_config_check(sd_config *config, int ranks);

/* Fails with SD_ERR_CONFIG, the message being preceded by the place of "section.key". */
sd_status sd_config_fail(const sd_config *config, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* If status is SD_ERR_CONFIG and its message begins with "section.key: ", prepends the place of that key. */
sd_status sd_config_locate(const sd_config *config, sd_status status);

/* The whole resolved configuration as INI text that parses to the same configuration. Caller frees *text. */
sd_status sd_config_text(const sd_config *config, char **text);

/* Prints the value of "section.key" as in that text; "" if there is no such key. Returns text. */
const char *sd_config_value(const sd_config *config, const char *key, char *text, size_t text_bytes);

/* Lists the keys that change results and differ, "key = a, not b" joined by "; " ("" if none). */
void sd_config_differences(const sd_config *config, const sd_config *other, char *differences,
                           size_t differences_bytes);

/* The specs of rooms that differ from their section. They point into the configuration, which must outlive them.
 * Local. */
sd_data_spec sd_config_data(const sd_config *config);
sd_model_spec sd_config_model(const sd_config *config, sd_sample_spec samples);
/* Writes the drop rate of each unit, by the depth of its block and min_kept, and what its draws are compared with
 * (sd_drop_spec). rate, threshold: [units]; threshold may be NULL. SD_ERR_CONFIG if the number of listed rates is not
 * that of the network's blocks, branches in front of a norm would be scaled, or too few plans keep min_kept units;
 * SD_ERR_MEMORY. */
sd_status sd_config_drop_rates(const sd_config *config, const sd_network *network, double *rate, double *threshold);

/* Writes whether model.freeze freezes each tensor, for sd_network_freeze(). frozen: [tensors]. The key's patterns are
 * those of fnmatch(3), of names of parameters; the last that matches a name decides, and one that begins with '!'
 * excepts. SD_ERR_CONFIG, naming the pattern, if one matches no parameter; and if all or none are frozen. */
sd_status sd_config_frozen(const sd_config *config, const sd_network *network, bool *frozen);

/* Prints the table of keys, for --help. */
void sd_config_help(FILE *out);

#ifdef __cplusplus
}
#endif
#endif
