/* SPDX-License-Identifier: Apache-2.0 */
/* base/processors: CPU quotas of control groups, read from a folder that stands for /. */
#include <sched.h>

#include "sdtrain/processors.h"

#include "../support.h"

/* A folder below root, with all above it. */
static void put_folder(const char *root, const char *folder) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s%s/", root, folder);
    put_folders_of(path);
}

static void put(const char *root, const char *folder, const char *name, const char *text) {
    char path[1024];
    put_folder(root, folder);
    snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
    write_bytes(path, text, strlen(text));
}

/* /proc/self of a process in these groups, with these mounts. */
static void put_process(char root[SUPPORT_PATH_BYTES], const char *cgroup, const char *mountinfo) {
    make_folder(root);
    put(root, "/proc/self", "cgroup", cgroup);
    put(root, "/proc/self", "mountinfo", mountinfo);
}

static const char V2[] = "22 1 0:20 / / rw - ext4 /dev/root rw\n"
                         "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

START_TEST(the_groups_above_count_as_well) {
    char root[SUPPORT_PATH_BYTES];
    sd_cpu_limit limits[SD_MAX_CPU_LIMITS];
    put_process(root, "0::/job.slice/step/task\n", V2);
    put(root, "/sys/fs/cgroup/job.slice/step/task", "cpu.max", "max 100000\n");
    put(root, "/sys/fs/cgroup/job.slice/step", "cpu.max", "350000 100000\n");
    put(root, "/sys/fs/cgroup/job.slice", "cpu.max", "100000 50000\n");
    put(root, "/sys/fs/cgroup/other", "cpu.max", "1000 100000\n");
    ck_assert_int_eq(sd_processors_limits(root, limits), 2);
    ck_assert(limits[0].processors == 3.5 && limits[1].processors == 2);
    ck_assert(limits[0].group != limits[1].group);
    /* A neighbour in the same job shares its limit, and knows it by the same number. */
    sd_cpu_limit neighbours[SD_MAX_CPU_LIMITS];
    put(root, "/proc/self", "cgroup", "0::/job.slice/step2\n");
    put_folder(root, "/sys/fs/cgroup/job.slice/step2");
    ck_assert_int_eq(sd_processors_limits(root, neighbours), 1);
    ck_assert(neighbours[0].group == limits[1].group);
    remove_folder(root);
}
END_TEST

/* A container sees its own group as the top. */
START_TEST(the_quota_of_a_container_is_at_the_mount_point) {
    char root[SUPPORT_PATH_BYTES];
    sd_cpu_limit limits[SD_MAX_CPU_LIMITS];
    put_process(root, "0::/\n", V2);
    put(root, "/sys/fs/cgroup", "cpu.max", "50000 100000\n");
    ck_assert_int_eq(sd_processors_limits(root, limits), 1);
    ck_assert(limits[0].processors == 0.5);
    /* The same with the host's names of groups: what is mounted is the container's group. */
    put(root, "/proc/self", "cgroup", "0::/docker/abc/inner\n");
    put(root, "/proc/self", "mountinfo", "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put(root, "/sys/fs/cgroup/inner", "cpu.max", "max 100000\n");
    ck_assert_int_eq(sd_processors_limits(root, limits), 1);
    ck_assert(limits[0].processors == 0.5);
    /* A mount of another group says nothing of this one. */
    put(root, "/proc/self", "cgroup", "0::/docker/abcdef\n");
    ck_assert_int_eq(sd_processors_limits(root, limits), 0);
    remove_folder(root);
}
END_TEST

START_TEST(version_1_has_a_hierarchy_for_cpu) {
    char root[SUPPORT_PATH_BYTES];
    sd_cpu_limit limits[SD_MAX_CPU_LIMITS];
    put_process(root, "5:cpuset:/set\n4:cpu,cpuacct:/pod/box\n1:name=systemd:/\n0::/\n",
                "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
                "34 31 0:31 / /sys/fs/cgroup/my\\040cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n"
                "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put(root, "/sys/fs/cgroup/my cpu,cpuacct/pod/box", "cpu.cfs_quota_us", "150000\n");
    put(root, "/sys/fs/cgroup/my cpu,cpuacct/pod/box", "cpu.cfs_period_us", "100000\n");
    put(root, "/sys/fs/cgroup/my cpu,cpuacct/pod", "cpu.cfs_quota_us", "-1\n");
    put(root, "/sys/fs/cgroup/my cpu,cpuacct/pod", "cpu.cfs_period_us", "100000\n");
    put(root, "/sys/fs/cgroup/cpuset/set", "cpu.cfs_quota_us", "1\n");
    put(root, "/sys/fs/cgroup/cpuset/set", "cpu.cfs_period_us", "100000\n");
    ck_assert_int_eq(sd_processors_limits(root, limits), 1);
    ck_assert(limits[0].processors == 1.5);
    remove_folder(root);
}
END_TEST

START_TEST(what_cannot_be_read_is_no_limit) {
    static const char *const quotas[] = {"",         "max",        "max 100000\n", "100000\n",
                                         "junk 1\n", "0 100000\n", "-1 100000\n",  "100000 0\n"};
    char root[SUPPORT_PATH_BYTES];
    sd_cpu_limit limits[SD_MAX_CPU_LIMITS];
    make_folder(root);
    ck_assert_int_eq(sd_processors_limits(root, limits), 0);
    put(root, "/proc/self", "cgroup", "0::/a\n");
    ck_assert_int_eq(sd_processors_limits(root, limits), 0);
    put(root, "/proc/self", "mountinfo", V2);
    ck_assert_int_eq(sd_processors_limits(root, limits), 0);
    for (size_t i = 0; i < sizeof quotas / sizeof quotas[0]; i++) {
        put(root, "/sys/fs/cgroup/a", "cpu.max", quotas[i]);
        expect(sd_processors_limits(root, limits) == 0, "'%s' is taken for a limit", quotas[i]);
    }
    put(root, "/proc/self", "cgroup", ":\n\n0:\n0::\nx:cpu\n");
    put(root, "/proc/self", "mountinfo", "\n-\n - cgroup2\n1 2 3 / /x - \n1 2 3 / /x rw - cgroup2 a b\n");
    ck_assert_int_eq(sd_processors_limits(root, limits), 0);
    remove_folder(root);
}
END_TEST

START_TEST(more_limits_than_there_is_room_for) {
    char root[SUPPORT_PATH_BYTES], folder[256] = "/sys/fs/cgroup", cgroup[256] = "0::";
    sd_cpu_limit limits[SD_MAX_CPU_LIMITS + 1] = {{0}};
    for (int i = 0; i < SD_MAX_CPU_LIMITS + 3; i++) {
        strcat(folder, "/g");
        strcat(cgroup, "/g");
    }
    put_process(root, cgroup, V2);
    for (char *end = folder + strlen(folder); strcmp(folder, "/sys/fs/cgroup"); end -= 2, *end = '\0')
        put(root, folder, "cpu.max", "200000 100000\n");
    ck_assert_int_eq(sd_processors_limits(root, limits), SD_MAX_CPU_LIMITS);
    ck_assert(limits[SD_MAX_CPU_LIMITS].processors == 0);
    remove_folder(root);
}
END_TEST

START_TEST(the_affinity_mask_is_counted) {
    cpu_set_t before, one;
    expect(sched_getaffinity(0, sizeof before, &before) == 0, "no affinity mask");
    ck_assert_int_eq(sd_processors_allowed(), CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    expect(sched_setaffinity(0, sizeof one, &one) == 0, "the affinity mask cannot be set");
    ck_assert_int_eq(sd_processors_allowed(), 1);
    ck_assert_int_ge(sd_processors_online(), 1);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("processors");
    tcase_add_test(cases, the_groups_above_count_as_well);
    tcase_add_test(cases, the_quota_of_a_container_is_at_the_mount_point);
    tcase_add_test(cases, version_1_has_a_hierarchy_for_cpu);
    tcase_add_test(cases, what_cannot_be_read_is_no_limit);
    tcase_add_test(cases, more_limits_than_there_is_room_for);
    tcase_add_test(cases, the_affinity_mask_is_counted);
    return run_suite("processors", cases);
}
