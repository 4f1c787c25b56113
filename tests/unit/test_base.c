/* SPDX-License-Identifier: Apache-2.0 */
/* base/: random numbers, memory, statuses, files. */
#include <float.h>

#include "../support.h"

/* ---- random numbers ---- */

/* Random123's kat_vectors, "philox4x32 10". */
START_TEST(philox_equals_the_published_vectors) {
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const uint32_t *c = known[i].counter;
        sd_random random =
            sd_random_at(known[i].key[0], known[i].key[1], (uint64_t)c[1] << 32 | c[0], (uint64_t)c[3] << 32 | c[2]);
        for (int w = 0; w < 4; w++)
            ck_assert_uint_eq(random.word[w], known[i].out[w]);
    }
}
END_TEST

START_TEST(uniform_is_exact_and_below_one) {
    ck_assert(sd_random_uniform(0) == 0);
    ck_assert(sd_random_uniform(1) == 0x1p-32);
    ck_assert(sd_random_uniform(0x80000000u) == 0.5);
    ck_assert(sd_random_uniform(0xffffffffu) == 1 - 0x1p-32);
    double sum = 0;
    const int n = 100000;
    for (int i = 0; i < n; i++)
        sum += sd_random_uniform(sd_random_at(3, 77, (uint64_t)i, 0).word[0]);
    expect_number("the mean", sum / n, 0.5, 5 * sqrt(1.0 / 12 / n)); /* 5 sigma */
}
END_TEST

START_TEST(index_reaches_every_place_and_no_other) {
    const uint64_t sizes[] = {1, 2, 9, 1000, 1ull << 32};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        ck_assert_uint_eq(sd_random_index(0, sizes[i]), 0);
        ck_assert_uint_eq(sd_random_index(0xffffffffu, sizes[i]), sizes[i] - 1);
    }
    int count[9] = {0};
    const int n = 90000;
    for (int i = 0; i < n; i++)
        count[sd_random_index(sd_random_at(5, 78, (uint64_t)i, 0).word[1], 9)]++;
    for (int i = 0; i < 9; i++)
        expect_number("a place's share", count[i], n / 9.0, 5 * sqrt(n / 9.0 * 8 / 9));
}
END_TEST

START_TEST(permutation_holds_every_index_once) {
    enum { MOST = 5000 };
    static uint32_t order[MOST];
    static unsigned char seen[MOST];
    const uint32_t sizes[] = {0, 1, 2, 3, 17, MOST};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        memset(seen, 0, sizeof seen);
        sd_random_permutation(1, SD_STREAM_ORDER, 4, order, sizes[s]);
        for (uint32_t i = 0; i < sizes[s]; i++) {
            ck_assert_uint_lt(order[i], sizes[s]);
            expect(!seen[order[i]]++, "%u comes twice", order[i]);
        }
    }
}
END_TEST

START_TEST(permutation_is_a_function_of_seed_stream_and_time) {
    enum { N = 1000 };
    uint32_t first[N], other[N];
    sd_random_permutation(1, SD_STREAM_ORDER, 1, first, N);
    sd_random_permutation(1, SD_STREAM_ORDER, 1, other, N);
    ck_assert_mem_eq(first, other, sizeof first);
    sd_random_permutation(1, SD_STREAM_ORDER, 2, other, N);
    ck_assert_mem_ne(first, other, sizeof first);
    sd_random_permutation(2, SD_STREAM_ORDER, 1, other, N);
    ck_assert_mem_ne(first, other, sizeof first);
    sd_random_permutation(1, SD_STREAM_SPLIT, 1, other, N);
    ck_assert_mem_ne(first, other, sizeof first);
}
END_TEST

START_TEST(permutation_puts_every_index_at_every_place_equally_often) {
    enum { N = 5, TIMES = 20000 };
    int count[N][N] = {{0}};
    for (uint64_t time = 1; time <= TIMES; time++) {
        uint32_t order[N];
        sd_random_permutation(9, SD_STREAM_ORDER, time, order, N);
        for (int i = 0; i < N; i++)
            count[i][order[i]]++;
    }
    const double p = 1.0 / N;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            expect_number("a count", count[i][j], TIMES * p, 5 * sqrt(TIMES * p * (1 - p)));
}
END_TEST

/* E x^k of N(0, 1) for k = 1 .. 4 is 0, 1, 0, 3; the variance of x^k is 1, 2, 15, 96. */
START_TEST(normal_has_the_moments_of_the_normal_distribution) {
    const int n = 200000;
    double sum[4] = {0}, correlation = 0, before = 0;
    for (int i = 0; i < n; i++) {
        double x = sd_random_normal(sd_random_at(11, SD_STREAM_INIT, (uint64_t)i, 3));
        for (int k = 0; k < 4; k++)
            sum[k] += pow(x, k + 1);
        correlation += x * before;
        before = x;
    }
    expect_number("the mean", sum[0] / n, 0, 5 * sqrt(1.0 / n));
    expect_number("the variance", sum[1] / n, 1, 5 * sqrt(2.0 / n));
    expect_number("the third moment", sum[2] / n, 0, 5 * sqrt(15.0 / n));
    expect_number("the fourth moment", sum[3] / n, 3, 5 * sqrt(96.0 / n));
    expect_number("the correlation of neighbours", correlation / n, 0, 5 * sqrt(1.0 / n));
}
END_TEST

START_TEST(normal_is_finite_for_every_word) {
    const uint32_t words[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            double x = sd_random_normal((sd_random){{words[i], words[j], 0, 0}});
            ck_assert(isfinite(x) && fabs(x) < 7);
        }
}
END_TEST

/* ---- memory ---- */

START_TEST(arena_gives_aligned_zeroed_places_that_do_not_overlap) {
    enum { N = 50 };
    sd_arena arena = {0};
    float *place[N];
    for (int i = 0; i < N; i++)
        expect_ok(sd_arena_reserve(&arena, &place[i], (size_t)i * 7));
    expect_ok(sd_arena_commit(&arena));
    for (int i = 0; i < N; i++) {
        ck_assert_uint_eq((uintptr_t)place[i] % 64, 0);
        for (int e = 0; e < i * 7; e++) {
            ck_assert(place[i][e] == 0);
            place[i][e] = (float)i;
        }
    }
    for (int i = 0; i < N; i++)
        for (int e = 0; e < i * 7; e++)
            ck_assert(place[i][e] == (float)i);
    sd_arena_free(&arena);
    ck_assert_ptr_null(arena.base);
    sd_arena_free(&arena);
}
END_TEST

START_TEST(memory_that_is_not_there_is_refused) {
    float something, *place = &something;
    void *block = &something;
    expect_refused(sd_alloc_floats(&place, (size_t)1 << 60), SD_ERR_MEMORY, "memory", NULL);
    expect_refused(sd_alloc(&block, (size_t)1 << 60, 8), SD_ERR_MEMORY, "memory", NULL);
    ck_assert(place == NULL && block == NULL); /* callers free what they may not have got */
    place = &something;
    expect_refused(sd_alloc_floats(&place, SIZE_MAX), SD_ERR_MEMORY, NULL);
    ck_assert_ptr_null(place);
    sd_arena arena = {0};
    expect_ok(sd_arena_reserve(&arena, &place, (size_t)1 << 58));
    expect_refused(sd_arena_commit(&arena), SD_ERR_MEMORY, "memory", NULL);
    sd_arena_free(&arena);
}
END_TEST

/* A count of bytes beyond 2^64 must not come out as a small one. */
START_TEST(a_number_of_floats_that_overflows_is_refused) {
    float *place;
    expect_refused(sd_alloc_floats(&place, SIZE_MAX / 4 + 1), SD_ERR_MEMORY, "memory", NULL);
    expect_refused(sd_alloc_floats(&place, SIZE_MAX), SD_ERR_MEMORY, "memory", NULL);
}
END_TEST

START_TEST(an_arena_whose_sum_overflows_is_refused) {
    sd_arena arena = {0};
    float *place[5];
    sd_status status = SD_OK;
    for (int i = 0; status == SD_OK && i < 5; i++) /* 4 x 2^62 bytes = 2^64, and a little more */
        status = sd_arena_reserve(&arena, &place[i], i < 4 ? (size_t)1 << 60 : 16);
    if (status == SD_OK)
        status = sd_arena_commit(&arena);
    ck_assert_int_eq(status, SD_ERR_MEMORY);
    sd_arena_free(&arena);
}
END_TEST

START_TEST(an_array_grows_and_keeps_what_it_holds) {
    int *array = NULL, capacity = 0;
    for (int i = 0; i < 1000; i++) {
        expect_ok(sd_grow(&array, i, &capacity, sizeof *array));
        ck_assert_int_gt(capacity, i);
        array[i] = i * i;
    }
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(array[i], i * i);
    free(array);
}
END_TEST

/* ---- statuses ---- */

static sd_status fails(void) { return sd_fail(SD_ERR_DATA, "%s: record %d", "file", 7); }
static sd_status passes_on(void) {
    SD_TRY(fails());
    return SD_OK;
}

START_TEST(a_failure_keeps_its_sentence_and_the_way_it_took) {
    ck_assert_int_eq(passes_on(), SD_ERR_DATA);
    ck_assert_str_eq(sd_error_message(), "file: record 7");
    ck_assert_ptr_nonnull(strstr(sd_error_trace(), " < "));
    sd_error_clear();
    ck_assert_str_eq(sd_error_message(), "");
    ck_assert_str_eq(sd_error_trace(), "");
}
END_TEST

START_TEST(a_long_failure_is_cut_and_a_long_way_too) {
    static char text[5000];
    memset(text, 'x', sizeof text - 1);
    sd_fail(SD_ERR_IO, "%s", text);
    ck_assert_uint_gt(strlen(sd_error_message()), 500);
    for (int i = 0; i < 1000; i++)
        sd_error_push("some/file.c", i);
    ck_assert_uint_lt(strlen(sd_error_trace()), 100000);
}
END_TEST

START_TEST(a_failure_is_one_line_whatever_is_in_it) {
    sd_fail(SD_ERR_USAGE, "%s", "a\nb\tc\x1b[31m \xc3\xa9");
    for (const char *c = sd_error_message(); *c; c++)
        ck_assert((unsigned char)*c >= ' ');
    ck_assert_ptr_nonnull(strstr(sd_error_message(), "\xc3\xa9")); /* letters of other languages stay */
}
END_TEST

START_TEST(a_kept_failure_is_reported_as_it_was) {
    sd_outcome outcome = {0};
    sd_error_clear();
    ck_assert_int_eq(sd_outcome_report(&outcome), SD_OK);
    sd_outcome_keep(&outcome, passes_on());
    sd_fail(SD_ERR_IO, "another one meanwhile");
    ck_assert_int_eq(sd_outcome_report(&outcome), SD_ERR_DATA);
    ck_assert_str_eq(sd_error_message(), "file: record 7");
    sd_outcome_keep(&outcome, SD_OK);
    sd_error_clear();
    ck_assert_int_eq(sd_outcome_report(&outcome), SD_OK);
    ck_assert_str_eq(sd_error_message(), "");
}
END_TEST

START_TEST(exit_codes_are_those_of_sysexits) {
    static const struct {
        sd_status status;
        int code;
    } rows[] = {{SD_OK, 0},           {SD_ERR_USAGE, 64},    {SD_ERR_DATA, 65},
                {SD_ERR_NOINPUT, 66}, {SD_ERR_INTERNAL, 70}, {SD_ERR_DIVERGED, 70},
                {SD_ERR_MEMORY, 70},  {SD_ERR_IO, 74},       {SD_STOPPED, 75},
                {SD_ERR_CONFIG, 78}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(sd_status_exit_code(rows[i].status), rows[i].code);
        ck_assert_uint_gt(strlen(sd_status_text(rows[i].status)), 3);
    }
}
END_TEST

/* ---- files that are written ---- */

static void new_place(char folder[SUPPORT_PATH_BYTES], char path[SUPPORT_PATH_BYTES + 16],
                      char target[SUPPORT_PATH_BYTES + 16]) {
    make_folder(folder);
    snprintf(path, SUPPORT_PATH_BYTES + 16, "%s/file", folder);
    snprintf(target, SUPPORT_PATH_BYTES + 16, "%s/target", folder);
}

START_TEST(a_file_is_put_whole_with_the_users_umask) {
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 16], target[SUPPORT_PATH_BYTES + 16];
    char part[SUPPORT_PATH_BYTES + 32];
    struct stat info;
    new_place(folder, path, target);
    snprintf(part, sizeof part, "%s.part", path);
    umask(027);
    write_bytes(part, "of a run that was killed", 24);
    expect_ok(sd_file_put(path, "one\n"));
    expect_file(path, "one\n");
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_int_eq(info.st_mode & 0777, 0640);
    expect_ok(sd_file_put(path, "two"));
    expect_file(path, "two\n");
    ck_assert_int_ne(access(part, F_OK), 0);
    mkdir(part, 0777); /* no temporary file can be made: what was there stays */
    expect_refused(sd_file_put(path, "three"), SD_ERR_IO, path, NULL);
    expect_file(path, "two\n");
    remove_folder(folder);
}
END_TEST

START_TEST(nothing_is_written_through_a_link_or_into_what_is_no_file) {
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 16], target[SUPPORT_PATH_BYTES + 16];
    FILE *file;
    uint64_t keep = 0;
    new_place(folder, path, target);
    write_bytes(target, "precious", 8);
    ck_assert_int_eq(symlink(target, path), 0);
    expect_refused(sd_file_put(path, "x"), SD_ERR_IO, path, "symbolic link", NULL);
    expect_refused(sd_file_open_log(path, &keep, &file), SD_ERR_IO, path, "symbolic link", NULL);
    expect_file(target, "precious");
    remove(target); /* nor is a file made where a link leads */
    expect_refused(sd_file_put(path, "x"), SD_ERR_IO, path, "symbolic link", NULL);
    expect_refused(sd_file_open_log(path, &keep, &file), SD_ERR_IO, path, "symbolic link", NULL);
    ck_assert_int_ne(access(target, F_OK), 0);
    remove(path);
    mkfifo(path, 0666); /* whose reader would be waited for */
    expect_refused(sd_file_put(path, "x"), SD_ERR_IO, path, "regular file", NULL);
    expect_refused(sd_file_open_log(path, &keep, &file), SD_ERR_IO, path, "regular file", NULL);
    remove(path);
    mkdir(path, 0777);
    expect_refused(sd_file_put(path, "x"), SD_ERR_IO, path, "regular file", NULL);
    expect_refused(sd_file_open_log(path, &keep, &file), SD_ERR_IO, path, "regular file", NULL);
    remove_folder(folder);
}
END_TEST

START_TEST(a_file_is_read_to_its_length_and_nothing_else_is_opened) {
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 16], target[SUPPORT_PATH_BYTES + 16], text[8] = "";
    size_t bytes;
    int fd;
    new_place(folder, path, target);
    expect_refused(sd_file_open(path, &fd, &bytes), SD_ERR_NOINPUT, path, NULL);
    expect_refused(sd_file_open(folder, &fd, &bytes), SD_ERR_DATA, folder, "regular file", NULL);
    ck_assert_int_eq(fd, -1);
    mkfifo(path, 0666); /* whose writer would be waited for */
    expect_refused(sd_file_open(path, &fd, &bytes), SD_ERR_DATA, path, "regular file", NULL);
    remove(path);
    write_bytes(path, "onetwo", 6);
    expect_ok(sd_file_open(path, &fd, &bytes));
    ck_assert_uint_eq(bytes, 6);
    expect_ok(sd_file_read(fd, path, text, 3));
    ck_assert_str_eq(text, "one");
    expect_refused(sd_file_read(fd, path, text, 4), SD_ERR_NOINPUT, path, "ends early", NULL);
    close(fd);
    remove_folder(folder);
}
END_TEST

START_TEST(a_file_is_got_whole_with_a_zero_behind_it) {
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 16], target[SUPPORT_PATH_BYTES + 16], *text;
    size_t bytes;
    new_place(folder, path, target);
    expect_refused(sd_file_get(path, 6, &text, &bytes), SD_ERR_NOINPUT, path, NULL);
    ck_assert_ptr_null(text);
    expect_refused(sd_file_get(folder, 6, &text, &bytes), SD_ERR_DATA, folder, "regular file", NULL);
    write_bytes(path, "onetwo", 6);
    expect_refused(sd_file_get(path, 5, &text, &bytes), SD_ERR_DATA, path, "6 bytes", "at most 5", NULL);
    ck_assert_ptr_null(text);
    expect_ok(sd_file_get(path, 6, &text, &bytes));
    ck_assert_uint_eq(bytes, 6);
    ck_assert_str_eq(text, "onetwo");
    free(text);
    write_bytes(path, "", 0);
    expect_ok(sd_file_get(path, 6, &text, &bytes));
    ck_assert_str_eq(text, "");
    free(text);
    remove_folder(folder);
}
END_TEST

START_TEST(a_renamed_file_replaces_what_is_there) {
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 16], target[SUPPORT_PATH_BYTES + 16];
    new_place(folder, path, target);
    expect_refused(sd_file_rename(path, target), SD_ERR_IO, path, target, NULL);
    write_bytes(target, "two", 3);
    expect_ok(sd_file_write(path, "one", 3));
    expect_ok(sd_file_rename(path, target));
    expect_file(target, "one");
    ck_assert_int_ne(access(path, F_OK), 0);
    remove_folder(folder);
}
END_TEST

START_TEST(a_log_goes_on_behind_what_is_kept_of_it) {
    static const struct {
        uint64_t keep, kept;
        const char *text;
    } rows[] = {{0, 0, "new"}, {3, 3, "onenew"}, {6, 6, "onetwonew"}, {9, 6, "onetwonew"}};
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 16], target[SUPPORT_PATH_BYTES + 16];
    new_place(folder, path, target);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t keep = rows[i].keep;
        FILE *file;
        write_bytes(path, "onetwo", 6);
        expect_ok(sd_file_open_log(path, &keep, &file));
        ck_assert_uint_eq(keep, rows[i].kept);
        fputs("new", file);
        fclose(file);
        expect_file(path, rows[i].text);
    }
    remove(path);
    uint64_t keep = 5;
    FILE *file;
    expect_ok(sd_file_open_log(path, &keep, &file));
    ck_assert_uint_eq(keep, 0);
    fclose(file);
    expect_file(path, "");
    remove_folder(folder);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("base");
    tcase_add_test(cases, philox_equals_the_published_vectors);
    tcase_add_test(cases, uniform_is_exact_and_below_one);
    tcase_add_test(cases, index_reaches_every_place_and_no_other);
    tcase_add_test(cases, permutation_holds_every_index_once);
    tcase_add_test(cases, permutation_is_a_function_of_seed_stream_and_time);
    tcase_add_test(cases, permutation_puts_every_index_at_every_place_equally_often);
    tcase_add_test(cases, normal_has_the_moments_of_the_normal_distribution);
    tcase_add_test(cases, normal_is_finite_for_every_word);
    tcase_add_test(cases, arena_gives_aligned_zeroed_places_that_do_not_overlap);
    tcase_add_test(cases, memory_that_is_not_there_is_refused);
    tcase_add_test(cases, a_number_of_floats_that_overflows_is_refused);
    tcase_add_test(cases, an_arena_whose_sum_overflows_is_refused);
    tcase_add_test(cases, an_array_grows_and_keeps_what_it_holds);
    tcase_add_test(cases, a_failure_keeps_its_sentence_and_the_way_it_took);
    tcase_add_test(cases, a_long_failure_is_cut_and_a_long_way_too);
    tcase_add_test(cases, a_kept_failure_is_reported_as_it_was);
    tcase_add_test(cases, a_failure_is_one_line_whatever_is_in_it);
    tcase_add_test(cases, a_file_is_put_whole_with_the_users_umask);
    tcase_add_test(cases, nothing_is_written_through_a_link_or_into_what_is_no_file);
    tcase_add_test(cases, a_file_is_read_to_its_length_and_nothing_else_is_opened);
    tcase_add_test(cases, a_file_is_got_whole_with_a_zero_behind_it);
    tcase_add_test(cases, a_renamed_file_replaces_what_is_there);
    tcase_add_test(cases, a_log_goes_on_behind_what_is_kept_of_it);
    tcase_add_test(cases, exit_codes_are_those_of_sysexits);
    return run_suite("base", cases);
}
