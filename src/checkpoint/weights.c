/* SPDX-License-Identifier: Apache-2.0 */
/* Weights from a file of either kind. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "digest.h"
#include "hdf5.h"
#include "sdtrain/file.h"
#include "sdtrain/safetensors.h"
#include "seal.h"

static const char GROUP[] = "/model/";
enum { GROUP_BYTES = sizeof GROUP - 1, MOST_FILES = 64 /* of memory for what a compressed file holds */ };

/* ---- what is in /model ---- */

static bool is_weight(const sd_entry *entry) { return !strncmp(entry->path, GROUP, GROUP_BYTES); }

static size_t number_bytes(const sd_entry *entry) {
    return sd_weights_number_bytes(entry->elems, entry->kind == SD_ENTRY_F32 ? sizeof(float) : sizeof(int64_t));
}

static sd_status check(const sd_checkpoint_file *file, const sd_entry *entry) {
    return entry->kind == SD_ENTRY_F32 || entry->kind == SD_ENTRY_I64
               ? SD_OK
               : sd_fail(SD_ERR_DATA, "%s: %s is of a type that no tensor of a checkpoint has", file->path,
                         entry->path);
}

/* Makes room in the block for the weights among the entries. */
static sd_status count(const sd_checkpoint_file *file, const sd_entry *entries, int n, sd_weights_block *block) {
    for (int i = 0; i < n; i++) {
        if (!is_weight(&entries[i]))
            continue;
        SD_TRY(check(file, &entries[i]));
        block->n++;
        block->text_bytes += strlen(entries[i].path);
        block->number_bytes += number_bytes(&entries[i]); /* each at most 8 times the file: sd_checkpoint_entries() */
        if (block->number_bytes / MOST_FILES > file->n_bytes)
            return sd_fail(SD_ERR_DATA, "%s: its tensors have more than %zu bytes, in a file of %zu", file->path,
                           block->number_bytes, file->n_bytes);
    }
    return SD_OK;
}

static sd_status read_weight(const sd_checkpoint_file *file, const sd_entry *entry, sd_weight *weight,
                             sd_weights_block *block) {
    const bool is_float = entry->kind == SD_ENTRY_F32;
    void *values, *numbers = sd_weights_take_numbers(block, number_bytes(entry));
    SD_TRY(sd_checkpoint_read(file, entry, &values));
    memcpy(numbers, values, entry->elems * (is_float ? sizeof(float) : sizeof(int64_t)));
    free(values);
    *weight = (sd_weight){.name = sd_weights_take_text(block, entry->path + GROUP_BYTES),
                          .dtype = is_float ? SD_DTYPE_F32 : SD_DTYPE_I64,
                          .dims = entry->dims,
                          .elems = entry->elems,
                          .values = is_float ? numbers : NULL,
                          .integers = is_float ? NULL : numbers};
    memcpy(weight->shape, entry->shape, sizeof entry->shape);
    return SD_OK;
}

/* entries: sorted by path, so that weights are by name. */
static sd_status fill(const sd_checkpoint_file *file, const sd_checkpoint_info *info, const sd_entry *entries, int n,
                      sd_weights *weights) {
    static const char key[] = "scale";
    sd_weights_block block = {.n_metadata = 1, .text_bytes = sizeof key + sizeof info->scale};
    SD_TRY(count(file, entries, n, &block));
    SD_TRY(sd_weights_take(weights, &block));
    for (int i = 0; i < n; i++)
        if (is_weight(&entries[i]))
            SD_TRY(read_weight(file, &entries[i], &weights->weight[weights->n++], &block));
    weights->metadata[weights->n_metadata++] =
        (sd_weights_text){.key = sd_weights_take_text(&block, key), .value = sd_weights_take_text(&block, info->scale)};
    sd_digest_text(XXH3_128bits(file->bytes, file->n_bytes), weights->digest);
    return SD_OK;
}

sd_status sd_checkpoint_weights(const sd_checkpoint_file *file, const sd_checkpoint_info *info, sd_weights *weights) {
    sd_entry *entries = NULL;
    int n = 0;
    *weights = (sd_weights){0};
    sd_status status = sd_checkpoint_entries(file, &entries, &n);
    if (status == SD_OK)
        status = fill(file, info, entries, n, weights);
    free(entries);
    if (status != SD_OK)
        sd_weights_free(weights);
    return status;
}

/* ---- either kind ---- */

static sd_status read_checkpoint(const char *path, sd_weights *weights) {
    sd_checkpoint_file *file = NULL;
    sd_checkpoint_info info;
    sd_status status = sd_checkpoint_open(path, 0, &file, &info);
    if (status == SD_OK)
        status = sd_checkpoint_weights(file, &info, weights);
    sd_checkpoint_close(&file);
    sd_checkpoint_info_free(&info);
    return status;
}

sd_status sd_weights_read(const char *path, sd_weights *weights) {
    static const unsigned char zip[] = {'P', 'K', 3, 4}; /* torch.save() */
    unsigned char head[SD_SEAL_MAGIC_BYTES] = {0};
    int fd;
    size_t bytes;
    *weights = (sd_weights){0};
    SD_TRY(sd_file_open(path, &fd, &bytes));
    const sd_status status = sd_file_read(fd, path, head, bytes < sizeof head ? bytes : sizeof head);
    close(fd);
    SD_TRY(status);
    if (sd_seal_begins(head))
        return read_checkpoint(path, weights);
    if (!memcmp(head, zip, sizeof zip))
        return sd_fail(SD_ERR_DATA,
                       "%s: is a file of torch.save(), which can run code; save the state_dict with "
                       "safetensors.torch.save_file()",
                       path);
    return sd_safetensors_read(path, weights);
}
