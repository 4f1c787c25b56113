/* SPDX-License-Identifier: Apache-2.0 */
/* Private to data/: masks tokens of texts, as Google's create_pretraining_data.py of BERT (Devlin et al. 2019, section
 * 3.1): of n ids that are neither [CLS] nor [SEP], sd_masked_of(n) are drawn without replacement; of these 80 % become
 * [MASK], 10 % a piece of the vocabulary, 10 % stay. */
#ifndef SDTRAIN_DATA_MASK_H
#define SDTRAIN_DATA_MASK_H

#include "draws.h"
#include "source.h"

/* How many tokens of a text are masked. */
int sd_mask_count(const sd_special_tokens *special, const sd_text *text);

/* Masks ids [text->length], a copy of the text's. place: of the token ids[0]. Writes each masked token's place, and its
 * id in the text. Returns how many there are. Local; a pure function of text and draws. */
int sd_mask(const sd_special_tokens *special, int vocabulary, const sd_text *text, sd_draws *draws, int32_t *ids,
            int32_t place, int32_t *places, int32_t *labels);

#endif
