/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "keys.h"
#include "sdtrain/arena.h"

enum { VALUE_BYTES = 32768 };

/* survival_prob is resolved into rate, so it is not written. */
static bool is_alias(const key *k) { return !strcmp(k->name, "survival_prob"); }

sd_status sd_config_text(const sd_config *config, char **text) {
    size_t bytes;
    char *value;
    const char *section = "";
    SD_TRY(sd_alloc(&value, VALUE_BYTES, 1));
    FILE *out = open_memstream(text, &bytes);
    if (!out) {
        free(value);
        return sd_fail(SD_ERR_MEMORY, "out of memory while writing the configuration");
    }
    for (int i = 0; i < sd_n_keys; i++) {
        const key *k = &sd_keys[i];
        if (is_alias(k))
            continue;
        if (strcmp(section, k->section)) {
            fprintf(out, "%s[%s]\n", *section ? "\n" : "", k->section);
            section = k->section;
        }
        sd_key_print(k, config, value, VALUE_BYTES);
        fprintf(out, "%s = %s\n", k->name, value);
    }
    fclose(out);
    free(value);
    return SD_OK;
}

const char *sd_config_value(const sd_config *config, const char *name, char *text, size_t text_bytes) {
    char section[64];
    const char *dot = strchr(name, '.');
    snprintf(section, sizeof section, "%.*s", dot ? (int)(dot - name) : 0, name);
    const key *k = dot ? sd_key_find(section, dot + 1) : NULL;
    text[0] = '\0';
    if (k)
        sd_key_print(k, config, text, text_bytes);
    return text;
}

void sd_config_differences(const sd_config *config, const sd_config *other, char *differences,
                           size_t differences_bytes) {
    char *a = malloc(VALUE_BYTES), *b = malloc(VALUE_BYTES);
    size_t used = 0;
    differences[0] = '\0';
    for (int i = 0; a && b && i < sd_n_keys; i++) {
        if (!sd_keys[i].results)
            continue;
        sd_key_print(&sd_keys[i], config, a, VALUE_BYTES);
        sd_key_print(&sd_keys[i], other, b, VALUE_BYTES);
        if (strcmp(a, b) && used < differences_bytes)
            used += (size_t)snprintf(differences + used, differences_bytes - used, "%s%s.%s = %.60s, not %.60s",
                                     used ? "; " : "", sd_keys[i].section, sd_keys[i].name, a, b);
    }
    free(a);
    free(b);
}

void sd_config_help(FILE *out) {
    const char *section = "";
    for (int i = 0; i < sd_n_keys; i++) {
        const key *k = &sd_keys[i];
        if (strcmp(section, k->section))
            fprintf(out, "\n[%s]\n", k->section);
        section = k->section;
        char left[256];
        switch (k->type) {
        case KEY_CHOICE:
            snprintf(left, sizeof left, "%s = %s", k->name, k->choices);
            break;
        case KEY_LIST:
        case KEY_WHOLES:
            snprintf(left, sizeof left, "%s = A, B, ...", k->name);
            break;
        default:
            snprintf(left, sizeof left, "%s = %s%s", k->name, k->initial,
                     k->type == KEY_WHOLE && k->choices ? "|N" : "");
        }
        fprintf(out, "  %-58s %s\n", left, k->help);
    }
}
