/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint/safetensors: files of the safetensors library are read to the bit and written to the byte, and whatever
 * breaks the format is refused with its place. */
#include <stdint.h>

#include "../support.h"

enum { LENGTH_BYTES = 8 };
static const char odd_name[] = "a \"quoted\\ name\n\x01\x7f/\xc3\xa9\xf0\x9f\x98\x80";

/* A file in a folder of its own. */
typedef struct place {
    char folder[SUPPORT_PATH_BYTES], path[PATH_BYTES];
} place;

static place new_place(void) {
    place p;
    make_folder(p.folder);
    path_in(p.folder, "model.safetensors", p.path);
    return p;
}

/* Writes a file of this header, whose length it is said to have, before data. */
static void write_file_said(const char *path, uint64_t said, const void *header, size_t header_bytes, const void *data,
                            size_t data_bytes) {
    unsigned char *file = calloc(LENGTH_BYTES + header_bytes + data_bytes + 1, 1);
    for (int i = 0; i < LENGTH_BYTES; i++)
        file[i] = (unsigned char)(said >> 8 * i);
    memcpy(file + LENGTH_BYTES, header, header_bytes);
    memcpy(file + LENGTH_BYTES + header_bytes, data, data_bytes);
    write_bytes(path, file, LENGTH_BYTES + header_bytes + data_bytes);
    free(file);
}

static void write_file(const char *path, const char *header, const void *data, size_t data_bytes) {
    write_file_said(path, strlen(header), header, strlen(header), data, data_bytes);
}

static const sd_weight *find(const sd_weights *weights, const char *name) {
    const sd_weight *weight = sd_weights_find(weights, name);
    expect(weight != NULL, "there is no tensor %s", name);
    return weight;
}

/* ---- the library's files ---- */

static void expect_bits(const sd_weights *weights, const char *name, sd_dtype dtype, size_t n, const uint32_t *bits) {
    const sd_weight *weight = find(weights, name);
    ck_assert_int_eq(weight->dtype, dtype);
    ck_assert_uint_eq(weight->elems, n);
    ck_assert_ptr_nonnull(weight->values);
    ck_assert_ptr_null(weight->integers);
    for (size_t i = 0; i < n; i++)
        expect(bits_of(weight->values[i]) == bits[i], "%s: value %zu is %08x, not %08x", name, i,
               bits_of(weight->values[i]), bits[i]);
}

static void expect_integers(const sd_weights *weights, const char *name, sd_dtype dtype, size_t n, const int64_t *x) {
    const sd_weight *weight = find(weights, name);
    ck_assert_int_eq(weight->dtype, dtype);
    ck_assert_uint_eq(weight->elems, n);
    ck_assert_ptr_nonnull(weight->integers);
    ck_assert_ptr_null(weight->values);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(weight->integers[i], x[i]);
}

static void expect_no_values(const sd_weights *weights, const char *name, sd_dtype dtype, size_t n) {
    const sd_weight *weight = find(weights, name);
    ck_assert_int_eq(weight->dtype, dtype);
    ck_assert_uint_eq(weight->elems, n);
    ck_assert_ptr_null(weight->values);
    ck_assert_ptr_null(weight->integers);
}

static void expect_shape(const sd_weights *weights, const char *name, int dims, const size_t *shape) {
    const sd_weight *weight = find(weights, name);
    ck_assert_int_eq(weight->dims, dims);
    for (int i = 0; i < dims; i++)
        ck_assert_uint_eq(weight->shape[i], shape[i]);
}

START_TEST(every_dtype_is_read_as_the_library_wrote_it) {
    sd_weights w;
    expect_ok(sd_safetensors_read(SD_GOLDEN_DIR "/dtypes.safetensors", &w));
    ck_assert_int_eq(w.n, 17);
    for (int i = 1; i < w.n; i++)
        ck_assert_str_lt(w.weight[i - 1].name, w.weight[i].name);
    ck_assert_str_eq(w.digest, "c02872c6c1e3d227baa592f904c82339"); /* make_safetensors.py prints it */
    expect_bits(&w, "f64", SD_DTYPE_F64, 5, (uint32_t[]){0x3eaaaaab, 0x7f800000, 0x3f800000, 1, 0});
    expect_bits(&w, "f32", SD_DTYPE_F32, 7,
                (uint32_t[]){0x3f800000, 0x80000000, 1, 0x7f7fffff, 0xff800000, 0x7fc12345, 0xffa00001});
    expect_bits(&w, "f16", SD_DTYPE_F16, 4, (uint32_t[]){0x3f800000, 0xb3800000, 0x7f800000, 0x7fc02000});
    expect_bits(&w, "bf16", SD_DTYPE_BF16, 3, (uint32_t[]){0x3f800000, 0x80010000, 0x7fc10000});
    expect_bits(&w, "scalar", SD_DTYPE_F32, 1, (uint32_t[]){0x40490fdb});
    expect_bits(&w, "empty", SD_DTYPE_F32, 0, NULL);
    expect_integers(&w, "bool", SD_DTYPE_BOOL, 3, (int64_t[]){0, 1, 1});
    expect_integers(&w, "i8", SD_DTYPE_I8, 2, (int64_t[]){-128, 127});
    expect_integers(&w, "u8", SD_DTYPE_U8, 3, (int64_t[]){0, 128, 255});
    expect_integers(&w, "i16", SD_DTYPE_I16, 2, (int64_t[]){-32768, 32767});
    expect_integers(&w, "u16", SD_DTYPE_U16, 1, (int64_t[]){65535});
    expect_integers(&w, "i32", SD_DTYPE_I32, 2, (int64_t[]){INT32_MIN, INT32_MAX});
    expect_integers(&w, "u32", SD_DTYPE_U32, 1, (int64_t[]){UINT32_MAX});
    expect_integers(&w, "i64", SD_DTYPE_I64, 2, (int64_t[]){INT64_MIN, INT64_MAX});
    expect_integers(&w, odd_name, SD_DTYPE_U8, 1, (int64_t[]){7});
    expect_no_values(&w, "u64", SD_DTYPE_U64, 1);
    expect_no_values(&w, "f8", SD_DTYPE_F8_E4M3, 3);
    expect_shape(&w, "scalar", 0, NULL);
    expect_shape(&w, "f32", 2, (size_t[]){1, 7});
    expect_shape(&w, "empty", 3, (size_t[]){3, 0, 2});
    ck_assert_int_eq(w.n_metadata, 1);
    ck_assert_str_eq(sd_weights_metadata(&w, "key\t\x1f"), "a \"value\" \xc3\xa9");
    ck_assert_ptr_null(sd_weights_metadata(&w, "format"));
    ck_assert_ptr_null(sd_weights_find(&w, "f3"));
    ck_assert_ptr_null(sd_weights_find(&w, "__metadata__"));
    sd_weights_free(&w);
    ck_assert_ptr_null(sd_weights_find(&w, "f32"));
    ck_assert_ptr_null(sd_weights_metadata(&w, "format"));
}
END_TEST

/* The tensors of make_safetensors.py's export.safetensors, in another order. */
START_TEST(a_file_is_written_to_the_byte_as_the_library_does) {
    const uint32_t bits[] = {0x3f800000, 0x80000000, 1, 0x7f7fffff, 0x7fc12345, 0xffa00001, 0x40490fdb, 0xc0000000};
    const int64_t counted = ((int64_t)1 << 53) + 1;
    float values[8];
    memcpy(values, bits, sizeof values);
    sd_weight weight[] = {{.name = "none", .dims = 2, .shape = {0, 4}, .values = values},
                          {.name = odd_name, .dims = 1, .shape = {1}, .elems = 1, .values = &values[7]},
                          {.name = "layer.weight", .dims = 2, .shape = {2, 3}, .elems = 6, .values = values},
                          {.name = "layer.bias", .elems = 1, .values = &values[6]},
                          {.name = "bn.num_batches_tracked", .elems = 1, .integers = &counted}};
    const sd_weights weights = {.n = 5, .weight = weight};
    place p = new_place();
    size_t n, n_golden;
    expect_ok(sd_safetensors_write(p.path, &weights, (const char *const[]){"format", "pt", NULL}));
    char *ours = read_bytes(p.path, &n), *golden = read_bytes(SD_GOLDEN_DIR "/export.safetensors", &n_golden);
    ck_assert_uint_eq(n, n_golden);
    expect_same_bits("the file", ours, golden, n);
    free(ours);

    /* And what is read from it is written again as the same bytes. */
    sd_weights read;
    expect_ok(sd_safetensors_read(p.path, &read));
    ck_assert_str_eq(read.digest, "0032e2d482dd082e1117e3533d612b83");
    ck_assert_str_eq(sd_weights_metadata(&read, "format"), "pt");
    expect_ok(sd_safetensors_write(p.path, &read, (const char *const[]){"format", "pt", NULL}));
    ours = read_bytes(p.path, &n);
    ck_assert_uint_eq(n, n_golden);
    expect_same_bits("the file again", ours, golden, n);
    free(ours);
    free(golden);
    sd_weights_free(&read);
    remove_folder(p.folder);
}
END_TEST

START_TEST(a_file_may_have_no_tensors) {
    static const unsigned char empty[] = {8, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ', ' ', ' ', ' ', ' '};
    place p = new_place();
    sd_weights w = {0};
    size_t n;
    expect_ok(sd_safetensors_write(p.path, &w, NULL));
    char *bytes = read_bytes(p.path, &n);
    ck_assert_uint_eq(n, sizeof empty);
    expect_same_bits("the file", bytes, empty, n);
    free(bytes);
    expect_ok(sd_safetensors_read(p.path, &w));
    ck_assert_int_eq(w.n, 0);
    ck_assert_int_eq(w.n_metadata, 0);
    sd_weights_free(&w);
    remove_folder(p.folder);
}
END_TEST

START_TEST(metadata_are_written_in_their_order_and_read_by_key) {
    place p = new_place();
    sd_weights w = {0};
    expect_ok(sd_safetensors_write(p.path, &w, (const char *const[]){"z", "1\"\n\x1f", "", "", "a", "2", NULL}));
    expect_ok(sd_safetensors_read(p.path, &w));
    ck_assert_int_eq(w.n_metadata, 3);
    ck_assert_str_eq(sd_weights_metadata(&w, "z"), "1\"\n\x1f");
    ck_assert_str_eq(sd_weights_metadata(&w, ""), "");
    ck_assert_str_eq(sd_weights_metadata(&w, "a"), "2");
    sd_weights_free(&w);
    size_t n;
    char *bytes = read_bytes(p.path, &n);
    ck_assert_str_eq(bytes + LENGTH_BYTES,
                     "{\"__metadata__\":{\"z\":\"1\\\"\\n\\u001f\",\"\":\"\",\"a\":\"2\"}}      ");
    free(bytes);
    remove_folder(p.folder);
}
END_TEST

/* ---- values ---- */

/* A file of all 65,536 values of a 16-bit dtype, read. */
static sd_weights all_of(const place *p, const char *dtype) {
    static unsigned char data[2 << 16];
    char header[128];
    sd_weights w;
    for (unsigned i = 0; i < 1u << 16; i++) {
        data[2 * i] = (unsigned char)i;
        data[2 * i + 1] = (unsigned char)(i >> 8);
    }
    snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[65536],\"data_offsets\":[0,131072]}}", dtype);
    write_file(p->path, header, data, sizeof data);
    expect_ok(sd_safetensors_read(p->path, &w));
    return w;
}

/* (-1)^s 2^(e - bias) (1 + f / 2^fraction_bits), or 2^(1 - bias) f / 2^fraction_bits where e = 0, in double: exact. */
static double value_of_bits(unsigned bits, int fraction_bits) {
    const int exponent_bits = 15 - fraction_bits, bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    const double fraction = (double)(bits & ((1u << fraction_bits) - 1)) / (1 << fraction_bits);
    const double size = exponent == (1 << exponent_bits) - 1 ? (fraction > 0 ? (double)NAN : INFINITY)
                        : exponent > 0                       ? ldexp(1 + fraction, exponent - bias)
                                                             : ldexp(fraction, 1 - bias);
    return bits >> 15 ? -size : size;
}

static void expect_all(const char *dtype, int fraction_bits) {
    place p = new_place();
    sd_weights w = all_of(&p, dtype);
    const float *values = find(&w, "x")->values;
    for (unsigned i = 0; i < 1u << 16; i++) {
        const double expected = value_of_bits(i, fraction_bits);
        const uint32_t bits = bits_of(values[i]);
        if (isnan(expected)) /* sign, and the payload at the same end */
            expect(isnan(values[i]) && bits >> 31 == i >> 15 &&
                       (bits & 0x7fffff) == (i & ((1u << fraction_bits) - 1)) << (23 - fraction_bits),
                   "%s %04x is %08x", dtype, i, bits);
        else
            expect((double)values[i] == expected && !signbit(values[i]) == !signbit(expected),
                   "%s %04x is %.9g, not %.9g", dtype, i, (double)values[i], expected);
    }
    sd_weights_free(&w);
    remove_folder(p.folder);
}

START_TEST(every_f16_is_its_value) { expect_all("F16", 10); }
END_TEST

START_TEST(every_bf16_is_its_value) { expect_all("BF16", 7); }
END_TEST

/* NaNs of all kinds, denormals and the rest, more than the reader holds at a time, at an odd place in the file. */
START_TEST(every_bit_of_f32_survives) {
    enum { N = 700001 };
    place p = new_place();
    char header[256];
    uint32_t *bits = malloc(N * sizeof *bits);
    unsigned char *data = malloc(1 + 4 * (size_t)N);
    data[0] = 3;
    for (uint32_t i = 0; i < N; i++) {
        bits[i] = sd_random_at(SUPPORT_SEED, 1, i, 0).word[0];
        if (i % 3 == 0)
            bits[i] = (bits[i] & 0x807fffff) | (i % 2 ? 0x7f800000 : 0); /* NaNs, denormals */
        for (int b = 0; b < 4; b++)
            data[1 + 4 * (size_t)i + (size_t)b] = (unsigned char)(bits[i] >> 8 * b);
    }
    snprintf(header, sizeof header,
             "{\"x\":{\"data_offsets\":[1,%d],\"shape\":[%d],\"dtype\":\"F32\"},"
             "\"y\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
             1 + 4 * N, N);
    write_file(p.path, header, data, 1 + 4 * (size_t)N);
    sd_weights w;
    for (int again = 0; again < 2; again++) { /* then what we have written of it */
        expect_ok(sd_safetensors_read(p.path, &w));
        ck_assert_uint_eq((uintptr_t)w.weight % _Alignof(sd_weight), 0); /* N is odd */
        expect_bits(&w, "x", SD_DTYPE_F32, N, bits);
        expect_integers(&w, "y", again ? SD_DTYPE_I64 : SD_DTYPE_U8, 1, (int64_t[]){3});
        expect_ok(sd_safetensors_write(p.path, &w, NULL));
        sd_weights_free(&w);
    }
    free(bits);
    free(data);
    remove_folder(p.folder);
}
END_TEST

START_TEST(a_bool_is_0_or_1_whatever_its_byte) {
    place p = new_place();
    sd_weights w;
    write_file(p.path, "{\"x\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[0,3]}}", "\x02\x00\xff", 3);
    expect_ok(sd_safetensors_read(p.path, &w));
    expect_integers(&w, "x", SD_DTYPE_BOOL, 3, (int64_t[]){1, 0, 1});
    sd_weights_free(&w);
    remove_folder(p.folder);
}
END_TEST

/* ---- headers ---- */

#define X(shape, begin, end) "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"
#define X1 X("[1]", "0", "4")

static const struct good_row {
    const char *header;
    size_t data_bytes;
    int n;
} good_rows[] = {
    {"{\"a\":" X1 "}", 4, 1},
    {"{\"a\":" X1 "}  \n\t\r ", 4, 1},
    {"{ \"a\"\t:\n{\r\"shape\" : [ 1 ] , \"data_offsets\": [0 ,4 ],\"dtype\":\"\\u00463\\u0032\" } }", 4, 1},
    {"{\"b\":" X("[1]", "4", "8") ",\"a\":" X1 "}", 8, 2},
    {"{\"\":" X1 "}", 4, 1},
    {"{\"a\":" X("[1,1,1,1,1,1,1,1]", "0", "4") "}", 4, 1},
    {"{\"a\":" X("[18446744073709551615,0]", "0", "0") "}", 0, 1},
    {"{\"a\":" X("[0,18446744073709551615,2]", "0", "0") "}", 0, 1},
    {"{\"a\":" X("[0]", "0", "0") ",\"b\":" X1 ",\"c\":" X("[0]", "4", "4") "}", 4, 3},
    {"{\"a\":" X("[0]", "0", "0") ",\"b\":" X("[0,1]", "0", "0") "}", 0, 2},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[0,2]}}", 2, 1},
    {"{\"a\":{\"dtype\":\"F6_E3M2\",\"shape\":[4],\"data_offsets\":[0,3]}}", 3, 1},
    {"{\"a\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, 1},
    {"{\"__metadata__\":{},\"a\":" X1 "}", 4, 1},
    {"{\"a\":" X1 ",\"__metadata__\":{\"x\":\"y\",\"a\":\"\"}}", 4, 1},
    {"{\"\\ud83d\\ude00\\u00e9\\b\\/\":" X1 ",\"\xf0\x9f\x98\x80\":" X("[1]", "4", "8") "}", 8, 2},
};

START_TEST(what_the_format_allows_is_read) {
    const struct good_row *row = &good_rows[_i];
    static const unsigned char zeros[64];
    place p = new_place();
    sd_weights w;
    write_file(p.path, row->header, zeros, row->data_bytes);
    expect_ok(sd_safetensors_read(p.path, &w));
    ck_assert_int_eq(w.n, row->n);
    sd_weights_free(&w);
    remove_folder(p.folder);
}
END_TEST

static const struct bad_row {
    const char *header;
    size_t data_bytes;
    const char *words[3];
} bad_rows[] = {
    /* what is no header */
    {"", 0, {"byte 8:", "begins with '{'"}},
    {"[]", 0, {"byte 8:", "begins with '{'"}},
    {" {}", 0, {"byte 8:", "begins with '{'"}},
    {"\xef\xbb\xbf{}", 0, {"byte 8:", "begins with '{'"}},
    {"{", 0, {"byte 9:", "the header ends"}},
    {"{}x", 0, {"byte 10:", "there is 'x'", "the end of the header"}},
    {"{}{}", 0, {"byte 10:", "there is '{'"}},
    {"{} \f", 0, {"byte 11:", "byte 0x0c"}},
    {"{\"a\":" X1 ",}", 4, {"there is '}'", "'\"' is expected"}},
    {"{,\"a\":" X1 "}", 4, {"byte 9:", "there is ','"}},
    {"{\"a\" " X1 "}", 4, {"byte 13:", "':' is expected"}},
    {"{\"a\":" X1 " \"b\":" X1 "}", 4, {"',' or '}' is expected"}},
    {"{'a':" X1 "}", 4, {"byte 9:", "'\"' is expected"}},
    {"{\"a\":[\"F32\",[1],[0,4]]}", 4, {"tensor 'a'", "byte 13:", "'{' is expected"}},
    {"{\"a\":null}", 0, {"tensor 'a'", "byte 13:", "'{' is expected"}},
    {"{\"a\":1}", 0, {"tensor 'a'", "'{' is expected"}},
    {"{\"a\":{}}", 0, {"tensor 'a'", "byte 10:", "its dtype is missing"}},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, {"its shape is missing"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, {"its data_offsets is missing"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}",
     4,
     {"byte 41:", "is there twice"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"extra\":1}}", 4, {"no other members"}},
    /* strings */
    {"{\"a", 0, {"byte 11:", "the rest of a string"}},
    {"{\"a\n\":" X1 "}", 4, {"byte 11:", "byte 0x0a", "the rest of a string"}},
    {"{\"a\\x\":" X1 "}", 4, {"byte 12:", "an escape"}},
    {"{\"\\u12g4\":" X1 "}", 4, {"byte 14:", "hexadecimal"}},
    {"{\"\\u00", 0, {"byte 14:", "hexadecimal"}},
    {"{\"a\\", 0, {"byte 12:", "an escape"}},
    {"{\"a\\u0000b\":" X1 "}", 4, {"byte 11:", "zero character"}},
    {"{\"\\ud83d\":" X1 "}", 4, {"byte 10:", "surrogate"}},
    {"{\"\\ud83dx\":" X1 "}", 4, {"byte 10:", "surrogate"}},
    {"{\"\\ud83d\\n\":" X1 "}", 4, {"byte 10:", "surrogate"}},
    {"{\"\\ud83d\\u0041\":" X1 "}", 4, {"byte 10:", "surrogate"}},
    {"{\"\\ud83d\\ue000\":" X1 "}", 4, {"byte 10:", "surrogate"}},
    {"{\"\\ude00\\udc00\":" X1 "}", 4, {"byte 10:", "surrogate"}},
    {"{\"\\ude00\\ud83d\":" X1 "}", 4, {"byte 10:", "surrogate"}},
    {"{\"\xff\":" X1 "}", 4, {"byte 10:", "not UTF-8"}},
    {"{\"a\x80\":" X1 "}", 4, {"byte 11:", "not UTF-8"}},
    {"{\"\xc0\xaf\":" X1 "}", 4, {"byte 10:", "not UTF-8"}},         /* overlong */
    {"{\"\xe0\x9f\xbf\":" X1 "}", 4, {"byte 10:", "not UTF-8"}},     /* overlong */
    {"{\"\xf0\x8f\xbf\xbf\":" X1 "}", 4, {"byte 10:", "not UTF-8"}}, /* overlong */
    {"{\"\xed\xa0\x80\":" X1 "}", 4, {"byte 10:", "not UTF-8"}},     /* a surrogate */
    {"{\"\xf4\x90\x80\x80\":" X1 "}", 4, {"byte 10:", "not UTF-8"}}, /* beyond U+10FFFF */
    {"{\"\xf5\x80\x80\x80\":" X1 "}", 4, {"byte 10:", "not UTF-8"}}, /* beyond U+10FFFF */
    {"{\"\xe2\x82\":" X1 "}", 4, {"byte 10:", "not UTF-8"}},
    {"{\"\xe2\x82", 0, {"byte 10:", "not UTF-8"}}, /* cut */
    /* dtypes and shapes */
    {"{\"a\":{\"dtype\":\"F128\",\"shape\":[1],\"data_offsets\":[0,16]}}", 16, {"tensor 'a'", "byte 23:", "'F128'"}},
    {"{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, {"'f32'"}},
    {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, {"'\"' is expected"}},
    {"{\"a\":" X("1", "0", "4") "}", 4, {"'[' is expected"}},
    {"{\"a\":" X("[-1]", "0", "4") "}", 4, {"tensor 'a'", "there is '-'", "a whole number"}},
    {"{\"a\":" X("[1.0]", "0", "4") "}", 4, {"there is '.'", "a whole number"}},
    {"{\"a\":" X("[1e0]", "0", "4") "}", 4, {"there is 'e'", "a whole number"}},
    {"{\"a\":" X("[01]", "0", "4") "}", 4, {"begins with 0"}},
    {"{\"a\":" X("[1,]", "0", "4") "}", 4, {"there is ']'", "a whole number"}},
    {"{\"a\":" X("[\"1\"]", "0", "4") "}", 4, {"a whole number"}},
    {"{\"a\":" X("[[1]]", "0", "4") "}", 4, {"a whole number"}},
    {"{\"a\":" X("[NaN]", "0", "4") "}", 4, {"a whole number"}},
    {"{\"a\":" X("[1 1]", "0", "4") "}", 4, {"',' or ']' is expected"}},
    {"{\"a\":" X("[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, {"more than 8 dimensions"}},
    {"{\"a\":" X("[18446744073709551616]", "0", "4") "}", 4, {"beyond 64 bits"}},
    {"{\"a\":" X("[40000000000000000000,0]", "0", "0") "}", 0, {"a number beyond 64 bits"}},
    {"{\"a\":" X("[4294967296,4294967296]", "0", "0") "}", 0, {"tensor 'a'", "beyond 64 bits"}}, /* 2^64 = 0 */
    {"{\"a\":" X("[18446744073709551615,2,0]", "0", "0") "}", 0, {"beyond 64 bits"}},
    {"{\"a\":" X("[4611686018427387905]", "0", "4") "}", 4, {"beyond 64 bits"}}, /* x 32 bits = 32 */
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, {"whole bytes"}},
    {"{\"a\":" X("[2]", "0", "4") "}", 4, {"tensor 'a'", "byte 10:", "[0, 4]"}},
    {"{\"a\":" X("[]", "0", "0") "}", 0, {"needs 4 bytes"}},
    {"{\"a\":" X("[0]", "0", "4") "}", 4, {"needs 0 bytes"}},
    {"{\"a\":" X("[1]", "4", "0") "}", 4, {"[4, 0]"}},
    {"{\"a\":" X("[1]", "18446744073709551614", "2") "}", 4, {"needs 4 bytes"}}, /* 2 - (2^64 - 2) = 4 */
    /* offsets */
    {"{\"a\":" X("[1]", "-0", "4") "}", 4, {"there is '-'"}},
    {"{\"a\":" X("[1]", "0.0", "4") "}", 4, {"there is '.'"}},
    {"{\"a\":" X("[1]", "0", "4E0") "}", 4, {"there is 'E'", "a whole number"}},
    {"{\"a\":" X("[1]", "0", "4,4") "}", 4, {"[begin, end]"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, {"[begin, end]"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[]}}", 4, {"[begin, end]"}},
    {"{\"a\":" X("[1]", "4", "8") "}", 8, {"tensor 'a'", "offset 4, where 0 is expected", "a hole"}},
    {"{\"a\":" X1 ",\"b\":" X("[1]", "8", "12") "}", 12, {"tensor 'b'", "offset 8, where 4 is expected", "a hole"}},
    {"{\"a\":" X1 ",\"b\":" X("[1]", "2", "6") "}", 6, {"tensor 'b'", "offset 2, where 4 is expected", "overlaps"}},
    {"{\"a\":" X1 ",\"b\":" X1 "}", 4, {"tensor 'b'", "overlaps"}},
    {"{\"a\":" X("[2]", "0", "8") ",\"b\":" X("[0]", "4", "4") "}", 8, {"tensor 'b'", "overlaps"}},
    {"{\"a\":" X1 "}", 3, {"tensor 'a'", "offset 4, where the file has 3", "cut"}},
    {"{\"a\":" X1 "}", 5, {"byte 66:", "the last tensor ends here", "1 bytes follow"}},
    {"{}", 1, {"byte 10:", "1 bytes follow"}},
    {"{\"a\":" X("[4503599627370495]", "0", "18014398509481980") "}",
     4,
     {"18014398509481980", "cut"}}, /* no memory taken */
    /* names */
    {"{\"a\":" X1 ",\"a\":" X("[1]", "4", "8") "}", 8, {"tensor 'a', byte 63:", "is there twice"}},
    {"{\"a\":" X1 ",\"\\u0061\":" X1 "}", 4, {"tensor 'a'", "is there twice"}},
    {"{\"b\033[31m\xc3\xa9\":" X1 "}", 4, {"byte 11", "byte 0x1b"}},
    {"{\"b\\u001b\xc3\xa9\":1}",
     4,
     {"tensor 'b?"
      "?"
      "?'"}},
    /* metadata */
    {"{\"__metadata__\":null}", 0, {"byte 24:", "'{' is expected"}},
    {"{\"__metadata__\":[]}", 0, {"byte 24:", "'{' is expected"}},
    {"{\"__metadata__\":{\"a\":1}}", 0, {"byte 29:", "'\"' is expected"}},
    {"{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, {"byte 29:", "'\"' is expected"}},
    {"{\"__metadata__\":{\"a\":null}}", 0, {"'\"' is expected"}},
    {"{\"__metadata__\":{\"a\":\"b\",\"x\":\"\",\"a\":\"c\"}}", 0, {"byte 41:", "is there twice"}},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, {"byte 28:", "is there twice"}},
};

/* With its words, and nothing left in weights. */
static void expect_bad(const char *path, const char *const *words) {
    sd_weights w;
    memset(&w, 0xa5, sizeof w);
    expect_refused(sd_safetensors_read(path, &w), SD_ERR_DATA, path, words[0], words[1] ? words[1] : "",
                   words[1] && words[2] ? words[2] : "", NULL);
    static const sd_weights none;
    expect_same_bits("weights", &w, &none, sizeof w);
}

START_TEST(what_breaks_the_format_is_refused_with_its_place) {
    const struct bad_row *row = &bad_rows[_i];
    static const unsigned char zeros[64];
    place p = new_place();
    write_file(p.path, row->header, zeros, row->data_bytes);
    expect_bad(p.path, row->words);
    remove_folder(p.folder);
}
END_TEST

/* A header deep in brackets is refused at the first that does not belong there. */
START_TEST(nothing_nests) {
    enum { N = 1000000 };
    place p = new_place();
    char *header = malloc(N + 1);
    memset(header, '[', N);
    memcpy(header, "{\"a\":", 5);
    write_file_said(p.path, N, header, N, "", 0);
    expect_bad(p.path, (const char *const[]){"tensor 'a'", "byte 13:", NULL});
    memcpy(header, "{\"a\":{\"shape\":", 14);
    write_file_said(p.path, N, header, N, "", 0);
    expect_bad(p.path, (const char *const[]){"tensor 'a'", "byte 23:", NULL});
    free(header);
    remove_folder(p.folder);
}
END_TEST

START_TEST(a_header_may_not_hold_a_zero_byte) {
    static const char header[] = "{\"a\0b\":" X1 "}";
    place p = new_place();
    write_file_said(p.path, sizeof header - 1, header, sizeof header - 1, "1234", 4);
    expect_bad(p.path, (const char *const[]){"byte 11:", "byte 0x00", NULL});
    static const char padded[] = "{}\0";
    write_file_said(p.path, 3, padded, 3, "", 0);
    expect_bad(p.path, (const char *const[]){"byte 10:", "byte 0x00", NULL});
    remove_folder(p.folder);
}
END_TEST

/* Lengths that lie take no memory: 100,000,001 bytes and 2^64 - 1, a header longer than the file, and files cut
 * everywhere. */
START_TEST(a_length_that_lies_is_refused) {
    place p = new_place();
    size_t n;
    write_file_said(p.path, 100000001, "{}", 2, "", 0);
    expect_bad(p.path, (const char *const[]){"byte 0:", "100000001", "at most 100000000"});
    write_file_said(p.path, UINT64_MAX, "{}", 2, "", 0);
    expect_bad(p.path, (const char *const[]){"byte 0:", "18446744073709551615", "at most 100000000"});
    write_file_said(p.path, 100000000, "{}", 2, "", 0);
    expect_bad(p.path, (const char *const[]){"byte 0:", "100000000", "cut"});
    write_file_said(p.path, 3, "{}", 2, "", 0);
    expect_bad(p.path, (const char *const[]){"byte 0:", "a header of 3 bytes, in a file of 10", NULL});
    write_file_said(p.path, 1, "{}", 2, "", 0);
    expect_bad(p.path, (const char *const[]){"byte 9:", "the header ends", NULL});
    char *golden = read_bytes(SD_GOLDEN_DIR "/dtypes.safetensors", &n);
    for (size_t cut = 0; cut < n; cut++) {
        write_bytes(p.path, golden, cut);
        expect_bad(p.path, (const char *const[]){cut < 8 ? "bytes" : "cut", NULL});
    }
    free(golden);
    remove_folder(p.folder);
}
END_TEST

/* Whatever byte of a header is altered, the file is read as something that is a safetensors file, or refused. */
START_TEST(an_altered_header_is_never_half_read) {
    place p = new_place();
    size_t n;
    int refused = 0;
    char *golden = read_bytes(SD_GOLDEN_DIR "/export.safetensors", &n);
    for (size_t at = 0; at < n - 48; at++)
        for (int bit = 0; bit < 8; bit++) {
            sd_weights w;
            golden[at] ^= (char)(1 << bit);
            write_bytes(p.path, golden, n);
            sd_status status = sd_safetensors_read(p.path, &w);
            expect(status == SD_OK || (status == SD_ERR_DATA && strstr(sd_error_message(), p.path)),
                   "byte %zu, bit %d: %d %s", at, bit, (int)status, sd_error_message());
            ck_assert_int_eq(w.n, status == SD_OK ? 5 : 0);
            refused += status != SD_OK;
            sd_weights_free(&w);
            golden[at] ^= (char)(1 << bit);
        }
    ck_assert_int_gt(refused, 2000);
    free(golden);
    remove_folder(p.folder);
}
END_TEST

START_TEST(what_is_no_file_is_refused) {
    place p = new_place();
    sd_weights w;
    expect_refused(sd_safetensors_read(p.path, &w), SD_ERR_NOINPUT, p.path, "No such file", NULL);
    ck_assert_ptr_null(w.memory);
    expect_refused(sd_safetensors_read(p.folder, &w), SD_ERR_DATA, p.folder, "regular file", NULL);
    remove_folder(p.folder);
}
END_TEST

/* ---- writing ---- */

START_TEST(what_a_file_cannot_hold_is_not_written) {
    static const float value = 1;
    static const int64_t integer = 1;
    static const struct {
        sd_weight weight;
        const char *word;
    } rows[] = {
        {{.name = "a", .elems = 1, .values = &value}, "twice"},
        {{.name = "a", .elems = 1, .integers = &integer}, "twice"}, /* another dtype, the same name */
        {{.name = "__metadata__", .elems = 1, .values = &value}, "metadata"},
        {{.name = "b\xff", .elems = 1, .values = &value}, "UTF-8"},
        {{.name = "b", .dims = 1, .shape = {2}, .elems = 1, .values = &value}, "shape"},
        {{.name = "b", .dims = 9, .elems = 1, .values = &value}, "shape"},
        {{.name = "b", .dims = -1, .elems = 1, .values = &value}, "shape"},
        {{.name = "b", .dims = 2, .shape = {(size_t)1 << 63, 2}, .values = &value}, "shape"},
        {{.name = "b", .dims = 1, .shape = {(size_t)1 << 62}, .elems = (size_t)1 << 62, .values = &value}, "shape"},
        {{.name = "b", .elems = 1, .dtype = SD_DTYPE_U64}, "no values"}};
    place p = new_place();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sd_weight weight[] = {rows[i].weight, {.name = "a", .elems = 1, .values = &value}};
        const sd_weights weights = {.n = 2, .weight = weight};
        expect_refused(sd_safetensors_write(p.path, &weights, NULL), SD_ERR_DATA, p.path, "tensor", rows[i].word, NULL);
    }
    const sd_weights none = {0};
    static const char *const metadata[][7] = {
        {"a", "b", "c"}, {"a", "b", "c", "", "a", "b"}, {"\xff", "b"}, {"b", "\xff"}};
    for (size_t i = 0; i < sizeof metadata / sizeof metadata[0]; i++)
        expect_refused(sd_safetensors_write(p.path, &none, metadata[i]), SD_ERR_DATA, p.path, "metadata", NULL);
    ck_assert_int_ne(access(p.path, F_OK), 0);
    ck_assert_int_eq(rmdir(p.folder), 0); /* nothing is left */
}
END_TEST

START_TEST(a_write_that_fails_leaves_what_was_there) {
    place p = new_place();
    char path[PATH_BYTES + 16];
    const sd_weights none = {0};
    snprintf(path, sizeof path, "%s/missing/model", p.folder);
    expect_refused(sd_safetensors_write(path, &none, NULL), SD_ERR_IO, path, NULL);
    write_bytes(p.path, "before\n", 7);
    snprintf(path, sizeof path, "%s.part", p.path);
    ck_assert_int_eq(mkdir(path, 0777), 0); /* in the way of the new file */
    expect_refused(sd_safetensors_write(p.path, &none, NULL), SD_ERR_IO, path, NULL);
    expect_file(p.path, "before\n");
    ck_assert_int_eq(rmdir(path), 0);
    expect_ok(sd_safetensors_write(p.path, &none, NULL));
    remove_folder(p.folder);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("safetensors");
    tcase_add_test(cases, every_dtype_is_read_as_the_library_wrote_it);
    tcase_add_test(cases, a_file_is_written_to_the_byte_as_the_library_does);
    tcase_add_test(cases, a_file_may_have_no_tensors);
    tcase_add_test(cases, metadata_are_written_in_their_order_and_read_by_key);
    tcase_add_test(cases, every_f16_is_its_value);
    tcase_add_test(cases, every_bf16_is_its_value);
    tcase_add_test(cases, every_bit_of_f32_survives);
    tcase_add_test(cases, a_bool_is_0_or_1_whatever_its_byte);
    tcase_add_loop_test(cases, what_the_format_allows_is_read, 0, sizeof good_rows / sizeof good_rows[0]);
    tcase_add_loop_test(cases, what_breaks_the_format_is_refused_with_its_place, 0,
                        sizeof bad_rows / sizeof bad_rows[0]);
    tcase_add_test(cases, nothing_nests);
    tcase_add_test(cases, a_header_may_not_hold_a_zero_byte);
    tcase_add_test(cases, a_length_that_lies_is_refused);
    tcase_add_test(cases, an_altered_header_is_never_half_read);
    tcase_add_test(cases, what_is_no_file_is_refused);
    tcase_add_test(cases, what_a_file_cannot_hold_is_not_written);
    tcase_add_test(cases, a_write_that_fails_leaves_what_was_there);
    return run_suite("safetensors", cases);
}
