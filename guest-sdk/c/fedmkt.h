/* Write a fedmkt trainer in C.
 *
 * Include this file in one source file, define the three functions below, and build for WASI with any C compiler that has
 * a wasm32-wasi target. The module exports the steps that the fedmkt runtime calls one by one, and a `_start` that takes
 * the same steps, so that it gives the same results under any WASI runtime.
 *
 *     /job/model   the initial model, a file or a directory
 *     /data        the grant, only to be read
 *     /out         results
 *     /tmp         scratch
 */
#ifndef FEDMKT_H
#define FEDMKT_H

#include <math.h>
#include <stdio.h>

/* What a step answers. */
enum fedmkt_status {
    FEDMKT_MORE = 0,    /* there are more steps */
    FEDMKT_DONE = 1,    /* the run is finished and its results are written */
    FEDMKT_REFUSED = 2, /* the data does not fit the trainer; say why on standard error */
    FEDMKT_FAILED = 3   /* the trainer cannot go on; say why on standard error */
};

/* Step 0: checks the data and starts from the model. The arguments are those of the job, the program's name first. */
static enum fedmkt_status trainer_start(int argc, char **argv);

/* Each later step: learns for some seconds at most. After the last one trainer_finish is called. */
static enum fedmkt_status trainer_step(void);

/* Writes the results; answers FEDMKT_DONE or FEDMKT_FAILED. */
static enum fedmkt_status trainer_finish(void);

/* The number of the present step; 0 in trainer_start. */
static unsigned long long fedmkt_steps;

/* Records the value of a metric in this step: a line `name,step,value` in /out/metrics.csv. A value that is not finite
 * means that training has gone wrong. */
static enum fedmkt_status fedmkt_metric(const char *name, double value) {
    static int begun;
    if (!isfinite(value)) {
        fprintf(stderr, "%s is not finite in step %llu: training has diverged\n", name, fedmkt_steps);
        return FEDMKT_FAILED;
    }
    FILE *file = fopen("/out/metrics.csv", begun ? "a" : "w");
    int ok = file && (begun || fputs("name,step,value\n", file) >= 0) &&
             fprintf(file, "%s,%llu,%.17g\n", name, fedmkt_steps, value) > 0;
    if (file && fclose(file) != 0) {
        ok = 0;
    }
    begun = 1;
    if (!ok) {
        perror("cannot write /out/metrics.csv");
    }
    return ok ? FEDMKT_MORE : FEDMKT_FAILED;
}

static int fedmkt_one_step(void) {
    fedmkt_steps++;
    enum fedmkt_status status = trainer_step();
    return status == FEDMKT_DONE ? trainer_finish() : status;
}

#ifdef __wasm__
#include <stdlib.h>
#include <wasi/api.h>

void __wasm_call_ctors(void);

static int fedmkt_constructed;

__attribute__((constructor)) static void fedmkt_note_construction(void) {
    fedmkt_constructed = 1;
}

/* The runtime calls fedmkt_init instead of `_start`, so that the module's constructors must be called here. A linker that
 * sees such a call leaves them to the program altogether, and then it depends on the C library whether `_start` does it. */
static void fedmkt_construct(void) {
    if (!fedmkt_constructed) {
        __wasm_call_ctors();
    }
}

__attribute__((export_name("fedmkt_init"))) int fedmkt_init(void) {
    fedmkt_construct();
    __wasi_size_t argc, bytes;
    if (__wasi_args_sizes_get(&argc, &bytes) != 0) {
        return FEDMKT_FAILED;
    }
    char **argv = calloc(argc + 1, sizeof *argv);
    char *text = malloc(bytes);
    if (!argv || !text || __wasi_args_get((unsigned char **)argv, (unsigned char *)text) != 0) {
        return FEDMKT_FAILED;
    }
    return trainer_start((int)argc, argv);
}

__attribute__((export_name("fedmkt_step"))) int fedmkt_step(void) {
    return fedmkt_one_step();
}
#else
static void fedmkt_construct(void) {
}
#endif

int main(int argc, char **argv) {
    fedmkt_construct();
    int status = trainer_start(argc, argv);
    while (status == FEDMKT_MORE) {
        status = fedmkt_one_step();
    }
    return status == FEDMKT_DONE ? 0 : status;
}

#endif
