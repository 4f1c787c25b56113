/* SPDX-License-Identifier: Apache-2.0 */
#include "saver.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bad_images.h"
#include "feedback.h"
#include "run.h"
#include "sdtrain/arena.h"
#include "sdtrain/clock.h"
#include "sdtrain/finite.h"

sd_status sd_saver_open(sd_run *run) {
    sd_saver *saver = &run->saver;
    const sd_trainer *trainer = &run->trainer;
    const size_t ranks = (size_t)sd_comm_size(run->session.comm);
    saver->safe_accuracy = run->progress.best_accuracy;
    saver->safe_step = run->progress.best_step;
    if (!sd_session_is_root(&run->session))
        return SD_OK;
    SD_TRY(sd_alloc(&saver->info.timing, ranks * SD_PHASES, sizeof *saver->info.timing));
    SD_TRY(sd_pipeline_class_names(&run->pipeline, &saver->info.class_names));
    SD_TRY(sd_pipeline_vocab(&run->pipeline, &saver->info.vocab));
    return sd_snapshot_create(trainer->network, trainer->optimizer, sd_reducer_error(trainer->reducer) ? (int)ranks : 0,
                              &saver->snapshot);
}

double sd_run_file_seconds(const sd_run *run) {
    const double slow_bytes_per_s = 2e6;
    return (double)sd_trainer_state_bytes(&run->trainer, sd_comm_size(run->session.comm)) / slow_bytes_per_s;
}

void sd_saver_close(sd_run *run) {
    sd_saver *saver = &run->saver;
    if (sd_background_is_busy(&saver->background))
        sd_watch_slow("the last checkpoint", run->progress.step, sd_run_file_seconds(run));
    sd_background_discard(&saver->background);
    sd_snapshot_free(&saver->snapshot);
    sd_checkpoint_info_free(&saver->info);
}

/* ---- in the thread ---- */

/* Logs to the disk first, as the file counts on them; then the file, the links, and fewer old files. */
static sd_status write_all(const sd_run *run) {
    const sd_saver *saver = &run->saver;
    const sd_progress *p = &saver->info.progress;
    const sd_config *config = run->session.config;
    const char *checkpoints = run->session.folders.checkpoints;
    const sd_checkpoint_content content = {.network = run->trainer.network,
                                           .optimizer = run->trainer.optimizer,
                                           .snapshot = &saver->snapshot,
                                           .info = &saver->info,
                                           .compression = (int)config->checkpoint.compression};
    char path[SD_PATH_BYTES];
    SD_TRY(sd_logs_sync(&run->record.logs));
    sd_checkpoint_path(checkpoints, p->step, path, sizeof path);
    SD_TRY(sd_checkpoint_save(path, &content));
    sd_checkpoint_link(checkpoints, "latest", p->step);
    if (p->best_step == p->step)
        sd_checkpoint_link(checkpoints, "best", p->step);
    sd_checkpoint_retain(checkpoints, (int)config->checkpoint.keep, (uint64_t)config->checkpoint.keep_every,
                         p->best_step);
    return SD_OK;
}

static sd_status write_behind(void *context) {
    sd_run *run = context;
    const double begin = sd_clock_seconds();
    const sd_status status = write_all(run);
    run->saver.write_seconds = sd_clock_seconds() - begin;
    return status;
}

/* ---- rank 0, between steps ---- */

/* Takes the result of the write under way. A failure is a warning, unless it is the last chance or one too many in a
 * row; then the best checkpoint is again the best of those that are on the disk. */
static sd_status end_write(sd_run *run, bool last_chance) {
    sd_saver *saver = &run->saver;
    if (!sd_background_is_busy(&saver->background))
        return SD_OK;
    const sd_status status = sd_background_end(&saver->background);
    run->budget.checkpoint = fmax(run->budget.checkpoint, saver->copy_seconds + saver->write_seconds);
    if (status == SD_OK) {
        saver->failures = 0;
        saver->safe_accuracy = saver->info.progress.best_accuracy;
        saver->safe_step = saver->info.progress.best_step;
        return SD_OK;
    }
    run->progress.best_accuracy = saver->safe_accuracy;
    run->progress.best_step = saver->safe_step;
    const long long allowed = run->session.config->checkpoint.max_failures;
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", sd_error_message());
    if (++saver->failures >= allowed || last_chance)
        return sd_fail(SD_ERR_IO, "%s (%d checkpoint%s in a row could not be written; checkpoint.max_failures = %lld)",
                       reason, saver->failures, saver->failures == 1 ? "" : "s", allowed);
    sd_log_warn("%s; training goes on, and the next checkpoint is tried when it is due", reason);
    sd_error_clear();
    return SD_OK;
}

/* All but timing, which is gathered into it, and the names of classes and the vocabulary, which stay. */
static sd_status describe(const sd_run *run, sd_checkpoint_info *info) {
    const sd_session *session = &run->session;
    const sd_dataset *dataset = run->pipeline.dataset;
    const sd_sample_spec samples = sd_dataset_samples(dataset);
    double *const timing = info->timing;
    char *const class_names = info->class_names, *const vocab = info->vocab;
    free(info->config);
    *info = (sd_checkpoint_info){.progress = run->progress,
                                 .train_images = sd_dataset_images(dataset, SD_SPLIT_TRAIN),
                                 .validation_images = sd_dataset_images(dataset, SD_SPLIT_VALIDATION),
                                 .data_hash = sd_dataset_hash(dataset),
                                 .image_size = samples.image_size,
                                 .classes = samples.classes,
                                 .class_names = class_names,
                                 .sequence = samples.sequence,
                                 .vocabulary = samples.vocabulary,
                                 .vocab = vocab,
                                 .seed = run->trainer.drop.seed,
                                 .ranks = sd_comm_size(session->comm),
                                 .threads = session->threads,
                                 .n_phases = SD_PHASES,
                                 .timing = timing};
    memcpy(info->mean, sd_dataset_mean(dataset), sizeof info->mean);
    memcpy(info->deviation, sd_dataset_deviation(dataset), sizeof info->deviation);
    snprintf(info->isa, sizeof info->isa, "%s", session->kernels->name);
    snprintf(info->scale, sizeof info->scale, "%s", sd_drop_scale_word(run->trainer.drop.scale));
    return sd_config_text(session->config, &info->config);
}

/* Copies the state, once the copy before is on the disk. */
static sd_status copy_state(sd_run *run) {
    sd_saver *saver = &run->saver;
    sd_progress *p = &run->progress;
    sd_network *network = run->trainer.network;
    if (!sd_all_finite(sd_network_values(network), sd_network_buffer_elems(network)))
        return sd_fail(SD_ERR_DIVERGED,
                       "training diverged: after step %llu weights are not finite, and no checkpoint is written; lower "
                       "lr.base (%g), and start again or from %s",
                       (unsigned long long)p->step, run->session.config->lr.base, run->session.folders.checkpoints);
    SD_TRY(sd_logs_measure(&run->record.logs, p));
    sd_snapshot_take(&saver->snapshot, network, run->trainer.optimizer);
    return describe(run, &saver->info);
}

/* ---- all ranks ---- */

sd_status sd_run_save(sd_run *run, bool planned) {
    const double begin = sd_clock_seconds();
    const bool root = sd_session_is_root(&run->session);
    sd_comm *comm = run->session.comm;
    sd_saver *saver = &run->saver;
    sd_timing *timing = &run->record.timing;
    sd_progress *p = &run->progress;
    sd_watch_slow("checkpoint", p->step, sd_run_file_seconds(run)); /* the one before may still be on its way */
    sd_timing_count(timing);
    SD_TRY(sd_comm_agree(comm, root ? end_write(run, false) : SD_OK));
    /* A checkpoint is a candidate for the best if the run has just scored this very state. */
    if (planned && p->batch == 0 && !isnan(p->val_accuracy) && !(p->best_accuracy >= p->val_accuracy)) {
        p->best_accuracy = p->val_accuracy;
        p->best_step = p->step;
    }
    SD_TRY(sd_comm_gather(comm, timing->seconds, sizeof timing->seconds, saver->info.timing));
    SD_TRY(sd_feedback_collect(&run->session, &run->trainer, saver->snapshot.error));
    SD_TRY(sd_run_list_bad_images(run));
    const sd_status status = root ? copy_state(run) : SD_OK;
    if (root && status == SD_OK)
        sd_background_begin(&saver->background, write_behind, run);
    SD_TRY(sd_comm_agree(comm, status));
    timing->step_begin = sd_record_charge(&run->record, SD_PHASE_CHECKPOINT, begin);
    saver->last_seconds = timing->step_begin;
    saver->copy_seconds = timing->step_begin - begin;
    return SD_OK;
}

sd_status sd_run_look_after_saving(sd_run *run) {
    return sd_background_is_done(&run->saver.background) ? end_write(run, false) : SD_OK;
}

sd_status sd_run_finish_saving(sd_run *run) {
    const double begin = sd_clock_seconds();
    sd_watch_slow("the last checkpoint", run->progress.step, sd_run_file_seconds(run));
    SD_TRY(sd_comm_agree(run->session.comm, sd_session_is_root(&run->session) ? end_write(run, true) : SD_OK));
    sd_record_charge(&run->record, SD_PHASE_CHECKPOINT, begin);
    return SD_OK;
}

bool sd_run_save_is_due(const sd_run *run) {
    const double every = run->session.config->checkpoint.every_seconds;
    return every > 0 && sd_session_is_root(&run->session) && sd_clock_seconds() - run->saver.last_seconds >= every;
}
