/* Login load for a director, over K connections to unix sockets.
 *
 * It speaks the auth client protocol (login/director, auth-login: AUTH -> OK or
 * FAIL) or the userdb protocol (director-userdb: PASS -> PASS, NOTFOUND or FAIL).
 * One thread, epoll. Two ways to drive it:
 *
 *   closed loop  -w W   every connection keeps W requests outstanding
 *   open loop    -r R   R requests a second over all connections, whatever comes
 *                       back, so that a stall is seen in full
 *
 * Users are PREFIX<i>@example.com, i = FIRST + n mod DISTINCT. The result is one
 * JSON object on stdout. SIGINT ends the sending; late answers are waited for.
 *
 * usage: load [options] SOCKET [SOCKET...]    connections are dealt round-robin
 *   -p auth|userdb  protocol (auth)      -c K  connections (1)
 *   -w W  window of a connection (1)     -r R  requests a second (open loop)
 *   -n N  requests (1000)                -d D  distinct users (N)
 *   -s I  first user's number (0)        -u P  user name prefix (u)
 *   -x S  wait at most S s for late answers (35)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { UNSENT, WAITING, ANSWERED, REFUSED, LOST };

struct buffer {
	char *bytes;
	size_t start, end, size;
};

struct connection {
	int fd, number, is_ready, wants_out;
	struct buffer in, out;
	uint32_t waiting;
};

struct request {
	double sent_at;
	uint32_t latency_us;
	uint16_t connection;
	uint8_t state;
};

static struct request *requests;
static struct connection *connections;
static int connections_count = 1, is_userdb, ep;
static uint64_t total = 1000, sent, done, distinct, first;
static uint64_t answered, refused, lost;
static const char *prefix = "u";
static volatile sig_atomic_t is_interrupted;

static void interrupted(int number)
{
	(void)number;
	is_interrupted = 1;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static char *room(struct buffer *b, size_t n)
{
	if (b->start > 0 && b->end + n > b->size) {
		memmove(b->bytes, b->bytes + b->start, b->end - b->start);
		b->end -= b->start;
		b->start = 0;
	}
	if (b->end + n > b->size) {
		b->size = (b->end + n) * 2;
		b->bytes = realloc(b->bytes, b->size);
	}
	return b->bytes + b->end;
}

static size_t base64(const unsigned char *s, size_t n, char *d)
{
	static const char t[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *o = d;
	for (; n > 0; s += 3, n = n > 3 ? n - 3 : 0) {
		unsigned b = n > 1 ? s[1] : 0, c = n > 2 ? s[2] : 0;
		*o++ = t[s[0] >> 2];
		*o++ = t[(s[0] & 3) << 4 | b >> 4];
		*o++ = n > 1 ? t[(b & 15) << 2 | c >> 6] : '=';
		*o++ = n > 2 ? t[c & 63] : '=';
	}
	return o - d;
}

static void finish(uint64_t id, int state)
{
	double us = (now() - requests[id].sent_at) * 1e6;
	requests[id].state = state;
	requests[id].latency_us = us < 0 ? 0 : us > 4e9 ? 4000000000u : us;
	done++;
	if (state == ANSWERED)
		answered++;
	else if (state == REFUSED)
		refused++;
	else
		lost++;
}

static void hang_up(struct connection *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
	fprintf(stderr, "connection %d lost\n", c->number);
	for (uint64_t i = 0; i < sent && c->waiting > 0; i++)
		if (requests[i].state == WAITING && requests[i].connection == c->number) {
			finish(i, LOST);
			c->waiting--;
		}
}

static void flush(struct connection *c)
{
	struct epoll_event ev = { EPOLLIN, { .ptr = c } };
	struct buffer *b = &c->out;
	int wants_out = 0;

	while (b->start < b->end && !wants_out) {
		ssize_t n = write(c->fd, b->bytes + b->start, b->end - b->start);
		if (n >= 0) {
			b->start += n;
		} else if (errno == EAGAIN) {
			wants_out = 1;
		} else {
			hang_up(c);
			return;
		}
	}
	if (b->start == b->end)
		b->start = b->end = 0;
	if (c->wants_out != wants_out) {
		c->wants_out = wants_out;
		ev.events |= wants_out ? EPOLLOUT : 0;
		epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
	}
}

static void connect_to(struct connection *c, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct epoll_event ev = { EPOLLIN, { .ptr = c } };

	if (strlen(path) >= sizeof(address.sun_path))
		die("path of the socket");
	strcpy(address.sun_path, path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (void *)&address, sizeof(address)) < 0)
		die(path);
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
	char *o = room(&c->out, 64);
	c->out.end += is_userdb
		? sprintf(o, "VERSION\t1\t1\n")
		: sprintf(o, "VERSION\t1\t2\nCPID\t%u\n",
			  ((unsigned)getpid() % 1000000) * 1000 + c->number + 1);
	flush(c);
}

static void send_one(struct connection *c)
{
	char plain[256];
	uint64_t id = sent++;
	char *start = room(&c->out, 1024), *o = start;
	int n = sprintf(plain, "%c%s%llu@example.com", 0, prefix,
			(unsigned long long)(first + id % distinct));

	if (is_userdb) {
		o += sprintf(o, "PASS\t%llu\t%s\tservice=lmtp\tlip=127.0.2.1\trip=127.0.0.1\n",
			     (unsigned long long)id + 1, plain + 1);
	} else {
		o += sprintf(o, "AUTH\t%llu\tPLAIN\tservice=imap\tsecured\tsession=L%07lluAAAAAAAAAA"
			     "\tlip=127.0.2.1\trip=127.0.0.1\tlport=143\trport=40000\tresp=",
			     (unsigned long long)id + 1, (unsigned long long)id % 10000000);
		memcpy(plain + n, "\0pw", 3);
		o += base64((unsigned char *)plain, n + 3, o);
		*o++ = '\n';
	}
	c->out.end += o - start;
	requests[id] = (struct request){ now(), 0, c->number, WAITING };
	c->waiting++;
}

static int starts_with(const char *line, const char *word)
{
	size_t n = strlen(word);
	return strncmp(line, word, n) == 0 && (line[n] == '\t' || line[n] == 0);
}

static void take_line(struct connection *c, const char *line)
{
	const char *tab = strchr(line, '\t');
	int state;

	if (!c->is_ready) {
		c->is_ready = starts_with(line, is_userdb ? "SPID" : "DONE");
		return;
	}
	if (starts_with(line, "OK") || starts_with(line, "PASS"))
		state = strstr(line, "\thost=") != NULL ? ANSWERED : REFUSED;
	else if (starts_with(line, "FAIL") || starts_with(line, "NOTFOUND"))
		state = REFUSED;
	else
		return;
	uint64_t id = tab ? strtoull(tab + 1, NULL, 10) - 1 : UINT64_MAX;
	if (id >= sent || requests[id].state != WAITING) {
		fprintf(stderr, "unexpected answer: %s\n", line);
		exit(2);
	}
	c->waiting--;
	finish(id, state);
}

static void receive(struct connection *c)
{
	ssize_t n = read(c->fd, room(&c->in, 65537), 65536);
	char *line, *end;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		hang_up(c);
		return;
	}
	c->in.end += n;
	line = c->in.bytes + c->in.start;
	while ((end = memchr(line, '\n', c->in.bytes + c->in.end - line)) != NULL) {
		*end = 0;
		take_line(c, line);
		line = end + 1;
	}
	c->in.start = line - c->in.bytes;
}

static void wait_for_events(int timeout_ms)
{
	struct epoll_event events[64];
	int n = epoll_wait(ep, events, 64, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct connection *c = events[i].data.ptr;
		if (c->fd >= 0 && (events[i].events & EPOLLOUT))
			flush(c);
		if (c->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
			receive(c);
	}
}

static int send_due(double started_at, double rate)
{
	static int turn;
	double t = now();

	while (sent < total && started_at + sent / rate <= t) {
		struct connection *c = &connections[turn++ % connections_count];
		send_one(c);
		if (c->fd < 0) {
			c->waiting--;
			finish(sent - 1, LOST);
		}
	}
	double wait_s = started_at + sent / rate - now();
	return wait_s <= 0 ? 0 : (int)(wait_s * 1000) + 1;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void report(double seconds)
{
	uint32_t *latencies = malloc((sent + 1) * sizeof(*latencies));
	uint64_t n = 0, slow = 0;

	for (uint64_t i = 0; i < sent; i++) {
		uint32_t us = requests[i].state == WAITING
			? (uint32_t)((now() - requests[i].sent_at) * 1e6) : requests[i].latency_us;
		latencies[n++] = us;
		slow += us > 50000;
	}
	qsort(latencies, n, sizeof(*latencies), by_size);
#define Q(p) (n ? latencies[(uint64_t)((n - 1) * (p))] : 0)
	printf("{\"sent\": %llu, \"answered\": %llu, \"failed\": %llu, \"seconds\": %.6f,"
	       " \"p50_us\": %u, \"p99_us\": %u, \"worst_us\": %u, \"slow\": %llu}\n",
	       (unsigned long long)sent, (unsigned long long)answered,
	       (unsigned long long)(refused + lost + sent - done), seconds,
	       Q(.5), Q(.99), Q(1.0), (unsigned long long)slow);
}

int main(int argc, char **argv)
{
	int option, window = 1;
	double rate = 0, late_s = 35, last_sent, started_at;

	while ((option = getopt(argc, argv, "p:c:w:r:n:d:s:u:x:")) > 0) {
		switch (option) {
		case 'p': is_userdb = strcmp(optarg, "userdb") == 0; break;
		case 'c': connections_count = atoi(optarg); break;
		case 'w': window = atoi(optarg); break;
		case 'r': rate = atof(optarg); break;
		case 'n': total = strtoull(optarg, NULL, 10); break;
		case 'd': distinct = strtoull(optarg, NULL, 10); break;
		case 's': first = strtoull(optarg, NULL, 10); break;
		case 'u': prefix = optarg; break;
		case 'x': late_s = atof(optarg); break;
		default: return 2;
		}
	}
	if (optind >= argc || connections_count < 1 || connections_count > 60000) {
		fprintf(stderr, "usage: load [options] SOCKET [SOCKET...]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, interrupted);
	if (distinct == 0)
		distinct = total;
	requests = calloc(total + 1, sizeof(*requests));
	connections = calloc(connections_count, sizeof(*connections));
	ep = epoll_create1(0);
	for (int i = 0; i < connections_count; i++) {
		connections[i].number = i;
		connect_to(&connections[i], argv[optind + i % (argc - optind)]);
	}
	/* The greetings are not part of the measurement. */
	for (int i = 0; i < connections_count; i++)
		while (!connections[i].is_ready && connections[i].fd >= 0)
			wait_for_events(1000);
	started_at = last_sent = now();
	while (done < total) {
		int timeout_ms = 100;
		if (is_interrupted)
			total = sent;
		if (done >= total || (sent >= total && now() - last_sent > late_s))
			break;
		if (sent < total) {
			if (rate > 0)
				timeout_ms = send_due(started_at, rate);
			for (int i = 0; i < connections_count; i++) {
				struct connection *c = &connections[i];
				while (rate <= 0 && c->fd >= 0 && sent < total &&
				       c->waiting < (uint32_t)window)
					send_one(c);
				if (c->fd >= 0 && c->out.end > c->out.start)
					flush(c);
			}
			last_sent = now();
		}
		wait_for_events(timeout_ms);
	}
	report(now() - started_at);
	return answered == sent ? 0 : 1;
}
