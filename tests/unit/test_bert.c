/* SPDX-License-Identifier: Apache-2.0 */
/* models/bert.c, and what nn/ has for it: texts, post-norm, parts of a linear layer, hidden dropout. Golden files
 * compare the values with Hugging Face's (golden/test_golden.c). */
#include "../../src/nn/network.h"
#include "../support.h"

enum { TEXTS = 8, SEQUENCE = 6, VOCABULARY = 13, CLASSES = 3 };

static const char NAME[] = "bert_L2_H32_A2";

/* Lengths from the shortest to the longest; texts 0 and 3 are pairs. */
static const int32_t lengths[TEXTS] = {5, 2, 6, 4, 3, 6, 2, 5}, seconds[TEXTS] = {2, 2, 6, 1, 3, 6, 2, 5};

typedef struct reader {
    sd_network *network;
    sd_drop_plan plan;
    sd_drop_part part;
    sd_pass pass;
    int32_t tokens[TEXTS * SEQUENCE], labels[TEXTS], ranks[TEXTS];
    float dlogits[TEXTS * CLASSES], losses[TEXTS];
    const float *logits; /* of the last pass */
} reader;

static sd_model_spec spec_of(const char *name, double dropout) {
    return (sd_model_spec){.name = name,
                           .sequence = SEQUENCE,
                           .vocabulary = VOCABULARY,
                           .classes = CLASSES,
                           .dropout = dropout,
                           .hidden_dropout = dropout,
                           .attention_dropout = dropout,
                           .gathers = true};
}

/* Values as after some training: norms and biases are not at their initial ones, and layers do more than nothing. */
static void scramble(sd_network *network) {
    sd_network_initialise(network, 5);
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        for (size_t e = 0; e < t->elems; e++) {
            float *value = &value_of(network, t)[e];
            *value = t->dims == 2 ? 8 * *value : *value + (float)(0.1 * sd_random_normal(sd_random_at(6, 96, e, i)));
        }
    }
}

static reader new_reader(double dropout) {
    reader r = {.network = new_model(spec_of(NAME, dropout), TEXTS)};
    scramble(r.network);
    r.plan = keep_all(sd_network_n_units(r.network));
    expect_ok(sd_drop_part_create(r.plan.units, TEXTS, &r.part));
    for (int i = 0; i < TEXTS * SEQUENCE; i++)
        r.tokens[i] = (i * 5 + i / 7) % VOCABULARY;
    for (int n = 0; n < TEXTS; n++)
        r.labels[n] = (n * 2 + 1) % CLASSES;
    r.pass = (sd_pass){.images = TEXTS, .training = true, .batch_share = 1, .seed = 3, .step = 11};
    return r;
}

static void free_reader(reader *r) {
    sd_network_destroy(&r->network);
    sd_drop_plan_free(&r->plan);
    sd_drop_part_free(&r->part);
}

static sd_input texts_of(const reader *r) {
    const size_t first = (size_t)r->pass.first_image;
    return (sd_input){.tokens = r->tokens + first * SEQUENCE, .lengths = lengths + first, .second = seconds + first};
}

static double mean_loss(void *context) {
    reader *r = context;
    const sd_input input = texts_of(r);
    double sum = 0;
    r->pass.plan = &r->plan;
    r->logits = sd_network_forward(r->network, &r->pass, &input);
    best_kernels()->cross_entropy_forward((size_t)r->pass.images, CLASSES, r->logits,
                                          &(sd_targets){.labels = r->labels + r->pass.first_image}, 0.1f, r->losses,
                                          r->ranks);
    for (int n = 0; n < r->pass.images; n++)
        sum += r->losses[n];
    return sum / TEXTS;
}

static void train_pass(reader *r) {
    const sd_input input = texts_of(r);
    mean_loss(r);
    best_kernels()->cross_entropy_backward((size_t)r->pass.images, CLASSES, r->logits,
                                           &(sd_targets){.labels = r->labels + r->pass.first_image}, 0.1f, 1.0f / TEXTS,
                                           r->dlogits);
    sd_network_backward(r->network, &r->pass, &input, r->dlogits, ignore_segment, NULL);
}

/* Bit n of masks[unit] says whether text n keeps it. */
static void set_masks(reader *r, const unsigned *masks) {
    for (int unit = 0; unit < r->plan.units; unit++) {
        r->part.images[unit] = 0;
        for (int n = 0; n < TEXTS; n++)
            if (masks[unit] >> n & 1)
                r->part.places[unit * TEXTS + r->part.images[unit]++] = (uint32_t)n;
        r->plan.images[unit] = (uint64_t)r->part.images[unit];
        r->plan.kept[unit] = r->part.images[unit] > 0;
    }
    r->pass.part = &r->part;
}

/* ---- tables ---- */

static const struct {
    const char *name;
    int dims, shape[2];
} state_dict[] = {
    {"bert.embeddings.word_embeddings.weight", 2, {13, 32}},
    {"bert.embeddings.position_embeddings.weight", 2, {512, 32}},
    {"bert.embeddings.token_type_embeddings.weight", 2, {2, 32}},
    {"bert.embeddings.LayerNorm.weight", 1, {32}},
    {"bert.embeddings.LayerNorm.bias", 1, {32}},
    {"bert.encoder.layer.0.attention.self.query.weight", 2, {32, 32}},
    {"bert.encoder.layer.0.attention.self.query.bias", 1, {32}},
    {"bert.encoder.layer.0.attention.self.key.weight", 2, {32, 32}},
    {"bert.encoder.layer.0.attention.self.key.bias", 1, {32}},
    {"bert.encoder.layer.0.attention.self.value.weight", 2, {32, 32}},
    {"bert.encoder.layer.0.attention.self.value.bias", 1, {32}},
    {"bert.encoder.layer.0.attention.output.dense.weight", 2, {32, 32}},
    {"bert.encoder.layer.0.attention.output.dense.bias", 1, {32}},
    {"bert.encoder.layer.0.attention.output.LayerNorm.weight", 1, {32}},
    {"bert.encoder.layer.0.attention.output.LayerNorm.bias", 1, {32}},
    {"bert.encoder.layer.0.intermediate.dense.weight", 2, {128, 32}},
    {"bert.encoder.layer.0.intermediate.dense.bias", 1, {128}},
    {"bert.encoder.layer.0.output.dense.weight", 2, {32, 128}},
    {"bert.encoder.layer.0.output.dense.bias", 1, {32}},
    {"bert.encoder.layer.0.output.LayerNorm.weight", 1, {32}},
    {"bert.encoder.layer.0.output.LayerNorm.bias", 1, {32}},
    {"bert.pooler.dense.weight", 2, {32, 32}},
    {"bert.pooler.dense.bias", 1, {32}},
    {"classifier.weight", 2, {3, 32}},
    {"classifier.bias", 1, {3}},
};

/* As BertForSequenceClassification(BertConfig(vocab_size=13, hidden_size=32, num_hidden_layers=1, ...)).state_dict()
 * lists them. Norms and biases have one dimension, and are no matrices for optimizer.decay; embeddings are. */
START_TEST(tensors_come_in_the_order_of_state_dict) {
    const int n = sizeof state_dict / sizeof state_dict[0];
    sd_network *network = new_model(spec_of("bert_L1_H32", 0), 1);
    ck_assert_int_eq(sd_network_n_tensors(network), n);
    for (int i = 0; i < n; i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        ck_assert_str_eq(t->name, state_dict[i].name);
        ck_assert_int_eq(t->dims, state_dict[i].dims);
        for (int d = 0; d < t->dims; d++)
            ck_assert_int_eq(t->shape[d], state_dict[i].shape[d]);
        ck_assert_int_eq(t->matrix, t->dims == 2);
    }
    sd_network_destroy(&network);
}
END_TEST

/* The counts of transformers. */
START_TEST(parameters_are_as_many_as_hugging_faces) {
    static const struct {
        const char *name;
        int vocabulary;
        size_t parameters;
    } models[] = {{"bert_L12_H256", 30522, 17489154},
                  {"bert_L12_H128", 8000, 3486082},
                  {"bert_L6_H384_A12", 30522, 22713986},
                  {"bert_L2_H128", 30522, 4386178}};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        const sd_model_spec spec = {
            .name = models[i].name, .sequence = 64, .vocabulary = models[i].vocabulary, .classes = 2};
        sd_network *network;
        expect_ok(sd_model_outline(&spec, best_kernels(), 1, &network));
        ck_assert_uint_eq(sd_network_parameters(network), models[i].parameters);
        sd_network_destroy(&network);
    }
}
END_TEST

/* 164 M multiply-adds of a text, of which attention's products are 12 (2 T T H); embeddings are looked up. */
START_TEST(flops_equal_a_hand_count) {
    const double t = 64, h = 128, layer = t * h * (4 * h + 8 * h) + 2 * t * t * h;
    const sd_model_spec spec = {.name = "bert_L12_H128", .sequence = 64, .vocabulary = 8000, .classes = 2};
    sd_network *network;
    expect_ok(sd_model_outline(&spec, best_kernels(), 1, &network));
    ck_assert_double_eq(sd_network_flops(network), 2 * (12 * layer + h * h + h * 2));
    sd_network_destroy(&network);
}
END_TEST

/* One unit for a layer, or one each for its two parts with their norms; a unit has all tensors of its layer. */
START_TEST(units_are_the_layers_or_their_parts) {
    static const struct {
        sd_unit_choice unit;
        int units;
        const char *names[4];
    } cases[] = {
        {SD_UNIT_BLOCK, 2, {"bert.encoder.layer.0", "bert.encoder.layer.1"}},
        {SD_UNIT_BRANCH,
         4,
         {"bert.encoder.layer.0.attention", "bert.encoder.layer.0.output", "bert.encoder.layer.1.attention",
          "bert.encoder.layer.1.output"}},
    };
    for (size_t i = 0; i < 2; i++) {
        sd_model_spec spec = spec_of(NAME, 0);
        size_t of_units = 0;
        spec.unit = cases[i].unit;
        sd_network *network = new_model(spec, 1);
        ck_assert_int_eq(sd_network_n_units(network), cases[i].units);
        ck_assert_int_eq(sd_network_blocks(network), 2);
        for (int u = 0; u < cases[i].units; u++) {
            ck_assert_str_eq(sd_network_unit(network, u)->name, cases[i].names[u]);
            of_units += sd_network_unit(network, u)->parameters;
        }
        for (int t = 0; t < sd_network_n_tensors(network); t++) {
            const sd_tensor *tensor = sd_network_tensor(network, t);
            const bool in_layer = strstr(tensor->name, "encoder.layer.") != NULL;
            ck_assert_int_eq(sd_network_segment(network, tensor->segment)->unit >= 0, in_layer);
            of_units -= in_layer ? tensor->elems : 0;
        }
        ck_assert_uint_eq(of_units, 0);
        sd_network_destroy(&network);
    }
}
END_TEST

START_TEST(layers_are_counted_from_the_embeddings_to_the_head) {
    sd_network *network = new_model(spec_of(NAME, 0), 1);
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        const char *layer = strstr(t->name, "encoder.layer.");
        const int expected = layer ? atoi(layer + strlen("encoder.layer.")) + 1 : strstr(t->name, "embeddings") ? 0 : 3;
        expect(t->layer == expected, "%s: layer %d, not %d", t->name, t->layer, expected);
    }
    sd_network_destroy(&network);
}
END_TEST

START_TEST(queries_keys_and_values_are_one_matrix_in_memory) {
    sd_network *network = new_model(spec_of(NAME, 0), 1);
    static const char *const ends[] = {"weight", "bias"};
    for (size_t i = 0; i < 2; i++) {
        static const char *const parts[] = {"query", "key", "value"};
        size_t next = 0;
        for (size_t part = 0; part < 3; part++) {
            char name[SD_NAME_BYTES];
            snprintf(name, sizeof name, "bert.encoder.layer.1.attention.self.%s.%s", parts[part], ends[i]);
            const sd_tensor *t = find_tensor(network, name);
            ck_assert(part == 0 || t->offset_elems == next);
            next = t->offset_elems + t->elems;
        }
    }
    sd_network_destroy(&network);
}
END_TEST

/* The embedding of words is a segment of its own, the last that backward finishes. */
START_TEST(words_are_the_last_segment) {
    sd_network *network = new_model(spec_of(NAME, 0), 1);
    const int last = sd_network_n_segments(network) - 1;
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        ck_assert_int_eq(sd_network_tensor(network, i)->segment == last, i == 0);
    for (int i = 0; i <= last; i++)
        ck_assert_uint_eq(sd_network_segment(network, i)->row_elems, i == last ? 32 : 0);
    sd_network_destroy(&network);
}
END_TEST

START_TEST(values_begin_as_hugging_faces) {
    sd_network *network = new_model(spec_of("bert_L1_H128", 0), 1);
    sd_network_initialise(network, 1);
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        const float *value = value_of(network, t);
        const double square = dot(value, value, t->elems) / (double)t->elems;
        if (t->dims == 2) /* N(0, 0.02^2); the mean square of n of them has the deviation sqrt(2 / n) */
            ck_assert_double_eq_tol(square / 4e-4, 1, 5 * sqrt(2.0 / (double)t->elems));
        for (size_t e = 0; t->dims == 1 && e < t->elems; e++)
            ck_assert_float_eq(value[e], strstr(t->name, "LayerNorm.weight") ? 1 : 0);
    }
    sd_network_destroy(&network);
}
END_TEST

/* ---- gradients ---- */

/* See test_network.c. Gradients of keys' biases are 0 but for rounding, as those move all scores of a query alike. */
static void check_gradients(reader *r) {
    memset(sd_network_gradients(r->network), 0, sd_network_buffer_elems(r->network) * sizeof(float));
    train_pass(r);
    for (int i = 0; i < sd_network_n_tensors(r->network); i++) {
        const sd_tensor *t = sd_network_tensor(r->network, i);
        float *value = value_of(r->network, t), *gradient = new_floats(t->elems);
        memcpy(gradient, gradient_of(r->network, t), t->elems * sizeof *gradient);
        const double norm = sqrt(dot(gradient, gradient, t->elems)), size = sqrt(dot(value, value, t->elems)) + 0.05;
        expect_gradient_along(t->name, mean_loss, r, value, gradient, t->elems,
                              fmin(1e-3 / (norm + 1e-30), 1e-2 * size), 0.01, 1e-6, 6);
        free(gradient);
    }
}

START_TEST(gradients_equal_finite_differences) {
    static const double dropouts[] = {0, 0.3};
    for (size_t i = 0; i < 2; i++) {
        reader r = new_reader(dropouts[i]);
        check_gradients(&r);
        free_reader(&r);
    }
}
END_TEST

/* Several texts in all kinds of places, one, all, none. */
START_TEST(gradients_of_parts_that_some_texts_keep_equal_finite_differences) {
    static const unsigned masks[] = {0xa6, 0x10, 0xff, 0x5b};
    reader r = new_reader(0.3);
    set_masks(&r, masks);
    check_gradients(&r);
    free_reader(&r);
}
END_TEST

/* ---- masked tokens ---- */

static sd_network *new_masked(int texts) {
    sd_model_spec spec = spec_of("bert_L2_H32_A2", 0);
    spec.objective = SD_OBJECTIVE_MLM;
    spec.classes = VOCABULARY;
    return new_model(spec, texts);
}

/* That of embeddings is written by the head and by the stem, and dense. */
START_TEST(a_masked_language_model_has_one_table_of_words) {
    static const char *const names[] = {
        "cls.predictions.bias", "cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias"};
    enum { NAMES = sizeof names / sizeof names[0] };
    sd_network *network = new_masked(1);
    const int n = sd_network_n_tensors(network), segments = sd_network_n_segments(network);
    for (int i = 0; i < NAMES; i++)
        ck_assert_str_eq(sd_network_tensor(network, n - NAMES + i)->name, names[i]);
    ck_assert_str_eq(sd_network_tensor(network, n - NAMES - 1)->name, "bert.encoder.layer.1.output.LayerNorm.bias");
    ck_assert_int_eq(sd_network_tensor(network, 0)->segment, segments - 1);
    ck_assert_uint_eq(sd_network_segment(network, segments - 1)->row_elems, 0);
    ck_assert_int_eq(sd_network_predictions(network), sd_masked_most(SEQUENCE));
    sd_network_destroy(&network);
}
END_TEST

/* Backward of a pass whose first texts have masked tokens, of the first `texts` of them; the gradients are copied. */
static float *masked_gradients(sd_network *network, int texts, const int32_t *ends) {
    static const int32_t tokens[3 * SEQUENCE] = {1, 2, 3, 4, 5, 0, 1, 2, 0, 0, 0, 0, 7, 8, 9, 1, 2, 3},
                                    all[3] = {5, 2, 6}, masked[] = {1, 13};
    const size_t elems = sd_network_buffer_elems(network);
    sd_drop_plan plan = keep_all(sd_network_n_units(network));
    const sd_pass pass = {.images = texts, .training = true, .plan = &plan, .batch_share = 1};
    const sd_input input = {.tokens = tokens, .lengths = all, .second = all, .masked = masked, .masked_ends = ends};
    float dlogits[2 * VOCABULARY];
    for (int i = 0; i < 2 * VOCABULARY; i++)
        dlogits[i] = (float)(i % 5 - 2) / 8;
    for (size_t i = 0; i < elems; i++)
        sd_network_gradients(network)[i] = NAN;
    sd_network_forward(network, &pass, &input);
    sd_network_backward(network, &pass, &input, dlogits, ignore_segment, NULL);
    sd_drop_plan_free(&plan);
    float *copy = new_floats(elems);
    memcpy(copy, sd_network_gradients(network), elems * sizeof *copy);
    return copy;
}

/* Predictions of the texts that are in the pass count, and no others; texts without one teach nothing. */
START_TEST(texts_without_masked_tokens_have_gradients_of_zero) {
    static const int32_t one[] = {1, 1, 2}, none[] = {0, 0, 0};
    sd_network *network = new_masked(3);
    scramble(network);
    float *of_one = masked_gradients(network, 1, one), *of_two = masked_gradients(network, 2, one),
          *of_three = masked_gradients(network, 3, one), *of_none = masked_gradients(network, 3, none);
    bool differs = false;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        expect_close_floats(t->name, of_two + t->offset_elems, of_one + t->offset_elems, t->elems, 1e-5);
        for (size_t e = t->offset_elems; e < t->offset_elems + t->elems; e++) {
            ck_assert(of_none[e] == 0 && isfinite(of_three[e]));
            differs = differs || fabsf(of_three[e] - of_two[e]) > 1e-3f;
        }
    }
    ck_assert(differs);
    free(of_one);
    free(of_two);
    free(of_three);
    free(of_none);
    sd_network_destroy(&network);
}
END_TEST

/* ---- what is not seen ---- */

static float *copy_of(const float *values, size_t n) {
    float *copy = new_floats(n);
    memcpy(copy, values, n * sizeof *copy);
    return copy;
}

/* Whatever ids stand behind a text, no bit of logits and gradients depends on them. */
START_TEST(padding_is_seen_by_nobody) {
    reader r = new_reader(0.3);
    const size_t n = sd_network_buffer_elems(r.network);
    train_pass(&r);
    float *logits = copy_of(r.logits, TEXTS * CLASSES), *gradients = copy_of(sd_network_gradients(r.network), n);
    for (int i = 0; i < TEXTS * SEQUENCE; i++)
        if (i % SEQUENCE >= lengths[i / SEQUENCE])
            r.tokens[i] = (r.tokens[i] + 1 + i) % VOCABULARY;
    train_pass(&r);
    expect_same_bits("logits", logits, r.logits, TEXTS * CLASSES * sizeof(float));
    expect_same_bits("gradients", gradients, sd_network_gradients(r.network), n * sizeof(float));
    free(logits);
    free(gradients);
    free_reader(&r);
}
END_TEST

/* Neither values nor gradients of a dropped layer are touched: NaN in its weights goes nowhere, its norms' included. */
static void expect_passed_by(reader *r, int unit) {
    const float mark = 1234.5f;
    for (int i = 0; i < sd_network_n_tensors(r->network); i++) {
        const sd_tensor *t = sd_network_tensor(r->network, i);
        if (sd_network_segment(r->network, t->segment)->unit != unit)
            continue;
        for (size_t e = 0; e < t->elems; e++) {
            value_of(r->network, t)[e] = NAN;
            gradient_of(r->network, t)[e] = mark;
        }
    }
    r->plan.kept[unit] = 0;
    train_pass(r);
    for (int i = 0; i < sd_network_n_tensors(r->network); i++) {
        const sd_tensor *t = sd_network_tensor(r->network, i);
        const bool passed = !sd_segment_is_kept(sd_network_segment(r->network, t->segment), &r->plan);
        for (size_t e = 0; e < t->elems; e++)
            expect(passed ? gradient_of(r->network, t)[e] == mark : isfinite(gradient_of(r->network, t)[e]),
                   "%s: gradient %zu is %g", t->name, e, (double)gradient_of(r->network, t)[e]);
    }
}

/* Down to none: the head then sees the embeddings. */
START_TEST(dropped_layers_are_passed_by_with_their_norms) {
    static const int order[] = {1, 2, 0, 3};
    reader r = new_reader(0.3);
    for (size_t i = 0; i < 4; i++)
        expect_passed_by(&r, order[i]);
    free_reader(&r);
}
END_TEST

/* ---- dropout ---- */

/* Two passes of half the batch are one of all, to the bit: decisions belong to the place in the batch. */
START_TEST(dropout_depends_on_the_place_in_the_global_batch) {
    reader r = new_reader(0.3);
    mean_loss(&r);
    float *whole = copy_of(r.logits, TEXTS * CLASSES);
    r.pass.images = TEXTS / 2;
    for (int half = 0; half < 2; half++) {
        r.pass.first_image = (uint64_t)half * TEXTS / 2;
        mean_loss(&r);
        expect_same_bits("half a batch", whole + half * TEXTS / 2 * CLASSES, r.logits,
                         TEXTS / 2 * CLASSES * sizeof(float));
    }
    free(whole);
    free_reader(&r);
}
END_TEST

/* Texts that are gathered, as others drop a part, keep their lengths and their decisions. */
START_TEST(gathered_texts_come_out_as_if_all_decided_alike) {
    static const unsigned masks[] = {0xa6, 0x10, 0xff, 0x5b};
    reader r = new_reader(0.3);
    set_masks(&r, masks);
    mean_loss(&r);
    float *mixed = copy_of(r.logits, TEXTS * CLASSES);
    r.pass.part = NULL;
    for (int n = 0; n < TEXTS; n++) {
        for (int unit = 0; unit < 4; unit++)
            r.plan.kept[unit] = masks[unit] >> n & 1;
        mean_loss(&r);
        expect_same_bits("a text", mixed + n * CLASSES, r.logits + n * CLASSES, CLASSES * sizeof(float));
    }
    free(mixed);
    free_reader(&r);
}
END_TEST

/* Another step or seed decides otherwise, and each kind of dropout by itself makes a difference; evaluation drops
 * nothing. */
START_TEST(every_dropout_drops_in_training_alone) {
    reader plain = new_reader(0);
    float *without = new_floats(TEXTS * CLASSES);
    mean_loss(&plain);
    memcpy(without, plain.logits, TEXTS * CLASSES * sizeof *without);
    for (int kind = 0; kind < 3; kind++) {
        sd_model_spec spec = spec_of(NAME, 0);
        *(kind == 0 ? &spec.dropout : kind == 1 ? &spec.hidden_dropout : &spec.attention_dropout) = 0.3;
        reader r = new_reader(0);
        float last[TEXTS * CLASSES];
        sd_network_destroy(&r.network);
        r.network = new_model(spec, TEXTS);
        scramble(r.network);
        memcpy(last, without, sizeof last);
        for (int change = 0; change < 3; change++) {
            r.pass.step += change == 1;
            r.pass.seed += change == 2;
            mean_loss(&r);
            expect(memcmp(last, r.logits, sizeof last) != 0, "dropout %d, change %d: the logits are the same", kind,
                   change);
            memcpy(last, r.logits, sizeof last);
        }
        r.pass.training = false;
        mean_loss(&r);
        expect_same_bits("evaluation", without, r.logits, sizeof last);
        free_reader(&r);
    }
    free(without);
    free_reader(&plain);
}
END_TEST

/* ---- names ---- */

static sd_status outline(sd_model_spec spec) {
    sd_network *network;
    const sd_status status = sd_model_outline(&spec, best_kernels(), 1, &network);
    sd_network_destroy(&network);
    return status;
}

START_TEST(names_say_layers_width_and_heads) {
    static const char *const good[] = {"bert_L2_H128", "bert_L12_H768", "bert_L12_H256_A4", "bert_L6_H384_A12",
                                       "bert_L99_H16"};
    static const char *const bad[] = {"bert",           "bert_L2",        "bert_L2_H",        "bert_L0_H128",
                                      "bert_L02_H128",  "bert_L2_H128_",  "bert_L2_H128_A",   "bert_L2_H128_A0",
                                      "bert_L100_H128", "bert_L2_H40",    "bert_L2_H128_A3",  "bert_L2_H128x",
                                      "bert_L2H128",    "bert_H128_L2",   "bert_L2_H128_A65", "BERT_L2_H128",
                                      "bert_L+2_H128",  "bert_L2_H12800", "bert_L 2_H128",    "bert_L2_H128_A2_A2"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        expect_ok(outline(spec_of(good[i], 0)));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_refused(outline(spec_of(bad[i], 0)), SD_ERR_CONFIG, "model.name: ", bad[i], NULL);
}
END_TEST

START_TEST(what_a_model_cannot_read_is_refused_with_its_key) {
    sd_model_spec spec = spec_of(NAME, 0);
    spec.sequence = 513;
    expect_refused(outline(spec), SD_ERR_CONFIG, "data.sequence: ", "513", "512", NULL);
    spec = (sd_model_spec){.name = NAME, .image_size = 32, .classes = 10};
    expect_refused(outline(spec), SD_ERR_CONFIG, "model.name: ", NAME, "reads texts", "are images", NULL);
    expect_refused(outline(spec_of("resnet20", 0)), SD_ERR_CONFIG, "model.name: ", "reads images", "are texts", NULL);
    spec = (sd_model_spec){.name = "resnet20", .image_size = 32, .classes = 10, .hidden_dropout = 0.1};
    expect_refused(outline(spec), SD_ERR_CONFIG, "model.hidden_dropout: ", "resnet20", NULL);
    spec = (sd_model_spec){
        .name = "vit_tiny", .image_size = 32, .patch_size = 16, .classes = 10, .attention_dropout = 0.1};
    expect_refused(outline(spec), SD_ERR_CONFIG, "model.attention_dropout: ", "vit_tiny", NULL);
}
END_TEST

/* A factor of the branch means nothing where the sum is normalised; without drops there is none. */
START_TEST(drops_are_not_scaled) {
    static const char *const settings[] = {"stochastic_depth.scale=inference", "stochastic_depth.scale=training",
                                           "stochastic_depth.scale=none", "stochastic_depth.rate=0"};
    sd_network *network = new_model(spec_of(NAME, 0), 1);
    for (size_t i = 0; i < 4; i++) {
        sd_config *config = config_of("model.name=bert_L2_H32_A2", "stochastic_depth.rate=0.5", settings[i], NULL);
        double rate[4];
        if (i < 2)
            expect_refused(sd_config_drop_rates(config, network, rate, NULL), SD_ERR_CONFIG, "stochastic_depth.scale",
                           NAME, "post-norm", NULL);
        else
            expect_ok(sd_config_drop_rates(config, network, rate, NULL));
        free(config);
    }
    sd_network_destroy(&network);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("bert");
    sd_kernels_set_threads(1);
    tcase_add_test(cases, tensors_come_in_the_order_of_state_dict);
    tcase_add_test(cases, parameters_are_as_many_as_hugging_faces);
    tcase_add_test(cases, flops_equal_a_hand_count);
    tcase_add_test(cases, units_are_the_layers_or_their_parts);
    tcase_add_test(cases, layers_are_counted_from_the_embeddings_to_the_head);
    tcase_add_test(cases, queries_keys_and_values_are_one_matrix_in_memory);
    tcase_add_test(cases, words_are_the_last_segment);
    tcase_add_test(cases, values_begin_as_hugging_faces);
    tcase_add_test(cases, gradients_equal_finite_differences);
    tcase_add_test(cases, gradients_of_parts_that_some_texts_keep_equal_finite_differences);
    tcase_add_test(cases, a_masked_language_model_has_one_table_of_words);
    tcase_add_test(cases, texts_without_masked_tokens_have_gradients_of_zero);
    tcase_add_test(cases, padding_is_seen_by_nobody);
    tcase_add_test(cases, dropped_layers_are_passed_by_with_their_norms);
    tcase_add_test(cases, dropout_depends_on_the_place_in_the_global_batch);
    tcase_add_test(cases, gathered_texts_come_out_as_if_all_decided_alike);
    tcase_add_test(cases, every_dropout_drops_in_training_alone);
    tcase_add_test(cases, names_say_layers_width_and_heads);
    tcase_add_test(cases, what_a_model_cannot_read_is_refused_with_its_key);
    tcase_add_test(cases, drops_are_not_scaled);
    return run_suite("bert", cases);
}
