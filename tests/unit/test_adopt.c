/* SPDX-License-Identifier: Apache-2.0 */
/* models/adopt and nn/state: a network takes over the state of another to the bit, by name; classifiers of other
 * classes and grids of other sides as timm does it; whatever else differs is named, and then nothing is changed. */
#include <stdint.h>

#include "../golden/resize_goldens.h"
#include "../support.h"
#include "picture.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { MORE = 4 }; /* weights that a test may add */

/* ---- networks and their states ---- */

static sd_model_spec resnet(int classes) {
    return (sd_model_spec){.name = "resnet20", .image_size = 8, .classes = classes};
}

static sd_model_spec vit(int image_size, int classes) {
    return (sd_model_spec){.name = "vit_tiny", .image_size = image_size, .classes = classes, .patch_size = 4};
}

static sd_network *new_network(sd_model_spec spec, uint32_t seed) {
    sd_network *network = new_model(spec, 2);
    sd_network_initialise(network, seed);
    for (int i = 0; i < sd_network_n_tensors(network); i++) { /* norms and biases as training leaves them */
        const sd_tensor *t = sd_network_tensor(network, i);
        for (size_t e = 0; e < t->elems && t->dims == 1; e++)
            value_of(network, t)[e] += (float)(0.1 * sd_random_uniform(sd_random_at(seed, 96, e, (uint64_t)i).word[0]));
    }
    return network;
}

static sd_model_spec bert(void) {
    return (sd_model_spec){.name = "bert_L2_H32", .sequence = 8, .vocabulary = 11, .classes = 4};
}

/* A network's state with room for more weights, and names that can be changed. Free by free_state(). */
static sd_weights state_of(sd_network *network) {
    sd_weights weights;
    expect_ok(sd_network_state(network, &weights));
    sd_weight *more = calloc((size_t)weights.n + MORE, sizeof *more);
    memcpy(more, weights.weight, (size_t)weights.n * sizeof *more);
    for (int i = 0; i < weights.n; i++)
        more[i].name = strdup(more[i].name);
    weights.weight = more;
    return weights;
}

static void free_state(sd_weights *weights) {
    for (int i = 0; i < weights->n; i++)
        free((char *)(uintptr_t)weights->weight[i].name);
    free(weights->weight);
    sd_weights_free(weights);
}

static sd_weight *find(const sd_weights *weights, const char *name) {
    for (int i = 0; i < weights->n; i++)
        if (!strcmp(weights->weight[i].name, name))
            return &weights->weight[i];
    ck_abort_msg("there is no %s", name);
    return NULL;
}

static void rename_weight(sd_weights *weights, const char *name, const char *other) {
    sd_weight *weight = find(weights, name);
    free((char *)(uintptr_t)weight->name);
    weight->name = strdup(other);
    sd_weights_sort(weights);
}

static void remove_weight(sd_weights *weights, const char *name) {
    sd_weight *weight = find(weights, name);
    free((char *)(uintptr_t)weight->name);
    memmove(weight, weight + 1, (size_t)(weights->weight + --weights->n - weight) * sizeof *weight);
}

static void put_in_front(sd_weights *weights, const char *prefix) {
    for (int i = 0; i < weights->n; i++) {
        char name[2 * SD_NAME_BYTES];
        snprintf(name, sizeof name, "%s%s", prefix, weights->weight[i].name);
        free((char *)(uintptr_t)weights->weight[i].name);
        weights->weight[i].name = strdup(name);
    }
    sd_weights_sort(weights);
}

static void expect_same_tensor(sd_network *a, sd_network *b, const char *name) {
    const sd_tensor *t = find_tensor(a, name), *u = find_tensor(b, name);
    ck_assert_uint_eq(t->elems, u->elems);
    expect_same_bits(name, value_of(a, t), value_of(b, u), t->elems * sizeof(float));
}

static bool is_equal(sd_network *a, sd_network *b) {
    return !memcmp(sd_network_values(a), sd_network_values(b), sd_network_buffer_elems(a) * sizeof(float));
}

/* SD_ERR_DATA with these words, and not a bit of the network changed. */
#define expect_not_adopted(network, weights, ...)                                                                      \
    do {                                                                                                               \
        sd_adoption report_;                                                                                           \
        const size_t bytes_ = sd_network_buffer_elems(network) * sizeof(float);                                        \
        float *before_ = malloc(bytes_);                                                                               \
        memcpy(before_, sd_network_values(network), bytes_);                                                           \
        expect_refused(sd_model_adopt(network, weights, "f.st", &report_), SD_ERR_DATA, "f.st: ", __VA_ARGS__);        \
        expect_same_bits("values", sd_network_values(network), before_, bytes_);                                       \
        free(before_);                                                                                                 \
    } while (0)

/* ---- by name ---- */

static void expect_adopted(sd_model_spec spec, const char *prefix, bool counters) {
    sd_network *from = new_network(spec, 1), *to = new_network(spec, 2);
    sd_weights weights = state_of(from);
    sd_adoption report;
    for (int i = weights.n - 1; i >= 0 && !counters; i--)
        if (weights.weight[i].integers)
            remove_weight(&weights, weights.weight[i].name);
    put_in_front(&weights, prefix);
    expect(!is_equal(from, to), "two seeds give the same network");
    expect_ok(sd_model_adopt(to, &weights, "f.st", &report));
    expect(is_equal(from, to), "%s, names with '%s': values differ", spec.name, prefix);
    ck_assert_int_eq(report.tensors, sd_network_n_tensors(to));
    ck_assert_int_eq(report.adopted, report.tensors);
    ck_assert_uint_eq(report.file_classes, 0);
    ck_assert_int_eq(report.grid, 0);
    free_state(&weights);
    sd_network_destroy(&from);
    sd_network_destroy(&to);
}

START_TEST(a_state_is_adopted_to_the_bit) {
    expect_adopted(resnet(10), "", true);
    expect_adopted((sd_model_spec){.name = "resnet50", .image_size = 16, .classes = 3}, "", true);
    expect_adopted(vit(16, 10), "", true);
    expect_adopted(bert(), "", true);
    expect_adopted(bert(), "module.", true);
}
END_TEST

START_TEST(prefixes_of_wrappers_are_passed_over) {
    static const char *const prefix[] = {"module.", "model.", "module.model.", "model.module."};
    for (size_t i = 0; i < COUNT(prefix); i++)
        expect_adopted(resnet(10), prefix[i], true);
}
END_TEST

START_TEST(counters_of_batch_norms_may_be_missing) { expect_adopted(resnet(10), "", false); }
END_TEST

START_TEST(a_prefix_that_some_names_lack_is_part_of_the_others) {
    sd_network *network = new_network(resnet(10), 1);
    sd_weights weights = state_of(network);
    put_in_front(&weights, "module.");
    rename_weight(&weights, "module.fc.bias", "fc.bias");
    expect_not_adopted(network, &weights, "missing: ", "conv1.weight", "unexpected: module.", NULL);
    free_state(&weights);
    weights = state_of(network);
    put_in_front(&weights, "module.module.");
    expect_not_adopted(network, &weights, "missing: ", NULL);
    free_state(&weights);
    weights = state_of(network);
    put_in_front(&weights, "encoder.");
    expect_not_adopted(network, &weights, "missing: ", NULL);
    free_state(&weights);
    expect_not_adopted(network, (&(sd_weights){0}), "missing: conv1.weight, bn1.weight, bn1.bias and ", NULL);
    sd_network_destroy(&network);
}
END_TEST

START_TEST(what_does_not_fit_is_named_and_nothing_is_changed) {
    sd_network *from = new_network(resnet(10), 1), *to = new_network(resnet(10), 2);
    sd_weights weights = state_of(from);
    static const char *const gone[] = {"bn1.bias", "fc.bias", "layer1.0.bn1.running_mean", "layer2.1.conv1.weight"};
    for (size_t i = 0; i < COUNT(gone); i++)
        remove_weight(&weights, gone[i]);
    expect_not_adopted(to, &weights, "missing: bn1.bias, layer1.0.bn1.running_mean, layer2.1.conv1.weight and 1 more",
                       NULL);
    expect(!strstr(sd_error_message(), "unexpected") && !strstr(sd_error_message(), "unfit"), "%s", sd_error_message());
    free_state(&weights);

    weights = state_of(from);
    weights.weight[weights.n] = *find(&weights, "bn1.bias");
    weights.weight[weights.n++].name = strdup("fc.num_batches_tracked"); /* of no batch norm */
    weights.weight[weights.n] = *find(&weights, "bn1.bias");
    weights.weight[weights.n++].name = strdup("odd\n\x1b[2J");
    sd_weights_sort(&weights);
    expect_not_adopted(to, &weights, "unexpected: fc.num_batches_tracked, odd??[2J", NULL);
    free_state(&weights);

    weights = state_of(from);
    sd_weight *weight = find(&weights, "conv1.weight");
    weight->shape[0] = 3, weight->shape[1] = 16;
    weight = find(&weights, "bn1.bias");
    weight->dims = 2, weight->shape[1] = 1;
    expect_not_adopted(to, &weights,
                       "unfit: conv1.weight is F32 [3, 16, 3, 3], where F32 [16, 3, 3, 3] is expected, "
                       "bn1.bias is F32 [16, 1], where F32 [16] is expected",
                       NULL);
    free_state(&weights);

    weights = state_of(from);
    weight = find(&weights, "bn1.bias");
    const int64_t integers[16] = {0};
    *weight = (sd_weight){
        .name = weight->name, .dtype = SD_DTYPE_I64, .dims = 1, .shape = {16}, .elems = 16, .integers = integers};
    expect_not_adopted(to, &weights, "bn1.bias is I64 [16], where F32 [16] is expected", NULL);
    free_state(&weights);
    sd_network_destroy(&from);
    sd_network_destroy(&to);
}
END_TEST

START_TEST(values_that_are_not_finite_are_refused) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    sd_network *from = new_network(resnet(10), 1), *to = new_network(resnet(10), 2);
    for (size_t i = 0; i < COUNT(bad); i++) {
        value_of(from, find_tensor(from, "layer3.2.bn2.running_var"))[17] = bad[i];
        sd_weights weights = state_of(from);
        expect_not_adopted(to, &weights, "layer3.2.bn2.running_var: value 17 is ", NULL);
        free_state(&weights);
    }
    sd_network_destroy(&from);
    sd_network_destroy(&to);
}
END_TEST

/* ---- other classes ---- */

/* A network of b adopts all of one of a but the classifier, fc or head. */
static void expect_fresh_classifier(sd_model_spec a, sd_model_spec b, bool backbone, const char *words) {
    static const char *const classifier[] = {"fc.weight", "fc.bias", "head.weight", "head.bias"};
    sd_network *from = new_network(a, 1), *to = new_network(b, 2), *fresh = new_network(b, 2);
    sd_weights weights = state_of(from);
    sd_adoption report;
    char text[SD_ADOPTION_BYTES];
    for (size_t i = 0; i < COUNT(classifier) && backbone; i++)
        if (sd_weights_find(&weights, classifier[i]))
            remove_weight(&weights, classifier[i]);
    expect_ok(sd_model_adopt(to, &weights, "f.st", &report));
    for (int i = 0; i < sd_network_n_tensors(to); i++) {
        const char *tensor = sd_network_tensor(to, i)->name;
        bool is_fresh = false;
        for (size_t c = 0; c < COUNT(classifier); c++)
            is_fresh |= !strcmp(tensor, classifier[c]);
        expect_same_tensor(to, is_fresh ? fresh : from, tensor);
    }
    ck_assert_int_eq(report.adopted, report.tensors - 2);
    expect_words(sd_adoption_text(&report, text), (const char *const[]){words, NULL});
    free_state(&weights);
    sd_network_destroy(&from);
    sd_network_destroy(&to);
    sd_network_destroy(&fresh);
}

START_TEST(a_classifier_of_other_classes_keeps_its_values) {
    expect_fresh_classifier(resnet(100), resnet(10), false, "the file has 100 classes, the network 10");
    expect_fresh_classifier(resnet(2), resnet(10), false, "the file has 2 classes, the network 10");
    expect_fresh_classifier(vit(8, 21), vit(8, 10), false, "the file has 21 classes, the network 10");
}
END_TEST

START_TEST(a_backbone_is_adopted_and_the_classifier_keeps_its_values) {
    const sd_model_spec resnet50 = {.name = "resnet50", .image_size = 16, .classes = 3};
    expect_fresh_classifier(resnet(10), resnet(10), true, "the classifier keeps its initial values: the file has none");
    expect_fresh_classifier(resnet50, resnet50, true, "the file has none");
    expect_fresh_classifier(vit(8, 10), vit(8, 10), true, "the file has none");
}
END_TEST

START_TEST(half_a_classifier_is_no_backbone) {
    sd_network *from = new_network(resnet(10), 1), *to = new_network(resnet(10), 2);
    sd_weights weights = state_of(from);
    remove_weight(&weights, "fc.bias");
    expect_not_adopted(to, &weights, "missing: fc.bias", NULL);
    rename_weight(&weights, "fc.weight", "classifier.weight");
    expect_not_adopted(to, &weights, "unexpected: classifier.weight", NULL);
    free_state(&weights);
    sd_network_destroy(&from);
    sd_network_destroy(&to);
}
END_TEST

START_TEST(a_classifier_must_agree_with_itself_and_have_the_features) {
    sd_network *from = new_network(resnet(12), 1), *to = new_network(resnet(10), 2);
    sd_weights weights = state_of(from);
    find(&weights, "fc.bias")->shape[0] = find(&weights, "fc.bias")->elems = 11;
    expect_not_adopted(to, &weights, "unfit: fc.bias is F32 [11], where F32 [10] is expected", NULL);
    find(&weights, "fc.bias")->shape[0] = find(&weights, "fc.bias")->elems = 10;
    expect_not_adopted(to, &weights, "classifier", "12", "10", NULL);
    sd_weight *weight = find(&weights, "fc.weight");
    weight->shape[0] = 24, weight->shape[1] = 32;
    expect_not_adopted(to, &weights, "unfit: fc.weight is F32 [24, 32], where F32 [10, 64] is expected", NULL);
    weight->shape[0] = weight->elems = 0, weight->shape[1] = 64;
    expect_not_adopted(to, &weights, "unfit: fc.weight is F32 [0, 64]", NULL);
    free_state(&weights);
    sd_network_destroy(&from);
    sd_network_destroy(&to);
}
END_TEST

/* ---- Hugging Face's BertModel ---- */

/* The names of the model without a head. */
static void remove_base(sd_weights *weights) {
    for (int i = 0; i < weights->n; i++) {
        const char *name = weights->weight[i].name;
        const size_t n = !strncmp(name, "bert.", 5) ? 5 : 0;
        weights->weight[i].name = strdup(name + n);
        free((char *)(uintptr_t)name);
    }
    sd_weights_sort(weights);
}

static void add_position_ids(sd_weights *weights, const char *name, const int64_t *ids, size_t n) {
    weights->weight[weights->n++] = (sd_weight){
        .name = strdup(name), .dtype = SD_DTYPE_I64, .dims = 2, .shape = {1, n}, .elems = n, .integers = ids};
    sd_weights_sort(weights);
}

/* "bert." may be missing, position_ids may be there, and a classifier that is missing keeps its values. */
START_TEST(a_bert_without_a_head_is_adopted) {
    static const int64_t ids[512] = {0, 1};
    char text[SD_ADOPTION_BYTES];
    for (int head = 0; head < 2; head++) {
        sd_network *from = new_network(bert(), 1), *to = new_network(bert(), 2), *fresh = new_network(bert(), 2);
        sd_weights weights = state_of(from);
        sd_adoption report;
        if (!head) {
            remove_weight(&weights, "classifier.weight");
            remove_weight(&weights, "classifier.bias");
        }
        remove_base(&weights);
        add_position_ids(&weights, "embeddings.position_ids", ids, 512);
        put_in_front(&weights, head ? "module." : "");
        expect_ok(sd_model_adopt(to, &weights, "f.st", &report));
        for (int i = 0; i < sd_network_n_tensors(to); i++) {
            const char *name = sd_network_tensor(to, i)->name;
            expect_same_tensor(strstr(name, "classifier") && !head ? fresh : from, to, name);
        }
        ck_assert_int_eq(report.adopted, report.tensors - (head ? 0 : 2));
        ck_assert_int_eq(report.no_classifier, !head);
        expect((strstr(sd_adoption_text(&report, text), "the file has none") != NULL) == !head, "%s", text);
        free_state(&weights);
        sd_network_destroy(&from);
        sd_network_destroy(&to);
        sd_network_destroy(&fresh);
    }
}
END_TEST

/* ---- Hugging Face's BertForMaskedLM ---- */

static sd_model_spec masked_bert(void) {
    sd_model_spec spec = bert();
    spec.objective = SD_OBJECTIVE_MLM;
    spec.classes = spec.vocabulary;
    return spec;
}

/* What is not of the encoder keeps its values, and what the file has of its own head is passed over: from a masked
 * language model to a classifier, and back. */
START_TEST(an_encoder_is_adopted_under_another_head) {
    const sd_model_spec specs[][2] = {{masked_bert(), bert()}, {bert(), masked_bert()}};
    static const int heads[][2] = {{5, 4}, {4, 5}};
    for (int i = 0; i < 2; i++) {
        sd_network *from = new_network(specs[i][0], 1), *to = new_network(specs[i][1], 2),
                   *fresh = new_network(specs[i][1], 2);
        sd_weights weights;
        sd_adoption report;
        char text[SD_ADOPTION_BYTES];
        expect_ok(sd_network_state(from, &weights));
        expect_ok(sd_model_adopt(to, &weights, "file", &report));
        ck_assert_int_eq(report.passed_over, heads[i][0]);
        ck_assert_int_eq(report.tensors - report.adopted, heads[i][1]);
        ck_assert(report.no_head && report.no_classifier == (i == 0));
        ck_assert_ptr_nonnull(strstr(sd_adoption_text(&report, text), "the head keeps its initial values"));
        for (int t = 0; t < report.tensors; t++) {
            const sd_tensor *mine = sd_network_tensor(to, t);
            const bool is_encoder = t < report.adopted;
            const sd_network *expected = is_encoder ? from : fresh;
            ck_assert_int_eq(!strncmp(mine->name, "bert.", 5) && !strstr(mine->name, "pooler"), is_encoder);
            const sd_tensor *theirs = sd_network_tensor(expected, t);
            ck_assert_mem_eq(value_of(to, mine), value_of((sd_network *)expected, theirs), mine->elems * sizeof(float));
        }
        sd_weights_free(&weights);
        sd_network_destroy(&from);
        sd_network_destroy(&to);
        sd_network_destroy(&fresh);
    }
}
END_TEST

START_TEST(half_a_classifier_is_refused) {
    sd_network *from = new_network(bert(), 1), *to = new_network(bert(), 2);
    sd_weights weights = state_of(from);
    remove_weight(&weights, "classifier.bias");
    expect_not_adopted(to, &weights, "missing: classifier.bias", NULL);
    rename_weight(&weights, "classifier.weight", "head.weight");
    expect_not_adopted(to, &weights, "unexpected: head.weight", NULL);
    free_state(&weights);
    sd_network_destroy(&from);
    sd_network_destroy(&to);
}
END_TEST

/* A file of more positions gives the first; one of less leaves the rest as it is. */
START_TEST(positions_of_texts_that_both_have_are_adopted) {
    static const char name[] = "bert.embeddings.position_embeddings.weight";
    static const size_t rows[] = {100, 512, 1024};
    static const char *const words[] = {"it has 100 position embeddings, the others of 512 keep", "41 of 41",
                                        "of its 1024 position embeddings the first 512"};
    for (size_t i = 0; i < COUNT(rows); i++) {
        sd_network *from = new_network(bert(), 1), *to = new_network(bert(), 2), *fresh = new_network(bert(), 2);
        sd_weights weights = state_of(from);
        sd_weight *weight = find(&weights, name);
        const sd_tensor *t = find_tensor(to, name);
        float *table = normal_floats(rows[i] * 32, 7, 0, 1);
        sd_adoption report;
        char text[SD_ADOPTION_BYTES];
        weight->shape[0] = rows[i];
        weight->elems = rows[i] * 32;
        weight->values = table;
        expect_ok(sd_model_adopt(to, &weights, "f.st", &report));
        const size_t both = (rows[i] < 512 ? rows[i] : 512) * 32;
        expect_same_bits("rows of the file", value_of(to, t), table, both * sizeof *table);
        expect_same_bits("other rows", value_of(to, t) + both, value_of(fresh, t) + both,
                         (t->elems - both) * sizeof *table);
        expect_words(sd_adoption_text(&report, text), (const char *const[]){words[i], NULL});
        free(table);
        free_state(&weights);
        sd_network_destroy(&from);
        sd_network_destroy(&to);
        sd_network_destroy(&fresh);
    }
}
END_TEST

/* ---- position embeddings ---- */

/* A stem of a grid of this side, with as many channels as the goldens, and a head. */
static sd_network *new_grid(int side) {
    const sd_network_spec spec = {.max_images = 1, .classes = 3};
    sd_network *network;
    expect_ok(sd_network_create(best_kernels(), &spec, &network));
    expect_ok(sd_build_patch_stem(network, (sd_shape){side, side, 1}, 2, 1));
    expect_ok(sd_build_token_head(network, 0, 1e-6f));
    expect_ok(sd_network_finish(network));
    return network;
}

/* Tolerance: see test_resize.c. */
START_TEST(position_embeddings_are_resized_as_timm_does) {
    int resized = 0;
    for (size_t i = 0; i < COUNT(embedding_goldens); i++) {
        const struct embedding_golden *golden = &embedding_goldens[i];
        const int from_side = golden->from, to_side = golden->to;
        sd_network *from = new_grid(from_side), *to = new_grid(to_side);
        float *x = value_of(from, find_tensor(from, "pos_embed"));
        const float *y = value_of(to, find_tensor(to, "pos_embed"));
        const sd_image bytes = new_picture(from_side * from_side, 2, false);
        sd_adoption report;
        x[0] = 0.25f, x[1] = -3;
        for (int n = 0; n < 2 * from_side * from_side; n++)
            x[2 + n] = (float)bytes.rgb[n] / 128 - 1;
        sd_weights weights = state_of(from);
        expect_ok(sd_model_adopt(to, &weights, "f.st", &report));
        ck_assert_int_eq(report.adopted, sd_network_n_tensors(to));
        ck_assert_int_eq(report.grid, from_side == to_side ? 0 : to_side);
        ck_assert_int_eq(report.file_grid, from_side == to_side ? 0 : from_side);
        ck_assert_float_eq(y[0], 0.25f);
        ck_assert_float_eq(y[1], -3);
        for (int n = 0; n < 2 * to_side * to_side; n++)
            expect_number("a value", y[2 + n], golden->values[n], 4e-6);
        resized += report.grid > 0;
        free_state(&weights);
        free(bytes.rgb);
        sd_network_destroy(&from);
        sd_network_destroy(&to);
    }
    ck_assert_int_ge(resized, 3);
}
END_TEST

START_TEST(what_is_no_square_grid_is_refused) {
    sd_network *from = new_network(vit(16, 10), 1), *to = new_network(vit(8, 10), 2);
    sd_weights weights = state_of(from);
    sd_weight *weight = find(&weights, "pos_embed");
    static const size_t rows[] = {16, 7, 1, 0};
    for (size_t i = 0; i < COUNT(rows); i++) {
        weight->shape[1] = rows[i];
        weight->elems = rows[i] * 192;
        expect_not_adopted(to, &weights, "unfit: pos_embed is F32 [1, ", "where F32 [1, 5, 192] is expected", NULL);
    }
    weight->shape[1] = 17;
    weight->shape[2] = 96;
    expect_not_adopted(to, &weights, "unfit: pos_embed is F32 [1, 17, 96]", NULL);
    free_state(&weights);
    sd_network_destroy(&from);
    sd_network_destroy(&to);
}
END_TEST

START_TEST(another_patch_size_is_refused_with_both_shapes) {
    sd_model_spec spec = vit(16, 10);
    spec.patch_size = 8;
    sd_network *from = new_network(vit(8, 10), 1), *to = new_network(spec, 2);
    sd_weights weights = state_of(from);
    expect_not_adopted(to, &weights, "patch_embed.proj.weight is F32 [192, 3, 4, 4], where F32 [192, 3, 8, 8]", NULL);
    free_state(&weights);
    sd_network_destroy(&from);
    sd_network_destroy(&to);
}
END_TEST

/* ---- state ---- */

START_TEST(a_state_has_the_counters_of_pytorch) {
    sd_network *network = new_network(resnet(10), 1);
    for (int i = 0; i < sd_network_n_segments(network); i++)
        sd_network_set_kept_steps(network, i, 100 + i);
    sd_weights weights;
    int counters = 0;
    expect_ok(sd_network_state(network, &weights));
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        const sd_weight *weight = sd_weights_find(&weights, t->name);
        char name[SD_COUNTER_BYTES];
        expect(weight != NULL && weight->elems == t->elems && weight->dims == t->dims, "%s", t->name);
        float *memory = new_floats(t->elems);
        sd_tensor_import(t, weight->values, memory);
        expect_same_bits(t->name, memory, value_of(network, t), t->elems * sizeof *memory);
        free(memory);
        if (!t->counted)
            continue;
        weight = sd_weights_find(&weights, sd_tensor_counter(t, name));
        expect(weight != NULL && weight->dims == 0 && weight->dtype == SD_DTYPE_I64, "%s", name);
        ck_assert_int_eq(*weight->integers, 100 + t->segment);
        counters++;
    }
    ck_assert_int_eq(counters, 19); /* convolutions of ResNet-20 */
    ck_assert_int_eq(weights.n, sd_network_n_tensors(network) + counters);
    ck_assert_ptr_nonnull(sd_weights_find(&weights, "layer3.2.bn2.num_batches_tracked"));
    sd_weights_free(&weights);
    sd_network_destroy(&network);
}
END_TEST

/* Each unit by a factor of its own, in the plan or in the values: the same logits, up to the rounding of a product in
 * another place of each branch. */
static void expect_scaled_branches(sd_model_spec spec) {
    sd_network *network = new_network(spec, 3);
    const int units = sd_network_n_units(network), size = spec.image_size;
    const size_t logits = 2 * (size_t)spec.classes;
    float *pixels = normal_floats(2 * 3 * (size_t)(size * size), 1, 0, 1), *expected = new_floats(logits);
    sd_drop_plan plan = keep_all(units);
    sd_pass pass = {.images = 2, .plan = &plan};
    const sd_input input = {.pixels = pixels};
    for (int i = 0; i < units; i++)
        plan.scale[i] = 1 - 0.9f * (float)(i + 1) / (float)units;
    memcpy(expected, sd_network_forward(network, &pass, &input), logits * sizeof *expected);
    sd_network_scale_branches(network, plan.scale);
    for (int i = 0; i < units; i++)
        plan.scale[i] = 1;
    expect_close_floats(spec.name, sd_network_forward(network, &pass, &input), expected, logits, 3e-6);
    free(pixels);
    free(expected);
    sd_drop_plan_free(&plan);
    sd_network_destroy(&network);
}

START_TEST(branches_can_be_scaled_in_their_last_map) {
    sd_model_spec blocks = vit(16, 10);
    blocks.unit = SD_UNIT_BLOCK;
    expect_scaled_branches(resnet(10));
    expect_scaled_branches((sd_model_spec){.name = "resnet50", .image_size = 32, .classes = 5});
    expect_scaled_branches(vit(16, 10));
    expect_scaled_branches(blocks);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("adopt");
    tcase_add_test(cases, a_state_is_adopted_to_the_bit);
    tcase_add_test(cases, prefixes_of_wrappers_are_passed_over);
    tcase_add_test(cases, counters_of_batch_norms_may_be_missing);
    tcase_add_test(cases, a_prefix_that_some_names_lack_is_part_of_the_others);
    tcase_add_test(cases, what_does_not_fit_is_named_and_nothing_is_changed);
    tcase_add_test(cases, values_that_are_not_finite_are_refused);
    tcase_add_test(cases, a_classifier_of_other_classes_keeps_its_values);
    tcase_add_test(cases, a_backbone_is_adopted_and_the_classifier_keeps_its_values);
    tcase_add_test(cases, half_a_classifier_is_no_backbone);
    tcase_add_test(cases, a_classifier_must_agree_with_itself_and_have_the_features);
    tcase_add_test(cases, a_bert_without_a_head_is_adopted);
    tcase_add_test(cases, an_encoder_is_adopted_under_another_head);
    tcase_add_test(cases, half_a_classifier_is_refused);
    tcase_add_test(cases, positions_of_texts_that_both_have_are_adopted);
    tcase_add_test(cases, position_embeddings_are_resized_as_timm_does);
    tcase_add_test(cases, what_is_no_square_grid_is_refused);
    tcase_add_test(cases, another_patch_size_is_refused_with_both_shapes);
    tcase_add_test(cases, a_state_has_the_counters_of_pytorch);
    tcase_add_test(cases, branches_can_be_scaled_in_their_last_map);
    return run_suite("adopt", cases);
}
