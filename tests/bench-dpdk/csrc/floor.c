/* The floor: what a device's receive and transmit cost when nothing happens between them. */

#include <string.h>

#include <rte_byteorder.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "bench.h"

#define BURST 32
#define FRAME 64

uint64_t fsb_tsc(void)
{
	return rte_rdtsc_precise();
}

uint64_t fsb_tsc_hz(void)
{
	return rte_get_tsc_hz();
}

int fsb_port(const char *name)
{
	uint16_t port;
	int code = rte_eth_dev_get_port_by_name(name, &port);

	return code < 0 ? code : port;
}

static inline void put16(uint8_t *at, uint16_t value)
{
	value = rte_cpu_to_be_16(value);
	memcpy(at, &value, sizeof(value));
}

/* As `stamp` in src/traffic.rs. */
static inline void stamp(uint8_t *data, const uint8_t *frame, uint32_t id)
{
	memcpy(data, frame, FRAME);
	put16(data + 18, ~id);
	put16(data + 28, id);
	put16(data + 34, id >> 16 | 1024);
}

void fsb_floor(uint16_t from, uint16_t to, uint64_t packets, const uint8_t *frame, uint32_t mask)
{
	struct rte_mbuf *burst[BURST];
	uint64_t counter = 0;
	uint64_t done = 0;

	while (done < packets) {
		uint16_t n = rte_eth_rx_burst(from, 0, burst, BURST);
		uint16_t sent;

		if (frame != NULL)
			for (uint16_t i = 0; i < n; i++)
				stamp(rte_pktmbuf_mtod(burst[i], uint8_t *), frame,
				      (uint32_t)(counter++ * 2654435761u >> 3) & mask);
		sent = rte_eth_tx_burst(to, 0, burst, n);
		if (unlikely(sent < n))
			rte_pktmbuf_free_bulk(burst + sent, n - sent);
		done += n;
	}
}
