/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "dataset.h"
#include "normalisation.h"
#include "sdtrain/arena.h"
#include "sdtrain/random.h"
#include "transform.h"

enum { DEFAULT_SIZE = 224 }; /* of images that differ in size */

struct sd_dataset {
    sd_source *source;
    sd_sample_spec samples; /* as the network takes them */
    sd_geometry geometry;
    sd_bad_image on_bad_image;
    uint32_t *train; /* indices of the training images in the source, ascending */
    uint32_t n_train;
    uint32_t *held_out; /* validation = N: indices of the held-out images; else NULL */
    uint32_t n_validation;
    sd_normalisation normalisation;
};

/* ---- opening ---- */

/* Draws N of the training images by the seed; both parts stay in file order. */
static sd_status hold_out(sd_dataset *dataset, uint32_t n, uint32_t seed) {
    const uint32_t all = dataset->source->n_train;
    uint32_t *shuffled = NULL;
    unsigned char *is_held = NULL;
    sd_status status;
    SD_TRY_CLEANUP(sd_alloc(&shuffled, all, sizeof *shuffled));
    SD_TRY_CLEANUP(sd_alloc(&is_held, all, 1));
    SD_TRY_CLEANUP(sd_alloc(&dataset->held_out, n, sizeof *dataset->held_out));
    sd_random_permutation(seed, SD_STREAM_SPLIT, 0, shuffled, all);
    for (uint32_t i = 0; i < n; i++)
        is_held[shuffled[i]] = 1;
    for (uint32_t i = 0; i < all; i++) {
        if (is_held[i])
            dataset->held_out[dataset->n_validation++] = i;
        else
            dataset->train[dataset->n_train++] = i;
    }
cleanup:
    free(shuffled);
    free(is_held);
    return status;
}

static sd_status split(sd_dataset *dataset, const sd_data_spec *spec) {
    const sd_source *source = dataset->source;
    SD_TRY(sd_alloc(&dataset->train, source->n_train, sizeof *dataset->train));
    if (spec->validation > 0) {
        if (spec->validation >= source->n_train)
            return sd_fail(SD_ERR_CONFIG, "data.validation: %lld images cannot be held out of %u training images",
                           (long long)spec->validation, source->n_train);
        SD_TRY(hold_out(dataset, (uint32_t)spec->validation, spec->seed));
    } else {
        for (; dataset->n_train < source->n_train; dataset->n_train++)
            dataset->train[dataset->n_train] = dataset->n_train;
        dataset->n_validation = source->n_test;
    }
    if (spec->train_samples > dataset->n_train)
        return sd_fail(SD_ERR_CONFIG, "data.train_samples: %lld is more than the %u training images there are",
                       (long long)spec->train_samples, dataset->n_train);
    if (spec->val_samples > dataset->n_validation)
        return sd_fail(SD_ERR_CONFIG, "data.val_samples: %lld is more than the %u validation images there are",
                       (long long)spec->val_samples, dataset->n_validation);
    if (spec->train_samples > 0)
        dataset->n_train = (uint32_t)spec->train_samples;
    if (spec->val_samples > 0)
        dataset->n_validation = (uint32_t)spec->val_samples;
    if (spec->scored_samples > dataset->n_train)
        sd_log_warn("eval.train_samples = %lld: there are %u training images; all of them are scored",
                    (long long)spec->scored_samples, dataset->n_train);
    return SD_OK;
}

/* Checks the spec as far as possible without the files. */
static sd_status check_description(const sd_data_spec *spec) {
    const sd_sample_spec samples = sd_dataset_describe(spec);
    if (spec->classes > 0 && spec->classes != samples.classes)
        return sd_fail(SD_ERR_CONFIG,
                       "model.classes: %lld does not fit this dataset, which has %d classes (0 takes them)",
                       (long long)spec->classes, samples.classes);
    return SD_OK;
}

static sd_status set_normalisation(const sd_data_spec *spec, sd_dataset *dataset) {
    const sd_source *source = dataset->source;
    float mean[SD_CHANNELS], deviation[SD_CHANNELS];
    bool measured;
    SD_TRY(sd_normalise_parse(spec->normalise, spec->kind == SD_DATASET_FOLDER, &measured, mean, deviation));
    if (!measured)
        sd_normalisation_set(&dataset->normalisation, mean, deviation);
    else if (source->mean && !(source->mean_is_of_all && dataset->n_train < source->n_train))
        sd_normalisation_set(&dataset->normalisation, source->mean, source->deviation);
    else
        SD_TRY(sd_normalisation_measure(&dataset->normalisation, source, dataset->train, dataset->n_train,
                                        spec->on_bad_image));
    return SD_OK;
}

/* What source's images become: spec's size, else the source's own, else that of ImageNet's networks. */
static sd_sample_spec samples_of(const sd_data_spec *spec, sd_sample_spec own) {
    if (own.sequence > 0)
        return own;
    if (spec->image_size > 0)
        own.image_size = (int)spec->image_size;
    else if (own.image_size == 0)
        own.image_size = DEFAULT_SIZE;
    return own;
}

static sd_status fill_in(const sd_data_spec *spec, sd_dataset *dataset) {
    dataset->samples = samples_of(spec, dataset->source->samples);
    SD_TRY(split(dataset, spec));
    if (sd_samples_are_texts(dataset->samples))
        return SD_OK;
    dataset->geometry = sd_geometry_of(spec, dataset->samples.image_size);
    dataset->on_bad_image = spec->on_bad_image;
    return set_normalisation(spec, dataset);
}

sd_status sd_dataset_of(const sd_data_spec *spec, sd_source *source, sd_dataset **dataset) {
    sd_status status = sd_alloc(dataset, 1, sizeof **dataset);
    if (status != SD_OK) {
        source->close(source);
        return status;
    }
    (*dataset)->source = source;
    status = fill_in(spec, *dataset);
    if (status != SD_OK)
        sd_dataset_close(dataset);
    return status;
}

sd_status sd_dataset_open(const sd_data_spec *spec, sd_dataset **dataset) {
    sd_source *source;
    *dataset = NULL;
    SD_TRY(check_description(spec));
    SD_TRY(sd_source_kind_of(spec)->open(spec, &source));
    return sd_dataset_of(spec, source, dataset);
}

sd_status sd_dataset_open_files(const sd_data_spec *spec, sd_sample_spec samples, const float *mean,
                                const float *deviation, const sd_listing *files, sd_dataset **dataset) {
    const sd_data_spec of_files = {.kind = SD_DATASET_FOLDER,
                                   .path = "",
                                   .image_size = samples.image_size,
                                   .interpolation = spec->interpolation,
                                   .crop_pct = spec->crop_pct,
                                   .found = (const sd_found *)files};
    SD_TRY(sd_dataset_open(&of_files, dataset));
    sd_dataset_set_normalisation(*dataset, mean, deviation);
    return SD_OK;
}

void sd_dataset_close(sd_dataset **place) {
    sd_dataset *dataset = *place;
    if (!dataset)
        return;
    if (dataset->source)
        dataset->source->close(dataset->source);
    free(dataset->train);
    free(dataset->held_out);
    free(dataset);
    *place = NULL;
}

sd_sample_spec sd_dataset_describe(const sd_data_spec *spec) {
    return samples_of(spec, sd_source_kind_of(spec)->describe(spec));
}

sd_sample_spec sd_dataset_samples(const sd_dataset *dataset) { return dataset->samples; }
size_t sd_dataset_bytes(const sd_dataset *dataset) { return dataset->source->bytes; }
uint64_t sd_dataset_hash(const sd_dataset *dataset) { return dataset->source->hash; }
const char *sd_dataset_hashed(const sd_dataset *dataset) {
    return dataset->source->hashed ? dataset->source->hashed : "pixels or labels";
}
const char *sd_dataset_vocabulary(const sd_dataset *dataset, size_t *bytes, bool *lower_case) {
    *bytes = dataset->source->vocabulary_bytes;
    *lower_case = dataset->source->lower_case;
    return dataset->source->vocabulary;
}
const char *sd_dataset_class(const sd_dataset *dataset, int label) {
    const sd_source *source = dataset->source;
    return source->class_name ? source->class_name(source, label) : "";
}
sd_bad_image sd_dataset_on_bad_image(const sd_dataset *dataset) { return dataset->on_bad_image; }
const float *sd_dataset_mean(const sd_dataset *dataset) { return dataset->normalisation.mean; }
const float *sd_dataset_deviation(const sd_dataset *dataset) { return dataset->normalisation.deviation; }

uint32_t sd_dataset_images(const sd_dataset *dataset, sd_split split) {
    return split == SD_SPLIT_TRAIN ? dataset->n_train : dataset->n_validation;
}

void sd_dataset_set_normalisation(sd_dataset *dataset, const float *mean, const float *deviation) {
    sd_normalisation_set(&dataset->normalisation, mean, deviation);
}

/* ---- one image, or text ---- */

/* The index in the source of an image of a split. */
static uint32_t source_index(const sd_dataset *dataset, sd_split split, uint32_t index) {
    if (split == SD_SPLIT_TRAIN)
        return dataset->train[index];
    return dataset->held_out ? dataset->held_out[index] : index;
}

static bool is_test(const sd_dataset *dataset, sd_split split) {
    return split == SD_SPLIT_VALIDATION && !dataset->held_out;
}

sd_status sd_dataset_read(const sd_dataset *dataset, sd_split split, uint32_t index, sd_sample *sample) {
    return dataset->source->read(dataset->source, is_test(dataset, split), source_index(dataset, split, index), sample);
}

sd_text sd_dataset_text(const sd_dataset *dataset, sd_split split, uint32_t index) {
    return dataset->source->text(dataset->source, is_test(dataset, split), source_index(dataset, split, index));
}

void sd_dataset_touch(const sd_dataset *dataset, sd_split split, uint32_t index, unsigned char *is_touched) {
    const sd_text text = sd_dataset_text(dataset, split, index);
    for (int32_t t = 0; t < text.length; t++)
        is_touched[text.ids[t]] = 1;
}

sd_text_lengths sd_dataset_text_lengths(const sd_dataset *dataset) {
    sd_text_lengths lengths = {0};
    for (uint32_t i = 0; i < dataset->n_train; i++) {
        const int length = sd_dataset_text(dataset, SD_SPLIT_TRAIN, i).length;
        lengths.mean += (double)length / dataset->n_train;
        lengths.full += (double)(length == dataset->samples.sequence) / dataset->n_train;
        lengths.longest = length > lengths.longest ? length : lengths.longest;
    }
    return lengths;
}

int32_t sd_dataset_padding(const sd_dataset *dataset) { return dataset->source->padding; }

sd_status sd_dataset_prepare(const sd_dataset *dataset, sd_split split, uint32_t index, sd_augment augment,
                             uint32_t seed, uint64_t epoch, sd_workspace *work, float *x) {
    sd_draws draws = {
        .seed = seed, .stream = SD_STREAM_AUGMENT, .sample = source_index(dataset, split, index), .epoch = epoch};
    SD_TRY(sd_dataset_read(dataset, split, index, &work->image));
    SD_TRY(sd_transform_of(augment)(work, &dataset->geometry, &draws));
    sd_normalise(&dataset->normalisation, &work->image, x);
    return SD_OK;
}

void sd_dataset_prepare_range(const sd_dataset *dataset, sd_split split, sd_range range, float *x,
                              sd_outcome *outcomes) {
    const size_t elems = sd_sample_elems(dataset->samples);
#pragma omp parallel
    {
        sd_workspace work = {0};
#pragma omp for schedule(dynamic, 1)
        for (uint64_t i = 0; i < range.count; i++) {
            const uint32_t index = (uint32_t)(range.first + i);
            sd_outcome_keep(&outcomes[i],
                            sd_dataset_prepare(dataset, split, index, SD_AUGMENT_NONE, 0, 0, &work, x + i * elems));
            sd_error_clear();
        }
        sd_workspace_free(&work);
    }
}
