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
 * All of that is exact in float.
 *
 * An epoch of n examples has max(1, n / BATCH) steps, rounded down, over which the examples are spread evenly and in
 * order: step k takes those from k n / steps to (k + 1) n / steps. So each step has BATCH of them or a few more, and none
 * is left out. (A short last batch would weigh each of its examples more than the others.)
 *
 * The classes are those of the labels, from 0 to the largest one, whether or not there are examples of all.
 *
 * The program ends with the loss on all examples, also as the bits of the double, to be compared with other programs.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interneuron.h"

#define SEED 7u
#define CLASSES 10 /* of the problem made from a seed */
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

/* Says what a file is whose first bytes are not those of an IDX file of bytes with this many dimensions. */
static void check_kind(const char *path, const unsigned char *header, int dimensions)
{
    static const char *const wanted[] = {
        NULL, "expected labels: an IDX file of bytes in 1 dimension", NULL,
        "expected images: an IDX file of bytes in 3 dimensions",
    };
    const char *kind = "it is no IDX file";
    if (big_endian(header) == 0x0800u + (uint32_t)dimensions) {
        return;
    }
    if (header[0] == 0x1f && header[1] == 0x8b) {
        kind = "it is compressed by gzip, which this program does not read (gunzip makes it plain)";
    } else if (header[0] == '<') {
        kind = "it is an HTML page (perhaps what a server sent in the place of the file)";
    } else if (header[0] == 0 && header[1] == 0 && header[2] != 0x08) {
        kind = "it is an IDX file, but not of bytes";
    } else if (header[0] == 0 && header[1] == 0) {
        kind = "it is an IDX file with another number of dimensions";
    }
    fprintf(stderr, "%s: %s: %s\n", path, kind, wanted[dimensions]);
    exit(1);
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
    if (fread(header, 1, 4, file) != 4) {
        fail(path, "it cannot be read, or is shorter than any IDX file");
    }
    check_kind(path, header, dimensions);
    if (fread(header + 4, 1, length - 4, file) != length - 4) {
        fail(path, "the file is shorter than its header");
    }
    for (k = 0; k < dimensions; k++) {
        dims[k] = big_endian(header + 4 + 4 * k);
        if (dims[k] == 0) {
            fail(path, "one of its dimensions is 0: expected at least one example, of at least one number");
        }
        /* Below 2^63, so that the next product, by less than 2^32, is looked at before it can wrap around. */
        if (promised > (uint64_t)size) {
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
        fprintf(stderr, "%s: it has %lu labels: expected %lu, one for each image\n", labels_path,
                (unsigned long)count[0], (unsigned long)size[0]);
        exit(1);
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

/* Says which classes there are; returns how many outputs a network needs for them. */
static int64_t find_classes(const struct data *data)
{
    int seen[256] = {0};
    int found = 0, first = -1, last = 0, label;
    int64_t i;
    for (i = 0; i < data->count; i++) {
        seen[data->labels[i]] = 1; /* below 256, as they were bytes */
    }
    for (label = 0; label < 256; label++) {
        if (seen[label]) {
            first = first < 0 ? label : first;
            last = label;
            found++;
        }
    }
    if (found < 2) {
        fprintf(stderr, "the labels are all %d: expected examples of two classes at least\n", last);
        exit(1);
    }
    printf("%ld examples of %d classes, with labels from %d to %d\n", (long)data->count, found, first, last);
    return last + 1;
}

/* Sends on what was printed. Output that is lost, to a full disk or a pipe without a reader, ends the program. */
static void flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fail("standard output", errno != 0 ? strerror(errno) : "it cannot be written");
    }
}

static int64_t number(const char *option, const char *text, int64_t least, int64_t most)
{
    char *end;
    long long value;
    errno = 0;
    value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < least || value > most) {
        fprintf(stderr, "%s is %s: expected a whole number from %ld to %ld\n", option, text, (long)least, (long)most);
        exit(1);
    }
    return value;
}

/* Reads the options into what they set; returns the place of the first argument behind them. */
static int read_options(int argc, char **argv, interneuron_context_config *config, int64_t *epochs)
{
    int i;
    for (i = 1; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) {
            config->threads = number(argv[i], argv[i + 1], 0, 1024);
        } else if (strcmp(argv[i], "--epochs") == 0) {
            *epochs = number(argv[i], argv[i + 1], 1, 100000);
        } else if (strcmp(argv[i], "--isa") == 0) {
            config->isa = argv[i + 1];
        } else {
            fail(argv[i], "no such option: expected --threads, --epochs or --isa");
        }
    }
    if (i != argc && i != argc - 2) {
        fail(argv[0], "expected [--threads N] [--isa NAME] [--epochs N] [IMAGES LABELS]");
    }
    return i;
}

/* Inputs, 100 excitatory units with 10 interneurons, the classes with one interneuron. */
static interneuron_network make_network(interneuron_context context, int64_t inputs, int64_t classes)
{
    interneuron_network_config config;
    interneuron_network network;
    int64_t dims[3], nis[2];
    dims[0] = inputs;
    dims[1] = 100;
    dims[2] = classes;
    nis[0] = 10;
    nis[1] = 1;
    memset(&config, 0, sizeof config); /* so that fields of which this program does not know have their defaults */
    config.size = sizeof config;
    config.layers = 2;
    config.dims = dims;
    config.nis = nis;
    config.seed = SEED;
    check(interneuron_network_create(context, &config, &network), "network");
    return network;
}

static void train(interneuron_network network, const struct data *data, int64_t epochs)
{
    interneuron_update update;
    int64_t steps = data->count < BATCH ? 1 : data->count / BATCH;
    int64_t epoch, step;
    memset(&update, 0, sizeof update);
    update.size = sizeof update;
    update.lr = 0.1;
    update.corrections = 1;
    for (epoch = 1; epoch <= epochs; epoch++) {
        double sum = 0.0, loss = 0.0;
        for (step = 0; step < steps; step++) {
            int64_t begin = step * data->count / steps, end = (step + 1) * data->count / steps;
            const float *x = data->x + begin * data->inputs;
            check(interneuron_network_train_step(network, end - begin, x, data->labels + begin, &update, &loss),
                  "training");
            sum += loss;
        }
        printf("epoch %ld: mean loss %.6f\n", (long)epoch, sum / (double)steps);
        flush();
    }
}

int main(int argc, char **argv)
{
    interneuron_context_config config;
    interneuron_context context;
    interneuron_network network;
    int64_t epochs = 5, errors = 0;
    uint64_t bits;
    struct data data;
    double loss = 0.0;
    int i;

#ifdef SIGPIPE
    /* So that a pipe without a reader is an error of which `flush` hears. */
    signal(SIGPIPE, SIG_IGN);
#endif
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    i = read_options(argc, argv, &config, &epochs);
    if (interneuron_abi_version() != INTERNEURON_ABI_VERSION) {
        fail("libinterneuron", "its ABI is of another version than the header");
    }
    check(interneuron_context_create(&config, &context), "context");
    data = i == argc ? make_problem() : read_images(argv[i], argv[i + 1]);
    network = make_network(context, data.inputs, find_classes(&data));
    train(network, &data, epochs);
    check(interneuron_network_evaluate(network, data.count, data.x, data.labels, &loss, &errors), "evaluation");
    memcpy(&bits, &loss, sizeof bits);
    printf("loss %.9f, bits %08lx%08lx, %ld of %ld wrong\n", loss, (unsigned long)(bits >> 32),
           (unsigned long)(bits & 0xffffffffu), (long)errors, (long)data.count);
    flush();

    check(interneuron_network_free(network), "network");
    check(interneuron_context_free(context), "context");
    free(data.x);
    free(data.labels);
    return 0;
}
