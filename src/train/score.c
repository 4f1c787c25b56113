#include "run.h"
#include "sdtrain/clock.h"

enum { SUM_LOSS, SUM_TOP1, SUM_TOP5, SUM_IMAGES, SUMS, TOP = 5 };

sd_status sd_run_score(sd_run *run, sd_split split, uint64_t n, sd_score *score) {
    const double begin = sd_clock_seconds();
    const uint64_t at_once = (uint64_t)sd_run_max_images(run);
    const sd_range share = sd_range_share(n, sd_comm_rank(run->comm), sd_comm_size(run->comm));
    const uint64_t batches = (share.count + at_once - 1) / at_once;
    for (uint64_t b = 0; b < batches; b++) {
        uint64_t rest = share.count - b * at_once;
        run->ranges[b] = (sd_range){share.first + b * at_once, rest < at_once ? rest : at_once};
    }
    double sums[SUMS] = {0};
    sd_loader_begin(run->loader, &(sd_loader_pass){.split = split, .ranges = run->ranges, .n_batches = batches});
    for (uint64_t b = 0; b < batches; b++) {
        const sd_batch batch = sd_loader_next(run->loader);
        const sd_pass pass = {.images = batch.images, .plan = &run->evaluation_plan};
        const float *logits = sd_network_forward(run->network, &pass, batch.x);
        run->kernels->cross_entropy_forward((size_t)batch.images, sd_network_classes(run->network), logits,
                                            batch.labels, 0, run->losses, run->label_ranks);
        for (int i = 0; i < batch.images; i++) {
            sums[SUM_LOSS] += run->losses[i];
            sums[SUM_TOP1] += run->label_ranks[i] == 0;
            sums[SUM_TOP5] += run->label_ranks[i] < TOP;
        }
        sums[SUM_IMAGES] += batch.images;
    }
    sd_loader_end(run->loader);
    SD_TRY(sd_comm_sum(run->comm, sums, SUMS));
    *score = (sd_score){.loss = sums[SUM_LOSS] / sums[SUM_IMAGES],
                        .top1 = sums[SUM_TOP1] / sums[SUM_IMAGES],
                        .top5 = sums[SUM_TOP5] / sums[SUM_IMAGES],
                        .images = (uint64_t)sums[SUM_IMAGES]};
    run->step_begin = sd_run_charge(run, SD_PHASE_EVALUATION, begin);
    return SD_OK;
}
