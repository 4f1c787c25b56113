/* SPDX-License-Identifier: Apache-2.0 */
#include "sdtrain/description.h"

#include <string.h>

#include <stdlib.h>

#include "sdtrain/file.h"
#include "sdtrain/savings.h"

sd_status sd_schedule_write(const char *folder, const sd_network *network, const sd_drop_spec *drop) {
    char path[1024], *text = NULL;
    size_t bytes;
    snprintf(path, sizeof path, "%s/schedule.csv", folder);
    FILE *rows = open_memstream(&text, &bytes);
    if (!rows)
        return sd_fail(SD_ERR_MEMORY, "%s: out of memory while it is written", path);
    fprintf(rows, "branch,name,depth,drop_rate,parameters,flops\n");
    for (int i = 0; i < drop->units; i++) {
        const sd_unit *unit = sd_network_unit(network, i);
        fprintf(rows, "%d,%s,%d,%.17g,%zu,%.0f\n", i + 1, unit->name, unit->depth, drop->rate[i], unit->parameters,
                unit->flops);
    }
    sd_status status = fclose(rows) == 0 ? sd_file_put(path, text)
                                         : sd_fail(SD_ERR_MEMORY, "%s: out of memory while it is written", path);
    free(text);
    return status;
}

/* Prints the images over which batch norm takes its statistics. */
static void print_groups(FILE *to, const sd_description *d) {
    const char *const who = sd_network_batchnorm_values(d->network) > 0 ? "batch norm sees" : "passes have";
    if (d->shards > 0)
        fprintf(to, "shards     %d, %d a rank: %s %llu images at a time (batch / shards), on any number of ranks\n",
                d->shards, d->shards / d->ranks, who, (unsigned long long)d->shard_images);
    else
        fprintf(to, "shards     one a rank: %s %llu images at a time (batch / ranks)\n", who,
                (unsigned long long)d->shard_images);
}

static double mebibytes(size_t bytes) { return (double)bytes / (1 << 20); }

/* The share of all learned values that are embeddings of words which a step's texts do not have. */
static double untouched(const sd_description *d) {
    double share = 0;
    const double parameters = (double)sd_network_parameters(d->network);
    for (int i = 0; d->touched_rows > 0 && i < sd_network_n_segments(d->network); i++) {
        const sd_segment *segment = sd_network_segment(d->network, i);
        const double touched_elems = d->touched_rows * (double)segment->row_elems;
        if (segment->row_elems > 0 && !segment->frozen)
            share += ((double)segment->parameter_elems - touched_elems) / parameters;
    }
    return share;
}

/* Of the gradients' bytes, the share that is not sent. */
static double bytes_skipped(const sd_description *d, const sd_savings *savings) {
    return d->skip_dropped ? savings->bytes + untouched(d) : savings->frozen;
}

enum { DRAWN_STEPS = 200, MOST_DRAWS = 1 << 28 };

/* Prints the savings of each scope that is possible, for this run's ranks and batch. */
static sd_status print_scopes(FILE *to, const sd_description *d, uint64_t images) {
    const uint64_t draws = images * (uint64_t)d->drop->units, affordable = MOST_DRAWS / (draws ? draws : 1);
    const int steps = affordable < 1 ? 1 : affordable < DRAWN_STEPS ? (int)affordable : DRAWN_STEPS;
    const int last = d->drop->min_kept > 0 ? SD_DROP_SCOPE_GLOBAL : SD_DROP_SCOPE_SAMPLE;
    fprintf(to, "\nskipped with each stochastic_depth.scope, of %llu images on %d rank%s; expected",
            (unsigned long long)images, d->ranks, d->ranks == 1 ? "" : "s");
    if (d->ranks > 1)
        fprintf(to, " (slowest rank of a step: mean of %d drawn step%s)", steps, steps == 1 ? "" : "s");
    fprintf(to, ":\n");
    fprintf(to, "scope   branches  FLOPs, mean rank  FLOPs, slowest rank  gradient bytes\n");
    for (int scope = SD_DROP_SCOPE_GLOBAL; scope <= last; scope++) {
        sd_drop_spec drop = *d->drop;
        double slowest;
        drop.scope = (sd_drop_scope)scope;
        drop.ranks = d->ranks;
        const sd_savings savings = sd_savings_expected(d->network, &drop, images);
        SD_TRY(sd_savings_of_slowest(d->network, &drop, images, d->ranks, steps, &slowest));
        fprintf(to, "%-6s  %6.2f %%          %6.2f %%             %6.2f %%        %6.2f %%\n",
                sd_drop_scope_word(drop.scope), 100 * savings.branches, 100 * savings.flops, 100 * slowest,
                100 * bytes_skipped(d, &savings));
    }
    return SD_OK;
}

static const char *sample_word(const sd_description *d) {
    return sd_samples_are_texts(d->samples) ? "a text" : "an image";
}

static void print_model(FILE *to, const sd_description *d) {
    const double forward = sd_network_flops(d->network);
    fprintf(to, "model      %s, %d classes, ", d->model, sd_network_classes(d->network));
    if (sd_samples_are_texts(d->samples))
        fprintf(to, "%d of %d word pieces", d->samples.sequence, d->samples.vocabulary);
    else
        fprintf(to, "%d x %d pixels", d->samples.image_size, d->samples.image_size);
    fprintf(to, ": %zu parameters, %.4g MFLOP forward %s\n", sd_network_parameters(d->network), forward * 1e-6,
            sample_word(d));
}

static void print_data(FILE *to, const sd_description *d) {
    const bool texts = sd_samples_are_texts(d->samples);
    fprintf(to, "data       %llu training and %llu validation %s\n", (unsigned long long)d->train_images,
            (unsigned long long)d->validation_images, texts ? "texts" : "images");
    if (texts)
        fprintf(to,
                "texts      %.1f word pieces on average, %d at most; %.1f %% fill the sequence; %.1f %% of a batch is "
                "padding\n",
                d->lengths.mean, d->lengths.longest, 100 * d->lengths.full,
                100 * (1 - d->lengths.mean / d->samples.sequence));
    if (d->touched_rows > 0)
        fprintf(to,
                "words      %.0f of %d are in a step's texts, on average: only their embeddings' gradients are sent\n",
                d->touched_rows, d->samples.vocabulary);
}

static int widest_name(const sd_description *d) {
    int width = 18;
    for (int i = 0; i < d->drop->units; i++) {
        const int name = (int)strlen(sd_network_unit(d->network, i)->name);
        width = name > width ? name : width;
    }
    return width;
}

sd_status sd_description_print(FILE *to, const sd_description *d) {
    const uint64_t images = d->batch_size < d->train_images ? d->batch_size : d->train_images;
    const sd_savings savings = sd_savings_expected(d->network, d->drop, images);
    const double forward = sd_network_flops(d->network);
    const double skipped = bytes_skipped(d, &savings);
    const size_t parameters = sd_network_parameters(d->network), trained = sd_network_trained(d->network);
    const double full_bytes = (double)d->wire_value_bytes * (double)sd_network_parameters(d->network);
    print_model(to, d);
    if (trained < parameters)
        fprintf(to, "trained    %zu of the %zu parameters; the others are frozen (model.freeze)\n", trained,
                parameters);
    print_data(to, d);
    fprintf(to, "training   %llu epochs of %llu steps, %llu steps in all; %llu images a step, at most %llu a rank\n",
            (unsigned long long)d->epochs, (unsigned long long)d->steps_per_epoch, (unsigned long long)d->total_steps,
            (unsigned long long)d->batch_size, (unsigned long long)d->rank_images);
    fprintf(to, "ranks      %d with %d thread%s each, %s kernels\n", d->ranks, d->threads, d->threads == 1 ? "" : "s",
            d->isa);
    print_groups(to, d);
    fprintf(
        to,
        "memory     %.1f MiB a rank: %.1f parameters, gradients and optimizer; %.1f activations; %.1f images; %.1f program; "
        "%.1f while rank 0 writes a checkpoint\n",
        mebibytes(d->state_bytes + d->activation_bytes + d->data_bytes + d->program_bytes + d->checkpoint_bytes),
        mebibytes(d->state_bytes), mebibytes(d->activation_bytes), mebibytes(d->data_bytes),
        mebibytes(d->program_bytes), mebibytes(d->checkpoint_bytes));
    fprintf(to, "files      %s (checkpoint.resume = %s)\n", d->folder, d->resume);
    fprintf(to, "start      %s\n", d->start);
    const int width = widest_name(d);
    fprintf(to, "\nbranch  %-*s  depth  drop rate  parameters      MFLOP\n", width, "name");
    for (int i = 0; i < d->drop->units; i++) {
        const sd_unit *unit = sd_network_unit(d->network, i);
        fprintf(to, "%6d  %-*s  %5d  %9.6f  %10zu  %9.3f\n", i + 1, width, unit->name, unit->depth, d->drop->rate[i],
                unit->parameters, unit->flops * 1e-6);
    }
    fprintf(to, "\nexpected of a step, of the whole network:\n");
    fprintf(to, "  branches skipped        %6.2f %%   (%.2f of %d kept", 100 * savings.branches,
            d->drop->units * (1 - savings.branches), d->drop->units);
    if (d->drop->min_kept > 0)
        fprintf(to, ", never fewer than %d", d->drop->min_kept);
    fprintf(to, ")\n");
    fprintf(to, "  FLOPs skipped           %6.2f %%   (forward %.4g of %.4g MFLOP %s)\n", 100 * savings.flops,
            forward * (1 - savings.flops) * 1e-6, forward * 1e-6, sample_word(d));
    if (d->skip_dropped || savings.frozen > 0)
        fprintf(to, "  gradient bytes skipped  %6.2f %%   (%.0f of %.0f bytes a rank%s)\n", 100 * skipped,
                full_bytes * (1 - skipped), full_bytes, d->ranks == 1 ? "; with one rank nothing is sent" : "");
    else
        fprintf(to, "  gradient bytes skipped    0.00 %%   (communication.skip_dropped = false)\n");
    return print_scopes(to, d, images);
}
