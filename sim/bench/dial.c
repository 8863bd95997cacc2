/* Preloaded into our daemon where a relay stands between directors: connections
 * to one port go to another, and the port is not opened before the gate is.
 *
 * BENCH_PORT is the directors' port, BENCH_RELAY_PORT where who dials it is led.
 * BENCH_GATE is a path: who wants to open the port leaves BENCH_GATE.<pid>, and
 * does so as soon as BENCH_GATE exists. So Python has started, and a director
 * comes into being, for others too, in the moment that a bench chooses.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void wait_at(const char *gate)
{
	char path[4096];

	if (access(gate, F_OK) == 0)
		return;
	snprintf(path, sizeof(path), "%s.%d", gate, (int)getpid());
	close(open(path, O_CREAT | O_WRONLY, 0600));
	while (access(gate, F_OK) != 0)
		usleep(500);
}

static int is_for_port(const struct sockaddr *address, const char *port)
{
	return address->sa_family == AF_INET && port != NULL &&
		ntohs(((const struct sockaddr_in *)address)->sin_port) == atoi(port);
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	static int (*next)(int, const struct sockaddr *, socklen_t);
	const char *gate = getenv("BENCH_GATE");

	if (next == NULL)
		next = dlsym(RTLD_NEXT, "bind");
	if (gate != NULL && is_for_port(address, getenv("BENCH_PORT")))
		wait_at(gate);
	return next(fd, address, length);
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	static int (*next)(int, const struct sockaddr *, socklen_t);
	const char *relay = getenv("BENCH_RELAY_PORT");
	struct sockaddr_in there;

	if (next == NULL)
		next = dlsym(RTLD_NEXT, "connect");
	if (relay == NULL || !is_for_port(address, getenv("BENCH_PORT")))
		return next(fd, address, length);
	there = *(const struct sockaddr_in *)address;
	there.sin_port = htons(atoi(relay));
	return next(fd, (struct sockaddr *)&there, sizeof(there));
}
