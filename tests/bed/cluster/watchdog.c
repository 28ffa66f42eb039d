/* A watchdog device for roostd where the kernel has none: a library that is loaded before libc (LD_PRELOAD) and answers for
 * /dev/watchdog. The device itself is the other end of the pipe /run/bed/watchdog, a process outside of the host (`watchdog`),
 * which resets the host when it was not fed. To that pipe go N and the timeout, as the letter that stands so many places after
 * @ (armed), F (fed), and V (the next close disarms). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int device = -1;
static int seconds = 60;

int open64(const char *path, int flags, ...)
{
	static int (*next)(const char *, int, ...);
	va_list more;
	mode_t mode;

	va_start(more, flags);
	mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;
	va_end(more);
	if (!next)
		next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
	if (strcmp(path, "/dev/watchdog") != 0)
		return next(path, flags, mode);
	device = next("/run/bed/watchdog", O_RDWR | O_CLOEXEC);
	return device;
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int, unsigned long, ...);
	va_list more;
	void *argument;

	va_start(more, request);
	argument = va_arg(more, void *);
	va_end(more);
	if (!next)
		next = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	if (fd < 0 || fd != device)
		return next(fd, request, argument);
	switch (request) {
	case WDIOC_GETSUPPORT:
		memset(argument, 0, sizeof(struct watchdog_info));
		((struct watchdog_info *)argument)->options = WDIOF_MAGICCLOSE | WDIOF_SETTIMEOUT;
		return 0;
	case WDIOC_SETTIMEOUT:
		seconds = *(int *)argument;
		dprintf(fd, "N%c", '@' + seconds);
		return 0;
	case WDIOC_GETTIMEOUT:
		*(int *)argument = seconds;
		return 0;
	}
	errno = ENOTTY;
	return -1;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
	static ssize_t (*next)(int, const void *, size_t);

	if (!next)
		next = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
	if (fd >= 0 && fd == device && count == 1 && *(const char *)bytes == 0)
		bytes = "F"; /* a shell reads the other end, and no shell reads a zero */
	return next(fd, bytes, count);
}
