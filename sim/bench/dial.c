/* Preloaded into our daemon where a relay stands between directors: connections
 * to one port go to another, and none is made before the gate opens.
 *
 * BENCH_PORT is the port that is dialled, BENCH_RELAY_PORT where it leads.
 * BENCH_GATE is a path: whoever comes to it first leaves BENCH_GATE.<pid>, and
 * goes on as soon as BENCH_GATE exists. So many directors can be started one by
 * one, and then start to talk in the same moment.
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

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	static int (*next)(int, const struct sockaddr *, socklen_t);
	const char *port = getenv("BENCH_PORT"), *relay = getenv("BENCH_RELAY_PORT");
	const char *gate = getenv("BENCH_GATE");
	struct sockaddr_in there;

	if (next == NULL)
		next = dlsym(RTLD_NEXT, "connect");
	if (address->sa_family != AF_INET || port == NULL || relay == NULL)
		return next(fd, address, length);
	there = *(const struct sockaddr_in *)address;
	if (ntohs(there.sin_port) != atoi(port))
		return next(fd, address, length);
	if (gate != NULL)
		wait_at(gate);
	there.sin_port = htons(atoi(relay));
	return next(fd, (struct sockaddr *)&there, sizeof(there));
}
