/* SPDX-License-Identifier: Apache-2.0 */
/* The classifier. Dropout on its input is timm's drop_rate: kept features times 1/(1-p), drawn from the counter-based RNG by
 * the place in the global batch, so it does not depend on the number of ranks. */
#include <string.h>

#include "network.h"
#include "sdtrain/random.h"

static sd_status head_init(sd_network *network, const char *name, double dropout, float init_deviation) {
    sd_head *head = &network->head;
    const size_t images = (size_t)network->max_images, c = (size_t)head->in.c;
    head->dropout = dropout;
    SD_TRY(sd_linear_init(network, &head->linear, name, head->in.c, network->classes, init_deviation));
    network->flops += 2.0 * (double)c * network->classes;
    sd_network_want_work(network, c);
    SD_TRY(sd_arena_reserve(&network->arena, &head->gathered, images * c));
    SD_TRY(sd_arena_reserve(&network->arena, &head->features, images * c));
    return sd_arena_reserve(&network->arena, &head->logits, images * (size_t)network->classes);
}

sd_status sd_network_head_pool(sd_network *network, double dropout) {
    network->head.in = sd_network_shape(network);
    SD_TRY(sd_network_open_segment(network, -1, &network->head.segment));
    return head_init(network, "fc", dropout, 0);
}

sd_status sd_network_head_token(sd_network *network, double dropout) {
    network->head.in = sd_network_shape(network);
    network->head.tokens = true;
    SD_TRY(sd_network_open_segment(network, -1, &network->head.segment));
    SD_TRY(sd_layernorm_init(network, &network->head.norm, "norm", 1, network->head.in.c));
    return head_init(network, "head", dropout, 0.02f);
}

/* x *= 1/(1-p) or 0, feature by feature; the same in both directions. */
static void dropout(const sd_head *head, const sd_pass *pass, float *x) {
    if (!pass->training || head->dropout <= 0)
        return;
    const size_t c = (size_t)head->in.c, first = pass->first_image * c;
    const float scale = (float)(1 / (1 - head->dropout));
    for (size_t i = 0; i < (size_t)pass->images * c; i++) {
        size_t item = first + i;
        sd_random random = sd_random_at(pass->seed, SD_STREAM_DROPOUT, item / 4, pass->step);
        x[i] = sd_random_uniform(random.word[item % 4]) < head->dropout ? 0 : x[i] * scale;
    }
}

void sd_head_forward(sd_head *head, const sd_context *context, const float *x) {
    const size_t images = (size_t)context->pass->images, c = (size_t)head->in.c, tokens = (size_t)head->in.h;
    if (head->tokens) {
        for (size_t n = 0; n < images; n++)
            memcpy(head->gathered + n * c, x + n * tokens * c, c * sizeof(float));
        const sd_map normalise = sd_layernorm_forward(&head->norm, context, images, head->gathered);
        context->k->map(images, head->in.c, head->gathered, &normalise, head->features);
    } else {
        context->k->avgpool_forward((int)images, head->in.h * head->in.w, head->in.c, x, head->features);
    }
    dropout(head, context->pass, head->features);
    sd_linear_forward(&head->linear, context, images, head->features, NULL, head->logits, NULL);
}

void sd_head_backward(sd_head *head, const sd_context *context, const float *dlogits, float *dx) {
    const size_t images = (size_t)context->pass->images, c = (size_t)head->in.c, tokens = (size_t)head->in.h;
    float *dfeatures = context->work[0], *dgathered = context->work[1];
    sd_linear_backward(&head->linear, context, images, head->features, NULL, dlogits, NULL, dfeatures, NULL);
    dropout(head, context->pass, dfeatures);
    if (head->tokens) {
        sd_layernorm_backward(&head->norm, context, images, head->gathered, dfeatures, NULL, dgathered);
        memset(dx, 0, images * tokens * c * sizeof(float));
        for (size_t n = 0; n < images; n++)
            memcpy(dx + n * tokens * c, dgathered + n * c, c * sizeof(float));
    } else {
        context->k->avgpool_backward((int)images, head->in.h * head->in.w, head->in.c, dfeatures, dx);
    }
}
