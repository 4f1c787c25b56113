/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "sdtrain/file.h"
#include "sdtrain/report.h"

sd_status sd_schedule_write(const char *folder, sd_network *network, const sd_drop_spec *drop) {
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

/* What batch norm takes its statistics from. */
static void print_groups(const sd_description *d) {
    const char *const who = sd_network_batchnorm_values(d->network) > 0 ? "batch norm sees" : "passes have";
    if (d->shards > 0)
        printf("shards     %d, %d a rank: %s %llu images at a time (batch / shards), on any number of ranks\n",
               d->shards, d->shards / d->ranks, who, (unsigned long long)d->shard_images);
    else
        printf("shards     one a rank: %s %llu images at a time (batch / ranks)\n", who,
               (unsigned long long)d->shard_images);
}

static double mebibytes(size_t bytes) { return (double)bytes / (1 << 20); }

sd_status sd_description_print(const sd_description *d) {
    const uint64_t images = d->batch_size < d->train_images ? d->batch_size : d->train_images;
    const sd_savings savings = sd_savings_expected(d->network, d->drop, images);
    const double forward = sd_network_flops(d->network);
    const double full_bytes = (double)d->wire_value_bytes * (double)sd_network_parameters(d->network);
    printf("model      %s, %d classes, %d x %d pixels: %zu parameters, %.4g MFLOP forward an image\n", d->model,
           sd_network_classes(d->network), d->image_size, d->image_size, sd_network_parameters(d->network),
           forward * 1e-6);
    printf("data       %llu training and %llu validation images\n", (unsigned long long)d->train_images,
           (unsigned long long)d->validation_images);
    printf("training   %llu epochs of %llu steps, %llu steps in all; %llu images a step, at most %llu a rank\n",
           (unsigned long long)d->epochs, (unsigned long long)d->steps_per_epoch, (unsigned long long)d->total_steps,
           (unsigned long long)d->batch_size, (unsigned long long)d->rank_images);
    printf("ranks      %d with %d thread%s each, %s kernels\n", d->ranks, d->threads, d->threads == 1 ? "" : "s",
           d->isa);
    print_groups(d);
    printf(
        "memory     %.1f MiB a rank: %.1f parameters, gradients and optimizer; %.1f activations; %.1f images; %.1f program; "
        "%.1f while rank 0 writes a checkpoint\n",
        mebibytes(d->state_bytes + d->activation_bytes + d->data_bytes + d->program_bytes + d->checkpoint_bytes),
        mebibytes(d->state_bytes), mebibytes(d->activation_bytes), mebibytes(d->data_bytes),
        mebibytes(d->program_bytes), mebibytes(d->checkpoint_bytes));
    printf("files      %s (checkpoint.resume = %s)\n", d->folder, d->resume);
    printf("start      %s\n", d->start);
    printf("\nbranch  name                depth  drop rate  parameters      MFLOP\n");
    for (int i = 0; i < d->drop->units; i++) {
        const sd_unit *unit = sd_network_unit(d->network, i);
        printf("%6d  %-18s  %5d  %9.6f  %10zu  %9.3f\n", i + 1, unit->name, unit->depth, d->drop->rate[i],
               unit->parameters, unit->flops * 1e-6);
    }
    printf("\nexpected of a step, of the whole network:\n");
    printf("  branches skipped        %6.2f %%   (%.2f of %d kept)\n", 100 * savings.branches,
           d->drop->units * (1 - savings.branches), d->drop->units);
    printf("  FLOPs skipped           %6.2f %%   (forward %.4g of %.4g MFLOP an image)\n", 100 * savings.flops,
           forward * (1 - savings.flops) * 1e-6, forward * 1e-6);
    if (d->skip_dropped)
        printf("  gradient bytes skipped  %6.2f %%   (%.0f of %.0f bytes a rank%s)\n", 100 * savings.bytes,
               full_bytes * (1 - savings.bytes), full_bytes, d->ranks == 1 ? "; with one rank nothing is sent" : "");
    else
        printf("  gradient bytes skipped    0.00 %%   (communication.skip_dropped = false)\n");
    return sd_savings_print(d, images);
}
