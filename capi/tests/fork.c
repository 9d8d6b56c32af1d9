/*
 * Child processes, and a library that is loaded, unloaded and loaded again between forks: fork LIBRARY
 *
 * A network with a pool of two threads is trained by the parent, then by children that go on from there; all must have
 * the losses, to the bit, that a network without a pool has. Everything can be freed on all sides.
 */
#define _DEFAULT_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interneuron.h"

#define BATCH 32
#define INPUTS 784
#define STEPS 6

/* The functions that are used here; the types are those of the header. */
static __typeof__(&interneuron_context_create) context_create;
static __typeof__(&interneuron_context_free) context_free;
static __typeof__(&interneuron_network_create) network_create;
static __typeof__(&interneuron_network_free) network_free;
static __typeof__(&interneuron_network_train_step) train_step;
static __typeof__(&interneuron_last_error) last_error;

static float x[BATCH * INPUTS];
static uint32_t labels[BATCH];
static double expected[STEPS];

#define CHECK(what)                                                                              \
    do {                                                                                         \
        if (!(what)) {                                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                   \
            _exit(1);                                                                            \
        }                                                                                        \
    } while (0)

#define OK(call)                                                                                 \
    do {                                                                                         \
        int32_t status_ = (call);                                                                \
        if (status_ != INTERNEURON_OK) {                                                         \
            fprintf(stderr, "%s: status %d: %s\n", #call, (int)status_, last_error());           \
            _exit(1);                                                                            \
        }                                                                                        \
    } while (0)

static void *load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&context_create = dlsym(library, "interneuron_context_create");
    *(void **)&context_free = dlsym(library, "interneuron_context_free");
    *(void **)&network_create = dlsym(library, "interneuron_network_create");
    *(void **)&network_free = dlsym(library, "interneuron_network_free");
    *(void **)&train_step = dlsym(library, "interneuron_network_train_step");
    *(void **)&last_error = dlsym(library, "interneuron_last_error");
    return library;
}

static void create(int64_t threads, interneuron_context *context, interneuron_network *network)
{
    interneuron_context_config config = {sizeof config, threads, NULL};
    int64_t dims[] = {INPUTS, 300, 10}, nis[] = {30, 1};
    interneuron_network_config shape = {.size = sizeof shape, .layers = 2, .dims = dims, .nis = nis, .seed = 1};
    OK(context_create(&config, context));
    OK(network_create(*context, &shape, network));
}

static double step(interneuron_network network)
{
    interneuron_update update = {.size = sizeof update, .lr = 0.1, .corrections = 1};
    double loss = 0.0;
    OK(train_step(network, BATCH, x, labels, &update, &loss));
    return loss;
}

static void steps(interneuron_network network, int from, int to)
{
    int k;
    for (k = from; k < to; k++) {
        double loss = step(network);
        CHECK(memcmp(&loss, &expected[k], sizeof loss) == 0);
    }
}

/* Waits for a child, which must end well. */
static void join(pid_t child)
{
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What a process does with the things of its parent. */
static void go_on(interneuron_context context, interneuron_network network, int from, int generations)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        steps(network, from, from + 1);
        if (generations > 1) {
            go_on(context, network, from + 1, generations - 1);
        }
        steps(network, from + 1, STEPS);
        OK(context_free(context));
        OK(network_free(network));
        _exit(0);
    }
    join(child);
}

static void in_one_life(const char *path)
{
    void *library = load(path);
    interneuron_context context;
    interneuron_network network;
    int k;
    create(0, &context, &network);
    for (k = 0; k < STEPS; k++) {
        expected[k] = step(network);
    }
    OK(network_free(network));
    OK(context_free(context));

    create(2, &context, &network);
    /* Before the pool was used, and after. */
    go_on(context, network, 0, 1);
    steps(network, 0, 2);
    go_on(context, network, 2, 3);
    steps(network, 2, STEPS);
    OK(network_free(network));
    OK(context_free(context));
    CHECK(dlclose(library) == 0);
}

int main(int argc, char **argv)
{
    int i, life;
    pid_t child;
    if (argc != 2) {
        fprintf(stderr, "usage: %s LIBRARY\n", argv[0]);
        return 1;
    }
    for (i = 0; i < BATCH * INPUTS; i++) {
        x[i] = (float)(i % 97) / 97.0f;
    }
    for (i = 0; i < BATCH; i++) {
        labels[i] = (uint32_t)(i % 10);
    }
    for (life = 0; life < 3; life++) {
        in_one_life(argv[1]);
        /* The library hears of forks no more. */
        child = fork();
        if (child == 0) {
            _exit(0);
        }
        join(child);
    }
    printf("children go on to the bit\n");
    return 0;
}
