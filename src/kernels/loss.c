/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "isa.h"

/* loss = -sum over classes of q log softmax(z), q = (1 - smoothing) onehot + smoothing / classes. Without smoothing the
 * sum has one term: classes whose q is 0 are left out, as 0 * -inf is not 0. */
void SD_ISA_NAME(cross_entropy_forward)(size_t rows, int classes, const float *logits, const int32_t *labels,
                                        float smoothing, float *loss, int32_t *n_better) {
    for (size_t r = 0; r < rows; r++, logits += classes) {
        const int label = labels[r];
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
        loss[r] = (float)(log_sum - (1.0 - smoothing) * logits[label] - smooth);
        n_better[r] = finite ? better : INT32_MAX;
    }
}

void SD_ISA_NAME(cross_entropy_backward)(size_t rows, int classes, const float *logits, const int32_t *labels,
                                         float smoothing, float scale, float *dlogits) {
    for (size_t r = 0; r < rows; r++, logits += classes, dlogits += classes) {
        double most = logits[0], sum = 0;
        for (int i = 1; i < classes; i++)
            most = logits[i] > most ? logits[i] : most;
        for (int i = 0; i < classes; i++)
            sum += exp(logits[i] - most);
        for (int i = 0; i < classes; i++) {
            double target = smoothing / classes + (i == labels[r] ? 1.0 - smoothing : 0.0);
            dlogits[i] = (float)(scale * (exp(logits[i] - most) / sum - target));
        }
    }
}
