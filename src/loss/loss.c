/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/loss.h"

#include <stdlib.h>

#include "sdtrain/arena.h"

enum { TOP = 5 };

struct sd_loss {
    sd_loss_spec spec;
    const sd_kernels *kernels;
    int classes;
    float *losses;     /* [rows] */
    int32_t *n_better; /* [rows]: classes that score higher than the label */
    float *dlogits;    /* [rows, classes] */
};

static sd_status create(int max_rows, sd_loss *loss) {
    const size_t rows = (size_t)max_rows;
    SD_TRY(sd_alloc_floats(&loss->losses, rows));
    SD_TRY(sd_alloc(&loss->n_better, rows, sizeof *loss->n_better));
    return sd_alloc_floats(&loss->dlogits, rows * (size_t)loss->classes);
}

sd_status sd_loss_create(const sd_loss_spec *spec, const sd_kernels *kernels, int max_rows, int classes,
                         sd_loss **loss) {
    SD_TRY(sd_alloc(loss, 1, sizeof **loss));
    **loss = (sd_loss){.spec = *spec, .kernels = kernels, .classes = classes};
    const sd_status status = create(max_rows, *loss);
    if (status != SD_OK)
        sd_loss_destroy(loss);
    return status;
}

void sd_loss_destroy(sd_loss **place) {
    sd_loss *loss = *place;
    if (!loss)
        return;
    free(loss->losses);
    free(loss->n_better);
    free(loss->dlogits);
    free(loss);
    *place = NULL;
}

static void add(sd_loss *loss, float smoothing, int rows, const float *logits, const sd_targets *targets,
                sd_loss_sums *sums) {
    loss->kernels->cross_entropy_forward((size_t)rows, loss->classes, logits, targets, smoothing, loss->losses,
                                         loss->n_better);
    for (int i = 0; i < rows; i++) {
        sums->loss += loss->losses[i];
        sums->top1 += loss->n_better[i] == 0;
        sums->top5 += loss->n_better[i] < TOP;
    }
}

void sd_loss_forward(sd_loss *loss, int rows, const float *logits, const sd_targets *targets, sd_loss_sums *sums) {
    add(loss, loss->spec.smoothing, rows, logits, targets, sums);
}

void sd_loss_score(sd_loss *loss, int rows, const float *logits, const sd_targets *targets, sd_loss_sums *sums) {
    add(loss, 0, rows, logits, targets, sums);
}

float *sd_loss_backward(sd_loss *loss, int rows, const float *logits, const sd_targets *targets, uint64_t batch_rows) {
    loss->kernels->cross_entropy_backward((size_t)rows, loss->classes, logits, targets, loss->spec.smoothing,
                                          (float)(1.0 / (double)batch_rows), loss->dlogits);
    return loss->dlogits;
}
