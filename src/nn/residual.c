/* SPDX-License-Identifier: Apache-2.0 */
/* y = act(shortcut(x) + scale * F(x)); y = act(shortcut(x)) when F is dropped. Post-norm: y = norm(x + scale * F(x)); y
 * = x when F is dropped, for the norm is as much a part of what is dropped.
 *
 * With an identity shortcut a dropped residual costs nothing: y = x by address. This holds with act = ReLU, too: x is
 * then the output of a ReLU (or a max pool of one), so ReLU(x) = x, and where x = 0 that ReLU's mask stops the
 * gradient.
 *
 * If a pass keeps F for some images only (sd_drop_part), it gathers these, computes F on them as on a batch of its own,
 * and scatters the result into y. For the other images y = act(shortcut(x)). */
#include "branch.h"
#include "network.h"
#include "shortcut.h"

typedef struct residual {
    sd_node node;
    int unit;
    bool relu;
    sd_branch *branch;
    sd_shortcut shortcut;
    bool has_norm;
    sd_layernorm norm;
    float *sum; /* before the norm: [images, out] */
} residual;

/* The images of a pass that keep the branch, and the branch's own pass over them. */
typedef struct branch_pass {
    int images;             /* 0: dropped */
    bool all;               /* every image of the pass keeps the branch */
    const uint32_t *places; /* unless all */
    float scale;
    sd_pass pass;
    sd_input input; /* unless all: their lengths */
} branch_pass;

static branch_pass branch_pass_of(const residual *r, const sd_context *context) {
    const sd_pass *pass = context->pass;
    branch_pass b = {.images = pass->images, .all = true, .scale = 1, .pass = *pass};
    if (r->unit < 0)
        return b;
    b.scale = pass->plan->scale[r->unit];
    if (!pass->plan->kept[r->unit]) {
        b.images = 0;
    } else if (pass->training && pass->part) {
        b.images = pass->part->images[r->unit];
        b.places = pass->part->places + (size_t)r->unit * (size_t)pass->part->max_images;
        b.pass.batch_share = (float)((double)b.images / (double)pass->plan->images[r->unit]);
    }
    b.all = b.images == pass->images;
    b.pass.images = b.images;
    return b;
}

static sd_context branch_context(const sd_context *context, branch_pass *b) {
    sd_context inner = *context;
    inner.pass = &b->pass;
    if (b->all)
        return inner;
    inner.input = &b->input;
    inner.places = b->places;
    if (context->input->lengths) {
        sd_gather_lengths(b->images, b->places, context->input->lengths, context->gathered_lengths);
        b->input.lengths = context->gathered_lengths;
    }
    return inner;
}

/* ---- forward ---- */

static void forward_branch(residual *r, const sd_context *inner, const float *x, const float *shortcut, float scale,
                           float *y) {
    const sd_shape out = r->node.out;
    r->branch->kind->forward(r->branch, inner, x, shortcut, scale, r->relu, r->has_norm ? r->sum : y);
    if (r->has_norm) {
        const sd_map normalise = sd_layernorm_forward(&r->norm, inner, sd_rows(inner, out), r->sum);
        inner->k->map(sd_rows(inner, out), out.c, r->sum, &normalise, y);
    }
}

static void forward_some(residual *r, const sd_context *context, branch_pass *b, const float *shortcut) {
    const sd_context inner = branch_context(context, b);
    const size_t in = sd_shape_elems(r->node.in), out = sd_shape_elems(r->node.out);
    float *some_x = context->gathered[0], *some_y = context->gathered[1];
    const float *some_shortcut = some_x;
    sd_gather(b->images, b->places, in, r->node.x, some_x);
    if (r->shortcut.kind != SD_SHORTCUT_IDENTITY) {
        sd_gather(b->images, b->places, out, shortcut, some_y);
        some_shortcut = some_y;
    }
    forward_branch(r, &inner, some_x, some_shortcut, b->scale, some_y);
    sd_scatter(b->images, b->places, out, some_y, r->node.y);
    sd_fill_rest(context, b->images, b->places, r->node.out, shortcut, r->relu, r->node.y);
}

static void forward(sd_node *node, const sd_context *context) {
    residual *r = (residual *)node;
    branch_pass b = branch_pass_of(r, context);
    const float *shortcut = sd_shortcut_forward(&r->shortcut, context, node->x, b.images == 0 && r->relu, node->y);
    node->output = node->y;
    if (b.images == 0) {
        node->output = shortcut;
    } else if (b.all) {
        const sd_context inner = branch_context(context, &b);
        forward_branch(r, &inner, node->x, shortcut, b.scale, node->y);
    } else {
        forward_some(r, context, &b, shortcut);
    }
}

/* ---- backward ---- */

static bool is_identity(const sd_node *node, const sd_context *context) {
    const residual *r = (const residual *)node;
    return r->shortcut.kind == SD_SHORTCUT_IDENTITY && branch_pass_of(r, context).images == 0;
}

/* The ReLU mask, and the batch-norm sums of the branch if all images keep it, else of the shortcut: backward_some()
 * takes the branch's sums over the gathered dy. */
static sd_epilogue gradient_epilogue(const sd_node *node, const sd_context *context) {
    const residual *r = (const residual *)node;
    sd_epilogue epilogue = branch_pass_of(r, context).all ? sd_branch_gradient_epilogue(r->branch)
                                                          : sd_shortcut_gradient_epilogue(&r->shortcut);
    if (r->relu)
        epilogue.mask = sd_plain(node->y);
    return epilogue;
}

/* The memory of the output, which nobody reads any more, takes the gradient of the sum before the norm; that is the
 * gradient through the shortcut as well. */
static void backward_branch(residual *r, const sd_context *inner, const float *x, const float *dy, float scale,
                            const float *shortcut, float *dx, const sd_epilogue *epilogue) {
    if (r->has_norm) {
        float *dsum = r->node.y;
        sd_layernorm_backward(&r->norm, inner, sd_rows(inner, r->node.out), r->sum, dy, NULL, dsum);
        dy = dsum;
        shortcut = dsum;
    }
    r->branch->kind->backward(r->branch, inner, x, dy, scale, shortcut, dx, epilogue);
}

static void backward_some(residual *r, const sd_context *context, branch_pass *b, const float *dy, float *dx,
                          const sd_epilogue *epilogue) {
    const sd_context inner = branch_context(context, b);
    const sd_epilogue nothing = {0}, of_dy = sd_branch_gradient_epilogue(r->branch);
    const sd_shape in = r->node.in, out = r->node.out;
    const size_t in_elems = sd_shape_elems(in);
    float *some_x = context->gathered[0], *some_dy = context->gathered[1], *some_dx = context->gathered[2];
    const float *through_shortcut = some_dx;
    sd_gather(b->images, b->places, in_elems, r->node.x, some_x);
    sd_gather(b->images, b->places, sd_shape_elems(out), dy, some_dy);
    context->k->apply_epilogue(sd_rows(&inner, out), out.c, some_dy, &of_dy, context->scratch);
    if (!dx) {
        backward_branch(r, &inner, some_x, some_dy, b->scale, NULL, NULL, &nothing);
        return;
    }
    if (r->shortcut.kind == SD_SHORTCUT_IDENTITY) {
        through_shortcut = some_dy;
        sd_fill_rest(context, b->images, b->places, in, dy, false, dx);
    } else {
        sd_gather(b->images, b->places, in_elems, dx, some_dx);
    }
    backward_branch(r, &inner, some_x, some_dy, b->scale, through_shortcut, some_dx, &nothing);
    sd_scatter(b->images, b->places, in_elems, some_dx, dx);
    context->k->apply_epilogue(sd_rows(context, in), in.c, dx, epilogue, context->scratch);
}

static void backward(sd_node *node, const sd_context *context, float *dy, float *dx, const sd_epilogue *epilogue) {
    residual *r = (residual *)node;
    const sd_shape in = node->in, out = node->out;
    branch_pass b = branch_pass_of(r, context);
    if (b.all && r->shortcut.kind == SD_SHORTCUT_PROJECTION) { /* the epilogue of dy took the branch's sums */
        const sd_epilogue of_dy = sd_shortcut_gradient_epilogue(&r->shortcut);
        context->k->apply_epilogue(sd_rows(context, out), out.c, dy, &of_dy, context->scratch);
    }
    const float *through_shortcut = sd_shortcut_backward(&r->shortcut, context, node->x, dy, dx);
    if (b.images == 0) {
        if (dx)
            context->k->apply_epilogue(sd_rows(context, in), in.c, dx, epilogue, context->scratch);
    } else if (b.all) {
        const sd_context inner = branch_context(context, &b);
        backward_branch(r, &inner, node->x, dy, b.scale, through_shortcut, dx, epilogue);
    } else {
        backward_some(r, context, &b, dy, dx, epilogue);
    }
    sd_segment_complete(context, node->segment);
}

/* ---- describing ---- */

static sd_status describe_branch(const residual *r, float scale, sd_graph *graph, int *value) {
    SD_TRY(r->branch->kind->describe(r->branch, graph, value));
    return scale != 1 ? sd_graph_add(graph, (sd_op){.kind = SD_OP_SCALE, .factor = scale}, value) : SD_OK;
}

static sd_status describe(const sd_node *node, const sd_drop_plan *plan, sd_graph *graph, int *value) {
    const residual *r = (const residual *)node;
    const bool decided = r->unit >= 0, kept = !decided || plan->kept[r->unit];
    int branch = *value;
    SD_TRY(sd_shortcut_describe(&r->shortcut, graph, value));
    if (kept) {
        SD_TRY(describe_branch(r, decided ? plan->scale[r->unit] : 1, graph, &branch));
        SD_TRY(sd_graph_add(graph, (sd_op){.kind = SD_OP_ADD, .other = branch}, value));
        if (r->has_norm)
            SD_TRY(sd_layernorm_describe(&r->norm, graph, value));
    }
    return r->relu ? sd_graph_add(graph, (sd_op){.kind = SD_OP_RELU}, value) : SD_OK;
}

static const sd_node_kind kind = {.forward = forward,
                                  .is_identity = is_identity,
                                  .gradient_epilogue = gradient_epilogue,
                                  .backward = backward,
                                  .describe = describe};

/* ---- building ---- */

sd_status sd_build_residual_begin(sd_network *network, const sd_residual_spec *spec) {
    residual *r;
    if (spec->unit >= network->n_units)
        return sd_fail(SD_ERR_INTERNAL, "%s: there is no decision unit %d", spec->name, spec->unit);
    SD_TRY(sd_network_add_node(network, &kind, sizeof *r, spec->unit, &r));
    r->unit = spec->unit;
    r->relu = spec->relu;
    if (spec->unit >= 0 && spec->shortcut != SD_SHORTCUT_IDENTITY)
        network->units[spec->unit].changes_shape = true;
    r->shortcut = (sd_shortcut){.kind = spec->shortcut, .in = r->node.in, .stride = spec->stride};
    return sd_network_open_branch(network, spec->name, spec->relu);
}

sd_status sd_build_post_norm(sd_network *network, const char *name, float epsilon) {
    residual *r = (residual *)sd_network_last_node(network, &kind);
    const sd_branch *branch = network->branch;
    char full[SD_NAME_BYTES];
    if (!r || !branch || r->has_norm)
        return sd_fail(SD_ERR_INTERNAL, "sd_build_post_norm: it is called once, behind the branch of a residual");
    if (r->relu || r->shortcut.kind != SD_SHORTCUT_IDENTITY || branch->kind->gradient_epilogue)
        return sd_fail(SD_ERR_INTERNAL,
                       "%s: a norm of the sum needs an identity shortcut, no ReLU, and a branch without batch norm",
                       network->open_name);
    r->has_norm = true;
    if (r->unit >= 0)
        network->units[r->unit].post_norm = true;
    SD_TRY(sd_name_format(full, "%s.%s", network->open_name, name));
    SD_TRY(sd_layernorm_init(network, &r->norm, full, (size_t)branch->out.h * (size_t)branch->out.w, branch->out.c,
                             epsilon));
    return sd_network_reserve(network, &r->sum, sd_shape_elems(branch->out));
}

sd_status sd_build_residual_end(sd_network *network) {
    residual *r = (residual *)sd_network_last_node(network, &kind);
    if (!r)
        return sd_fail(SD_ERR_INTERNAL, "sd_build_residual_end: no residual is open");
    SD_TRY(sd_network_close_branch(network, &r->branch));
    network->flops += r->branch->flops;
    if (r->unit >= 0)
        network->units[r->unit].flops += r->branch->flops;
    r->shortcut.out = r->branch->out;
    SD_TRY(sd_shortcut_init(network, &r->shortcut, network->open_name));
    sd_network_want_gathered(network, sd_shape_elems(r->node.in));
    sd_network_want_gathered(network, sd_shape_elems(r->branch->out));
    return sd_network_end_node(network, &r->node, r->branch->out);
}
