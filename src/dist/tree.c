/* SPDX-License-Identifier: Apache-2.0 */
/* Sums in an order that does not depend on the number of ranks: one binary tree over shards. A rank folds the lower
 * levels by itself, ranks fold the upper levels in pairs. a + b = b + a to the bit, so either rank of a pair may
 * add. */
#include <string.h>

#include "comm.h"

void sd_tree_fold(double *values, int rows, int n) {
    for (int stride = 1; stride < rows; stride *= 2)
        for (int row = 0; row + stride < rows; row += 2 * stride)
            for (int i = 0; i < n; i++)
                values[row * n + i] += values[(row + stride) * n + i];
}

typedef struct span {
    size_t first, elems;
} span;

/* The range that a rank sums after `level` halvings. The partners of halving l are 2^l ranks apart; the lower one keeps
 * the first half. */
static span span_at(const sd_tree_sum *sum, int rank, int level) {
    span s = {0, sum->elems};
    for (int l = 0; l < level; l++) {
        const size_t half = s.elems / 2;
        s = rank >> l & 1 ? (span){s.first + half, s.elems - half} : (span){s.first, half};
    }
    return s;
}

/* Halving: sends the partner's half, receives mine. Doubling: sends my range, now summed, and receives the
 * partner's. */
static sd_status exchange(sd_comm *comm, sd_tree_sum *sum) {
    const int partner = comm->rank ^ 1 << sum->level;
    const span mine = span_at(sum, comm->rank, sum->level + 1), theirs = span_at(sum, partner, sum->level + 1);
    const span out = sum->halving ? theirs : mine, in = sum->halving ? mine : theirs;
    float *to = sum->halving ? sum->received : sum->data + in.first;
    SD_MPI(MPI_Irecv, to, (int)in.elems, MPI_FLOAT, partner, sum->tag, comm->mpi, &sum->request[0]);
    SD_MPI(MPI_Isend, sum->data + out.first, (int)out.elems, MPI_FLOAT, partner, sum->tag, comm->mpi, &sum->request[1]);
    return SD_OK;
}

sd_status sd_tree_sum_start(sd_comm *comm, sd_tree_sum *sum) {
    sum->level = 0;
    sum->levels = 0;
    while (1 << sum->levels < comm->size)
        sum->levels++;
    sum->halving = true;
    return exchange(comm, sum);
}

sd_status sd_tree_sum_advance(sd_comm *comm, sd_tree_sum *sum, bool *done) {
    int moved;
    *done = false;
    SD_MPI(MPI_Testall, 2, sum->request, &moved, MPI_STATUSES_IGNORE);
    if (!moved)
        return SD_OK;
    if (sum->halving) {
        const span mine = span_at(sum, comm->rank, sum->level + 1);
        float *restrict data = sum->data + mine.first;
        const float *restrict received = sum->received;
        for (size_t i = 0; i < mine.elems; i++)
            data[i] += received[i];
        sum->halving = ++sum->level < sum->levels;
        sum->level -= !sum->halving;
        return exchange(comm, sum);
    }
    *done = sum->level-- == 0;
    return *done ? SD_OK : exchange(comm, sum);
}
