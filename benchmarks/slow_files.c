/* Lets a directory answer as slowly as a network disk does.
 *
 *     cc -O2 -shared -fPIC -o slow_files.so slow_files.c -ldl
 *     LD_PRELOAD=./slow_files.so SLOW_PATH=/mlruns SLOW_US=1000 python script.py
 *
 * Each call that opens, lists or asks for the status of a path with $SLOW_PATH in it waits $SLOW_US
 * microseconds first. What is done with an open file does not wait. For Linux, where the arguments
 * of open are passed in the same way whether or not it is declared with "...".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *slow_path;
static useconds_t delay;

__attribute__((constructor)) static void read_environment(void) {
    const char *us = getenv("SLOW_US");
    slow_path = getenv("SLOW_PATH");
    delay = us ? atol(us) : 0;
}

/* Defines a function that waits and then calls the one of the same name in the C library. */
#define SLOW(type, name, parameters, ...)                        \
    type name parameters {                                       \
        type(*next) parameters = dlsym(RTLD_NEXT, #name);        \
        if (delay && slow_path && path && strstr(path, slow_path)) \
            usleep(delay);                                       \
        return next(__VA_ARGS__);                                \
    }

SLOW(int, open, (const char *path, int flags, int mode), path, flags, mode)
SLOW(int, open64, (const char *path, int flags, int mode), path, flags, mode)
SLOW(int, openat, (int at, const char *path, int flags, int mode), at, path, flags, mode)
SLOW(int, openat64, (int at, const char *path, int flags, int mode), at, path, flags, mode)
SLOW(int, stat, (const char *path, void *status), path, status)
SLOW(int, stat64, (const char *path, void *status), path, status)
SLOW(int, lstat, (const char *path, void *status), path, status)
SLOW(int, lstat64, (const char *path, void *status), path, status)
SLOW(int, fstatat, (int at, const char *path, void *status, int flags), at, path, status, flags)
SLOW(int, fstatat64, (int at, const char *path, void *status, int flags), at, path, status, flags)
SLOW(void *, opendir, (const char *path), path)
