/* y = act(shortcut(x) + scale * F(x)), and what is left of it when F is dropped: y = act(shortcut(x)).
 *
 * With an identity shortcut nothing at all is left: x goes through by its address. That is right with a ReLU as well: x is
 * then itself the output of a ReLU (or a max pool of one), so ReLU(x) = x, and where x = 0 the mask of the ReLU that made x
 * stops the gradient. */
#include <stdio.h>

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
        char conv[48], norm[48];
        sd_shape projected;
        snprintf(conv, sizeof conv, "%s.downsample.0", name);
        snprintf(norm, sizeof norm, "%s.downsample.1", name);
        SD_TRY(sd_network_open_segment(network, -1, &residual->shortcut_segment));
        SD_TRY(sd_conv_bn_init(network, &residual->projection, conv, norm, residual->in, out.c, 1,
                               residual->spec.stride, &projected));
        network->flops += sd_conv_bn_flops(&residual->projection);
    }
    sd_network_want_gradient(network, sd_shape_elems(out));
    if (residual->spec.shortcut != SD_SHORTCUT_IDENTITY) /* the branch's gradient is computed apart, then added */
        sd_network_want_work(network, sd_shape_elems(residual->in));
    return sd_arena_reserve(&network->arena, &residual->y, sd_shape_elems(out) * (size_t)network->max_images);
}

static bool is_kept(const sd_residual *residual, const sd_context *context) {
    return residual->spec.unit < 0 || context->pass->plan->kept[residual->spec.unit];
}

static float scale_of(const sd_residual *residual, const sd_context *context) {
    return residual->spec.unit < 0 ? 1.0f : context->pass->plan->scale[residual->spec.unit];
}

static size_t rows_out(const sd_residual *residual, const sd_context *context) {
    return (size_t)context->pass->images * (size_t)residual->out.h * (size_t)residual->out.w;
}

const float *sd_residual_forward(sd_residual *residual, const sd_context *context, const float *x) {
    const bool kept = is_kept(residual, context);
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
        projected.relu = !kept && residual->spec.relu;
        context->k->evaluate(rows_out(residual, context), residual->out.c, &projected, residual->y);
        break;
    }
    }
    if (!kept)
        return residual->output = shortcut;
    residual->branch.kind->forward(&residual->branch, context, x, shortcut, scale_of(residual, context),
                                   residual->spec.relu, residual->y);
    return residual->output;
}

bool sd_residual_is_passed_by(const sd_residual *residual, const sd_context *context) {
    return residual->spec.shortcut == SD_SHORTCUT_IDENTITY && !is_kept(residual, context);
}

sd_epilogue sd_residual_awaits(const sd_residual *residual, const sd_context *context) {
    sd_epilogue epilogue = {0};
    if (is_kept(residual, context))
        epilogue = residual->branch.kind->sums(&residual->branch);
    else if (residual->spec.shortcut == SD_SHORTCUT_PROJECTION)
        epilogue = sd_conv_bn_sums(&residual->projection);
    if (residual->spec.relu)
        epilogue.mask = sd_plain(residual->y);
    return epilogue;
}

void sd_residual_backward(sd_residual *residual, const sd_context *context, float *dy, float *dx,
                          const sd_epilogue *epilogue, sd_segment_done done, void *done_context) {
    const sd_kernels *k = context->k;
    const bool kept = is_kept(residual, context);
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
        if (kept) /* dy came with the branch's sums */
            k->finish(rows_out(residual, context), residual->out.c, dy, &sums, context->scratch);
        sd_conv_bn_backward(&residual->projection, context, &in, dy, 1, dx, NULL);
        done(done_context, residual->shortcut_segment);
        break;
    }
    }
    if (kept)
        residual->branch.kind->backward(&residual->branch, context, residual->x, dy, scale_of(residual, context),
                                        through_shortcut, dx, epilogue);
    else
        k->finish((size_t)context->pass->images * (size_t)residual->in.h * (size_t)residual->in.w, residual->in.c, dx,
                  epilogue, context->scratch);
    done(done_context, residual->branch_segment);
}
