/* SPDX-License-Identifier: Apache-2.0 */
/* --evaluate: a checkpoint on the validation images, whole or some of its blocks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "epoch.h"
#include "resume.h"
#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/csv.h"
#include "sdtrain/models.h"
#include "sdtrain/train.h"

/* The configuration asked for, with the checkpoint's stochastic depth and layers: weights belong to their scale and
 * rates, and a pruned network has less of both. stored: room for the checkpoint's configuration. Collective. */
static sd_status adopt_depth(sd_comm *comm, const sd_resume *resume, sd_config *stored, sd_config *config) {
    sd_status status = SD_OK;
    sd_config_init(stored);
    if (sd_comm_rank(comm) == 0)
        status = sd_config_parse(stored, resume->info.config, resume->path);
    SD_TRY(sd_comm_agree(comm, status));
    SD_TRY(sd_comm_broadcast(comm, &stored->stochastic_depth, sizeof stored->stochastic_depth));
    SD_TRY(sd_comm_broadcast(comm, &stored->model, sizeof stored->model));
    config->stochastic_depth = stored->stochastic_depth;
    if (!strcmp(config->model.name, stored->model.name)) /* else the checkpoint does not fit, and says so */
        config->model.layers = stored->model.layers;
    return SD_OK;
}

/* The configuration asked for, as the checkpoint needs it. config: [2], of the evaluation, and room for the
 * checkpoint's. */
static sd_status open_run(sd_comm *comm, sd_config *config, sd_resume *resume, sd_run *run) {
    config->log.trace[0] = '\0';          /* it writes nothing */
    config->run.seed = resume->info.seed; /* which images are held out */
    SD_TRY(adopt_depth(comm, resume, config + 1, config));
    SD_TRY(sd_run_open(run, comm, config, NULL, NULL));
    sd_resume_compare_data(resume, run->pipeline.dataset);
    return sd_resume_apply(resume, run, false);
}

/* keep: [units]. */
static sd_status score(sd_run *run, const unsigned char *keep, sd_score *score) {
    sd_trainer *trainer = &run->trainer;
    const uint64_t images = sd_dataset_images(run->pipeline.dataset, SD_SPLIT_VALIDATION);
    sd_drop_plan_evaluation(&trainer->drop, keep, &trainer->evaluation_plan);
    return sd_run_score(run, SD_SPLIT_VALIDATION, images, score, NULL);
}

/* ---- at one depth ---- */

static sd_status print_score(const sd_run *run, const unsigned char *keep, const sd_score *score, FILE *to) {
    char *kept = NULL;
    if (keep)
        SD_TRY(sd_model_kept_text(run->trainer.network, keep, ',', &kept));
    fprintf(to, "evaluate loss=%.6f top1=%.6f top5=%.6f images=%llu%s%s\n", score->loss, score->top1, score->top5,
            (unsigned long long)score->images, keep ? " kept=" : "", keep ? kept : "");
    free(kept);
    return SD_OK;
}

static sd_status choose(const sd_run *run, const char *rule, unsigned char **keep) {
    const sd_network *network = run->trainer.network;
    SD_TRY(sd_alloc(keep, (size_t)sd_network_n_units(network), 1));
    return sd_model_keep(network, rule, (uint32_t)run->session.config->run.seed, *keep);
}

static sd_status evaluate(sd_run *run, const char *rule, FILE *to) {
    unsigned char *keep = NULL;
    sd_score all;
    sd_status status;
    if (rule)
        SD_TRY_CLEANUP(sd_comm_agree(run->session.comm, choose(run, rule, &keep)));
    SD_TRY_CLEANUP(score(run, keep, &all));
    if (sd_session_is_root(&run->session))
        status = print_score(run, keep, &all, to);
cleanup:
    free(keep);
    return status;
}

/* ---- at all depths ---- */

static const char SWEEP_HEADER[] = "depth,kept,loss,top1,parameters,flops,seconds";

/* The folder of the run: .../RUN/checkpoints/FILE; of another file the one that it is in. */
static void folder_of(const char *checkpoint, char folder[SD_PATH_BYTES]) {
    static const char checkpoints[] = "/checkpoints";
    const char *slash = strrchr(checkpoint, '/');
    snprintf(folder, SD_PATH_BYTES, "%.*s", slash ? (int)(slash - checkpoint) : 1, slash ? checkpoint : ".");
    char *end = folder + strlen(folder) - (sizeof checkpoints - 1);
    if (end > folder && !strcmp(end, checkpoints))
        *end = '\0';
}

/* One row, as a line of the table and of the file. depth: of the blocks that can be left out. */
static sd_status sweep_depth(sd_run *run, int depth, unsigned char *keep, sd_csv *csv, FILE *to) {
    const sd_network *network = run->trainer.network;
    const double begin = sd_clock_seconds();
    char rule[32], *kept;
    sd_score at;
    snprintf(rule, sizeof rule, "every_other:%d", depth);
    SD_TRY(sd_model_keep(network, rule, 0, keep));
    SD_TRY(score(run, keep, &at));
    if (!csv)
        return SD_OK;
    const double seconds = sd_clock_seconds() - begin, flops = sd_model_kept_flops(network, keep);
    const size_t parameters = sd_model_kept_parameters(network, keep);
    const int blocks = depth + sd_network_blocks(network) - sd_model_removable_blocks(network);
    SD_TRY(sd_model_kept_text(network, keep, ' ', &kept));
    fprintf(to, "%5d  %9.4f  %7.2f %%  %11zu  %10.2f  %8.2f  %s\n", blocks, at.loss, 100 * at.top1, parameters,
            flops * 1e-6, seconds, kept);
    fflush(to);
    const sd_status status =
        sd_csv_row(csv, "%d,%s,%.9g,%.9g,%zu,%.0f,%.6f\n", blocks, kept, at.loss, at.top1, parameters, flops, seconds);
    free(kept);
    return status;
}

static sd_status sweep_depths(sd_run *run, sd_csv *csv, FILE *to) {
    enum { MOST_ROWS = 16 };
    const int depths = sd_model_removable_blocks(run->trainer.network), apart = (depths + MOST_ROWS - 1) / MOST_ROWS;
    unsigned char *keep;
    sd_status status = sd_alloc(&keep, (size_t)sd_network_n_units(run->trainer.network), 1);
    for (int depth = depths; status == SD_OK && depth > 0; depth -= apart)
        status = sweep_depth(run, depth, keep, csv, to);
    free(keep);
    return status;
}

static sd_status sweep(sd_run *run, const char *checkpoint, FILE *to) {
    const bool root = sd_session_is_root(&run->session);
    sd_csv csv = {0};
    char folder[SD_PATH_BYTES];
    folder_of(checkpoint, folder);
    SD_TRY(sd_comm_agree(run->session.comm, root ? sd_csv_open(&csv, folder, "sweep.csv", SWEEP_HEADER, 0, 0) : SD_OK));
    if (root)
        fprintf(to, "depth       loss       top1   parameters       MFLOP   seconds  kept\n");
    const sd_status status = sweep_depths(run, root ? &csv : NULL, to);
    sd_csv_close(&csv);
    if (status == SD_OK && root)
        fprintf(to, "written to %s/sweep.csv\n", folder);
    return status;
}

/* ---- both ---- */

/* keep: as of sd_train_evaluate(). */
static sd_status run_on(sd_comm *comm, const sd_config *config, const char *checkpoint, const char *keep, bool sweeps) {
    sd_resume resume = {0};
    sd_run run = {0};
    sd_config *configs = NULL; /* what run points to */
    sd_status status = sd_watchdog_start(comm, (double)config->run.stall_seconds);
    if (status == SD_OK)
        status = sd_comm_agree(comm, sd_alloc(&configs, 2, sizeof *configs));
    if (status == SD_OK)
        status = sd_resume_open(comm, checkpoint, &resume);
    if (status == SD_OK) {
        configs[0] = *config;
        status = open_run(comm, configs, &resume, &run);
    }
    if (status == SD_OK)
        status = sweeps ? sweep(&run, checkpoint, stdout) : evaluate(&run, keep, stdout);
    sd_resume_close(&resume);
    sd_run_close(&run);
    sd_watchdog_stop();
    free(configs);
    return status;
}

sd_status sd_train_evaluate(sd_comm *comm, const sd_config *config, const char *checkpoint, const char *keep) {
    return run_on(comm, config, checkpoint, keep, false);
}

sd_status sd_train_sweep(sd_comm *comm, const sd_config *config, const char *checkpoint) {
    return run_on(comm, config, checkpoint, NULL, true);
}
