/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "isa.h"
#include "table.h"

/* loss = -sum over classes of q log softmax(z), q = (1 - smoothing) p + smoothing / classes; p is 1 at the label, or
 * weight and 1 - weight at two labels. Without smoothing, classes with q = 0 are skipped, as 0 * -inf is NaN. */

/* p of a class. */
static double target_of(const sd_targets *targets, size_t row, int class) {
    const double weight = targets->others ? (double)targets->weights[row] : 1;
    const double share = class == targets->labels[row] ? weight : 0;
    return targets->others && class == targets->others[row] ? share + (1 - weight) : share;
}

/* Sum of p z over classes. */
static double target_logit(const sd_targets *targets, size_t row, const float *logits) {
    const double label = logits[targets->labels[row]];
    if (!targets->others || targets->weights[row] == 1)
        return label;
    const double weight = targets->weights[row], other = logits[targets->others[row]];
    return weight == 0 ? other : weight * label + (1 - weight) * other;
}

void SD_ISA_NAME(cross_entropy_forward)(size_t rows, int classes, const float *logits, const sd_targets *targets,
                                        float smoothing, float *loss, int32_t *n_better) {
    for (size_t r = 0; r < rows; r++, logits += classes) {
        const int label = targets->labels[r];
        double most = logits[0], sum = 0, mean = 0;
        for (int i = 1; i < classes; i++)
            most = logits[i] > most ? logits[i] : most;
        int32_t better = 0;
        bool finite = true;
        for (int i = 0; i < classes; i++) {
            sum += exp(logits[i] - most);
            mean += logits[i] / (double)classes;
            better += logits[i] > logits[label] || (i < label && logits[i] == logits[label]);
            finite = finite && isfinite(logits[i]);
        }
        const double log_sum = most + log(sum), smooth = smoothing > 0 ? smoothing * mean : 0;
        loss[r] = (float)(log_sum - (1.0 - smoothing) * target_logit(targets, r, logits) - smooth);
        n_better[r] = finite ? better : INT32_MAX;
    }
}

void SD_ISA_NAME(cross_entropy_backward)(size_t rows, int classes, const float *logits, const sd_targets *targets,
                                         float smoothing, float scale, float *dlogits) {
    for (size_t r = 0; r < rows; r++, logits += classes, dlogits += classes) {
        double most = logits[0], sum = 0;
        for (int i = 1; i < classes; i++)
            most = logits[i] > most ? logits[i] : most;
        for (int i = 0; i < classes; i++)
            sum += exp(logits[i] - most);
        for (int i = 0; i < classes; i++) {
            const double target = smoothing / classes + (1.0 - smoothing) * target_of(targets, r, i);
            dlogits[i] = (float)(scale * (exp(logits[i] - most) / sum - target));
        }
    }
}
