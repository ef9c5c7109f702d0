/* See shim.h. No logic beyond what cannot be said from outside. */

#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>

#include "shim.h"

uint16_t fs_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **bufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, bufs, n);
}

uint16_t fs_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **bufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, bufs, n);
}

struct rte_mbuf *fs_pktmbuf_alloc_zeroed(struct rte_mempool *pool, uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	char *data;

	if (m == NULL)
		return NULL;
	data = rte_pktmbuf_append(m, len);
	if (data == NULL) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	memset(data, 0, len);
	return m;
}

void fs_pktmbuf_free(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

int fs_pktmbuf_linearize(struct rte_mbuf *m)
{
	return rte_pktmbuf_linearize(m);
}

int fs_pktmbuf_gather(struct rte_mbuf *m, uint16_t want)
{
	if (m->data_len + rte_pktmbuf_tailroom(m) < want) {
		/* A receive buffer begins behind the headroom; move it down when that helps. */
		char *start = (char *)m->buf_addr;

		if (m->buf_len < want)
			return -1;
		memmove(start, rte_pktmbuf_mtod(m, char *), m->data_len);
		m->data_off = 0;
	}
	while (m->data_len < want && m->next != NULL) {
		struct rte_mbuf *next = m->next;
		uint16_t take = want - m->data_len;

		if (take > next->data_len)
			take = next->data_len;
		memcpy(rte_pktmbuf_mtod_offset(m, char *, m->data_len), rte_pktmbuf_mtod(next, char *), take);
		m->data_len += take;
		next->data_off += take;
		next->data_len -= take;
		if (next->data_len == 0) {
			m->next = next->next;
			m->nb_segs--;
			next->next = NULL;
			rte_pktmbuf_free_seg(next);
		}
	}
	return 0;
}

int fs_eth_link_up(uint16_t port)
{
	struct rte_eth_link link;
	int code = rte_eth_link_get_nowait(port, &link);

	return code < 0 ? code : link.link_status == RTE_ETH_LINK_UP;
}

int fs_rte_errno(void)
{
	return rte_errno;
}

/* The type of both libraries' print functions; their own header may not be installed. */
typedef int (*fs_print_fn)(int level, const char *format, va_list arguments);

static int print_nothing(int level, const char *format, va_list arguments)
{
	(void)level;
	(void)format;
	(void)arguments;
	return 0;
}

static void quiet(const char *library, const char *setter)
{
	void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
	fs_print_fn (*set_print)(fs_print_fn);

	if (handle == NULL)
		return;
	*(void **)&set_print = dlsym(handle, setter);
	if (set_print != NULL)
		set_print(print_nothing);
	dlclose(handle);
}

void fs_quiet_bpf(void)
{
	quiet("libbpf.so.1", "libbpf_set_print");
	quiet("libxdp.so.1", "libxdp_set_print");
}

uint16_t fs_pktmbuf_data_room(struct rte_mempool *pool)
{
	return rte_pktmbuf_data_room_size(pool);
}

#define FS_NEVER_TAKEN (RTE_MBUF_PORT_INVALID - 1)

static void init_and_mark(struct rte_mempool *pool, void *arg, void *obj, unsigned int index)
{
	struct rte_mbuf *m = obj;

	rte_pktmbuf_init(pool, arg, obj, index);
	m->port = FS_NEVER_TAKEN;
}

struct rte_mempool *fs_page_pool_create(const char *name, unsigned int count)
{
	const unsigned int element = sizeof(struct rte_mbuf) + FS_PAGE_DATA_ROOM;
	struct rte_pktmbuf_pool_private private = { .mbuf_data_room_size = FS_PAGE_DATA_ROOM };
	const struct rte_memzone *zone;
	struct rte_mempool *pool;

	pool = rte_mempool_create_empty(name, count, element, 0, sizeof(private), rte_socket_id(),
					RTE_MEMPOOL_F_NO_SPREAD);
	if (pool == NULL)
		return NULL;
	rte_pktmbuf_pool_init(pool, &private);
	zone = rte_memzone_reserve_aligned(name, (size_t)count * 4096, rte_socket_id(), 0, 4096);
	if (zone == NULL)
		goto fail;
	if (rte_mempool_populate_virt(pool, zone->addr, zone->len, 4096, NULL, NULL) < 0 ||
	    pool->populated_size != count) {
		rte_errno = ENOMEM;
		goto fail;
	}
	rte_mempool_obj_iter(pool, init_and_mark, NULL);
	return pool;
fail:
	rte_mempool_free(pool);
	return NULL;
}

struct fs_lost {
	struct rte_mbuf *first;
	unsigned int count;
};

static void find_lost(struct rte_mempool *pool, void *arg, void *obj, unsigned int index)
{
	struct fs_lost *lost = arg;
	struct rte_mbuf *m = obj;

	(void)pool;
	(void)index;
	/* Drivers take buffers with rte_pktmbuf_alloc, which writes PORT_INVALID; whatever has been
	 * received since bears the number of its port. */
	if (*(volatile uint16_t *)&m->port != RTE_MBUF_PORT_INVALID)
		return;
	m->next = lost->first;
	lost->first = m;
	lost->count++;
}

static void give_back(struct rte_mempool *pool, struct rte_mbuf *m)
{
	while (m != NULL) {
		struct rte_mbuf *next = m->next;

		m->next = NULL;
		m->nb_segs = 1;
		m->port = FS_NEVER_TAKEN;
		rte_mempool_put(pool, m);
		m = next;
	}
}

unsigned int fs_mempool_reclaim(struct rte_mempool *pool)
{
	struct rte_mbuf *present = NULL;
	struct fs_lost lost = { NULL, 0 };
	void *obj;

	while (rte_mempool_get(pool, &obj) == 0) {
		struct rte_mbuf *m = obj;

		m->port = FS_NEVER_TAKEN;
		m->next = present;
		present = m;
	}
	rte_mempool_obj_iter(pool, find_lost, &lost);
	give_back(pool, present);
	give_back(pool, lost.first);
	return lost.count;
}
