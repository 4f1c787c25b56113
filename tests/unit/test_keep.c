/* SPDX-License-Identifier: Apache-2.0 */
/* models/keep, models/prune: rules of blocks to keep, and what is left; a network of its own that computes the same. */
#include "../support.h"

static sd_network *vit(sd_unit_choice unit) {
    return new_model((sd_model_spec){.name = "vit_tiny", .image_size = 16, .patch_size = 8, .classes = 3, .unit = unit},
                     1);
}

static sd_network *resnet(void) {
    return new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 1);
}

static void expect_kept(const sd_network *network, const char *rule, const char *kept) {
    unsigned char keep[64];
    char *text;
    expect_ok(sd_model_keep(network, rule, 1, keep));
    expect_ok(sd_model_kept_text(network, keep, ',', &text));
    expect(!strcmp(text, kept), "%s keeps %s, not %s", rule, text, kept);
    free(text);
}

START_TEST(rules_keep_what_they_say) {
    for (int unit = 0; unit < 2; unit++) {
        sd_network *network = vit((sd_unit_choice)unit);
        ck_assert_int_eq(sd_model_removable_blocks(network), 12);
        expect_kept(network, "0,2,4", "0,2,4");
        expect_kept(network, "11,0", "0,11");
        expect_kept(network, "every_other:12", "0,1,2,3,4,5,6,7,8,9,10,11");
        expect_kept(network, "every_other:6", "0,2,4,6,8,10"); /* as Fan et al. prune half of the layers */
        expect_kept(network, "every_other:3", "0,4,8");
        expect_kept(network, "every_other:5", "0,2,4,7,9");
        expect_kept(network, "first:2", "0,1");
        expect_kept(network, "last:2", "10,11");
        expect_kept(network, "first:0", "");
        sd_network_destroy(&network);
    }
}
END_TEST

START_TEST(random_blocks_are_drawn_by_the_seed) {
    sd_network *network = vit(SD_UNIT_BLOCK);
    int times[12] = {0}, differ = 0;
    unsigned char keep[12], again[12], last[12] = {0};
    for (uint32_t seed = 1; seed <= 600; seed++) {
        int n = 0;
        expect_ok(sd_model_keep(network, "random:4", seed, keep));
        expect_ok(sd_model_keep(network, "random:4", seed, again));
        ck_assert_mem_eq(keep, again, sizeof keep);
        for (int i = 0; i < 12; i++) {
            n += keep[i];
            times[i] += keep[i];
        }
        ck_assert_int_eq(n, 4);
        differ += memcmp(keep, last, sizeof keep) != 0;
        memcpy(last, keep, sizeof keep);
    }
    ck_assert_int_gt(differ, 550);
    for (int i = 0; i < 12; i++)
        expect_number("times a block is kept", times[i], 200, 5 * sqrt(600 * (1.0 / 3) * (2.0 / 3))); /* 5 sigma */
    sd_network_destroy(&network);
}
END_TEST

/* Blocks 3 and 6 of a ResNet-20 subsample: they stay, and k does not count them. */
START_TEST(blocks_that_change_shapes_stay) {
    sd_network *network = resnet();
    unsigned char keep[16];
    ck_assert_int_eq(sd_model_removable_blocks(network), 7);
    expect_kept(network, "first:0", "3,6");
    expect_kept(network, "first:3", "0,1,2,3,6");
    expect_kept(network, "every_other:7", "0,1,2,3,4,5,6,7,8");
    expect_kept(network, "last:1", "3,6,8");
    expect_kept(network, "3,6", "3,6");
    expect_refused(sd_model_keep(network, "0,1,6", 1, keep), SD_ERR_USAGE, "block 3", "shapes", NULL);
    sd_network_destroy(&network);
}
END_TEST

START_TEST(what_is_no_rule_is_refused) {
    sd_network *network = vit(SD_UNIT_BLOCK);
    unsigned char keep[16];
    const char *const no_rules[] = {"",      "a",      "1,",     ",1",       "1,,2", "-1",           "1 2",
                                    "first", "first:", "last:x", "middle:3", "0x1",  "every_other:", "random:1.5"};
    for (size_t i = 0; i < sizeof no_rules / sizeof no_rules[0]; i++)
        expect_refused(sd_model_keep(network, no_rules[i], 1, keep), SD_ERR_USAGE, "every_other:K", NULL);
    expect_refused(sd_model_keep(network, "0,12", 1, keep), SD_ERR_USAGE, "no block 12", "0 to 11", NULL);
    expect_refused(sd_model_keep(network, "99999999999999999999", 1, keep), SD_ERR_USAGE, "no block", NULL);
    expect_refused(sd_model_keep(network, "3,3", 1, keep), SD_ERR_USAGE, "block 3 is named twice", NULL);
    expect_refused(sd_model_keep(network, "random:13", 1, keep), SD_ERR_USAGE, "12 blocks", NULL);
    sd_network_destroy(&network);
}
END_TEST

START_TEST(what_is_left_is_counted) {
    sd_network *network = vit(SD_UNIT_BRANCH);
    unsigned char keep[24];
    expect_ok(sd_model_keep(network, "every_other:12", 1, keep));
    ck_assert_uint_eq(sd_model_kept_parameters(network, keep), sd_network_parameters(network));
    ck_assert(sd_model_kept_flops(network, keep) == sd_network_flops(network));
    expect_ok(sd_model_keep(network, "first:9", 1, keep));
    const size_t layer = 12 * 192 * 192 + 13 * 192; /* of ViT: 4 d d + 8 d d weights, 9 d biases, 4 d of norms */
    ck_assert_uint_eq(sd_model_kept_parameters(network, keep), sd_network_parameters(network) - 3 * layer);
    const double flops =
        sd_network_flops(network) - 3 * (sd_network_unit(network, 0)->flops + sd_network_unit(network, 1)->flops);
    expect_number("FLOPs", sd_model_kept_flops(network, keep), flops, 1e-6 * flops);
    sd_network_destroy(&network);
}
END_TEST

/* ---- pruned ---- */

static void expect_stages(sd_model_spec spec, const char *rule, sd_stages expected) {
    sd_network *network = new_model(spec, 1);
    unsigned char keep[64];
    sd_stages stages;
    expect_ok(sd_model_keep(network, rule, 1, keep));
    expect_ok(sd_model_stages(&spec, &stages));
    const sd_stages kept = sd_model_kept_stages(network, &stages, keep);
    ck_assert_int_eq(kept.n, expected.n);
    for (int s = 0; s < kept.n; s++)
        expect(kept.blocks[s] == expected.blocks[s], "%s of %s: stage %d has %d blocks, not %d", rule, spec.name, s,
               kept.blocks[s], expected.blocks[s]);
    sd_network_destroy(&network);
}

START_TEST(stages_have_the_blocks_that_are_left) {
    const sd_model_spec resnet50 = {.name = "resnet50", .image_size = 32, .classes = 10},
                        resnet20 = {.name = "resnet20", .image_size = 8, .classes = 10},
                        vit = {.name = "vit_tiny", .image_size = 16, .patch_size = 8, .classes = 3};
    expect_stages(resnet50, "every_other:12", (sd_stages){4, {3, 4, 6, 3}});
    expect_stages(resnet50, "0,2,3,7,8,12,13", (sd_stages){4, {2, 1, 3, 1}});
    expect_stages(resnet50, "first:0", (sd_stages){4, {1, 1, 1, 1}});
    expect_stages(resnet20, "last:2", (sd_stages){3, {0, 1, 3}});
    expect_stages(vit, "0,5,11", (sd_stages){1, {3}});
}
END_TEST

/* What a network of all parts of the model has, and no two alike: values, and rates of its units. */
static sd_network *new_filled(sd_model_spec spec, int images) {
    sd_network *network = new_model(spec, images);
    sd_network_initialise(network, 5);
    for (int i = 0; i < sd_network_n_tensors(network); i++) { /* norms as training leaves them */
        const sd_tensor *t = sd_network_tensor(network, i);
        for (size_t e = 0; e < t->elems && t->dims == 1; e++)
            value_of(network, t)[e] += (float)(0.3 * sd_random_uniform(sd_random_at(9, 96, e, (uint64_t)i).word[0]));
    }
    for (int s = 0; s < sd_network_n_segments(network); s++)
        sd_network_set_kept_steps(network, s, 100 + s);
    return network;
}

/* Copies of logits of an evaluation with scale = inference; rate: [units]. Caller frees. */
static float *logits_of(sd_network *network, int images, const sd_input *input, const unsigned char *keep,
                        double *rate) {
    const sd_drop_spec drop = {.scale = SD_DROP_SCALE_INFERENCE, .units = sd_network_n_units(network), .rate = rate};
    sd_drop_plan plan;
    const size_t n = (size_t)images * (size_t)sd_network_classes(network);
    float *logits = new_floats(n);
    expect_ok(sd_drop_plan_create(drop.units, &plan));
    sd_drop_plan_evaluation(&drop, keep, &plan);
    memcpy(logits, sd_network_forward(network, &(sd_pass){.images = images, .plan = &plan}, input), n * sizeof *logits);
    sd_drop_plan_free(&plan);
    return logits;
}

static void expect_pruned_is_masked(sd_model_spec spec, const char *rule) {
    enum { IMAGES = 3, MOST_UNITS = 64 };
    sd_network *whole = new_filled(spec, IMAGES);
    unsigned char keep[MOST_UNITS];
    double rate[MOST_UNITS], kept_rate[MOST_UNITS];
    sd_stages stages;
    int units = 0, at = 0;
    expect_ok(sd_model_keep(whole, rule, 1, keep));
    expect_ok(sd_model_stages(&spec, &stages));
    spec.stages = sd_model_kept_stages(whole, &stages, keep);
    sd_network *small = new_model(spec, IMAGES);
    expect_ok(sd_model_copy_kept(whole, keep, sd_network_values(whole), small, sd_network_values(small)));
    expect_ok(sd_model_copy_kept_steps(whole, keep, small));
    for (int i = 0; i < sd_network_n_units(whole); i++) {
        rate[i] = 0.5 * (i + 1) / sd_network_n_units(whole);
        if (keep[i])
            kept_rate[units++] = rate[i];
    }
    ck_assert_int_eq(sd_network_n_units(small), units);
    ck_assert_uint_eq(sd_network_parameters(small), sd_model_kept_parameters(whole, keep));
    ck_assert(sd_network_flops(small) == sd_model_kept_flops(whole, keep)); /* whole numbers */
    for (int s = 0; s < sd_network_n_segments(whole); s++)
        if (sd_model_keeps(whole, keep, s))
            ck_assert_int_eq(sd_network_segment(small, at++)->kept_steps, sd_network_segment(whole, s)->kept_steps);

    const size_t side = (size_t)spec.image_size;
    float *pixels = normal_floats(IMAGES * side * side * 3, 1, 0, 1);
    const int32_t tokens[IMAGES * 8] = {2, 7, 9, 3, 0, 0, 0, 0, 2, 5, 3, 0, 0, 0, 0, 0, 2, 9, 8, 7, 6, 5, 4, 3},
                                  lengths[IMAGES] = {4, 3, 8}, second[IMAGES] = {4, 3, 5};
    const sd_input input = {.pixels = pixels, .tokens = tokens, .lengths = lengths, .second = second};
    float *masked = logits_of(whole, IMAGES, &input, keep, rate),
          *pruned = logits_of(small, IMAGES, &input, NULL, kept_rate),
          *all = logits_of(whole, IMAGES, &input, NULL, rate);
    expect_same_bits(rule, masked, pruned, (size_t)(IMAGES * spec.classes) * sizeof(float));
    ck_assert(memcmp(masked, all, (size_t)(IMAGES * spec.classes) * sizeof(float)) != 0);
    free(masked);
    free(pruned);
    free(all);
    free(pixels);
    sd_network_destroy(&small);
    sd_network_destroy(&whole);
}

START_TEST(a_pruned_network_is_the_masked_one_to_the_bit) {
    sd_model_spec vit = {.name = "vit_tiny", .image_size = 16, .patch_size = 8, .classes = 7};
    expect_pruned_is_masked(vit, "every_other:5");
    vit.unit = SD_UNIT_BLOCK;
    expect_pruned_is_masked(vit, "1,11");
    expect_pruned_is_masked((sd_model_spec){.name = "bert_L4_H32_A2", .sequence = 8, .vocabulary = 10, .classes = 2},
                            "0,3");
    const sd_model_spec resnet20 = {.name = "resnet20", .image_size = 16, .classes = 10};
    expect_pruned_is_masked(resnet20, "1,3,4,6,8");
    expect_pruned_is_masked(resnet20, "first:0"); /* the first stage is empty */
    expect_pruned_is_masked(
        (sd_model_spec){.name = "resnet18", .image_size = 32, .classes = 5, .stem = SD_STEM_IMAGENET}, "last:1");
    expect_pruned_is_masked((sd_model_spec){.name = "resnet50", .image_size = 32, .classes = 5}, "every_other:6");
    /* Of a network that has been pruned already. */
    expect_pruned_is_masked(
        (sd_model_spec){.name = "resnet50", .image_size = 32, .classes = 5, .stages = {4, {2, 1, 3, 2}}}, "first:2");
}
END_TEST

START_TEST(stages_that_no_model_has_are_refused) {
    static const struct {
        const char *name;
        sd_stages stages;
        const char *says;
    } rows[] = {{"resnet20", {4, {1, 1, 1, 1}}, "3 numbers of blocks, not 4"},
                {"resnet50", {1, {4}}, "4 stages"},
                {"resnet50", {4, {0, 1, 1, 1}}, "stage 1"},
                {"resnet18", {4, {0, 1, 0, 1}}, "stage 3"},
                {"resnet20", {3, {1, 0, 1}}, "stage 2"},
                {"vit_tiny", {1, {0}}, "stage 1"},
                {"vit_tiny", {2, {6, 6}}, "1 stage, and so needs 1 number of blocks, not 2"},
                {"vit_tiny", {1000, {1}}, "not 1000"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const sd_model_spec spec = {
            .name = rows[i].name, .image_size = 32, .patch_size = 8, .classes = 2, .stages = rows[i].stages};
        sd_network *network;
        expect_refused(sd_model_create(&spec, best_kernels(), 1, &network), SD_ERR_CONFIG, "model.layers", rows[i].name,
                       rows[i].says, NULL);
        ck_assert_ptr_null(network);
    }
}
END_TEST

/* Branches that are kept have the scale of their own rates, whatever else is left out. */
START_TEST(an_evaluation_of_some_units_drops_the_others) {
    double rate[4] = {0.1, 0.2, 0.3, 0.4};
    const unsigned char keep[4] = {1, 0, 0, 1};
    sd_drop_spec drop = {.scale = SD_DROP_SCALE_INFERENCE, .units = 4, .rate = rate};
    sd_drop_plan plan;
    expect_ok(sd_drop_plan_create(4, &plan));
    sd_drop_plan_evaluation(&drop, keep, &plan);
    ck_assert_mem_eq(plan.kept, keep, 4);
    ck_assert_int_eq(plan.kept_units, 2);
    ck_assert(plan.scale[0] == 0.9f && plan.scale[3] == 0.6f);
    sd_drop_plan_free(&plan);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("keep");
    tcase_add_test(cases, rules_keep_what_they_say);
    tcase_add_test(cases, random_blocks_are_drawn_by_the_seed);
    tcase_add_test(cases, blocks_that_change_shapes_stay);
    tcase_add_test(cases, what_is_no_rule_is_refused);
    tcase_add_test(cases, what_is_left_is_counted);
    tcase_add_test(cases, stages_have_the_blocks_that_are_left);
    tcase_add_test(cases, a_pruned_network_is_the_masked_one_to_the_bit);
    tcase_add_test(cases, stages_that_no_model_has_are_refused);
    tcase_add_test(cases, an_evaluation_of_some_units_drops_the_others);
    return run_suite("keep", cases);
}
