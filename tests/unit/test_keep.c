/* SPDX-License-Identifier: Apache-2.0 */
/* models/keep: rules of blocks to keep, and what is left. */
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
    tcase_add_test(cases, an_evaluation_of_some_units_drops_the_others);
    return run_suite("keep", cases);
}
