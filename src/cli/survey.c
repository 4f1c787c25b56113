/* SPDX-License-Identifier: Apache-2.0 */
#include "survey.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/models.h"

const char *const sd_drop_keys[] = {"rate", "schedule", "scope", "scale", "min_kept", "unit", "dropped_update"};
const int sd_n_drop_keys = sizeof sd_drop_keys / sizeof sd_drop_keys[0];

sd_status sd_moments_of(const sd_loaded *l, const sd_entry *entry, sd_moments *m) {
    void *values;
    double sum = 0, squares = 0;
    SD_TRY(sd_checkpoint_read(l->file, entry, &values));
    *m = (sd_moments){.min = INFINITY, .max = -INFINITY};
    for (size_t i = 0; i < entry->elems; i++) {
        const double x = sd_entry_number(entry, values, i);
        m->min = fmin(m->min, x);
        m->max = fmax(m->max, x);
        sum += x;
        squares += x * x;
    }
    free(values);
    m->mean = sum / (double)entry->elems;
    m->l2 = sqrt(squares);
    return SD_OK;
}

int sd_groups_of(const sd_loaded *l, sd_group groups[SD_MAX_GROUPS]) {
    int n = 0;
    for (int i = 0; i < l->n_entries; i++) { /* sorted by path, so a group's entries are adjacent */
        const sd_entry *entry = &l->entries[i];
        const int length = 1 + (int)strcspn(entry->path + 1, "/");
        if (entry->path[0] != '/')
            continue;
        if (n == 0 || strncmp(groups[n - 1].name, entry->path, (size_t)length) != 0 || groups[n - 1].name[length]) {
            if (n == SD_MAX_GROUPS)
                break;
            groups[n] = (sd_group){.datasets = 0};
            snprintf(groups[n].name, sizeof groups[n].name, "%.*s", length, entry->path);
            n++;
        }
        groups[n - 1].datasets++;
        groups[n - 1].bytes += entry->elems * entry->elem_bytes;
    }
    return n;
}

sd_status sd_rates_of(const sd_loaded *l, double **rate) {
    SD_TRY(sd_alloc(rate, (size_t)sd_network_n_units(l->network) + 1, sizeof **rate));
    const sd_status status = sd_config_drop_rates(&l->config, l->network, *rate, NULL);
    if (status != SD_OK) {
        free(*rate);
        *rate = NULL;
    }
    return status;
}
