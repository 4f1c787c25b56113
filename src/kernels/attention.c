/* SPDX-License-Identifier: Apache-2.0 */
/* Attention, head by head. Scores are stored transposed, in slices of 16 queries, [slice of queries][key][16], so that
 * softmax over keys works on whole vectors, and scores are a panel (tile.h) for both products:
 *     from the left    [key, query] B[query, d]      dV, dK
 *     transposed       [query, key] B[key, d]        Y, dQ
 * Lanes past the last query hold the scores of a zero query; right-hand matrices have zeros there. */
#include "attention.h"

#include <math.h>
#include <string.h>

#include "dropout.h"
#include "map.h"
#include "table.h"
#include "tile.h"
#include "vector_math.h"

/* One head. The row stride of its matrices is pitch in qkv and dqkv, y_pitch in y and dy. Padding is behind its tokens,
 * and only written: zeros. */
typedef struct head {
    size_t image, which;
    size_t tokens, padding, dim, pitch, y_pitch;
    size_t slice_elems, query_slices, dim_slices;
    float scale;
    size_t qkv_at, y_at;
    attention_head at; /* in scratch */
} head;

static head head_at(const sd_attention *a, size_t n, float *memory) {
    const size_t heads = (size_t)a->heads, rows = (size_t)a->tokens, dim = (size_t)a->head_dim, width = heads * dim;
    head h = {.image = n / heads, .which = n % heads, .dim = dim, .pitch = 3 * width, .y_pitch = width};
    h.tokens = a->lengths ? (size_t)a->lengths[h.image] : rows;
    h.padding = rows - h.tokens;
    h.slice_elems = attention_panel_rows(h.tokens) * SLICE;
    h.query_slices = panel_slices(h.tokens);
    h.dim_slices = panel_slices(dim);
    h.scale = 1.0f / sqrtf((float)dim);
    h.qkv_at = h.image * rows * h.pitch + h.which * dim;
    h.y_at = h.image * rows * width + h.which * dim;
    h.at = attention_head_layout(h.tokens, dim, memory);
    return h;
}

/* The number of queries of the slice that begins with query `first`: 16, or the rest. */
static size_t slice_queries(const head *h, size_t first) {
    return h->tokens - first < SLICE ? h->tokens - first : SLICE;
}

/* to[slice of queries][key][16] = scale keys[key, dim] queries[query, dim]^T */
static void multiply_scores(const head *h, float scale, const float *keys, const float *queries, size_t queries_pitch,
                            float *to) {
    const sd_map scaling = {.kind = SD_MAP_SCALE, .scale = scale};
    const map_layout slices = {SLICE, h->slice_elems, SLICE};
    map_values(&scaling, keys, h->pitch, (map_part){0, h->tokens, 0, h->dim}, h->at.panel, slices);
    const size_t tail = h->dim % SLICE;
    for (size_t t = 0; tail && t < h->tokens; t++)
        memset(h->at.panel + (h->dim_slices - 1) * h->slice_elems + t * SLICE + tail, 0,
               (SLICE - tail) * sizeof(float));
    for (size_t s = 0; s < h->query_slices; s++, to += h->slice_elems) {
        const size_t first = s * SLICE, some = slice_queries(h, first);
        if (some < SLICE)
            memset(to, 0, h->tokens * SLICE * sizeof(float));
        pack_b(queries + first * queries_pitch, h->dim, some, 1, queries_pitch, 0, h->dim_slices * SLICE, h->at.slice);
        panel_multiply_rows(h->at.panel, h->slice_elems, h->dim_slices, h->at.slice, some, h->tokens, to, SLICE);
    }
}

/* Softmax over the keys, for each of a slice's 16 queries. */
static void softmax(size_t keys, float *score) {
    float most[SLICE], sum[SLICE] = {0}, inverse[SLICE];
    for (int l = 0; l < SLICE; l++)
        most[l] = score[l];
    for (size_t key = 1; key < keys; key++)
        for (int l = 0; l < SLICE; l++)
            most[l] = score[key * SLICE + (size_t)l] > most[l] ? score[key * SLICE + (size_t)l] : most[l];
    for (size_t key = 0; key < keys; key++)
        for (int l = 0; l < SLICE; l++) {
            float e = exp_below(score[key * SLICE + (size_t)l] - most[l]);
            score[key * SLICE + (size_t)l] = e;
            sum[l] += e;
        }
    for (int l = 0; l < SLICE; l++)
        inverse[l] = 1.0f / sum[l];
    for (size_t key = 0; key < keys; key++)
        for (int l = 0; l < SLICE; l++)
            score[key * SLICE + (size_t)l] *= inverse[l];
}

/* P = softmax(Q K^T / sqrt(dim)) */
static void find_probabilities(const head *h, const float *qkv) {
    const float *queries = qkv + h->qkv_at, *keys = queries + h->y_pitch;
    multiply_scores(h, h->scale, keys, queries, h->pitch, h->at.p);
    for (size_t s = 0; s < h->query_slices; s++)
        softmax(h->tokens, h->at.p + s * h->slice_elems);
}

/* dS = P (dP - sum over keys of P dP) / sqrt(dim), in place of dP. */
static void softmax_backward(const head *h, const float *p, float *dp) {
    float sum[SLICE] = {0};
    for (size_t key = 0; key < h->tokens; key++)
        for (int l = 0; l < SLICE; l++)
            sum[l] += p[key * SLICE + (size_t)l] * dp[key * SLICE + (size_t)l];
    for (size_t key = 0; key < h->tokens; key++)
        for (int l = 0; l < SLICE; l++)
            dp[key * SLICE + (size_t)l] =
                h->scale * p[key * SLICE + (size_t)l] * (dp[key * SLICE + (size_t)l] - sum[l]);
}

/* to[query] = sum over keys of scores[query, key] b[key] */
static void multiply_by_keys(const head *h, const float *scores, const float *b, float *to, size_t to_pitch) {
    for (size_t q = 0; q < h->tokens; q++)
        memset(to + q * to_pitch, 0, h->dim * sizeof(float));
    for (size_t first = 0; first < h->tokens; first += SLICE, scores += h->slice_elems)
        panel_multiply_transposed(scores, h->slice_elems, slice_queries(h, first), b, h->pitch, h->dim, to_pitch,
                                  (int)h->tokens, to + first * to_pitch);
}

/* to[key] = sum over queries of scores[query, key] b[query]. to has the pitch of qkv. */
static void multiply_by_queries(const head *h, const float *scores, const float *b, size_t b_pitch, float *to) {
    pack_b(b, h->tokens, h->dim, b_pitch, 1, 0, h->query_slices * SLICE, h->at.packed);
    panel_multiply_rows(scores, h->slice_elems, h->query_slices, h->at.packed, h->dim, h->tokens, to, h->pitch);
}

/* dropped = drop(p) for a slice of queries. Where that is 0, p gets a minus sign, for undrop_slice(). */
static void drop_slice(const head *h, const sd_dropout *dropout, size_t slice, float *p, float *dropped) {
    const size_t row = attention_dropout_row(h->which, slice * SLICE);
    float factor[DROPOUT_COLUMNS];
    for (size_t at = 0; at < h->tokens * SLICE; at += SLICE) {
        if (at % DROPOUT_COLUMNS == 0)
            dropout_factors(dropout, h->image, row, at, factor);
        const float *factors = factor + at % DROPOUT_COLUMNS;
#pragma omp simd
        for (size_t l = 0; l < SLICE; l++) {
            const float value = p[at + l];
            dropped[at + l] = factors[l] * value;
            p[at + l] = factors[l] > 0.0f ? value : -value;
        }
    }
}

/* dp = drop(dp), of what drop_slice() dropped of p; p as it was before. */
static void undrop_slice(const head *h, const sd_dropout *dropout, float *p, float *dp) {
    const float kept = dropout_scale(dropout);
#pragma omp simd
    for (size_t i = 0; i < h->tokens * SLICE; i++) {
        dp[i] = signbit(p[i]) ? 0.0f : kept * dp[i];
        p[i] = fabsf(p[i]);
    }
}

/* Zeros behind the tokens of a matrix that is written. */
static void clear_padding(const head *h, float *rows, size_t pitch) {
    for (size_t r = h->tokens; r < h->tokens + h->padding; r++)
        memset(rows + r * pitch, 0, h->dim * sizeof(float));
}

/* ---- passes ---- */

typedef struct pass {
    const sd_attention *attention;
    const float *qkv, *dy;
    float *y, *dqkv;
} pass;

/* P in at.p, and the address of drop(P) */
static const float *find_dropped(const head *h, const pass *pass) {
    const sd_dropout *dropout = &pass->attention->dropout;
    find_probabilities(h, pass->qkv);
    if (!drops(dropout))
        return h->at.p;
    for (size_t s = 0; s < h->query_slices; s++)
        drop_slice(h, dropout, s, h->at.p + s * h->slice_elems, h->at.dp + s * h->slice_elems);
    return h->at.dp;
}

/* Y = drop(P) V */
static void forward_head(const pass *pass, size_t n, float *memory) {
    const head h = head_at(pass->attention, n, memory);
    float *y = pass->y + h.y_at;
    multiply_by_keys(&h, find_dropped(&h, pass), pass->qkv + h.qkv_at + 2 * h.y_pitch, y, h.y_pitch);
    clear_padding(&h, y, h.y_pitch);
}

/* dV = drop(P)^T dY;  dP = drop(dY V^T);  dQ = dS K;  dK = dS^T Q. */
static void backward_head(const pass *pass, size_t n, float *memory) {
    const head h = head_at(pass->attention, n, memory);
    const sd_dropout *dropout = &pass->attention->dropout;
    const float *q = pass->qkv + h.qkv_at, *k = q + h.y_pitch, *v = k + h.y_pitch, *dout = pass->dy + h.y_at;
    float *dq = pass->dqkv + h.qkv_at, *dk = dq + h.y_pitch, *dv = dk + h.y_pitch;
    multiply_by_queries(&h, find_dropped(&h, pass), dout, h.y_pitch, dv);
    multiply_scores(&h, 1.0f, v, dout, h.y_pitch, h.at.dp);
    for (size_t s = 0; s < h.query_slices; s++) {
        float *p = h.at.p + s * h.slice_elems, *dp = h.at.dp + s * h.slice_elems;
        if (drops(dropout))
            undrop_slice(&h, dropout, p, dp);
        softmax_backward(&h, p, dp);
    }
    multiply_by_keys(&h, h.at.dp, k, dq, h.pitch);
    multiply_by_queries(&h, h.at.dp, q, h.pitch, dk);
    clear_padding(&h, dq, h.pitch);
    clear_padding(&h, dk, h.pitch);
    clear_padding(&h, dv, h.pitch);
}

/* Runs a pass of each head. Heads of unequal lengths are handed out one by one, so that threads end together. */
static void run_heads(void (*run)(const pass *, size_t n, float *memory), const pass *pass, sd_scratch scratch) {
    const sd_attention *a = pass->attention;
    const attention_scratch s = attention_layout((size_t)a->tokens, (size_t)a->head_dim, scratch);
    const size_t heads = (size_t)a->images * (size_t)a->heads;
    if (a->lengths) {
#pragma omp parallel for schedule(dynamic) num_threads(scratch.threads)
        for (size_t n = 0; n < heads; n++)
            run(pass, n, own(&s.heads));
    } else {
#pragma omp parallel for schedule(static) num_threads(scratch.threads)
        for (size_t n = 0; n < heads; n++)
            run(pass, n, own(&s.heads));
    }
}

void SD_ISA_NAME(attention_forward)(const sd_attention *attention, const float *qkv, float *y, sd_scratch scratch) {
    run_heads(forward_head, &(pass){.attention = attention, .qkv = qkv, .y = y}, scratch);
}

void SD_ISA_NAME(attention_backward)(const sd_attention *attention, const float *qkv, const float *dy, float *dqkv,
                                     sd_scratch scratch) {
    run_heads(backward_head, &(pass){.attention = attention, .qkv = qkv, .dy = dy, .dqkv = dqkv}, scratch);
}
