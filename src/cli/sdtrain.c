/* SPDX-License-Identifier: Apache-2.0 */
/* sdtrain: tools for checkpoints, packed sets and vocabularies, and predictions. Needs no mpirun. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools.h"

static const struct tool {
    const char *name;
    sd_tool *run;
} tools[] = {{"verify", sd_tool_verify}, {"inspect", sd_tool_inspect}, {"diff", sd_tool_diff},
             {"export", sd_tool_export}, {"pack", sd_tool_pack},       {"predict", sd_tool_predict},
             {"prune", sd_tool_prune},   {"vocab", sd_tool_vocab}};
enum { N_TOOLS = sizeof tools / sizeof tools[0] };

static const char help[] =
    "usage: sdtrain verify FILE...\n"
    "       sdtrain inspect FILE [--rates] [--tensors] [--config] [--json]\n"
    "       sdtrain diff A B [--all]\n"
    "       sdtrain export FILE OUT.safetensors [--fold] [--keep RULE]\n"
    "       sdtrain export FILE FOLDER/ [--keep RULE]\n"
    "       sdtrain export FILE --onnx OUT.onnx [--keep RULE]\n"
    "       sdtrain prune FILE --keep RULE OUT.h5 [--config NEW.ini]\n"
    "       sdtrain pack SOURCE OUT.h5 [--decoded] [--skip-bad]\n"
    "       sdtrain predict CHECKPOINT INPUT... [--top K] [--csv | --json] [--threads N]\n"
    "       sdtrain vocab TEXTS... --size N [--text-columns NAMES] [--cased] [--alphabet K]\n"
    "       sdtrain --help | --version\n\n"
    "Tools for the checkpoints, packed data sets and vocabularies of sdtrain-mpi.\n\n"
    "  verify     loads each FILE as a resume would. Checks its seal (length, XXH3-128), that it holds the whole network\n"
    "             and optimizer of its configuration, that all numbers are finite, and that its progress is consistent;\n"
    "             prints one line per file. Of a packed set: header, labels, offsets, and the digest of every byte\n"
    "  inspect    prints the content of FILE\n"
    "    --rates    the drop rate of each branch\n"
    "    --tensors  shape, range, mean and L2 norm of each tensor\n"
    "    --config   the configuration it was trained with\n"
    "    --json     all of it as one JSON object\n"
    "  diff       compares the states in A and B bit for bit, and prints the first and the largest difference. Times,\n"
    "             host and configuration are no part of a state\n"
    "    --all      also lists differences of those\n"
    "  export     writes the network in FILE as PyTorch's state_dict, with the names of torchvision, timm or Hugging Face:\n"
    "             all of /model, and what it is as metadata (model, classes, image_size, mean, std, of texts sequence and\n"
    "             vocabulary, step, scale, rates). Replaces OUT\n"
    "               Of a BERT into FOLDER/, with config.json, vocab.txt and tokenizer_config.json, which Hugging Face's\n"
    "               from_pretrained() loads\n"
    "    --fold     multiplies each branch's last weights by 1-p where the evaluation of FILE does (scale = inference),\n"
    "               so that programs without stochastic depth give the same logits\n"
    "    --onnx     writes FILE's evaluation for inference runtimes instead, as ONNX (opset 17): input [N, 3, H, W],\n"
    "               any N, normalised by mean and std of the metadata, or of texts input_ids, attention_mask and\n"
    "               token_type_ids [N, T], any N and T; output logits [N, classes]\n"
    "    --keep RULE  only these blocks, as prune has them\n"
    "  prune      makes a checkpoint of some of FILE's blocks, renumbered from 0, with their optimizer state. It computes\n"
    "             what sdtrain-mpi --evaluate FILE --keep RULE does, to the bit, and is resumed, exported and used as any:\n"
    "             its configuration has model.layers and the rates of the blocks that are left, and run.name = OUT\n"
    "    --keep RULE  0,2,4 (counted from 0), every_other:K, first:K, last:K, random:K (drawn by the run's seed). Blocks\n"
    "               that change shapes, as the first of a ResNet's stages, stay: lists must have them, K counts none\n"
    "    --config NEW.ini  also writes the configuration: sdtrain-mpi NEW.ini --resume OUT.h5 goes on training\n"
    "  pack       makes one file of a data set, for data.dataset = hdf5 and data.path = OUT.h5. SOURCE: a folder of\n"
    "             JPEG and PNG files as of dataset = folder, a folder of CIFAR's binary files, or an HDF5 file with\n"
    "             uint8 images [N, H, W, 3] or [N, 3, H, W] and integer labels (train/images, train/labels, val/...;\n"
    "             x_train, y_train, x_test, ...; or images, labels). Files of a folder are stored as they are, and each\n"
    "             is decoded once to check it\n"
    "    --decoded  stores the pixels, of images of one size: a larger file, no decoding in training\n"
    "    --skip-bad leaves out files that cannot be decoded, and lists them; else the first one is an error\n"
    "  predict    names the most probable classes of each image. INPUT: a JPEG or PNG file, or a folder, in which those\n"
    "             at any depth are taken, in sorted order. Images are resized, cropped and normalised as the validation\n"
    "             images of CHECKPOINT were. What is damaged or missing is named on standard error, and the others go on\n"
    "    --top K    classes an image (default 5)\n"
    "    --csv      path,rank,class,label,probability: a row for each of the K classes\n"
    "    --json     an array of {\"path\", \"predictions\": [{\"label\", \"class\", \"probability\"}]} or {\"path\", \"error\"}\n"
    "    --threads N  that decode, and that compute (default: the processors there are)\n"
    "    --         behind it, words that begin with - are paths too\n"
    "  vocab      prints a vocab.txt of N word pieces, made of the words of TEXTS: .tsv and .csv tables, else files of a\n"
    "             text a line; as Hugging Face's BertWordPieceTokenizer makes it: pieces that occur together most often,\n"
    "             and twice at least, are one\n"
    "    --text-columns NAMES  of tables, as data.text_columns; then all TEXTS are tables\n"
    "    --cased      tells letters by case and accents, for data.lower_case = false\n"
    "    --alphabet K  takes the K most frequent characters only (default 1000)\n\n"
    "exit codes: 0 good, equal; 1 different (diff); 64 usage; 65 damaged; 66 missing or unreadable; 70 internal;\n"
    "            74 output; 75 stopped by a signal (pack: nothing is left)\n"
    "            verify, predict: 65 if any file is damaged, else 66 if any is missing\n";

sd_status sd_tool_value(int n, char **words, int *i, const char **value) {
    if (*i + 1 >= n)
        return sd_fail(SD_ERR_USAGE, "%s needs a value (--help shows how)", words[*i]);
    *value = words[++*i];
    return SD_OK;
}

sd_status sd_tool_number(const char *option, const char *text, int most, int *number) {
    char *end = NULL;
    errno = 0;
    const long value = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end || errno != 0 || value < 1 || value > most)
        return sd_fail(SD_ERR_USAGE, "%s needs a number from 1 to %d (--help shows how)", option, most);
    *number = (int)value;
    return SD_OK;
}

static sd_status run(int argc, char **argv, int *exit_code) {
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        fputs(help, stdout);
        return SD_OK;
    }
    if (!strcmp(name, "--version")) {
        printf("sdtrain %s\n", SD_VERSION);
        return SD_OK;
    }
    for (int i = 0; i < N_TOOLS; i++)
        if (!strcmp(name, tools[i].name))
            return tools[i].run(argc - 2, argv + 2, exit_code);
    return name[0]
               ? sd_fail(SD_ERR_USAGE, "unknown tool %s (--help lists all)", name)
               : sd_fail(
                     SD_ERR_USAGE,
                     "a tool is expected: verify, inspect, diff, export, pack, predict, prune, vocab (--help shows how)");
}

int main(int argc, char **argv) {
    int exit_code = 0;
    sd_log_set_program("sdtrain");
    sd_status status = run(argc, argv, &exit_code);
    if (status == SD_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = sd_fail(SD_ERR_IO, "standard output cannot be written: %s", strerror(errno));
    if (status == SD_OK)
        return exit_code;
    sd_log_error();
    return sd_status_exit_code(status);
}
