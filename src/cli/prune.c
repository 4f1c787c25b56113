/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain prune: a checkpoint of some of the blocks of another. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaded.h"
#include "sdtrain/checkpoint.h"
#include "tools.h"

typedef struct options {
    const char *file, *out, *keep;
} options;

static sd_status parse_options(int n, char **words, options *o) {
    for (int i = 0; i < n; i++) {
        if (!strcmp(words[i], "--keep")) {
            if (i + 1 == n)
                return sd_fail(SD_ERR_USAGE, "--keep needs a rule, such as every_other:6 (--help shows more)");
            o->keep = words[++i];
        } else if (words[i][0] == '-') {
            return sd_fail(SD_ERR_USAGE, "prune has no option %s (--help lists all)", words[i]);
        } else if (!o->file) {
            o->file = words[i];
        } else if (!o->out) {
            o->out = words[i];
        } else {
            return sd_fail(SD_ERR_USAGE, "prune makes one file of one; a third is given, %s", words[i]);
        }
    }
    if (!o->out || !o->keep)
        return sd_fail(SD_ERR_USAGE,
                       "prune needs a checkpoint, --keep RULE and the name of the new file (--help shows how)");
    if (!strcmp(o->file, o->out))
        return sd_fail(SD_ERR_USAGE, "%s: the new file has the name of the checkpoint that it is made of", o->out);
    const size_t bytes = strlen(o->out);
    if (bytes < 4 || strcmp(o->out + bytes - 3, ".h5") != 0)
        return sd_fail(SD_ERR_USAGE, "%s: is to be a checkpoint, and does not end in .h5", o->out);
    return SD_OK;
}

/* The seconds of the epoch under way, which sd_loaded_open() does not read: [ranks][phases]. */
static sd_status read_timing(const sd_loaded *l, sd_checkpoint_info *info) {
    void *values;
    int i = 0;
    while (i < l->n_entries && strcmp(l->entries[i].path, "/progress/timing") != 0)
        i++;
    if (i == l->n_entries || l->entries[i].dims != 2 || l->entries[i].shape[0] != (size_t)info->ranks)
        return sd_fail(SD_ERR_DATA, "%s: has no /progress/timing of its ranks", l->path);
    SD_TRY(sd_checkpoint_read(l->file, &l->entries[i], &values));
    info->n_phases = (int)l->entries[i].shape[1];
    info->timing = values;
    return SD_OK;
}

static sd_status save(sd_loaded *l, const char *out) {
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
    info.progress.best_accuracy = info.progress.best_val_accuracy = NAN; /* those were another network's */
    info.progress.best_step = info.progress.best_val_epoch = 0;
    SD_TRY_CLEANUP(sd_config_text(&l->config, &info.config));
    SD_TRY_CLEANUP(read_timing(l, &info));
    SD_TRY_CLEANUP(sd_snapshot_create(l->network, l->optimizer, 0, &snapshot));
    sd_snapshot_take(&snapshot, l->network, l->optimizer);
    SD_TRY_CLEANUP(sd_checkpoint_save(out, &content));
cleanup:
    sd_snapshot_free(&snapshot);
    free(info.config);
    free(info.timing);
    return status;
}

static sd_status prune(sd_loaded *l, void *context) {
    const options *o = context;
    const int blocks = sd_network_blocks(l->network);
    const size_t parameters = sd_network_parameters(l->network);
    SD_TRY(sd_loaded_prune(l, o->keep));
    SD_TRY(save(l, o->out));
    printf("%s: %d of %d blocks, %zu of %zu parameters; its configuration: sdtrain inspect %s --config\n", o->out,
           sd_network_blocks(l->network), blocks, sd_network_parameters(l->network), parameters, o->out);
    return SD_OK;
}

sd_status sd_tool_prune(int n, char **words, int *exit_code) {
    options o = {0};
    (void)exit_code;
    SD_TRY(parse_options(n, words, &o));
    return sd_loaded_use(o.file, prune, &o);
}
