/* SPDX-License-Identifier: Apache-2.0 */
/* optim/: updates against PyTorch's formulas in double, dropped branches, clipping, learning-rate schedules. */
#include "../support.h"

/* ---- learning rates ---- */

static double lr_at(const sd_config *config, uint64_t t, uint64_t steps_per_epoch) {
    return sd_lr_at(&config->lr, (uint64_t)config->train.epochs, t, steps_per_epoch);
}

static void expect_rates(const sd_config *config, uint64_t steps_per_epoch, const double *rates, uint64_t n,
                         double tolerance) {
    for (uint64_t t = 0; t < n; t++) {
        char what[32];
        snprintf(what, sizeof what, "lr of step t = %d", (int)t);
        expect_number(what, lr_at(config, t, steps_per_epoch), rates[t], tolerance);
    }
}

/* torch.optim.lr_scheduler.MultiStepLR([2, 3], 0.2): a milestone is a number of completed epochs. */
START_TEST(step_multiplies_after_completed_epochs) {
    sd_config *config = config_of("lr.base=0.1", "lr.gamma=0.2", "lr.milestones=2,3", "train.epochs=5", NULL);
    const double rates[] = {0.1, 0.1, 0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.004, 0.004};
    expect_rates(config, 2, rates, 10, 1e-16);
    free(config);
    config = config_of("lr.base=0.3", "train.epochs=5", NULL); /* without milestones */
    ck_assert(lr_at(config, 9, 2) == 0.3);
    free(config);
    config = config_of("lr.base=1", "lr.milestones=0.5", "train.epochs=5", NULL); /* epochs 1, 2, ... have passed 0.5 */
    ck_assert(lr_at(config, 3, 4) == 1);
    ck_assert(lr_at(config, 4, 4) == 0.1);
    free(config);
}
END_TEST

/* CosineAnnealingLR(T_max = 20, eta_min = 0.01). */
START_TEST(cosine_equals_pytorchs) {
    sd_config *config = config_of("lr.schedule=cosine", "lr.base=0.1", "lr.minimum=0.01", "train.epochs=4", NULL);
    const double rates[] = {0.1,
                            0.0994459753267812,
                            0.09779754323328192,
                            0.09509529358847656,
                            0.09140576474687265,
                            0.08681980515339464,
                            0.0814503363531613,
                            0.07542957248827961,
                            0.06890576474687264,
                            0.0620395509268104,
                            0.055,
                            0.04796044907318962,
                            0.041094235253127366,
                            0.03457042751172039,
                            0.02854966364683871,
                            0.02318019484660536,
                            0.018594235253127367,
                            0.014904706411523447,
                            0.01220245676671809,
                            0.010554024673218806};
    expect_rates(config, 5, rates, 20, 1e-15);
    free(config);
}
END_TEST

/* transformers' get_linear_schedule_with_warmup(5, 20) from t = 5 on. Before, warm-up is ours: its own begins at 0. */
START_TEST(linear_equals_hugging_faces) {
    sd_config *config = config_of("lr.schedule=linear", "lr.base=0.1", "lr.warmup_epochs=1", "train.epochs=4", NULL);
    const double rates[] = {0.02,
                            0.040000000000000001,
                            0.059999999999999998,
                            0.080000000000000002,
                            0.10000000000000001,
                            0.10000000000000001,
                            0.093333333333333338,
                            0.08666666666666667,
                            0.080000000000000016,
                            0.073333333333333334,
                            0.066666666666666666,
                            0.059999999999999998,
                            0.053333333333333337,
                            0.046666666666666669,
                            0.040000000000000008,
                            0.033333333333333333,
                            0.026666666666666668,
                            0.020000000000000004,
                            0.013333333333333334,
                            0.0066666666666666671};
    expect_rates(config, 5, rates, 20, 1e-16);
    free(config);
    config = config_of("lr.schedule=linear", "lr.base=0.1", "lr.minimum=0.02", "train.epochs=4", NULL);
    ck_assert(lr_at(config, 0, 5) == 0.1);
    expect_number("half of the way", lr_at(config, 10, 5), 0.06, 1e-16);
    expect_number("the last step", lr_at(config, 19, 5), 0.02 + 0.08 / 20, 1e-16);
    free(config);
}
END_TEST

START_TEST(constant_stays) {
    sd_config *config = config_of("lr.schedule=constant", "lr.base=0.07", NULL);
    for (uint64_t t = 0; t < 100; t++)
        ck_assert(lr_at(config, t, 10) == 0.07);
    free(config);
}
END_TEST

/* OneCycleLR(max_lr = 0.1, total_steps = 30) and (0.5, 7), printed by PyTorch. */
START_TEST(onecycle_equals_pytorchs) {
    const double thirty[] = {0.0040000000000000036,
                             0.0076537824394582454,
                             0.018058874503045733,
                             0.03363119524647569,
                             0.052000000000000005,
                             0.0703688047535243,
                             0.08594112549695429,
                             0.09634621756054176,
                             0.1,
                             0.09944154354509119,
                             0.0977786491747459,
                             0.09504846320134738,
                             0.09131197346804489,
                             0.08665264698111695,
                             0.0811745653949763,
                             0.0750001,
                             0.06826717815011489,
                             0.06112620219362893,
                             0.0537366897333025,
                             0.046263710266697504,
                             0.03887419780637107,
                             0.03173322184988512,
                             0.025000300000000013,
                             0.0188258346050237,
                             0.01334775301888306,
                             0.008688426531955128,
                             0.004951936798652629,
                             0.002221750825254118,
                             0.0005588564549088189,
                             4e-07};
    const double seven[] = {0.020000000000000018,
                            0.4902783136674793,
                            0.4595221881348553,
                            0.33634191824027254,
                            0.17886938786982853,
                            0.0496483959466328,
                            2e-06};
    sd_config *config = config_of("lr.schedule=onecycle", "lr.base=0.1", "train.epochs=3", NULL);
    expect_rates(config, 10, thirty, 30, 1e-15);
    free(config);
    config = config_of("lr.schedule=onecycle", "lr.base=0.5", "train.epochs=7", NULL);
    expect_rates(config, 1, seven, 7, 1e-15);
    free(config);
    config = config_of("lr.schedule=onecycle", "lr.base=0.5", "train.epochs=1", NULL);
    for (uint64_t steps = 1; steps < 5; steps++)
        for (uint64_t t = 0; t < steps; t++)
            ck_assert(isfinite(lr_at(config, t, steps)) && lr_at(config, t, steps) >= 0);
    free(config);
}
END_TEST

START_TEST(warm_up_multiplies_and_shifts_nothing) {
    const char *schedules[] = {"lr.schedule=step", "lr.schedule=cosine", "lr.schedule=constant",
                               "lr.schedule=onecycle"};
    for (int s = 0; s < 4; s++) {
        sd_config *warm = config_of(schedules[s], "lr.base=0.4", "lr.warmup_epochs=2", "train.epochs=6", NULL),
                  *cold = config_of(schedules[s], "lr.base=0.4", "train.epochs=6", NULL);
        for (uint64_t t = 0; t < 30; t++) {
            double factor = t < 10 ? (double)(t + 1) / 10 : 1;
            expect_number("lr", lr_at(warm, t, 5), factor * lr_at(cold, t, 5), 1e-16);
        }
        free(warm);
        free(cold);
    }
}
END_TEST

/* W = warmup_epochs * steps need not be whole: (t + 1) / W of the last step is then above 1. */
START_TEST(warm_up_never_exceeds_the_schedule) {
    const char *warm_ups[] = {"lr.warmup_epochs=0.1", "lr.warmup_epochs=0.5", "lr.warmup_epochs=1.5",
                              "lr.warmup_epochs=0.0001"};
    for (int w = 0; w < 4; w++)
        for (uint64_t steps = 1; steps < 12; steps++) {
            sd_config *config = config_of("lr.schedule=constant", "lr.base=1", "train.epochs=6", warm_ups[w], NULL);
            double before = 0;
            for (uint64_t t = 0; t < 6 * steps; t++) {
                double lr = lr_at(config, t, steps);
                expect(lr <= 1, "%s, %d steps an epoch: lr %g at t = %d, where the schedule says 1", warm_ups[w],
                       (int)steps, lr, (int)t);
                expect(lr >= before, "%s: it falls", warm_ups[w]);
                before = lr;
            }
            ck_assert(before == 1);
            free(config);
        }
}
END_TEST

/* ---- updates ---- */

/* Our network and optimizer, and the same in double. */
typedef struct twin {
    const char *model;
    sd_config *config;
    sd_network *network;
    sd_optimizer *optimizer;
    sd_drop_plan plan;
    size_t n;
    double *w, *first, *second; /* first: momentum or exp_avg */
    float *initial;
    int64_t *kept_steps; /* of each segment */
} twin;

static twin new_twin(const char *model, sd_config *config) {
    twin t = {.model = model, .config = config};
    t.network = new_model((sd_model_spec){.name = model, .image_size = 8, .classes = 10, .patch_size = 8}, 1);
    expect_ok(sd_optimizer_create(&config->optimizer, t.network, &t.optimizer));
    sd_network_initialise(t.network, 3);
    t.plan = keep_all(sd_network_n_units(t.network));
    t.n = sd_network_buffer_elems(t.network);
    t.w = calloc(t.n, sizeof *t.w);
    t.first = calloc(t.n, sizeof *t.first);
    t.second = calloc(t.n, sizeof *t.second);
    t.initial = new_floats(t.n);
    t.kept_steps = calloc((size_t)sd_network_n_segments(t.network), sizeof *t.kept_steps);
    for (size_t i = 0; i < t.n; i++)
        t.w[i] = t.initial[i] = sd_network_values(t.network)[i];
    return t;
}

static void free_twin(twin *t) {
    sd_optimizer_destroy(&t->optimizer);
    sd_network_destroy(&t->network);
    sd_drop_plan_free(&t->plan);
    free(t->config);
    free(t->w);
    free(t->first);
    free(t->second);
    free(t->initial);
    free(t->kept_steps);
}

/* Gradients of kept segments in [-scale, scale]; those of dropped ones are no numbers, for none may read them. Those of
 * statistics are large: they are no gradients. */
static void draw_gradients(twin *t, uint64_t step, float scale) {
    for (int i = 0; i < sd_network_n_tensors(t->network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t->network, i);
        bool kept = sd_segment_is_kept(sd_network_segment(t->network, tensor->segment), &t->plan);
        for (size_t e = 0; e < tensor->elems; e++) {
            sd_random random = sd_random_at(8, 97, tensor->offset_elems + e, step);
            float g = scale * (float)(2 * sd_random_uniform(random.word[0]) - 1);
            gradient_of(t->network, tensor)[e] = !kept ? NAN : tensor->kind == SD_TENSOR_PARAMETER ? g : 1e6f;
        }
    }
}

static bool decays(const twin *t, const sd_tensor *tensor) {
    bool spared = tensor->dims == 1 || !strcmp(tensor->name, "pos_embed") || !strcmp(tensor->name, "cls_token");
    return t->config->optimizer.decay == SD_DECAY_ALL || !spared;
}

/* The place among the layers of timm 1.0.31 (param_groups_layer_decay, group_matcher(coarse=False)), by name; *last:
 * that of the classifier. timm's ViT counts the last norm into the last block. */
static int timm_layer(const char *model, const char *name, int *last) {
    const int *blocks =
        !strcmp(model, "resnet20") ? (const int[]){3, 3, 3, 0} : (const int[]){2, 2, 2, 2}; /* resnet18 */
    const bool vit = !strcmp(model, "vit_tiny");
    int stage, block, layer = 0;
    *last = 1 + (vit ? 12 : blocks[0] + blocks[1] + blocks[2] + blocks[3]);
    if (sscanf(name, "blocks.%d.", &block) == 1)
        return 1 + block;
    if (sscanf(name, "layer%d.%d.", &stage, &block) == 2) {
        for (int s = 1; s < stage; s++)
            layer += blocks[s - 1];
        return layer + block + 1;
    }
    if (!strncmp(name, "norm.", 5))
        return *last - 1;
    return !strncmp(name, "fc.", 3) || !strncmp(name, "head.", 5) ? *last : 0;
}

/* torch multiplies a group's rate with the decoupled decay as well. */
static double rate_of(const twin *t, const sd_tensor *tensor, double lr) {
    int last;
    const int layer = timm_layer(t->model, tensor->name, &last);
    return lr * pow(t->config->optimizer.layer_decay, last - layer);
}

/* The formulas of torch.optim.SGD and AdamW, and of clip_grad_norm_. */
static void reference_step(twin *t, double base_lr, uint64_t step) {
    const sd_config *c = t->config;
    const bool freeze = c->optimizer.dropped_update == SD_DROPPED_FREEZE;
    double norm = 0, clip = 1;
    for (int s = 0; s < sd_network_n_segments(t->network); s++)
        t->kept_steps[s] += sd_segment_is_kept(sd_network_segment(t->network, s), &t->plan);
    for (int i = 0; i < sd_network_n_tensors(t->network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t->network, i);
        bool counts = tensor->kind == SD_TENSOR_PARAMETER &&
                      sd_segment_is_kept(sd_network_segment(t->network, tensor->segment), &t->plan);
        for (size_t e = 0; counts && e < tensor->elems; e++)
            norm += (double)gradient_of(t->network, tensor)[e] * gradient_of(t->network, tensor)[e];
    }
    norm = sqrt(norm);
    expect_number("the norm", sd_gradient_norm(t->network, &t->plan), norm, 1e-9 * norm);
    if (c->optimizer.clip_norm > 0)
        clip = fmin(1, c->optimizer.clip_norm / (norm + 1e-6));
    for (int i = 0; i < sd_network_n_tensors(t->network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t->network, i);
        bool kept = sd_segment_is_kept(sd_network_segment(t->network, tensor->segment), &t->plan);
        if (tensor->kind != SD_TENSOR_PARAMETER || (!kept && freeze))
            continue;
        const double decay = decays(t, tensor) ? c->optimizer.weight_decay : 0, lr = rate_of(t, tensor, base_lr);
        const double time = freeze ? (double)t->kept_steps[tensor->segment] : (double)step;
        for (size_t e = 0; e < tensor->elems; e++) {
            const size_t at = tensor->offset_elems + e;
            const double g = kept ? clip * gradient_of(t->network, tensor)[e] : 0;
            double *w = &t->w[at], *m = &t->first[at], *v = &t->second[at];
            if (c->optimizer.kind == SD_OPTIMIZER_SGD) {
                const double d = g + decay * *w;
                *m = c->optimizer.momentum * *m + d;
                *w -= lr * (c->optimizer.nesterov ? d + c->optimizer.momentum * *m : *m);
            } else {
                const double b1 = c->optimizer.beta1, b2 = c->optimizer.beta2;
                *w -= lr * decay * *w;
                *m = b1 * *m + (1 - b1) * g;
                *v = b2 * *v + (1 - b2) * g * g;
                *w -= lr / (1 - pow(b1, time)) * *m / (sqrt(*v / (1 - pow(b2, time))) + c->optimizer.epsilon);
            }
        }
    }
}

/* Each step drops other units. What has moved so far is compared, not the weights, which hide it. Tolerance: a weight
 * of up to 1 is rounded by 6e-8 at each of 5 steps that move it by 1e-3 and more, and Adam's moments are exact to
 * 1e-6. */
static void run_and_compare(twin *t, double lr, bool drop) {
    for (uint64_t step = 1; step <= 5; step++) {
        for (int u = 0; u < t->plan.units; u++)
            t->plan.kept[u] = !(drop && (u + (int)step) % 3 == 0 && u != 1);
        draw_gradients(t, step, 0.1f);
        sd_network_update_statistics(t->network, &t->plan);
        reference_step(t, lr * (double)step, step);
        sd_optimizer_step(t->optimizer, &t->plan, lr * (double)step, step);
        for (int i = 0; i < sd_network_n_tensors(t->network); i++) {
            const sd_tensor *tensor = sd_network_tensor(t->network, i);
            const size_t from = tensor->offset_elems, n = tensor->elems;
            if (tensor->kind != SD_TENSOR_PARAMETER)
                continue;
            float *moved = new_floats(n);
            double *expected = calloc(n, sizeof *expected);
            for (size_t e = 0; e < n; e++) {
                moved[e] = value_of(t->network, tensor)[e] - t->initial[from + e];
                expected[e] = t->w[from + e] - t->initial[from + e];
            }
            char what[SD_NAME_BYTES + 32];
            snprintf(what, sizeof what, "%s, step %d", tensor->name, (int)step);
            expect_close(what, moved, expected, n, 2e-4);
            expect_close(what, sd_optimizer_state(t->optimizer, 0) + from, t->first + from, n, 1e-5);
            if (t->config->optimizer.kind == SD_OPTIMIZER_ADAMW)
                expect_close(what, sd_optimizer_state(t->optimizer, 1) + from, t->second + from, n, 1e-5);
            free(moved);
            free(expected);
        }
    }
}

static const struct update_row {
    const char *model, *settings[6];
} update_rows[] = {
    {"resnet20", {"optimizer.momentum=0", "optimizer.weight_decay=0"}},
    {"resnet20", {"optimizer.momentum=0.9", "optimizer.weight_decay=0"}},
    {"resnet20", {"optimizer.momentum=0.9", "optimizer.weight_decay=0.1"}},
    {"resnet20", {"optimizer.momentum=0.8", "optimizer.weight_decay=0.1", "optimizer.nesterov=true"}},
    {"resnet20", {"optimizer.momentum=0.9", "optimizer.weight_decay=0.1", "optimizer.decay=matrices"}},
    {"resnet20", {"optimizer.momentum=0.9", "optimizer.weight_decay=0.1", "optimizer.clip_norm=1.5"}},
    {"resnet20", {"optimizer.momentum=0.9", "optimizer.weight_decay=0", "optimizer.clip_norm=1e6"}},
    {"resnet20", {"optimizer.name=adamw", "optimizer.weight_decay=0"}},
    {"resnet20", {"optimizer.name=adamw", "optimizer.weight_decay=0.3", "optimizer.beta1=0.7", "optimizer.beta2=0.95"}},
    {"resnet20",
     {"optimizer.name=adamw", "optimizer.weight_decay=0.3", "optimizer.epsilon=0.01", "optimizer.clip_norm=2"}},
    {"resnet20", {"optimizer.weight_decay=0.1", "optimizer.nesterov=true", "optimizer.layer_decay=0.9"}},
    {"resnet18", {"optimizer.name=adamw", "optimizer.weight_decay=0.3", "optimizer.layer_decay=0.9"}},
    {"vit_tiny", {"optimizer.momentum=0.9", "optimizer.weight_decay=0.1", "optimizer.decay=matrices"}},
    {"vit_tiny", {"optimizer.name=adamw", "optimizer.weight_decay=0.3", "optimizer.decay=matrices"}},
    {"vit_tiny", {"optimizer.name=adamw", "optimizer.weight_decay=0.3", "optimizer.layer_decay=0.9"}},
};
enum { N_UPDATE_ROWS = sizeof update_rows / sizeof update_rows[0], N_SMALL_ROWS = N_UPDATE_ROWS - 3 };

START_TEST(five_steps_equal_pytorchs_formulas) {
    const struct update_row *row = &update_rows[_i];
    twin t = new_twin(row->model, config_of_list(row->settings));
    run_and_compare(&t, 0.01, false);
    free_twin(&t);
}
END_TEST

START_TEST(dropped_units_have_no_gradient_or_no_update) {
    for (int freeze = 0; freeze < 2; freeze++) {
        const struct update_row *row = &update_rows[_i];
        const char *settings[8] = {freeze ? "stochastic_depth.dropped_update=freeze"
                                          : "stochastic_depth.dropped_update=decay_and_momentum"};
        memcpy(settings + 1, row->settings, sizeof row->settings);
        twin t = new_twin(row->model, config_of_list(settings));
        run_and_compare(&t, 0.01, true);
        free_twin(&t);
    }
}
END_TEST

/* In words, for one unit: freeze leaves weights and momentum to the bit; else momentum goes on and decay acts. */
START_TEST(freeze_stands_still_and_decay_and_momentum_moves_on) {
    for (int freeze = 0; freeze < 2; freeze++) {
        twin t =
            new_twin("resnet20", config_of("optimizer.momentum=0.5", "optimizer.weight_decay=0.1",
                                           freeze ? "stochastic_depth.dropped_update=freeze" : "run.seed=1", NULL));
        const sd_tensor *w = find_tensor(t.network, "layer2.1.conv1.weight"),
                        *other = find_tensor(t.network, "fc.weight");
        float *m = sd_optimizer_state(t.optimizer, 0) + w->offset_elems;
        draw_gradients(&t, 1, 1);
        sd_network_update_statistics(t.network, &t.plan);
        sd_optimizer_step(t.optimizer, &t.plan, 0.1, 1);
        const float w0 = value_of(t.network, w)[7], m0 = m[7], other0 = value_of(t.network, other)[0];
        t.plan.kept[sd_network_segment(t.network, w->segment)->unit] = 0;
        draw_gradients(&t, 2, 1);
        sd_network_update_statistics(t.network, &t.plan);
        sd_optimizer_step(t.optimizer, &t.plan, 0.1, 2);
        ck_assert(value_of(t.network, other)[0] != other0);
        if (freeze) {
            ck_assert(value_of(t.network, w)[7] == w0 && m[7] == m0);
        } else {
            expect_number("momentum", m[7], 0.5 * m0 + 0.1 * w0, 1e-7);
            expect_number("weight", value_of(t.network, w)[7], w0 - 0.1 * (0.5 * m0 + 0.1 * w0), 1e-7);
        }
        free_twin(&t);
    }
}
END_TEST

/* With a gradient of zero, decay alone moves a weight. */
START_TEST(decay_of_matrices_spares_norms_biases_and_embeddings) {
    const char *models[] = {"resnet20", "resnet18", "vit_tiny"};
    for (int optimizer = 0; optimizer < 2; optimizer++) {
        twin t = new_twin(models[_i], config_of(optimizer ? "optimizer.name=adamw" : "optimizer.name=sgd",
                                                "optimizer.decay=matrices", "optimizer.weight_decay=0.5", NULL));
        for (size_t i = 0; i < t.n; i++)
            sd_network_values(t.network)[i] = 1;
        sd_network_update_statistics(t.network, &t.plan);
        for (size_t i = 0; i < t.n; i++)
            sd_network_values(t.network)[i] = 1;
        sd_optimizer_step(t.optimizer, &t.plan, 0.1, 1);
        for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
            const sd_tensor *tensor = sd_network_tensor(t.network, i);
            const bool matrix = tensor->dims == 2 || tensor->dims == 4;
            for (size_t e = 0; e < tensor->elems; e++)
                if (fabs(value_of(t.network, tensor)[e] - (matrix ? 0.95 : 1)) > 1e-6)
                    ck_abort_msg("%s becomes %g", tensor->name, value_of(t.network, tensor)[e]);
        }
        free_twin(&t);
    }
}
END_TEST

START_TEST(layers_are_timms) {
    const char *models[] = {"resnet20", "resnet18", "vit_tiny"};
    twin t = new_twin(models[_i], config_of("run.seed=1", NULL));
    int last;
    for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
        const sd_tensor *tensor = sd_network_tensor(t.network, i);
        ck_assert_msg(tensor->layer == timm_layer(t.model, tensor->name, &last), "%s is in layer %d", tensor->name,
                      tensor->layer);
    }
    ck_assert_int_eq(sd_network_blocks(t.network) + 1, last);
    free_twin(&t);
}
END_TEST

START_TEST(without_layer_decay_no_bit_changes) {
    twin none = new_twin("resnet20", config_of("optimizer.name=adamw", NULL)),
         one = new_twin("resnet20", config_of("optimizer.name=adamw", "optimizer.layer_decay=1", NULL));
    sd_optimizer *zero;
    sd_optimizer_spec spec = none.config->optimizer;
    spec.layer_decay = 0; /* a spec of a library's user, who does not know the member */
    expect_ok(sd_optimizer_create(&spec, none.network, &zero));
    draw_gradients(&none, 1, 1);
    draw_gradients(&one, 1, 1);
    sd_optimizer_step(zero, &none.plan, 0.1, 1);
    sd_optimizer_step(one.optimizer, &one.plan, 0.1, 1);
    expect_same_bits("weights", sd_network_values(none.network), sd_network_values(one.network),
                     none.n * sizeof(float));
    sd_optimizer_destroy(&zero);
    free_twin(&none);
    free_twin(&one);
}
END_TEST

START_TEST(clipping_scales_to_the_norm_and_only_down) {
    twin t = new_twin("resnet20",
                      config_of("optimizer.momentum=0", "optimizer.weight_decay=0", "optimizer.clip_norm=2", NULL));
    t.plan.kept[0] = t.plan.kept[4] = 0; /* their gradients are no numbers: a norm that counts them is none */
    for (int large = 0; large < 2; large++) {
        draw_gradients(&t, 1, large ? 1 : 1e-5f);
        const double norm = sd_gradient_norm(t.network, &t.plan);
        ck_assert(isfinite(norm) && (norm > 2) == large);
        memcpy(t.initial, sd_network_values(t.network), t.n * sizeof *t.initial);
        sd_optimizer_step(t.optimizer, &t.plan, 1, 1);
        double moved = 0;
        for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
            const sd_tensor *tensor = sd_network_tensor(t.network, i);
            for (size_t e = 0; e < tensor->elems; e++) {
                double d = (double)value_of(t.network, tensor)[e] - t.initial[tensor->offset_elems + e];
                moved += d * d;
                expect(tensor->kind == SD_TENSOR_PARAMETER || d == 0, "%s moves", tensor->name);
            }
        }
        /* a weight near 1 takes no less than 6e-8, and there are 2.6e5 */
        expect_number("the update", sqrt(moved), large ? 2 : norm, large ? 1e-4 : 3e-5);
    }
    free_twin(&t);
}
END_TEST

/* Every third parameter of the network, whole segments among them. */
static void freeze_some(sd_network *network) {
    bool *frozen = calloc((size_t)sd_network_n_tensors(network), sizeof *frozen);
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        frozen[i] = i % 3 == 0 || !strncmp(sd_network_tensor(network, i)->name, "layer2.1.", 9);
    sd_network_freeze(network, frozen);
    free(frozen);
}

/* The others move as if the frozen ones had no gradient; clipping does not count these. */
START_TEST(frozen_tensors_stand_still_to_the_bit) {
    for (int adamw = 0; adamw < 2; adamw++) {
        const char *settings[] = {adamw ? "optimizer.name=adamw" : "optimizer.nesterov=true",
                                  "optimizer.weight_decay=0.1", "optimizer.clip_norm=2", NULL};
        twin t = new_twin("resnet20", config_of_list(settings)),
             free_one = new_twin("resnet20", config_of_list(settings));
        freeze_some(t.network);
        for (uint64_t step = 1; step <= 3; step++) {
            draw_gradients(&t, step, 1);
            draw_gradients(&free_one, step, 1);
            for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
                const sd_tensor *tensor = sd_network_tensor(t.network, i);
                for (size_t e = 0; e < tensor->elems && tensor->frozen; e++) {
                    gradient_of(t.network, tensor)[e] = NAN; /* not read */
                    gradient_of(free_one.network, tensor)[e] = 0;
                }
            }
            ck_assert(isfinite(sd_gradient_norm(t.network, &t.plan)));
            sd_optimizer_step(t.optimizer, &t.plan, 0.1, step);
            sd_optimizer_step(free_one.optimizer, &free_one.plan, 0.1, step);
        }
        int frozen = 0;
        for (int i = 0; i < sd_network_n_tensors(t.network); i++) {
            const sd_tensor *tensor = sd_network_tensor(t.network, i);
            const size_t at = tensor->offset_elems, bytes = tensor->elems * sizeof(float);
            expect_same_bits(tensor->name, value_of(t.network, tensor),
                             tensor->frozen ? t.initial + at : value_of(free_one.network, tensor), bytes);
            for (int s = 0; s < sd_optimizer_n_states(t.optimizer); s++)
                for (size_t e = 0; e < tensor->elems; e++)
                    expect(!tensor->frozen || sd_optimizer_state(t.optimizer, s)[at + e] == 0, "state of %s",
                           tensor->name);
            frozen += tensor->frozen;
        }
        ck_assert_int_gt(frozen, 20);
        free_twin(&t);
        free_twin(&free_one);
    }
}
END_TEST

/* A frozen segment has no gradients that count, whatever lies in the buffer. */
START_TEST(gradients_of_frozen_segments_need_not_be_finite) {
    twin t = new_twin("resnet20", config_of("run.seed=1", NULL));
    freeze_some(t.network);
    draw_gradients(&t, 1, 1);
    gradient_of(t.network, find_tensor(t.network, "layer2.1.conv1.weight"))[3] = NAN;
    ck_assert(sd_gradients_are_finite(t.network, &t.plan));
    ck_assert_ptr_null(sd_gradient_not_finite(t.network, &t.plan));
    gradient_of(t.network, find_tensor(t.network, "layer2.0.bn1.bias"))[3] = NAN;
    ck_assert(!sd_gradients_are_finite(t.network, &t.plan));
    ck_assert_ptr_nonnull(sd_gradient_not_finite(t.network, &t.plan));
    free_twin(&t);
}
END_TEST

START_TEST(states_are_named_as_pytorchs) {
    twin sgd = new_twin("resnet20", config_of("optimizer.name=sgd", NULL)),
         adamw = new_twin("resnet20", config_of("optimizer.name=adamw", NULL));
    ck_assert_int_eq(sd_optimizer_n_states(sgd.optimizer), 1);
    ck_assert_str_eq(sd_optimizer_state_name(sgd.optimizer, 0), "momentum");
    ck_assert_int_eq(sd_optimizer_n_states(adamw.optimizer), 2);
    ck_assert_str_eq(sd_optimizer_state_name(adamw.optimizer, 0), "exp_avg");
    ck_assert_str_eq(sd_optimizer_state_name(adamw.optimizer, 1), "exp_avg_sq");
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; i < adamw.n; i++)
            expect(sd_optimizer_state(adamw.optimizer, s)[i] == 0, "state %d begins with %g", s,
                   sd_optimizer_state(adamw.optimizer, s)[i]);
    free_twin(&sgd);
    free_twin(&adamw);
}
END_TEST

START_TEST(a_gradient_that_is_not_a_number_is_seen_in_the_weights) {
    for (int optimizer = 0; optimizer < 2; optimizer++) {
        twin t = new_twin("resnet20", config_of(optimizer ? "optimizer.name=adamw" : "optimizer.name=sgd",
                                                "optimizer.clip_norm=1", NULL));
        draw_gradients(&t, 1, 1);
        const sd_tensor *bias = find_tensor(t.network, "fc.bias");
        gradient_of(t.network, bias)[3] = NAN;
        ck_assert(isnan(sd_gradient_norm(t.network, &t.plan)));
        sd_network_update_statistics(t.network, &t.plan);
        sd_optimizer_step(t.optimizer, &t.plan, 0.1, 1);
        ck_assert(isnan(value_of(t.network, bias)[3]));
        free_twin(&t);
    }
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("optim");
    tcase_add_test(cases, step_multiplies_after_completed_epochs);
    tcase_add_test(cases, cosine_equals_pytorchs);
    tcase_add_test(cases, linear_equals_hugging_faces);
    tcase_add_test(cases, constant_stays);
    tcase_add_test(cases, onecycle_equals_pytorchs);
    tcase_add_test(cases, warm_up_multiplies_and_shifts_nothing);
    tcase_add_test(cases, warm_up_never_exceeds_the_schedule);
    tcase_add_loop_test(cases, five_steps_equal_pytorchs_formulas, 0, N_UPDATE_ROWS);
    tcase_add_loop_test(cases, dropped_units_have_no_gradient_or_no_update, 0, N_SMALL_ROWS);
    tcase_add_test(cases, freeze_stands_still_and_decay_and_momentum_moves_on);
    tcase_add_loop_test(cases, decay_of_matrices_spares_norms_biases_and_embeddings, 0, 3);
    tcase_add_loop_test(cases, layers_are_timms, 0, 3);
    tcase_add_test(cases, without_layer_decay_no_bit_changes);
    tcase_add_test(cases, clipping_scales_to_the_norm_and_only_down);
    tcase_add_test(cases, frozen_tensors_stand_still_to_the_bit);
    tcase_add_test(cases, gradients_of_frozen_segments_need_not_be_finite);
    tcase_add_test(cases, states_are_named_as_pytorchs);
    tcase_add_test(cases, a_gradient_that_is_not_a_number_is_seen_in_the_weights);
    return run_suite("optim", cases);
}
