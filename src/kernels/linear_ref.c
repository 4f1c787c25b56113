/* SPDX-License-Identifier: Apache-2.0 */
/* Linear layers by definition: maps, then matrix products. */
#include <string.h>

#include "linear.h"
#include "map.h"
#include "table.h"

/* to = map(rows [row, row + rows) of x [*, c]). */
static void map_chunk(const float *x, const sd_map *map, size_t c, size_t row, size_t rows, float *to) {
    map_values(map, x, c, (map_part){row, rows, 0, c}, to, (map_layout){c, 0, c});
}

void SD_ISA_NAME(linear_forward)(size_t rows, int in, int out, const float *x, const sd_map *x_map, const float *w,
                                 const float *bias, float *y, const sd_map *y_map, sd_scratch scratch) {
    const size_t n_in = (size_t)in, n_out = (size_t)out;
    float *x_chunk = linear_reference_layout(n_in, n_out, scratch).x;
    for (size_t row = 0; row < rows; row += REFERENCE_ROWS) {
        const size_t count = rows - row < REFERENCE_ROWS ? rows - row : REFERENCE_ROWS;
        float *to = y + row * n_out;
        map_chunk(x, x_map, n_in, row, count, x_chunk);
        for (size_t r = 0; r < count; r++)
            memcpy(to + r * n_out, bias, n_out * sizeof(float));
        sd_gemm(false, true, count, n_out, n_in, 1.0f, x_chunk, n_in, w, n_in, 1.0f, to, n_out);
        map_chunk(y, y_map, n_out, row, count, to);
    }
}

void SD_ISA_NAME(linear_backward)(size_t rows, int in, int out, const float *x, const sd_map *x_map, const float *dy,
                                  const sd_map *dy_map, const float *w, float *dx, const sd_map *dx_map, float *dw,
                                  float *dbias, sd_scratch scratch) {
    const size_t n_in = (size_t)in, n_out = (size_t)out;
    const linear_reference_scratch s = linear_reference_layout(n_in, n_out, scratch);
    float *x_chunk = s.x, *dy_chunk = s.dy;
    memset(dw, 0, n_out * n_in * sizeof(float));
    memset(dbias, 0, n_out * sizeof(float));
    for (size_t row = 0; row < rows; row += REFERENCE_ROWS) {
        const size_t count = rows - row < REFERENCE_ROWS ? rows - row : REFERENCE_ROWS;
        float *to = dx + row * n_in;
        map_chunk(x, x_map, n_in, row, count, x_chunk);
        map_chunk(dy, dy_map, n_out, row, count, dy_chunk);
        sd_gemm(false, false, count, n_in, n_out, 1.0f, dy_chunk, n_out, w, n_in, 0.0f, to, n_in);
        map_chunk(dx, dx_map, n_in, row, count, to);
        sd_gemm(true, false, n_out, n_in, count, 1.0f, dy_chunk, n_out, x_chunk, n_in, 1.0f, dw, n_in);
        for (size_t o = 0; o < n_out; o++) {
            double sum = 0;
            for (size_t r = 0; r < count; r++)
                sum += dy_chunk[r * n_out + o];
            dbias[o] += (float)sum;
        }
    }
}
