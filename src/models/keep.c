/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/models.h"
#include "sdtrain/random.h"

enum { NUMBER_BYTES = 12 };

/* The blocks of a network, from 0, and what a rule says of them. */
typedef struct blocks {
    const sd_network *network;
    const char *rule;
    int n, removable;
    bool *stays, *kept; /* [n] */
    int *can_go;        /* [removable], the numbers of those that can be left out, ascending */
} blocks;

static void blocks_free(blocks *b) {
    free(b->stays);
    free(b->kept);
    free(b->can_go);
}

static sd_status blocks_of(const sd_network *network, const char *rule, blocks *b) {
    *b = (blocks){.network = network, .rule = rule, .n = sd_network_blocks(network)};
    SD_TRY(sd_alloc(&b->stays, (size_t)b->n, sizeof *b->stays));
    SD_TRY(sd_alloc(&b->kept, (size_t)b->n, sizeof *b->kept));
    SD_TRY(sd_alloc(&b->can_go, (size_t)b->n, sizeof *b->can_go));
    for (int i = 0; i < sd_network_n_units(network); i++)
        if (sd_network_unit(network, i)->changes_shape)
            b->stays[sd_network_unit(network, i)->depth - 1] = true;
    for (int block = 0; block < b->n; block++)
        if (!b->stays[block])
            b->can_go[b->removable++] = block;
    return SD_OK;
}

/* A whole number at *at, which moves behind it; false if there is none. */
static bool read_number(const char **at, int *number) {
    enum { MOST = 1000000 };
    const char *begin = *at;
    *number = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++)
        *number = *number < MOST ? 10 * *number + (**at - '0') : MOST;
    return *at > begin;
}

static sd_status not_a_rule(const blocks *b) {
    return sd_fail(
        SD_ERR_USAGE,
        "'%s' says no blocks to keep; expected is a list such as 0,2,4, or every_other:K, first:K, last:K or "
        "random:K",
        b->rule);
}

/* "0,2,4" */
static sd_status keep_listed(blocks *b) {
    for (const char *at = b->rule;; at++) {
        int block;
        if (!read_number(&at, &block) || (*at && *at != ','))
            return not_a_rule(b);
        if (block >= b->n)
            return sd_fail(SD_ERR_USAGE, "'%s': there is no block %d; there are 0 to %d", b->rule, block, b->n - 1);
        if (b->kept[block])
            return sd_fail(SD_ERR_USAGE, "'%s': block %d is named twice", b->rule, block);
        b->kept[block] = true;
        if (!*at)
            break;
    }
    for (int block = 0; block < b->n; block++)
        if (b->stays[block] && !b->kept[block])
            return sd_fail(SD_ERR_USAGE,
                           "'%s': block %d cannot be left out, as its shortcut changes shapes; name it, too", b->rule,
                           block);
    return SD_OK;
}

static sd_status keep_random(blocks *b, uint32_t seed, int k) {
    uint32_t *order;
    SD_TRY(sd_alloc(&order, (size_t)b->removable, sizeof *order));
    sd_random_permutation(seed, SD_STREAM_KEEP, 0, order, (uint32_t)b->removable);
    for (int j = 0; j < k; j++)
        b->kept[b->can_go[order[j]]] = true;
    free(order);
    return SD_OK;
}

typedef enum count_rule { EVERY_OTHER, FIRST, LAST, RANDOM, COUNT_RULES } count_rule;

static int place_of(count_rule rule, int j, int k, int of) {
    switch (rule) {
    case EVERY_OTHER:
        return (int)((int64_t)j * of / k);
    case LAST:
        return of - k + j;
    default:
        return j;
    }
}

/* "first:6" */
static sd_status keep_counted(blocks *b, count_rule rule, const char *number, uint32_t seed) {
    int k;
    if (!read_number(&number, &k) || *number)
        return not_a_rule(b);
    if (k > b->removable)
        return sd_fail(SD_ERR_USAGE, "'%s': %d blocks can be left out, so up to %d of them can be kept", b->rule,
                       b->removable, b->removable);
    memcpy(b->kept, b->stays, (size_t)b->n * sizeof *b->kept);
    if (rule == RANDOM)
        return keep_random(b, seed, k);
    for (int j = 0; j < k; j++)
        b->kept[b->can_go[place_of(rule, j, k, b->removable)]] = true;
    return SD_OK;
}

static sd_status apply(blocks *b, uint32_t seed) {
    static const char *const words[COUNT_RULES] = {"every_other:", "first:", "last:", "random:"};
    for (int rule = 0; rule < COUNT_RULES; rule++)
        if (!strncmp(b->rule, words[rule], strlen(words[rule])))
            return keep_counted(b, (count_rule)rule, b->rule + strlen(words[rule]), seed);
    return keep_listed(b);
}

sd_status sd_model_keep(const sd_network *network, const char *rule, uint32_t seed, unsigned char *keep) {
    blocks b;
    sd_status status = blocks_of(network, rule, &b);
    if (status == SD_OK)
        status = apply(&b, seed);
    for (int i = 0; status == SD_OK && i < sd_network_n_units(network); i++)
        keep[i] = b.kept[sd_network_unit(network, i)->depth - 1];
    blocks_free(&b);
    return status;
}

int sd_model_removable_blocks(const sd_network *network) {
    int fixed = 0, last = 0;
    for (int i = 0; i < sd_network_n_units(network); i++) {
        const sd_unit *unit = sd_network_unit(network, i);
        fixed += unit->changes_shape && unit->depth != last;
        last = unit->changes_shape ? unit->depth : last;
    }
    return sd_network_blocks(network) - fixed;
}

sd_status sd_model_kept_text(const sd_network *network, const unsigned char *keep, char separator, char **text) {
    size_t used = 0;
    int last = 0;
    SD_TRY(sd_alloc(text, (size_t)sd_network_n_units(network) + 1, NUMBER_BYTES));
    for (int i = 0; i < sd_network_n_units(network); i++) {
        const int depth = sd_network_unit(network, i)->depth;
        if (keep[i] && depth != last)
            used += (size_t)(used ? snprintf(*text + used, NUMBER_BYTES, "%c%d", separator, depth - 1)
                                  : snprintf(*text, NUMBER_BYTES, "%d", depth - 1));
        last = keep[i] ? depth : last;
    }
    return SD_OK;
}

size_t sd_model_kept_parameters(const sd_network *network, const unsigned char *keep) {
    size_t parameters = sd_network_parameters(network);
    for (int i = 0; i < sd_network_n_units(network); i++)
        parameters -= keep[i] ? 0 : sd_network_unit(network, i)->parameters;
    return parameters;
}

double sd_model_kept_flops(const sd_network *network, const unsigned char *keep) {
    double flops = sd_network_flops(network);
    for (int i = 0; i < sd_network_n_units(network); i++)
        flops -= keep[i] ? 0 : sd_network_unit(network, i)->flops;
    return flops;
}
