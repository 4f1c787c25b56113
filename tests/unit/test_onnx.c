/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint/onnx, and nn's descriptions: the operators that are written compute what an evaluation computes, and the
 * weights are those of the network. The file is read by a decoder and an interpreter of the test's own (onnx_reader.h);
 * golden/check_onnx.py asks ONNX's. */
#include "onnx_reader.h"

enum { IMAGES = 2 };

/* Of |logits|_2: float sums against the interpreter's in double, at most 8e-7 apart with any instruction set. */
static const double TOLERANCE = 1e-5;

/* A network with a plan of evaluation, and its file. */
typedef struct exported {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    sd_network *network;
    sd_drop_plan plan;
    sd_graph graph;
} exported;

/* Values of a network part trained: nothing is 0 or 1, variances are positive. */
static void scramble(sd_network *network) {
    sd_network_initialise(network, 11);
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        const bool variance = strstr(t->name, "running_var") != NULL;
        for (size_t e = 0; e < t->elems; e++) {
            const double normal = sd_random_normal(sd_random_at(SUPPORT_SEED, 77, e, (uint64_t)i));
            float *value = &value_of(network, t)[e];
            *value = (float)(variance ? 0.5 + fabs(normal) : (double)*value + (t->dims == 1 ? 0.2 : 0.01) * normal);
        }
    }
}

/* Branch i is multiplied by 1 - i / (2 units). */
static exported new_exported(sd_network *network) {
    exported e = {.network = network, .plan = keep_all(sd_network_n_units(network))};
    for (int i = 0; i < e.plan.units; i++)
        e.plan.scale[i] = 1 - (float)i / (float)(2 * e.plan.units);
    make_folder(e.folder);
    snprintf(e.path, sizeof e.path, "%s/out.onnx", e.folder);
    return e;
}

static onnx_model write_and_read(exported *e, const char *const *metadata) {
    sd_graph_free(&e->graph);
    expect_ok(sd_network_describe(e->network, &e->plan, &e->graph));
    expect_ok(sd_onnx_write(e->path, &e->graph, sd_network_values(e->network), metadata));
    return read_onnx(e->path);
}

static void free_exported(exported *e) {
    sd_graph_free(&e->graph);
    sd_drop_plan_free(&e->plan);
    sd_network_destroy(&e->network);
    remove_folder(e->folder);
}

/* ---- what holds for every file ---- */

/* Every tensor of the network, and nothing else but constants of operators, with its shape and bits. */
static void expect_weights(const onnx_model *m, sd_network *network) {
    int found = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        char name[ONNX_NAME];
        const bool turned = t->dims == 2 && !strstr(t->name, "embeddings."); /* tables of rows stay */
        snprintf(name, sizeof name, "%s%s", t->name, turned ? ".T" : "");
        const onnx_tensor *written = onnx_value(m, name);
        float *array = new_floats(t->elems);
        sd_tensor_export(t, value_of(network, t), array);
        ck_assert_int_eq(written->dims, t->dims);
        for (int d = 0; d < t->dims; d++)
            ck_assert_int_eq(written->shape[d], t->shape[turned ? 1 - d : d]);
        for (size_t e = 0; e < t->elems; e++) {
            const size_t rows = (size_t)t->shape[0], columns = t->elems / rows;
            const size_t place = turned ? e % columns * rows + e / columns : e;
            expect(written->value[place] == (double)array[e], "%s: value %zu differs", name, e);
        }
        found++;
        free(array);
    }
    for (int i = 0; i < m->initializers; i++)
        found -= m->value[i].elems > 10; /* of this size and more only weights */
    expect(found >= 0, "there are large constants that are no weights");
}

static void expect_names(const onnx_model *m) {
    for (int i = 0; i < m->nodes; i++) {
        ck_assert_str_eq(m->node[i].name, m->node[i].output);
        for (int j = 0; j < i; j++)
            expect(strcmp(m->node[i].output, m->node[j].output) != 0, "%s is written twice", m->node[i].output);
        for (int j = 0; j < m->initializers; j++)
            expect(strcmp(m->node[i].output, m->value[j].name) != 0, "%s is an initializer", m->node[i].output);
    }
    for (int i = 0; i < m->initializers; i++) {
        bool used = false;
        for (int j = 0; j < m->nodes; j++)
            for (int k = 0; k < m->node[j].inputs; k++)
                used = used || !strcmp(m->node[j].input[k], m->value[i].name);
        expect(used, "initializer %s is not used", m->value[i].name);
    }
}

/* Too small for the logits to tell. */
static void expect_epsilon(const onnx_model *m, const char *type, float epsilon) {
    for (int i = 0; i < m->nodes; i++)
        expect(strcmp(m->node[i].type, type) != 0 || attribute_of(&m->node[i], "epsilon")->number == epsilon,
               "%s: its epsilon is not %g", m->node[i].name, (double)epsilon);
}

static void expect_logits(onnx_model *m, exported *e) {
    const size_t elems = IMAGES * (size_t)(e->graph.in.h * e->graph.in.w * e->graph.in.c),
                 n = (size_t)sd_network_classes(e->network) * IMAGES;
    float *images = normal_floats(elems, 3, 0, 1);
    const sd_input input = {.pixels = images};
    const sd_pass pass = {.images = IMAGES, .plan = &e->plan};
    const float *ours = sd_network_forward(e->network, &pass, &input);
    const onnx_tensor *theirs = run_onnx_images(m, IMAGES, images);
    ck_assert_uint_eq(theirs->elems, n);
    expect_close("logits", ours, theirs->value, n, TOLERANCE);
    free(images);
}

static onnx_model expect_good(exported *e, int image_size) {
    onnx_model m = write_and_read(e, NULL);
    ck_assert_int_eq(m.ir_version, 8);
    ck_assert_int_eq(m.opset, 17);
    ck_assert_str_eq(m.producer, "sdtrain-mpi");
    ck_assert_int_eq(m.inputs, 1);
    ck_assert_str_eq(m.input[0].name, "input");
    ck_assert_str_eq(m.output.name, "logits");
    ck_assert_int_eq(m.input[0].dims, 4);
    const int64_t shape[] = {-1, 3, image_size, image_size};
    for (int d = 0; d < 4; d++)
        ck_assert_int_eq(m.input[0].shape[d], shape[d]);
    ck_assert_int_eq(m.output.dims, 2);
    ck_assert_int_eq(m.output.shape[0], -1);
    ck_assert_int_eq(m.output.shape[1], sd_network_classes(e->network));
    expect_weights(&m, e->network);
    expect_names(&m);
    expect_epsilon(&m, "BatchNormalization", 1e-5f); /* PyTorch's */
    expect_epsilon(&m, "LayerNormalization", 1e-6f); /* timm's ViTs */
    expect_logits(&m, e);
    return m;
}

static exported export_of(sd_model_spec spec) {
    sd_network *network = new_model(spec, IMAGES);
    scramble(network);
    return new_exported(network);
}

/* ---- tests ---- */

/* 9 blocks of two convolutions; two shortcuts change the shape, of 13 pixels and then of 7. */
START_TEST(a_cifar_resnet) {
    exported e = export_of((sd_model_spec){.name = "resnet20", .image_size = 13, .classes = 7});
    const onnx_model m = expect_good(&e, 13);
    const struct {
        const char *type;
        int n;
    } counts[] = {{"Conv", 19}, {"BatchNormalization", 19}, {"Relu", 19},   {"Slice", 2},  {"Pad", 2},
                  {"Mul", 8},   {"GlobalAveragePool", 1},   {"Flatten", 1}, {"MatMul", 1}, {"Add", 10}};
    int all = 0;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        expect(count_nodes(&m, counts[i].type) == counts[i].n, "%s: %d", counts[i].type,
               count_nodes(&m, counts[i].type));
        all += counts[i].n;
    }
    ck_assert_int_eq(m.nodes, all);
    ck_assert_str_eq(onnx_value(&m, "layer1.0.conv1.weight")->name, "layer1.0.conv1.weight");
    free_exported(&e);
}
END_TEST

/* The ImageNet stem with its pool; 4 shortcuts are projections. */
START_TEST(an_imagenet_resnet) {
    exported e =
        export_of((sd_model_spec){.name = "resnet50", .image_size = 37, .classes = 5, .stem = SD_STEM_IMAGENET});
    const onnx_model m = expect_good(&e, 37);
    ck_assert_int_eq(count_nodes(&m, "Conv"), 1 + 16 * 3 + 4);
    ck_assert_int_eq(count_nodes(&m, "BatchNormalization"), 1 + 16 * 3 + 4);
    ck_assert_int_eq(count_nodes(&m, "MaxPool"), 1);
    ck_assert_int_eq(count_nodes(&m, "Slice"), 0);
    ck_assert_int_eq(count_nodes(&m, "Mul"), 15);
    free_exported(&e);
}
END_TEST

START_TEST(a_vision_transformer) {
    exported e = export_of((sd_model_spec){.name = "vit_tiny", .image_size = 24, .classes = 6, .patch_size = 8});
    const onnx_model m = expect_good(&e, 24);
    ck_assert_int_eq(count_nodes(&m, "LayerNormalization"), 25);
    ck_assert_int_eq(count_nodes(&m, "Softmax"), 12);
    ck_assert_int_eq(count_nodes(&m, "Erf"), 12);
    ck_assert_int_eq(count_nodes(&m, "MatMul"), 12 * (4 + 2) + 1);
    ck_assert_int_eq(onnx_value(&m, "pos_embed")->shape[1], 10);
    free_exported(&e);
}
END_TEST

/* Of any length: with padding and without. A layer that the plan drops is not there, nor are its norms. */
START_TEST(a_text_transformer) {
    enum { SEQUENCE = 6 };
    static const int32_t tokens[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 0, 0}, lengths[] = {6, 4}, second[] = {2, 4};
    static const char *const names[] = {"input_ids", "attention_mask", "token_type_ids"};
    const sd_input input = {.tokens = tokens, .lengths = lengths, .second = second};
    exported e = export_of((sd_model_spec){
        .name = "bert_L2_H32_A2", .sequence = SEQUENCE, .vocabulary = 10, .classes = 3, .unit = SD_UNIT_BLOCK});
    for (int i = 0; i < 2; i++)
        e.plan.scale[i] = 1;
    for (int layers = 2; layers >= 0; layers--) {
        if (layers < 2)
            e.plan.kept[layers] = 0;
        onnx_model m = write_and_read(&e, NULL);
        const sd_pass pass = {.images = IMAGES, .plan = &e.plan};
        const float *ours = sd_network_forward(e.network, &pass, &input);
        ck_assert_int_eq(m.inputs, 3);
        for (int i = 0; i < 3; i++) {
            ck_assert_str_eq(m.input[i].name, names[i]);
            ck_assert(m.input[i].integer && m.input[i].dims == 2 && m.input[i].shape[0] == -1 &&
                      m.input[i].shape[1] == -1);
        }
        ck_assert_int_eq(count_nodes(&m, "LayerNormalization"), 1 + 2 * layers);
        ck_assert_int_eq(count_nodes(&m, "Softmax"), layers);
        expect_names(&m);
        expect_epsilon(&m, "LayerNormalization", 1e-12f);
        if (layers == 2)
            expect_weights(&m, e.network);
        expect_close("logits", ours, run_onnx_texts(&m, 2, SEQUENCE, SEQUENCE, &input)->value, 6, TOLERANCE);
        const sd_input second_alone = {.tokens = tokens + SEQUENCE, .lengths = lengths + 1, .second = second + 1};
        expect_close("without padding", ours + 3, run_onnx_texts(&m, 1, SEQUENCE, 4, &second_alone)->value, 3,
                     TOLERANCE);
    }
    free_exported(&e);
}
END_TEST

/* A transition, a residual that is no unit, one that the plan drops, and one whose shortcut of stride 1 adds
 * channels. */
static sd_network *own_network(void) {
    const sd_network_spec spec = {.max_images = IMAGES, .classes = 3};
    const sd_conv_spec stem = {8, 3, 1}, same[] = {{4, 1, 1}, {8, 3, 1}}, wide = {12, 3, 2}, more = {16, 3, 1};
    sd_network *network;
    int first, second;
    expect_ok(sd_network_create(best_kernels(), &spec, &network));
    expect_ok(sd_build_conv_stem(network, (sd_shape){9, 9, 3}, &stem, false));
    expect_ok(sd_build_unit(network, "first", 1, &first));
    expect_ok(sd_build_unit(network, "second", 2, &second));
    const sd_residual_spec residuals[] = {{.name = "a", .unit = -1, .relu = true},
                                          {.name = "b", .unit = first, .relu = true},
                                          {.name = "c", .unit = second, .relu = false}};
    for (size_t i = 0; i < 3; i++) {
        expect_ok(sd_build_residual_begin(network, &residuals[i]));
        expect_ok(sd_build_conv_branch(network, 2, same, false));
        expect_ok(sd_build_residual_end(network));
    }
    expect_ok(sd_build_transition_begin(network, "d", true));
    expect_ok(sd_build_conv_branch(network, 1, &wide, false));
    expect_ok(sd_build_transition_end(network));
    const sd_residual_spec widened = {
        .name = "e", .unit = -1, .shortcut = SD_SHORTCUT_SUBSAMPLE, .stride = 1, .relu = true};
    expect_ok(sd_build_residual_begin(network, &widened));
    expect_ok(sd_build_conv_branch(network, 1, &more, false));
    expect_ok(sd_build_residual_end(network));
    expect_ok(sd_build_pool_head(network, 0.5));
    expect_ok(sd_network_finish(network));
    scramble(network);
    return network;
}

START_TEST(a_network_of_ones_own) {
    exported e = new_exported(own_network());
    const onnx_model whole = expect_good(&e, 9);
    ck_assert_int_eq(count_nodes(&whole, "Conv"), 1 + 3 * 2 + 1 + 1);
    e.plan.kept[0] = 0;
    sd_graph_free(&e.graph);
    expect_ok(sd_network_describe(e.network, &e.plan, &e.graph));
    expect_ok(sd_onnx_write(e.path, &e.graph, sd_network_values(e.network), NULL));
    onnx_model m = read_onnx(e.path);
    ck_assert_int_eq(count_nodes(&m, "Conv"), 1 + 2 * 2 + 1 + 1);
    expect_logits(&m, &e);
    free_exported(&e);
}
END_TEST

/* Lengths of one, two and three bytes; the metadata come back, and the same network gives the same bytes. */
START_TEST(metadata_and_bytes) {
    enum { LONGEST = 20000 };
    static char text[4][LONGEST];
    static const size_t length[] = {0, 127, 128, 16384};
    exported e = new_exported(own_network());
    for (size_t i = 0; i < 4; i++)
        memset(text[i], 'a' + (int)i, length[i]);
    const char *const metadata[] = {"none", text[0], "one", text[1], "two", text[2], "three", text[3], NULL};
    size_t n, n_again;
    const onnx_model m = write_and_read(&e, metadata);
    ck_assert_int_eq(m.n_metadata, 4);
    for (int i = 0; i < 4; i++) {
        ck_assert_str_eq(m.metadata[i][0], metadata[2 * i]);
        ck_assert_str_eq(m.metadata[i][1], metadata[2 * i + 1]);
    }
    char *bytes = read_bytes(e.path, &n);
    write_and_read(&e, metadata);
    char *again = read_bytes(e.path, &n_again);
    ck_assert_uint_eq(n, n_again);
    expect_same_bits("the file", bytes, again, n);
    free(bytes);
    free(again);
    free_exported(&e);
}
END_TEST

/* Position embeddings of 1,048,577 tokens have 3.2 GB: refused before a value is read, and nothing is written. */
START_TEST(two_gigabytes_are_refused) {
    const sd_model_spec spec = {.name = "vit_base", .image_size = 4096, .classes = 2, .patch_size = 4};
    sd_network *outline;
    expect_ok(sd_model_outline(&spec, best_kernels(), 1, &outline));
    exported e = new_exported(outline);
    expect_ok(sd_network_describe(outline, &e.plan, &e.graph));
    expect_refused(sd_onnx_write(e.path, &e.graph, NULL, NULL), SD_ERR_DATA, e.path, "2 GB", "bytes", NULL);
    ck_assert_int_ne(access(e.path, F_OK), 0);
    free_exported(&e);
}
END_TEST

START_TEST(a_place_that_cannot_be_written) {
    exported e = new_exported(own_network());
    expect_ok(sd_network_describe(e.network, &e.plan, &e.graph));
    snprintf(e.path, sizeof e.path, "%s/no/x", e.folder);
    expect_refused(sd_onnx_write(e.path, &e.graph, sd_network_values(e.network), NULL), SD_ERR_IO, e.path, NULL);
    free_exported(&e);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("onnx");
    tcase_add_test(cases, a_cifar_resnet);
    tcase_add_test(cases, an_imagenet_resnet);
    tcase_add_test(cases, a_vision_transformer);
    tcase_add_test(cases, a_text_transformer);
    tcase_add_test(cases, a_network_of_ones_own);
    tcase_add_test(cases, metadata_and_bytes);
    tcase_add_test(cases, two_gigabytes_are_refused);
    tcase_add_test(cases, a_place_that_cannot_be_written);
    return run_suite("onnx", cases);
}
