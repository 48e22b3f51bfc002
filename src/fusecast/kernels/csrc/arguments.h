/* Arguments of the exported functions. `layout.c` lists every field, and `kernels/bindings.py` defines the structures
   by that list when the library is loaded. Every function returns 0, or 1 when there was no memory. */
#pragma once
#include <stdint.h>

typedef struct {
  uint64_t seed;
  uint32_t threshold; /* of 65536: the share that is dropped; 0: no dropout */
  float scale;        /* 1 / (share kept), of the share as quantised */
} Dropout;

/* Parameters of a gated residual network in torch's layout, or their gradients, which are added to. */
typedef struct {
  float *hidden_weight, *hidden_bias; /* [d, d], [d]; NULL in a plain gate */
  float *gate_weight, *gate_bias;     /* [2 out, d], [2 out]: values, then gates */
  float *gain, *shift;                /* [out] */
} GrnParameters;

/* Gated residual networks and gates over rows: grn.c. */
typedef struct {
  int64_t rows, d, out, repeat; /* `repeat` consecutive rows share a row of the context */
  int32_t threads, may_fold;
  float eps;
  GrnParameters parameters, gradients;
  Dropout dropout;
  const float *x;                 /* [rows, d]: before the ELU, or the input of a plain gate */
  const float *context;           /* [rows / repeat, d], added to x; or NULL */
  const float *skip;              /* [rows, out] */
  float *y;                       /* [rows, out] */
  float **saved_z, **saved_gates; /* one of [rows, dp], [rows, 2 op]: from forward to backward; NULL: recompute them */
  const float *dy;                /* [rows, out]; backward only, with the rest */
  float *dx, *dskip;              /* as x and skip */
} GrnArguments;

/* Variable selection: variable_selection.c. */
typedef struct {
  int64_t rows, d, reals, categories, entries; /* entries: rows of the tables */
  int64_t repeat;                              /* `repeat` consecutive rows share a row of the context */
  int32_t threads, may_fold;
  float eps;
  GrnParameters variables, joint; /* of all variables, end to end; of the joint network, from d to V */
  GrnParameters variables_gradients, joint_gradients;
  Dropout dropout;
  const float *values;                                  /* [rows, reals], 0 where missing */
  const uint8_t *present;                               /* [rows, V], or NULL */
  const int64_t *codes;                                 /* [rows, categories]: rows of the tables */
  const float *embedded, *variable_input, *joint_input; /* tables: [entries, d], [entries, d], [entries, d + V] */
  const float *context;                                 /* [rows / repeat, d], added to the joint network's first map */
  const float *joint_bias;           /* [d + V]: biases of the joint network's first map and of its skip */
  float *selected, *weights;         /* [rows, d], [rows, V] */
  float **saved_z, **saved_gates;    /* V of [rows, dp], [rows, 2 dp]: from forward to backward; NULL: recompute them */
  const float *dselected, *dweights; /* dweights: NULL for none */
  float *dembedded, *dvariable_input, *djoint_input, *dcontext, *djoint_bias; /* added to */
} SelectionArguments;

/* One layer of an LSTM: lstm.c. */
typedef struct {
  int64_t windows, steps, inputs, d;
  int32_t threads;
  const float *from_input, *from_state, *bias; /* [4 d, inputs], [4 d, d], [4 d]: gates in the order i, f, g, o */
  const uint8_t *mask;                         /* [windows, steps], or NULL */
  const float *x;                              /* [windows, steps, inputs] */
  float *gates;                                /* [windows, steps, 4 d]: activations for the backward pass; or NULL */
  float *hidden, *cell;                        /* [windows, steps + 1, d]: states; the first is an input */
  float *output;                            /* [windows, steps, d]; NULL where nothing is masked: then it is `hidden` */
  const float *doutput;                     /* [windows, steps, d]; backward only, with the rest */
  float *dhidden, *dcell;                   /* [windows, d]: in: of the last state; out: of the first */
  float *dgates, *dx;                       /* as gates and x */
  float *dfrom_input, *dfrom_state, *dbias; /* added to */
} LstmArguments;

/* Interpretable attention: attention.c. */
typedef struct {
  int64_t windows, heads, horizon, steps, d, row_stride; /* d: width of a head */
  int32_t threads;
  int32_t ahead; /* step h of the horizon attends to the steps before L + h + ahead */
  float scale;   /* of the scores */
  Dropout dropout;
  const uint8_t *mask; /* [windows, steps - horizon], or NULL */
  const float *query;  /* [windows, horizon, heads, d] */
  const float *key;    /* [windows, steps, heads, d]; from step to step `row_stride` numbers, as for the value */
  const float *value;  /* [windows, steps, d] */
  float *mixed, *mean; /* [windows, horizon, d]; [windows, horizon, steps]: before dropout */
  const float *dmixed, *dmean; /* backward only, with the rest; dmean: NULL for none */
  float *dquery, *dkey, *dvalue;
} AttentionArguments;

/* A linear map: packed [outputs / 16][inputs][16]; [outputs]. */
typedef struct {
  const float *weight, *bias;
} PackedMap;

/* A gate, add and norm. */
typedef struct {
  PackedMap map;             /* 2 dp outputs: values, then gates */
  const float *gain, *shift; /* of the norm */
} PackedGate;

/* Prediction from the selected vectors to the input of the head: decoder.c. */
typedef struct {
  int64_t windows, lookback, horizon, d, dp, heads, layers, group_size; /* group_size: windows in a group */
  int32_t threads, folded;
  int32_t ahead; /* step h of the horizon attends to the steps before L + h + ahead */
  float eps;
  int64_t past_stride, future_stride, past_sums_stride, future_sums_stride; /* numbers from one window to the next */
  const float *past, *future;           /* selected vectors: [windows, L, dp] and [windows, H, dp]; may overlap */
  const float *past_sums, *future_sums; /* what they and the biases add to the gates of the LSTM, [.., 4 dp]; or NULL */
  const float *hidden, *cell;           /* [windows, dp]: initial states; or NULL */
  const float *context;                 /* [windows, dp]: includes the bias of the enrichment's first map */
  const uint8_t *mask;                  /* [windows, L]; or NULL */
  const float *from_input, *from_state, *bias; /* of the LSTM: encoder, decoder; of each, all layers */
  PackedGate after_recurrence, enrich, after_attention, position_wise,
      before_head; /* enrich, position_wise: with hidden map */
  PackedMap enrich_input, position_input, query,
      projection;             /* projection: keys, then values padded; only if not folded */
  const float *key;           /* [d, dp]; only if folded */
  float *decoded, *attention; /* [windows, H, dp]; [windows, H, T], or NULL */
} DecoderArguments;

/* Clipping and the step of AdamW: adamw.c. */
typedef struct {
  int64_t tensors;
  int32_t threads;
  double rate, decay, beta1, beta2, eps; /* of a step */
  double max_norm, norm;                 /* of clipping: the largest norm; result: the norm before */
  const int64_t *offsets;                /* [tensors + 1]: where each begins when all stand end to end */
  float *const *parameter, *const *gradient, *const *mean, *const *square; /* [tensors] */
  float *const *steps; /* [tensors]: number of steps done, incremented here */
} AdamWArguments;

/* Windows of an encoded panel: gather.c. */
typedef struct {
  int64_t windows, batch; /* of all batches; of each but the last */
  int64_t series, stride, lookback, horizon;
  int64_t reals, targets, observed; /* columns; the targets are the first of the observed */
  int64_t categories, observed_categories;
  int64_t static_reals, static_categories;
  int32_t scaled;                           /* 1 if targets are scaled by their lookback */
  int32_t count_of_center;                  /* of its last values, the mean of which is the center; 0: all */
  int32_t wrong;                            /* result: 1 if a window number is out of range */
  float floor;                              /* smallest scale of a window */
  const int64_t *indptr, *offsets, *cutoff; /* of the series' rows, of its windows, first of its cutoffs */
  const float *real;                        /* [N, reals] */
  const uint8_t *present;                   /* the same; or NULL: all present */
  const int32_t *category;                  /* [N, categories] */
  const float *static_real;                 /* [S, static_reals] */
  const uint8_t *static_present;            /* the same; or NULL */
  const int32_t *static_category;           /* [S, static_categories] */
  const float *center, *scale;              /* [S, targets] */
  const float *position;                    /* [T], appended as last real; or NULL */
  const int64_t *number;                    /* [windows] */
  float *to_static_real, *to_past_real, *to_future_real, *to_target, *to_center, *to_scale, *to_weight;
  int64_t *to_static_cat, *to_past_cat, *to_future_cat;
  uint8_t *to_static_real_present, *to_past_real_present, *to_future_real_present, *to_past_mask,
      *to_target_mask; /* or NULL */
  uint8_t *lack;       /* [windows], then [batches]: masks that are needed; or NULL with the masks */
} GatherArguments;

/* The order in which windows are visited: sampler.c. */
typedef struct {
  int64_t count;
  uint64_t size, left, right;
  const uint64_t *keys; /* [2 * rounds] */
  int64_t rounds;
  const int64_t *places;
  int64_t *numbers;
} OrderArguments;
