#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/drop.h"
#include "sdtrain/random.h"

sd_status sd_drop_plan_create(int units, sd_drop_plan *plan) {
    *plan = (sd_drop_plan){.units = units};
    SD_TRY(sd_alloc(&plan->kept, (size_t)units, sizeof *plan->kept));
    return sd_alloc(&plan->scale, (size_t)units, sizeof *plan->scale);
}

void sd_drop_plan_free(sd_drop_plan *plan) {
    free(plan->kept);
    free(plan->scale);
    memset(plan, 0, sizeof *plan);
}

void sd_drop_plan_draw(const sd_drop_law *law, uint64_t step, sd_drop_plan *plan) {
    plan->kept_units = 0;
    for (int unit = 0; unit < law->units; unit++) {
        double p = law->rate[unit];
        double u = sd_random_uniform(sd_random_at(law->seed, SD_STREAM_DROP, (uint64_t)unit, step).word[0]);
        plan->kept[unit] = !(u < p);
        plan->kept_units += plan->kept[unit];
        plan->scale[unit] = law->scale == SD_DROP_SCALE_TRAINING && p < 1 ? (float)(1 / (1 - p)) : 1.0f;
    }
}

void sd_drop_plan_evaluation(const sd_drop_law *law, sd_drop_plan *plan) {
    plan->kept_units = law->units;
    for (int unit = 0; unit < law->units; unit++) {
        plan->kept[unit] = 1;
        plan->scale[unit] = law->scale == SD_DROP_SCALE_INFERENCE ? (float)(1 - law->rate[unit]) : 1.0f;
    }
}
