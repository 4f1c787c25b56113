/* SPDX-License-Identifier: Apache-2.0 */
/* Checks the structure of a checkpoint before any object is opened by name. The digest detects accidents, not malice: a
 * forged file can carry a valid seal. After this check every path leads through groups of this file to bytes of this
 * file, and only the filters that this program writes can run. */
#include <string.h>

#include "hdf5.h"

enum { MAX_DEPTH = 8 }; /* links on a path; ours have up to 4: /communication/error/<rank>/<name> */

typedef struct gate {
    const char *path; /* of the file */
    sd_status status;
} gate;

static herr_t refuse(gate *g, const char *name, const char *reason) {
    g->status = sd_fail(SD_ERR_DATA, "%s: /%s %s, which no checkpoint holds", g->path, name, reason);
    return -1;
}

/* Whether a dataset has only the filters of checkpoint.compression. */
static bool filters_are_ours(hid_t created) {
    for (int i = 0; i < H5Pget_nfilters(created); i++) {
        unsigned flags, config;
        size_t values = 0;
        const H5Z_filter_t filter = H5Pget_filter2(created, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
        if (filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_DEFLATE)
            return false;
    }
    return true;
}

/* The fault of a dataset; NULL: its bytes lie in this file, plain or behind our filters. Reads none of them. */
static const char *fault_of_dataset(hid_t dataset) {
    hid_t created = H5Dget_create_plist(dataset);
    const H5D_layout_t layout = H5Pget_layout(created);
    const char *fault = NULL;
    if (layout != H5D_CONTIGUOUS && layout != H5D_COMPACT && layout != H5D_CHUNKED)
        fault = "is a virtual dataset";
    else if (H5Pget_external_count(created) != 0)
        fault = "has its bytes in another file";
    else if (!filters_are_ours(created))
        fault = "is behind a filter other than shuffle and deflate";
    H5Pclose(created);
    return fault;
}

/* An H5L_iterate_t, called for each link before its group is entered. Only hard links are entered. */
static herr_t check_link(hid_t root, const char *name, const H5L_info_t *info, void *context) {
    gate *g = context;
    int depth = 1;
    for (const char *c = name; *c; c++)
        depth += *c == '/';
    if (info->type != H5L_TYPE_HARD)
        return refuse(g, name, info->type == H5L_TYPE_SOFT ? "is a soft link" : "is a link to another file");
    if (depth > MAX_DEPTH)
        return refuse(g, name, "lies deeper in groups than anything");
    hid_t object = H5Oopen(root, name, H5P_DEFAULT);
    const H5I_type_t kind = object >= 0 ? H5Iget_type(object) : H5I_BADID;
    const char *fault = kind == H5I_GROUP     ? NULL
                        : kind == H5I_DATASET ? fault_of_dataset(object)
                        : object < 0          ? "cannot be opened"
                                              : "is neither a group nor a dataset";
    if (object >= 0)
        H5Oclose(object);
    return fault ? refuse(g, name, fault) : 0;
}

sd_status sd_checkpoint_gate(const sd_checkpoint_file *file) {
    gate g = {.path = file->path};
    if (H5Lvisit(file->file, H5_INDEX_NAME, H5_ITER_INC, check_link, &g) < 0 && g.status == SD_OK)
        return sd_fail(SD_ERR_DATA, "%s: HDF5 cannot list its content", file->path);
    return g.status;
}
