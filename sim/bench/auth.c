/* A stand-in for Dovecot's auth process, as fast as can be, so that the director
 * between it and the load is the slowest part.
 *
 * usage: auth [-p PORT] AUTH_LOGIN_SOCKET AUTH_USERDB_SOCKET
 *
 * auth-login:  AUTH <id> PLAIN ... resp=<base64>
 *              -> OK <id> user=<u> proxy port=<P> [lip= lport=] pass=pw
 * auth-userdb: PASS <id> <user> ...
 *              -> PASS <id> user=<u> proxy port=<P>
 *
 * The same fields in the same order as a static passdb with the arguments
 * "proxy=y nopassword=y port=P". One thread, epoll.
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
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct conn {
	int fd, listener, userdb, want_out;
	char *in;
	size_t in_used, in_size;
	char *out;
	size_t out_off, out_used, out_size;
};

static int ep;
static const char *port = "19243";
static unsigned cuid;

static void out_add(struct conn *c, const char *d, size_t n)
{
	while (c->out_used + n > c->out_size) {
		c->out_size = c->out_size ? c->out_size * 2 : 131072;
		c->out = realloc(c->out, c->out_size);
	}
	memcpy(c->out + c->out_used, d, n);
	c->out_used += n;
}

static void conn_close(struct conn *c)
{
	close(c->fd);
	free(c->in);
	free(c->out);
	free(c);
}

static int flush_out(struct conn *c)
{
	while (c->out_off < c->out_used) {
		ssize_t r = write(c->fd, c->out + c->out_off, c->out_used - c->out_off);
		if (r < 0) {
			if (errno != EAGAIN)
				return -1;
			if (!c->want_out) {
				struct epoll_event ev = { EPOLLIN | EPOLLOUT, { .ptr = c } };
				epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
				c->want_out = 1;
			}
			return 0;
		}
		c->out_off += r;
	}
	c->out_off = c->out_used = 0;
	if (c->want_out) {
		struct epoll_event ev = { EPOLLIN, { .ptr = c } };
		epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
		c->want_out = 0;
	}
	return 0;
}

static int listen_on(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(path) >= sizeof(sa.sun_path))
		exit(2);
	strcpy(sa.sun_path, path);
	unlink(path);
	if (bind(fd, (void *)&sa, sizeof(sa)) < 0 || listen(fd, 512) < 0) {
		perror(path);
		exit(2);
	}
	chmod(path, 0666);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void add(int fd, int listener, int userdb)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = { EPOLLIN, { .ptr = c } };
	c->fd = fd;
	c->listener = listener;
	c->userdb = userdb;
	if (!listener) {
		char b[256];
		unsigned id = ++cuid;
		int n = userdb ?
			sprintf(b, "VERSION\t1\t1\nSPID\t%d\n", getpid()) :
			sprintf(b, "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t%d\n"
				"CUID\t%u\nCOOKIE\t%032x\nDONE\n", getpid(), id, id);
		out_add(c, b, n);
	}
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	if (!listener)
		flush_out(c);
}

static int unb64(const char *s, const char *e, char *d)
{
	static signed char t[256];
	static int init;
	uint32_t v = 0;
	int bits = 0, n = 0;
	if (!init) {
		memset(t, -1, sizeof(t));
		const char *a = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
		for (int i = 0; i < 64; i++)
			t[(unsigned char)a[i]] = i;
		init = 1;
	}
	for (; s < e; s++) {
		int x = t[(unsigned char)*s];
		if (x < 0)
			break;
		v = v << 6 | x;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			d[n++] = v >> bits;
		}
	}
	return n;
}

static void line(struct conn *c, char *l, size_t n)
{
	char b[1024], dec[512], *e = l + n, *p, *q, *user = NULL, *lip = NULL, *lport = NULL;
	int k, ul = 0;
	size_t idlen;

	if (n < 6 || n > 700)
		return;
	if (c->userdb) {
		if (memcmp(l, "PASS\t", 5) != 0)
			return;
	} else if (memcmp(l, "AUTH\t", 5) != 0)
		return;
	p = l + 5;
	q = memchr(p, '\t', e - p);
	if (q == NULL)
		return;
	idlen = q - p;
	char *id = p;
	p = q + 1;
	if (c->userdb) {
		user = p;
		q = memchr(p, '\t', e - p);
		ul = (q ? q : e) - p;
		p = q ? q + 1 : e;
	}
	while (p < e) {
		q = memchr(p, '\t', e - p);
		if (q == NULL)
			q = e;
		if (q - p > 4 && memcmp(p, "lip=", 4) == 0)
			lip = p;
		else if (q - p > 6 && memcmp(p, "lport=", 6) == 0)
			lport = p;
		else if (q - p > 5 && memcmp(p, "resp=", 5) == 0) {
			k = unb64(p + 5, q, dec);
			char *z = memchr(dec, 0, k);
			if (z) {
				user = z + 1;
				char *z2 = memchr(user, 0, dec + k - user);
				ul = z2 ? z2 - user : 0;
			}
		}
		p = q + 1;
	}
	if (c->userdb) {
		k = sprintf(b, "PASS\t%.*s\tuser=%.*s\tproxy\tport=%s\n",
			    (int)idlen, id, ul, user, port);
	} else if (user == NULL) {
		k = sprintf(b, "FAIL\t%.*s\n", (int)idlen, id);
	} else {
		k = sprintf(b, "OK\t%.*s\tuser=%.*s\tproxy\tport=%s", (int)idlen, id,
			    ul, user, port);
		if (lip)
			k += sprintf(b + k, "\t%.*s", (int)strcspn(lip, "\t\n"), lip);
		if (lport)
			k += sprintf(b + k, "\t%.*s", (int)strcspn(lport, "\t\n"), lport);
		k += sprintf(b + k, "\tpass=pw\n");
	}
	out_add(c, b, k);
}

static int read_in(struct conn *c)
{
	if (c->in_size - c->in_used < 65536) {
		c->in_size = c->in_used + 262144;
		c->in = realloc(c->in, c->in_size + 1);
	}
	ssize_t r = read(c->fd, c->in + c->in_used, c->in_size - c->in_used);
	if (r < 0)
		return errno == EAGAIN ? 0 : -1;
	if (r == 0)
		return -1;
	size_t got = c->in_used + r, pos = 0;
	for (;;) {
		char *nl = memchr(c->in + pos, '\n', got - pos);
		if (nl == NULL)
			break;
		line(c, c->in + pos, nl - (c->in + pos));
		pos = nl + 1 - c->in;
	}
	memmove(c->in, c->in + pos, got - pos);
	c->in_used = got - pos;
	return flush_out(c);
}

int main(int argc, char **argv)
{
	struct epoll_event ev[64];
	int o;

	while ((o = getopt(argc, argv, "p:")) > 0)
		if (o == 'p')
			port = optarg;
	if (optind >= argc)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	ep = epoll_create1(0);
	add(listen_on(argv[optind]), 1, 0);
	if (optind + 1 < argc)
		add(listen_on(argv[optind + 1]), 1, 1);
	for (;;) {
		int n = epoll_wait(ep, ev, 64, -1);
		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;
			if (c->listener) {
				int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
				if (fd >= 0)
					add(fd, 0, c->userdb);
				continue;
			}
			int r = 0;
			if (ev[i].events & EPOLLOUT)
				r = flush_out(c);
			if (r == 0 && (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
				r = read_in(c);
			if (r < 0)
				conn_close(c);
		}
	}
}
