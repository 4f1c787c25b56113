/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint/: what is saved comes back, what is damaged is refused, and a name never stands for half a file. */
#include <hdf5.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../../src/checkpoint/seal.h"
#include "../support.h"

enum { PHASES = 3, RANKS = 2 };

/* ---- a run to save ---- */

typedef struct saved_run {
    sd_config *config;
    sd_network *network;
    sd_optimizer *optimizer;
    const sd_snapshot *snapshot; /* NULL: of network and optimizer as they are */
    sd_checkpoint_info info;
    double timing[RANKS * PHASES];
} saved_run;

static void fill(float *values, size_t n, uint32_t stream) {
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(2 * sd_random_uniform(sd_random_at(1, 200 + stream, i, 0).word[0]) - 1);
}

/* Every value another. */
static saved_run new_run(const char *model, int classes, const char *optimizer) {
    char setting[64];
    snprintf(setting, sizeof setting, "optimizer.name=%s", optimizer);
    saved_run run = {.config = config_of(setting, NULL),
                     .info = {.mean = {0.1f, 0.2f, 0.3f},
                              .deviation = {0.4f, 0.5f, 0.6f},
                              .seed = 4294967295u,
                              .ranks = RANKS,
                              .threads = 5,
                              .isa = "avx512",
                              .scale = "inference",
                              .n_phases = PHASES}};
    run.network = new_model((sd_model_spec){.name = model, .image_size = 8, .classes = classes, .patch_size = 8}, 1);
    expect_ok(sd_optimizer_create(&run.config->optimizer, run.network, &run.optimizer));
    const size_t n = sd_network_buffer_elems(run.network);
    fill(sd_network_values(run.network), n, 0);
    for (int s = 0; s < sd_optimizer_n_states(run.optimizer); s++)
        fill(sd_optimizer_state(run.optimizer, s), n, 1 + (uint32_t)s);
    for (int s = 0; s < sd_network_n_segments(run.network); s++)
        sd_network_set_kept_steps(run.network, s, 5000000000 + s);
    double next = 0.25;
#define SET_MEMBER(type, member, initial, role) run.info.progress.member = (type)(next += 3.5);
    SD_PROGRESS_LIST(SET_MEMBER)
#undef SET_MEMBER
    run.info.progress.step = UINT64_MAX - 3;
    run.info.progress.val_loss = NAN;
    for (int i = 0; i < RANKS * PHASES; i++)
        run.timing[i] = 0.5 + i;
    expect_ok(sd_config_text(run.config, &run.info.config));
    return run;
}

static void free_run(saved_run *run) {
    sd_optimizer_destroy(&run->optimizer);
    sd_network_destroy(&run->network);
    free(run->info.config);
    free(run->config);
}

static sd_status save(saved_run *run, const char *path) {
    sd_snapshot now = {0};
    run->info.timing = run->timing;
    if (!run->snapshot) {
        expect_ok(sd_snapshot_create(run->network, run->optimizer, 0, &now));
        sd_snapshot_take(&now, run->network, run->optimizer);
    }
    const sd_status status =
        sd_checkpoint_save(path, &(sd_checkpoint_content){.network = run->network,
                                                          .optimizer = run->optimizer,
                                                          .snapshot = run->snapshot ? run->snapshot : &now,
                                                          .info = &run->info});
    sd_snapshot_free(&now);
    return status;
}

/* Opens and describes; on success the caller closes with close_opened(). */
static sd_status open_file(const char *path, sd_checkpoint_file **file, sd_checkpoint_info *info) {
    *file = NULL;
    return sd_checkpoint_open(path, PHASES, file, info);
}

static void close_opened(sd_checkpoint_file **file, sd_checkpoint_info *info) {
    sd_checkpoint_close(file);
    sd_checkpoint_info_free(info);
}

#define expect_open_refused(path, code, ...)                                                                           \
    do {                                                                                                               \
        sd_checkpoint_file *refused_file_;                                                                             \
        sd_checkpoint_info refused_;                                                                                   \
        expect_refused(open_file(path, &refused_file_, &refused_), code, path, __VA_ARGS__);                           \
        ck_assert_ptr_null(refused_file_);                                                                             \
        close_opened(&refused_file_, &refused_);                                                                       \
    } while (0)

/* Opens what must be good and applies it to a run; the status of that. */
static sd_status load(const char *path, saved_run *into, bool with_optimizer) {
    sd_checkpoint_file *file;
    sd_checkpoint_info info;
    expect_ok(open_file(path, &file, &info));
    sd_status status = sd_checkpoint_apply(file, into->network, with_optimizer ? into->optimizer : NULL);
    close_opened(&file, &info);
    return status;
}

static void expect_whole(const char *path) {
    sd_checkpoint_file *file;
    sd_checkpoint_info info;
    expect_ok(open_file(path, &file, &info));
    close_opened(&file, &info);
}

static void clear_run(saved_run *run) {
    const size_t bytes = sd_network_buffer_elems(run->network) * sizeof(float);
    memset(sd_network_values(run->network), 0, bytes);
    for (int s = 0; s < sd_optimizer_n_states(run->optimizer); s++)
        memset(sd_optimizer_state(run->optimizer, s), 0, bytes);
    for (int s = 0; s < sd_network_n_segments(run->network); s++)
        sd_network_set_kept_steps(run->network, s, -1);
}

/* ---- there and back ---- */

static const struct model_row {
    const char *model, *optimizer;
} model_rows[] = {{"resnet20", "sgd"}, {"resnet20", "adamw"}, {"resnet18", "sgd"}, {"vit_tiny", "adamw"}};
enum { N_MODEL_ROWS = sizeof model_rows / sizeof model_rows[0] };

START_TEST(everything_that_is_saved_comes_back) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "step-00000007.h5", path);
    const struct model_row *row = &model_rows[_i];
    saved_run run = new_run(row->model, 10, row->optimizer), again = new_run(row->model, 10, row->optimizer);
    clear_run(&again);
    expect_ok(save(&run, path));
    sd_checkpoint_file *file;
    sd_checkpoint_info d;
    expect_ok(open_file(path, &file, &d));
    ck_assert_mem_eq(&d.progress, &run.info.progress, sizeof d.progress);
    ck_assert_str_eq(d.config, run.info.config);
    ck_assert_mem_eq(d.mean, run.info.mean, sizeof d.mean);
    ck_assert_mem_eq(d.deviation, run.info.deviation, sizeof d.deviation);
    ck_assert_uint_eq(d.seed, 4294967295u);
    ck_assert_int_eq(d.ranks, RANKS);
    ck_assert_int_eq(d.threads, 5);
    ck_assert_str_eq(d.isa, "avx512");
    ck_assert_str_eq(d.scale, "inference");
    ck_assert_mem_eq(d.timing, run.timing, sizeof run.timing);
    expect_ok(sd_checkpoint_apply(file, again.network, again.optimizer));
    close_opened(&file, &d);
    ck_assert_ptr_null(file);
    for (int i = 0; i < sd_network_n_tensors(run.network); i++) {
        const sd_tensor *a = sd_network_tensor(run.network, i), *b = sd_network_tensor(again.network, i);
        expect_same_bits(a->name, value_of(run.network, a), value_of(again.network, b), a->elems * sizeof(float));
        for (int s = 0; a->kind == SD_TENSOR_PARAMETER && s < sd_optimizer_n_states(run.optimizer); s++)
            expect_same_bits(a->name, sd_optimizer_state(run.optimizer, s) + a->offset_elems,
                             sd_optimizer_state(again.optimizer, s) + b->offset_elems, a->elems * sizeof(float));
    }
    for (int s = 0; s < sd_network_n_segments(run.network); s++)
        ck_assert_int_eq(sd_network_segment(again.network, s)->kept_steps, 5000000000 + s);
    free_run(&run);
    free_run(&again);
    remove_folder(folder);
}
END_TEST

/* ---- error feedback ---- */

START_TEST(every_ranks_error_comes_back) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "step-00000007.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    sd_network *network = run.network;
    const size_t n = sd_network_buffer_elems(network);
    float *expected = new_floats(n), *read = new_floats(n);
    sd_snapshot snapshot;
    expect_ok(sd_snapshot_create(network, run.optimizer, RANKS, &snapshot));
    sd_snapshot_take(&snapshot, network, run.optimizer);
    for (int rank = 0; rank < RANKS; rank++)
        fill(snapshot.error + n * (size_t)rank, n, 20 + (uint32_t)rank);
    run.snapshot = &snapshot;
    expect_ok(save(&run, path));
    sd_checkpoint_file *file;
    sd_checkpoint_info info;
    expect_ok(open_file(path, &file, &info));
    for (int rank = 0; rank < RANKS; rank++) {
        fill(expected, n, 20 + (uint32_t)rank);
        expect_ok(sd_checkpoint_read_error(file, network, rank, read));
        for (int t = 0; t < sd_network_n_tensors(network); t++) {
            const sd_tensor *tensor = sd_network_tensor(network, t);
            if (tensor->kind == SD_TENSOR_PARAMETER)
                expect_same_bits(tensor->name, read + tensor->offset_elems, expected + tensor->offset_elems,
                                 tensor->elems * sizeof *read);
        }
    }
    expect_refused(sd_checkpoint_read_error(file, network, RANKS, read), SD_ERR_DATA, path, "/communication/error/2",
                   NULL);
    close_opened(&file, &info);
    expect_ok(load(path, &run, true));

    sd_snapshot_free(&snapshot);
    free(expected);
    free(read);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

START_TEST(an_evaluation_needs_no_optimizer_and_no_timing) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "adamw"), again = new_run("resnet20", 10, "sgd");
    expect_ok(save(&run, path));
    sd_checkpoint_file *file;
    sd_checkpoint_info d;
    expect_ok(sd_checkpoint_open(path, 0, &file, &d));
    ck_assert_ptr_null(d.timing);
    clear_run(&again);
    expect_ok(sd_checkpoint_apply(file, again.network, NULL));
    const sd_tensor *a = find_tensor(run.network, "fc.weight"), *b = find_tensor(again.network, "fc.weight");
    expect_same_bits("fc.weight", value_of(run.network, a), value_of(again.network, b), a->elems * sizeof(float));
    expect_ok(sd_checkpoint_apply(file, again.network, NULL)); /* a file may be applied again */
    close_opened(&file, &d);
    sd_checkpoint_close(&file);
    free_run(&run);
    free_run(&again);
    remove_folder(folder);
}
END_TEST

START_TEST(two_files_can_be_open_at_once) {
    char folder[SUPPORT_PATH_BYTES], path[2][PATH_BYTES];
    sd_checkpoint_file *file[2];
    sd_checkpoint_info d[2];
    make_folder(folder);
    saved_run run = new_run("resnet20", 10, "sgd");
    for (int i = 0; i < 2; i++) {
        path_in(folder, i ? "b.h5" : "a.h5", path[i]);
        run.info.progress.epoch = 40 + (uint64_t)i;
        expect_ok(save(&run, path[i]));
    }
    for (int i = 0; i < 2; i++)
        expect_ok(open_file(path[i], &file[i], &d[i]));
    for (int i = 0; i < 2; i++)
        ck_assert_uint_eq(d[i].progress.epoch, 40 + i);
    expect_ok(save(&run, path[0])); /* nor is a save in the way of those that are open */
    for (int i = 0; i < 2; i++)
        close_opened(&file[i], &d[i]);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

/* ---- of older versions ---- */

/* What lies in tests/checkpoints, as the version that wrote it saw it. */
static const struct older_row {
    const char *name, *optimizer;
    int rank; /* of whom something is kept back; -1: of nobody */
    double epoch_loss;
    float bias, state, error; /* fc.bias: its first value, that of the last state, and what is kept back of it */
} older_rows[] = {{"format1-adamw", "adamw", -1, 37.102985620498657, -0.14496094f, 0.0011680898f, 0},
                  {"format1-bf16", "sgd", 1, 0, 0.144988671f, 0, -5.91762364e-05f}};
enum { N_OLDER_ROWS = sizeof older_rows / sizeof older_rows[0] };

START_TEST(checkpoints_of_older_versions_are_read) {
    const struct older_row *row = &older_rows[_i];
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES], command[3 * PATH_BYTES];
    sd_checkpoint_file *file;
    sd_checkpoint_info d;
    make_folder(folder);
    path_in(folder, "older.h5", path);
    snprintf(command, sizeof command, "gzip -dc '%s/%s.h5.gz' >'%s'", SD_CHECKPOINTS_DIR, row->name, path);
    ck_assert_int_eq(system(command), 0);
    saved_run run = new_run("resnet20", 10, row->optimizer);
    clear_run(&run);
    expect_ok(sd_checkpoint_open(path, 0, &file, &d));
    ck_assert(d.progress.step == 7 && d.progress.epoch == 1 && d.progress.batch == 2 && d.progress.images == 56);
    ck_assert(d.progress.skipped_steps == 0 && isnan(d.progress.train_eval_accuracy));
    if (row->epoch_loss > 0)
        ck_assert(d.progress.epoch_loss == row->epoch_loss);
    ck_assert(d.seed == 7 && d.ranks == 2 && d.threads == 1);
    ck_assert_str_eq(d.isa, "avx512");
    ck_assert_str_eq(d.scale, "inference");
    expect_words(d.config, (const char *const[]){"name = ", row->name, "rates = 0, 1, 1", NULL});
    expect_ok(sd_checkpoint_apply(file, run.network, run.optimizer));
    const sd_tensor *bias = find_tensor(run.network, "fc.bias");
    const int last = sd_optimizer_n_states(run.optimizer) - 1;
    ck_assert(value_of(run.network, bias)[0] == row->bias);
    if (row->state != 0)
        ck_assert(sd_optimizer_state(run.optimizer, last)[bias->offset_elems] == row->state);
    ck_assert_int_eq(sd_network_segment(run.network, bias->segment)->kept_steps, 7);
    float *error = new_floats(sd_network_buffer_elems(run.network));
    if (row->rank >= 0) {
        expect_ok(sd_checkpoint_read_error(file, run.network, row->rank, error));
        ck_assert(error[bias->offset_elems] == row->error);
    }
    free(error);
    close_opened(&file, &d);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

/* ---- what lies in it ---- */

static const sd_entry *find_entry(const sd_entry *entries, int n, const char *path) {
    for (int i = 0; i < n; i++)
        if (!strcmp(entries[i].path, path))
            return &entries[i];
    ck_abort_msg("there is no entry %s", path);
    return NULL;
}

START_TEST(entries_are_all_there_with_their_values) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    sd_checkpoint_file *file;
    sd_checkpoint_info d;
    sd_entry *entries;
    int n;
    void *values;
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    expect_ok(save(&run, path));
    expect_ok(open_file(path, &file, &d));
    expect_ok(sd_checkpoint_entries(file, &entries, &n));
    for (int i = 1; i < n; i++)
        expect(strcmp(entries[i - 1].path, entries[i].path) < 0, "%s before %s", entries[i - 1].path, entries[i].path);

    /* A convolution's weights in PyTorch's layout, which is not that of memory. */
    const sd_tensor *t = find_tensor(run.network, "layer1.0.conv1.weight");
    const sd_entry *e = find_entry(entries, n, "/model/layer1.0.conv1.weight");
    float *expected = new_floats(t->elems);
    ck_assert(e->kind == SD_ENTRY_F32 && e->dims == 4 && e->elem_bytes == 4);
    ck_assert_uint_eq(e->elems, t->elems);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(e->shape[i], t->shape[i]);
    expect_ok(sd_checkpoint_read(file, e, &values));
    sd_tensor_export(t, value_of(run.network, t), expected);
    expect_same_bits(e->path, values, expected, t->elems * sizeof(float));
    free(expected);
    free(values);

    e = find_entry(entries, n, "/model/bn1.num_batches_tracked");
    ck_assert(e->kind == SD_ENTRY_I64 && e->dims == 0 && e->elems == 1);
    expect_ok(sd_checkpoint_read(file, e, &values));
    ck_assert_int_eq(*(int64_t *)values, 5000000000 + find_tensor(run.network, "bn1.weight")->segment);
    free(values);
    e = find_entry(entries, n, "/progress/step");
    expect_ok(sd_checkpoint_read(file, e, &values));
    ck_assert(e->kind == SD_ENTRY_U64 && *(uint64_t *)values == UINT64_MAX - 3);
    free(values);
    e = find_entry(entries, n, "/progress/timing");
    expect_ok(sd_checkpoint_read(file, e, &values));
    ck_assert(e->kind == SD_ENTRY_F64 && e->elems == RANKS * PHASES);
    ck_assert_mem_eq(values, run.timing, sizeof run.timing);
    free(values);
    e = find_entry(entries, n, "/config");
    expect_ok(sd_checkpoint_read(file, e, &values));
    ck_assert(e->kind == SD_ENTRY_TEXT);
    ck_assert_str_eq(values, run.info.config);
    free(values);
    e = find_entry(entries, n, "seed"); /* stored in 32 bits */
    expect_ok(sd_checkpoint_read(file, e, &values));
    ck_assert(e->kind == SD_ENTRY_U64 && e->elem_bytes == 4 && *(uint64_t *)values == 4294967295u);
    free(values);
    e = find_entry(entries, n, "isa");
    expect_ok(sd_checkpoint_read(file, e, &values));
    ck_assert_str_eq(values, "avx512");
    free(values);

    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(sd_checkpoint_file_bytes(file), (size_t)info.st_size);
    free(entries);
    close_opened(&file, &d);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

/* ---- as others read it ---- */

static void read_dataset(hid_t file, const char *name, hid_t type, void *values, int dims, const hsize_t *shape) {
    hsize_t extent[H5S_MAX_RANK];
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    expect(dataset >= 0, "%s is missing", name);
    hid_t space = H5Dget_space(dataset);
    ck_assert_int_eq(H5Sget_simple_extent_dims(space, extent, NULL), dims);
    for (int i = 0; i < dims; i++)
        ck_assert_uint_eq(extent[i], shape[i]);
    ck_assert_int_ge(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
    H5Sclose(space);
    H5Dclose(dataset);
}

static hid_t stored_type(hid_t file, const char *name) {
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), type = H5Dget_type(dataset);
    H5Dclose(dataset);
    return type;
}

START_TEST(hdf5_reads_pytorchs_names_and_layouts) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet18", 7, "adamw");
    expect_ok(save(&run, path));
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), creation = H5Fget_create_plist(file);
    ck_assert_int_ge(file, 0);
    hsize_t user_block;
    H5Pget_userblock(creation, &user_block);
    ck_assert_uint_eq(user_block, 512);

    static float weight[128][64][3][3];
    const sd_tensor *t = find_tensor(run.network, "layer2.0.conv1.weight");
    const char *groups[] = {"/model", "/optimizer/exp_avg", "/optimizer/exp_avg_sq"};
    const float *buffers[] = {sd_network_values(run.network), sd_optimizer_state(run.optimizer, 0),
                              sd_optimizer_state(run.optimizer, 1)};
    for (int g = 0; g < 3; g++) {
        char name[128];
        snprintf(name, sizeof name, "%s/layer2.0.conv1.weight", groups[g]);
        read_dataset(file, name, H5T_NATIVE_FLOAT, weight, 4, (const hsize_t[]){128, 64, 3, 3});
        for (int o = 0; o < 128; o++)
            for (int i = 0; i < 64; i++)
                for (int h = 0; h < 3; h++)
                    for (int w = 0; w < 3; w++) /* ours: [H, W, I, O] */
                        expect(weight[o][i][h][w] ==
                                   buffers[g][t->offset_elems + (size_t)((h * 3 + w) * 64 + i) * 128 + (size_t)o],
                               "%s at %d %d %d %d", name, o, i, h, w);
        hid_t type = stored_type(file, name);
        ck_assert(H5Tget_class(type) == H5T_FLOAT && H5Tget_size(type) == 4);
        H5Tclose(type);
    }
    float fc[7 * 512];
    read_dataset(file, "/model/fc.weight", H5T_NATIVE_FLOAT, fc, 2, (const hsize_t[]){7, 512});
    expect_same_bits("fc.weight", fc, value_of(run.network, find_tensor(run.network, "fc.weight")), sizeof fc);

    const char *counters[] = {"bn1", "layer2.0.bn2", "layer2.0.downsample.1"};
    for (int i = 0; i < 3; i++) {
        char name[128];
        int64_t steps;
        snprintf(name, sizeof name, "%s.running_var", counters[i]);
        const int segment = find_tensor(run.network, name)->segment;
        snprintf(name, sizeof name, "/model/%s.num_batches_tracked", counters[i]);
        read_dataset(file, name, H5T_NATIVE_INT64, &steps, 0, NULL);
        ck_assert_int_eq(steps, 5000000000 + segment);
        hid_t type = stored_type(file, name);
        ck_assert(H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == 8 && H5Tget_sign(type) == H5T_SGN_2);
        H5Tclose(type);
    }
    H5G_info_t info;
    hid_t group = H5Gopen2(file, "/model", H5P_DEFAULT);
    H5Gget_info(group, &info);
    ck_assert_uint_eq(info.nlinks, 122); /* entries of torchvision's state_dict */
    H5Gclose(group);
    ck_assert_int_le(H5Lexists(file, "/optimizer/exp_avg/bn1.running_mean", H5P_DEFAULT), 0);

    uint64_t step;
    double loss;
    read_dataset(file, "/progress/step", H5T_NATIVE_UINT64, &step, 0, NULL);
    ck_assert(step == UINT64_MAX - 3);
    read_dataset(file, "/progress/val_loss", H5T_NATIVE_DOUBLE, &loss, 0, NULL);
    ck_assert(isnan(loss));
    const char *attributes[] = {"format_version", "seed", "ranks", "threads", "isa", "scale"};
    for (int i = 0; i < 6; i++)
        expect(H5Aexists(file, attributes[i]) > 0, "%s", attributes[i]);
    hid_t text = stored_type(file, "/config");
    ck_assert(H5Tget_class(text) == H5T_STRING);
    H5Tclose(text);
    H5Pclose(creation);
    H5Fclose(file);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

/* ---- damage ---- */

START_TEST(a_file_that_is_cut_or_longer_is_refused) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    size_t n;
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    expect_ok(save(&run, path));
    char *bytes = read_bytes(path, &n);
    const size_t lengths[] = {0, 1, 7, 8, 100, 511, 512, 513, 1000, 4096, n / 2, n - 512, n - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        write_bytes(path, bytes, lengths[i]);
        expect_open_refused(path, SD_ERR_DATA, NULL);
        expect(lengths[i] < 8 || strstr(sd_error_message(), "is cut"), "%zu bytes: %s", lengths[i], sd_error_message());
    }
    write_bytes(path, bytes, n + 1); /* a zero more */
    expect_open_refused(path, SD_ERR_DATA, NULL);
    write_bytes(path, bytes, n);
    expect_whole(path);
    free(bytes);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

START_TEST(a_file_with_any_bit_flipped_is_refused) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    size_t n;
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    expect_ok(save(&run, path));
    char *bytes = read_bytes(path, &n);
    FILE *file = fopen(path, "r+b");
    setbuf(file, NULL);
    for (uint64_t i = 0; i < 240; i++) {
        const sd_random random = sd_random_at(3, 210, i, 0);
        const uint64_t range = i < 60 ? 512 : i < 100 ? 4096 : n; /* the seal, the head of HDF5, and everything */
        const long at = (long)sd_random_index(random.word[0], range);
        fseek(file, at, SEEK_SET);
        fputc(bytes[at] ^ (1 << (random.word[1] & 7)), file);
        expect_open_refused(path, SD_ERR_DATA, NULL);
        fseek(file, at, SEEK_SET);
        fputc(bytes[at], file);
    }
    fclose(file);
    expect_whole(path);
    free(bytes);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

START_TEST(what_is_no_checkpoint_is_refused) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES], text[3000];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    expect_open_refused(path, SD_ERR_NOINPUT, NULL);
    expect_open_refused(folder, SD_ERR_DATA, "regular file", NULL);
    mkfifo(path, 0666); /* whose writer would be waited for */
    expect_open_refused(path, SD_ERR_DATA, "regular file", NULL);
    remove(path);
    memset(text, 'x', sizeof text);
    write_bytes(path, text, sizeof text);
    expect_open_refused(path, SD_ERR_DATA, "not a checkpoint", NULL);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT); /* an HDF5 file, but not ours */
    H5Fclose(file);
    expect_open_refused(path, SD_ERR_DATA, "not a checkpoint", NULL);
    memset(text, 0, sizeof text);
    sd_seal_make((unsigned char *)text, sizeof text); /* sealed, but not HDF5 */
    write_bytes(path, text, sizeof text);
    expect_open_refused(path, SD_ERR_DATA, "HDF5", NULL);
    sd_seal_make((unsigned char *)text, 512); /* nothing but a seal */
    write_bytes(path, text, 512);
    expect_open_refused(path, SD_ERR_DATA, NULL);
    text[8] = 9; /* a seal of a later version */
    write_bytes(path, text, 512);
    expect_open_refused(path, SD_ERR_DATA, "version", NULL);
    remove_folder(folder);
}
END_TEST

/* ---- sealed, and yet not what it should be ---- */

/* Changes the HDF5 part of a good file and seals it anew. */
static void alter(const char *path, void (*change)(hid_t file)) {
    size_t n;
    char bare[PATH_BYTES + 16], *bytes = read_bytes(path, &n);
    snprintf(bare, sizeof bare, "%s.bare", path);
    write_bytes(bare, bytes + SD_SEAL_BYTES, n - SD_SEAL_BYTES);
    free(bytes);
    hid_t file = H5Fopen(bare, H5F_ACC_RDWR, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    change(file);
    H5Fclose(file);
    bytes = read_bytes(bare, &n);
    unsigned char *sealed = calloc(n + SD_SEAL_BYTES, 1);
    memcpy(sealed + SD_SEAL_BYTES, bytes, n);
    sd_seal_make(sealed, n + SD_SEAL_BYTES);
    write_bytes(path, sealed, n + SD_SEAL_BYTES);
    free(sealed);
    free(bytes);
    remove(bare);
}

static void put_attribute(hid_t file, const char *name, hid_t type, hsize_t n, const void *values) {
    H5Adelete(file, name);
    hid_t space = n == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &n, NULL);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(H5Awrite(attribute, type, values), 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

static void put_dataset(hid_t file, const char *name, hid_t type, int dims, const hsize_t *shape, const void *values) {
    if (H5Lexists(file, name, H5P_DEFAULT) > 0)
        H5Ldelete(file, name, H5P_DEFAULT);
    hid_t space = dims ? H5Screate_simple(dims, shape, NULL) : H5Screate(H5S_SCALAR);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    if (values)
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset);
    H5Sclose(space);
}

static void remove_config(hid_t file) { H5Ldelete(file, "/config", H5P_DEFAULT); }
static void remove_progress(hid_t file) { H5Ldelete(file, "/progress/step", H5P_DEFAULT); }
static void remove_timing(hid_t file) { H5Ldelete(file, "/progress/timing", H5P_DEFAULT); }
static void remove_mean(hid_t file) { H5Ldelete(file, "/data/mean", H5P_DEFAULT); }
static void remove_seed(hid_t file) { H5Adelete(file, "seed"); }
static void remove_scale(hid_t file) { H5Adelete(file, "scale"); }
static void raise_version(hid_t file) { put_attribute(file, "format_version", H5T_NATIVE_INT, 1, &(int){2}); }
static void negate_ranks(hid_t file) { put_attribute(file, "ranks", H5T_NATIVE_INT, 1, &(int){-2}); }
static void raise_ranks(hid_t file) { put_attribute(file, "ranks", H5T_NATIVE_INT, 1, &(int){3}); }
static void widen_mean(hid_t file) {
    put_dataset(file, "/data/mean", H5T_NATIVE_FLOAT, 1, (const hsize_t[]){4}, (const float[]){1, 2, 3, 4});
}
static void widen_step(hid_t file) {
    put_dataset(file, "/progress/step", H5T_NATIVE_UINT64, 1, (const hsize_t[]){2}, (const uint64_t[]){1, 2});
}

START_TEST(a_sealed_file_without_something_is_refused) {
    static const struct {
        void (*change)(hid_t file);
        const char *word;
    } rows[] = {{remove_config, "config"},  {remove_progress, "/progress/step"},
                {remove_timing, "timing"},  {remove_mean, "mean"},
                {remove_seed, "seed"},      {remove_scale, "scale"},
                {raise_version, "version"}, {negate_ranks, ""},
                {raise_ranks, "timing"},    {widen_mean, "mean"},
                {widen_step, "step"}};
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_ok(save(&run, path));
        alter(path, rows[i].change);
        expect_open_refused(path, SD_ERR_DATA, rows[i].word, NULL);
    }
    free_run(&run);
    remove_folder(folder);
}
END_TEST

static void remove_all_members_but_step(hid_t file) {
#define REMOVE_MEMBER(type, member, initial, role)                                                                     \
    if (strcmp(#member, "step") != 0)                                                                                  \
        ck_assert_int_ge(H5Ldelete(file, "/progress/" #member, H5P_DEFAULT), 0);
    SD_PROGRESS_LIST(REMOVE_MEMBER)
#undef REMOVE_MEMBER
}

/* A run's file, altered as by another version, and opened. Caller closes and frees. */
static saved_run open_altered(void (*change)(hid_t), sd_checkpoint_file **file, sd_checkpoint_info *d) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    expect_ok(save(&run, path));
    alter(path, change);
    expect_ok(open_file(path, file, d));
    remove_folder(folder);
    return run;
}

/* As an older version's file lacks what came after it. */
START_TEST(a_member_of_progress_that_is_missing_has_its_initial_value) {
    sd_checkpoint_file *file;
    sd_checkpoint_info d;
    saved_run run = open_altered(remove_all_members_but_step, &file, &d);
    sd_progress expected = sd_progress_initial();
    expected.step = run.info.progress.step;
    ck_assert(isnan(expected.val_loss) && isnan(expected.best_accuracy) && expected.seconds == 0);
    ck_assert_mem_eq(&d.progress, &expected, sizeof expected);
    close_opened(&file, &d);
    free_run(&run);
}
END_TEST

static void add_a_phase(hid_t file) {
    static const double seconds[RANKS * (PHASES + 1)] = {1, 2, 3, 4, 5, 6, 7, 8};
    put_dataset(file, "/progress/timing", H5T_NATIVE_DOUBLE, 2, (const hsize_t[]){RANKS, PHASES + 1}, seconds);
}

START_TEST(timing_with_other_phases_counts_as_zeros) {
    sd_checkpoint_file *file;
    sd_checkpoint_info d;
    saved_run run = open_altered(add_a_phase, &file, &d);
    for (int i = 0; i < RANKS * PHASES; i++)
        ck_assert(d.timing[i] == 0);
    close_opened(&file, &d);
    free_run(&run);
}
END_TEST

static void add_what_a_later_version_might(hid_t file) {
    hid_t group = H5Gcreate2(file, "/more", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(group);
    put_dataset(file, "/more/values", H5T_NATIVE_FLOAT, 1, (const hsize_t[]){2}, (const float[]){1, 2});
    put_dataset(file, "/progress/more", H5T_NATIVE_UINT64, 0, NULL, &(uint64_t){7});
    put_attribute(file, "more", H5T_NATIVE_INT, 1, &(int){1});
}

START_TEST(what_a_later_version_of_the_same_format_adds_is_ignored) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    expect_ok(save(&run, path));
    alter(path, add_what_a_later_version_might);
    expect_ok(load(path, &run, true));
    free_run(&run);
    remove_folder(folder);
}
END_TEST

enum { MANY = 4000000 };

static void widen_seed(hid_t file) {
    hsize_t n = 8000; /* as much as an attribute holds */
    uint32_t *values = calloc(n, sizeof *values);
    put_attribute(file, "seed", H5T_NATIVE_UINT32, n, values);
    free(values);
}

static void widen_version(hid_t file) {
    hsize_t n = 8000;
    int *values = calloc(n, sizeof *values);
    for (hsize_t i = 0; i < n; i++)
        values[i] = 1;
    put_attribute(file, "format_version", H5T_NATIVE_INT, n, values);
    free(values);
}

static void widen_isa(hid_t file) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, 16);
    H5Tset_cset(type, H5T_CSET_UTF8);
    char *texts = calloc(3000, 16);
    put_attribute(file, "isa", type, 3000, texts);
    free(texts);
    H5Tclose(type);
}

static void widen_config(hid_t file) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, 8);
    H5Tset_cset(type, H5T_CSET_UTF8);
    char *texts = malloc((size_t)MANY * 8);
    memset(texts, 'x', (size_t)MANY * 8);
    put_dataset(file, "/config", type, 1, (const hsize_t[]){MANY}, texts);
    free(texts);
    H5Tclose(type);
}

static void number_config(hid_t file) { put_dataset(file, "/config", H5T_NATIVE_INT, 0, NULL, &(int){7}); }
static void empty_seed(hid_t file) {
    H5Adelete(file, "seed");
    hid_t space = H5Screate(H5S_NULL),
          attribute = H5Acreate2(file, "seed", H5T_NATIVE_UINT32, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Aclose(attribute);
    H5Sclose(space);
}

/* The digest keeps out accidents, not malice: a file that is sealed may still hold more than there is room for. */
START_TEST(a_sealed_file_with_more_than_there_is_room_for_is_refused) {
    void (*const changes[])(hid_t) = {widen_seed, widen_version, widen_isa, widen_config, number_config, empty_seed};
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    expect_ok(save(&run, path));
    alter(path, changes[_i]);
    expect_open_refused(path, SD_ERR_DATA, NULL);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

/* ---- another model ---- */

START_TEST(a_checkpoint_of_another_model_is_refused_with_the_reason) {
    static const struct {
        const char *from;
        int from_classes;
        const char *from_optimizer, *to;
        int to_classes;
        const char *to_optimizer;
    } rows[] = {{"resnet32", 10, "sgd", "resnet20", 10, "sgd"},  {"resnet20", 10, "sgd", "resnet32", 10, "sgd"},
                {"resnet20", 10, "sgd", "resnet20", 11, "sgd"},  {"vit_tiny", 10, "sgd", "resnet20", 10, "sgd"},
                {"resnet20", 10, "sgd", "vit_tiny", 10, "sgd"},  {"resnet20", 10, "sgd", "resnet20", 10, "adamw"},
                {"resnet20", 10, "adamw", "resnet20", 10, "sgd"}};
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        saved_run from = new_run(rows[i].from, rows[i].from_classes, rows[i].from_optimizer),
                  to = new_run(rows[i].to, rows[i].to_classes, rows[i].to_optimizer);
        expect_ok(save(&from, path));
        expect_refused(load(path, &to, true), SD_ERR_DATA, path, "another", NULL);
        free_run(&from);
        free_run(&to);
    }
    remove_folder(folder);
}
END_TEST

/* Read and checked whole, or refused: nothing is half-used. */
START_TEST(a_refused_checkpoint_leaves_the_network_as_it_was) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run from = new_run("resnet32", 10, "sgd"), to = new_run("resnet20", 10, "sgd");
    expect_ok(save(&from, path));
    clear_run(&to);
    const float *values = sd_network_values(to.network);
    expect_refused(load(path, &to, true), SD_ERR_DATA, "another", NULL);
    for (size_t i = 0; i < sd_network_buffer_elems(to.network); i++)
        expect(values[i] == 0, "value %zu has become %g", i, values[i]);
    free_run(&from);
    free_run(&to);
    remove_folder(folder);
}
END_TEST

static void remove_tensor(hid_t file) { H5Ldelete(file, "/model/layer3.2.bn2.running_var", H5P_DEFAULT); }
static void remove_counter(hid_t file) { H5Ldelete(file, "/model/bn1.num_batches_tracked", H5P_DEFAULT); }
static void remove_state(hid_t file) { H5Ldelete(file, "/optimizer/momentum/fc.bias", H5P_DEFAULT); }
static void remove_kept_steps(hid_t file) { H5Ldelete(file, "/optimizer/kept_steps", H5P_DEFAULT); }
static void add_tensor(hid_t file) { put_dataset(file, "/model/extra", H5T_NATIVE_FLOAT, 0, NULL, &(float){1}); }
static void turn_tensor(hid_t file) { /* as many values, another shape */
    static float values[640];
    put_dataset(file, "/model/fc.weight", H5T_NATIVE_FLOAT, 2, (const hsize_t[]){64, 10}, values);
}
static void write_text_tensor(hid_t file) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, 4);
    static char values[40];
    put_dataset(file, "/model/fc.bias", type, 1, (const hsize_t[]){10}, values);
    H5Tclose(type);
}

static void add_bytes(hid_t file) { put_dataset(file, "/more", H5T_STD_B8LE, 0, NULL, NULL); }
static void add_dimensions(hid_t file) {
    put_dataset(file, "/more", H5T_NATIVE_FLOAT, 5, (const hsize_t[]){1, 1, 1, 1, 1}, NULL);
}
static void add_nothing(hid_t file) { put_dataset(file, "/more", H5T_NATIVE_FLOAT, 1, (const hsize_t[]){0}, NULL); }
static void add_huge(hid_t file) { /* takes no room, as nothing is written */
    put_dataset(file, "/more", H5T_NATIVE_FLOAT, 1, (const hsize_t[]){(hsize_t)1 << 60}, NULL);
}
static void add_long_name(hid_t file) {
    char name[SD_ENTRY_PATH + 2];
    memset(name, 'x', sizeof name);
    name[0] = '/';
    name[sizeof name - 1] = '\0';
    put_dataset(file, name, H5T_NATIVE_FLOAT, 0, NULL, &(float){1});
}

START_TEST(entries_that_no_checkpoint_holds_are_refused) {
    void (*const changes[])(hid_t) = {add_bytes, add_dimensions, add_nothing, add_huge, add_long_name};
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        sd_checkpoint_file *file;
        sd_checkpoint_info d;
        sd_entry *entries;
        int n;
        expect_ok(save(&run, path));
        alter(path, changes[i]);
        expect_ok(open_file(path, &file, &d));
        expect_refused(sd_checkpoint_entries(file, &entries, &n), SD_ERR_DATA, path, "no checkpoint holds", NULL);
        close_opened(&file, &d);
    }
    free_run(&run);
    remove_folder(folder);
}
END_TEST

START_TEST(tensors_that_are_missing_or_do_not_fit_are_refused) {
    void (*const changes[])(hid_t) = {remove_tensor, remove_counter, remove_state,     remove_kept_steps,
                                      add_tensor,    turn_tensor,    write_text_tensor};
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd"), into = new_run("resnet20", 10, "sgd");
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        expect_ok(save(&run, path));
        alter(path, changes[i]);
        expect_refused(load(path, &into, true), SD_ERR_DATA, path, NULL);
    }
    free_run(&run);
    free_run(&into);
    remove_folder(folder);
}
END_TEST

/* ---- sealed, and full of what this program never writes ---- */

enum { WEIGHTS = 640 }; /* of fc.weight, [10, 64] */
static const hsize_t weights_shape[] = {10, 64};
static char elsewhere[PATH_BYTES]; /* a file beside the checkpoint that holds good weights */

/* fc.weight with a creation list of its own; its values, if it has any, are zeros. */
static void put_weights(hid_t file, hid_t created) {
    static const float values[WEIGHTS];
    H5Ldelete(file, "/model/fc.weight", H5P_DEFAULT);
    hid_t space = H5Screate_simple(2, weights_shape, NULL);
    hid_t dataset = H5Dcreate2(file, "/model/fc.weight", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, created, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    ck_assert_int_ge(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
    H5Dclose(dataset);
    H5Sclose(space);
}

static void weights_in_another_file(hid_t file) {
    hid_t created = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(created, elsewhere, 0, sizeof(float) * WEIGHTS);
    put_weights(file, created);
    H5Pclose(created);
}

static void weights_behind_a_link(hid_t file) {
    static const float values[WEIGHTS];
    hid_t other = H5Fcreate(elsewhere, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    put_dataset(other, "/weights", H5T_NATIVE_FLOAT, 2, weights_shape, values);
    H5Fclose(other);
    H5Ldelete(file, "/model/fc.weight", H5P_DEFAULT);
    ck_assert_int_ge(H5Lcreate_external(elsewhere, "/weights", file, "/model/fc.weight", H5P_DEFAULT, H5P_DEFAULT), 0);
}

static void weights_behind_a_filter(hid_t file) {
    hid_t created = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(created, 2, weights_shape);
    H5Pset_fletcher32(created);
    put_weights(file, created);
    H5Pclose(created);
}

static void config_beyond_measure(hid_t file) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, (size_t)1 << 31); /* no storage: HDF5 would make up zeros */
    H5Tset_cset(type, H5T_CSET_UTF8);
    put_dataset(file, "/config", type, 0, NULL, NULL);
    H5Tclose(type);
}

static void a_weight_that_is_no_number(hid_t file) {
    static float values[WEIGHTS];
    values[WEIGHTS - 1] = NAN;
    put_dataset(file, "/model/fc.weight", H5T_NATIVE_FLOAT, 2, weights_shape, values);
}

static void an_infinite_mean(hid_t file) {
    put_dataset(file, "/data/mean", H5T_NATIVE_FLOAT, 1, (const hsize_t[]){3}, (const float[]){0, INFINITY, 0});
}

static void no_deviation(hid_t file) {
    put_dataset(file, "/data/std", H5T_NATIVE_FLOAT, 1, (const hsize_t[]){3}, (const float[]){1, 1, 0});
}

static sd_status open_and_load(const char *path, saved_run *into) {
    sd_checkpoint_file *file;
    sd_checkpoint_info info;
    sd_status status = open_file(path, &file, &info);
    if (status == SD_OK)
        status = sd_checkpoint_apply(file, into->network, into->optimizer);
    close_opened(&file, &info);
    return status;
}

/* The seal is no signature. Bytes of other files are never read, filters (which HDF5 loads from where it is told) never
 * run, memory is not taken for what is not there, and values that no run saves do not get into one. */
START_TEST(a_sealed_file_with_what_no_run_saves_is_refused) {
    static const struct {
        void (*change)(hid_t file);
        const char *word;
    } rows[] = {{weights_in_another_file, "/model/fc.weight"},
                {weights_behind_a_link, "/model/fc.weight"},
                {weights_behind_a_filter, "/model/fc.weight"},
                {config_beyond_measure, "/config"},
                {a_weight_that_is_no_number, "not finite"},
                {an_infinite_mean, "/data/mean"},
                {no_deviation, "/data/std"}};
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    path_in(folder, "elsewhere", elsewhere);
    saved_run run = new_run("resnet20", 10, "sgd"), into = new_run("resnet20", 10, "sgd");
    clear_run(&into);
    const float *values = sd_network_values(into.network);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_ok(save(&run, path));
        alter(path, rows[i].change);
        expect_refused(open_and_load(path, &into), SD_ERR_DATA, path, rows[i].word, NULL);
        for (size_t v = 0; v < sd_network_buffer_elems(into.network); v++)
            expect(values[v] == 0, "row %zu: value %zu has become %g", i, v, values[v]);
        remove(elsewhere);
    }
    free_run(&run);
    free_run(&into);
    remove_folder(folder);
}
END_TEST

/* ---- sealed, with something beside what is read ---- */

static void add_external_link(hid_t file) { /* opening it would wait for the pipe's writer */
    ck_assert_int_eq(mkfifo(elsewhere, 0666), 0);
    ck_assert_int_ge(H5Lcreate_external(elsewhere, "/x", file, "/more", H5P_DEFAULT, H5P_DEFAULT), 0);
}

static void add_external_link_in_a_group(hid_t file) {
    ck_assert_int_eq(mkfifo(elsewhere, 0666), 0);
    ck_assert_int_ge(H5Lcreate_external(elsewhere, "/x", file, "/optimizer/momentum/more", H5P_DEFAULT, H5P_DEFAULT),
                     0);
}

static void add_soft_link(hid_t file) {
    ck_assert_int_ge(H5Lcreate_soft("/model/fc.bias", file, "/more", H5P_DEFAULT, H5P_DEFAULT), 0);
}

static void replace_group_by_soft_link(hid_t file) {
    ck_assert_int_ge(H5Lmove(file, "/optimizer/momentum", file, "/optimizer/moved", H5P_DEFAULT, H5P_DEFAULT), 0);
    ck_assert_int_ge(H5Lcreate_soft("/optimizer/moved", file, "/optimizer/momentum", H5P_DEFAULT, H5P_DEFAULT), 0);
}

/* [10, 64] floats that are stored as `created` says. */
static void add_stored(hid_t file, hid_t created) {
    hid_t space = H5Screate_simple(2, weights_shape, NULL);
    hid_t dataset = H5Dcreate2(file, "/more", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, created, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(created);
}

static void add_bytes_of_another_file(hid_t file) {
    hid_t created = H5Pcreate(H5P_DATASET_CREATE);
    ck_assert_int_eq(mkfifo(elsewhere, 0666), 0);
    H5Pset_external(created, elsewhere, 0, sizeof(float) * WEIGHTS);
    add_stored(file, created);
}

static void add_virtual_dataset(hid_t file) {
    hid_t created = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, weights_shape, NULL);
    ck_assert_int_eq(mkfifo(elsewhere, 0666), 0);
    ck_assert_int_ge(H5Pset_virtual(created, space, elsewhere, "/x", space), 0);
    H5Sclose(space);
    add_stored(file, created);
}

static void add_filter(hid_t file) {
    hid_t created = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(created, 2, weights_shape);
    H5Pset_fletcher32(created);
    add_stored(file, created);
}

static void add_datatype(hid_t file) {
    hid_t type = H5Tcopy(H5T_NATIVE_INT);
    ck_assert_int_ge(H5Tcommit2(file, "/more", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), 0);
    H5Tclose(type);
}

static void add_groups_in_groups(hid_t file) { /* a reader that enters them one by one would need a stack for each */
    hid_t group = H5Gcreate2(file, "/more", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (int i = 0; i < 30; i++) {
        hid_t inner = H5Gcreate2(group, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Gclose(group);
        group = inner;
    }
    H5Gclose(group);
}

/* Whoever opens a file, to train or to look at it: none of what it names outside of itself is touched. */
START_TEST(a_sealed_file_that_leads_elsewhere_is_refused_before_it_is_followed) {
    static const struct {
        void (*change)(hid_t file);
        const char *name, *word;
    } rows[] = {{add_external_link, "/more", "another file"},
                {add_external_link_in_a_group, "/optimizer/momentum/more", "another file"},
                {add_soft_link, "/more", "soft link"},
                {replace_group_by_soft_link, "/optimizer/momentum", "soft link"},
                {add_bytes_of_another_file, "/more", "another file"},
                {add_virtual_dataset, "/more", "virtual"},
                {add_filter, "/more", "filter"},
                {add_datatype, "/more", "neither"},
                {add_groups_in_groups, "/more/g/g", "deeper"}};
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.h5", path);
    path_in(folder, "elsewhere", elsewhere);
    saved_run run = new_run("resnet20", 10, "sgd");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_ok(save(&run, path));
        alter(path, rows[i].change);
        expect_open_refused(path, SD_ERR_DATA, rows[i].name, rows[i].word, NULL);
        remove(elsewhere);
    }
    free_run(&run);
    remove_folder(folder);
}
END_TEST

/* ---- writing ---- */

static int count_files(const char *folder) {
    char command[PATH_BYTES];
    int n = 0;
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *pipe = popen(command, "r");
    ck_assert_int_eq(fscanf(pipe, "%d", &n), 1);
    pclose(pipe);
    return n;
}

START_TEST(a_save_replaces_what_is_there_and_leaves_nothing_else) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES], part[PATH_BYTES + 8];
    make_folder(folder);
    path_in(folder, "step-00000001.h5", path);
    snprintf(part, sizeof part, "%s.part", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    write_bytes(path, "old", 3);
    write_bytes(part, "of a run that was killed", 24);
    expect_ok(save(&run, path));
    expect_whole(path);
    ck_assert_int_eq(count_files(folder), 1);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

START_TEST(a_save_that_fails_is_reported_and_leaves_the_old_file) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    saved_run run = new_run("resnet20", 10, "sgd");
    path_in(folder, "missing/step-00000001.h5", path);
    expect_refused(save(&run, path), SD_ERR_IO, folder, NULL);
    path_in(folder, "file", path);
    write_bytes(path, "x", 1);
    path_in(folder, "file/step-00000001.h5", path);
    expect_refused(save(&run, path), SD_ERR_IO, folder, NULL);
    path_in(folder, "taken", path);
    mkdir(path, 0777);
    expect_refused(save(&run, path), SD_ERR_IO, path, NULL); /* a folder has the name */
    ck_assert_int_eq(count_files(folder), 2);                /* no .part beside "file" and "taken" */
    free_run(&run);
    remove_folder(folder);
}
END_TEST

/* A limit on the size of files does what a full disk does. */
START_TEST(a_full_disk_is_reported_and_leaves_the_old_file) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    size_t n, again;
    make_folder(folder);
    path_in(folder, "step-00000001.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    expect_ok(save(&run, path));
    char *before = read_bytes(path, &n);
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    const rlim_t most[] = {0, 1000, n - 1};
    run.info.progress.epoch++;
    for (int i = 0; i < 3; i++) {
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){most[i], limit.rlim_max});
        sd_status status = save(&run, path);
        setrlimit(RLIMIT_FSIZE, &limit);
        ck_assert_int_eq(status, SD_ERR_IO);
        expect_words(sd_error_message(), (const char *const[]){path, NULL});
        ck_assert_int_eq(count_files(folder), 1);
        char *after = read_bytes(path, &again);
        ck_assert_uint_eq(n, again);
        ck_assert_mem_eq(before, after, n);
        free(after);
    }
    free(before);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

/* A process that saves over and over is killed at any moment: the name stands for nothing or for a whole file. */
START_TEST(a_killed_save_never_leaves_half_a_file_under_the_name) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "step-00000001.h5", path);
    saved_run run = new_run("resnet20", 10, "sgd");
    int found = 0;
    const double begin = sd_clock_seconds();
    expect_ok(save(&run, path));
    const double save_us = 1e6 * (sd_clock_seconds() - begin); /* a disk may be busy with other work */
    ck_assert_int_eq(unlink(path), 0);
    for (uint64_t i = 0; i < 15; i++) {
        pid_t child = fork();
        if (child == 0)
            for (;;) {
                run.info.progress.epoch++;
                if (save(&run, path) != SD_OK)
                    _exit(1);
            }
        usleep((useconds_t)(4 * save_us * sd_random_uniform(sd_random_at(4, 211, i, 0).word[0])));
        kill(child, SIGKILL);
        int status;
        waitpid(child, &status, 0);
        ck_assert(WIFSIGNALED(status));
        if (access(path, F_OK) == 0) {
            expect_whole(path);
            found++;
        }
    }
    ck_assert_int_gt(found, 0);
    expect_ok(save(&run, path)); /* whatever was left behind */
    expect_whole(path);
    free_run(&run);
    remove_folder(folder);
}
END_TEST

/* ---- the folder ---- */

static void touch(const char *folder, const char *name) {
    char path[PATH_BYTES];
    path_in(folder, name, path);
    write_bytes(path, "x", 1);
}

static void expect_list(const char *folder, const uint64_t *expected, int n_expected) {
    uint64_t *steps;
    int n;
    expect_ok(sd_checkpoint_list(folder, &steps, &n));
    ck_assert_int_eq(n, n_expected);
    for (int i = 0; i < n; i++)
        ck_assert_uint_eq(steps[i], expected[i]);
    free(steps);
}

START_TEST(checkpoints_are_listed_newest_first_by_number) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    expect_list(folder, NULL, 0);
    const uint64_t steps[] = {100000001, 99999999, 1000, 999, 10, 2};
    for (int i = 0; i < 6; i++) {
        sd_checkpoint_path(folder, steps[(i * 5 + 2) % 6], path, sizeof path);
        write_bytes(path, "x", 1);
    }
    const char *others[] = {
        "step-7.h5", "step-00000007.h5.part", "step-00000007.h5x", "step-0000007.h5",  "latest",       "x",
        "step-.h5",  "step--0000007.h5",      "step-000000007.h5", "Step-00000007.h5", "step-00000007"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        touch(folder, others[i]);
    expect_list(folder, steps, 6);
    sd_checkpoint_path("runs/a/checkpoints", 1234, path, sizeof path);
    ck_assert_str_eq(path, "runs/a/checkpoints/step-00001234.h5");
    remove_folder(folder);
    expect_list(folder, NULL, 0); /* a folder that is not there */
}
END_TEST

START_TEST(the_newest_and_the_best_are_kept) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    for (uint64_t step = 8; step <= 12; step++) {
        sd_checkpoint_path(folder, step, path, sizeof path);
        write_bytes(path, "x", 1);
    }
    touch(folder, "notes.txt");
    sd_checkpoint_retain(folder, 9, 0, 0); /* more than there are */
    expect_list(folder, (const uint64_t[]){12, 11, 10, 9, 8}, 5);
    sd_checkpoint_retain(folder, 2, 4, 9); /* 8 is a multiple of 4 */
    expect_list(folder, (const uint64_t[]){12, 11, 9, 8}, 4);
    sd_checkpoint_retain(folder, 2, 0, 9);
    expect_list(folder, (const uint64_t[]){12, 11, 9}, 3);
    sd_checkpoint_retain(folder, 2, 0, 12); /* the best is among the newest */
    expect_list(folder, (const uint64_t[]){12, 11}, 2);
    sd_checkpoint_retain(folder, 1, 0, 0);
    expect_list(folder, (const uint64_t[]){12}, 1);
    ck_assert_int_eq(count_files(folder), 2);
    remove_folder(folder);
    sd_checkpoint_retain(folder, 1, 0, 0);
}
END_TEST

/* A run that goes back to step 10 must not find the later ones of another future, nor lose them. */
START_TEST(what_lies_after_a_step_is_set_aside) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    expect_ok(sd_checkpoint_set_aside(folder, 4, UINT64_MAX)); /* nothing there */
    for (uint64_t step = 8; step <= 12; step++) {
        sd_checkpoint_path(folder, step, path, sizeof path);
        write_bytes(path, "x", 1);
    }
    touch(folder, "step-00000011.h5.aside"); /* of an earlier time */
    expect_ok(sd_checkpoint_set_aside(folder, 11, UINT64_MAX));
    expect_list(folder, (const uint64_t[]){10, 9, 8}, 3);
    ck_assert_int_eq(count_files(folder), 5);
    path_in(folder, "step-00000012.h5.aside", path);
    expect_file(path, "x");
    expect_ok(sd_checkpoint_set_aside(folder, 11, UINT64_MAX));
    expect_list(folder, (const uint64_t[]){10, 9, 8}, 3);
    expect_ok(sd_checkpoint_set_aside(folder, 9, 9)); /* one, or those before another */
    expect_ok(sd_checkpoint_set_aside(folder, 0, 8));
    expect_list(folder, (const uint64_t[]){10}, 1);
    remove_folder(folder);
}
END_TEST

START_TEST(links_are_relative_and_move_at_once) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES], target[64];
    make_folder(folder);
    touch(folder, ".latest.part"); /* left behind */
    for (uint64_t step = 5; step < 8; step++) {
        sd_checkpoint_link(folder, "latest", step);
        path_in(folder, "latest", path);
        ssize_t n = readlink(path, target, sizeof target - 1);
        ck_assert_int_gt(n, 0);
        target[n] = '\0';
        char expected[64];
        snprintf(expected, sizeof expected, "step-%08d.h5", (int)step);
        ck_assert_str_eq(target, expected);
        ck_assert_int_eq(count_files(folder), 1);
    }
    sd_checkpoint_link("/nonexistent/folder", "latest", 1); /* a warning */
    remove_folder(folder);
}
END_TEST

int main(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    TCase *cases = tcase_create("checkpoint");
    tcase_add_loop_test(cases, everything_that_is_saved_comes_back, 0, N_MODEL_ROWS);
    tcase_add_test(cases, every_ranks_error_comes_back);
    tcase_add_test(cases, an_evaluation_needs_no_optimizer_and_no_timing);
    tcase_add_loop_test(cases, checkpoints_of_older_versions_are_read, 0, N_OLDER_ROWS);
    tcase_add_test(cases, two_files_can_be_open_at_once);
    tcase_add_test(cases, entries_are_all_there_with_their_values);
    tcase_add_test(cases, entries_that_no_checkpoint_holds_are_refused);
    tcase_add_test(cases, hdf5_reads_pytorchs_names_and_layouts);
    tcase_add_test(cases, a_file_that_is_cut_or_longer_is_refused);
    tcase_add_test(cases, a_file_with_any_bit_flipped_is_refused);
    tcase_add_test(cases, what_is_no_checkpoint_is_refused);
    tcase_add_test(cases, a_sealed_file_without_something_is_refused);
    tcase_add_test(cases, a_member_of_progress_that_is_missing_has_its_initial_value);
    tcase_add_test(cases, timing_with_other_phases_counts_as_zeros);
    tcase_add_test(cases, what_a_later_version_of_the_same_format_adds_is_ignored);
    tcase_add_loop_test(cases, a_sealed_file_with_more_than_there_is_room_for_is_refused, 0, 6);
    tcase_add_test(cases, a_checkpoint_of_another_model_is_refused_with_the_reason);
    tcase_add_test(cases, a_refused_checkpoint_leaves_the_network_as_it_was);
    tcase_add_test(cases, tensors_that_are_missing_or_do_not_fit_are_refused);
    tcase_add_test(cases, a_sealed_file_with_what_no_run_saves_is_refused);
    tcase_add_test(cases, a_sealed_file_that_leads_elsewhere_is_refused_before_it_is_followed);
    tcase_add_test(cases, a_save_replaces_what_is_there_and_leaves_nothing_else);
    tcase_add_test(cases, a_save_that_fails_is_reported_and_leaves_the_old_file);
    tcase_add_test(cases, a_full_disk_is_reported_and_leaves_the_old_file);
    tcase_add_test(cases, a_killed_save_never_leaves_half_a_file_under_the_name);
    tcase_add_test(cases, checkpoints_are_listed_newest_first_by_number);
    tcase_add_test(cases, the_newest_and_the_best_are_kept);
    tcase_add_test(cases, what_lies_after_a_step_is_set_aside);
    tcase_add_test(cases, links_are_relative_and_move_at_once);
    return run_suite("checkpoint", cases);
}
