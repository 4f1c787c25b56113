/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain vocab: makes a vocabulary of word pieces from texts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdtrain/arena.h"
#include "sdtrain/data.h"
#include "sdtrain/vocabulary.h"
#include "tools.h"

enum { MOST_PIECES = 1 << 24 };

typedef struct options {
    const char **files; /* [n_files]; the caller frees it */
    int n_files, size, alphabet;
    bool cased;
    const char *text_columns; /* NULL: not given */
} options;

static sd_status parse_options(int n, char **words, options *o) {
    for (int i = 0; i < n; i++) {
        const char *word = words[i], *value = i + 1 < n ? words[i + 1] : NULL;
        const bool is_size = !strcmp(word, "--size"), is_alphabet = !strcmp(word, "--alphabet");
        if (is_size || is_alphabet) {
            SD_TRY(sd_tool_number(word, value, MOST_PIECES, is_size ? &o->size : &o->alphabet));
            i++;
        } else if (!strcmp(word, "--text-columns")) {
            if (!value || !*value)
                return sd_fail(SD_ERR_USAGE, "%s needs one or two columns (--help shows how)", word);
            SD_TRY(sd_text_columns_check(word, value, 2));
            o->text_columns = value;
            i++;
        } else if (!strcmp(word, "--cased")) {
            o->cased = true;
        } else if (word[0] == '-') {
            return sd_fail(SD_ERR_USAGE, "vocab has no option %s (--help lists all)", word);
        } else {
            o->files[o->n_files++] = word;
        }
    }
    return o->n_files > 0 && o->size > 0
               ? SD_OK
               : sd_fail(SD_ERR_USAGE, "vocab needs files of texts and --size N (--help shows how)");
}

static sd_status print_vocabulary(sd_vocabulary *vocabulary, const options *o) {
    uint64_t texts = 0, more;
    char *made;
    int n;
    for (int i = 0; i < o->n_files; i++) {
        SD_TRY(sd_vocabulary_add_file(vocabulary, o->files[i], o->text_columns, &more));
        texts += more;
    }
    SD_TRY(sd_vocabulary_make(vocabulary, o->size, o->alphabet, &made, &n));
    fputs(made, stdout);
    free(made);
    sd_log_info("%llu texts, %llu words, %d of them different: %d word pieces", (unsigned long long)texts,
                (unsigned long long)sd_vocabulary_words(vocabulary), sd_vocabulary_different_words(vocabulary), n);
    if (n < o->size)
        sd_log_warn("there are %d word pieces, not %d: no two occur together twice any more", n, o->size);
    return SD_OK;
}

sd_status sd_tool_vocab(int n, char **words, int *exit_code) {
    options o = {.alphabet = SD_VOCABULARY_ALPHABET};
    sd_vocabulary *vocabulary = NULL;
    sd_status status;
    (void)exit_code;
    SD_TRY_CLEANUP(sd_alloc(&o.files, (size_t)n + 1, sizeof *o.files));
    SD_TRY_CLEANUP(parse_options(n, words, &o));
    SD_TRY_CLEANUP(sd_vocabulary_create(!o.cased, &vocabulary));
    SD_TRY_CLEANUP(print_vocabulary(vocabulary, &o));

cleanup:
    sd_vocabulary_free(&vocabulary);
    free(o.files);
    return status;
}
