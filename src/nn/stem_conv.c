/* SPDX-License-Identifier: Apache-2.0 */
/* ResNet's stem: convolution, batch norm, ReLU, and optionally 3x3 max pooling of stride 2. */
#include "layer.h"
#include "network.h"

typedef struct conv_stem {
    sd_node node;
    sd_conv_bn layer;
    bool pool;
    float *unpooled; /* input of the pooling */
} conv_stem;

static void forward(sd_node *node, const sd_context *context) {
    conv_stem *stem = (conv_stem *)node;
    const sd_conv2d *conv = &stem->layer.conv;
    const sd_operand in = sd_plain(context->input->pixels);
    sd_operand normalised = sd_conv_bn_forward(&stem->layer, context, &in, 1);
    normalised.relu = true;
    context->k->store_operand(sd_conv_rows_out(conv), conv->k, &normalised, stem->pool ? stem->unpooled : node->y);
    if (stem->pool)
        context->k->maxpool_forward(conv->images, sd_conv2d_out_h(conv), sd_conv2d_out_w(conv), conv->k, stem->unpooled,
                                    node->y);
    node->output = node->y;
}

/* The epilogue of bn's dy, where y = relu(bn(conv(x))): the mask of y, then the sums. */
static sd_epilogue epilogue_under_relu(const conv_stem *stem, const float *y) {
    sd_epilogue epilogue = sd_conv_bn_sums(&stem->layer);
    epilogue.mask = sd_plain(y);
    return epilogue;
}

static sd_epilogue gradient_epilogue(const sd_node *node, const sd_context *context) {
    const conv_stem *stem = (const conv_stem *)node;
    (void)context;
    return stem->pool ? (sd_epilogue){0} : epilogue_under_relu(stem, node->y);
}

static void backward(sd_node *node, const sd_context *context, float *dy, float *dx, const sd_epilogue *epilogue) {
    conv_stem *stem = (conv_stem *)node;
    const sd_conv2d *conv = &stem->layer.conv;
    const sd_operand in = sd_plain(context->input->pixels);
    if (stem->pool) {
        const sd_epilogue of_unpooled = epilogue_under_relu(stem, stem->unpooled);
        float *dunpooled = context->work[0];
        context->k->maxpool_backward(conv->images, sd_conv2d_out_h(conv), sd_conv2d_out_w(conv), conv->k,
                                     stem->unpooled, dy, dunpooled);
        context->k->apply_epilogue(sd_conv_rows_out(conv), conv->k, dunpooled, &of_unpooled, context->scratch);
        dy = dunpooled;
    }
    sd_conv_bn_backward(&stem->layer, context, &in, dy, 1, dx, epilogue);
    sd_segment_complete(context, node->segment);
}

static sd_status describe(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value) {
    const conv_stem *stem = (const conv_stem *)node;
    const sd_op maxpool = {.kind = SD_OP_MAXPOOL, .out = node->out, .kernel = 3, .stride = 2, .pad = 1};
    (void)plan;
    SD_TRY(sd_conv_bn_describe(&stem->layer, graph, value));
    SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_RELU}, value));
    return stem->pool ? sd_graph_add(graph, maxpool, value) : SD_OK;
}

static const sd_node_kind kind = {
    .forward = forward, .gradient_epilogue = gradient_epilogue, .backward = backward, .describe = describe};

sd_status sd_build_conv_stem(sd_network *network, sd_shape image, const sd_conv_spec *conv, bool pool) {
    conv_stem *stem;
    sd_shape out;
    SD_TRY(sd_network_add_stem(network, &kind, sizeof *stem, image, &stem));
    SD_TRY(sd_conv_bn_init(network, &stem->layer, "conv1", "bn1", image, conv, &out));
    network->flops += sd_conv_bn_flops(&stem->layer);
    stem->pool = pool;
    if (pool) {
        sd_network_want_work(network, sd_shape_elems(out));
        SD_TRY(sd_network_reserve(network, &stem->unpooled, sd_shape_elems(out)));
        out.h = (out.h + 1) / 2;
        out.w = (out.w + 1) / 2;
    }
    return sd_network_end_node(network, &stem->node, out);
}
