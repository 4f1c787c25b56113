/* SPDX-License-Identifier: Apache-2.0 */
/* Private: how nodes, branches and layers describe themselves (sd_network_describe()): each adds its operations to the
 * graph. *value: in, the number of its input; out, of its output. */
#ifndef SDTRAIN_NN_DESCRIBE_H
#define SDTRAIN_NN_DESCRIBE_H

#include "sdtrain/graph.h"

/* Adds an operation on *value, and makes *value its output. Without op.out it has the shape of its input. */
sd_status sd_graph_add(sd_graph *graph, sd_op op, int *value);

#endif
