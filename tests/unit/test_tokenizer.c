/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain/tokenizer.h and sdtrain/vocabulary.h against transformers and tokenizers (golden/make_tokenizer.py). */
#include "../../src/data/piece.h"
#include "../../src/data/words.h"
#include "../golden/tokenizer_goldens.h"
#include "picture.h"

#define COUNT(table) (sizeof table / sizeof table[0])

static sd_tokenizer *new_tokenizer(const char *vocab, bool lower_case) {
    sd_tokenizer *tokenizer;
    expect_ok(sd_tokenizer_create(vocab, strlen(vocab), "vocab.txt", lower_case, &tokenizer));
    return tokenizer;
}

static char *repeated(const char *text, size_t bytes, int times) {
    char *all = malloc(bytes * (size_t)times + 1);
    for (int i = 0; i < times; i++)
        memcpy(all + bytes * (size_t)i, text, bytes);
    return all;
}

/* golden: the first ids, each behind a space. */
static void expect_ids(const char *text, const int32_t *ids, size_t n, const char *golden) {
    for (size_t i = 0; *golden && i < n; i++) {
        char *end;
        const long expected = strtol(golden, &end, 10);
        expect(ids[i] == expected, "'%s': id %zu is %d, not %ld", text, i, ids[i], expected);
        golden = end;
    }
}

START_TEST(texts_have_the_ids_of_transformers) {
    enum { ROOM = 10000 };
    static int32_t ids[ROOM];
    for (int lower_case = 0; lower_case < 2; lower_case++) {
        sd_tokenizer *tokenizer = new_tokenizer(golden_vocabulary, lower_case);
        for (size_t i = 0; i < COUNT(text_goldens); i++) {
            const struct text_golden *golden = &text_goldens[i];
            const size_t bytes = golden->bytes * (size_t)golden->times;
            char *text = repeated(golden->text, golden->bytes, golden->times);
            ck_assert(sd_utf8_check(text, bytes, NULL));
            const size_t n = sd_tokenize(tokenizer, text, bytes, ids, ROOM);
            expect(n == golden->n[lower_case], "'%s', lower case %d: %zu ids, not %zu", golden->text, lower_case, n,
                   golden->n[lower_case]);
            expect_ids(golden->text, ids, n, golden->ids[lower_case]);
            free(text);
        }
        sd_tokenizer_free(&tokenizer);
    }
}
END_TEST

START_TEST(less_room_gives_the_first_ids) {
    int32_t all[64], some[64];
    sd_tokenizer *tokenizer = new_tokenizer(golden_vocabulary, true);
    for (size_t i = 0; i < COUNT(text_goldens); i++) {
        const char *text = text_goldens[i].text;
        const size_t bytes = text_goldens[i].bytes, n = sd_tokenize(tokenizer, text, bytes, all, COUNT(all));
        for (size_t room = 0; room <= n; room++) {
            memset(some, 0x7f, sizeof some);
            ck_assert_uint_eq(sd_tokenize(tokenizer, text, bytes, some, room), room);
            expect_same_bits(text, some, all, room * sizeof *all);
            ck_assert_int_eq(some[room < COUNT(some) ? room : 0], room < COUNT(some) ? 0x7f7f7f7f : all[0]);
        }
    }
    sd_tokenizer_free(&tokenizer);
}
END_TEST

START_TEST(malformed_bytes_are_left_out) {
    int32_t ids[8], expected[8];
    sd_tokenizer *tokenizer = new_tokenizer(golden_vocabulary, true);
    const size_t n = sd_tokenize(tokenizer, "hello world", 11, expected, COUNT(expected));
    const char *const texts[] = {"hel\xfflo world", "\x80hello\xc3 world\xe2\x82", "hello\xed\xa0\x80 wor\xc0\xafld"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        ck_assert_uint_eq(sd_tokenize(tokenizer, texts[i], strlen(texts[i]), ids, COUNT(ids)), n);
        expect_same_bits(texts[i], ids, expected, n * sizeof *ids);
    }
    sd_tokenizer_free(&tokenizer);
}
END_TEST

START_TEST(characters_are_folded_and_split_as_in_tokenizers) {
    for (int lower_case = 0; lower_case < 2; lower_case++) {
        uint8_t *all = malloc(8 << 20), *end = all;
        for (size_t range = 0; range < COUNT(character_ranges); range++)
            for (uint32_t c = character_ranges[range][0]; c <= character_ranges[range][1]; c++) {
                char text[16];
                sd_words words;
                const size_t bytes = sd_piece_write((uint32_t[]){'a', c, 'a'}, 3, text);
                sd_words_begin(&words, text, bytes, lower_case);
                while (sd_words_next(&words)) {
                    end += sd_piece_write(words.chars, words.n, (char *)end);
                    *end++ = '\n';
                }
                *end++ = '\n';
            }
        ck_assert_uint_lt((size_t)(end - all), 8 << 20);
        ck_assert_uint_eq(crc32_of(all, (size_t)(end - all)), character_digest[lower_case]);
        free(all);
    }
}
END_TEST

/* ---- samples ---- */

START_TEST(samples_are_those_of_transformers) {
    sd_tokenizer *tokenizer = new_tokenizer(golden_vocabulary, true);
    for (size_t i = 0; i < COUNT(sample_goldens); i++) {
        const struct sample_golden *golden = &sample_goldens[i];
        int32_t ids[17], length, second;
        ids[golden->sequence] = -7;
        expect_ok(sd_tokenize_sample(tokenizer, golden->a, strlen(golden->a), golden->b,
                                     golden->b ? strlen(golden->b) : 0, golden->sequence, ids, &length, &second));
        expect(length == golden->length && second == golden->second, "sample %zu: length %d, second %d; not %d, %d", i,
               length, second, golden->length, golden->second);
        expect_ids(golden->a, ids, (size_t)golden->sequence, golden->ids);
        ck_assert_int_eq(ids[golden->sequence], -7);
    }
    sd_tokenizer_free(&tokenizer);
}
END_TEST

START_TEST(a_sequence_without_room_is_refused) {
    int32_t ids[3], length, second;
    sd_tokenizer *tokenizer = new_tokenizer(golden_vocabulary, true);
    expect_refused(sd_tokenize_sample(tokenizer, "a", 1, NULL, 0, 1, ids, &length, &second), SD_ERR_CONFIG,
                   "sequence of 1", "take 2", NULL);
    expect_refused(sd_tokenize_sample(tokenizer, "a", 1, "b", 1, 2, ids, &length, &second), SD_ERR_CONFIG, "take 3",
                   NULL);
    sd_tokenizer_free(&tokenizer);
}
END_TEST

/* ---- UTF-8 ---- */

START_TEST(the_first_byte_that_is_no_utf8_is_named) {
    static const struct {
        const char *text;
        size_t bytes, bad; /* bad == bytes: it is good */
    } cases[] = {
        {"", 0, 0},
        {"a\0b", 3, 3},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf", 13, 13},
        {"ab\x80", 3, 2},               /* nothing to go on with */
        {"ab\xc3", 3, 2},               /* cut */
        {"ab\xe2\x82", 4, 2},           /* cut */
        {"\xc3(", 2, 0},                /* not gone on with */
        {"a\xc0\xaf", 3, 1},            /* overlong */
        {"a\xe0\x80\xaf", 4, 1},        /* overlong */
        {"\xf0\x80\x80\xaf", 4, 0},     /* overlong */
        {"\xc3\xa9\xed\xa0\x80", 5, 2}, /* a surrogate */
        {"\xf4\x90\x80\x80", 4, 0},     /* beyond U+10FFFF */
        {"\xf8\x88\x80\x80\x80", 5, 0}, /* five bytes */
        {"a\xff", 2, 1},
        {"\xfe", 1, 0}, /* never */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t bad = cases[i].bytes;
        const bool good = sd_utf8_check(cases[i].text, cases[i].bytes, &bad);
        expect(good == (cases[i].bad == cases[i].bytes) && bad == cases[i].bad, "case %zu: %d, byte %zu", i, good, bad);
    }
}
END_TEST

/* ---- vocab.txt ---- */

START_TEST(a_vocabulary_is_read_line_by_line) {
    static const char *const texts[] = {"[UNK]\n[CLS]\n[SEP]\nab\n##b\n[PAD]\n", "[UNK]\n[CLS]\n[SEP]\nab\n##b\n[PAD]",
                                        "[UNK]\r\n[CLS]\r\n[SEP]\r\nab\r\n##b\r\n[PAD]\r\n"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        int32_t ids[4];
        sd_tokenizer *tokenizer = new_tokenizer(texts[i], false);
        const sd_special_tokens *special = sd_tokenizer_special(tokenizer);
        ck_assert_int_eq(sd_tokenizer_size(tokenizer), 6);
        ck_assert(special->unk == 0 && special->cls == 1 && special->sep == 2 && special->pad == 5);
        ck_assert_int_eq(special->mask, -1);
        ck_assert_uint_eq(sd_tokenize(tokenizer, "abb", 3, ids, 4), 2);
        ck_assert(ids[0] == 3 && ids[1] == 4);
        ck_assert_uint_eq(sd_tokenize(tokenizer, "[MASK]", 6, ids, 4), 3); /* no token, but three words */
        sd_tokenizer_free(&tokenizer);
        ck_assert_ptr_null(tokenizer);
    }
}
END_TEST

START_TEST(a_vocabulary_that_is_none_is_refused) {
    static const struct {
        const char *text, *words[3];
    } cases[] = {
        {"", {"vocab.txt:1:", "empty"}},
        {"\n", {"vocab.txt:1:", "empty"}},
        {"[PAD]\n[UNK]\n\n[CLS]\n[SEP]\n", {"vocab.txt:3:", "empty"}},
        {"[PAD]\r\n\r\n[UNK]\r\n", {"vocab.txt:2:", "empty"}},
        {"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##a\na\n", {"vocab.txt:7:", "'a'", "line 5"}},
        {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n##a\n##a\n", {"vocab.txt:6:", "'##a'", "line 5"}},
        {"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n\xc3(\n", {"vocab.txt:6:", "byte 1", "UTF-8"}},
        {"[UNK]\n[CLS]\n[SEP]\na\n", {"vocab.txt:4:", "[PAD]"}},
        {"[PAD]\n[unk]\n[CLS]\n[SEP]\n", {"vocab.txt:4:", "[UNK]"}},
        {"[PAD]\n[UNK]\n[SEP]\n", {"vocab.txt:3:", "[CLS]"}},
        {"[PAD]\n[UNK]\n[CLS]\n[SEP] \n", {"vocab.txt:4:", "[SEP]"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        sd_tokenizer *tokenizer = (sd_tokenizer *)&tokenizer;
        sd_error_clear();
        const sd_status status =
            sd_tokenizer_create(cases[i].text, strlen(cases[i].text), "vocab.txt", true, &tokenizer);
        expect(status == SD_ERR_DATA && !tokenizer, "case %zu: status %d", i, (int)status);
        for (int w = 0; w < 3 && cases[i].words[w]; w++)
            expect_words(sd_error_message(), (const char *const[]){cases[i].words[w], NULL});
    }
}
END_TEST

/* ---- vocabularies of one's own ---- */

static sd_vocabulary *new_vocabulary(const char *text, size_t bytes, bool lower_case) {
    sd_vocabulary *vocabulary;
    expect_ok(sd_vocabulary_create(lower_case, &vocabulary));
    expect_ok(sd_vocabulary_add(vocabulary, text, bytes));
    return vocabulary;
}

static char *vocabulary_of(const char *text, bool lower_case, int size, int alphabet, int *n) {
    char *made;
    sd_vocabulary *vocabulary = new_vocabulary(text, strlen(text), lower_case);
    expect_ok(sd_vocabulary_make(vocabulary, size, alphabet, &made, n));
    sd_vocabulary_free(&vocabulary);
    return made;
}

/* "ab" 3 times, "abc" twice, "xc" once: a##b counts 5, then ab##c 2; x##c once only. */
START_TEST(a_small_vocabulary_is_what_one_computes_by_hand) {
    int n;
    char *made = vocabulary_of("ab ab ab abc abc xc", true, 100, 1000, &n);
    ck_assert_str_eq(made, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nx\n##b\n##c\nab\nabc\n");
    ck_assert_int_eq(n, 13);
    free(made);
}
END_TEST

START_TEST(vocabularies_are_those_of_tokenizers) {
    for (size_t i = 0; i < COUNT(vocabulary_goldens); i++) {
        const struct vocabulary_golden *golden = &vocabulary_goldens[i];
        int n;
        char *made = vocabulary_of(golden->text, golden->lower_case, golden->size, golden->alphabet, &n);
        ck_assert_str_eq(made, golden->vocabulary);
        ck_assert_int_eq(n, golden->n);
        free(made);
    }
}
END_TEST

START_TEST(vocabularies_of_the_license_are_those_of_tokenizers) {
    size_t bytes;
    char *text = read_bytes(SD_LICENSE, &bytes);
    sd_vocabulary *vocabulary = new_vocabulary(text, bytes, true);
    for (size_t i = 0; i < COUNT(license_goldens); i++) {
        const struct license_golden *golden = &license_goldens[i];
        char *made;
        int n;
        expect_ok(sd_vocabulary_make(vocabulary, golden->size, SD_VOCABULARY_ALPHABET, &made, &n));
        ck_assert_int_eq(n, golden->n);
        const size_t made_bytes = strlen(made), last = strlen(golden->last);
        expect(!strncmp(made + made_bytes - last - 1, golden->last, last), "size %d ends otherwise", golden->size);
        ck_assert_uint_eq(crc32_of((const uint8_t *)made, made_bytes), golden->crc);
        free(made);
    }
    sd_vocabulary_free(&vocabulary);
    free(text);
}
END_TEST

/* Words come in the other order, and their places in hash tables are others. */
START_TEST(a_vocabulary_does_not_depend_on_the_order_of_texts) {
    size_t bytes, at;
    char *text = read_bytes(SD_LICENSE, &bytes), *forward, *backward;
    int n;
    sd_vocabulary *vocabulary = new_vocabulary(text, bytes, true), *other;
    expect_ok(sd_vocabulary_make(vocabulary, 500, 1000, &forward, &n));
    expect_ok(sd_vocabulary_create(true, &other));
    for (size_t end = bytes; end > 0; end = at) {
        for (at = end - 1; at > 0 && text[at] != ' ' && text[at] != '\n'; at--)
            continue;
        expect_ok(sd_vocabulary_add(other, text + at, end - at));
    }
    expect_ok(sd_vocabulary_make(other, 500, 1000, &backward, &n));
    ck_assert_str_eq(forward, backward);
    ck_assert_uint_eq(sd_vocabulary_words(vocabulary), sd_vocabulary_words(other));
    ck_assert_int_eq(sd_vocabulary_different_words(vocabulary), sd_vocabulary_different_words(other));
    sd_vocabulary_free(&vocabulary);
    sd_vocabulary_free(&other);
    free(forward);
    free(backward);
    free(text);
}
END_TEST

START_TEST(a_tokenizer_reads_what_is_made_and_knows_every_word) {
    size_t bytes;
    int n;
    char *text = read_bytes(SD_LICENSE, &bytes), *made;
    sd_vocabulary *vocabulary = new_vocabulary(text, bytes, true);
    expect_ok(sd_vocabulary_make(vocabulary, 300, 1000, &made, &n));
    sd_tokenizer *tokenizer = new_tokenizer(made, true);
    int32_t *ids = malloc(bytes * sizeof *ids);
    const size_t n_ids = sd_tokenize(tokenizer, text, bytes, ids, bytes);
    ck_assert_uint_gt(n_ids, sd_vocabulary_words(vocabulary));
    for (size_t i = 0; i < n_ids; i++)
        expect(ids[i] != sd_tokenizer_special(tokenizer)->unk, "id %zu is [UNK]", i);
    sd_tokenizer_free(&tokenizer);
    sd_vocabulary_free(&vocabulary);
    free(ids);
    free(made);
    free(text);
}
END_TEST

START_TEST(words_of_more_than_100_characters_are_not_counted) {
    char text[203];
    memset(text, 'q', sizeof text);
    text[100] = ' ';
    text[202] = '\0';
    sd_vocabulary *vocabulary = new_vocabulary(text, strlen(text), true);
    ck_assert_uint_eq(sd_vocabulary_words(vocabulary), 1);
    sd_vocabulary_free(&vocabulary);
}
END_TEST

START_TEST(a_vocabulary_that_cannot_be_made_is_refused) {
    char *made = (char *)&made;
    int n;
    sd_vocabulary *vocabulary = new_vocabulary(" \t\n", 3, true);
    expect_refused(sd_vocabulary_make(vocabulary, 100, 1000, &made, &n), SD_ERR_DATA, "no words", NULL);
    ck_assert_ptr_null(made);
    expect_ok(sd_vocabulary_add(vocabulary, "abc", 3));
    expect_refused(sd_vocabulary_make(vocabulary, 9, 1000, &made, &n), SD_ERR_CONFIG, "of 9 ", "are 10", NULL);
    ck_assert_ptr_null(made);
    expect_ok(sd_vocabulary_make(vocabulary, 10, 1000, &made, &n));
    ck_assert_str_eq(made, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##b\n##c\n");
    free(made);
    sd_vocabulary_free(&vocabulary);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("tokenizer");
    tcase_add_test(cases, texts_have_the_ids_of_transformers);
    tcase_add_test(cases, less_room_gives_the_first_ids);
    tcase_add_test(cases, malformed_bytes_are_left_out);
    tcase_add_test(cases, characters_are_folded_and_split_as_in_tokenizers);
    tcase_add_test(cases, samples_are_those_of_transformers);
    tcase_add_test(cases, a_sequence_without_room_is_refused);
    tcase_add_test(cases, the_first_byte_that_is_no_utf8_is_named);
    tcase_add_test(cases, a_vocabulary_is_read_line_by_line);
    tcase_add_test(cases, a_vocabulary_that_is_none_is_refused);
    tcase_add_test(cases, a_small_vocabulary_is_what_one_computes_by_hand);
    tcase_add_test(cases, vocabularies_are_those_of_tokenizers);
    tcase_add_test(cases, vocabularies_of_the_license_are_those_of_tokenizers);
    tcase_add_test(cases, a_vocabulary_does_not_depend_on_the_order_of_texts);
    tcase_add_test(cases, a_tokenizer_reads_what_is_made_and_knows_every_word);
    tcase_add_test(cases, words_of_more_than_100_characters_are_not_counted);
    tcase_add_test(cases, a_vocabulary_that_cannot_be_made_is_refused);
    return run_suite("tokenizer", cases);
}
