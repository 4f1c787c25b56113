/* SPDX-License-Identifier: Apache-2.0 */
/* A program of a user's: a residual network that libsdtrain does not know, trained with stochastic depth on one
 * process. It learns in which quarter of a noisy image there is light.
 *
 *     cc own_network.c $(pkg-config --cflags --libs --static sdtrain)
 *
 * Prints the mean loss of the first and of the last ten steps, and how many branches were skipped. Exit code 0 if it
 * has learned. */
#include <stdio.h>
#include <stdlib.h>

#include <sdtrain/sdtrain.h>

enum {
    SIDE = 16,
    CHANNELS = 3,
    IMAGE_ELEMS = SIDE * SIDE * CHANNELS,
    CLASSES = 4,
    IMAGES = 32,
    STEPS = 80,
    WINDOW = 10
};
enum { BLOCKS = 4, NOISE_STREAM = 100 };

static float pixels[IMAGES * IMAGE_ELEMS];
static int32_t labels[IMAGES];

static void make_batch(uint64_t step) {
    for (int n = 0; n < IMAGES; n++) {
        const uint64_t image = (step - 1) * IMAGES + (uint64_t)n;
        labels[n] = (int32_t)sd_random_index(sd_random_at(1, NOISE_STREAM, image, 0).word[0], CLASSES);
        for (int i = 0; i < IMAGE_ELEMS; i++) {
            const int h = i / CHANNELS / SIDE, w = i / CHANNELS % SIDE;
            const int light = labels[n] == h / (SIDE / 2) * 2 + w / (SIDE / 2);
            const double noise = sd_random_normal(sd_random_at(1, NOISE_STREAM, image, 1 + (uint64_t)i));
            pixels[n * IMAGE_ELEMS + i] = (float)(noise + (light ? 1 : 0));
        }
    }
}

/* Two blocks, a transition to half the pixels and twice the filters, two blocks, the classifier. */
static sd_status define(const sd_kernels *kernels, sd_network **network) {
    const sd_network_spec spec = {.max_images = IMAGES, .classes = CLASSES};
    const sd_conv_spec stem = {8, 3, 1}, down[] = {{16, 3, 2}};
    SD_TRY(sd_network_create(kernels, &spec, network));
    SD_TRY(sd_build_conv_stem(*network, (sd_shape){SIDE, SIDE, CHANNELS}, &stem, false));
    for (int i = 0; i < BLOCKS; i++) {
        char name[16];
        sd_residual_spec block = {.name = name, .shortcut = SD_SHORTCUT_IDENTITY, .relu = true};
        if (i == BLOCKS / 2) {
            SD_TRY(sd_build_transition_begin(*network, "down", true));
            SD_TRY(sd_build_conv_branch(*network, 1, down, false));
            SD_TRY(sd_build_transition_end(*network));
        }
        const int filters = sd_network_shape(*network).c;
        const sd_conv_spec convs[] = {{filters, 3, 1}, {filters, 3, 1}};
        snprintf(name, sizeof name, "block%d", i + 1);
        SD_TRY(sd_build_unit(*network, name, i + 1, &block.unit));
        SD_TRY(sd_build_residual_begin(*network, &block));
        SD_TRY(sd_build_conv_branch(*network, 2, convs, false));
        SD_TRY(sd_build_residual_end(*network));
    }
    SD_TRY(sd_build_pool_head(*network, 0));
    SD_TRY(sd_network_finish(*network));
    sd_network_initialise(*network, 1);
    return SD_OK;
}

static void segment_done(void *context, int segment) { /* where a bucket of gradients could leave for other ranks */
    (void)context;
    (void)segment;
}

/* Returns the mean loss of the batch. */
static double train_step(sd_network *network, sd_optimizer *optimizer, sd_loss *loss, const sd_drop_plan *plan,
                         uint64_t step) {
    const sd_pass pass = {.images = IMAGES, .training = true, .plan = plan, .batch_share = 1, .step = step};
    const sd_input input = {.pixels = pixels};
    const sd_targets targets = {.labels = labels};
    sd_loss_sums sums = {0};
    const float *logits = sd_network_forward(network, &pass, &input);
    sd_loss_forward(loss, IMAGES, logits, &targets, &sums);
    float *dlogits = sd_loss_backward(loss, IMAGES, logits, &targets, IMAGES);
    sd_network_backward(network, &pass, &input, dlogits, segment_done, NULL);
    sd_network_update_statistics(network, plan);
    sd_optimizer_step(optimizer, plan, 0.05, step);
    return sums.loss / IMAGES;
}

static sd_status run(double *first, double *last, int *skipped) {
    static double rate[BLOCKS];
    const sd_drop_spec drop = {.seed = 1, .scale = SD_DROP_SCALE_TRAINING, .units = BLOCKS, .rate = rate};
    const sd_loss_spec cross_entropy = {.smoothing = 0};
    const sd_kernels *kernels;
    sd_network *network = NULL;
    sd_optimizer *optimizer = NULL;
    sd_loss *loss = NULL;
    sd_drop_plan plan = {0};
    sd_status status;
    for (int i = 0; i < BLOCKS; i++)
        rate[i] = sd_drop_rate(SD_DROP_LINEAR, 0.5, i + 1, BLOCKS);
    SD_TRY_CLEANUP(sd_kernels_select(NULL, &kernels));
    SD_TRY_CLEANUP(define(kernels, &network));
    SD_TRY_CLEANUP(
        sd_optimizer_create(&(sd_optimizer_spec){.kind = SD_OPTIMIZER_SGD, .momentum = 0.9}, network, &optimizer));
    SD_TRY_CLEANUP(sd_loss_create(&cross_entropy, kernels, IMAGES, CLASSES, &loss));
    SD_TRY_CLEANUP(sd_drop_plan_create(BLOCKS, &plan));
    for (uint64_t step = 1; step <= STEPS; step++) {
        make_batch(step);
        sd_drop_plan_draw(&drop, step, IMAGES, &plan);
        const double mean_loss = train_step(network, optimizer, loss, &plan, step);
        *skipped += BLOCKS - plan.kept_units;
        *first += step <= WINDOW ? mean_loss / WINDOW : 0;
        *last += step > STEPS - WINDOW ? mean_loss / WINDOW : 0;
    }
cleanup:
    sd_drop_plan_free(&plan);
    sd_loss_destroy(&loss);
    sd_optimizer_destroy(&optimizer);
    sd_network_destroy(&network);
    return status;
}

int main(void) {
    double first = 0, last = 0;
    int skipped = 0;
    const sd_status status = run(&first, &last, &skipped);
    if (status != SD_OK) {
        sd_log_error();
        return sd_status_exit_code(status);
    }
    printf("loss %.3f -> %.3f in %d steps, %d of %d branches skipped\n", first, last, STEPS, skipped, STEPS * BLOCKS);
    return last < first / 2 && skipped > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
