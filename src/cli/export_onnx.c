/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "export.h"
#include "sdtrain/onnx.h"

sd_status sd_export_onnx(const sd_loaded *l, double *rate, const char *out, const char *const *metadata) {
    const sd_drop_spec drop = {
        .scale = l->config.stochastic_depth.scale, .units = sd_network_n_units(l->network), .rate = rate};
    sd_drop_plan plan = {0};
    sd_graph graph = {0};
    sd_status status;
    SD_TRY_CLEANUP(sd_drop_plan_create(drop.units, &plan));
    sd_drop_plan_evaluation(&drop, NULL, &plan);
    SD_TRY_CLEANUP(sd_network_describe(l->network, &plan, &graph));
    SD_TRY_CLEANUP(sd_onnx_write(out, &graph, sd_network_values(l->network), metadata));
    printf("%s: %d operations, %zu parameters\n", out, graph.n, sd_network_parameters(l->network));
cleanup:
    sd_graph_free(&graph);
    sd_drop_plan_free(&plan);
    return status;
}
