/* SPDX-License-Identifier: Apache-2.0 */
/* The logits of a checkpoint's evaluation, for check_onnx.py.
 *
 *     logits CHECKPOINT <IMAGES >LOGITS      raw float32: images [N, H, W, 3], normalised; logits [N, classes]
 *     logits CHECKPOINT <TEXTS >LOGITS       of a network that reads texts, raw int32: for each its tokens [sequence],
 *                                            its length, and where the second of a pair begins (else the length) */
#include <stdio.h>
#include <stdlib.h>

#include "cli/survey.h"
#include "sdtrain/arena.h"

static sd_status forward_all(const sd_loaded *l, const sd_drop_plan *plan) {
    const size_t side = (size_t)l->samples.image_size, sequence = (size_t)l->samples.sequence;
    const size_t elems = sequence > 0 ? sequence + 2 : side * side * 3, elem_bytes = 4;
    const size_t classes = (size_t)sd_network_classes(l->network);
    const sd_pass pass = {.images = 1, .plan = plan};
    void *sample;
    size_t n;
    sd_status status = SD_OK;
    SD_TRY(sd_alloc(&sample, elems, elem_bytes));
    const int32_t *ids = sample;
    const sd_input image = {.pixels = sample},
                   text = {.tokens = ids, .lengths = ids + sequence, .second = ids + sequence + 1},
                   input = sequence > 0 ? text : image;
    while ((n = fread(sample, elem_bytes, elems, stdin)) == elems)
        fwrite(sd_network_forward(l->network, &pass, &input), sizeof(float), classes, stdout);
    if (n > 0)
        status = sd_fail(SD_ERR_DATA, "standard input: %zu values are no whole image or text of %zu", n, elems);
    free(sample);
    return status;
}

static sd_status run(sd_loaded *l, const char *checkpoint) {
    sd_drop_spec drop = {0};
    sd_drop_plan plan = {0};
    sd_status status;
    SD_TRY_CLEANUP(sd_loaded_open(checkpoint, l));
    SD_TRY_CLEANUP(sd_loaded_apply(l));
    drop.scale = l->config.stochastic_depth.scale;
    drop.units = sd_network_n_units(l->network);
    SD_TRY_CLEANUP(sd_rates_of(l, &drop.rate));
    SD_TRY_CLEANUP(sd_drop_plan_create(drop.units, &plan));
    sd_drop_plan_evaluation(&drop, NULL, &plan);
    SD_TRY_CLEANUP(forward_all(l, &plan));
cleanup:
    sd_drop_plan_free(&plan);
    free(drop.rate);
    sd_loaded_close(l);
    return status;
}

int main(int argc, char **argv) {
    static sd_loaded loaded; /* large */
    sd_status status = SD_OK;
    sd_log_set_program("logits");
    if (argc != 2)
        status = sd_fail(SD_ERR_USAGE, "usage: logits CHECKPOINT <IMAGES >LOGITS");
    else
        status = run(&loaded, argv[1]);
    if (status == SD_OK && fflush(stdout) != 0)
        status = sd_fail(SD_ERR_IO, "standard output cannot be written");
    if (status == SD_OK)
        return 0;
    sd_log_error();
    return sd_status_exit_code(status);
}
