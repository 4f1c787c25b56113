/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: writing Protocol Buffers (protobuf.dev, "Encoding"). A message is its fields, each a key
 * (number << 3 | wire type) and a value: a varint (seven bits a byte, least first), four bytes, or bytes behind their
 * length, such as a text or a message.
 *
 * The first error is kept in status; calls after it do nothing. Lengths are varints of the fewest bytes, as protobuf's
 * own libraries write them. */
#ifndef SDTRAIN_CHECKPOINT_PROTOBUF_H
#define SDTRAIN_CHECKPOINT_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>

#include "sdtrain/status.h"

#define SD_PROTOBUF_MOST_BYTES ((size_t)INT32_MAX) /* of a message, which its own libraries do not pass */

/* Zeros are valid: nothing written. The owner frees bytes. */
typedef struct sd_protobuf {
    unsigned char *bytes;
    size_t n_bytes, capacity_bytes;
    sd_status status; /* SD_ERR_MEMORY; SD_ERR_DATA: more than SD_PROTOBUF_MOST_BYTES */
} sd_protobuf;

/* Takes memory for this many more bytes at once. */
void sd_protobuf_reserve(sd_protobuf *to, size_t n_bytes);

/* A field of type int32, int64 or an enumeration; negative numbers have ten bytes. */
void sd_protobuf_put_int(sd_protobuf *to, int field, int64_t number);
/* Of type float. */
void sd_protobuf_put_float(sd_protobuf *to, int field, float number);
/* Of type string. */
void sd_protobuf_put_text(sd_protobuf *to, int field, const char *text);
/* Of type bytes. Returns where the caller writes them, before any other call; NULL after an error. */
unsigned char *sd_protobuf_put_bytes(sd_protobuf *to, int field, size_t n_bytes);

/* A field that is a message: what is put between begin and end. Returns the place for end. */
size_t sd_protobuf_begin(sd_protobuf *to, int field);
void sd_protobuf_end(sd_protobuf *to, size_t place);

#endif
