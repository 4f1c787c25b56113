/* SPDX-License-Identifier: Apache-2.0 */
/* Choices: an enumeration and the words for it in configurations and reports, from one list in the header of the room
 * that owns it.
 *
 *     #define SD_COLOUR_LIST(X) X(SD_COLOUR_RED, "red") X(SD_COLOUR_BLUE, "blue")
 *     typedef enum sd_colour { SD_COLOUR_LIST(SD_CHOICE_ENUMERATOR) } sd_colour;
 *     SD_CHOICE_WORD_OF(sd_colour, SD_COLOUR_LIST)
 *
 * makes the enumeration, counted from 0, and sd_colour_word(SD_COLOUR_BLUE), which is "blue" (static text); and
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
