/* SPDX-License-Identifier: Apache-2.0 */
#include "tiny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "sdtrain/build.h"
#include "sdtrain/random.h"

static void must(sd_status status) { fuzz_require(status == SD_OK, "%s", sd_error_message()); }

static void fill(float *values, size_t n, uint32_t stream) {
    for (size_t i = 0; i < n; i++)
        values[i] = (float)sd_random_uniform(sd_random_at(1, stream, i, 0).word[0]) - 0.5f;
}

/* One residual with a projection: every kind of tensor that a convolutional network has. */
static sd_network *new_network(void) {
    const sd_kernels *kernels;
    sd_network *network;
    const sd_network_spec spec = {.max_images = 1, .classes = 3};
    const sd_conv_spec stem = {2, 3, 1}, convolutions[] = {{4, 3, 2}, {4, 3, 1}};
    sd_residual_spec residual = {.name = "a", .relu = true, .stride = 2, .shortcut = SD_SHORTCUT_PROJECTION};
    must(sd_kernels_select(NULL, &kernels));
    must(sd_network_create(kernels, &spec, &network));
    must(sd_build_conv_stem(network, (sd_shape){8, 8, 3}, &stem, false));
    must(sd_build_unit(network, "a", 1, &residual.unit));
    must(sd_build_residual_begin(network, &residual));
    must(sd_build_conv_branch(network, 2, convolutions, false));
    must(sd_build_residual_end(network));
    must(sd_build_pool_head(network, 0));
    must(sd_network_finish(network));
    return network;
}

static const sd_config *tiny_config(void) {
    static sd_config config; /* large */
    sd_config_init(&config);
    must(sd_config_set(&config, "run.name=tiny"));
    must(sd_config_check(&config, 1));
    return &config;
}

tiny_run tiny_new(uint32_t stream) {
    tiny_run run = {.network = new_network()};
    must(sd_optimizer_create(&tiny_config()->optimizer, run.network, &run.optimizer));
    const size_t n = sd_network_buffer_elems(run.network);
    fill(sd_network_values(run.network), n, stream);
    for (int s = 0; s < sd_optimizer_n_states(run.optimizer); s++)
        fill(sd_optimizer_state(run.optimizer, s), n, stream + 1 + (uint32_t)s);
    for (int s = 0; s < sd_network_n_segments(run.network); s++)
        sd_network_set_kept_steps(run.network, s, stream + s);
    return run;
}

unsigned char *tiny_checkpoint(tiny_run *run, size_t *n) {
    double timing[TINY_PHASES] = {1, 2};
    char path[512];
    sd_snapshot snapshot;
    sd_checkpoint_info info = {.progress = {.step = 7, .epoch = 1, .batch = 2},
                               .mean = {0.5f, 0.5f, 0.5f},
                               .deviation = {0.25f, 0.25f, 0.25f},
                               .seed = 1,
                               .ranks = 1,
                               .threads = 1,
                               .isa = "ref",
                               .scale = "inference",
                               .timing = timing,
                               .n_phases = TINY_PHASES};
    snprintf(path, sizeof path, "%s/tiny.h5", fuzz_folder());
    must(sd_config_text(tiny_config(), &info.config));
    must(sd_snapshot_create(run->network, run->optimizer, 0, &snapshot));
    sd_snapshot_take(&snapshot, run->network, run->optimizer);
    must(sd_checkpoint_save(
        path, &(sd_checkpoint_content){
                  .network = run->network, .optimizer = run->optimizer, .snapshot = &snapshot, .info = &info}));
    sd_snapshot_free(&snapshot);
    free(info.config);
    unsigned char *bytes = fuzz_read(path, n);
    remove(path);
    return bytes;
}

sd_status tiny_load(const char *path, tiny_run *run, sd_checkpoint_info *info) {
    sd_checkpoint_file *file = NULL;
    SD_TRY(sd_checkpoint_open(path, TINY_PHASES, &file, info));
    sd_status status = sd_checkpoint_apply(file, run->network, run->optimizer);
    sd_checkpoint_close(&file);
    return status;
}

static uint64_t hash_bytes(uint64_t hash, const void *memory, size_t n) { /* FNV-1a */
    const unsigned char *bytes = memory;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

/* Tensor by tensor: the padding between them is nobody's. */
uint64_t tiny_hash(tiny_run *run) {
    uint64_t hash = 1469598103934665603u;
    for (int i = 0; i < sd_network_n_tensors(run->network); i++) {
        const sd_tensor *tensor = sd_network_tensor(run->network, i);
        hash = hash_bytes(hash, sd_network_values(run->network) + tensor->offset_elems, tensor->elems * sizeof(float));
        for (int s = 0; tensor->kind == SD_TENSOR_PARAMETER && s < sd_optimizer_n_states(run->optimizer); s++)
            hash = hash_bytes(hash, sd_optimizer_state(run->optimizer, s) + tensor->offset_elems,
                              tensor->elems * sizeof(float));
    }
    for (int s = 0; s < sd_network_n_segments(run->network); s++)
        hash = hash_bytes(hash, &sd_network_segment(run->network, s)->kept_steps, sizeof(int64_t));
    return hash;
}
