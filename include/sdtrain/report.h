/* What a run tells: CSV logs, the progress line, summary.json, and the description that --check prints.
 *
 * Local; rank 0 calls it. Errors: SD_ERR_IO with the file's path; SD_ERR_MEMORY. */
#ifndef SDTRAIN_REPORT_H
#define SDTRAIN_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sdtrain/config.h"
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

/* keep_bytes = 0: a new file. Else the file is cut to its first keep_bytes and goes on there; if it is missing or shorter, a
 * warning is given and it goes on at its end. */
sd_status sd_csv_open(sd_csv *csv, const char *folder, const char *name, const char *header, uint64_t keep_bytes);
/* One row, with its newline; reaches the operating system at once. */
sd_status sd_csv_row(sd_csv *csv, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* To the disk; *bytes: the length so far. A csv that is not open has length 0. */
sd_status sd_csv_sync(sd_csv *csv, uint64_t *bytes);
void sd_csv_close(sd_csv *csv);

/* A number as a CSV field: "" for NAN, else 9 significant digits. Returns text. */
const char *sd_csv_number(double value, char text[32]);

/* The line that shows where a run is: rewritten in place on a terminal, else a plain line now and then. */
typedef struct sd_console {
    bool rewrite;
    double last_seconds; /* when something was shown */
    int shown_bytes;
} sd_console;

void sd_console_init(sd_console *console, sd_display display);
/* Shown if it is due (terminal: 5 times a second; else every half minute). */
void sd_console_progress(sd_console *console, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Always shown, on a line of its own. */
void sd_console_line(sd_console *console, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What dropping saves in expectation: fractions of the whole network. */
typedef struct sd_savings {
    double branches; /* of decision units, image by image */
    double flops;    /* over all ranks */
    double bytes;    /* of gradients: what nobody keeps is not sent */
} sd_savings;
/* images: of a batch. */
sd_savings sd_savings_expected(sd_network *network, const sd_drop_law *law, uint64_t images);

/* The fraction of its FLOPs that the slowest rank of a step is spared, for which all others wait: what the rank with most of
 * them computes, of what the rank with most images would without dropping. Mean of the plans of steps 1 to `steps`; the expected
 * saving where all ranks do alike. */
sd_status sd_savings_of_slowest(sd_network *network, const sd_drop_law *law, uint64_t images, int ranks, int steps,
                                double *saved);

/* schedule.csv: branch,name,depth,drop_rate,parameters,flops. */
sd_status sd_schedule_write(const char *folder, sd_network *network, const sd_drop_law *law);

/* The text of --check on standard output. */
typedef struct sd_description {
    const sd_config *config;
    sd_network *network;
    const sd_drop_law *law;
    const char *isa;
    int ranks, threads, image_size;
    uint64_t train_images, validation_images, steps_per_epoch, total_steps;
    uint64_t rank_images; /* the largest share of a batch */
    /* A rank: parameters, gradients, optimizer; activations; images; the program before it took any of these; and what the
     * rank that writes a checkpoint needs for it. */
    size_t state_bytes, activation_bytes, data_bytes, program_bytes, checkpoint_bytes;
} sd_description;
sd_status sd_description_print(const sd_description *description);
/* The table of it that compares the scopes, with the ranks and images of this run. */
sd_status sd_savings_print(const sd_description *description);

/* What a rank did in one step, as events for a viewer of Chrome traces (chrome://tracing, ui.perfetto.dev). */
typedef enum sd_lane { SD_LANE_COMPUTE, SD_LANE_LAYERS, SD_LANE_NETWORK, SD_LANES } sd_lane;
typedef struct sd_event {
    char name[48]; /* "": none */
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
sd_status sd_trace_create(sd_trace *trace, int capacity);
void sd_trace_free(sd_trace *trace);
/* begin, end: of sd_clock_seconds(). */
void sd_trace_add(sd_trace *trace, sd_lane lane, const char *name, double begin, double end, size_t bytes);
/* events: [ranks][events_a_rank]; a rank is a process, a lane a thread. */
sd_status sd_trace_write(const char *path, uint64_t step, const sd_event *events, int events_a_rank, int ranks,
                         const char *const *hosts);

/* The rank that the others waited for: the one that waited least, if the others waited longer than it by at least 3 % of the time and
 * no other came near. waited: [ranks] seconds, of `seconds` of training. */
typedef struct sd_blame {
    int rank;        /* -1: nobody stands out */
    double fraction; /* of the time, by which the others waited longer than it */
} sd_blame;
sd_blame sd_blame_find(const double *waited, int ranks, double seconds);

/* summary.json. Text members end up as strings, numbers that are NAN as null. */
typedef struct sd_summary {
    const char *run_folder, *host, *mpi, *isa, *status; /* status: "complete", "stopped" */
    sd_blame waited_for;
    const char *waited_for_host; /* of that rank; NULL: nobody stands out */
    int ranks, threads;
    uint64_t step, epoch, images, skipped_steps, bytes_reduced, bytes_full;
    double seconds, kept_fraction;
    double train_loss, train_accuracy, val_loss, val_accuracy, val_top5_accuracy, train_eval_accuracy, gap;
    double best_accuracy;
    uint64_t best_step;
    uint64_t parameters;
} sd_summary;
sd_status sd_summary_write(const char *folder, const sd_summary *summary);
/* The same for a person, on standard output. */
void sd_summary_print(const sd_summary *summary);

#ifdef __cplusplus
}
#endif
#endif
