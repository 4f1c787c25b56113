/* SPDX-License-Identifier: Apache-2.0 */
/* dist/reducer.c as one of two ranks that compute the same. MPI is played here: what it would send is noted, and
 * comes back doubled. */
#include "../../src/dist/comm.h"

#include <pthread.h>

#include "../../src/dist/rows.h"
#include "../../src/dist/wire.h"
#include "../support.h"

enum { MAX_MESSAGES = 64, N_SUMS = 2 };

/* ---- MPI ---- */

typedef struct message {
    const void *data;
    size_t elems;
    MPI_Datatype type;
} message;
static message messages[MAX_MESSAGES]; /* of a step: reductions of more than scalars */
static int n_messages, tests_until_done, tests_left;

int MPI_Iallreduce(const void *from, void *data, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                   MPI_Request *request) {
    (void)from, (void)op, (void)comm;
    *request = MPI_REQUEST_NULL;
    tests_left = tests_until_done;
    if (type == MPI_UINT64_T) /* the least of equal ones */
        return MPI_SUCCESS;
    expect(n_messages < MAX_MESSAGES, "more than %d messages", MAX_MESSAGES);
    messages[n_messages++] = (message){data, (size_t)n, type};
    if (type == MPI_UINT16_T) {
        uint16_t *sum = data, *copy = malloc((size_t)n * sizeof *copy);
        memcpy(copy, sum, (size_t)n * sizeof *copy);
        sd_wire_add((size_t)n, copy, sum);
        free(copy);
    }
    for (int i = 0; type == MPI_FLOAT && i < n; i++)
        ((float *)data)[i] *= 2;
    return MPI_SUCCESS;
}

int MPI_Iallgather(const void *mine, int n, MPI_Datatype type, void *all, int n_all, MPI_Datatype type_all,
                   MPI_Comm comm, MPI_Request *request) {
    (void)type, (void)n_all, (void)type_all, (void)comm;
    *request = MPI_REQUEST_NULL;
    tests_left = tests_until_done;
    for (int rank = 0; rank < 2; rank++)
        memcpy((double *)all + rank * n, mine, (size_t)n * sizeof(double));
    return MPI_SUCCESS;
}

int MPI_Test(MPI_Request *request, int *done, MPI_Status *status) {
    (void)request, (void)status;
    *done = tests_left-- <= 0;
    return MPI_SUCCESS;
}

/* ---- a rank ---- */

typedef struct rank {
    double gathered[2 * SD_MAX_SUMS];
    sd_comm comm;
    sd_network *network;
    sd_reducer *reducer;
    sd_drop_plan plan;
    const sd_row_set *rows;
    sd_traffic traffic; /* of the last step */
} rank;

static void rank_init(rank *r, int ranks, const sd_reducer_spec *spec) {
    *r = (rank){.comm = {.size = ranks, .gathered = r->gathered}};
    r->network = new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 1);
    r->plan = keep_all(sd_network_n_units(r->network));
    expect_ok(sd_reducer_create(&r->comm, r->network, spec, &r->reducer));
}

static void rank_free(rank *r) {
    sd_reducer_destroy(&r->reducer);
    sd_drop_plan_free(&r->plan);
    sd_network_destroy(&r->network);
}

enum { TABLE = 0, ROW_ELEMS = 16, ROWS = 40 };

/* Makes the first segment, the head's of 64 x 10 weights, a table of embeddings. */
static sd_segment *set_table(rank *r) {
    sd_segment *table = (sd_segment *)sd_network_segment(r->network, TABLE);
    table->row_elems = ROW_ELEMS;
    ck_assert_uint_ge(table->elems, ROWS * ROW_ELEMS);
    return table;
}

static bool is_touched(const sd_row_set *rows, size_t row) {
    for (size_t i = 0; i < rows->n; i++)
        if ((size_t)rows->row[i] == row)
            return true;
    return false;
}

static void clear_untouched(rank *r) {
    const sd_segment *table = sd_network_segment(r->network, TABLE);
    float *gradients = sd_network_gradients(r->network) + table->offset_elems;
    for (size_t i = 0; r->rows && i < table->elems; i++)
        if (!is_touched(r->rows, i / ROW_ELEMS))
            gradients[i] = 0;
}

/* Gradients of a step are other ones than those of the step before. */
static void run_step(rank *r, uint32_t step) {
    double values[N_SUMS] = {step, 1};
    const size_t n = sd_network_buffer_elems(r->network);
    float *gradients = sd_network_gradients(r->network);
    n_messages = 0;
    for (size_t i = 0; i < n; i++)
        gradients[i] = (float)(2 * sd_random_uniform(sd_random_at(SUPPORT_SEED, 3, i, step).word[0]) - 1);
    clear_untouched(r);
    sd_reducer_begin(r->reducer, &r->plan, r->rows, 77);
    sd_reducer_begin_shard(r->reducer, NULL);
    for (int i = 0; i < sd_network_n_segments(r->network); i++)
        sd_reducer_segment_done(r->reducer, i);
    expect_ok(sd_reducer_end(r->reducer, values, N_SUMS, &r->traffic));
    ck_assert(values[0] == step * r->comm.size && values[1] == r->comm.size);
}

/* ---- buckets ---- */

/* The ranges that are to be sent, in the words of sdtrain/bucket.h: [segments] the bucket of each, -1: none. */
static void expected_buckets(rank *r, size_t max_elems, bool skip, int *bucket) {
    int open = -1;
    size_t elems = 0;
    for (int i = 0; i < sd_network_n_segments(r->network); i++) {
        const sd_segment *s = sd_network_segment(r->network, i);
        const bool sent = !skip || sd_segment_is_kept(s, &r->plan);
        const bool joins = sent && i > 0 && bucket[i - 1] >= 0 && elems + s->elems <= max_elems;
        if (sent && !joins) {
            open++;
            elems = 0;
        }
        elems += s->elems;
        bucket[i] = sent ? open : -1;
    }
}

START_TEST(buckets_are_the_largest_ranges_of_adjacent_segments) {
    static const size_t bucket_bytes[] = {4, 4096, 40000, 300000, (size_t)1 << 30};
    for (int row = 0; row < 5 * 4; row++) {
        const bool bf16 = row & 1, skip = row & 2;
        const sd_reducer_spec spec = {
            .bucket_bytes = bucket_bytes[row / 4], .skip_dropped = skip, .shards = 1, .bf16 = bf16};
        rank r;
        rank_init(&r, 2, &spec);
        r.plan.kept[2] = r.plan.kept[3] = r.plan.kept[8] = 0;
        const int segments = sd_network_n_segments(r.network);
        int bucket[64], at = bf16; /* statistics go first */
        expected_buckets(&r, spec.bucket_bytes / (bf16 ? 2 : 4), skip, bucket);
        run_step(&r, 1);
        const float *const gradients = sd_network_gradients(r.network);
        size_t words_from = 0;
        for (int i = 0; i < segments; at++) {
            while (i < segments && bucket[i] < 0)
                i++;
            if (i == segments)
                break;
            const size_t first = sd_network_segment(r.network, i)->offset_elems;
            size_t elems = 0;
            for (const int b = bucket[i]; i < segments && bucket[i] == b; i++)
                elems += sd_network_segment(r.network, i)->elems;
            expect(at < n_messages && messages[at].elems == elems, "row %d, message %d: %zu values, not %zu", row, at,
                   messages[at].elems, elems);
            if (!bf16)
                expect(messages[at].data == gradients + first, "row %d, message %d is elsewhere", row, at);
            words_from += elems;
        }
        ck_assert_int_eq(at, n_messages);
        ck_assert(messages[n_messages - 1].type == (bf16 ? MPI_UINT16_T : MPI_FLOAT));
        ck_assert_uint_gt(words_from, 0);
        rank_free(&r);
    }
}
END_TEST

/* ---- rows of a table ---- */

static const int32_t some_rows[] = {1, 2, 5, 11, 12, 39};
static const sd_row_set row_sets[] = {{0, NULL},      {1, some_rows},     {2, some_rows},
                                      {6, some_rows}, {1, some_rows + 5}, {5, some_rows + 1}};
enum { ROW_SETS = sizeof row_sets / sizeof row_sets[0] };

START_TEST(rows_come_back_to_their_places) {
    float table[ROWS * ROW_ELEMS], before[ROWS * ROW_ELEMS];
    for (int set = 0; set < ROW_SETS; set++) {
        const sd_row_set *rows = &row_sets[set];
        for (size_t i = 0; i < ROWS * ROW_ELEMS; i++)
            before[i] = table[i] = is_touched(rows, i / ROW_ELEMS) ? (float)(i + 1) : 0;
        sd_rows_pack(rows, ROW_ELEMS, table);
        for (size_t i = 0; i < rows->n; i++)
            expect_same_bits("row", table + i * ROW_ELEMS, before + (size_t)rows->row[i] * ROW_ELEMS, ROW_ELEMS * 4);
        sd_rows_unpack(rows, ROW_ELEMS, table);
        expect_same_bits("table", table, before, sizeof table);
    }
    int32_t all[ROWS];
    for (int i = 0; i < ROWS; i++)
        all[i] = i;
    for (size_t i = 0; i < ROWS * ROW_ELEMS; i++)
        before[i] = table[i] = (float)i;
    sd_rows_pack(&(sd_row_set){ROWS, all}, ROW_ELEMS, table);
    sd_rows_unpack(&(sd_row_set){ROWS, all}, ROW_ELEMS, table);
    expect_same_bits("whole table", table, before, sizeof table);
}
END_TEST

/* A step that sends the rows that are touched ends as one that sends all, and sends less. _i: with bf16. Errors of rows
 * that are not touched stay: they are zeros here, where the set is the same in both steps. */
START_TEST(rows_that_are_not_touched_are_not_sent) {
    for (int set = 0; set < ROW_SETS; set++) {
        sd_reducer_spec spec = {.bucket_bytes = 1 << 30, .skip_dropped = true, .shards = 1, .bf16 = _i};
        rank some, all;
        rank_init(&some, 2, &spec);
        spec.skip_dropped = false;
        rank_init(&all, 2, &spec);
        const size_t n = sd_network_buffer_elems(some.network), value_bytes = sd_wire_value_bytes(_i);
        const sd_segment *table = set_table(&some);
        set_table(&all);
        some.rows = all.rows = &row_sets[set];
        for (uint32_t step = 1; step <= 2; step++) {
            run_step(&some, step);
            const size_t sent = messages[_i].elems;
            run_step(&all, step);
            ck_assert_uint_eq(sent, row_sets[set].n > 0 ? row_sets[set].n * ROW_ELEMS : n - table->elems);
            ck_assert_uint_eq(messages[_i].elems, n);
            ck_assert_uint_eq(all.traffic.parameter_bytes - some.traffic.parameter_bytes,
                              (table->parameter_elems - row_sets[set].n * ROW_ELEMS) * value_bytes);
            expect_same_bits("gradients", sd_network_gradients(some.network), sd_network_gradients(all.network),
                             n * sizeof(float));
            if (_i)
                expect_same_bits("error", sd_reducer_error(some.reducer), sd_reducer_error(all.reducer),
                                 n * sizeof(float));
        }
        rank_free(&some);
        rank_free(&all);
    }
}
END_TEST

/* ---- error feedback ---- */

/* _i: ranks - 1. */
START_TEST(a_step_that_is_taken_back_leaves_the_error_as_it_was) {
    const sd_reducer_spec spec = {
        .bucket_bytes = 40000, .skip_dropped = true, .shards = 1, .bf16 = true, .restorable = true};
    rank r, other;
    rank_init(&r, 2, &spec); /* one rank has an error only if it goes on with that of several */
    rank_init(&other, 2, &spec);
    const size_t n = sd_network_buffer_elems(r.network);
    float *before = new_floats(n);
    for (uint32_t step = 1; step <= 2; step++) {
        run_step(&r, step);
        run_step(&other, step);
    }
    r.comm.size = other.comm.size = 1 + _i;
    memcpy(before, sd_reducer_error(r.reducer), n * sizeof *before);
    r.plan.kept[4] = 0;
    run_step(&r, 3);
    expect(memcmp(sd_reducer_error(r.reducer), before, n * sizeof *before) != 0, "the step changes no error");
    sd_reducer_restore_error(r.reducer);
    expect_same_bits("error", sd_reducer_error(r.reducer), before, n * sizeof *before);
    r.plan.kept[4] = 1; /* and what follows is as if it had not been */
    run_step(&r, 4);
    run_step(&other, 4);
    expect_same_bits("gradients", sd_network_gradients(r.network), sd_network_gradients(other.network),
                     n * sizeof *before);
    expect_same_bits("error", sd_reducer_error(r.reducer), sd_reducer_error(other.reducer), n * sizeof *before);
    free(before);
    rank_free(&r);
    rank_free(&other);
}
END_TEST

START_TEST(a_reducer_that_takes_nothing_back_needs_no_memory_for_it) {
    sd_reducer_spec spec = {.bucket_bytes = 40000, .skip_dropped = true, .shards = 1, .bf16 = true};
    rank plain, restorable;
    rank_init(&plain, 2, &spec);
    spec.restorable = true;
    rank_init(&restorable, 2, &spec);
    ck_assert_uint_eq(sd_reducer_bytes(restorable.reducer) - sd_reducer_bytes(plain.reducer),
                      sizeof(float) * sd_network_buffer_elems(plain.network));
    rank_free(&plain);
    rank_free(&restorable);
}
END_TEST

/* ---- who looks on ---- */

typedef struct looker {
    const sd_reducer *reducer;
    atomic_bool quit;
    int seen;
    char wrong[128];
} looker;

/* What is said has the form of one of the operations of these steps. */
static bool is_sensible(const char *text) {
    int i, posted;
    double megabytes;
    char name[64];
    return sscanf(text, "%63[a-z ](operation %d of %d begun, %lf MB)", name, &i, &posted, &megabytes) == 4 && i >= 1 &&
           i <= posted &&
           (!strcmp(name, "allreduce ") || !strcmp(name, "agree on the plan ") || !strcmp(name, "sum of losses ")) &&
           (i == 1) == !strcmp(name, "agree on the plan ");
}

static void *look_on(void *context) {
    looker *l = context;
    char text[128];
    while (!atomic_load(&l->quit))
        if (sd_reducer_waits_for(l->reducer, text, sizeof text)) {
            l->seen++;
            if (!is_sensible(text) && !l->wrong[0])
                memcpy(l->wrong, text, sizeof text);
        }
    return NULL;
}

/* The watchdog's thread, while one step follows another. A sanitizer of threads sees races here. */
START_TEST(what_is_waited_for_can_be_asked_at_any_moment) {
    const sd_reducer_spec spec = {.bucket_bytes = 100000, .skip_dropped = true, .shards = 1};
    rank r;
    rank_init(&r, 2, &spec);
    looker l = {.reducer = r.reducer};
    pthread_t thread;
    tests_until_done = 3;
    ck_assert_int_eq(pthread_create(&thread, NULL, look_on, &l), 0);
    for (uint32_t step = 1; step <= 60; step++)
        run_step(&r, step);
    atomic_store(&l.quit, true);
    pthread_join(thread, NULL);
    tests_until_done = 0;
    expect(!l.wrong[0], "it was told of '%s'", l.wrong);
    rank_free(&r);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("reducer");
    tcase_add_test(cases, buckets_are_the_largest_ranges_of_adjacent_segments);
    tcase_add_test(cases, rows_come_back_to_their_places);
    tcase_add_loop_test(cases, rows_that_are_not_touched_are_not_sent, 0, 2);
    tcase_add_loop_test(cases, a_step_that_is_taken_back_leaves_the_error_as_it_was, 0, 2);
    tcase_add_test(cases, a_reducer_that_takes_nothing_back_needs_no_memory_for_it);
    tcase_add_test(cases, what_is_waited_for_can_be_asked_at_any_moment);
    return run_suite("reducer", cases);
}
