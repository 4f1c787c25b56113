/* SPDX-License-Identifier: Apache-2.0 */
/* The source of a plain HDF5 file: asks another process for blocks of images, in order. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "image.h"
#include "pack_input.h"
#include "packed.h"
#include "plain_wire.h"
#include "sdtrain/arena.h"

enum { BLOCK_BYTES = 1 << 23 };

typedef struct plain {
    sd_source source;
    char *path;
    int socket, h, w;
    int32_t *labels[2];
    pthread_mutex_t mutex; /* guards the rest: threads read images of a block */
    uint8_t *block;
    uint32_t first, count, most; /* images of the block, and room for them */
    bool test;                   /* the block's */
} plain;

sd_status sd_plain_send(int socket, const void *bytes, size_t n_bytes) {
    const char *from = bytes;
    while (n_bytes > 0) {
        const ssize_t sent = send(socket, from, n_bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return sd_fail(SD_ERR_NOINPUT, "the process that reads the HDF5 file has ended");
        from += sent;
        n_bytes -= (size_t)sent;
    }
    return SD_OK;
}

sd_status sd_plain_receive(int socket, void *bytes, size_t n_bytes) {
    char *to = bytes;
    while (n_bytes > 0) {
        const ssize_t got = recv(socket, to, n_bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return sd_fail(SD_ERR_NOINPUT, "the process that reads the HDF5 file has ended");
        to += got;
        n_bytes -= (size_t)got;
    }
    return SD_OK;
}

/* An answer that says what went wrong there; or that is none, from a process that HDF5 has broken. */
static sd_status report(const plain *data, sd_plain_answer *answer) {
    answer->message[sizeof answer->message - 1] = '\0';
    if (answer->status == SD_OK)
        return SD_OK;
    return sd_fail(answer->status == SD_ERR_NOINPUT || answer->status == SD_ERR_MEMORY ? (sd_status)answer->status
                                                                                       : SD_ERR_DATA,
                   "%s", answer->message[0] ? answer->message : data->path);
}

static sd_status fill_block(plain *data, bool test, uint32_t index) {
    const uint32_t images = test ? data->source.n_test : data->source.n_train, left = images - index;
    const sd_plain_request request = {test, index, left < data->most ? left : data->most};
    sd_plain_answer answer;
    data->count = 0;
    SD_TRY(sd_plain_send(data->socket, &request, sizeof request));
    SD_TRY(sd_plain_receive(data->socket, &answer, sizeof answer));
    SD_TRY(report(data, &answer));
    SD_TRY(sd_plain_receive(data->socket, data->block,
                            (size_t)request.count * (size_t)data->h * (size_t)data->w * SD_CHANNELS));
    data->test = test;
    data->first = index;
    data->count = request.count;
    return SD_OK;
}

static sd_status read_image(const sd_source *source, bool test, uint32_t index, sd_sample *sample) {
    plain *data = (plain *)source;
    const size_t bytes = (size_t)data->h * (size_t)data->w * SD_CHANNELS;
    SD_TRY(sd_sample_resize(sample, data->h, data->w));
    pthread_mutex_lock(&data->mutex);
    sd_status status = SD_OK;
    if (test != data->test || index < data->first || index - data->first >= data->count)
        status = fill_block(data, test, index);
    if (status == SD_OK)
        memcpy(sample->pixels, data->block + (size_t)(index - data->first) * bytes, bytes);
    pthread_mutex_unlock(&data->mutex);
    sample->label = data->labels[test][index];
    return status;
}

static void close_plain(sd_source *source) {
    plain *data = (plain *)source;
    pthread_mutex_destroy(&data->mutex);
    free(data->labels[0]);
    free(data->labels[1]);
    free(data->block);
    free(data->path);
    free(data);
}

static bool can_be(const sd_plain_hello *h) {
    return h->images[0] >= 1 && h->images[0] < UINT32_MAX && h->images[1] < UINT32_MAX && h->height >= 1 &&
           h->width >= 1 && h->height <= SD_IMAGE_MOST_SIDE && h->width <= SD_IMAGE_MOST_SIDE &&
           (uint64_t)h->height * h->width <= SD_IMAGE_MOST_PIXELS && h->classes >= 1 &&
           h->classes <= SD_PACKED_MOST_CLASSES;
}

static sd_status receive_labels(plain *data, uint32_t images, uint32_t classes, int32_t **labels) {
    SD_TRY(sd_alloc(labels, (size_t)images + 1, sizeof **labels));
    SD_TRY(sd_plain_receive(data->socket, *labels, images * sizeof **labels));
    for (uint32_t i = 0; i < images; i++)
        if ((*labels)[i] < 0 || (uint32_t)(*labels)[i] >= classes)
            return sd_fail(SD_ERR_DATA, "%s: label %u is of no class", data->path, i);
    return SD_OK;
}

static sd_status receive(plain *data) {
    sd_plain_hello hello;
    SD_TRY(sd_plain_receive(data->socket, &hello, sizeof hello));
    SD_TRY(report(data, &hello.answer));
    if (!can_be(&hello))
        return sd_fail(SD_ERR_DATA, "%s: its numbers of images, pixels or classes are out of range", data->path);
    for (int test = 0; test < 2; test++)
        SD_TRY(receive_labels(data, hello.images[test], hello.classes, &data->labels[test]));
    data->h = (int)hello.height;
    data->w = (int)hello.width;
    const size_t bytes = (size_t)data->h * (size_t)data->w * SD_CHANNELS;
    data->most = bytes < BLOCK_BYTES ? (uint32_t)(BLOCK_BYTES / bytes) : 1;
    SD_TRY(sd_alloc(&data->block, data->most, bytes));
    data->source =
        (sd_source){.samples = {.image_size = data->h == data->w ? data->h : 0, .classes = (int)hello.classes},
                    .n_train = hello.images[0],
                    .n_test = hello.images[1],
                    .read = read_image,
                    .close = close_plain};
    return SD_OK;
}

sd_status sd_plain_open(const char *path, int socket, sd_source **source) {
    plain *data;
    SD_TRY(sd_alloc(&data, 1, sizeof *data));
    pthread_mutex_init(&data->mutex, NULL);
    data->socket = socket;
    data->path = strdup(path);
    const sd_status status = data->path ? receive(data) : sd_fail(SD_ERR_MEMORY, "%s: out of memory", path);
    if (status != SD_OK) {
        close_plain(&data->source);
        return status;
    }
    *source = &data->source;
    return SD_OK;
}
