/* SPDX-License-Identifier: Apache-2.0 */
/* The processors that this process may use: those of its affinity mask, and the CPU time that its control groups allow
 * (a container's or a job's quota).
 *
 * Local. Linux; what cannot be read is no limit. */
#ifndef SDTRAIN_PROCESSORS_H
#define SDTRAIN_PROCESSORS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SD_MAX_CPU_LIMITS = 8 };

typedef struct sd_cpu_limit {
    uint64_t group;    /* the control group that has it: the same number in all processes of the host */
    double processors; /* seconds of CPU time a second, of all processes in the group; above 0 */
} sd_cpu_limit;

/* Of the affinity mask; at least 1. */
int sd_processors_allowed(void);
/* Of the host that are switched on; at least 1. */
int sd_processors_online(void);

/* The quotas of this process's control groups and of all above them: cgroup v2's cpu.max, and v1's cpu.cfs_quota_us
 * over cpu.cfs_period_us. root: where /proc and the mount points are, "" but for tests. Returns how many are in
 * limits. */
int sd_processors_limits(const char *root, sd_cpu_limit limits[SD_MAX_CPU_LIMITS]);

#ifdef __cplusplus
}
#endif
#endif
