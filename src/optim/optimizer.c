/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "rule.h"
#include "sdtrain/arena.h"

struct sd_optimizer {
    sd_optimizer_spec spec;
    const sd_optimizer_rule *rule;
    sd_network *network;
    float *state[SD_OPTIMIZER_MAX_STATES]; /* laid out like the values */
};

static const sd_optimizer_rule *const rules[] = {[SD_OPTIMIZER_SGD] = &sd_sgd, [SD_OPTIMIZER_ADAMW] = &sd_adamw};

sd_status sd_optimizer_create(const sd_optimizer_spec *spec, sd_network *network, sd_optimizer **optimizer) {
    SD_TRY(sd_alloc(optimizer, 1, sizeof **optimizer));
    **optimizer = (sd_optimizer){.spec = *spec, .rule = rules[spec->kind], .network = network};
    for (int i = 0; i < sd_optimizer_n_states(*optimizer); i++)
        SD_TRY(sd_alloc_floats(&(*optimizer)->state[i], sd_network_buffer_elems(network)));
    return SD_OK;
}

void sd_optimizer_destroy(sd_optimizer **optimizer) {
    if (!*optimizer)
        return;
    for (int i = 0; i < SD_OPTIMIZER_MAX_STATES; i++)
        free((*optimizer)->state[i]);
    free(*optimizer);
    *optimizer = NULL;
}

int sd_optimizer_n_states(const sd_optimizer *optimizer) {
    int n = 0;
    while (n < SD_OPTIMIZER_MAX_STATES && optimizer->rule->state_names[n])
        n++;
    return n;
}

float *sd_optimizer_state(sd_optimizer *optimizer, int i) { return optimizer->state[i]; }

const char *sd_optimizer_state_name(const sd_optimizer *optimizer, int i) { return optimizer->rule->state_names[i]; }

double sd_gradient_norm(sd_network *network, const sd_drop_plan *plan) {
    double sum = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        if (tensor->kind != SD_TENSOR_PARAMETER || tensor->frozen ||
            !sd_segment_is_kept(sd_network_segment(network, tensor->segment), plan))
            continue;
        const float *gradient = sd_network_gradients(network) + tensor->offset_elems;
        for (size_t e = 0; e < tensor->elems; e++)
            sum += (double)gradient[e] * gradient[e];
    }
    return sqrt(sum);
}

/* A product, as the last bit of pow() may differ between processors. */
static double layer_factor(const sd_optimizer *optimizer, const sd_tensor *tensor) {
    const double d = optimizer->spec.layer_decay;
    double factor = 1;
    for (int layer = sd_network_blocks(optimizer->network) + 1; d > 0 && layer > tensor->layer; layer--)
        factor *= d;
    return factor;
}

void sd_optimizer_step(sd_optimizer *optimizer, const sd_drop_plan *plan, double lr, uint64_t step) {
    const sd_optimizer_spec *spec = &optimizer->spec;
    sd_network *network = optimizer->network;
    const bool freeze = spec->dropped_update == SD_DROPPED_FREEZE;
    float scale = 1;
    if (spec->clip_norm > 0) { /* torch.nn.utils.clip_grad_norm_ */
        double coefficient = spec->clip_norm / (sd_gradient_norm(network, plan) + 1e-6);
        scale = coefficient < 1 ? (float)coefficient : 1.0f;
    }
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        const sd_segment *segment = sd_network_segment(network, tensor->segment);
        const bool kept = sd_segment_is_kept(segment, plan);
        if (tensor->kind != SD_TENSOR_PARAMETER || tensor->frozen || (!kept && freeze))
            continue;
        const bool decays = spec->decay == SD_DECAY_ALL || tensor->matrix;
        sd_update update = {.n = tensor->elems,
                            .value = sd_network_values(network) + tensor->offset_elems,
                            .gradient = sd_network_gradients(network) + tensor->offset_elems,
                            .scale = kept ? scale : 0.0f,
                            .decay = decays ? (float)spec->weight_decay : 0.0f,
                            .lr = lr * layer_factor(optimizer, tensor),
                            .t = freeze ? (double)segment->kept_steps : (double)step};
        for (int k = 0; k < sd_optimizer_n_states(optimizer); k++)
            update.state[k] = optimizer->state[k] + tensor->offset_elems;
        optimizer->rule->apply(spec, &update);
    }
}
