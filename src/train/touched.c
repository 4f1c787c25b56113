/* SPDX-License-Identifier: Apache-2.0 */
#include "touched.h"

#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"

sd_status sd_touched_open(sd_touched *touched, sd_sample_spec samples) {
    *touched = (sd_touched){.vocabulary = samples.vocabulary};
    SD_TRY(sd_alloc(&touched->is_touched, (size_t)samples.vocabulary, 1));
    SD_TRY(sd_alloc(&touched->row, (size_t)samples.vocabulary, sizeof *touched->row));
    touched->rows.row = touched->row;
    return SD_OK;
}

void sd_touched_close(sd_touched *touched) {
    free(touched->is_touched);
    free(touched->row);
}

const sd_row_set *sd_touched_by(sd_touched *touched, const sd_dataset *dataset, const uint32_t *texts, uint64_t n) {
    if (touched->vocabulary == 0)
        return NULL;
    memset(touched->is_touched, 0, (size_t)touched->vocabulary);
    for (uint64_t i = 0; i < n; i++)
        sd_dataset_touch(dataset, SD_SPLIT_TRAIN, texts[i], touched->is_touched);
    touched->rows.n = 0;
    for (int32_t id = 0; id < touched->vocabulary; id++)
        if (touched->is_touched[id])
            touched->row[touched->rows.n++] = id;
    return &touched->rows;
}
