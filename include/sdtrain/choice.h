/* SPDX-License-Identifier: Apache-2.0 */
/* Choices: one list gives an enumeration and its words in configurations and reports. The room that owns the choice has
 * the list in its header.
 *
 *     #define SD_COLOUR_LIST(X) X(SD_COLOUR_RED, "red") X(SD_COLOUR_BLUE, "blue")
 *     typedef enum sd_colour { SD_COLOUR_LIST(SD_CHOICE_ENUMERATOR) } sd_colour;
 *     SD_CHOICE_WORD_OF(sd_colour, SD_COLOUR_LIST)
 *
 * defines the enumeration, counted from 0, and sd_colour_word(SD_COLOUR_BLUE) = "blue" (static text);
 * SD_CHOICE_WORDS(SD_COLOUR_LIST) is the constant text "red|blue". */
#ifndef SDTRAIN_CHOICE_H
#define SDTRAIN_CHOICE_H

#define SD_CHOICE_ENUMERATOR(enumerator, word) enumerator,

#define SD_CHOICE_WORD_OF(type, LIST)                                                                                  \
    static inline const char *type##_word(type value) {                                                                \
        switch (value) { LIST(SD_CHOICE_CASE) }                                                                        \
        return "";                                                                                                     \
    }
#define SD_CHOICE_CASE(enumerator, word)                                                                               \
    case enumerator:                                                                                                   \
        return word;

#define SD_CHOICE_WORDS(LIST) (&(LIST(SD_CHOICE_BAR_WORD))[1])
#define SD_CHOICE_BAR_WORD(enumerator, word) "|" word

#endif
