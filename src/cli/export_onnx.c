/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain export --onnx: the network for inference runtimes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "export.h"
#include "sdtrain/onnx.h"
#include "survey.h"

/* The graph of an evaluation, with the rates and the scale of the checkpoint's configuration. */
static sd_status describe(const sd_loaded *l, sd_graph *graph) {
    sd_drop_spec drop = {.scale = l->config.stochastic_depth.scale, .units = sd_network_n_units(l->network)};
    sd_drop_plan plan = {0};
    sd_status status;
    SD_TRY_CLEANUP(sd_rates_of(l, &drop.rate));
    SD_TRY_CLEANUP(sd_drop_plan_create(drop.units, &plan));
    sd_drop_plan_evaluation(&drop, &plan);
    SD_TRY_CLEANUP(sd_network_describe(l->network, &plan, graph));
cleanup:
    sd_drop_plan_free(&plan);
    free(drop.rate);
    return status;
}

static sd_status write_graph(const sd_loaded *l, const sd_graph *graph, const char *out) {
    const float *mean = l->info.mean, *deviation = l->info.deviation;
    char step[32], means[96], deviations[96];
    snprintf(step, sizeof step, "%" PRIu64, l->info.progress.step);
    snprintf(means, sizeof means, "%.9g %.9g %.9g", (double)mean[0], (double)mean[1], (double)mean[2]);
    snprintf(deviations, sizeof deviations, "%.9g %.9g %.9g", (double)deviation[0], (double)deviation[1],
             (double)deviation[2]);
    const char *const metadata[] = {"model", l->config.model.name, "step", step, "mean", means,
                                    "std",   deviations,           NULL};
    return sd_onnx_write(out, graph, sd_network_values(l->network), metadata);
}

/* Whether both names lead to one file, which writing would replace. */
static bool is_same_file(const char *a, const char *b) {
    struct stat of_a, of_b;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

sd_status sd_export_onnx(const char *checkpoint, const char *out) {
    static sd_loaded l; /* large */
    sd_graph graph = {0};
    sd_status status;
    if (is_same_file(checkpoint, out))
        return sd_fail(SD_ERR_USAGE, "%s is the checkpoint; an export needs a file of its own", out);
    SD_TRY_CLEANUP(sd_loaded_open(checkpoint, &l));
    SD_TRY_CLEANUP(sd_loaded_apply(&l));
    SD_TRY_CLEANUP(describe(&l, &graph));
    SD_TRY_CLEANUP(write_graph(&l, &graph, out));
cleanup:
    sd_graph_free(&graph);
    sd_loaded_close(&l);
    return status;
}
