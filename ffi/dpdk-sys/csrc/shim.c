/* See shim.h. No logic beyond what cannot be said from outside. */

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

uint16_t fs_pktmbuf_data_room(struct rte_mempool *pool)
{
	return rte_pktmbuf_data_room_size(pool);
}

#define FS_NEVER_TAKEN (RTE_MBUF_PORT_INVALID - 1)

static void mark(struct rte_mempool *pool, void *arg, void *obj, unsigned int index)
{
	struct rte_mbuf *m = obj;

	(void)pool;
	(void)arg;
	(void)index;
	m->port = FS_NEVER_TAKEN;
}

void fs_mempool_mark(struct rte_mempool *pool)
{
	rte_mempool_obj_iter(pool, mark, NULL);
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
