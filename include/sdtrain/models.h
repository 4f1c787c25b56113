/* SPDX-License-Identifier: Apache-2.0 */
/* The models by name, with the parameter names of torchvision (ResNet), timm (ViT) and Hugging Face (BERT).
 *
 *     resnet20, 32, 44, 56, 110, ..., 1202   CIFAR ResNets of depth 6n+2 (He et al. 2016, section 4.2): 3x3 stem,
 *                                            16/32/64 filters, basic blocks, parameter-free shortcuts
 *     resnet18, 34, 50, 101, 152             ImageNet ResNets as torchvision's (v1.5: a bottleneck strides in its 3x3
 *                                            convolution); these names win over 6n+2
 *     vit_tiny, vit_small, vit_base          as timm's vit_*_patch16_224, any patch size
 *     bert_L<layers>_H<width>[_A<heads>]     as Hugging Face's BertForSequenceClassification, or BertForMaskedLM: 4 x
 *                                            width between the feed-forward layers, 512 positions, 2 types of tokens,
 *                                            exact GELU; heads: width / 64. Google's uncased_L-12_H-256_A-4 is
 *                                            bert_L12_H256. */
#ifndef SDTRAIN_MODELS_H
#define SDTRAIN_MODELS_H

#include "sdtrain/choice.h"
#include "sdtrain/data.h"
#include "sdtrain/nn.h"
#include "sdtrain/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The families, and their names in messages and --help. */
#define SD_MODEL_FAMILIES(X)                                                                                           \
    X(resnet, "resnet20, resnet32, resnet44, ... resnet1202 (CIFAR, depth 6n+2), resnet18, resnet34, resnet50, "       \
              "resnet101, resnet152")                                                                                  \
    X(vit, "vit_tiny, vit_small, vit_base")                                                                            \
    X(bert, "bert_L2_H128, bert_L12_H256, ... (L layers of width H; _A12: other than H/64 heads)")

/* All names, as a constant text. */
#define SD_MODEL_NAMES (&(SD_MODEL_FAMILIES(SD_MODEL_NAMES_OF))[2])
#define SD_MODEL_NAMES_OF(family, names) ", " names

/* The stem of resnet18 ... 152. */
#define SD_STEM_LIST(X)                                                                                                \
    X(SD_STEM_AUTO, "auto")         /* cifar up to 64 pixels */                                                        \
    X(SD_STEM_CIFAR, "cifar")       /* 3x3, no pooling */                                                              \
    X(SD_STEM_IMAGENET, "imagenet") /* 7x7 of stride 2, 3x3 max pooling of stride 2 */
typedef enum sd_stem_choice { SD_STEM_LIST(SD_CHOICE_ENUMERATOR) } sd_stem_choice;
SD_CHOICE_WORD_OF(sd_stem_choice, SD_STEM_LIST)

/* The algorithm of convolutions. */
#define SD_CONVOLUTION_LIST(X)                                                                                         \
    X(SD_CONVOLUTION_AUTO, "auto")     /* transformed where that is faster (sd_kernels.conv2d_forward) */              \
    X(SD_CONVOLUTION_DIRECT, "direct") /* the defining sum, no transform */
typedef enum sd_convolution_choice { SD_CONVOLUTION_LIST(SD_CHOICE_ENUMERATOR) } sd_convolution_choice;
SD_CHOICE_WORD_OF(sd_convolution_choice, SD_CONVOLUTION_LIST)

/* What is one decision unit in a transformer block. */
#define SD_UNIT_LIST(X)                                                                                                \
    X(SD_UNIT_BRANCH, "branch") /* each branch */                                                                      \
    X(SD_UNIT_BLOCK, "block")   /* both branches */
typedef enum sd_unit_choice { SD_UNIT_LIST(SD_CHOICE_ENUMERATOR) } sd_unit_choice;
SD_CHOICE_WORD_OF(sd_unit_choice, SD_UNIT_LIST)

/* The blocks of a network, stage by stage from the input on; transformers have one stage. */
enum { SD_MAX_STAGES = 4 };
typedef struct sd_stages {
    int n, blocks[SD_MAX_STAGES];
} sd_stages;

typedef struct sd_model_spec {
    const char *name;
    int image_size;           /* height and width; 3 channels; of texts 0 */
    int sequence, vocabulary; /* tokens of a text, at most; different ones; of images 0 */
    int classes;              /* of masked tokens: vocabulary */
    sd_stages stages;         /* n = 0: as the name says; SD_ERR_CONFIG if the model has others than n */
    sd_objective objective;
    sd_stem_choice stem;
    int patch_size;           /* ViT: divides image_size */
    double dropout;           /* before the classifier */
    double hidden_dropout;    /* BERT: of the embeddings, and of each branch before it is added */
    double attention_dropout; /* BERT: of the attention's probabilities */
    bool zero_init_residual;
    sd_convolution_choice convolution;
    sd_unit_choice unit;
    bool gathers; /* allows passes that keep a branch for some of their images (sd_drop_part); takes memory */
} sd_model_spec;

/* Local. Builds a network for at most max_images images a pass; its values are zeros. The caller destroys it by
 * sd_network_destroy(). SD_ERR_CONFIG names the wrong key; SD_ERR_MEMORY. On failure *network is NULL. */
sd_status sd_model_create(const sd_model_spec *spec, const sd_kernels *kernels, int max_images, sd_network **network);

/* Likewise without memory for values and activations: to check the spec, and for units and figures. */
sd_status sd_model_outline(const sd_model_spec *spec, const sd_kernels *kernels, int max_images, sd_network **network);

/* The blocks of the network that a spec describes. Local. SD_ERR_CONFIG. */
sd_status sd_model_stages(const sd_model_spec *spec, sd_stages *stages);

/* ---- depth on demand ---- */

/* Which blocks of a network an evaluation keeps, or what is left of it when it is pruned (Fan et al. 2020, "Reducing
 * transformer depth on demand with structured dropout"):
 *
 *     0,2,4           these blocks, counted from 0, the others are left out
 *     every_other:k   floor(j L / k), j = 0 ... k - 1, of the L blocks that can be left out
 *     first:k, last:k, random:k (drawn by the seed)
 *
 * A block whose shortcut changes shapes, as the first of a ResNet's stages, cannot be left out: it stays with every
 * rule, k does not count it, and a list must have it. keep: [units], 1: kept. SD_ERR_USAGE says what is wrong with the
 * rule. Local. */
sd_status sd_model_keep(const sd_network *network, const char *rule, uint32_t seed, unsigned char *keep);

/* How many blocks can be left out. */
int sd_model_removable_blocks(const sd_network *network);

/* The blocks that are kept, "0,2,4", with this between them. Caller frees *text. SD_ERR_MEMORY. */
sd_status sd_model_kept_text(const sd_network *network, const unsigned char *keep, char separator, char **text);

/* Learned values, and forward FLOPs of a sample, of what is left. */
size_t sd_model_kept_parameters(const sd_network *network, const unsigned char *keep);
double sd_model_kept_flops(const sd_network *network, const unsigned char *keep);

/* The stages of what is left of a network of these stages. */
sd_stages sd_model_kept_stages(const sd_network *network, const sd_stages *stages, const unsigned char *keep);

/* Whether a segment is of what is kept. */
bool sd_model_keeps(const sd_network *network, const unsigned char *keep, int segment);

/* Copies what is kept of a network into one that has only these blocks: values, or any buffer laid out like them, and
 * how often each segment was kept. `to` is built as `from`, but for its stages: SD_ERR_INTERNAL if the tensors do not
 * match one by one. Local. */
sd_status sd_model_copy_kept(const sd_network *from, const unsigned char *keep, const float *from_buffer,
                             const sd_network *to, float *to_buffer);
sd_status sd_model_copy_kept_steps(const sd_network *from, const unsigned char *keep, sd_network *to);

/* ---- values of a file ---- */

/* What sd_model_adopt() has done. */
typedef struct sd_adoption {
    int tensors;         /* of the network */
    int adopted;         /* of them, those that have the file's values now, resized ones included */
    int classes;         /* of the network */
    size_t file_classes; /* of the file, if the classifier keeps its values for having others; else 0 */
    bool no_classifier;  /* the file has none: the network's keeps its values */
    bool no_head;        /* nor the layers before it, or no head of masked tokens: likewise */
    int passed_over;     /* tensors of the file that are of another head */
    size_t file_rows;    /* of the file's table of position embeddings, if it has others than ... */
    int rows;            /* ... the network; else 0 and 0 */
    int file_grid, grid; /* sides of the grid of position embeddings before and after resizing; 0: not resized */
} sd_adoption;

/* Local. Takes over the values of every tensor, parameters and statistics, from the weight of its name in PyTorch's
 * state_dict. Names may all have "module." or "model." in front, or both; and all may lack the "bert." of Hugging
 * Face's models with a head.
 *
 * - Of another number of classes, or if the file has none, the classifier's tensors keep their values, as in timm's
 *   load_pretrained() and Hugging Face's from_pretrained().
 * - Position embeddings of another square grid are resized as by timm's resample_abs_pos_embed(): bicubic, antialiased,
 *   the prefix token kept. Of those of texts the rows that both have are taken over, and the others keep their values.
 * - A BERT's pooler, and its head of masked tokens, keep their values if the file has none. Tensors of heads that the
 *   network has not, "cls.", "bert.pooler." and "classifier.", are passed over: a classifier begins with a masked
 *   language model, or with Google's files.
 * - num_batches_tracked and position_ids are passed over.
 *
 * Everything else is refused, and then nothing is changed: SD_ERR_DATA with the file and up to three names each that
 * are missing, unexpected, or of another shape; or the place of a value that is not finite. SD_ERR_MEMORY. file: for
 * messages. */
sd_status sd_model_adopt(sd_network *network, const sd_weights *weights, const char *file, sd_adoption *report);

/* "150 of 152 tensors adopted; position embeddings resized from 14 x 14 to 6 x 6; ...". Returns text. */
enum { SD_ADOPTION_BYTES = 512 };
const char *sd_adoption_text(const sd_adoption *report, char text[SD_ADOPTION_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
