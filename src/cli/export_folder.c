/* SPDX-License-Identifier: Apache-2.0 */
/* A BERT as a folder that Hugging Face's from_pretrained() loads: model.safetensors, config.json, vocab.txt and
 * tokenizer_config.json. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export.h"
#include "sdtrain/file.h"
#include "sdtrain/graph.h"
#include "survey.h"

enum { PATH_BYTES = 4096 };

static sd_status no_memory(const char *folder) { return sd_fail(SD_ERR_MEMORY, "%s: out of memory", folder); }

/* Rows or columns of a tensor; 0: there is none of this name. */
static int side_of(const sd_network *network, const char *name, int side) {
    for (int i = 0; i < sd_network_n_tensors(network); i++)
        if (!strcmp(sd_network_tensor(network, i)->name, name))
            return sd_network_tensor(network, i)->shape[side];
    return 0;
}

/* Heads of the first layer's attention; its evaluation knows them. */
static sd_status heads_of(const sd_network *network, int *heads) {
    const sd_drop_spec all = {.scale = SD_DROP_SCALE_NONE, .units = sd_network_n_units(network)};
    sd_drop_plan plan;
    sd_graph graph = {0};
    sd_status status = sd_drop_plan_create(all.units, &plan);
    if (status == SD_OK) {
        sd_drop_plan_evaluation(&all, NULL, &plan);
        status = sd_network_describe(network, &plan, &graph);
    }
    for (int i = graph.n - 1; status == SD_OK && i >= 0; i--)
        if (graph.op[i].kind == SD_OP_ATTENTION)
            *heads = graph.op[i].heads;
    sd_graph_free(&graph);
    sd_drop_plan_free(&plan);
    return status;
}

/* The names of classes, which are lines. */
static void add_labels(cJSON *config, const sd_loaded *l) {
    cJSON *names = cJSON_AddObjectToObject(config, "id2label"), *numbers = cJSON_AddObjectToObject(config, "label2id");
    const char *line = l->info.class_names;
    for (int c = 0; c < l->samples.classes; c++) {
        const size_t bytes = line ? strcspn(line, "\n") : 0;
        char number[16], name[256];
        snprintf(number, sizeof number, "%d", c);
        snprintf(name, sizeof name, bytes ? "%.*s" : "LABEL_%d", bytes ? (int)bytes : c, line);
        cJSON_AddStringToObject(names, number, name);
        cJSON_AddNumberToObject(numbers, name, c);
        line = line && line[bytes] ? line + bytes + 1 : NULL;
    }
}

static cJSON *config_of(const sd_loaded *l, int heads) {
    const sd_network *network = l->network;
    const char *words = "bert.embeddings.word_embeddings.weight",
               *inner = "bert.encoder.layer.0.intermediate.dense.weight";
    cJSON *config = cJSON_CreateObject(), *architectures = cJSON_AddArrayToObject(config, "architectures");
    const bool classifies = l->config.train.objective == SD_OBJECTIVE_CLASSIFY;
    cJSON_AddItemToArray(architectures,
                         cJSON_CreateString(classifies ? "BertForSequenceClassification" : "BertForMaskedLM"));
    cJSON_AddStringToObject(config, "model_type", "bert");
    cJSON_AddNumberToObject(config, "vocab_size", side_of(network, words, 0));
    cJSON_AddNumberToObject(config, "hidden_size", side_of(network, words, 1));
    cJSON_AddNumberToObject(config, "num_hidden_layers", sd_network_blocks(network));
    cJSON_AddNumberToObject(config, "num_attention_heads", heads);
    cJSON_AddNumberToObject(config, "intermediate_size", side_of(network, inner, 0));
    cJSON_AddStringToObject(config, "hidden_act", "gelu");
    cJSON_AddNumberToObject(config, "hidden_dropout_prob", l->config.model.hidden_dropout);
    cJSON_AddNumberToObject(config, "attention_probs_dropout_prob", l->config.model.attention_dropout);
    cJSON_AddNumberToObject(config, "classifier_dropout", l->config.model.dropout);
    cJSON_AddNumberToObject(config, "max_position_embeddings",
                            side_of(network, "bert.embeddings.position_embeddings.weight", 0));
    cJSON_AddNumberToObject(config, "type_vocab_size",
                            side_of(network, "bert.embeddings.token_type_embeddings.weight", 0));
    cJSON_AddNumberToObject(config, "layer_norm_eps", 1e-12);
    cJSON_AddNumberToObject(config, "initializer_range", 0.02);
    if (classifies) {
        cJSON_AddStringToObject(config, "problem_type", "single_label_classification");
        add_labels(config, l);
    }
    return config;
}

static cJSON *tokenizer_of(const sd_loaded *l) {
    cJSON *config = cJSON_CreateObject();
    cJSON_AddStringToObject(config, "tokenizer_class", "BertTokenizer");
    cJSON_AddBoolToObject(config, "do_lower_case", l->config.data.lower_case);
    cJSON_AddNumberToObject(config, "model_max_length", l->samples.sequence);
    return config;
}

/* Writes and frees the object. */
static sd_status write_json(const char *folder, const char *name, cJSON *object) {
    char path[PATH_BYTES], *text = cJSON_Print(object);
    cJSON_Delete(object);
    if (!text)
        return no_memory(folder);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    const sd_status status = sd_file_put(path, text);
    free(text);
    return status;
}

sd_status sd_export_folder(const sd_loaded *l, const char *folder) {
    char path[PATH_BYTES];
    int heads = 0;
    SD_TRY(heads_of(l->network, &heads));
    SD_TRY(write_json(folder, "config.json", config_of(l, heads)));
    SD_TRY(write_json(folder, "tokenizer_config.json", tokenizer_of(l)));
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    return sd_file_write(path, l->info.vocab, strlen(l->info.vocab));
}
