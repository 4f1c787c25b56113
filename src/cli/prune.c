/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain prune: a checkpoint of some of the blocks of another, from which a run of its own begins. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "loaded.h"
#include "sdtrain/arena.h"
#include "sdtrain/checkpoint.h"
#include "sdtrain/file.h"
#include "sdtrain/models.h"
#include "tools.h"

static const char ENDING[] = ".h5";

typedef struct options {
    const char *file, *out, *keep, *config;
} options;

static bool ends_as_checkpoint(const char *out) {
    const size_t bytes = strlen(out), most = sizeof ENDING - 1;
    return bytes > most && out[bytes - most - 1] != '/' && !strcmp(out + bytes - most, ENDING);
}

static bool is_same_file(const char *a, const char *b) {
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static sd_status parse_options(int n, char **words, options *o) {
    for (int i = 0; i < n; i++) {
        if (!strcmp(words[i], "--keep"))
            SD_TRY(sd_tool_value(n, words, &i, &o->keep));
        else if (!strcmp(words[i], "--config"))
            SD_TRY(sd_tool_value(n, words, &i, &o->config));
        else if (words[i][0] == '-')
            return sd_fail(SD_ERR_USAGE, "prune has no option %s (--help lists all)", words[i]);
        else if (!o->file)
            o->file = words[i];
        else if (!o->out)
            o->out = words[i];
        else
            return sd_fail(SD_ERR_USAGE, "prune makes one file of one; a third is given, %s", words[i]);
    }
    if (!o->out || !o->keep)
        return sd_fail(SD_ERR_USAGE,
                       "prune needs a checkpoint, --keep RULE and the name of the new file (--help shows how)");
    if (!ends_as_checkpoint(o->out))
        return sd_fail(SD_ERR_USAGE, "%s: is to be a checkpoint, and does not end in %s", o->out, ENDING);
    if (is_same_file(o->file, o->out))
        return sd_fail(SD_ERR_USAGE, "%s: is the checkpoint that the new one is made of; give another name", o->out);
    return SD_OK;
}

/* ---- what is not in the network ---- */

/* Its own run: the new file's name, so that it does not go on in the folder of the run that it is made of. */
static sd_status name_run(const char *out, sd_config *config) {
    char setting[SD_CONFIG_FILE];
    const char *slash = strrchr(out, '/'), *name = slash ? slash + 1 : out;
    snprintf(setting, sizeof setting, "run.name=%.*s", (int)(strlen(name) - (sizeof ENDING - 1)), name);
    return sd_config_set(config, setting);
}

/* What has been trained remains so, in the middle of an epoch as well; scores and logs are another network's. */
static void describe_progress(sd_progress *p) {
    const sd_progress none = sd_progress_initial();
    p->train_loss = none.train_loss;
    p->train_accuracy = none.train_accuracy;
    p->val_loss = none.val_loss;
    p->val_accuracy = none.val_accuracy;
    p->val_top5_accuracy = none.val_top5_accuracy;
    p->train_eval_accuracy = none.train_eval_accuracy;
    p->best_accuracy = none.best_accuracy;
    p->best_step = none.best_step;
    p->best_val_accuracy = none.best_val_accuracy;
    p->best_val_epoch = none.best_val_epoch;
    p->run_id = none.run_id;
    p->steps_csv_bytes = none.steps_csv_bytes;
    p->epochs_csv_bytes = none.epochs_csv_bytes;
    p->timing_csv_bytes = none.timing_csv_bytes;
    p->decisions_csv_bytes = none.decisions_csv_bytes;
}

/* The seconds of the epoch under way, which sd_loaded_open() does not read: [ranks][phases]. */
static sd_status read_timing(const sd_loaded *l, sd_checkpoint_info *info) {
    void *values;
    int i = 0;
    while (i < l->n_entries && strcmp(l->entries[i].path, "/progress/timing") != 0)
        i++;
    if (i == l->n_entries || l->entries[i].kind != SD_ENTRY_F64 || l->entries[i].dims != 2 ||
        l->entries[i].shape[0] != (size_t)info->ranks)
        return sd_fail(SD_ERR_DATA, "%s: has no /progress/timing of its ranks", l->path);
    SD_TRY(sd_checkpoint_read(l->file, &l->entries[i], &values));
    info->n_phases = (int)l->entries[i].shape[1];
    info->timing = values;
    return SD_OK;
}

static bool has_errors(const sd_loaded *l) {
    bool has = false;
    for (int i = 0; i < l->n_entries; i++)
        has |= sd_entry_is_in(&l->entries[i], "/communication/error");
    return has;
}

/* The error feedback of every rank that the file has (communication.wire = bf16), of what is kept. */
static sd_status read_errors(const sd_loaded *l, sd_snapshot *snapshot) {
    float *whole;
    sd_status status = sd_alloc_floats(&whole, sd_network_buffer_elems(l->whole));
    for (int rank = 0; status == SD_OK && snapshot->error && rank < l->info.ranks; rank++) {
        status = sd_checkpoint_read_error(l->file, l->whole, rank, whole);
        if (status == SD_OK)
            status = sd_model_copy_kept(l->whole, l->keep, whole, l->network,
                                        snapshot->error + snapshot->elems * (size_t)rank);
    }
    free(whole);
    return status;
}

/* ---- the files ---- */

static sd_status save(sd_loaded *l, const options *o) {
    sd_checkpoint_info info = l->info;
    sd_snapshot snapshot = {0};
    const sd_checkpoint_content content = {.network = l->network,
                                           .optimizer = l->optimizer,
                                           .snapshot = &snapshot,
                                           .info = &info,
                                           .compression = (int)l->config.checkpoint.compression};
    sd_status status;
    info.config = NULL;
    info.timing = NULL;
    describe_progress(&info.progress);
    SD_TRY_CLEANUP(sd_config_text(&l->config, &info.config));
    SD_TRY_CLEANUP(read_timing(l, &info));
    SD_TRY_CLEANUP(sd_snapshot_create(l->network, l->optimizer, has_errors(l) ? info.ranks : 0, &snapshot));
    sd_snapshot_take(&snapshot, l->network, l->optimizer);
    SD_TRY_CLEANUP(read_errors(l, &snapshot));
    SD_TRY_CLEANUP(sd_checkpoint_save(o->out, &content));
    if (o->config)
        SD_TRY_CLEANUP(sd_file_put(o->config, info.config));
cleanup:
    sd_snapshot_free(&snapshot);
    free(info.config);
    free(info.timing);
    return status;
}

static sd_status print_result(const sd_loaded *l, const options *o) {
    char *kept;
    SD_TRY(sd_model_kept_text(l->whole, l->keep, ',', &kept));
    printf("%s: %d of %d blocks (%s), %zu of %zu parameters\n", o->out, sd_network_blocks(l->network),
           sd_network_blocks(l->whole), kept, sd_network_parameters(l->network), sd_network_parameters(l->whole));
    free(kept);
    return SD_OK;
}

static sd_status prune(sd_loaded *l, void *context) {
    const options *o = context;
    SD_TRY(sd_loaded_prune(l, o->keep));
    SD_TRY(name_run(o->out, &l->config));
    SD_TRY(save(l, o));
    return print_result(l, o);
}

sd_status sd_tool_prune(int n, char **words, int *exit_code) {
    options o = {0};
    (void)exit_code;
    SD_TRY(parse_options(n, words, &o));
    return sd_loaded_use(o.file, prune, &o);
}
