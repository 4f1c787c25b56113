/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/embedding.c, for every instruction set, against sums in double. */
#include "../support.h"

static const sd_kernels *k; /* the table under test: loop index */

static void begin(int isa) {
    k = sd_kernels_at(isa);
    sd_kernels_set_threads(1);
}

enum { VOCABULARY = 40, MOST_IMAGES = 6 };

/* Tensors, and what is expected of them. y, dy: [rows, c]. */
typedef struct embedding_case {
    sd_embedding e;
    size_t rows, c;
    int32_t *ids, lengths[MOST_IMAGES], second[MOST_IMAGES];
    float *table, *position, *type, *y, *dy, *dtable, *dposition, *dtype;
} embedding_case;

/* Frequent words and rare ones, and lengths from 1 to all tokens. Behind the lengths are ids that no table has, and
 * gradients that are not numbers. */
static void init_case(embedding_case *n, int images, int tokens, int c) {
    *n = (embedding_case){.rows = (size_t)(images * tokens), .c = (size_t)c};
    n->ids = malloc(n->rows * sizeof *n->ids);
    n->table = normal_floats(VOCABULARY * n->c, 1, 0, 1);
    n->position = normal_floats((size_t)tokens * n->c, 2, 0, 1);
    n->type = normal_floats(2 * n->c, 3, 0, 1);
    n->y = new_floats(n->rows * n->c);
    n->dy = normal_floats(n->rows * n->c, 4, 0, 1);
    n->dtable = new_floats(VOCABULARY * n->c);
    n->dposition = normal_floats((size_t)tokens * n->c, 5, 0, 1);
    n->dtype = normal_floats(2 * n->c, 6, 0, 1);
    for (int image = 0; image < images; image++) {
        n->lengths[image] = image == 0 ? tokens : 1 + image * 7 % tokens;
        n->second[image] = image % 2 ? n->lengths[image] : n->lengths[image] / 3;
    }
    for (size_t row = 0; row < n->rows; row++) {
        const uint32_t draw = sd_random_at(1, 91, row, 0).word[0];
        const bool padding = row % (size_t)tokens >= (size_t)n->lengths[row / (size_t)tokens];
        n->ids[row] = padding ? INT32_MAX : (int32_t)(draw % 2 ? draw / 2 % 3 : draw / 2 % VOCABULARY);
        for (size_t i = 0; padding && i < n->c; i++)
            n->dy[row * n->c + i] = NAN;
    }
    n->e = (sd_embedding){images, tokens, c, n->ids, n->lengths, n->second};
}

static void free_case(embedding_case *n) {
    float *all[] = {n->table, n->position, n->type, n->y, n->dy, n->dtable, n->dposition, n->dtype};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    free(n->ids);
}

static void run(embedding_case *n) {
    k->embedding_forward(&n->e, n->table, n->position, n->type, n->y);
    memset(n->dtable, 0, VOCABULARY * n->c * sizeof(float));
    k->embedding_backward(&n->e, n->dy, n->dtable, n->dposition, n->dtype);
}

static bool is_padding(const embedding_case *n, size_t row) {
    const size_t tokens = (size_t)n->e.tokens;
    return n->e.lengths && row % tokens >= (size_t)n->e.lengths[row / tokens];
}

static size_t type_of(const embedding_case *n, size_t row) {
    const size_t tokens = (size_t)n->e.tokens;
    return n->e.second && row % tokens >= (size_t)n->e.second[row / tokens];
}

static void expect_formulas(embedding_case *n) {
    const size_t c = n->c, tokens = (size_t)n->e.tokens;
    double *dtable = calloc(VOCABULARY * c, sizeof *dtable), *dposition = calloc(tokens * c, sizeof *dposition),
           *dtype = calloc(2 * c, sizeof *dtype);
    run(n);
    for (size_t row = 0; row < n->rows; row++)
        for (size_t i = 0; i < c; i++) {
            if (is_padding(n, row)) {
                ck_assert(n->y[row * c + i] == 0);
                continue;
            }
            const size_t word = (size_t)n->ids[row] * c + i, place = row % tokens * c + i,
                         kind = type_of(n, row) * c + i;
            expect_number("y", n->y[row * c + i], (double)n->table[word] + n->position[place] + n->type[kind], 1e-6);
            dtable[word] += n->dy[row * c + i];
            dposition[place] += n->dy[row * c + i];
            dtype[kind] += n->dy[row * c + i];
        }
    expect_close("dtable", n->dtable, dtable, VOCABULARY * c, 1e-6);
    expect_close("dposition", n->dposition, dposition, tokens * c, 1e-6);
    expect_close("dtype", n->dtype, dtype, 2 * c, 1e-6);
    free(dtable);
    free(dposition);
    free(dtype);
}

static const int shapes[][3] = {{1, 1, 1}, {6, 9, 31}, {2, 50, 32}, {3, 17, 33}, {5, 64, 128}, {2, 11, 100}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

START_TEST(embedding_equals_its_formulas) {
    begin(_i);
    for (int s = 0; s < N_SHAPES; s++) {
        embedding_case n;
        init_case(&n, shapes[s][0], shapes[s][1], shapes[s][2]);
        expect_formulas(&n);
        free_case(&n);
    }
}
END_TEST

START_TEST(embedding_without_lengths_and_second_texts_equals_its_formulas) {
    begin(_i);
    embedding_case n;
    init_case(&n, 1, 23, 40); /* the first image is full */
    n.e.lengths = n.e.second = NULL;
    expect_formulas(&n);
    for (size_t i = 0; i < n.c; i++)
        ck_assert(n.dtype[n.c + i] == 0);
    free_case(&n);
}
END_TEST

START_TEST(embedding_without_positions_and_types_is_a_row_of_the_table) {
    begin(_i);
    embedding_case n;
    init_case(&n, 1, 23, 40);
    run(&n);
    float *dtable = new_floats(VOCABULARY * n.c);
    k->embedding_forward(&n.e, n.table, NULL, NULL, n.y);
    k->embedding_backward(&n.e, n.dy, dtable, NULL, NULL);
    for (size_t row = 0; row < n.rows; row++)
        expect_same_bits("y", n.y + row * n.c, n.table + (size_t)n.ids[row] * n.c, n.c * sizeof(float));
    expect_same_bits("dtable", dtable, n.dtable, VOCABULARY * n.c * sizeof(float));
    free(dtable);
    free_case(&n);
}
END_TEST

/* The gradient of the rows that a batch names, in the order of their first token, has the bits of the whole table's. */
START_TEST(embedding_backward_sums_a_list_of_rows_as_it_sums_the_table) {
    begin(_i);
    embedding_case n;
    init_case(&n, 6, 30, 70);
    run(&n);
    int32_t place[VOCABULARY], words[VOCABULARY];
    int named = 0;
    for (int word = 0; word < VOCABULARY; word++)
        place[word] = -1;
    for (size_t row = 0; row < n.rows; row++) {
        if (is_padding(&n, row))
            continue;
        const int32_t word = n.ids[row];
        if (place[word] < 0) {
            words[named] = word;
            place[word] = named++;
        }
        n.ids[row] = place[word];
    }
    ck_assert(named > 3 && named < VOCABULARY);
    float *rows = new_floats((size_t)named * n.c);
    k->embedding_backward(&n.e, n.dy, rows, NULL, NULL);
    for (int i = 0; i < named; i++)
        expect_same_bits("row", rows + (size_t)i * n.c, n.dtable + (size_t)words[i] * n.c, n.c * sizeof(float));
    for (size_t i = 0; i < VOCABULARY * n.c; i++) /* rows that no token names */
        ck_assert(place[i / n.c] >= 0 || n.dtable[i] == 0);
    free(rows);
    free_case(&n);
}
END_TEST

START_TEST(bits_do_not_depend_on_threads) {
    begin(_i);
    embedding_case one, many;
    init_case(&one, 6, 60, 200);
    init_case(&many, 6, 60, 200);
    run(&one);
    for (int threads = 2; threads <= 4; threads++) {
        sd_kernels_set_threads(threads);
        run(&many);
        expect_same_bits("y", many.y, one.y, one.rows * one.c * sizeof(float));
        expect_same_bits("dtable", many.dtable, one.dtable, VOCABULARY * one.c * sizeof(float));
        expect_same_bits("dposition", many.dposition, one.dposition, 60 * one.c * sizeof(float));
        expect_same_bits("dtype", many.dtype, one.dtype, 2 * one.c * sizeof(float));
    }
    free_case(&one);
    free_case(&many);
}
END_TEST

int main(void) {
    const int n_isa = count_kernels();
    TCase *cases = tcase_create("embedding");
    tcase_add_loop_test(cases, embedding_equals_its_formulas, 0, n_isa);
    tcase_add_loop_test(cases, embedding_without_lengths_and_second_texts_equals_its_formulas, 0, n_isa);
    tcase_add_loop_test(cases, embedding_without_positions_and_types_is_a_row_of_the_table, 0, n_isa);
    tcase_add_loop_test(cases, embedding_backward_sums_a_list_of_rows_as_it_sums_the_table, 0, n_isa);
    tcase_add_loop_test(cases, bits_do_not_depend_on_threads, 0, n_isa);
    return run_suite("embedding", cases);
}
