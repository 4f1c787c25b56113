/* SPDX-License-Identifier: Apache-2.0 */
/* data.normalise. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "normalisation.h"

static const struct {
    const char *word;
    float mean[SD_CHANNELS], deviation[SD_CHANNELS];
} known[] = {
    {"imagenet", {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}},
    {"half", {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}},
};

/* "0.48, 0.45,0.4, 0.2,0.2,0.2" */
static bool parse_numbers(const char *text, float *mean, float *deviation) {
    for (int i = 0; i < 2 * SD_CHANNELS; i++) {
        char *end;
        const float value = strtof(text, &end);
        if (end == text || !isfinite(value))
            return false;
        *(i < SD_CHANNELS ? mean + i : deviation + i - SD_CHANNELS) = value;
        end += strspn(end, " \t");
        const char wanted = i + 1 < 2 * SD_CHANNELS ? ',' : '\0';
        if (*end != wanted)
            return false;
        text = end + 1;
    }
    return true;
}

static bool are_positive(const float *deviation) {
    for (int c = 0; c < SD_CHANNELS; c++)
        if (!(deviation[c] > 0))
            return false;
    return true;
}

sd_status sd_normalise_parse(const char *text, bool is_folder, bool *measured, float *mean, float *deviation) {
    if (!text || !strcmp(text, "auto"))
        text = is_folder ? "imagenet" : "dataset";
    *measured = !strcmp(text, "dataset");
    if (*measured)
        return SD_OK;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(text, known[i].word)) {
            memcpy(mean, known[i].mean, sizeof known[i].mean);
            memcpy(deviation, known[i].deviation, sizeof known[i].deviation);
            return SD_OK;
        }
    if (!parse_numbers(text, mean, deviation) || !are_positive(deviation))
        return sd_fail(
            SD_ERR_CONFIG,
            "data.normalise: %s is neither auto, dataset, imagenet, half, nor three means and three standard "
            "deviations above 0 of pixels in 0..1, such as 0.49,0.48,0.45,0.25,0.24,0.26",
            text);
    return SD_OK;
}

sd_status sd_normalise_check(const char *text) {
    float mean[SD_CHANNELS], deviation[SD_CHANNELS];
    bool measured;
    return sd_normalise_parse(text, false, &measured, mean, deviation);
}
