/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/optim.h"

void sd_gradients_divide_by_kept(sd_network *network, const sd_drop_plan *plan, uint64_t images) {
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        const int unit = sd_network_segment(network, tensor->segment)->unit;
        if (tensor->kind != SD_TENSOR_PARAMETER || tensor->frozen || unit < 0 || !plan->kept[unit] ||
            plan->images[unit] == images)
            continue;
        const float factor = (float)((double)images / (double)plan->images[unit]);
        float *gradient = sd_network_gradients(network) + tensor->offset_elems;
        for (size_t e = 0; e < tensor->elems; e++)
            gradient[e] *= factor;
    }
}
