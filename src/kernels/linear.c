#include <string.h>

#include "isa.h"
#include "reduce.h"

void SD_ISA_NAME(linear_forward)(size_t rows, int in, int out, const float *x, const float *w, const float *bias,
                                 float *y) {
    for (size_t r = 0; r < rows; r++)
        memcpy(y + r * (size_t)out, bias, (size_t)out * sizeof(float));
    sd_gemm(false, true, rows, (size_t)out, (size_t)in, 1.0f, x, (size_t)in, w, (size_t)in, 1.0f, y, (size_t)out);
}

void SD_ISA_NAME(linear_backward_data)(size_t rows, int in, int out, const float *dy, const float *w, float *dx) {
    sd_gemm(false, false, rows, (size_t)in, (size_t)out, 1.0f, dy, (size_t)out, w, (size_t)in, 0.0f, dx, (size_t)in);
}

void SD_ISA_NAME(linear_backward_weights)(size_t rows, int in, int out, const float *x, const float *dy, float *dw,
                                          float *dbias, float *scratch) {
    sd_gemm(true, false, (size_t)out, (size_t)in, rows, 1.0f, dy, (size_t)out, x, (size_t)in, 0.0f, dw, (size_t)in);
    const size_t width = (size_t)out, chunk_rows = chunk_elems(out) / width, chunks = n_chunks(rows, out);
    double *partial = (double *)(void *)scratch;
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < chunks; n++) {
        double *sum = partial + n * 2 * width;
        for (size_t i = 0; i < 2 * width; i++)
            sum[i] = 0;
        for (size_t r = n * chunk_rows; r < (n + 1) * chunk_rows && r < rows; r++)
            for (size_t i = 0; i < width; i++)
                sum[i] += dy[r * width + i];
    }
    fold_chunks(partial, chunks, out);
    for (int i = 0; i < out; i++)
        dbias[i] = (float)partial[i];
}
