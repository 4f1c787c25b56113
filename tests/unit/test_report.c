/* SPDX-License-Identifier: Apache-2.0 */
/* report/: CSV files, numbers, what dropping saves, the summary, the description. */
#include <fcntl.h>

#include "../support.h"

/* ---- CSV ---- */

START_TEST(a_new_csv_has_its_header_and_then_rows) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    sd_csv csv = {0};
    uint64_t bytes;
    make_folder(folder);
    path_in(folder, "a.csv", path);
    write_bytes(path, "of another run\n1,2,3\n", 21);
    expect_ok(sd_csv_open(&csv, folder, "a.csv", "step,loss", 0, 0));
    expect_file(path, "step,loss\n"); /* at once: what is written can be read while it grows */
    expect_ok(sd_csv_row(&csv, "%d,%s\n", 1, "0.5"));
    expect_ok(sd_csv_row(&csv, "%d,\n", 2));
    expect_file(path, "step,loss\n1,0.5\n2,\n");
    expect_ok(sd_csv_length(&csv, &bytes));
    ck_assert_uint_eq(bytes, 19);
    sd_csv_close(&csv);
    ck_assert_ptr_null(csv.file);
    expect_ok(sd_csv_length(&csv, &bytes)); /* one that is not open */
    ck_assert_uint_eq(bytes, 0);
    sd_csv_close(&csv);
    remove_folder(folder);
}
END_TEST

/* After a resume the rows beyond the checkpoint are cut, and the file goes on as if the run had never stopped. */
START_TEST(a_csv_is_cut_to_the_checkpoint_and_goes_on) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    sd_csv csv = {0};
    uint64_t bytes;
    make_folder(folder);
    path_in(folder, "a.csv", path);
    expect_ok(sd_csv_open(&csv, folder, "a.csv", "h,x", 0, 0));
    expect_ok(sd_csv_row(&csv, "1,a\n"));
    expect_ok(sd_csv_row(&csv, "2,b\n"));
    expect_ok(sd_csv_length(&csv, &bytes));
    const uint64_t keep = bytes;
    expect_ok(sd_csv_row(&csv, "3,c\n"));
    expect_ok(sd_csv_row(&csv, "4,a row that is cut in the midd"));
    sd_csv_close(&csv);
    expect_ok(sd_csv_open(&csv, folder, "a.csv", "h,x", 2, keep));
    expect_file(path, "h,x\n1,a\n2,b\n");
    expect_ok(sd_csv_length(&csv, &bytes));
    ck_assert_uint_eq(bytes, keep);
    expect_ok(sd_csv_row(&csv, "3,d\n"));
    expect_ok(sd_csv_length(&csv, &bytes));
    ck_assert_uint_eq(bytes, keep + 4);
    sd_csv_close(&csv);
    expect_file(path, "h,x\n1,a\n2,b\n3,d\n");
    remove_folder(folder);
}
END_TEST

/* An editor has written other line ends and a note, a run of another folder has other lengths: rows are never cut in
 * their middle. */
START_TEST(a_csv_that_was_edited_goes_on_in_a_new_line) {
    static const char *const edited[][2] = {
        {"step,loss\r\n1,0.5\r\n2,0.4\r\n3,0.3\r\n", "step,loss\r\n1,0.5\r\n2,0.4\r\n3,new\n"},
        {"# looks good so far\nstep,loss\n1,0.5\n2,0.4\n3,0.3\n",
         "# looks good so far\nstep,loss\n1,0.5\n2,0.4\n3,new\n"},
        {"step,loss\n1,0.512345678\n2,0.4\n3,0.3\n", "step,loss\n1,0.512345678\n2,0.4\n3,new\n"},
        {"step,loss\n2,0.4\n10,0.1\n", "step,loss\n2,0.4\n3,new\n"},
        {"step,loss\n1,0.5\n2,0.", "step,loss\n1,0.5\n3,new\n"},
        {"step,loss\n1,0.5\n2,0.4\n\n3,0.3\n", "step,loss\n1,0.5\n2,0.4\n\n3,new\n"},
    };
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    make_folder(folder);
    path_in(folder, "a.csv", path);
    for (size_t i = 0; i < sizeof edited / sizeof edited[0]; i++) {
        sd_csv csv = {0};
        write_bytes(path, edited[i][0], strlen(edited[i][0]));
        expect_ok(sd_csv_open(&csv, folder, "a.csv", "step,loss", 2, 22));
        expect_ok(sd_csv_row(&csv, "3,new\n"));
        sd_csv_close(&csv);
        expect_file(path, edited[i][1]);
    }
    remove_folder(folder);
}
END_TEST

START_TEST(a_csv_that_is_missing_or_shorter_goes_on_at_its_end) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    sd_csv csv = {0};
    make_folder(folder);
    path_in(folder, "a.csv", path);
    expect_ok(sd_csv_open(&csv, folder, "a.csv", "h", 9, 1000)); /* missing */
    expect_ok(sd_csv_row(&csv, "1\n"));
    sd_csv_close(&csv);
    expect_file(path, "h\n1\n");
    expect_ok(sd_csv_open(&csv, folder, "a.csv", "h", 9, 1000)); /* shorter */
    expect_ok(sd_csv_row(&csv, "2\n"));
    sd_csv_close(&csv);
    expect_file(path, "h\n1\n2\n");
    write_bytes(path, "", 0);
    expect_ok(sd_csv_open(&csv, folder, "a.csv", "h", 9, 1000)); /* empty: its header is missing, too */
    expect_ok(sd_csv_row(&csv, "3\n"));
    sd_csv_close(&csv);
    expect_file(path, "h\n3\n");
    remove_folder(folder);
}
END_TEST

START_TEST(a_csv_that_cannot_be_written_is_reported_with_its_path) {
    char folder[SUPPORT_PATH_BYTES];
    sd_csv csv = {0};
    make_folder(folder);
    expect_refused(sd_csv_open(&csv, "/nonexistent/folder", "a.csv", "h", 0, 0), SD_ERR_IO, "/nonexistent/folder/a.csv",
                   NULL);
    sd_csv_close(&csv);
    if (access("/dev/full", W_OK) == 0) {
        csv = (sd_csv){0};
        expect_refused(sd_csv_open(&csv, "/dev", "full", "h", 0, 0), SD_ERR_IO, "/dev/full", NULL);
        sd_csv_close(&csv);
    }
    remove_folder(folder);
}
END_TEST

START_TEST(numbers_have_nine_digits_and_no_value_is_empty) {
    static const struct {
        double value;
        const char *text;
    } rows[] = {{NAN, ""},
                {0, "0"},
                {0.1, "0.1"},
                {1.0 / 3, "0.333333333"},
                {2.0 / 3e5, "6.66666667e-06"},
                {-2.5, "-2.5"},
                {12345678.9, "12345678.9"},
                {1e20, "1e+20"}};
    char text[32];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_str_eq(sd_csv_number(rows[i].value, text), rows[i].text);
    ck_assert_ptr_eq(sd_csv_number(1, text), text);
    ck_assert_uint_lt(strlen(sd_csv_number(-1.23456789e-300, text)), 32);
}
END_TEST

/* ---- savings ---- */

/* ResNet-20 with 10 classes, by hand: parameters and multiply-adds of the branches. */
static const double BLOCK_MACS[9] = {4718592, 4718592, 4718592, 3538944, 4718592, 4718592, 3538944, 4718592, 4718592};
static const double BLOCK_PARAMETERS[9] = {4672, 4672, 4672, 13952, 18560, 18560, 55552, 73984, 73984};
static const double ALL_MACS = 40551040, ALL_PARAMETERS = 269722;

static sd_network *new_resnet20(void) {
    return new_model((sd_model_spec){.name = "resnet20", .image_size = 32, .classes = 10}, 1);
}

START_TEST(savings_equal_a_hand_count) {
    sd_network *network = new_resnet20();
    double rate[9];
    sd_drop_spec drop = {.units = 9, .rate = rate};
    double parameters = 464 + 650; /* stem, classifier */
    for (int i = 0; i < 9; i++)
        parameters += BLOCK_PARAMETERS[i];
    ck_assert(parameters == ALL_PARAMETERS);
    for (int schedule = 0; schedule < 3; schedule++) {
        sd_savings expected = {0};
        for (int i = 0; i < 9; i++) {
            rate[i] = schedule == 0 ? 0 : schedule == 1 ? 0.5 : 0.5 * (i + 1) / 9;
            expected.branches += rate[i] / 9;
            expected.flops += rate[i] * BLOCK_MACS[i] / ALL_MACS;
            expected.bytes += rate[i] * BLOCK_PARAMETERS[i] / ALL_PARAMETERS;
        }
        sd_savings savings = sd_savings_expected(network, &drop, 128);
        expect_number("branches", savings.branches, expected.branches, 1e-12);
        expect_number("flops", savings.flops, expected.flops, 1e-12);
        expect_number("bytes", savings.bytes, expected.bytes, 1e-12);
    }
    sd_network_destroy(&network);
}
END_TEST

/* A branch that all share is sent if anybody keeps it. */
START_TEST(bytes_saved_depend_on_who_decides) {
    sd_network *network = new_resnet20();
    double rate[9];
    sd_drop_spec drop = {.units = 9, .rate = rate, .ranks = 3};
    for (int i = 0; i < 9; i++)
        rate[i] = 0.5 * (i + 1) / 9;
    for (int scope = SD_DROP_SCOPE_GLOBAL; scope <= SD_DROP_SCOPE_SAMPLE; scope++) {
        const int choosers = scope == SD_DROP_SCOPE_GLOBAL ? 1 : scope == SD_DROP_SCOPE_RANK ? 3 : 16;
        double expected = 0;
        for (int i = 0; i < 9; i++)
            expected += pow(rate[i], choosers) * BLOCK_PARAMETERS[i] / ALL_PARAMETERS;
        drop.scope = (sd_drop_scope)scope;
        expect_number("bytes", sd_savings_expected(network, &drop, 16).bytes, expected, 1e-12);
        expect_number("branches", sd_savings_expected(network, &drop, 16).branches, 0.5 * 5 / 9, 1e-12);
    }
    sd_network_destroy(&network);
}
END_TEST

/* Two ranks, rate 1/2 for one block alone: rank scope: both drop it in a quarter of the steps, and only these are
 * faster. Sample scope,
 * one image a rank: the same. With 2 images a rank: the maximum of two B(2, 1/2) is 23/16 on average. */
START_TEST(the_slowest_rank_saves_what_a_hand_count_says) {
    enum { STEPS = 4000 };
    sd_network *network = new_resnet20();
    double rate[9] = {[4] = 0.5}, saved;
    const double block = BLOCK_MACS[4] / ALL_MACS;
    const struct {
        sd_drop_scope scope;
        uint64_t images;
        int ranks;
        double kept; /* of the block, by the slowest rank */
    } rows[] = {{SD_DROP_SCOPE_GLOBAL, 4, 2, 0.5},        {SD_DROP_SCOPE_RANK, 4, 2, 0.75},
                {SD_DROP_SCOPE_SAMPLE, 2, 2, 0.75},       {SD_DROP_SCOPE_SAMPLE, 4, 2, 23.0 / 32},
                {SD_DROP_SCOPE_RANK, 4, 1, 0.5},          {SD_DROP_SCOPE_SAMPLE, 4, 1, 0.5},
                {SD_DROP_SCOPE_RANK, 16, 4, 1 - 1.0 / 16}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const sd_drop_spec drop = {.seed = 5, .scope = rows[i].scope, .ranks = rows[i].ranks, .units = 9, .rate = rate};
        expect_ok(sd_savings_of_slowest(network, &drop, rows[i].images, rows[i].ranks, STEPS, &saved));
        /* A step's deviation is at most half a block: 5 sigma of the mean. */
        expect_number("saved", saved, (1 - rows[i].kept) * block, 5 * 0.5 * block / sqrt(STEPS));
    }
    /* 3 images on 2 ranks, nothing dropped: the larger share is what is waited for. */
    rate[4] = 0;
    const sd_drop_spec drop = {.seed = 5, .scope = SD_DROP_SCOPE_SAMPLE, .ranks = 2, .units = 9, .rate = rate};
    expect_ok(sd_savings_of_slowest(network, &drop, 3, 2, 10, &saved));
    expect_number("nothing saved", saved, 0, 1e-12);
    sd_network_destroy(&network);
}
END_TEST

START_TEST(schedule_csv_has_a_row_a_unit) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES], expected[2048];
    sd_network *network = new_resnet20();
    double rate[9];
    sd_drop_spec drop = {.units = 9, .rate = rate};
    make_folder(folder);
    path_in(folder, "schedule.csv", path);
    size_t used = (size_t)sprintf(expected, "branch,name,depth,drop_rate,parameters,flops\n");
    for (int i = 0; i < 9; i++) {
        rate[i] = 0.0625 * i;
        used += (size_t)sprintf(expected + used, "%d,layer%d.%d,%d,%.9g,%.0f,%.0f\n", i + 1, i / 3 + 1, i % 3, i + 1,
                                rate[i], BLOCK_PARAMETERS[i], 2 * BLOCK_MACS[i]);
    }
    expect_ok(sd_schedule_write(folder, network, &drop));
    expect_file(path, expected);
    expect_refused(sd_schedule_write("/nonexistent/folder", network, &drop), SD_ERR_IO, "schedule.csv", NULL);
    sd_network_destroy(&network);
    remove_folder(folder);
}
END_TEST

/* ---- who the others waited for ---- */

START_TEST(the_rank_that_waits_least_is_blamed_if_it_stands_out) {
    const double one_slow[] = {5, 5.5, 0.1, 4.5}, two_slow[] = {5, 0.2, 0.1, 4.5}, even[] = {1, 1.1, 0.9, 1};
    const sd_slow_rank slow = sd_slow_rank_find(one_slow, 4, 20);
    ck_assert_int_eq(slow.rank, 2);
    ck_assert_double_eq_tol(slow.fraction, (5 - 0.1) / 20, 1e-12);
    ck_assert_int_eq(sd_slow_rank_find(one_slow, 4, 1000).rank, -1); /* half a percent of the time */
    ck_assert_int_eq(sd_slow_rank_find(two_slow, 4, 20).rank, -1);
    ck_assert_int_eq(sd_slow_rank_find(even, 4, 20).rank, -1);
    ck_assert_int_eq(sd_slow_rank_find(one_slow, 1, 20).rank, -1);
    ck_assert_int_eq(sd_slow_rank_find(one_slow, 4, 0).rank, -1);
    ck_assert_int_eq(sd_slow_rank_find((const double[]){0, 3}, 2, 10).rank, 0);
}
END_TEST

/* ---- summary and description ---- */

START_TEST(summary_json_has_numbers_strings_and_null) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    size_t n;
    make_folder(folder);
    path_in(folder, "summary.json", path);
    const sd_progress progress = {.step = 123456789012,
                                  .epoch = 3,
                                  .images = 9,
                                  .bytes_reduced = 123456789012345,
                                  .bytes_full = 123456789012345,
                                  .seconds = 1.5,
                                  .kept = 3,
                                  .decisions = 4,
                                  .train_loss = 0.1,
                                  .train_accuracy = INFINITY,
                                  .val_loss = NAN,
                                  .val_accuracy = 0.8,
                                  .val_top5_accuracy = NAN,
                                  .train_eval_accuracy = NAN,
                                  .best_accuracy = 0.81,
                                  .best_step = 7,
                                  .run_id = 0xfedcba9876543210,
                                  .best_val_accuracy = 0.82,
                                  .best_val_epoch = 2};
    const sd_summary summary = {.run_folder = "runs/\"a\"",
                                .host = "node\\1",
                                .mpi = "MPI",
                                .isa = "avx2",
                                .status = "complete",
                                .ranks = 4,
                                .threads = 2,
                                .progress = &progress,
                                .parameters = 269722};
    expect_ok(sd_summary_write(folder, &summary));
    char *text = read_bytes(path, &n);
    for (char *from = text, *to = text;; from++) { /* without blanks */
        while (*from == '\t' || *from == '\n' || *from == ' ')
            from++;
        if (!(*to++ = *from))
            break;
    }
    const char *expected[] = {"\"run_folder\":\"runs/\\\"a\\\"\"",
                              "\"host\":\"node\\\\1\"",
                              "\"status\":\"complete\"",
                              "\"ranks\":4,",
                              "\"threads\":2,",
                              "\"step\":123456789012,",
                              "\"epoch\":3,",
                              "\"bytes_full\":123456789012345,",
                              "\"kept_fraction\":0.75,",
                              "\"train_loss\":0.1,",
                              "\"train_accuracy\":null,",
                              "\"val_loss\":null,",
                              "\"val_accuracy\":0.8,",
                              "\"gap\":null,",
                              "\"best_step\":7,",
                              "\"run_id\":\"fedcba9876543210\",",
                              "\"best_val_accuracy\":0.82,",
                              "\"best_val_epoch\":2,",
                              "\"parameters\":269722,",
                              "\"isa\":\"avx2\"",
                              "\"version\":\""};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        expect(strstr(text, expected[i]), "%s is not in %s", expected[i], text);
    ck_assert(text[0] == '{' && text[strlen(text) - 1] == '}');
    free(text);
    expect_refused(sd_summary_write("/nonexistent/folder", &summary), SD_ERR_IO, "/nonexistent/folder/summary.json",
                   NULL);
    remove_folder(folder);
}
END_TEST

/* Standard output of a call, as text. Caller frees. */
static char *output_of(void (*call)(void *), void *context) {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
    size_t n;
    make_folder(folder);
    path_in(folder, "out", path);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO), file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    dup2(file, STDOUT_FILENO);
    call(context);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(file);
    close(kept);
    char *text = read_bytes(path, &n);
    remove_folder(folder);
    return text;
}

static void print_description(void *context) { sd_description_print(stdout, context); }

START_TEST(a_check_tells_rates_and_savings) {
    sd_network *network = new_resnet20();
    double rate[9];
    sd_drop_spec drop = {.units = 9, .rate = rate};
    for (int i = 0; i < 9; i++)
        rate[i] = sd_drop_rate(SD_DROP_LINEAR, 0.5, i + 1, 9);
    sd_description d = {.model = "resnet20",
                        .resume = "auto",
                        .epochs = 10,
                        .batch_size = 128,
                        .skip_dropped = true,
                        .wire_value_bytes = 4,
                        .network = network,
                        .drop = &drop,
                        .isa = "ref",
                        .folder = "runs/here",
                        .ranks = 3,
                        .threads = 2,
                        .samples.image_size = 32,
                        .train_images = 50000,
                        .validation_images = 10000,
                        .steps_per_epoch = 390,
                        .total_steps = 3900,
                        .rank_images = 43,
                        .state_bytes = 3 << 20,
                        .activation_bytes = 5 << 20,
                        .data_bytes = 7 << 20};
    char *text = output_of(print_description, &d);
    const sd_savings savings = sd_savings_expected(network, &drop, 128);
    char branches[64], flops[64], bytes[64];
    snprintf(branches, sizeof branches, "%.2f %%", 100 * savings.branches);
    snprintf(flops, sizeof flops, "%.2f %%", 100 * savings.flops);
    snprintf(bytes, sizeof bytes, "%.2f %%", 100 * savings.bytes);
    expect_words(text, (const char *const[]){"resnet20",
                                             "269722 parameters",
                                             "50000 training",
                                             "3900 steps",
                                             "at most 43",
                                             "15.0 MiB",
                                             "layer1.0",
                                             "layer3.2",
                                             "0.500000",
                                             "0.055556",
                                             branches,
                                             flops,
                                             bytes,
                                             "\nglobal ",
                                             "\nrank ",
                                             "\nsample ",
                                             "3 ranks",
                                             "200 drawn steps",
                                             "files      runs/here (checkpoint.resume = auto)\n",
                                             NULL});
    free(text);
    d.skip_dropped = false;
    text = output_of(print_description, &d);
    expect_words(text, (const char *const[]){"0.00 %", "skip_dropped", NULL});
    ck_assert_ptr_null(strstr(text, bytes));
    free(text);
    sd_network_destroy(&network);
}
END_TEST

static void print_summary(void *context) { sd_summary_print(stdout, context); }

START_TEST(a_closing_summary_leaves_out_what_has_no_value) {
    sd_progress progress = sd_progress_initial();
    progress.seconds = 2;
    progress.images = 100;
    progress.kept = 3;
    progress.decisions = 4;
    progress.val_accuracy = 0.8;
    progress.train_accuracy = 0.9;
    sd_summary summary = {.run_folder = "runs/a",
                          .host = "h",
                          .mpi = "m",
                          .isa = "ref",
                          .status = "complete",
                          .ranks = 1,
                          .threads = 1,
                          .progress = &progress};
    char *text = output_of(print_summary, &summary);
    expect_words(text, (const char *const[]){"runs/a", "80.00 %", "90.00 %", "25.00 %", "50.0", NULL});
    ck_assert_ptr_null(strstr(text, "nan"));
    ck_assert_ptr_null(strstr(text, "top-5"));
    free(text);
    progress.train_eval_accuracy = 0.95;
    text = output_of(print_summary, &summary);
    expect_words(text, (const char *const[]){"95.00 %", "15.00 %", NULL}); /* the honest one */
    free(text);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("report");
    tcase_add_test(cases, a_new_csv_has_its_header_and_then_rows);
    tcase_add_test(cases, a_csv_is_cut_to_the_checkpoint_and_goes_on);
    tcase_add_test(cases, a_csv_that_was_edited_goes_on_in_a_new_line);
    tcase_add_test(cases, a_csv_that_is_missing_or_shorter_goes_on_at_its_end);
    tcase_add_test(cases, a_csv_that_cannot_be_written_is_reported_with_its_path);
    tcase_add_test(cases, numbers_have_nine_digits_and_no_value_is_empty);
    tcase_add_test(cases, savings_equal_a_hand_count);
    tcase_add_test(cases, bytes_saved_depend_on_who_decides);
    tcase_add_test(cases, the_slowest_rank_saves_what_a_hand_count_says);
    tcase_add_test(cases, schedule_csv_has_a_row_a_unit);
    tcase_add_test(cases, the_rank_that_waits_least_is_blamed_if_it_stands_out);
    tcase_add_test(cases, summary_json_has_numbers_strings_and_null);
    tcase_add_test(cases, a_check_tells_rates_and_savings);
    tcase_add_test(cases, a_closing_summary_leaves_out_what_has_no_value);
    return run_suite("report", cases);
}
