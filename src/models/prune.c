/* SPDX-License-Identifier: Apache-2.0 */
/* From a network to one with some of its blocks. Both have their tensors and segments in the order in which they were
 * built, so that those which are kept correspond one by one; their names may have other numbers in them. */
#include <string.h>

#include "sdtrain/models.h"

bool sd_model_keeps(const sd_network *network, const unsigned char *keep, int segment) {
    const int unit = sd_network_segment(network, segment)->unit;
    return unit < 0 || keep[unit];
}

sd_stages sd_model_kept_stages(const sd_network *network, const sd_stages *stages, const unsigned char *keep) {
    sd_stages kept = {.n = stages->n};
    int stage = 0, end = stages->blocks[0], last = 0; /* end: depth of the stage's last block */
    for (int i = 0; i < sd_network_n_units(network); i++) {
        const int depth = sd_network_unit(network, i)->depth;
        while (depth > end)
            end += stages->blocks[++stage];
        kept.blocks[stage] += keep[i] && depth != last;
        last = depth;
    }
    return kept;
}

static sd_status mismatch(const char *name) {
    return sd_fail(SD_ERR_INTERNAL, "%s: the smaller network has no such tensor in its place", name);
}

sd_status sd_model_copy_kept(const sd_network *from, const unsigned char *keep, const float *from_buffer,
                             const sd_network *to, float *to_buffer) {
    int at = 0;
    for (int i = 0; i < sd_network_n_tensors(from); i++) {
        const sd_tensor *tensor = sd_network_tensor(from, i);
        if (!sd_model_keeps(from, keep, tensor->segment))
            continue;
        const sd_tensor *target = at < sd_network_n_tensors(to) ? sd_network_tensor(to, at++) : NULL;
        if (!target || target->elems != tensor->elems || target->kind != tensor->kind)
            return mismatch(tensor->name);
        memcpy(to_buffer + target->offset_elems, from_buffer + tensor->offset_elems, tensor->elems * sizeof(float));
    }
    return at == sd_network_n_tensors(to) ? SD_OK : mismatch(sd_network_tensor(to, at)->name);
}

sd_status sd_model_copy_kept_steps(const sd_network *from, const unsigned char *keep, sd_network *to) {
    int at = 0;
    for (int i = 0; i < sd_network_n_segments(from); i++) {
        if (!sd_model_keeps(from, keep, i))
            continue;
        if (at == sd_network_n_segments(to))
            return mismatch("a segment");
        sd_network_set_kept_steps(to, at++, sd_network_segment(from, i)->kept_steps);
    }
    return at == sd_network_n_segments(to) ? SD_OK : mismatch("a segment");
}
