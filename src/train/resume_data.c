/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the data set is the one that a checkpoint was trained on. */
#include "resume.h"

#include <inttypes.h>
#include <string.h>

/* "120 training images, not 60; ..."; "" if the data set is that of the checkpoint as far as this says. */
static void describe_differences(const sd_resume *resume, const sd_dataset *dataset, char *text, size_t text_bytes) {
    const sd_checkpoint_info *then = &resume->info;
    const uint64_t train = sd_dataset_images(dataset, SD_SPLIT_TRAIN),
                   validation = sd_dataset_images(dataset, SD_SPLIT_VALIDATION);
    const float *mean = sd_dataset_mean(dataset), *deviation = sd_dataset_deviation(dataset);
    const bool known = then->train_images > 0,
               other_counts = then->train_images != train || then->validation_images != validation;
    const bool other_colours = memcmp(mean, then->mean, sizeof then->mean) != 0 ||
                               memcmp(deviation, then->deviation, sizeof then->deviation) != 0;
    size_t used = 0;
    text[0] = '\0';
    if (known && other_counts)
        used += (size_t)snprintf(text + used, text_bytes - used,
                                 "%" PRIu64 " training and %" PRIu64 " validation images, not %" PRIu64 " and %" PRIu64,
                                 train, validation, then->train_images, then->validation_images);
    if (other_colours)
        used += (size_t)snprintf(text + used, text_bytes - used,
                                 "%smean %.4g %.4g %.4g and deviation %.4g %.4g %.4g of the pixels, not %.4g %.4g %.4g "
                                 "and %.4g %.4g %.4g",
                                 used > 0 ? "; " : "", mean[0], mean[1], mean[2], deviation[0], deviation[1],
                                 deviation[2], then->mean[0], then->mean[1], then->mean[2], then->deviation[0],
                                 then->deviation[1], then->deviation[2]);
    if (known && used == 0 && then->data_hash != sd_dataset_hash(dataset))
        snprintf(text, text_bytes, "as many images, but other %s (a hash over all of them differs)",
                 sd_dataset_hashed(dataset));
}

sd_status sd_resume_check_data(const sd_resume *resume, const sd_session *session, const sd_dataset *dataset) {
    char differences[512];
    describe_differences(resume, dataset, differences, sizeof differences);
    if (!differences[0])
        return SD_OK;
    return sd_comm_agree(
        session->comm,
        sd_fail(SD_ERR_DATA,
                "%s: was trained on other data than %s: %s; bring that data back, or give the run another run.name",
                resume->path, session->config->data.path[0] ? session->config->data.path : "this run's", differences));
}

void sd_resume_compare_data(const sd_resume *resume, const sd_dataset *dataset) {
    const sd_checkpoint_info *then = &resume->info;
    const bool same = then->data_hash == sd_dataset_hash(dataset) ||
                      (then->train_images == 0 && !memcmp(sd_dataset_mean(dataset), then->mean, sizeof then->mean));
    if (!same)
        sd_log_warn(
            "%s was trained on another data set than the one it is scored on; the images keep the normalisation of its training",
            resume->path);
}
