/* SPDX-License-Identifier: Apache-2.0 */
/* nn/ and models/: tables, initial values, gradients of whole networks, what a dropped branch leaves alone. */
#include "../../src/nn/network.h"
#include "../support.h"

static const float MARK = 1234.5f;

/* ---- a network with a batch ---- */

typedef struct trainer {
    sd_network *network;
    sd_drop_plan plan;
    sd_pass pass;
    int batch, classes;
    size_t image_elems;
    float *images, *dlogits, *losses;
    int32_t *labels, *ranks;
    const float *logits; /* of the last pass */
} trainer;

static sd_input images_from(const trainer *t, int first) {
    return (sd_input){.pixels = t->images + (size_t)first * t->image_elems};
}

static trainer new_trainer(sd_network *network, int image_size, int batch) {
    const int classes = sd_network_classes(network);
    const size_t n = (size_t)batch, image_elems = (size_t)image_size * (size_t)image_size * 3;
    trainer t = {.network = network,
                 .plan = keep_all(sd_network_n_units(network)),
                 .batch = batch,
                 .classes = classes,
                 .image_elems = image_elems,
                 .images = normal_floats(n * image_elems, 1, 0, 1),
                 .dlogits = new_floats(n * (size_t)classes),
                 .losses = new_floats(n),
                 .labels = calloc(n, sizeof(int32_t)),
                 .ranks = calloc(n, sizeof(int32_t))};
    for (int i = 0; i < batch; i++)
        t.labels[i] = (i * 7 + 1) % classes;
    t.pass = (sd_pass){.images = batch, .training = true, .batch_share = 1};
    return t;
}

static void free_trainer(trainer *t) {
    sd_network_destroy(&t->network);
    sd_drop_plan_free(&t->plan);
    free(t->images);
    free(t->dlogits);
    free(t->losses);
    free(t->labels);
    free(t->ranks);
}

/* Values of a network part trained: norms and biases are not at their initial ones, which hide errors. */
static void scramble(sd_network *network) {
    sd_network_initialise(network, 5);
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        for (size_t e = 0; e < t->elems && t->dims == 1; e++)
            value_of(network, t)[e] += (float)(0.1 * sd_random_normal(sd_random_at(6, 96, e, (uint64_t)i)));
    }
}

static double mean_loss(void *context) {
    trainer *t = context;
    t->pass.plan = &t->plan;
    const sd_input input = images_from(t, 0);
    const float *logits = t->logits = sd_network_forward(t->network, &t->pass, &input);
    best_kernels()->cross_entropy_forward((size_t)t->pass.images, t->classes, logits,
                                          &(sd_targets){.labels = t->labels}, 0.1f, t->losses, t->ranks);
    double sum = 0;
    for (int i = 0; i < t->pass.images; i++)
        sum += t->losses[i];
    return sum / t->pass.images;
}

/* Forward and backward; returns the loss. */
static double train_pass(trainer *t, sd_segment_done done, void *context) {
    double loss = mean_loss(t);
    const sd_input input = images_from(t, 0);
    best_kernels()->cross_entropy_backward((size_t)t->batch, t->classes, t->logits, &(sd_targets){.labels = t->labels},
                                           0.1f, 1.0f / (float)t->batch, t->dlogits);
    sd_network_backward(t->network, &t->pass, &input, t->dlogits, done, context);
    return loss;
}

static void fill_gradients(sd_network *network, float value) {
    for (size_t i = 0; i < sd_network_buffer_elems(network); i++)
        sd_network_gradients(network)[i] = value;
}

/* ---- finite differences of whole networks ---- */

/* Of the loss in every learned tensor. The step changes the loss by `change`, and weights by at most 10 times that
 * share (what batch norm divides out again curves the loss); forward passes in float leave a noise of about 1e-6 in the
 * loss of a deep network. ReLUs that change sides on the way bend the line: some per cent. An error in a formula is
 * worth 10 % and more. */
static void check_gradients(trainer *t, double change, double tolerance, uint32_t directions) {
    fill_gradients(t->network, 0);
    train_pass(t, ignore_segment, NULL);
    for (int i = 0; i < sd_network_n_tensors(t->network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t->network, i);
        const sd_segment *segment = sd_network_segment(t->network, tensor->segment);
        if (tensor->kind != SD_TENSOR_PARAMETER || tensor->frozen || !sd_segment_is_kept(segment, &t->plan))
            continue;
        float *value = value_of(t->network, tensor), *gradient = new_floats(tensor->elems);
        memcpy(gradient, gradient_of(t->network, tensor), tensor->elems * sizeof *gradient);
        const double norm = sqrt(dot(gradient, gradient, tensor->elems)),
                     size = sqrt(dot(value, value, tensor->elems)) + 0.05;
        expect_gradient_along(tensor->name, mean_loss, t, value, gradient, tensor->elems,
                              fmin(change / (norm + 1e-30), 10 * change * size), tolerance, change / 1000, directions);
        free(gradient);
    }
}

START_TEST(gradients_of_resnet20_equal_finite_differences) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 4), 8, 4);
    scramble(t.network);
    check_gradients(&t, 1e-3, 0.03, 3);
    t.plan.kept[1] = t.plan.kept[3] = t.plan.kept[8] = 0; /* unit 3: the first whose shortcut changes the shape */
    for (int i = 0; i < t.plan.units; i++)
        t.plan.scale[i] = 1 + 0.1f * (float)i;
    check_gradients(&t, 1e-3, 0.03, 3);
    free_trainer(&t);
}
END_TEST

/* ImageNet stem with max pooling, projections; unit 2 is the first block of the second stage. */
START_TEST(gradients_of_resnet18_equal_finite_differences) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(
        new_model((sd_model_spec){.name = "resnet18", .image_size = 48, .classes = 10, .stem = SD_STEM_IMAGENET}, 4),
        48, 4);
    scramble(t.network);
    t.plan.kept[2] = t.plan.kept[5] = 0;
    t.plan.scale[4] = 1.5f;
    check_gradients(&t, 1e-3, 0.03, 1);
    free_trainer(&t);
}
END_TEST

START_TEST(gradients_of_vit_tiny_equal_finite_differences) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(
        new_model((sd_model_spec){.name = "vit_tiny", .image_size = 8, .classes = 10, .patch_size = 4}, 2), 8, 2);
    scramble(t.network);
    t.plan.kept[3] = t.plan.kept[10] = 0;
    t.plan.scale[5] = 2;
    check_gradients(&t, 1e-3, 0.005, 1); /* smooth */
    free_trainer(&t);
}
END_TEST

/* One of each kind of branch, small enough to look in many directions: bottlenecks with a projection and without. */
static sd_network *new_bottlenecks(void) {
    sd_network *network;
    const sd_conv_spec stem = {8, 3, 1}, first[] = {{4, 1, 1}, {4, 3, 2}, {16, 1, 1}},
                       second[] = {{5, 1, 1}, {5, 3, 1}, {16, 1, 1}};
    const sd_network_spec spec = {.max_images = 4, .classes = 7, .gathers = true};
    expect_ok(sd_network_create(best_kernels(), &spec, &network));
    expect_ok(sd_build_conv_stem(network, (sd_shape){9, 9, 3}, &stem, false));
    for (int i = 0; i < 2; i++) {
        sd_residual_spec residual = {.name = i ? "b" : "a",
                                     .relu = true,
                                     .stride = i ? 1 : 2,
                                     .shortcut = i ? SD_SHORTCUT_IDENTITY : SD_SHORTCUT_PROJECTION};
        expect_ok(sd_build_unit(network, residual.name, i + 1, &residual.unit));
        expect_ok(sd_build_residual_begin(network, &residual));
        expect_ok(sd_build_conv_branch(network, 3, i ? second : first, false));
        expect_ok(sd_build_residual_end(network));
    }
    expect_ok(sd_build_pool_head(network, 0));
    expect_ok(sd_network_finish(network));
    return network;
}

START_TEST(gradients_of_bottlenecks_equal_finite_differences) {
    sd_kernels_set_threads(1);
    for (int dropped = -1; dropped < 2; dropped++) {
        trainer t = new_trainer(new_bottlenecks(), 9, 4);
        scramble(t.network);
        t.plan.scale[0] = 1.25f;
        if (dropped >= 0)
            t.plan.kept[dropped] = 0;
        check_gradients(&t, 1e-4, 0.03, 6);
        free_trainer(&t);
    }
}
END_TEST

/* Transitions with a ReLU and without, below and above a residual that may be passed by. */
static sd_network *new_transitions(void) {
    sd_network *network;
    const sd_conv_spec stem = {6, 3, 1}, down[] = {{10, 3, 2}}, same[] = {{10, 3, 1}, {10, 1, 1}};
    sd_residual_spec residual = {.name = "block", .relu = true};
    expect_ok(sd_network_create(best_kernels(), &(sd_network_spec){.max_images = 4, .classes = 7, .gathers = true},
                                &network));
    expect_ok(sd_build_conv_stem(network, (sd_shape){9, 9, 3}, &stem, false));
    expect_ok(sd_build_transition_begin(network, "down", true));
    expect_ok(sd_build_conv_branch(network, 1, down, false));
    expect_ok(sd_build_transition_end(network));
    expect_ok(sd_build_unit(network, "block", 1, &residual.unit));
    expect_ok(sd_build_residual_begin(network, &residual));
    expect_ok(sd_build_conv_branch(network, 2, same, false));
    expect_ok(sd_build_residual_end(network));
    expect_ok(sd_build_transition_begin(network, "mix", false));
    expect_ok(sd_build_mlp_branch(
        network, &(sd_mlp_spec){.hidden = 9, .norm = "norm", .fc1 = "fc1", .fc2 = "fc2", .epsilon = 1e-5f}));
    expect_ok(sd_build_transition_end(network));
    expect_ok(sd_build_pool_head(network, 0));
    expect_ok(sd_network_finish(network));
    return network;
}

START_TEST(gradients_of_transitions_equal_finite_differences) {
    sd_kernels_set_threads(1);
    for (int kept = 0; kept < 2; kept++) {
        trainer t = new_trainer(new_transitions(), 9, 4);
        scramble(t.network);
        for (int i = 0; i < sd_network_n_tensors(t.network); i++) { /* its weights are initially close to 0 */
            const sd_tensor *tensor = sd_network_tensor(t.network, i);
            for (size_t e = 0; e < tensor->elems && strstr(tensor->name, "mix.fc") && tensor->dims == 2; e++)
                value_of(t.network, tensor)[e] *= 15;
        }
        t.plan.kept[0] = (unsigned char)kept;
        check_gradients(&t, 1e-4, 0.03, 6);
        free_trainer(&t);
    }
}
END_TEST

static sd_network *new_transformer_of(int classes, double dropout) {
    sd_network *network;
    const sd_network_spec spec = {.max_images = 4, .classes = classes, .gathers = true};
    const sd_attention_spec attention = {
        .heads = 3, .norm = "norm1", .qkv = {"attn.qkv"}, .projection = "attn.proj", .epsilon = 1e-6f};
    const sd_mlp_spec mlp = {.hidden = 20, .norm = "norm2", .fc1 = "mlp.fc1", .fc2 = "mlp.fc2", .epsilon = 1e-6f};
    expect_ok(sd_network_create(best_kernels(), &spec, &network));
    expect_ok(sd_build_patch_stem(network, (sd_shape){6, 6, 3}, 12, 3));
    for (int i = 0; i < 4; i++) {
        char name[8];
        sd_residual_spec residual = {.name = name};
        snprintf(name, sizeof name, "b%d", i / 2);
        expect_ok(sd_build_unit(network, name, i / 2 + 1, &residual.unit));
        expect_ok(sd_build_residual_begin(network, &residual));
        expect_ok(i % 2 ? sd_build_mlp_branch(network, &mlp) : sd_build_attention_branch(network, &attention));
        expect_ok(sd_build_residual_end(network));
    }
    expect_ok(sd_build_token_head(network, dropout, 1e-6f));
    expect_ok(sd_network_finish(network));
    return network;
}

static sd_network *new_transformer(double dropout) { return new_transformer_of(7, dropout); }

START_TEST(gradients_of_a_transformer_equal_finite_differences) {
    sd_kernels_set_threads(1);
    for (int dropout = 0; dropout < 2; dropout++) {
        trainer t = new_trainer(new_transformer(dropout ? 0.4 : 0), 6, 4);
        scramble(t.network);
        for (int i = 0; i < sd_network_n_tensors(t.network); i++) { /* its weights are initially close to 0 */
            const sd_tensor *tensor = sd_network_tensor(t.network, i);
            for (size_t e = 0; e < tensor->elems && tensor->dims == 2; e++)
                value_of(t.network, tensor)[e] *= 15;
        }
        t.pass.seed = 3;
        t.pass.step = 11;
        t.plan.kept[1] = 0;
        t.plan.scale[2] = 0.5f;
        check_gradients(&t, 1e-3, 0.005, 6);
        free_trainer(&t);
    }
}
END_TEST

/* ---- branches that some images keep ---- */

/* Sets plan and part of a pass that is the whole batch: bit n of masks[unit] says whether image n keeps it; units past
 * the last mask are kept by all. */
static void set_masks(trainer *t, sd_drop_part *part, const unsigned *masks, int n_masks) {
    for (int unit = 0; unit < t->plan.units; unit++) {
        part->images[unit] = 0;
        for (int n = 0; n < t->batch; n++)
            if (unit >= n_masks || (masks[unit] >> n & 1))
                part->places[unit * part->max_images + part->images[unit]++] = (uint32_t)n;
        t->plan.images[unit] = (uint64_t)part->images[unit];
        t->plan.kept[unit] = part->images[unit] > 0;
    }
    t->pass.part = part;
}

static sd_drop_part new_part(const trainer *t) {
    sd_drop_part part;
    expect_ok(sd_drop_part_create(t->plan.units, t->batch, &part));
    return part;
}

/* Moves the values of batch norms away from the ReLUs' kink, which bends the line of finite differences the more the
 * fewer values there are. What ReLUs do to images in their places, the goldens know. */
static void lift(sd_network *network) {
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        const bool is_bias = strstr(t->name, ".bias") && (strstr(t->name, "bn") || strstr(t->name, "downsample"));
        for (size_t e = 0; e < t->elems && is_bias; e++)
            value_of(network, t)[e] += 4;
    }
}

/* Of 4 images: several in all kinds of places, one, none, all; with a projection and an identity, in both
 * neighbours' company. */
START_TEST(gradients_of_bottlenecks_that_some_images_keep_equal_finite_differences) {
    static const unsigned masks[][2] = {{0xa, 0xf}, {0xf, 0x6}, {0x9, 0x7}, {0x4, 0x4}, {0x0, 0xc}, {0x3, 0x0}};
    sd_kernels_set_threads(1);
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        trainer t = new_trainer(new_bottlenecks(), 9, 4);
        sd_drop_part part = new_part(&t);
        scramble(t.network);
        lift(t.network);
        t.plan.scale[0] = 1.25f;
        set_masks(&t, &part, masks[i], 2);
        check_gradients(&t, 1e-3, 0.03, 6);
        sd_drop_part_free(&part);
        free_trainer(&t);
    }
}
END_TEST

/* The shortcuts that subsample are units 3 and 6. */
START_TEST(gradients_of_resnet20_that_some_images_keep_equal_finite_differences) {
    static const unsigned masks[] = {0x5, 0x6, 0xf, 0xb, 0x0, 0x8, 0x3, 0xe, 0x9};
    sd_kernels_set_threads(1);
    trainer t = new_trainer(
        new_model((sd_model_spec){.name = "resnet20", .image_size = 16, .classes = 10, .gathers = true}, 4), 16, 4);
    sd_drop_part part = new_part(&t);
    scramble(t.network);
    for (int i = 0; i < t.plan.units; i++)
        t.plan.scale[i] = 1 + 0.1f * (float)i;
    set_masks(&t, &part, masks, 9);
    check_gradients(&t, 1e-3, 0.03, 3);
    sd_drop_part_free(&part);
    free_trainer(&t);
}
END_TEST

/* At 4 pixels the last stage has one pixel: units that one image keeps there are normalised by constants. */
START_TEST(gradients_of_single_values_equal_finite_differences) {
    static const unsigned masks[] = {0xf, 0x6, 0xf, 0xb, 0x0, 0x8, 0x4, 0x2, 0x1};
    sd_kernels_set_threads(1);
    trainer t = new_trainer(
        new_model((sd_model_spec){.name = "resnet20", .image_size = 4, .classes = 10, .gathers = true}, 4), 4, 4);
    sd_drop_part part = new_part(&t);
    scramble(t.network);
    lift(t.network);
    set_masks(&t, &part, masks, 9);
    check_gradients(&t, 1e-3, 0.03, 3);
    sd_drop_part_free(&part);
    free_trainer(&t);
}
END_TEST

START_TEST(gradients_of_a_transformer_that_some_images_keep_equal_finite_differences) {
    static const unsigned masks[] = {0xa, 0x4, 0xd, 0x7};
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_transformer(0.4), 6, 4);
    sd_drop_part part = new_part(&t);
    scramble(t.network);
    for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t.network, i);
        for (size_t e = 0; e < tensor->elems && tensor->dims == 2; e++)
            value_of(t.network, tensor)[e] *= 15;
    }
    t.pass.seed = 3;
    t.pass.step = 11;
    t.plan.scale[2] = 0.5f;
    set_masks(&t, &part, masks, 4);
    check_gradients(&t, 1e-3, 0.005, 6);
    sd_drop_part_free(&part);
    free_trainer(&t);
}
END_TEST

/* Without batch norm an image does not see the others: kept and dropped ones come out as in batches of their own. */
START_TEST(an_image_of_a_vit_comes_out_as_if_the_batch_decided_as_it_does) {
    static const unsigned masks[] = {0xa, 0x4, 0xd, 0x7};
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_transformer(0), 6, 4);
    sd_drop_part part = new_part(&t);
    float mixed[28];
    scramble(t.network);
    set_masks(&t, &part, masks, 4);
    mean_loss(&t);
    memcpy(mixed, t.logits, sizeof mixed);
    t.pass.part = NULL;
    for (int n = 0; n < 4; n++) {
        for (int unit = 0; unit < 4; unit++)
            t.plan.kept[unit] = masks[unit] >> n & 1;
        mean_loss(&t);
        expect_close_floats("an image", mixed + 7 * n, t.logits + 7 * n, 7, 1e-5);
    }
    sd_drop_part_free(&part);
    free_trainer(&t);
}
END_TEST

static const char *const all_kinds[] = {"resnet20", "resnet18", "vit_tiny"};

static trainer gathering_trainer(const char *name, int batch) {
    trainer t = new_trainer(
        new_model((sd_model_spec){.name = name, .image_size = 16, .classes = 10, .patch_size = 8, .gathers = true},
                  batch),
        16, batch);
    scramble(t.network);
    return t;
}

/* As scope = rank has it on a rank that keeps a branch, with one rank. */
START_TEST(a_part_of_all_images_changes_no_bit) {
    sd_kernels_set_threads(1);
    trainer t = gathering_trainer(all_kinds[_i], 3);
    const size_t elems = sd_network_buffer_elems(t.network);
    float *before = new_floats(elems);
    sd_drop_part part = new_part(&t);
    const unsigned masks[] = {0x7, 0x0};
    set_masks(&t, &part, masks, 2);
    t.pass.part = NULL;
    fill_gradients(t.network, MARK);
    const double loss = train_pass(&t, ignore_segment, NULL);
    memcpy(before, sd_network_gradients(t.network), elems * sizeof *before);
    t.pass.part = &part;
    fill_gradients(t.network, MARK);
    ck_assert(train_pass(&t, ignore_segment, NULL) == loss);
    expect_same_bits("gradients", before, sd_network_gradients(t.network), elems * sizeof *before);
    free(before);
    sd_drop_part_free(&part);
    free_trainer(&t);
}
END_TEST

static void count_segment(void *context, int segment) {
    int *next = context;
    ck_assert_int_eq(segment, (*next)++);
}

/* Other ranks keep the branch, this one does not: its gradient is theirs alone, but it takes part in sending it. */
START_TEST(a_branch_that_no_image_here_keeps_is_reported_but_not_written) {
    sd_kernels_set_threads(1);
    trainer t = gathering_trainer(all_kinds[_i], 3);
    sd_drop_part part = new_part(&t);
    const unsigned masks[] = {0x7, 0x2, 0x0, 0x5};
    int reported = 0;
    set_masks(&t, &part, masks, 4);
    t.plan.kept[2] = 1; /* elsewhere */
    t.plan.images[2] = 5;
    fill_gradients(t.network, MARK);
    train_pass(&t, count_segment, &reported);
    ck_assert_int_eq(reported, sd_network_n_segments(t.network));
    for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t.network, i);
        const bool absent = sd_network_segment(t.network, tensor->segment)->unit == 2;
        for (size_t e = 0; e < tensor->elems; e++)
            expect((gradient_of(t.network, tensor)[e] == MARK) == absent, "%s, value %zu: %g", tensor->name, e,
                   gradient_of(t.network, tensor)[e]);
    }
    sd_drop_part_free(&part);
    free_trainer(&t);
}
END_TEST

/* At 4 pixels the last stage has maps of 1x1, so that none of the shards, each of which keeps it for one image, has
 * statistics there. */
static void statistics_stand_still(int shards) {
    trainer t = new_trainer(
        new_model((sd_model_spec){.name = "resnet20", .image_size = 4, .classes = 10, .gathers = true}, 4), 4, 4);
    const size_t elems = sd_network_buffer_elems(t.network);
    float *sum = new_floats(elems), *before = new_floats(elems);
    sd_drop_part part = new_part(&t);
    scramble(t.network);
    for (int shard = 0; shard < shards; shard++) { /* each sees the four images */
        const unsigned one = 1u << shard % 4, masks[] = {0xf, 0xf, 0xf, 0xf, 0xf, 0xf, one, one, one};
        set_masks(&t, &part, masks, 9);
        for (int unit = 0; unit < 9; unit++)
            t.plan.images[unit] = (uint64_t)(unit < 6 ? 4 * shards : shards);
        t.pass.batch_share = 1.0f / (float)shards;
        train_pass(&t, ignore_segment, NULL);
        for (size_t i = 0; i < elems; i++)
            sum[i] += sd_network_gradients(t.network)[i];
    }
    memcpy(sd_network_gradients(t.network), sum, elems * sizeof *sum);
    memcpy(before, sd_network_values(t.network), elems * sizeof *before);
    sd_network_update_statistics(t.network, &t.plan);
    for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t.network, i);
        const bool still = !strncmp(tensor->name, "layer3.", 7);
        if (tensor->kind == SD_TENSOR_STATISTIC)
            expect(still == !memcmp(before + tensor->offset_elems, value_of(t.network, tensor),
                                    tensor->elems * sizeof(float)),
                   "%s, %d shards", tensor->name, shards);
    }
    free(sum);
    free(before);
    sd_drop_part_free(&part);
    free_trainer(&t);
}

/* A share like 1/1000 has a rounding error, which as many shards would add up to. */
START_TEST(statistics_of_single_values_do_not_move_by_a_bit) {
    sd_kernels_set_threads(1);
    for (int shards = 2; shards <= 16; shards++)
        statistics_stand_still(shards);
    statistics_stand_still(1000);
}
END_TEST

/* Samples that decide for themselves on two ranks: their gradients add up to those of one rank. */
START_TEST(two_ranks_of_a_vit_with_deciding_samples_are_one) {
    sd_kernels_set_threads(1);
    trainer t = gathering_trainer("vit_tiny", 4);
    const size_t elems = sd_network_buffer_elems(t.network);
    float *whole = new_floats(elems), *sum = new_floats(elems);
    double rate[24];
    for (int i = 0; i < 24; i++)
        rate[i] = 0.6;
    const sd_drop_spec drop = {.seed = 4, .scope = SD_DROP_SCOPE_SAMPLE, .units = 24, .rate = rate};
    sd_drop_part part = new_part(&t);
    t.pass.part = &part;
    sd_drop_plan_draw(&drop, 1, 4, &t.plan);
    sd_drop_part_draw(&drop, 1, 0, (sd_range){0, 4}, &part);
    fill_gradients(t.network, 0);
    train_pass(&t, ignore_segment, NULL);
    memcpy(whole, sd_network_gradients(t.network), elems * sizeof *whole);
    int mixed = 0;
    for (int i = 0; i < 24; i++)
        mixed += part.images[i] > 0 && part.images[i] < 4;
    ck_assert_int_gt(mixed, 10);
    for (int rank = 0; rank < 2; rank++) {
        sd_pass half = t.pass;
        half.images = 2;
        half.batch_share = 0.5f;
        sd_drop_part_draw(&drop, 1, rank, (sd_range){(uint64_t)rank * 2, 2}, &part);
        const sd_input images = images_from(&t, 2 * rank);
        const float *logits = sd_network_forward(t.network, &half, &images);
        best_kernels()->cross_entropy_backward(2, t.classes, logits, &(sd_targets){.labels = t.labels + 2 * rank}, 0.1f,
                                               0.25f, t.dlogits);
        fill_gradients(t.network, 0);
        sd_network_backward(t.network, &half, &images, t.dlogits, ignore_segment, NULL);
        for (size_t i = 0; i < elems; i++)
            sum[i] += sd_network_gradients(t.network)[i];
    }
    for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t.network, i);
        expect_close_floats(tensor->name, sum + tensor->offset_elems, whole + tensor->offset_elems, tensor->elems,
                            1e-4);
    }
    free(whole);
    free(sum);
    sd_drop_part_free(&part);
    free_trainer(&t);
}
END_TEST

/* ---- frozen tensors ---- */

/* Freezes every parameter below a layer (sd_tensor.layer). */
static void freeze_below(sd_network *network, int layer) {
    bool *frozen = calloc((size_t)sd_network_n_tensors(network), sizeof *frozen);
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        frozen[i] = sd_network_tensor(network, i)->layer < layer;
    sd_network_freeze(network, frozen);
    free(frozen);
}

static void freeze_one(sd_network *network, const char *name) {
    bool *frozen = calloc((size_t)sd_network_n_tensors(network), sizeof *frozen);
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        frozen[i] = !strcmp(sd_network_tensor(network, i)->name, name);
    sd_network_freeze(network, frozen);
    free(frozen);
}

typedef sd_network *(*builder)(void);

static sd_network *new_plain_transformer(void) { return new_transformer(0); }

static sd_network *new_resnet20(void) {
    return new_model((sd_model_spec){.name = "resnet20", .image_size = 16, .classes = 7, .gathers = true}, 4);
}

/* Of each kind of branch and shortcut, as the last node of the backward pass and above it; in the second half some
 * images keep a branch. resnet20's block 4 is the first that subsamples; more ReLUs change sides on its way. */
static const struct frozen_row {
    builder build;
    int image_size, layer;
    double change, tolerance; /* as in the tests of whole networks */
} frozen_rows[] = {
    {new_bottlenecks, 9, 1, 1e-3, 0.03},        {new_bottlenecks, 9, 2, 1e-3, 0.03},
    {new_bottlenecks, 9, 3, 1e-3, 0.03},        {new_transitions, 9, 1, 1e-3, 0.03},
    {new_transitions, 9, 2, 1e-3, 0.03},        {new_plain_transformer, 6, 1, 1e-3, 0.005},
    {new_plain_transformer, 6, 2, 1e-3, 0.005}, {new_plain_transformer, 6, 3, 1e-3, 0.005},
    {new_resnet20, 16, 4, 1e-3, 0.05},          {new_resnet20, 16, 10, 1e-3, 0.05},
};
enum { N_FROZEN_ROWS = sizeof frozen_rows / sizeof frozen_rows[0] };

static trainer frozen_trainer(const struct frozen_row *row) {
    trainer t = new_trainer(row->build(), row->image_size, 4);
    scramble(t.network);
    if (row->image_size == 9) /* few values */
        lift(t.network);
    for (int i = 0; i < sd_network_n_tensors(t.network); i++) { /* transformers' weights are initially close to 0 */
        const sd_tensor *tensor = sd_network_tensor(t.network, i);
        for (size_t e = 0; e < tensor->elems && tensor->dims == 2 && strncmp(tensor->name, "fc.", 3) != 0; e++)
            value_of(t.network, tensor)[e] *= 15;
    }
    for (int step = 0; step < 50; step++) { /* running statistics that fit */
        train_pass(&t, ignore_segment, NULL);
        sd_network_update_statistics(t.network, &t.plan);
    }
    freeze_below(t.network, row->layer);
    return t;
}

START_TEST(gradients_above_frozen_layers_equal_finite_differences) {
    static const unsigned masks[] = {0xa, 0x6, 0xd, 0x7, 0x9};
    const struct frozen_row *row = &frozen_rows[_i / 2];
    sd_kernels_set_threads(1);
    trainer t = frozen_trainer(row);
    sd_drop_part part = new_part(&t);
    if (_i % 2)
        set_masks(&t, &part, masks, 5);
    check_gradients(&t, row->change, row->tolerance, 3);
    sd_drop_part_free(&part);
    free_trainer(&t);
}
END_TEST

/* Below the lowest trained layer the pass computes nothing, but reports all. */
START_TEST(the_backward_pass_ends_at_the_lowest_trained_layer) {
    const struct frozen_row *row = &frozen_rows[_i];
    sd_kernels_set_threads(1);
    trainer t = frozen_trainer(row);
    int reported = 0, untouched = 0;
    fill_gradients(t.network, MARK);
    train_pass(&t, count_segment, &reported);
    ck_assert_int_eq(reported, sd_network_n_segments(t.network));
    for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t.network, i);
        const bool frozen = sd_network_segment(t.network, tensor->segment)->frozen;
        ck_assert(tensor->frozen == (tensor->layer < row->layer)); /* of batch norms the statistics, too */
        for (size_t e = 0; e < tensor->elems && tensor->kind == SD_TENSOR_PARAMETER; e++)
            expect((gradient_of(t.network, tensor)[e] == MARK) == frozen, "%s, value %zu: %g", tensor->name, e,
                   gradient_of(t.network, tensor)[e]);
        untouched += frozen;
    }
    ck_assert_int_gt(untouched, 0);
    free_trainer(&t);
}
END_TEST

/* Without batch norm a frozen layer is computed as any other. */
START_TEST(trained_layers_of_a_vit_have_the_gradients_of_an_unfrozen_one) {
    sd_kernels_set_threads(1);
    for (int layer = 1; layer <= 13; layer += 4) {
        trainer t = gathering_trainer("vit_tiny", 3);
        const size_t elems = sd_network_buffer_elems(t.network);
        float *before = new_floats(elems);
        ck_assert(isfinite(train_pass(&t, ignore_segment, NULL)));
        memcpy(before, sd_network_gradients(t.network), elems * sizeof *before);
        freeze_below(t.network, layer);
        fill_gradients(t.network, MARK);
        train_pass(&t, ignore_segment, NULL);
        for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
            const sd_tensor *tensor = sd_network_tensor(t.network, i);
            if (!tensor->frozen)
                expect_same_bits(tensor->name, gradient_of(t.network, tensor), before + tensor->offset_elems,
                                 tensor->elems * sizeof *before);
        }
        free(before);
        free_trainer(&t);
    }
}
END_TEST

/* PyTorch's eval mode, which is also that of an evaluation. */
START_TEST(frozen_batch_norms_normalise_by_running_statistics_and_keep_them) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_model((sd_model_spec){.name = "resnet18", .image_size = 16, .classes = 10}, 3), 16, 3);
    const size_t bytes = sd_network_buffer_elems(t.network) * sizeof(float);
    const int head = sd_network_blocks(t.network) + 1;
    float logits[30], *before = new_floats(bytes / sizeof(float));
    scramble(t.network);
    mean_loss(&t);
    memcpy(logits, t.logits, sizeof logits);
    freeze_below(t.network, head);
    train_pass(&t, ignore_segment, NULL);
    ck_assert(memcmp(logits, t.logits, sizeof logits) != 0);
    memcpy(logits, t.logits, sizeof logits);
    memcpy(before, sd_network_values(t.network), bytes);
    sd_network_update_statistics(t.network, &t.plan);
    expect_same_bits("values", before, sd_network_values(t.network), bytes);
    for (int s = 0; s < sd_network_n_segments(t.network); s++)
        ck_assert_int_eq(sd_network_segment(t.network, s)->kept_steps, s == 0);
    t.pass.training = false;
    mean_loss(&t);
    expect_same_bits("logits", logits, t.logits, sizeof logits);
    free(before);
    free_trainer(&t);
}
END_TEST

START_TEST(a_batch_norm_that_is_frozen_in_part_takes_statistics_as_ever) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_resnet20(), 16, 4);
    scramble(t.network);
    freeze_one(t.network, "layer1.1.bn2.weight");
    const sd_tensor *mean = find_tensor(t.network, "layer1.1.bn2.running_mean");
    ck_assert(find_tensor(t.network, "layer1.1.bn2.weight")->frozen && !mean->frozen);
    ck_assert(!sd_network_segment(t.network, mean->segment)->frozen);
    ck_assert_uint_eq(sd_network_trained(t.network), sd_network_parameters(t.network) - 16);
    const float before = value_of(t.network, mean)[5];
    train_pass(&t, ignore_segment, NULL);
    sd_network_update_statistics(t.network, &t.plan);
    ck_assert(value_of(t.network, mean)[5] != before);
    freeze_one(t.network, "none"); /* the last call holds */
    ck_assert_uint_eq(sd_network_trained(t.network), sd_network_parameters(t.network));
    free_trainer(&t);
}
END_TEST

START_TEST(room_to_gather_is_taken_only_where_it_is_asked_for) {
    for (int i = 0; i < 3; i++) {
        sd_model_spec spec = {.name = all_kinds[i], .image_size = 32, .classes = 10, .patch_size = 8};
        sd_network *plain = new_model(spec, 2);
        spec.gathers = true;
        sd_network *gathering = new_model(spec, 2);
        ck_assert_uint_eq(plain->gathered_elems, gathering->gathered_elems);
        ck_assert_uint_eq(sd_network_activation_bytes(gathering) - sd_network_activation_bytes(plain),
                          3 * plain->gathered_elems * sizeof(float));
        ck_assert_ptr_null(plain->gathered[0]);
        sd_network_destroy(&plain);
        sd_network_destroy(&gathering);
    }
}
END_TEST

/* ---- dropped branches ---- */

/* Writing nothing into a dropped segment is what lets its bytes stay off the wire. */
START_TEST(gradients_of_a_dropped_unit_are_not_touched) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(
        new_model((sd_model_spec){.name = "resnet18", .image_size = 16, .classes = 10, .stem = SD_STEM_CIFAR}, 2), 16,
        2);
    scramble(t.network);
    fill_gradients(t.network, MARK);
    t.plan.kept[2] = t.plan.kept[7] = 0;
    train_pass(&t, ignore_segment, NULL);
    const float *gradients = sd_network_gradients(t.network);
    for (int s = 0; s < sd_network_n_segments(t.network); s++) {
        const sd_segment *segment = sd_network_segment(t.network, s);
        bool kept = segment->unit != 2 && segment->unit != 7;
        ck_assert(sd_segment_is_kept(segment, &t.plan) == kept);
        for (size_t e = 0; !kept && e < segment->elems; e++)
            expect(gradients[segment->offset_elems + e] == MARK, "segment %d, value %zu", s, e);
    }
    for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t.network, i);
        size_t written = 0;
        for (size_t e = 0; e < tensor->elems; e++)
            written += gradient_of(t.network, tensor)[e] != MARK;
        bool kept = sd_segment_is_kept(sd_network_segment(t.network, tensor->segment), &t.plan);
        expect(written == (kept ? tensor->elems : 0), "%s: %zu of %zu values are written", tensor->name, written,
               tensor->elems);
    }
    free_trainer(&t);
}
END_TEST

START_TEST(a_dropped_branch_is_not_read_either) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 4), 8, 4);
    scramble(t.network);
    t.plan.kept[0] = t.plan.kept[3] = t.plan.kept[8] = 0;
    for (int s = 0; s < sd_network_n_segments(t.network); s++) { /* weights that are no numbers, and gradients */
        const sd_segment *segment = sd_network_segment(t.network, s);
        for (size_t e = 0; !sd_segment_is_kept(segment, &t.plan) && e < segment->elems; e++)
            sd_network_values(t.network)[segment->offset_elems + e] =
                sd_network_gradients(t.network)[segment->offset_elems + e] = NAN;
    }
    ck_assert(isfinite(train_pass(&t, ignore_segment, NULL)));
    ck_assert(isfinite(sd_gradient_norm(t.network, &t.plan)));
    free_trainer(&t);
}
END_TEST

START_TEST(a_network_without_any_branch_still_works) {
    sd_kernels_set_threads(1);
    const char *names[] = {"resnet20", "resnet18", "vit_tiny"};
    for (int i = 0; i < 3; i++) {
        trainer t = new_trainer(
            new_model((sd_model_spec){.name = names[i], .image_size = 16, .classes = 10, .patch_size = 8}, 3), 16, 3);
        scramble(t.network);
        memset(t.plan.kept, 0, (size_t)t.plan.units);
        check_gradients(&t, 1e-3, 0.03, 1);
        free_trainer(&t);
    }
}
END_TEST

static trainer statistics_trainer(void) {
    return new_trainer(
        new_model((sd_model_spec){.name = "resnet18", .image_size = 16, .classes = 10, .stem = SD_STEM_CIFAR}, 2), 16,
        2);
}

START_TEST(statistics_of_a_dropped_unit_stand_still_and_its_shortcuts_move) {
    sd_kernels_set_threads(1);
    trainer t = statistics_trainer();
    const size_t bytes = sd_network_buffer_elems(t.network) * sizeof(float);
    scramble(t.network);
    float *before = malloc(bytes);
    t.plan.kept[2] = 0; /* layer2.0, which has a downsample shortcut */
    train_pass(&t, ignore_segment, NULL);
    memcpy(before, sd_network_values(t.network), bytes);
    sd_network_update_statistics(t.network, &t.plan);
    for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t.network, i);
        bool branch = !strncmp(tensor->name, "layer2.0.", 9) && !strstr(tensor->name, "downsample");
        bool moves = tensor->kind == SD_TENSOR_STATISTIC && !branch;
        bool same = !memcmp(value_of(t.network, tensor), before + tensor->offset_elems, tensor->elems * sizeof(float));
        expect(same == !moves, "%s %s", tensor->name, same ? "stands still" : "moves");
        expect((tensor->kind == SD_TENSOR_STATISTIC) == (strstr(tensor->name, "running_") != NULL), "%s", tensor->name);
    }
    for (int s = 0; s < sd_network_n_segments(t.network); s++)
        ck_assert_int_eq(sd_network_segment(t.network, s)->kept_steps, sd_network_segment(t.network, s)->unit != 2);
    sd_network_update_statistics(t.network, &t.plan);
    t.plan.kept[2] = 1;
    sd_network_update_statistics(t.network, &t.plan);
    for (int s = 0; s < sd_network_n_segments(t.network); s++)
        ck_assert_int_eq(sd_network_segment(t.network, s)->kept_steps,
                         sd_network_segment(t.network, s)->unit == 2 ? 1 : 3);
    free(before);
    free_trainer(&t);
}
END_TEST

/* bn1 of the stem, by hand: batch mean and unbiased variance of the convolution, and r = 0.9 r + 0.1 batch. */
START_TEST(running_statistics_follow_the_batch_as_in_pytorch) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_model((sd_model_spec){.name = "resnet20", .image_size = 6, .classes = 10}, 3), 6, 3);
    scramble(t.network);
    t.pass.batch_share = 0.25f; /* this rank has a quarter of the batch */
    const sd_tensor *weight = find_tensor(t.network, "conv1.weight"),
                    *mean = find_tensor(t.network, "bn1.running_mean"),
                    *variance = find_tensor(t.network, "bn1.running_var");
    const float old_mean = value_of(t.network, mean)[5], old_variance = value_of(t.network, variance)[5];
    double values[3 * 6 * 6], batch_mean = 0, batch_variance = 0;
    const int n = 3 * 6 * 6;
    for (int at = 0; at < n; at++) {
        values[at] = 0;
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                for (int c = 0; c < 3; c++) {
                    int h = at / 6 % 6 + i - 1, w = at % 6 + j - 1;
                    if (h >= 0 && h < 6 && w >= 0 && w < 6)
                        values[at] += (double)t.images[((at / 36 * 6 + h) * 6 + w) * 3 + c] *
                                      value_of(t.network, weight)[((i * 3 + j) * 3 + c) * 16 + 5]; /* HWIO */
                }
        batch_mean += values[at] / n;
    }
    for (int at = 0; at < n; at++)
        batch_variance += pow(values[at] - batch_mean, 2) / (n - 1);
    train_pass(&t, ignore_segment, NULL);
    expect_number("this rank's part of the mean", gradient_of(t.network, mean)[5], 0.25 * (batch_mean - old_mean),
                  1e-6);
    expect_number("this rank's part of the variance", gradient_of(t.network, variance)[5],
                  0.25 * (batch_variance - old_variance), 1e-5);
    ck_assert(value_of(t.network, mean)[5] == old_mean); /* not before the ranks' parts are added up */
    for (size_t e = 0; e < mean->elems; e++) {
        gradient_of(t.network, mean)[e] *= 4;
        gradient_of(t.network, variance)[e] *= 4;
    }
    sd_network_update_statistics(t.network, &t.plan);
    expect_number("running mean", value_of(t.network, mean)[5], 0.9 * old_mean + 0.1 * batch_mean, 1e-6);
    expect_number("running variance", value_of(t.network, variance)[5], 0.9 * old_variance + 0.1 * batch_variance,
                  1e-5);
    free_trainer(&t);
}
END_TEST

START_TEST(an_evaluation_changes_nothing_and_sees_each_image_alone) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 4), 8, 4);
    const size_t bytes = sd_network_buffer_elems(t.network) * sizeof(float);
    scramble(t.network);
    fill_gradients(t.network, MARK);
    float *before = malloc(bytes), together[40];
    memcpy(before, sd_network_values(t.network), bytes);
    t.pass.training = false;
    for (int i = 0; i < t.plan.units; i++)
        t.plan.scale[i] = 0.5f;
    mean_loss(&t);
    memcpy(together, t.logits, sizeof together);
    expect_same_bits("values", before, sd_network_values(t.network), bytes);
    for (size_t i = 0; i < sd_network_buffer_elems(t.network); i++)
        expect(sd_network_gradients(t.network)[i] == MARK, "gradient %zu", i);
    for (int i = 0; i < 4; i++) {
        const sd_pass one = {.images = 1, .plan = &t.plan};
        const sd_input image = images_from(&t, i);
        const float *logits = sd_network_forward(t.network, &one, &image);
        expect_close_floats("an image alone", logits, together + 10 * i, 10, 1e-5);
    }
    free(before);
    free_trainer(&t);
}
END_TEST

/* Unlike batch norm, layer norm lets the images of a batch be computed apart: so may the ranks. */
START_TEST(dropout_depends_on_the_place_in_the_global_batch_alone) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_transformer(0.5), 6, 4);
    scramble(t.network);
    float together[28], other[28];
    t.pass.seed = 9;
    t.pass.step = 2;
    t.pass.first_image = 8;
    mean_loss(&t);
    memcpy(together, t.logits, sizeof together);
    for (int i = 0; i < 2; i++) {
        const sd_pass half = {.images = 2,
                              .training = true,
                              .plan = &t.plan,
                              .batch_share = 0.5f,
                              .seed = 9,
                              .step = 2,
                              .first_image = (uint64_t)(8 + 2 * i)};
        const sd_input images = images_from(&t, 2 * i);
        const float *logits = sd_network_forward(t.network, &half, &images);
        expect_close_floats("half a batch", logits, together + 14 * i, 14, 1e-5);
    }
    for (int change = 0; change < 2; change++) { /* another step, another seed: another mask */
        t.pass.step += change == 0;
        t.pass.seed += change == 1;
        mean_loss(&t);
        memcpy(other, t.logits, sizeof other);
        ck_assert_mem_ne(together, other, sizeof other);
    }
    t.pass.training = false;
    mean_loss(&t);
    memcpy(other, t.logits, sizeof other);
    t.pass.step += 1;
    mean_loss(&t);
    expect_same_bits("an evaluation has no dropout", other, t.logits, sizeof other);
    free_trainer(&t);
}
END_TEST

/* timm's drop_rate: what is kept is enlarged, so that its expectation stays. The classifier hands its input on. */
START_TEST(dropout_zeroes_its_share_and_scales_what_it_keeps) {
    sd_kernels_set_threads(1);
    trainer t = new_trainer(new_transformer_of(12, 0.25), 6, 4);
    scramble(t.network);
    const sd_tensor *weight = find_tensor(t.network, "head.weight"), *bias = find_tensor(t.network, "head.bias");
    for (size_t i = 0; i < weight->elems; i++)
        value_of(t.network, weight)[i] = i / 12 == i % 12;
    memset(value_of(t.network, bias), 0, bias->elems * sizeof(float));
    float plain[4 * 12];
    int zeros = 0;
    t.pass.training = false;
    mean_loss(&t);
    memcpy(plain, t.logits, sizeof plain);
    t.pass.training = true;
    for (t.pass.step = 1; t.pass.step <= 50; t.pass.step++) {
        mean_loss(&t);
        for (int i = 0; i < 48; i++) {
            const float x = t.logits[i];
            zeros += x == 0;
            expect(x == 0 || fabs(x - plain[i] / 0.75) <= 1e-6 * fabs(x), "feature %d is %g, without dropout %g", i, x,
                   plain[i]);
        }
    }
    expect_number("zeros", zeros, 2400 * 0.25, 5 * sqrt(2400 * 0.25 * 0.75));
    free_trainer(&t);
}
END_TEST

/* ---- the tables ---- */

static const struct table_row {
    const char *name;
    int image_size, classes, patch_size, blocks, units;
    size_t parameters; /* of torchvision and timm; CIFAR: of the paper's option A, counted by hand below */
} table[] = {
    {"resnet20", 32, 10, 0, 9, 9, 269722},          {"resnet110", 32, 10, 0, 54, 54, 1727962},
    {"resnet18", 224, 1000, 0, 8, 8, 11689512},     {"resnet34", 224, 1000, 0, 16, 16, 21797672},
    {"resnet50", 224, 1000, 0, 16, 16, 25557032},   {"resnet101", 224, 1000, 0, 33, 33, 44549160},
    {"resnet152", 224, 1000, 0, 50, 50, 60192808},  {"vit_tiny", 224, 1000, 16, 12, 24, 5717416},
    {"vit_small", 224, 1000, 16, 12, 24, 22050664}, {"vit_base", 224, 1000, 16, 12, 24, 86567656},
};
enum { N_TABLE = sizeof table / sizeof table[0] };

static sd_network *table_model(const struct table_row *row, sd_unit_choice unit) {
    sd_kernels_set_threads(1);
    return new_model((sd_model_spec){.name = row->name,
                                     .image_size = row->image_size,
                                     .classes = row->classes,
                                     .patch_size = row->patch_size,
                                     .unit = unit},
                     1);
}

START_TEST(parameters_are_as_many_as_pytorch_counts) {
    const struct table_row *row = &table[_i];
    sd_network *network = table_model(row, SD_UNIT_BRANCH);
    ck_assert_uint_eq(sd_network_parameters(network), row->parameters);
    ck_assert_int_eq(sd_network_blocks(network), row->blocks);
    ck_assert_int_eq(sd_network_n_units(network), row->units);
    ck_assert_int_eq(sd_network_classes(network), row->classes);
    size_t sum = 0, in_segments = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        if (sd_network_tensor(network, i)->kind == SD_TENSOR_PARAMETER)
            sum += sd_network_tensor(network, i)->elems;
    for (int i = 0; i < sd_network_n_segments(network); i++)
        in_segments += sd_network_segment(network, i)->parameter_elems;
    ck_assert_uint_eq(sum, row->parameters);
    ck_assert_uint_eq(in_segments, row->parameters);
    sd_network_destroy(&network);
}
END_TEST

static void expect_table(sd_network *network) {
    size_t end = 0;
    const int n = sd_network_n_segments(network);
    for (int s = 0; s < n; s++) { /* one after the other, without holes */
        const sd_segment *segment = sd_network_segment(network, s);
        ck_assert_uint_eq(segment->offset_elems, end);
        end += segment->elems;
    }
    ck_assert_uint_eq(end, sd_network_buffer_elems(network));
    unsigned char *owner = calloc(end, 1);
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        const sd_segment *segment = sd_network_segment(network, t->segment);
        expect((uintptr_t)value_of(network, t) % 64 == 0 && (uintptr_t)gradient_of(network, t) % 64 == 0,
               "%s is not aligned", t->name);
        expect(t->offset_elems >= segment->offset_elems &&
                   t->offset_elems + t->elems <= segment->offset_elems + segment->elems,
               "%s is not in its segment", t->name);
        size_t elems = 1;
        for (int d = 0; d < t->dims; d++)
            elems *= (size_t)t->shape[d];
        ck_assert_uint_eq(elems, t->elems);
        for (size_t e = 0; e < t->elems; e++)
            expect(!owner[t->offset_elems + e]++, "%s lies upon another tensor", t->name);
        for (int j = 0; j < i; j++)
            expect(strcmp(t->name, sd_network_tensor(network, j)->name), "%s is there twice", t->name);
        bool norm_or_bias = t->dims == 1, embedding = t->dims == 3;
        expect(t->kind == SD_TENSOR_STATISTIC || t->matrix == !(norm_or_bias || embedding), "%s: matrix", t->name);
    }
    free(owner);
    const char *head = strcmp(sd_network_tensor(network, 0)->name, "cls_token") ? "fc.weight" : "head.weight";
    ck_assert_int_eq(find_tensor(network, head)->segment, 0); /* backward finishes the head first, the stem last */
    ck_assert_int_eq(sd_network_tensor(network, 0)->segment, n - 1);
}

START_TEST(tensors_and_segments_tile_the_buffer) {
    const char *names[] = {"resnet20", "resnet18", "resnet50", "vit_tiny"};
    sd_network *network =
        new_model((sd_model_spec){.name = names[_i], .image_size = 32, .classes = 11, .patch_size = 8}, 2);
    expect_table(network);
    sd_network_destroy(&network);
}
END_TEST

/* ResNet-20's rows of PyTorch's state_dict, from both ends; the goldens know them all. */
START_TEST(tensors_come_in_the_order_of_state_dict) {
    sd_network *network = new_model((sd_model_spec){.name = "resnet18", .image_size = 32, .classes = 10}, 1);
    const char *first[] = {"conv1.weight",
                           "bn1.weight",
                           "bn1.bias",
                           "bn1.running_mean",
                           "bn1.running_var",
                           "layer1.0.conv1.weight",
                           "layer1.0.bn1.weight",
                           "layer1.0.bn1.bias",
                           "layer1.0.bn1.running_mean",
                           "layer1.0.bn1.running_var",
                           "layer1.0.conv2.weight"};
    const int n = sd_network_n_tensors(network);
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        ck_assert_str_eq(sd_network_tensor(network, (int)i)->name, first[i]);
    ck_assert_str_eq(sd_network_tensor(network, n - 2)->name, "fc.weight");
    ck_assert_str_eq(sd_network_tensor(network, n - 1)->name, "fc.bias");
    find_tensor(network, "layer2.0.downsample.0.weight");
    find_tensor(network, "layer2.0.downsample.1.running_var");
    ck_assert_int_eq(n, 102); /* 122 of torchvision less 20 num_batches_tracked */
    sd_network_destroy(&network);
}
END_TEST

typedef struct done_log {
    trainer *trainer;
    int next;
    float *seen; /* the gradients as each segment was reported */
} done_log;

static void note_segment(void *context, int segment) {
    done_log *log = context;
    ck_assert_int_eq(segment, log->next++);
    const sd_segment *s = sd_network_segment(log->trainer->network, segment);
    memcpy(log->seen + s->offset_elems, sd_network_gradients(log->trainer->network) + s->offset_elems,
           s->elems * sizeof(float));
}

/* What has been reported may be on its way to other ranks: it must not change any more. */
START_TEST(segments_are_reported_in_order_and_complete) {
    sd_kernels_set_threads(1);
    const char *names[] = {"resnet20", "resnet18", "vit_tiny"};
    for (int dropped = 0; dropped < 2; dropped++) {
        trainer t = new_trainer(
            new_model((sd_model_spec){.name = names[_i], .image_size = 16, .classes = 10, .patch_size = 8}, 2), 16, 2);
        done_log log = {.trainer = &t, .seen = new_floats(sd_network_buffer_elems(t.network))};
        scramble(t.network);
        if (dropped)
            t.plan.kept[0] = t.plan.kept[2] = t.plan.kept[5] = t.plan.kept[t.plan.units - 1] = 0;
        train_pass(&t, note_segment, &log);
        ck_assert_int_eq(log.next, sd_network_n_segments(t.network));
        expect_same_bits("gradients", log.seen, sd_network_gradients(t.network),
                         sd_network_buffer_elems(t.network) * sizeof(float));
        free(log.seen);
        free_trainer(&t);
    }
}
END_TEST

START_TEST(units_are_the_branches_or_the_blocks_in_order) {
    sd_network *network = table_model(&table[0], SD_UNIT_BRANCH);
    ck_assert_str_eq(sd_network_unit(network, 0)->name, "layer1.0");
    ck_assert_str_eq(sd_network_unit(network, 8)->name, "layer3.2");
    for (int i = 0; i < 9; i++)
        ck_assert_int_eq(sd_network_unit(network, i)->depth, i + 1);
    ck_assert_uint_eq(sd_network_unit(network, 3)->parameters, 16 * 32 * 9 + 32 * 32 * 9 + 4 * 32); /* layer2.0 */
    sd_network_destroy(&network);
    for (int unit = 0; unit < 2; unit++) {
        const struct table_row row = {"vit_tiny", 32, 10, 8, 0, 0, 0};
        network = table_model(&row, unit ? SD_UNIT_BLOCK : SD_UNIT_BRANCH);
        ck_assert_int_eq(sd_network_n_units(network), unit ? 12 : 24);
        ck_assert_str_eq(sd_network_unit(network, 0)->name, unit ? "blocks.0" : "blocks.0.attn");
        ck_assert_str_eq(sd_network_unit(network, 1)->name, unit ? "blocks.1" : "blocks.0.mlp");
        const size_t attention = 192 * 576 + 576 + 192 * 192 + 192 + 2 * 192, mlp = 2 * 192 * 768 + 768 + 192 + 2 * 192;
        ck_assert_uint_eq(sd_network_unit(network, 0)->parameters, unit ? attention + mlp : attention);
        for (int i = 0; i < sd_network_n_units(network); i++)
            ck_assert_int_eq(sd_network_unit(network, i)->depth, unit ? i + 1 : i / 2 + 1);
        sd_network_destroy(&network);
    }
}
END_TEST

/* ---- work ---- */

/* Multiply-adds of a convolution with square maps and kernels. */
static double conv_macs(double out, double in_channels, double kernel, double channels) {
    return out * out * in_channels * kernel * kernel * channels;
}

/* 3x3 stem; in stage s (32 / 2^s pixels, 16 * 2^s filters) 6 convolutions, the first of stages 1 and 2 from half the
 * channels. */
START_TEST(flops_of_resnet20_equal_a_hand_count) {
    sd_network *network = table_model(&table[0], SD_UNIT_BRANCH);
    double macs = conv_macs(32, 3, 3, 16) + 6 * conv_macs(32, 16, 3, 16) + conv_macs(16, 16, 3, 32) +
                  5 * conv_macs(16, 32, 3, 32) + conv_macs(8, 32, 3, 64) + 5 * conv_macs(8, 64, 3, 64) + 64 * 10;
    ck_assert(macs == 40551040); /* 442,368 + 14,155,776 + 2 x (1,179,648 + 11,796,480) + 640 */
    ck_assert(sd_network_flops(network) == 2 * macs);
    ck_assert(sd_network_unit(network, 0)->flops == 2 * 2 * conv_macs(32, 16, 3, 16));
    ck_assert(sd_network_unit(network, 3)->flops == 2 * (conv_macs(16, 16, 3, 32) + conv_macs(16, 32, 3, 32)));
    double units = 0;
    for (int i = 0; i < 9; i++)
        units += sd_network_unit(network, i)->flops;
    ck_assert(units == 2 * (macs - conv_macs(32, 3, 3, 16) - 640)); /* shortcuts multiply nothing */
    sd_network_destroy(&network);
}
END_TEST

START_TEST(flops_of_resnet50_equal_a_hand_count) {
    const int blocks[] = {3, 4, 6, 3};
    double macs = conv_macs(112, 3, 7, 64), branches = 0, in = 64, first_of_stage_2 = 0;
    for (int stage = 0; stage < 4; stage++) {
        const double out = 56 >> stage, before = stage ? 2 * out : out, width = 64 << stage;
        for (int b = 0; b < blocks[stage]; b++, in = 4 * width) {
            double branch = conv_macs(b ? out : before, in, 1, width) + conv_macs(out, width, 3, width) +
                            conv_macs(out, width, 1, 4 * width);
            branches += branch;
            if (b == 0)
                macs += conv_macs(out, in, 1, 4 * width); /* projection */
            if (stage == 1 && b == 0)
                first_of_stage_2 = branch;
        }
    }
    macs += branches + 2048.0 * 1000;
    ck_assert(macs == 4089184256.0); /* what torchvision's is known for: 4.09 GMACs */
    sd_network *network = table_model(&table[4], SD_UNIT_BRANCH);
    ck_assert(sd_network_flops(network) == 2 * macs);
    ck_assert(sd_network_unit(network, 3)->flops == 2 * first_of_stage_2); /* without its shortcut */
    double units = 0;
    for (int i = 0; i < 16; i++)
        units += sd_network_unit(network, i)->flops;
    ck_assert(units == 2 * branches);
    sd_network_destroy(&network);
}
END_TEST

START_TEST(flops_of_resnet18_and_vit_equal_a_hand_count) {
    sd_network *network = table_model(&table[2], SD_UNIT_BRANCH);
    ck_assert(sd_network_flops(network) == 2 * 1814073344.0);
    sd_network_destroy(&network);
    const double T = 197, C = 192, attention = T * C * 3 * C + 2 * T * T * C + T * C * C, mlp = 2 * T * C * 4 * C;
    network = table_model(&table[7], SD_UNIT_BRANCH);
    ck_assert(sd_network_flops(network) == 2 * (196 * C * 768 + 12 * (attention + mlp) + C * 1000));
    ck_assert(sd_network_unit(network, 0)->flops == 2 * attention);
    ck_assert(sd_network_unit(network, 1)->flops == 2 * mlp);
    sd_network_destroy(&network);
}
END_TEST

START_TEST(the_smallest_map_that_batch_norm_sees_is_known) {
    static const struct {
        const char *name;
        int image_size;
        sd_stem_choice stem;
        size_t values;
    } rows[] = {{"resnet20", 32, SD_STEM_AUTO, 64},    {"resnet20", 4, SD_STEM_AUTO, 1},
                {"resnet18", 224, SD_STEM_AUTO, 49},   {"resnet18", 64, SD_STEM_AUTO, 64}, /* the CIFAR stem */
                {"resnet18", 65, SD_STEM_AUTO, 9},     {"resnet18", 64, SD_STEM_IMAGENET, 4},
                {"resnet50", 32, SD_STEM_IMAGENET, 1}, {"vit_tiny", 32, SD_STEM_AUTO, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sd_network *network = new_model((sd_model_spec){.name = rows[i].name,
                                                        .image_size = rows[i].image_size,
                                                        .classes = 10,
                                                        .stem = rows[i].stem,
                                                        .patch_size = 16},
                                        1);
        expect(sd_network_batchnorm_values(network) == rows[i].values, "%s at %d: %zu", rows[i].name,
               rows[i].image_size, sd_network_batchnorm_values(network));
        sd_network_destroy(&network);
    }
}
END_TEST

/* ---- layouts and initial values ---- */

START_TEST(export_gives_oihw_and_import_takes_it_back) {
    sd_network *network =
        new_model((sd_model_spec){.name = "resnet18", .image_size = 32, .classes = 10, .stem = SD_STEM_IMAGENET}, 1);
    sd_network_initialise(network, 3);
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        float *array = new_floats(t->elems), *back = new_floats(t->elems);
        sd_tensor_export(t, value_of(network, t), array);
        sd_tensor_import(t, array, back);
        expect_same_bits(t->name, back, value_of(network, t), t->elems * sizeof *back);
        ck_assert_int_eq(t->layout, t->dims == 4 ? SD_LAYOUT_HWIO : SD_LAYOUT_PLAIN);
        if (t->dims != 4)
            expect_same_bits(t->name, array, value_of(network, t), t->elems * sizeof *array);
        const int O = t->shape[0], I = t->shape[1], H = t->shape[2], W = t->shape[3];
        for (int o = 0; t->dims == 4 && o < O; o++)
            for (int c = 0; c < I; c++)
                for (int h = 0; h < H; h++)
                    for (int w = 0; w < W; w++)
                        expect(array[((o * I + c) * H + h) * W + w] ==
                                   value_of(network, t)[((h * W + w) * I + c) * O + o],
                               "%s at %d %d %d %d", t->name, o, c, h, w);
        free(array);
        free(back);
    }
    sd_network_destroy(&network);
}
END_TEST

static double deviation_of(sd_network *network, const sd_tensor *t, double *mean) {
    double sum = 0, square = 0;
    for (size_t e = 0; e < t->elems; e++)
        sum += value_of(network, t)[e];
    *mean = sum / (double)t->elems;
    for (size_t e = 0; e < t->elems; e++)
        square += pow(value_of(network, t)[e] - *mean, 2);
    return sqrt(square / (double)t->elems);
}

/* 5 sigma: the deviation of n normal numbers is known to 1/sqrt(2n) of itself, their mean to deviation / sqrt(n). */
static void expect_normal(sd_network *network, const sd_tensor *t, double deviation) {
    double mean, d = deviation_of(network, t, &mean), n = (double)t->elems;
    expect_number(t->name, d, deviation, 5 * deviation / sqrt(2 * n));
    expect_number(t->name, mean, 0, 5 * deviation / sqrt(n));
}

static void expect_uniform(sd_network *network, const sd_tensor *t, double bound) {
    double mean, d = deviation_of(network, t, &mean), most = 0;
    for (size_t e = 0; e < t->elems; e++)
        most = fmax(most, fabs(value_of(network, t)[e]));
    expect(most <= bound * (1 + 1e-6), "%s: %g is beyond %g", t->name, most, bound);
    if (t->elems > 100)
        expect_number(t->name, d, bound / sqrt(3), 5 * bound / sqrt((double)t->elems));
}

static void expect_constant(sd_network *network, const sd_tensor *t, float value) {
    for (size_t e = 0; e < t->elems; e++)
        expect(value_of(network, t)[e] == value, "%s: %g", t->name, value_of(network, t)[e]);
}

/* He et al. 2015 with fan out; PyTorch's default for the classifier. */
START_TEST(resnets_begin_as_torchvisions) {
    for (int zero = 0; zero < 2; zero++) {
        sd_network *network = new_model(
            (sd_model_spec){
                .name = _i ? "resnet50" : "resnet20", .image_size = 32, .classes = 10, .zero_init_residual = zero},
            1);
        sd_network_initialise(network, 1);
        int zeroed = 0;
        for (int i = 0; i < sd_network_n_tensors(network); i++) {
            const sd_tensor *t = sd_network_tensor(network, i);
            bool last = ends_with(t->name, _i ? "bn3.weight" : "bn2.weight");
            zeroed += zero && last;
            if (t->dims == 4)
                expect_normal(network, t, sqrt(2.0 / (t->shape[0] * t->shape[2] * t->shape[3])));
            else if (!strncmp(t->name, "fc.", 3))
                expect_uniform(network, t, 1 / sqrt(_i ? 2048 : 64));
            else if (ends_with(t->name, ".bias") || ends_with(t->name, "running_mean") || (zero && last))
                expect_constant(network, t, 0);
            else
                expect_constant(network, t, 1);
        }
        ck_assert_int_eq(zeroed, !zero ? 0 : _i ? 16 : 9);
        sd_network_destroy(&network);
    }
}
END_TEST

START_TEST(vits_begin_as_timms) {
    sd_network *network =
        new_model((sd_model_spec){.name = "vit_tiny", .image_size = 32, .classes = 10, .patch_size = 4}, 1);
    sd_network_initialise(network, 1);
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *t = sd_network_tensor(network, i);
        if (!strncmp(t->name, "patch_embed.proj", 16))
            expect_uniform(network, t, 1 / sqrt(48));
        else if (!strcmp(t->name, "cls_token"))
            expect_normal(network, t, 1e-6);
        else if (!strcmp(t->name, "pos_embed") || t->dims == 2)
            expect_normal(network, t, 0.02);
        else
            expect_constant(network, t, ends_with(t->name, ".bias") ? 0 : 1);
    }
    sd_network_destroy(&network);
}
END_TEST

START_TEST(weights_are_a_function_of_the_seed) {
    const sd_model_spec spec = {.name = "resnet20", .image_size = 8, .classes = 10};
    sd_network *a = new_model(spec, 1), *b;
    expect_ok(sd_model_create(&spec, sd_kernels_at(0), 7, &b)); /* whatever the batch and the instruction set */
    const size_t bytes = sd_network_buffer_elems(a) * sizeof(float);
    sd_network_initialise(a, 1);
    sd_network_initialise(b, 1);
    expect_same_bits("the same seed", sd_network_values(a), sd_network_values(b), bytes);
    fill_gradients(b, 3);
    sd_network_initialise(b, 2);
    for (int i = 0; i < sd_network_n_tensors(a); i++) {
        const sd_tensor *t = sd_network_tensor(a, i), *other = sd_network_tensor(b, i);
        bool drawn = t->dims == 4 || !strncmp(t->name, "fc.", 3);
        expect((memcmp(value_of(a, t), value_of(b, other), t->elems * sizeof(float)) != 0) == drawn, "%s", t->name);
    }
    sd_network_initialise(b, 1);
    expect_same_bits("again", sd_network_values(a), sd_network_values(b), bytes);
    const sd_tensor *one = find_tensor(a, "layer1.0.conv1.weight"), *two = find_tensor(a, "layer1.0.conv2.weight");
    ck_assert_mem_ne(value_of(a, one), value_of(a, two),
                     one->elems * sizeof(float)); /* tensors of one shape are not copies */
    sd_network_destroy(&a);
    sd_network_destroy(&b);
}
END_TEST

/* Element i of a tensor, in PyTorch's order, is a function of seed, place in the table and i. */
START_TEST(initial_values_are_those_of_the_documented_counter) {
    sd_network *network = new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 1);
    sd_network_initialise(network, 77);
    const sd_tensor *t = sd_network_tensor(network, 5);
    ck_assert_str_eq(t->name, "layer1.0.conv1.weight");
    float *array = new_floats(t->elems);
    sd_tensor_export(t, value_of(network, t), array);
    for (size_t e = 0; e < t->elems; e++)
        expect_number(t->name, array[e], sqrt(2.0 / 144) * sd_random_normal(sd_random_at(77, 2, e, 5)), 1e-7);
    free(array);
    sd_network_destroy(&network);
}
END_TEST

START_TEST(a_batch_that_does_not_fit_is_refused) {
    sd_network *network;
    const sd_model_spec spec = {.name = "resnet20", .image_size = 32, .classes = 10};
    expect_refused(sd_model_create(&spec, best_kernels(), 1 << 30, &network), SD_ERR_MEMORY, "memory", "batch", NULL);
}
END_TEST

/* ---- threads ---- */

static const sd_model_spec threaded_models[] = {
    {.name = "resnet20", .image_size = 16, .classes = 10},
    {.name = "resnet20", .image_size = 16, .classes = 10, .convolution = SD_CONVOLUTION_DIRECT},
    {.name = "vit_tiny", .image_size = 16, .classes = 10, .patch_size = 4},
};
enum { N_THREADED_MODELS = sizeof threaded_models / sizeof threaded_models[0] };

/* Its scratch was taken for the threads of then: more would write behind it, where here the guard is and elsewhere
 * gradients are. */
START_TEST(a_network_runs_on_the_threads_it_was_built_for) {
    enum { BUILT_FOR = 1, SET_LATER = 4, IMAGES = 4 };
    const sd_model_spec *spec = &threaded_models[_i];
    sd_kernels_set_threads(BUILT_FOR);
    trainer t = new_trainer(new_model(*spec, IMAGES), spec->image_size, IMAGES);
    scramble(t.network);
    const size_t elems = sd_network_buffer_elems(t.network), planned = t.network->scratch_elems;
    float *gradients = new_floats(elems), *scratch = new_floats(planned * SET_LATER), *own = t.network->scratch;
    fill_gradients(t.network, 0); /* between tensors */
    const double loss = train_pass(&t, ignore_segment, NULL);
    memcpy(gradients, sd_network_gradients(t.network), elems * sizeof *gradients);

    sd_kernels_set_threads(SET_LATER);
    for (size_t i = 0; i < planned * SET_LATER; i++)
        scratch[i] = MARK;
    t.network->scratch = scratch;
    ck_assert(train_pass(&t, ignore_segment, NULL) == loss);
    expect_same_bits("gradients", gradients, sd_network_gradients(t.network), elems * sizeof *gradients);
    for (size_t i = planned; i < planned * SET_LATER; i++)
        expect(scratch[i] == MARK, "%s: scratch is written %zu values behind its end", spec->name, i - planned);
    t.network->scratch = own;
    sd_kernels_set_threads(BUILT_FOR);
    free(scratch);
    free(gradients);
    free_trainer(&t);
}
END_TEST

/* ---- calls out of order ---- */

static const sd_conv_spec CONV = {8, 3, 1};

static sd_status no_stem(sd_network *network) { return sd_build_pool_head(network, 0); }

static sd_status two_stems(sd_network *network) {
    SD_TRY(sd_build_conv_stem(network, (sd_shape){8, 8, 3}, &CONV, false));
    return sd_build_conv_stem(network, (sd_shape){8, 8, 3}, &CONV, false);
}

static sd_status no_head(sd_network *network) { return sd_build_conv_stem(network, (sd_shape){8, 8, 3}, &CONV, false); }

static sd_status begin_residual(sd_network *network, sd_shortcut_kind shortcut, bool relu, int unit) {
    SD_TRY(sd_build_conv_stem(network, (sd_shape){8, 8, 3}, &CONV, false));
    return sd_build_residual_begin(
        network, &(sd_residual_spec){.name = "a", .unit = unit, .stride = 1, .shortcut = shortcut, .relu = relu});
}

static sd_status no_branch(sd_network *network) {
    SD_TRY(begin_residual(network, SD_SHORTCUT_IDENTITY, true, -1));
    return sd_build_residual_end(network);
}

static sd_status a_branch_outside(sd_network *network) {
    SD_TRY(no_head(network));
    return sd_build_conv_branch(network, 1, &CONV, false);
}

static sd_status two_branches(sd_network *network) {
    SD_TRY(begin_residual(network, SD_SHORTCUT_IDENTITY, true, -1));
    SD_TRY(sd_build_conv_branch(network, 1, &CONV, false));
    return sd_build_conv_branch(network, 1, &CONV, false);
}

static sd_status not_ended(sd_network *network) {
    SD_TRY(begin_residual(network, SD_SHORTCUT_IDENTITY, true, -1));
    SD_TRY(sd_build_conv_branch(network, 1, &CONV, false));
    return sd_build_pool_head(network, 0);
}

static sd_status ended_as_another(sd_network *network) {
    SD_TRY(begin_residual(network, SD_SHORTCUT_IDENTITY, true, -1));
    SD_TRY(sd_build_conv_branch(network, 1, &CONV, false));
    return sd_build_transition_end(network);
}

static sd_status an_identity_that_changes_the_shape(sd_network *network) {
    SD_TRY(begin_residual(network, SD_SHORTCUT_IDENTITY, true, -1));
    SD_TRY(sd_build_conv_branch(network, 1, &(sd_conv_spec){9, 3, 1}, false));
    return sd_build_residual_end(network);
}

static sd_status a_projection_of_another_stride(sd_network *network) {
    SD_TRY(begin_residual(network, SD_SHORTCUT_PROJECTION, true, -1));
    SD_TRY(sd_build_conv_branch(network, 1, &(sd_conv_spec){9, 3, 2}, false));
    return sd_build_residual_end(network);
}

static sd_status a_unit_that_is_not_there(sd_network *network) {
    return begin_residual(network, SD_SHORTCUT_IDENTITY, true, 0);
}

static sd_status a_relu_after_a_transformers_branch(sd_network *network) {
    SD_TRY(begin_residual(network, SD_SHORTCUT_IDENTITY, true, -1));
    return sd_build_mlp_branch(network, &(sd_mlp_spec){.hidden = 4, .norm = "n", .fc1 = "f", .fc2 = "g"});
}

static sd_status heads_that_do_not_divide(sd_network *network) {
    SD_TRY(begin_residual(network, SD_SHORTCUT_IDENTITY, false, -1));
    return sd_build_attention_branch(network,
                                     &(sd_attention_spec){.heads = 3, .norm = "n", .qkv = {"q"}, .projection = "p"});
}

static const struct {
    sd_status (*define)(sd_network *network);
    const char *words;
} misuses[] = {{no_stem, "begins with a stem"},
               {two_stems, "one stem"},
               {no_head, "ends with a head"},
               {no_branch, "a: it has no branch"},
               {a_branch_outside, "within a residual"},
               {two_branches, "one in each"},
               {not_ended, "before 'a' has ended"},
               {ended_as_another, "no transition is open"},
               {an_identity_that_changes_the_shape, "does not lead from [8, 8, 8] to [8, 8, 9]"},
               {a_projection_of_another_stride, "stride 1 does not lead from [8, 8, 8] to [4, 4, 9]"},
               {a_unit_that_is_not_there, "no decision unit 0"},
               {a_relu_after_a_transformers_branch, "no ReLU"},
               {heads_that_do_not_divide, "3 heads do not divide 8"}};

static sd_status define(sd_network *network, sd_status (*definition)(sd_network *network)) {
    SD_TRY(definition(network));
    return sd_network_finish(network);
}

START_TEST(a_definition_out_of_order_is_refused) {
    sd_network *network;
    expect_ok(sd_network_create(best_kernels(), &(sd_network_spec){.max_images = 2, .classes = 10}, &network));
    expect_refused(define(network, misuses[_i].define), SD_ERR_INTERNAL, misuses[_i].words, NULL);
    sd_network_destroy(&network);
}
END_TEST

/* ---- names ---- */

static sd_status outline(const char *name) {
    sd_network *network;
    const sd_model_spec spec = {.name = name, .image_size = 32, .classes = 10, .patch_size = 16};
    const sd_status status = sd_model_outline(&spec, sd_kernels_at(0), 1, &network);
    sd_network_destroy(&network);
    return status;
}

START_TEST(every_documented_model_is_known) {
    char name[32];
    for (int depth = 20; depth <= 1202; depth += 6) {
        snprintf(name, sizeof name, "resnet%d", depth);
        expect_ok(outline(name));
    }
    const char *names[] = {"resnet18",  "resnet34", "resnet50",  "resnet101",
                           "resnet152", "vit_tiny", "vit_small", "vit_base"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        expect_ok(outline(names[i]));
}
END_TEST

START_TEST(other_names_are_refused) {
    const char *names[] = {"",          "resnet",   "resnet8",     "resnet14",
                           "resnet21",  "resnet19", "resnet1208",  "resnet020",
                           "resnet20x", "Resnet20", "resnet-20",   "resnet20.0",
                           "vit",       "vit_huge", "vit_tiny_16", "resnet99999999999999999999"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        expect_refused(outline(names[i]), SD_ERR_CONFIG, "model.name: ", names[i], NULL);
}
END_TEST

START_TEST(a_depth_is_digits_alone) {
    const char *names[] = {"resnet 20", "resnet+20", "resnet\t20"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        expect_refused(outline(names[i]), SD_ERR_CONFIG, "model.name: ", NULL);
}
END_TEST

START_TEST(what_a_model_cannot_be_is_refused_with_its_key) {
    sd_network *network;
    sd_model_spec spec = {.name = "resnet20", .image_size = 32, .classes = 10, .stem = SD_STEM_IMAGENET};
    expect_refused(sd_model_create(&spec, best_kernels(), 1, &network), SD_ERR_CONFIG, "model.stem: ", NULL);
    spec = (sd_model_spec){.name = "vit_tiny", .image_size = 32, .classes = 10, .patch_size = 5};
    expect_refused(sd_model_create(&spec, best_kernels(), 1, &network), SD_ERR_CONFIG, "model.patch_size: ", "32",
                   NULL);
    spec.patch_size = 0;
    expect_refused(sd_model_create(&spec, best_kernels(), 1, &network), SD_ERR_CONFIG, "model.patch_size: ", NULL);
    spec.patch_size = 64;
    expect_refused(sd_model_create(&spec, best_kernels(), 1, &network), SD_ERR_CONFIG, "model.patch_size: ", NULL);
    ck_assert_ptr_null(network);
    spec.name = "resnet21";
    expect_refused(sd_model_create(&spec, best_kernels(), 1, &network), SD_ERR_CONFIG, "model.name: ", NULL);
}
END_TEST

/* ---- names ---- */

/* What is refused is destroyed and NULL. */
static sd_status build(sd_status (*add_block)(sd_network *, const char *), const char *name, sd_network **network) {
    sd_status status = sd_network_create(best_kernels(), &(sd_network_spec){.max_images = 2, .classes = 10}, network);
    if (status == SD_OK)
        status = add_block(*network, name);
    if (status == SD_OK)
        status = sd_network_finish(*network);
    if (status != SD_OK)
        sd_network_destroy(network);
    return status;
}

/* A basic block with a projection, all of whose names begin with `name`, between a stem and a head. */
static sd_status add_conv_block(sd_network *network, const char *name) {
    const sd_conv_spec stem = {8, 3, 1}, convs[] = {{16, 3, 2}, {16, 3, 1}};
    sd_residual_spec residual = {.name = name, .shortcut = SD_SHORTCUT_PROJECTION, .stride = 2, .relu = true};
    SD_TRY(sd_build_conv_stem(network, (sd_shape){8, 8, 3}, &stem, false));
    SD_TRY(sd_build_unit(network, name, 1, &residual.unit));
    SD_TRY(sd_build_residual_begin(network, &residual));
    SD_TRY(sd_build_conv_branch(network, 2, convs, false));
    SD_TRY(sd_build_residual_end(network));
    return sd_build_pool_head(network, 0);
}

static sd_status add_mlp(sd_network *network, const char *name) {
    const sd_mlp_spec mlp = {.hidden = 16, .norm = "norm2", .fc1 = "mlp.fc1", .fc2 = "mlp.fc2", .epsilon = 1e-6f};
    SD_TRY(sd_build_residual_begin(network, &(sd_residual_spec){.name = name, .unit = -1}));
    SD_TRY(sd_build_mlp_branch(network, &mlp));
    return sd_build_residual_end(network);
}

/* A transformer block. */
static sd_status add_transformer_block(sd_network *network, const char *name) {
    const sd_attention_spec attention = {
        .heads = 2, .norm = "norm1", .qkv = {"attn.qkv"}, .projection = "attn.proj", .epsilon = 1e-6f};
    SD_TRY(sd_build_patch_stem(network, (sd_shape){8, 8, 3}, 16, 4));
    SD_TRY(sd_build_residual_begin(network, &(sd_residual_spec){.name = name, .unit = -1}));
    SD_TRY(sd_build_attention_branch(network, &attention));
    SD_TRY(sd_build_residual_end(network));
    SD_TRY(add_mlp(network, name));
    return sd_build_token_head(network, 0, 1e-6f);
}

/* Its second half has the first's names. */
static sd_status add_two_mlps(sd_network *network, const char *name) {
    SD_TRY(sd_build_patch_stem(network, (sd_shape){8, 8, 3}, 16, 4));
    SD_TRY(add_mlp(network, name));
    SD_TRY(add_mlp(network, name));
    return sd_build_token_head(network, 0, 1e-6f);
}

/* bert.encoder.bert.encoder. ... of so many characters. */
static const char *name_of(int characters) {
    static char name[256];
    for (int i = 0; i < characters; i++)
        name[i] = "bert.encoder."[i % 13];
    name[characters] = '\0';
    return name;
}

static void expect_tensor(const sd_network *network, const char *suffix) {
    char name[256];
    snprintf(name, sizeof name, "%s.%s", name_of(101), suffix);
    (void)find_tensor(network, name);
}

/* 101 characters and the longest suffix, of 26 with its dot: a name of 127. */
START_TEST(names_of_127_characters_are_kept_whole) {
    sd_network *network;
    expect_ok(build(add_conv_block, name_of(101), &network));
    ck_assert_str_eq(sd_network_unit(network, 0)->name, name_of(101));
    expect_tensor(network, "conv1.weight");
    expect_tensor(network, "bn2.running_var");
    expect_tensor(network, "downsample.0.weight");
    expect_tensor(network, "downsample.1.running_mean");
    sd_network_destroy(&network);
    expect_ok(build(add_transformer_block, name_of(101), &network));
    expect_tensor(network, "norm1.weight");
    expect_tensor(network, "attn.proj.weight");
    expect_tensor(network, "mlp.fc2.bias");
    sd_network_destroy(&network);
}
END_TEST

START_TEST(names_that_do_not_fit_are_refused) {
    sd_network *network;
    expect_refused(build(add_conv_block, name_of(102), &network), SD_ERR_INTERNAL, "128 characters", "at most 127",
                   name_of(102), NULL);
    for (int characters = 103; characters < 256; characters++)
        expect_refused(build(add_conv_block, name_of(characters), &network), SD_ERR_INTERNAL, "at most 127",
                       name_of(100), NULL);
    expect_refused(build(add_transformer_block, name_of(130), &network), SD_ERR_INTERNAL, "at most 127", NULL);
    expect_refused(build(add_two_mlps, name_of(117), &network), SD_ERR_INTERNAL, "at most 127", NULL);
    ck_assert_ptr_null(network);
}
END_TEST

START_TEST(a_second_tensor_of_a_name_is_refused) {
    sd_network *network;
    expect_refused(build(add_two_mlps, "blocks.0", &network), SD_ERR_INTERNAL, "two tensors", "'blocks.0.norm2.weight'",
                   NULL);
    ck_assert_ptr_null(network);
}
END_TEST

/* AdamW: /optimizer/exp_avg_sq/NAME is the longest path of a file; a batch norm adds num_batches_tracked. */
START_TEST(a_checkpoint_holds_names_of_127_characters) {
    sd_network *network;
    sd_optimizer *optimizer;
    sd_checkpoint_file *file;
    sd_entry *entries;
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 32];
    int n_entries, whole = 0;
    sd_config *config = config_of("optimizer.name=adamw", NULL);
    expect_ok(build(add_conv_block, name_of(101), &network));
    expect_ok(sd_optimizer_create(&config->optimizer, network, &optimizer));
    sd_network_initialise(network, 1);
    const size_t bytes = sd_network_buffer_elems(network) * sizeof(float);
    float *values = new_floats(sd_network_buffer_elems(network));
    memcpy(values, sd_network_values(network), bytes);
    double timing[2] = {1, 2};
    sd_snapshot snapshot;
    sd_checkpoint_info info, saved = {.config = (char[]){"[run]\n"},
                                      .ranks = 1,
                                      .threads = 1,
                                      .isa = "ref",
                                      .scale = "inference",
                                      .deviation = {1, 1, 1},
                                      .timing = timing,
                                      .n_phases = 2};
    make_folder(folder);
    snprintf(path, sizeof path, "%s/step-00000001.h5", folder);
    expect_ok(sd_snapshot_create(network, optimizer, 0, &snapshot));
    sd_snapshot_take(&snapshot, network, optimizer);
    expect_ok(sd_checkpoint_save(
        path,
        &(sd_checkpoint_content){.network = network, .optimizer = optimizer, .snapshot = &snapshot, .info = &saved}));
    sd_snapshot_free(&snapshot);
    sd_network_initialise(network, 2);
    expect_ok(sd_checkpoint_open(path, 2, &file, &info));
    expect_ok(sd_checkpoint_apply(file, network, optimizer));
    expect_same_bits("values", values, sd_network_values(network), bytes);
    expect_ok(sd_checkpoint_entries(file, &entries, &n_entries));
    for (int i = 0; i < n_entries; i++)
        whole += strstr(entries[i].path, name_of(101)) != NULL;
    /* 3 convolutions, each with a norm of 4 tensors and a counter; of 3 + 6 learned tensors two moments */
    ck_assert_int_eq(whole, 3 + 3 * 5 + 2 * 9);
    sd_checkpoint_close(&file);
    sd_optimizer_destroy(&optimizer);
    sd_network_destroy(&network);
    free(entries);
    free(values);
    sd_checkpoint_info_free(&info);
    free(config);
    remove_folder(folder);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("network");
    tcase_add_test(cases, gradients_of_resnet20_equal_finite_differences);
    tcase_add_test(cases, gradients_of_resnet18_equal_finite_differences);
    tcase_add_test(cases, gradients_of_vit_tiny_equal_finite_differences);
    tcase_add_test(cases, gradients_of_bottlenecks_equal_finite_differences);
    tcase_add_test(cases, gradients_of_transitions_equal_finite_differences);
    tcase_add_loop_test(cases, a_definition_out_of_order_is_refused, 0, sizeof misuses / sizeof misuses[0]);
    tcase_add_test(cases, gradients_of_a_transformer_equal_finite_differences);
    tcase_add_test(cases, gradients_of_bottlenecks_that_some_images_keep_equal_finite_differences);
    tcase_add_test(cases, gradients_of_resnet20_that_some_images_keep_equal_finite_differences);
    tcase_add_test(cases, gradients_of_single_values_equal_finite_differences);
    tcase_add_test(cases, gradients_of_a_transformer_that_some_images_keep_equal_finite_differences);
    tcase_add_test(cases, an_image_of_a_vit_comes_out_as_if_the_batch_decided_as_it_does);
    tcase_add_loop_test(cases, a_part_of_all_images_changes_no_bit, 0, 3);
    tcase_add_loop_test(cases, a_branch_that_no_image_here_keeps_is_reported_but_not_written, 0, 3);
    tcase_add_test(cases, statistics_of_single_values_do_not_move_by_a_bit);
    tcase_add_test(cases, two_ranks_of_a_vit_with_deciding_samples_are_one);
    tcase_add_loop_test(cases, gradients_above_frozen_layers_equal_finite_differences, 0, 2 * N_FROZEN_ROWS);
    tcase_add_loop_test(cases, the_backward_pass_ends_at_the_lowest_trained_layer, 0, N_FROZEN_ROWS);
    tcase_add_test(cases, trained_layers_of_a_vit_have_the_gradients_of_an_unfrozen_one);
    tcase_add_test(cases, frozen_batch_norms_normalise_by_running_statistics_and_keep_them);
    tcase_add_test(cases, a_batch_norm_that_is_frozen_in_part_takes_statistics_as_ever);
    tcase_add_test(cases, room_to_gather_is_taken_only_where_it_is_asked_for);
    tcase_add_test(cases, gradients_of_a_dropped_unit_are_not_touched);
    tcase_add_test(cases, a_dropped_branch_is_not_read_either);
    tcase_add_test(cases, a_network_without_any_branch_still_works);
    tcase_add_test(cases, statistics_of_a_dropped_unit_stand_still_and_its_shortcuts_move);
    tcase_add_test(cases, running_statistics_follow_the_batch_as_in_pytorch);
    tcase_add_test(cases, an_evaluation_changes_nothing_and_sees_each_image_alone);
    tcase_add_test(cases, dropout_depends_on_the_place_in_the_global_batch_alone);
    tcase_add_test(cases, dropout_zeroes_its_share_and_scales_what_it_keeps);
    tcase_add_loop_test(cases, parameters_are_as_many_as_pytorch_counts, 0, N_TABLE);
    tcase_add_loop_test(cases, tensors_and_segments_tile_the_buffer, 0, 4);
    tcase_add_test(cases, tensors_come_in_the_order_of_state_dict);
    tcase_add_loop_test(cases, segments_are_reported_in_order_and_complete, 0, 3);
    tcase_add_test(cases, units_are_the_branches_or_the_blocks_in_order);
    tcase_add_test(cases, flops_of_resnet20_equal_a_hand_count);
    tcase_add_test(cases, flops_of_resnet50_equal_a_hand_count);
    tcase_add_test(cases, flops_of_resnet18_and_vit_equal_a_hand_count);
    tcase_add_test(cases, the_smallest_map_that_batch_norm_sees_is_known);
    tcase_add_test(cases, export_gives_oihw_and_import_takes_it_back);
    tcase_add_loop_test(cases, resnets_begin_as_torchvisions, 0, 2);
    tcase_add_test(cases, vits_begin_as_timms);
    tcase_add_test(cases, weights_are_a_function_of_the_seed);
    tcase_add_test(cases, initial_values_are_those_of_the_documented_counter);
    tcase_add_test(cases, every_documented_model_is_known);
    tcase_add_test(cases, other_names_are_refused);
    tcase_add_test(cases, a_depth_is_digits_alone);
    tcase_add_test(cases, what_a_model_cannot_be_is_refused_with_its_key);
    tcase_add_test(cases, a_batch_that_does_not_fit_is_refused);
    tcase_add_loop_test(cases, a_network_runs_on_the_threads_it_was_built_for, 0, N_THREADED_MODELS);
    tcase_add_test(cases, names_of_127_characters_are_kept_whole);
    tcase_add_test(cases, names_that_do_not_fit_are_refused);
    tcase_add_test(cases, a_second_tensor_of_a_name_is_refused);
    tcase_add_test(cases, a_checkpoint_holds_names_of_127_characters);
    return run_suite("network", cases);
}
