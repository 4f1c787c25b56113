#include <math.h>

#include "isa.h"

/* loss = -sum over classes of q log softmax(z), q = (1 - smoothing) onehot + smoothing / classes. */
void SD_ISA_NAME(cross_entropy_forward)(size_t rows, int classes, const float *logits, const int32_t *labels,
                                        float smoothing, float *loss, int32_t *rank) {
    for (size_t r = 0; r < rows; r++, logits += classes) {
        const int label = labels[r];
        double most = logits[0], sum = 0, mean = 0;
        for (int i = 1; i < classes; i++)
            most = logits[i] > most ? logits[i] : most;
        int higher = 0;
        for (int i = 0; i < classes; i++) {
            sum += exp(logits[i] - most);
            mean += logits[i] / (double)classes;
            higher += !isfinite(logits[i]) || logits[i] > logits[label] || (i < label && logits[i] == logits[label]);
        }
        double log_sum = most + log(sum);
        loss[r] = (float)(log_sum - (1.0 - smoothing) * logits[label] - smoothing * mean);
        rank[r] = isfinite(logits[label]) ? higher : classes;
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
