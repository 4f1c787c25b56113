/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "sdtrain/arena.h"
#include "sdtrain/optim.h"

enum { MAX_STATES = 2 };

struct sd_optimizer {
    const sd_config *config;
    sd_network *network;
    int n_states;
    float *state[MAX_STATES]; /* laid out like the values */
};

static const char *const state_names[][MAX_STATES] = {
    [SD_OPTIMIZER_SGD] = {"momentum"}, [SD_OPTIMIZER_ADAMW] = {"exp_avg", "exp_avg_sq"}};

sd_status sd_optimizer_create(const sd_config *config, sd_network *network, sd_optimizer **optimizer) {
    SD_TRY(sd_alloc(optimizer, 1, sizeof **optimizer));
    **optimizer = (sd_optimizer){
        .config = config, .network = network, .n_states = config->optimizer.name == SD_OPTIMIZER_ADAMW ? 2 : 1};
    for (int i = 0; i < (*optimizer)->n_states; i++)
        SD_TRY(sd_alloc_floats(&(*optimizer)->state[i], sd_network_buffer_elems(network)));
    return SD_OK;
}

void sd_optimizer_destroy(sd_optimizer **optimizer) {
    if (!*optimizer)
        return;
    for (int i = 0; i < MAX_STATES; i++)
        free((*optimizer)->state[i]);
    free(*optimizer);
    *optimizer = NULL;
}

int sd_optimizer_n_states(const sd_optimizer *optimizer) { return optimizer->n_states; }
float *sd_optimizer_state(sd_optimizer *optimizer, int i) { return optimizer->state[i]; }

const char *sd_optimizer_state_name(const sd_optimizer *optimizer, int i) {
    return state_names[optimizer->config->optimizer.name][i];
}

double sd_gradient_norm(sd_network *network, const sd_drop_plan *plan) {
    double sum = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        if (tensor->kind != SD_TENSOR_PARAMETER ||
            !sd_segment_is_kept(sd_network_segment(network, tensor->segment), plan))
            continue;
        const float *gradient = sd_network_gradients(network) + tensor->offset_elems;
        for (size_t e = 0; e < tensor->elems; e++)
            sum += (double)gradient[e] * gradient[e];
    }
    return sqrt(sum);
}

/* scale: of the gradient; 0 for a dropped branch, whose gradient is not read. */
static void sgd(const sd_config *config, size_t n, float *w, const float *gradient, float scale, float decay, float *m,
                double lr_of_step) {
    const float momentum = (float)config->optimizer.momentum, lr = (float)lr_of_step;
    const float from_d = config->optimizer.nesterov ? 1.0f : 0.0f,
                from_m = config->optimizer.nesterov ? momentum : 1.0f;
    for (size_t i = 0; i < n; i++) {
        float d = decay * w[i] + (scale != 0 ? scale * gradient[i] : 0.0f);
        m[i] = momentum * m[i] + d;
        w[i] -= lr * (from_d * d + from_m * m[i]);
    }
}

static void adamw(const sd_config *config, size_t n, float *w, const float *gradient, float scale, float decay,
                  float *m, float *v, double lr_of_step, double t) {
    const float b1 = (float)config->optimizer.beta1, b2 = (float)config->optimizer.beta2;
    const float rest1 = (float)(1 - config->optimizer.beta1), rest2 = (float)(1 - config->optimizer.beta2);
    const float step = (float)(lr_of_step / (1 - pow(config->optimizer.beta1, t)));
    const float root_correction = (float)sqrt(1 - pow(config->optimizer.beta2, t));
    const float epsilon = (float)config->optimizer.epsilon, shrink = (float)(1 - lr_of_step * decay);
    for (size_t i = 0; i < n; i++) {
        float g = scale != 0 ? scale * gradient[i] : 0.0f;
        m[i] = b1 * m[i] + rest1 * g;
        v[i] = b2 * v[i] + rest2 * g * g;
        w[i] = shrink * w[i] - step * m[i] / (sqrtf(v[i]) / root_correction + epsilon);
    }
}

void sd_optimizer_step(sd_optimizer *optimizer, const sd_drop_plan *plan, double lr, uint64_t step) {
    const sd_config *config = optimizer->config;
    sd_network *network = optimizer->network;
    const bool freeze = config->stochastic_depth.dropped_update == SD_DROPPED_FREEZE;
    float scale = 1;
    if (config->optimizer.clip_norm > 0) { /* torch.nn.utils.clip_grad_norm_ */
        double coefficient = config->optimizer.clip_norm / (sd_gradient_norm(network, plan) + 1e-6);
        scale = coefficient < 1 ? (float)coefficient : 1.0f;
    }
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        const sd_segment *segment = sd_network_segment(network, tensor->segment);
        const bool kept = sd_segment_is_kept(segment, plan);
        if (tensor->kind != SD_TENSOR_PARAMETER || (!kept && freeze))
            continue;
        const bool decays = config->optimizer.decay == SD_DECAY_ALL || tensor->matrix;
        const float decay = decays ? (float)config->optimizer.weight_decay : 0.0f;
        const float *gradient = sd_network_gradients(network) + tensor->offset_elems;
        float *value = sd_network_values(network) + tensor->offset_elems;
        float *m = optimizer->state[0] + tensor->offset_elems;
        if (config->optimizer.name == SD_OPTIMIZER_ADAMW)
            adamw(config, tensor->elems, value, gradient, kept ? scale : 0.0f, decay, m,
                  optimizer->state[1] + tensor->offset_elems, lr, freeze ? (double)segment->kept_steps : (double)step);
        else
            sgd(config, tensor->elems, value, gradient, kept ? scale : 0.0f, decay, m, lr);
    }
}
