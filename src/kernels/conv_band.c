#include <string.h>

#include "conv.h"
#include "operand.h"

void SD_ISA_NAME(pack_band)(const band_shape *shape, const sd_operand *x, int image, int row0, int slice0,
                            float *band) {
    const size_t row_elems = (size_t)shape->columns * SLICE, c = (size_t)shape->c;
    const int right = shape->columns - 1 - shape->w; /* columns of zeros */
    for (int slice = 0; slice < shape->slices; slice++) {
        float *to = band + (size_t)slice * shape->slice_elems;
        const size_t channel = (size_t)(slice0 + slice) * SLICE;
        for (int row = 0; row < shape->rows; row++, to += row_elems) {
            const int h = row0 - 1 + row;
            if (h < 0 || h >= shape->h) {
                memset(to, 0, row_elems * sizeof(float));
                continue;
            }
            memset(to, 0, SLICE * sizeof(float));
            operand_slice(x, ((size_t)(image * shape->h + h) * (size_t)shape->w) * c + channel, c, channel, shape->w,
                          to + SLICE);
            memset(to + (size_t)(1 + shape->w) * SLICE, 0, (size_t)right * SLICE * sizeof(float));
        }
    }
}
