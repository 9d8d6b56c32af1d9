// interneuron: CPU kernels for layers with separate excitatory and inhibitory units ("Dale's ANNs").
//
//     zE = x Wex'                    excitation                      x [batch, d], Wex [ne, d]
//     zI = x Wix'                    activity of the interneurons    Wix [ni, d]
//     s  = zI Wei'                   subtractive inhibition          Wei [ne, ni]
//     y  = (exp(alpha) zI) Wei' + e  divisive inhibition             alpha [ni], e = 1e-8
//     h  = f(g (zE - s) / y + b)     output, f = ReLU or identity    g [ne], b [ne]
//
// Arrays of a layer or a network are of float (as PyTorch's by default), or of double where its `element` says so:
// INTERNEURON_F64. So calls take them by pointers to void, which C and C++ make of any others by themselves; that a
// pointer is to numbers of the right kind is the caller's to see to. Labels are of uint32_t, sizes and indices of int64_t.
//
// Arrays are row-major with the last index contiguous. Rows of examples follow one another; where a call takes a stride
// after a pointer (most of these end in _strided), they begin so many elements apart: 0 is packed, any other at least the
// columns. What lies between the rows is left alone, but counts as a part of the array: it must be there, up to the end
// of the last row, and nobody may write to it during the call.
//
// Calls return a status: INTERNEURON_OK, or why nothing was done. Then interneuron_last_error() says it in a sentence,
// for each thread its own, and outputs and parameters are as they were (except after INTERNEURON_INTERNAL). Refused are
// pointers that are NULL where they must not be or misaligned, sizes that are not positive or too large for memory,
// outputs that overlap any other argument or attached array, and handles that were freed, never handed out, or are of
// another kind. What the library cannot see, and the caller must get right: that arrays are as long as the sizes say,
// structs as large as their `size` says, and strings end with NUL; that all of them are alive and no other thread
// writes to them (or reads outputs) during the call; that functions which are handed in return. No exception or panic
// leaves the library.
//
// Things are named by handles, numbers that are never used twice; 0 is none. A handle may move between threads. While a
// thread is in a call with a layer's or a network's handle, calls of other threads with the same handle return
// INTERNEURON_BUSY at once; different handles, also of the same context, are independent. Two layers or networks that are
// attached to the same arrays must not be used at the same time.
//
// A child process of fork() may use and free all handles of its parent, whichever thread forks and whenever; a pool of
// threads is started anew by the first call that needs it. Only what another thread was in a call with at the moment of
// the fork is lost to the child: calls return INTERNEURON_INTERNAL at once, and freeing it gives its memory up. (Processes
// that are made around the C library, by _Fork() or the bare system call, must not use handles of contexts with a pool.)
//
// Structs begin with their own size, which a caller sets to sizeof: so the library knows which fields the caller's
// version has. Missing ones have defaults; sizes that it does not know it refuses. A caller sets a struct to zero before
// it fills it in: fields that come with a later header are then 0 or NULL, which is their default.
//
// This file is generated from the sources of the library.

#ifndef INTERNEURON_H
#define INTERNEURON_H

#include <stdint.h>

// The call did what it should.
#define INTERNEURON_OK 0

// A pointer that is needed is NULL.
#define INTERNEURON_NULL_POINTER 1

// A number, a size or an array's content is not what it should be.
#define INTERNEURON_INVALID_ARGUMENT 2

// A pointer is not a multiple of its type's alignment.
#define INTERNEURON_MISALIGNED 3

// An output overlaps another argument.
#define INTERNEURON_OVERLAP 4

// The handle was freed, was never handed out, or names something of another kind.
#define INTERNEURON_INVALID_HANDLE 5

// Another thread is in a call with the same handle.
#define INTERNEURON_BUSY 6

// Another call has to come first: parameters before a forward pass, a forward pass before a backward pass.
#define INTERNEURON_WRONG_ORDER 7

// There is no such instruction set, or this CPU lacks it.
#define INTERNEURON_UNSUPPORTED 8

// Memory or threads cannot be had.
#define INTERNEURON_OUT_OF_RESOURCES 9

// The loss stopped being finite; the step changed nothing.
#define INTERNEURON_DIVERGED 10

// A defect of the library; or, in a child process, a handle that another thread was using when the process was forked.
// The handle can only be freed afterwards, and outputs may be half-written.
#define INTERNEURON_INTERNAL 11

// A file cannot be read or written, or does not hold what it should.
#define INTERNEURON_FILE 12

// The version of this ABI. It changes when a program that was compiled with an older header would no longer work; new
// functions, and new fields at the ends of structs, do not change it.
#define INTERNEURON_ABI_VERSION 1

// The largest of 0 and the sum of the inputs.
#define INTERNEURON_RELU 0

// The sum of the inputs itself.
#define INTERNEURON_IDENTITY 1

// Arrays are of float.
#define INTERNEURON_F32 0

// Arrays are of double.
#define INTERNEURON_F64 1

// A layer with interneurons if `ni` is above 0, and a plain one if it is 0.
#define INTERNEURON_BY_NI 0

// A layer with sign-constrained columns (Dale's principle without interneurons): `wex` is its Wpos, not negative, and
// the last inputs come in with a negative sign.
#define INTERNEURON_COLUMNS 1

// A plain layer with layer normalisation: `wex` is its W.
#define INTERNEURON_LAYER_NORM 2

// A plain layer with batch normalisation: `wex` is its W.
#define INTERNEURON_BATCH_NORM 3

// Divisive inhibition is `(exp(alpha) zI) Wei' + e`, for inputs that are not negative.
#define INTERNEURON_DIVISOR_PLAIN 0

// The same, but at least `floor`.
#define INTERNEURON_DIVISOR_FLOOR 1

// `sqrt((exp(alpha) zI)^2 (Wei^2)' + 1e-5)`, for inputs of any sign.
#define INTERNEURON_DIVISOR_ROOT 2

// Interneurons are drawn like the excitatory units and inhibit as much as these excite.
#define INTERNEURON_MATCHED 0

// Inhibitory weights are drawn independently of the excitation.
#define INTERNEURON_INDEPENDENT 1

// Every interneuron sees the mean of the excitatory weights, so that subtraction centres every input. Exponential.
#define INTERNEURON_CENTRED 2

// The same with lognormal weights.
#define INTERNEURON_CENTRED_LOGNORMAL 3

// Weight decay is added to the gradient before momentum or moments.
#define INTERNEURON_DECAY_BEFORE_MOMENTUM 0

// Weight decay is added to what momentum or moments make of the gradient.
#define INTERNEURON_DECAY_AFTER_MOMENTUM 1

// Weight decay multiplies parameters with `1 - lr * factor * decay`, as in AdamW.
#define INTERNEURON_DECAY_DECOUPLED 2

// The gradients of a layer are clipped together.
#define INTERNEURON_CLIP_LAYER 0

// Each array is clipped by itself.
#define INTERNEURON_CLIP_ARRAY 1

// The gradients of a network are clipped together.
#define INTERNEURON_CLIP_NETWORK 2

// Softmax cross-entropy with the class of each example.
#define INTERNEURON_LABELS 0

// Softmax cross-entropy with the probability of each class.
#define INTERNEURON_PROBABILITIES 1

// Squared error.
#define INTERNEURON_VALUES 2

// Binary cross-entropy with logits.
#define INTERNEURON_BINARY 3

// How a context computes. Known sizes: with the fields up to `threads`, up to `isa`.
typedef struct interneuron_context_config {
    // `sizeof(interneuron_context_config)`.
    uint64_t size;
    // 0 or 1: every call computes on the thread that makes it. Up to 1024: a pool of so many threads, which the layers
    // and networks of the context share. The results have the same bits whatever is chosen, also in other modes of
    // rounding and of flushing to zero than usual: on x86-64 and aarch64 the pool computes in those of the caller.
    int64_t threads;
    // The name of the instruction set, or NULL: the one that the environment variable `INTERNEURON_ISA` names, or else
    // (also where it is empty) the widest of this CPU. Default NULL.
    const char *isa;
} interneuron_context_config;

// The handle of a context: an instruction set, and the threads that the layers and networks made in it share.
typedef uint64_t interneuron_context;

// What a layer is. Known sizes: with the fields up to `ne`, `ni`, `nonlinearity`, `divisive`, `floor`, `element`.
typedef struct interneuron_layer_config {
    // `sizeof(interneuron_layer_config)`.
    uint64_t size;
    // Inputs, at least 1.
    int64_t d;
    // Excitatory units, which are the outputs, at least 1.
    int64_t ne;
    // Inhibitory interneurons; 0 (the default) makes a plain layer `h = f(x W' + b)`.
    int64_t ni;
    // `INTERNEURON_RELU` (the default) or `INTERNEURON_IDENTITY`.
    int64_t nonlinearity;
    // 1 if inhibition divides as well as subtracts, 0 if it only subtracts: a struct of zeros says so. 1 in a version of
    // the struct without the field. Without meaning in a layer without interneurons.
    int64_t divisive;
    // `INTERNEURON_BY_NI` (the default), `INTERNEURON_COLUMNS`, `INTERNEURON_LAYER_NORM` or `INTERNEURON_BATCH_NORM`.
    int64_t kind;
    // Of sign-constrained columns: how many of the inputs, the last ones, are inhibitory. Default 0.
    int64_t inhibitory_inputs;
    // Of sign-constrained columns: how many of the outputs, the last ones, are inhibitory inputs of the layer above.
    // Default 0.
    int64_t inhibitory_outputs;
    // What a layer that divides divides by: `INTERNEURON_DIVISOR_PLAIN` (the default), `..._FLOOR` or `..._ROOT`.
    int64_t divisor;
    // With `INTERNEURON_DIVISOR_FLOOR`, from 1e-30 to 1e30. Default 0.
    double floor;
    // `INTERNEURON_F32` (the default) or `INTERNEURON_F64`. In a network's `shapes`, 0 or the `element` of the network.
    int64_t element;
} interneuron_layer_config;

// The handle of a layer.
typedef uint64_t interneuron_layer;

// The arrays of a layer: parameters, gradients of them, or what steps keep of them; of float, or of double where the
// layer's `element` is `INTERNEURON_F64`. Row-major with the last index contiguous. A plain layer
// has `wex` (its W) and `b`; a layer that only subtracts has neither `alpha` nor `g`; one that normalises has `wex`, `g`
// and `b`, over a batch the running statistics, too (in the place of their gradients are the statistics of the batch).
// Fields of arrays that a layer does not have must be NULL. Known sizes: with the fields up to `b`, `running_var`.
typedef struct interneuron_arrays {
    // `sizeof(interneuron_arrays)`.
    uint64_t size;
    // Wex `[ne, d]`: input to excitatory units, not negative; or the W `[ne, d]` of a plain layer, of any sign.
    void *wex;
    // Wix `[ni, d]`: input to interneurons, not negative.
    void *wix;
    // Wei `[ne, ni]`: interneurons to excitatory units, not negative.
    void *wei;
    // alpha `[ni]`: log-strength of divisive inhibition, of any sign.
    void *alpha;
    // g `[ne]`: gain, not negative where inhibition divides.
    void *g;
    // b `[ne]`: bias.
    void *b;
    // `[ne]`: the running mean of what batch normalisation takes the mean of.
    void *running_mean;
    // `[ne]`: its running variance, not negative.
    void *running_var;
} interneuron_arrays;

// Adam's moments, with which a step is along `correction * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)`.
// Every field counts: PyTorch has 0.9, 0.999, 1e-8 and 0.
typedef struct interneuron_adam {
    // `sizeof(interneuron_adam)`.
    uint64_t size;
    // At least 0 and less than 1.
    double beta1;
    // At least 0 and less than 1.
    double beta2;
    // Finite and not negative.
    double epsilon;
    // 1 if the largest v so far takes the place of v, 0 if not.
    int64_t amsgrad;
} interneuron_adam;

// The angle rule: the largest of `rates` learning rates, evenly spaced from `lr` down to `lr_min`, with which the angle
// between a layer's step and what the bound at zero leaves of it has a cosine above `1 - cosine_epsilon`. Every field
// counts.
typedef struct interneuron_angle {
    // `sizeof(interneuron_angle)`.
    uint64_t size;
    // Above 0 and at most `lr`.
    double lr_min;
    // From 1 to 1000.
    int64_t rates;
    // From 0 to 1.
    double cosine_epsilon;
} interneuron_angle;

// The diagonal natural gradient, for `interneuron_network_train_step`: `F <- (1 - c) F + c f_lambda mean (dl/dp)^2`, and
// the step is along `dp / (F + epsilon)`. Every field counts: the original experiments had 0.02, 2.5e-5, 1e-8 and 1.
typedef struct interneuron_natural {
    // `sizeof(interneuron_natural)`.
    uint64_t size;
    // Above 0 and at most 1.
    double c;
    // Finite and above 0.
    double f_lambda;
    // Finite and above 0.
    double epsilon;
    // 1 if `1 / (F + epsilon)` is divided by its norm over the layer's Wex, 0 if not.
    int64_t normalised;
} interneuron_natural;

// How a step changes the parameters: `p <- p - lr * factor * correction * dp`, then `max(p, 0)` for Wex, Wix, Wei and
// g; other fields add to this, in the order: corrections, clipping, natural gradient, weight decay, momentum or moments,
// angle rule, step, bound, kept sums. What a step keeps for the next one (velocities, moments) is the layer's or the
// network's, and is forgotten when parameters are drawn, set or attached. Known sizes: with the fields up to
// `lr`, `corrections`, `factors`, `natural`.
typedef struct interneuron_update {
    // `sizeof(interneuron_update)`.
    uint64_t size;
    // The learning rate, finite and not negative.
    double lr;
    // 1 if the gradients of inhibitory parameters are corrected by what the Fisher information says of them (dWix by
    // 1/sqrt(ne), dWei by 1/d, dalpha by 1/(sqrt(ne) d)), 0 (the default) if not.
    int64_t corrections;
    // Six further factors on the learning rate, for Wex (or W), Wix, Wei, alpha, g, b in this order, finite and not
    // negative; or NULL (the default): all 1. Where the factor is 0, nothing changes.
    const double *factors;
    // Six weight decays in this order, finite and not negative; or NULL (the default): none.
    const double *decay;
    // `INTERNEURON_DECAY_BEFORE_MOMENTUM` (the default), `..._AFTER_MOMENTUM` or `..._DECOUPLED`.
    int64_t decay_order;
    // Six momenta in this order, at least 0 and less than 1, `v <- momentum * v + (1 - dampening) * dp`; or NULL (the
    // default): none.
    const double *momentum;
    // 1 for Nesterov's momentum, 0 (the default) for the ordinary one.
    int64_t nesterov;
    // Dampening of momentum, from 0 (the default) to 1.
    double dampening;
    // Adam's moments in the place of momentum, or NULL (the default).
    const struct interneuron_adam *adam;
    // Above 0 for exponentiated gradient, `p <- p * exp(-lr * sign(p) * dp)`: what both positive parts of a bias have
    // beyond its value at first, such as 0.1. With 0 (the default) steps are projected.
    double split;
    // 1 if no weight may cross zero, also of a plain layer, and none has a magnitude below `floor`; 0 (the default) if
    // weights that are not negative have the bound 0.
    int64_t freeze_signs;
    // With `freeze_signs`, finite and not negative; 0 (the default) without.
    double floor;
    // The largest norm of the gradients that `clip_scope` takes together; 0 (the default) does not clip.
    double clip;
    // `INTERNEURON_CLIP_LAYER` (the default), `..._ARRAY`, or in a network `..._NETWORK`.
    int64_t clip_scope;
    // What weights keep the sum of their magnitudes: 0 (the default) nothing, 1 each array, 2 each row.
    int64_t kept_sums;
    // The angle rule, or NULL (the default).
    const struct interneuron_angle *angle;
    // The natural gradient, or NULL (the default).
    const struct interneuron_natural *natural;
} interneuron_update;

// What a network is. Known sizes: with the fields up to `dims`, `nis`, `seed`, `mean_input`, `element`.
typedef struct interneuron_network_config {
    // `sizeof(interneuron_network_config)`.
    uint64_t size;
    // The number of layers, from 1 to 1024.
    int64_t layers;
    // `layers + 1` numbers: the inputs, then the (excitatory) units of each layer. Hidden layers have ReLU, the last one
    // the identity. NULL if there are `shapes`.
    const int64_t *dims;
    // `layers` numbers: the interneurons of each layer; or NULL (the default), which makes a network of plain layers.
    const int64_t *nis;
    // The seed of the parameters. Default 0.
    uint64_t seed;
    // `layers` layers of any kind in the place of `dims` and `nis`, one after the other and all of the same `size`; or
    // NULL (the default).
    const struct interneuron_layer_config *shapes;
    // How layers with interneurons are drawn: `INTERNEURON_MATCHED` (the default), `INTERNEURON_INDEPENDENT`,
    // `INTERNEURON_CENTRED` or `INTERNEURON_CENTRED_LOGNORMAL`.
    int64_t scheme;
    // With `INTERNEURON_CENTRED_LOGNORMAL` the mean of the weights over their deviation, from 0.001 to 1000; 0 (the
    // default) is 1. With other schemes 0.
    double k;
    // The mean of the inputs, which biases of a first layer with sign-constrained columns make up for. Default 0.
    double mean_input;
    // `INTERNEURON_F32` (the default) or `INTERNEURON_F64`.
    int64_t element;
} interneuron_network_config;

// The handle of a network.
typedef uint64_t interneuron_network;

// What the outputs of a network are to be, and so the loss: the mean over examples, or for values and binary targets over
// elements, each with a weight. Known sizes: with the fields up to `smoothing`, `mask_stride`.
typedef struct interneuron_target {
    // `sizeof(interneuron_target)`.
    uint64_t size;
    // `INTERNEURON_LABELS` (the default), `..._PROBABILITIES`, `..._VALUES` or `..._BINARY`.
    int64_t kind;
    // With `INTERNEURON_LABELS`, `[batch]`: each less than the number of outputs. Otherwise NULL.
    const uint32_t *labels;
    // With the other kinds, `[batch, outputs]`: probabilities, not negative; any values; or from 0 to 1. NULL with labels.
    const void *y;
    // Weights of the examples `[batch]`, finite and not negative; or NULL (the default): all 1.
    const void *weights;
    // Weights of the elements `[batch, outputs]` of values and binary targets, finite and not negative, in the place of
    // `weights`: a mask, for instance; or NULL (the default).
    const void *mask;
    // Label smoothing of labels and probabilities, from 0 (the default) to 1.
    double smoothing;
    // How far the rows of `y` are apart, in elements; 0 (the default) is packed.
    int64_t y_stride;
    // How far the rows of `mask` are apart, in elements; 0 (the default) is packed.
    int64_t mask_stride;
} interneuron_target;

// A loss that the caller computes: from `outputs [batch, count]` it returns the loss and overwrites `doutputs [batch,
// count]`, zeros at first, with its gradient. `data` is what the caller handed in. It must return (no exception, no
// longjmp) and write to no other array of the call; calls with the same network return INTERNEURON_BUSY meanwhile. In a
// child process that it forks it must not return.
typedef double (*interneuron_loss)(void *data, int64_t batch, int64_t count, const float *outputs, float *doutputs);

// The same for networks of double.
typedef double (*interneuron_loss_f64)(void *data, int64_t batch, int64_t count, const double *outputs, double *doutputs);

// What a layer does on some examples. Numbers that it has not are NaN, counts 0. Known sizes: the whole.
typedef struct interneuron_statistics {
    // `sizeof(interneuron_statistics)`, set by the caller in the first of an array.
    uint64_t size;
    // Mean and variance of the standardised excitation over units and examples, where a layer divides or normalises.
    double zhat_mean;
    // See `zhat_mean`.
    double zhat_variance;
    // Least and largest divisor, where a layer divides.
    double y_least;
    // See `y_least`.
    double y_largest;
    // How many divisors are below their bound (for plain ones e, of which a step of training allows none),
    int64_t low_divisors;
    // of how many,
    int64_t divisors;
    // and the smallest of those below.
    double low_smallest;
    // The part of the units that are zero for every example, with ReLU.
    double silent;
    // The part of the weights that are zero.
    double zero_weights;
    // The cosine between the step of projected descent and what the bound at zero leaves of it.
    double cosine;
    // The norms of the gradients, in the order of the fields of `interneuron_arrays` up to `b`.
    double gradient_norms[6];
} interneuron_statistics;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What was wrong with the last call of the calling thread that did not return `INTERNEURON_OK`: one sentence that
// names the argument, its value and what was expected; empty if none failed so far. The text is UTF-8, ends with NUL,
// and stays valid until the next failing call of the same thread, or until the thread ends.
const char *interneuron_last_error(void);

// The version of the ABI that the library has. A program checks once that it equals `INTERNEURON_ABI_VERSION` of its
// header.
uint32_t interneuron_abi_version(void);

// The version of the library, such as "0.1.0". The text is never freed.
const char *interneuron_version(void);

// Stores in `*count` how many instruction sets this CPU has that the library has kernels for.
int32_t interneuron_isa_count(int64_t *count);

// Stores in `*name` the name of instruction set `i`, from the narrowest (0, "portable") to the widest. The text is
// never freed.
int32_t interneuron_isa_name(int64_t i, const char **name);

// Creates a context and stores its handle in `*context`.
int32_t interneuron_context_create(const struct interneuron_context_config *config, interneuron_context *context);

// Frees a context. Its layers and networks may still be used; the pool ends with the last of them.
int32_t interneuron_context_free(interneuron_context context);

// Creates a layer and stores its handle in `*layer`. It has no parameters yet: `interneuron_layer_init`,
// `interneuron_layer_attach` or `interneuron_layer_set_parameters` comes next.
int32_t interneuron_layer_create(interneuron_context context,
                                 const struct interneuron_layer_config *config,
                                 interneuron_layer *layer);

// Frees a layer, and its parameters if they are its own.
int32_t interneuron_layer_free(interneuron_layer layer);

// Draws the parameters: into the attached arrays, or else into arrays that the layer owns. `rectified_input` is 0 if
// the inputs are raw numbers, 1 if they passed a ReLU. The same seed draws the same parameters on every machine.
int32_t interneuron_layer_init(interneuron_layer layer, uint64_t seed, int64_t rectified_input);

// Lets the layer use the caller's arrays as its parameters from now on: no copy is made, calls read them and updates
// change them in place. They must stay alive, and during calls with this layer nobody else may write to them (or read
// them, during updates), until they are detached, replaced by other arrays, or the layer is freed. Their content is
// not looked at. Parameters that the layer owned are freed.
int32_t interneuron_layer_attach(interneuron_layer layer, const struct interneuron_arrays *arrays);

// Copies the attached arrays into arrays that the layer owns, which are its parameters from now on. The attached
// arrays are then the caller's alone again.
int32_t interneuron_layer_detach(interneuron_layer layer);

// Stores in `*count` how many parameter arrays the layer has.
int32_t interneuron_layer_parameter_count(interneuron_layer layer, int64_t *count);

// Tells what parameter array `i` of the layer is: its name as in the equations (never freed), its rows and its
// columns; a vector has one column. Each output may be NULL. The order is that of the fields of `interneuron_arrays`,
// without those that the layer does not have.
int32_t interneuron_layer_parameter(interneuron_layer layer,
                                    int64_t i,
                                    const char **name,
                                    int64_t *rows,
                                    int64_t *columns);

// Copies parameters in: into the attached arrays, or else into arrays that the layer owns. No pointer of an array that
// the layer has may be NULL. Values that are not finite, or negative where they must not be, are refused.
int32_t interneuron_layer_set_parameters(interneuron_layer layer, const struct interneuron_arrays *arrays);

// Copies the parameters out. Arrays whose pointers are NULL are not wanted.
int32_t interneuron_layer_get_parameters(interneuron_layer layer, const struct interneuron_arrays *arrays);

// From `x [batch, d]` to `h [batch, ne]`, which is overwritten. The layer keeps what a following
// `interneuron_layer_backward` or `interneuron_layer_update` needs. If memory for that is missing, what an earlier
// forward pass kept is gone.
int32_t interneuron_layer_forward(interneuron_layer layer, int64_t batch, const void *x, void *h);

// The same, with rows that are as far apart as the strides say.
int32_t interneuron_layer_forward_strided(interneuron_layer layer,
                                          int64_t batch,
                                          const void *x,
                                          int64_t x_stride,
                                          void *h,
                                          int64_t h_stride);

// As `interneuron_layer_forward`, but nothing is kept for a backward pass, also not what an earlier forward pass kept.
int32_t interneuron_layer_infer(interneuron_layer layer, int64_t batch, const void *x, void *h);

// The same, with rows that are as far apart as the strides say.
int32_t interneuron_layer_infer_strided(interneuron_layer layer,
                                        int64_t batch,
                                        const void *x,
                                        int64_t x_stride,
                                        void *h,
                                        int64_t h_stride);

// All gradients: from `x [batch, d]` and `dh [batch, ne]` to `arrays`, the gradients of the parameters, and to
// `dx [batch, d]`; all are overwritten. `x`, `batch` and the parameters must be those of the forward pass that went
// before, which serves one backward pass or update. `arrays` itself, each pointer in it, and `dx` may be NULL: not
// wanted. If only `dx` is wanted, no other gradient is computed.
int32_t interneuron_layer_backward(interneuron_layer layer,
                                   int64_t batch,
                                   const void *x,
                                   const void *dh,
                                   const struct interneuron_arrays *arrays,
                                   void *dx);

// The same, with rows that are as far apart as the strides say.
int32_t interneuron_layer_backward_strided(interneuron_layer layer,
                                           int64_t batch,
                                           const void *x,
                                           int64_t x_stride,
                                           const void *dh,
                                           int64_t dh_stride,
                                           const struct interneuron_arrays *arrays,
                                           void *dx,
                                           int64_t dx_stride);

// Backward and update in one, which never stores a gradient of a weight: from `x [batch, d]` and `dh [batch, ne]` to
// the changed parameters, and to `dx [batch, d]` (of the parameters before the change) unless it is NULL. `x`,
// `batch` and the parameters must be those of the forward pass that went before, which serves one backward pass or
// update.
int32_t interneuron_layer_update(interneuron_layer layer,
                                 int64_t batch,
                                 const void *x,
                                 const void *dh,
                                 const struct interneuron_update *update,
                                 void *dx);

// The same, with rows that are as far apart as the strides say.
int32_t interneuron_layer_update_strided(interneuron_layer layer,
                                         int64_t batch,
                                         const void *x,
                                         int64_t x_stride,
                                         const void *dh,
                                         int64_t dh_stride,
                                         const struct interneuron_update *update,
                                         void *dx,
                                         int64_t dx_stride);

// Takes a step with gradients that `interneuron_layer_backward` handed out, perhaps averaged by the caller. No pointer of
// an array that the layer has may be NULL. With unchanged gradients the parameters get the same bits as by
// `interneuron_layer_update`.
int32_t interneuron_layer_apply(interneuron_layer layer,
                                const struct interneuron_update *update,
                                const struct interneuron_arrays *arrays);

// What inhibition did in the last `interneuron_layer_forward` with as many examples, before a backward pass or an
// update follows it: the activity of the interneurons `zi [batch, ni]`, and in a layer that divides the standardised
// excitation `zhat [batch, ne] = (zE - s) / y` and the divisor `y [batch, ne]`. Each may be NULL: not wanted. Nothing
// of the layer changes.
int32_t interneuron_layer_inhibition(interneuron_layer layer, int64_t batch, void *zi, void *zhat, void *y);

// The same, with rows that are as far apart as the strides say.
int32_t interneuron_layer_inhibition_strided(interneuron_layer layer,
                                             int64_t batch,
                                             void *zi,
                                             int64_t zi_stride,
                                             void *zhat,
                                             int64_t zhat_stride,
                                             void *y,
                                             int64_t y_stride);

// Creates a network with drawn parameters and stores its handle in `*network`. With the same seed it has the same
// parameters as `Architecture::dann` (or `mlp`, or `of` layers) of the Rust crate.
int32_t interneuron_network_create(interneuron_context context,
                                   const struct interneuron_network_config *config,
                                   interneuron_network *network);

// Frees a network, and its parameters if they are its own.
int32_t interneuron_network_free(interneuron_network network);

// Lets the network use the caller's arrays as its parameters from now on, of which `arrays` has a struct for each layer,
// all of the same `size`: no copy is made, calls read them and steps change them in place, as with
// `interneuron_layer_attach`. Their content is not looked at. Parameters that the network owned are freed.
int32_t interneuron_network_attach(interneuron_network network,
                                   const struct interneuron_arrays *arrays);

// Copies the attached arrays into arrays that the network owns, which are its parameters from now on. The attached
// arrays are then the caller's alone again.
int32_t interneuron_network_detach(interneuron_network network);

// One step of training on the examples `x [batch, inputs]`, all finite, with `labels [batch]`, each less than the
// number of outputs: forward, softmax cross-entropy averaged over the batch, backward and update. Stores the loss
// before the update in `*loss` unless that is NULL.
//
// Inhibition divides by numbers that are positive for inputs which are not negative. A step whose inputs make one
// negative is refused with INTERNEURON_INVALID_ARGUMENT before anything changes: subtract from each input its smallest
// value in the training data.
int32_t interneuron_network_train_step(interneuron_network network,
                                       int64_t batch,
                                       const void *x,
                                       const uint32_t *labels,
                                       const struct interneuron_update *update,
                                       double *loss);

// Stores the mean loss on the examples in `*loss`, and in `*errors` how many of them have their largest output
// elsewhere than at their label. Either may be NULL. `batch` may be as large as memory allows: it is cut in pieces.
int32_t interneuron_network_evaluate(interneuron_network network,
                                     int64_t batch,
                                     const void *x,
                                     const uint32_t *labels,
                                     double *loss,
                                     int64_t *errors);

// The outputs before the softmax: from `x [batch, inputs]` to `logits [batch, outputs]`, which is overwritten.
int32_t interneuron_network_logits(interneuron_network network, int64_t batch, const void *x, void *logits);

// The same, with rows that are as far apart as the strides say.
int32_t interneuron_network_logits_strided(interneuron_network network,
                                           int64_t batch,
                                           const void *x,
                                           int64_t x_stride,
                                           void *logits,
                                           int64_t logits_stride);

// The loss on the examples `x [batch, inputs]` with a `target`, in `*loss` unless that is NULL, and its gradients by all
// parameters, which overwrite `arrays`: a struct for each layer, all of the same `size`, in which a pointer that is NULL
// is not wanted. Nothing of the network changes. `x_stride` is how far the rows of `x` are apart; 0 is packed.
int32_t interneuron_network_gradients(interneuron_network network,
                                      int64_t batch,
                                      const void *x,
                                      int64_t x_stride,
                                      const struct interneuron_target *target,
                                      const struct interneuron_arrays *arrays,
                                      double *loss);

// Takes a step with gradients that `interneuron_network_gradients` handed out, perhaps averaged by the caller: `arrays`
// has a struct for each layer, all of the same `size`, in which no pointer of an array that the layer has may be NULL.
// With unchanged gradients the parameters get the same bits as by a step of training. Natural gradients need such a step.
int32_t interneuron_network_apply(interneuron_network network,
                                  const struct interneuron_update *update,
                                  const struct interneuron_arrays *arrays);

// Stores in `*count` how many layers the network has.
int32_t interneuron_network_layer_count(interneuron_network network, int64_t *count);

// Stores in `*count` how many parameter arrays layer `k` of the network has.
int32_t interneuron_network_parameter_count(interneuron_network network, int64_t k, int64_t *count);

// Tells what parameter array `i` of layer `k` is: as `interneuron_layer_parameter`.
int32_t interneuron_network_parameter(interneuron_network network,
                                      int64_t k,
                                      int64_t i,
                                      const char **name,
                                      int64_t *rows,
                                      int64_t *columns);

// Copies the parameters of layer `k` in: into the attached arrays, or else into arrays that the network owns. No pointer
// of an array that the layer has may be NULL. Values that are not finite, or negative where they must not be, are refused.
int32_t interneuron_network_set_parameters(interneuron_network network,
                                           int64_t k,
                                           const struct interneuron_arrays *arrays);

// Copies the parameters of layer `k` out. Arrays whose pointers are NULL are not wanted.
int32_t interneuron_network_get_parameters(interneuron_network network,
                                           int64_t k,
                                           const struct interneuron_arrays *arrays);

// As `interneuron_network_train_step`, with any target in the place of labels.
int32_t interneuron_network_train_target(interneuron_network network,
                                         int64_t batch,
                                         const void *x,
                                         const struct interneuron_target *target,
                                         const struct interneuron_update *update,
                                         double *loss);

// The same, with rows that are as far apart as the stride says (and the strides of `target`).
int32_t interneuron_network_train_target_strided(interneuron_network network,
                                                 int64_t batch,
                                                 const void *x,
                                                 int64_t x_stride,
                                                 const struct interneuron_target *target,
                                                 const struct interneuron_update *update,
                                                 double *loss);

// As `interneuron_network_evaluate`, with any target in the place of labels. `*errors` is 0 where the target knows no
// classes.
int32_t interneuron_network_evaluate_target(interneuron_network network,
                                            int64_t batch,
                                            const void *x,
                                            const struct interneuron_target *target,
                                            double *loss,
                                            int64_t *errors);

// The same, with rows that are as far apart as the stride says (and the strides of `target`).
int32_t interneuron_network_evaluate_target_strided(interneuron_network network,
                                                    int64_t batch,
                                                    const void *x,
                                                    int64_t x_stride,
                                                    const struct interneuron_target *target,
                                                    double *loss,
                                                    int64_t *errors);

// One step of training with a loss of the caller's own: forward on `x [batch, inputs]`, `compute` with the outputs,
// backward and update. Stores what `compute` returned in `*loss` unless that is NULL. A loss or a gradient that is not
// finite is refused before anything changes. Natural gradients need a target. The network is one of float.
int32_t interneuron_network_train_with(interneuron_network network,
                                       int64_t batch,
                                       const void *x,
                                       interneuron_loss compute,
                                       void *data,
                                       const struct interneuron_update *update,
                                       double *loss);

// The same, with rows that are as far apart as the stride says. What `compute` gets is packed.
int32_t interneuron_network_train_with_strided(interneuron_network network,
                                               int64_t batch,
                                               const void *x,
                                               int64_t x_stride,
                                               interneuron_loss compute,
                                               void *data,
                                               const struct interneuron_update *update,
                                               double *loss);

// As `interneuron_network_train_with_strided`, with a network of double.
int32_t interneuron_network_train_with_f64(interneuron_network network,
                                           int64_t batch,
                                           const void *x,
                                           int64_t x_stride,
                                           interneuron_loss_f64 compute,
                                           void *data,
                                           const struct interneuron_update *update,
                                           double *loss);

// What each layer does on the examples `x [batch, inputs]` with a `target`: overwrites `statistics`, an array with one
// struct for each layer, whose `size` the caller has set in the first. The cosine is that of a step with the rate,
// corrections, factors and floor of `update`. Nothing of the network changes.
int32_t interneuron_network_inspect(interneuron_network network,
                                    int64_t batch,
                                    const void *x,
                                    const struct interneuron_target *target,
                                    const struct interneuron_update *update,
                                    struct interneuron_statistics *statistics);

// The same, with rows that are as far apart as the stride says (and the strides of `target`).
int32_t interneuron_network_inspect_strided(interneuron_network network,
                                            int64_t batch,
                                            const void *x,
                                            int64_t x_stride,
                                            const struct interneuron_target *target,
                                            const struct interneuron_update *update,
                                            struct interneuron_statistics *statistics);

// Stores in `*count` under how many names something is kept of the layer from step to step: none before the first
// `interneuron_layer_update`, and no more than the update needs that came last. Parameters that are drawn, set or
// attached forget it.
int32_t interneuron_layer_state_count(interneuron_layer layer, int64_t *count);

// Stores in `*name` name `i` of those that something is kept under (never freed): `velocity` with momentum; `moment`,
// `square`, `largest_square` and `steps` with Adam; `velocity_steps` with dampening; `decay_velocity` and `negative` with
// exponentiated gradient; `fisher` with the natural gradient; `sum` or `row_sums` with kept sums.
int32_t interneuron_layer_state_name(interneuron_layer layer,
                                     int64_t i,
                                     const char **name);

// Tells how many rows and columns the array has that is kept under a name of parameter array `i` (in the order of
// `interneuron_layer_parameter`), whether it is kept now or not: those of the parameter, one for each of its rows, or a
// single number; 0 and 0 of a parameter that never has one. Each output may be NULL.
int32_t interneuron_layer_state_size(interneuron_layer layer,
                                     const char *name,
                                     int64_t i,
                                     int64_t *rows,
                                     int64_t *columns);

// Copies what is kept under a name out, into the place of each parameter. Arrays whose pointers are NULL are not wanted;
// those of parameters of which nothing is kept must be NULL.
int32_t interneuron_layer_get_state(interneuron_layer layer,
                                    const char *name,
                                    const struct interneuron_arrays *arrays);

// Keeps what the arrays hold under a name, as if a step had left it; what was kept under the name is overwritten. No
// pointer may be NULL of a parameter of which something is kept, and those of the others must be. Numbers that no step
// can leave are refused. Who goes on with a run first sets (or attaches) the parameters, then what was kept.
int32_t interneuron_layer_set_state(interneuron_layer layer, const char *name, const struct interneuron_arrays *arrays);

// As `interneuron_layer_state_count`, of layer `k` of a network.
int32_t interneuron_network_state_count(interneuron_network network, int64_t k, int64_t *count);

// As `interneuron_layer_state_name`, of layer `k` of a network.
int32_t interneuron_network_state_name(interneuron_network network, int64_t k, int64_t i, const char **name);

// As `interneuron_layer_state_size`, of layer `k` of a network.
int32_t interneuron_network_state_size(interneuron_network network,
                                       int64_t k,
                                       const char *name,
                                       int64_t i,
                                       int64_t *rows,
                                       int64_t *columns);

// As `interneuron_layer_get_state`, of layer `k` of a network.
int32_t interneuron_network_get_state(interneuron_network network,
                                      int64_t k,
                                      const char *name,
                                      const struct interneuron_arrays *arrays);

// As `interneuron_layer_set_state`, of layer `k` of a network.
int32_t interneuron_network_set_state(interneuron_network network,
                                      int64_t k,
                                      const char *name,
                                      const struct interneuron_arrays *arrays);

// Saves a network, with what its updates keep, the steps that it has taken and what is done to its inputs, as a
// safetensors file, which Python and the Rust crate read, too. The file takes its place whole or not at all, and a network
// that diverged is not saved. `seed` is kept for the caller.
int32_t interneuron_network_save(interneuron_network network,
                                 const char *path,
                                 uint64_t seed);

// Loads a network of float that `interneuron_network_save`, the Rust crate or Python wrote, and stores its handle in
// `*network`, and the seed in `*seed` unless that is NULL. What follows has the same bits as if training had not
// stopped. Files that are broken, or do not hold what they say, are refused. Recurrent layers are
// refused, too. If the file says what is done to inputs, `interneuron_network_get_scaler` tells: the network computes with inputs that are handed to it as they are.
int32_t interneuron_network_load(interneuron_context context,
                                 const char *path,
                                 interneuron_network *network,
                                 uint64_t *seed);

// As `interneuron_network_load`, of a network of double. A file holds numbers of one of them, and the call for the other
// refuses it.
int32_t interneuron_network_load_f64(interneuron_context context,
                                     const char *path,
                                     interneuron_network *network,
                                     uint64_t *seed);

// What is done to inputs before the network sees them, which is the caller's to do: `(x - offset) * scale`, as a file had
// it or as it was set. Stores 1 in `*there` and overwrites `offset [inputs]` and `scale [inputs]`, or stores 0 and leaves
// them alone. Each may be NULL: not wanted.
int32_t interneuron_network_get_scaler(interneuron_network network,
                                       int64_t *there,
                                       double *offset,
                                       double *scale);

// Sets what is done to inputs before the network sees them, for files to hold: `offset [inputs]`, finite, and
// `scale [inputs]`, finite and above 0; or both NULL: nothing.
int32_t interneuron_network_set_scaler(interneuron_network network, const double *offset, const double *scale);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* INTERNEURON_H */
