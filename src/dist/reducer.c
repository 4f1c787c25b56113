/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a step, in the same order on all ranks:
 *     0         checks that all ranks hold the same plan;
 *     1, 2, ... sum one bucket each (with bf16, operation 1 sums batch statistics in fp32);
 *     last      sums the step's few scalars, and completes when every rank has ended its backward pass. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"
#include "rows.h"
#include "sdtrain/arena.h"
#include "sdtrain/bucket.h"
#include "sdtrain/clock.h"
#include "wire.h"

typedef enum operation_kind { AGREE, SUM, TREE_SUM, SUM_BF16, SUM_STATISTICS, GATHER } operation_kind;

typedef struct operation {
    operation_kind kind;
    sd_bucket bucket; /* a range of the gradient buffer, or of wire.statistics */
    MPI_Request request;
    sd_tree_sum tree;
    bool started, done;
    double begin, end; /* sd_clock_seconds() */
} operation;

enum { MAX_LEVELS = 16 };

struct sd_reducer {
    sd_comm *comm;
    sd_network *network;
    sd_reducer_spec spec;
    int levels; /* of the tree within this rank: shards = 2^levels */
    float *memory;
    float *partial[MAX_LEVELS]; /* sums of 1, 2, 4, ... shards, laid out like gradients */
    float *received;            /* half a gradient buffer, for tree sums */
    sd_wire wire;               /* with bf16 */
    size_t buffer_elems;
    const sd_drop_plan *plan; /* of the step under way */
    const sd_row_set *rows;   /* of the step under way; NULL: all rows of a table are summed */
    const sd_drop_part *part; /* of the shard under way */
    uint64_t hash;
    int shard;      /* the shard under way, among this rank's */
    sd_bucket open; /* the bucket that segments join */
    sd_traffic traffic;
    sd_vote vote;
    double mine[SD_MAX_SUMS];
    int n_sums;
    operation *operations;
    /* Kind and bytes of each operation in one word. Other threads read nothing else, as the next step overwrites it. */
    _Atomic(uint64_t) *labels;
    atomic_int posted; /* operations handed over; the thread that calls MPI owns them until all are done */
    atomic_int done;   /* operations completed, in order; written by the thread that calls MPI */
    sd_outcome outcome;
};

static size_t value_bytes(const sd_reducer *r) { return sd_wire_value_bytes(r->spec.bf16); }
static float *gradients(const sd_reducer *r) { return sd_network_gradients(r->network); }

/* The buffer of the shard under way: partial[number of trailing ones of its binary number], or the network's own for
 * the last shard, whose number is all ones. fold() adds the partial sums of the lower levels. */
static float *shard_gradients(const sd_reducer *r) {
    int level = 0;
    while (r->shard >> level & 1)
        level++;
    return level < r->levels ? r->partial[level] : gradients(r);
}

static sd_status create(sd_comm *comm, sd_network *network, const sd_reducer_spec *spec, sd_reducer *r) {
    r->comm = comm;
    r->network = network;
    r->spec = *spec;
    r->buffer_elems = sd_network_buffer_elems(network);
    while (1 << r->levels < spec->shards)
        r->levels++;
    if (r->levels > 0)
        SD_TRY(sd_alloc_floats(&r->memory, r->buffer_elems * (size_t)r->levels));
    for (int level = 0; level < r->levels; level++)
        r->partial[level] = r->memory + r->buffer_elems * (size_t)level;
    if (spec->reproducible && comm->size > 1)
        SD_TRY(sd_alloc_floats(&r->received, r->buffer_elems / 2 + 1));
    if (spec->bf16)
        SD_TRY(sd_wire_create(network, spec->restorable, &r->wire));
    const size_t operations = (size_t)sd_network_n_segments(network) + 3;
    SD_TRY(sd_alloc(&r->labels, operations, sizeof *r->labels));
    return sd_alloc(&r->operations, operations, sizeof *r->operations);
}

sd_status sd_reducer_create(sd_comm *comm, sd_network *network, const sd_reducer_spec *spec, sd_reducer **reducer) {
    SD_TRY(sd_alloc(reducer, 1, sizeof **reducer));
    return create(comm, network, spec, *reducer);
}

void sd_reducer_destroy(sd_reducer **place) {
    sd_reducer *r = *place;
    if (!r)
        return;
    free(r->memory);
    free(r->received);
    sd_wire_free(&r->wire);
    free(r->operations);
    free(r->labels);
    free(r);
    *place = NULL;
}

size_t sd_reducer_bytes(const sd_reducer *r) {
    return sizeof(float) * (r->buffer_elems * (size_t)r->levels + (r->received ? r->buffer_elems / 2 : 0)) +
           sd_wire_bytes(&r->wire);
}

float *sd_reducer_error(sd_reducer *r) { return r->wire.error; }

void sd_reducer_restore_error(sd_reducer *r) { sd_wire_restore_error(&r->wire, r->network, r->plan); }

/* ---- where MPI may be called ---- */

static sd_status start(sd_reducer *r, operation *o) {
    sd_comm *comm = r->comm;
    o->started = true;
    o->begin = sd_clock_seconds();
    switch (o->kind) {
    case AGREE:
        SD_MPI(MPI_Iallreduce, MPI_IN_PLACE, &r->vote, SD_VOTE_WORDS, MPI_UINT64_T, MPI_MIN, comm->mpi, &o->request);
        break;
    case SUM:
        SD_MPI(MPI_Iallreduce, MPI_IN_PLACE, gradients(r) + o->bucket.first_elem, (int)o->bucket.elems, MPI_FLOAT,
               MPI_SUM, comm->mpi, &o->request);
        break;
    case TREE_SUM:
        o->tree = (sd_tree_sum){.data = gradients(r) + o->bucket.first_elem,
                                .received = r->received + o->bucket.first_elem / 2,
                                .elems = o->bucket.elems,
                                .tag = (int)(o - r->operations)};
        return sd_tree_sum_start(comm, &o->tree);
    case SUM_BF16:
        SD_MPI(MPI_Iallreduce, MPI_IN_PLACE, r->wire.words + o->bucket.first_elem, (int)o->bucket.elems, MPI_UINT16_T,
               comm->sum_bf16, comm->mpi, &o->request);
        break;
    case SUM_STATISTICS:
        SD_MPI(MPI_Iallreduce, MPI_IN_PLACE, r->wire.statistics, (int)o->bucket.elems, MPI_FLOAT, MPI_SUM, comm->mpi,
               &o->request);
        break;
    case GATHER:
        SD_MPI(MPI_Iallgather, r->mine, r->n_sums, MPI_DOUBLE, comm->gathered, r->n_sums, MPI_DOUBLE, comm->mpi,
               &o->request);
        break;
    }
    return SD_OK;
}

static sd_status advance(sd_reducer *r, operation *o) {
    int done = 0;
    if (o->kind == TREE_SUM) {
        SD_TRY(sd_tree_sum_advance(r->comm, &o->tree, &o->done));
    } else {
        SD_MPI(MPI_Test, &o->request, &done, MPI_STATUS_IGNORE);
        o->done = done;
    }
    if (o->done && o->kind == SUM_BF16)
        sd_wire_expand(o->bucket.elems, r->wire.words + o->bucket.first_elem, gradients(r) + o->bucket.first_elem);
    if (o->done)
        o->end = sd_clock_seconds();
    return SD_OK;
}

static bool disagree(const sd_reducer *r) { return r->operations[0].done && !sd_vote_is_unanimous(&r->vote); }

static sd_status work_on(sd_reducer *r, int posted) {
    for (int i = r->done; i < posted; i++) {
        operation *o = &r->operations[i];
        if (!o->started && (i == 0 || r->operations[0].done))
            SD_TRY(start(r, o));
        if (o->started && !o->done)
            SD_TRY(advance(r, o));
        if (disagree(r))
            return SD_OK;
    }
    while (r->done < posted && r->operations[r->done].done)
        r->done++;
    return SD_OK;
}

/* The reducer's sd_work. */
static bool work(void *context) {
    sd_reducer *r = context;
    const int posted = atomic_load_explicit(&r->posted, memory_order_acquire);
    if (r->outcome.status == SD_OK)
        sd_outcome_keep(&r->outcome, work_on(r, posted));
    return r->done == posted || r->outcome.status != SD_OK || disagree(r);
}

/* ---- the step ---- */

enum { LABEL_KIND_SHIFT = 56 };

static uint64_t label_of(const sd_reducer *r, const operation *o) {
    const size_t bytes = o->bucket.elems * (o->kind == SUM_BF16 ? value_bytes(r) : sizeof(float));
    return (uint64_t)o->kind << LABEL_KIND_SHIFT | bytes;
}

static void post(sd_reducer *r, operation o) {
    const int i = atomic_load_explicit(&r->posted, memory_order_relaxed);
    r->operations[i] = o;
    atomic_store_explicit(&r->labels[i], label_of(r, &o), memory_order_relaxed);
    atomic_store_explicit(&r->posted, i + 1, memory_order_release);
    sd_comm_drive(r->comm);
}

void sd_reducer_begin(sd_reducer *r, const sd_drop_plan *plan, const sd_row_set *rows, uint64_t hash) {
    r->plan = plan;
    r->rows = r->spec.skip_dropped ? rows : NULL;
    r->hash = hash;
    r->shard = -1;
    r->open = (sd_bucket){0};
    r->traffic = (sd_traffic){0};
    r->outcome.status = SD_OK;
    atomic_store(&r->posted, 0); /* before done: sd_reducer_waits_for() tells by this order that a step has begun */
    atomic_store(&r->done, 0);
    r->vote = sd_vote_of(hash);
    sd_comm_set_work(r->comm, work, r);
    if (r->comm->size > 1)
        post(r, (operation){.kind = AGREE});
}

float *sd_reducer_begin_shard(sd_reducer *r, const sd_drop_part *part) {
    r->part = part;
    r->shard++;
    return shard_gradients(r);
}

static void send(sd_reducer *r, sd_bucket bucket) {
    const operation_kind kind = r->spec.reproducible ? TREE_SUM : r->spec.bf16 ? SUM_BF16 : SUM;
    post(r, (operation){.kind = kind, .bucket = bucket});
}

/* The rows of the segment that are summed, if it is a table of which not all are; else NULL. */
static const sd_row_set *rows_of(const sd_reducer *r, const sd_segment *segment) {
    return segment->row_elems > 0 ? r->rows : NULL;
}

/* Values of the segment that are sent, from its beginning. */
static size_t sent_elems(const sd_reducer *r, const sd_segment *segment) {
    const sd_row_set *rows = rows_of(r, segment);
    return rows ? rows->n * segment->row_elems : segment->elems;
}

/* Adds the segment to the open bucket; sends the bucket that ends before the segment, if any. */
static void add_to_bucket(sd_reducer *r, const sd_segment *segment, bool is_sent) {
    const sd_bucket offered = {segment->offset_elems, sent_elems(r, segment)};
    sd_bucket complete;
    if (sd_bucket_add(&r->open, r->spec.bucket_bytes / value_bytes(r), offered, is_sent, &complete))
        send(r, complete);
}

/* Adds the partial sums of lower levels to values of the shard; those of the last shard become the sum of all. */
static void fold_values(sd_reducer *r, size_t first_elem, size_t elems) {
    float *restrict data = shard_gradients(r) + first_elem;
    for (int level = 0; r->shard >> level & 1; level++) {
        const float *restrict left = r->partial[level] + first_elem;
        for (size_t i = 0; i < elems; i++)
            data[i] += left[i];
    }
}

static void fold(sd_reducer *r, const sd_segment *segment) {
    const sd_row_set *rows = rows_of(r, segment);
    if (!rows)
        fold_values(r, segment->offset_elems, segment->elems);
    for (size_t i = 0; rows && i < rows->n; i++)
        fold_values(r, segment->offset_elems + (size_t)rows->row[i] * segment->row_elems, segment->row_elems);
}

/* Compresses what is sent of a segment while the cache holds it; advance() expands the sum. What is not, a row that no
 * rank touches, keeps its error. A dropped segment sends zeros and keeps its error, since the sum is never read. */
static void round_off(sd_reducer *r, const sd_segment *segment, bool kept, bool sent) {
    const sd_row_set *rows = rows_of(r, segment);
    const size_t c = segment->row_elems;
    float *data = gradients(r) + segment->offset_elems, *error = r->wire.error + segment->offset_elems;
    uint16_t *words = r->wire.words + segment->offset_elems;
    if (kept)
        sd_wire_note_error(&r->wire, segment);
    if (!sent)
        sd_wire_flush_error(segment->elems, data, error);
    else if (!kept)
        memset(words, 0, segment->elems * sizeof *words);
    else if (!rows)
        sd_wire_compress(segment->elems, data, error, words);
    for (size_t i = 0; sent && kept && rows && i < rows->n; i++)
        sd_wire_compress(c, data + i * c, error + (size_t)rows->row[i] * c, words + i * c);
}

static void segment_done(sd_reducer *r, const sd_segment *segment) {
    const bool last = r->shard == r->spec.shards - 1, sent = r->comm->size > 1;
    const bool kept = sd_segment_is_kept(segment, r->plan);
    if (segment->frozen || (!kept && (r->spec.skip_dropped || !sent))) {
        if (last && sent)
            add_to_bucket(r, segment, false);
        return;
    }
    if (!sd_is_computed_here(segment, r->plan, r->part))
        memset(shard_gradients(r) + segment->offset_elems, 0, segment->elems * sizeof(float));
    fold(r, segment);
    if (last && sent && rows_of(r, segment))
        sd_rows_pack(r->rows, segment->row_elems, gradients(r) + segment->offset_elems);
    if (last && r->spec.bf16)
        round_off(r, segment, kept, sent);
    if (!last || !sent)
        return;
    add_to_bucket(r, segment, true);
    r->traffic.parameter_bytes +=
        (rows_of(r, segment) ? sent_elems(r, segment) : segment->parameter_elems) * value_bytes(r);
}

void sd_reducer_segment_done(sd_reducer *r, int index) {
    const double begin = sd_clock_seconds();
    if (index == 0 && r->spec.bf16 && r->comm->size > 1) {
        sd_wire_take_statistics(&r->wire, r->network, r->plan, r->part);
        if (r->wire.statistics_elems > 0)
            post(r, (operation){.kind = SUM_STATISTICS, .bucket.elems = r->wire.statistics_elems});
    }
    segment_done(r, sd_network_segment(r->network, index));
    if (r->comm->size > 1 && !r->comm->thread)
        sd_comm_drive(r->comm);
    r->traffic.driving += sd_clock_seconds() - begin;
}

static void unpack_rows(sd_reducer *r) {
    for (int i = 0; i < sd_network_n_segments(r->network); i++) {
        const sd_segment *segment = sd_network_segment(r->network, i);
        if (rows_of(r, segment) && sd_segment_is_trained(segment, r->plan))
            sd_rows_unpack(r->rows, segment->row_elems, gradients(r) + segment->offset_elems);
    }
}

sd_status sd_reducer_end(sd_reducer *r, double *values, int n, sd_traffic *traffic) {
    const double begin = sd_clock_seconds();
    if (r->comm->size == 1) {
        sd_tree_fold(values, r->spec.shards, n);
        *traffic = r->traffic;
        return SD_OK;
    }
    if (n > SD_MAX_SUMS)
        return sd_fail(SD_ERR_INTERNAL, "a sum of %d values is too large", n);
    if (r->open.elems > 0)
        send(r, r->open);
    sd_tree_fold(values, r->spec.shards, n);
    memcpy(r->mine, values, (size_t)n * sizeof *values);
    r->n_sums = n;
    post(r, (operation){.kind = GATHER});
    sd_comm_finish_work(r->comm);
    SD_TRY(sd_outcome_report(&r->outcome));
    if (disagree(r))
        return sd_comm_check_same(r->comm, r->hash, "drop plan");
    const int posted = atomic_load(&r->posted);
    const double all_ended = r->operations[posted - 1].end, now = sd_clock_seconds();
    r->traffic.waiting = all_ended > begin ? all_ended - begin : 0;
    r->traffic.transfer = now - begin - r->traffic.waiting;
    if (r->spec.bf16)
        sd_wire_return_statistics(&r->wire, r->network, r->plan);
    unpack_rows(r);
    sd_tree_fold(r->comm->gathered, r->comm->size, n);
    memcpy(values, r->comm->gathered, (size_t)n * sizeof *values);
    *traffic = r->traffic;
    return SD_OK;
}

static const char *const names[] = {[AGREE] = "agree on the plan",
                                    [SUM] = "allreduce",
                                    [TREE_SUM] = "tree sum",
                                    [SUM_BF16] = "allreduce of bf16",
                                    [SUM_STATISTICS] = "allreduce of statistics",
                                    [GATHER] = "sum of losses"};

static const char *name_of(uint64_t label) { return names[label >> LABEL_KIND_SHIFT]; }
static size_t bytes_of(uint64_t label) { return label & ((UINT64_C(1) << LABEL_KIND_SHIFT) - 1); }

bool sd_reducer_waits_for(const sd_reducer *r, char *text, size_t text_bytes) {
    const int posted = atomic_load(&r->posted), i = atomic_load(&r->done);
    if (i >= posted)
        return false;
    const uint64_t label = atomic_load_explicit(&r->labels[i], memory_order_relaxed);
    if (atomic_load(&r->posted) < posted) /* the next step has begun */
        return false;
    snprintf(text, text_bytes, "%s (operation %d of %d begun, %.2f MB)", name_of(label), i + 1, posted,
             (double)bytes_of(label) / 1e6);
    return true;
}

bool sd_reducer_operation(const sd_reducer *r, int i, sd_operation_record *record) {
    if (i >= atomic_load(&r->posted))
        return false;
    const operation *o = &r->operations[i];
    *record = (sd_operation_record){name_of(r->labels[i]), bytes_of(r->labels[i]), o->begin, o->end};
    return true;
}
