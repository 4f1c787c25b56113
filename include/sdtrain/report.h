/* SPDX-License-Identifier: Apache-2.0 */
/* What a run tells: CSV logs, the progress line, summary.json, and the description that --check prints.
 *
 * Local; rank 0 calls it. Errors: SD_ERR_IO with the file's path; SD_ERR_MEMORY. */
#ifndef SDTRAIN_REPORT_H
#define SDTRAIN_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sdtrain/choice.h"
#include "sdtrain/drop.h"
#include "sdtrain/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A CSV file: a header line, then rows. */
typedef struct sd_csv {
    FILE *file;
    char path[1024];
} sd_csv;

/* The bytes of a file up to its first row whose first column, a number that never falls, is above last, or that is cut
 * short. What is no row, such as a note, counts to the rows before it. 0 if there is no such file. */
uint64_t sd_csv_bytes_up_to(const char *folder, const char *name, uint64_t last);
/* had_bytes = 0: a new file. Else it goes on behind its rows up to `last`, as above; what is behind them is removed.
 * had_bytes: what they took when they were written; a warning if they take anything else now, as somebody has edited
 * the file or it is gone. */
sd_status sd_csv_open(sd_csv *csv, const char *folder, const char *name, const char *header, uint64_t last,
                      uint64_t had_bytes);
/* One row, with its newline; reaches the operating system at once. */
sd_status sd_csv_row(sd_csv *csv, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The length so far; of a csv that is not open 0. */
sd_status sd_csv_length(sd_csv *csv, uint64_t *bytes);
/* To the disk; also while another thread adds rows. Nothing to do if it is not open. */
sd_status sd_csv_sync(const sd_csv *csv);
void sd_csv_close(sd_csv *csv);

/* A number as a CSV field: "" for NAN, else 9 significant digits. Returns text. */
const char *sd_csv_number(double value, char text[32]);

/* The line that shows where a run is: rewritten in place on a terminal, else a plain line now and then. */
typedef struct sd_console {
    bool rewrite;
    double last_seconds; /* when something was shown */
    int shown_bytes;
} sd_console;

/* Whether the line is rewritten: on a terminal, always, never. */
#define SD_DISPLAY_LIST(X) X(SD_DISPLAY_AUTO, "auto") X(SD_DISPLAY_ON, "on") X(SD_DISPLAY_OFF, "off")
typedef enum sd_display { SD_DISPLAY_LIST(SD_CHOICE_ENUMERATOR) } sd_display;
SD_CHOICE_WORD_OF(sd_display, SD_DISPLAY_LIST)

void sd_console_init(sd_console *console, sd_display display);
/* Shown if it is due (terminal: 5 times a second; else every half minute). */
void sd_console_progress(sd_console *console, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A number for people, with its unit, into text; "-" for one that is not finite. Returns text. */
const char *sd_console_number(double value, int decimals, const char *unit, char text[32]);
/* Always shown, on a line of its own. */
void sd_console_line(sd_console *console, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What dropping saves in expectation: fractions of the whole network. */
typedef struct sd_savings {
    double branches; /* of decision units, image by image */
    double flops;    /* over all ranks */
    double bytes;    /* of gradients: what nobody keeps is not sent */
} sd_savings;
/* images: of a batch. */
sd_savings sd_savings_expected(sd_network *network, const sd_drop_spec *drop, uint64_t images);

/* The fraction of its FLOPs that the slowest rank of a step is spared, for which all others wait: what the rank with
 * most of them computes, of what the rank with most images would without dropping. Mean of the plans of steps 1 to
 * `steps`; the expected saving where all ranks do alike. */
sd_status sd_savings_of_slowest(sd_network *network, const sd_drop_spec *drop, uint64_t images, int ranks, int steps,
                                double *saved);

/* schedule.csv: branch,name,depth,drop_rate,parameters,flops. */
sd_status sd_schedule_write(const char *folder, sd_network *network, const sd_drop_spec *drop);

/* The text of --check on standard output. */
typedef struct sd_description {
    const char *model, *resume; /* model.name, checkpoint.resume */
    uint64_t epochs, batch_size;
    int shards; /* of a batch, with reproducible; 0: one a rank */
    bool skip_dropped;
    size_t wire_value_bytes; /* of a gradient value that travels */
    sd_network *network;
    const sd_drop_spec *drop;
    const char *isa, *folder;
    const char *start; /* where training would begin */
    int ranks, threads, image_size;
    uint64_t train_images, validation_images, steps_per_epoch, total_steps;
    uint64_t rank_images, shard_images; /* the largest share of a batch, and what of it is computed together */
    /* A rank: parameters, gradients, optimizer; activations; images; the program before it took any of these; and what
     * the rank that writes a checkpoint needs for it. */
    size_t state_bytes, activation_bytes, data_bytes, program_bytes, checkpoint_bytes;
} sd_description;
sd_status sd_description_print(const sd_description *description);
/* The table of it that compares the scopes, with the ranks of this run and the images of a batch. */
sd_status sd_savings_print(const sd_description *description, uint64_t images);

/* What a rank did in one step, as events for a viewer of Chrome traces (chrome://tracing, ui.perfetto.dev). */
typedef enum sd_lane { SD_LANE_COMPUTE, SD_LANE_LAYERS, SD_LANE_NETWORK, SD_LANES } sd_lane;
typedef struct sd_event {
    char name[SD_NAME_BYTES]; /* "": none */
    sd_lane lane;
    double begin, end; /* seconds since the origin */
    size_t bytes;      /* that travelled; 0: not said */
} sd_event;
typedef struct sd_trace {
    bool on;       /* else nothing is added */
    double origin; /* clock: a moment that all ranks saw together */
    sd_event *events;
    int n, capacity; /* what comes when it is full is left out */
} sd_trace;
/* Room for so many events; free it in any case. SD_ERR_MEMORY. */
sd_status sd_trace_create(sd_trace *trace, int capacity);
void sd_trace_free(sd_trace *trace);
/* begin, end: of sd_clock_seconds(). name is copied. */
void sd_trace_add(sd_trace *trace, sd_lane lane, const char *name, double begin, double end, size_t bytes);
/* events: [ranks][events_a_rank]; a rank is a process, a lane a thread. */
sd_status sd_trace_write(const char *path, uint64_t step, const sd_event *events, int events_a_rank, int ranks,
                         const char *const *hosts);

/* The rank that the others waited for: the one that waited least, if the others waited longer than it by at least 3 %
 * of the time and no other came near. waited: [ranks] seconds, of `seconds` of training. */
typedef struct sd_slow_rank {
    int rank;        /* -1: nobody stands out */
    double fraction; /* of the time, by which the others waited longer than it */
} sd_slow_rank;
sd_slow_rank sd_slow_rank_find(const double *waited, int ranks, double seconds);

/* summary.json. Text members end up as strings, numbers that are NAN as null. */
typedef struct sd_summary {
    const char *run_folder, *host, *mpi, *isa;
    const char *status; /* "running", "stopped", "complete", "diverged" */
    const char *job;    /* of --job; NULL: none */
    uint64_t run_id;
    sd_slow_rank waited_for;
    const char *waited_for_host; /* of that rank; NULL: nobody stands out */
    int ranks, threads;
    uint64_t step, epoch, images, skipped_steps, bytes_reduced, bytes_full;
    double seconds, kept_fraction;
    double train_loss, train_accuracy, val_loss, val_accuracy, val_top5_accuracy, train_eval_accuracy, gap;
    double best_accuracy; /* of the best checkpoint */
    uint64_t best_step;
    double best_val_accuracy; /* of all rows of epochs.csv */
    uint64_t best_val_epoch;  /* 0: not known */
    uint64_t parameters;
} sd_summary;
sd_status sd_summary_write(const char *folder, const sd_summary *summary);
/* What the summary of a folder says of its last start; "" where it says nothing, or there is none. */
enum { SD_JOB_BYTES = 121 };
typedef struct sd_last_start {
    char status[16], job[SD_JOB_BYTES];
    uint64_t run_id; /* 0: it says none */
} sd_last_start;
sd_last_start sd_summary_last_start(const char *folder);
/* The same for a person, on standard output. */
void sd_summary_print(const sd_summary *summary);

/* ---- what a step takes on ranks that are not here (prediction.c, prediction_table.c) ----
 *
 * Pure functions of a calibration, which train/calibrate.c measures on this machine, and of a stated cluster.
 * Seconds, bytes. */

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
    size_t elems;                    /* of its gradients and batch statistics, with padding: what is sent */
    size_t statistics_elems;         /* of these, batch statistics */
    sd_cost forward;                 /* of its branch; 0 where unit is -1 */
    sd_cost backward, backward_left; /* computed; dropped */
} sd_segment_cost;

/* segment: [segments], in the order of the buffer; the owner frees it. */
typedef struct sd_calibration {
    int segments, units;
    sd_segment_cost *segment;
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
 * SD_DROP_SCOPE_SAMPLE a rank computes the batch's share of a branch. */
sd_status sd_step_predict(const sd_calibration *calibration, const sd_cluster *cluster, const sd_drop_spec *drop,
                          int ranks, int images, sd_step_seconds *seconds);

/* Two tables on standard output: a batch shared by all ranks, and as many images a rank as now. */
typedef struct sd_prediction {
    const sd_calibration *calibration;
    const sd_cluster *cluster;
    const sd_drop_spec *drop;
    double link_gbit, latency_us; /* as they were asked for */
    int n_ranks;
    const int *ranks;
    uint64_t batch_images, rank_images, train_images;
    uint64_t min_shard_images; /* batch norm needs so many in a pass */
} sd_prediction;
sd_status sd_prediction_print(const sd_prediction *prediction);

#ifdef __cplusplus
}
#endif
#endif
