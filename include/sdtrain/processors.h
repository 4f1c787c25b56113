/* SPDX-License-Identifier: Apache-2.0 */
/* The processors that this process may use: those of its affinity mask, and the CPU time that its control groups allow
 * (a container's or a job's quota).
 *
 * Local. Linux; a file that cannot be read sets no limit. */
#ifndef SDTRAIN_PROCESSORS_H
#define SDTRAIN_PROCESSORS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SD_MAX_CPU_LIMITS = 8 };

typedef struct sd_cpu_limit {
    uint64_t group;    /* id of the control group, the same in all processes of the host */
    double processors; /* CPU seconds per second, of all processes in the group together; > 0 */
} sd_cpu_limit;

/* Processors of the affinity mask; at least 1. */
int sd_processors_allowed(void);
/* Processors of the host that are online; at least 1. */
int sd_processors_online(void);

/* Reads the quotas of this process's control groups and of all their parents: v2's cpu.max, v1's cpu.cfs_quota_us /
 * cpu.cfs_period_us. root: prefix of /proc and of mount points, "" except in tests. Returns the number of limits. */
int sd_processors_limits(const char *root, sd_cpu_limit limits[SD_MAX_CPU_LIMITS]);

#ifdef __cplusplus
}
#endif
#endif
