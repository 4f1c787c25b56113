/* SPDX-License-Identifier: Apache-2.0 */
#include "init.h"

#include <stdio.h>
#include <string.h>

#include "resume.h"
#include "run.h"
#include "sdtrain/checkpoint.h"

enum { READ_SECONDS = 3600 }; /* allowed for a file whose size is not known yet, on a slow disk */

static sd_status check_digest(const sd_config *config, const sd_weights *weights) {
    const char *file = config->model.init, *wanted = config->model.init_digest;
    if (!wanted[0] || !strcmp(wanted, weights->digest))
        return SD_OK;
    return sd_fail(SD_ERR_DATA,
                   "%s: is another file than the one that is asked for: its XXH3-128 is %s, and model.init_digest = %s",
                   file, weights->digest, wanted);
}

/* Only files of ours say what their weights are to be multiplied with; after inference it is another factor than after
 * the other words. */
static void compare_scale(const sd_config *config, const sd_weights *weights) {
    const sd_drop_scale mine = config->stochastic_depth.scale;
    const char *theirs = sd_weights_metadata(weights, "scale");
    int scale = SD_DROP_SCALE_NONE;
    while (theirs && scale >= 0 && strcmp(theirs, sd_drop_scale_word((sd_drop_scale)scale)) != 0)
        scale--;
    if (theirs && scale >= 0 && (scale == SD_DROP_SCALE_INFERENCE) != (mine == SD_DROP_SCALE_INFERENCE))
        sd_log_warn("%s: its weights are of stochastic_depth.scale = %s, and this run has %s: branches begin with "
                    "another strength than they were trained to",
                    config->model.init, theirs, sd_drop_scale_word(mine));
}

/* On rank 0. */
static sd_status adopt(sd_network *network, sd_config *config, char *text) {
    const char *file = config->model.init;
    char adopted[SD_ADOPTION_BYTES];
    sd_adoption report;
    sd_weights weights;
    SD_TRY(sd_weights_read(file, &weights));
    sd_status status = check_digest(config, &weights);
    if (status == SD_OK)
        status = sd_model_adopt(network, &weights, file, &report);
    if (status == SD_OK) {
        compare_scale(config, &weights);
        strcpy(config->model.init_digest, weights.digest);
        snprintf(text, SD_INIT_BYTES, "%s (XXH3-128 %s): %s", file, weights.digest, sd_adoption_text(&report, adopted));
    }
    sd_weights_free(&weights);
    return status;
}

sd_status sd_init_adopt(sd_run *run, sd_config *config, char text[SD_INIT_BYTES]) {
    sd_comm *comm = run->session.comm;
    sd_network *network = run->trainer.network;
    text[0] = '\0';
    if (!config->model.init[0])
        return SD_OK;
    sd_watch_slow("reading model.init", 0, READ_SECONDS);
    SD_TRY(sd_comm_agree(comm, sd_session_is_root(&run->session) ? adopt(network, config, text) : SD_OK));
    SD_TRY(sd_comm_broadcast(comm, config->model.init_digest, sizeof config->model.init_digest));
    return sd_comm_broadcast(comm, sd_network_values(network), sd_network_buffer_elems(network) * sizeof(float));
}

void sd_init_keep(const sd_resume *resume, sd_config *config) {
    if (!resume->found)
        return;
    strcpy(config->model.init, resume->init);
    strcpy(config->model.init_digest, resume->init_digest);
}
