/* Makes the file operations of a process fail on purpose, for tests/break_writes.py; loaded by LD_PRELOAD.
 *
 * arm(folder, step, mode) starts to count the calls that change something below a folder: files opened for writing,
 * written (the first three writes to an open file count), renamed, removed, linked, truncated, folders made or removed.
 * At call number `step`, mode KILL kills the process before anything happens. In mode FULL the disk is full from that
 * call on: what needs space below the folder fails with ENOSPC. A renaming fails if it is that very call (a folder may
 * have to grow for it) and works afterwards; removing always works.
 * Step 0 only counts. counted() tells how many calls there were. Forked children count with their parent.
 * Before arm() everything passes through.
 *
 * Not seen: what goes through stdio's own buffers (opening such a file is seen), writes to mapped memory, system calls
 * made without the C library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KILL = 1, FULL = 2 };
enum { REMOVES, MOVES, NEEDS_SPACE };
enum { COUNTED_WRITES = 3, FILES = 65536 };

static struct {
    atomic_long count;
    atomic_int full;
} *shared; /* NULL until armed */

static char folder[PATH_MAX];
static long fatal_step;
static int fatal_mode;
static atomic_uchar writes[FILES]; /* by file descriptor */

void arm(const char *path, long step, int mode)
{
    snprintf(folder, sizeof folder, "%s", path);
    fatal_step = step;
    fatal_mode = mode;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        shared = NULL;
}

long counted(void) { return shared ? atomic_load(&shared->count) : -1; }

/* The next function of this name: that of the C library. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Where a path leads, without "." and ".." and double slashes; 0 where that cannot be told. */
static int absolute(int at, const char *path, char *out)
{
    char link[64], joined[2 * PATH_MAX], base[PATH_MAX] = "";
    if (path[0] != '/') {
        ssize_t size;
        snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
        if ((size = readlink(link, base, sizeof base - 1)) < 0)
            return 0;
        base[size] = 0;
    }
    snprintf(joined, sizeof joined, "%s/%s", base, path);
    size_t end = 0;
    char *rest = NULL;
    for (char *part = strtok_r(joined, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        if (!strcmp(part, "..")) {
            while (end && out[--end] != '/')
                ;
        } else if (strcmp(part, ".")) {
            size_t size = strlen(part);
            if (end + size + 2 > PATH_MAX)
                return 0;
            out[end++] = '/';
            memcpy(out + end, part, size);
            end += size;
        }
    }
    out[end] = 0;
    return 1;
}

static int is_inside(int at, const char *path)
{
    char found[PATH_MAX];
    size_t size = strlen(folder);
    if (!path || !absolute(at, path, found) || strncmp(found, folder, size))
        return 0;
    return found[size] == 0 || found[size] == '/';
}

/* Count an operation below the folder; whether it must fail. */
static int strikes(int kind, int counts)
{
    if (counts && atomic_fetch_add(&shared->count, 1) + 1 == fatal_step) {
        if (fatal_mode == KILL) {
            kill(getpid(), SIGKILL);
            for (;;)
                pause();
        }
        atomic_store(&shared->full, 1);
        return kind != REMOVES;
    }
    return kind == NEEDS_SPACE && atomic_load(&shared->full);
}

static int fails(int at, const char *path, int kind)
{
    int before = errno;
    if (!shared)
        return 0;
    int failed = is_inside(at, path) && strikes(kind, 1);
    errno = failed ? ENOSPC : before;
    return failed;
}

static int fails_both(int at, const char *path, int other_at, const char *other, int kind)
{
    return fails(is_inside(at, path) ? at : other_at, is_inside(at, path) ? path : other, kind);
}

/* The same of an open file. */
static int fails_open(int file, int kind, int is_write)
{
    char link[64], path[PATH_MAX];
    int before = errno, counts = 1;
    if (!shared)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    int failed = 0;
    if (path[0] == '/' && is_inside(AT_FDCWD, path)) {
        if (is_write && file < FILES)
            counts = writes[file] < COUNTED_WRITES && ++writes[file];
        failed = strikes(kind, counts);
    }
    errno = failed ? ENOSPC : before;
    return failed;
}

static int opened(int file)
{
    if (file >= 0 && file < FILES)
        writes[file] = 0;
    return file;
}

static int is_writing(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

#define MODE_OF(flags, mode)                          \
    mode_t mode = 0;                                  \
    if (flags & (O_CREAT | __O_TMPFILE)) {            \
        va_list given;                                \
        va_start(given, flags);                       \
        mode = va_arg(given, mode_t);                 \
        va_end(given);                                \
    }

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...)                                  \
    {                                                                           \
        MODE_OF(flags, mode)                                                    \
        if (is_writing(flags) && fails(AT_FDCWD, path, NEEDS_SPACE))            \
            return -1;                                                          \
        return opened(REAL(name)(path, flags, mode));                           \
    }
#define OPENAT(name)                                                            \
    int name(int at, const char *path, int flags, ...)                          \
    {                                                                           \
        MODE_OF(flags, mode)                                                    \
        if (is_writing(flags) && fails(at, path, NEEDS_SPACE))                  \
            return -1;                                                          \
        return opened(REAL(name)(at, path, flags, mode));                       \
    }
#define CREAT(name)                                                             \
    int name(const char *path, mode_t mode)                                     \
    {                                                                           \
        return fails(AT_FDCWD, path, NEEDS_SPACE) ? -1 : opened(REAL(name)(path, mode)); \
    }
#define FOPEN(name)                                                             \
    FILE *name(const char *path, const char *mode)                              \
    {                                                                           \
        if (strpbrk(mode, "wa+") && fails(AT_FDCWD, path, NEEDS_SPACE))         \
            return NULL;                                                        \
        return REAL(name)(path, mode);                                          \
    }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64) CREAT(creat) CREAT(creat64) FOPEN(fopen) FOPEN(fopen64)

#define WRITE(type, name, parameters, file, ...)                                \
    type name parameters { return fails_open(file, NEEDS_SPACE, 1) ? -1 : REAL(name)(__VA_ARGS__); }
WRITE(ssize_t, write, (int file, const void *data, size_t size), file, file, data, size)
WRITE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), file, file, data, size, at)
WRITE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), file, file, data, size, at)
WRITE(ssize_t, writev, (int file, const struct iovec *parts, int count), file, file, parts, count)
WRITE(ssize_t, pwritev, (int file, const struct iovec *parts, int count, off_t at), file, file, parts, count, at)
WRITE(ssize_t, pwritev64, (int file, const struct iovec *parts, int count, off64_t at), file, file, parts, count, at)
WRITE(ssize_t, sendfile, (int out, int in, off_t *at, size_t size), out, out, in, at, size)
WRITE(ssize_t, sendfile64, (int out, int in, off64_t *at, size_t size), out, out, in, at, size)
WRITE(ssize_t, copy_file_range, (int in, off64_t *at, int out, off64_t *to, size_t size, unsigned int flags), out,
      in, at, out, to, size, flags)

#define ON_PATH(name, kind, parameters, at, path, ...)                   \
    int name parameters { return fails(at, path, kind) ? -1 : REAL(name)(__VA_ARGS__); }
ON_PATH(unlink, REMOVES, (const char *path), AT_FDCWD, path, path)
ON_PATH(unlinkat, REMOVES, (int at, const char *path, int flags), at, path, at, path, flags)
ON_PATH(rmdir, REMOVES, (const char *path), AT_FDCWD, path, path)
ON_PATH(remove, REMOVES, (const char *path), AT_FDCWD, path, path)
ON_PATH(mkdir, NEEDS_SPACE, (const char *path, mode_t mode), AT_FDCWD, path, path, mode)
ON_PATH(mkdirat, NEEDS_SPACE, (int at, const char *path, mode_t mode), at, path, at, path, mode)
ON_PATH(link, NEEDS_SPACE, (const char *from, const char *to), AT_FDCWD, to, from, to)
ON_PATH(linkat, NEEDS_SPACE, (int at, const char *from, int to_at, const char *to, int flags), to_at, to,
        at, from, to_at, to, flags)
ON_PATH(symlink, NEEDS_SPACE, (const char *target, const char *path), AT_FDCWD, path, target, path)
ON_PATH(symlinkat, NEEDS_SPACE, (const char *target, int at, const char *path), at, path, target, at, path)

#define RENAME(name, parameters, at, path, to_at, to, ...)                      \
    int name parameters { return fails_both(at, path, to_at, to, MOVES) ? -1 : REAL(name)(__VA_ARGS__); }
RENAME(rename, (const char *path, const char *to), AT_FDCWD, path, AT_FDCWD, to, path, to)
RENAME(renameat, (int at, const char *path, int to_at, const char *to), at, path, to_at, to, at, path, to_at, to)
RENAME(renameat2, (int at, const char *path, int to_at, const char *to, unsigned int flags), at, path, to_at, to,
       at, path, to_at, to, flags)

/* Only a file that grows needs space. */
#define TRUNCATE(name, type)                                                    \
    int name(const char *path, type size)                                       \
    {                                                                           \
        struct stat found;                                                      \
        int grows = !stat(path, &found) && size > found.st_size;                \
        return fails(AT_FDCWD, path, grows ? NEEDS_SPACE : REMOVES) ? -1 : REAL(name)(path, size);      \
    }
#define FTRUNCATE(name, type)                                                   \
    int name(int file, type size)                                               \
    {                                                                           \
        struct stat found;                                                      \
        int grows = !fstat(file, &found) && size > found.st_size;               \
        return fails_open(file, grows ? NEEDS_SPACE : REMOVES, 0) ? -1 : REAL(name)(file, size);        \
    }
TRUNCATE(truncate, off_t) TRUNCATE(truncate64, off64_t) FTRUNCATE(ftruncate, off_t) FTRUNCATE(ftruncate64, off64_t)

#define FALLOCATE(name, type)                                                   \
    int name(int file, int mode, type at, type size)                            \
    {                                                                           \
        return fails_open(file, NEEDS_SPACE, 0) ? -1 : REAL(name)(file, mode, at, size); \
    }
#define POSIX_FALLOCATE(name, type)                                             \
    int name(int file, type at, type size)                                      \
    {                                                                           \
        return fails_open(file, NEEDS_SPACE, 0) ? ENOSPC : REAL(name)(file, at, size); \
    }
FALLOCATE(fallocate, off_t) FALLOCATE(fallocate64, off64_t)
POSIX_FALLOCATE(posix_fallocate, off_t) POSIX_FALLOCATE(posix_fallocate64, off64_t)
