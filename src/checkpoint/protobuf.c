/* SPDX-License-Identifier: Apache-2.0 */
#include "protobuf.h"

#include <stdlib.h>
#include <string.h>

#include "elements.h"

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FOUR_BYTES = 5, FIRST_CAPACITY_BYTES = 1 << 16 };

/* Makes room for n_bytes behind the others; their place, or NULL after an error. */
static unsigned char *extend(sd_protobuf *to, size_t n_bytes) {
    if (to->status == SD_OK && n_bytes > SD_PROTOBUF_MOST_BYTES - to->n_bytes)
        to->status = sd_fail(SD_ERR_DATA, "a protobuf message has at most %zu bytes", SD_PROTOBUF_MOST_BYTES);
    if (to->status != SD_OK)
        return NULL;
    if (to->n_bytes + n_bytes > to->capacity_bytes) {
        size_t capacity = 2 * to->capacity_bytes > FIRST_CAPACITY_BYTES ? 2 * to->capacity_bytes : FIRST_CAPACITY_BYTES;
        if (capacity < to->n_bytes + n_bytes)
            capacity = to->n_bytes + n_bytes;
        unsigned char *bytes = realloc(to->bytes, capacity);
        if (!bytes) {
            to->status = sd_fail(SD_ERR_MEMORY, "out of memory: %zu bytes", capacity);
            return NULL;
        }
        to->bytes = bytes;
        to->capacity_bytes = capacity;
    }
    to->n_bytes += n_bytes;
    return to->bytes + to->n_bytes - n_bytes;
}

void sd_protobuf_reserve(sd_protobuf *to, size_t n_bytes) {
    if (extend(to, n_bytes))
        to->n_bytes -= n_bytes;
}

static size_t varint_bytes(uint64_t number) {
    size_t n = 1;
    while (number >>= 7)
        n++;
    return n;
}

static void write_varint(uint64_t number, unsigned char *to) {
    for (; number >= 0x80; number >>= 7)
        *to++ = (unsigned char)(number | 0x80);
    *to = (unsigned char)number;
}

static void put_varint(sd_protobuf *to, uint64_t number) {
    unsigned char *place = extend(to, varint_bytes(number));
    if (place)
        write_varint(number, place);
}

static void put_key(sd_protobuf *to, int field, int wire_type) { put_varint(to, (uint64_t)(field << 3 | wire_type)); }

void sd_protobuf_put_int(sd_protobuf *to, int field, int64_t number) {
    put_key(to, field, WIRE_VARINT);
    put_varint(to, (uint64_t)number);
}

void sd_protobuf_put_float(sd_protobuf *to, int field, float number) {
    put_key(to, field, WIRE_FOUR_BYTES);
    unsigned char *place = extend(to, 4);
    if (place)
        sd_elements_from_floats(&number, 1, place);
}

unsigned char *sd_protobuf_put_bytes(sd_protobuf *to, int field, size_t n_bytes) {
    put_key(to, field, WIRE_BYTES);
    put_varint(to, n_bytes);
    return extend(to, n_bytes);
}

void sd_protobuf_put_text(sd_protobuf *to, int field, const char *text) {
    const size_t n_bytes = strlen(text);
    unsigned char *place = sd_protobuf_put_bytes(to, field, n_bytes);
    if (place)
        memcpy(place, text, n_bytes);
}

size_t sd_protobuf_begin(sd_protobuf *to, int field) {
    put_key(to, field, WIRE_BYTES);
    return to->n_bytes;
}

/* The length is known now: the message makes room for it. */
void sd_protobuf_end(sd_protobuf *to, size_t place) {
    const size_t length = to->n_bytes - place, room = varint_bytes(length);
    if (!extend(to, room))
        return;
    memmove(to->bytes + place + room, to->bytes + place, length);
    write_varint(length, to->bytes + place);
}
