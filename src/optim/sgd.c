/* SPDX-License-Identifier: Apache-2.0 */
#include "rule.h"

static void apply(const sd_optimizer_spec *spec, const sd_update *u) {
    const float momentum = (float)spec->momentum, lr = (float)u->lr, decay = u->decay, scale = u->scale;
    const float from_d = spec->nesterov ? 1.0f : 0.0f, from_m = spec->nesterov ? momentum : 1.0f;
    const float *gradient = u->gradient;
    float *w = u->value, *m = u->state[0];
    for (size_t i = 0; i < u->n; i++) {
        float d = decay * w[i] + (scale != 0 ? scale * gradient[i] : 0.0f);
        m[i] = momentum * m[i] + d;
        w[i] -= lr * (from_d * d + from_m * m[i]);
    }
}

const sd_optimizer_rule sd_sgd = {{"momentum"}, apply};
