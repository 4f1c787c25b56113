/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/summary.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/file.h"

enum { MOST_BYTES = 1 << 20 }; /* the largest summary.json that is read */

static void add_number(cJSON *object, const char *name, double value) {
    if (isfinite(value))
        cJSON_AddNumberToObject(object, name, value);
    else
        cJSON_AddNullToObject(object, name);
}

static double gap_of(const sd_progress *p) { return p->train_eval_accuracy - p->val_accuracy; }
static double kept_fraction_of(const sd_progress *p) { return p->decisions > 0 ? p->kept / (double)p->decisions : NAN; }

static cJSON *to_json(const sd_summary *s) {
    cJSON *object = cJSON_CreateObject();
#define TEXT(member) cJSON_AddStringToObject(object, #member, s->member)
#define NUMBER(member) add_number(object, #member, (double)s->member)
#define PROGRESS(member) add_number(object, #member, (double)s->progress->member)
    TEXT(status);
    if (s->job)
        TEXT(job);
    char id[32]; /* as text: JSON's numbers have 53 bits */
    snprintf(id, sizeof id, "%016llx", (unsigned long long)s->progress->run_id);
    cJSON_AddStringToObject(object, "run_id", id);
    TEXT(run_folder);
    PROGRESS(step);
    PROGRESS(epoch);
    PROGRESS(images);
    PROGRESS(skipped_steps);
    PROGRESS(seconds);
    PROGRESS(train_loss);
    PROGRESS(train_accuracy);
    PROGRESS(val_loss);
    PROGRESS(val_accuracy);
    PROGRESS(val_top5_accuracy);
    PROGRESS(train_eval_accuracy);
    add_number(object, "gap", gap_of(s->progress));
    PROGRESS(best_accuracy);
    PROGRESS(best_step);
    PROGRESS(best_val_accuracy);
    PROGRESS(best_val_epoch);
    add_number(object, "kept_fraction", kept_fraction_of(s->progress));
    PROGRESS(bytes_reduced);
    PROGRESS(bytes_full);
    NUMBER(parameters);
    NUMBER(ranks);
    NUMBER(threads);
    TEXT(isa);
    TEXT(host);
    TEXT(mpi);
#undef TEXT
#undef NUMBER
#undef PROGRESS
    cJSON_AddStringToObject(object, "version", SD_VERSION);
    cJSON_AddStringToObject(object, "compiler", __VERSION__);
    if (!s->waited_for_host)
        return object;
    add_number(object, "waited_for_rank", s->waited_for.rank);
    add_number(object, "waited_fraction", s->waited_for.fraction);
    cJSON_AddStringToObject(object, "waited_for_host", s->waited_for_host);
    return object;
}

sd_status sd_summary_write(const char *folder, const sd_summary *summary) {
    char path[1024];
    snprintf(path, sizeof path, "%s/summary.json", folder);
    cJSON *object = to_json(summary);
    char *text = cJSON_Print(object);
    cJSON_Delete(object);
    sd_status status =
        text ? sd_file_put(path, text) : sd_fail(SD_ERR_MEMORY, "%s: out of memory while it is written", path);
    free(text);
    return status;
}

sd_last_start sd_summary_last_start(const char *folder) {
    sd_last_start last = {0};
    char path[1024], *text;
    size_t bytes;
    snprintf(path, sizeof path, "%s/summary.json", folder);
    if (sd_file_get(path, MOST_BYTES, &text, &bytes) == SD_OK) {
        cJSON *object = cJSON_Parse(text);
        const char *const status = cJSON_GetStringValue(cJSON_GetObjectItem(object, "status"));
        const char *const job = cJSON_GetStringValue(cJSON_GetObjectItem(object, "job"));
        const char *const id = cJSON_GetStringValue(cJSON_GetObjectItem(object, "run_id"));
        snprintf(last.status, sizeof last.status, "%s", status ? status : "");
        snprintf(last.job, sizeof last.job, "%s", job ? job : "");
        last.run_id = id ? strtoull(id, NULL, 16) : 0;
        cJSON_Delete(object);
        free(text);
    }
    sd_error_clear();
    return last;
}

static void print_percent(FILE *to, const char *name, double fraction) {
    if (!isnan(fraction))
        fprintf(to, "  %-26s %6.2f %%\n", name, 100 * fraction);
}

/* The best score may belong to an epoch without a checkpoint. */
static void print_best(FILE *to, const sd_progress *p) {
    if (isnan(p->best_val_accuracy))
        return;
    fprintf(to, "  %-26s %6.2f %%", "best validation accuracy", 100 * p->best_val_accuracy);
    if (p->best_val_epoch > 0)
        fprintf(to, "   epoch %llu", (unsigned long long)p->best_val_epoch);
    fprintf(to, "\n");
    if (!isnan(p->best_accuracy) && p->best_accuracy != p->best_val_accuracy)
        fprintf(to, "  %-26s %6.2f %%   step %llu\n", "that of checkpoint best", 100 * p->best_accuracy,
                (unsigned long long)p->best_step);
}

void sd_summary_print(FILE *to, const sd_summary *s) {
    const sd_progress *const p = s->progress;
    fprintf(to, "\n%s after %llu steps (%llu epoch%s), %.1f s of training on %d rank%s x %d thread%s (%s)\n", s->status,
            (unsigned long long)p->step, (unsigned long long)p->epoch, p->epoch == 1 ? "" : "s", p->seconds, s->ranks,
            s->ranks == 1 ? "" : "s", s->threads, s->threads == 1 ? "" : "s", s->isa);
    print_percent(to, "validation accuracy", p->val_accuracy);
    print_percent(to, "validation top-5 accuracy", p->val_top5_accuracy);
    print_best(to, p);
    print_percent(to, "training accuracy", isnan(p->train_eval_accuracy) ? p->train_accuracy : p->train_eval_accuracy);
    print_percent(to, "train-validation gap", gap_of(p));
    print_percent(to, "branches skipped", 1 - kept_fraction_of(p));
    if (p->skipped_steps > 0)
        fprintf(to, "  %-26s %4llu\n", "steps not finite, skipped", (unsigned long long)p->skipped_steps);
    if (p->bytes_full > 0)
        print_percent(to, "gradient bytes not sent", 1 - (double)p->bytes_reduced / (double)p->bytes_full);
    if (p->seconds > 0)
        fprintf(to, "  %-26s %6.1f\n", "images per second", (double)p->images / p->seconds);
    if (s->waited_for_host)
        fprintf(to, "  %-26s rank %d on %s, %.1f %% of the time\n", "the others waited for", s->waited_for.rank,
                s->waited_for_host, 100 * s->waited_for.fraction);
    fprintf(to, "  %-26s %s\n", "files", s->run_folder);
    fflush(to);
}
