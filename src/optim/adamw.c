/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "rule.h"

static void apply(const sd_optimizer_spec *spec, const sd_update *u) {
    const float b1 = (float)spec->beta1, b2 = (float)spec->beta2, scale = u->scale;
    const float rest1 = (float)(1 - spec->beta1), rest2 = (float)(1 - spec->beta2);
    const float step = (float)(u->lr / (1 - pow(spec->beta1, u->t)));
    const float root_correction = (float)sqrt(1 - pow(spec->beta2, u->t));
    const float epsilon = (float)spec->epsilon, shrink = (float)(1 - u->lr * u->decay);
    const float *gradient = u->gradient;
    float *w = u->value, *m = u->state[0], *v = u->state[1];
    for (size_t i = 0; i < u->n; i++) {
        float g = scale != 0 ? scale * gradient[i] : 0.0f;
        m[i] = b1 * m[i] + rest1 * g;
        v[i] = b2 * v[i] + rest2 * g * g;
        w[i] = shrink * w[i] - step * m[i] / (sqrtf(v[i]) / root_correction + epsilon);
    }
}

const sd_optimizer_rule sd_adamw = {{"exp_avg", "exp_avg_sq"}, apply};
