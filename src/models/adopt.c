/* SPDX-License-Identifier: Apache-2.0 */
/* A network takes over the values of a file, by name. First everything is looked at, then everything is copied. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/finite.h"
#include "sdtrain/models.h"
#include "sdtrain/resample.h"

/* ---- what does not fit ---- */

enum { NAMED = 3, ITEM_BYTES = 400, COMPLAINT_BYTES = NAMED * ITEM_BYTES + 64 };

/* Up to NAMED of what is wrong in one way, and how many there are. */
typedef struct complaint {
    int n;
    char text[NAMED * ITEM_BYTES];
} complaint;

__attribute__((format(printf, 2, 3))) static void add_to(complaint *c, const char *format, ...) {
    const size_t used = strlen(c->text);
    va_list arguments;
    if (c->n++ >= NAMED)
        return;
    strcpy(c->text + used, used ? ", " : "");
    va_start(arguments, format);
    vsnprintf(c->text + strlen(c->text), sizeof c->text - strlen(c->text), format, arguments);
    va_end(arguments);
}

typedef struct complaints {
    complaint missing, unexpected, unfit;
} complaints;

/* "; missing: a, b, c and 4 more"; "" if there is nothing to complain about. */
static const char *complaint_text(const char *what, const complaint *c, char text[COMPLAINT_BYTES]) {
    char more[32] = "";
    if (c->n > NAMED)
        snprintf(more, sizeof more, " and %d more", c->n - NAMED);
    text[0] = '\0';
    if (c->n > 0)
        snprintf(text, COMPLAINT_BYTES, "; %s: %s%s", what, c->text, more);
    return text;
}

static sd_status refuse(const char *file, const complaints *all) {
    char text[3][COMPLAINT_BYTES];
    return sd_fail(SD_ERR_DATA, "%s: holds other tensors than the network%s%s%s", file,
                   complaint_text("missing", &all->missing, text[0]),
                   complaint_text("unexpected", &all->unexpected, text[1]),
                   complaint_text("unfit", &all->unfit, text[2]));
}

/* ---- names ---- */

/* Writes the numbers as "[64, 3, 7, 7]". */
static const char *shape_text(int dims, const size_t *shape, char text[192]) {
    size_t used = 1;
    strcpy(text, "[");
    for (int d = 0; d < dims; d++)
        used += (size_t)snprintf(text + used, 192 - used, "%s%zu", d ? ", " : "", shape[d]);
    strcpy(text + used, "]");
    return text;
}

static bool all_carry(const sd_weights *weights, size_t behind, const char *prefix) {
    for (int i = 0; i < weights->n; i++)
        if (strncmp(weights->weight[i].name + behind, prefix, strlen(prefix)) != 0)
            return false;
    return weights->n > 0;
}

/* How many bytes of wrappers' prefixes are in front of all names: DistributedDataParallel's "module.", and the "model."
 * of programs whose model is a member; either, or both in either order. */
static size_t prefix_bytes(const sd_weights *weights) {
    static const char *const prefix[] = {"module.", "model."};
    for (int first = 0; first < 2; first++) {
        const size_t n = strlen(prefix[first]);
        if (all_carry(weights, 0, prefix[first]))
            return all_carry(weights, n, prefix[1 - first]) ? n + strlen(prefix[1 - first]) : n;
    }
    return 0;
}

/* What Hugging Face's BertForSequenceClassification has in front of the names of its BertModel, whose own files lack
 * it. */
static const char BASE[] = "bert.";
enum { BASE_BYTES = sizeof BASE - 1 };

static bool lacks_base(const sd_weights *weights, size_t behind) {
    for (int i = 0; i < weights->n; i++)
        if (!strncmp(weights->weight[i].name + behind, BASE, BASE_BYTES))
            return false;
    return true;
}

/* A buffer of numbers 0, 1, 2, ..., which older files of Hugging Face's models have. */
static bool is_position_ids(const sd_weight *weight) {
    static const char end[] = "embeddings.position_ids";
    const size_t n = strlen(weight->name);
    return weight->integers && n >= strlen(end) && !strcmp(weight->name + n - strlen(end), end);
}

/* ---- looking ---- */

typedef struct source {
    const sd_weights *weights;
    const char *file;
    size_t prefix_bytes;
    bool lacks_base;
    bool *known; /* [weights->n] */
} source;

/* The file's weight of this name, which it marks as known; NULL: there is none. */
static const sd_weight *find(const source *from, const char *name) {
    char full[SD_COUNTER_BYTES + 16];
    if (from->weights->n == 0)
        return NULL;
    if (from->lacks_base && !strncmp(name, BASE, BASE_BYTES))
        name += BASE_BYTES;
    snprintf(full, sizeof full, "%.*s%s", (int)from->prefix_bytes, from->weights->weight[0].name, name);
    const sd_weight *weight = sd_weights_find(from->weights, full);
    if (weight)
        from->known[weight - from->weights->weight] = true;
    return weight;
}

/* Whether all dimensions but one are equal (but_one -1: all of them). */
static bool has_shape(const sd_weight *weight, const sd_tensor *tensor, int but_one) {
    bool equal = weight->dims == tensor->dims;
    for (int d = 0; equal && d < tensor->dims; d++)
        equal = d == but_one || weight->shape[d] == (size_t)tensor->shape[d];
    return equal;
}

/* g of g * g rows; 0: they are no square. */
static size_t side_of(size_t rows) {
    size_t side = (size_t)sqrt((double)rows);
    while (side * side > rows)
        side--;
    while ((side + 1) * (side + 1) <= rows)
        side++;
    return side * side == rows ? side : 0;
}

/* Whether a weight of another shape fits, in the way that the tensor allows; notes it in the report. The tensors of a
 * classifier must agree on its classes. */
static bool fits_otherwise(const sd_weight *weight, const sd_tensor *tensor, sd_adoption *report) {
    switch (tensor->fit) {
    case SD_FIT_CLASSES:
        if (!has_shape(weight, tensor, 0) || weight->shape[0] == 0 ||
            (report->file_classes > 0 && report->file_classes != weight->shape[0]))
            return false;
        report->file_classes = weight->shape[0];
        return true;
    case SD_FIT_ROWS:
        if (!has_shape(weight, tensor, 0) || weight->shape[0] == 0)
            return false;
        report->file_rows = weight->shape[0];
        report->rows = tensor->shape[0];
        return true;
    case SD_FIT_GRID: {
        const size_t side = has_shape(weight, tensor, 1) && weight->shape[1] > 1 ? side_of(weight->shape[1] - 1) : 0;
        if (side == 0 || side > SD_RESAMPLE_MAX)
            return false;
        report->file_grid = (int)side;
        report->grid = (int)side_of((size_t)tensor->shape[1] - 1);
        return true;
    }
    case SD_FIT_EXACT:
    case SD_FIT_HEAD:
        break;
    }
    return false;
}

/* A classifier's tensors all keep their values if one has other classes, or if the file has none of them; those of the
 * rest of a head, if the file has no head. */
static bool keeps_fresh(const sd_tensor *tensor, const sd_adoption *report) {
    if (tensor->fit == SD_FIT_HEAD)
        return report->no_head;
    return tensor->fit == SD_FIT_CLASSES && (report->file_classes > 0 || report->no_classifier);
}

/* How many tensors of this kind the network has, or of them the file; find() marks these. */
static int count_fitting(const source *from, const sd_network *network, sd_tensor_fit fit) {
    int n = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        n += tensor->fit == fit && (!from || find(from, tensor->name));
    }
    return n;
}

/* A file with a classifier has the layers in front of it as well. */
static void look_for_head(const source *from, const sd_network *network, sd_adoption *report) {
    const bool has_classifier = count_fitting(from, network, SD_FIT_CLASSES) > 0,
               has_head = has_classifier || count_fitting(from, network, SD_FIT_HEAD) > 0;
    report->no_classifier = !has_classifier && count_fitting(NULL, network, SD_FIT_CLASSES) > 0;
    report->no_head = !has_head && count_fitting(NULL, network, SD_FIT_HEAD) > 0;
}

/* The classes of a file whose classifier fits in all of its tensors but one must not pass as another task's. */
static bool classes_agree(const source *from, const sd_network *network, const sd_adoption *report) {
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        const sd_weight *weight = keeps_fresh(tensor, report) ? find(from, tensor->name) : NULL;
        if (weight && weight->shape[0] != report->file_classes)
            return false;
    }
    return true;
}

static void complain_of_shape(complaints *all, const sd_weight *weight, const sd_tensor *tensor) {
    char has[192], wants[192], name[SD_PRINTABLE_BYTES];
    size_t shape[4];
    for (int d = 0; d < tensor->dims; d++)
        shape[d] = (size_t)tensor->shape[d];
    add_to(&all->unfit, "%s is %s %s, where F32 %s is expected", sd_printable(weight->name, name),
           sd_dtype_name(weight->dtype), shape_text(weight->dims, weight->shape, has),
           shape_text(tensor->dims, shape, wants));
}

static void look_at(const source *from, const sd_tensor *tensor, sd_adoption *report, complaints *all) {
    char counter[SD_COUNTER_BYTES];
    const sd_weight *weight = find(from, tensor->name);
    if (!weight && keeps_fresh(tensor, report))
        return;
    if (!weight)
        add_to(&all->missing, "%s", tensor->name);
    else if (!weight->values || !(has_shape(weight, tensor, -1) || fits_otherwise(weight, tensor, report)))
        complain_of_shape(all, weight, tensor);
    if (tensor->counted)
        (void)find(from, sd_tensor_counter(tensor, counter)); /* PyTorch's count of steps, which nothing reads */
}

static sd_status check_finite(const source *from, const sd_tensor *tensor) {
    const sd_weight *weight = find(from, tensor->name);
    size_t i = 0;
    if (!weight || sd_all_finite(weight->values, weight->elems))
        return SD_OK;
    while (isfinite(weight->values[i]))
        i++;
    return sd_fail(SD_ERR_DATA, "%s: %s: value %zu is %g", from->file, tensor->name, i, (double)weight->values[i]);
}

/* Whether the network is a BERT, and this the name of a head's tensor that another of Hugging Face's BERTs has: heads
 * of pretraining, the pooler, the classifier. */
static bool is_of_other_head(const source *from, const sd_network *network, const char *name) {
    static const char *const heads[] = {"cls.", "pooler.", "classifier."};
    if (strncmp(sd_network_tensor(network, 0)->name, BASE, BASE_BYTES) != 0)
        return false;
    name += from->prefix_bytes;
    if (!strncmp(name, BASE, BASE_BYTES))
        name += BASE_BYTES;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        if (!strncmp(name, heads[i], strlen(heads[i])))
            return true;
    return false;
}

static sd_status look(const source *from, const sd_network *network, sd_adoption *report, complaints *all) {
    const int n = sd_network_n_tensors(network);
    look_for_head(from, network, report);
    for (int i = 0; i < n; i++)
        look_at(from, sd_network_tensor(network, i), report, all);
    for (int i = 0; i < from->weights->n; i++) {
        char name[SD_PRINTABLE_BYTES];
        if (from->known[i] || is_position_ids(&from->weights->weight[i]))
            continue;
        if (is_of_other_head(from, network, from->weights->weight[i].name))
            report->passed_over++;
        else
            add_to(&all->unexpected, "%s", sd_printable(from->weights->weight[i].name, name));
    }
    if (all->missing.n + all->unexpected.n + all->unfit.n > 0)
        return refuse(from->file, all);
    if (!classes_agree(from, network, report))
        return sd_fail(SD_ERR_DATA, "%s: its classifier has %zu classes in one tensor and %d in another", from->file,
                       report->file_classes, sd_network_classes(network));
    for (int i = 0; i < n; i++)
        SD_TRY(check_finite(from, sd_network_tensor(network, i)));
    return SD_OK;
}

/* ---- position embeddings ---- */

/* timm's resample_abs_pos_embed(): the prefix token stays, the grid [g, g, c] goes through F.interpolate(bicubic,
 * antialias=True), columns first. y: [1, 1 + to * to, c], out. between: [from, to, c]. */
static void resize_grid(const sd_resample *resample, const sd_weight *weight, int from, int to, float *between,
                        float *y) {
    const size_t c = weight->shape[2], f = (size_t)from, t = (size_t)to;
    const float *grid = weight->values + c;
    memcpy(y, weight->values, c * sizeof *y);
    for (size_t row = 0; row < f; row++)
        sd_resample_floats(resample, grid + row * f * c, c, between + row * t * c);
    sd_resample_floats(resample, between, t * c, y + c);
}

/* Caller frees *resized. */
static sd_status resized_grid(const sd_weight *weight, const sd_adoption *report, float **resized) {
    const int from = report->file_grid, to = report->grid;
    const size_t c = weight->shape[2], between_elems = (size_t)from * (size_t)to * c;
    const sd_resample_spec spec = {.filter = SD_FILTER_BICUBIC, .in = from, .to = (float)from, .out = to, .count = to};
    sd_resample resample = {0};
    float *between = NULL;
    sd_status status;
    SD_TRY_CLEANUP(sd_resample_make(&resample, &spec));
    SD_TRY_CLEANUP(sd_alloc(&between, between_elems, sizeof *between));
    SD_TRY_CLEANUP(sd_alloc(resized, (1 + (size_t)to * (size_t)to) * c, sizeof **resized));
    resize_grid(&resample, weight, from, to, between, *resized);
cleanup:
    free(between);
    sd_resample_free(&resample);
    return status;
}

/* The file's rows, as many as the tensor has, then the tensor's own. Caller frees *resized. */
static sd_status resized_rows(const sd_weight *weight, const sd_tensor *tensor, const float *values, float **resized) {
    SD_TRY(sd_alloc(resized, tensor->elems, sizeof **resized));
    sd_tensor_export(tensor, values + tensor->offset_elems, *resized);
    memcpy(*resized, weight->values,
           (weight->elems < tensor->elems ? weight->elems : tensor->elems) * sizeof **resized);
    return SD_OK;
}

/* ---- taking over ---- */

/* resized: [tensors] what stands in the place of a weight's values, or NULL. */
static sd_status resize(const source *from, sd_network *network, const sd_adoption *report, float **resized) {
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        const sd_weight *weight = find(from, tensor->name);
        if (tensor->fit == SD_FIT_GRID && !has_shape(weight, tensor, -1))
            SD_TRY(resized_grid(weight, report, &resized[i]));
        if (tensor->fit == SD_FIT_ROWS && !has_shape(weight, tensor, -1))
            SD_TRY(resized_rows(weight, tensor, sd_network_values(network), &resized[i]));
    }
    return SD_OK;
}

static void copy(const source *from, sd_network *network, float *const *resized, sd_adoption *report) {
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        if (keeps_fresh(tensor, report))
            continue;
        sd_tensor_import(tensor, resized[i] ? resized[i] : find(from, tensor->name)->values,
                         sd_network_values(network) + tensor->offset_elems);
        report->adopted++;
    }
}

sd_status sd_model_adopt(sd_network *network, const sd_weights *weights, const char *file, sd_adoption *report) {
    const int n = sd_network_n_tensors(network);
    source from = {.weights = weights, .file = file, .prefix_bytes = prefix_bytes(weights)};
    from.lacks_base = lacks_base(weights, from.prefix_bytes);
    complaints *all = NULL; /* large */
    float **resized = NULL;
    sd_status status;
    *report = (sd_adoption){.tensors = n, .classes = sd_network_classes(network)};
    SD_TRY_CLEANUP(sd_alloc(&from.known, (size_t)weights->n, sizeof *from.known));
    SD_TRY_CLEANUP(sd_alloc(&all, 1, sizeof *all));
    SD_TRY_CLEANUP(sd_alloc(&resized, (size_t)n, sizeof *resized));
    SD_TRY_CLEANUP(look(&from, network, report, all));
    SD_TRY_CLEANUP(resize(&from, network, report, resized));
    copy(&from, network, resized, report);
cleanup:
    for (int i = 0; resized && i < n; i++)
        free(resized[i]);
    free(resized);
    free(all);
    free(from.known);
    return status;
}

const char *sd_adoption_text(const sd_adoption *report, char text[SD_ADOPTION_BYTES]) {
    int used = snprintf(text, SD_ADOPTION_BYTES, "%d of %d tensors adopted", report->adopted, report->tensors);
    if (report->grid > 0)
        used += snprintf(text + used, SD_ADOPTION_BYTES - (size_t)used,
                         "; position embeddings resized from %d x %d to %d x %d", report->file_grid, report->file_grid,
                         report->grid, report->grid);
    if (report->rows > 0)
        used += snprintf(text + used, SD_ADOPTION_BYTES - (size_t)used,
                         report->file_rows > (size_t)report->rows
                             ? "; of its %zu position embeddings the first %d"
                             : "; it has %zu position embeddings, the others of %d keep their initial values",
                         report->file_rows, report->rows);
    if (report->no_head || report->no_classifier)
        used +=
            snprintf(text + used, SD_ADOPTION_BYTES - (size_t)used,
                     "; the %s keeps its initial values: the file has none", report->no_head ? "head" : "classifier");
    if (report->passed_over > 0)
        used += snprintf(text + used, SD_ADOPTION_BYTES - (size_t)used, "; %d tensors of another head passed over",
                         report->passed_over);
    if (report->file_classes > 0)
        snprintf(text + used, SD_ADOPTION_BYTES - (size_t)used,
                 "; the classifier keeps its initial values: the file has %zu classes, the network %d",
                 report->file_classes, report->classes);
    return text;
}
