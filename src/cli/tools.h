/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cli/: the tools of `sdtrain`, one per file. */
#ifndef SDTRAIN_CLI_TOOLS_H
#define SDTRAIN_CLI_TOOLS_H

#include "sdtrain/status.h"

/* words: [n] arguments behind the tool's name. *exit_code: of the process if no error is returned; initially 0. */
typedef sd_status sd_tool(int n, char **words, int *exit_code);

sd_tool sd_tool_verify, sd_tool_inspect, sd_tool_diff, sd_tool_export, sd_tool_pack, sd_tool_predict, sd_tool_prune,
    sd_tool_vocab;

/* The word behind option words[*i], and moves *i to it. SD_ERR_USAGE if the command line ends. */
sd_status sd_tool_value(int n, char **words, int *i, const char **value);

/* The value of an option, from 1 to most. SD_ERR_USAGE, also if text is NULL: the command line ends. */
sd_status sd_tool_number(const char *option, const char *text, int most, int *number);

#endif
