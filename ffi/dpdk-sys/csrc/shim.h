/* What Rust sees of DPDK beyond its exported functions: real symbols for the inline functions that
 * are called once per burst, and the constants and offsets that are macros in C.
 *
 * Offsets instead of bindgen's struct: `rte_mbuf` consists of anonymous unions that move about from
 * one release to the next, while the members' names stay. */

#ifndef FS_SHIM_H
#define FS_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

enum fs_mbuf_offset {
	FS_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	FS_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	FS_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	FS_MBUF_PORT = offsetof(struct rte_mbuf, port),
	FS_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	FS_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	FS_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	FS_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	FS_MBUF_VLAN_TCI_OUTER = offsetof(struct rte_mbuf, vlan_tci_outer),
	FS_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	/* Eight bytes: data_off, refcnt, nb_segs, port. */
	FS_MBUF_REARM_DATA = offsetof(struct rte_mbuf, rearm_data),
};

static const uint64_t FS_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t FS_RX_QINQ_STRIPPED = RTE_MBUF_F_RX_QINQ_STRIPPED;
static const uint64_t FS_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t FS_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
/* What says where the bytes lie, and must outlive everything else in ol_flags. */
static const uint64_t FS_MBUF_KEEP_FLAGS = RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;
static const uint16_t FS_MBUF_PORT_INVALID = RTE_MBUF_PORT_INVALID;
static const uint16_t FS_PKTMBUF_HEADROOM = RTE_PKTMBUF_HEADROOM;
/* Where devices put a frame, from its mbuf on: our pools have no private area. */
static const uint16_t FS_MBUF_RECEIVED_AT = sizeof(struct rte_mbuf) + RTE_PKTMBUF_HEADROOM;

static const uint64_t FS_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t FS_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t FS_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t FS_RSS_WANTED = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP;

uint16_t fs_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **bufs, uint16_t n);
uint16_t fs_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **bufs, uint16_t n);

/* A buffer with `len` zeroed bytes in its only segment; NULL: none left, or it would not fit. */
struct rte_mbuf *fs_pktmbuf_alloc_zeroed(struct rte_mempool *pool, uint16_t len);
void fs_pktmbuf_free(struct rte_mbuf *m);
/* One segment out of all; 0, or -1 when they do not fit into the first. */
int fs_pktmbuf_linearize(struct rte_mbuf *m);
/* Brings at least `want` bytes (or all there are) into the first segment; 0, or -1 without room. */
int fs_pktmbuf_gather(struct rte_mbuf *m, uint16_t want);

/* 1: up, 0: down, negative: the driver cannot tell. */
int fs_eth_link_up(uint16_t port);

int fs_rte_errno(void);

/* Silences the libraries that the AF_XDP driver stands on, if they are loaded: they write a dozen
 * lines to stderr for every device that is opened without fault. What fails, DPDK says itself. */
void fs_quiet_bpf(void);
uint16_t fs_pktmbuf_data_room(struct rte_mempool *pool);

/* Bytes of a buffer of `fs_page_pool_create`, headroom included. */
static const uint16_t FS_PAGE_DATA_ROOM = 4096 - RTE_CACHE_LINE_SIZE - sizeof(struct rte_mbuf);

/* A pool without caches whose buffers are one page each, one behind the other, every one marked as
 * never allocated.
 *
 * The AF_XDP driver registers `count * size` bytes from the first buffer on, and the kernel takes no
 * buffer beyond them nor one across two pages. In an ordinary pool on 4 KiB pages DPDK leaves a gap
 * behind each buffer so that none lies across two: the later ones are then beyond what is registered,
 * and the port falls silent when it comes to them. */
struct rte_mempool *fs_page_pool_create(const char *name, unsigned int count);
/* Gives back the buffers that a closed driver had taken out of `pool` and forgotten: those that are
 * not in the pool and bear no port. Only for a pool without caches, out of which nobody takes at the
 * time. Returns how many there were. */
unsigned int fs_mempool_reclaim(struct rte_mempool *pool);

#endif
