/*
 * Layers and networks of double through the C ABI, on arrays of the program's own and with strides: what goes one way goes
 * the other way to the same bits. Also C++.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interneuron.h"

#define ROWS 6
#define INPUTS 4
#define STRIDE 7 /* of the rows of x */
#define OUTPUTS 3
#define UNITS 5
#define NI 2

/* The arrays of both layers, one after the other. */
#define FIRST (UNITS * INPUTS + NI * INPUTS + UNITS * NI + NI + UNITS + UNITS)
#define LAST (OUTPUTS * UNITS + 1 * UNITS + OUTPUTS * 1 + 1 + OUTPUTS + OUTPUTS)

static void check(int32_t status, const char *what)
{
    if (status != INTERNEURON_OK) {
        fprintf(stderr, "%s: status %d: %s\n", what, (int)status, interneuron_last_error());
        exit(1);
    }
}

static void same(const void *a, const void *b, size_t bytes, const char *what)
{
    if (memcmp(a, b, bytes) != 0) {
        fprintf(stderr, "%s: not the same bits\n", what);
        exit(1);
    }
}

/* Where the arrays of a layer with interneurons are, from `start` on; returns where they end. */
static double *lay_out(interneuron_arrays *arrays, double *start, int d, int ne, int ni)
{
    memset(arrays, 0, sizeof *arrays);
    arrays->size = sizeof *arrays;
    arrays->wex = start;
    arrays->wix = start += ne * d;
    arrays->wei = start += ni * d;
    arrays->alpha = start += ne * ni;
    arrays->g = start += ni;
    arrays->b = start += ne;
    return start + ne;
}

static void lay_out_all(interneuron_arrays arrays[2], double *memory)
{
    lay_out(&arrays[1], lay_out(&arrays[0], memory, INPUTS, UNITS, NI), UNITS, OUTPUTS, 1);
}

static interneuron_network make_network(interneuron_context context)
{
    interneuron_network_config config;
    interneuron_network network;
    int64_t dims[3], nis[2];
    dims[0] = INPUTS;
    dims[1] = UNITS;
    dims[2] = OUTPUTS;
    nis[0] = NI;
    nis[1] = 1;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    config.layers = 2;
    config.dims = dims;
    config.nis = nis;
    config.seed = 5;
    config.element = INTERNEURON_F64;
    check(interneuron_network_create(context, &config, &network), "network");
    return network;
}

/* Half the squared error from `data`, for each output. */
static double half_squares(void *data, int64_t batch, int64_t count, const double *outputs, double *doutputs)
{
    const double *y = (const double *)data;
    double loss = 0.0;
    int64_t i;
    for (i = 0; i < batch * count; i++) {
        doutputs[i] = (outputs[i] - y[i]) / (double)batch;
        loss += (outputs[i] - y[i]) * (outputs[i] - y[i]) / (2.0 * (double)batch);
    }
    return loss;
}

int main(int argc, char **argv)
{
    interneuron_context_config config;
    interneuron_context context;
    interneuron_network own, attached, loaded;
    interneuron_arrays arrays[2], out[2], gradients[2];
    interneuron_target target;
    interneuron_update update;
    static double memory[FIRST + LAST], copy[FIRST + LAST], handed_out[FIRST + LAST], velocity[FIRST + LAST];
    static double x[ROWS * INPUTS], wide[(ROWS - 1) * STRIDE + INPUTS], y[ROWS * OUTPUTS];
    static double logits[2][ROWS * OUTPUTS];
    double losses[2], momentum[6];
    const char *name = NULL;
    const char *path;
    uint64_t seed = 0;
    int64_t count = 0;
    int i, k, step;

    if (argc != 2) {
        fprintf(stderr, "expected the name of a file to be written\n");
        return 1;
    }
    path = argv[1];
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    check(interneuron_context_create(&config, &context), "context");
    for (i = 0; i < ROWS * INPUTS; i++) {
        x[i] = (double)(i * i % 17) / 16.0;
        wide[i / INPUTS * STRIDE + i % INPUTS] = x[i];
    }
    for (i = 0; i < ROWS * OUTPUTS; i++) {
        y[i] = (double)(i % 5) / 4.0;
    }
    memset(&target, 0, sizeof target);
    target.size = sizeof target;
    target.kind = INTERNEURON_VALUES;
    target.y = y;
    memset(&update, 0, sizeof update);
    update.size = sizeof update;
    update.lr = 0.05;
    update.corrections = 1;
    update.momentum = momentum;
    for (i = 0; i < 6; i++) {
        momentum[i] = 0.9;
    }

    /* One network on its own arrays, one on those of this program, and a stride for its x. */
    own = make_network(context);
    attached = make_network(context);
    lay_out_all(arrays, memory);
    lay_out_all(out, copy);
    lay_out_all(gradients, handed_out);
    for (k = 0; k < 2; k++) {
        check(interneuron_network_get_parameters(attached, k, &arrays[k]), "parameters");
    }
    check(interneuron_network_attach(attached, arrays), "attach");
    for (step = 0; step < 5; step++) {
        check(interneuron_network_train_target(own, ROWS, x, &target, &update, &losses[0]), "training");
        check(interneuron_network_train_target_strided(attached, ROWS, wide, STRIDE, &target, &update, &losses[1]),
              "training with a stride");
        same(&losses[0], &losses[1], sizeof losses[0], "losses");
    }
    check(interneuron_network_train_with_f64(own, ROWS, x, 0, half_squares, y, &update, &losses[0]), "a loss of its own");
    check(interneuron_network_train_with_f64(attached, ROWS, wide, STRIDE, half_squares, y, &update, &losses[1]),
          "a loss of its own with a stride");
    same(&losses[0], &losses[1], sizeof losses[0], "losses of its own");
    check(interneuron_network_gradients(attached, ROWS, wide, STRIDE, &target, gradients, &losses[0]), "gradients");
    check(interneuron_network_apply(attached, &update, gradients), "apply");
    check(interneuron_network_train_target(own, ROWS, x, &target, &update, &losses[1]), "training");
    same(&losses[0], &losses[1], sizeof losses[0], "the loss of gradients");
    for (k = 0; k < 2; k++) {
        check(interneuron_network_get_parameters(own, k, &out[k]), "parameters");
    }
    same(memory, copy, sizeof memory, "parameters");

    /* What steps keep, out of one and into another, which then goes on as the first. */
    loaded = make_network(context);
    lay_out_all(out, velocity);
    for (k = 0; k < 2; k++) {
        check(interneuron_network_state_count(own, k, &count), "state");
        check(interneuron_network_state_name(own, k, 0, &name), "state");
        if (count != 1 || strcmp(name, "velocity") != 0) {
            fprintf(stderr, "%ld names, the first is %s: expected velocity alone\n", (long)count, name);
            return 1;
        }
        check(interneuron_network_get_state(own, k, name, &out[k]), "state");
        check(interneuron_network_set_parameters(loaded, k, &arrays[k]), "parameters");
        check(interneuron_network_set_state(loaded, k, name, &out[k]), "state");
    }
    check(interneuron_network_train_target(own, ROWS, x, &target, &update, &losses[0]), "training");
    check(interneuron_network_train_target(loaded, ROWS, x, &target, &update, &losses[1]), "training");
    same(&losses[0], &losses[1], sizeof losses[0], "losses after the state");
    check(interneuron_network_logits(own, ROWS, x, logits[0]), "logits");
    check(interneuron_network_logits_strided(loaded, ROWS, wide, STRIDE, logits[1], 0), "logits");
    same(logits[0], logits[1], sizeof logits[0], "logits");
    check(interneuron_network_free(loaded), "network");

    /* A file. */
    check(interneuron_network_detach(attached), "detach");
    check(interneuron_network_save(attached, path, 5), "save");
    if (interneuron_network_load(context, path, &loaded, NULL) != INTERNEURON_FILE) {
        fprintf(stderr, "a file of double was loaded as one of float\n");
        return 1;
    }
    check(interneuron_network_load_f64(context, path, &loaded, &seed), "load");
    remove(path);
    check(interneuron_network_logits(attached, ROWS, x, logits[0]), "logits");
    check(interneuron_network_logits(loaded, ROWS, x, logits[1]), "logits");
    same(logits[0], logits[1], sizeof logits[0], "logits of a file");
    check(interneuron_network_free(loaded), "network");
    check(interneuron_network_free(attached), "network");
    check(interneuron_network_free(own), "network");
    check(interneuron_context_free(context), "context");
    printf("double: the same bits on arrays of the program, with strides, from states and files\n");
    return 0;
}
