/* SPDX-License-Identifier: Apache-2.0 */
/* config/: the table of keys, reading, refusing, contradictions, writing. */
#include "../../src/config/keys.h"
#include "../support.h"

enum { TEXT_BYTES = 1 << 16 };
static const char FILE_NAME[] = "folder/run.ini";

static sd_config *new_config(void) {
    sd_config *config = malloc(sizeof *config);
    sd_config_init(config);
    return config;
}

/* Parses a text that must be good; not checked. Caller frees. */
static sd_config *parsed(const char *text) {
    sd_config *config = new_config();
    expect_ok(sd_config_parse(config, text, FILE_NAME));
    return config;
}

/* The text must be refused by the parser, with all these words. */
#define expect_parse_refused(text, ...)                                                                                \
    do {                                                                                                               \
        sd_config *refused_ = new_config();                                                                            \
        expect_refused(sd_config_parse(refused_, text, FILE_NAME), SD_ERR_CONFIG, __VA_ARGS__);                        \
        free(refused_);                                                                                                \
    } while (0)

/* The text is read, but found to contradict itself on so many ranks, with all these words. */
#define expect_check_refused(text, ranks, ...)                                                                         \
    do {                                                                                                               \
        sd_config *refused_ = parsed(text);                                                                            \
        expect_refused(sd_config_check(refused_, ranks), SD_ERR_CONFIG, __VA_ARGS__);                                  \
        free(refused_);                                                                                                \
    } while (0)

#define expect_check_ok(text, ranks)                                                                                   \
    do {                                                                                                               \
        sd_config *good_ = parsed(text);                                                                               \
        expect_ok(sd_config_check(good_, ranks));                                                                      \
        free(good_);                                                                                                   \
    } while (0)

static char *text_of(const sd_config *config) {
    char *text;
    expect_ok(sd_config_text(config, &text));
    return text;
}

/* Written, read and written again: the same text and the same values of all keys. */
static void expect_round_trip(const sd_config *config) {
    char *text = text_of(config), a[TEXT_BYTES], b[TEXT_BYTES];
    sd_config *again = parsed(text);
    char *text_again = text_of(again);
    ck_assert_str_eq(text, text_again);
    for (int i = 0; i < sd_n_keys; i++) {
        if (!strcmp(sd_keys[i].name, "survival_prob"))
            continue;
        sd_key_print(&sd_keys[i], config, a, sizeof a);
        sd_key_print(&sd_keys[i], again, b, sizeof b);
        expect(!strcmp(a, b), "%s.%s: '%s' became '%s'", sd_keys[i].section, sd_keys[i].name, a, b);
    }
    free(text);
    free(text_again);
    free(again);
}

/* ---- the table ---- */

/* How many words "a|b|c" has; NULL has none. */
static int count_choices(const char *choices) {
    int n = 1;
    for (; *choices; choices++)
        n += *choices == '|';
    return n;
}

START_TEST(every_default_is_written_and_read_back) {
    sd_config *config = new_config();
    expect_round_trip(config);
    char *text = text_of(config);
    for (int i = 0; i < sd_n_keys; i++) {
        char line[128];
        snprintf(line, sizeof line, "\n%s = ", sd_keys[i].name);
        if (strcmp(sd_keys[i].name, "survival_prob")) /* resolved into rate */
            expect(strstr(text, line), "%s is not written", sd_keys[i].name);
    }
    free(text);
    free(config);
}
END_TEST

START_TEST(every_default_is_inside_its_own_range) {
    for (int i = 0; i < sd_n_keys; i++) {
        const key *k = &sd_keys[i];
        char setting[256];
        if (sd_key_is_list(k))
            continue;
        sd_config *config = new_config();
        snprintf(setting, sizeof setting, "%s.%s=%s", k->section, k->name, k->initial);
        expect_ok(sd_config_set(config, setting));
        free(config);
    }
}
END_TEST

START_TEST(every_choice_and_both_ends_of_every_range_are_accepted) {
    for (int i = 0; i < sd_n_keys; i++) {
        const key *k = &sd_keys[i];
        char text[256], word[64];
        sd_config *config;
        for (int n = 0; k->type == KEY_CHOICE && n < count_choices(k->choices); n++) {
            sd_choice_name(k->choices, n, word, sizeof word);
            snprintf(text, sizeof text, "[%s]\n%s = %s\n", k->section, k->name, word);
            config = parsed(text);
            ck_assert_int_eq(*(int *)sd_key_value(k, config), n);
            free(config);
        }
        for (int end = 0; (k->type == KEY_WHOLE || k->type == KEY_REAL) && end < 2; end++) {
            snprintf(text, sizeof text, "[%s]\n%s = %.17g\n", k->section, k->name, end ? k->high : k->low);
            free(parsed(text));
        }
    }
}
END_TEST

/* Each refusal names file and line, the key, and what is allowed. */
START_TEST(every_key_refuses_what_it_does_not_allow) {
    static const char *const numbers[] = {"abc", "1x", "nan", "inf", "-inf", "1e999", "--1", "1 2", "", NULL};
    static const char *const switches[] = {"yes", "1", "True", "", NULL};
    for (int i = 0; i < sd_n_keys; i++) {
        const key *k = &sd_keys[i];
        char below[64], above[64], full[128], most[64], text[512], word[64];
        const char *own[] = {below, above, NULL}, *const * bad[2] = {own, numbers};
        snprintf(below, sizeof below, "%.17g", k->low - 1);
        snprintf(above, sizeof above, "%.17g", k->high * 2 + 1);
        snprintf(full, sizeof full, "%s.%s", k->section, k->name);
        snprintf(most, sizeof most, k->type == KEY_WHOLE ? "%.0f" : "%g", k->high);
        if (k->type == KEY_TEXT || k->type == KEY_PATH)
            continue;
        if (k->type == KEY_SWITCH || k->type == KEY_CHOICE)
            bad[0] = switches, bad[1] = NULL;
        for (int set = 0; set < 2 && bad[set]; set++)
            for (const char *const *value = bad[set]; *value; value++) {
                if (sd_key_is_list(k) && **value == '\0')
                    continue; /* an empty list is a list */
                snprintf(text, sizeof text, "[%s]\n\n%s = %s\n", k->section, k->name, *value);
                expect_parse_refused(text, "folder/run.ini:3: ", full, "allowed", NULL);
                if (k->type == KEY_SWITCH)
                    expect_words(sd_error_message(), (const char *const[]){"true", "false", NULL});
                if (k->type == KEY_WHOLE || k->type == KEY_REAL || sd_key_is_list(k))
                    expect_words(sd_error_message(), (const char *const[]){most, NULL});
                for (int n = 0; k->type == KEY_CHOICE && n < count_choices(k->choices); n++) {
                    sd_choice_name(k->choices, n, word, sizeof word);
                    expect_words(sd_error_message(), (const char *const[]){word, NULL});
                }
            }
        if (k->type == KEY_WHOLE || k->type == KEY_WHOLES) {
            snprintf(text, sizeof text, "[%s]\n%s = %.0f.5\n", k->section, k->name, k->low);
            expect_parse_refused(text, "folder/run.ini:2: ", full, "whole number", NULL);
        }
    }
}
END_TEST

START_TEST(what_a_later_version_brings_is_named_as_such) {
    expect_parse_refused("[log]\ntensorboard = false\n", "run.ini:2: ", "log.tensorboard", "not in this version", NULL);
}
END_TEST

START_TEST(help_lists_every_key_and_nothing_of_later_versions) {
    char *help;
    size_t bytes;
    FILE *out = open_memstream(&help, &bytes);
    sd_config_help(out);
    fclose(out);
    for (int i = 0; i < sd_n_keys; i++) {
        char line[128];
        snprintf(line, sizeof line, "\n  %s = ", sd_keys[i].name);
        expect(strstr(help, line), "%s", sd_keys[i].name);
        expect(strstr(help, sd_keys[i].help), "%s", sd_keys[i].name);
    }
    const char *later[] = {"tensorboard"};
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
        expect(!strstr(help, later[i]), "%s", later[i]);
    free(help);
}
END_TEST

/* DESIGN.md section 5: the keys a user can rely on. */
START_TEST(the_documented_keys_are_there) {
    char keys[] =
        "run.name run.output run.seed run.threads run.convolution data.dataset data.path data.image_size "
        "data.train_samples data.val_samples data.validation data.augment data.last_batch data.workers "
        "model.name model.classes model.layers model.stem model.patch_size model.dropout model.freeze model.zero_init_residual "
        "stochastic_depth.rate stochastic_depth.survival_prob stochastic_depth.schedule "
        "stochastic_depth.rates stochastic_depth.scope stochastic_depth.rank_divisor "
        "stochastic_depth.scale stochastic_depth.min_kept stochastic_depth.unit "
        "stochastic_depth.dropped_update optimizer.name optimizer.momentum optimizer.nesterov "
        "optimizer.weight_decay optimizer.decay optimizer.layer_decay optimizer.beta1 optimizer.beta2 optimizer.epsilon "
        "optimizer.clip_norm lr.schedule lr.base lr.warmup_epochs lr.milestones lr.gamma lr.minimum "
        "train.epochs train.max_steps train.batch_size train.label_smoothing eval.every_epochs "
        "eval.train_samples checkpoint.every_steps checkpoint.every_epochs checkpoint.every_seconds checkpoint.keep "
        "checkpoint.keep_every checkpoint.compression checkpoint.max_failures checkpoint.resume "
        "communication.bucket_bytes communication.skip_dropped communication.reduction "
        "communication.check_every communication.shards communication.progress log.every_steps log.decisions log.trace log.trace_step log.progress";
    for (char *key = strtok(keys, " "); key; key = strtok(NULL, " ")) {
        char section[64];
        size_t dot = strcspn(key, ".");
        snprintf(section, sizeof section, "%.*s", (int)dot, key);
        expect(sd_key_find(section, key + dot + 1) != NULL, "%s", key);
    }
}
END_TEST

/* ---- reading ---- */

START_TEST(an_empty_file_is_all_defaults) {
    sd_config *config = parsed(""), *defaults = new_config();
    char *a = text_of(config), *b = text_of(defaults);
    ck_assert_str_eq(a, b);
    expect_ok(sd_config_check(config, 1));
    ck_assert_str_eq(config->run.name, "run"); /* of folder/run.ini */
    free(a);
    free(b);
    free(config);
    free(defaults);
    expect_check_ok("\n\n  \n; nothing\n", 1);
}
END_TEST

START_TEST(values_comments_and_blanks_are_read) {
    sd_config *config = parsed("# a comment\n; another\n\n[train]\nepochs = 12 ; behind a value\nbatch_size=64\n"
                               "  # indented\nlabel_smoothing   =   0.1   \n[model]\nname = vit_tiny\n"
                               "zero_init_residual = true\n[run]\nseed = 4294967295\noutput = /a b/c#d\n");
    ck_assert_int_eq(config->train.epochs, 12);
    ck_assert_int_eq(config->train.batch_size, 64);
    ck_assert(config->train.label_smoothing == 0.1);
    ck_assert_str_eq(config->model.name, "vit_tiny");
    ck_assert(config->model.zero_init_residual);
    ck_assert(config->run.seed == 4294967295);
    ck_assert_str_eq(config->run.output, "/a b/c#d");
    free(config);
}
END_TEST

START_TEST(files_of_windows_are_read) {
    sd_config *config = parsed("\xEF\xBB\xBF[train]\r\nepochs = 12\r\n\r\n[lr]\r\nmilestones = 3,\r\n  5\r\n[run]\r\n"
                               "name = abc\r\n");
    ck_assert_int_eq(config->train.epochs, 12);
    ck_assert_int_eq(config->lr.milestones.n, 2);
    ck_assert(config->lr.milestones.value[1] == 5);
    ck_assert_str_eq(config->run.name, "abc");
    free(config);
    expect_parse_refused("\xEF\xBB\xBF[train]\r\n\r\nepochs = x\r\n", "folder/run.ini:3: ", "train.epochs", NULL);
}
END_TEST

START_TEST(the_last_line_needs_no_end) {
    sd_config *config = parsed("[train]\nepochs = 3");
    ck_assert_int_eq(config->train.epochs, 3);
    free(config);
}
END_TEST

START_TEST(a_list_goes_on_in_indented_lines) {
    sd_config *config = parsed("[stochastic_depth]\nschedule = list\nrates = 0, 0.25,\n    0.5\n\t0.75 , 1\n\n"
                               "[train]\nepochs = 2\n");
    const double values[] = {0, 0.25, 0.5, 0.75, 1};
    ck_assert_int_eq(config->stochastic_depth.rates.n, 5);
    for (int i = 0; i < 5; i++)
        ck_assert(config->stochastic_depth.rates.value[i] == values[i]);
    ck_assert_int_eq(config->train.epochs, 2);
    free(config);
    expect_parse_refused("[stochastic_depth]\nrates = 0, 0.25,\n  0.5,\n  2\n",
                         "folder/run.ini:4: ", "stochastic_depth.rates", NULL);
}
END_TEST

/* Many indent the keys of a section; here that means something else, which the message has to say. */
START_TEST(indented_keys_are_refused_with_the_reason) {
    expect_parse_refused("[train]\n  epochs = 3\n  batch_size = 64\n", "folder/run.ini:3: ", "train.epochs", "indented",
                         NULL);
    expect_parse_refused("[lr]\nmilestones = 3\n  gamma = 0.5\n", "folder/run.ini:3: ", "lr.milestones", "indented",
                         NULL);
}
END_TEST

START_TEST(only_a_list_goes_on) {
    expect_parse_refused("[train]\nepochs = 1\n  2\n", "folder/run.ini:3: ", "train.epochs", NULL);
    expect_parse_refused("[run]\nname = a\n  b\n", "folder/run.ini:3: ", "run.name", NULL);
}
END_TEST

START_TEST(a_list_that_is_too_long_is_refused) {
    char *text = malloc(TEXT_BYTES);
    for (int n = SD_LIST_MAX; n <= SD_LIST_MAX + 1; n++) {
        size_t used = (size_t)sprintf(text, "[stochastic_depth]\nschedule = list\nrates =");
        for (int i = 0; i < n; i++)
            used += (size_t)sprintf(text + used, "%s0.5,", i % 16 == 15 ? "\n  " : " ");
        sprintf(text + used, "\n");
        if (n == SD_LIST_MAX) {
            sd_config *config = parsed(text);
            ck_assert_int_eq(config->stochastic_depth.rates.n, SD_LIST_MAX);
            free(config);
        } else {
            expect_parse_refused(text, "folder/run.ini:67: ", "stochastic_depth.rates", "1024", NULL);
        }
    }
    free(text);
}
END_TEST

START_TEST(a_long_line_is_refused_and_never_cut) {
    char text[1024], value[600];
    for (int bytes = 150; bytes <= 500; bytes += 1) {
        memset(value, 'p', sizeof value);
        snprintf(text, sizeof text, "[data]\npath = %.*s\n", bytes - 7, value); /* a line of so many bytes */
        sd_config *config = new_config();
        sd_error_clear();
        sd_status status = sd_config_parse(config, text, FILE_NAME);
        if (status == SD_OK)
            ck_assert_uint_eq(strlen(config->data.path), (size_t)bytes - 7);
        else
            expect_words(sd_error_message(), (const char *const[]){"folder/run.ini:2: ", NULL});
        expect(bytes < 200 || status == SD_ERR_CONFIG, "a line of %d bytes is read", bytes);
        expect(bytes > 190 || status == SD_OK, "a line of %d bytes is refused", bytes);
        free(config);
    }
    snprintf(text, sizeof text, "[data]\n; %.*s\n", 400, value); /* a comment, too, is a line */
    expect_parse_refused(text, "folder/run.ini:2: ", NULL);
}
END_TEST

START_TEST(a_line_that_is_nothing_is_refused) {
    expect_parse_refused("[train]\nepochs = 3\nbatch_size 64\n", "folder/run.ini:3: ", NULL);
    expect_parse_refused("[train\n", "folder/run.ini:1: ", NULL);
    expect_parse_refused("hello\n", "folder/run.ini:1: ", NULL);
}
END_TEST

/* The keys below a section whose bracket is missing look unknown; the bracket is what the user has to mend. */
START_TEST(of_several_errors_the_first_is_named) {
    expect_parse_refused("[train\nepochs = 3\n", "folder/run.ini:1: ", NULL);
}
END_TEST

START_TEST(an_unknown_key_is_refused_with_the_nearest) {
    expect_parse_refused("[stochastic_depth]\nrat = 0.1\n", "folder/run.ini:2: ", "'stochastic_depth.rat'", "nearest",
                         "stochastic_depth.rate ", NULL);
    expect_parse_refused("[train]\nbatchsize = 64\n", "train.batchsize", "train.batch_size", NULL);
    expect_parse_refused("[optimizer]\nwd = 1\nmomentun = 0.9\n", "folder/run.ini:2: ", "optimizer.wd", NULL);
    expect_parse_refused("[optimizer]\nmomentun = 0.9\n", "optimizer.momentum", NULL);
    expect_parse_refused("[lr]\nbatch_size = 3\n", "lr.batch_size", "train.batch_size", NULL);
    sd_config *config = new_config();
    expect_refused(sd_config_set(config, "train.batchsize=64"), SD_ERR_CONFIG, "command line", "train.batch_size",
                   NULL);
    free(config);
}
END_TEST

START_TEST(an_unknown_section_is_refused) {
    expect_parse_refused("[trian]\nepochs = 3\n", "folder/run.ini:1: ", "[trian]", "[train]", NULL);
    expect_parse_refused("epochs = 3\n", "folder/run.ini:1: ", "train.epochs", NULL);
    char text[200];
    memset(text, 'a', sizeof text);
    memcpy(text, "[train", 6); /* longer than any name inih keeps */
    memcpy(text + 100, "]\nepochs = 3\n", 14);
    expect_parse_refused(text, "folder/run.ini:1: ", NULL);
}
END_TEST

/* Misspelt, it would hide that the keys its owner meant to give are not there. */
START_TEST(an_unknown_section_without_keys_is_refused) {
    expect_parse_refused("[train]\nepochs = 3\n[trian]\n", "folder/run.ini:3: ", "trian", NULL);
}
END_TEST

START_TEST(a_key_given_twice_is_refused) {
    expect_parse_refused("[train]\nepochs = 3\nbatch_size = 8\nepochs = 3\n", "folder/run.ini:4: ", "train.epochs",
                         "line 2", NULL);
    expect_parse_refused("[train]\nepochs = 3\n[run]\nseed = 3\n[train]\nepochs = 4\n",
                         "folder/run.ini:6: ", "train.epochs", NULL);
    expect_parse_refused("[lr]\nmilestones = 3\nmilestones = 5\n", "folder/run.ini:3: ", "lr.milestones", NULL);
}
END_TEST

START_TEST(a_list_given_twice_is_refused_however_it_is_indented) {
    expect_parse_refused("[lr]\nmilestones = 3\n[train]\nepochs = 9\n[lr]\n  milestones = 5\n",
                         "folder/run.ini:6: ", "lr.milestones", NULL);
}
END_TEST

START_TEST(garbage_is_read_or_refused) {
    static const char *const pieces[] = {"[train]",
                                         "[",
                                         "]",
                                         "epochs",
                                         " = ",
                                         "\n",
                                         "\n  ",
                                         "3",
                                         ",",
                                         "rates",
                                         "\r\n",
                                         "0.5",
                                         ";",
                                         "#",
                                         "\xff",
                                         "\xEF\xBB\xBF",
                                         "[stochastic_depth]",
                                         "schedule",
                                         "list",
                                         "%s%n%d",
                                         "milestones",
                                         "[lr]",
                                         "=",
                                         ":",
                                         "\t",
                                         "1e99999",
                                         "nan",
                                         "."};
    const int n_pieces = sizeof pieces / sizeof pieces[0];
    for (uint64_t n = 0; n < 4000; n++) {
        char text[1024] = "";
        for (uint64_t i = 0; i < 5 + n % 30; i++)
            strcat(text, pieces[sd_random_index(sd_random_at(5, 79, n, i).word[0], (uint64_t)n_pieces)]);
        sd_config *config = new_config();
        sd_error_clear();
        sd_status status = sd_config_parse(config, text, FILE_NAME);
        if (status != SD_OK) {
            ck_assert_int_eq(status, SD_ERR_CONFIG);
            expect_words(sd_error_message(), (const char *const[]){"folder/run.ini:", NULL});
        }
        free(config);
    }
}
END_TEST

/* ---- the command line ---- */

START_TEST(the_command_line_wins) {
    sd_config *config = parsed("[train]\nepochs = 3\n[lr]\nmilestones = 1, 2\n[run]\nname = a\n");
    expect_ok(sd_config_set(config, "train.epochs=5"));
    expect_ok(sd_config_set(config, "lr.milestones=4"));
    expect_ok(sd_config_set(config, "run.name=b=c"));
    ck_assert_int_eq(config->train.epochs, 5);
    ck_assert_int_eq(config->lr.milestones.n, 1);
    ck_assert(config->lr.milestones.value[0] == 4);
    ck_assert_str_eq(config->run.name, "b=c");
    expect_ok(sd_config_set(config, "train.epochs=6")); /* the last of several */
    expect_ok(sd_config_set(config, "run.name="));
    ck_assert_int_eq(config->train.epochs, 6);
    ck_assert_str_eq(config->run.name, "");
    free(config);
}
END_TEST

START_TEST(errors_of_the_command_line_say_so) {
    sd_config *config = parsed("[train]\nepochs = 3\n");
    expect_refused(sd_config_set(config, "train.epochs=x"), SD_ERR_CONFIG, "command line", "train.epochs", "allowed",
                   NULL);
    expect_refused(sd_config_set(config, "log.tensorboard=true"), SD_ERR_CONFIG, "command line", "log.tensorboard",
                   NULL);
    expect_ok(sd_config_set(config, "train.batch_size=1"));
    expect_refused(sd_config_check(config, 2), SD_ERR_CONFIG, "command line", "train.batch_size", NULL);
    const char *malformed[] = {"", "train", "train.epochs", "epochs=3", "=3", ".epochs=3", "train.=3"};
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++)
        expect_refused(sd_config_set(config, malformed[i]), SD_ERR_USAGE, "section.key=value", NULL);
    char text[700] = "data.path=";
    memset(text + 10, 'p', 600);
    expect_refused(sd_config_set(config, text), SD_ERR_CONFIG, "command line", "data.path", NULL);
    free(config);
}
END_TEST

/* ---- contradictions ---- */

START_TEST(rate_and_survival_prob_exclude_each_other) {
    expect_check_refused("[stochastic_depth]\nrate = 0.2\nsurvival_prob = 0.8\n", 1,
                         "folder/run.ini:2: ", "stochastic_depth.rate", "survival_prob", NULL);
    expect_check_refused("[stochastic_depth]\nsurvival_prob = 0.8\nrate = 0\n", 1, "survival_prob", NULL);
    sd_config *config = parsed("[stochastic_depth]\nrate = 0.2\n");
    expect_ok(sd_config_set(config, "stochastic_depth.survival_prob=0.5"));
    expect_refused(sd_config_check(config, 1), SD_ERR_CONFIG, "survival_prob", NULL);
    free(config);
}
END_TEST

START_TEST(survival_prob_becomes_rate) {
    sd_config *config = parsed("[stochastic_depth]\nsurvival_prob = 0.75\n");
    expect_ok(sd_config_check(config, 1));
    ck_assert(config->stochastic_depth.rate == 0.25);
    expect_ok(sd_config_check(config, 1)); /* a second check changes nothing */
    ck_assert(config->stochastic_depth.rate == 0.25);
    char *text = text_of(config);
    ck_assert_ptr_null(strstr(text, "survival_prob"));
    ck_assert_ptr_nonnull(strstr(text, "rate = 0.25\n"));
    sd_config *again = parsed(text);
    expect_ok(sd_config_check(again, 1));
    ck_assert(again->stochastic_depth.rate == 0.25);
    free(text);
    free(again);
    free(config);
    config = parsed("[stochastic_depth]\nsurvival_prob = 0.8\n");
    expect_ok(sd_config_check(config, 1));
    ck_assert(config->stochastic_depth.rate == 0.2); /* as if it had been written, not 0.19999999999999996 */
    free(config);
}
END_TEST

/* Whether model.freeze freezes the parameter, in a network that is refused by none of the patterns. */
static bool is_frozen(const sd_config *config, const sd_network *network, const char *name) {
    bool *frozen = calloc((size_t)sd_network_n_tensors(network), sizeof *frozen), found = false;
    expect_ok(sd_config_frozen(config, network, frozen));
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        found = found || (frozen[i] && !strcmp(sd_network_tensor(network, i)->name, name));
    free(frozen);
    return found;
}

START_TEST(patterns_freeze_parameters_and_the_last_one_decides) {
    static const struct {
        const char *setting, *frozen, *trained;
    } rows[] = {
        {"model.freeze=*,!fc.*", "conv1.weight layer3.2.bn2.bias", "fc.weight fc.bias layer3.2.bn2.running_mean"},
        {"model.freeze=layer1.?.conv[12].weight ,  bn1.*", "layer1.0.conv1.weight layer1.2.conv2.weight bn1.bias",
         "layer1.0.bn1.weight layer2.0.conv1.weight conv1.weight bn1.running_var"},
        {"model.freeze=*,!layer*,layer2.1.*", "conv1.weight fc.bias layer2.1.bn1.bias", "layer2.0.bn1.bias"},
        {"model.freeze=", "", "conv1.weight fc.bias"},
    };
    sd_network *network = new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sd_config *config = config_of(rows[i].setting, NULL);
        for (int trained = 0; trained < 2; trained++) {
            char names[128];
            snprintf(names, sizeof names, "%s", trained ? rows[i].trained : rows[i].frozen);
            for (char *name = strtok(names, " "); name; name = strtok(NULL, " "))
                expect(is_frozen(config, network, name) != trained, "%s: %s", rows[i].setting, name);
        }
        free(config);
    }
    sd_network_destroy(&network);
}
END_TEST

START_TEST(patterns_that_freeze_nothing_or_everything_are_refused) {
    static const char *const rows[][3] = {
        {"model.freeze=fc.*,layer9.*", "'layer9.*' matches", "resnet20"},
        {"model.freeze=*,!head.*", "'!head.*' matches", "conv1.weight"},
        {"model.freeze=*.running_mean", "'*.running_mean' matches", "no parameter"},
        {"model.freeze=fc.*,,conv1.*", "'' matches", "model.freeze"},
        {"model.freeze=fc.*,", "'' matches", "model.freeze"},
        {"model.freeze=[", "'[' matches", "model.freeze"},
        {"model.freeze=*", "freezes all of the", "nothing is left to train"},
        {"model.freeze=!fc.*,*", "freezes all", "nothing is left"},
        {"model.freeze=fc.*,!fc.*", "freezes none", "leave it empty"},
    };
    sd_network *network = new_model((sd_model_spec){.name = "resnet20", .image_size = 8, .classes = 10}, 1);
    bool *frozen = calloc((size_t)sd_network_n_tensors(network), sizeof *frozen);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sd_config *config = config_of(rows[i][0], NULL);
        expect_refused(sd_config_frozen(config, network, frozen), SD_ERR_CONFIG, rows[i][1], rows[i][2], NULL);
        free(config);
    }
    free(frozen);
    sd_network_destroy(&network);
}
END_TEST

START_TEST(list_needs_rates_and_rates_need_list) {
    expect_check_refused("[stochastic_depth]\nrank_divisor = kept\n", 1,
                         "folder/run.ini:2: ", "stochastic_depth.rank_divisor", "scope = rank", NULL);
    expect_check_refused("[stochastic_depth]\nrank_divisor = kept\nscope = sample\n", 1, "rank_divisor", NULL);
    expect_check_refused("[stochastic_depth]\nschedule = list\n", 1, "folder/run.ini:2: ", "stochastic_depth.schedule",
                         "rates", NULL);
    expect_check_refused("[stochastic_depth]\nrates = 0.1, 0.2\n", 1, "folder/run.ini:2: ", "stochastic_depth.rates",
                         "list", NULL);
    expect_check_refused("[stochastic_depth]\nschedule = list\nrates = 0.1\nrate = 0.3\n", 1, "stochastic_depth.rate",
                         NULL);
    expect_check_ok("[stochastic_depth]\nschedule = list\nrates = 0.1\n", 1);
}
END_TEST

START_TEST(nesterov_needs_momentum) {
    expect_check_refused("[optimizer]\nnesterov = true\nmomentum = 0\n", 1, "folder/run.ini:2: ", "optimizer.nesterov",
                         NULL);
    expect_check_ok("[optimizer]\nnesterov = true\nmomentum = 0.5\n", 1);
    expect_check_ok("[optimizer]\nnesterov = true\nmomentum = 0\nname = adamw\n", 1);
}
END_TEST

START_TEST(every_rank_needs_an_image) {
    expect_check_refused("[train]\nbatch_size = 3\n", 4, "folder/run.ini:2: ", "train.batch_size", "4 ranks", NULL);
    expect_check_ok("[train]\nbatch_size = 4\n", 4);
}
END_TEST

START_TEST(schedules_that_contradict_themselves_are_refused) {
    expect_check_refused("[train]\nepochs = 5\n[lr]\nwarmup_epochs = 5.5\n", 1,
                         "folder/run.ini:4: ", "lr.warmup_epochs", NULL);
    expect_check_ok("[train]\nepochs = 5\n[lr]\nwarmup_epochs = 5\n", 1);
    expect_check_refused("[lr]\nmilestones = 5, 3\n", 1, "folder/run.ini:2: ", "lr.milestones", NULL);
    expect_check_refused("[lr]\nmilestones = 5, 5\n", 1, "lr.milestones", NULL);
    expect_check_refused("[lr]\nschedule = cosine\nmilestones = 3, 5\n", 1, "lr.milestones", NULL);
    expect_check_refused("[lr]\nschedule = cosine\nbase = 0.1\nminimum = 0.2\n", 1, "lr.minimum", NULL);
    expect_check_ok("[lr]\nmilestones = 3, 5\n", 1);
}
END_TEST

START_TEST(keys_of_other_data_are_refused) {
    static const char *const of_images[] = {"image_size = 64",  "interpolation = bicubic", "crop_pct = 0.9",
                                            "normalise = half", "on_bad_image = skip",     "augment = crop_flip"},
                             *const of_texts[] = {"sequence = 64", "lower_case = false"},
                             *const of_tables[] = {"vocab = vocab.txt", "text_columns = a, b", "label_column = c"};
    static const struct {
        const char *const *keys;
        size_t n;
        bool synthetic, synthetic_text, text; /* allowed */
    } rows[] = {
        {of_images, 6, true, false, false}, {of_texts, 2, false, true, true}, {of_tables, 3, false, false, true}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (size_t k = 0; k < rows[r].n; k++) {
            const char *const words[] = {"synthetic", "synthetic_text", "text"};
            const bool allowed[] = {rows[r].synthetic, rows[r].synthetic_text, rows[r].text};
            for (int kind = 0; kind < 3; kind++) {
                char text[256], name[64];
                snprintf(text, sizeof text, "[data]\ndataset = %s\npath = /data\n%s\n", words[kind], rows[r].keys[k]);
                snprintf(name, sizeof name, "data.%.*s", (int)strcspn(rows[r].keys[k], " "), rows[r].keys[k]);
                if (allowed[kind])
                    expect_check_ok(text, 1);
                else
                    expect_check_refused(text, 1, "run.ini:4", name, words[kind], NULL);
            }
        }
}
END_TEST

START_TEST(a_dataset_of_files_needs_a_path) {
    expect_check_refused("[data]\ndataset = cifar10\n", 1, "data.path", NULL);
    expect_check_refused("[data]\ndataset = cifar100\n", 1, "data.path", NULL);
    expect_check_ok("[data]\ndataset = cifar10\npath = /data\n", 1);
    expect_check_refused("[data]\ndataset = text\n", 1, "data.path", NULL);
    expect_check_ok("[data]\ndataset = synthetic_text\n", 1);
}
END_TEST

/* What sd_config_check() writes to standard error. */
static void expect_warning(const char *text, const char *word) {
    char folder[SUPPORT_PATH_BYTES], path[SUPPORT_PATH_BYTES + 8];
    size_t n;
    sd_config *config = parsed(text);
    make_folder(folder);
    snprintf(path, sizeof path, "%s/err", folder);
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    ck_assert_ptr_nonnull(freopen(path, "w", stderr));
    sd_log_mute(0);
    sd_status status = sd_config_check(config, 1);
    sd_log_mute(1);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    expect_ok(status);
    char *written = read_bytes(path, &n);
    if (word)
        expect_words(written, (const char *const[]){"sdtrain-mpi: warning: ", word, NULL});
    else
        ck_assert_str_eq(written, "");
    free(written);
    free(config);
    remove_folder(folder);
}

START_TEST(experience_warns) {
    expect_warning("[stochastic_depth]\nschedule = constant\nrate = 0.5\n", "schedule = linear");
    expect_warning("[stochastic_depth]\nschedule = constant\nsurvival_prob = 0.4\n", "constant");
    expect_warning("[stochastic_depth]\nschedule = constant\nrate = 0.3\n", NULL);
    expect_warning("[stochastic_depth]\nrate = 0.5\n", NULL);
    expect_warning("[stochastic_depth]\nrate = 0.5\n[model]\ndropout = 0.2\n[train]\nlabel_smoothing = 0.1\n",
                   "regularises");
    expect_warning("[stochastic_depth]\nrate = 0.1\n[model]\ndropout = 0.2\n[train]\nlabel_smoothing = 0.1\n", NULL);
}
END_TEST

START_TEST(a_run_is_named_by_its_file_and_never_a_path) {
    static const struct {
        const char *file, *name;
    } rows[] = {{"a/b/cifar10-resnet20.ini", "cifar10-resnet20"}, {"x", "x"}, {"x.y.ini", "x.y"}, {"/.ini", ".ini"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sd_config *config = new_config();
        expect_ok(sd_config_parse(config, "", rows[i].file));
        expect_ok(sd_config_check(config, 1));
        ck_assert_str_eq(config->run.name, rows[i].name);
        free(config);
    }
    expect_check_refused("[run]\nname = a/b\n", 1, "folder/run.ini:2: ", "run.name", NULL);
    expect_check_refused("[run]\noutput =\n", 1, "run.output", NULL);
    expect_check_refused("[run]\nname = ..\n", 1, "run.name", NULL);
    expect_check_refused("[run]\nname = .\n", 1, "run.name", NULL);
}
END_TEST

START_TEST(messages_of_other_parts_get_the_place_of_their_key) {
    sd_config *config = parsed("[model]\n\nname = resnet21\n");
    ck_assert_int_eq(sd_config_locate(config, sd_fail(SD_ERR_CONFIG, "model.name: unknown model")), SD_ERR_CONFIG);
    ck_assert_str_eq(sd_error_message(), "folder/run.ini:3: model.name: unknown model");
    ck_assert_int_eq(sd_config_locate(config, sd_fail(SD_ERR_CONFIG, "something: else")), SD_ERR_CONFIG);
    ck_assert_str_eq(sd_error_message(), "something: else");
    ck_assert_int_eq(sd_config_locate(config, sd_fail(SD_ERR_DATA, "model.name: data")), SD_ERR_DATA);
    ck_assert_str_eq(sd_error_message(), "model.name: data");
    ck_assert_int_eq(sd_config_locate(config, SD_OK), SD_OK);
    expect_ok(sd_config_set(config, "model.name=x"));
    ck_assert_int_eq(sd_config_fail(config, "model.name", "is %d", 3), SD_ERR_CONFIG);
    ck_assert_str_eq(sd_error_message(), "command line: model.name: is 3");
    free(config);
}
END_TEST

/* ---- writing ---- */

START_TEST(a_list_of_600_rates_is_written_and_read_back) {
    sd_config *config = parsed("[stochastic_depth]\nschedule = list\n[model]\nname = resnet1202\n");
    config->stochastic_depth.rates.n = 600;
    for (int i = 0; i < 600; i++)
        config->stochastic_depth.rates.value[i] = sd_random_uniform(sd_random_at(1, 90, (uint64_t)i, 0).word[0]) / 3;
    expect_round_trip(config);
    char *text = text_of(config);
    sd_config *again = parsed(text);
    ck_assert_int_eq(again->stochastic_depth.rates.n, 600);
    ck_assert_mem_eq(again->stochastic_depth.rates.value, config->stochastic_depth.rates.value, 600 * sizeof(double));
    free(text);
    free(again);
    free(config);
}
END_TEST

START_TEST(the_longest_list_is_written_and_read_back) {
    sd_config *config = parsed("[stochastic_depth]\nschedule = list\n");
    config->stochastic_depth.rates.n = SD_LIST_MAX;
    for (int i = 0; i < SD_LIST_MAX; i++)
        config->stochastic_depth.rates.value[i] =
            1.2345678901234567e-100 * (i + 1); /* as many digits as there can be */
    char *text = text_of(config);
    sd_config *again = parsed(text);
    ck_assert_int_eq(again->stochastic_depth.rates.n, SD_LIST_MAX);
    ck_assert_mem_eq(again->stochastic_depth.rates.value, config->stochastic_depth.rates.value,
                     SD_LIST_MAX * sizeof(double));
    free(text);
    free(again);
    free(config);
}
END_TEST

START_TEST(numbers_are_written_to_the_last_bit) {
    sd_config *config = parsed("[lr]\nbase = 0.1\nminimum = 1e-7\n[optimizer]\nweight_decay = 0.0005\n"
                               "beta2 = 0.99899999999999989\nclip_norm = 1e30\n");
    config->stochastic_depth.rate = 1.0 / 3;
    char *text = text_of(config);
    sd_config *again = parsed(text);
    ck_assert(again->lr.base == 0.1 && again->lr.minimum == 1e-7 && again->optimizer.weight_decay == 0.0005);
    ck_assert(again->stochastic_depth.rate == 1.0 / 3);
    ck_assert(again->optimizer.beta2 == 0.99899999999999989 && again->optimizer.clip_norm == 1e30);
    ck_assert_ptr_nonnull(strstr(text, "\nbase = 0.1\n"));
    free(text);
    free(again);
    free(config);
}
END_TEST

/* What a command line may hold and a line of a file may not: refused when it is set, or written so that it is read
 * back. A checkpoint whose configuration cannot be read cannot be resumed. */
START_TEST(a_text_of_the_command_line_is_refused_or_comes_back) {
    static const char *const values[] = {"run.output=/data/a ;b", "data.path=;b",        "run.output=a\nb",
                                         "run.name=a\n[train]",   "run.output= leading", "run.output=trailing ",
                                         "run.output=a\tb",       "data.path=#x"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const char *value = values[i];
        sd_config *config = new_config(), *again = new_config();
        if (sd_config_set(config, value) == SD_OK) {
            char *text = text_of(config);
            sd_error_clear();
            expect(sd_config_parse(again, text, FILE_NAME) == SD_OK, "'%s' is written but cannot be read again: %s",
                   value, sd_error_message());
            expect(!strcmp(config->run.output, again->run.output) && !strcmp(config->run.name, again->run.name) &&
                       !strcmp(config->data.path, again->data.path),
                   "'%s' is written but read back as something else", value);
            free(text);
        }
        free(config);
        free(again);
    }
}
END_TEST

START_TEST(a_long_path_of_the_command_line_is_refused_or_comes_back) {
    char long_path[400] = "data.path=/";
    memset(long_path + 11, 'p', 300);
    sd_config *config = new_config(), *again = new_config();
    if (sd_config_set(config, long_path) == SD_OK) {
        char *text = text_of(config);
        expect_ok(sd_config_parse(again, text, FILE_NAME));
        ck_assert_str_eq(config->data.path, again->data.path);
        free(text);
    }
    free(config);
    free(again);
}
END_TEST

/* ---- resuming ---- */

START_TEST(a_value_is_shown_as_it_is_written) {
    char value[64];
    sd_config *config = config_of("stochastic_depth.schedule=linspace", "lr.base=0.1", "run.seed=4294967295",
                                  "stochastic_depth.survival_prob=0.75", NULL);
    ck_assert_str_eq(sd_config_value(config, "stochastic_depth.schedule", value, sizeof value), "linspace");
    ck_assert_str_eq(sd_config_value(config, "stochastic_depth.rate", value, sizeof value), "0.25");
    ck_assert_str_eq(sd_config_value(config, "lr.base", value, sizeof value), "0.1");
    ck_assert_str_eq(sd_config_value(config, "run.seed", value, sizeof value), "4294967295");
    ck_assert_str_eq(sd_config_value(config, "run.sead", value, sizeof value), "");
    ck_assert_str_eq(sd_config_value(config, "seed", value, sizeof value), "");
    free(config);
}
END_TEST

START_TEST(differences_name_the_keys_that_change_results_and_no_other) {
    char results[] =
        "data.dataset=cifar10 data.image_size=64 data.train_samples=7 data.val_samples=8 data.validation=9 "
        "data.augment=crop_flip data.last_batch=keep model.name=resnet32 model.classes=5 model.stem=cifar "
        "model.patch_size=4 model.dropout=0.1 model.zero_init_residual=true model.freeze=fc.* stochastic_depth.rate=0.1 "
        "stochastic_depth.schedule=constant stochastic_depth.rates=0.1 stochastic_depth.scale=training "
        "stochastic_depth.unit=block stochastic_depth.min_kept=2 stochastic_depth.dropped_update=freeze optimizer.name=adamw "
        "optimizer.momentum=0.8 optimizer.nesterov=true optimizer.weight_decay=0.1 optimizer.decay=matrices "
        "optimizer.layer_decay=0.7 optimizer.beta1=0.8 optimizer.beta2=0.9 optimizer.epsilon=0.1 optimizer.clip_norm=1 "
        "lr.schedule=cosine lr.base=0.3 lr.warmup_epochs=1 lr.milestones=3 lr.gamma=0.3 lr.minimum=0.01 "
        "run.seed=2 train.batch_size=64 train.epochs=3";
    char others[] = "run.name=x run.output=y run.threads=2 data.path=/z data.workers=3 train.max_steps=5 "
                    "eval.every_epochs=2 checkpoint.every_steps=7 checkpoint.every_epochs=3 checkpoint.keep=9 "
                    "checkpoint.resume=never communication.bucket_bytes=8192 communication.skip_dropped=false "
                    "communication.check_every=3 log.every_steps=1 log.decisions=true log.progress=off";
    char differences[768], name[64];
    for (int changes = 0; changes < 2; changes++)
        for (char *setting = strtok(changes ? results : others, " "); setting; setting = strtok(NULL, " ")) {
            sd_config *a = new_config(), *b = new_config();
            snprintf(name, sizeof name, "%.*s = ", (int)strcspn(setting, "="), setting);
            expect_ok(sd_config_set(a, setting));
            sd_config_differences(a, b, differences, sizeof differences);
            if (changes)
                expect(!strncmp(differences, name, strlen(name)), "%s: '%s'", setting, differences);
            else
                expect(differences[0] == '\0', "%s: '%s'", setting, differences);
            expect(!strstr(differences, "; "), "%s: '%s'", setting, differences);
            free(a);
            free(b);
        }
}
END_TEST

START_TEST(differences_are_said_with_both_values) {
    sd_config *a = parsed("[train]\nbatch_size = 64\nepochs = 3\n"), *b = parsed("[train]\nepochs = 4\n");
    char differences[768], few[20];
    sd_config_differences(a, b, differences, sizeof differences);
    ck_assert_str_eq(differences, "train.epochs = 3, not 4; train.batch_size = 64, not 128");
    sd_config_differences(a, b, few, sizeof few);
    ck_assert_uint_lt(strlen(few), sizeof few);
    free(a);
    free(b);
}
END_TEST

START_TEST(survival_prob_and_the_rate_it_means_do_not_differ) {
    sd_config *a = parsed("[stochastic_depth]\nsurvival_prob = 0.8\n");
    char differences[768];
    expect_ok(sd_config_check(a, 1));
    char *text = text_of(a);
    sd_config *stored = parsed(text);
    sd_config_differences(a, stored, differences, sizeof differences);
    ck_assert_str_eq(differences, "");
    free(text);
    free(a);
    free(stored);
}
END_TEST

/* ---- values ---- */

/* "section.key=value" of the command line is refused, and says what is allowed. */
static void expect_set_refused(const char *assignment) {
    sd_config *config = new_config();
    expect_refused(sd_config_set(config, assignment), SD_ERR_CONFIG, "command line", "allowed", NULL);
    free(config);
}

START_TEST(a_whole_number_is_digits) {
    static const char *const bad[] = {"train.batch_size=0x10",
                                      "train.epochs=1e1",
                                      "train.epochs=10.0",
                                      "train.epochs=1e",
                                      "train.epochs=1_000",
                                      "run.seed=4294967295.0000000001",
                                      "run.seed=4294967296",
                                      "run.seed=-1",
                                      "run.seed=18446744073709551617",
                                      "data.validation=0x5",
                                      "train.max_steps=9007199254740993"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_set_refused(bad[i]);
    sd_config *config = config_of("train.epochs=007", "train.max_steps=9007199254740992", "run.seed=+3", NULL);
    ck_assert_int_eq(config->train.epochs, 7);
    ck_assert(config->train.max_steps == 9007199254740992);
    ck_assert_int_eq(config->run.seed, 3);
    free(config);
}
END_TEST

START_TEST(a_number_is_decimal) {
    static const char *const bad[] = {"lr.base=0x1p-3",    "lr.base=0x1",      "lr.base=1e-400",
                                      "lr.base=0.5.5",     "lr.base=infinity", "lr.base=nan(1)",
                                      "lr.base=.",         "lr.base=e5",       "lr.base=1e",
                                      "lr.base=1d3",       "lr.base=0,1",      "optimizer.epsilon=-1e-400",
                                      "lr.milestones=0x5", "lr.milestones=1e"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_set_refused(bad[i]);
    sd_config *config = config_of("lr.base=1e-1", "optimizer.weight_decay=5E-4", "lr.gamma=.5", "lr.minimum=0e5", NULL);
    ck_assert(config->lr.base == 0.1 && config->optimizer.weight_decay == 5e-4 && config->lr.gamma == 0.5);
    free(config);
}
END_TEST

/* A resume with 0 goes on from a run whose file says -0. */
START_TEST(zero_has_no_sign) {
    char differences[768];
    sd_config *minus = parsed("[lr]\nwarmup_epochs = -0\nmilestones = -0, 1\n[stochastic_depth]\nrate = -0.0\n");
    sd_config *plus = parsed("[lr]\nmilestones = 0, 1\n");
    sd_config_differences(plus, minus, differences, sizeof differences);
    ck_assert_str_eq(differences, "");
    char *text = text_of(minus);
    ck_assert_ptr_null(strstr(text, "-0\n"));
    free(text);
    free(minus);
    free(plus);
}
END_TEST

START_TEST(a_list_has_no_empty_entries) {
    static const char *const bad[] = {"1,,2", ",1", ",", "1, ,2", "1,,", "1;2", "1 2", "1,\t,"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "[lr]\nmilestones = %s\n", bad[i]);
        expect_parse_refused(text, "folder/run.ini:2: ", "lr.milestones", "allowed", NULL);
    }
    expect_parse_refused("[stochastic_depth]\nrates = 0.1\n  , 0.2\n", "folder/run.ini:3: ", "rates", NULL);
    expect_parse_refused("[stochastic_depth]\nrates = 0.1,\n  ,\n", "folder/run.ini:3: ", "rates", NULL);
    sd_config *config = parsed("[lr]\nmilestones = 1,2 , 3,\n");
    ck_assert_int_eq(config->lr.milestones.n, 3);
    free(config);
}
END_TEST

/* Whatever number a key can hold: what is written of it reads back as the same bits. */
START_TEST(what_is_printed_is_read_back) {
    sd_config *config = new_config(), *again = new_config();
    char text[64];
    for (int i = 0; i < sd_n_keys; i++) {
        const key *k = &sd_keys[i];
        for (uint64_t n = 0; n < 200 && (k->type == KEY_WHOLE || k->type == KEY_REAL); n++) {
            const sd_random random = sd_random_at(7, 83, n, (uint64_t)i);
            const double part = sd_random_uniform(random.word[0]) * pow(10, -(double)(n % 40));
            const double value = n == 0 ? k->low : n == 1 ? k->high : k->low + part * (k->high - k->low);
            if (k->type == KEY_WHOLE)
                *(int64_t *)sd_key_value(k, config) = (int64_t)value;
            else
                *(double *)sd_key_value(k, config) = value;
            sd_key_print(k, config, text, sizeof text);
            expect(sd_key_read(k, again, text), "%s.%s: '%s' is written and cannot be read", k->section, k->name, text);
            expect(!memcmp(sd_key_value(k, config), sd_key_value(k, again), 8), "%s.%s: '%s' reads as another number",
                   k->section, k->name, text);
        }
    }
    free(config);
    free(again);
}
END_TEST

/* ---- the file ---- */

START_TEST(only_a_comment_follows_a_section) {
    expect_parse_refused("[train] epochs = 3\n", "folder/run.ini:1: ", "'epochs = 3'", "[train]", "comment", NULL);
    expect_parse_refused("[run]\nseed = 3\n[train]]\n", "folder/run.ini:3: ", "']'", "[train]", NULL);
    expect_parse_refused("  [train] [lr]\n", "folder/run.ini:1: ", "[lr]", NULL);
    expect_parse_refused("\xEF\xBB\xBF[train] epochs = 3\n", "folder/run.ini:1: ", "epochs", NULL);
    sd_config *config = parsed("[train] \t\nepochs = 3\n[run];x\nseed = 4\n[lr] # y\nbase = 0.5\n[data]");
    ck_assert_int_eq(config->train.epochs, 3);
    ck_assert_int_eq(config->run.seed, 4);
    ck_assert(config->lr.base == 0.5);
    free(config);
}
END_TEST

START_TEST(line_ends_are_those_of_unix_or_windows) {
    expect_parse_refused("[train]\repochs = 3\r", "folder/run.ini:1: ", "carriage return", NULL);
    expect_parse_refused("[train]\nepochs = 3\rbatch_size = 4\n", "folder/run.ini:2: ", "carriage return", NULL);
    expect_parse_refused("[train]\r\nepochs = 3\r", "folder/run.ini:2: ", "carriage return", NULL);
    expect_parse_refused("; a comment\r[train]\repochs = 3\n", "folder/run.ini:1: ", "carriage return", NULL);
}
END_TEST

START_TEST(a_byte_order_mark_may_begin_a_file_and_nothing_else) {
    sd_config *config = parsed("\xEF\xBB\xBF[train]\nepochs = 3\n");
    ck_assert_int_eq(config->train.epochs, 3);
    free(config);
    expect_parse_refused("\xEF\xBB\xBF[trian]\n", "folder/run.ini:1: ", "[trian]", NULL);
    expect_parse_refused("\xEF\xBB\xBF\xEF\xBB\xBF[trian]\n", "folder/run.ini:1: ", "byte order mark", NULL);
    expect_parse_refused("[run]\n\xEF\xBB\xBF[train]\nepochs = 3\n", "folder/run.ini:2: ", "byte order mark", NULL);
}
END_TEST

START_TEST(other_encodings_are_named) {
    static const char little[] = "\xFF\xFE[\0r\0u\0n\0]\0", big[] = "\xFE\xFF\0[\0r\0u\0n\0]",
                      plain[] = "[\0r\0u\0n\0]\0";
    expect_refused(sd_config_check_text(little, sizeof little - 1, FILE_NAME), SD_ERR_CONFIG, FILE_NAME, "UTF-16",
                   NULL);
    expect_refused(sd_config_check_text(big, sizeof big - 1, FILE_NAME), SD_ERR_CONFIG, FILE_NAME, "UTF-16", NULL);
    expect_refused(sd_config_check_text(plain, sizeof plain - 1, FILE_NAME), SD_ERR_CONFIG, "zero byte", "UTF-16",
                   NULL);
    expect_ok(sd_config_check_text("", 0, FILE_NAME));
    expect_ok(sd_config_check_text("[run]\nname = \xC3\xA4\n", 15, FILE_NAME));
}
END_TEST

START_TEST(a_section_may_come_several_times) {
    sd_config *config = parsed("[train]\nepochs = 3\n[run]\nseed = 3\n[train]\nbatch_size = 4\n");
    ck_assert_int_eq(config->train.epochs, 3);
    ck_assert_int_eq(config->train.batch_size, 4);
    free(config);
}
END_TEST

START_TEST(a_key_before_any_section_is_refused_as_such) {
    expect_parse_refused("; a comment\nepochs = 3\n[train]\n", "folder/run.ini:2: ", "'epochs'",
                         "before the first [section]", "train.epochs", NULL);
}
END_TEST

/* ---- texts that a shell would have changed ---- */

START_TEST(paths_are_not_expanded_and_say_so) {
    static const char *const keys[] = {"run.output", "data.path", "log.trace", "checkpoint.resume"};
    static const struct {
        const char *value, *words[3];
    } rows[] = {{"~", {"'~' is not expanded", "write /home/u"}},
                {"~/runs", {"'~' is not expanded", "write /home/u/runs"}},
                {"~ann/runs", {"'~ann' is not expanded", "folder"}},
                {"$HOME/runs", {"'$HOME/runs'", "not expanded", "/home/u"}},
                {"${HOME}/runs", {"'${HOME}/runs'", "not expanded", "/home/u"}},
                {"/scratch/$NOBODY_SETS_THIS/runs", {"'$NOBODY_SETS_THIS/runs'", "not expanded"}},
                {"$(pwd)/runs", {"'$(pwd)/runs'", "not expanded"}},
                {"\"/a b\"", {"quotes", "write /a b"}},
                {"'runs'", {"quotes", "write runs"}}};
    setenv("HOME", "/home/u", 1);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
            char setting[128];
            sd_config *config = new_config();
            snprintf(setting, sizeof setting, "%s=%s", keys[i], rows[r].value);
            expect_ok(sd_config_set(config, setting)); /* the configuration of an older run is still read */
            expect_refused(sd_config_check(config, 1), SD_ERR_CONFIG, "command line", keys[i], NULL);
            for (int w = 0; w < 3 && rows[r].words[w]; w++)
                expect_words(sd_error_message(), (const char *const[]){rows[r].words[w], NULL});
            free(config);
        }
    unsetenv("HOME");
    expect_check_refused("[run]\noutput = ~/runs\n", 1, "folder/run.ini:2: ", "run.output", "'~' is not expanded",
                         NULL);
    static const char *const good[] = {"run.output=./~/runs", "run.output=/a~b/c~", "data.path=/a$/b$1",
                                       "data.path=/it's",     "data.path=/a#b",     "log.trace=\"a",
                                       "run.name=~x"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        free(config_of(good[i], NULL));
}
END_TEST

START_TEST(quotes_do_not_become_part_of_a_name) {
    expect_check_refused("[run]\nname = \"first\"\n", 1, "folder/run.ini:2: ", "run.name", "write first", NULL);
    expect_check_refused("[model]\nname = 'resnet20'\n", 1, "folder/run.ini:2: ", "model.name", "write resnet20", NULL);
    expect_check_refused("[checkpoint]\nresume =\n", 1, "folder/run.ini:2: ", "checkpoint.resume", "auto", NULL);
}
END_TEST

START_TEST(what_looks_like_a_comment_and_is_none_is_warned_of) {
    expect_warning("[run]\nname = first # try\n", "folder/run.ini:2: run.name: '#' begins no comment");
    expect_warning("[run]\nname = first#try ; a comment\n", NULL);
}
END_TEST

/* A run that is named by its file is written into config.ini and every checkpoint as any other: it must come back
 * from there. */
START_TEST(a_name_that_comes_from_the_file_is_checked_like_any_other) {
    char too_long[300] = "folder/", far[900] = "/";
    memset(too_long + 7, 'n', 200);
    strcpy(too_long + 207, ".ini");
    const char *bad[] = {"a ;b.ini", "folder/a\tb.ini", "a\n[x].ini", " a.ini", "a .ini",
                         ";a.ini",   "a\x01.ini",       "a\x7F.ini",  "\"a\"",  too_long};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sd_config *config = new_config();
        expect_ok(sd_config_parse(config, "", bad[i]));
        expect_refused(sd_config_check(config, 1), SD_ERR_CONFIG, "run.name", NULL);
        expect_ok(sd_config_set(config, "run.name=a"));
        expect_ok(sd_config_check(config, 1));
        free(config);
    }
    memset(far + 1, 'f', 700); /* the file's own name is what counts, however far away it is */
    strcpy(far + 701, "/run.ini");
    sd_config *config = new_config();
    expect_ok(sd_config_parse(config, "", far));
    expect_ok(sd_config_check(config, 1));
    ck_assert_str_eq(config->run.name, "run");
    free(config);
}
END_TEST

/* ---- the configurations that come with the program ---- */

/* The whole text, resolved, without run.name, which must differ as each run has its folder. */
static char *shipped(const char *name, sd_config *config) {
    char path[512];
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s.ini", SD_CONFIGS_DIR, name);
    char *text = read_bytes(path, &bytes), *terminated = calloc(bytes + 1, 1);
    memcpy(terminated, text, bytes);
    sd_config_init(config);
    expect_ok(sd_config_parse(config, terminated, path));
    expect_ok(sd_config_check(config, 1));
    ck_assert_str_eq(config->run.name, name);
    strcpy(config->run.name, "either");
    free(text);
    free(terminated);
    return text_of(config);
}

START_TEST(constant_and_stochastic_depth_are_compared_with_one_recipe) {
    static const struct {
        const char *constant, *stochastic;
        double rate;
        int schedule;
    } rows[] = {{"cifar100-resnet50", "cifar100-resnet50-sd", 0.2, SD_DROP_LINEAR},
                {"cifar10-resnet110", "cifar10-resnet110-sd", 0.5, SD_DROP_LINEAR},
                {"cifar10-vit-tiny", "cifar10-vit-tiny-droppath", 0.1, SD_DROP_LINSPACE}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        sd_config *a = new_config(), *b = new_config();
        char *constant = shipped(rows[r].constant, a), *stochastic = shipped(rows[r].stochastic, b);
        ck_assert(a->stochastic_depth.rate == 0 && b->stochastic_depth.rate == rows[r].rate);
        ck_assert_int_eq(b->stochastic_depth.schedule, rows[r].schedule);
        free(constant);
        a->stochastic_depth = b->stochastic_depth;
        constant = text_of(a);
        ck_assert_str_eq(constant, stochastic);
        free(constant);
        free(stochastic);
        free(a);
        free(b);
    }
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("config");
    tcase_add_test(cases, every_default_is_written_and_read_back);
    tcase_add_test(cases, every_default_is_inside_its_own_range);
    tcase_add_test(cases, every_choice_and_both_ends_of_every_range_are_accepted);
    tcase_add_test(cases, every_key_refuses_what_it_does_not_allow);
    tcase_add_test(cases, what_a_later_version_brings_is_named_as_such);
    tcase_add_test(cases, help_lists_every_key_and_nothing_of_later_versions);
    tcase_add_test(cases, the_documented_keys_are_there);
    tcase_add_test(cases, an_empty_file_is_all_defaults);
    tcase_add_test(cases, values_comments_and_blanks_are_read);
    tcase_add_test(cases, files_of_windows_are_read);
    tcase_add_test(cases, the_last_line_needs_no_end);
    tcase_add_test(cases, a_list_goes_on_in_indented_lines);
    tcase_add_test(cases, indented_keys_are_refused_with_the_reason);
    tcase_add_test(cases, only_a_list_goes_on);
    tcase_add_test(cases, a_list_that_is_too_long_is_refused);
    tcase_add_test(cases, a_long_line_is_refused_and_never_cut);
    tcase_add_test(cases, a_line_that_is_nothing_is_refused);
    tcase_add_test(cases, of_several_errors_the_first_is_named);
    tcase_add_test(cases, an_unknown_key_is_refused_with_the_nearest);
    tcase_add_test(cases, an_unknown_section_is_refused);
    tcase_add_test(cases, an_unknown_section_without_keys_is_refused);
    tcase_add_test(cases, a_key_given_twice_is_refused);
    tcase_add_test(cases, a_list_given_twice_is_refused_however_it_is_indented);
    tcase_add_test(cases, garbage_is_read_or_refused);
    tcase_add_test(cases, the_command_line_wins);
    tcase_add_test(cases, errors_of_the_command_line_say_so);
    tcase_add_test(cases, rate_and_survival_prob_exclude_each_other);
    tcase_add_test(cases, survival_prob_becomes_rate);
    tcase_add_test(cases, patterns_freeze_parameters_and_the_last_one_decides);
    tcase_add_test(cases, patterns_that_freeze_nothing_or_everything_are_refused);
    tcase_add_test(cases, list_needs_rates_and_rates_need_list);
    tcase_add_test(cases, nesterov_needs_momentum);
    tcase_add_test(cases, every_rank_needs_an_image);
    tcase_add_test(cases, schedules_that_contradict_themselves_are_refused);
    tcase_add_test(cases, keys_of_other_data_are_refused);
    tcase_add_test(cases, a_dataset_of_files_needs_a_path);
    tcase_add_test(cases, experience_warns);
    tcase_add_test(cases, a_run_is_named_by_its_file_and_never_a_path);
    tcase_add_test(cases, messages_of_other_parts_get_the_place_of_their_key);
    tcase_add_test(cases, a_list_of_600_rates_is_written_and_read_back);
    tcase_add_test(cases, the_longest_list_is_written_and_read_back);
    tcase_add_test(cases, numbers_are_written_to_the_last_bit);
    tcase_add_test(cases, a_text_of_the_command_line_is_refused_or_comes_back);
    tcase_add_test(cases, a_long_path_of_the_command_line_is_refused_or_comes_back);
    tcase_add_test(cases, a_value_is_shown_as_it_is_written);
    tcase_add_test(cases, differences_name_the_keys_that_change_results_and_no_other);
    tcase_add_test(cases, differences_are_said_with_both_values);
    tcase_add_test(cases, survival_prob_and_the_rate_it_means_do_not_differ);
    tcase_add_test(cases, a_whole_number_is_digits);
    tcase_add_test(cases, a_number_is_decimal);
    tcase_add_test(cases, zero_has_no_sign);
    tcase_add_test(cases, a_list_has_no_empty_entries);
    tcase_add_test(cases, what_is_printed_is_read_back);
    tcase_add_test(cases, only_a_comment_follows_a_section);
    tcase_add_test(cases, line_ends_are_those_of_unix_or_windows);
    tcase_add_test(cases, a_byte_order_mark_may_begin_a_file_and_nothing_else);
    tcase_add_test(cases, other_encodings_are_named);
    tcase_add_test(cases, a_section_may_come_several_times);
    tcase_add_test(cases, a_key_before_any_section_is_refused_as_such);
    tcase_add_test(cases, paths_are_not_expanded_and_say_so);
    tcase_add_test(cases, quotes_do_not_become_part_of_a_name);
    tcase_add_test(cases, what_looks_like_a_comment_and_is_none_is_warned_of);
    tcase_add_test(cases, a_name_that_comes_from_the_file_is_checked_like_any_other);
    tcase_add_test(cases, constant_and_stochastic_depth_are_compared_with_one_recipe);
    return run_suite("config", cases);
}
