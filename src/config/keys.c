/* SPDX-License-Identifier: Apache-2.0 */
/* The table of keys: type, range, default and meaning of each. --help, config.ini, --set, the checks of a resume, error
 * messages and the tables of configs/README.md derive from it. */
#include "keys.h"

#include <string.h>

#define AT(section, name) offsetof(sd_config, section.name)
#define TEXT(s, n, initial, results, help)                                                                             \
    { #s, #n, KEY_TEXT, AT(s, n), initial, 0, 0, NULL, results, help }
#define PATH(s, n, initial, results, help)                                                                             \
    { #s, #n, KEY_PATH, AT(s, n), initial, 0, 0, NULL, results, help }
#define WHOLE(s, n, initial, low, high, results, help)                                                                 \
    { #s, #n, KEY_WHOLE, AT(s, n), initial, low, high, NULL, results, help }
#define REAL(s, n, initial, low, high, results, help)                                                                  \
    { #s, #n, KEY_REAL, AT(s, n), initial, low, high, NULL, results, help }
#define SWITCH(s, n, initial, results, help)                                                                           \
    { #s, #n, KEY_SWITCH, AT(s, n), initial, 0, 0, NULL, results, help }
#define CHOICE(s, n, initial, LIST, results, help) CHOICE_AT(s, n, AT(s, n), initial, LIST, results, help)
#define CHOICE_AT(s, n, at, initial, LIST, results, help)                                                              \
    { #s, #n, KEY_CHOICE, at, initial, 0, 0, SD_CHOICE_WORDS(LIST), results, help }
#define LIST(s, n, low, high, results, help)                                                                           \
    { #s, #n, KEY_LIST, AT(s, n), "", low, high, NULL, results, help }

#define WHOLES(s, n, low, high, results, help)                                                                         \
    { #s, #n, KEY_WHOLES, AT(s, n), "", low, high, NULL, results, help }

#define SAMPLES 4294967295.0
#define MANY 9007199254740992.0 /* 2^53 */

const key sd_keys[] = {
    TEXT(run, name, "", false, "name of the run's folder in output; empty: the name of the configuration file"),
    PATH(run, output, "runs", false, "folder in which runs have their folders"),
    WHOLE(run, seed, "1", 0, 4294967295.0, true,
          "seed of all random numbers: weights, order, augmentation, drop decisions"),
    WHOLE(
        run, threads, "0", 0, SD_MAX_THREADS, false,
        "OpenMP threads a rank; 0: OMP_NUM_THREADS, else this rank's share of the processors that its affinity mask and CPU quota allow"),
    WHOLE(
        run, max_seconds, "0", 0, 1e9, false,
        "wall-clock time from the start of the program in which it saves and stops (exit code 75) by itself; 0: no limit"),
    CHOICE(
        run, convolution, "auto", SD_CONVOLUTION_LIST, false,
        "direct: the defining sum; auto: Winograd F(4x4,3x3) where it is faster, with rounding errors about ten times larger"),
    WHOLE(run, stall_seconds, "600", 0, 1e6, false,
          "end a run without progress after this many seconds, saying where each rank is; 0: never"),

    CHOICE(
        data, dataset, "synthetic", SD_DATASET_LIST, true,
        "synthetic: procedural coloured shapes, no files; cifar10, cifar100: the official binary files; folder: JPEG and PNG files, train/CLASS/ and val/CLASS/, or CLASS/; hdf5: a file that sdtrain pack made of any of these; text: tables of texts, train and validation, valid, val, dev or test, .tsv or .csv; synthetic_text: procedural expressions of logic, no files"),
    PATH(data, path, "", false, "folder of the dataset's files, or its parent; hdf5: the file"),
    PATH(data, vocab, "", false, "text: the vocabulary of word pieces, a vocab.txt as BERT's; empty: the one in path"),
    SWITCH(data, lower_case, "true", true, "text: letters are lowered and lose their accents (uncased vocabularies)"),
    WHOLE(data, sequence, "128", 8, 512, true, "text: word pieces that a network reads of a text; longer ones are cut"),
    TEXT(data, text_columns, "", true,
         "text: name of the column of texts, or of two for pairs, or numbers from 1 of a table without names; empty: "
         "sentence or text, or sentence1, sentence2"),
    TEXT(data, label_column, "", true,
         "text: name or number of the column of labels; empty: label, labels, class or category"),
    WHOLE(
        data, image_size, "0", 0, 4096, true,
        "height and width of images in pixels, resized if they are others; 0: the dataset's own (synthetic: 32, folder and encoded hdf5: 224)"),
    CHOICE(data, interpolation, "bilinear", SD_FILTER_LIST, true,
           "resizing, with antialiasing, byte for byte Pillow's"),
    REAL(data, crop_pct, "0", 0, 1, true,
         "augment = none: the centre crop's share of the shorter side; 0: 0.875 above 64 pixels, else 1"),
    TEXT(
        data, normalise, "auto", true,
        "dataset: mean and deviation of the training images; imagenet; half: 0.5 and 0.5; or m,m,m,s,s,s; auto: dataset, for folders imagenet"),
    CHOICE(
        data, on_bad_image, "stop", SD_BAD_IMAGE_LIST, true,
        "an image that cannot be decoded ends the run, or is replaced by the next one (not scored), and listed in bad_images.txt"),
    WHOLE(data, train_samples, "0", 0, SAMPLES, true,
          "use the first N training images; 0: all (synthetic: 2000, synthetic_text: 20000)"),
    WHOLE(data, val_samples, "0", 0, SAMPLES, true,
          "use the first N validation images; 0: all (synthetic: 1000, synthetic_text: 2000)"),
    {"data", "validation", KEY_WHOLE, AT(data, validation), "test", 1, SAMPLES, "test", true,
     "validation images: the test set, or N training images held out, drawn by the seed"},
    CHOICE(
        data, augment, "none", SD_AUGMENT_LIST, true,
        "crop_flip: zero padding of 4, random crop, random flip; resized_crop: random crop of 8 to 100 % of the area, resized, random flip"),
    CHOICE(data, last_batch, "drop", SD_LAST_BATCH_LIST, true,
           "an incomplete last batch of an epoch: leave it out, or train it"),
    WHOLE(data, workers, "1", 1, 64, false, "threads a rank that prepare batches ahead"),

    TEXT(model, name, "resnet20", true, SD_MODEL_NAMES),
    WHOLE(model, classes, "0", 0, 100000, true,
          "number of classes; 0: the dataset's (synthetic: 10, synthetic_text: 2)"),
    WHOLES(
        model, layers, 0, 1000, true,
        "blocks of each stage, if not those of the name, as in pruned networks: of a ViT or BERT one number, of resnet50 four (3, 4, 6, 3)"),
    CHOICE(
        model, stem, "auto", SD_STEM_LIST, true,
        "resnet18 to 152: cifar = 3x3 without pooling, imagenet = 7x7 stride 2 and max pooling; auto: cifar up to 64 pixels"),
    WHOLE(model, patch_size, "16", 1, 32, true, "side of a ViT patch in pixels; divides the image"),
    REAL(model, dropout, "0", 0, 0.99, true, "dropout probability in front of the classifier"),
    REAL(model, hidden_dropout, "0", 0, 0.99, true,
         "bert: dropout probability of embeddings and branches (Hugging Face: 0.1, with LayerDrop less)"),
    REAL(model, attention_dropout, "0", 0, 0.99, true,
         "bert: dropout probability of the attention's probabilities (Hugging Face: 0.1)"),
    TEXT(
        model, freeze, "", true,
        "parameters that are not trained: patterns of names, separated by commas, ! excepts (*,!fc.*); batch norms frozen whole keep their running statistics and normalise by them"),
    SWITCH(model, zero_init_residual, "false", true, "start the last batch norm weight of every residual branch at 0"),
    PATH(
        model, init, "", false,
        "file whose weights a new run begins with: safetensors with the names of timm, torchvision or Hugging Face, or a checkpoint"),
    TEXT(
        model, init_digest, "", false,
        "XXH3-128 of the file init; the run writes it into its config.ini; where it is given, another file is refused"),

    REAL(stochastic_depth, rate, "0", 0, 1, true,
         "drop probability of the last block (the schedule spreads it over depth)"),
    REAL(stochastic_depth, survival_prob, "1", 0, 1, false, "the same as rate = 1 - survival_prob; never give both"),
    CHOICE(
        stochastic_depth, schedule, "linear", SD_DROP_SCHEDULE_LIST, true,
        "rate of block l of L: linear l/L (Huang et al.), linspace (l-1)/(L-1) (timm), zero_based (l-1)/L, constant, or rates"),
    LIST(stochastic_depth, rates, 0, 1, true, "schedule = list: the drop rate of every block, separated by commas"),
    CHOICE(stochastic_depth, scope, "global", SD_DROP_SCOPE_LIST, true,
           "the images that share a decision: the whole batch, those of a rank, or none: each image has its own"),
    CHOICE(stochastic_depth, rank_divisor, "all", SD_RANK_DIVISOR_LIST, true,
           "scope = rank: a branch's gradient is divided by the images of all ranks, or of those that kept it"),
    CHOICE(
        stochastic_depth, scale, "inference", SD_DROP_SCALE_LIST, true,
        "inference: branches times 1-p at evaluation (Huang et al.); training: kept ones times 1/(1-p) (timm); none: "
        "neither (LayerDrop)"),
    WHOLE(stochastic_depth, min_kept, "0", 0, SD_DROP_MOST_KEPT, true,
          "draw plans that keep fewer decision units again; rates are then those of the plans that are left"),
    CHOICE(stochastic_depth, unit, "branch", SD_UNIT_LIST, true,
           "branch: attention and MLP of a transformer block have separate decisions; block: a common one"),
    CHOICE_AT(stochastic_depth, dropped_update, AT(optimizer, dropped_update), "decay_and_momentum", SD_DROPPED_LIST,
              true, "a dropped branch's weights: zero gradient (momentum and decay act), or no update at all"),

    CHOICE_AT(optimizer, name, AT(optimizer, kind), "sgd", SD_OPTIMIZER_LIST, true, "PyTorch's SGD or AdamW"),
    REAL(optimizer, momentum, "0.9", 0, 0.9999, true, "sgd: momentum"),
    SWITCH(optimizer, nesterov, "false", true, "sgd: Nesterov momentum"),
    REAL(optimizer, weight_decay, "0.0001", 0, 10, true, "weight decay (sgd: added to the gradient; adamw: decoupled)"),
    CHOICE(optimizer, decay, "all", SD_DECAY_LIST, true,
           "parameters that decay; matrices: not norms, biases, position and class embeddings"),
    REAL(
        optimizer, layer_decay, "1", 1e-6, 1, true,
        "factor of the learning rate from one block to the block below, the head having lr (timm's layer decay); 1: none"),
    REAL(optimizer, beta1, "0.9", 0, 0.999999, true, "adamw: decay of the first moment"),
    REAL(optimizer, beta2, "0.999", 0, 0.999999, true, "adamw: decay of the second moment"),
    REAL(optimizer, epsilon, "1e-08", 1e-30, 1, true, "adamw: added to the root of the second moment"),
    REAL(optimizer, clip_norm, "0", 0, 1e30, true, "largest L2 norm of the whole gradient; 0: no clipping"),

    CHOICE(lr, schedule, "step", SD_LR_LIST, true, "shape of the learning rate over the epochs"),
    REAL(lr, base, "0.1", 0, 1e6, true, "learning rate (onecycle: its peak)"),
    REAL(lr, warmup_epochs, "0", 0, 1e6, true, "epochs over which the rate rises linearly to that of the schedule"),
    LIST(lr, milestones, 0, 1e9, true, "step: completed epochs after which the rate is multiplied by gamma, rising"),
    REAL(lr, gamma, "0.1", 0, 1, true, "step: factor at each milestone"),
    REAL(lr, minimum, "0", 0, 1e6, true, "cosine, linear: final learning rate"),

    WHOLE(train, epochs, "10", 1, 1e6, true, "passes over the training images"),
    WHOLE(train, max_steps, "0", 0, MANY, false, "stop after this many steps from the start of training; 0: never"),
    WHOLE(train, batch_size, "128", 1, SAMPLES, true, "images a step, over all ranks"),
    CHOICE(train, objective, "classify", SD_OBJECTIVE_LIST, true,
           "classify: the class of an image or text; mlm: masked tokens of texts, to pretrain a bert_* (labels are not "
           "read)"),
    REAL(train, label_smoothing, "0", 0, 0.999, true, "label smoothing of the training loss"),
    CHOICE(train, on_nonfinite, "stop", SD_ON_NONFINITE_LIST, true,
           "if loss or gradient is not finite: stop the run, or skip the update"),

    WHOLE(eval, every_epochs, "1", 0, 1e6, false, "score the validation images every N epochs; 0: never"),
    WHOLE(eval, train_samples, "0", 0, SAMPLES, false, "also score the first N training images, without augmentation"),

    WHOLE(checkpoint, every_steps, "0", 0, MANY, false, "write a checkpoint every N steps; 0: never"),
    WHOLE(checkpoint, every_epochs, "1", 0, 1e6, false, "write a checkpoint every N epochs; 0: never"),
    REAL(checkpoint, every_seconds, "0", 0, 1e9, false, "write a checkpoint every N seconds; 0: never"),
    WHOLE(checkpoint, keep, "3", 1, 1e6, false, "newest checkpoints to keep, beside the best"),
    WHOLE(checkpoint, keep_every, "0", 0, MANY, false,
          "keep checkpoints whose step is a multiple of N for ever; 0: none"),
    WHOLE(checkpoint, compression, "0", 0, 9, false, "deflate level of tensors in the file; 0: none"),
    WHOLE(checkpoint, max_failures, "3", 1, 1e6, false,
          "consecutive checkpoints that may fail to be written before the run ends (exit code 74)"),
    PATH(checkpoint, resume, "auto", false,
         "auto: resume from the newest good checkpoint, if any; never; or a checkpoint file"),

    WHOLE(communication, bucket_bytes, "1048576", 4096, 2147483648.0, false,
          "maximum of gradient bytes in one reduction"),
    SWITCH(communication, skip_dropped, "true", false, "do not send the gradients of dropped branches"),
    CHOICE(communication, reduction, "fast", SD_REDUCTION_LIST, true,
           "fast: the MPI library's allreduce; reproducible: the same bits on any number of ranks that divides shards"),
    WHOLE(communication, shards, "8", 1, 4096, true,
          "reproducible: parts of a batch, a power of two; batch norm sees one at a time (batch_size / shards images)"),
    CHOICE(
        communication, progress, "thread", SD_COMMUNICATION_PROGRESS_LIST, false,
        "who calls MPI while a rank computes: a thread that sleeps between polls, or the rank itself after each block"),
    CHOICE(
        communication, wire, "fp32", SD_WIRE_LIST, true,
        "format of gradients between ranks; bf16: half the bytes, rounding errors are added to the next step's gradients (error feedback)"),
    WHOLE(communication, check_every, "100", 0, MANY, false,
          "compare the weights of all ranks every N steps, and at the start; 0: never"),

    WHOLE(log, every_steps, "10", 0, MANY, false, "write a row of steps.csv every N steps; 0: never"),
    SWITCH(log, decisions, "false", false,
           "gather every rank's own drop plan each step, compare, and write decisions.csv"),
    PATH(log, trace, "", false,
         "file for a trace of all ranks in one step, as Chrome trace events (chrome://tracing, ui.perfetto.dev)"),
    WHOLE(log, trace_step, "0", 0, MANY, false, "the traced step; 0: the third after the start"),
    CHOICE(log, progress, "auto", SD_DISPLAY_LIST, false, "rewrite the progress line in place; auto: on a terminal"),
};

const int sd_n_keys = sizeof sd_keys / sizeof sd_keys[0];
_Static_assert(sizeof sd_keys / sizeof sd_keys[0] <= SD_CONFIG_MAX_KEYS, "raise SD_CONFIG_MAX_KEYS");

const char *const sd_keys_later[] = {"log.tensorboard", NULL};

const key *sd_key_find(const char *section, const char *name) {
    for (int i = 0; i < sd_n_keys; i++)
        if (!strcmp(sd_keys[i].section, section) && !strcmp(sd_keys[i].name, name))
            return &sd_keys[i];
    return NULL;
}

int sd_choice_find(const char *choices, const char *word) {
    size_t length = strlen(word);
    for (int i = 0; choices; i++) {
        const char *end = strchr(choices, '|');
        size_t this_length = end ? (size_t)(end - choices) : strlen(choices);
        if (this_length == length && !strncmp(choices, word, length))
            return i;
        choices = end ? end + 1 : NULL;
    }
    return -1;
}

void sd_choice_name(const char *choices, int i, char *word, size_t word_bytes) {
    for (; i > 0; i--)
        choices = strchr(choices, '|') + 1;
    snprintf(word, word_bytes, "%.*s", (int)strcspn(choices, "|"), choices);
}
