/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a run: INI text -> one typed struct, each key checked against one table (config/keys.c).
 *
 * Local: the caller sees to it that all ranks parse the same text. Errors are SD_ERR_CONFIG and name file, line, key and
 * what is allowed.
 */
#ifndef SDTRAIN_CONFIG_H
#define SDTRAIN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sdtrain/drop.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Texts fit a line of the file together with their key. */
enum { SD_CONFIG_TEXT = 184, SD_CONFIG_FILE = 512, SD_CONFIG_LIST = 1024, SD_CONFIG_MAX_KEYS = 96 };
enum { SD_MAX_THREADS = 1024 }; /* of a rank */

typedef enum sd_dataset_kind { SD_DATASET_SYNTHETIC, SD_DATASET_CIFAR10, SD_DATASET_CIFAR100 } sd_dataset_kind;
typedef enum sd_augment { SD_AUGMENT_NONE, SD_AUGMENT_CROP_FLIP } sd_augment;
typedef enum sd_last_batch { SD_LAST_BATCH_DROP, SD_LAST_BATCH_KEEP } sd_last_batch;
typedef enum sd_convolution_choice { SD_CONVOLUTION_AUTO, SD_CONVOLUTION_DIRECT } sd_convolution_choice;
typedef enum sd_stem_choice { SD_STEM_AUTO, SD_STEM_CIFAR, SD_STEM_IMAGENET } sd_stem_choice;
typedef enum sd_unit_choice { SD_UNIT_BRANCH, SD_UNIT_BLOCK } sd_unit_choice;
typedef enum sd_rank_divisor { SD_RANK_DIVISOR_ALL, SD_RANK_DIVISOR_KEPT } sd_rank_divisor;
typedef enum sd_dropped_update { SD_DROPPED_DECAY_AND_MOMENTUM, SD_DROPPED_FREEZE } sd_dropped_update;
typedef enum sd_optimizer_kind { SD_OPTIMIZER_SGD, SD_OPTIMIZER_ADAMW } sd_optimizer_kind;
typedef enum sd_decay { SD_DECAY_ALL, SD_DECAY_MATRICES } sd_decay;
typedef enum sd_on_nonfinite { SD_NONFINITE_STOP, SD_NONFINITE_SKIP } sd_on_nonfinite;
typedef enum sd_lr_kind { SD_LR_STEP, SD_LR_COSINE, SD_LR_CONSTANT, SD_LR_ONECYCLE } sd_lr_kind;
typedef enum sd_reduction { SD_REDUCTION_FAST, SD_REDUCTION_REPRODUCIBLE } sd_reduction;
typedef enum sd_communication_progress { SD_COMMUNICATION_THREAD, SD_COMMUNICATION_POLL } sd_communication_progress;
typedef enum sd_wire_format { SD_WIRE_FP32, SD_WIRE_BF16 } sd_wire_format;
typedef enum sd_display { SD_DISPLAY_AUTO, SD_DISPLAY_ON, SD_DISPLAY_OFF } sd_display;

typedef struct sd_list {
    int n;
    double value[SD_CONFIG_LIST];
} sd_list;

/* One member a key; choices hold the enumerator above, as int. The keys' meanings: config/keys.c. */
typedef struct sd_config {
    struct {
        char name[SD_CONFIG_TEXT], output[SD_CONFIG_TEXT];
        int64_t seed, threads, max_seconds, stall_seconds;
        int convolution;
    } run;
    struct {
        int dataset, augment, last_batch;
        char path[SD_CONFIG_TEXT];
        int64_t image_size, train_samples, val_samples, validation, workers; /* validation: 0 = the test set */
    } data;
    struct {
        char name[SD_CONFIG_TEXT];
        int stem;
        int64_t classes, patch_size;
        double dropout;
        bool zero_init_residual;
    } model;
    struct {
        double rate, survival_prob; /* after sd_config_check() rate alone counts */
        int schedule, scope, rank_divisor, scale, unit, dropped_update;
        sd_list rates;
    } stochastic_depth;
    struct {
        int name, decay;
        double momentum, weight_decay, beta1, beta2, epsilon, clip_norm;
        bool nesterov;
    } optimizer;
    struct {
        int schedule;
        double base, warmup_epochs, gamma, minimum;
        sd_list milestones;
    } lr;
    struct {
        int64_t epochs, max_steps, batch_size;
        double label_smoothing;
        int on_nonfinite;
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
        int reduction, progress, wire;
    } communication;
    struct {
        int64_t every_steps, trace_step;
        bool decisions;
        char trace[SD_CONFIG_TEXT];
        int progress;
    } log;

    char file[SD_CONFIG_FILE];    /* where the text came from, for messages */
    int line[SD_CONFIG_MAX_KEYS]; /* of each key of the table: 0 default, -1 command line */
} sd_config;

/* All keys at their defaults. */
void sd_config_init(sd_config *config);

/* Refuses text in another encoding than UTF-8, and what is no text. Local. */
sd_status sd_config_check_text(const char *text, size_t bytes, const char *file);

/* Reads INI text; file is its name in messages. Lines of 200 bytes or more are refused. A list may go on in indented lines. A
 * section may come several times, a key once. */
sd_status sd_config_parse(sd_config *config, const char *text, const char *file);

/* One "section.key=value" of the command line; wins over the file. */
sd_status sd_config_set(sd_config *config, const char *assignment);

/* Finds contradictions between keys and texts that only a shell would expand, resolves survival_prob into rate and an empty
 * run.name into the file's name, and warns where experience says so. ranks: of the run. */
sd_status sd_config_check(sd_config *config, int ranks);

/* SD_ERR_CONFIG with the place of "section.key" in front of the message. */
sd_status sd_config_fail(const sd_config *config, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* If status is SD_ERR_CONFIG and its message begins with "section.key: ", puts the place of that key in front. */
sd_status sd_config_locate(const sd_config *config, sd_status status);

/* The whole resolved configuration as INI text that parses to the same configuration. Caller frees *text. */
sd_status sd_config_text(const sd_config *config, char **text);

/* One value as it stands in that text, into text; "" if there is no such "section.key". Returns text. */
const char *sd_config_value(const sd_config *config, const char *key, char *text, size_t text_bytes);

/* The keys that change a run's results and differ, "key = a, not b" joined by "; ", into differences ("" if none). */
void sd_config_differences(const sd_config *config, const sd_config *other, char *differences,
                           size_t differences_bytes);

/* The table, for --help. */
void sd_config_help(FILE *out);

#ifdef __cplusplus
}
#endif
#endif
