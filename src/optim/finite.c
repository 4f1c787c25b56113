/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/finite.h"

#include "sdtrain/optim.h"

bool sd_gradients_are_finite(sd_network *network, const sd_drop_plan *plan) {
    const float *gradients = sd_network_gradients(network);
    for (int i = 0; i < sd_network_n_segments(network); i++) {
        const sd_segment *segment = sd_network_segment(network, i);
        if (sd_segment_is_trained(segment, plan) && !sd_all_finite(gradients + segment->offset_elems, segment->elems))
            return false;
    }
    return true;
}

static bool is_bad(sd_network *network, const sd_drop_plan *plan, const sd_tensor *tensor) {
    return sd_segment_is_trained(sd_network_segment(network, tensor->segment), plan) &&
           !sd_all_finite(sd_network_gradients(network) + tensor->offset_elems, tensor->elems);
}

/* Tensors are in forward order, segments in backward order. */
const sd_tensor *sd_gradient_not_finite(sd_network *network, const sd_drop_plan *plan) {
    const sd_tensor *first = NULL;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        if (!is_bad(network, plan, tensor))
            continue;
        if (tensor->kind == SD_TENSOR_STATISTIC)
            return tensor;
        if (!first || tensor->segment <= first->segment)
            first = tensor;
    }
    return first;
}
