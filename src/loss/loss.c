/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/loss.h"

#include <stdlib.h>

#include "sdtrain/arena.h"

enum { TOP = 5 };

struct sd_loss {
    sd_loss_spec spec;
    const sd_kernels *kernels;
    int classes;
    float *losses;     /* [images] */
    int32_t *n_better; /* [images]: classes that score higher than the label */
    float *dlogits;    /* [images, classes] */
};

static sd_status create(int max_images, sd_loss *loss) {
    const size_t images = (size_t)max_images;
    SD_TRY(sd_alloc_floats(&loss->losses, images));
    SD_TRY(sd_alloc(&loss->n_better, images, sizeof *loss->n_better));
    return sd_alloc_floats(&loss->dlogits, images * (size_t)loss->classes);
}

sd_status sd_loss_create(const sd_loss_spec *spec, const sd_kernels *kernels, int max_images, int classes,
                         sd_loss **loss) {
    SD_TRY(sd_alloc(loss, 1, sizeof **loss));
    **loss = (sd_loss){.spec = *spec, .kernels = kernels, .classes = classes};
    const sd_status status = create(max_images, *loss);
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

static void add(sd_loss *loss, float smoothing, int images, const float *logits, const sd_targets *targets,
                sd_loss_sums *sums) {
    loss->kernels->cross_entropy_forward((size_t)images, loss->classes, logits, targets, smoothing, loss->losses,
                                         loss->n_better);
    for (int i = 0; i < images; i++) {
        sums->loss += loss->losses[i];
        sums->top1 += loss->n_better[i] == 0;
        sums->top5 += loss->n_better[i] < TOP;
    }
}

void sd_loss_forward(sd_loss *loss, int images, const float *logits, const sd_targets *targets, sd_loss_sums *sums) {
    add(loss, loss->spec.smoothing, images, logits, targets, sums);
}

void sd_loss_score(sd_loss *loss, int images, const float *logits, const sd_targets *targets, sd_loss_sums *sums) {
    add(loss, 0, images, logits, targets, sums);
}

float *sd_loss_backward(sd_loss *loss, int images, const float *logits, const sd_targets *targets,
                        uint64_t batch_images) {
    loss->kernels->cross_entropy_backward((size_t)images, loss->classes, logits, targets, loss->spec.smoothing,
                                          (float)(1.0 / (double)batch_images), loss->dlogits);
    return loss->dlogits;
}
