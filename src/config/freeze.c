/* SPDX-License-Identifier: Apache-2.0 */
/* model.freeze: patterns of names -> which parameters are frozen. */
#include <fnmatch.h>
#include <string.h>

#include "sdtrain/config.h"

static const char KEY[] = "model.freeze", SPACES[] = " ";

/* Copies the next pattern of the list without the spaces around it, and moves *list behind its comma; false at the
 * end. */
static bool next_pattern(const char **list, char pattern[SD_CONFIG_TEXT]) {
    if (!*list)
        return false;
    const char *comma = strchr(*list, ','), *first = *list + strspn(*list, SPACES);
    size_t bytes = comma ? (size_t)(comma - *list) : strlen(*list);
    const char *end = *list + bytes;
    while (end > first && strchr(SPACES, end[-1]))
        end--;
    bytes = end > first ? (size_t)(end - first) : 0;
    memcpy(pattern, first, bytes);
    pattern[bytes] = '\0';
    *list = comma ? comma + 1 : NULL;
    return true;
}

/* Sets frozen of the parameters that the pattern matches, and returns their number. */
static int apply(const char *pattern, const sd_network *network, bool *frozen) {
    const bool excepts = pattern[0] == '!';
    int matches = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        const sd_tensor *tensor = sd_network_tensor(network, i);
        if (tensor->kind != SD_TENSOR_PARAMETER || fnmatch(pattern + excepts, tensor->name, 0) != 0)
            continue;
        frozen[i] = !excepts;
        matches++;
    }
    return matches;
}

static sd_status check_some(const sd_config *config, const sd_network *network, const bool *frozen) {
    int n = 0, parameters = 0;
    for (int i = 0; i < sd_network_n_tensors(network); i++) {
        parameters += sd_network_tensor(network, i)->kind == SD_TENSOR_PARAMETER;
        n += frozen[i];
    }
    if (n == 0 || n == parameters)
        return sd_config_fail(config, KEY, "'%s' freezes %s of the %d parameters of %s, so %s", config->model.freeze,
                              n ? "all" : "none", parameters, config->model.name,
                              n ? "nothing is left to train" : "it says nothing; leave it empty");
    return SD_OK;
}

sd_status sd_config_frozen(const sd_config *config, const sd_network *network, bool *frozen) {
    const char *list = config->model.freeze;
    char pattern[SD_CONFIG_TEXT];
    memset(frozen, 0, (size_t)sd_network_n_tensors(network) * sizeof *frozen);
    if (!list[0])
        return SD_OK;
    while (next_pattern(&list, pattern))
        if (apply(pattern, network, frozen) == 0)
            return sd_config_fail(config, KEY, "'%s' matches the name of no parameter of %s (such as %s)", pattern,
                                  config->model.name, sd_network_tensor(network, 0)->name);
    return check_some(config, network, frozen);
}
