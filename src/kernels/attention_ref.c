/* SPDX-License-Identifier: Apache-2.0 */
/* Attention by definition, head by head. */
#include "attention.h"

#include <math.h>
#include <string.h>

#include "dropout.h"
#include "isa.h"
#include "sdtrain/random.h"
#include "table.h"

/* drop(v) / v, by definition */
static float dropout_factor(const sd_dropout *dropout, size_t image, size_t row, size_t column) {
    const uint64_t place = dropout->first_image + (dropout->places ? dropout->places[image] : image);
    const uint64_t item = place << 32 | row << 16 | (column / 64 * 16 + column % 16);
    const sd_random random =
        sd_random_at(dropout->seed, SD_STREAM_HIDDEN_DROPOUT, item, (uint64_t)dropout->site << 32 | dropout->step);
    return sd_random_uniform(random.word[column / 16 % 4]) < dropout->rate ? 0.0f : dropout_scale(dropout);
}

static void softmax_rows(size_t rows, size_t n, float *x) {
    for (size_t r = 0; r < rows; r++, x += n) {
        float most = x[0], sum = 0;
        for (size_t i = 1; i < n; i++)
            most = x[i] > most ? x[i] : most;
        for (size_t i = 0; i < n; i++)
            x[i] = expf(x[i] - most);
        for (size_t i = 0; i < n; i++)
            sum += x[i];
        float inverse = 1.0f / sum;
        for (size_t i = 0; i < n; i++)
            x[i] *= inverse;
    }
}

/* One head of an image: its matrices, of `length` rows, with these row strides. */
typedef struct head {
    size_t image, which, length;
    size_t at, pitch;     /* of its queries in qkv and dqkv; keys and values follow y_pitch and 2 y_pitch behind */
    size_t y_at, y_pitch; /* in y and dy */
    float scale;
    float *p, *dp; /* scratch: [length, length] */
} head;

static head head_at(const sd_attention *a, size_t n, float *memory) {
    const size_t heads = (size_t)a->heads, tokens = (size_t)a->tokens, dim = (size_t)a->head_dim, width = heads * dim;
    head h = {.image = n / heads, .which = n % heads, .pitch = 3 * width, .y_pitch = width};
    h.length = a->lengths ? (size_t)a->lengths[h.image] : tokens;
    h.at = h.image * tokens * h.pitch + h.which * dim;
    h.y_at = h.image * tokens * width + h.which * dim;
    h.scale = 1.0f / sqrtf((float)dim);
    h.p = memory;
    h.dp = memory + tokens * tokens;
    return h;
}

/* P = softmax(Q K^T / sqrt(dim)) */
static void find_probabilities(const head *h, size_t dim, const float *qkv) {
    const float *q = qkv + h->at, *k = q + h->y_pitch;
    const size_t n = h->length;
    sd_gemm(false, true, n, n, dim, h->scale, q, h->pitch, k, h->pitch, 0.0f, h->p, n);
    softmax_rows(n, n, h->p);
}

/* y = drop(x), [length, length]; y may be x. */
static void drop_probabilities(const head *h, const sd_dropout *dropout, const float *x, float *y) {
    for (size_t query = 0; query < h->length; query++)
        for (size_t key = 0; key < h->length; key++, x++, y++)
            *y = drops(dropout) ? *x * dropout_factor(dropout, h->image, attention_dropout_row(h->which, query),
                                                      attention_dropout_column(key, query))
                                : *x;
}

/* Zeros rows [length, tokens). */
static void clear_rows(const head *h, size_t tokens, size_t dim, float *rows, size_t pitch) {
    for (size_t r = h->length; r < tokens; r++)
        memset(rows + r * pitch, 0, dim * sizeof(float));
}

/* Y = drop(P) V */
void SD_ISA_NAME(attention_forward)(const sd_attention *a, const float *qkv, float *y, sd_scratch scratch) {
    const size_t tokens = (size_t)a->tokens, dim = (size_t)a->head_dim;
    const attention_scratch s = attention_reference_layout(tokens, scratch);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (size_t n = 0; n < (size_t)a->images * (size_t)a->heads; n++) {
        const head h = head_at(a, n, own(&s.heads));
        const float *v = qkv + h.at + 2 * h.y_pitch;
        find_probabilities(&h, dim, qkv);
        drop_probabilities(&h, &a->dropout, h.p, h.p);
        sd_gemm(false, false, h.length, dim, h.length, 1.0f, h.p, h.length, v, h.pitch, 0.0f, y + h.y_at, h.y_pitch);
        clear_rows(&h, tokens, dim, y + h.y_at, h.y_pitch);
    }
}

/* dS = P (dP - rowsum(dP P)), in place of dP */
static void softmax_backward(size_t n, const float *p, float *dp) {
    for (size_t r = 0; r < n; r++, p += n, dp += n) {
        float dot = 0;
        for (size_t i = 0; i < n; i++)
            dot += dp[i] * p[i];
        for (size_t i = 0; i < n; i++)
            dp[i] = p[i] * (dp[i] - dot);
    }
}

/* dV = drop(P)^T dY;  dP = drop(dY V^T);  dQ = dS K / sqrt(dim);  dK = dS^T Q / sqrt(dim). */
void SD_ISA_NAME(attention_backward)(const sd_attention *a, const float *qkv, const float *dy, float *dqkv,
                                     sd_scratch scratch) {
    const size_t tokens = (size_t)a->tokens, dim = (size_t)a->head_dim;
    const attention_scratch s = attention_reference_layout(tokens, scratch);
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
    for (size_t n = 0; n < (size_t)a->images * (size_t)a->heads; n++) {
        const head h = head_at(a, n, own(&s.heads));
        const size_t t = h.length, pitch = h.pitch;
        const float *q = qkv + h.at, *k = q + h.y_pitch, *v = k + h.y_pitch, *dout = dy + h.y_at;
        float *dq = dqkv + h.at, *dk = dq + h.y_pitch, *dv = dk + h.y_pitch;
        find_probabilities(&h, dim, qkv);
        drop_probabilities(&h, &a->dropout, h.p, h.dp);
        sd_gemm(true, false, t, dim, t, 1.0f, h.dp, t, dout, h.y_pitch, 0.0f, dv, pitch);
        sd_gemm(false, true, t, t, dim, 1.0f, dout, h.y_pitch, v, pitch, 0.0f, h.dp, t);
        drop_probabilities(&h, &a->dropout, h.dp, h.dp);
        softmax_backward(t, h.p, h.dp);
        sd_gemm(false, false, t, dim, t, h.scale, h.dp, t, k, pitch, 0.0f, dq, pitch);
        sd_gemm(true, false, t, dim, t, h.scale, h.dp, t, q, pitch, 0.0f, dk, pitch);
        clear_rows(&h, tokens, dim, dq, pitch);
        clear_rows(&h, tokens, dim, dk, pitch);
        clear_rows(&h, tokens, dim, dv, pitch);
    }
}
