/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: how sd_pack() talks to the process that reads a plain HDF5 file. Both are one program on one
 * machine: structs cross the socket as they are.
 *
 *     server: sd_plain_hello; labels of training, of test images, i32; then, again and again:
 *     client: sd_plain_request                server: sd_plain_answer; if it is SD_OK, pixels [count, h, w, 3] */
#ifndef SDTRAIN_DATA_PLAIN_WIRE_H
#define SDTRAIN_DATA_PLAIN_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "sdtrain/status.h"

typedef struct sd_plain_answer {
    int32_t status; /* sd_status */
    char message[SD_MESSAGE_BYTES];
} sd_plain_answer;

typedef struct sd_plain_hello {
    sd_plain_answer answer;
    uint32_t images[2], height, width;
    uint32_t classes;
} sd_plain_hello;

typedef struct sd_plain_request {
    uint32_t test, first, count;
} sd_plain_request;

/* All of the bytes. SD_ERR_NOINPUT if the other side is gone. */
sd_status sd_plain_send(int socket, const void *bytes, size_t n_bytes);
sd_status sd_plain_receive(int socket, void *bytes, size_t n_bytes);

#endif
