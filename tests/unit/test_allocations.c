/* SPDX-License-Identifier: Apache-2.0 */
/* Memory: a training step takes none, and where there is none the error says so. The linker sends the library's calls
 * of malloc and its kin here (CMakeLists.txt: --wrap); those of other libraries go their own way. */
#include <stdatomic.h>

#include "../support.h"

/* ---- malloc and its kin ---- */

static atomic_long allocations;
static atomic_long fail_at = -1; /* the number of the allocation that fails, from 0; -1: none */

static bool granted(void) {
    long number = atomic_fetch_add(&allocations, 1);
    return number != atomic_load(&fail_at);
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t bytes) { return granted() ? __real_malloc(bytes) : NULL; }
void *__wrap_calloc(size_t count, size_t bytes) { return granted() ? __real_calloc(count, bytes) : NULL; }
void *__wrap_realloc(void *memory, size_t bytes) { return granted() ? __real_realloc(memory, bytes) : NULL; }
void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return granted() ? __real_aligned_alloc(alignment, bytes) : NULL;
}
char *__wrap_strdup(const char *text) { return granted() ? __real_strdup(text) : NULL; }

/* ---- a step ---- */

static const struct step_row {
    const char *model, *optimizer, *scale;
    int threads;
    sd_drop_scope scope;
} step_rows[] = {{"resnet20", "sgd", "inference", 1, SD_DROP_SCOPE_GLOBAL},
                 {"resnet18", "adamw", "training", 2, SD_DROP_SCOPE_GLOBAL},
                 {"vit_tiny", "adamw", "training", 1, SD_DROP_SCOPE_GLOBAL},
                 {"vit_tiny", "sgd", "inference", 2, SD_DROP_SCOPE_GLOBAL},
                 {"resnet18", "sgd", "inference", 1, SD_DROP_SCOPE_RANK},
                 {"resnet18", "sgd", "inference", 2, SD_DROP_SCOPE_SAMPLE},
                 {"vit_tiny", "adamw", "training", 1, SD_DROP_SCOPE_SAMPLE}};
enum { N_STEP_ROWS = sizeof step_rows / sizeof step_rows[0], BATCH = 4, SIDE = 16 };

START_TEST(a_training_step_allocates_nothing) {
    const struct step_row *row = &step_rows[_i];
    char optimizer_name[64];
    snprintf(optimizer_name, sizeof optimizer_name, "optimizer.name=%s", row->optimizer);
    sd_kernels_set_threads(row->threads);
    sd_config *config = config_of(optimizer_name, "optimizer.clip_norm=1", "data.image_size=16",
                                  "data.train_samples=32", "data.augment=crop_flip", NULL);
    sd_dataset *dataset;
    sd_loader *loader;
    sd_optimizer *optimizer;
    expect_ok(open_dataset(config, &dataset));
    expect_ok(sd_loader_create(dataset, BATCH, 2, &loader));
    sd_network *network = new_model((sd_model_spec){.name = row->model,
                                                    .image_size = SIDE,
                                                    .classes = 10,
                                                    .patch_size = 8,
                                                    .dropout = 0.1,
                                                    .gathers = row->scope == SD_DROP_SCOPE_SAMPLE},
                                    BATCH);
    expect_ok(sd_optimizer_create(&config->optimizer, network, &optimizer));
    sd_network_initialise(network, 1);
    sd_drop_plan plan = keep_all(sd_network_n_units(network));
    sd_drop_part part;
    expect_ok(sd_drop_part_create(plan.units, BATCH, &part));
    sd_drop_spec drop = {.seed = 1,
                         .scope = row->scope,
                         .ranks = 1,
                         .scale = SD_DROP_SCALE_TRAINING,
                         .units = plan.units,
                         .rate = malloc((size_t)plan.units * sizeof(double))};
    for (int i = 0; i < plan.units; i++)
        drop.rate[i] = 0.5;
    enum { STEPS = 8 };
    sd_range ranges[STEPS];
    for (uint64_t b = 0; b < STEPS; b++)
        ranges[b] = (sd_range){b * BATCH, BATCH};
    sd_loss *loss;
    sd_loss_sums sums = {0};
    expect_ok(sd_loss_create(&(sd_loss_spec){.smoothing = 0.1f}, best_kernels(), BATCH, 10, &loss));
    long before = 0;
    int dropped = 0;
    sd_loader_begin(loader, &(sd_loader_pass){.split = SD_SPLIT_TRAIN,
                                              .augment = SD_AUGMENT_CROP_FLIP,
                                              .seed = 1,
                                              .epoch = 1,
                                              .ranges = ranges,
                                              .n_batches = STEPS});
    for (uint64_t step = 1; step <= STEPS; step++) {
        if (step == 2) /* libraries may take what they keep in the first step */
            before = atomic_load(&allocations);
        sd_batch batch;
        expect_ok(sd_loader_next(loader, &batch));
        sd_drop_plan_draw(&drop, step, BATCH, &plan);
        dropped += plan.units - plan.kept_units;
        if (row->scope != SD_DROP_SCOPE_GLOBAL)
            sd_drop_part_draw(&drop, step, 0, (sd_range){0, BATCH}, &part);
        const sd_pass pass = {.images = batch.images,
                              .training = true,
                              .plan = &plan,
                              .part = row->scope == SD_DROP_SCOPE_GLOBAL ? NULL : &part,
                              .batch_share = 1,
                              .seed = 1,
                              .step = step};
        const float *logits = sd_network_forward(network, &pass, &batch.input);
        sd_loss_forward(loss, BATCH, logits, &batch.targets, &sums);
        float *dlogits = sd_loss_backward(loss, BATCH, logits, &batch.targets, BATCH);
        sd_network_backward(network, &pass, &batch.input, dlogits, ignore_segment, NULL);
        sd_network_update_statistics(network, &plan);
        sd_optimizer_step(optimizer, &plan, 0.01, step);
    }
    ck_assert_int_eq(atomic_load(&allocations) - before, 0);
    ck_assert_int_gt(before, 10); /* the count counts */
    ck_assert_int_gt(dropped, 0);
    sd_loader_end(loader);
    sd_loader_destroy(&loader);
    sd_optimizer_destroy(&optimizer);
    sd_loss_destroy(&loss);
    sd_network_destroy(&network);
    sd_dataset_close(&dataset);
    sd_drop_plan_free(&plan);
    sd_drop_part_free(&part);
    free(drop.rate);
    free(config);
}
END_TEST

/* ---- allocations that fail ---- */

/* Calls attempt with its 1st, 2nd, ... allocation failing until it has as many as it wants. */
static void expect_memory_errors(const char *what, sd_status (*attempt)(void *), void *context) {
    for (long n = 0;; n++) {
        sd_error_clear();
        atomic_store(&allocations, 0);
        atomic_store(&fail_at, n);
        sd_status status = attempt(context);
        bool reached = atomic_load(&allocations) > n;
        atomic_store(&fail_at, -1);
        if (!reached) {
            expect(status == SD_OK, "%s: %s", what, sd_error_message());
            expect(n > 0, "%s allocates nothing", what);
            return;
        }
        expect(status == SD_ERR_MEMORY, "%s: with allocation %ld failing the status is %d: %s", what, n, (int)status,
               sd_error_message());
        expect(strstr(sd_error_message(), "memory"), "%s, allocation %ld: %s", what, n, sd_error_message());
    }
}

static sd_status try_model(void *context) {
    sd_network *network = NULL;
    const sd_model_spec spec = {.name = context, .image_size = 8, .classes = 10, .patch_size = 8};
    sd_status status = sd_model_create(&spec, sd_kernels_at(0), 1, &network);
    sd_network_destroy(&network);
    return status;
}

START_TEST(a_model_without_memory_is_refused) {
    expect_memory_errors("resnet20", try_model, "resnet20");
    expect_memory_errors("resnet18", try_model, "resnet18");
    expect_memory_errors("vit_tiny", try_model, "vit_tiny");
}
END_TEST

static sd_status try_dataset(void *context) {
    sd_dataset *dataset = NULL;
    sd_status status = open_dataset(context, &dataset);
    sd_dataset_close(&dataset);
    return status;
}

START_TEST(a_dataset_without_memory_is_refused) {
    sd_config *config = config_of("data.train_samples=20", "data.validation=5", NULL);
    expect_memory_errors("synthetic", try_dataset, config);
    free(config);
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 32], setting[SUPPORT_PATH_BYTES + 32];
    static unsigned char records[3 * 3074];
    make_folder(folder);
    snprintf(path, sizeof path, "%s/train.bin", folder);
    write_bytes(path, records, sizeof records);
    snprintf(path, sizeof path, "%s/test.bin", folder);
    write_bytes(path, records, sizeof records);
    snprintf(setting, sizeof setting, "data.path=%s", folder);
    config = config_of("data.dataset=cifar100", "data.validation=1", setting, NULL);
    expect_memory_errors("cifar100", try_dataset, config);
    free(config);
    remove_folder(folder);
}
END_TEST

static sd_status try_loader(void *context) {
    sd_loader *loader = NULL;
    sd_status status = sd_loader_create(context, 3, 2, &loader);
    sd_loader_destroy(&loader);
    return status;
}

START_TEST(a_loader_without_memory_is_refused) {
    sd_config *config = config_of("data.train_samples=20", NULL);
    sd_dataset *dataset;
    expect_ok(open_dataset(config, &dataset));
    expect_memory_errors("loader", try_loader, dataset);
    sd_dataset_close(&dataset);
    free(config);
}
END_TEST

static sd_status try_loss(void *context) {
    (void)context;
    sd_loss *loss = NULL;
    sd_status status = sd_loss_create(&(sd_loss_spec){0}, sd_kernels_at(0), 3, 10, &loss);
    sd_loss_destroy(&loss);
    return status;
}

START_TEST(a_loss_without_memory_is_refused) { expect_memory_errors("loss", try_loss, NULL); }
END_TEST

typedef struct saved_run {
    sd_config *config;
    sd_network *network;
    sd_optimizer *optimizer;
    sd_checkpoint_info info;
    char path[SUPPORT_PATH_BYTES + 32];
} saved_run;

static sd_status try_optimizer(void *context) {
    saved_run *run = context;
    sd_optimizer *optimizer = NULL;
    sd_status status = sd_optimizer_create(&run->config->optimizer, run->network, &optimizer);
    sd_optimizer_destroy(&optimizer);
    return status;
}

static sd_status try_plan(void *context) {
    (void)context;
    sd_drop_plan plan = {0};
    sd_drop_part part = {0};
    sd_status status = sd_drop_plan_create(9, &plan);
    if (status == SD_OK)
        status = sd_drop_part_create(9, 5, &part);
    sd_drop_plan_free(&plan);
    sd_drop_part_free(&part);
    return status;
}

static sd_status try_text(void *context) {
    saved_run *run = context;
    char *text = NULL;
    sd_status status = sd_config_text(run->config, &text);
    free(status == SD_OK ? text : NULL);
    return status;
}

static sd_status try_save(void *context) {
    saved_run *run = context;
    sd_snapshot snapshot = {0};
    sd_status status = sd_snapshot_create(run->network, run->optimizer, 0, &snapshot);
    if (status == SD_OK) {
        sd_snapshot_take(&snapshot, run->network, run->optimizer);
        status = sd_checkpoint_save(run->path, &(sd_checkpoint_content){.network = run->network,
                                                                        .optimizer = run->optimizer,
                                                                        .snapshot = &snapshot,
                                                                        .info = &run->info});
    }
    sd_snapshot_free(&snapshot);
    return status;
}

static sd_status try_load(void *context) {
    saved_run *run = context;
    sd_checkpoint_file *file = NULL;
    sd_checkpoint_info info;
    sd_status status = sd_checkpoint_open(run->path, 2, &file, &info);
    if (status == SD_OK)
        status = sd_checkpoint_apply(file, run->network, run->optimizer);
    sd_checkpoint_close(&file);
    sd_checkpoint_info_free(&info);
    return status;
}

START_TEST(a_checkpoint_without_memory_is_refused) {
    char folder[SUPPORT_PATH_BYTES];
    double timing[2] = {1, 2};
    make_folder(folder);
    saved_run run = {.config = config_of("optimizer.name=adamw", NULL),
                     .info = {.deviation = {1, 1, 1},
                              .config = (char[]){"[run]\n"},
                              .ranks = 1,
                              .threads = 1,
                              .isa = "ref",
                              .scale = "inference",
                              .timing = timing,
                              .n_phases = 2}};
    run.network = new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 1);
    expect_ok(sd_optimizer_create(&run.config->optimizer, run.network, &run.optimizer));
    snprintf(run.path, sizeof run.path, "%s/step-00000001.h5", folder);
    expect_memory_errors("sd_drop_plan_create and sd_drop_part_create", try_plan, NULL);
    expect_memory_errors("sd_config_text", try_text, &run);
    expect_memory_errors("sd_optimizer_create", try_optimizer, &run);
    expect_memory_errors("sd_snapshot_create and sd_checkpoint_save", try_save, &run);
    expect_memory_errors("sd_checkpoint_open and apply", try_load, &run);
    sd_optimizer_destroy(&run.optimizer);
    sd_network_destroy(&run.network);
    free(run.config);
    remove_folder(folder);
}
END_TEST

static sd_status try_safetensors(void *context) {
    static const float values[6];
    const char *path = context;
    sd_weight weight[] = {{.name = "b", .dims = 2, .shape = {2, 3}, .elems = 6, .values = values},
                          {.name = "a", .elems = 1, .values = values}};
    SD_TRY(sd_safetensors_write(path, &(sd_weights){.n = 2, .weight = weight},
                                (const char *const[]){"format", "pt", NULL}));
    sd_weights read;
    const sd_status status = sd_safetensors_read(path, &read);
    expect(read.n == (status == SD_OK ? 2 : 0), "%d tensors at status %d", read.n, (int)status);
    sd_weights_free(&read);
    return status;
}

START_TEST(weights_without_memory_are_refused) {
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 32];
    make_folder(folder);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    expect_memory_errors("safetensors", try_safetensors, path);
    remove_folder(folder);
}
END_TEST

/* More words and pieces than tables begin with. */
static sd_status try_vocabulary(void *context) {
    const char *text = context;
    sd_vocabulary *vocabulary = NULL;
    sd_tokenizer *tokenizer = NULL;
    char *made = NULL;
    int n;
    sd_status status = sd_vocabulary_create(true, &vocabulary);
    if (status == SD_OK)
        status = sd_vocabulary_add(vocabulary, text, strlen(text));
    if (status == SD_OK)
        status = sd_vocabulary_make(vocabulary, 1000, 1000, &made, &n);
    if (status == SD_OK)
        status = sd_tokenizer_create(made, strlen(made), "made", true, &tokenizer);
    expect((status == SD_OK) == (tokenizer != NULL), "a tokenizer at status %d", (int)status);
    sd_tokenizer_free(&tokenizer);
    sd_vocabulary_free(&vocabulary);
    free(made);
    return status;
}

START_TEST(a_vocabulary_without_memory_is_refused) {
    char text[8192] = "";
    for (int i = 0; i < 1000; i++)
        snprintf(text + 7 * (size_t)i, 8, "w%05d ", i * 7919 % 100000);
    expect_memory_errors("vocabulary", try_vocabulary, text);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("allocations");
    tcase_add_loop_test(cases, a_training_step_allocates_nothing, 0, N_STEP_ROWS);
    tcase_add_test(cases, a_model_without_memory_is_refused);
    tcase_add_test(cases, a_dataset_without_memory_is_refused);
    tcase_add_test(cases, a_loader_without_memory_is_refused);
    tcase_add_test(cases, a_loss_without_memory_is_refused);
    tcase_add_test(cases, a_checkpoint_without_memory_is_refused);
    tcase_add_test(cases, weights_without_memory_are_refused);
    tcase_add_test(cases, a_vocabulary_without_memory_is_refused);
    return run_suite("allocations", cases);
}
