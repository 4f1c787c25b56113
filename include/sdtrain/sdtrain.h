/* SPDX-License-Identifier: Apache-2.0 */
/* All of libsdtrain. */
#ifndef SDTRAIN_SDTRAIN_H
#define SDTRAIN_SDTRAIN_H

#include "sdtrain/arena.h"
#include "sdtrain/batch.h"
#include "sdtrain/bucket.h"
#include "sdtrain/build.h"
#include "sdtrain/checkpoint.h"
#include "sdtrain/choice.h"
#include "sdtrain/clock.h"
#include "sdtrain/config.h"
#include "sdtrain/data.h"
#include "sdtrain/dist.h"
#include "sdtrain/drop.h"
#include "sdtrain/file.h"
#include "sdtrain/finite.h"
#include "sdtrain/hash.h"
#include "sdtrain/kernels.h"
#include "sdtrain/list.h"
#include "sdtrain/loss.h"
#include "sdtrain/models.h"
#include "sdtrain/nn.h"
#include "sdtrain/optim.h"
#include "sdtrain/processors.h"
#include "sdtrain/progress.h"
#include "sdtrain/random.h"
#include "sdtrain/range.h"
#include "sdtrain/report.h"
#include "sdtrain/status.h"
#include "sdtrain/train.h"

#endif
