/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "resize.h"
#include "sdtrain/arena.h"
#include "source.h"
#include "transform.h"

size_t sd_sample_elems(sd_sample_spec samples) {
    if (sd_samples_are_texts(samples))
        return (size_t)samples.sequence;
    return (size_t)samples.image_size * (size_t)samples.image_size * SD_CHANNELS;
}

sd_status sd_sample_resize(sd_sample *sample, int h, int w) {
    const size_t bytes = (size_t)h * (size_t)w * SD_CHANNELS;
    sample->h = h;
    sample->w = w;
    if (bytes <= sample->capacity_bytes)
        return SD_OK;
    free(sample->pixels);
    sample->capacity_bytes = 0;
    SD_TRY(sd_alloc(&sample->pixels, bytes, 1));
    sample->capacity_bytes = bytes;
    return SD_OK;
}

void sd_sample_adopt(sd_sample *sample, const sd_image *image) {
    free(sample->pixels);
    sample->pixels = image->rgb;
    sample->h = image->height;
    sample->w = image->width;
    sample->capacity_bytes = (size_t)image->height * (size_t)image->width * SD_CHANNELS;
}

sd_status sd_workspace_reserve(sd_workspace *work, int h, int w) {
    SD_TRY(sd_sample_resize(&work->image, h, w));
    return sd_sample_resize(&work->spare, h, w);
}

void sd_workspace_swap(sd_workspace *work) {
    const sd_sample before = work->image;
    work->image = work->spare;
    work->image.label = before.label;
    work->spare = before;
}

void sd_sample_free(sd_sample *sample) {
    free(sample->pixels);
    *sample = (sd_sample){0};
}

sd_status sd_workspace_resizer(sd_workspace *work, sd_resizer **resizer) {
    const sd_status status = work->resizer ? SD_OK : sd_alloc(&work->resizer, 1, sizeof *work->resizer);
    *resizer = work->resizer;
    return status;
}

void sd_workspace_free(sd_workspace *work) {
    if (work->resizer)
        sd_resizer_free(work->resizer);
    free(work->resizer);
    work->resizer = NULL;
    sd_sample_free(&work->image);
    sd_sample_free(&work->spare);
}
