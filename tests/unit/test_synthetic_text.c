/* SPDX-License-Identifier: Apache-2.0 */
/* data/synthetic_text.c: what the texts say, and that nothing but their value tells their class; the loader's batches
 * of texts. */
#include "../support.h"

enum { TEXTS = 3000, MOST_IDS = 512, OPEN = 5, CLOSE, AND, OR, NOT, VALUE, VOCABULARY = VALUE + 10 };

static sd_data_spec spec_of(int sequence, int classes) {
    return (sd_data_spec){.kind = SD_DATASET_SYNTHETIC_TEXT,
                          .path = "",
                          .sequence = sequence,
                          .classes = classes,
                          .lower_case = true,
                          .train_samples = TEXTS,
                          .val_samples = 100};
}

static sd_dataset *opened(sd_data_spec spec) {
    sd_dataset *dataset;
    expect_ok(sd_dataset_open(&spec, &dataset));
    return dataset;
}

/* ---- reading ids by the rules of the language, as said in synthetic_text.c ---- */

typedef struct reader {
    const int32_t *ids;
    int at, classes;
} reader;

typedef struct meaning {
    int value, depth;
} meaning;

static meaning read_meaning(reader *r) {
    const int32_t id = r->ids[r->at++];
    if (id == NOT) {
        const meaning x = read_meaning(r);
        return (meaning){r->classes - 1 - x.value, x.depth + 1};
    }
    if (id != OPEN) {
        expect(id >= VALUE && id < VALUE + r->classes, "id %d is no value", (int)id);
        return (meaning){id - VALUE, 0};
    }
    const meaning x = read_meaning(r);
    const int32_t word = r->ids[r->at++];
    const meaning y = read_meaning(r);
    expect(word == AND || word == OR, "id %d stands between two operands", (int)word);
    expect(r->ids[r->at++] == CLOSE, "a bracket is not closed");
    return (meaning){(word == AND) == (x.value < y.value) ? x.value : y.value,
                     1 + (x.depth > y.depth ? x.depth : y.depth)};
}

/* One batch of all texts of a split. */
typedef struct all_texts {
    sd_dataset *dataset;
    sd_loader *loader;
    sd_batch batch;
} all_texts;

static all_texts load(sd_data_spec spec, sd_split split) {
    all_texts all = {.dataset = opened(spec)};
    const uint32_t n = sd_dataset_images(all.dataset, split);
    const sd_range range = {0, n};
    const sd_loader_pass pass = {.split = split, .ranges = &range, .n_batches = 1};
    expect_ok(sd_loader_create(all.dataset, (int)n, 1, &all.loader));
    sd_loader_begin(all.loader, &pass);
    expect_ok(sd_loader_next(all.loader, &all.batch));
    ck_assert_int_eq(all.batch.images, (int)n);
    return all;
}

static void unload(all_texts *all) {
    sd_loader_end(all->loader);
    sd_loader_destroy(&all->loader);
    sd_dataset_close(&all->dataset);
}

static meaning meaning_of(const all_texts *all, int i, int sequence, int classes) {
    const int32_t *ids = all->batch.input.tokens + (size_t)i * (size_t)sequence, length = all->batch.input.lengths[i];
    reader r = {.ids = ids, .at = 1, .classes = classes};
    expect(length >= 3 && length <= sequence, "text %d has %d ids", i, (int)length);
    expect(ids[0] == 2 && ids[length - 1] == 3, "text %d does not stand between [CLS] and [SEP]", i);
    const meaning meaning = read_meaning(&r);
    expect(r.at == length - 1, "text %d: what is read ends at %d of %d", i, r.at, (int)length);
    for (int t = length; t < sequence; t++)
        expect(ids[t] == 0, "text %d: id %d, behind it, is no padding", i, t);
    return meaning;
}

START_TEST(a_label_is_the_value_of_its_text) {
    static const struct {
        int sequence, depth;
    } rows[] = {{8, 1}, {14, 1}, {15, 2}, {31, 3}, {62, 3}, {63, 4}, {128, 5}, {512, 7}};
    static const int classes[] = {2, 3, 10};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (int c = 0; c < 3; c++) {
            all_texts all = load(spec_of(rows[r].sequence, classes[c]), SD_SPLIT_TRAIN);
            int deepest = 0;
            ck_assert_ptr_null(all.batch.input.pixels);
            for (int i = 0; i < TEXTS; i++) {
                const meaning meaning = meaning_of(&all, i, rows[r].sequence, classes[c]);
                expect(all.batch.targets.labels[i] == meaning.value, "text %d: label %d, value %d", i,
                       (int)all.batch.targets.labels[i], meaning.value);
                expect(all.batch.input.second[i] == all.batch.input.lengths[i], "text %d is a pair", i);
                expect(meaning.depth >= 1 && meaning.depth <= rows[r].depth, "text %d is nested %d deep", i,
                       meaning.depth);
                deepest = meaning.depth > deepest ? meaning.depth : deepest;
            }
            ck_assert_int_eq(deepest, rows[r].depth);
            unload(&all);
        }
}
END_TEST

/* Given the depth, the outermost word, or both, every value is as likely as any other. */
START_TEST(neither_depth_nor_outermost_word_tells_the_class) {
    static const int classes[] = {2, 5};
    for (int c = 0; c < 2; c++) {
        all_texts all = load(spec_of(128, classes[c]), SD_SPLIT_TRAIN);
        int count[6][3][10] = {0}; /* [depth][outermost word: not, and, or][value] */
        for (int i = 0; i < TEXTS; i++) {
            const int32_t *ids = all.batch.input.tokens + (size_t)i * 128;
            const meaning meaning = meaning_of(&all, i, 128, classes[c]);
            int outermost = 0;
            if (ids[1] == OPEN) {
                reader r = {.ids = ids, .at = 2, .classes = classes[c]};
                read_meaning(&r);
                outermost = ids[r.at] == AND ? 1 : 2;
            }
            count[meaning.depth][outermost][meaning.value]++;
        }
        for (int depth = 1; depth <= 5; depth++)
            for (int word = 0; word < 3; word++) {
                int n = 0;
                for (int v = 0; v < classes[c]; v++)
                    n += count[depth][word][v];
                const double p = 1.0 / classes[c];
                expect(n > 60, "only %d texts of depth %d have outermost word %d", n, depth, word);
                for (int v = 0; v < classes[c]; v++)
                    expect_number("texts of a value", count[depth][word][v], n * p, 5 * sqrt(n * p * (1 - p)));
            }
        unload(&all);
    }
}
END_TEST

START_TEST(texts_are_the_same_every_time_and_on_any_number_of_workers) {
    sd_data_spec more = spec_of(64, 2);
    more.train_samples = TEXTS + 500;
    more.val_samples = 200;
    for (int split = 0; split < 2; split++) {
        const int n = split ? 100 : TEXTS;
        all_texts a = load(spec_of(64, 2), (sd_split)split), b = load(more, (sd_split)split);
        expect_same_bits("ids", a.batch.input.tokens, b.batch.input.tokens, (size_t)n * 64 * sizeof(int32_t));
        expect_same_bits("lengths", a.batch.input.lengths, b.batch.input.lengths, (size_t)n * sizeof(int32_t));
        expect_same_bits("labels", a.batch.targets.labels, b.batch.targets.labels, (size_t)n * sizeof(int32_t));
        ck_assert_uint_eq(sd_dataset_hash(a.dataset), sd_dataset_hash(b.dataset));
        unload(&b);

        uint32_t order[100];
        sd_range ranges[8];
        sd_random_permutation(1, SD_STREAM_ORDER, 1, order, 100);
        for (int i = 0; i < 8; i++)
            ranges[i] = sd_range_share(100, i, 8);
        const sd_loader_pass pass = {.split = (sd_split)split, .order = order, .ranges = ranges, .n_batches = 8};
        for (int workers = 1; workers < 5; workers++) {
            sd_loader *loader;
            expect_ok(sd_loader_create(a.dataset, 13, workers, &loader));
            sd_loader_begin(loader, &pass);
            for (int i = 0; i < 8; i++) {
                sd_batch batch;
                expect_ok(sd_loader_next(loader, &batch));
                ck_assert_int_eq(batch.images, (int)ranges[i].count);
                for (int k = 0; k < batch.images; k++) {
                    const uint32_t index = order[ranges[i].first + (uint64_t)k];
                    expect_same_bits("ids of a batch", batch.input.tokens + k * 64,
                                     a.batch.input.tokens + (size_t)index * 64, 64 * sizeof(int32_t));
                    ck_assert_int_eq(batch.input.lengths[k], a.batch.input.lengths[index]);
                    ck_assert_int_eq(batch.targets.labels[k], a.batch.targets.labels[index]);
                }
            }
            sd_loader_end(loader);
            sd_loader_destroy(&loader);
        }
        unload(&a);
    }
    all_texts train = load(spec_of(512, 2), SD_SPLIT_TRAIN), validation = load(spec_of(512, 2), SD_SPLIT_VALIDATION);
    int same = 0, deep = 0;
    for (int i = 0; i < 100; i++) { /* shallow ones may come again, deep ones do not */
        deep += validation.batch.input.lengths[i] > 60;
        for (int j = 0; j < TEXTS && validation.batch.input.lengths[i] > 60; j++)
            same += !memcmp(validation.batch.input.tokens + i * 512, train.batch.input.tokens + j * 512,
                            512 * sizeof(int32_t));
    }
    ck_assert_int_gt(deep, 10);
    ck_assert_int_eq(same, 0);
    unload(&train);
    unload(&validation);
}
END_TEST

START_TEST(a_tokenizer_of_the_vocabulary_makes_the_same_ids_of_the_words) {
    all_texts all = load(spec_of(128, 10), SD_SPLIT_TRAIN);
    size_t bytes;
    bool lower_case;
    const char *vocabulary = sd_dataset_vocabulary(all.dataset, &bytes, &lower_case), *word[VOCABULARY];
    ck_assert(lower_case);
    ck_assert_int_eq(sd_dataset_samples(all.dataset).vocabulary, VOCABULARY);
    sd_tokenizer *tokenizer;
    expect_ok(sd_tokenizer_create(vocabulary, bytes, "vocab.txt", lower_case, &tokenizer));
    ck_assert_int_eq(sd_tokenizer_size(tokenizer), VOCABULARY);
    word[0] = vocabulary;
    for (int id = 1; id < VOCABULARY; id++)
        word[id] = strchr(word[id - 1], '\n') + 1;
    for (int i = 0; i < TEXTS; i++) {
        const int32_t *ids = all.batch.input.tokens + i * 128, n = all.batch.input.lengths[i];
        char text[128 * 4 + 1] = "";
        int32_t again[128], length, second;
        for (int t = 1; t < n - 1; t++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s ", (int)strcspn(word[ids[t]], "\n"),
                     word[ids[t]]);
        expect_ok(sd_tokenize_sample(tokenizer, text, strlen(text), NULL, 0, 128, again, &length, &second));
        expect_same_bits(text, ids, again, sizeof again);
        ck_assert_int_eq(length, n);
        ck_assert_int_eq(second, n);
    }
    for (int class = 0; class < 10; class ++) /* a class is called as its word */
        ck_assert_int_eq(sd_dataset_class(all.dataset, class)[0], word[VALUE + class][0]);
    sd_tokenizer_free(&tokenizer);
    unload(&all);
}
END_TEST

START_TEST(what_changes_the_texts_changes_their_hash) {
    sd_dataset *a = opened(spec_of(64, 2)), *longer = opened(spec_of(65, 2)), *classes = opened(spec_of(64, 3));
    ck_assert_uint_ne(sd_dataset_hash(a), sd_dataset_hash(longer));
    ck_assert_uint_ne(sd_dataset_hash(a), sd_dataset_hash(classes));
    ck_assert_uint_eq(sd_sample_elems(sd_dataset_samples(longer)), 65);
    sd_dataset_close(&a);
    sd_dataset_close(&longer);
    sd_dataset_close(&classes);
}
END_TEST

START_TEST(held_out_texts_are_further_ones) {
    sd_data_spec spec = spec_of(64, 2);
    spec.validation = 40;
    spec.seed = 3;
    spec.val_samples = 0;
    sd_dataset *dataset = opened(spec);
    ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_TRAIN), TEXTS);
    ck_assert_uint_eq(sd_dataset_images(dataset, SD_SPLIT_VALIDATION), 40);
    sd_dataset_close(&dataset);
}
END_TEST

START_TEST(impossible_texts_are_refused) {
    sd_dataset *dataset = NULL;
    sd_data_spec spec = spec_of(64, 11);
    expect_refused(sd_dataset_open(&spec, &dataset), SD_ERR_CONFIG, "model.classes", "2 to 10", "11", NULL);
    spec = spec_of(64, 1);
    expect_refused(sd_dataset_open(&spec, &dataset), SD_ERR_CONFIG, "model.classes", "not 1", NULL);
    spec = spec_of(7, 2);
    expect_refused(sd_dataset_open(&spec, &dataset), SD_ERR_CONFIG, "data.sequence", "at least 8", NULL);
    spec = spec_of(8, 2);
    spec.train_samples = (int64_t)1 << 31;
    expect_refused(sd_dataset_open(&spec, &dataset), SD_ERR_CONFIG, "data.train_samples", NULL);
    spec = spec_of(8, 2);
    spec.val_samples = (int64_t)1 << 31;
    expect_refused(sd_dataset_open(&spec, &dataset), SD_ERR_CONFIG, "data.val_samples", NULL);
    ck_assert_ptr_null(dataset);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("synthetic_text");
    tcase_add_test(cases, a_label_is_the_value_of_its_text);
    tcase_add_test(cases, neither_depth_nor_outermost_word_tells_the_class);
    tcase_add_test(cases, texts_are_the_same_every_time_and_on_any_number_of_workers);
    tcase_add_test(cases, a_tokenizer_of_the_vocabulary_makes_the_same_ids_of_the_words);
    tcase_add_test(cases, what_changes_the_texts_changes_their_hash);
    tcase_add_test(cases, held_out_texts_are_further_ones);
    tcase_add_test(cases, impossible_texts_are_refused);
    return run_suite("synthetic_text", cases);
}
