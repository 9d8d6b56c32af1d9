/*
 * Trains a network through the C ABI of interneuron, on images in the IDX format of MNIST or on a problem made from a
 * seed:
 *
 *     train [--threads N] [--isa NAME] [--epochs N] [IMAGES LABELS]
 *
 * IMAGES and LABELS are plain (not compressed) IDX files, such as train-images-idx3-ubyte and train-labels-idx1-ubyte.
 *
 * The problem made from a seed is the same in every language, to the bit. Numbers come from the recurrence
 *
 *     s <- s * 6364136223846793005 + 1442695040888963407  (mod 2^64),    u = s >> 40,    beginning with s = SEED,
 *
 * so u is a whole number below 2^24. First come the patterns of the classes, p[c][i], c outermost. Then come the
 * examples: number n has the label n mod CLASSES, and for each input i one more u, of which
 *
 *     x[i] = ((p[label][i] + u) >> 1) / 2^24
 *
 * All of that is exact in float. Batches are taken in order, a last incomplete one is left out.
 *
 * The program ends with the loss on all examples, also as the bits of the double, to be compared with other programs.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interneuron.h"

#define SEED 7u
#define CLASSES 10
#define INPUTS 64
#define EXAMPLES 1000
#define BATCH 32

/* Examples and their labels. */
struct data {
    int64_t count, inputs;
    float *x;
    uint32_t *labels;
};

/* Ends the program with the library's own words if a call failed. */
static void check(int32_t status, const char *what)
{
    if (status != INTERNEURON_OK) {
        fprintf(stderr, "%s: status %d: %s\n", what, (int)status, interneuron_last_error());
        exit(1);
    }
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) {
        fail("memory", "there is not enough");
    }
    return memory;
}

static struct data room(int64_t count, int64_t inputs)
{
    struct data data;
    data.count = count;
    data.inputs = inputs;
    data.x = (float *)allocate((size_t)count * (size_t)inputs, sizeof *data.x);
    data.labels = (uint32_t *)allocate((size_t)count, sizeof *data.labels);
    return data;
}

static uint32_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 40);
}

static struct data make_problem(void)
{
    struct data data = room(EXAMPLES, INPUTS);
    static uint32_t patterns[CLASSES][INPUTS];
    uint64_t state = SEED;
    int c, i, n;
    for (c = 0; c < CLASSES; c++) {
        for (i = 0; i < INPUTS; i++) {
            patterns[c][i] = next(&state);
        }
    }
    for (n = 0; n < EXAMPLES; n++) {
        data.labels[n] = (uint32_t)(n % CLASSES);
        for (i = 0; i < INPUTS; i++) {
            uint32_t u = (patterns[n % CLASSES][i] + next(&state)) >> 1;
            data.x[n * INPUTS + i] = (float)u / 16777216.0f;
        }
    }
    return data;
}

static uint32_t big_endian(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3];
}

/* Reads an IDX file of bytes with this many dimensions; the header is held against the size of the file. */
static unsigned char *read_idx(const char *path, int dimensions, uint32_t *dims)
{
    unsigned char header[16];
    size_t length = 4 + 4 * (size_t)dimensions;
    unsigned char *bytes;
    uint64_t promised = 1;
    long size;
    int k;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail(path, strerror(errno));
    }
    if (fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET) != 0) {
        fail(path, "its size cannot be found out");
    }
    if (fread(header, 1, length, file) != length || big_endian(header) != 0x0800u + (uint32_t)dimensions) {
        fail(path, "no IDX file of bytes with as many dimensions as expected (or a compressed one)");
    }
    for (k = 0; k < dimensions; k++) {
        dims[k] = big_endian(header + 4 + 4 * k);
        /* Below 2^63, so that the next product, by less than 2^32, is looked at before it can wrap around. */
        if (dims[k] == 0 || promised > (uint64_t)size) {
            fail(path, "the file is shorter than its header says");
        }
        promised *= dims[k];
    }
    if (promised != (uint64_t)size - length) {
        fail(path, "the file does not hold what its header says");
    }
    bytes = (unsigned char *)allocate((size_t)promised, 1);
    if (fread(bytes, 1, (size_t)promised, file) != promised) {
        fail(path, "it cannot be read");
    }
    fclose(file);
    return bytes;
}

static struct data read_images(const char *images_path, const char *labels_path)
{
    uint32_t size[3], count[1];
    unsigned char *pixels = read_idx(images_path, 3, size);
    unsigned char *labels = read_idx(labels_path, 1, count);
    struct data data;
    int64_t i;
    if (count[0] != size[0]) {
        fail(labels_path, "not as many labels as images");
    }
    data = room(size[0], (int64_t)size[1] * size[2]);
    for (i = 0; i < data.count * data.inputs; i++) {
        data.x[i] = (float)pixels[i] / 255.0f;
    }
    for (i = 0; i < data.count; i++) {
        data.labels[i] = labels[i];
    }
    free(pixels);
    free(labels);
    return data;
}

static int64_t number(const char *option, const char *text)
{
    char *end;
    long long value = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < 0) {
        fail(option, "expected a number of at least 0");
    }
    return value;
}

int main(int argc, char **argv)
{
    interneuron_context_config context_config;
    interneuron_network_config network_config;
    interneuron_update update;
    interneuron_context context;
    interneuron_network network;
    int64_t dims[3], nis[2], epochs = 5, epoch, step, errors = 0;
    uint64_t bits;
    struct data data;
    double loss = 0.0;
    int i;

    memset(&context_config, 0, sizeof context_config);
    context_config.size = sizeof context_config;
    for (i = 1; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) {
            context_config.threads = number(argv[i], argv[i + 1]);
        } else if (strcmp(argv[i], "--epochs") == 0) {
            epochs = number(argv[i], argv[i + 1]);
        } else if (strcmp(argv[i], "--isa") == 0) {
            context_config.isa = argv[i + 1];
        } else {
            fail(argv[i], "no such option");
        }
    }
    if (i != argc && i != argc - 2) {
        fail(argv[0], "expected [--threads N] [--isa NAME] [--epochs N] [IMAGES LABELS]");
    }
    if (interneuron_abi_version() != INTERNEURON_ABI_VERSION) {
        fail("libinterneuron", "its ABI is of another version than the header");
    }
    check(interneuron_context_create(&context_config, &context), "context");
    data = i == argc ? make_problem() : read_images(argv[i], argv[i + 1]);

    /* Inputs, 100 excitatory units with 10 interneurons, ten classes with one interneuron. */
    dims[0] = data.inputs;
    dims[1] = 100;
    dims[2] = CLASSES;
    nis[0] = 10;
    nis[1] = 1;
    network_config.size = sizeof network_config;
    network_config.layers = 2;
    network_config.dims = dims;
    network_config.nis = nis;
    network_config.seed = SEED;
    check(interneuron_network_create(context, &network_config, &network), "network");

    update.size = sizeof update;
    update.lr = 0.1;
    update.corrections = 1;
    update.factors = NULL;
    for (epoch = 0; epoch < epochs; epoch++) {
        double sum = 0.0;
        int64_t steps = data.count / BATCH;
        for (step = 0; step < steps; step++) {
            const float *x = data.x + step * BATCH * data.inputs;
            const uint32_t *labels = data.labels + step * BATCH;
            check(interneuron_network_train_step(network, BATCH, x, labels, &update, &loss), "training");
            sum += loss;
        }
        printf("epoch %d: mean loss %.6f\n", (int)epoch + 1, steps > 0 ? sum / (double)steps : 0.0);
    }
    check(interneuron_network_evaluate(network, data.count, data.x, data.labels, &loss, &errors), "evaluation");
    memcpy(&bits, &loss, sizeof bits);
    printf("loss %.9f, bits %08lx%08lx, %ld of %ld wrong\n", loss, (unsigned long)(bits >> 32),
           (unsigned long)(bits & 0xffffffffu), (long)errors, (long)data.count);

    check(interneuron_network_free(network), "network");
    check(interneuron_context_free(context), "context");
    free(data.x);
    free(data.labels);
    return 0;
}
