/* SPDX-License-Identifier: Apache-2.0 */
/* Private to checkpoint/: the header of a safetensors file (sdtrain/safetensors.h). */
#ifndef SDTRAIN_CHECKPOINT_SAFETENSORS_HEADER_H
#define SDTRAIN_CHECKPOINT_SAFETENSORS_HEADER_H

#include <stddef.h>

#include "sdtrain/status.h"
#include "sdtrain/weights.h"

enum { SD_SAFETENSORS_LENGTH_BYTES = 8, SD_SAFETENSORS_HEADER_MOST_BYTES = 100000000 };
#define SD_SAFETENSORS_METADATA "__metadata__"

typedef struct sd_header_entry {
    sd_weight weight;  /* values and integers are NULL */
    size_t begin, end; /* of its bytes, in the data */
    size_t at;         /* where its name stands in the text */
} sd_header_entry;

typedef struct sd_header {
    sd_header_entry *entry; /* [n] in the order of their bytes: one begins where the last one ends */
    int n, capacity;
    sd_weights_text *metadata; /* [n_metadata] sorted by key */
    int n_metadata, metadata_capacity;
} sd_header;

/* Reads and checks a header of n bytes before data_bytes of data. text is changed: names and metadata lead into it.
 * header: free it in any case. SD_ERR_DATA, SD_ERR_MEMORY. */
sd_status sd_header_parse(const char *path, char *text, size_t n, size_t data_bytes, sd_header *header);
void sd_header_free(sd_header *header);

#endif
