/* SPDX-License-Identifier: Apache-2.0 */
/* What a run tells: all of its room. */
#ifndef SDTRAIN_REPORT_H
#define SDTRAIN_REPORT_H

#include "sdtrain/console.h"
#include "sdtrain/csv.h"
#include "sdtrain/description.h"
#include "sdtrain/savings.h"
#include "sdtrain/summary.h"
#include "sdtrain/trace.h"

#endif
