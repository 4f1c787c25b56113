/* SPDX-License-Identifier: Apache-2.0 */
/* data/: tables of texts, their columns and labels, and the batches that come of them. */
#include "../../src/data/table.h"
#include "../support.h"

static char root[SUPPORT_PATH_BYTES];

static const char VOCABULARY[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n##d\n";
enum { PAD, UNK, CLS, SEP, MASK, A, B, C, D, MORE_D, WORDS };

static void put_bytes(const char *name, const void *bytes, size_t n) {
    char path[PATH_BYTES];
    write_bytes(path_in(root, name, path), bytes, n);
}

static void put(const char *name, const char *text) { put_bytes(name, text, strlen(text)); }

/* A folder with a vocabulary and these tables; NULL: none. */
static void begin(const char *train, const char *test) {
    make_folder(root);
    put("vocab.txt", VOCABULARY);
    if (train)
        put("train.tsv", train);
    if (test)
        put("dev.tsv", test);
}

static void end(void) { remove_folder(root); }

static sd_data_spec spec_of(void) {
    return (sd_data_spec){.kind = SD_DATASET_TEXT, .path = root, .sequence = 8, .lower_case = true, .seed = 1};
}

static sd_dataset *opened(sd_data_spec *spec, sd_found **found) {
    sd_dataset *dataset;
    expect_ok(sd_data_find(spec, found));
    spec->found = *found;
    expect_ok(sd_dataset_open(spec, &dataset));
    return dataset;
}

static void closed(sd_dataset *dataset, sd_found *found) {
    sd_dataset_close(&dataset);
    sd_found_free(&found);
    end();
}

/* ---- tables ---- */

typedef struct expected_cell {
    const char *text;
    uint64_t line; /* of its row */
} expected_cell;

/* Rows end with a NULL text; the table with another. */
static void expect_table(const char *name, const char *bytes, size_t n, const expected_cell *cells) {
    char path[PATH_BYTES];
    sd_table table;
    sd_table_row row;
    bool is_end;
    put_bytes(name, bytes, n);
    expect_ok(sd_table_open(path_in(root, name, path), &table));
    for (;; cells++) {
        expect_ok(sd_table_next(&table, &row, &is_end));
        ck_assert(is_end == !cells->text);
        if (is_end)
            break;
        for (int i = 0; i < row.columns; i++, cells++) {
            expect(cells->text != NULL, "%s: too many columns", name);
            ck_assert_uint_eq(row.line, cells->line);
            ck_assert_uint_eq(row.cell[i].bytes, strlen(cells->text));
            ck_assert_mem_eq(row.cell[i].text, cells->text, row.cell[i].bytes);
        }
        ck_assert(!cells->text);
    }
    sd_table_close(&table);
}
#define TABLE(name, bytes, ...)                                                                                        \
    expect_table(name, bytes, sizeof bytes - 1, (const expected_cell[]){__VA_ARGS__, {0}, {0}})

START_TEST(tables_are_cut_at_tabs_or_as_rfc_4180_says) {
    make_folder(root);
    TABLE("a.tsv", "x\ty\n1\t2\n", {"x", 1}, {"y", 1}, {0}, {"1", 2}, {"2", 2});
    TABLE("no_end.tsv", "x\ty", {"x", 1}, {"y", 1});
    TABLE("crlf.tsv", "x\ty\r\n\r\n1\t\r\n", {"x", 1}, {"y", 1}, {0}, {"1", 3}, {"", 3});
    TABLE("mark.tsv", "\xef\xbb\xbfx\ty\n", {"x", 1}, {"y", 1});
    TABLE("quotes.tsv", "\"x\ty\"\n\"\t,\n", {"\"x", 1}, {"y\"", 1}, {0}, {"\"", 2}, {",", 2});
    TABLE("return.tsv", "a\rb\tc\n", {"a\rb", 1}, {"c", 1});
    TABLE("empty.tsv", "\n\n", {0});
    TABLE("a.csv", "x,y\n\"1,\n2\",\"\"\"q\"\"\"\n3,4\n", {"x", 1}, {"y", 1}, {0}, {"1,\n2", 2}, {"\"q\"", 2}, {0},
          {"3", 4}, {"4", 4});
    TABLE("ends.csv", "\"x\",\"\"\r\n\"\",\"y\"", {"x", 1}, {"", 1}, {0}, {"", 2}, {"y", 2});
    TABLE("inner.csv", "a\"b,c\n", {"a\"b", 1}, {"c", 1});
    end();
}
END_TEST

static sd_status read_all(const char *name) {
    char path[PATH_BYTES];
    sd_table table;
    sd_table_row row;
    bool is_end = false;
    sd_status status = sd_table_open(path_in(root, name, path), &table);
    while (status == SD_OK && !is_end)
        status = sd_table_next(&table, &row, &is_end);
    sd_table_close(&table);
    return status;
}

START_TEST(faults_of_a_table_are_named_with_their_line) {
    make_folder(root);
    put("wide.tsv", "a\tb\nc\td\ne\tf\tg\n");
    expect_refused(read_all("wide.tsv"), SD_ERR_DATA, "wide.tsv:3: ", "3 columns", "2 in the rows before", "tabs",
                   NULL);
    put("narrow.csv", "a,b\n\n\nc\n");
    expect_refused(read_all("narrow.csv"), SD_ERR_DATA, "narrow.csv:4: ", "1 column,", "commas", NULL);
    put("open.csv", "a,b\n\"c\nd,e\n");
    expect_refused(read_all("open.csv"), SD_ERR_DATA, "open.csv:2: ", "never closed", NULL);
    put("behind.csv", "a,b\n\"c\nd\"x,e\n");
    expect_refused(read_all("behind.csv"), SD_ERR_DATA, "behind.csv:3: ", "comma", NULL);
    put("latin1.tsv", "a\tb\nc\td\xe9\n");
    expect_refused(read_all("latin1.tsv"), SD_ERR_DATA, "latin1.tsv:2: byte 4 ", "0xe9", "UTF-8", NULL);
    put_bytes("zero.tsv", "a\tb\n\0\tc\n", 8);
    expect_refused(read_all("zero.tsv"), SD_ERR_DATA, "zero.tsv:2: byte 1 ", "0x00", NULL);
    char *large = malloc(10 << 20);
    memset(large, 'x', 10 << 20);
    memcpy(large, "a\tb\n1\t", 6);
    put_bytes("large.tsv", large, 10 << 20);
    free(large);
    expect_refused(read_all("large.tsv"), SD_ERR_DATA, "large.tsv:2: ", "10485754 bytes", NULL);
    char many[2 * SD_TABLE_MOST_COLUMNS + 2];
    memset(many, '\t', sizeof many);
    put_bytes("many.tsv", many, sizeof many);
    expect_refused(read_all("many.tsv"), SD_ERR_DATA, "many.tsv:1: ", "columns", NULL);
    expect_refused(read_all("none.tsv"), SD_ERR_NOINPUT, "none.tsv", NULL);
    end();
}
END_TEST

/* ---- columns and labels ---- */

static void expect_find_refused(const sd_data_spec *spec, sd_status code, const char *const *words) {
    sd_found *found;
    sd_error_clear();
    const sd_status status = sd_data_find(spec, &found);
    expect(status == code, "status %d, not %d: %s", (int)status, (int)code, sd_error_message());
    expect_words(sd_error_message(), words);
    ck_assert_ptr_null(found);
}
#define REFUSED(spec, code, ...) expect_find_refused(spec, code, (const char *const[]){__VA_ARGS__, NULL})

START_TEST(columns_are_found_by_name_or_number) {
    static const struct {
        const char *train, *text_columns, *label_column;
        int texts;
        bool pair;
    } rows[] = {{"sentence\tlabel\na\tx\nb\ty\n", "", "", 2, false},
                {"id\ttext\tclass\n1\ta\tx\n2\tb\ty\n", NULL, NULL, 2, false},
                {"sentence1\tsentence2\tlabels\na\tb\tx\nb\tc\ty\n", "", "", 2, true},
                {"title\tbody\tkind\na\tb\tx\nb\tc\ty\n", "title, body", "kind", 2, true},
                {"x\ta\tb\ny\tb\tc\n", "2,3", "1", 2, true},
                {"x\ta\ny\tb\n", "2", "1", 2, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(rows[i].train, rows[i].train);
        sd_data_spec spec = spec_of();
        sd_found *found;
        spec.text_columns = rows[i].text_columns;
        spec.label_column = rows[i].label_column;
        sd_dataset *dataset = opened(&spec, &found);
        ck_assert_int_eq((int)sd_dataset_images(dataset, SD_SPLIT_TRAIN), rows[i].texts);
        ck_assert_int_eq(sd_dataset_samples(dataset).classes, 2);
        ck_assert_str_eq(sd_dataset_class(dataset, 1), "y");
        ck_assert_int_eq(sd_dataset_text_lengths(dataset).longest, rows[i].pair ? 5 : 3);
        closed(dataset, found);
    }
}
END_TEST

START_TEST(columns_that_are_not_there_are_named) {
    sd_data_spec spec = spec_of();
    begin("a\tb\n1\t2\n", "a\tb\n1\t2\n");
    REFUSED(&spec, SD_ERR_CONFIG, "data.text_columns: ", "sentence", "'a', 'b'");
    spec.text_columns = "c";
    REFUSED(&spec, SD_ERR_DATA, "train.tsv:1: ", "'c'", "data.text_columns", "'a', 'b'");
    spec.text_columns = "1";
    REFUSED(&spec, SD_ERR_CONFIG, "data.label_column: ", "must be said");
    spec.label_column = "3";
    REFUSED(&spec, SD_ERR_DATA, "train.tsv:1: ", "no column 3", "has 2");
    spec.label_column = "b";
    REFUSED(&spec, SD_ERR_CONFIG, "data.label_column: ", "do not go together");
    spec.text_columns = "a";
    spec.label_column = "";
    REFUSED(&spec, SD_ERR_CONFIG, "data.label_column: ", "label, labels", "'a', 'b'");
    end();
    expect_ok(sd_text_columns_check("data.text_columns", "", 2));
    expect_ok(sd_text_columns_check("data.text_columns", "title , body", 2));
    expect_ok(sd_text_columns_check("data.text_columns", "2, 3", 2));
    expect_refused(sd_text_columns_check("data.text_columns", "a,b,c", 2), SD_ERR_CONFIG,
                   "data.text_columns: ", "more than 2", NULL);
    expect_refused(sd_text_columns_check("data.label_column", "a,b", 1), SD_ERR_CONFIG, "more than 1", NULL);
    expect_refused(sd_text_columns_check("data.text_columns", "a,", 2), SD_ERR_CONFIG, "empty", NULL);
    expect_refused(sd_text_columns_check("data.text_columns", "a,2", 2), SD_ERR_CONFIG, "a number", NULL);
    expect_refused(sd_text_columns_check("data.text_columns", "0", 2), SD_ERR_CONFIG, "from 1", NULL);
}
END_TEST

START_TEST(classes_are_in_the_order_of_numbers_or_bytes_or_a_list) {
    static const struct {
        const char *labels[4], *list, *names[3];
        int classes, class_of_first;
    } rows[] = {{{"10", "9", "-1", "9"}, NULL, {"-1", "9", "10"}, 3, 2},
                {{"10", "9", "x", "9"}, NULL, {"10", "9", "x"}, 3, 0},
                {{"b", "B", "a", "a"}, NULL, {"B", "a", "b"}, 3, 2},
                {{"b", "a", "a", "b"}, "b\na\nc\n", {"b", "a", "c"}, 3, 0},
                {{"1", "2", "3", "3"}, "world\nsport\ntrade\n", {"world", "sport", "trade"}, 3, 0},
                {{"1", "2", "0", "0"}, "world\nsport\ntrade", {"world", "sport", "trade"}, 3, 1},
                {{"b", "a", "a", "b"},
                 "\xef\xbb\xbf"
                 "b\r\na\r\n",
                 {"b", "a"},
                 2,
                 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char table[128];
        snprintf(table, sizeof table, "text\tlabel\na\t%s\nb\t%s\nc\t%s\nd\t%s\n", rows[i].labels[0], rows[i].labels[1],
                 rows[i].labels[2], rows[i].labels[3]);
        begin(table, table);
        if (rows[i].list)
            put("classes.txt", rows[i].list);
        sd_data_spec spec = spec_of();
        sd_found *found;
        sd_dataset *dataset = opened(&spec, &found);
        ck_assert_int_eq(sd_dataset_samples(dataset).classes, rows[i].classes);
        for (int c = 0; c < rows[i].classes; c++)
            ck_assert_str_eq(sd_dataset_class(dataset, c), rows[i].names[c]);
        sd_loader *loader;
        sd_batch batch;
        const sd_range all = {0, 4};
        expect_ok(sd_loader_create(dataset, 4, 1, &loader));
        sd_loader_begin(loader, &(sd_loader_pass){.split = SD_SPLIT_TRAIN, .ranges = &all, .n_batches = 1});
        expect_ok(sd_loader_next(loader, &batch));
        ck_assert_int_eq(batch.targets.labels[0], rows[i].class_of_first);
        sd_loader_end(loader);
        sd_loader_destroy(&loader);
        closed(dataset, found);
    }
}
END_TEST

START_TEST(labels_that_are_not_known_are_named_with_their_line) {
    sd_data_spec spec = spec_of();
    begin("text\tlabel\na\tx\nb\t\n", NULL);
    spec.validation = 1;
    REFUSED(&spec, SD_ERR_DATA, "train.tsv:3: ", "column 2, is empty");
    end();
    spec.validation = 0;
    begin("text\tlabel\na\tx\nb\ty\n", "text\tlabel\n\na\tx\nb\tz\n");
    REFUSED(&spec, SD_ERR_DATA, "dev.tsv:4: ", "'z'", "training texts");
    put("classes.txt", "x\nw\n");
    REFUSED(&spec, SD_ERR_DATA, "train.tsv:3: ", "'y'", "classes.txt");
    end();
}
END_TEST

START_TEST(a_list_of_classes_that_is_none_is_refused_with_its_line) {
    static const struct {
        const char *list;
        size_t bytes;
        const char *words[2];
    } rows[] = {
        {"x\n\ny\n", 5, {"classes.txt:2: ", "empty"}},        {"x\ny\n\n", 5, {"classes.txt:3: ", "empty"}},
        {"x\nz\ny\nz\n", 8, {"classes.txt:4: ", "line 2"}},   {"x\ny\0\n", 5, {"classes.txt:2: byte 2 ", "0x00"}},
        {"x\n\xff\n", 4, {"classes.txt:2: byte 1 ", "0xff"}}, {"", 0, {"classes.txt: ", "empty"}}};
    const char *const table = "text\tlabel\na\tx\nb\ty\n";
    sd_data_spec spec = spec_of();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(table, table);
        put_bytes("classes.txt", rows[i].list, rows[i].bytes);
        REFUSED(&spec, SD_ERR_DATA, rows[i].words[0], rows[i].words[1]);
        end();
    }
}
END_TEST

START_TEST(files_that_are_missing_or_there_twice_are_named) {
    sd_data_spec spec = spec_of();
    begin(NULL, NULL);
    REFUSED(&spec, SD_ERR_NOINPUT, "train.tsv or train.csv", "data.path");
    put("train.tsv", "text\tlabel\na\tx\n");
    REFUSED(&spec, SD_ERR_NOINPUT, "validation, valid, val, dev or test", "data.validation = N");
    put("train.csv", "text,label\na,x\n");
    REFUSED(&spec, SD_ERR_DATA, "both train.tsv and train.csv");
    end();
    begin("", "text\tlabel\na\tx\n");
    REFUSED(&spec, SD_ERR_DATA, "train.tsv: it is empty");
    put("train.tsv", "text\tlabel\n");
    REFUSED(&spec, SD_ERR_DATA, "train.tsv: there is no row");
    put("train.tsv", "text\tlabel\na\tx\n");
    put("vocab.txt", "[PAD]\n[CLS]\n[SEP]\na\n");
    REFUSED(&spec, SD_ERR_DATA, "vocab.txt", "[UNK]");
    spec.vocab = "/nowhere/vocab.txt";
    REFUSED(&spec, SD_ERR_NOINPUT, "/nowhere/vocab.txt");
    end();
    make_folder(root);
    put("train.tsv", "text\tlabel\na\tx\n");
    put("dev.tsv", "text\tlabel\na\tx\n");
    spec.vocab = "";
    REFUSED(&spec, SD_ERR_CONFIG, "data.vocab: ", "sdtrain vocab");
    end();
}
END_TEST

/* ---- batches ---- */

START_TEST(batches_hold_padded_ids_whatever_the_number_of_workers) {
    static const int32_t expected[3][8] = {{CLS, A, SEP, B, C, SEP, PAD, PAD},
                                           {CLS, D, MORE_D, SEP, A, A, A, SEP}, /* both are cut */
                                           {CLS, UNK, SEP, A, SEP, PAD, PAD, PAD}};
    static const int32_t lengths[] = {6, 8, 5}, seconds[] = {3, 4, 3}, labels[] = {0, 1, 0};
    begin("sentence1\tsentence2\tlabel\nA\tb c\tno\nddd\ta a a a\tyes\nzz\t\xc3\xa4\tno\n",
          "sentence1\tsentence2\tlabel\na\tb\tyes\n");
    sd_data_spec spec = spec_of();
    sd_found *found;
    sd_dataset *dataset = opened(&spec, &found);
    const sd_sample_spec samples = sd_dataset_samples(dataset);
    ck_assert(samples.sequence == 8 && samples.vocabulary == WORDS && samples.image_size == 0 && samples.classes == 2);
    ck_assert_uint_eq(sd_sample_elems(samples), 8);
    const uint32_t order[] = {2, 0, 1};
    const sd_range ranges[] = {{0, 2}, {2, 1}};
    for (int workers = 1; workers <= 3; workers++) {
        sd_loader *loader;
        expect_ok(sd_loader_create(dataset, 2, workers, &loader));
        sd_loader_begin(loader,
                        &(sd_loader_pass){.split = SD_SPLIT_TRAIN, .order = order, .ranges = ranges, .n_batches = 2});
        for (int at = 0, b = 0; b < 2; b++) {
            sd_batch batch;
            expect_ok(sd_loader_next(loader, &batch));
            ck_assert_int_eq(batch.images, (int)ranges[b].count);
            ck_assert_ptr_null(batch.input.pixels);
            for (int i = 0; i < batch.images; i++, at++) {
                ck_assert_mem_eq(batch.input.tokens + 8 * i, expected[order[at]], sizeof expected[0]);
                ck_assert_int_eq(batch.input.lengths[i], lengths[order[at]]);
                ck_assert_int_eq(batch.input.second[i], seconds[order[at]]);
                ck_assert_int_eq(batch.targets.labels[i], labels[order[at]]);
            }
        }
        sd_loader_end(loader);
        sd_loader_destroy(&loader);
    }
    const sd_text_lengths text_lengths = sd_dataset_text_lengths(dataset);
    ck_assert_int_eq(text_lengths.longest, 8);
    expect_number("mean", text_lengths.mean, 19.0 / 3, 1e-12);
    expect_number("full", text_lengths.full, 1.0 / 3, 1e-12);
    size_t bytes;
    bool lower_case;
    ck_assert_str_eq(sd_dataset_vocabulary(dataset, &bytes, &lower_case), VOCABULARY);
    ck_assert(bytes == sizeof VOCABULARY - 1 && lower_case);
    closed(dataset, found);
}
END_TEST

/* The hash is that of what a network reads, and of how it came about. */
START_TEST(other_texts_labels_or_vocabularies_have_another_hash) {
    static const struct {
        const char *train, *vocabulary;
        int sequence;
        bool cased;
    } rows[] = {{"text\tlabel\na\tx\nb\ty\n", NULL, 8, false},
                {"text\tlabel\na\tx\nc\ty\n", NULL, 8, false},
                {"text\tlabel\na\ty\nb\tx\n", NULL, 8, false},
                {"text\tlabel\na\tx\nb\tz\n", NULL, 8, false},
                {"text\tlabel\na\tx\nb\ty\n", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\ne\n", 8, false},
                {"text\tlabel\na\tx\nb\ty\n", NULL, 9, false},
                {"text\tlabel\na\tx\nb\ty\n", NULL, 8, true}};
    enum { ROWS = sizeof rows / sizeof rows[0] };
    uint64_t hash[ROWS];
    for (int i = 0; i < ROWS; i++) {
        begin(rows[i].train, "text\tlabel\na\tx\n");
        if (i == 3)
            put("dev.tsv", "text\tlabel\na\tz\n");
        if (rows[i].vocabulary)
            put("vocab.txt", rows[i].vocabulary);
        sd_data_spec spec = spec_of();
        sd_found *found;
        spec.sequence = rows[i].sequence;
        spec.lower_case = !rows[i].cased;
        sd_dataset *dataset = opened(&spec, &found);
        hash[i] = sd_dataset_hash(dataset);
        for (int j = 0; j < i; j++)
            expect(hash[i] != hash[j], "rows %d and %d have one hash", j, i);
        closed(dataset, found);
    }
}
END_TEST

/* What another rank gets is what it was, or refused: every byte of the header and of the ids counts. */
START_TEST(texts_of_another_rank_are_checked) {
    begin("text\tlabel\na\tx\nb c\ty\n", "text\tlabel\na\tx\n");
    sd_data_spec spec = spec_of();
    sd_found *found, *copy;
    const void *bytes;
    size_t n;
    expect_ok(sd_data_find(&spec, &found));
    sd_found_bytes(found, &bytes, &n);
    for (size_t cut = 0; cut <= n; cut++) {
        void *mine = malloc(n);
        memcpy(mine, bytes, n);
        const sd_status status = sd_found_of_bytes(mine, cut, &copy);
        ck_assert_int_eq(status, cut == n ? SD_OK : SD_ERR_DATA);
        if (status == SD_OK)
            sd_found_free(&copy);
        else
            free(mine);
    }
    for (size_t at = 0; at < n; at++) {
        unsigned char *mine = malloc(n);
        memcpy(mine, bytes, n);
        mine[at] ^= 0x80;
        if (sd_found_of_bytes(mine, n, &copy) == SD_OK) {
            spec.found = copy;
            sd_dataset *dataset;
            if (sd_dataset_open(&spec, &dataset) == SD_OK) {
                sd_text_lengths lengths = sd_dataset_text_lengths(dataset);
                ck_assert_int_le(lengths.longest, 8);
                ck_assert_ptr_nonnull(sd_dataset_class(dataset, 1));
            }
            sd_dataset_close(&dataset);
            sd_found_free(&copy);
        } else {
            free(mine);
        }
    }
    sd_found_free(&found);
    end();
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("text");
    tcase_add_test(cases, tables_are_cut_at_tabs_or_as_rfc_4180_says);
    tcase_add_test(cases, faults_of_a_table_are_named_with_their_line);
    tcase_add_test(cases, columns_are_found_by_name_or_number);
    tcase_add_test(cases, columns_that_are_not_there_are_named);
    tcase_add_test(cases, classes_are_in_the_order_of_numbers_or_bytes_or_a_list);
    tcase_add_test(cases, labels_that_are_not_known_are_named_with_their_line);
    tcase_add_test(cases, a_list_of_classes_that_is_none_is_refused_with_its_line);
    tcase_add_test(cases, files_that_are_missing_or_there_twice_are_named);
    tcase_add_test(cases, batches_hold_padded_ids_whatever_the_number_of_workers);
    tcase_add_test(cases, other_texts_labels_or_vocabularies_have_another_hash);
    tcase_add_test(cases, texts_of_another_rank_are_checked);
    return run_suite("text", cases);
}
