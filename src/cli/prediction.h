/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: what a network says of an image, and how that is printed. */
#ifndef SDTRAIN_CLI_PREDICTION_H
#define SDTRAIN_CLI_PREDICTION_H

#include <stdbool.h>

#include "sdtrain/status.h"

typedef struct sd_prediction {
    int label;
    double probability; /* softmax of the logits */
} sd_prediction;

/* The k most probable classes, in order; of equal ones the first. logits: [classes]; top: [k], k <= classes. false: a
 * logit is not finite. Sums are in double. */
bool sd_predictions_of(const float *logits, int classes, int k, sd_prediction *top);

/* The names of classes, from a checkpoint's /data/classes; numbers where it has none. Free in any case. */
typedef struct sd_class_names {
    int n;
    char *text;
    const char **name; /* [n], in text */
    int width;         /* characters of the longest */
} sd_class_names;
/* lines: a name each, or NULL. SD_ERR_DATA if there are not n of them, naming path; SD_ERR_MEMORY. */
sd_status sd_class_names_init(const char *path, const char *lines, int n, sd_class_names *names);
void sd_class_names_free(sd_class_names *names);

typedef enum sd_prediction_format { SD_PREDICTION_PLAIN, SD_PREDICTION_CSV, SD_PREDICTION_JSON } sd_prediction_format;

/* Prints to standard output, image after image. */
typedef struct sd_prediction_printer {
    sd_prediction_format format;
    const sd_class_names *names;
    int path_width; /* characters that paths are padded to; SD_PREDICTION_PLAIN */
    bool is_later;  /* an image was printed */
} sd_prediction_printer;
void sd_prediction_print_begin(const sd_prediction_printer *printer);
void sd_prediction_print(sd_prediction_printer *printer, const char *path, int k, const sd_prediction *top);
/* An image that could not be predicted; SD_PREDICTION_JSON alone has a place for it. */
void sd_prediction_print_bad(sd_prediction_printer *printer, const char *path, const char *reason);
void sd_prediction_print_end(const sd_prediction_printer *printer);

#endif
