/* SPDX-License-Identifier: Apache-2.0 */
/* y = act(shortcut(x) + scale * F(x)), and what is left of it when F is dropped: y = act(shortcut(x)).
 *
 * With an identity shortcut nothing at all is left: x goes through by its address. That is right with a ReLU as well: x is
 * then itself the output of a ReLU (or a max pool of one), so ReLU(x) = x, and where x = 0 the mask of the ReLU that made x
 * stops the gradient.
 *
 * Where a pass has a part (sd_drop_part) that keeps F for some images only, those are gathered, F is computed on them as if they
 * were the batch, and the result is scattered into y; the others get act(shortcut(x)). */
#include "network.h"

sd_status sd_network_open_residual(sd_network *network, sd_residual_spec spec, sd_residual **residual) {
    SD_TRY(
        sd_grow(&network->residuals, network->n_residuals, &network->residuals_capacity, sizeof *network->residuals));
    SD_TRY(sd_alloc(residual, 1, sizeof **residual));
    (*residual)->spec = spec;
    (*residual)->in = sd_network_shape(network);
    (*residual)->shortcut_segment = -1;
    network->residuals[network->n_residuals++] = *residual;
    return sd_network_open_segment(network, spec.unit, &(*residual)->branch_segment);
}

sd_status sd_network_close_residual(sd_network *network, sd_residual *residual, const char *name, sd_shape out) {
    residual->out = out;
    network->flops += residual->branch.flops;
    if (residual->spec.unit >= 0)
        network->units[residual->spec.unit].flops += residual->branch.flops;
    if (residual->spec.depth > network->blocks)
        network->blocks = residual->spec.depth;
    if (residual->spec.shortcut == SD_SHORTCUT_PROJECTION) {
        char conv[SD_NAME_BYTES], norm[SD_NAME_BYTES];
        sd_shape projected;
        SD_TRY(sd_name_format(conv, "%s.downsample.0", name));
        SD_TRY(sd_name_format(norm, "%s.downsample.1", name));
        SD_TRY(sd_network_open_segment(network, -1, &residual->shortcut_segment));
        SD_TRY(sd_conv_bn_init(network, &residual->projection, conv, norm, residual->in, out.c, 1,
                               residual->spec.stride, &projected));
        network->flops += sd_conv_bn_flops(&residual->projection);
    }
    sd_network_want_gradient(network, sd_shape_elems(out));
    sd_network_want_gathered(network, sd_shape_elems(residual->in));
    sd_network_want_gathered(network, sd_shape_elems(out));
    if (residual->spec.shortcut != SD_SHORTCUT_IDENTITY) /* the branch's gradient is computed apart, then added */
        sd_network_want_work(network, sd_shape_elems(residual->in));
    return sd_arena_reserve(&network->arena, &residual->y, sd_shape_elems(out) * (size_t)network->max_images);
}

/* For which images of a pass the branch is computed, and the pass that the branch itself sees. */
typedef struct choice {
    int images;             /* 0: dropped */
    bool all;               /* of the pass, in their places */
    const uint32_t *places; /* unless all */
    float scale;
    sd_pass pass;
} choice;

static choice choice_of(const sd_residual *residual, const sd_context *context) {
    const sd_pass *pass = context->pass;
    const int unit = residual->spec.unit;
    choice c = {.images = pass->images, .all = true, .scale = 1, .pass = *pass};
    if (unit < 0)
        return c;
    c.scale = pass->plan->scale[unit];
    if (!pass->plan->kept[unit]) {
        c.images = 0;
    } else if (pass->training && pass->part) {
        c.images = pass->part->images[unit];
        c.places = pass->part->places + (size_t)unit * (size_t)pass->part->max_images;
        c.pass.batch_share = (float)((double)c.images / (double)pass->plan->images[unit]);
    }
    c.all = c.images == pass->images;
    c.pass.images = c.images;
    return c;
}

static sd_context branch_context(const sd_context *context, const choice *c) {
    sd_context inner = *context;
    inner.pass = &c->pass;
    return inner;
}

static size_t rows_of(const sd_context *context, sd_shape shape) {
    return (size_t)context->pass->images * (size_t)shape.h * (size_t)shape.w;
}

static void forward_some(sd_residual *residual, const sd_context *context, const choice *c, const float *x,
                         const float *shortcut) {
    const sd_context inner = branch_context(context, c);
    const size_t in = sd_shape_elems(residual->in), out = sd_shape_elems(residual->out);
    float *some_x = context->gathered[0], *some_y = context->gathered[1];
    const float *some_shortcut = some_x;
    sd_gather(c->images, c->places, in, x, some_x);
    if (residual->spec.shortcut != SD_SHORTCUT_IDENTITY) {
        sd_gather(c->images, c->places, out, shortcut, some_y);
        some_shortcut = some_y;
    }
    residual->branch.kind->forward(&residual->branch, &inner, some_x, some_shortcut, c->scale, residual->spec.relu,
                                   some_y);
    sd_scatter(c->images, c->places, out, some_y, residual->y);
    sd_fill_rest(context, c->images, c->places, residual->out, shortcut, residual->spec.relu, residual->y);
}

const float *sd_residual_forward(sd_residual *residual, const sd_context *context, const float *x) {
    const choice c = choice_of(residual, context);
    residual->x = x;
    residual->output = residual->y;
    const float *shortcut = residual->y;
    switch (residual->spec.shortcut) {
    case SD_SHORTCUT_IDENTITY:
        shortcut = x;
        break;
    case SD_SHORTCUT_SUBSAMPLE:
        context->k->subsample_forward(context->pass->images, residual->in.h, residual->in.w, residual->in.c,
                                      residual->spec.stride, residual->out.c, x, residual->y);
        break;
    case SD_SHORTCUT_PROJECTION: {
        const sd_operand in = sd_plain(x);
        sd_operand projected = sd_conv_bn_forward(&residual->projection, context, &in, 1);
        projected.relu = c.images == 0 && residual->spec.relu;
        context->k->evaluate(rows_of(context, residual->out), residual->out.c, &projected, residual->y);
        break;
    }
    }
    if (c.images == 0)
        return residual->output = shortcut;
    if (c.all) {
        const sd_context inner = branch_context(context, &c);
        residual->branch.kind->forward(&residual->branch, &inner, x, shortcut, c.scale, residual->spec.relu,
                                       residual->y);
    } else {
        forward_some(residual, context, &c, x, shortcut);
    }
    return residual->output;
}

bool sd_residual_is_passed_by(const sd_residual *residual, const sd_context *context) {
    return residual->spec.shortcut == SD_SHORTCUT_IDENTITY && choice_of(residual, context).images == 0;
}

/* The branch's sums only if it saw all images; those of some are taken once their gradients have been gathered. */
sd_epilogue sd_residual_awaits(const sd_residual *residual, const sd_context *context) {
    const choice c = choice_of(residual, context);
    sd_epilogue epilogue = {0};
    if (c.all)
        epilogue = residual->branch.kind->sums(&residual->branch);
    else if (residual->spec.shortcut == SD_SHORTCUT_PROJECTION)
        epilogue = sd_conv_bn_sums(&residual->projection);
    if (residual->spec.relu)
        epilogue.mask = sd_plain(residual->y);
    return epilogue;
}

static void backward_some(sd_residual *residual, const sd_context *context, const choice *c, const float *dy, float *dx,
                          const sd_epilogue *epilogue) {
    const sd_context inner = branch_context(context, c);
    const sd_epilogue nothing = {0}, sums = residual->branch.kind->sums(&residual->branch);
    const size_t in = sd_shape_elems(residual->in), out = sd_shape_elems(residual->out);
    float *some_x = context->gathered[0], *some_dy = context->gathered[1], *some_dx = context->gathered[2];
    const float *through_shortcut = some_dx;
    sd_gather(c->images, c->places, in, residual->x, some_x);
    sd_gather(c->images, c->places, out, dy, some_dy);
    if (residual->spec.shortcut == SD_SHORTCUT_IDENTITY) {
        through_shortcut = some_dy;
        sd_fill_rest(context, c->images, c->places, residual->in, dy, false, dx);
    } else {
        sd_gather(c->images, c->places, in, dx, some_dx);
    }
    context->k->finish(rows_of(&inner, residual->out), residual->out.c, some_dy, &sums, context->scratch);
    residual->branch.kind->backward(&residual->branch, &inner, some_x, some_dy, c->scale, through_shortcut, some_dx,
                                    &nothing);
    sd_scatter(c->images, c->places, in, some_dx, dx);
    context->k->finish(rows_of(context, residual->in), residual->in.c, dx, epilogue, context->scratch);
}

void sd_residual_backward(sd_residual *residual, const sd_context *context, float *dy, float *dx,
                          const sd_epilogue *epilogue, sd_segment_done done, void *done_context) {
    const sd_kernels *k = context->k;
    const choice c = choice_of(residual, context);
    const float *through_shortcut = dx;
    switch (residual->spec.shortcut) {
    case SD_SHORTCUT_IDENTITY:
        through_shortcut = dy;
        break;
    case SD_SHORTCUT_SUBSAMPLE:
        k->subsample_backward(context->pass->images, residual->in.h, residual->in.w, residual->in.c,
                              residual->spec.stride, residual->out.c, dy, dx);
        break;
    case SD_SHORTCUT_PROJECTION: {
        const sd_operand in = sd_plain(residual->x);
        const sd_epilogue sums = sd_conv_bn_sums(&residual->projection);
        if (c.all) /* dy came with the branch's sums */
            k->finish(rows_of(context, residual->out), residual->out.c, dy, &sums, context->scratch);
        sd_conv_bn_backward(&residual->projection, context, &in, dy, 1, dx, NULL);
        done(done_context, residual->shortcut_segment);
        break;
    }
    }
    if (c.images == 0) {
        k->finish(rows_of(context, residual->in), residual->in.c, dx, epilogue, context->scratch);
    } else if (c.all) {
        const sd_context inner = branch_context(context, &c);
        residual->branch.kind->backward(&residual->branch, &inner, residual->x, dy, c.scale, through_shortcut, dx,
                                        epilogue);
    } else {
        backward_some(residual, context, &c, dy, dx, epilogue);
    }
    done(done_context, residual->branch_segment);
}
