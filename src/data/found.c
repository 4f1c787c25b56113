/* SPDX-License-Identifier: Apache-2.0 */
/* What is found before a data set is described. The kinds of it are told apart by how they begin, so that those who
 * send the bytes need not know them. */
#include <stdlib.h>

#include "listing.h"
#include "packed.h"
#include "source.h"
#include "texts.h"

sd_status sd_data_find(const sd_data_spec *spec, sd_found **found) {
    const sd_source_kind *kind = sd_source_kind_of(spec);
    *found = NULL;
    return kind->find ? kind->find(spec, found) : SD_OK;
}

void sd_found_bytes(const sd_found *found, const void **bytes, size_t *n_bytes) {
    *bytes = found;
    *n_bytes = (size_t)found->bytes;
}

sd_status sd_found_of_bytes(void *bytes, size_t n_bytes, sd_found **found) {
    sd_listing *listing;
    *found = NULL;
    if (n_bytes >= sizeof **found && ((const sd_found *)bytes)->format == SD_FOUND_PACKED)
        return sd_packed_found_of_bytes(bytes, n_bytes, found);
    if (n_bytes >= sizeof **found && ((const sd_found *)bytes)->format == SD_FOUND_TEXTS)
        return sd_texts_of_bytes(bytes, n_bytes, found);
    SD_TRY(sd_listing_unpack(bytes, n_bytes, &listing));
    *found = (sd_found *)listing;
    return SD_OK;
}

void sd_found_free(sd_found **found) {
    free(*found);
    *found = NULL;
}
