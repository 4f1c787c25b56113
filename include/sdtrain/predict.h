/* SPDX-License-Identifier: Apache-2.0 */
/* What a training step takes on ranks that are not here: a performance model.
 *
 * The model is a pure function of a calibration, which says what computing costs on this machine, and of a stated
 * cluster, which says what communication costs there. It knows a network by its segments, and of no run.
 *
 * Local, unless said otherwise. Seconds, bytes. */
#ifndef SDTRAIN_PREDICT_H
#define SDTRAIN_PREDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sdtrain/dist.h"
#include "sdtrain/drop.h"
#include "sdtrain/loss.h"
#include "sdtrain/nn.h"
#include "sdtrain/optim.h"
#include "sdtrain/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what was measured ---- */

/* The time of some work on n images: fixed + per_image n. */
typedef struct sd_cost {
    double fixed, per_image;
} sd_cost;
/* The line through (images, seconds) at two places; neither part is negative. images[0] == images[1]: all is per
 * image. */
sd_cost sd_cost_fit(const double images[2], const double seconds[2]);

/* A segment, in the order in which backward finishes them (sdtrain/nn.h). */
typedef struct sd_segment_cost {
    int unit;                        /* whose drop leaves it out; -1: always there */
    bool frozen;                     /* never sent */
    size_t elems;                    /* of its gradients and batch statistics, with padding: what is sent */
    size_t statistics_elems;         /* of these, batch statistics that are not frozen */
    sd_cost forward;                 /* of its branch; 0 where unit is -1 */
    sd_cost backward, backward_left; /* computed; dropped */
} sd_segment_cost;

typedef struct sd_calibration {
    int segments, units;
    sd_segment_cost *segment;         /* [segments], in the order of the buffer; sd_calibration_free() */
    sd_cost forward;                  /* with the loss, no branch computed */
    double optimizer, optimizer_left; /* all branches computed; all dropped */
    double transfer_seconds_per_byte; /* this processor's work to send and to receive a byte over TCP */
    double add_seconds_per_byte;      /* and to add one of floats to another */
    /* And with bf16 on the wire for a value: to round it, in the backward pass; to add it to another; to make a
     * float of a sum. */
    double bf16_round_seconds_per_elem, bf16_add_seconds_per_elem, bf16_expand_seconds_per_elem;
    double images[2];               /* of a rank, at which was measured */
    double seconds;                 /* that the calibration took */
    int ranks, threads, processors; /* that measured together; of each; of a host */
} sd_calibration;

/* What a calibration times. Handles and threads are each rank's own, the rest is equal on all ranks. */
typedef struct sd_calibration_spec {
    sd_comm *comm;
    sd_network *network;        /* created for passes of max_images, as is the loss; its values and statistics change */
    sd_optimizer *optimizer;    /* of the network; its state changes */
    sd_loss *loss;              /* for the network's classes */
    int min_images, max_images; /* of a pass, that is of a shard: 1 <= min <= max; batch norm needs the least */
    const sd_input *input;      /* max_images of them */
    const int32_t *labels;      /* [max_images] */
    double touched_rows;        /* of a table of embeddings by a step, on average; 0: all are sent */
    uint32_t seed;              /* of dropout */
    int threads;                /* that the kernels use: noted in the calibration, not set */
    bool bf16;                  /* gradients travel as bf16: what that costs is timed as well */
    /* For a watchdog: called before each pass and after each segment. doing: where the calibration is, static text; the
     * place may take allowed_seconds longer than a pass does. NULL: nobody asks. */
    void (*beat)(const char *doing, double allowed_seconds);
} sd_calibration_spec;
/* Times training steps on made-up images, and what reductions cost a processor, for some ten seconds. All ranks measure
 * at once; the figures are the mean over ranks, equal on all. SD_ERR_MEMORY; sd_calibration_free() in any case.
 * Collective. */
sd_status sd_calibrate(const sd_calibration_spec *spec, sd_calibration *calibration);
void sd_calibration_free(sd_calibration *calibration);

/* ---- what is stated ---- */

typedef struct sd_cluster {
    double link_bytes_per_s; /* each rank sends, and at the same time receives, so much */
    double latency_seconds;  /* from a rank that sends to one that has received */
    size_t bucket_bytes;
    bool skip_dropped; /* dropped branches are not sent */
    bool overlap;      /* a bucket is reduced while earlier blocks compute; else all after backward */
    bool reproducible; /* reduction by halving and doubling alone */
    bool bf16;         /* gradients are sent in 2 bytes each; batch statistics ahead of them as floats */
    int shards;        /* a rank computes shards / ranks passes one after another; 0: one pass */
} sd_cluster;

/* ---- the model ---- */

/* How m bytes are summed over R ranks; P is the largest power of two up to R. Where R is more than P, halving and
 * doubling take some messages more (as in Open MPI's coll/base): 3 with 2 m bytes, 2 with 2 m bytes. */
typedef enum sd_allreduce_kind {
    SD_ALLREDUCE_NONE,    /* one rank */
    SD_ALLREDUCE_RING,    /* 2 messages, 2 (R-1)/R m bytes in all (Patarasuk & Yuan 2009) */
    SD_ALLREDUCE_HALVING, /* 2 lg P messages, 2 (P-1)/P m bytes (Rabenseifner 2004) */
    SD_ALLREDUCE_DOUBLING /* lg P messages of m bytes */
} sd_allreduce_kind;

typedef struct sd_allreduce {
    sd_allreduce_kind kind;
    double seconds;           /* from start to end */
    double processor_seconds; /* in which this rank's processor works for it and computes nothing else */
} sd_allreduce;
/* The cheapest way to sum bytes over ranks, as MPI libraries choose; if reproducible, by halving. With cluster->bf16
 * they are words of 2 bytes; rounding and expanding are not in it. */
sd_allreduce sd_allreduce_predict(const sd_calibration *calibration, const sd_cluster *cluster, double bytes,
                                  int ranks);

/* A step, on average over drop plans. */
typedef struct sd_step_seconds {
    double compute;         /* forward, backward and optimizer of the slowest rank */
    double communication;   /* all reductions, one after another */
    double exposed;         /* what they add to compute */
    double step;            /* compute + exposed; reading images is taken to be hidden */
    sd_allreduce_kind kind; /* that moves most bytes */
} sd_step_seconds;

enum { SD_PREDICTION_STEPS = 200 }; /* whose plans are drawn */

/* images: of a rank; drop: NULL, all branches are computed. With SD_DROP_SCOPE_RANK all wait for the slowest rank; with
 * SD_DROP_SCOPE_SAMPLE a rank computes the batch's share of a branch. SD_ERR_MEMORY. */
sd_status sd_step_predict(const sd_calibration *calibration, const sd_cluster *cluster, const sd_drop_spec *drop,
                          int ranks, int images, sd_step_seconds *seconds);

/* ---- its tables ---- */

typedef struct sd_prediction {
    const sd_calibration *calibration;
    const sd_cluster *cluster;
    const sd_drop_spec *drop;     /* as configured; its ranks are not looked at */
    double link_gbit, latency_us; /* as they were asked for */
    int n_ranks;
    const int *ranks; /* [n_ranks]: a row each */
    uint64_t batch_images, rank_images, train_images;
    uint64_t min_shard_images; /* batch norm needs so many in a pass */
} sd_prediction;
/* What the model assumes, and two tables: a batch shared by all ranks, and as many images a rank as now.
 * SD_ERR_MEMORY. */
sd_status sd_prediction_print(FILE *to, const sd_prediction *prediction);

#ifdef __cplusplus
}
#endif
#endif
